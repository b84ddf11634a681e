//! The outside systems an operator has declared, by name.

use std::{collections::BTreeMap, path::PathBuf};

use egress::Rules;
use kernel::operation::Rate;
use sandbox::{Profile, Tier};
use serde::{Deserialize, Serialize};

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
}

/// A folder, and what may be done in it beside reading and changing files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderSystem {
    /// The folder; absolute, and there.
    pub path: PathBuf,
    /// The shell; absent = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<ShellRules>,
    /// How often it may be called, over all runs; absent = as often as it bears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// What is personal and taken out of its answers; absent = `["card"]`.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub redact: Personal,
}

/// What commands of a shell may reach beside the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShellRules {
    /// How much stands between it and this machine; absent = `isolated`.
    #[serde(default = "isolated")]
    pub tier: Tier,
    /// What it may reach; absent = the system's libraries and an empty temporary folder.
    #[serde(default)]
    pub profile: Profile,
    /// What it may ask of the outside, by way of a proxy that is its only way out; absent = nothing.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub egress: Rules,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
fn is_usual(personal: &Personal) -> bool {
    *personal == Personal::default()
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
