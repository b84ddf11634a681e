//! `harness connector`

use std::{collections::BTreeSet, path::PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{Asked, Outcome, render};
use crate::{
    app::{imports, ops, problem::Problem},
    cli::{Context, client, runtime, screen::Screen},
};

/// Most names shown beside one decision.
const NAMED_MAX: usize = 3;

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Draft a connector from what describes a system; nothing of it may act before you have classified it
    #[command(subcommand)]
    Import(From),
}

/// What describes a system.
#[derive(Debug, Subcommand)]
pub enum From {
    /// An OpenAPI document, 3.0 or 3.1
    Openapi(Openapi),
    /// The card of an agent of the Agent2Agent protocol
    A2a(Agent),
    /// An agent of the Agent Client Protocol that harness.toml declares: it is started, and asked who it is
    Acp(Worker),
}

/// What to import.
#[derive(Debug, Args)]
pub struct Openapi {
    /// The document, JSON or YAML
    file: PathBuf,
    /// Name of the connector, and of its system in `harness.toml`
    #[arg(long)]
    name: String,
    /// Only operations with this tag; may be given several times
    #[arg(long = "tag")]
    tags: Vec<String>,
    /// The folder for the files, such as packs/shop/connectors
    #[arg(long, default_value = ".")]
    to: PathBuf,
}

/// Which agent to import.
#[derive(Debug, Args)]
pub struct Agent {
    /// Its address, or a file with its card
    agent: String,
    /// Name of the connector, and of its system in `harness.toml`
    #[arg(long)]
    name: String,
    /// A file with a token, for agents that say more to whoever is known
    #[arg(long)]
    token: Option<PathBuf>,
    /// The folder for the file, such as packs/shop/connectors
    #[arg(long, default_value = ".")]
    to: PathBuf,
}

/// Which declared agent to import.
#[derive(Debug, Args)]
pub struct Worker {
    /// Name of its system in `harness.toml`, and of the connector
    name: String,
    /// The folder for the file, such as packs/shop/connectors
    #[arg(long, default_value = ".")]
    to: PathBuf,
}

impl Verb {
    /// What the command comes to.
    ///
    /// # Errors
    /// What is wrong with the document or with where to write.
    pub fn outcome(self, context: &Context) -> Result<Outcome, Problem> {
        let Self::Import(from) = self;
        let draft = match from {
            From::Openapi(Openapi { file, name, tags, to }) => {
                let tags: BTreeSet<String> = tags.into_iter().collect();
                imports::openapi(&imports::Wanted { document: file, name, tags, folder: to })?
            }
            From::A2a(Agent { agent, name, token, to }) => {
                let wanted = imports::WantedAgent { agent, name, token, folder: to };
                runtime()?.block_on(imports::a2a(&wanted))?
            }
            From::Acp(Worker { name, to }) => {
                let why = "agents are started on the machine that calls them";
                let config = client::load_here(&context.overrides, why)?;
                let wanted = imports::WantedWorker { name, folder: to };
                runtime()?.block_on(imports::acp(&config, &wanted))?
            }
        };
        let document = ops::document("harness.connector-draft/v1", &draft)?;
        Ok(Outcome::Document { document, asked: Asked::new("connector", Value::Null, drafted) })
    }
}

/// A draft for people.
pub(super) fn drafted(answer: &Value, screen: &mut Screen) {
    let files = render::list(answer, "/files");
    screen.heading(&format!("drafted from {}", render::text(answer, "/title")));
    for file in &files {
        let count = render::list(file, "/operations").len();
        screen.field(
            &render::text(file, "/connector"),
            &format!("{}, {count} operations", render::text(file, "/file")),
        );
    }
    screen.line("");
    screen.line("For you to decide:");
    for decision in render::list(answer, "/decisions") {
        let about: Vec<String> = render::list(decision, "/about")
            .into_iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        let more = about.len().saturating_sub(NAMED_MAX);
        let mut named = about.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
        if more > 0 {
            named.push_str(&format!(" and {more} more"));
        }
        screen.line(&format!("- {named}: {}", render::text(decision, "/text")));
    }
    let left_out = render::list(answer, "/left_out");
    if !left_out.is_empty() {
        screen.line("");
        screen.line("Left out:");
    }
    for one in left_out {
        screen.line(&format!("- {}: {}", render::text(one, "/place"), render::text(one, "/why")));
    }
    if let Some(system) = answer.get("system").and_then(Value::as_str) {
        screen.line("");
        system.lines().for_each(|line| screen.line(&format!("    {line}")));
    }
    screen.line("");
    screen.line("Then `harness pack check`. Until you classify them, writes are irreversible: policy asks a person or denies.");
}
