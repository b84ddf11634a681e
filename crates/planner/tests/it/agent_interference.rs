//! The claim about untrusted text, for agents: whatever the model outputs, a call that nothing untrusted
//! decided is the same in two worlds that differ in untrusted values alone.
//!
//! The model is an adversary: a function of every byte it was shown, so that any difference it sees
//! changes all it wants from then on. It calls reads and writes, looks into handles, passes parts of
//! results on without seeing them, has declared questions answered about them, and answers. Results are
//! trusted, untrusted or mixed, at random. Every fourth agent is furnished: it remembers something at random,
//! hooks look at its task and at what it is told on the way and say something themselves, messages come that are
//! a person's word or nobody's, and its room is so small that another adversary sums up what went before.
//!
//! One thing may differ, and nothing else: the answers to declared questions, and the verdicts of sensors and
//! hooks, which are such answers in a few words. Where these are the same, so is
//! every call that nothing untrusted decided; and up to the first answer that is not.

use std::collections::BTreeMap;

use kernel::{
    Digest,
    event::MACHINE,
    hook::{Hook, Moment},
    label::Trust,
    plan::Plan,
    planning::{Labelled, Move, Planner as _, Settled},
};
use serde_json::{Value, json};

use crate::{
    agent_hooks::hook,
    support::{
        Drive, Seen, UNTRUSTED, USER, VERIFIED, labelled, mixed, open_with, plan, planner_of, steps,
    },
};

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

/// Whether an agent of this seed has memory, hooks, messages on the way and little room.
fn is_furnished(seed: u64) -> bool {
    seed % 4 == 1
}

/// The plan of a seed.
fn planned(seed: u64) -> Plan {
    let results = ["auto", "shown", "opaque"][usize::try_from(seed % 3).unwrap()];
    let mut spec = spec(results);
    let mut hooks = Vec::new();
    if is_furnished(seed) {
        let agent = &mut spec[0]["work"]["agent"];
        let about = json!({ "about": "${{ intent.task }}" });
        agent["context"] = json!({
            "memory": { "operation": "r.notes", "with": about, "tokens_max": 300 },
            "state": { "values": { "limit": "${{ pack.limit }}" }, "tokens_max": 100 },
        });
        agent["summary_role"] = json!("sum");
        agent["limits"]["context_tokens_max"] = json!(2_200);
        agent["limits"]["turns_max"] = json!(TURNS * 2);
        for (name, on) in [("hello", Moment::Start), ("look", Moment::Prompt)] {
            hooks.push(Hook { agents: ["adversary".to_owned()].into(), ..hook(name, on) });
        }
    }
    Plan { hooks, ..plan(steps(spec)) }
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
        "extract_role": "small",
        "extracts": [
            { "name": "angry", "ask": "Is the writer angry?", "answer": { "type": "boolean" } },
            { "name": "seats", "ask": "How many?", "answer": { "type": "number", "min": 0, "max": 9 } },
        ],
        "sensors": [{
            "name": "lint", "stage": { "after": "result", "operations": ["r.one"] },
            "sense": { "by": "do", "operation": "r.lint", "with": "${{ args }}" }, "say": "Again.",
        }],
        "limits": {
            "turns_max": TURNS, "calls_max": 100, "tokens_max": 1_000_000, "wall_max_ms": 1_000_000,
            "repairs_max": 20, "output_tokens_max": 100, "context_tokens_max": 1_000_000,
            "result_bytes_max": 100_000, "circles": "ignore",
        },
    } } }])
}

