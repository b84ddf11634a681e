//! What is known about values before any is made up: what conditions compare them with, what the
//! examples of intents and policy cases hold, and what operations refused when they got them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use expr::{Expr, Side, Template};
use kernel::{
    id::OperationId,
    playbook::{Recovery, Step, Work, visit_steps},
};
use pack::Pack;
use serde_json::{Value, json};

/// Most candidates kept for one name or place.
const CANDIDATES_MAX: usize = 16;

/// Whose value it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// Inputs of the intent.
    Input,
    /// What an operation gives back.
    Output(OperationId),
    /// What a person or a signal says at a step.
    Said(String),
}

/// A place in made-up values: any list index is `*`.
pub(super) type Place = (Source, String);

/// Something a value may be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Candidate {
    /// Exactly this.
    Literal(Value),
    /// Something that fits this schema as well.
    Fits(Arc<Value>),
    /// The intent's input at this pointer.
    Input(String),
}

/// Everything known about the values of one intent.
#[derive(Clone, Debug, Default)]
pub(super) struct Hints {
    by_name: BTreeMap<String, Vec<Candidate>>,
    by_place: BTreeMap<Place, Vec<Candidate>>,
    samples: BTreeMap<String, Vec<Value>>,
    words: BTreeSet<String>,
}

impl Hints {
    /// Mines a pack for what the playbook of an intent compares and what its examples hold.
    pub(super) fn mine(pack: &Pack, intent: &pack::Intent, steps: &[Step]) -> Self {
        let mut hints = Self::default();
        for case in &pack.policy_cases {
            hints.sample("", &case.args);
        }
        let texts = pack.intents.values().flat_map(|intent| &intent.examples);
        for text in intent.examples.iter().chain(texts) {
            let ends = |c: char| !c.is_alphanumeric();
            let words = text.split_whitespace().map(|word| word.trim_matches(ends));
            hints.words.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
        }
        visit_steps(steps, &mut |path, step| hints.mine_step(path, step));
        hints
    }

    fn mine_step(&mut self, path: &str, step: &Step) {
        let depth = if path.contains('/') { Depth::Nested } else { Depth::Top };
        let conditions = step.when.iter().chain(step.expect.iter().map(|check| &check.that));
        for source in conditions {
            self.mine_expr(source, depth);
        }
        match &step.work {
            Work::Do { with, .. } | Work::Playbook { with, .. } | Work::Agent { with, .. } => {
                self.mine_template(with, depth);
            }
            Work::Return { value } => self.mine_template(value, depth),
            Work::ForEach { items, collect, .. } => {
                self.mine_expr(items, depth);
                collect.iter().for_each(|value| self.mine_template(value, depth));
            }
            Work::Ask { .. } | Work::Parallel { .. } | Work::Sleep { .. } | Work::Await { .. } => {}
        }
        for recovery in step.on_failure.values().flatten() {
            match recovery {
                Recovery::Fallback { with: value, .. } | Recovery::Partial { value, .. } => {
                    self.mine_template(value, depth);
                }
                _ => {}
            }
        }
    }

    fn mine_expr(&mut self, source: &str, depth: Depth) {
        let found = Expr::parse(source).map(|expr| expr.compares()).unwrap_or_default();
        self.compared(&found, depth);
    }

    fn mine_template(&mut self, value: &Value, depth: Depth) {
        let found = Template::parse(value).map(|t| t.compares()).unwrap_or_default();
        self.compared(&found, depth);
    }

    fn compared(&mut self, found: &[expr::Compared], depth: Depth) {
        for (left, right) in found {
            for (one, other) in [(left, right), (right, left)] {
                let Side::Path(path) = one else { continue };
                let Some(name) = path.last() else { continue };
                for candidate in candidates(other, depth) {
                    add(self.by_name.entry(plain_name(name)).or_default(), candidate);
                }
            }
        }
    }

    fn sample(&mut self, name: &str, value: &Value) {
        if let Value::Object(fields) = value {
            for (name, field) in fields {
                self.sample(name, field);
            }
            return;
        }
        let samples = self.samples.entry(plain_name(name)).or_default();
        if !samples.contains(value) && samples.len() < CANDIDATES_MAX {
            samples.push(value.clone());
        }
    }

    /// Learns that the value at a place must fit a schema as well. True when that is news.
    pub(super) fn learn(&mut self, place: Place, schema: Arc<Value>) -> Learned {
        add(self.by_place.entry(place).or_default(), Candidate::Fits(schema))
    }

    /// What the value of this name at this place may be, what is surest first.
    pub(super) fn candidates(&self, place: &Place, name: &str) -> Vec<Candidate> {
        let name = plain_name(name);
        let learned = self.by_place.get(place).into_iter().flatten().cloned();
        let samples = self.samples.get(&name).filter(|_| place.0 == Source::Input);
        let samples = samples.into_iter().flatten().cloned().map(Candidate::Literal);
        let compared = self.by_name.get(&name).into_iter().flatten().cloned();
        learned.chain(samples).chain(compared).collect()
    }

    /// Words of the examples people gave: some are ids.
    pub(super) fn words(&self) -> impl Iterator<Item = &String> {
        self.words.iter()
    }
}

/// Where a step stands: only at the top does `intent` mean the inputs of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    Top,
    Nested,
}

/// Whether something was news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Learned {
    News,
    Known,
}

fn add(candidates: &mut Vec<Candidate>, candidate: Candidate) -> Learned {
    if candidates.contains(&candidate) || candidates.len() >= CANDIDATES_MAX {
        return Learned::Known;
    }
    candidates.push(candidate);
    Learned::News
}

fn candidates(side: &Side, depth: Depth) -> Vec<Candidate> {
    match side {
        Side::Literal(Value::Null) | Side::Size(_) => vec![],
        Side::Literal(value) => {
            let number = value.as_i64();
            let beside = number.into_iter().flat_map(|n| [n.checked_sub(1), n.checked_add(1)]);
            let beside = beside.flatten().map(|n| Candidate::Literal(Value::from(n)));
            std::iter::once(Candidate::Literal(value.clone())).chain(beside).collect()
        }
        // What is converted to a number is a text of digits.
        Side::Number => {
            let digits = json!({ "type": "string", "pattern": "^[1-9][0-9]?$" });
            vec![Candidate::Fits(Arc::new(digits))]
        }
        Side::Path(path) => match path.split_first() {
            Some((root, rest)) if root == "intent" && depth == Depth::Top && !rest.is_empty() => {
                let pointer = rest.iter().map(|name| format!("/{}", kernel::pointer::escape(name)));
                vec![Candidate::Input(pointer.collect())]
            }
            _ => vec![],
        },
    }
}

/// A name without case and punctuation: `AccountId` and `account_id` are one.
pub(super) fn plain_name(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}
