//! What surfaces may ask of a store. Every query takes the tenant first.

use std::{collections::BTreeSet, fmt};

use kernel::{
    event::Record,
    exception::{Class, Exception, Need},
    id::{
        ApprovalId, At, Digest, Epoch, ExceptionId, OperationId, ReceiptId, RunId, Seq, Tenant,
        TokenId, hex, unhex,
    },
    operation::Undo,
    port::{Blobs, Journal, Task},
    project::{ApprovalRow, RunRow},
    run::Status,
};
use serde::{Deserialize, Serialize};

use crate::{Documents, Error, Halts};

/// Most items on one page, and most events read at once.
pub const PAGE_MAX: usize = 200;

/// Most log leaves read at once.
pub const LEAVES_MAX: usize = 65_536;

/// Everything a store can do.
pub trait Store: Journal + Blobs + Query + Log + Erase + Halts + Documents {}

impl<S: Journal + Blobs + Query + Log + Erase + Halts + Documents> Store for S {}

/// Reads projections and events; owns nothing, blocks nobody.
///
/// There is no query without a tenant:
///
/// ```compile_fail,E0061
/// # async fn look(store: &dyn store::Query, run: &kernel::RunId) {
/// let row = store.run(run).await;
/// # }
/// ```
pub trait Query: Send + Sync + fmt::Debug {
    /// One run; `None` when there is no such run in the tenant.
    fn run(&self, tenant: &Tenant, run: &RunId) -> Task<'_, Result<Option<RunEntry>, Error>>;

    /// Runs, the newest first.
    fn runs(
        &self,
        tenant: &Tenant,
        filter: RunFilter,
        page: Page,
    ) -> Task<'_, Result<Listed<RunEntry>, Error>>;

    /// At most `limit` (and [`PAGE_MAX`]) events from `from` on, verified; empty behind the end.
    fn events(
        &self,
        tenant: &Tenant,
        run: &RunId,
        from: Seq,
        limit: usize,
    ) -> Task<'_, Result<Vec<Record>, Error>>;

    /// The run something belongs to.
    fn find_run(&self, tenant: &Tenant, thing: &Thing) -> Task<'_, Result<Option<RunId>, Error>>;

    /// Asks: open ones by the time they expire, all of them the newest first.
    fn approvals(
        &self,
        tenant: &Tenant,
        state: State,
        page: Page,
    ) -> Task<'_, Result<Listed<ApprovalEntry>, Error>>;

    /// Exceptions: open ones the oldest first, all of them the newest first.
    fn exceptions(
        &self,
        tenant: &Tenant,
        wanted: (State, ExceptionFilter),
        page: Page,
    ) -> Task<'_, Result<Listed<ExceptionEntry>, Error>>;

    /// A run's rollback tokens, by action.
    fn tokens(
        &self,
        tenant: &Tenant,
        run: &RunId,
        page: Page,
    ) -> Task<'_, Result<Listed<TokenEntry>, Error>>;

    /// A run's receipts, in order.
    fn receipts(
        &self,
        tenant: &Tenant,
        run: &RunId,
        page: Page,
    ) -> Task<'_, Result<Listed<ReceiptEntry>, Error>>;

    /// How much there is; looks at every run.
    fn stats(&self, tenant: &Tenant) -> Task<'_, Result<Stats, Error>>;

    /// How much waits for people.
    fn waiting(&self, tenant: &Tenant) -> Task<'_, Result<Waiting, Error>>;
}

/// The tenant's receipt log: append-only, positions in commit order without gaps.
pub trait Log: Send + Sync + fmt::Debug {
    /// One receipt with its envelope, checked against its leaf hash.
    fn receipt(
        &self,
        tenant: &Tenant,
        id: &ReceiptId,
    ) -> Task<'_, Result<Option<StoredReceipt>, Error>>;

    /// At most `limit` (and [`LEAVES_MAX`]) leaf hashes from position `from` on.
    fn leaves(
        &self,
        tenant: &Tenant,
        from: u64,
        limit: usize,
    ) -> Task<'_, Result<Vec<Digest>, Error>>;

    /// At most `limit` (and [`PAGE_MAX`]) receipts from position `from` on, checked as [`Log::receipt`].
    fn logged(
        &self,
        tenant: &Tenant,
        from: u64,
        limit: usize,
    ) -> Task<'_, Result<Vec<StoredReceipt>, Error>>;

    /// Leaves so far.
    fn log_size(&self, tenant: &Tenant) -> Task<'_, Result<u64, Error>>;

    /// The checkpoint of the greatest size.
    fn checkpoint(&self, tenant: &Tenant) -> Task<'_, Result<Option<Checkpoint>, Error>>;

    /// Keeps a checkpoint. Refused when it is longer than the log or contradicts one of its size.
    fn put_checkpoint(
        &self,
        tenant: &Tenant,
        checkpoint: Checkpoint,
    ) -> Task<'_, Result<(), Error>>;
}

