//! The run machine.
use serde::{Deserialize, Serialize};

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Something is in flight.
    Running,
    /// Parked: a timer, a signal.
    Waiting,
    /// Parked: a person's answer.
    Asking,
    /// Held by a person.
    Paused,
    /// An exception is open.
    NeedsPerson,
    /// Effects are being taken back.
    RollingBack,
    /// Ended well.
    Succeeded,
    /// Ended with caveats.
    Partial,
    /// Ended by a failure.
    Failed,
    /// Ended by a person.
    Cancelled,
    /// Everything was taken back.
    RolledBack,
    /// Some was taken back, some was not.
    PartlyRolledBack,
}
/// A run.
#[derive(Debug)]
pub struct Run;
impl Run {
    /// later
    pub fn next(&self) {}
}
