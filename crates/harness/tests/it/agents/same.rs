//! The same change, by steps that people wrote and by a model: the same events of it, and the same facts on its
//! receipt (C002).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    model::{Model, Says},
    office,
};
use crate::support::{Office, id_of};

const CHANGE: &str = "crm.update_contract";
const ACCOUNT: &str = "ACC-0007";
const DAYS: u32 = 45;

/// What names one run alone in an event: its places, ids, digests and commitments, and whose model wanted it.
const OWN: [&str; 18] = [
    "action",
    "approval",
    "args",
    "by",
    "digest",
    "dispatch_by",
    "ended",
    "existence",
    "expires_at",
    "image",
    "key",
    "origin",
    "proposer",
    "receipt",
    "resource",
    "shown",
    "statement",
    "token",
];

/// What a receipt says of an action, whoever's it is.
const FACTS: [&str; 13] = [
    "v",
    "witness",
    "because",
    "operation",
    "definition",
    "facts",
    "classes",
    "decision",
    "transforms",
    "attempts",
    "landed",
    "class",
    "undo",
];

/// What was decided. The digests of the layers go by where an office has its policies.
const JUDGED: [&str; 2] = ["verdict", "rules"];

/// What a card shows a person of a call, whoever wants it.
const SHOWN: [&str; 10] = [
    "args",
    "changes",
    "does",
    "leaves",
    "moves_money",
    "needs",
    "operation",
    "summary",
    "undo",
    "untrusted",
];

/// Everything that one change left behind, without what names its run.
#[derive(Debug, PartialEq)]
struct Left {
    card: Value,
    events: Vec<Value>,
    line: Value,
    receipt: Value,
    approvals: Vec<Value>,
    contract: Value,
}

fn picked(value: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| ((*name).to_owned(), value[*name].clone())).collect()
}

/// Events of the change and of what served it, in their order.
fn events(office: &Office, run: &str) -> Vec<Value> {
    let events = office.json(&["run", "events", run]).exits(0).document();
    let items = events["items"].as_array().unwrap();
    let change = items.iter().find(|event| event["body"]["operation"] == CHANGE).unwrap();
    let serves = |event: &&Value| event["body"]["because"]["of"] == change["seq"];
    let actions: BTreeSet<u64> = items
        .iter()
        .filter(serves)
        .chain([change])
        .map(|event| event["seq"].as_u64().unwrap())
        .collect();
    let is_one = |at: &Value| at.as_u64().is_some_and(|at| actions.contains(&at));
    let about =
        items.iter().filter(|event| is_one(&event["seq"]) || is_one(&event["body"]["action"]));
    let told = about.map(|event| {
        let mut body = event["body"].as_object().unwrap().clone();
        let outcome = body.get("ended").map(|ended| ended["outcome"].clone());
        let names_a_step = body.contains_key("step");
        body.retain(|name, _| !OWN.contains(&name.as_str()) && name != "step");
        if let Some(decision) = body.get_mut("decision") {
            *decision = picked(decision, &JUDGED);
        }
        if let Some(because) = body.get_mut("because").and_then(Value::as_object_mut) {
            because.remove("of");
        }
        json!([event["kind"], body, outcome, names_a_step])
    });
    told.collect()
}

