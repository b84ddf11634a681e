//! `harness config`

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Asked, Outcome, render};
use crate::{
    app::problem::Problem,
    cli::{Context, client, screen::Screen},
};

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Every value in force
    Show {
        /// Say where each value came from
        #[arg(long)]
        origin: bool,
    },
}

impl Verb {
    /// What the command comes to.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn outcome(self, context: &Context) -> Result<Outcome, Problem> {
        let Self::Show { origin } = self;
        let config = client::load(&context.overrides)?;
        let document = json!({ "schema": "harness.config-show/v1", "items": config.origins });
        let rows: fn(&Value, &mut Screen) = if origin {
            |answer, screen| render::columns(answer, screen, &["key", "origin", "value"])
        } else {
            |answer, screen| render::columns(answer, screen, &["key", "value"])
        };
        Ok(Outcome::Document { document, asked: Asked::new("config.show", Value::Null, rows) })
    }
}
