//! Reads of large results: calls in the pipeline like every other, at the place that agents have for them, of what the
//! same run brought and of nothing else (C238).

use kernel::{
    event::{Body, Stage},
    exception::Class,
    id::{Digest, OperationId},
    kept::{KEPT_READ, Kept, part},
    operation::{Effect, Retry, Undo},
    run::{Status, replay},
};
use serde_json::{Value, json};
use testkit::{Bench, Crash, NoSchemas, Rules, operation, proposal, returned};

const PLACE: &str = "a/kept.read[1]";

fn large() -> Kept {
    let text = "a large result".to_owned();
    Kept { blob: Digest::of(text.as_bytes()), bytes: 10_000_000, preview: text }
}

/// A run that reads something large, and then a part of it at this place.
fn bench(place: &str, result: Value) -> Bench {
    let get = operation("files.get", Effect::Read, Undo::None, Retry::Keyed);
    let steps = vec![
        proposal("get", "files.get", json!({})),
        proposal(place, KEPT_READ, part(&large(), 9_000_000, 100)),
    ];
    let mut b = Bench::new(vec![get], steps, Rules::default().deny(KEPT_READ));
    b.with_agent("a", "analyst");
    b.world.script("files.get", vec![Ok(returned(result))]);
    let read = json!({ "text": "a part", "from": 9_000_000, "to": 9_000_100, "whole": 10_000_000 });
    b.world.script(KEPT_READ, vec![Ok(returned(read))]);
    let read: OperationId = KEPT_READ.parse().unwrap();
    b.header_mut().grant.operations.remove(&read);
    b
}

/// No grant holds it and no policy is asked: what is read was granted and judged when it was brought.
#[test]
fn an_agent_reads_on_in_what_its_run_brought() {
    let mut b = bench(PLACE, large().into_value());
    assert!(b.start(Crash::Never));
    assert_eq!(b.run.as_ref().unwrap().status(), Status::Succeeded);
    assert_eq!(b.world.calls[KEPT_READ], 1);
    let decided = b.records.iter().rev().find_map(|r| match &r.event.body {
        Body::Judged { decision, .. } => Some(decision.rules[0].clone()),
        _ => None,
    });
    let rule = decided.unwrap();
    assert_eq!((&*rule.layer, &*rule.id), ("kernel", "own-result"));
    let count = |kind: &str| b.kinds().iter().filter(|one| *one == kind).count();
    assert_eq!((count("returned"), count("receipted")), (2, 2), "{:?}", b.kinds());
    // It stands in the journal: a replay needs no blob.
    assert!(replay(&b.records, b.pins(), (&b.rules, &NoSchemas)).is_ok());
}

fn rejection(bench: &Bench) -> Option<(Stage, Class)> {
    bench.records.iter().find_map(|r| match &r.event.body {
        Body::Rejected { stage, class, .. } => Some((*stage, *class)),
        _ => None,
    })
}

/// What no result of this run stands for is another run's, or nobody's.
#[test]
fn nothing_else_is_read() {
    let other = Kept { blob: Digest::of(b"another run's"), ..large() };
    let mut inner = large().into_value();
    inner["more"] = json!(1);
    for result in [json!("small"), other.into_value(), json!({ "x": large().into_value() }), inner]
    {
        let mut b = bench(PLACE, result);
        b.start(Crash::Never);
        assert!(!b.world.calls.contains_key(KEPT_READ));
        assert_eq!(rejection(&b), Some((Stage::Grant, Class::PolicyError)));
    }
}

/// Elsewhere, and for runs of before, there is no such operation, and the run stops.
#[test]
fn it_has_one_place_in_an_agent_and_no_other() {
    for place in ["a", "b/kept.read[1]", "a/tool[1]"] {
        let mut b = bench(place, large().into_value());
        b.start(Crash::Never);
        assert_eq!(rejection(&b), Some((Stage::Unknown, Class::UnknownField)), "{place}");
    }
    let mut b = bench(PLACE, large().into_value());
    b.header_mut().machine = 4;
    b.start(Crash::Never);
    assert_eq!(rejection(&b), Some((Stage::Unknown, Class::UnknownField)));
}
