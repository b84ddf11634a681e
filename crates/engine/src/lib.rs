//! The async shell around the run machine: one drive loop, an embedded dispatcher, timers, inbox, drain.
//!
//! It must not know: SQL, HTTP, any provider, policy languages, packs. It meets the world through the
//! kernel's ports and three of its own: [`Clock`], [`Loader`] and [`Seal`].
//!
//! Start with `drive`: load, fold, decide, append, acknowledge, call. Resume is the same code as run.
//! [`Engine`] owns who drives what; [`Engine::serve`] wakes what is due. It may lose or repeat any
//! wake-up: a sweep over the journal finds them all again.

mod desk;
mod drive;
mod engine;
mod ports;

pub use engine::{Engine, Options, Submitted};
pub use ports::{Clock, Entropy, Loaded, Loader, OsEntropy, Seal};

use kernel::{id::RunId, port::JournalError, run::Fault};

/// Why a run could not be driven on. The run itself is unharmed: its journal says where it stands.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The journal refused or failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The machine cannot go on.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// What the run is pinned to cannot be loaded.
    #[error("run {run} cannot be loaded: {problem}")]
    Pins {
        /// The run.
        run: RunId,
        /// Why.
        problem: String,
    },
    /// The process is about to end.
    #[error("the engine is shutting down; try again")]
    Draining,
}
