//! Each kind of fault does what it says, and no more.

use std::io::ErrorKind;

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use world::{Fault, FaultKind, System, World, WorldConfig};

use crate::client::{ask, config, effect, get, hash, start, token_for, write, write_keyed};

const FORECAST: &str = "PATCH /crm/opportunities/OPP-0042";

async fn arm(world: &World, rule: Value) {
    write(world, "POST /_world/faults", rule).await.expect(201);
}

async fn patch_forecast(world: &World, key: &str) -> crate::client::Answer {
    write_keyed(world, key, FORECAST, json!({"Category": "at_risk"})).await
}

#[tokio::test]
async fn timeout_before_leaves_no_effect_and_timeout_after_leaves_one() {
    let world = start().await;
    let grown = hash(&world).await;
    arm(&world, json!({"system": "crm", "operation": "crm.update_forecast", "kind": "timeout_before", "on_call": 1, "delay_ms": 1})).await;
    arm(&world, json!({"system": "crm", "operation": "crm.update_forecast", "kind": "timeout_after", "on_call": 2, "delay_ms": 1})).await;
    assert_eq!(patch_forecast(&world, "k1").await.status, 504);
    assert_eq!(hash(&world).await, grown);
    assert_eq!(effect(&world, "crm.update_forecast", "k1").await, (1, 0));
    assert_eq!(patch_forecast(&world, "k1").await.status, 504);
    assert_ne!(hash(&world).await, grown);
    assert_eq!(effect(&world, "crm.update_forecast", "k1").await, (2, 1));
    let third = patch_forecast(&world, "k1").await;
    assert_eq!(third.expect(200)["Category"], "at_risk");
    assert_eq!(effect(&world, "crm.update_forecast", "k1").await, (3, 1));
}

#[tokio::test]
async fn shutdown_wakes_what_hangs() {
    let world = start().await;
    arm(
        &world,
        json!({"system": "crm", "operation": "*", "kind": "timeout_before", "delay_ms": 600_000}),
    )
    .await;
    let token = token_for(&world, "/crm").to_owned();
    let body = json!({"Category": "at_risk"});
    let mut hanging = ask(FORECAST).token(&token).key("k1").body(body).open(&world).await;
    // The ledger counts the request when it has arrived.
    while effect(&world, "crm.update_forecast", "k1").await != (1, 0) {}
    world.shutdown().await;
    let mut answer = Vec::new();
    hanging.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 504"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn server_errors_limits_and_refusals_come_in_the_systems_words() {
    let world = start().await;
    arm(&world, json!({"system": "billing", "operation": "billing.list_invoices", "kind": "5xx", "status": 502, "on_call": 1})).await;
    arm(&world, json!({"system": "billing", "operation": "billing.list_invoices", "kind": "429", "retry_after_s": 7, "on_call": 2})).await;
    arm(&world, json!({"system": "billing", "operation": "billing.list_invoices", "kind": "403", "on_call": "3..4"})).await;
    let path = "/billing/invoices";
    assert_eq!(get(&world, path).await.expect(502)["error"]["type"], "api_error");
    let limited = get(&world, path).await;
    assert_eq!(limited.expect(429)["error"]["code"], "rate_limit");
    assert_eq!(limited.headers["retry-after"], "7");
    assert_eq!(get(&world, path).await.status, 403);
    assert_eq!(get(&world, path).await.status, 403);
    assert_eq!(get(&world, path).await.status, 200);
}

#[tokio::test]
async fn an_error_may_hide_an_effect() {
    let world = start().await;
    arm(&world, json!({"system": "crm", "operation": "crm.update_forecast", "kind": "5xx", "phase": "after", "on_call": 1})).await;
    assert_eq!(patch_forecast(&world, "k1").await.status, 503);
    assert_eq!(effect(&world, "crm.update_forecast", "k1").await, (1, 1));
}

