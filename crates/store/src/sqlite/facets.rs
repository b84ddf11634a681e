//! What runs are found by. Each facet of a run (its status, intent, pack, agent, subjects, and the
//! operations it proposed) has a sequence of the runs that have it, in the order of lists; a list under
//! several filters is the intersection of their sequences, read only as far as the page needs.

use std::collections::VecDeque;

use kernel::{
    event::Record,
    id::{At, OperationId, RunId, Tenant, hex, unhex},
    port::JournalError,
    project::RunRow,
};
use rusqlite::{
    Connection, OptionalExtension,
    types::{ToSql, ToSqlOutput, ValueRef},
};

use crate::{
    batch,
    query::{Key, RunFilter, status_name},
};

use super::{Fault, append::Place as Home};

/// What a facet is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Status,
    Intent,
    Pack,
    Agent,
    Subject,
    Operation,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Intent => "intent",
            Self::Pack => "pack",
            Self::Agent => "agent",
            Self::Subject => "subject",
            Self::Operation => "operation",
        }
    }
}

/// A run as sequences hold it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RunKey {
    /// An id that is no hash.
    Text(String),
    /// The bytes of its hash.
    Hash([u8; 16]),
}

/// Above every run.
const LAST_RUN: RunKey = RunKey::Hash([0xff; 16]);

impl RunKey {
    fn of(run: &str) -> Self {
        let hash = run.strip_prefix("run_").and_then(unhex);
        match hash.and_then(|bytes| bytes.try_into().ok()) {
            Some(hash) => Self::Hash(hash),
            None => Self::Text(run.to_owned()),
        }
    }

    fn read(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::Blob(bytes) => bytes.try_into().ok().map(Self::Hash),
            ValueRef::Text(text) => Some(Self::Text(std::str::from_utf8(text).ok()?.to_owned())),
            _ => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Text(run) => run.clone(),
            Self::Hash(hash) => format!("run_{}", hex(hash)),
        }
    }
}

impl ToSql for RunKey {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Text(run) => ValueRef::Text(run.as_bytes()),
            Self::Hash(hash) => ValueRef::Blob(hash),
        }))
    }
}

/// A place in the order of lists.
type Place = (At, RunKey);

const ID: &str = "SELECT id FROM facets WHERE tenant = ?1 AND kind = ?2 AND name = ?3";

/// Every version of a pack: what lies between `name@` and the next letter after `@`.
const VERSIONS: &str =
    "SELECT id FROM facets WHERE tenant = ?1 AND kind = 'pack' AND name >= ?2 AND name < ?3";

const STATUSES: &str = "SELECT id FROM facets WHERE tenant = ?1 AND kind = 'status'";

const RUNS: &str = "SELECT opened_at, run FROM facet_runs
     WHERE facet = ?1 AND (opened_at, run) <= (?2, ?3) ORDER BY opened_at DESC, run DESC LIMIT ?4";

fn id_of(
    conn: &Connection,
    tenant: &Tenant,
    (kind, name): (Kind, &str),
) -> Result<Option<i64>, Fault> {
    let mut find = conn.prepare_cached(ID)?;
    Ok(find.query_row((tenant.as_str(), kind.name(), name), |row| row.get(0)).optional()?)
}

