//! One thing a connector can do, as independent facts. What is undeclared takes its strictest value.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    budget::Sort,
    conversation::MODEL_CONNECTOR,
    id::OperationId,
    label::{Label, LabelMap},
    money::Money,
    receipt::Witness,
};

/// Longest a call may run when its operation does not say, in milliseconds.
pub const TIMEOUT_DEFAULT_MS: u32 = 10_000;

/// Longest a call may ever run, in milliseconds.
pub const TIMEOUT_MAX_MS: u32 = 600_000;

/// Whether the world differs afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// Changes something.
    #[default]
    Write,
}

/// How a write can be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// Not at all: irreversible.
    #[default]
    None,
    /// An inverse exists; a trace remains.
    Compensate,
    /// The before-image gives the exact earlier state back.
    Restore,
}

/// Whether a call whose outcome is unknown may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// Never: a person settles it.
    #[default]
    Never,
    /// The target deduplicates on our key.
    Keyed,
    /// The target can be asked whether it happened.
    Probe,
}

/// The arguments that decide what happens.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Critical {
    /// All of them.
    #[default]
    All,
    /// Those at these pointers into the arguments.
    At(Vec<String>),
}

/// How the record, path, host or account touched is found in the arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceRule {
    /// The kind of thing, such as `Account`.
    pub kind: String,
    /// Pointer into the arguments that names it.
    pub id: String,
}

/// Where one argument of a companion call comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// A pointer into `{args, before, output, after, key}` of the action it accompanies.
    From(String),
    /// A fixed value.
    Literal(Value),
}

/// A companion call: probe, before-image, preview or undo. It names a catalogued operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Companion {
    /// The operation to call; a read, except for undo.
    pub operation: OperationId,
    /// Its arguments, by name.
    #[serde(default)]
    pub with: BTreeMap<String, Binding>,
    /// Pointers into its output that make up the image compared and restored; empty = all of it.
    #[serde(default)]
    pub image: Vec<String>,
}

/// How to ask a target whether an effect happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The read that looks.
    pub call: Companion,
    /// Pointer into the answer: present and neither null, false nor empty means it happened.
    pub happened: String,
    /// How long after the dispatch a negative answer is final, in ms; absent = never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conclusive_after_ms: Option<u64>,
}

/// Output fresher than this, or it is `stale`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freshness {
    /// Pointer to an RFC 3339 time in the output.
    pub at: String,
    /// Maximum age in milliseconds.
    pub max_age_ms: i64,
}

/// Agreement of an entity with what another source said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Pointer to the name in the output.
    pub output: String,
    /// Pointer to the expected name in the arguments.
    pub expected: String,
    /// Least score, 0 to 100.
    pub threshold: u8,
}

/// At most so many calls in so long a time, over all runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Calls, at least one.
    pub calls: u32,
    /// In this many milliseconds.
    pub per_ms: u32,
}

/// Facts about the effect: independent, none implying another.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Does the world differ afterwards?
    pub effect: Effect,
    /// Can it be taken back?
    pub undo: Undo,
    /// May an unknown outcome be tried again?
    pub retry: Retry,
    /// Does anything leave to a place nobody declared?
    pub egress: bool,
    /// Which arguments decide what happens.
    pub critical: Critical,
}

/// Checks on the output, declared once, detected by the connector layer.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// Maximum age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Freshness>,
    /// Pointer to a list that must hold at most one item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<String>,
    /// Entity agreement.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<Match>,
}

/// Companion calls of a write.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Companions {
    /// Did it happen?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// What was there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Companion>,
    /// What it would change, without changing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Companion>,
    /// The write that takes it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo_with: Option<Companion>,
}

/// One thing a connector can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// `connector.operation`.
    pub id: OperationId,
    /// One plain sentence with places for arguments, for people; see [`crate::summary`].
    pub summary: String,
    /// The effect facts.
    pub facts: Facts,
    /// What it touches, where that can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceRule>,
    /// JSON Schema of the arguments.
    pub input: Arc<Value>,
    /// JSON Schema of the result.
    pub output: Arc<Value>,
    /// Labels of the result, before its arguments' labels join.
    pub labels: LabelMap,
    /// The most confidential label its target may receive.
    pub clearance: Label,
    /// Pointer patterns of result fields that a policy may mask.
    #[serde(default)]
    pub maskable: Vec<String>,
    /// Output checks.
    #[serde(default)]
    pub contract: Contract,
    /// Companion calls.
    #[serde(default)]
    pub companions: Companions,
    /// Free groups a policy may name, such as `customer_mail`.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Deadline of one call.
    pub timeout_ms: u32,
    /// Worst-case cost of one call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_max: Option<Money>,
    /// How often it may be called; absent = as often as its system bears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Who makes the call, and so who saw what came of it; its receipts say so.
    #[serde(default, skip_serializing_if = "Witness::is_executed")]
    pub witness: Witness,
    /// How the connector does it (method, path, statement, …); opaque to everyone but `connect`.
    pub binding: Arc<Value>,
}

impl Operation {
    /// Whether it changes the world.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.facts.effect == Effect::Write
    }

    /// Whether it asks a model: such a call is judged again only when what it would show to whom
    /// changes, and it has no receipt of its own.
    #[must_use]
    pub fn is_model_call(&self) -> bool {
        self.id.connector() == MODEL_CONNECTOR
    }

    /// What a call of it counts as.
    #[must_use]
    pub fn sort(&self) -> Sort {
        if self.is_write() {
            Sort::Write
        } else if self.is_model_call() {
            Sort::Model
        } else {
            Sort::Read
        }
    }

    /// A write that cannot be taken back.
    #[must_use]
    pub fn is_irreversible(&self) -> bool {
        self.is_write() && self.facts.undo == Undo::None
    }

    /// Whether anything about a call must not be steered by untrusted input.
    #[must_use]
    pub fn is_consequential(&self) -> bool {
        self.is_write() || self.facts.egress
    }
}

/// Builds a companion's arguments from its bindings; `None` when a pointer leads nowhere.
#[must_use]
pub fn bind(companion: &Companion, scope: &Value) -> Option<Value> {
    let bound = companion.with.iter().map(|(name, binding)| {
        let value = match binding {
            Binding::Literal(value) => value.clone(),
            Binding::From(pointer) => scope.pointer(pointer)?.clone(),
        };
        Some((name.clone(), value))
    });
    bound.collect::<Option<serde_json::Map<_, _>>>().map(Value::Object)
}
