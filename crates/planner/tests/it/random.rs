//! Random playbooks, and a world that answers them: both follow from seeds alone.

use kernel::{
    exception::Class,
    planning::{Move, Resolution, Settled, Wait},
    playbook::Step,
};
use serde_json::{Value, json};

use crate::support::*;

/// Most moves and answers of one run under test.
const ROUNDS_MAX: usize = 20_000;

/// A hash of a seed and a text.
pub(crate) fn hash(seed: u64, text: &str) -> u64 {
    let mix = |mut x: u64| {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    text.bytes().fold(mix(seed ^ 0x9e37_79b9_7f4a_7c15), |h, byte| mix(h ^ u64::from(byte)))
}

/// Draws one after another.
pub(crate) struct Draws {
    seed: u64,
    count: u64,
}

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, count: 0 }
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.count += 1;
        hash(self.seed, &self.count.to_string()) % n
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// A random playbook.
pub(crate) fn playbook(seed: u64) -> Vec<Step> {
    let mut draws = Draws::new(seed);
    steps(Value::Array(block(&mut draws, 0, &Names::default())))
}

/// What expressions may name: steps with a full output, and loop variables.
#[derive(Clone, Default)]
struct Names {
    steps: Vec<String>,
    items: Vec<String>,
}

fn block(draws: &mut Draws, depth: u32, outer: &Names) -> Vec<Value> {
    let mut names = outer.clone();
    let count = 1 + draws.below(if depth == 0 { 6 } else { 3 });
    let mut steps = Vec::new();
    for n in 0..count {
        let id = format!("s{depth}{n}");
        let kind = if depth >= 3 { draws.below(12) } else { draws.below(18) };
        let step = step(draws, (&id, kind), depth, &names);
        if kind < 8 {
            names.steps.push(id);
        }
        steps.push(step);
    }
    steps
}

fn step(draws: &mut Draws, (id, kind): (&str, u64), depth: u32, names: &Names) -> Value {
    let work = match kind {
        0..8 => {
            json!({"kind": "do", "operation": *draws.pick(&["r.get", "r.get", "w.set", "w.put"]),
            "with": {"k": int_text(draws, names), "x": int_text(draws, names)}})
        }
        8 => json!({"kind": "ask", "question": format!("{}?", int_text(draws, names)),
            "answer": {}, "role": "o", "expires_ms": 9}),
        9 => json!({"kind": "await", "signal": "s", "timeout_ms": 9}),
        10 => json!({"kind": "sleep", "ms": 5}),
        11 => json!({"kind": "return", "value": int_text(draws, names)}),
        12 | 13 => {
            let with = json!({"t": int_text(draws, names), "u": int_text(draws, names),
                "ts": format!("${{{{ {} }}}}", list(draws, names)),
                "us": format!("${{{{ {} }}}}", list(draws, names))});
            let steps = block(draws, depth + 1, &Names::default());
            json!({"kind": "playbook", "name": "i", "with": with, "steps": steps})
        }
        14 | 15 => {
            let mut branches = block(draws, depth + 1, names);
            for branch in &mut branches {
                if branch["work"]["kind"] == "return" || may_return(branch) {
                    branch["work"] = json!({"kind": "sleep", "ms": 1});
                }
            }
            json!({"kind": "parallel", "branches": branches})
        }
        _ => {
            let mut inner = names.clone();
            let var = format!("x{depth}");
            inner.items.push(var.clone());
            json!({"kind": "for_each", "items": list(draws, names), "var": var, "max": 5,
                "steps": block(draws, depth + 1, &inner), "collect": int_text(draws, &inner)})
        }
    };
    let mut step = json!({"id": id, "work": work});
    if kind == 11 || draws.below(4) == 0 {
        step["when"] = json!(condition(draws, names));
    }
    if kind < 8 && draws.below(4) == 0 {
        let part = draws.pick(&["t", "t", "u"]);
        step["expect"] = json!([{"that": format!("result.{part} < 3"), "class": "mismatch"}]);
    }
    if draws.below(2) == 0 {
        step["on_failure"] = failures(draws, names);
    }
    step
}

fn may_return(step: &Value) -> bool {
    let inside = |key: &str| step["work"][key].as_array().cloned().unwrap_or_default();
    step["work"]["kind"] == "return"
        || step["work"]["kind"] == "for_each" && inside("steps").iter().any(may_return)
}

fn failures(draws: &mut Draws, names: &Names) -> Value {
    let mut all = json!({});
    for class in ["unavailable", "permission", "mismatch", "unexpected_shape", "timeout"] {
        let mut list = Vec::new();
        for _ in 0..draws.below(3) {
            list.push(match draws.below(7) {
                0 => json!({"recovery": "retry", "times": 2, "delay_ms": 3}),
                1 | 2 => json!({"recovery": "fallback", "operation": "r.back", "caveat": "f",
                    "with": {"k": int_text(draws, names), "x": 1}}),
                3 => json!({"recovery": "partial", "caveat": "p", "value":
                    {"t": int_text(draws, names), "u": 1, "ts": [1], "us": []}}),
                4 => json!({"recovery": "clarify", "question": "?", "answer": {}, "role": "o",
                    "expires_ms": 4}),
                5 => json!({"recovery": "escalate", "owner": "o"}),
                _ => json!({"recovery": "log", "caveat": "l"}),
            });
        }
        if !list.is_empty() {
            all[class] = json!(list);
        }
    }
    all
}

fn int_text(draws: &mut Draws, names: &Names) -> Value {
    match draws.below(4) {
        0 => json!(draws.below(9)),
        _ => json!(format!("${{{{ {} }}}}", int(draws, names))),
    }
}

