//! `harness bench agent`: what its last line says is what happened.

use serde_json::{Value, json};

use super::model::{Model, Says};
use crate::support::{Ran, run_in};

/// A measurement against this model, with its last line.
fn measure(model: &Model, more: &[&str]) -> (Ran, Value) {
    let dir = tempfile::tempdir().unwrap();
    let words = ["bench", "agent", "--base-url", &model.url, "--model", "scripted-1"];
    let ran = run_in(dir.path(), &[&words[..], more].concat()).exits(0);
    let line = ran.stdout.lines().last().unwrap();
    let measured: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {ran:#?}"));
    for seconds in ["wall_s", "cpu_s"] {
        assert!(measured[seconds].as_f64().unwrap() > 0.0, "{measured}");
    }
    (ran, measured)
}

fn add(a: i64, b: i64) -> (&'static str, Value) {
    ("add", json!({ "a": a, "b": b, "why": "other properties are ignored" }))
}

/// Sums that the model was told, over all its conversations: each was told once, in the request after its call.
fn sums_told(model: &Model) -> Vec<i64> {
    let told = |request: Value| {
        let messages = request["messages"].as_array().unwrap().clone();
        let after = messages.iter().rposition(|message| message["role"] == "assistant");
        let new = messages.into_iter().skip(after.map_or(usize::MAX, |at| at + 1));
        let results = new.filter(|message| message["role"] == "tool");
        results.filter_map(|m| m["content"].as_str().unwrap().parse().ok()).collect::<Vec<i64>>()
    };
    model.heard().into_iter().flat_map(told).collect()
}

/// A turn counts when its call was valid, allowed, made and receipted: one with other arguments, with a number that does
/// not survive, or of another tool does not.
#[test]
fn a_measurement_counts_what_was_receipted() {
    let model = Model::start([
        Says::Calls(vec![add(1, 2)]),
        Says::Calls(vec![add(3, 4), add(5, 6)]),
        Says::Calls(vec![("add", json!({ "a": "one", "b": 2 }))]),
        Says::Calls(vec![("multiply", json!({ "a": 1, "b": 2 }))]),
        Says::Calls(vec![add(i64::MAX, 1), add(7, 8)]),
        Says::Text("Done."),
        Says::Calls(vec![add(9, 10)]),
        Says::Text("Done again."),
    ]);
    let (_, measured) = measure(&model, &["--convs", "2"]);
    assert_eq!(sums_told(&model), [3, 7, 11, 15, 19]);
    assert_eq!((&measured["turns"], model.heard().len()), (&json!(5), 8), "{measured}");
    assert_eq!(measured.as_object().unwrap().len(), 3, "in memory nothing is flushed: {measured}");
}

/// Agents side by side, and on a disk: the sum of all their turns.
#[test]
fn a_measurement_counts_the_turns_of_all_its_agents() {
    let calls = (0..40).map(|n| Says::Calls(vec![add(n, 1)]));
    let model = Model::start(calls.chain((0..6).map(|_| Says::Text("Done."))));
    let more = ["--agents", "3", "--convs", "2", "--stream", "--store", "store"];
    let (_, measured) = measure(&model, &more);
    let mut told = sums_told(&model);
    told.sort_unstable();
    assert_eq!(told, (1..=40).collect::<Vec<_>>());
    assert_eq!((&measured["turns"], model.heard().len()), (&json!(40), 46), "{measured}");
    assert!(measured["writes"].as_u64().unwrap() > 40, "{measured}");
    assert!(measured["commits"].as_u64() <= measured["writes"].as_u64(), "{measured}");
}
