//! `API.md` says what is so: its examples are the world's own answers.

use serde_json::{Value, json};

use crate::client::{get, start, write};

const DOCUMENT: &str = include_str!("../../API.md");

/// The example of a record shape: the line that begins with its letter.
fn example(letter: &str) -> Value {
    let line = DOCUMENT.lines().find_map(|line| line.strip_prefix(&format!("{letter} `")));
    serde_json::from_str(line.unwrap().split('`').next().unwrap()).unwrap()
}

/// Compares an answer with an example; `…` in the example stands for any text.
#[track_caller]
fn same(letter: &str, mut answer: Value) {
    let mut example = example(letter);
    for (name, value) in example.as_object().unwrap().clone() {
        if value == "…" {
            assert!(answer[&name].is_string(), "{letter}.{name}");
            example.as_object_mut().unwrap().remove(&name);
            answer.as_object_mut().unwrap().remove(&name);
        }
    }
    assert_eq!(answer, example, "{letter}");
}

#[tokio::test]
async fn the_examples_of_records_are_real_answers() {
    let world = start().await;
    for (letter, path) in [
        ("A", "/crm/accounts/ACC-0042"),
        ("K", "/crm/contracts/CTR-0042"),
        ("F", "/crm/opportunities/OPP-0042"),
        ("R", "/crm/accounts/ACC-0042/churn_risk"),
        ("O", "/desk/companies/70042"),
        ("T", "/desk/tickets/7000421"),
        ("U", "/billing/customers/cus_000042"),
        ("B", "/billing/customers/cus_000042/balance"),
        ("I", "/billing/invoices/in_000042_3"),
        ("G", "/usage/accounts/ACC-0042?weeks=1"),
    ] {
        same(letter, get(&world, path).await.expect(200));
    }
    let contacts = get(&world, "/crm/accounts/ACC-0042/contacts").await.expect(200);
    same("C", contacts["records"][0].clone());
}

#[tokio::test]
async fn the_examples_of_writes_are_real_answers() {
    let world = start().await;
    let escalation = json!({"ticket_id": 7_000_421, "severity": "sev1", "reason": "r"});
    same("E", write(&world, "POST /desk/escalations", escalation).await.expect(201));
    let reply = json!({"body": "b", "public": true});
    same("P", write(&world, "POST /desk/tickets/7000421/replies", reply).await.expect(201));
    let refund = json!({"invoice": "in_000042_1", "amount": 50_000, "currency": "eur", "reason": "goodwill"});
    same("N", write(&world, "POST /billing/refunds", refund).await.expect(200));
    let note = write(&world, "POST /crm/accounts/ACC-0042/notes", json!({"Text": "t"})).await;
    same("M", note.expect(201));
    let withdrawn = write(&world, "POST /crm/notes/NOTE-1/withdraw", json!({})).await.expect(200);
    assert_eq!(withdrawn["Status"], "withdrawn");
    write(&world, "POST /crm/notes/NOTE-1/withdraw", json!({})).await.expect(400);
    let annotation = json!({"account": "ACC-0042", "text": "t", "client_ref": "c"});
    same("X", write(&world, "POST /usage/annotations", annotation).await.expect(201));
}

#[tokio::test]
async fn every_operation_is_documented() {
    let world = start().await;
    let about = get(&world, "/_world").await.expect(200);
    assert_eq!(about["today"], "2026-11-20");
    for operation in about["operations"].as_array().unwrap() {
        let named = format!("`{}`", operation.as_str().unwrap());
        assert!(DOCUMENT.contains(&named), "{named}");
    }
}
