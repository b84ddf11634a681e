//! The harness as a server of MCP (C131): what it offers, who may call it, and how a call waits for a person.

mod access;
mod attacks;
mod beside;
mod client;
mod doors;
mod front;
mod fuzz;
mod hostile;
mod inside;
mod invariants;
mod lists;
mod nested;
mod owners;
mod proxy;
mod served;
mod tasks;
mod waiting;

use serde_json::{Value, json};

use crate::support::Office;
use client::Pipe;
pub(crate) use client::{Speaks, post};
pub(crate) use front::Front;
pub(crate) use lists::served;

/// A change that asks a person.
fn change(days: u32) -> Value {
    json!({
        "account": "ACC-0042", "field": "PaymentTermsDays", "value": days.to_string(),
        "reason": "as agreed in the call",
    })
}

fn run_of(result: &Value) -> String {
    let run = result["_meta"]["harness/run"].as_str();
    run.unwrap_or_else(|| panic!("no run: {result}")).to_owned()
}

/// C131, C132: both generations list the same tools with schemas and what is said about their effects, and call them;
/// the answer is data, and names its run and its receipts, which verify.
#[test]
fn both_generations_list_and_call_over_standard_input() {
    let office = Office::open();
    let mut lists = Vec::new();
    for speaks in [Speaks::Before, Speaks::Now] {
        let mut pipe =
            Pipe::open(&office, speaks, &["--operations", "crm.get_account,crm.update_contract"]);
        let tools = pipe.tools();
        let named = |name: &str| {
            let found = tools.iter().find(|tool| tool["name"] == name);
            found.unwrap_or_else(|| panic!("no {name} in {tools:#?}")).clone()
        };
        let reads = named("churn_risk_read");
        assert_eq!(reads["annotations"]["readOnlyHint"], true, "{reads}");
        assert_eq!(reads["inputSchema"]["required"], json!(["account"]));
        let changes = named("contract_field_change");
        assert_eq!(changes["annotations"]["readOnlyHint"], false, "{changes}");
        let refunds = named("goodwill_refund");
        assert_eq!(refunds["annotations"]["destructiveHint"], true, "{refunds}");
        let single = named("crm__get_account");
        assert_eq!(single["annotations"]["readOnlyHint"], true, "{single}");
        assert_eq!(single["outputSchema"]["type"], "object", "{single}");
        assert!(tools.iter().any(|tool| tool["name"] == "harness_wait"));
        assert!(!tools.iter().any(|tool| tool["name"] == "crm__add_note"), "nobody named it");

        let risk = pipe.call("churn_risk_read", json!({"account": "ACC-0042"}));
        assert_eq!(risk["isError"], false, "{risk}");
        assert_eq!(risk["structuredContent"]["account"], "ACC-0042", "{risk:#}");
        let account = pipe.call("crm__get_account", json!({"account": "ACC-0042"}));
        assert_eq!(account["isError"], false, "{account}");
        for result in [&risk, &account] {
            assert_ne!(result["_meta"]["harness/receipts"], json!([]), "{result}");
            let verified = office.json(&["receipt", "verify", &run_of(result)]);
            assert_eq!(verified.exits(0).document()["verdict"], "verified");
        }
        assert_eq!(pipe.end(), 0);
        lists.push(tools.into_iter().map(|tool| tool["name"].clone()).collect::<Vec<_>>());
    }
    assert_eq!(lists[0], lists[1]);
}

/// What does not fit, and what there is not, is said so; the first to the model, the second to its client.
#[test]
fn what_cannot_be_called_is_refused_in_words() {
    let office = Office::open();
    let mut pipe = Pipe::open(&office, Speaks::Before, &[]);
    let wrong = pipe.call("churn_risk_read", json!({"account": "everything"}));
    assert_eq!(wrong["isError"], true, "{wrong}");
    assert_eq!(wrong["structuredContent"]["code"], "inputs-invalid", "{wrong}");
    for name in ["churn_risk_reed", "crm__get_account", "crm.get_account", ""] {
        let none = pipe.ask("tools/call", json!({"name": name, "arguments": {}}));
        assert_eq!(none["error"]["code"], -32602, "{name}: {none}");
    }
    let stranger = pipe.call("harness_wait", json!({"run": "run_0000000000000000"}));
    assert_eq!(stranger["isError"], true, "{stranger}");
    let runs = office.json(&["run", "list"]).exits(0).document();
    assert_eq!(runs["items"], json!([]), "nothing was begun");
    // A line that is too long, or no message, ends nothing.
    pipe.say(
        &json!({"jsonrpc": "2.0", "id": 90, "method": "x", "params": {"x": "y".repeat(2_000_000)}}),
    );
    assert!(!pipe.tools().is_empty());
}

/// C131: policy judges what comes this way as it judges everything: denied is an answer that says so.
#[test]
fn what_policy_denies_is_told_as_denied() {
    let denies = "@id(\"office.all\") @reason(\"The office uses its pack.\")\n\
        permit (principal, action, resource);\n\
        @id(\"office.no\") @reason(\"Contracts are closed.\")\n\
        forbid (principal, action == Action::\"crm.update_contract\", resource);\n";
    let office = Office::with_policy(Some(denies));
    let before = office.contract("ACC-0042")["Version"].clone();
    let mut pipe = Pipe::open(&office, Speaks::Now, &["--operations", "crm.*"]);
    assert!(
        !pipe.tools().iter().any(|tool| tool["name"] == "crm__update_contract"),
        "denied is hidden"
    );
    let denied = pipe.call("contract_field_change", change(45));
    assert_eq!(denied["isError"], true, "{denied}");
    assert_eq!(denied["structuredContent"]["state"], "denied", "{denied}");
    assert!(
        denied["structuredContent"]["because"][0].as_str().unwrap().contains("office.no"),
        "{denied}"
    );
    assert_eq!(office.contract("ACC-0042")["Version"], before);
}
