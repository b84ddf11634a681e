//! Inputs unlike those of earlier runs (C214).

use kernel::novelty::{Unlike, Unusual};
use pack::{Intent, Usual};
use serde_json::{Value, json};

use crate::support::customer_ops;

fn intent() -> Intent {
    let mut intent = customer_ops().intents.values().next().unwrap().clone();
    intent.input = json!({"type": "object", "properties": {
        "customer": {"type": "string"}, "amount": {"type": "number"}, "urgent": {"type": "boolean"},
        "channel": {"type": "string"}, "note": {"type": "string"}, "price": {"type": "string"},
        "lines": {"type": "array", "items": {"type": "object", "properties": {
            "sku": {"type": "string"}}}},
        "tags": {"type": "object", "additionalProperties": {"type": "string"}}}})
    .into();
    intent.subjects = [("customer".to_owned(), "/customer".to_owned())].into();
    intent
}

fn inputs(n: u64) -> Value {
    json!({"customer": format!("ACC-{n:04}"), "amount": 100 + n, "urgent": false,
        "channel": if n.is_multiple_of(2) { "mail" } else { "phone" }, "note": "please look at this one",
        "price": format!("{n}.50"), "lines": [{"sku": format!("SKU{n}")}],
        "tags": {format!("mira{n}@example.com"): "x"}})
}

fn usual() -> Usual {
    let before: Vec<Value> = (0..40).map(inputs).collect();
    Usual::of(&intent(), &before)
}

/// What is told when one part is another.
fn told(at: &str, value: Value) -> Vec<(String, Unlike)> {
    let mut changed = inputs(12);
    *changed.pointer_mut(at).unwrap() = value;
    let found = usual().unlike(&intent(), &changed);
    found.into_iter().map(|Unusual { at, how }| (at, how)).collect()
}

#[test]
fn more_of_the_same_is_usual() {
    for n in [0, 7, 39, 41, 75] {
        assert_eq!(usual().unlike(&intent(), &inputs(n)), [], "{n}");
    }
    assert_eq!(told("/customer", json!("ACC-9999")), []);
    assert_eq!(told("/note", json!("Frau Müller said: call back, today!")), []);
}

#[test]
fn each_way_to_be_unlike_is_named_with_its_place() {
    let rows = [
        ("/amount", json!(1_000_000), "/amount", Unlike::OutOfRange),
        ("/amount", json!(-5_000), "/amount", Unlike::OutOfRange),
        ("/amount", json!("100"), "/amount", Unlike::OtherType),
        ("/amount", json!(null), "/amount", Unlike::OtherType),
        ("/price", json!("99999.50"), "/price", Unlike::OutOfRange),
        ("/urgent", json!(true), "/urgent", Unlike::NewValue),
        ("/channel", json!("fax"), "/channel", Unlike::NewValue),
        ("/customer", json!("ACC-0001'; --"), "/customer", Unlike::OtherCharacters),
        ("/customer", json!("АСС-0001"), "/customer", Unlike::OtherCharacters),
        ("/lines/0/sku", json!("S K U"), "/lines/*/sku", Unlike::OtherCharacters),
        ("/note", json!("please \u{202e}look at this one"), "/note", Unlike::OtherCharacters),
    ];
    for (at, value, place, how) in rows {
        assert_eq!(told(at, value.clone()), [(place.to_owned(), how)], "{at} {value}");
    }
    let long = told("/customer", json!("A".repeat(100)));
    assert_eq!(long, [("/customer".to_owned(), Unlike::LongText)]);
    let many = (0..50).map(|n| json!({"sku": format!("SKU{n}")})).collect();
    assert_eq!(told("/lines", many), [("/lines".to_owned(), Unlike::OutOfRange)]);
}

#[test]
fn a_part_that_comes_or_goes_is_told_once() {
    let mut changed = inputs(3);
    let map = changed.as_object_mut().unwrap();
    map.remove("lines");
    map.insert("approver".into(), json!({"name": "x", "role": "y"}));
    let found = usual().unlike(&intent(), &changed);
    let expected = [
        Unusual { at: "/*".into(), how: Unlike::NewPart },
        Unusual { at: "/lines".into(), how: Unlike::MissingPart },
    ];
    assert_eq!(found, expected);
}

#[test]
fn prose_may_say_anything_but_not_in_an_alphabet_that_hides() {
    let before: Vec<Value> = (0..40)
        .map(|n| {
            let mut one = inputs(n);
            one["note"] = json!(format!("please look at number {n} again, {}", "dear ".repeat(20)));
            one
        })
        .collect();
    let usual = Usual::of(&intent(), &before);
    let told = |note: &str| {
        let mut one = inputs(5);
        one["note"] = json!(note);
        usual.unlike(&intent(), &one)
    };
    assert_eq!(told("Other words entirely (with signs & 99 numbers)"), []);
    let how = Unlike::OtherCharacters;
    assert_eq!(told("look \u{202e}here"), [Unusual { at: "/note".into(), how }]);
    assert_eq!(told("посмотри"), [Unusual { at: "/note".into(), how }]);
}

#[test]
fn keys_that_no_schema_names_are_never_repeated() {
    let mut changed = inputs(3);
    changed["tags"] = json!({"eve@example.com": {"deep": 1}});
    let found = usual().unlike(&intent(), &changed);
    assert!(!found.is_empty());
    let text = serde_json::to_string(&found).unwrap();
    assert!(!text.contains("eve"), "{text}");
}
