//! The claim about untrusted text, for agents: whatever the model outputs, a call that nothing untrusted
//! decided is the same in two worlds that differ in untrusted values alone.
//!
//! The model is an adversary: a function of every byte it was shown, so that any difference it sees
//! changes all it wants from then on. It calls reads and writes, looks into handles, passes parts of
//! results on without seeing them, and answers. Results are trusted, untrusted or mixed, at random.

use kernel::{
    Digest,
    label::Trust,
    planning::{Move, Settled},
};
use serde_json::{Value, json};

use crate::support::{Drive, Seen, UNTRUSTED, VERIFIED, labelled, mixed, open};

/// Seeds tried.
const SEEDS: u64 = 1_500;

/// Turns of one agent.
const TURNS: u32 = 8;

/// Numbers that follow from a text alone.
struct Draw(Vec<u8>);

impl Draw {
    fn of(parts: &[&[u8]]) -> Self {
        Self(Digest::of_parts("test/draw", parts).0.to_vec())
    }

    fn next(&mut self, below: usize) -> usize {
        let next = Digest::of(&self.0);
        self.0 = next.0.to_vec();
        usize::from(self.0[0]) % below
    }
}

fn spec(results: &str) -> Value {
    let tool = |name: &str, operation: &str, effect: &str| {
        json!({
            "name": name, "description": "d", "input": { "type": "object" },
            "does": { "does": "operation", "operation": operation, "effect": effect },
        })
    };
    json!([{ "id": "a", "work": { "kind": "agent", "with": "${{ intent.task }}", "agent": {
        "name": "adversary", "role": "main", "instructions": "i", "results": results,
        "tools": [
            tool("r_one", "r.one", "read"), tool("r_two", "r.two", "read"),
            tool("w_one", "w.one", "write"), tool("w_two", "w.two", "write"),
        ],
        "limits": {
            "turns_max": TURNS, "calls_max": 100, "tokens_max": 1_000_000, "wall_max_ms": 1_000_000,
            "repairs_max": 20, "output_tokens_max": 100, "context_tokens_max": 1_000_000,
            "result_bytes_max": 100_000, "circles": "ignore",
        },
    } } }])
}

/// What the adversary says after having been shown this.
fn reply(shown: &[u8]) -> Value {
    let mut draw = Draw::of(&[shown]);
    let calls = draw.next(3) + 1;
    let items: Vec<Value> = (0..calls)
        .map(|n| {
            let handle = format!("r{}", draw.next(4) + 1);
            let part = ["", "/clean", "/dirty"][draw.next(3)];
            let argument = match draw.next(3) {
                0 => json!({ "x": draw.next(100) }),
                1 => json!({ "x": { "$result": handle, "at": part } }),
                _ => json!({ "x": 1, "y": [{ "$result": handle, "at": part }] }),
            };
            let (name, arguments) = match draw.next(6) {
                0 => ("look", json!({ "result": handle, "at": part })),
                1 | 2 => (["r_one", "r_two"][draw.next(2)], argument),
                _ => (["w_one", "w_two"][draw.next(2)], argument),
            };
            json!({ "item": "call", "id": format!("c{n}"), "name": name, "arguments": arguments })
        })
        .collect();
    json!({
        "provider": "p", "model": "m", "wire": "openai", "items": items, "stop": "tools",
        "usage": { "input": 1, "output": 1 }, "raw": "",
    })
}

/// The result of a call in one of two worlds: which parts are untrusted follows from the place alone, what
/// stands in them from the world as well.
fn result(seed: u64, step: &str, world: &str) -> Settled {
    let mut draw = Draw::of(&[&seed.to_be_bytes(), step.as_bytes()]);
    let value = |dirty: &str| json!({ "clean": draw_text(seed, step), "dirty": dirty });
    Settled::Done(match draw.next(3) {
        0 => labelled(value("the same"), VERIFIED),
        1 => labelled(value(world), UNTRUSTED),
        _ => mixed(value(world), &["/dirty"]),
    })
}

fn draw_text(seed: u64, step: &str) -> String {
    format!("{:?}", Draw::of(&[&seed.to_be_bytes(), step.as_bytes(), b"text"]).next(50))
}

/// The writes of one world by what their labels claim, in order. Each claim has to hold alone: policies may
/// look at either label.
#[derive(Debug, PartialEq, Eq)]
struct Clean {
    /// That nothing untrusted decided that they are made.
    existing: Vec<String>,
    /// That nothing untrusted is in their arguments, with these.
    argued: Vec<String>,
}

/// Plays one world.
fn play(seed: u64, world: &str) -> (Drive, Clean) {
    let results = ["auto", "shown", "opaque"][usize::try_from(seed % 3).unwrap()];
    let intent = json!({ "task": format!("task {seed}"), "u": world });
    let mut drive = open(spec(results), intent);
    let mut shown = Vec::new();
    let mut done = 0;
    // Every proposal is settled in the order in which it was made.
    loop {
        let Some(proposal) = drive.proposals().nth(done).cloned() else { break };
        done += 1;
        let settled = if proposal.operation.connector() == "model" {
            shown.extend(proposal.args.to_string().into_bytes());
            let mut said = labelled(reply(&shown), Trust::System);
            said.labels = said.labels.joined_with(&proposal.arg_labels.join_all());
            Settled::Done(said)
        } else {
            result(seed, &proposal.step, world)
        };
        drive.told(Seen::Settled(proposal.step, settled));
    }
    let writes = || drive.proposals().filter(|p| p.operation.connector() == "w");
    let existing = writes().filter(|p| !p.existence.is_tainted());
    let existing = existing.map(|p| format!("{} {}", p.step, p.operation)).collect();
    let argued = writes().filter(|p| !p.arg_labels.join_all().is_tainted());
    let argued = argued.map(|p| format!("{} {}", p.step, p.args)).collect();
    (drive, Clean { existing, argued })
}

#[test]
fn no_unasked_write_follows_from_untrusted_text() {
    let (mut compared, mut dirty, mut differ) = (0, 0, 0);
    for seed in 0..SEEDS {
        let ((one, clean_one), (two, clean_two)) = (play(seed, "left"), play(seed, "right"));
        assert_eq!(clean_one, clean_two, "seed {seed}");
        compared += clean_one.argued.len();
        let writes =
            |drive: &Drive| drive.proposals().filter(|p| p.operation.connector() == "w").count();
        dirty += writes(&one) - clean_one.argued.len();
        differ += usize::from(moves(&one) != moves(&two));
    }
    // The test would say nothing if the worlds never differed, or nothing clean ever happened.
    assert!(compared > 500 && dirty > 500 && differ > 300, "{compared} {dirty} {differ}");
}

fn moves(drive: &Drive) -> Vec<String> {
    let proposals = drive.moves.iter().filter_map(|wanted| match wanted {
        Move::Propose(proposal) => Some(format!("{} {}", proposal.step, proposal.args)),
        _ => None,
    });
    proposals.collect()
}
