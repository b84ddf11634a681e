//! What a caller is told when something cannot be done: RFC 9457 in spirit, one shape on every surface.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What sort of failure it is; decides the exit code and later the HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A defect or an unexpected state.
    Unexpected,
    /// The request is malformed.
    Usage,
    /// There is no such thing.
    NotFound,
    /// Nobody knows who calls.
    NotSignedIn,
    /// The caller may not.
    NotAllowed,
    /// Somebody was faster, or what was shown has changed.
    Conflict,
    /// It was there, and is over.
    Gone,
    /// Policy denied it.
    Denied,
    /// It waits for an approval.
    WaitingForApproval,
    /// The run failed.
    RunFailed,
    /// An exception needs a person.
    NeedsPerson,
    /// Something does not verify.
    VerificationFailed,
    /// It may work later.
    TryAgain,
    /// The user stopped it.
    Interrupted,
}

impl Kind {
    /// The process exit code; see `harness --help`.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Unexpected => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::NotSignedIn | Self::NotAllowed => 4,
            Self::Conflict | Self::Gone => 5,
            Self::Denied => 6,
            Self::WaitingForApproval => 7,
            Self::RunFailed => 8,
            Self::NeedsPerson => 9,
            Self::VerificationFailed => 10,
            Self::TryAgain => 75,
            Self::Interrupted => 130,
        }
    }
}

/// A failure with its place and the next step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// Schema of this document.
    pub schema: Box<str>,
    /// What sort.
    pub kind: Kind,
    /// Stable code, such as `run-not-found`.
    pub code: Box<str>,
    /// What is wrong, in one sentence.
    pub detail: String,
    /// What to do now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Box<str>>,
    /// Where exactly: JSON pointer, or `file:line:column`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at: Vec<String>,
}

impl Problem {
    /// A problem without a next step.
    pub fn new(kind: Kind, code: &str, detail: impl Into<String>) -> Self {
        Self {
            schema: "harness.problem/v1".into(),
            kind,
            code: code.into(),
            detail: detail.into(),
            next: None,
            at: Vec::new(),
        }
    }

    /// Adds what to do now.
    #[must_use]
    pub fn next(mut self, next: impl Into<Box<str>>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Without what must not be told. Problems repeat what they are about.
    #[must_use]
    pub fn scrubbed(self, redactor: &connect::redact::Redactor) -> Self {
        let at = self.at.iter().map(|place| redactor.scrub_text(place)).collect();
        let next = self.next.map(|next| redactor.scrub_text(&next).into());
        Self { detail: redactor.scrub_text(&self.detail), next, at, ..self }
    }

    /// Adds a place.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.at.push(place.into());
        self
    }

    /// There is no such thing.
    #[must_use]
    pub fn not_found(what: &str, id: &str) -> Self {
        Self::new(Kind::NotFound, &format!("{what}-not-found"), format!("there is no {what} {id}"))
            .next(format!("`harness {what} list` shows what there is"))
    }

    /// A request that cannot be understood.
    pub fn usage(code: &str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Usage, code, detail)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

impl From<engine::Error> for Problem {
    fn from(error: engine::Error) -> Self {
        match &error {
            engine::Error::Journal(journal) => Self::from(journal.clone()),
            engine::Error::Fault(_) => Self::new(Kind::Unexpected, "run-fault", error.to_string())
                .next("`harness run get` shows where the run stands; `harness doctor` checks the store"),
            engine::Error::Pins { .. } => Self::new(Kind::Unexpected, "run-not-loadable", error.to_string())
                .next("install the pack the run is pinned to, or use the build that began it"),
            engine::Error::Draining => Self::new(Kind::TryAgain, "shutting-down", error.to_string()),
        }
    }
}

impl From<kernel::port::JournalError> for Problem {
    fn from(error: kernel::port::JournalError) -> Self {
        use kernel::port::JournalError as J;
        match &error {
            J::Lost { .. } => {
                Self::new(Kind::Conflict, "lost-race", error.to_string()).next("try again")
            }
            J::Tampered(_) => {
                Self::new(Kind::VerificationFailed, "store-tampered", error.to_string()).next(
                    "nothing was sent; restore the store from a backup and run `harness doctor`",
                )
            }
            J::Halted(_) => Self::new(Kind::TryAgain, "halted", error.to_string())
                .next("`harness halt list` shows who halted it and why; nothing was begun"),
            J::Medium(_) => Self::new(Kind::TryAgain, "store-failed", error.to_string()).next(
                "nothing was half-written; free disk space or check the medium, then try again",
            ),
            J::NoRun(run) => Self::not_found("run", run.as_str()),
        }
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Journal(journal) => journal.into(),
            store::Error::Path { .. } => {
                Self::new(Kind::TryAgain, "store-unusable", error.to_string()).next(
                    "free disk space, or check that its folder can be written; then try again",
                )
            }
            cursor @ store::Error::Cursor(_) => Self::usage("bad-cursor", cursor.to_string())
                .next("leave --after out, or copy it from the page before"),
            store::Error::Stale { .. } => {
                Self::new(Kind::Conflict, "changed-meanwhile", error.to_string())
                    .next("look at it again, then decide")
            }
            other => Self::new(Kind::Unexpected, "store", other.to_string())
                .next("`harness doctor` checks the store"),
        }
    }
}
