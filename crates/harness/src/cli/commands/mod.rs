//! Every command by noun: one file each, one line in [`Noun`].

mod about;
mod agent;
mod approval;
mod artifact;
mod attach;
mod backup;
mod bench;
mod chat;
mod config;
mod connector;
mod exception;
mod gate;
mod halt;
mod hook;
mod install;
mod intent;
mod kit;
mod lease;
mod mcp;
mod mcp_client;
mod mcp_install;
mod mcp_learn;
mod mcp_proxy;
mod mcp_rules;
mod pack;
mod plan;
mod policy;
mod receipt;
pub(super) mod render;
mod rollback;
mod run;
mod sandbox;
mod schema;
mod secret;
pub(super) mod serve;
mod single;
mod snapshot;
mod store;
mod token;
mod trouble;
mod work;
mod worker;
mod world;

use std::{future::Future, path::PathBuf, pin::Pin};

use clap::Subcommand;
use serde_json::Value;

use super::{Context, demo, screen::Screen};
use crate::app::{problem::Problem, sbom};

pub(super) use render as views;
pub(super) use render::card;

/// A call of the facade and how to show its answer.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Operation name.
    pub op: &'static str,
    /// The request.
    pub body: Value,
    /// Shows the answer to people.
    pub render: fn(&Value, &mut Screen),
    /// The exit code an answer means.
    pub exit: fn(&Value) -> u8,
    /// A part of the answer that goes to a file as well.
    pub save: Option<(Part, PathBuf)>,
}

impl Asked {
    /// A call whose every answer is a success.
    #[must_use]
    pub fn new(op: &'static str, body: Value, render: fn(&Value, &mut Screen)) -> Self {
        Self { op, body, render, exit: |_| 0, save: None }
    }

    /// With the exit code that a run's status means.
    #[must_use]
    pub fn by_status(mut self) -> Self {
        self.exit = render::status_code;
        self
    }
}

