//! `harness sandbox snapshot`

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;
use serde_json::Value;

use super::{Asked, Outcome, render};
use crate::{
    app::{ops, problem::Problem, snapshots, value::counted},
    cli::{Context, client, screen::Screen},
};

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Keep what a folder holds now
    Take {
        /// The folder; nothing should run in it meanwhile
        folder: PathBuf,
    },
    /// What is kept, the one last taken first
    List,
    /// Make a snapshot again where nothing is; at several places to branch
    #[command(visible_alias = "branch")]
    Restore {
        /// Its digest, or the first digits of it
        snapshot: String,
        /// Where to; each place is whole, or not there at all
        #[arg(required = true)]
        places: Vec<PathBuf>,
    },
    /// Forget a snapshot, and what no other one needs
    Remove {
        /// Its digest, or the first digits of it
        snapshot: String,
    },
}

impl Verb {
    /// What the command comes to: it works on the files of this machine.
    ///
    /// # Errors
    /// What cannot be kept, or is not as it was kept.
    pub fn outcome(self, context: &Context) -> Result<Outcome, Problem> {
        let why = "snapshots are of folders of this machine, and do not travel";
        let config = client::load_here(&context.overrides, why)?;
        match self {
            Self::Take { folder } => {
                document("harness.snapshot/v1", &snapshots::take(&config, &folder)?, one)
            }
            Self::List => document("harness.snapshot-list/v1", &snapshots::list(&config)?, listed),
            Self::Restore { snapshot, places } => {
                let restored = snapshots::restore(&config, &snapshot, &places)?;
                document("harness.snapshot-restored/v1", &restored, |answer, screen| {
                    for place in render::list(answer, "/places") {
                        let place = place.as_str().unwrap_or_default();
                        screen.field("restored", place);
                    }
                })
            }
            Self::Remove { snapshot } => {
                let removed = snapshots::remove(&config, &snapshot)?;
                document("harness.snapshot-removed/v1", &removed, |answer, screen| {
                    let contents = counted(render::text(answer, "/contents"), "content");
                    screen.line(&format!("Gone, with {contents} that nothing else needed."));
                })
            }
        }
    }
}

fn document<T: Serialize>(
    schema: &str,
    answer: &T,
    render: fn(&Value, &mut Screen),
) -> Result<Outcome, Problem> {
    let document = ops::document(schema, answer)?;
    let asked = Asked::new("sandbox.snapshot", Value::Null, render);
    Ok(Outcome::Document { document, asked })
}

fn one(answer: &Value, screen: &mut Screen) {
    let text = |pointer: &str| render::text(answer, pointer);
    screen.heading(&text("/id"));
    let (files, bytes) = (counted(text("/files"), "file"), counted(text("/bytes"), "byte"));
    screen.field("of", &text("/folder"));
    screen.field("taken", &text("/taken_at"));
    screen.field("holds", &format!("{files}, {bytes}"));
}

fn listed(answer: &Value, screen: &mut Screen) {
    let items = render::list(answer, "/items");
    if items.is_empty() {
        screen.line("No snapshot is kept.");
    }
    for item in items {
        one(item, screen);
        screen.gap();
    }
}
