//! `harness worker`

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Asked, Outcome, duration_ms, json_argument, render};
use crate::{app::problem::Problem, cli::screen::Screen};

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Take the job that has waited longest
    Lease {
        /// The system of kind `worker`
        system: String,
        /// How long to wait for a job
        #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration_ms, allow_hyphen_values = true)]
        timeout: u64,
    },
    /// Say that a job is still being worked at
    Beat {
        /// The system
        system: String,
        /// The lease of the job
        lease: String,
    },
    /// Say what came of a job
    #[command(group(clap::ArgGroup::new("outcome").required(true)))]
    Commit {
        /// The system
        system: String,
        /// The lease of the job
        lease: String,
        /// It was done: its output, as JSON or @FILE
        #[arg(long, value_name = "JSON", group = "outcome")]
        ok: Option<String>,
        /// It failed: class, message and landed, as JSON or @FILE
        #[arg(long, value_name = "JSON", group = "outcome")]
        failed: Option<String>,
    },
}

impl Verb {
    /// What the command comes to.
    ///
    /// # Errors
    /// Arguments that are not JSON.
    pub fn outcome(self) -> Result<Outcome, Problem> {
        let asked = match self {
            Self::Lease { system, timeout } => {
                Asked::new("worker.lease", json!({ "system": system, "wait_ms": timeout }), job)
            }
            Self::Beat { system, lease } => {
                Asked::new("worker.heartbeat", json!({ "system": system, "lease": lease }), heard)
            }
            Self::Commit { system, lease, ok, failed } => {
                let mut body = json!({ "system": system, "lease": lease });
                for (name, said) in [("ok", ok), ("failed", failed)] {
                    if let (Some(text), Some(map)) = (said, body.as_object_mut()) {
                        map.insert(name.to_owned(), json_argument(&text)?);
                    }
                }
                Asked::new("worker.commit", body, taken)
            }
        };
        Ok(Outcome::Ask(asked))
    }
}

fn job(answer: &Value, screen: &mut Screen) {
    if answer.get("job").is_none() {
        screen.line("No job waits.");
        return;
    }
    screen.heading(&render::text(answer, "/job/task"));
    for name in ["lease", "operation", "run", "key", "left_ms", "heartbeat_ms"] {
        screen.field(&name.replace('_', " "), &render::text(answer, &format!("/job/{name}")));
    }
    let arguments = answer.pointer("/job/arguments").map(ToString::to_string);
    screen.field("arguments", &arguments.unwrap_or_default());
}

fn heard(answer: &Value, screen: &mut Screen) {
    screen.field("state", &render::text(answer, "/state"));
    screen.field("left ms", &render::text(answer, "/left_ms"));
}

fn taken(answer: &Value, screen: &mut Screen) {
    screen.field("taken", &render::text(answer, "/taken"));
}
