//! What is put before an agent besides its task: values of the run, and what a read remembers.

use kernel::{
    conversation::{Segment, Source},
    exception::Class,
    label::Trust,
    planning::Move,
};
use serde_json::{Value, json};

use crate::{
    agent::{agent, call, prompt, results, says, text, told_by},
    support::{Drive, UNTRUSTED, labelled, open},
};

fn started(context: Value) -> Drive {
    let spec = json!({ "results": "opaque", "context": context });
    open(json!([agent(spec)]), json!({ "task": "Look into Acme", "account": "A-1", "u": "attack" }))
}

fn state(values: Value, tokens_max: u32) -> Value {
    json!({ "state": { "values": values, "tokens_max": tokens_max } })
}

fn memory(tokens_max: u32) -> Value {
    let with = json!({ "about": "${{ intent.account }}" });
    json!({ "memory": { "operation": "r.notes", "with": with, "tokens_max": tokens_max } })
}

pub(crate) fn sources(drive: &Drive, turn: u32) -> Vec<Source> {
    let segments = prompt(drive, turn).segments.into_iter();
    let source = |segment| match segment {
        Segment::System { source, .. } | Segment::User { source, .. } => Some(source),
        Segment::Result { .. } | Segment::Said { .. } => None,
    };
    segments.filter_map(source).collect()
}

fn send_is_tainted(drive: &mut Drive, turn: u32) -> bool {
    says(drive, turn, json!([call("w", "w_send", json!({ "id": "1" }))]));
    drive.proposals().last().unwrap().existence.is_tainted()
}

/// Values of the run are told once, and again only when they change; too much of them is cut. They are a kind of
/// their own beside the task (C239).
#[test]
fn state_is_told_when_it_changes() {
    let values = json!({ "account": "${{ intent.account }}", "limit": "${{ pack.limit }}" });
    let mut drive = started(state(values.clone(), 100));
    let told = "State of the run:\n- account: \"A-1\"\n- limit: 7";
    assert_eq!(told_by(&drive, 1, Source::State), [told]);
    assert_eq!(sources(&drive, 1).last(), Some(&Source::State), "after what stays the same");
    says(&mut drive, 1, json!([call("c", "r_usage", json!({ "id": "1" }))]));
    drive.done("a/r.usage[1]", json!(1));
    assert!(told_by(&drive, 2, Source::State).is_empty(), "unchanged");
    assert!(!send_is_tainted(&mut drive, 2));
    let drive = started(state(values, 9));
    assert_eq!(told_by(&drive, 1, Source::State)[0].len(), 27, "nine tokens of three bytes");
}

/// A value that would taint comes as a handle; one that cannot be known says so.
#[test]
fn untrusted_state_comes_as_a_handle() {
    let values = json!({ "note": "${{ intent.u }}", "missing": "${{ intent.nowhere }}" });
    let mut drive = started(state(values, 100));
    let told = &told_by(&drive, 1, Source::State)[0];
    assert_eq!(told, "State of the run:\n- missing: not known\n- note: {\"$result\":\"r1\"}");
    let args = json!({ "id": { "$result": "r1" } });
    says(&mut drive, 1, json!([call("w", "w_send", args)]));
    let sent = drive.proposals().last().unwrap();
    assert!(!sent.existence.is_tainted() && sent.arg_labels.at("/id").is_tainted());
    assert_eq!(*sent.args, json!({ "id": "attack" }));
}

/// What is remembered is told once, before the task, within its budget, however much it is (C236), and with its
/// labels.
#[test]
fn memory_is_told_before_the_task() {
    let mut drive = started(memory(10));
    let asked = drive.proposal("a/memory[1]").clone();
    assert_eq!((asked.operation.as_str(), &*asked.args), ("r.notes", &json!({ "about": "A-1" })));
    drive.done("a/memory[1]", json!("x".repeat(99)));
    let told = &told_by(&drive, 1, Source::Memory)[0];
    assert_eq!(told, &format!("Remembered from before:\n{}", "x".repeat(30)));
    assert_eq!(sources(&drive, 1)[2..], [Source::Memory, Source::User]);
    // All that it adds to what is told: without it the rest is the same.
    let mut told = prompt(&drive, 1).segments;
    told.retain(|segment| !matches!(segment, Segment::User { source: Source::Memory, .. }));
    assert_eq!(told, prompt(&started(json!({})), 1).segments);
    assert!(!send_is_tainted(&mut drive, 1));
    drive.done("a/w.send[1]", json!({}));
    assert!(told_by(&drive, 2, Source::Memory).is_empty());

    let mut drive = started(memory(10));
    drive.done_as("a/memory[1]", labelled(json!("attack"), UNTRUSTED));
    assert_eq!(
        told_by(&drive, 1, Source::Memory),
        ["Remembered from before:\n{\"$result\":\"r1\"}"]
    );
    assert!(!send_is_tainted(&mut drive, 1));
    drive.done("a/w.send[1]", json!({}));
    says(&mut drive, 2, json!([call("l", "look", json!({ "result": "r1" }))]));
    assert_eq!(results(&drive, 3)[0].1, "attack");
    assert!(send_is_tainted(&mut drive, 3));
}

/// Without its memory an agent works on and says so.
#[test]
fn a_memory_that_fails_is_a_caveat() {
    let mut drive = started(memory(10));
    drive.failed_as("a/memory[1]", Class::Unavailable, (None, Trust::Verified));
    assert!(told_by(&drive, 1, Source::Memory).is_empty());
    says(&mut drive, 1, json!([text("done")]));
    let Some(Move::Finish { caveats, .. }) = drive.moves.last() else { panic!("finished") };
    assert!(caveats[0].text.contains("remembered"), "{caveats:?}");
}
