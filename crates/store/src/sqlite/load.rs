//! Reading runs back: every event is checked against its hash, its chain and its commitments.

use kernel::{
    event::{Record, check_chain},
    id::{At, Digest, Epoch, RunId, Seq, Tenant},
    port::{JournalError, Loaded},
    sealed::Opening,
};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Error, batch};

use super::{
    Fault, Sqlite,
    append::{self, Head, Place, blob_key, blob_place, opening_place},
    cipher::Key,
    dictionaries, halts, packed,
    project::parse,
};

/// What [`Sqlite::integrity_check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Integrity {
    /// Runs read and verified.
    pub runs: u64,
    /// What is wrong, one sentence each; empty is sound.
    pub problems: Vec<String>,
}

impl Sqlite {
    /// Checks the file itself, the receipt logs, and up to `runs_max` runs, the newest first.
    ///
    /// # Errors
    /// When the medium fails; damage found is in the answer.
    pub async fn integrity_check(&self, runs_max: usize) -> Result<Integrity, Error> {
        Ok(self.read(move |conn| check_all(conn, runs_max)).await?)
    }
}

/// A run as the owner of `epoch` finds it.
pub(super) fn load(
    conn: &Connection,
    tenant: &Tenant,
    run: &RunId,
    epoch: Epoch,
) -> Result<Loaded, Fault> {
    let place = (tenant, run);
    let head = append::head(conn, place)?.ok_or_else(|| JournalError::NoRun(run.clone()))?;
    let key = Key::find(conn, tenant, run.as_str())?;
    let records = load_whole(conn, place, &head, key.as_ref())?;
    let mut statement = conn.prepare_cached(
        "SELECT signal_id, body FROM inbox WHERE tenant = ?1 AND run = ?2 AND consumed = 0 ORDER BY posted",
    )?;
    let mut rows = statement.query((tenant.as_str(), run.as_str()))?;
    let mut inbox = Vec::new();
    while let Some(row) = rows.next()? {
        let signal: String = row.get(0)?;
        let sealed: Option<Vec<u8>> = row.get(1)?;
        inbox.push(append::open_posted(key.as_ref(), place, &signal, &sealed.unwrap_or_default())?);
    }
    let halts = halts::load_standing(conn, tenant)?;
    Ok(Loaded { records, epoch, inbox, halts })
}

/// All events of a run, up to the head its row names.
fn load_whole(
    conn: &Connection,
    place: Place<'_>,
    head: &Head,
    key: Option<&Key>,
) -> Result<Vec<Record>, Fault> {
    let records = read_events(conn, place, (head, key), (0, usize::MAX))?;
    let run = place.1;
    check_chain(&records)
        .map_err(|damage| JournalError::Tampered(format!("run {run}: {damage}")))?;
    if records.len() as Seq != head.next_seq {
        return Err(batch::tampered(
            run,
            records.len() as Seq,
            "the journal does not end where its head says",
        )
        .into());
    }
    if records.last().map_or_else(Digest::default, |last| last.hash) != head.hash {
        return Err(batch::tampered(
            run,
            head.next_seq.saturating_sub(1),
            "it is not the head the store keeps",
        )
        .into());
    }
    Ok(records)
}

/// A slice of a run's events, chained to the event before it.
pub(super) fn load_slice(
    conn: &Connection,
    place: Place<'_>,
    from: Seq,
    limit: usize,
) -> Result<Vec<Record>, Fault> {
    let head = append::head(conn, place)?.ok_or_else(|| JournalError::NoRun(place.1.clone()))?;
    let key = Key::find(conn, place.0, place.1.as_str())?;
    // One event earlier, so that the first one asked for is chained too.
    let (start, extra) = from.checked_sub(1).map_or((0, 0), |before| (before, 1));
    let wanted = (start, limit.saturating_add(extra));
    let mut records = read_events(conn, place, (&head, key.as_ref()), wanted)?;
    let mut previous = if start == 0 { Some(Digest::default()) } else { None };
    for (seq, record) in (start..).zip(&records) {
        if record.event.seq != seq || previous.is_some_and(|hash| hash != record.event.prev_hash) {
            return Err(
                batch::tampered(place.1, seq, "it does not follow the event before it").into()
            );
        }
        previous = Some(record.hash);
    }
    check_end(place.1, &records, wanted, &head)?;
    Ok(records.split_off(records.len().min(extra)))
}

