//! Commands without verbs of their own, and `harness kpi`.

use clap::{Args, Subcommand};
use clap_complete::Shell;
use serde_json::json;

use super::{Asked, Outcome, render};
use crate::{
    app::problem::{Kind, Problem},
    cli::{definition, screen::write_out},
};

/// `harness kpi`
#[derive(Debug, Subcommand)]
pub enum KpiVerb {
    /// Compute every measure from the journals
    Report {
        /// Only this pack
        #[arg(long)]
        pack: Option<String>,
    },
}

impl KpiVerb {
    /// What the command comes to.
    ///
    /// # Errors
    /// None.
    pub fn outcome(self) -> Result<Outcome, Problem> {
        match self {
            Self::Report { pack } => {
                Ok(Outcome::Ask(Asked::new("kpi.report", json!({ "pack": pack }), render::kpis)))
            }
        }
    }
}

/// `harness explain`
#[derive(Debug, Args)]
pub struct Explain {
    /// A receipt, an exception, or a run for all its writes and failures
    id: String,
}

impl Explain {
    /// What the command comes to.
    ///
    /// # Errors
    /// None.
    pub fn outcome(self) -> Result<Outcome, Problem> {
        Ok(Outcome::Ask(Asked::new("explain", json!({ "id": self.id }), render::explanations)))
    }
}

/// `harness doctor`
#[derive(Debug, Args)]
pub struct Doctor {}

impl Doctor {
    /// What the command comes to.
    ///
    /// # Errors
    /// None.
    pub fn outcome(self) -> Result<Outcome, Problem> {
        let mut asked = Asked::new("doctor", json!({}), render::diagnosis);
        asked.exit = |answer| match answer.get("healthy").and_then(serde_json::Value::as_bool) {
            Some(true) => 0,
            _ => Kind::VerificationFailed.exit_code(),
        };
        Ok(Outcome::Ask(asked))
    }
}

/// `harness completion`
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell
    shell: Shell,
}

fn unwritable(error: std::io::Error) -> Problem {
    Problem::new(Kind::Unexpected, "output", format!("cannot write: {error}"))
}

impl Completion {
    /// Prints it.
    ///
    /// # Errors
    /// When standard output fails.
    pub fn outcome(self) -> Result<Outcome, Problem> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut definition(), "harness", &mut script);
        write_out(&script).map_err(unwritable)?;
        Ok(Outcome::Printed(0))
    }
}

/// `harness man`
#[derive(Debug, Args)]
pub struct Man {}

impl Man {
    /// Prints it.
    ///
    /// # Errors
    /// When standard output fails.
    pub fn outcome(self) -> Result<Outcome, Problem> {
        let mut page = Vec::new();
        clap_mangen::Man::new(definition()).render(&mut page).map_err(unwritable)?;
        write_out(&page).map_err(unwritable)?;
        Ok(Outcome::Printed(0))
    }
}
