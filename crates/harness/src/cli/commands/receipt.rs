//! `harness receipt`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Asked, Outcome, render};
use crate::app::{
    ops,
    problem::{Kind, Problem},
    receipts,
};

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// The receipts of a run
    List {
        /// The run
        run: String,
    },
    /// One receipt: the signed statement
    Get {
        /// The receipt
        receipt: String,
    },
    /// Check signatures, chain, journal and log
    Verify(Verify),
    /// Sign the log as it stands; keep the note elsewhere
    Checkpoint {
        /// Write the note to a file
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
}

/// What to verify.
#[derive(Debug, Args)]
pub struct Verify {
    /// A run of this store
    #[arg(required_unless_present = "bundle")]
    run: Option<String>,
    /// A file written by `run export`: needs no store
    #[arg(long, value_name = "FILE", conflicts_with = "run", requires = "key")]
    bundle: Option<PathBuf>,
    /// File with the public key to trust [default for runs: this store's own]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// File with an earlier checkpoint that the log must contain
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
}

impl Verb {
    /// What the command comes to.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn outcome(self) -> Result<Outcome, Problem> {
        match self {
            Self::List { run } => Ok(Outcome::Ask(Asked::new(
                "receipt.list",
                json!({ "run": run }),
                render::receipt_list,
            ))),
            Self::Get { receipt } => Ok(Outcome::Ask(Asked::new(
                "receipt.get",
                json!({ "receipt": receipt }),
                render::pretty,
            ))),
            Self::Verify(args) => verify(args),
            Self::Checkpoint { to } => {
                let mut asked = Asked::new("receipt.checkpoint", json!({}), |answer, screen| {
                    screen.line(render::text(answer, "/note").trim_end());
                    screen.field("public key", &render::text(answer, "/public_key"));
                });
                asked.save = to.map(|path| ("note", path));
                Ok(Outcome::Ask(asked))
            }
        }
    }
}

fn verify(args: Verify) -> Result<Outcome, Problem> {
    let exit = |answer: &Value| match render::text(answer, "/verdict").as_str() {
        "failed" => Kind::VerificationFailed.exit_code(),
        _ => 0,
    };
    let (key, since) = (args.key.as_deref(), args.since.as_deref());
    if let Some(bundle) = &args.bundle {
        let found = receipts::verify_bundle(bundle, key, since)?;
        let mut asked = Asked::new("receipt.verify", Value::Null, render::verified);
        asked.exit = exit;
        return Ok(Outcome::Document {
            document: ops::document("harness.verified/v1", &found)?,
            asked,
        });
    }
    let read = |path: Option<&Path>| path.map(receipts::read_text).transpose();
    let body = json!({ "run": args.run, "key": read(key)?, "since": read(since)? });
    let mut asked = Asked::new("receipt.verify", body, render::verified);
    asked.exit = exit;
    Ok(Outcome::Ask(asked))
}
