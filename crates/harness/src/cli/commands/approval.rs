//! `harness approval`

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Asked, Outcome, duration_ms, json_argument, render};
use crate::app::problem::Problem;

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// What waits for a decision
    List {
        /// Decided ones too
        #[arg(long)]
        all: bool,
        /// Where the page before ended
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
    },
    /// The card: what exactly, why asked, what will change
    Get {
        /// The approval
        approval: String,
    },
    /// Yes, to exactly what the card showed
    Approve(Decide),
    /// No
    Deny {
        /// The approval
        approval: String,
        /// Why
        #[arg(long)]
        reason: String,
        /// How long to wait for the run
        #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration_ms, allow_hyphen_values = true)]
        timeout: u64,
    },
    /// Not this, but with these arguments: a new proposal that walks the whole gate again
    Edit {
        #[command(flatten)]
        decide: Decide,
        /// The arguments, as JSON or @FILE
        #[arg(long, value_name = "JSON")]
        args: String,
    },
    /// Answer a typed question
    Reply {
        /// The question
        approval: String,
        /// The answer, as JSON or @FILE
        answer: String,
        /// How long to wait for the run
        #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration_ms, allow_hyphen_values = true)]
        timeout: u64,
    },
}

/// An answer bound to a digest.
#[derive(Debug, Args)]
pub struct Decide {
    /// The approval
    approval: String,
    /// The digest on the card
    #[arg(long)]
    digest: Option<String>,
    /// How long to wait for the run
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration_ms, allow_hyphen_values = true)]
    timeout: u64,
}

impl Verb {
    /// What the command comes to.
    ///
    /// # Errors
    /// Arguments that are not JSON.
    pub fn outcome(self) -> Result<Outcome, Problem> {
        let decide =
            |body| Ok(Outcome::Ask(Asked::new("approval.decide", body, render::run).by_status()));
        match self {
            Self::List { all, after } => {
                let body = json!({ "all": all, "after": after });
                Ok(Outcome::Ask(Asked::new("approval.list", body, render::approval_list)))
            }
            Self::Get { approval } => Ok(Outcome::Ask(Asked::new(
                "approval.get",
                json!({ "approval": approval }),
                render::card,
            ))),
            Self::Approve(Decide { approval, digest, timeout }) => decide(
                json!({ "approval": approval, "digest": digest, "verb": "approve", "wait_ms": timeout }),
            ),
            Self::Deny { approval, reason, timeout } => decide(
                json!({ "approval": approval, "verb": "deny", "reason": reason, "wait_ms": timeout }),
            ),
            Self::Edit { decide: Decide { approval, digest, timeout }, args } => {
                let value = json_argument(&args)?;
                decide(json!({
                    "approval": approval, "digest": digest, "verb": "edit", "value": value, "wait_ms": timeout,
                }))
            }
            Self::Reply { approval, answer, timeout } => {
                let value = json_argument(&answer)?;
                decide(
                    json!({ "approval": approval, "verb": "reply", "value": value, "wait_ms": timeout }),
                )
            }
        }
    }
}
