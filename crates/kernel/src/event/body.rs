//! What events say.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    decision::{Decision, Requirement},
    exception::{Class, Exception, Landed},
    id::{
        ApprovalId, At, Digest, EffectKey, Epoch, ExceptionId, HaltId, OperationId, ReceiptId, Seq,
        TokenId,
    },
    input::{OnConflict, Scope},
    label::Label,
    operation::Undo,
    planning::{Caveat, Mark, Wait},
    principal::Principal,
    sealed::Sealed,
};

use super::{
    Answered, Because, End, Ended, Header, Purpose, Role, Settled, Side, Stage, Undone, Unwound,
};

/// One fact. Those marked *input* entered from outside; the rest follow from them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Body {
    /// *Input.* The run begins.
    Opened {
        /// Pinned world.
        header: Box<Header>,
        /// The intent's inputs.
        intent: Sealed,
        /// Opaque subjects (customer, account) for filters and erasure.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        subjects: Vec<String>,
    },
    /// *Input.* Time passed and something was due.
    Ticked,
    /// *Input.* A new driver owns the run.
    Claimed {
        /// Its epoch.
        epoch: Epoch,
    },
    /// *Input.* The owner is about to leave; a claim ends it.
    Held,
    /// *Input.* Another operator policy is in force.
    PolicyChanged {
        /// Its digest.
        digest: Digest,
    },
    /// An action is wanted.
    Proposed {
        /// The step.
        step: String,
        /// The operation.
        operation: OperationId,
        /// Digest of its definition.
        definition: Digest,
        /// The arguments.
        args: Sealed,
        /// What it touches.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resource: Option<Sealed>,
        /// Why it exists, as a label.
        existence: Label,
        /// Which try of the step.
        attempt: u32,
        /// The first proposal of the same effect: tries share its key.
        origin: Seq,
        /// Why it belongs to the run.
        because: Role,
        /// The configured provider whose model asked for it; absent where no model did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proposer: Option<Arc<str>>,
    },
    /// An action ended without reaching a connector.
    Rejected {
        /// Which.
        action: Seq,
        /// At which check.
        stage: Stage,
        /// The failure class planners see.
        class: Class,
        /// A stable code, such as the rule's id.
        code: String,
    },
    /// Policy spoke.
    Judged {
        /// On which action.
        action: Seq,
        /// Digest of exactly what was judged.
        digest: Digest,
        /// The verdict and its rules.
        decision: Decision,
    },
    /// Registered rewrites were applied, because policy wants them.
    Rewritten {
        /// To which action.
        action: Seq,
        /// Which, such as `mask:/email`.
        transforms: BTreeSet<String>,
    },
    /// A companion call brought an image.
    Captured {
        /// For which action.
        action: Seq,
        /// What for.
        purpose: Purpose,
        /// The image.
        image: Sealed,
    },
    /// A person is asked.
    Asked {
        /// About which action.
        action: Seq,
        /// The ask's id.
        approval: ApprovalId,
        /// Digest of exactly what is asked.
        digest: Digest,
        /// What is needed.
        requirement: Requirement,
        /// Until when.
        expires_at: At,
    },
    /// *Input.* A person answered.
    Answered {
        /// Which ask.
        approval: ApprovalId,
        /// About which action.
        action: Seq,
        /// Digest that was answered.
        digest: Digest,
        /// Digest of the card shown.
        shown: Digest,
        /// Who.
        by: Principal,
        /// The person it acts for answered.
        self_approved: bool,
        /// What.
        answer: Answered,
    },
    /// Approvals given so far no longer hold: what was shown has changed.
    Voided {
        /// On which action.
        action: Seq,
        /// Its ask.
        approval: ApprovalId,
    },
    /// A way back exists from here on.
    Armed {
        /// For which action.
        action: Seq,
        /// The token.
        token: TokenId,
        /// Its class.
        undo: Undo,
        /// Until when.
        expires_at: At,
    },
    /// The call may be made from here on: durable before the effect.
    Dispatched {
        /// Which action.
        action: Seq,
        /// What the target deduplicates on.
        key: EffectKey,
        /// Which call of this action.
        attempt: u32,
        /// No byte leaves after this.
        dispatch_by: At,
        /// Result fields that are masked.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        masks: BTreeSet<String>,
    },
    /// *Input.* The call ended.
    Returned {
        /// Which action.
        action: Seq,
        /// Which call.
        attempt: u32,
        /// How.
        ended: Ended,
    },
    /// Nobody knows whether it happened.
    Doubted {
        /// Which action.
        action: Seq,
    },
    /// The target is asked again later whether it happened.
    Deferred {
        /// Which action.
        action: Seq,
        /// When.
        until: At,
    },
    /// The action is accounted for.
    Receipted {
        /// Which action.
        action: Seq,
        /// The receipt.
        receipt: ReceiptId,
        /// Digest of the statement signed.
        statement: Digest,
        /// Whether the effect is there.
        landed: Landed,
        /// The class when it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        class: Option<Class>,
    },
    /// A typed question to a person.
    Questioned {
        /// The step that asks.
        step: String,
        /// The question's id.
        question: ApprovalId,
        /// Its text.
        text: Sealed,
        /// Role that may answer.
        role: String,
        /// JSON Schema of the answer; from the pack, not from outside.
        answer: Value,
        /// Until when.
        expires_at: At,
    },
    /// *Input.* A server asks a person in the middle of a call: a typed question whose schema is from outside. `null`
    /// answers it, too: the person declines.
    Elicited {
        /// The action whose call it is.
        action: Seq,
        /// Which call of this action.
        attempt: u32,
        /// Which question of this call.
        nth: u32,
        /// The question's id.
        question: ApprovalId,
        /// Its text.
        text: Sealed,
        /// JSON Schema of the answer.
        answer: Sealed,
        /// Role that may answer.
        role: String,
        /// Until when.
        expires_at: At,
    },
    /// *Input.* What a server and the client that a call is made for say to each other in the middle of it.
    Relayed {
        /// The action whose call it is.
        action: Seq,
        /// Which call of this action.
        attempt: u32,
        /// Which question of this call.
        nth: u32,
        /// Who says it.
        from: Side,
        /// What, in the words of their protocol; `null` where the client does not answer.
        said: Sealed,
    },
    /// *Input.* The typed answer.
    Replied {
        /// To which question.
        question: ApprovalId,
        /// Who.
        by: Principal,
        /// The answer.
        value: Sealed,
    },
    /// Nobody answered in time, or nobody wants to know any more.
    Lapsed {
        /// Which question.
        question: ApprovalId,
    },
    /// A branch is parked.
    Waiting {
        /// The step.
        step: String,
        /// For what.
        wait: Wait,
        /// Until when at most.
        until: At,
    },
    /// A parked branch goes on because its time came.
    Woken {
        /// The step.
        step: String,
    },
    /// *Input.* A signal arrived.
    Signalled {
        /// Its name.
        name: String,
        /// Its body.
        body: Sealed,
    },
    /// A step ended without an action of its own.
    Marked {
        /// The step.
        step: String,
        /// How.
        mark: Mark,
    },
    /// Someone is needed.
    Raised {
        /// For what.
        exception: Exception,
        /// Difference, message or other outside text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<Sealed>,
    },
    /// *Input.* Someone decided.
    Settled {
        /// Which exception.
        exception: ExceptionId,
        /// Who.
        by: Principal,
        /// What.
        settled: Settled,
        /// How they know.
        evidence: Sealed,
    },
    /// A failure ends the run; what it did is taken back once nothing is in flight.
    Abandoned {
        /// The step that failed.
        step: String,
        /// The failure.
        class: Class,
    },
    /// *Input.* The machine met an illegal transition: a defect, kept visible.
    Faulted {
        /// What happened.
        message: Sealed,
    },
    /// *Input.* Stop.
    Cancelled {
        /// Who.
        by: Principal,
        /// Why.
        reason: Sealed,
    },
    /// *Input.* Hold.
    Paused {
        /// Who.
        by: Principal,
    },
    /// *Input.* Something for whoever plans.
    Steered {
        /// Who.
        by: Principal,
        /// What.
        text: Sealed,
    },
    /// *Input.* Go on.
    Resumed {
        /// Who.
        by: Principal,
    },
    /// *Input.* A halt covers what the run would call: nothing is dispatched while it stands.
    Halted {
        /// Which.
        halt: HaltId,
    },
    /// *Input.* It does not stand any more.
    Unhalted {
        /// Which.
        halt: HaltId,
    },
    /// *Input.* Take back.
    RollbackRequested {
        /// Who.
        by: Principal,
        /// What.
        scope: Scope,
        /// When the world moved.
        on_conflict: OnConflict,
    },
    /// Taking back begins.
    Unwinding {
        /// Why.
        because: Because,
        /// The tokens in the order they are redeemed.
        tokens: Vec<TokenId>,
        /// Effects in scope that have no way back.
        irreversible: Vec<Seq>,
        /// Actions in doubt: what they may have changed is left until somebody settles them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        doubts: Vec<Seq>,
    },
    /// One effect was dealt with: compare-and-set on the token.
    Redeemed {
        /// The token.
        token: TokenId,
        /// How it ended.
        undone: Undone,
    },
    /// Taking back ended.
    Unwound {
        /// How.
        unwound: Unwound,
    },
    /// The run ended.
    Finished {
        /// How.
        end: End,
        /// The result.
        output: Sealed,
        /// What its reader must know.
        caveats: Vec<Caveat>,
    },
    /// The run's receipts are complete up to here.
    Closed {
        /// The signed close record.
        receipt: ReceiptId,
        /// Digest of its statement.
        statement: Digest,
    },
}

