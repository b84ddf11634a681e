//! The journal's events: the one promise of the core to the future. Additive only.
//!
//! Bodies hold no outside value, only [`Sealed`] commitments; the openings travel beside them.
//! Adding a field: optional with a default. Adding an event: a variant here, a golden file, an ADR.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    approval::ApproverRule,
    budget::Budget,
    canon,
    decision::{Autonomy, Decision, Mode, Requirement},
    exception::{Class, Exception, Landed},
    id::{
        ApprovalId, At, Digest, EffectKey, Epoch, ExceptionId, HaltId, OperationId, PrincipalId,
        ReceiptId, RunId, Seq, TokenId,
    },
    input::{OnConflict, Scope},
    label::Label,
    money::Money,
    novelty::Unusual,
    operation::Undo,
    planning::{Caveat, Mark, Wait},
    principal::{Chain, Grant, Principal},
    sealed::{Mismatch, Opening, Sealed},
};

/// Version of the event format written by this build.
pub const VERSION: u32 = 1;

/// Version of the run machine's behaviour that new runs get; a build folds every version up to it.
///
/// 2: exceptions are deduplicated and decided by their owners, a rollback goes on with other records
/// when one of them is stuck.
/// 3: nobody may say that an effect in doubt did not happen while its call may still be on its way, and
/// tries of one effect share its way back.
pub const MACHINE: u32 = 3;

/// The world header: everything that can change behaviour, pinned for the run's whole life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Behaviour version of the run machine.
    pub machine: u32,
    /// agent → on behalf of → tenant.
    pub chain: Chain,
    /// The intent's name.
    pub intent: String,
    /// Pack name and version, such as `customer-ops@1.0.0`.
    pub pack: String,
    /// Pack digest.
    pub pack_digest: Digest,
    /// Plan hash.
    pub plan: Digest,
    /// Policy bundle digest.
    pub policy: Digest,
    /// Configuration digest.
    pub config: Digest,
    /// Operations the run may use.
    pub grant: Grant,
    /// Limits.
    pub budget: Budget,
    /// Who may answer asks.
    pub approvers: ApproverRule,
    /// How much it may do by itself.
    pub autonomy: Autonomy,
    /// What it is done for.
    pub mode: Mode,
    /// Role or principal that owns its exceptions.
    pub owner: String,
    /// What about its inputs no earlier run had; see [`crate::novelty`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unusual: Vec<Unusual>,
    /// Who handed it in, where that is another than whom it is done for: an agent with a credential of its
    /// own. The chain's agent is whoever plans, and may be the same for many that hand in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted_by: Option<PrincipalId>,
}

/// Why an action belongs to the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "role")]
pub enum Role {
    /// A planner wants it.
    Step,
    /// It serves another action.
    Companion {
        /// Which.
        of: Seq,
        /// How.
        purpose: Purpose,
    },
    /// It takes an effect back.
    Undo {
        /// By this token.
        token: TokenId,
        /// Who asked for it.
        by: Principal,
    },
}

/// What a companion call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// What is there before.
    Before,
    /// What it would change.
    Preview,
    /// Whether what was shown still holds, right before the call.
    Refresh,
    /// What is there after.
    After,
    /// Whether it happened.
    Probe,
    /// Whether the world has moved since.
    Compare,
}

/// The check an action did not pass before any judge was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// There is no such operation.
    Unknown,
    /// The plan holds no such step.
    Unplanned,
    /// The run's grant does not hold it.
    Grant,
    /// The arguments do not fit the schema.
    Schema,
    /// A recovery forbade it for the rest of the run.
    Forbidden,
    /// The data may not go to that target.
    Clearance,
    /// A limit is used up.
    Budget,
    /// Policy denied it.
    Policy,
    /// A person refused it.
    Refused,
    /// Nobody answered in time.
    Expired,
    /// A person replaced it by another.
    Edited,
    /// The run was stopped first.
    Stopped,
}

/// How a call ended, as journaled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Ended {
    /// It worked.
    Done {
        /// The result.
        output: Sealed,
        /// The target's own id for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        external_ref: Option<Sealed>,
        /// What it cost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost: Option<Money>,
    },
    /// It failed.
    Failed {
        /// The class.
        class: Class,
        /// Whether the effect may have happened.
        landed: Landed,
        /// What was said.
        message: Sealed,
        /// Asked to wait, in ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<i64>,
        /// The answer that broke its contract, and what was found in it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sample: Option<Sealed>,
    },
}

/// What an approver answered, as journaled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Answered {
    /// Yes.
    Approved,
    /// No.
    Denied {
        /// Why.
        reason: Sealed,
    },
    /// Replaced.
    Edited {
        /// By these arguments.
        args: Sealed,
    },
}

/// What a person settled, as journaled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verb")]
pub enum Settled {
    /// It happened.
    Happened,
    /// It did not.
    DidNotHappen,
    /// Again.
    Retry,
    /// With this value.
    Use {
        /// The value.
        value: Sealed,
    },
    /// Go on without.
    Skip,
    /// End.
    Stop,
    /// End and take back.
    Rollback,
    /// Seen.
    Close,
}

/// How taking one effect back ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum Undone {
    /// The before-image is back, and was read again.
    Restored,
    /// The inverse was made; a trace remains.
    Compensated,
    /// The world moved since; nothing was touched.
    Conflict {
        /// `{before, after, now}`.
        difference: Sealed,
    },
    /// The undo was denied, refused or failed.
    Failed {
        /// The class.
        class: Class,
        /// Whether the undo itself may have happened; only a certain no leaves the token usable.
        landed: Landed,
    },
    /// There is no way back.
    Irreversible,
    /// Whether the effect happened is not known; settle it first.
    InDoubt,
    /// The token is past its expiry.
    Expired,
}

