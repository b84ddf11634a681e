//! `harness gate`

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Asked, Outcome, duration_ms, json_argument, render};
use crate::{app::problem::Problem, cli::screen::Screen};

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Ask before another agent uses a tool of its own
    Call {
        /// The tool: an intent whose one call is made outside
        tool: String,
        /// What it is about to be called with, as JSON or @FILE
        #[arg(long, value_name = "JSON", default_value = "{}")]
        args: String,
        /// Makes repeated requests one call
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        /// How long to wait for the verdict
        #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration_ms, allow_hyphen_values = true)]
        timeout: u64,
    },
    /// Wait for the verdict, and take the call when it may be made
    Take {
        /// The run of the call
        run: String,
        /// How long to wait for the verdict
        #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration_ms, allow_hyphen_values = true)]
        timeout: u64,
    },
    /// Say what came of a call that was taken
    Report {
        /// The run of the call
        run: String,
        /// What came of it: done, failed or not-made
        outcome: String,
        /// What the tool answered, as JSON or @FILE
        #[arg(long, value_name = "JSON", default_value = "null")]
        result: String,
        /// What went wrong
        #[arg(long, default_value = "")]
        message: String,
    },
}

impl Verb {
    /// What the command comes to.
    ///
    /// # Errors
    /// Arguments that are not JSON.
    pub fn outcome(self) -> Result<Outcome, Problem> {
        let asked = match self {
            Self::Call { tool, args, idempotency_key, timeout } => {
                let arguments = json_argument(&args)?;
                let body = json!({
                    "tool": tool, "arguments": arguments, "idempotency_key": idempotency_key,
                    "wait_ms": timeout,
                });
                Asked::new("gate.call", body, verdict)
            }
            Self::Take { run, timeout } => {
                Asked::new("gate.take", json!({ "run": run, "wait_ms": timeout }), verdict)
            }
            Self::Report { run, outcome, result, message } => {
                let body = json!({
                    "run": run, "outcome": outcome.replace('-', "_"),
                    "result": json_argument(&result)?, "message": message,
                });
                Asked::new("gate.report", body, verdict)
            }
        };
        Ok(Outcome::Ask(Asked { exit: code, ..asked }))
    }
}

/// The exit code of a verdict: 0 when the call may be made or was, else as for runs.
fn code(answer: &Value) -> u8 {
    match render::text(answer, "/verdict").as_str() {
        "allow" | "done" => 0,
        "deny" => 6,
        "ask" => 7,
        _ => 75,
    }
}

fn verdict(answer: &Value, screen: &mut Screen) {
    let text = |at: &str| render::text(answer, at);
    screen.heading(&format!("{} {}", text("/verdict"), text("/operation")));
    screen.field("run", &text("/run"));
    for reason in render::list(answer, "/because") {
        screen.field("because", reason.as_str().unwrap_or_default());
    }
    if !render::list(answer, "/approvals").is_empty() {
        screen.field("asked", &render::joined(answer, "/approvals"));
    }
}
