//! The drafter of renewal mails: without the contract's terms it stops and asks, whatever its model would do (C346).

use serde_json::{Value, json};

use super::{
    ACCOUNT, get, mail,
    model::{Model, Says},
    office, submit, told,
};
use crate::support::Office;

const CONTRACT: &str = "CTR-0001";

/// The CRM answers without the notice period.
fn lose_the_terms(office: &Office) {
    office.world.fault(&json!({
        "system": "crm", "operation": "crm.get_contract", "kind": "missing_field",
        "field": "/Terms/NoticePeriodDays",
    }));
}

fn proposed_a_mail(detail: &Value) -> bool {
    detail["actions"].to_string().contains("mail.send")
}

/// Terms are missing and the model would send at once: a person is asked what was agreed, and until the answer the
/// model is asked nothing, so that there is no draft. Then it is told what the person said, and its mail waits for
/// one, too.
#[test]
fn nothing_is_drafted_before_the_terms_are_known() {
    let model = Model::start([
        Says::Calls(vec![("mail_send", mail())]),
        Says::Text("I have sent the renewal mail to Ana."),
    ]);
    let office = office(&model);
    lose_the_terms(&office);
    let run = submit(&office, "renewal_mail", &json!({ "account": ACCOUNT, "contract": CONTRACT }));
    let detail = get(&office, &run);
    assert_eq!(detail["run"]["status"], "asking", "{detail:#}");
    assert!(model.heard().is_empty(), "not a word was drafted");
    assert!(!proposed_a_mail(&detail) && office.world.mails().is_empty(), "{detail:#}");
    let question = detail["waiting_for"][0].as_str().unwrap();
    let card = office.json(&["approval", "get", question]).exits(0).document();
    assert!(card.to_string().contains("names no notice period"), "{card:#}");
    let answer = json!({ "NoticePeriodDays": 45, "AutoRenew": false }).to_string();
    office.json_as("mira", &["approval", "reply", question, &answer]).exits(7);
    let detail = get(&office, &run);
    assert_eq!(detail["run"]["status"], "asking", "{detail:#}");
    let task = model.messages(1).pop().unwrap();
    assert!(task["content"].as_str().unwrap().contains("\"NoticePeriodDays\":45"), "{task}");
    assert!(proposed_a_mail(&detail) && office.world.mails().is_empty(), "{detail:#}");
    office.approve(&run).exits(0);
    let detail = get(&office, &run);
    assert_eq!(detail["output"], "I have sent the renewal mail to Ana.", "{detail:#}");
    assert_eq!(office.world.mails().len(), 1);
    let replay = office.json(&["run", "replay", &run]).exits(0).document();
    assert_eq!(replay["identical"], true, "{replay:#}");
    office.world.performed_nothing_twice();
}

/// Handed a task in words it reads the terms itself, and asks; a write waits for the question before it.
#[test]
fn handed_a_task_in_words_it_asks_for_missing_terms() {
    let model = Model::start([
        Says::Calls(vec![("crm_get_contract_terms", json!({ "contract": CONTRACT }))]),
        // It asks, and would send at once.
        Says::Calls(vec![
            ("ask_person", json!({ "question": "Which notice period applies?" })),
            ("mail_send", mail()),
        ]),
        Says::Text("The notice period is not known yet, so nothing was sent."),
    ]);
    let office = office(&model);
    lose_the_terms(&office);
    let words = ["run", "Write the renewal mail", "--agent", "email-drafter", "--write"];
    let ran = office.json(&words).exits(7).document();
    let run = ran["run"]["id"].as_str().unwrap();
    let detail = get(&office, run);
    assert!(told(&model, 2)[0].contains("lacks what was promised"), "{:?}", told(&model, 2));
    let question = detail["waiting_for"][0].as_str().unwrap();
    assert!(!proposed_a_mail(&detail), "a write waits for the question before it: {detail:#}");
    let answer = ["approval", "reply", question, "\"Nobody knows; do not send.\""];
    let answered = office.json_as("mira", &answer);
    assert!([0, 7].contains(&answered.code), "{answered:#?}");
    // Now it would send, and that is for a person to decide, too.
    let detail = get(&office, run);
    assert_eq!(detail["run"]["status"], "asking", "{detail:#}");
    assert!(proposed_a_mail(&detail) && office.world.mails().is_empty(), "{detail:#}");
    let (approval, _) = office.card(run);
    let deny = ["approval", "deny", &approval, "--reason", "the terms are not known"];
    office.json_as("mira", &deny);
    let detail = get(&office, run);
    assert_eq!(detail["run"]["status"], "partial", "{detail:#}");
    assert!(detail["caveats"].to_string().contains("crm_get_contract_terms"), "{detail:#}");
    assert!(office.world.mails().is_empty());
}
