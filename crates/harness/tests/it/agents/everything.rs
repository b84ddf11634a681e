//! A model that asks for everything there is, by every name, and with handles that nobody gave it (C100).

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use super::{
    ACCOUNT, get, mail,
    model::{Model, Says},
    office, told, tools,
};
use crate::support::id_of;

/// It may look accounts up and write notes, and nothing else.
const AGENT: &str = "\
schema: harness.agent/v1
name: grasping
instructions: Look accounts up and note what you find.
uses: [crm.get_account, crm.add_note]
limits: {turns: 12, calls: 300, tokens: 1000000, time: 1h}
";

const GRANTED: [&str; 2] = ["crm.get_account", "crm.add_note"];

/// Every operation of the company's systems, with arguments that it would take.
fn catalogue() -> Vec<(&'static str, Value)> {
    let account = || json!({ "account": ACCOUNT });
    let contract = || json!({ "contract": "CTR-0001" });
    vec![
        ("billing.cancel_refund", json!({ "refund": "re_000001" })),
        (
            "billing.create_refund",
            json!({ "invoice": "in_000001_1", "amount": 100, "currency": "eur", "reason": "goodwill" }),
        ),
        ("billing.find_customer", account()),
        ("billing.get_balance", json!({ "customer": "cus_000001" })),
        ("billing.get_invoice", json!({ "invoice": "in_000001_1" })),
        ("crm.add_note", json!({ "account": ACCOUNT, "text": "Seen." })),
        ("crm.get_account", account()),
        ("crm.get_churn_risk", account()),
        ("crm.get_contract", contract()),
        ("crm.get_contract_terms", contract()),
        ("crm.get_forecast", json!({ "opportunity": "OPP-0001" })),
        ("crm.list_contacts", account()),
        ("crm.list_contracts", account()),
        ("crm.list_opportunities", account()),
        (
            "crm.mark_churn_risk",
            json!({ "account": ACCOUNT, "level": "high", "reason": "because" }),
        ),
        (
            "crm.update_contract",
            json!({ "contract": "CTR-0001", "terms": { "AutoRenew": true }, "reason": "because" }),
        ),
        ("crm.update_forecast", json!({ "opportunity": "OPP-0001", "category": "commit" })),
        ("crm.withdraw_note", json!({ "note": "NOTE-1" })),
        ("desk.cancel_escalation", json!({ "escalation": 1, "reason": "because" })),
        ("desk.count_tickets", json!({ "external_ref": ACCOUNT })),
        (
            "desk.create_escalation",
            json!({ "ticket": 1, "severity": "sev1", "reason": "because it is urgent" }),
        ),
        ("desk.find_company", json!({ "external_ref": ACCOUNT, "expected_name": "Anybody" })),
        ("desk.get_ticket", json!({ "ticket": 1 })),
        ("desk.list_escalations", json!({ "ticket": 1 })),
        ("desk.list_tickets", json!({ "external_ref": ACCOUNT })),
        ("mail.send", mail()),
        ("model.main", json!({ "conversation": "x", "turn": 0, "segments": [] })),
        ("usage.get_usage", account()),
    ]
}

/// What agents may have of their own, and what only programs do.
fn own() -> Vec<(&'static str, Value)> {
    vec![
        ("ask_person", json!({ "question": "May I?" })),
        ("endorse", json!({ "result": "r1", "why": "I say so." })),
        ("extract", json!({ "result": "r1", "question": "renews_on" })),
        ("load_skill", json!({ "name": "renewal-mail" })),
        ("note", json!({ "name": "x", "text": "y" })),
        ("playbook_contract_field_change", json!({ "account": ACCOUNT })),
        ("renewal_mail", json!({ "account": ACCOUNT, "contract": "CTR-0001" })),
        ("shell", json!({ "command": "rm -rf /" })),
    ]
}

/// Handles to results that there are not, where granted tools would take them.
fn forged() -> Vec<(&'static str, Value)> {
    vec![
        ("look", json!({ "result": "r99" })),
        ("crm_get_account", json!({ "account": { "$result": "r99" } })),
        (
            "crm_add_note",
            json!({ "account": ACCOUNT, "text": { "$result": "r99", "at": "/Name" } }),
        ),
        ("crm_add_note", json!({ "account": { "$result": "" }, "text": "Seen." })),
    ]
}

fn wire(id: &'static str) -> &'static str {
    id.replace('.', "_").leak()
}

/// Every operation by its two spellings, its own tools and forged handles, of an agent that may propose changes: it
/// gets the two that it was granted, and of the rest it hears that there is no such thing. None is even proposed.
#[test]
fn a_model_that_asks_for_everything_gets_its_grants() {
    let all = catalogue();
    let by_name: Vec<_> = all.iter().map(|(id, args)| (wire(id), args.clone())).collect();
    let asked = [by_name.clone(), all.clone(), own(), forged()];
    let model = Model::start(
        asked.clone().map(Says::Calls).into_iter().chain([Says::Text("I took what I got.")]),
    );
    let office = office(&model);
    let pack = office.path("packs/customer-ops");
    fs::write(pack.join("agents/grasping.yaml"), AGENT).unwrap();
    let manifest = fs::read_to_string(pack.join("pack.yaml")).unwrap();
    let wanted: BTreeSet<&str> = all.iter().map(|(id, _)| *id).collect();
    let asks = manifest.lines().filter_map(|line| line.strip_prefix("    - "));
    let missing: Vec<&str> = asks.filter(|id| !wanted.contains(id)).collect();
    assert!(missing.is_empty(), "nobody asks for {missing:?}");

    let words = ["run", "Take what you can get", "--agent", "grasping", "--write"];
    let ran = office.json(&words).exits(0).document();
    assert_eq!(ran["output"], "I took what I got.", "{ran:#}");
    let run = id_of(&ran);
    assert_eq!(tools(&model.heard()[0]), ["crm_get_account", "crm_add_note", "look"]);
    let granted: Vec<&str> = GRANTED.iter().map(|id| wire(id)).collect();
    let results = told(&model, 5);
    let calls: Vec<_> = asked.into_iter().flatten().collect();
    assert_eq!(results.len(), calls.len(), "every call is answered");
    for ((name, args), result) in calls.iter().zip(&results) {
        let offered = granted.contains(name) || *name == "look";
        let expected = match (offered, args.to_string().contains("r99")) {
            (false, _) => format!("there is no tool `{name}`"),
            (true, true) => "there is no result `r99`".to_owned(),
            (true, false) if args["account"]["$result"] == "" => "there is no result ``".to_owned(),
            (true, false) => continue,
        };
        assert!(result.contains(&expected), "{name} {args}: {result}");
    }
    let detail = get(&office, &run);
    let proposed: BTreeSet<&str> = detail["actions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|action| action["operation"].as_str().unwrap())
        .collect();
    assert_eq!(proposed, BTreeSet::from(["crm.add_note", "crm.get_account", "model.main"]));
    let writes = office.writes();
    assert_eq!(writes.len(), 1, "its own note, once: {writes:#?}");
    assert!(office.world.mails().is_empty());
    assert_eq!(office.json(&["approval", "list"]).exits(0).document()["items"], json!([]));
    office.json(&["run", "replay", &run]).exits(0);
}
