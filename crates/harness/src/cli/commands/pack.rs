//! `harness pack`

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Asked, Outcome,
    install::{self, Install, Way},
    kit, render, trouble,
};
use crate::{
    app::{
        lock, ops, packs,
        problem::{Kind, Problem},
        value::counted,
    },
    cli::{Context, client, screen::Screen},
};

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Packs that are configured or installed
    List,
    /// One pack: what it asks for, its versions, what was done to it
    Get {
        /// Its name
        pack: String,
    },
    /// Install a pack, once you have seen what it asks for
    Install(Install),
    /// Replace an installed pack by a newer version; runs in flight stay with theirs
    Upgrade(Install),
    /// Put an earlier version of an installed pack in force again
    Rollback {
        /// Its name
        pack: String,
        /// Which version [default: the one before]
        #[arg(long, value_name = "VERSION")]
        to: Option<String>,
    },
    /// Let an installed pack take work again
    Enable {
        /// Its name
        pack: String,
    },
    /// Let an installed pack take no new work; its runs in flight go on
    Disable {
        /// Its name
        pack: String,
    },
    /// Remove an installed pack; its runs stay
    Remove {
        /// Its name
        pack: String,
    },
    /// How the systems of packs stand: pauses asked for, circuits
    Status,
    /// What failed last in a pack so that a person was needed
    Failures {
        /// Its name
        pack: String,
    },
    /// Check a folder: every problem with file, line and fix
    Check {
        /// The folder that holds pack.yaml
        folder: PathBuf,
    },
    /// Sign a pack, so that whoever installs it knows whose it is
    Sign {
        /// The folder that holds pack.yaml
        folder: PathBuf,
        /// The private key: file:PATH, made where there is none yet, or env:NAME
        #[arg(long, value_name = "KEY")]
        key: String,
    },
    /// Write down what the packs of this project are made of: from then on anything else is refused
    Lock {
        /// Only say what would be different; exit code 10 where something would
        #[arg(long)]
        check: bool,
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
                    render::columns(
                        answer,
                        screen,
                        &["name", "version", "state", "origin", "owner", "intents"],
                    );
                };
                Ok(Outcome::Ask(Asked::new("pack.list", json!({}), rows)))
            }
            Self::Get { pack } => {
                Ok(Outcome::Ask(Asked::new("pack.get", json!({ "pack": pack }), install::one)))
            }
            Self::Install(install) => Ok(install.outcome(Way::Install, context.clone())),
            Self::Upgrade(install) => Ok(install.outcome(Way::Upgrade, context.clone())),
            Self::Rollback { pack, to } => {
                let body = json!({ "pack": pack, "to": to });
                Ok(Outcome::Ask(Asked::new("pack.rollback", body, install::one)))
            }
            Self::Enable { pack } => {
                Ok(Outcome::Ask(Asked::new("pack.enable", json!({ "pack": pack }), install::one)))
            }
            Self::Disable { pack } => {
                Ok(Outcome::Ask(Asked::new("pack.disable", json!({ "pack": pack }), install::one)))
            }
            Self::Remove { pack } => {
                let removed = |answer: &Value, screen: &mut Screen| {
                    let text = |at: &str| render::text(answer, at);
                    screen.line(&format!("{} {} is removed.", text("/name"), text("/version")));
                };
                Ok(Outcome::Ask(Asked::new("pack.remove", json!({ "pack": pack }), removed)))
            }
            Self::Status => Ok(Outcome::Ask(Asked::new("pack.status", json!({}), trouble::status))),
            Self::Failures { pack } => {
                let body = json!({ "pack": pack });
                Ok(Outcome::Ask(Asked::new("pack.failures", body, trouble::failures)))
            }
            Self::Test(test) => test.outcome(context),
            Self::New(new) => new.pack(),
            Self::Sign { folder, key } => {
                let signed = packs::sign(&folder, &key)?;
                let document = ops::document("harness.pack-signed/v1", &signed)?;
                let asked = Asked::new("pack.sign", Value::Null, |answer, screen| {
                    screen.heading(&format!(
                        "{} {}",
                        render::text(answer, "/name"),
                        render::text(answer, "/version")
                    ));
                    screen.field("signature", &render::text(answer, "/file"));
                    screen.field("public key", render::text(answer, "/public_key").trim());
                });
                Ok(Outcome::Document { document, asked })
            }
            Self::Lock { check } => {
                lock(context, if check { lock::Write::No } else { lock::Write::Yes })
            }
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

fn lock(context: &Context, write: lock::Write) -> Result<Outcome, Problem> {
    let why = "a lock stands beside the configuration of this machine";
    let config = client::load_here(&context.overrides, why)?;
    let document = ops::document("harness.pack-lock/v1", &lock::lock(&config, write)?)?;
    let mut asked = Asked::new("pack.lock", Value::Null, locked);
    if write == lock::Write::No {
        asked.exit = |answer| match render::list(answer, "/changes").is_empty() {
            true => 0,
            false => Kind::VerificationFailed.exit_code(),
        };
    }
    Ok(Outcome::Document { document, asked })
}

fn locked(answer: &Value, screen: &mut Screen) {
    screen.heading(&render::text(answer, "/file"));
    for pack in render::list(answer, "/packs") {
        let files = counted(render::text(pack, "/files"), "file");
        screen.field(&render::text(pack, "/name"), &files);
    }
    let changes = render::list(answer, "/changes");
    if changes.is_empty() {
        screen.line("Nothing is different.");
    }
    for change in changes {
        screen.field("different", change.as_str().unwrap_or_default());
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
    for (name, pointer) in [("secrets", "/secrets"), ("egress", "/egress")] {
        let told = render::joined(answer, pointer);
        if !told.is_empty() {
            screen.field(name, &told);
        }
    }
    for warning in render::list(answer, "/warnings") {
        screen.field("warning", warning.as_str().unwrap_or_default());
    }
}
