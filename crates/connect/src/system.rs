//! The outside systems an operator has declared, by name.

mod mcp;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
};

use ::web::{Engine, Limits};
use egress::Rules;
use kernel::{id::PrincipalId, operation::Rate};
use sandbox::{Engine as ContainerEngine, Profile, Tier};
use serde::{Deserialize, Serialize};

pub use mcp::{MayAsk, McpGrantee, McpHeader, McpOauth, McpSystem, Speaks};

use crate::redact::Personal;

/// Declared systems by name.
pub type Systems = BTreeMap<String, System>;

/// Where one system is and how to log in. Credentials stand as names of `[secrets]`, never as values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum System {
    /// An HTTP API.
    Http {
        /// Base URL; paths of operations are appended to its path.
        url: String,
        /// How often it may be called, over all runs; absent = as often as it bears.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<Rate>,
        /// What is personal and taken out of its answers; absent = `["card"]`.
        #[serde(default, skip_serializing_if = "is_usual")]
        redact: Personal,
    },
    /// A SQLite file.
    Sqlite {
        /// The file; never created.
        path: PathBuf,
        /// How often it may be called, over all runs; absent = as often as it bears.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<Rate>,
        /// What is personal and taken out of its answers; absent = `["card"]`.
        #[serde(default, skip_serializing_if = "is_usual")]
        redact: Personal,
    },
    /// A PostgreSQL database. Connections are not encrypted: hosts other than loopback and sockets
    /// need an explicit `sslmode=disable`.
    Postgres {
        /// `secret:NAME`, or a connection string without a password.
        dsn: String,
        /// Name of the secret that holds the password.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        password: Option<String>,
        /// How often it may be called, over all runs; absent = as often as it bears.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<Rate>,
        /// What is personal and taken out of its answers; absent = `["card"]`.
        #[serde(default, skip_serializing_if = "is_usual")]
        redact: Personal,
    },
    /// A mail submission server.
    Smtp {
        /// `host:port`.
        address: String,
        /// Encryption; absent = `starttls`.
        #[serde(default)]
        tls: SmtpTls,
        /// How to log in; absent = not at all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        login: Option<Login>,
        /// How often it may be called, over all runs; absent = as often as it bears.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<Rate>,
        /// What is personal and taken out of its answers; absent = `["card"]`.
        #[serde(default, skip_serializing_if = "is_usual")]
        redact: Personal,
    },
    /// A program of this machine, in a sandbox of its own for each call.
    Process(Box<ProcessSystem>),
    /// A folder of this machine: its files, and a shell where the operator gives it one.
    Folder(Box<FolderSystem>),
    /// The web: pages of hosts that may be asked, and who is asked when something is searched for.
    Web(Box<WebSystem>),
    /// Workers of an application, which come for their jobs.
    Worker(Box<WorkerSystem>),
    /// A server of the Model Context Protocol: a program in a sandbox, or an address.
    Mcp(Box<McpSystem>),
    /// An agent of the Agent Client Protocol: a program in a sandbox.
    Acp(Box<AcpSystem>),
}

/// An agent of the Agent Client Protocol, started for each call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcpSystem {
    /// The program and its arguments; the program by its absolute path, or by a name that the profile's `PATH` finds.
    pub run: Vec<String>,
    /// `isolated` or `container`; absent = `isolated`.
    #[serde(default = "isolated")]
    pub tier: Tier,
    /// What it runs on where the tier is `container`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerRules>,
    /// What it may reach; absent = the libraries and an empty temporary folder. It works in the profile's `folder`.
    #[serde(default)]
    pub profile: Profile,
    /// What it may ask of the outside, its model among it, by way of a proxy that is its only way out; absent = nothing.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub egress: Rules,
    /// Variables of its environment that hold secrets, by name of the secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// How often it may be called, over all runs; absent = as often as it bears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// What is personal and taken out of its answers; absent = `["card"]`.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub redact: Personal,
}

