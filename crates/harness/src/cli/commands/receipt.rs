//! `harness receipt`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Asked, Outcome, about::About, render, whole_number};
use crate::app::{
    ops,
    problem::{Kind, Problem},
    receipts,
};
use crate::cli::screen::Screen;

/// What says which of all receipts, when no run is named.
const ABOUT: [&str; 9] =
    ["intent", "agent", "pack", "operation", "customer", "account", "since", "until", "after"];

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// The receipts of a run, or those of all runs, the newest run first
    List {
        /// The run; without one, what was changed in each
        #[arg(conflicts_with_all = ABOUT)]
        run: Option<String>,
        #[command(flatten)]
        about: About,
    },
    /// One receipt: the signed statement
    Get {
        /// The receipt
        receipt: String,
    },
    /// Check signatures, chain, journal and log
    Verify(Verify),
    /// A part of the log, each receipt with its proof: verifies elsewhere with a public key
    Export {
        /// The first place in the log
        #[arg(long, default_value_t = 0, value_parser = whole_number::<u64>, allow_negative_numbers = true)]
        from: u64,
        /// The place behind the last one [default: the end of the log]
        #[arg(long, value_parser = whole_number::<u64>, allow_negative_numbers = true)]
        to: Option<u64>,
    },
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
    /// A run of this store, or one receipt
    #[arg(required_unless_present = "bundle", value_name = "RUN|RECEIPT")]
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
            Self::List { run: Some(run), .. } => Ok(Outcome::Ask(Asked::new(
                "receipt.list",
                json!({ "run": run }),
                render::receipt_list,
            ))),
            Self::List { run: None, about } => {
                Ok(Outcome::Ask(Asked::new("receipt.ledger", about.with(json!({})), ledger)))
            }
            Self::Export { from, to } => {
                let body = json!({ "from": from, "to": to });
                Ok(Outcome::Ask(Asked::new("receipt.export", body, exported)))
            }
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
                asked.save = to.map(|path| (super::Part::Text("note"), path));
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
        let mut asked = Asked::new("run.verify", Value::Null, render::verified);
        asked.exit = exit;
        return Ok(Outcome::Document {
            document: ops::document("harness.verified/v1", &found)?,
            asked,
        });
    }
    let read = |path: Option<&Path>| path.map(receipts::read_text).transpose();
    let (key, since) = (read(key)?, read(since)?);
    let one = args.run.as_deref().is_some_and(|id| id.starts_with("rct_"));
    let mut asked = match (one, &since) {
        (true, Some(_)) => {
            let detail = "an earlier checkpoint is held against a run, not against one receipt";
            return Err(Problem::usage("since-unused", detail).next("name the receipt's run"));
        }
        (true, None) => {
            let body = json!({ "receipt": args.run, "key": key });
            Asked::new("receipt.verify", body, one_verified)
        }
        (false, _) => {
            let body = json!({ "run": args.run, "key": key, "since": since });
            Asked::new("run.verify", body, render::verified)
        }
    };
    asked.exit = exit;
    Ok(Outcome::Ask(asked))
}

fn one_verified(answer: &Value, screen: &mut Screen) {
    render::verified(answer, screen);
    for (label, at) in [("envelope", "/envelope_sha256"), ("leaf", "/leaf"), ("root", "/root")] {
        screen.field(label, &render::text(answer, at));
    }
}

fn ledger(answer: &Value, screen: &mut Screen) {
    let runs = render::list(answer, "/items");
    for run in runs.iter().filter(|run| !render::list(run, "/items").is_empty()) {
        let (id, intent) = (render::text(run, "/run/id"), render::text(run, "/run/intent"));
        screen.line(&format!("{id}  {intent}"));
        for line in render::list(run, "/items") {
            let text = |at| render::text(line, at);
            screen.field(&text("/receipt"), &format!("{}: {}", text("/summary"), text("/outcome")));
        }
    }
    if let Some(next) = answer.get("next").and_then(Value::as_str) {
        screen.field("next page", &format!("--after {next}"));
    }
}

fn exported(answer: &Value, screen: &mut Screen) {
    for item in render::list(answer, "/items") {
        screen.field(&render::text(item, "/leaf_index"), &render::text(item, "/receipt"));
    }
    screen.field("root", &render::text(answer, "/checkpoint/root"));
    screen.line("`-o json` writes the envelopes and their proofs.");
}
