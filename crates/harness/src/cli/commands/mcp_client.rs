//! `harness mcp`: servers of the Model Context Protocol as connectors.

use std::{collections::BTreeSet, io, io::Write as _, path::PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{Asked, Outcome, connector, render};
use crate::{
    app::{
        ops,
        problem::Problem,
        servers::{self, profile::Profile},
    },
    cli::{Context, client, runtime, screen::Screen},
};

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Draft a connector from the tools of a server; nothing of it may act before you have classified it
    Import(Import),
    /// How a server differs now from what was accepted of it
    Diff {
        /// Name of the connector
        name: String,
        /// Its file; absent = the one of that name in a configured pack
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Grant what a server wants (OAuth): prints the page where you say yes, and waits for your browser to come back
    Login {
        /// Name of the system in harness.toml
        name: String,
        /// Port that the browser comes back to, where the authority knows one; absent = any free one
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
    /// Take the definitions of changed tools as they are now; what each does to the world stays as you wrote it
    Accept {
        /// Name of the connector
        name: String,
        /// Only this tool, a new one too; may be given several times. Absent = every changed one
        #[arg(long = "tool")]
        tools: Vec<String>,
        /// Its file; absent = the one of that name in a configured pack
        #[arg(long)]
        file: Option<PathBuf>,
    },
}

/// What to import.
#[derive(Debug, Args)]
pub struct Import {
    /// An address, or a program and its arguments after `--`; absent = the declared system of that name
    #[arg(value_name = "SERVER")]
    whom: Vec<String>,
    /// Name of the connector, and of its system in `harness.toml`
    #[arg(long)]
    name: String,
    /// A file or folder that the program may read, such as the folder it is installed in; may be given several times
    #[arg(long = "read")]
    read: Vec<PathBuf>,
    /// The folder for the file, such as packs/shop/connectors
    #[arg(long, default_value = ".")]
    to: PathBuf,
    /// What is known about a public server: filesystem, git, memory, sqlite, time or fetch
    #[arg(long)]
    profile: Option<String>,
    /// Draft it for the proxy: answers are passed on whole, to clients that could always send there what they send
    #[arg(long)]
    proxied: bool,
}

impl Verb {
    /// What the command comes to: the server is started or reached from this machine.
    ///
    /// # Errors
    /// What is wrong with the server or with the file.
    pub fn outcome(self, context: &Context) -> Result<Outcome, Problem> {
        let why = "servers are started on the machine that calls them";
        let config = client::load_here(&context.overrides, why)?;
        let runtime = runtime()?;
        let differs = |answer: &servers::ServerDifference| -> Result<Outcome, Problem> {
            let document = ops::document("harness.mcp-difference/v1", answer)?;
            Ok(Outcome::Document { document, asked: Asked::new("mcp", Value::Null, shown) })
        };
        match self {
            Self::Import(Import { whom, name, read, to, profile, proxied }) => {
                let profile = profile.as_deref().map(Profile::named).transpose()?;
                let wanted = servers::Wanted {
                    name,
                    server: whom,
                    read,
                    folder: to,
                    profile,
                    passed_on: proxied,
                    is_unread: false,
                };
                let drafted = runtime.block_on(servers::import(&config, &wanted))?;
                let document = ops::document("harness.connector-draft/v1", &drafted)?;
                let asked = Asked::new("connector", Value::Null, connector::drafted);
                Ok(Outcome::Document { document, asked })
            }
            Self::Diff { name, file } => {
                let looked = servers::difference(&config, &name, file.as_deref());
                differs(&runtime.block_on(looked)?)
            }
            Self::Login { name, port } => {
                let done = servers::login(&config, (&name, port), asked_for);
                let done = runtime.block_on(done)?;
                let document = ops::document("harness.mcp-login/v1", &done)?;
                Ok(Outcome::Document { document, asked: Asked::new("mcp", Value::Null, logged_in) })
            }
            Self::Accept { name, tools, file } => {
                let tools: BTreeSet<String> = tools.into_iter().collect();
                let taken = servers::accept(&config, (&name, file.as_deref()), &tools);
                differs(&runtime.block_on(taken)?)
            }
        }
    }
}

/// Beside the answer, for it is not there yet.
fn asked_for(asks: &servers::LoginAsks) {
    let mut error = io::stderr().lock();
    let who = asks.issuer.as_deref().unwrap_or("its authority");
    let what = match asks.scopes.as_slice() {
        [] => "what it takes as usual".to_owned(),
        scopes => scopes.join(", "),
    };
    // Whoever has closed this cannot log in, and the login ends by itself.
    let _closed = writeln!(
        error,
        "{who} is asked for: {what}\nOpen this page on this machine, and say yes there:\n\n  {}\n\nWaiting for your browser to come back …",
        asks.address
    );
}

fn logged_in(answer: &Value, screen: &mut Screen) {
    screen.heading(&format!("logged in to {}", render::text(answer, "/system")));
    if answer["issuer"].is_string() {
        screen.field("granted by", &render::text(answer, "/issuer"));
    }
    let scopes = render::list(answer, "/scopes");
    let scopes: Vec<&str> = scopes.into_iter().filter_map(Value::as_str).collect();
    let good_for =
        if scopes.is_empty() { "what is usual there".to_owned() } else { scopes.join(", ") };
    screen.field("good for", &good_for);
    screen.line(match answer["renewed"] == true {
        true => "It is renewed without you, until somebody takes it back there.",
        false => "It cannot be renewed: log in again when it has ended.",
    });
}

fn shown(answer: &Value, screen: &mut Screen) {
    let tools = render::list(answer, "/tools");
    screen.heading(&format!(
        "{} is {}",
        render::text(answer, "/connector"),
        render::text(answer, "/server")
    ));
    screen.field("file", &render::text(answer, "/file"));
    for one in &tools {
        screen.line("");
        let taken = one["taken"] == true;
        let state = render::text(one, "/state");
        let state = if taken { format!("{state}, taken now") } else { state };
        screen.line(&format!("{}: {state}", render::text(one, "/tool")));
        for change in render::list(one, "/changes") {
            screen.line(&format!("  {}", render::text(change, "/part")));
            screen.line(&format!("    - {}", render::text(change, "/before")));
            screen.line(&format!("    + {}", render::text(change, "/after")));
        }
        for found in render::list(one, "/suspicious").into_iter().filter_map(Value::as_str) {
            screen.line(&format!("  suspicious: {found}"));
        }
    }
    screen.line("");
    let (taken, changed) = (
        tools.iter().any(|one| one["taken"] == true),
        tools.iter().any(|one| one["state"] != "new"),
    );
    screen.line(match (taken, changed) {
        (true, _) => "Read the file, then `harness pack check`: until the pack is in force again, runs call what they were pinned to.",
        (false, true) => "None of these is called until `harness mcp accept` takes it, or its operation is gone.",
        (false, false) if tools.is_empty() => "Every tool is what was accepted.",
        (false, false) => "Every accepted tool is what it was; new ones are not called until somebody takes them (`--tool`).",
    });
}
