//! Keys, versions, ledger and hash: what a client can prove about its writes.

use serde_json::{Value, json};

use crate::client::{ask, effect, get, hash, start, write, write_keyed};

#[tokio::test]
async fn a_key_makes_a_repeat_harmless_where_it_is_honoured() {
    let world = start().await;
    let escalation = json!({"ticket_id": 7_000_421, "severity": "sev1", "reason": "line down"});
    let refund = json!({"invoice": "in_000042_1", "amount": 50_000, "currency": "eur", "reason": "goodwill"});
    for (request, body, operation, status) in [
        (
            "PATCH /crm/accounts/ACC-0042/churn_risk",
            json!({"Level": "high", "Reason": "usage"}),
            "crm.mark_churn_risk",
            200,
        ),
        ("POST /desk/escalations", escalation, "desk.create_escalation", 201),
        ("POST /billing/refunds", refund, "billing.create_refund", 200),
    ] {
        let first = write_keyed(&world, "k1", request, body.clone()).await;
        let after = hash(&world).await;
        let second = write_keyed(&world, "k1", request, body.clone()).await;
        assert_eq!(first.expect(status), second.expect(status), "{request}");
        assert_eq!(first.headers.get("idempotent-replayed"), None);
        assert_eq!(second.headers["idempotent-replayed"], "true");
        assert_eq!(effect(&world, operation, "k1").await, (2, 1), "{operation}");
        let mut changed = body;
        changed["reason"] = "another".into();
        assert_eq!(write_keyed(&world, "k1", request, changed).await.status, 422);
        assert_eq!(hash(&world).await, after);
    }
}

#[tokio::test]
async fn usage_ignores_keys_but_can_be_asked_by_reference() {
    let world = start().await;
    let body = json!({"account": "ACC-0042", "text": "renewal review", "client_ref": "r1"});
    let probe = "/usage/annotations?client_ref=r1";
    assert_eq!(get(&world, probe).await.expect(200)["count"], 0);
    for _ in 0..2 {
        write_keyed(&world, "k1", "POST /usage/annotations", body.clone()).await.expect(201);
    }
    assert_eq!(get(&world, probe).await.expect(200)["count"], 2);
    assert_eq!(effect(&world, "usage.create_annotation", "r1").await, (2, 2));
}

#[tokio::test]
async fn a_write_against_a_moved_version_is_refused() {
    let world = start().await;
    let request = "PATCH /crm/contracts/CTR-0042";
    let token = world.tokens().crm.write.clone();
    let read = get(&world, "/crm/contracts/CTR-0042").await;
    let seen = read.headers["etag"].clone();
    assert_eq!(seen, format!("\"{}\"", read.json()["Version"]));
    let change = |etag: &str, status: &str| {
        ask(request).token(&token).header("If-Match", etag).body(json!({"Status": status}))
    };
    let moved = change(&seen, "in_negotiation").send(&world).await;
    assert_eq!(moved.expect(200)["Version"], 2);
    let refused = change(&seen, "cancelled").send(&world).await;
    assert_eq!(refused.expect(412)[0]["errorCode"], "ENTITY_IS_MOVED");
    let contract = get(&world, "/crm/contracts/CTR-0042").await.expect(200);
    assert_eq!(contract["Status"], "in_negotiation");
    change(&moved.headers["etag"], "active").send(&world).await.expect(200);
    change("*", "active").send(&world).await.expect(200);
}

