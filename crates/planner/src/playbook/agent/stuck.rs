//! Whether an agent goes round in circles: the same calls with the same results, over and over.
//!
//! A call counts as repeated only when its result is the same too: whoever counts up, turns pages or
//! waits for something to change gets other results or asks with other numbers. Arguments that say the
//! same in other words count as the same; numbers and truth values never do.

use std::collections::{BTreeSet, VecDeque};

use kernel::Digest;
use serde_json::Value;

/// Turns looked back at.
const WINDOW: usize = 6;

/// Share of words, in per cent, from which two texts say the same.
const SAME_WORDS_PERCENT: usize = 60;

/// Words that carry no meaning of their own.
const FILLERS: [&str; 24] = [
    "a", "an", "and", "are", "at", "by", "can", "do", "find", "for", "get", "give", "in", "is",
    "me", "of", "on", "please", "show", "that", "the", "to", "what", "with",
];

/// One turn's calls and what came of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn {
    calls: Vec<(String, Value, Digest)>,
}

impl Turn {
    /// Adds a call: the tool, its arguments and a digest of what the model was shown.
    pub(super) fn add(&mut self, tool: &str, args: &Value, shown: Digest) {
        self.calls.push((tool.to_owned(), normal(args), shown));
    }

    fn same(&self, other: &Self) -> bool {
        self.calls.len() == other.calls.len()
            && self
                .calls
                .iter()
                .zip(&other.calls)
                .all(|(one, two)| one.0 == two.0 && one.2 == two.2 && alike(&one.1, &two.1))
    }
}

/// The last turns of an agent.
#[derive(Debug, Default)]
pub(super) struct Circles {
    turns: VecDeque<Turn>,
}

impl Circles {
    /// Takes a turn in; whether it closes a circle: A-A-A or A-B-A-B.
    pub(super) fn closes(&mut self, turn: Turn) -> bool {
        if turn.calls.is_empty() {
            self.turns.clear();
            return false;
        }
        self.turns.push_back(turn);
        if self.turns.len() > WINDOW {
            self.turns.pop_front();
        }
        self.repeats(1, 3) || self.repeats(2, 2)
    }

    /// Forgets what was: the agent was told, or something new happened.
    pub(super) fn forget(&mut self) {
        self.turns.clear();
    }

    /// Whether the last `times` stretches of `length` turns are the same.
    fn repeats(&self, length: usize, times: usize) -> bool {
        let all = length.saturating_mul(times);
        let Some(from) = self.turns.len().checked_sub(all) else {
            return false;
        };
        let last = |at: usize| self.turns.get(from.saturating_add(at));
        (length..all).all(|at| match (last(at), last(at.saturating_sub(length))) {
            (Some(now), Some(before)) => now.same(before),
            _ => false,
        })
    }
}

/// Arguments without what does not matter: case, punctuation, order of words, fillers.
fn normal(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::Array(words(text).into_iter().map(Value::String).collect()),
        Value::Array(items) => Value::Array(items.iter().map(normal).collect()),
        Value::Object(fields) => Value::Object(
            fields.iter().map(|(name, value)| (name.clone(), normal(value))).collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn words(text: &str) -> BTreeSet<String> {
    let lower = text.to_lowercase();
    let all = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let told: BTreeSet<String> =
        all.clone().filter(|word| !FILLERS.contains(word)).map(str::to_owned).collect();
    if told.is_empty() { all.map(str::to_owned).collect() } else { told }
}

/// Whether two normal values say the same.
fn alike(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Array(one), Value::Array(two)) if is_words(one) && is_words(two) => {
            same_words(one, two)
        }
        (Value::Array(one), Value::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| alike(one, two))
        }
        (Value::Object(one), Value::Object(two)) => {
            one.len() == two.len()
                && one.iter().all(|(name, value)| two.get(name).is_some_and(|v| alike(value, v)))
        }
        _ => one == two,
    }
}

fn is_words(items: &[Value]) -> bool {
    items.iter().all(Value::is_string)
}