/// A slice that is shorter than it might be ends where the run does: events are taken away from the end,
/// too.
fn check_end(
    run: &RunId,
    records: &[Record],
    (start, limit): (Seq, usize),
    head: &Head,
) -> Result<(), Fault> {
    let ends = match records.last() {
        _ if records.len() == limit => true,
        Some(last) => last.event.seq + 1 == head.next_seq && last.hash == head.hash,
        None => start >= head.next_seq,
    };
    if ends {
        return Ok(());
    }
    let end = start + records.len() as Seq;
    Err(batch::tampered(run, end, "the journal does not end where its head says").into())
}

/// Up to `limit` events, the first of them number `from`; what is left of the last batch is read and
/// checked all the same.
fn read_events(
    conn: &Connection,
    place: Place<'_>,
    (head, key): (&Head, Option<&Key>),
    (from, limit): (Seq, usize),
) -> Result<Vec<Record>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, hash, events, openings FROM batches WHERE tenant = ?1 AND run = ?2 AND seq >=
           (SELECT coalesce(max(seq), 0) FROM batches WHERE tenant = ?1 AND run = ?2 AND seq <= ?3)
         ORDER BY seq",
    )?;
    let mut rows = statement.query((place.0.as_str(), place.1.as_str(), from))?;
    let mut records = Vec::new();
    while records.len() < limit {
        let Some(row) = rows.next()? else { break };
        let batch = read_batch((conn, row), place, head, key)?;
        records.extend(batch.into_iter().filter(|record| record.event.seq >= from));
    }
    records.truncate(limit);
    Ok(records)
}

/// The openings of each event of a batch.
type Openings = Vec<Vec<Option<Opening>>>;

fn read_batch(
    (conn, row): (&Connection, &Row<'_>),
    place: Place<'_>,
    head: &Head,
    key: Option<&Key>,
) -> Result<Vec<Record>, Fault> {
    let run = place.1;
    let first: Seq = row.get(0)?;
    let wrong = |seq, problem: &str| Fault::from(batch::tampered(run, seq, problem));
    let (hash, packed): ([u8; 32], Vec<u8>) = (row.get(1)?, row.get(2)?);
    let sealed: Option<Vec<u8>> = row.get(3)?;
    let text = dictionaries::unpack(conn, &packed)
        .ok_or_else(|| wrong(first, "its bytes are not readable"))?;
    let mut openings = match &sealed {
        None => Openings::new(),
        Some(sealed) => {
            let key = key.ok_or_else(|| wrong(first, "the key of its values is missing"))?;
            let plain = key.open(&opening_place(place, &first.to_be_bytes()), sealed);
            let plain = plain.ok_or_else(|| wrong(first, "its values cannot be decrypted"))?;
            read_openings(&plain).ok_or_else(|| wrong(first, "its values are not readable"))?
        }
    }
    .into_iter();
    let mut records = Vec::new();
    for (seq, bytes) in (first..).zip(text.split(|byte| *byte == b'\n')) {
        let opened = openings.next().unwrap_or_default();
        let is_open = !opened.is_empty();
        let mut record = Record::read(seq, bytes.to_vec(), opened)
            .map_err(|damage| JournalError::Tampered(format!("run {run}: {damage}")))?;
        if record.event.run != *run {
            return Err(wrong(seq, "it belongs to another run"));
        }
        if !is_open && seq >= head.erased_to && !record.event.body.sealed_mut().is_empty() {
            return Err(wrong(seq, "its values are gone, and nobody erased them"));
        }
        records.push(record);
    }
    if records.last().is_none_or(|last| last.hash.0 != hash) {
        return Err(wrong(first, "its hash does not match its bytes"));
    }
    Ok(records)
}

/// Openings as [`super::append::Prepared`] packs them, or those of one event as older versions wrote them.
fn read_openings(plain: &[u8]) -> Option<Openings> {
    if plain.first() == Some(&b'[') {
        return Some(vec![serde_json::from_slice(plain).ok()?]);
    }
    serde_json::from_slice(&Zeroizing::new(packed::unpack(plain, |_| None)?)).ok()
}

/// Runs with timers due or inbox items waiting.
pub(super) fn due(conn: &Connection, now: At, limit: usize) -> Result<Vec<(Tenant, RunId)>, Fault> {
    let read = |sql: &str, now: At| -> Result<Vec<(Tenant, RunId)>, Fault> {
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query((now, limit))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push((parse(row, 0)?, parse(row, 1)?));
        }
        Ok(found)
    };
    let timers = "SELECT tenant, run FROM runs WHERE wake_at <= ?1 ORDER BY wake_at LIMIT ?2";
    let posted = "SELECT tenant, run FROM runs
                  WHERE inbox_pending > 0 AND (wake_at IS NULL OR wake_at > ?1) LIMIT ?2";
    Ok(batch::interleave(read(timers, now)?, read(posted, now)?, limit))
}