/// A part of an answer that goes to a file.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// A field's text.
    Text(&'static str),
    /// The bytes that a field holds in base64.
    Bytes(&'static str),
}

/// A command that needs more than one call.
pub type Task = Pin<Box<dyn Future<Output = Result<u8, Problem>>>>;

/// What a command comes to.
#[expect(missing_debug_implementations, reason = "a task has nothing to show")]
pub enum Outcome {
    /// It has printed; this is its exit code.
    Printed(u8),
    /// It needs no store: here is the answer.
    Document {
        /// The answer.
        document: Value,
        /// How to show it.
        asked: Asked,
    },
    /// One call.
    Ask(Asked),
    /// More than one call.
    Async(Task),
}

/// The nouns.
#[derive(Debug, Subcommand)]
pub enum Noun {
    /// Run the whole story once on a demo world: no set-up, no key
    Demo(demo::Args),
    /// Make a project that runs offline: configuration, policy, a pack, a scripted model
    New(kit::New),
    /// Say what is wanted: list, plan, submit
    #[command(subcommand)]
    Intent(intent::Verb),
    /// Show what a run may do
    #[command(subcommand)]
    Plan(plan::Verb),
    /// Hand a task to an agent; look at runs, steer them, roll them back, replay them
    Run(Box<run::Run>),
    /// Talk with an agent: each message is governed as a task of `harness run` is
    Chat(Box<chat::Chat>),
    /// Decide what runs ask
    #[command(subcommand)]
    Approval(approval::Verb),
    /// Settle what runs cannot settle themselves
    #[command(subcommand)]
    Exception(exception::Verb),
    /// Ask before another agent uses a tool of its own: call, take, report
    #[command(subcommand)]
    Gate(gate::Verb),
    /// Judge what a coding agent of your own is about to do, from its hooks
    #[command(subcommand)]
    Hook(hook::Verb),
    /// Do jobs of a worker's system: lease, beat, commit
    #[command(subcommand)]
    Worker(worker::Verb),
    /// Stop: nothing new is called, until it is lifted
    Halt(halt::Args),
    /// Prove what was done
    #[command(subcommand)]
    Receipt(receipt::Verb),
    /// Capabilities: list, status, check, test, make
    #[command(subcommand)]
    Pack(pack::Verb),
    /// Connectors: draft one from what describes a system
    #[command(subcommand)]
    Connector(connector::Verb),
    /// Rules: check, explain, matrix
    #[command(subcommand)]
    Policy(policy::Verb),
    /// Measures against targets, computed from journals
    #[command(subcommand)]
    Kpi(single::KpiVerb),
    /// Answer in one page: who, why, what changed, how to take it back
    Explain(single::Explain),
    /// Copies of the store: create, verify, restore
    #[command(subcommand)]
    Backup(backup::Verb),
    /// Credentials for the API and the web UI: create, list, revoke, link
    #[command(subcommand)]
    Token(token::Verb),
    /// What systems log in with: set, list, grant, revoke, rotate, remove
    #[command(subcommand)]
    Secret(secret::Verb),
    /// The store itself: check, migrate
    #[command(subcommand)]
    Store(store::Verb),
    /// Check that this installation can keep its promises
    Doctor(single::Doctor),
    /// Hold a program to a profile: doctor, run, explain
    #[command(subcommand)]
    Sandbox(sandbox::Verb),
    /// Show the configuration in force
    #[command(subcommand)]
    Config(config::Verb),
    /// Print the JSON Schema of a document
    Schema(schema::Args),
    /// What this program was built from, as CycloneDX
    Sbom,
    /// Offer intents, agents and operations to clients of MCP, and call its servers as connectors
    #[command(subcommand)]
    Mcp(mcp::Verb),
    /// Own the store: drive what is due, answer other commands
    Serve(serve::Args),
    /// Play four companies' systems and a mail sink on loopback
    DemoWorld(world::Args),
    /// What the harness itself costs
    #[command(subcommand)]
    Bench(bench::Verb),
    /// Print a completion script
    Completion(single::Completion),
    /// Print the manual page
    Man(single::Man),
}

impl Noun {
    /// What the command comes to.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub fn outcome(self, context: &Context) -> Result<Outcome, Problem> {
        match self {
            Self::Demo(args) => Ok(Outcome::Async(Box::pin(demo::run(args, context.clone())))),
            Self::New(new) => new.project(),
            Self::Intent(verb) => verb.outcome(context),
            Self::Plan(verb) => verb.outcome(),
            Self::Run(run) => run.outcome(context),
            Self::Chat(chat) => chat.outcome(context),
            Self::Approval(verb) => verb.outcome(),
            Self::Exception(verb) => verb.outcome(),
            Self::Gate(verb) => verb.outcome(),
            Self::Hook(verb) => verb.outcome(context),
            Self::Worker(verb) => verb.outcome(),
            Self::Halt(args) => args.outcome(),
            Self::Receipt(verb) => verb.outcome(),
            Self::Pack(verb) => verb.outcome(context),
            Self::Connector(verb) => verb.outcome(context),
            Self::Policy(verb) => verb.outcome(),
            Self::Kpi(verb) => verb.outcome(),
            Self::Explain(args) => args.outcome(),
            Self::Backup(verb) => verb.outcome(context),
            Self::Token(verb) => verb.outcome(),
            Self::Secret(verb) => verb.outcome(context),
            Self::Store(verb) => verb.outcome(context),
            Self::Doctor(args) => args.outcome(),
            Self::Sandbox(verb) => verb.outcome(context),
            Self::Config(verb) => verb.outcome(context),
            Self::Schema(args) => args.outcome(context),
            Self::Sbom => Ok(Outcome::Document {
                document: sbom::sbom()?,
                asked: Asked::new("sbom", Value::Null, render::pretty),
            }),
            Self::Mcp(verb) => verb.outcome(context),
            Self::Serve(args) => Ok(Outcome::Async(Box::pin(serve::run(args, context.clone())))),
            Self::DemoWorld(args) => Ok(Outcome::Async(Box::pin(world::run(args)))),
            Self::Bench(verb) => {
                // A store that the environment names is somebody's: only a flag means this one.
                let named = context.overrides.store.clone();
                let store = named.filter(|(_, from)| *from == "flag").map(|(path, _)| path);
                Ok(Outcome::Async(Box::pin(bench::run(verb, store))))
            }
            Self::Completion(args) => args.outcome(),
            Self::Man(args) => args.outcome(),
        }
    }
}

/// Reads `30s`, `5m`, `2h`, `1d` or plain seconds as milliseconds.
///
/// # Errors
/// When it is none of these.
pub fn duration_ms(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(digits) if text.ends_with('s') => (digits, 1_000),
        Some(digits) if text.ends_with('m') => (digits, 60_000),
        Some(digits) if text.ends_with('h') => (digits, 3_600_000),
        Some(digits) => (digits, 86_400_000),
        None => (text, 1_000),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "write a time that is 0 or longer, as 30s, 5m, 2h or 1d".to_owned())?;
    number
        .checked_mul(factor)
        .ok_or_else(|| "that is too long; write a time as 30s, 5m, 2h or 1d".to_owned())
}

/// Reads a whole number, 0 or more.
///
/// # Errors
/// When it is none, or larger than `N` holds.
pub fn whole_number<N: TryFrom<u64>>(text: &str) -> Result<N, String> {
    let number: Option<u64> = text.parse().ok();
    number
        .and_then(|number| N::try_from(number).ok())
        .ok_or_else(|| format!("write a whole number from 0 to {}", u64::MAX))
}

/// Reads `@FILE` or JSON text.
///
/// # Errors
/// When the file cannot be read, or it is not JSON.
pub fn json_argument(text: &str) -> Result<Value, Problem> {
    let unreadable = |detail: String| {
        Problem::usage("json-argument", detail).next("write JSON in quotes, or @FILE")
    };
    let text = match text.strip_prefix('@') {
        Some(path) => {
            std::fs::read_to_string(path).map_err(|e| unreadable(format!("{path}: {e}")))?
        }
        None => text.to_owned(),
    };
    serde_json::from_str(&text).map_err(|e| {
        unreadable(format!("not JSON: {e}")).next("write JSON, or @FILE with JSON in it")
    })
}