#[tokio::test]
async fn writing_old_values_back_restores_the_hash() {
    let world = start().await;
    let grown = hash(&world).await;
    for (request, fields, change) in [
        (
            "/crm/accounts/ACC-0042",
            vec!["Tier", "OwnerName"],
            json!({"Tier": "starter", "OwnerName": "X"}),
        ),
        (
            "/crm/contracts/CTR-0113",
            vec!["Terms", "Price", "RenewalDate"],
            json!({"Terms": {"NoticePeriodDays": 60}, "Price": {"AmountMinor": 1}, "RenewalDate": "2027-02-28"}),
        ),
        (
            "/crm/opportunities/OPP-0042",
            vec!["Category", "Amount"],
            json!({"Category": "at_risk", "Amount": {"AmountMinor": 5}}),
        ),
        (
            "/crm/accounts/ACC-0042/churn_risk",
            vec!["Level", "Reason"],
            json!({"Level": "high", "Reason": "usage −40 %"}),
        ),
        (
            "/desk/tickets/7000421",
            vec!["status", "priority"],
            json!({"status": "pending", "priority": "low"}),
        ),
    ] {
        let before = get(&world, request).await.expect(200);
        let patch = format!("PATCH {request}");
        write(&world, &patch, change).await.expect(200);
        assert_ne!(hash(&world).await, grown, "{request}");
        let old: serde_json::Map<String, Value> =
            fields.iter().map(|name| ((*name).to_owned(), before[*name].clone())).collect();
        write(&world, &patch, Value::Object(old)).await.expect(200);
        assert_eq!(hash(&world).await, grown, "{request}");
    }
}

#[tokio::test]
async fn a_cancelled_escalation_leaves_its_trace() {
    let world = start().await;
    let grown = hash(&world).await;
    let body =
        json!({"ticket_id": 7_000_422, "severity": "sev2", "reason": "r", "client_ref": "c9"});
    let made = write(&world, "POST /desk/escalations", body).await.expect(201);
    assert_eq!((&made["id"], &made["company_id"]), (&json!(900_001), &json!(70_042)));
    let cancel = "POST /desk/escalations/900001/cancel";
    let gone = write_keyed(&world, "c", cancel, json!({"reason": "rollback"})).await.expect(200);
    assert_eq!(gone["status"], "cancelled");
    assert_eq!(write(&world, cancel, json!({"reason": "again"})).await.status, 409);
    write_keyed(&world, "c", cancel, json!({"reason": "rollback"})).await.expect(200);
    let found = get(&world, "/desk/escalations?client_ref=c9").await.expect(200);
    assert_eq!(found["escalations"][0]["status"], "cancelled");
    assert_ne!(hash(&world).await, grown);
    assert_eq!(effect(&world, "desk.cancel_escalation", "c").await, (2, 1));
}

#[tokio::test]
async fn a_refund_can_be_cancelled_only_within_its_window() {
    let world = start().await;
    let refund = |amount: u64| json!({"invoice": "in_000042_1", "amount": amount, "currency": "eur", "reason": "r"});
    let made = write(&world, "POST /billing/refunds", refund(50_000)).await.expect(200);
    assert_eq!(made["status"], "pending");
    let invoice = "/billing/invoices/in_000042_1";
    assert_eq!(get(&world, invoice).await.expect(200)["amount_refunded"], 50_000);
    let cancelled = write(&world, "POST /billing/refunds/re_000001/cancel", json!({})).await;
    assert_eq!(cancelled.expect(200)["status"], "canceled");
    assert_eq!(get(&world, invoice).await.expect(200)["amount_refunded"], 0);

    write(&world, "POST /billing/refunds", refund(4_600_000)).await.expect(200);
    assert_eq!(write(&world, "POST /billing/refunds", refund(1)).await.status, 400);
    let body = json!({"advance_seconds": 3600});
    let now = write(&world, "POST /_world/clock", body).await.expect(200);
    assert_eq!(now["now"], "2026-11-20T10:00:00Z");
    let late = write(&world, "POST /billing/refunds/re_000002/cancel", json!({})).await;
    assert_eq!(late.expect(409)["error"]["code"], "refund_not_cancelable");
    let settled = get(&world, "/billing/refunds/re_000002").await.expect(200);
    assert_eq!(settled["status"], "succeeded");
}

#[tokio::test]
async fn a_refused_write_is_counted_as_asked_and_not_as_done() {
    let world = start().await;
    let body = json!({"Category": "hopeful"});
    let refused = write_keyed(&world, "k9", "PATCH /crm/opportunities/OPP-0042", body).await;
    assert_eq!(refused.status, 400);
    assert_eq!(effect(&world, "crm.update_forecast", "k9").await, (1, 0));
}
