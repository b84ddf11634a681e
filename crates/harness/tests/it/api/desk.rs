//! Work among people: who looks after what, and several answers at once (C167, C175).

use serde_json::{Value, json};

use super::{
    Api,
    packs::{accepted, bare, pack},
};

/// Three refunds that are asked about at the same time.
const THREE: &str = r#"
schema: harness.playbook/v1
name: goodwill_refund
title: Goodwill refund
steps:
  - {id: invoice, do: billing.get_invoice, with: {invoice: "${{ intent.invoice }}"}}
  - id: refunds
    parallel:
      - id: one
        do: billing.create_refund
        with: {invoice: "${{ intent.invoice }}", amount: 100, currency: "${{ intent.currency }}", reason: "${{ intent.reason }}"}
        on_failure: {policy_error: [log: {caveat: not refunded}]}
      - id: two
        do: billing.create_refund
        with: {invoice: "${{ intent.invoice }}", amount: 200, currency: "${{ intent.currency }}", reason: "${{ intent.reason }}"}
        on_failure: {policy_error: [log: {caveat: not refunded}]}
      - id: three
        do: billing.create_refund
        with: {invoice: "${{ intent.invoice }}", amount: 300, currency: "${{ intent.currency }}", reason: "${{ intent.reason }}"}
        on_failure: {policy_error: [log: {caveat: not refunded}]}
  - id: result
    return: {invoice: "${{ intent.invoice }}"}
"#;

fn parked(api: &Api) -> Value {
    let ulla = api.token("ulla", &[]);
    let change = json!({"intent": "contract_field_change", "inputs": {
        "account": "ACC-0007", "field": "PaymentTermsDays", "value": "45",
        "reason": "as agreed in the call"}, "wait_ms": 20_000});
    let answer = api.post(&ulla, "/v1/intents", &change).ok();
    assert_eq!(answer["run"]["status"], "asking", "{answer}");
    answer
}

#[test]
fn who_looks_after_an_ask_is_seen_by_all_and_takes_no_right() {
    let api = Api::open();
    parked(&api);
    let (ulla, mira) = (api.token("ulla", &[]), api.token("mira", &[]));
    let lars = api.token("lars", &[]);
    let first = || api.get(&lars, "/v1/approvals").ok()["items"][0].clone();
    let id = first()["id"].as_str().unwrap().to_owned();
    assert_eq!(first()["claimed_by"], Value::Null);
    let shown = format!("/v1/approvals/{id}");
    let act =
        |token: &str, verb: &str, body: Value| api.post(token, &format!("{shown}/{verb}"), &body);
    let tag = api.get(&mira, &shown).header("etag").unwrap().to_owned();
    assert_eq!(act(&mira, "claim", json!({})).ok()["claimed_by"], "person:mira");
    assert_eq!(first()["claimed_by"], "person:mira");
    // Whoever holds it does not lose it to another claim; an operator assigns, a viewer does nothing.
    assert_eq!(act(&ulla, "claim", json!({})).refused(409), "claimed");
    assert_eq!(act(&lars, "claim", json!({})).refused(403), "not-allowed");
    assert_eq!(act(&ulla, "assign", json!({})).refused(422), "assign-to");
    assert_eq!(act(&ulla, "assign", json!({"to": "nobody"})).refused(422), "unknown-person");
    let assigned = act(&ulla, "assign", json!({"to": "ulla", "note": "I know the customer"})).ok();
    assert_eq!(assigned["claimed_by"], "person:ulla");
    assert_eq!(act(&mira, "release", json!({})).refused(409), "claimed");
    act(&mira, "set-aside", json!({"note": "asked the customer"})).ok();
    let seen = first();
    assert_eq!(
        (&seen["aside_by"], &seen["note"]),
        (&json!("person:mira"), &json!("asked the customer"))
    );
    act(&ulla, "take-up", json!({})).ok();
    assert_eq!(first()["aside_by"], Value::Null);

    // Nothing of that changed what is asked, nor who may answer it.
    assert_eq!(api.get(&mira, &shown).header("etag").unwrap(), tag);
    let digest = json!({"digest": api.get(&mira, &shown).ok()["digest"], "wait_ms": 20_000});
    let approved = api.decide(&mira, &shown, "approve", &digest).ok();
    assert_eq!(approved["status"], "succeeded", "{approved}");
    assert_eq!(act(&mira, "claim", json!({})).refused(409), "approval-closed");
}

