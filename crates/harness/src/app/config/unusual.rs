//! `[unusual]`: inputs unlike those of earlier runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Runs that ended well before inputs are compared with theirs, where `[unusual]` does not say.
const UNUSUAL_AFTER: u32 = 20;

/// `[unusual]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UnusualFile {
    /// From how many runs of an intent that ended well on its inputs are compared with theirs, so that a
    /// person approves each change of a run with unusual ones; 0 = never. By default 20.
    pub after: Option<u32>,
}

impl UnusualFile {
    pub(super) fn after(&self) -> u32 {
        self.after.unwrap_or(UNUSUAL_AFTER)
    }
}
