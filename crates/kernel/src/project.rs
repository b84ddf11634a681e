//! Projections: what lists and inboxes show. Always derived from events, never a second truth.

use serde::{Deserialize, Serialize};

use crate::{
    event::{Body, Record, Settled, Stage},
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
    /// The action, for asks about one and questions in the middle of its call.
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

/// What a projection needs to know beside the event itself.
pub(crate) trait Lookup {
    /// The step of an action.
    fn step(&self, action: Seq) -> String;
    /// The open ask of an action.
    fn ask(&self, action: Seq) -> Option<ApprovalId>;
    /// Open exceptions that end when the run is stopping.
    fn escalations(&self) -> Vec<ExceptionId>;
    /// Whether an open exception is about an unknown outcome.
    fn is_doubt(&self, exception: &ExceptionId) -> bool;
    /// A token's action, class and expiry.
    fn token(&self, id: &TokenId) -> Option<(Seq, Undo, At)>;
}

/// What one event changes in the projections; called before the event is applied. The run's own row
/// is added by the run.
pub(crate) fn changes(record: &Record, lookup: &dyn Lookup) -> Vec<Change> {
    let at = record.event.at;
    let closed = |id: &ApprovalId, state: &str| {
        vec![Change::ApprovalClosed { id: id.clone(), state: state.to_owned(), at }]
    };
    let ask_closed = |action: Seq, state: &str| {
        lookup.ask(action).map(|id| closed(&id, state)).unwrap_or_default()
    };
    match &record.event.body {
        Body::Asked { action, approval, requirement, expires_at, .. } => {
            let roles = requirement.approvals.keys().cloned().collect();
            let step = lookup.step(*action);
            vec![opened(approval, ("action", step, Some(*action)), roles, (at, *expires_at))]
        }
        Body::Questioned { step, question, role, expires_at, .. } => {
            let what = ("question", step.clone(), None);
            vec![opened(question, what, vec![role.clone()], (at, *expires_at))]
        }
        Body::Elicited { action, question, role, expires_at, .. } => {
            let what = ("question", lookup.step(*action), Some(*action));
            vec![opened(question, what, vec![role.clone()], (at, *expires_at))]
        }
        Body::Dispatched { action, .. } => ask_closed(*action, "approved"),
        Body::Rejected { action, stage, .. } => ask_closed(*action, closing_word(*stage)),
        Body::Voided { approval, .. } => closed(approval, "void"),
        Body::Replied { question, .. } => closed(question, "answered"),
        Body::Lapsed { question } => closed(question, "expired"),
        Body::Raised { exception, .. } => {
            vec![Change::ExceptionOpened(Box::new(ExceptionRow { exception: exception.clone() }))]
        }
        Body::Settled { exception, settled, .. } => {
            let stays = *settled == Settled::Rollback && lookup.is_doubt(exception);
            let closed = Change::ExceptionClosed { id: exception.clone(), at };
            let mut changes = if stays { vec![] } else { vec![closed] };
            if *settled == Settled::Rollback {
                changes.extend(escalations_closed(lookup, Some(exception), at));
            }
            changes
        }
        Body::Cancelled { .. } | Body::Abandoned { .. } | Body::Finished { .. } => {
            escalations_closed(lookup, None, at)
        }
        Body::Armed { action, token, undo, expires_at } => {
            vec![token_change(token, (*action, *undo, *expires_at), "armed")]
        }
        Body::Redeemed { token, undone } => {
            let state = if undone.spends() { "spent" } else { "armed" };
            let known = lookup.token(token);
            known.map(|facts| vec![token_change(token, facts, state)]).unwrap_or_default()
        }
        Body::Receipted { action, receipt, .. } => {
            vec![Change::Receipt { id: receipt.clone(), action: Some(*action), at }]
        }
        Body::Closed { receipt, .. } => {
            vec![Change::Receipt { id: receipt.clone(), action: None, at }]
        }
        _ => Vec::new(),
    }
}

/// Escalations of a run that does not go on, but for one that is closed already.
fn escalations_closed(lookup: &dyn Lookup, but: Option<&ExceptionId>, at: At) -> Vec<Change> {
    let open = lookup.escalations().into_iter().filter(|id| Some(id) != but);
    open.map(|id| Change::ExceptionClosed { id, at }).collect()
}

fn opened(
    id: &ApprovalId,
    (sort, step, action): (&str, String, Option<Seq>),
    roles: Vec<String>,
    (opened_at, expires_at): (At, At),
) -> Change {
    let sort = sort.to_owned();
    let id = id.clone();
    Change::ApprovalOpened(Box::new(ApprovalRow {
        id,
        sort,
        step,
        action,
        roles,
        opened_at,
        expires_at,
    }))
}

fn token_change(id: &TokenId, (action, undo, expires_at): (Seq, Undo, At), state: &str) -> Change {
    Change::Token { id: id.clone(), action, undo, state: state.to_owned(), expires_at }
}

fn closing_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Refused => "denied",
        Stage::Expired => "expired",
        Stage::Edited => "edited",
        Stage::Stopped => "stopped",
        Stage::Unknown
        | Stage::Unplanned
        | Stage::Grant
        | Stage::Schema
        | Stage::Forbidden
        | Stage::Clearance
        | Stage::Budget
        | Stage::Policy
        | Stage::Previewed => "void",
    }
}
