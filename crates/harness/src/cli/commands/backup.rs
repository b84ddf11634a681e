//! `harness backup`

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Asked, Outcome, render};
use crate::{
    app::{
        drill::{self, Depth},
        ops,
        problem::{Kind, Problem},
        receipts,
        value::counted,
    },
    cli::{Context, client, runtime, screen::Screen},
};

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a backup while the store is in use: a folder, whole or not at all
    Create {
        /// The folder to make
        to: PathBuf,
    },
    /// Restore it elsewhere, check every digest, chain, receipt and list, and remove it again
    Verify {
        /// The backup
        from: PathBuf,
        /// And show that it takes new work
        #[arg(long)]
        drill: bool,
        /// File with the public keys to trust [default: this configuration's]
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// Restore it as a new store, halted until you have looked
    Restore {
        /// The backup
        from: PathBuf,
        /// The store folder to make
        #[arg(long, value_name = "PATH")]
        to: PathBuf,
    },
}

impl Verb {
    /// What the command comes to.
    ///
    /// # Errors
    /// What is wrong with the backup.
    pub fn outcome(self, context: &Context) -> Result<Outcome, Problem> {
        match self {
            Self::Create { to } => {
                // The owner may have another working folder.
                let to = std::path::absolute(&to).map_err(|e| unusable(&to, &e))?;
                Ok(Outcome::Ask(Asked::new("backup.create", json!({ "to": to }), created)))
            }
            Self::Verify { from, drill, key } => {
                let config = client::load(&context.overrides)?;
                let depth = if drill { Depth::Drill } else { Depth::Verify };
                let keys = key.as_deref().map(receipts::read_keys).transpose()?;
                let verified = drill::verify(&config, &from, keys, depth);
                let document =
                    ops::document("harness.backup-verified/v1", &runtime()?.block_on(verified)?)?;
                let mut asked = Asked::new("backup.verify", Value::Null, verified_view);
                asked.exit = |answer| match answer.get("sound").and_then(Value::as_bool) {
                    Some(true) => 0,
                    _ => Kind::VerificationFailed.exit_code(),
                };
                Ok(Outcome::Document { document, asked })
            }
            Self::Restore { from, to } => {
                let config = client::load(&context.overrides)?;
                let restored = runtime()?.block_on(drill::restore(&config, &from, &to))?;
                let document = ops::document("harness.restored/v1", &restored)?;
                let asked = Asked::new("backup.restore", Value::Null, restored_view);
                Ok(Outcome::Document { document, asked })
            }
        }
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::usage("bad-path", format!("{}: {error}", path.display()))
        .next("name a path in a folder that exists and can be read")
}

fn created(answer: &Value, screen: &mut Screen) {
    screen.heading(&render::text(answer, "/path"));
    let count = |pointer| render::text(answer, pointer);
    screen.field(
        "holds",
        &format!("{}, {}", counted(count("/runs"), "run"), counted(count("/log_size"), "receipt")),
    );
    screen.field("log root", &render::short_digest(&count("/log_root")));
    screen.field("not in it", "configuration, secrets and the signing key: keep them apart");
    screen.field("check it", &format!("harness backup verify --drill {}", count("/path")));
}

fn verified_view(answer: &Value, screen: &mut Screen) {
    screen.heading(&render::text(answer, "/path"));
    for check in render::list(answer, "/checks") {
        let outcome = screen.status(&render::text(check, "/outcome"));
        let detail = render::text(check, "/detail");
        screen.field(&render::text(check, "/check"), &format!("{outcome}: {detail}"));
    }
    for problem in render::list(answer, "/store/problems") {
        screen.field("problem", problem.as_str().unwrap_or_default());
    }
    for run in render::list(answer, "/store/not_foldable") {
        screen.field("not folded", run.as_str().unwrap_or_default());
    }
}

fn restored_view(answer: &Value, screen: &mut Screen) {
    let path = render::text(answer, "/path");
    screen.heading(&path);
    screen.field("as of", &render::short_time(&render::text(answer, "/made_at")));
    screen.field("halted by", &render::text(answer, "/halt"));
    screen.field(
        "why",
        "calls made after the backup are not in it, and would be made again; look, then lift",
    );
    let halt = render::text(answer, "/halt");
    screen.field("to go on", &format!("harness --store {path} halt lift {halt}"));
}
