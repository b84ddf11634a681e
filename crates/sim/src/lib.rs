//! Crashes, zombies, lost answers and failing appends in every order, over the real run machine, the
//! real playbook planner and the real engine, on a virtual clock.
//!
//! Development only; it must not be a dependency of anything that ships. A *process* is a tokio runtime
//! with an engine in it: killing one drops it. Everything an engine does to the outside passes a *point*
//! of the [`Stage`](stage::Stage), where the course of a schedule says what happens. One thread runs one
//! schedule at a time, so the same case always goes the same way.
//!
//! Start with [`play`]: one case played to its end. [`check`] then looks at the world's own record and
//! at the journal, and knows nothing of how the machine decides. [`grid`] names every case of the small
//! systematic space, [`Case::of_seed`] a random one of the large one.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "development only: what breaks here should stop the simulation"
)]

mod case;
mod check;
mod company;
mod dice;
pub mod grid;
mod mutant;
mod play;
mod process;
pub mod scenario;
mod shelf;
mod stage;
pub mod tally;
mod target;

pub use case::{Case, CaseId};
pub use check::{Broken, Invariant, check};
pub use mutant::Mutant;
pub use play::{Story, Trace, play};
pub use scenario::Scenario;