/// An expression for a number: from the trusted part of something, or the untrusted one.
fn int(draws: &mut Draws, names: &Names) -> String {
    let part = *draws.pick(&["t", "t", "t", "u"]);
    match draws.below(5) {
        0 => "3".to_owned(),
        1 if !names.items.is_empty() => draws.pick(&names.items).clone(),
        2 | 3 if !names.steps.is_empty() => {
            let id = draws.pick(&names.steps);
            format!("(steps.{id}.output == null ? 0 : steps.{id}.output.{part})")
        }
        _ => format!("intent.{part}"),
    }
}

fn condition(draws: &mut Draws, names: &Names) -> String {
    format!("{} % 2 == {}", int(draws, names), draws.below(2))
}

fn list(draws: &mut Draws, names: &Names) -> String {
    let part = *draws.pick(&["ts", "ts", "us"]);
    match draws.below(3) {
        0 if !names.steps.is_empty() => format!("steps.{}.output.{part}", draws.pick(&names.steps)),
        1 => "[1, 2]".to_owned(),
        _ => format!("intent.{part}"),
    }
}

/// A world: what is trusted follows from one seed, what is not from both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    pub(crate) trusted: u64,
    pub(crate) flip: u64,
}

impl World {
    fn tainted_seed(self) -> u64 {
        hash(self.trusted, &self.flip.to_string())
    }

    fn numbers(seed: u64, key: &str) -> Value {
        let count = hash(seed, key) % 3;
        (0..count).map(|n| json!(hash(seed, &format!("{key}{n}")) % 4)).collect()
    }

    /// Numbers and lists, each trusted and not.
    fn record(self, seed: u64, key: &str) -> Value {
        let tainted = self.tainted_seed();
        json!({"t": hash(seed, key) % 4, "u": hash(tainted, key) % 4,
            "ts": Self::numbers(seed, key), "us": Self::numbers(tainted, key)})
    }

    fn intent(self) -> Seen {
        let mut intent = labelled(self.record(self.trusted, "intent"), USER);
        for part in ["/u", "/us"] {
            intent.labels.parts.insert(part.into(), label(UNTRUSTED));
        }
        Seen::Opened(intent)
    }

    /// What comes back for a move; none where nothing does.
    fn answer(self, wanted: &Move) -> Option<Seen> {
        let tainted = self.tainted_seed();
        Some(match wanted {
            Move::Propose(p) => {
                let key = format!("{}|{}|{}|{}", p.step, p.operation, p.attempt, p.args);
                let is_tainted = p.arg_labels.join_all().is_tainted();
                let (seed, trust) =
                    if is_tainted { (tainted, UNTRUSTED) } else { (self.trusted, VERIFIED) };
                let failed = |class, trust| Settled::Failed {
                    code: None,
                    class,
                    retry_after_ms: None,
                    label: label(trust),
                };
                // Whether the target answers is trusted; whether what it says makes sense is not.
                let settled = match hash(seed, &format!("fate{key}")) % 20 {
                    0 => failed(Class::Unavailable, trust),
                    1 => failed(Class::Permission, trust),
                    _ if hash(tainted, &format!("shape{key}")).is_multiple_of(16) => {
                        failed(Class::UnexpectedShape, UNTRUSTED)
                    }
                    _ => {
                        let mut output = mixed(self.record(seed, &key), &["/u", "/us"]);
                        output.labels = output.labels.joined_with(&label(trust));
                        Settled::Done(output)
                    }
                };
                Seen::Settled(p.step.clone(), settled)
            }
            Move::Ask(question) => {
                let draw = hash(self.trusted, &question.step);
                let record = labelled(self.record(self.trusted, &question.step), USER);
                let mut record = (!draw.is_multiple_of(5)).then_some(record);
                if let Some(record) = &mut record {
                    for part in ["/u", "/us"] {
                        record.labels.parts.insert(part.into(), label(UNTRUSTED));
                    }
                }
                Seen::Answered(question.step.clone(), record)
            }
            Move::Wait { step, wait: Wait::Sleep { .. } } => Seen::Woken(step.clone(), None),
            Move::Wait { step, wait: Wait::Signal { .. } } => {
                let draw = hash(tainted, step);
                let body = labelled(json!(draw % 4), UNTRUSTED);
                Seen::Woken(step.clone(), (!draw.is_multiple_of(3)).then_some(body))
            }
            Move::Escalate { step, .. } => {
                let resolution = match hash(self.trusted, step) % 3 {
                    0 => Resolution::Retry,
                    1 => {
                        Resolution::Use(labelled(json!({"t": 1, "u": 1, "ts": [], "us": []}), USER))
                    }
                    _ => Resolution::Stop,
                };
                Seen::Resolved(step.clone(), resolution)
            }
            Move::Mark { .. } | Move::Finish { .. } | Move::Abandon { .. } => return None,
        })
    }
}

/// Runs a playbook to its end; answers come in an order of the world's own.
pub(crate) fn run(steps: Vec<Step>, world: World) -> Drive {
    let mut drive = Drive::new(steps);
    let mut draws = Draws::new(world.tainted_seed());
    let (mut pending, mut answered) = (Vec::new(), 0);
    drive.told(world.intent());
    for _ in 0..ROUNDS_MAX {
        pending.extend(drive.moves[answered..].iter().filter_map(|wanted| world.answer(wanted)));
        answered = drive.moves.len();
        if drive.ended {
            return drive;
        }
        assert!(!pending.is_empty(), "stuck: {:?}", drive.lines());
        let next = draws.below(pending.len() as u64) as usize;
        let seen = pending.swap_remove(next);
        drive.told(seen);
    }
    panic!("no end: {:?}", drive.lines());
}
