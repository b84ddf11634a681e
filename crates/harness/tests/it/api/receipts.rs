//! Receipts over HTTP: the ledger, one receipt's exact bytes, a part of the log; and what queues are filtered
//! by (C010).

use kernel::Digest;
use receipts::merkle::{check_inclusion, leaf_hash};
use serde_json::{Value, json};

use super::Api;
use crate::support::id_of;

fn done(api: &Api, token: &str, account: &str) -> String {
    let body =
        json!({"intent": "churn_risk_read", "inputs": {"account": account}, "wait_ms": 20_000});
    id_of(&api.post(token, "/v1/intents", &body).ok())
}

fn asking(api: &Api, token: &str, account: &str) -> String {
    let body = json!({"intent": "contract_field_change", "inputs": {"account": account,
        "field": "PaymentTermsDays", "value": "45", "reason": "as agreed"}, "wait_ms": 20_000});
    id_of(&api.post(token, "/v1/intents", &body).ok())
}

fn digest(text: &Value) -> Digest {
    text.as_str().unwrap().parse().unwrap()
}

#[test]
fn one_receipt_is_verified_and_the_answer_names_its_bytes() {
    let api = Api::open();
    let (ulla, lars) = (api.token("ulla", &[]), api.token("lars", &[]));
    let run = done(&api, &ulla, "ACC-0007");
    let listed = api.get(&lars, &format!("/v1/runs/{run}/receipts")).ok();
    let receipt = listed["items"][1]["id"].as_str().unwrap().to_owned();
    let shown = api.get(&lars, &format!("/v1/receipts/{receipt}")).ok();
    assert_eq!(shown["statement"]["predicate"]["witness"], "executed", "{shown}");
    let envelope = shown["envelope"].clone();
    let bytes = envelope.as_str().unwrap().as_bytes();
    let path = format!("/v1/receipts/{receipt}/verify");
    let verified = api.post(&lars, &path, &json!({})).ok();
    assert_eq!((&verified["verdict"], &verified["run"]), (&json!("verified"), &json!(run)));
    assert_eq!(digest(&verified["envelope_sha256"]), Digest::of(bytes), "{verified}");
    assert_eq!(verified["envelope_bytes"], bytes.len());
    assert_eq!(digest(&verified["leaf"]), leaf_hash(bytes));
    let checkpoint = api.get(&lars, "/v1/checkpoint").ok();
    assert_eq!(verified["root"], checkpoint["root"]);
    // Under a key that is not this store's nothing is verified.
    let other = checkpoint["public_key"].as_str().unwrap();
    let flipped: String = {
        let office = Api::open();
        let ulla = office.token("ulla", &[]);
        office.get(&ulla, "/v1/checkpoint").ok()["public_key"].as_str().unwrap().to_owned()
    };
    assert_ne!(other, flipped);
    let forged = api.post(&lars, &path, &json!({"key": flipped})).ok();
    assert_eq!(forged["verdict"], "failed", "{forged}");
    assert!(forged["reason"].as_str().unwrap().starts_with("signature"), "{forged}");
    let none = "/v1/receipts/rct_00000000000000000000000000000000/verify";
    assert_eq!(api.post(&lars, none, &json!({})).refused(404), "receipt-not-found");
}

#[test]
fn a_part_of_the_log_is_exported_with_proofs_that_hold() {
    let api = Api::open();
    let ulla = api.token("ulla", &[]);
    done(&api, &ulla, "ACC-0007");
    done(&api, &ulla, "ACC-0008");
    let part = api.get(&ulla, "/v1/receipts/export?from=3&to=7").ok();
    let items = part["items"].as_array().unwrap();
    assert_eq!((items.len(), &part["next"]), (4, &Value::Null), "{part}");
    let (size, root) = (part["checkpoint"]["size"].as_u64().unwrap(), &part["checkpoint"]["root"]);
    for (item, place) in items.iter().zip(3..) {
        let leaf = leaf_hash(item["envelope"].as_str().unwrap().as_bytes());
        let proof: Vec<Digest> = item["inclusion"].as_array().unwrap().iter().map(digest).collect();
        assert_eq!(item["leaf_index"], place);
        check_inclusion(&leaf, place, size, &proof, &digest(root)).unwrap();
    }
    let all = api.get(&ulla, "/v1/receipts/export").ok();
    assert_eq!(all["items"].as_array().unwrap().len() as u64, size);
    for beyond in ["from=99999", "from=7&to=3", "from=18446744073709551615"] {
        let answer = api.get(&ulla, &format!("/v1/receipts/export?{beyond}"));
        match answer.status {
            200 => assert_eq!(answer.json()["items"], json!([]), "{beyond}"),
            _ => assert_eq!(answer.refused(422), "bad-request", "{beyond}"),
        }
    }
}