/// The sealed values of a body, shared or mutable as the body is: one list for both.
macro_rules! sealed_of {
    ($body:expr) => {
        match $body {
            Body::Opened { intent, .. } => vec![intent],
            Body::Proposed { args, resource, .. } => {
                std::iter::once(args).chain(resource).collect()
            }
            Body::Captured { image, .. } => vec![image],
            Body::Answered { answer, .. } => match answer {
                Answered::Approved => vec![],
                Answered::Denied { reason } => vec![reason],
                Answered::Edited { args } => vec![args],
            },
            Body::Returned { ended, .. } => match ended {
                Ended::Done { output, external_ref, .. } => {
                    std::iter::once(output).chain(external_ref).collect()
                }
                Ended::Failed { message, sample, .. } => {
                    std::iter::once(message).chain(sample).collect()
                }
            },
            Body::Questioned { text, .. } => vec![text],
            Body::Elicited { text, answer, .. } => vec![text, answer],
            Body::Relayed { said, .. } => vec![said],
            Body::Replied { value, .. } => vec![value],
            Body::Signalled { body, .. } => vec![body],
            Body::Raised { detail, .. } => detail.into_iter().collect(),
            Body::Settled { settled, evidence, .. } => match settled {
                Settled::Use { value } => vec![value, evidence],
                Settled::Happened
                | Settled::DidNotHappen
                | Settled::Retry
                | Settled::Skip
                | Settled::Rollback
                | Settled::Stop
                | Settled::Close => vec![evidence],
            },
            Body::Cancelled { reason, .. } => vec![reason],
            Body::Steered { text, .. } => vec![text],
            Body::Faulted { message } => vec![message],
            Body::Redeemed { undone, .. } => match undone {
                Undone::Conflict { difference } => vec![difference],
                Undone::Restored
                | Undone::Compensated
                | Undone::Failed { .. }
                | Undone::Irreversible
                | Undone::InDoubt
                | Undone::Expired => vec![],
            },
            Body::Finished { output, .. } => vec![output],
            Body::Ticked
            | Body::Held
            | Body::Claimed { .. }
            | Body::PolicyChanged { .. }
            | Body::Rejected { .. }
            | Body::Judged { .. }
            | Body::Rewritten { .. }
            | Body::Deferred { .. }
            | Body::Abandoned { .. }
            | Body::Asked { .. }
            | Body::Voided { .. }
            | Body::Armed { .. }
            | Body::Dispatched { .. }
            | Body::Doubted { .. }
            | Body::Receipted { .. }
            | Body::Lapsed { .. }
            | Body::Waiting { .. }
            | Body::Woken { .. }
            | Body::Marked { .. }
            | Body::Paused { .. }
            | Body::Resumed { .. }
            | Body::Halted { .. }
            | Body::Unhalted { .. }
            | Body::RollbackRequested { .. }
            | Body::Unwinding { .. }
            | Body::Unwound { .. }
            | Body::Closed { .. } => vec![],
        }
    };
}

