//! `harness halt`

use clap::{Args as ClapArgs, Subcommand};
use serde_json::{Value, json};

use super::{Asked, Outcome, render};
use crate::{
    app::{problem::Problem, value::counted},
    cli::screen::Screen,
};

/// What to halt, or what to do about halts.
#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Only runs of this pack, by name or name@version
    #[arg(long, group = "scope")]
    pack: Option<String>,
    /// Only calls of this connector
    #[arg(long, group = "scope")]
    connector: Option<String>,
    /// Only runs of this agent, those it handed in, and its steps in others: `agent:NAME`
    #[arg(long, group = "scope")]
    agent: Option<String>,
    /// Only this run
    #[arg(long, group = "scope")]
    run: Option<String>,
    /// Why
    #[arg(long, default_value = "")]
    reason: String,
}

/// Verbs.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Halts that stand
    List {
        /// Lifted ones too
        #[arg(long)]
        all: bool,
    },
    /// Let what it held go on
    Lift {
        /// The halt
        halt: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
}

impl Args {
    /// What the command comes to.
    ///
    /// # Errors
    /// None.
    pub fn outcome(self) -> Result<Outcome, Problem> {
        let asked = match self.verb {
            Some(Verb::List { all }) => Asked::new("halt.list", json!({ "all": all }), halts),
            Some(Verb::Lift { halt, reason }) => {
                Asked::new("halt.lift", json!({ "halt": halt, "reason": reason }), one)
            }
            None => {
                let body = json!({
                    "pack": self.pack, "connector": self.connector, "agent": self.agent,
                    "run": self.run, "reason": self.reason,
                });
                Asked::new("halt.set", body, one)
            }
        };
        Ok(Outcome::Ask(asked))
    }
}

fn halts(answer: &Value, screen: &mut Screen) {
    let items = render::list(answer, "/items");
    if items.is_empty() {
        screen.line("Nothing is halted.");
        return;
    }
    for item in items {
        one(item, screen);
    }
    let held = render::text(answer, "/held");
    let are = if held == "1" { "is" } else { "are" };
    screen.line(&format!("{} {are} held now.", counted(&held, "run")));
}

fn one(answer: &Value, screen: &mut Screen) {
    screen.heading(&render::text(answer, "/id"));
    let state = render::text(answer, "/state");
    let state = if state == "standing" { "halted" } else { &state };
    let state = screen.status(state);
    let (scope, name) = (render::text(answer, "/scope"), render::text(answer, "/name"));
    screen.field(&state, format!("{scope} {name}").trim());
    let said = |by: &str, at: &str, why: &str| {
        let at = render::short_time(&render::text(answer, at));
        let why = render::text(answer, why);
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        format!("{}, {at}{why}", render::text(answer, by))
    };
    screen.field("by", &said("/by", "/at", "/reason"));
    if answer.get("lifted_by").is_some_and(Value::is_string) {
        screen.field("lifted by", &said("/lifted_by", "/lifted_at", "/lifted_because"));
    } else {
        screen.field("to go on", &format!("harness halt lift {}", render::text(answer, "/id")));
    }
}
