//! `[redaction]`: who can have back what is taken out of answers.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::problem::Problem;

/// How long what was taken out is kept, where the file does not say, in days.
const KEEP_DAYS: u32 = 90;

/// Longest it may be kept, in days.
const KEEP_DAYS_MAX: u32 = 3_650;

/// A day, in ms.
const DAY_MS: i64 = 24 * 3_600_000;

/// Name of what is kept, inside of the store's folder.
const KEPT: &str = "redacted.jsonl";

/// Name of who had what back, inside of the store's folder.
const REVEALED: &str = "revealed.jsonl";

/// As written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedactionFile {
    /// Public keys of age that what is personal is sealed for when it is taken out; none = it is gone.
    pub keep_for: Vec<String>,
    /// How long it is kept, in days. By default 90.
    pub keep_days: Option<u32>,
}

impl RedactionFile {
    /// As `config show` tells it, where it says something.
    pub(super) fn words(&self) -> Option<String> {
        let days = self.keep_days.unwrap_or(KEEP_DAYS);
        let keys = self.keep_for.join(", ");
        (!self.keep_for.is_empty()).then(|| format!("kept {days} days for {keys}"))
    }
}

/// Who can have back what was taken out, and for how long.
#[derive(Clone, Debug)]
pub struct Redaction {
    /// Public keys; none = nothing is kept.
    pub keep_for: Vec<String>,
    /// How long it is kept, in ms.
    pub keep_ms: i64,
    /// Where it is kept.
    pub kept: PathBuf,
    /// Where it is recorded who had something back.
    pub revealed: PathBuf,
}

impl Redaction {
    pub(super) fn of(file: &RedactionFile, store: &std::path::Path) -> Result<Self, Problem> {
        let days = file.keep_days.unwrap_or(KEEP_DAYS);
        let refuse = |detail: String| {
            Err(Problem::usage("config-invalid", detail)
                .next("correct [redaction]; `age-keygen` makes a pair of keys"))
        };
        if days == 0 || days > KEEP_DAYS_MAX {
            return refuse(format!("redaction.keep_days must be 1 to {KEEP_DAYS_MAX}"));
        }
        if !file.keep_for.is_empty()
            && let Err(error) = ::secrets::keeper::recipients(&file.keep_for)
        {
            return refuse(error.to_string());
        }
        Ok(Self {
            keep_for: file.keep_for.clone(),
            keep_ms: i64::from(days) * DAY_MS,
            kept: store.join(KEPT),
            revealed: store.join(REVEALED),
        })
    }
}
