//! The outside systems an operator has declared, by name.

use std::{collections::BTreeMap, path::PathBuf};

use kernel::operation::Rate;
use serde::{Deserialize, Serialize};

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
    },
    /// A SQLite file.
    Sqlite {
        /// The file; never created.
        path: PathBuf,
        /// How often it may be called, over all runs; absent = as often as it bears.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<Rate>,
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
    },
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