/// Forgets values for good. Events, commitments and receipts stay and still verify.
///
/// What a live run would still need is gone too: end runs before erasing them.
pub trait Erase: Send + Sync + fmt::Debug {
    /// Forgets a run's values and its waiting inbox items.
    fn erase_run(&self, tenant: &Tenant, run: &RunId) -> Task<'_, Result<(), Error>>;

    /// Forgets the values of every run with this subject; says which.
    fn erase_subject(&self, tenant: &Tenant, subject: &str) -> Task<'_, Result<Vec<RunId>, Error>>;

    /// Forgets a blob.
    fn erase_blob(&self, tenant: &Tenant, digest: &Digest) -> Task<'_, Result<(), Error>>;
}

/// Which runs to list; what is `None` does not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// In this state.
    pub status: Option<Status>,
    /// Of this intent.
    pub intent: Option<String>,
    /// Of this pack, in this version when one is named.
    pub pack: Option<String>,
    /// By this agent.
    pub agent: Option<String>,
    /// About all of these subjects.
    pub subjects: Vec<String>,
    /// In which this operation was proposed, whether it was then called or not.
    pub operation: Option<OperationId>,
    /// Opened at or after.
    pub from: Option<At>,
    /// Opened before.
    pub until: Option<At>,
}

/// Which exceptions to list; what is `None` does not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExceptionFilter {
    /// Of this run.
    pub run: Option<RunId>,
    /// Of this failure class.
    pub class: Option<Class>,
    /// That need this.
    pub need: Option<Need>,
    /// Owned by this role or person.
    pub owner: Option<String>,
    /// Opened before.
    pub until: Option<At>,
}

impl ExceptionFilter {
    /// Whether an exception passes.
    pub(crate) fn admits(&self, run: &RunId, exception: &Exception) -> bool {
        self.run.as_ref().is_none_or(|wanted| wanted == run)
            && self.class.is_none_or(|class| class == exception.class)
            && self.need.is_none_or(|need| need == exception.need)
            && self.owner.as_ref().is_none_or(|owner| *owner == exception.owner)
            && self.until.is_none_or(|until| exception.at < until)
    }
}

/// Which items of a queue to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Those that wait.
    Open,
    /// All.
    All,
}

/// One page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Where the page before ended, as it said; `None` for the first page.
    pub after: Option<String>,
    /// How many items; 0 and everything above [`PAGE_MAX`] mean [`PAGE_MAX`].
    pub limit: usize,
}

impl Page {
    /// The limit in force.
    #[must_use]
    pub fn size(&self) -> usize {
        if self.limit == 0 { PAGE_MAX } else { self.limit.min(PAGE_MAX) }
    }
}

/// A page and where the next one starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed<T> {
    /// The items.
    pub items: Vec<T>,
    /// Opaque cursor of the next page; `None` at the end.
    pub next: Option<String>,
}

impl<T> Listed<T> {
    /// From up to one item more than the page holds, each with its key.
    pub(crate) fn cut(list: &'static str, mut keyed: Vec<(Key, T)>, size: usize) -> Self {
        let more = keyed.len() > size;
        keyed.truncate(size);
        let next = keyed.last().filter(|_| more).map(|(key, _)| key.encode(list));
        Self { items: keyed.into_iter().map(|(_, item)| item).collect(), next }
    }
}

/// The place of an item in its list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) i64, pub(crate) String);

impl Key {
    fn encode(&self, list: &str) -> String {
        hex(format!("{list} {} {}", self.0, self.1).as_bytes())
    }

    /// Reads a page's cursor back; one of another list is refused.
    pub(crate) fn decode(list: &str, page: &Page) -> Result<Option<Self>, Error> {
        let Some(text) = &page.after else {
            return Ok(None);
        };
        let read = || {
            let plain = String::from_utf8(unhex(text)?).ok()?;
            let mut parts = plain.splitn(3, ' ');
            let named = parts.next()? == list;
            let key = Self(parts.next()?.parse().ok()?, parts.next()?.to_owned());
            named.then_some(key)
        };
        let short = || Error::Cursor(text.chars().take(80).collect());
        read().map(Some).ok_or_else(short)
    }
}

/// Something that belongs to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thing {
    /// A receipt.
    Receipt(ReceiptId),
    /// An ask.
    Approval(ApprovalId),
    /// An exception.
    Exception(ExceptionId),
    /// A rollback token.
    Token(TokenId),
}

/// A run as lists show it, with where its journal stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunEntry {
    /// Which run.
    pub run: RunId,
    /// Its row; `None` until a batch brought one.
    pub row: Option<RunRow>,
    /// The sequence number its next event will get.
    pub next_seq: Seq,
    /// Hash of its last event.
    pub head: Digest,
    /// Epoch of its last owner.
    pub epoch: Epoch,
    /// When it is looked at again.
    pub wake_at: Option<At>,
    /// Inbox items waiting.
    pub inbox: u64,
}

