//! Why an agent cannot be built, or a run cannot be driven. How a run ended is never an error.

use kernel::{RunId, port::JournalError, run::Refused};

/// What went wrong around a run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent has no model.
    #[error("an agent needs a model: give it one with `.model(…)` or `.models(…)`")]
    NoModel,
    /// A tool is not declared as it must be.
    #[error("tool `{tool}`: {problem}")]
    Tool {
        /// Which.
        tool: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Something else about the agent cannot work.
    #[error("the agent cannot work: {0}")]
    Agent(String),
    /// What is wrong with the policy, each with its place.
    #[error("the policy is refused: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Policy(Vec<policy::Problem>),
    /// What is wrong with the models.
    #[error(transparent)]
    Models(#[from] models::Error),
    /// The task cannot be planned.
    #[error("the task cannot be planned: {0}")]
    Plan(String),
    /// The journal refused or failed; the run is as it says there.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] JournalError),
    /// The run's own journal does not fold.
    #[error(transparent)]
    Fault(#[from] kernel::run::Fault),
    /// An answer to an ask did not count; the ask is still open.
    #[error("an answer to {run} did not count: {refused}")]
    Answer {
        /// Which run.
        run: RunId,
        /// Why.
        refused: Refused,
    },
    /// The answer is no value of the type that was asked for.
    #[error("the answer of {run} cannot be read: {problem}")]
    Unreadable {
        /// Which run.
        run: RunId,
        /// What is wrong.
        problem: String,
    },
    /// The evidence of a run cannot be put together.
    #[error(transparent)]
    Receipts(#[from] receipts::Error),
    /// A replay came to other events than those recorded.
    #[error(transparent)]
    Diverged(#[from] kernel::run::Divergence),
}
