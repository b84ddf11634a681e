//! Everything that can happen to a run. Time, salts and outcomes enter here and nowhere else.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    event::Side,
    id::{ApprovalId, At, Digest, Epoch, ExceptionId, HaltId, Seq, TokenId},
    port::Outcome,
    principal::Principal,
};

/// The clocks at the moment an input is handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Wall clock. The run uses max(previous, this).
    pub at: At,
    /// Milliseconds since boot, suspended time included: what `dispatch_by` is measured on.
    pub boot_ms: u64,
}

/// What a person answers to an ask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict", deny_unknown_fields)]
pub enum Answer {
    /// Yes, to exactly this.
    Approve,
    /// No.
    Deny {
        /// Why; shown to the planner as refused, to people in full.
        reason: String,
    },
    /// Not this, but with these arguments: a new proposal that walks the whole gate again.
    Edit {
        /// The arguments to use instead.
        args: Arc<Value>,
    },
}

/// What a person decides about an exception.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verb", deny_unknown_fields)]
pub enum Settlement {
    /// The effect in doubt happened.
    Happened,
    /// The effect in doubt did not happen.
    DidNotHappen,
    /// Try the step again.
    Retry,
    /// Go on with this value as the step's output.
    Use {
        /// The value.
        value: Arc<Value>,
    },
    /// Go on without the step: its output is null, and the result says so.
    Skip,
    /// End the run and take back what was done.
    Stop,
    /// End the run if it is not over, and take everything back. A doubt stays open.
    Rollback,
    /// Seen, nothing more to do.
    Close,
}

/// What a server asks a person in the middle of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elicitation {
    /// The action whose call it is.
    pub action: Seq,
    /// Which call of this action.
    pub attempt: u32,
    /// Which question of this call, as whoever makes the call counts them: handed in again it is the same.
    pub nth: u32,
    /// Its text; from outside.
    pub text: String,
    /// JSON Schema of the answer; from outside. `null` always fits: the person declines.
    pub answer: Arc<Value>,
    /// Role that may answer.
    pub role: String,
    /// How long an answer is waited for.
    pub expires_ms: i64,
}

/// Something that a server and the client that a call is made for say to each other in the middle of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// The action whose call it is.
    pub action: Seq,
    /// Which call of this action.
    pub attempt: u32,
    /// Which question of this call, as whoever makes the call counts them: handed in again it is the same.
    pub nth: u32,
    /// Who says it: the server asks, the client answers.
    pub from: Side,
    /// What, in the words of their protocol; `null` where the client does not answer.
    pub said: Arc<Value>,
}

/// What to roll back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "scope", deny_unknown_fields)]
pub enum Scope {
    /// Everything the run did, newest first.
    Run,
    /// One effect.
    Token {
        /// Its token.
        token: TokenId,
    },
}

/// What to do when the world has moved since an effect.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// Refuse, with the three-way difference.
    #[default]
    Refuse,
    /// Overwrite whatever is there.
    Accept,
    /// A person has seen what is there now and accepts overwriting exactly that.
    Seen {
        /// As [`crate::rollback::Token::seen`] says them.
        images: BTreeSet<Digest>,
    },
}

/// One input to a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "input", deny_unknown_fields)]
pub enum Input {
    /// Time has passed: timers and expiries are due.
    Tick,
    /// A new owner has taken the run; calls of earlier owners have no caller any more.
    Claimed {
        /// The new epoch.
        epoch: Epoch,
    },
    /// A call ended.
    Outcome {
        /// The action it belongs to.
        action: Seq,
        /// Which try.
        attempt: u32,
        /// How it ended.
        outcome: Outcome,
    },
    /// A person answered an ask.
    Answer {
        /// Which ask.
        approval: ApprovalId,
        /// Digest of the action the person saw.
        action: Digest,
        /// Digest of the card that was shown.
        shown: Digest,
        /// Who.
        by: Principal,
        /// What.
        answer: Answer,
    },
    /// A server asks a person in the middle of a call.
    Elicited {
        /// What.
        asked: Box<Elicitation>,
    },
    /// A server and the client of a call say something to each other in the middle of it.
    Relayed {
        /// What.
        relay: Box<Relay>,
    },
    /// A person answered a typed question.
    Reply {
        /// Which question.
        question: ApprovalId,
        /// Who.
        by: Principal,
        /// The answer.
        value: Arc<Value>,
    },
    /// A named signal arrived.
    Signal {
        /// Its name.
        name: String,
        /// Its body.
        body: Arc<Value>,
    },
    /// A person decided about an exception.
    Settle {
        /// Which.
        exception: ExceptionId,
        /// Who.
        by: Principal,
        /// What.
        settlement: Settlement,
        /// How they know.
        evidence: String,
    },
    /// Operator or tenant policy is another now than when the run began.
    PolicyChanged {
        /// Digest of the one in force.
        digest: Digest,
    },
    /// The machine met an illegal transition; the run is held for a person.
    Fault {
        /// What happened.
        message: String,
    },
    /// The owner is about to leave: nothing new is dispatched until somebody claims the run.
    Hold,
    /// Stop: nothing new is dispatched; what is done stays done.
    Cancel {
        /// Who.
        by: Principal,
        /// Why.
        reason: String,
    },
    /// Hold: nothing new is dispatched until resumed.
    Pause {
        /// Who.
        by: Principal,
    },
    /// Something for whoever plans; it lands at the next boundary.
    Steer {
        /// Who.
        by: Principal,
        /// What.
        text: String,
    },
    /// Go on after a pause.
    Resume {
        /// Who.
        by: Principal,
    },
    /// A halt covers what the run would call.
    Halt {
        /// Which.
        halt: HaltId,
    },
    /// It does not stand any more.
    Unhalt {
        /// Which.
        halt: HaltId,
    },
    /// Take effects back.
    Rollback {
        /// Who.
        by: Principal,
        /// What.
        scope: Scope,
        /// What to do when the world has moved.
        #[serde(default)]
        on_conflict: OnConflict,
    },
}
