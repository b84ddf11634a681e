//! Bundles: the golden one, damaged; none verifies, each says which check failed and why.

use std::fs;

use receipts::{
    key::Keys,
    verify::{Outcome, Verdict, verify_bytes},
};
use serde_json::{Value, json};

use super::{Debts, Told};
use crate::support::{root, run_in};

/// What is done with the golden bundle.
type Damage = fn(&mut Value);

#[rustfmt::skip]
const TABLE: &[(&str, Damage)] = &[
    ("no schema", |b| _ = b.as_object_mut().unwrap().remove("schema")),
    ("another schema", |b| b["schema"] = json!("harness.bundle/v2")),
    ("a number as schema", |b| b["schema"] = json!(1)),
    ("no run", |b| _ = b.as_object_mut().unwrap().remove("run")),
    ("another run", |b| b["run"] = json!("run_00000000000000000000000000000000")),
    ("a run that is none", |b| b["run"] = json!("../run")),
    ("no events", |b| b["events"] = json!([])),
    ("events are no list", |b| b["events"] = json!({})),
    ("no receipts", |b| b["receipts"] = json!([])),
    ("receipts are no list", |b| b["receipts"] = json!("x")),
    ("an unknown field", |b| b["extra"] = json!(1)),
    ("first event gone", |b| _ = b["events"].as_array_mut().unwrap().remove(0)),
    ("last event gone", |b| _ = b["events"].as_array_mut().unwrap().pop()),
    ("events swapped", |b| b["events"].as_array_mut().unwrap().swap(1, 2)),
    ("an event twice", |b| { let e = b["events"][1].clone(); b["events"].as_array_mut().unwrap().insert(1, e); }),
    ("an event is no JSON", |b| b["events"][1]["event"] = json!("{")),
    ("an event is empty", |b| b["events"][1]["event"] = json!("")),
    ("an event is a number", |b| b["events"][1]["event"] = json!(5)),
    ("an event is a huge number", |b| b["events"][1]["event"] = json!("1e999")),
    ("an event is deep", |b| b["events"][1]["event"] = json!("[".repeat(100_000))),
    ("an event with a space more", |b| edit(b, "/events/1/event", |t| t.replacen(':', ": ", 1))),
    ("an event with another time", |b| edit(b, "/events/1/event", |t| t.replacen("\"at\":1", "\"at\":2", 1))),
    ("an event of another kind", |b| edit(b, "/events/1/event", |t| t.replacen("\"kind\":\"", "\"kind\":\"x", 1))),
    ("first receipt gone", |b| _ = b["receipts"].as_array_mut().unwrap().remove(0)),
    ("receipts swapped", |b| b["receipts"].as_array_mut().unwrap().swap(0, 1)),
    ("a receipt twice", |b| { let r = b["receipts"][0].clone(); b["receipts"].as_array_mut().unwrap().insert(0, r); }),
    ("an envelope is no JSON", |b| b["receipts"][0]["envelope"] = json!("no")),
    ("an envelope without a signature", |b| b["receipts"][0]["envelope"] = json!("{\"payload\":\"\",\"payloadType\":\"\",\"signatures\":[]}")),
    ("a payload that is no base64", |b| edit(b, "/receipts/0/envelope", |t| t.replacen("\"payload\":\"", "\"payload\":\"%", 1))),
    ("a payload one letter longer", |b| edit(b, "/receipts/0/envelope", |t| t.replacen("\"payload\":\"", "\"payload\":\"A", 1))),
    ("a signature one letter other", |b| edit(b, "/receipts/0/envelope", |t| t.replacen("\"sig\":\"", "\"sig\":\"A", 1))),
    ("no keys and another type", |b| b["keys"] = json!("x")),
    ("another tenant", |b| b["tenant"] = json!("somebody-else")),
    ("a tenant that is none", |b| b["tenant"] = json!("a b")),
    ("null everywhere", |b| b.as_object_mut().unwrap().values_mut().for_each(|v| *v = Value::Null)),
];

