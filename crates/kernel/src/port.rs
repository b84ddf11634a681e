//! The ports: object-safe traits of at most four methods, implemented on the floors above.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    decision::{Decision, Question},
    event::Record,
    exception::{Class, Landed},
    gate::Permit,
    halt::{Reach, Standing},
    id::{At, Digest, Epoch, HaltId, PrincipalId, RunId, Seq, Tenant},
    input::Input,
    label::LabelMap,
    money::Money,
    project::Change,
    receipt::Draft,
    sealed::Salt,
};

/// A future that may cross threads.
pub type Task<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Decides questions. Pure, total: what cannot be decided is denied.
pub trait Judge: Send + Sync + fmt::Debug {
    /// Judges one question by all layers; the strictest verdict stands.
    fn judge(&self, question: &Question<'_>) -> Decision;
}

/// Checks values against JSON Schemas. Pure.
pub trait Validate: Send + Sync + fmt::Debug {
    /// The first violation: a JSON pointer and what is wrong there; `None` when the value fits.
    fn violation(&self, schema: &Arc<Value>, value: &Value) -> Option<Violation>;
}

/// Where and why a value does not fit its schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Violation {
    /// JSON pointer into the value.
    pub at: String,
    /// What is wrong, without the value itself.
    pub problem: String,
    /// Whether a promised field is absent, an unknown one present, or the shape differs.
    pub class: Class,
}

/// Random bytes, from the operating system or from the journal.
pub trait Salts: Send {
    /// The next salt.
    fn salt(&mut self) -> Salt;
}

/// Signs bytes. Holds the key; never shows it.
pub trait Sign: Send + Sync + fmt::Debug {
    /// Ed25519 over exactly these bytes.
    fn sign(&self, bytes: &[u8]) -> [u8; 64];

    /// The key's id: the hex of the SHA-256 of the public key.
    fn key_id(&self) -> String;
}

/// What came back from a call that worked, after ingest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Returned {
    /// The result: capped, decoded, redacted, masked.
    pub output: Arc<Value>,
    /// Labels of its parts, before the arguments' labels join.
    pub labels: LabelMap,
    /// The target's own id for what happened.
    pub external_ref: Option<String>,
    /// What the call really cost.
    pub cost: Option<Money>,
    /// Digest of the bytes as received.
    pub received: Digest,
}

/// What a call that failed left behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The class.
    pub class: Class,
    /// Whether the effect may have happened.
    pub landed: Landed,
    /// What the target said or what we saw: outside text, sealed before it is journaled.
    pub message: String,
    /// How long the target asked us to wait, in milliseconds.
    pub retry_after_ms: Option<i64>,
    /// The offending answer, capped, redacted and masked, and what was found in it; a value from
    /// outside. Absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Arc<Value>>,
}

/// How a call ended.
pub type Outcome = Result<Returned, Failure>;

/// One kind of outside system. Reads nothing but the permit.
pub trait Connector: Send + Sync + fmt::Debug {
    /// Makes the permitted call. Never longer than the permit's timeout; nothing leaves after its
    /// `dispatch_by`.
    fn call(&self, permit: Permit) -> Task<'_, Outcome>;
}

/// Everything one append makes durable, in one transaction.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Whose run.
    pub tenant: Tenant,
    /// Which run.
    pub run: RunId,
    /// The sequence number the first record must get.
    pub expected_seq: Seq,
    /// The writer's epoch; the store refuses one that is lower than the run's.
    pub epoch: Epoch,
    /// The events, with their openings.
    pub records: Vec<Record>,
    /// Receipts to sign and to append to the log.
    pub receipts: Vec<SignedReceipt>,
    /// Changes to the projections, derived from the events.
    pub changes: Vec<Change>,
    /// Inbox items this batch has dealt with.
    pub consumed: Vec<String>,
    /// When to look at the run again, if ever.
    pub wake_at: Option<At>,
    /// What its dispatches touch. The store refuses a batch with a dispatch that does not say.
    pub reach: Option<Reach>,
}

/// A receipt with its envelope, ready to store.
#[derive(Clone, Debug)]
pub struct SignedReceipt {
    /// What it says.
    pub draft: Draft,
    /// The DSSE envelope, as bytes.
    pub envelope: Vec<u8>,
}

/// A message waiting for a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Posted {
    /// Deduplicates: the same id is delivered once.
    pub signal_id: String,
    /// What it says.
    pub input: Input,
    /// Who posted it.
    pub by: PrincipalId,
}

/// Why the journal refused or failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// Somebody else appended first, or owns the run now.
    #[error("another driver owns this run now (expected sequence {expected}, found {found})")]
    Lost {
        /// What we expected.
        expected: Seq,
        /// What is there.
        found: Seq,
    },
    /// What is stored is not what was written.
    #[error("the store was changed behind the journal: {0}")]
    Tampered(String),
    /// A halt covers what the batch would dispatch; nothing was written.
    #[error("halted by {0}")]
    Halted(HaltId),
    /// The medium failed: disk full, connection gone.
    #[error("the store failed: {0}")]
    Medium(String),
    /// There is no such run in this tenant.
    #[error("no run {0}")]
    NoRun(RunId),
}

/// The durable truth: append-only events per run, an inbox, and content-addressed blobs.
pub trait Journal: Send + Sync + fmt::Debug {
    /// Appends a batch: compare-and-set on sequence and epoch, one transaction, durable on return.
    fn append(&self, batch: Batch) -> Task<'_, Result<(), JournalError>>;

    /// Posts to a run's inbox, deduplicated by signal id; buffered if the run does not exist yet.
    fn post(
        &self,
        tenant: Tenant,
        run: RunId,
        posted: Posted,
    ) -> Task<'_, Result<(), JournalError>>;

    /// Takes ownership (epoch + 1) and loads everything from `from`, with the inbox not yet consumed.
    fn claim(&self, tenant: Tenant, run: RunId) -> Task<'_, Result<Loaded, JournalError>>;

    /// Runs with something to do by `now`: due timers, new inbox items, unfinished drives.
    fn due(&self, now: At, limit: usize) -> Task<'_, Result<Vec<(Tenant, RunId)>, JournalError>>;
}

/// A run as it stands in the store.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Every event in order, with openings that were not erased.
    pub records: Vec<Record>,
    /// The epoch this claim got.
    pub epoch: Epoch,
    /// Inbox items not consumed yet, oldest first.
    pub inbox: Vec<Posted>,
    /// The tenant's halts that stand.
    pub halts: Vec<Standing>,
}

/// Content-addressed bytes: plans, packs, policies, bulky results.
pub trait Blobs: Send + Sync + fmt::Debug {
    /// Stores bytes under their digest; storing twice is storing once.
    fn put(&self, tenant: Tenant, bytes: Vec<u8>) -> Task<'_, Result<Digest, JournalError>>;

    /// The bytes, checked against the digest; `None` when absent or erased.
    fn get(
        &self,
        tenant: Tenant,
        digest: Digest,
    ) -> Task<'_, Result<Option<Vec<u8>>, JournalError>>;
}