#[tokio::test]
async fn reset_breaks_the_connection_before_or_after_the_effect() {
    let world = start().await;
    for (phase, performed) in [("before", 0), ("after", 1)] {
        arm(&world, json!({"system": "crm", "operation": "crm.update_forecast", "kind": "reset", "phase": phase})).await;
        let broken = ask(FORECAST)
            .token(token_for(&world, "/crm"))
            .key(phase)
            .body(json!({"Category": "at_risk"}))
            .try_send(&world)
            .await;
        assert_eq!(broken.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(effect(&world, "crm.update_forecast", phase).await, (1, performed));
        ask("DELETE /_world/faults").send(&world).await.expect(200);
    }
    assert_eq!(get(&world, "/crm/accounts/ACC-0042").await.status, 200);
}

#[tokio::test]
async fn bent_answers_claim_what_is_not_so() {
    let world = start().await;
    let grown = hash(&world).await;
    let fault = |kind: &str, operation: &str| json!({"system": operation.split('.').next(), "operation": operation, "kind": kind, "on_call": 1});
    arm(&world, fault("missing_field", "crm.get_contract")).await;
    let contract = get(&world, "/crm/contracts/CTR-0042").await.expect(200);
    assert_eq!((contract.get("RenewalDate"), contract.get("Id").is_some()), (None, true));

    let mut rule = fault("missing_field", "desk.list_tickets");
    rule["field"] = "/tickets/*/sentiment".into();
    arm(&world, rule).await;
    let tickets = get(&world, "/desk/tickets?company_id=70042").await.expect(200);
    assert_eq!(tickets["tickets"].as_array().unwrap().len(), 3);
    assert!(tickets["tickets"].as_array().unwrap().iter().all(|t| t.get("sentiment").is_none()));

    arm(&world, fault("changed_shape", "usage.get_usage")).await;
    let usage = get(&world, "/usage/accounts/ACC-0042").await.expect(200);
    assert_eq!(usage["payload"]["account"], "ACC-0042");

    let mut rule = fault("changed_shape", "usage.get_usage");
    rule["field"] = "/seats".into();
    arm(&world, rule).await;
    let usage = get(&world, "/usage/accounts/ACC-0042").await.expect(200);
    assert_eq!(usage["seats"], json!({"value": "600"}));

    arm(&world, fault("duplicate_record", "desk.find_company")).await;
    let companies = get(&world, "/desk/companies?external_ref=ACC-0042").await.expect(200);
    assert_eq!(companies["companies"][0], companies["companies"][1]);

    arm(&world, fault("name_mismatch", "desk.find_company")).await;
    let companies = get(&world, "/desk/companies?external_ref=ACC-0042").await.expect(200);
    assert_eq!(companies["companies"][0]["name"], "Meridian Unrelated Holdings");
    assert_eq!(companies["companies"][0]["id"], 70_042);
    assert_eq!(hash(&world).await, grown);
}

#[tokio::test]
async fn a_stale_answer_is_older_in_time_and_version() {
    let world = start().await;
    let rule = |operation: &str| json!({"system": operation.split('.').next(), "operation": operation, "kind": "stale", "on_call": 1, "seconds": 86_400});
    arm(&world, rule("usage.get_usage")).await;
    let usage = get(&world, "/usage/accounts/ACC-0042").await.expect(200);
    assert_eq!(usage["as_of"], "2026-11-19T09:00:00Z");
    let usage = get(&world, "/usage/accounts/ACC-0042").await.expect(200);
    assert_eq!(usage["as_of"], "2026-11-20T09:00:00Z");
    arm(&world, rule("crm.get_account")).await;
    let account = get(&world, "/crm/accounts/ACC-0042").await;
    assert_eq!(account.headers["etag"], "\"0\"");
    assert_eq!(account.json()["Version"], 0);
    assert_eq!(account.json()["AsOf"], "2026-11-19T09:00:00Z");
    arm(&world, rule("billing.get_balance")).await;
    let balance = get(&world, "/billing/customers/cus_000042/balance").await.expect(200);
    assert_eq!(balance["as_of"], 1_795_165_200 - 86_400);
}

#[tokio::test]
async fn odd_bodies_come_as_announced() {
    let world = start().await;
    let path = "/crm/accounts/ACC-0042";
    let whole = get(&world, path).await.expect(200);
    arm(&world, json!({"system": "crm", "operation": "crm.get_account", "kind": "slow_drip", "on_call": 1, "delay_ms": 1})).await;
    arm(
        &world,
        json!({"system": "crm", "operation": "crm.get_account", "kind": "garbage", "on_call": 2}),
    )
    .await;
    arm(&world, json!({"system": "crm", "operation": "crm.get_account", "kind": "huge", "on_call": 3, "megabytes": 3})).await;
    let dripped = get(&world, path).await;
    assert_eq!(dripped.headers["transfer-encoding"], "chunked");
    assert_eq!(dripped.expect(200), whole);
    let garbage = get(&world, path).await;
    assert_eq!(garbage.status, 200);
    assert!(serde_json::from_slice::<Value>(&garbage.body).is_err());
    let huge = get(&world, path).await;
    assert!(huge.body.len() > 3 * 1024 * 1024 && huge.body.len() < 4 * 1024 * 1024);
    assert!(huge.json()["padding"].is_string());
    assert_eq!(get(&world, path).await.expect(200), whole);
}

#[tokio::test]
async fn faults_come_from_the_configuration_and_go_when_deleted() {
    let fault = Fault::new(System::Usage, "usage.get_usage", FaultKind::Garbage);
    let world = World::start(WorldConfig { faults: vec![fault], ..config() }).await.unwrap();
    let listed = get(&world, "/_world/faults").await.expect(200);
    assert_eq!(listed["faults"][0]["kind"], "garbage");
    assert_eq!(listed["faults"][0]["on_call"], "always");
    ask("DELETE /_world/faults").send(&world).await.expect(200);
    get(&world, "/usage/accounts/ACC-0042").await.expect(200);
    let wrong = json!({"system": "usage", "operation": "usage.no_such", "kind": "garbage"});
    assert_eq!(write(&world, "POST /_world/faults", wrong).await.status, 400);
}