/// A blob, checked; `None` when it is not there.
pub(super) fn blob(
    conn: &Connection,
    tenant: &Tenant,
    digest: &Digest,
) -> Result<Option<Vec<u8>>, Fault> {
    let sealed: Option<Vec<u8>> = conn
        .prepare_cached("SELECT bytes FROM blobs WHERE tenant = ?1 AND digest = ?2")?
        .query_row((tenant.as_str(), digest.0), |row| row.get(0))
        .optional()?;
    let Some(sealed) = sealed else {
        return Ok(None);
    };
    let key = Key::find(conn, tenant, &blob_key(digest))?;
    let plain = key.and_then(|key| key.open(&blob_place(tenant, digest), &sealed));
    match plain {
        Some(mut plain) if Digest::of(&plain) == *digest => Ok(Some(std::mem::take(&mut *plain))),
        _ => {
            Err(JournalError::Tampered(format!("blob {digest}: it is not what was stored")).into())
        }
    }
}

fn check_all(conn: &Connection, runs_max: usize) -> Result<Integrity, Fault> {
    let mut found = Integrity::default();
    let mut statement = conn.prepare("PRAGMA integrity_check")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let said: String = row.get(0)?;
        if said != "ok" {
            found.problems.push(format!("the database file: {said}"));
        }
    }
    let mut statement = conn.prepare(
        "SELECT tenant, count(*), max(log_index) + 1 FROM receipts GROUP BY tenant HAVING count(*) != max(log_index) + 1",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (tenant, count, end): (String, u64, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        found
            .problems
            .push(format!("tenant {tenant}: the receipt log holds {count} of {end} leaves"));
    }
    check_halts(conn, &mut found)?;
    let mut statement =
        conn.prepare("SELECT tenant, run FROM runs ORDER BY opened_at DESC LIMIT ?1")?;
    let mut rows = statement.query([runs_max])?;
    while let Some(row) = rows.next()? {
        let (tenant, run) = (parse(row, 0)?, parse(row, 1)?);
        let checked =
            load(conn, &tenant, &run, 0).and_then(|_| check_receipts(conn, &tenant, &run));
        match checked.map_err(JournalError::from) {
            Ok(()) => {}
            Err(JournalError::Tampered(problem)) => {
                found.problems.push(format!("tenant {tenant}: {problem}"))
            }
            Err(error) => return Err(error.into()),
        }
        found.runs += 1;
    }
    Ok(found)
}

fn check_halts(conn: &Connection, found: &mut Integrity) -> Result<(), Fault> {
    let mut statement =
        conn.prepare("SELECT DISTINCT tenant FROM halt_log UNION SELECT tenant FROM halts")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        match halts::load_log(conn, &parse(row, 0)?).map_err(JournalError::from) {
            Ok(_) => {}
            Err(JournalError::Tampered(problem)) => found.problems.push(problem),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn check_receipts(conn: &Connection, tenant: &Tenant, run: &RunId) -> Result<(), Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT id, leaf, envelope FROM receipts WHERE tenant = ?1 AND run = ?2 ORDER BY idx",
    )?;
    let mut rows = statement.query((tenant.as_str(), run.as_str()))?;
    while let Some(row) = rows.next()? {
        let (id, leaf, packed): (String, [u8; 32], Vec<u8>) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        let envelope = dictionaries::unpack(conn, &packed);
        if envelope.is_none_or(|envelope| batch::leaf_hash(&envelope).0 != leaf) {
            let problem =
                format!("run {run}, receipt {id}: its envelope is not the one in the log");
            return Err(JournalError::Tampered(problem).into());
        }
    }
    Ok(())
}
