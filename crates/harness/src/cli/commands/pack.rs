//! `harness pack`

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Asked, Outcome, kit, render, trouble};
use crate::{
    app::{ops, packs, problem::Problem},
    cli::{Context, screen::Screen},
};

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Packs in force
    List,
    /// How the systems of packs stand: pauses asked for, circuits
    Status,
    /// Check a folder: every problem with file, line and fix
    Check {
        /// The folder that holds pack.yaml
        folder: PathBuf,
    },
    /// Play every step under every failure, on a made-up world
    Test(kit::Test),
    /// Make a pack that is sound and passes its test
    New(kit::New),
}

impl Verb {
    /// What the command comes to.
    ///
    /// # Errors
    /// Everything wrong with a checked pack.
    pub fn outcome(self, context: &Context) -> Result<Outcome, Problem> {
        match self {
            Self::List => {
                let rows = |answer: &Value, screen: &mut Screen| {
                    render::columns(answer, screen, &["name", "version", "owner", "intents"]);
                };
                Ok(Outcome::Ask(Asked::new("pack.list", json!({}), rows)))
            }
            Self::Status => Ok(Outcome::Ask(Asked::new("pack.status", json!({}), trouble::status))),
            Self::Test(test) => test.outcome(context),
            Self::New(new) => new.outcome(),
            Self::Check { folder } => {
                let found = packs::check(&packs::CheckPack { folder })?;
                let document = ops::document("harness.pack-checked/v1", &found)?;
                Ok(Outcome::Document {
                    document,
                    asked: Asked::new("pack.check", Value::Null, checked),
                })
            }
        }
    }
}

fn checked(answer: &Value, screen: &mut Screen) {
    screen.heading(&format!(
        "{} {} is sound",
        render::text(answer, "/name"),
        render::text(answer, "/version")
    ));
    screen.field("digest", &render::short_digest(&render::text(answer, "/digest")));
    screen.field("intents", &render::joined(answer, "/intents"));
    screen.field("asks for", &render::joined(answer, "/operations"));
    screen.field("secrets", &render::joined(answer, "/secrets"));
    screen.field("egress", &render::joined(answer, "/egress"));
    for warning in render::list(answer, "/warnings") {
        screen.field("warning", warning.as_str().unwrap_or_default());
    }
}
