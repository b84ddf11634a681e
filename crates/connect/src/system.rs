//! The outside systems an operator has declared, by name.

use std::{collections::BTreeMap, path::PathBuf};

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
    },
    /// A SQLite file.
    Sqlite {
        /// The file; never created.
        path: PathBuf,
    },
    /// A PostgreSQL database. Connections are not encrypted: hosts other than loopback and sockets
    /// need an explicit `sslmode=disable`.
    Postgres {
        /// `secret:NAME`, or a connection string without a password.
        dsn: String,
        /// Name of the secret that holds the password.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        password: Option<String>,
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
    },
}

impl System {
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
