//! What goes wrong in a run, who answers what, and where the process ends: data.

use kernel::{budget::Budget, event::Purpose, id::OperationId};
use serde_json::Value;

use super::world::How;

/// Which calls a fault strikes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    /// Those of a step, by its static path, that use this operation.
    Step(String, OperationId),
    /// A helper call of a step.
    Companion(String, Purpose),
    /// Undoing the effects of a step.
    UndoOf(String),
}

/// How often a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    Once,
    Always,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) target: Target,
    pub(super) how: How,
    pub(super) times: Times,
}

/// What people do when a step asks.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) enum People {
    /// They approve and answer everything.
    #[default]
    Willing,
    /// They say no to this step.
    Refuse(String),
    /// They do not answer this step.
    Silent(String),
}

/// Where the process ends, to be taken over by another.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) enum Crash {
    /// Nowhere.
    #[default]
    Never,
    /// Right after this append, counted from 1.
    AfterAppend(usize),
    /// Right after the first call of this step, before its answer is written down.
    AfterCall(String),
}

/// What is asked for once the run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Then {
    /// Nothing.
    #[default]
    Rest,
    /// That everything is taken back.
    RollBack,
    /// The same, after somebody else has changed what the run left.
    MeddleAndRollBack,
    /// Nothing; and the same intent is submitted once more under the same key.
    SubmitAgain,
}

/// Everything that makes one run differ from another in the same setting.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    pub(super) faults: Vec<Fault>,
    pub(super) people: People,
    pub(super) crash: Crash,
    pub(super) then: Then,
    pub(super) budget: Budget,
    /// Policy refuses this operation with these arguments.
    pub(super) deny: Option<(OperationId, Value)>,
    /// The answers of this step come twice.
    pub(super) echo: Option<String>,
}