/// Who comes for jobs, and how long is waited for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSystem {
    /// Services whose tokens take jobs, such as `service:billing`; nobody else does.
    pub principals: BTreeSet<PrincipalId>,
    /// How often a worker says that it is still at a job, in milliseconds; after twice as long without a word it is
    /// taken for lost. Absent = 15,000.
    #[serde(default = "heartbeat")]
    pub heartbeat_ms: u32,
    /// Most jobs that wait for a worker; absent = 100.
    #[serde(default = "waiting")]
    pub waiting_max: usize,
    /// How often it may be called, over all runs; absent = as often as it bears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// What is personal and taken out of its answers; absent = `["card"]`.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub redact: Personal,
}

/// Of a worker system that does not say.
const HEARTBEAT_MS: u32 = 15_000;

/// Of a worker system that does not say.
const WAITING: usize = 100;

fn heartbeat() -> u32 {
    HEARTBEAT_MS
}

fn waiting() -> usize {
    WAITING
}

/// Which pages of the web may be read, and who searches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebSystem {
    /// Hosts that may be asked: names, `*.` and a name (everything below it), or addresses; a port stands behind a colon
    /// where it is not the usual one. An address that is not public is asked only where it stands here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Whether every other public host may be asked, too; absent = no.
    #[serde(default, skip_serializing_if = "is_no")]
    pub any: bool,
    /// Addresses that are not public and that a listed name may nevertheless lead to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub private: Vec<IpAddr>,
    /// How much is read of a page, and kept.
    #[serde(default)]
    pub limits: Limits,
    /// Who searches; absent = nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Search>,
    /// How often it may be called, over all runs; absent = as often as it bears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// What is personal and taken out of its answers; absent = `["card"]`.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub redact: Personal,
}

/// A search engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// `brave`, `tavily` or `searxng`.
    pub engine: Engine,
    /// Where it is asked; absent = where the engine itself is. It may be near: this address is the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Name of the secret that proves who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
fn is_no(value: &bool) -> bool {
    !*value
}

/// A folder, and what may be done in it beside reading and changing files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderSystem {
    /// The folder; absolute, and there.
    pub path: PathBuf,
    /// How the work of runs is kept apart; absent = not at all: runs change the folder itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apart: Option<Apart>,
    /// The shell; absent = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<ShellRules>,
    /// Code in other languages; absent = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeRules>,
    /// How often it may be called, over all runs; absent = as often as it bears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// What is personal and taken out of its answers; absent = `["card"]`.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub redact: Personal,
}

/// How the work of runs is kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Apart {
    /// Each run works in a folder of its own with what the commit holds that the repository stands at; the declared
    /// folder is the top of that repository. What a run changed comes into a branch by a merge that was looked at.
    Worktree,
}

/// What commands of a shell may reach beside the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShellRules {
    /// How much stands between it and this machine; absent = `isolated`.
    #[serde(default = "isolated")]
    pub tier: Tier,
    /// What it runs on where the tier is `container`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerRules>,
    /// What it may reach; absent = the system's libraries and an empty temporary folder.
    #[serde(default)]
    pub profile: Profile,
    /// What it may ask of the outside, by way of a proxy that is its only way out; absent = nothing.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub egress: Rules,
}

/// The image that programs of the tier `container` run on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerRules {
    /// The image by its digest (`NAME@sha256:…`); it is there already, and nothing is ever pulled.
    pub image: String,
    /// `podman` or `docker`, rootless; absent = the one that this machine has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<ContainerEngine>,
    /// Its program; absent = where it usually is. Needs `engine`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<PathBuf>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
fn is_usual(personal: &Personal) -> bool {
    *personal == Personal::default()
}