/// Notes that a run has a facet; again is the same.
fn note(
    conn: &Connection,
    (tenant, run): Home<'_>,
    (opened_at, kind, name): (At, Kind, &str),
) -> Result<(), Fault> {
    let id = match id_of(conn, tenant, (kind, name))? {
        Some(id) => id,
        None => {
            let next: i64 = conn
                .prepare_cached("UPDATE facets_last SET id = id + 1 RETURNING id")?
                .query_row([], |row| row.get(0))?;
            conn.prepare_cached(
                "INSERT INTO facets (tenant, kind, name, id) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((tenant.as_str(), kind.name(), name, next))?;
            next
        }
    };
    conn.prepare_cached(
        "INSERT OR IGNORE INTO facet_runs (facet, opened_at, run) VALUES (?1, ?2, ?3)",
    )?
    .execute((id, opened_at, RunKey::of(run.as_str())))?;
    Ok(())
}

/// Notes a run's status, and with its first one everything else its row says. What it is about is never
/// removed: erasing by subject must not miss a run that once was about it.
pub(super) fn put_row(
    conn: &Connection,
    home: Home<'_>,
    (before, row): (Option<&str>, &RunRow),
) -> Result<(), Fault> {
    let opened_at = row.opened_at;
    if let Some(before) = before {
        if let Some(id) = id_of(conn, home.0, (Kind::Status, before))? {
            conn.prepare_cached(
                "DELETE FROM facet_runs WHERE facet = ?1 AND opened_at = ?2 AND run = ?3",
            )?
            .execute((id, opened_at, RunKey::of(home.1.as_str())))?;
        }
    } else {
        let fixed =
            [(Kind::Intent, &row.intent), (Kind::Pack, &row.pack), (Kind::Agent, &row.agent)];
        for (kind, name) in fixed {
            note(conn, home, (opened_at, kind, name))?;
        }
    }
    for subject in &row.subjects {
        note(conn, home, (opened_at, Kind::Subject, subject))?;
    }
    note(conn, home, (opened_at, Kind::Status, &status_name(row.status)))
}

/// Notes the operations that these events propose.
pub(super) fn put_operations(
    conn: &Connection,
    home: Home<'_>,
    (opened_at, records): (At, &[Record]),
) -> Result<(), Fault> {
    let mut proposed: Vec<&str> =
        records.iter().filter_map(batch::proposed).map(OperationId::as_str).collect();
    proposed.sort_unstable();
    proposed.dedup();
    proposed
        .into_iter()
        .try_for_each(|operation| note(conn, home, (opened_at, Kind::Operation, operation)))
}

/// The runs about a subject, by id.
pub(super) fn about(
    conn: &Connection,
    tenant: &Tenant,
    subject: &str,
) -> Result<Vec<RunId>, Fault> {
    let Some(id) = id_of(conn, tenant, (Kind::Subject, subject))? else { return Ok(Vec::new()) };
    let mut statement = conn.prepare_cached("SELECT run FROM facet_runs WHERE facet = ?1")?;
    let mut rows = statement.query([id])?;
    let mut runs: Vec<RunId> = Vec::new();
    while let Some(row) = rows.next()? {
        let key = RunKey::read(row.get_ref(0)?).ok_or_else(unreadable)?;
        runs.push(key.text().parse().map_err(|_| unreadable())?);
    }
    runs.sort();
    Ok(runs)
}

fn unreadable() -> Fault {
    JournalError::Tampered("what runs are found by cannot be read".to_owned()).into()
}

/// Where runs that pass a filter stand, the newest first: at most `size` behind `after`.
pub(super) fn find(
    conn: &Connection,
    tenant: &Tenant,
    filter: &RunFilter,
    (after, size): (Option<&Key>, usize),
) -> Result<Vec<Key>, Fault> {
    let after = after.map(|Key(opened_at, run)| (*opened_at, RunKey::of(run)));
    let top = (filter.until.map_or(At::MAX, |until| until.saturating_sub(1)), LAST_RUN);
    let target = after.iter().fold(top, |top, after| top.min(after.clone()));
    let mut all = Vec::new();
    for ids in wanted(conn, tenant, filter)? {
        let parts = ids.into_iter().map(|id| Sequence::new(id, after.clone())).collect();
        all.push(Either { parts });
    }
    let mut both = Both { all, target, until: filter.from.unwrap_or(At::MIN) };
    let mut found = Vec::new();
    while found.len() < size {
        let Some((opened_at, run)) = both.next(conn)? else { break };
        found.push(Key(opened_at, run.text()));
    }
    Ok(found)
}

/// For each filter, the facets of which a run needs one; a facet that nobody has passes nothing.
fn wanted(conn: &Connection, tenant: &Tenant, filter: &RunFilter) -> Result<Vec<Vec<i64>>, Fault> {
    let status = filter.status.map(status_name);
    let versions = filter.pack.as_ref().filter(|pack| !pack.contains('@'));
    let exact = if versions.is_none() { filter.pack.as_ref() } else { None };
    let operation = filter.operation.as_ref().map(|operation| operation.as_str().to_owned());
    let one = [
        (Kind::Subject, filter.subjects.iter().collect::<Vec<_>>()),
        (Kind::Operation, operation.iter().collect()),
        (Kind::Agent, filter.agent.iter().collect()),
        (Kind::Intent, filter.intent.iter().collect()),
        (Kind::Pack, exact.into_iter().collect()),
        (Kind::Status, status.iter().collect()),
    ];
    let mut all = Vec::new();
    for (kind, names) in one {
        for name in names {
            all.push(id_of(conn, tenant, (kind, name))?.into_iter().collect());
        }
    }
    let ids = |sql: &str, parameters: &[&dyn ToSql]| -> Result<Vec<i64>, Fault> {
        let mut statement = conn.prepare_cached(sql)?;
        let ids = statement.query_map(parameters, |row| row.get(0))?;
        Ok(ids.collect::<rusqlite::Result<_>>()?)
    };
    if let Some(pack) = versions {
        let (low, high) = (format!("{pack}@"), format!("{pack}A"));
        all.push(ids(VERSIONS, &[&tenant.as_str(), &low, &high])?);
    }
    if all.is_empty() {
        // Every listed run has exactly one status.
        all.push(ids(STATUSES, &[&tenant.as_str()])?);
    }
    Ok(all)
}

/// Rows read at first; each time a sequence is read on, twice as many.
const PIECE_MIN: usize = 16;
const PIECE_MAX: usize = 4_096;

/// The runs of one facet, read ahead in pieces that grow while all of it is needed.
struct Sequence {
    facet: i64,
    ahead: VecDeque<Place>,
    /// The last place that was read, or where the page before ended: what comes is behind it.
    last: Option<Place>,
    piece: usize,
    ended: bool,
}

impl Sequence {
    fn new(facet: i64, last: Option<Place>) -> Self {
        Self { facet, ahead: VecDeque::new(), last, piece: PIECE_MIN, ended: false }
    }

    /// The first place at or behind `target` that was not taken.
    fn seek(&mut self, conn: &Connection, target: &Place) -> Result<Option<&Place>, Fault> {
        while !self.ended && self.ahead.back().is_none_or(|last| last > target) {
            self.ahead.clear();
            let from = match self.last.take() {
                Some(last) if last <= *target => {
                    self.piece = (self.piece * 2).min(PIECE_MAX);
                    self.last = Some(last.clone());
                    last
                }
                // What lies between is jumped over.
                _ => {
                    self.piece = PIECE_MIN;
                    target.clone()
                }
            };
            self.read(conn, &from)?;
        }
        let skip = self.ahead.iter().take_while(|place| *place > target).count();
        self.ahead.drain(..skip);
        Ok(self.ahead.front())
    }

    fn read(&mut self, conn: &Connection, from: &Place) -> Result<(), Fault> {
        let mut statement = conn.prepare_cached(RUNS)?;
        let mut rows = statement.query((self.facet, from.0, &from.1, self.piece))?;
        let (mut count, behind) = (0, self.last.take());
        while let Some(row) = rows.next()? {
            let run = RunKey::read(row.get_ref(1)?).ok_or_else(unreadable)?;
            let place = (row.get(0)?, run);
            if behind.as_ref() != Some(&place) {
                self.ahead.push_back(place);
            }
            count += 1;
        }
        self.ended = count < self.piece;
        self.last = self.ahead.back().cloned();
        Ok(())
    }

    fn take(&mut self, place: &Place) {
        if self.ahead.front() == Some(place) {
            self.ahead.pop_front();
        }
    }
}

/// The runs that have one of several facets.
struct Either {
    parts: Vec<Sequence>,
}

impl Either {
    fn seek(&mut self, conn: &Connection, target: &Place) -> Result<Option<Place>, Fault> {
        let mut first: Option<Place> = None;
        for part in &mut self.parts {
            if let Some(place) = part.seek(conn, target)? {
                first = first.max(Some(place.clone()));
            }
        }
        Ok(first)
    }
}

/// The runs that have a facet of each filter.
struct Both {
    all: Vec<Either>,
    /// The next place is here or behind it.
    target: Place,
    /// The last moment that counts.
    until: At,
}

impl Both {
    /// The next place that all agree on.
    fn next(&mut self, conn: &Connection) -> Result<Option<Place>, Fault> {
        loop {
            let mut agreed = true;
            for one in &mut self.all {
                match one.seek(conn, &self.target)? {
                    Some(place) if place.0 < self.until => return Ok(None),
                    Some(place) => {
                        agreed &= place == self.target;
                        self.target = place;
                    }
                    None => return Ok(None),
                }
            }
            if agreed {
                let parts = self.all.iter_mut().flat_map(|one| &mut one.parts);
                parts.for_each(|part| part.take(&self.target));
                return Ok(Some(self.target.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_read_by_their_key_and_never_sorted() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(include_str!("schema/1.sql")).unwrap();
        conn.execute_batch(include_str!("schema/2.sql")).unwrap();
        conn.execute_batch(include_str!("schema/3.sql")).unwrap();
        conn.execute_batch(include_str!("schema/6.sql")).unwrap();
        for sql in [ID, VERSIONS, STATUSES, RUNS] {
            let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let blank = vec![rusqlite::types::Null; statement.parameter_count()];
            let lines = statement
                .query_map(rusqlite::params_from_iter(blank), |row| row.get::<_, String>(3))
                .unwrap();
            let plan: Vec<String> = lines.map(Result::unwrap).collect();
            assert_eq!(plan.len(), 1, "{sql}: {plan:?}");
            assert!(plan.iter().all(|line| line.contains("USING PRIMARY KEY (")), "{plan:?}");
            let in_order = sql != RUNS || plan.iter().any(|l| l.contains("(opened_at,run)<"));
            assert!(in_order, "{plan:?}");
        }
    }

    #[test]
    fn a_run_reads_back_from_its_key() {
        for run in [
            "run_91e7182ba3004718cd321dbfffcc8ffb",
            "run_x",
            "run_91E7182ba3004718cd321dbfffcc8ffb",
        ] {
            assert_eq!(RunKey::of(run).text(), run);
        }
    }
}
