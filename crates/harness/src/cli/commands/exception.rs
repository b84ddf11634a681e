//! `harness exception`

use clap::Subcommand;
use serde_json::json;

use super::{Asked, Outcome, json_argument, render};
use crate::app::problem::Problem;

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Runs that need someone, oldest first
    List {
        /// Settled ones too
        #[arg(long)]
        all: bool,
    },
    /// Decide: happened, did_not_happen, retry, use, stop or close
    Settle {
        /// The exception
        exception: String,
        /// What you decide
        verb: String,
        /// How you know
        #[arg(long)]
        evidence: String,
        /// The step's output, for `use`, as JSON or @FILE
        #[arg(long, default_value = "null")]
        value: String,
    },
}

impl Verb {
    /// What the command comes to.
    ///
    /// # Errors
    /// A value that is not JSON.
    pub fn outcome(self) -> Result<Outcome, Problem> {
        match self {
            Self::List { all } => Ok(Outcome::Ask(Asked::new(
                "exception.list",
                json!({ "all": all }),
                render::exception_list,
            ))),
            Self::Settle { exception, verb, evidence, value } => {
                let value = json_argument(&value)?;
                let verb = verb.replace('-', "_");
                let body = json!({ "exception": exception, "verb": verb, "evidence": evidence, "value": value });
                Ok(Outcome::Ask(Asked::new("exception.settle", body, render::run).by_status()))
            }
        }
    }
}