#[test]
fn an_exception_is_claimed_until_it_is_settled() {
    let api = Api::open();
    api.office
        .world
        .fault(&json!({"system": "crm", "operation": "crm.get_account", "kind": "403"}));
    let ulla = api.token("ulla", &[]);
    let change = json!({"intent": "contract_field_change", "inputs": {
        "account": "ACC-0007", "field": "PaymentTermsDays", "value": "45",
        "reason": "as agreed in the call"}, "wait_ms": 20_000});
    api.post(&ulla, "/v1/intents", &change).ok();
    let first = || api.get(&ulla, "/v1/exceptions").ok()["items"][0].clone();
    let id = first()["id"].as_str().unwrap().to_owned();
    let shown = format!("/v1/exceptions/{id}");
    let claimed = api.post(&ulla, &format!("{shown}/claim"), &json!({})).ok();
    assert_eq!(claimed["claimed_by"], "person:ulla");
    assert_eq!(first()["claimed_by"], "person:ulla");
    let why = json!({"evidence": "nothing to be done"});
    api.decide(&ulla, &shown, "stop", &why).ok();
    let late = api.post(&ulla, &format!("{shown}/release"), &json!({}));
    assert_eq!(late.refused(409), "exception-settled");
}

#[test]
fn three_calls_at_once_are_answered_in_one_request_and_a_part_of_it_counts() {
    let api = bare();
    let (ada, ulla, mira) = (api.token("ada", &[]), api.token("ulla", &[]), api.token("mira", &[]));
    let mut files = pack("0.1.0", &[]);
    files.insert("playbooks/goodwill_refund.yaml".to_owned(), THREE.to_owned());
    api.post(&ada, "/v1/packs", &accepted(&api, &ada, &files)).ok();
    let refund = json!({"intent": "goodwill_refund", "wait_ms": 20_000, "inputs": {
        "invoice": "in_000042_1", "amount": 600, "currency": "eur", "reason": "three weeks late"}});
    let submitted = api.post(&ulla, "/v1/intents", &refund).ok();
    assert_eq!(submitted["run"]["status"], "asking", "{submitted}");
    let listed = api.get(&mira, "/v1/approvals").ok();
    let asks: Vec<&Value> = listed["items"].as_array().unwrap().iter().collect();
    assert_eq!(asks.len(), 3, "{listed}");
    let answer = |ask: &Value, verb: &str| {
        let card = api.get(&mira, &format!("/v1/approvals/{}", ask["id"].as_str().unwrap())).ok();
        json!({"approval": ask["id"], "verb": verb, "digest": card["digest"], "reason": "too much"})
    };
    // Two of the three, one of them not as it was shown: that one does not count, the other does.
    let mut other = answer(asks[1], "approve");
    other["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
    let batch = json!({"answers": [answer(asks[0], "approve"), other]});
    let decided = api.post(&mira, "/v1/approvals/decide", &batch).ok();
    assert_eq!(decided["counted"], 1, "{decided}");
    assert_eq!(decided["items"][0]["problem"], Value::Null);
    assert_eq!(decided["items"][1]["run"], Value::Null);
    assert_eq!(api.get(&mira, "/v1/approvals").ok()["items"].as_array().unwrap().len(), 2);
    // The rest: one yes, one no.
    let batch = json!({"answers": [answer(asks[1], "approve"), answer(asks[2], "deny")]});
    let decided = api.post(&mira, "/v1/approvals/decide", &batch).ok();
    assert_eq!(decided["counted"], 2, "{decided}");
    let run = format!("/v1/runs/{}", submitted["run"]["id"].as_str().unwrap());
    let over = || {
        let status = api.get(&ulla, &run).ok()["run"]["status"].as_str().unwrap().to_owned();
        !["running", "asking"].contains(&status.as_str())
    };
    while !over() {
        std::thread::yield_now();
    }
    let refunds: Vec<Value> = api
        .office
        .world
        .effects()
        .into_iter()
        .filter(|effect| {
            effect["operation"] == "billing.create_refund" && effect["times_performed"] == 1
        })
        .collect();
    assert_eq!(refunds.len(), 2, "the denied one was not sent: {refunds:#?}");
    assert_eq!(
        api.post(&mira, "/v1/approvals/decide", &json!({"answers": []})).refused(422),
        "batch-size"
    );
}