/// Languages that code may be in, and what it may reach beside the folder; in the isolated tier or a stronger one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeRules {
    /// How much stands between it and this machine; absent = `isolated`.
    #[serde(default = "isolated")]
    pub tier: Tier,
    /// What it runs on where the tier is `container`; interpreters are then those of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerRules>,
    /// What it may reach; absent = the system's libraries and an empty temporary folder.
    #[serde(default)]
    pub profile: Profile,
    /// What it may ask of the outside, by way of a proxy that is its only way out; absent = nothing.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub egress: Rules,
    /// Python; absent = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<Language>,
    /// JavaScript, by Node; absent = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub javascript: Option<Language>,
}

/// What code of one language is run by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Language {
    /// The interpreter, by its absolute path.
    pub interpreter: PathBuf,
    /// Packages that are installed, which code reads and nobody writes; absent = those of the interpreter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packages: Option<PathBuf>,
    /// What they were installed from, such as a `requirements.lock` or a `package-lock.json`; its hash is in each result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<PathBuf>,
    /// SHA-256 of the lock in hex; where it is another, nothing runs. Absent = whatever it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_sha256: Option<String>,
}

fn is_empty(rules: &Rules) -> bool {
    rules.0.is_empty()
}

fn isolated() -> Tier {
    Tier::Isolated
}

/// A program that is started for each call, and what it may reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSystem {
    /// The program and its arguments; the program by its absolute path, or by a name that the profile's `PATH` finds.
    pub run: Vec<String>,
    /// How much stands between it and this machine; absent = `restricted`.
    #[serde(default = "restricted")]
    pub tier: Tier,
    /// What it runs on where the tier is `container`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerRules>,
    /// What it may reach beside itself; absent = the system's libraries and an empty temporary folder.
    #[serde(default)]
    pub profile: Profile,
    /// What it may ask of the outside, by way of a proxy that is its only way out; absent = nothing.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub egress: Rules,
    /// Variables of its environment that hold secrets, by name of the secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// How often it may be called, over all runs; absent = as often as it bears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// What is personal and taken out of its answers; absent = `["card"]`.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub redact: Personal,
}

fn restricted() -> Tier {
    Tier::Restricted
}

impl System {
    /// How often it may be called.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        match self {
            Self::Http { rate, .. }
            | Self::Sqlite { rate, .. }
            | Self::Postgres { rate, .. }
            | Self::Smtp { rate, .. } => *rate,
            Self::Process(process) => process.rate,
            Self::Folder(folder) => folder.rate,
            Self::Web(web) => web.rate,
            Self::Worker(worker) => worker.rate,
            Self::Mcp(server) => server.rate,
            Self::Acp(agent) => agent.rate,
        }
    }

    /// What is personal and taken out of its answers.
    #[must_use]
    pub fn redact(&self) -> Personal {
        match self {
            Self::Http { redact, .. }
            | Self::Sqlite { redact, .. }
            | Self::Postgres { redact, .. }
            | Self::Smtp { redact, .. } => *redact,
            Self::Process(process) => process.redact,
            Self::Folder(folder) => folder.redact,
            Self::Web(web) => web.redact,
            Self::Worker(worker) => worker.redact,
            Self::Mcp(server) => server.redact,
            Self::Acp(agent) => agent.redact,
        }
    }

    /// The kind, as configuration spells it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http { .. } => "http",
            Self::Sqlite { .. } => "sqlite",
            Self::Postgres { .. } => "postgres",
            Self::Smtp { .. } => "smtp",
            Self::Process(_) => "process",
            Self::Folder(_) => "folder",
            Self::Web(_) => "web",
            Self::Worker(_) => "worker",
            Self::Mcp(_) => "mcp",
            Self::Acp(_) => "acp",
        }
    }
}

/// How a mail connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpTls {
    /// Not at all; for a sink on the same machine.
    None,
    /// Upgraded with STARTTLS; a server that offers none is refused.
    #[default]
    Starttls,
    /// From the first byte.
    Implicit,
}

/// A user name and the secret that proves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The user name.
    pub user: String,
    /// Name of the secret that holds the password.
    pub secret: String,
}
