//! `harness approval`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Asked, Outcome, about::About, duration_ms, json_argument, render};
use crate::{app::problem::Problem, cli::screen::Screen};

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// What waits for a decision
    List {
        /// Decided ones too
        #[arg(long)]
        all: bool,
        /// Of this run
        #[arg(long)]
        run: Option<String>,
        #[command(flatten)]
        about: About,
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
    /// Answer several at once; each counts alone
    Batch {
        /// A list of answers, as JSON or @FILE: approval, verb, and digest or reason
        answers: String,
    },
    /// Look after it yourself: others see that
    Claim {
        /// The approval
        approval: String,
    },
    /// Have somebody look after it
    Assign(Assign),
    /// Nobody looks after it any more
    Release {
        /// The approval
        approval: String,
    },
    /// Move it to the end of everybody's list; nothing is decided
    SetAside {
        /// The approval
        approval: String,
        /// Why
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Move it back to its place
    TakeUp {
        /// The approval
        approval: String,
    },
    /// Answer a typed question
    Reply {
        /// The question
        approval: String,
        /// The answer, as JSON or @FILE; `null` declines what a server asks
        answer: String,
        /// How long to wait for the run
        #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration_ms, allow_hyphen_values = true)]
        timeout: u64,
    },
}

/// Who looks after something.
#[derive(Debug, Args)]
pub struct Assign {
    /// The approval
    approval: String,
    /// The person, as `people` declares them
    #[arg(long, value_name = "PERSON")]
    to: String,
    /// What they should know
    #[arg(long, default_value = "")]
    note: String,
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
            Self::List { all, run, about } => {
                let body = about.with(json!({ "all": all, "run": run }));
                Ok(Outcome::Ask(Asked::new("approval.list", body, render::approval_list)))
            }
            Self::Get { approval } => Ok(Outcome::Ask(Asked::new(
                "approval.get",
                json!({ "approval": approval }),
                render::card,
            ))),
            Self::Batch { answers } => {
                let body = json!({ "answers": json_argument(&answers)? });
                Ok(Outcome::Ask(Asked::new("approval.decide-batch", body, decided)))
            }
            Self::Claim { approval } => Ok(claim(json!({ "approval": approval, "verb": "claim" }))),
            Self::Assign(Assign { approval, to, note }) => {
                Ok(claim(json!({ "approval": approval, "verb": "assign", "to": to, "note": note })))
            }
            Self::Release { approval } => {
                Ok(claim(json!({ "approval": approval, "verb": "release" })))
            }
            Self::SetAside { approval, note } => {
                Ok(claim(json!({ "approval": approval, "verb": "set_aside", "note": note })))
            }
            Self::TakeUp { approval } => {
                Ok(claim(json!({ "approval": approval, "verb": "take_up" })))
            }
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

fn claim(body: Value) -> Outcome {
    Outcome::Ask(Asked::new("approval.claim", body, render::claim))
}

/// What came of each of several answers.
fn decided(answer: &Value, screen: &mut Screen) {
    let row = |item: &Value| {
        let text = |at: &str| render::text(item, at);
        let problem = text("/problem/detail");
        let came = if problem.is_empty() { screen.status(&text("/run/status")) } else { problem };
        vec![text("/approval"), text("/run/id"), came]
    };
    let rows: Vec<Vec<String>> = render::list(answer, "/items").into_iter().map(row).collect();
    screen.table(&["approval", "run", "came of it"], &rows);
}
