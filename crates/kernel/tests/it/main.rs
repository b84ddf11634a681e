//! The run machine through its surface: inputs in, events and permits out.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod approvals;
mod crashes;
mod doubts;
mod gate;
mod rollbacks;
