//! `[mcp]`: what clients of the Model Context Protocol are offered, how long a call of theirs is held, and which servers
//! they reach through us.

use std::{collections::BTreeSet, str::FromStr};

use kernel::id::OperationId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::problem::Problem;

/// Most operations that are offered one by one.
const OPERATIONS_MAX: usize = 500;

/// How long a call is held when nothing is said, in ms: shorter than the minute after which common clients give up.
pub const HOLD_MS: u64 = 45_000;

/// Longest that a call is held, in ms.
pub const HOLD_MAX_MS: u64 = 3_600_000;

/// `[mcp]`, as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct McpFile {
    /// Operations that are offered one by one beside intents and agents: ids such as `crm.get_account`, or `crm.*` for
    /// all of a connector. By default none is.
    pub operations: Vec<String>,
    /// How long a call that waits for a person is held before it is answered with where it stands, in ms. By default
    /// 45,000; over HTTP at most 50,000.
    pub hold_ms: Option<u64>,
    /// Servers of MCP whose own tools are passed on under their own names, by connector, or `*` for all; see
    /// `harness mcp proxy`. By default none.
    pub proxy: Vec<String>,
    /// What the proxy does with what policy thinks of a call: `observe`, `warn` or `enforce`. By default `enforce`.
    pub proxy_mode: ProxyMode,
}

/// What the proxy does with what policy thinks of a call.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ProxyMode {
    /// Every call passes; what policy would have said is recorded.
    Observe,
    /// Every call passes; what policy would have said is recorded, and told to the client.
    Warn,
    /// Policy decides.
    #[default]
    Enforce,
}

impl ProxyMode {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Warn => "warn",
            Self::Enforce => "enforce",
        }
    }

    /// Whether a call passes whatever policy says.
    #[must_use]
    pub fn lets_pass(self) -> bool {
        self != Self::Enforce
    }
}

impl FromStr for ProxyMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Observe, Self::Warn, Self::Enforce];
        let found = all.into_iter().find(|mode| mode.word() == text);
        found.ok_or_else(|| format!("`{text}` is none of observe, warn, enforce"))
    }
}

/// Which servers are passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Servers {
    /// Every connector of kind `mcp`.
    All,
    /// These, by connector.
    Named(BTreeSet<String>),
}

impl Servers {
    /// These, or all where one of them is `*`; none where there are none.
    #[must_use]
    pub fn of(names: &[String]) -> Option<Self> {
        if names.iter().any(|name| name == "*") {
            return Some(Self::All);
        }
        (!names.is_empty()).then(|| Self::Named(names.iter().cloned().collect()))
    }

    /// Whether a connector is meant.
    #[must_use]
    pub fn has(&self, connector: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(connector),
        }
    }
}

/// What `/mcp` and standard input speak for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Face {
    /// Tools of ours.
    #[default]
    Own,
    /// The servers behind us.
    Proxy,
}

/// `[mcp]`, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mcp {
    /// Which operations are offered one by one.
    pub operations: Vec<Pick>,
    /// How long a call is held, in ms.
    pub hold_ms: u64,
    /// Which servers are passed on, if any is.
    pub proxy: Option<Servers>,
    /// What the proxy does with what policy thinks of a call.
    pub proxy_mode: ProxyMode,
    /// What is spoken for at `/mcp`: the command that serves says it.
    pub face: Face,
}

/// Operations that are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// This one.
    One(OperationId),
    /// All of a connector.
    Of(String),
}

impl Pick {
    /// Whether an operation is meant.
    #[must_use]
    pub fn takes(&self, id: &OperationId) -> bool {
        match self {
            Self::One(one) => one == id,
            Self::Of(connector) => id.connector() == connector,
        }
    }
}

impl Mcp {
    pub(super) fn of(file: &McpFile) -> Result<Self, Problem> {
        let hold_ms = file.hold_ms.unwrap_or(HOLD_MS);
        if hold_ms > HOLD_MAX_MS {
            let detail = format!("mcp.hold_ms is {hold_ms}, and at most {HOLD_MAX_MS}");
            return Err(Problem::usage("config-invalid", detail).next("hold calls for less time"));
        }
        Ok(Self {
            operations: picks(&file.operations)?,
            hold_ms,
            proxy: Servers::of(&file.proxy),
            proxy_mode: file.proxy_mode,
            face: Face::Own,
        })
    }
}

/// Reads operations that are meant.
///
/// # Errors
/// Names the one that is none.
pub fn picks(texts: &[String]) -> Result<Vec<Pick>, Problem> {
    if texts.len() > OPERATIONS_MAX {
        let detail = format!("{} operations are named, and at most {OPERATIONS_MAX}", texts.len());
        return Err(Problem::usage("config-invalid", detail).next("name fewer, or `connector.*`"));
    }
    let pick = |text: &String| match text.strip_suffix(".*") {
        Some(connector) if !connector.is_empty() && !connector.contains(['.', '*']) => {
            Ok(Pick::Of(connector.to_owned()))
        }
        _ => text.parse().map(Pick::One).map_err(|error: kernel::id::BadId| {
            Problem::usage("config-invalid", format!("mcp.operations: {error}"))
                .next("write crm.get_account, or crm.* for all of a connector")
        }),
    };
    texts.iter().map(pick).collect()
}
