//! The target system and its own record: what was asked of it, under which key, when, and what it did.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use kernel::{
    exception::{Class, Landed},
    gate::Permit,
    id::At,
    label::LabelMap,
    port::{Failure, Outcome, Returned},
};
use serde_json::{Value, json};
use testkit::clean;

use crate::{
    mutant::Mutant,
    scenario::{Deed, Scenario},
};

/// One write call that arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The operation.
    pub operation: String,
    /// The effect key it came under.
    pub key: String,
    /// The record it names.
    pub record: String,
    /// The key of the effect it takes back, if it does.
    pub of: Option<String>,
    /// Which call of its action.
    pub attempt: u32,
    /// When.
    pub at: At,
    /// It took effect.
    pub landed: bool,
    /// The caller heard a certain no.
    pub refused: bool,
    /// It came later than any caller may send: the pause between the last check and the send.
    pub late: bool,
}

/// The target.
#[derive(Debug)]
pub struct Target {
    /// Write calls in the order they arrived.
    pub arrivals: Vec<Arrival>,
    /// Record → value.
    pub values: BTreeMap<String, Value>,
    landed: BTreeSet<String>,
    deeds: VecDeque<Deed>,
    undo_deeds: VecDeque<Deed>,
    mutant: Mutant,
}

impl Target {
    pub(crate) fn new(scenario: &Scenario, mutant: Mutant) -> Self {
        let old = || json!("old");
        Self {
            arrivals: Vec::new(),
            values: [("r1".to_owned(), old()), ("r2".to_owned(), old())].into(),
            landed: BTreeSet::new(),
            deeds: [scenario.deed].into(),
            undo_deeds: [scenario.undo_deed].into(),
            mutant,
        }
    }

    /// Whether an effect under this key is there or was.
    #[must_use]
    pub fn happened(&self, key: &str) -> bool {
        self.landed.contains(key)
    }

    /// Effects that nothing has taken back, by key.
    #[must_use]
    pub fn standing(&self) -> Vec<&Arrival> {
        let back: BTreeSet<&String> =
            self.arrivals.iter().filter(|a| a.landed).filter_map(|a| a.of.as_ref()).collect();
        let forward = self.arrivals.iter().filter(|a| a.landed && a.of.is_none());
        forward.filter(|a| !back.contains(&a.key)).collect()
    }

    /// A call arrives. `late` says that it left after every check had become void.
    pub(crate) fn take(&mut self, permit: &Permit, (at, late): (At, bool)) -> Outcome {
        if !permit.operation().is_write() {
            return self.read(permit);
        }
        let args = permit.args();
        let text = |name: &str| args.get(name).and_then(Value::as_str).map(str::to_owned);
        let of = text("of");
        let deeds = if of.is_some() { &mut self.undo_deeds } else { &mut self.deeds };
        let deed = deeds.pop_front().unwrap_or(Deed::Do);
        let key = permit.key().to_string();
        let keyed = permit.operation().facts.retry == kernel::operation::Retry::Keyed;
        let known = keyed && self.landed.contains(&key) && self.mutant != Mutant::Forgetful;
        let does = matches!(deed, Deed::Do | Deed::DoUnheard | Deed::DoBadly) && !known;
        let lazy = self.mutant == Mutant::LazyUndo && of.is_some();
        let arrival = Arrival {
            operation: permit.operation().id.to_string(),
            key: key.clone(),
            record: text("id").unwrap_or_default(),
            of,
            attempt: permit.attempt(),
            at,
            landed: does && !lazy,
            refused: deed == Deed::Refuse && !known,
            late,
        };
        if arrival.landed {
            self.landed.insert(key);
            let value = args.get("value").cloned().unwrap_or_else(|| json!("old"));
            self.values.insert(arrival.record.clone(), value);
        }
        self.arrivals.push(arrival);
        if known { done(json!({ "again": true })) } else { answer(deed) }
    }

    fn read(&self, permit: &Permit) -> Outcome {
        let args = permit.args();
        let text = |name: &str| args.get(name).and_then(Value::as_str);
        if let Some(key) = text("key") {
            let found = self.landed.contains(key) && self.mutant != Mutant::LyingProbe;
            return done(json!({ "found": found }));
        }
        done(json!({ "value": text("id").and_then(|id| self.values.get(id)) }))
    }

    /// Somebody else changes every record.
    pub(crate) fn meddle(&mut self) {
        self.values.values_mut().for_each(|value| *value = json!("meddled"));
    }
}

fn answer(deed: Deed) -> Outcome {
    match deed {
        Deed::Do => done(json!({ "done": true })),
        Deed::DoUnheard | Deed::Lose => failed(Class::Timeout, Landed::Unknown),
        Deed::Refuse => failed(Class::Unavailable, Landed::No),
        Deed::DoBadly => failed(Class::Stale, Landed::Yes),
    }
}

fn done(output: Value) -> Outcome {
    Ok(Returned {
        output: Arc::new(output),
        labels: LabelMap::uniform(clean()),
        external_ref: None,
        cost: None,
        received: Default::default(),
    })
}

/// A failure of a call.
pub(crate) fn failed(class: Class, landed: Landed) -> Outcome {
    Err(Failure { class, landed, message: "simulated".into(), retry_after_ms: None, sample: None })
}