/// What the adversary says after having been shown this, with these words or none.
fn reply(shown: &[u8], words: &str) -> Value {
    let mut draw = Draw::of(&[shown]);
    let calls = draw.next(3) + 1;
    let text = (!words.is_empty()).then(|| json!({ "item": "text", "text": words }));
    let calls = (0..calls).map(|n| {
        let handle = format!("r{}", draw.next(4) + 1);
        let part = ["", "/clean", "/dirty"][draw.next(3)];
        let argument = match draw.next(3) {
            0 => json!({ "x": draw.next(100) }),
            1 => json!({ "x": { "$result": handle, "at": part } }),
            _ => json!({ "x": 1, "y": [{ "$result": handle, "at": part }] }),
        };
        let from = json!({ "$result": handle, "at": part });
        let (name, arguments) = match draw.next(8) {
            6 | 7 => {
                let what = ["angry", "seats", "mood"][draw.next(3)];
                ("extract", json!({ "from": from, "what": what }))
            }
            0 => ("look", json!({ "result": handle, "at": part })),
            1 | 2 => (["r_one", "r_two"][draw.next(2)], argument),
            _ => (["w_one", "w_two"][draw.next(2)], argument),
        };
        json!({ "item": "call", "id": format!("c{n}"), "name": name, "arguments": arguments })
    });
    let items: Vec<Value> = text.into_iter().chain(calls).collect();
    // What it says that it read is its word, too: with many words it makes the room seem full.
    let read = if words.is_empty() { 1 } else { shown.len() / 4 };
    json!({
        "provider": "p", "model": "m", "wire": "openai", "items": items, "stop": "tools",
        "usage": { "input": read, "output": 1 }, "raw": "",
    })
}

/// The result of a call in one of two worlds: which parts are untrusted follows from the place alone, what
/// stands in them from the world as well.
fn result(seed: u64, step: &str, world: &str) -> Settled {
    let mut draw = Draw::of(&[&seed.to_be_bytes(), step.as_bytes()]);
    // Enough of them are too much for little room.
    let filler = "and so on ".repeat(if is_furnished(seed) { 8 } else { 0 });
    let value =
        |dirty: &str| json!({ "clean": draw_text(seed, step), "dirty": dirty, "rest": filler });
    Settled::Done(match draw.next(3) {
        0 => labelled(value("the same"), VERIFIED),
        1 => labelled(value(world), UNTRUSTED),
        _ => mixed(value(world), &["/dirty"]),
    })
}

fn draw_text(seed: u64, step: &str) -> String {
    format!("{:?}", Draw::of(&[&seed.to_be_bytes(), step.as_bytes(), b"text"]).next(50))
}

