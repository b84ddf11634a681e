//! Intents: every row is a request to the facade of an office without a world; nothing may begin.

use harness::app::ops;
use serde_json::{Value, json};

use super::{
    Debts,
    tokens::{Desk, told},
};

/// The request as JSON, and a word the refusal contains.
#[rustfmt::skip]
pub(super) const TABLE: &[(&str, &str)] = &[
    (r#"{}"#, "intent"),
    (r#"{"intent": "nothing_like_it"}"#, "intent"),
    (r#"{"intent": ""}"#, "intent"),
    (r#"{"intent": 5}"#, "string"),
    (r#"{"intent": ["contract_field_change"]}"#, "string"),
    (r#"{"intent": "Contract_Field_Change"}"#, "intent"),
    (r#"{"intent": "customer-ops/nothing"}"#, "intent"),
    (r#"{"intent": "other/contract_field_change"}"#, "intent"),
    (r#"{"intent": "../contract_field_change"}"#, "intent"),
    (r#"{"intnet": "contract_field_change"}"#, "intnet"),
    (r#"{"text": ""}"#, "intent"),
    (r#"{"text": "make me a sandwich please"}"#, "intent"),
    (r#"{"text": "escalate the ticket and update the contract"}"#, "contract_field_change"),
    (r#"{"intent": "contract_field_change", "text": 5}"#, "string"),
    (r#"{"intent": "contract_field_change"}"#, "inputs"),
    (r#"{"intent": "contract_field_change", "inputs": null}"#, "inputs"),
    (r#"{"intent": "contract_field_change", "inputs": []}"#, "inputs"),
    (r#"{"intent": "contract_field_change", "inputs": "account"}"#, "inputs"),
    (r#"{"intent": "contract_field_change", "inputs": {"account": 42}}"#, "account"),
    (r#"{"intent": "contract_field_change", "inputs": {"account": "ACC-42", "field": "AutoRenew", "value": "true", "reason": "asked"}}"#, "account"),
    (r#"{"intent": "contract_field_change", "inputs": {"account": "acc-0042", "field": "AutoRenew", "value": "true", "reason": "asked"}}"#, "account"),
    (r#"{"intent": "contract_field_change", "inputs": {"account": "ACC-0042\n", "field": "AutoRenew", "value": "true", "reason": "asked"}}"#, "account"),
    (r#"{"intent": "contract_field_change", "inputs": {"account": "ACC-٠٠٤٢", "field": "AutoRenew", "value": "true", "reason": "asked"}}"#, "account"),
    (r#"{"intent": "contract_field_change", "inputs": {"account": "ACC-0042", "field": "Price", "value": "1", "reason": "asked"}}"#, "field"),
    (r#"{"intent": "contract_field_change", "inputs": {"account": "ACC-0042", "field": "AutoRenew", "value": true, "reason": "asked"}}"#, "value"),
    (r#"{"intent": "contract_field_change", "inputs": {"account": "ACC-0042", "field": "AutoRenew", "value": "", "reason": "asked"}}"#, "value"),
    (r#"{"intent": "contract_field_change", "inputs": {"account": "ACC-0042", "field": "AutoRenew", "value": "true", "reason": "x"}}"#, "reason"),
    (r#"{"intent": "contract_field_change", "inputs": {"account": "ACC-0042", "field": "AutoRenew", "value": "true", "reason": "asked", "also": 1}}"#, "also"),
    (r#"{"intent": "contract_field_change", "inputs": {"account": "ACC-0042", "field": "AutoRenew", "value": "true"}}"#, "reason"),
    (r#"{"intent": "contract_field_change", "inputs": {"account": {"a": {"b": {}}}}}"#, "account"),
    (r#"{"intent": "contract_field_change", "inputs": {"account": "ACC-0042", "field": "AutoRenew", "value": "true", "reason": "asked"}, "idempotency_key": ""}"#, "idempotency"),
    (r#"{"intent": "contract_field_change", "inputs": {}, "idempotency_key": 5}"#, "string"),
    (r#"{"intent": "contract_field_change", "inputs": {}, "wait_ms": -1}"#, "-1"),
    (r#"{"intent": "contract_field_change", "inputs": {}, "wait_ms": "soon"}"#, "u64"),
    (r#"{"intent": "contract_field_change", "inputs": {}, "wait_ms": 18446744073709551616}"#, "u64"),
    (r#""contract_field_change""#, "struct"),
    (r#"[1, 2, 3]"#, "expected"),
    (r#"{"intent": "renewal_risk_review", "inputs": {"account": null}}"#, "account"),
];

/// C103: inputs are held to their schema and to a size at the door.
#[test]
fn broken_intents() {
    let desk = Desk::open();
    let mut debts = Debts::default();
    for (request, names) in TABLE {
        let request_json: Value = serde_json::from_str(request).unwrap();
        let refused = desk.call("intent.submit", request_json).err();
        debts.hold(request, names, refused.as_ref().map(told));
    }
    let huge = json!({"account": "ACC-0042", "field": "AutoRenew", "value": "true",
        "reason": "x".repeat(2_000_000)});
    for (row, inputs) in [("2 MB of reason", huge), ("deep", deep(100))] {
        let request = json!({"intent": "contract_field_change", "inputs": inputs});
        let refused = desk.call("intent.submit", request).err();
        debts.hold(row, "", refused.as_ref().map(told));
    }
    debts.settle();
    desk.has_nothing();
}

/// What comes through the socket was read with a limit; what another program hands in was not.
#[test]
fn a_deep_value_handed_in_is_refused_by_every_operation_and_not_descended_into() {
    let desk = Desk::open();
    let mut debts = Debts::default();
    for op in ops::OPS {
        for levels in [ops::DEPTH_MAX + 1, 2_000, 50_000] {
            let refused = desk.call(op.name, deep(levels)).err();
            let row = format!("{} with {levels} levels", op.name);
            debts.hold(&row, "deeper than", refused.as_ref().map(told));
        }
    }
    debts.settle();
    desk.has_nothing();
}

fn deep(levels: usize) -> Value {
    // Not with `json!`, which would walk down what it is given.
    let wrap = |inner| Value::Object([("account".to_owned(), inner)].into_iter().collect());
    (0..levels).fold(Value::Null, |inner, _| wrap(inner))
}
