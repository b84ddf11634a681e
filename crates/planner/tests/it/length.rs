//! Planning costs what is new, however long the history is.

use serde_json::{Value, json};

use crate::support::*;

fn turns(count: u64) -> u64 {
    let items: Vec<Value> = (0..count).map(|n| json!({"id": n})).collect();
    let mut drive = open(
        json!([
            act("big", "r.get", json!({})),
            {"id": "l", "work": {"kind": "for_each", "items": "intent.items", "var": "x",
                "max": 10_000, "collect": "${{ steps.a.output.n }}", "steps": [
                    act("a", "w.set", json!({"id": "${{ x.id }}", "k": "${{ steps.big.output[3] }}"})),
                    with(act("s", "w.set", json!({})), json!({"when": "steps.a.output.n < 0"})),
                ]}},
            give(json!("${{ size(steps.l.output) }}")),
        ]),
        json!({ "items": items }),
    );
    drive.done("big", (0..10_000).collect());
    let before = drive.planner.work();
    let mut last = before;
    for n in 0..count {
        drive.done(&format!("l[{n}]/a"), json!({ "n": n }));
        let spent = drive.planner.work() - last;
        assert!(n + 1 == count || spent < 100, "turn {n} cost {spent}");
        last = drive.planner.work();
    }
    assert_eq!(drive.lines().last().unwrap(), &format!("finish {count}"));
    last - before
}

#[test]
fn ten_thousand_turns_cost_ten_times_a_thousand() {
    let (short, long) = (turns(1_000), turns(10_000));
    assert!(long <= short * 11, "{short} for 1,000 turns, {long} for 10,000");
}

#[test]
fn ten_thousand_skips_stay_in_a_short_queue() {
    let items: Vec<u64> = (0..10_000).collect();
    let mut drive = Drive::new(steps(json!([{"id": "l", "work": {"kind": "for_each",
        "items": "intent.items", "var": "x", "max": 10_000, "steps":
            [with(act("a", "w.set", json!({})), json!({"when": "x < 0"}))]}}])));
    drive.tell(Seen::Opened(labelled(json!({ "items": items }), USER)));
    let early = drive.planner.work();
    drive.drain();
    assert!(drive.planner.work() > early * 5 / 4, "not all was planned ahead");
    assert_eq!(drive.moves.len(), 10_001);
}

#[test]
fn nested_loops_meet_the_limit_of_the_run() {
    let inner = json!({"id": "i", "work": {"kind": "for_each", "items": "intent.items", "var": "y",
        "max": 10_000, "steps": []}});
    let items: Vec<u64> = (0..1_000).collect();
    let drive = open(
        json!([{"id": "o", "work": {"kind": "for_each", "items": "intent.items", "var": "x",
            "max": 10_000, "steps": [inner]}}]),
        json!({ "items": items }),
    );
    assert_eq!(drive.lines(), ["abandon o[99]/i budget"]);
}
