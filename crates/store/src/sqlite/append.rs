//! What the writer thread does for each port call, inside its transaction.

use kernel::{
    event::Record,
    id::{At, Digest, Epoch, RunId, Seq, Tenant},
    port::{Batch, JournalError, Posted, SignedReceipt},
    project::Change,
    sealed::{Opening, Sealed},
};
use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::batch;

use super::{Fault, cipher::Key, dictionaries::Dictionaries, facets, halts, log, packed, project};

/// A tenant's run.
pub(super) type Place<'a> = (&'a Tenant, &'a RunId);

/// Plain values on their way to the cipher.
type Plain = Zeroizing<Vec<u8>>;

/// A checked batch with everything serialised and packed, so that the writer thread only encrypts and
/// inserts.
pub(super) struct Prepared {
    batch: Batch,
    /// Its events, packed.
    events: Vec<u8>,
    /// Its openings, packed, when any of its events has some.
    openings: Option<Plain>,
    /// Of each receipt.
    envelopes: Vec<Envelope>,
}

/// A receipt's envelope as the log holds it.
pub(super) struct Envelope {
    pub(super) leaf: Digest,
    pub(super) packed: Vec<u8>,
}

impl Prepared {
    /// Checks, serialises and packs.
    pub(super) fn new(batch: Batch, dictionaries: &Dictionaries) -> Result<Self, JournalError> {
        batch::check(&batch)?;
        let events = packed::pack_events(&batch.records, dictionaries)?;
        let openings = openings(&batch.records)?;
        let envelope = |receipt: &SignedReceipt| Envelope {
            leaf: batch::leaf_hash(&receipt.envelope),
            packed: packed::pack_envelope(&receipt.envelope, dictionaries),
        };
        let envelopes = batch.receipts.iter().map(envelope).collect();
        Ok(Self { batch, events, openings, envelopes })
    }

    /// About how many bytes it writes.
    pub(super) fn weight(&self) -> usize {
        let openings = self.openings.as_ref().map_or(0, |openings| openings.len());
        let envelopes = self.envelopes.iter().map(|envelope| envelope.packed.len());
        (self.events.len() + openings + envelopes.sum::<usize>()) * 2
    }
}

/// The openings of each record, as a list of lists.
fn openings(records: &[Record]) -> Result<Option<Plain>, JournalError> {
    let lists: Vec<Vec<Option<&Opening>>> = records.iter().map(list).collect();
    if lists.iter().all(Vec::is_empty) {
        return Ok(None);
    }
    Ok(Some(Zeroizing::new(packed::pack(&plain_json(&lists)?))))
}

fn list(record: &Record) -> Vec<Option<&Opening>> {
    record.event.body.sealed().into_iter().map(Sealed::opening).collect()
}

/// JSON of something that will be encrypted.
pub(super) fn plain_json<T: Serialize>(value: &T) -> Result<Plain, JournalError> {
    let json = serde_json::to_vec(value)
        .map_err(|e| JournalError::Medium(format!("cannot write a value: {e}")))?;
    Ok(Zeroizing::new(json))
}

/// Where a run stands.
pub(super) struct Head {
    pub(super) epoch: Epoch,
    pub(super) next_seq: Seq,
    pub(super) hash: Digest,
    pub(super) erased_to: Seq,
    pub(super) pending: u64,
    wake_at: Option<At>,
    status: Option<String>,
    opened_at: Option<At>,
}

impl Head {
    /// Of a run that was just opened.
    fn fresh() -> Self {
        Self {
            epoch: 0,
            next_seq: 0,
            hash: Digest::default(),
            erased_to: 0,
            pending: 0,
            wake_at: None,
            status: None,
            opened_at: None,
        }
    }
}

/// Reads where a run stands.
pub(super) fn head(conn: &Connection, (tenant, run): Place<'_>) -> Result<Option<Head>, Fault> {
    let sql = "SELECT epoch, next_seq, head_hash, erased_to, inbox_pending, wake_at, status, opened_at FROM runs WHERE tenant = ?1 AND run = ?2";
    let head = conn.prepare_cached(sql)?.query_row((tenant.as_str(), run.as_str()), |row| {
        Ok(Head {
            epoch: row.get(0)?,
            next_seq: row.get(1)?,
            hash: Digest(row.get(2)?),
            erased_to: row.get(3)?,
            pending: row.get(4)?,
            wake_at: row.get(5)?,
            status: row.get(6)?,
            opened_at: row.get(7)?,
        })
    });
    Ok(head.optional()?)
}

/// What the openings of a batch are bound to: the sequence number of its first event.
pub(super) fn opening_place<'a>((tenant, run): Place<'a>, seq: &'a [u8; 8]) -> [&'a [u8]; 4] {
    [b"harness/opening/v1", tenant.as_str().as_bytes(), run.as_str().as_bytes(), seq]
}

