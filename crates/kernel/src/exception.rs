//! Failures by class, the closed set of recoveries, and exceptions: runs that need someone.

use serde::{Deserialize, Serialize};

use crate::{
    id::{At, ExceptionId, Seq},
    principal::{Kind, Principal},
};

/// The role that may decide about every exception, whoever owns it.
pub const OPERATOR_ROLE: &str = "operator";

/// Why an action failed. Closed: whatever a connector meets is one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// No answer in time.
    Timeout,
    /// 5xx, refused, unreachable.
    Unavailable,
    /// Too many calls.
    RateLimit,
    /// Not allowed by the target system.
    Permission,
    /// A field the contract promises is absent.
    MissingField,
    /// The answer has another shape than declared.
    UnexpectedShape,
    /// Older than the contract allows.
    Stale,
    /// More records than one where one was promised.
    Duplicate,
    /// Systems disagree on an entity.
    Mismatch,
    /// A field was named that does not exist.
    UnknownField,
    /// The target or the schema refused the arguments.
    InvalidArguments,
    /// Nobody knows whether the effect happened.
    InDoubt,
    /// A limit of the run is used up.
    Budget,
    /// Policy could not be evaluated, or refused.
    PolicyError,
}

impl Class {
    /// Every class, in the order above.
    pub const ALL: [Self; 14] = [
        Self::Timeout,
        Self::Unavailable,
        Self::RateLimit,
        Self::Permission,
        Self::MissingField,
        Self::UnexpectedShape,
        Self::Stale,
        Self::Duplicate,
        Self::Mismatch,
        Self::UnknownField,
        Self::InvalidArguments,
        Self::InDoubt,
        Self::Budget,
        Self::PolicyError,
    ];

    /// The name used in packs, events and output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::RateLimit => "rate_limit",
            Self::Permission => "permission",
            Self::MissingField => "missing_field",
            Self::UnexpectedShape => "unexpected_shape",
            Self::Stale => "stale",
            Self::Duplicate => "duplicate",
            Self::Mismatch => "mismatch",
            Self::UnknownField => "unknown_field",
            Self::InvalidArguments => "invalid_arguments",
            Self::InDoubt => "in_doubt",
            Self::Budget => "budget",
            Self::PolicyError => "policy_error",
        }
    }

    /// Whether the content of an answer, not the call itself, made it a failure.
    #[must_use]
    pub fn is_about_content(self) -> bool {
        match self {
            Self::MissingField
            | Self::UnexpectedShape
            | Self::Stale
            | Self::Duplicate
            | Self::Mismatch => true,
            Self::Timeout
            | Self::Unavailable
            | Self::RateLimit
            | Self::Permission
            | Self::UnknownField
            | Self::InvalidArguments
            | Self::InDoubt
            | Self::Budget
            | Self::PolicyError => false,
        }
    }

    /// Whether trying the same thing again could help.
    #[must_use]
    pub fn may_pass(self) -> bool {
        match self {
            Self::Timeout | Self::Unavailable | Self::RateLimit | Self::Stale => true,
            Self::Permission
            | Self::MissingField
            | Self::UnexpectedShape
            | Self::Duplicate
            | Self::Mismatch
            | Self::UnknownField
            | Self::InvalidArguments
            | Self::InDoubt
            | Self::Budget
            | Self::PolicyError => false,
        }
    }
}

/// Whether a failed call may have changed the world all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Landed {
    /// Certainly not: nothing was sent, or the target said so.
    No,
    /// Nobody knows.
    Unknown,
    /// Certainly: the effect is there, only its answer is bad.
    Yes,
}

/// Why a run needs someone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// An effect may or may not have happened.
    InDoubt,
    /// A recovery said: a person takes over.
    Escalated,
    /// An effect could not be taken back.
    UndoFailed,
    /// The world moved since; taking back would overwrite somebody's change.
    Conflict,
    /// The run proposed something its plan does not hold.
    Unplanned,
    /// The run met an illegal transition: a defect of ours, kept visible.
    Defect,
}

/// An open or settled exception of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// Its id.
    pub id: ExceptionId,
    /// Why someone is needed.
    pub need: Need,
    /// The failure class behind it.
    pub class: Class,
    /// The step it happened in.
    pub step: String,
    /// The action it concerns, by the sequence number of its proposal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Seq>,
    /// Who owns it: a role or a principal.
    pub owner: String,
    /// Since when.
    pub at: At,
    /// How often this happened in the run, this time included.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub count: u32,
}

fn once() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde asks for")]
fn is_once(count: &u32) -> bool {
    *count == 1
}

impl Exception {
    /// Whether this principal may decide about it: a person who owns it, holds the role that does, or
    /// is an operator. Agents and services never.
    #[must_use]
    pub fn is_decided_by(&self, by: &Principal) -> bool {
        let owns = by.roles.contains(&self.owner) || by.id.as_str() == self.owner;
        by.kind == Kind::Person && (owns || by.roles.contains(OPERATOR_ROLE))
    }
}
