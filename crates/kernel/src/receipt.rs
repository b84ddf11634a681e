//! What a receipt says: an in-toto Statement with our predicate. Signing is a port.
//!
//! A statement holds commitments, digests, ids and labels; never a value from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    approval::Approval,
    canon,
    decision::Decision,
    event::{Purpose, Role},
    exception::{Class, Landed},
    id::{At, Digest, EffectKey, OperationId, ReceiptId, RunId, Seq, TokenId},
    money::Money,
    operation::{Facts, Undo},
    principal::Chain,
    sealed::Commitment,
};

/// `_type` of every statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// Predicate type of an action's receipt.
pub const RECEIPT_TYPE: &str = "urn:harness:receipt:v1";
/// Predicate type of a run's close record.
pub const CLOSE_TYPE: &str = "urn:harness:close:v1";
/// DSSE payload type of both.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// An in-toto Statement v1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement<P> {
    /// Always [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub kind: String,
    /// What it is about.
    pub subject: Vec<Subject>,
    /// [`RECEIPT_TYPE`] or [`CLOSE_TYPE`].
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// What it says.
    pub predicate: P,
}

/// A named digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Receipt id or run id.
    pub name: String,
    /// Algorithm → hex.
    pub digest: BTreeMap<String, String>,
}

/// Who saw the effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Witness {
    /// The harness made the call.
    #[default]
    Executed,
    /// Another agent made it and told us: self-reported.
    Observed,
}

impl Witness {
    /// Whether the harness made the call.
    #[must_use]
    pub fn is_executed(&self) -> bool {
        *self == Self::Executed
    }
}

/// What was done, by whom, under which rules, and how to take it back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predicate {
    /// Format version.
    pub v: u32,
    /// Who saw it.
    pub witness: Witness,
    /// Receipt id.
    pub receipt: ReceiptId,
    /// Position among the run's receipts, from 0.
    pub index: u64,
    /// Digest of the run's previous statement; of nothing for the first.
    pub prev: Digest,
    /// The run.
    pub run: RunId,
    /// agent → on behalf of → tenant.
    pub chain: Chain,
    /// The intent.
    pub intent: String,
    /// Pack name and version.
    pub pack: String,
    /// Pack digest.
    pub pack_digest: Digest,
    /// Plan hash.
    pub plan: Digest,
    /// Configuration digest.
    pub config: Digest,
    /// The step.
    pub step: String,
    /// The proposal's place in the journal.
    pub action: Seq,
    /// Digest that approvals bind to.
    pub action_digest: Digest,
    /// Why the action belongs to the run.
    pub because: Because,
    /// The operation.
    pub operation: OperationId,
    /// Digest of its definition.
    pub definition: Digest,
    /// Its effect facts.
    pub facts: Facts,
    /// Commitment to the arguments.
    pub args: Commitment,
    /// Commitment to the result or to the failure's message.
    pub result: Option<Commitment>,
    /// Data classes touched.
    pub classes: BTreeSet<String>,
    /// Verdict and rules of the deciding evaluation.
    pub decision: Decision,
    /// Who approved, when, and what they were shown.
    pub approvals: Vec<Approval>,
    /// Rewrites applied, such as masks.
    pub transforms: BTreeSet<String>,
    /// The effect key.
    pub key: EffectKey,
    /// Calls made.
    pub attempts: u32,
    /// Whether the effect is there.
    pub landed: Landed,
    /// The class when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// Commitment to the image before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Commitment>,
    /// Commitment to the image after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Commitment>,
    /// Commitment to the target's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<Commitment>,
    /// What it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Money>,
    /// When it was dispatched.
    pub started_at: At,
    /// When it was known how it ended.
    pub ended_at: At,
    /// The undo class armed.
    pub undo: Undo,
    /// The token that takes it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenId>,
    /// The configured provider whose model asked for it; absent where no model did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposer: Option<Arc<str>>,
}

/// Why a receipted action belongs to its run, without names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "role")]
pub enum Because {
    /// A planner wanted it.
    Step,
    /// It served another action.
    Companion {
        /// Which.
        of: Seq,
        /// How.
        purpose: Purpose,
    },
    /// It took an effect back.
    Undo {
        /// By this token.
        token: TokenId,
        /// Whether the before-image was read again and is back.
        restored: Option<bool>,
    },
}

impl Because {
    /// From the journal's role.
    #[must_use]
    pub fn of(role: &Role, restored: Option<bool>) -> Self {
        match role {
            Role::Step => Self::Step,
            Role::Companion { of, purpose } => Self::Companion { of: *of, purpose: *purpose },
            Role::Undo { token, .. } => Self::Undo { token: token.clone(), restored },
        }
    }
}

/// The signed end of a run's receipts: a cut tail shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Close {
    /// Format version.
    pub v: u32,
    /// Its receipt id.
    pub receipt: ReceiptId,
    /// The run.
    pub run: RunId,
    /// Position among the run's receipts.
    pub index: u64,
    /// Digest of the last statement before it.
    pub prev: Digest,
    /// Events in the journal before it.
    pub events: u64,
    /// Hash of the last of them.
    pub journal_head: Digest,
    /// How the run ended, in a word.
    pub status: String,
    /// When.
    pub at: At,
}

/// A statement ready to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Receipt id.
    pub id: ReceiptId,
    /// The action; `None` for a close record.
    pub action: Option<Seq>,
    /// Canonical statement: exactly what is signed.
    pub payload: Vec<u8>,
}

impl<P: Serialize> Statement<P> {
    /// Builds a statement about one digest.
    #[must_use]
    pub fn new(name: String, digest: Digest, predicate_type: &str, predicate: P) -> Self {
        let digest = BTreeMap::from([("sha256".to_owned(), digest.hex())]);
        Self {
            kind: STATEMENT_TYPE.to_owned(),
            subject: vec![Subject { name, digest }],
            predicate_type: predicate_type.to_owned(),
            predicate,
        }
    }

    /// The canonical bytes that are signed.
    ///
    /// # Errors
    /// When it has no canonical form.
    pub fn payload(&self) -> Result<Vec<u8>, canon::Error> {
        canon::bytes(self)
    }
}