/// An ask, open or closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalEntry {
    /// Its run.
    pub run: RunId,
    /// What was asked.
    pub row: ApprovalRow,
    /// How it ended; `None` while open.
    pub state: Option<String>,
    /// When it ended.
    pub closed_at: Option<At>,
}

/// An exception, open or settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExceptionEntry {
    /// Its run.
    pub run: RunId,
    /// The exception.
    pub exception: Exception,
    /// When it was settled; `None` while open.
    pub closed_at: Option<At>,
}

/// A rollback token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// Its run.
    pub run: RunId,
    /// Which.
    pub id: TokenId,
    /// For which action.
    pub action: Seq,
    /// Its class.
    pub undo: Undo,
    /// `armed`, `spent`.
    pub state: String,
    /// Until when.
    pub expires_at: At,
}

/// A receipt without its envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptEntry {
    /// Which.
    pub id: ReceiptId,
    /// Its run.
    pub run: RunId,
    /// Position among the run's receipts, from 0.
    pub index: u64,
    /// For which action; `None` for a close record.
    pub action: Option<Seq>,
    /// Position in the tenant's log, from 0.
    pub log_index: u64,
    /// RFC 6962 leaf hash of the envelope.
    pub leaf: Digest,
    /// When.
    pub at: At,
}

/// A receipt with its envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredReceipt {
    /// Where it stands.
    pub entry: ReceiptEntry,
    /// The DSSE envelope, as bytes.
    pub envelope: Vec<u8>,
}

/// A signed statement of the log's size and root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Leaves it covers.
    pub size: u64,
    /// Merkle root over them.
    pub root: Digest,
    /// The signed note, as bytes.
    pub note: Vec<u8>,
    /// When.
    pub at: At,
}

impl Checkpoint {
    /// Why it contradicts a log of `log_size` leaves, or a checkpoint of its size with root `known`.
    pub(crate) fn refusal(&self, log_size: u64, known: Option<Digest>) -> Option<&'static str> {
        if self.size > log_size {
            return Some("the log is shorter: sign what is stored");
        }
        known
            .filter(|root| *root != self.root)
            .map(|_| "another root is kept for this size: keep both and compare")
    }
}

/// How much waits for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// Asks that are open.
    pub approvals: u64,
    /// Exceptions that are open.
    pub exceptions: u64,
}

/// How much a store holds and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stats {
    /// Runs of the tenant.
    pub runs: u64,
    /// Events of the tenant.
    pub events: u64,
    /// Receipts of the tenant.
    pub receipts: u64,
    /// Asks of the tenant that wait.
    pub approvals_open: u64,
    /// Exceptions of the tenant that wait.
    pub exceptions_open: u64,
    /// Writes acknowledged since this process opened the store, all tenants.
    pub writes: u64,
    /// Transactions, each one flush to disk, that carried them.
    pub commits: u64,
    /// Size of the database without its write-ahead log, in bytes; 0 in RAM.
    pub file_bytes: u64,
}

/// The name of a status in columns and filters.
pub(crate) fn status_name(status: Status) -> String {
    let value = serde_json::to_value(status).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

impl RunFilter {
    /// Whether a row passes, given the operations its run proposed.
    #[must_use]
    pub fn admits(&self, row: &RunRow, proposed: &BTreeSet<OperationId>) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
        self.status.is_none_or(|status| status == row.status)
            && same(&self.intent, &row.intent)
            && self.pack.as_deref().is_none_or(|pack| {
                let versions = row.pack.strip_prefix(pack);
                versions.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
            })
            && same(&self.agent, &row.agent)
            && self.subjects.iter().all(|subject| row.subjects.contains(subject))
            && self.operation.as_ref().is_none_or(|operation| proposed.contains(operation))
            && self.from.is_none_or(|from| row.opened_at >= from)
            && self.until.is_none_or(|until| row.opened_at < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_only_in_its_own_list() {
        let listed = Listed::cut(
            "runs",
            vec![(Key(-5, "run_a b".to_owned()), 1), (Key(0, String::new()), 2)],
            1,
        );
        let page = Page { after: listed.next, limit: 1 };
        assert_eq!(Key::decode("runs", &page).unwrap(), Some(Key(-5, "run_a b".to_owned())));
        assert!(matches!(Key::decode("approvals", &page), Err(Error::Cursor(_))));
        let forged = Page { after: Some("zz".to_owned()), limit: 1 };
        assert!(matches!(Key::decode("runs", &forged), Err(Error::Cursor(_))));
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        assert_eq!(Listed::cut("runs", vec![(Key(0, String::new()), 1)], 1).next, None);
    }
}