#[test]
fn receipts_and_queues_are_found_by_what_their_runs_are_about() {
    let api = Api::open();
    let (ulla, lars) = (api.token("ulla", &[]), api.token("lars", &[]));
    let read = done(&api, &ulla, "ACC-0007");
    let runs: Vec<String> =
        ["ACC-0008", "ACC-0011"].iter().map(|account| asking(&api, &ulla, account)).collect();
    api.office.world.fault(&json!({
        "system": "crm", "operation": "crm.get_account", "kind": "403"}));
    let needy = asking(&api, &ulla, "ACC-0012");
    api.office.world.heal();
    let of = |path: &str, run: &str| -> Vec<String> {
        let answer = api.get(&lars, path).ok();
        let items = answer["items"].as_array().unwrap().iter();
        items.map(|item| item.pointer(run).unwrap().as_str().unwrap().to_owned()).collect()
    };
    let asks = |query: &str| of(&format!("/v1/approvals?{query}"), "/run");
    assert_eq!(asks("").len(), 2);
    assert_eq!(asks("customer=ACC-0008"), [runs[0].as_str()]);
    assert_eq!(asks("account=ACC-0008&customer=ACC-0011"), Vec::<String>::new());
    assert_eq!(asks(&format!("run={}", runs[1])), [runs[1].as_str()]);
    assert_eq!(asks("operation=crm.update_contract&pack=customer-ops").len(), 2);
    assert_eq!(
        asks("operation=crm.get_account").len(),
        0,
        "what is asked about, not what was read"
    );
    assert_eq!(asks("agent=agent:nobody").len(), 0);
    assert_eq!(asks("intent=contract_field_change&since=2020-01-01&until=2999-01-01").len(), 2);
    assert_eq!(asks("until=2020-01-01").len(), 0);
    // A page that is filtered has a cursor that goes on behind it.
    let first = api.get(&lars, "/v1/approvals?limit=1&pack=customer-ops").ok();
    let next = first["next"].as_str().unwrap();
    let second = api.get(&lars, &format!("/v1/approvals?limit=1&pack=customer-ops&after={next}"));
    assert_ne!(second.ok()["items"][0]["id"], first["items"][0]["id"]);

    let needs = |query: &str| of(&format!("/v1/exceptions?{query}"), "/run");
    assert_eq!(needs(""), [needy.as_str()]);
    assert_eq!(needs("customer=ACC-0012&pack=customer-ops@0.1.0"), [needy.as_str()]);
    assert_eq!(needs("customer=ACC-0008"), Vec::<String>::new());
    assert_eq!(needs("operation=billing.create_refund"), Vec::<String>::new());

    let ledger = |query: &str| of(&format!("/v1/receipts?{query}"), "/run/id");
    assert_eq!(ledger("").len(), 4);
    assert_eq!(ledger("customer=ACC-0007"), [read.as_str()]);
    let one = api.get(&lars, "/v1/receipts?customer=ACC-0007&operation=crm.get_account").ok();
    let lines = one["items"][0]["items"].as_array().unwrap();
    assert!(!lines.is_empty(), "{one}");
    assert!(lines.iter().all(|line| line["operation"] == "crm.get_account"), "{one}");
    let all = api.get(&lars, &format!("/v1/receipts?run={read}")).ok();
    assert_eq!(all["items"][0]["items"].as_array().unwrap().len() as u64, all["items"][0]["total"]);
    for list in ["approvals", "exceptions", "receipts", "runs"] {
        let bad = api.get(&lars, &format!("/v1/{list}?since=yesterday"));
        assert_eq!(bad.refused(422), "bad-time", "{list}");
        let forged = api.get(&lars, &format!("/v1/{list}?after=bm90IGEgY3Vyc29y"));
        assert_eq!(forged.refused(422), "bad-cursor", "{list}");
    }
}
