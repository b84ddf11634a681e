//! `[mcp]`: what clients of the Model Context Protocol are offered, and how long a call of theirs is held.

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
}

/// `[mcp]`, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mcp {
    /// Which operations are offered one by one.
    pub operations: Vec<Pick>,
    /// How long a call is held, in ms.
    pub hold_ms: u64,
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
        Ok(Self { operations: picks(&file.operations)?, hold_ms })
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