/// What a change left that waits for mira, once she has said yes.
fn approved(office: &Office, run: &str) -> Left {
    let (approval, _) = office.card(run);
    let card = office.json(&["approval", "get", &approval]).exits(0).document();
    let ended = office.approve(run).exits(0).document();
    assert_eq!(ended["status"], "succeeded", "{ended:#}");
    let detail = super::get(office, run);
    let lines = detail["actions"].as_array().unwrap();
    let line = lines.iter().find(|line| line["operation"] == CHANGE).unwrap();
    let receipt = line["receipt"].as_str().unwrap();
    let receipt = office.json(&["receipt", "get", receipt]).exits(0).document();
    assert_eq!(receipt["signature"], "valid", "{receipt:#}");
    let predicate = &receipt["statement"]["predicate"];
    // Whether there is a commitment: the values are salted for each run.
    let committed = ["args", "result", "before", "after", "external_ref", "token"];
    let committed = committed.map(|name| (name.to_owned(), json!(predicate[name].is_null())));
    let mut facts = picked(predicate, &FACTS);
    facts["decision"] = picked(&predicate["decision"], &JUDGED);
    facts["without"] = committed.into_iter().collect();
    let approvals = predicate["approvals"].as_array().unwrap().iter();
    let who = |approval: &Value| picked(approval, &["by", "roles", "self_approved"]);
    let approvals = approvals.map(who).collect();
    Left {
        card: picked(&card, &SHOWN),
        events: events(office, run),
        line: picked(line, &["operation", "role", "verdict", "rules", "outcome"]),
        receipt: facts,
        approvals,
        contract: contract(office),
    }
}

/// The contract as the CRM has it, whenever it is asked.
fn contract(office: &Office) -> Value {
    let mut contract = office.contract(ACCOUNT);
    contract.as_object_mut().unwrap().remove("AsOf");
    contract
}

fn roll_back(office: &Office, run: &str) -> Value {
    let back = office.json(&["run", "rollback", run]);
    assert_eq!(back.code, 0, "{back:#?}");
    let contract = contract(office);
    json!([contract["Terms"], contract["RenewalDate"]])
}

/// One change that a person approves and that can be taken back, in two worlds that are the same. Nobody could tell
/// from what it left which of the two wanted it, but from the name of its step; and taking it back does the same.
#[test]
fn a_change_is_the_same_whoever_wants_it() {
    let by_steps = office(&Model::start([]));
    let before = contract(&by_steps);
    let stepped = id_of(&by_steps.submit_change(ACCOUNT, DAYS, "k"));
    let steps = approved(&by_steps, &stepped);

    let args = json!({
        "contract": before["Id"], "terms": { "PaymentTermsDays": DAYS },
        "reason": "as agreed in the call", "if_match": before["Version"],
    });
    let model = Model::start([
        Says::Calls(vec![("crm_update_contract", args.clone())]),
        Says::Text("The terms are changed as agreed."),
    ]);
    let by_model = office(&model);
    assert_eq!(contract(&by_model), before, "two worlds that are the same");
    let words = ["run", "Change the terms as agreed in the call", "--write"];
    let meant = id_of(&by_model.json(&words).exits(7).document());
    let agent = approved(&by_model, &meant);

    assert_eq!(agent.card["args"], args);
    assert_eq!(
        (&agent.line["verdict"], &agent.receipt["landed"]),
        (&json!("allow"), &json!("yes"))
    );
    let judged = agent.events.iter().filter(|event| event[0] == "judged");
    let verdicts: Vec<String> =
        judged.map(|event| event[1]["decision"]["verdict"].to_string()).collect();
    assert!(verdicts.iter().any(|verdict| verdict.contains("ask")), "{verdicts:?}");
    assert_eq!(agent.receipt["undo"], "restore");
    assert!(json!(agent.events).to_string().contains("customer-ops.contract"), "{agent:#?}");
    assert_eq!(agent.contract["Terms"]["PaymentTermsDays"], DAYS);
    let kinds: Vec<&Value> = agent.events.iter().map(|event| &event[0]).collect();
    for kind in
        ["proposed", "judged", "asked", "answered", "armed", "captured", "dispatched", "receipted"]
    {
        assert!(kinds.contains(&&json!(kind)), "{kind}: {kinds:?}");
    }
    assert_eq!(agent, steps);

    let back = [roll_back(&by_steps, &stepped), roll_back(&by_model, &meant)];
    assert_eq!(back[0], json!([before["Terms"], before["RenewalDate"]]));
    assert_eq!(back[1], back[0]);
    by_model.world.performed_nothing_twice();
}