fn edit(bundle: &mut Value, place: &str, change: fn(&str) -> String) {
    let old = bundle.pointer(place).and_then(Value::as_str).unwrap().to_owned();
    let new = change(&old);
    assert_ne!(old, new, "{place} is as it was");
    *bundle.pointer_mut(place).unwrap() = json!(new);
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(root().join("crates/receipts/tests/golden").join(name)).unwrap()
}

/// Bytes that are no bundle at all.
fn bytes() -> Vec<(&'static str, Vec<u8>)> {
    let whole = golden("bundle-v1.json");
    let half = whole[..whole.len() / 2].to_vec();
    let mut doubled = whole.clone();
    doubled.extend(&whole);
    vec![
        ("nothing", Vec::new()),
        ("half of it", half),
        ("all but its last brace", whole[..whole.len() - 3].to_vec()),
        ("twice", doubled),
        ("no UTF-8", vec![0xff; 64]),
        ("zeros", vec![0; 64]),
        ("a list", b"[]".to_vec()),
        ("a text", b"\"harness.bundle/v1\"".to_vec()),
        ("null", b"null".to_vec()),
        ("deep lists", "[".repeat(200_000).into_bytes()),
        ("deep objects", "{\"a\":".repeat(200_000).into_bytes()),
        ("a number without end", "9".repeat(100_000).into_bytes()),
        (
            "a key twice",
            b"{\"schema\":\"harness.bundle/v1\",\"schema\":\"harness.bundle/v1\"}".to_vec(),
        ),
    ]
}

pub(super) fn rows() -> usize {
    TABLE.len() + bytes().len()
}

fn damaged() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let made = TABLE.iter().map(|(name, damage)| {
        let mut bundle: Value = serde_json::from_slice(&golden("bundle-v1.json")).unwrap();
        damage(&mut bundle);
        (*name, serde_json::to_vec(&bundle).unwrap())
    });
    made.chain(bytes())
}

#[test]
fn broken_bundles() {
    let keys = Keys::parse(&String::from_utf8(golden("key-v1.pub")).unwrap()).unwrap();
    assert_ne!(verify_bytes(&golden("bundle-v1.json"), &keys, None).verdict, Verdict::Failed);
    let mut debts = Debts::default();
    for (name, bytes) in damaged() {
        let report = verify_bytes(&bytes, &keys, None);
        let failed = report.checks.iter().find_map(|checked| match &checked.outcome {
            Outcome::Failed { reason } => Some((format!("{:?}", checked.check), reason.clone())),
            _ => None,
        });
        let is_refused = report.verdict != Verdict::Verified;
        // An open one says in its reason what could have been cut.
        let next = report.reason.clone();
        let told = failed.map(|(place, detail)| Told { place, detail, next: next.clone() });
        let open =
            || Told { place: "the end".to_owned(), detail: next.clone(), next: next.clone() };
        debts.hold(name, "", is_refused.then(|| told.unwrap_or_else(open)));
    }
    debts.settle();
}

#[test]
fn the_program_refuses_bundles_with_exit_ten() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        fs::write(dir.path().join(name), bytes).unwrap();
    };
    file("key.pub", &golden("key-v1.pub"));
    for (name, bytes) in damaged().step_by(4) {
        file("b.json", &bytes);
        let said = ["receipt", "verify", "--bundle", "b.json", "--key", "key.pub", "-o", "json"];
        let ran = run_in(dir.path(), &said);
        let answer = ran.exits(10).document();
        assert_eq!(answer["verdict"], "failed", "{name}: {answer}");
        assert!(answer["reason"].as_str().unwrap().len() > 5, "{name}: {answer}");
    }
    file("b.json", &golden("bundle-v1.json"));
    for (key, code) in [("gone.pub", "file-unreadable"), ("b.json", "key-invalid")] {
        let said = ["receipt", "verify", "--bundle", "b.json", "--key", key, "-o", "json"];
        let problem = run_in(dir.path(), &said).exits(2).problem();
        assert_eq!(problem["code"], code, "{problem}");
        assert!(problem["next"].is_string(), "{problem}");
    }
}
