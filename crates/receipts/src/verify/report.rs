//! What a verification found.

use std::fmt;

use serde::Serialize;

/// What stands at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every check holds, and the close record ends the run: nothing is missing up to it.
    Verified,
    /// What is there holds, but no close record ends it: the tail could be cut.
    Open,
    /// Something does not hold.
    Failed,
}

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The file can be read.
    Format,
    /// The journal's hash chain.
    Events,
    /// Values open their commitments.
    Openings,
    /// Every envelope is signed by a trusted key.
    Signatures,
    /// Every payload is a receipt or a close record.
    Statements,
    /// The run's statements follow one another without a gap.
    Chain,
    /// Receipts and journal say the same.
    Journal,
    /// A close record covers the whole journal.
    Close,
    /// The checkpoint is signed by a trusted key.
    Checkpoint,
    /// Every envelope stands in the log.
    Inclusion,
    /// The log begins with the one seen earlier.
    Since,
    /// Content is what its digest says.
    Blobs,
}

/// How one check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// It holds.
    Ok {
        /// What exactly.
        detail: String,
    },
    /// It does not.
    Failed {
        /// Where and why.
        reason: String,
    },
    /// There is nothing to check it with.
    NotPossible {
        /// Why.
        reason: String,
    },
}

impl Outcome {
    pub(super) fn ok(detail: impl Into<String>) -> Self {
        Self::Ok { detail: detail.into() }
    }

    pub(super) fn not_possible(reason: impl Into<String>) -> Self {
        Self::NotPossible { reason: reason.into() }
    }

    pub(super) fn depends_on(name: &str) -> Self {
        Self::not_possible(format!("{name} did not hold"))
    }

    pub(super) fn of(found: Result<String, String>) -> Self {
        match found {
            Ok(detail) => Self::Ok { detail },
            Err(reason) => Self::Failed { reason },
        }
    }
}

/// One check and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Which.
    pub check: Check,
    /// How.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// All checks in order and what they add up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What they add up to.
    pub verdict: Verdict,
    /// The first failure, or what holds, in one sentence.
    pub reason: String,
    /// Every check made.
    pub checks: Vec<Checked>,
}

impl Report {
    pub(super) fn new(checks: Vec<Checked>) -> Self {
        let failed = checks.iter().find_map(|c| match &c.outcome {
            Outcome::Failed { reason } => Some(reason.clone()),
            Outcome::Ok { .. } | Outcome::NotPossible { .. } => None,
        });
        let close = checks.iter().find(|c| c.check == Check::Close).map(|c| &c.outcome);
        let (verdict, reason) = match (failed, close) {
            (Some(reason), _) => (Verdict::Failed, reason),
            (None, Some(Outcome::Ok { detail })) => (Verdict::Verified, detail.clone()),
            (None, Some(Outcome::NotPossible { reason } | Outcome::Failed { reason })) => {
                (Verdict::Open, reason.clone())
            }
            (None, None) => (Verdict::Failed, "the run's end was not checked".to_owned()),
        };
        Self { verdict, reason, checks }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.verdict {
            Verdict::Verified => "verified",
            Verdict::Open => "open",
            Verdict::Failed => "failed",
        };
        write!(f, "{word}: {}", self.reason)
    }
}