impl Body {
    /// The kind as written in the journal.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "opened",
            Self::Ticked => "ticked",
            Self::Claimed { .. } => "claimed",
            Self::Held => "held",
            Self::PolicyChanged { .. } => "policy_changed",
            Self::Proposed { .. } => "proposed",
            Self::Rejected { .. } => "rejected",
            Self::Judged { .. } => "judged",
            Self::Rewritten { .. } => "rewritten",
            Self::Captured { .. } => "captured",
            Self::Asked { .. } => "asked",
            Self::Answered { .. } => "answered",
            Self::Voided { .. } => "voided",
            Self::Armed { .. } => "armed",
            Self::Dispatched { .. } => "dispatched",
            Self::Returned { .. } => "returned",
            Self::Doubted { .. } => "doubted",
            Self::Deferred { .. } => "deferred",
            Self::Receipted { .. } => "receipted",
            Self::Questioned { .. } => "questioned",
            Self::Elicited { .. } => "elicited",
            Self::Relayed { .. } => "relayed",
            Self::Replied { .. } => "replied",
            Self::Lapsed { .. } => "lapsed",
            Self::Waiting { .. } => "waiting",
            Self::Woken { .. } => "woken",
            Self::Signalled { .. } => "signalled",
            Self::Marked { .. } => "marked",
            Self::Raised { .. } => "raised",
            Self::Settled { .. } => "settled",
            Self::Abandoned { .. } => "abandoned",
            Self::Faulted { .. } => "faulted",
            Self::Cancelled { .. } => "cancelled",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::Steered { .. } => "steered",
            Self::Halted { .. } => "halted",
            Self::Unhalted { .. } => "unhalted",
            Self::RollbackRequested { .. } => "rollback_requested",
            Self::Unwinding { .. } => "unwinding",
            Self::Redeemed { .. } => "redeemed",
            Self::Unwound { .. } => "unwound",
            Self::Finished { .. } => "finished",
            Self::Closed { .. } => "closed",
        }
    }

    /// Whether it entered from outside; the others are derived from these on replay.
    #[must_use]
    pub fn is_input(&self) -> bool {
        matches!(
            self,
            Self::Opened { .. }
                | Self::Ticked
                | Self::Held
                | Self::Claimed { .. }
                | Self::PolicyChanged { .. }
                | Self::Answered { .. }
                | Self::Returned { .. }
                | Self::Elicited { .. }
                | Self::Relayed { .. }
                | Self::Replied { .. }
                | Self::Signalled { .. }
                | Self::Settled { .. }
                | Self::Faulted { .. }
                | Self::Cancelled { .. }
                | Self::Paused { .. }
                | Self::Resumed { .. }
                | Self::Steered { .. }
                | Self::Halted { .. }
                | Self::Unhalted { .. }
                | Self::RollbackRequested { .. }
        )
    }

    /// Every sealed value in it, in a fixed order.
    pub fn sealed_mut(&mut self) -> Vec<&mut Sealed> {
        sealed_of!(self)
    }

    /// As [`Body::sealed_mut`], to read.
    #[must_use]
    pub fn sealed(&self) -> Vec<&Sealed> {
        sealed_of!(self)
    }
}
