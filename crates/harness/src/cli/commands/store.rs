//! `harness store`

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Asked, Outcome, render};
use crate::{
    app::{
        migration, ops,
        problem::{Kind, Problem},
        value::counted,
    },
    cli::{Context, client, runtime, screen::Screen},
};

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Check everything: file, chains, receipts, log, and that lists say what journals say
    Check,
    /// Bring an older store forward, with a copy of it first
    Migrate,
}

impl Verb {
    /// What the command comes to.
    ///
    /// # Errors
    /// What is wrong with the store.
    pub fn outcome(self, context: &Context) -> Result<Outcome, Problem> {
        match self {
            Self::Check => {
                let mut asked = Asked::new("store.check", json!({}), checked);
                asked.exit = |answer| match answer.get("sound").and_then(Value::as_bool) {
                    Some(true) => 0,
                    _ => Kind::VerificationFailed.exit_code(),
                };
                Ok(Outcome::Ask(asked))
            }
            Self::Migrate => {
                let config = client::load(&context.overrides)?;
                let migrated = runtime()?.block_on(migration::migrate(&config))?;
                let document = ops::document("harness.store-migrated/v1", &migrated)?;
                let asked = Asked::new("store.migrate", Value::Null, migrated_view);
                Ok(Outcome::Document { document, asked })
            }
        }
    }
}

fn checked(answer: &Value, screen: &mut Screen) {
    let sound = answer.get("sound").and_then(Value::as_bool) == Some(true);
    let word = screen.status(if sound { "ok" } else { "failed" });
    let count = |pointer| render::text(answer, pointer);
    screen.field("store", &format!("{word}, version {}", count("/store_version")));
    screen
        .field("runs", &format!("{} with {}", count("/runs"), counted(count("/events"), "event")));
    screen.field(
        "receipts",
        &format!("{}, root {}", count("/receipts"), render::short_digest(&count("/log_root"))),
    );
    screen.field("halt log", &counted(count("/halts"), "entry"));
    for run in render::list(answer, "/not_foldable") {
        screen.field("not folded", run.as_str().unwrap_or_default());
    }
    for problem in render::list(answer, "/problems") {
        screen.field("problem", problem.as_str().unwrap_or_default());
    }
}

fn migrated_view(answer: &Value, screen: &mut Screen) {
    let (from, to) = (render::text(answer, "/from"), render::text(answer, "/to"));
    screen.heading(&render::text(answer, "/path"));
    if from == to {
        screen.field("version", &format!("{to}: nothing to do"));
    } else {
        screen.field("version", &format!("{from} brought forward to {to}"));
        screen.field("copy", &render::text(answer, "/copy"));
    }
    screen.field("runs", &format!("{}, every chain verified", render::text(answer, "/runs")));
}
