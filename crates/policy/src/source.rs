//! Where rules come from, and how a place in them is named.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whose rules they are. A lower layer can only narrow what a higher one permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Who runs the harness.
    Operator,
    /// Whose data it is.
    Tenant,
    /// What is installed.
    Pack,
    /// One agent.
    Agent,
}

impl Layer {
    /// The name used in decisions and output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Tenant => "tenant",
            Self::Pack => "pack",
            Self::Agent => "agent",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One file of Cedar text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its layer.
    pub layer: Layer,
    /// Its path, as people know it.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// Why a file of rules is refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}; {help}")]
pub struct Problem {
    /// The file.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The rule's `@id`, where it has one.
    pub rule: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// Line and column, from 1, of a byte offset.
pub(crate) fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
