//! The probes: one file and one line here each.

mod again;
mod crash;
mod drift;
mod expire;
mod fail;
mod happy;
mod refuse;
mod restore;
mod undo;

use std::sync::Arc;

use kernel::plan::Plan;

use super::{
    drive::Story,
    law::Finding,
    rehearse::{Reached, Rehearsal, Row},
    script::Script,
    setting::Setting,
};

/// One thing that is done to a step.
pub(super) struct Case {
    /// Says which of several, such as `timeout`.
    pub(super) name: String,
    pub(super) script: Script,
    /// Another setting than the one that reached the step.
    pub(super) setting: Option<(Arc<Setting>, Arc<Plan>)>,
    /// What must hold beside the laws.
    pub(super) check: Check,
}

/// What must hold in a story, given the run that reached the step.
pub(super) type Check = Box<dyn Fn(&Story, &Reached) -> Vec<Finding> + Send + Sync>;

/// A column of the matrix.
pub(super) struct Probe {
    pub(super) name: &'static str,
    /// What it does, in one line.
    pub(super) what: &'static str,
    /// What it does to one step; none when it has nothing to do there.
    pub(super) cases: fn(&Rehearsal, &Row) -> Vec<Case>,
}

/// Every probe, in the order of the columns.
pub(super) const PROBES: [Probe; 9] = [
    happy::PROBE,
    fail::PROBE,
    again::PROBE,
    refuse::PROBE,
    expire::PROBE,
    crash::PROBE,
    undo::PROBE,
    drift::PROBE,
    restore::PROBE,
];

impl Case {
    fn new(
        name: impl Into<String>,
        script: Script,
        check: impl Fn(&Story, &Reached) -> Vec<Finding> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), script, setting: None, check: Box::new(check) }
    }
}

/// A finding, unless it is as it should be.
fn unless(holds: Holds, happened: impl Into<String>, expected: impl Into<String>) -> Vec<Finding> {
    match holds {
        Holds::Yes => Vec::new(),
        Holds::No => vec![Finding::new(happened, expected)],
    }
}

/// Whether something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Yes,
    No,
}

impl From<bool> for Holds {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}
