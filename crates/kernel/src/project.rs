//! Projections: what lists and inboxes show. Always derived from events, never a second truth.

use serde::{Deserialize, Serialize};

use crate::{
    event::{Body, Record},
    id::{ApprovalId, At, ExceptionId, ReceiptId, Seq, TokenId},
    operation::Undo,
    run::Status,
};

/// One change to a projection, applied in the transaction that appends its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum Change {
    /// The run's row, in full.
    Run(Box<RunRow>),
    /// Something is waiting for a person.
    ApprovalOpened(Box<ApprovalRow>),
    /// It no longer is.
    ApprovalClosed {
        /// Which.
        id: ApprovalId,
        /// `approved`, `denied`, `edited`, `expired`, `void`, `answered`, `stopped`.
        state: String,
        /// When.
        at: At,
    },
    /// An exception opened.
    ExceptionOpened(Box<ExceptionRow>),
    /// It was settled.
    ExceptionClosed {
        /// Which.
        id: ExceptionId,
        /// When.
        at: At,
    },
    /// A rollback token changed.
    Token {
        /// Which.
        id: TokenId,
        /// For which action.
        action: Seq,
        /// Its class.
        undo: Undo,
        /// `armed`, `spent`.
        state: String,
        /// Until when.
        expires_at: At,
    },
    /// A receipt exists.
    Receipt {
        /// Which.
        id: ReceiptId,
        /// For which action; `None` for a close record.
        action: Option<Seq>,
        /// When.
        at: At,
    },
}

/// A run as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRow {
    /// Where it stands.
    pub status: Status,
    /// The intent.
    pub intent: String,
    /// Pack and version.
    pub pack: String,
    /// Who proposes.
    pub agent: String,
    /// For whom.
    pub on_behalf_of: String,
    /// Opaque subjects.
    pub subjects: Vec<String>,
    /// When it began.
    pub opened_at: At,
    /// When it last changed.
    pub at: At,
    /// Events so far.
    pub events: Seq,
}

/// An open ask as the inbox shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRow {
    /// Its id.
    pub id: ApprovalId,
    /// `action` or `question`.
    pub sort: String,
    /// The step.
    pub step: String,
    /// The action, for asks about one.
    pub action: Option<Seq>,
    /// Roles asked.
    pub roles: Vec<String>,
    /// Since when.
    pub opened_at: At,
    /// Until when.
    pub expires_at: At,
}

/// An open exception as the queue shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExceptionRow {
    /// The exception.
    pub exception: crate::exception::Exception,
}

/// What one event changes in the projections. The run's own row is added by the run.
#[must_use]
pub fn changes(record: &Record, step_of: &dyn Fn(Seq) -> String) -> Vec<Change> {
    let at = record.event.at;
    let closed = |id: &ApprovalId, state: &str| {
        vec![Change::ApprovalClosed { id: id.clone(), state: state.to_owned(), at }]
    };
    match &record.event.body {
        Body::Asked { action, approval, requirement, expires_at, .. } => {
            vec![Change::ApprovalOpened(Box::new(ApprovalRow {
                id: approval.clone(),
                sort: "action".to_owned(),
                step: step_of(*action),
                action: Some(*action),
                roles: requirement.approvals.keys().cloned().collect(),
                opened_at: at,
                expires_at: *expires_at,
            }))]
        }
        Body::Questioned { step, question, role, expires_at, .. } => {
            vec![Change::ApprovalOpened(Box::new(ApprovalRow {
                id: question.clone(),
                sort: "question".to_owned(),
                step: step.clone(),
                action: None,
                roles: vec![role.clone()],
                opened_at: at,
                expires_at: *expires_at,
            }))]
        }
        Body::Voided { approval, .. } => closed(approval, "void"),
        Body::Replied { question, .. } => closed(question, "answered"),
        Body::Lapsed { question } => closed(question, "expired"),
        Body::Raised { exception, .. } => {
            vec![Change::ExceptionOpened(Box::new(ExceptionRow { exception: exception.clone() }))]
        }
        Body::Settled { exception, .. } => {
            vec![Change::ExceptionClosed { id: exception.clone(), at }]
        }
        Body::Armed { action, token, undo, expires_at } => vec![Change::Token {
            id: token.clone(),
            action: *action,
            undo: *undo,
            state: "armed".to_owned(),
            expires_at: *expires_at,
        }],
        Body::Receipted { action, receipt, .. } => {
            vec![Change::Receipt { id: receipt.clone(), action: Some(*action), at }]
        }
        Body::Closed { receipt, .. } => {
            vec![Change::Receipt { id: receipt.clone(), action: None, at }]
        }
        _ => Vec::new(),
    }
}