impl Undone {
    /// Whether the token is used up by this. What touched nothing may be tried again.
    #[must_use]
    pub fn spends(&self) -> bool {
        match self {
            Self::Restored | Self::Compensated | Self::Irreversible | Self::Expired => true,
            Self::Failed { landed, .. } => *landed != Landed::No,
            Self::Conflict { .. } | Self::InDoubt => false,
        }
    }

    /// Whether the effect is gone.
    #[must_use]
    pub fn is_back(&self) -> bool {
        matches!(self, Self::Restored | Self::Compensated)
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// All of it.
    Succeeded,
    /// With caveats.
    Partial,
    /// A failure ended it.
    Failed,
    /// A person ended it.
    Cancelled,
}

/// How a rollback ended. Partial is never called success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unwound {
    /// Everything in scope is back.
    Complete,
    /// Some is, some is not.
    Partial,
    /// Nothing was taken back.
    Refused,
}

/// Why effects are taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "because")]
pub enum Because {
    /// A step failed and its recovery is to stop.
    Failure {
        /// The step.
        step: String,
        /// The class.
        class: Class,
    },
    /// A person asked.
    Asked,
}

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
    /// *Input.* The typed answer.
    Replied {
        /// To which question.
        question: ApprovalId,
        /// Who.
        by: Principal,
        /// The answer.
        value: Sealed,
    },
    /// Nobody answered in time.
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

/// An event as hashed and stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Format version.
    pub v: u32,
    /// The run.
    pub run: RunId,
    /// Position.
    pub seq: Seq,
    /// When, in ms; never before the previous one.
    pub at: At,
    /// What.
    pub body: Body,
    /// Hash of the previous event; of nothing for the first.
    pub prev_hash: Digest,
}

impl Event {
    /// The event's hash: SHA-256 over its canonical JSON.
    ///
    /// # Errors
    /// When a body has no canonical form.
    pub fn hash(&self) -> Result<Digest, canon::Error> {
        canon::digest(self)
    }
}

/// An event with its hash; sealed values inside may be open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The event.
    pub event: Event,
    /// Its hash.
    pub hash: Digest,
    /// The canonical bytes that were hashed, exactly as stored.
    pub bytes: Vec<u8>,
}

/// Why stored bytes are not the record they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Not an event of a version this build knows.
    #[error("event {seq}: cannot be read: {problem}")]
    Unreadable {
        /// Where.
        seq: Seq,
        /// Why.
        problem: String,
    },
    /// Hash, order or chain is broken.
    #[error("event {seq}: {problem}")]
    Broken {
        /// Where.
        seq: Seq,
        /// Why.
        problem: &'static str,
    },
}

impl Record {
    /// Hashes an event and makes it a record.
    ///
    /// # Errors
    /// When it has no canonical form.
    pub fn new(event: Event) -> Result<Self, canon::Error> {
        let bytes = canon::bytes(&event)?;
        Ok(Self { event, hash: Digest::of(&bytes), bytes })
    }

    /// Reads stored bytes and puts the openings back, checking each against its commitment.
    /// `None` stands for an erased opening.
    ///
    /// # Errors
    /// See [`Damage`].
    pub fn read(seq: Seq, bytes: Vec<u8>, openings: Vec<Option<Opening>>) -> Result<Self, Damage> {
        let mut event: Event = serde_json::from_slice(&bytes)
            .map_err(|e| Damage::Unreadable { seq, problem: e.to_string() })?;
        if event.seq != seq {
            return Err(Damage::Broken { seq, problem: "it carries another sequence number" });
        }
        let mut sealed = event.body.sealed_mut();
        if !openings.is_empty() && sealed.len() != openings.len() {
            return Err(Damage::Broken { seq, problem: "its values do not match its body" });
        }
        for (sealed, opening) in sealed.iter_mut().zip(openings) {
            if let Some(opening) = opening {
                sealed.reopen(opening).map_err(|Mismatch| Damage::Broken {
                    seq,
                    problem: "a value does not open its commitment",
                })?;
            }
        }
        let hash = Digest::of(&bytes);
        Ok(Self { event, hash, bytes })
    }

    /// The openings in the order of [`Body::sealed_mut`]; `None` for an erased one.
    #[must_use]
    pub fn openings(&self) -> Vec<Option<Opening>> {
        self.event.body.sealed().into_iter().map(|sealed| sealed.opening().cloned()).collect()
    }
}

/// Checks hashes, order and chain of a whole journal.
///
/// # Errors
/// The first break.
pub fn check_chain(records: &[Record]) -> Result<(), Damage> {
    let mut previous: Option<&Record> = None;
    for (index, record) in records.iter().enumerate() {
        let seq = index as Seq;
        let broken = |problem| Damage::Broken { seq, problem };
        if record.event.seq != seq {
            return Err(broken("the sequence has a gap"));
        }
        if Digest::of(&record.bytes) != record.hash {
            return Err(broken("its hash does not match its bytes"));
        }
        let expected = previous.map_or_else(Digest::default, |p| p.hash);
        if record.event.prev_hash != expected {
            return Err(broken("it does not follow the event before it"));
        }
        if previous.is_some_and(|p| p.event.run != record.event.run) {
            return Err(broken("it belongs to another run"));
        }
        previous = Some(record);
    }
    Ok(())
}