/// What an inbox item is bound to.
pub(super) fn signal_place<'a>((tenant, run): Place<'a>, signal: &'a str) -> [&'a [u8]; 4] {
    [b"harness/inbox/v1", tenant.as_str().as_bytes(), run.as_str().as_bytes(), signal.as_bytes()]
}

/// Compare-and-set on sequence and epoch, then everything the batch holds.
pub(super) fn append(conn: &Connection, prepared: &Prepared) -> Result<(), Fault> {
    let batch = &prepared.batch;
    let place = (&batch.tenant, &batch.run);
    let head = match head(conn, place)? {
        Some(head) if head.epoch > batch.epoch || head.next_seq != batch.expected_seq => {
            return Err(
                JournalError::Lost { expected: batch.expected_seq, found: head.next_seq }.into()
            );
        }
        Some(head) => {
            halts::refuse_halted(conn, batch)?;
            head
        }
        None if batch.expected_seq == 0 && !batch.records.is_empty() => {
            // Before anything is written: what is refused here costs the group nothing.
            halts::refuse_halted(conn, batch)?;
            open_run(conn, place)?;
            Head::fresh()
        }
        None => return Err(JournalError::NoRun(batch.run.clone()).into()),
    };
    batch::check_follows(batch, &head.hash)?;
    insert_events(conn, prepared)?;
    advance(conn, batch, &head)?;
    consume(conn, batch)?;
    for change in &batch.changes {
        project::apply(conn, place, change)?;
    }
    for (receipt, envelope) in batch.receipts.iter().zip(&prepared.envelopes) {
        log::append(conn, batch, (receipt, envelope))?;
    }
    Ok(())
}

/// Moves the run's row on. What stands in an index is written only when it changes: a run that goes
/// on working changes none of it.
fn advance(conn: &Connection, batch: &Batch, head: &Head) -> Result<(), Fault> {
    let (tenant, run) = (batch.tenant.as_str(), batch.run.as_str());
    let (next, hash) = batch::head_after(batch, head.hash);
    let row = batch.changes.iter().rev().find_map(|change| match change {
        Change::Run(row) => Some(row),
        _ => None,
    });
    let rest = row.map(|row| project::rest_of(row)).transpose()?;
    conn.prepare_cached(
        "UPDATE runs SET epoch = ?3, next_seq = ?4, head_hash = ?5, row = coalesce(?6, row) WHERE tenant = ?1 AND run = ?2",
    )?
    .execute((tenant, run, batch.epoch, next, hash.0, rest))?;
    if batch.wake_at != head.wake_at {
        conn.prepare_cached("UPDATE runs SET wake_at = ?3 WHERE tenant = ?1 AND run = ?2")?
            .execute((tenant, run, batch.wake_at))?;
    }
    let (place, before) = ((&batch.tenant, &batch.run), head.status.as_deref());
    if let Some(row) = row.filter(|row| before != Some(row.status.word())) {
        project::put_run(conn, place, (before, row))?;
    }
    match head.opened_at.or(row.map(|row| row.opened_at)) {
        Some(opened_at) => facets::put_operations(conn, place, (opened_at, &batch.records)),
        None => Ok(()),
    }
}

fn open_run(conn: &Connection, (tenant, run): Place<'_>) -> Result<(), Fault> {
    conn.prepare_cached(
        "INSERT INTO runs (tenant, run, epoch, next_seq, head_hash, inbox_pending) VALUES (?1, ?2, 0, 0, ?3,
         (SELECT count(*) FROM inbox WHERE tenant = ?1 AND run = ?2 AND consumed = 0))",
    )?
    .execute((tenant.as_str(), run.as_str(), Digest::default().0))?;
    Ok(())
}

