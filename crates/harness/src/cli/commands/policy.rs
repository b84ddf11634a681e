//! `harness policy`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Asked, Outcome, json_argument, render};
use crate::{
    app::problem::{Kind, Problem},
    cli::screen::Screen,
};

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Load every layer, run every inline test, list findings
    Check,
    /// What agents may do: every operation, and whether it asks
    Matrix {
        /// Only this agent
        agent: Option<String>,
        /// Only this pack
        #[arg(long)]
        pack: Option<String>,
    },
    /// Judge a call without making it
    Explain(Explain),
}

/// A call to judge.
#[derive(Debug, Args)]
pub struct Explain {
    /// The operation
    operation: String,
    /// Its arguments, as JSON or @FILE
    #[arg(long, default_value = "{}")]
    args: String,
    /// Who would do it
    #[arg(long)]
    agent: Option<String>,
    /// As if untrusted input had shaped it
    #[arg(long)]
    tainted: bool,
}

impl Verb {
    /// What the command comes to.
    ///
    /// # Errors
    /// Arguments that are not JSON.
    pub fn outcome(self) -> Result<Outcome, Problem> {
        match self {
            Self::Check => {
                let mut asked = Asked::new("policy.check", json!({}), checked);
                asked.exit = |answer| {
                    let packs = render::list(answer, "/packs");
                    let failed = packs.iter().any(|pack| !render::list(pack, "/failed").is_empty());
                    if failed { Kind::VerificationFailed.exit_code() } else { 0 }
                };
                Ok(Outcome::Ask(asked))
            }
            Self::Matrix { agent, pack } => {
                let body = json!({ "agent": agent, "pack": pack });
                let rows = |answer: &Value, screen: &mut Screen| {
                    render::columns(
                        answer,
                        screen,
                        &["agent", "operation", "effect", "asks", "approvals"],
                    );
                };
                Ok(Outcome::Ask(Asked::new("policy.matrix", body, rows)))
            }
            Self::Explain(args) => {
                let body = json!({
                    "operation": args.operation, "args": json_argument(&args.args)?,
                    "agent": args.agent, "tainted": args.tainted,
                });
                let mut asked = Asked::new("policy.explain", body, explained);
                asked.exit = |answer| match render::text(answer, "/verdict").as_str() {
                    "deny" => Kind::Denied.exit_code(),
                    _ => 0,
                };
                Ok(Outcome::Ask(asked))
            }
        }
    }
}

fn explained(answer: &Value, screen: &mut Screen) {
    let verdict = screen.status(&render::text(answer, "/verdict"));
    let needs = render::joined(answer, "/needs");
    screen.line(&if needs.is_empty() { verdict } else { format!("{verdict}: needs {needs}") });
    for rule in render::list(answer, "/rules") {
        screen.field("rule", rule.as_str().unwrap_or_default());
    }
}

fn checked(answer: &Value, screen: &mut Screen) {
    for pack in render::list(answer, "/packs") {
        let failed = render::list(pack, "/failed");
        let digest = render::short_digest(&render::text(pack, "/digest"));
        screen.heading(&format!("{} {digest}", render::text(pack, "/pack")));
        screen.field(
            "tests",
            &format!("{} passed, {} failed", render::text(pack, "/passed"), failed.len()),
        );
        for line in failed {
            screen.field("failed", line.as_str().unwrap_or_default());
        }
        for finding in render::list(pack, "/findings") {
            screen.field("finding", finding.as_str().unwrap_or_default());
        }
    }
}
