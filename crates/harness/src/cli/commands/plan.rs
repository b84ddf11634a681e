//! `harness plan`

use clap::Subcommand;
use serde_json::json;

use super::{Asked, Outcome, render};
use crate::app::problem::Problem;

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// The stored plan of a run
    Get {
        /// The run
        run: String,
    },
}

impl Verb {
    /// What the command comes to.
    ///
    /// # Errors
    /// None.
    pub fn outcome(self) -> Result<Outcome, Problem> {
        match self {
            Self::Get { run } => {
                Ok(Outcome::Ask(Asked::new("plan.get", json!({ "run": run }), render::plan)))
            }
        }
    }
}