fn insert_events(conn: &Connection, prepared: &Prepared) -> Result<(), Fault> {
    let batch = &prepared.batch;
    let Some(last) = batch.records.last() else { return Ok(()) };
    let place = (&batch.tenant, &batch.run);
    let seq = batch.expected_seq;
    let sealed = match &prepared.openings {
        None => None,
        Some(plain) => {
            let key = Key::find_or_make(conn, &batch.tenant, batch.run.as_str())?;
            Some(key.seal(&opening_place(place, &seq.to_be_bytes()), plain)?)
        }
    };
    let (tenant, run) = (batch.tenant.as_str(), batch.run.as_str());
    conn.prepare_cached(
        "INSERT INTO batches (tenant, run, seq, hash, events, openings) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((tenant, run, seq, last.hash.0, &prepared.events, sealed))?;
    Ok(())
}

fn consume(conn: &Connection, batch: &Batch) -> Result<(), Fault> {
    if batch.consumed.is_empty() {
        return Ok(());
    }
    let (tenant, run) = (batch.tenant.as_str(), batch.run.as_str());
    // The row stays: it deduplicates. Its body goes: what mattered is in the journal.
    let mut mark = conn.prepare_cached(
        "UPDATE inbox SET consumed = 1, body = NULL WHERE tenant = ?1 AND run = ?2 AND signal_id = ?3 AND consumed = 0",
    )?;
    let mut marked = 0;
    for signal in &batch.consumed {
        marked += mark.execute((tenant, run, signal))?;
    }
    conn.prepare_cached(
        "UPDATE runs SET inbox_pending = inbox_pending - ?3 WHERE tenant = ?1 AND run = ?2",
    )?
    .execute((tenant, run, marked))?;
    Ok(())
}

/// Puts an item into a run's inbox, once.
pub(super) fn post(
    conn: &Connection,
    place: Place<'_>,
    signal: &str,
    body: &[u8],
) -> Result<(), Fault> {
    let (tenant, run) = (place.0.as_str(), place.1.as_str());
    let known = conn
        .prepare_cached("SELECT 1 FROM inbox WHERE tenant = ?1 AND run = ?2 AND signal_id = ?3")?
        .exists((tenant, run, signal))?;
    if known {
        return Ok(());
    }
    let posted: u64 = conn
        .prepare_cached(
            "SELECT coalesce(max(posted) + 1, 0) FROM inbox WHERE tenant = ?1 AND run = ?2",
        )?
        .query_row((tenant, run), |row| row.get(0))?;
    // Nothing is consumed before the run exists, so that its early items are those ever posted.
    let waiting = head(conn, place)?.map_or(posted, |head| head.pending);
    if waiting >= batch::INBOX_MAX {
        return Err(batch::inbox_full(place.1).into());
    }
    let key = Key::find_or_make(conn, place.0, run)?;
    let sealed = key.seal(&signal_place(place, signal), body)?;
    conn.prepare_cached(
        "INSERT INTO inbox (tenant, run, signal_id, posted, body) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute((tenant, run, signal, posted, sealed))?;
    conn.prepare_cached(
        "UPDATE runs SET inbox_pending = inbox_pending + 1 WHERE tenant = ?1 AND run = ?2",
    )?
    .execute((tenant, run))?;
    Ok(())
}

/// The next epoch of a run, now in force.
pub(super) fn claim(conn: &Connection, tenant: &Tenant, run: &RunId) -> Result<Epoch, Fault> {
    let sql = "UPDATE runs SET epoch = epoch + 1 WHERE tenant = ?1 AND run = ?2 RETURNING epoch";
    let claimed =
        conn.prepare_cached(sql)?.query_row((tenant.as_str(), run.as_str()), |row| row.get(0));
    claimed.optional()?.ok_or_else(|| JournalError::NoRun(run.clone()).into())
}

/// Reads an inbox item back.
pub(super) fn open_posted(
    key: Option<&Key>,
    place: Place<'_>,
    signal: &str,
    sealed: &[u8],
) -> Result<Posted, JournalError> {
    let plain = key.and_then(|key| key.open(&signal_place(place, signal), sealed));
    let posted = plain.and_then(|plain| serde_json::from_slice(&plain).ok());
    let broken = || {
        JournalError::Tampered(format!(
            "run {}, inbox item `{signal}`: it cannot be decrypted",
            place.1
        ))
    };
    posted.ok_or_else(broken)
}

/// A blob under a key of its own.
pub(super) struct SealedBlob {
    tenant: Tenant,
    digest: Digest,
    key: Key,
    bytes: Vec<u8>,
}

/// What a blob is bound to.
pub(super) fn blob_place<'a>(tenant: &'a Tenant, digest: &'a Digest) -> [&'a [u8]; 3] {
    [b"harness/blob/v1", tenant.as_str().as_bytes(), &digest.0]
}

/// The name of a blob's key.
pub(super) fn blob_key(digest: &Digest) -> String {
    format!("blob:{}", digest.hex())
}

impl SealedBlob {
    /// Hashes and encrypts.
    pub(super) fn new(tenant: Tenant, plain: &[u8]) -> Result<Self, Fault> {
        let digest = Digest::of(plain);
        let key = Key::random()?;
        let bytes = key.seal(&blob_place(&tenant, &digest), plain)?;
        Ok(Self { tenant, digest, key, bytes })
    }

    /// About how many bytes it writes.
    pub(super) fn weight(&self) -> usize {
        self.bytes.len()
    }
}

/// Stores a blob unless it is there.
pub(super) fn put(conn: &Connection, blob: &SealedBlob) -> Result<Digest, Fault> {
    let added = conn
        .prepare_cached("INSERT OR IGNORE INTO blobs (tenant, digest, bytes) VALUES (?1, ?2, ?3)")?
        .execute((blob.tenant.as_str(), blob.digest.0, &blob.bytes))?;
    if added > 0 {
        blob.key.keep(conn, &blob.tenant, &blob_key(&blob.digest))?;
    }
    Ok(blob.digest)
}