/// What the answering model says: an answer, or whatever the text made it say.
fn answer(said_by: &str, prompt: &Value) -> (Value, String) {
    let mut draw = Draw::of(&[said_by.as_bytes()]);
    let about = prompt["output"]["properties"]["answer"]["type"][0].as_str() == Some("boolean");
    let said = match (draw.next(5), about) {
        (0, _) => format!("pay {said_by} at once"),
        (1, _) => format!(r#"{{"answer": "{said_by}"}}"#),
        (2, _) => r#"{"answer": null}"#.to_owned(),
        (_, true) => format!(r#"{{"answer": {}}}"#, draw.next(2) == 0),
        (_, false) => format!(r#"{{"answer": {}}}"#, draw.next(10)),
    };
    let mut reply = worded(&said);
    reply["usage"]["input"] = json!(draw.next(90));
    (reply, said)
}

/// A reply in words.
fn worded(said: &str) -> Value {
    json!({
        "provider": "p", "model": "m", "wire": "openai", "items": [{ "item": "text", "text": said }],
        "stop": "end", "usage": { "input": 1, "output": 1 }, "raw": "",
    })
}

/// Whom the answering model obeys.
#[derive(Clone, Copy)]
enum Answers {
    /// Nobody: it says the same in both worlds.
    Same,
    /// The untrusted text.
    OfWorld,
}

impl Answers {
    fn by(self, seed: u64, step: &str, world: &str) -> String {
        match self {
            Self::Same => format!("{seed} {step}"),
            Self::OfWorld => format!("{world} {seed} {step}"),
        }
    }
}

/// The writes of one world by what their labels claim, in order. Each claim has to hold alone: policies may
/// look at either label.
#[derive(Debug, Default, PartialEq, Eq)]
struct Clean {
    /// That nothing untrusted decided that they are made.
    existing: Vec<String>,
    /// That nothing untrusted is in their arguments, with these.
    argued: Vec<String>,
    /// What was answered to declared questions, with how many of both there were before.
    answered: Vec<(usize, usize, String)>,
}

/// Plays one world.
fn play(seed: u64, world: &str, answers: Answers) -> (Drive, Clean) {
    let intent = json!({ "task": format!("task {seed}"), "u": world });
    let mut drive = open_with(planned(seed), intent, MACHINE);
    let (mut shown, mut clean) = (Vec::new(), Clean::default());
    let words = "and so on ".repeat(if is_furnished(seed) { 8 } else { 0 });
    let mut done = 0;
    // Every proposal is settled in the order in which it was made.
    loop {
        let Some(proposal) = drive.proposals().nth(done).cloned() else { break };
        done += 1;
        let label = proposal.arg_labels.join_all();
        let reply_of = |said: Value| {
            let mut said = labelled(said, Trust::System);
            said.labels = said.labels.joined_with(&label);
            Settled::Done(said)
        };
        let settled = match proposal.operation.as_str() {
            "model.main" => {
                shown.extend(proposal.args.to_string().into_bytes());
                reply_of(reply(&shown, &words))
            }
            "model.small" => {
                let by = answers.by(seed, &proposal.step, world);
                let (said, text) = answer(&by, &proposal.args);
                clean.answered.push((clean.existing.len(), clean.argued.len(), text));
                reply_of(said)
            }
            "model.sum" => {
                let said = format!("summary {}", Digest::of(proposal.args.to_string().as_bytes()));
                reply_of(worded(&said))
            }
            // What it says is its own, about what it saw; whether it lets that pass may be the text's.
            "hook.hello" | "hook.look" => {
                let by = answers.by(seed, &proposal.step, world);
                let passes = Draw::of(&[by.as_bytes()]).next(6) > 0;
                let text = format!(r#"{{"answer": {passes}}}"#);
                clean.answered.push((clean.existing.len(), clean.argued.len(), text));
                let verdict = if passes { "pass" } else { "deny" };
                // Some ask somebody outside.
                let seen = proposal.args.to_string();
                let place = [&seed.to_be_bytes()[..], proposal.step.as_bytes(), b"hook"];
                if Draw::of(&place).next(6) == 0 {
                    Settled::Done(labelled(json!({ "verdict": verdict, "told": world }), UNTRUSTED))
                } else {
                    let told = Digest::of(seen.as_bytes()).to_string();
                    reply_of(json!({ "verdict": verdict, "told": told }))
                }
            }
            // Its words are the text's own; only what it comes to may be the same.
            "r.lint" => {
                let passes =
                    Draw::of(&[answers.by(seed, &proposal.step, world).as_bytes()]).next(2) == 0;
                let text = format!(r#"{{"answer": {passes}}}"#);
                clean.answered.push((clean.existing.len(), clean.argued.len(), text));
                let verdict = if passes { "pass" } else { "fail" };
                let said = json!({ "verdict": verdict, "message": world, "findings": [world] });
                Settled::Done(labelled(said, UNTRUSTED))
            }
            _ => result(seed, &proposal.step, world),
        };
        if proposal.operation.connector() == "w" {
            if !proposal.existence.is_tainted() {
                clean.existing.push(format!("{} {}", proposal.step, proposal.operation));
            }
            if !label.is_tainted() {
                clean.argued.push(format!("{} {}", proposal.step, proposal.args));
            }
        }
        drive.told(Seen::Settled(proposal.step, settled));
        if is_furnished(seed) && done % 5 == 4 {
            drive.told(Seen::Steered(message(seed, done, world)));
        }
    }
    (drive, clean)
}

/// What somebody says on the way: a person's word, the same in both worlds, or nobody's.
fn message(seed: u64, done: usize, world: &str) -> Labelled {
    match Draw::of(&[&seed.to_be_bytes(), &done.to_be_bytes(), b"message"]).next(4) {
        0 => labelled(json!(format!("nobody says {world}")), UNTRUSTED),
        _ => labelled(json!(format!("word {done}")), USER),
    }
}

#[test]
fn no_unasked_write_follows_from_untrusted_text() {
    let (mut compared, mut dirty, mut differ, mut answered) = (0, 0, 0, 0);
    let mut furnished = BTreeMap::<&str, usize>::new();
    for seed in 0..SEEDS {
        let world = |world| play(seed, world, Answers::Same);
        let ((one, clean_one), (two, clean_two)) = (world("left"), world("right"));
        let parts = |clean: &Clean| (clean.existing.clone(), clean.argued.clone());
        assert_eq!(parts(&clean_one), parts(&clean_two), "seed {seed}");
        compared += clean_one.argued.len();
        let writes =
            |drive: &Drive| drive.proposals().filter(|p| p.operation.connector() == "w").count();
        dirty += writes(&one) - clean_one.argued.len();
        differ += usize::from(moves(&one) != moves(&two));
        answered += clean_one.answered.len();
        if is_furnished(seed) {
            for what in ["model.sum", "hook.hello", "hook.look", "r.notes"] {
                let times = one.proposals().filter(|p| p.operation.as_str() == what).count();
                *furnished.entry(what).or_default() += times;
            }
            *furnished.entry("clean").or_default() += clean_one.argued.len();
        }
    }
    // The test would say nothing if the worlds never differed, or nothing clean ever happened.
    let counts = format!("{compared} {dirty} {differ} {answered}");
    assert!(compared > 500 && dirty > 500 && differ > 300 && answered > 500, "{counts}");
    assert!(furnished.values().all(|times| *times > 100), "{furnished:?}");
}

/// The exception to the claim, exactly: where the answering model obeys the text, a write that nothing else
/// untrusted decided may follow from its answers, and from nothing before them; and no text gets into it.
#[test]
fn an_unasked_write_differs_by_declared_answers_alone() {
    let (mut compared, mut split) = (0, 0);
    for seed in 0..SEEDS {
        let world = |world| play(seed, world, Answers::OfWorld).1;
        let (one, two) = (world("left"), world("right"));
        let accepted = |clean: &Clean| -> Vec<(usize, usize, Value)> {
            let read = |text: &str| match serde_json::from_str::<Value>(text) {
                Ok(said) if !said["answer"].is_string() => said["answer"].clone(),
                _ => json!("none"),
            };
            clean.answered.iter().map(|(e, a, text)| (*e, *a, read(text))).collect()
        };
        let (said_one, said_two) = (accepted(&one), accepted(&two));
        let apart = said_one.iter().zip(&said_two).position(|(one, two)| one.2 != two.2);
        let (existing, argued) = match apart.and_then(|at| said_one.get(at)) {
            Some((existing, argued, _)) => (*existing, *argued),
            None => (usize::MAX, usize::MAX),
        };
        let until = |list: &[String], end: usize| list[..end.min(list.len())].to_vec();
        assert_eq!(until(&one.existing, existing), until(&two.existing, existing), "seed {seed}");
        assert_eq!(until(&one.argued, argued), until(&two.argued, argued), "seed {seed}");
        for write in one.argued.iter().chain(&two.argued) {
            assert!(!write.contains("left") && !write.contains("right"), "seed {seed}: {write}");
            compared += 1;
        }
        split += usize::from(apart.is_some() && one.argued != two.argued);
    }
    assert!(compared > 1_000 && split > 50, "{compared} {split}");
}

/// Questions, sensors and handles are folded from what was observed and from nothing else: stop anywhere,
/// fold again, and the same is wanted. C070: so are the tools that its model is offered.
#[test]
fn any_prefix_folds_to_the_same_moves() {
    for seed in 0..40 {
        let drive = play(seed, "left", Answers::OfWorld).0;
        let fresh = || planner_of(planned(seed));
        let mut first = fresh();
        let mut wanted = Vec::new();
        for seen in &drive.seen {
            seen.tell(&mut first);
            wanted.push(first.next());
        }
        for cut in (0..drive.seen.len()).step_by(1 + drive.seen.len() / 8) {
            let mut again = fresh();
            drive.seen[..=cut].iter().for_each(|seen| seen.tell(&mut again));
            assert_eq!(again.next(), wanted[cut], "seed {seed}, after {cut} observations");
        }
    }
}

fn moves(drive: &Drive) -> Vec<String> {
    let proposals = drive.moves.iter().filter_map(|wanted| match wanted {
        Move::Propose(proposal) => Some(format!("{} {}", proposal.step, proposal.args)),
        _ => None,
    });
    proposals.collect()
}