/// A number in a text is a fact, not a way of saying it; so is a name that looks like an id.
fn same_words(one: &[Value], two: &[Value]) -> bool {
    let facts = |items: &[Value]| -> Vec<String> {
        let texts = items.iter().filter_map(Value::as_str);
        texts.filter(|word| word.chars().any(char::is_numeric)).map(str::to_owned).collect()
    };
    if facts(one) != facts(two) {
        return false;
    }
    if one == two {
        return true;
    }
    let shared = one.iter().filter(|word| two.contains(word)).count();
    let all = one.len().saturating_add(two.len()).saturating_sub(shared);
    // One word against another is another word.
    all > 1 && shared.saturating_mul(100) >= all.saturating_mul(SAME_WORDS_PERCENT)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Whether any of these turns closes a circle; each is (tool, arguments, result).
    fn stuck(turns: &[(&str, Value, &str)]) -> bool {
        let mut circles = Circles::default();
        turns.iter().any(|(tool, args, result)| {
            let mut turn = Turn::default();
            turn.add(tool, args, Digest::of(result.as_bytes()));
            circles.closes(turn)
        })
    }

    #[test]
    fn the_same_call_three_times_is_a_circle() {
        let call = ("search", json!({ "q": "renewal terms" }), "nothing");
        assert!(stuck(&[call.clone(), call.clone(), call.clone()]));
        assert!(!stuck(&[call.clone(), call]));
    }

    #[test]
    fn two_calls_by_turns_are_a_circle() {
        let (a, b) = (("a", json!({}), "x"), ("b", json!({}), "y"));
        assert!(stuck(&[a.clone(), b.clone(), a.clone(), b.clone()]));
        assert!(!stuck(&[a.clone(), b.clone(), a.clone(), ("b", json!({}), "new")]));
        assert!(!stuck(&[a.clone(), b, a]));
    }

    #[test]
    fn the_same_in_other_words_is_a_circle() {
        let ask = |q: &str| ("search", json!({ "query": q, "limit": 5 }), "no results");
        assert!(stuck(&[
            ask("contract terms of Acme Corp"),
            ask("Please find the contract terms for ACME corp."),
            ask("Acme Corp: contract terms?"),
        ]));
        assert!(stuck(&[
            ask("refund policy for enterprise customers"),
            ask("enterprise customers' refund policy"),
            ask("what is the refund policy for the enterprise customers"),
        ]));
    }

    /// Where neither calls nor results differ nothing tells honest work from a circle: an agent whose work is to
    /// repeat itself says `circles: ignore`, as `docs/agents.md` tells.
    #[test]
    fn what_never_changes_is_a_circle_whatever_it_is_called() {
        let poll = ("status", json!({ "job": 7 }), "running");
        let counter = ("count_up", json!({}), "ok");
        for call in [poll.clone(), counter.clone()] {
            let three = [call.clone(), call.clone(), call];
            assert!(stuck(&three), "{three:?}");
        }
        assert!(stuck(&[poll.clone(), counter.clone(), poll.clone(), counter.clone()]));
        // One word of news is news.
        let moved = [poll.clone(), poll.clone(), ("status", json!({ "job": 7 }), "done")];
        assert!(!stuck(&moved));
        let counted = ["1", "2", "3", "4", "5"].map(|n| ("count_up", json!({}), n));
        assert!(!stuck(&counted));
        // Work between two looks is no circle either.
        let waits = (0..9).map(|n| match n % 2 {
            0 => poll.clone(),
            _ => ("work", json!({ "item": n }), "ok"),
        });
        assert!(!stuck(&waits.collect::<Vec<_>>()));
    }

    /// Calls without arguments, and polls that are given up in time: told apart by what they bring.
    #[test]
    fn counters_and_pages_without_arguments_are_no_circles() {
        let counts: Vec<String> = (0..9).map(|n| n.to_string()).collect();
        let counter: Vec<_> = counts.iter().map(|n| ("count_up", json!({}), &**n)).collect();
        assert!(!stuck(&counter));
        let pages = ["Acme", "Birch", "Cedar", "Dahlia"].map(|name| ("next_page", json!({}), name));
        assert!(!stuck(&pages));
        let ask = |says| ("status", json!({ "job": 7 }), says);
        let pause = ("wait", json!({ "minutes": 5 }), "ok");
        let poll = [ask("running"), ask("running"), pause, ask("running"), ask("done")];
        assert!(!stuck(&poll));
    }

    /// What looks alike and is none (C080): a false alarm would end honest work.
    #[test]
    fn counters_pages_polls_and_lists_are_no_circles() {
        type Calls = Vec<(&'static str, Value, String)>;
        let honest: Vec<(&str, Calls)> = vec![
            (
                "a counter",
                (0..9).map(|n| ("add", json!({ "a": n, "b": 1 }), "ok".into())).collect(),
            ),
            ("pages", (0..9).map(|n| ("list", json!({ "page": n }), "full".into())).collect()),
            (
                "a cursor in a text",
                (0..9)
                    .map(|n| ("list", json!({ "after": format!("c{n}") }), "full".into()))
                    .collect(),
            ),
            (
                "a poll that moves on",
                (0..9).map(|n| ("status", json!({ "job": 7 }), format!("{n}0 %"))).collect(),
            ),
            (
                "the same question to many",
                ["Acme", "Birch", "Cedar", "Dahlia", "Elm"]
                    .map(|name| ("account", json!({ "name": name }), "not found".to_owned()))
                    .to_vec(),
            ),
            (
                "many files",
                (0..9)
                    .map(|n| ("read", json!({ "path": format!("src/m{n}.rs") }), "".into()))
                    .collect(),
            ),
            (
                "lines of one file",
                (0..9)
                    .map(|n| ("read", json!({ "path": "a.rs", "from": n * 100 }), "…".into()))
                    .collect(),
            ),
            (
                "write and check by turns",
                (0..9)
                    .map(|n| match n % 2 {
                        0 => ("write", json!({ "text": format!("try {n}") }), "ok".into()),
                        _ => ("test", json!({}), format!("{} failed", 9 - n)),
                    })
                    .collect(),
            ),
            (
                "dates",
                (1..9)
                    .map(|d| ("usage", json!({ "day": format!("2026-11-0{d}") }), "0".into()))
                    .collect(),
            ),
            (
                "other words for other things",
                ["refund policy", "renewal policy", "privacy policy", "security policy"]
                    .map(|q| ("search", json!({ "q": q }), "nothing".to_owned()))
                    .to_vec(),
            ),
        ];
        for (what, turns) in &honest {
            let turns: Vec<_> = turns
                .iter()
                .map(|(tool, args, shown)| (*tool, args.clone(), shown.as_str()))
                .collect();
            assert!(!stuck(&turns), "{what}");
        }
    }
}
