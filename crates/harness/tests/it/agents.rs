//! Model-driven agents, end to end: a scripted model over real HTTP, the demo companies, the built binary.

mod model;

use std::fs;

use serde_json::{Value, json};

use crate::support::Office;
use model::{Model, Says};

/// An office whose agents think with this model.
fn office(model: &Model) -> Office {
    office_with(model, "clearance = \"confidential\"\n")
}

fn office_with(model: &Model, terms: &str) -> Office {
    let office = Office::open();
    let config = fs::read_to_string(office.config()).unwrap();
    let models = format!(
        "[providers.scripted]\napi = \"openai\"\nurl = \"{}\"\nmodel = \"scripted-1\"\n\
         streaming = \"off\"\n{terms}[models.main]\nproviders = [\"scripted\"]\n",
        model.url
    );
    fs::write(office.config(), config + &models).unwrap();
    office
}

fn submit(office: &Office, person: &str, intent: &str, inputs: &Value) -> Value {
    let inputs = inputs.to_string();
    let said = ["intent", "submit", intent, "--json", &inputs, "--wait", "-o", "json"];
    let ran = office.run(&[&["--as", person][..], &said[..]].concat());
    assert!([0, 7, 8, 9].contains(&ran.code), "{ran:#?}");
    ran.document()["run"].clone()
}

/// C067, C082, C096: an agent reads four systems, and its answer fits its schema and its checks.
#[test]
fn the_account_analyst_reads_four_systems_and_recommends() {
    let account = json!({ "account": "ACC-0001" });
    let model = Model::start([
        Says::Calls(vec![
            ("crm_get_account", account.clone()),
            ("crm_list_contracts", account.clone()),
            ("usage_get_usage", json!({ "account": "ACC-0001", "weeks": 4 })),
            ("desk_count_tickets", json!({ "external_ref": "ACC-0001" })),
            ("billing_find_customer", account.clone()),
        ]),
        Says::Text("It looks good."),
        Says::Text(
            r#"{"summary": "Healthy.", "recommendation": "renew", "evidence": ["usage is steady"]}"#,
        ),
    ]);
    let office = office(&model);
    let run = submit(&office, "ulla", "account_analysis", &account);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_eq!(run["output"]["recommendation"], "renew", "{run:#}");
    let heard = model.heard();
    assert_eq!(heard.len(), 3);
    let tools = heard[0]["tools"].as_array().unwrap().len();
    assert_eq!(tools, 7, "six of its own and `look`: {:#}", heard[0]["tools"]);
    let last = model.messages(3);
    assert!(last.last().unwrap()["content"].as_str().unwrap().contains("must be JSON"));
    let told: Vec<&str> =
        model.messages(2).iter().filter_map(|m| m["tool_call_id"].as_str().map(|_| "t")).collect();
    assert_eq!(told.len(), 5, "every call is answered");
}
