//! [`Query`] in SQL. Every statement names the tenant first.

use kernel::{
    event::Record,
    exception::{Class, Need},
    id::{Digest, RunId, Seq, Tenant},
    port::{JournalError, Task},
    project::{ApprovalRow, RunRow},
};
use rusqlite::{Connection, OptionalExtension, Row, ToSql};

use crate::{
    Error, PAGE_MAX,
    query::{
        ApprovalEntry, ExceptionEntry, ExceptionFilter, Key, Listed, Page, Query, ReceiptEntry,
        RunEntry, RunFilter, State, Stats, Thing, TokenEntry, Waiting,
    },
};

use super::{
    Fault, Sqlite, facets, load, log,
    project::{Kept, KeptAsk, from_json, parse},
};

const RUN_COLUMNS: &str = "run, row, next_seq, head_hash, epoch, wake_at, inbox_pending, coalesce(opened_at, 0), status, intent, pack, agent";

/// The conditions an [`ExceptionFilter`] adds, from parameter 5 on.
macro_rules! exceptions_filtered {
    () => {
        " AND (?5 IS NULL OR run = ?5)
          AND (?6 IS NULL OR json_extract(row, '$.class') = ?6)
          AND (?7 IS NULL OR json_extract(row, '$.need') = ?7)
          AND (?8 IS NULL OR json_extract(row, '$.owner') = ?8)
          AND (?9 IS NULL OR at < ?9)"
    };
}

/// The places of a list's first page, ascending and descending.
const FIRST: (i64, &str) = (i64::MIN, "");
const LAST: (i64, &str) = (i64::MAX, "\u{10ffff}");

impl Query for Sqlite {
    fn run(&self, tenant: &Tenant, run: &RunId) -> Task<'_, Result<Option<RunEntry>, Error>> {
        let (tenant, run) = (tenant.clone(), run.clone());
        Box::pin(async move { Ok(self.read(move |conn| one_run(conn, &tenant, &run)).await?) })
    }

    fn runs(
        &self,
        tenant: &Tenant,
        filter: RunFilter,
        page: Page,
    ) -> Task<'_, Result<Listed<RunEntry>, Error>> {
        let tenant = tenant.clone();
        Box::pin(async move {
            let (after, size) = (Key::decode("runs", &page)?, page.size());
            let found =
                self.read(move |conn| list_runs(conn, &tenant, &filter, (after, size))).await?;
            Ok(Listed::cut("runs", found, size))
        })
    }

    fn events(
        &self,
        tenant: &Tenant,
        run: &RunId,
        from: Seq,
        limit: usize,
    ) -> Task<'_, Result<Vec<Record>, Error>> {
        let (tenant, run) = (tenant.clone(), run.clone());
        let limit = limit.min(PAGE_MAX);
        Box::pin(async move {
            Ok(self.read(move |conn| load::load_slice(conn, (&tenant, &run), from, limit)).await?)
        })
    }

    fn find_run(&self, tenant: &Tenant, thing: &Thing) -> Task<'_, Result<Option<RunId>, Error>> {
        let (sql, id) = match thing {
            Thing::Receipt(id) => {
                ("SELECT run FROM receipts WHERE tenant = ?1 AND id = ?2", id.to_string())
            }
            Thing::Approval(id) => {
                ("SELECT run FROM approvals WHERE tenant = ?1 AND id = ?2", id.to_string())
            }
            Thing::Exception(id) => {
                ("SELECT run FROM exceptions WHERE tenant = ?1 AND id = ?2", id.to_string())
            }
            Thing::Token(id) => {
                ("SELECT run FROM tokens WHERE tenant = ?1 AND id = ?2", id.to_string())
            }
        };
        let tenant = tenant.clone();
        Box::pin(async move {
            let found = move |conn: &Connection| {
                let found = select(conn, sql, &[&tenant.as_str(), &id], |row| parse(row, 0))?;
                Ok(found.into_iter().next())
            };
            Ok(self.read(found).await?)
        })
    }

    fn approvals(
        &self,
        tenant: &Tenant,
        state: State,
        page: Page,
    ) -> Task<'_, Result<Listed<ApprovalEntry>, Error>> {
        let (list, first, sql) = match state {
            State::Open => (
                "approvals-open",
                FIRST,
                "SELECT run, row, state, closed_at, expires_at, id, opened_at, expires_at FROM approvals
                 WHERE tenant = ?1 AND state IS NULL AND (expires_at, id) > (?2, ?3)
                 ORDER BY expires_at, id LIMIT ?4",
            ),
            State::All => (
                "approvals",
                LAST,
                "SELECT run, row, state, closed_at, opened_at, id, opened_at, expires_at FROM approvals
                 WHERE tenant = ?1 AND (opened_at, id) < (?2, ?3) ORDER BY opened_at DESC, id DESC LIMIT ?4",
            ),
        };
        self.list(tenant, (list, first, page), sql, |row| {
            let (state, closed_at) = (row.get(2)?, row.get(3)?);
            let entry = ApprovalEntry {
                run: parse(row, 0)?,
                row: ask_row(row, from_json(text(row, 1)?)?)?,
                state,
                closed_at,
            };
            Ok((Key(row.get(4)?, row.get(5)?), entry))
        })
    }

    fn exceptions(
        &self,
        tenant: &Tenant,
        (state, filter): (State, ExceptionFilter),
        page: Page,
    ) -> Task<'_, Result<Listed<ExceptionEntry>, Error>> {
        let (list, first, sql) = match state {
            State::Open => (
                "exceptions-open",
                FIRST,
                concat!(
                    "SELECT run, row, closed_at, at, id FROM exceptions
                     WHERE tenant = ?1 AND closed_at IS NULL AND (at, id) > (?2, ?3)",
                    exceptions_filtered!(),
                    " ORDER BY at, id LIMIT ?4"
                ),
            ),
            State::All => (
                "exceptions",
                LAST,
                concat!(
                    "SELECT run, row, closed_at, at, id FROM exceptions
                     WHERE tenant = ?1 AND (at, id) < (?2, ?3)",
                    exceptions_filtered!(),
                    " ORDER BY at DESC, id DESC LIMIT ?4"
                ),
            ),
        };
        let tenant = tenant.clone();
        Box::pin(async move {
            let after = Key::decode(list, &page)?;
            let after = after.unwrap_or_else(|| Key(first.0, first.1.to_owned()));
            let size = page.size();
            let found = move |conn: &Connection| {
                let run = filter.run.as_ref().map(RunId::as_str);
                let (class, need) = (filter.class.map(Class::name), filter.need.map(word));
                let parameters: [&dyn ToSql; 9] = [
                    &tenant.as_str(),
                    &after.0,
                    &after.1,
                    &(size + 1),
                    &run,
                    &class,
                    &need,
                    &filter.owner,
                    &filter.until,
                ];
                select(conn, sql, &parameters, exception_entry)
            };
            Ok(Listed::cut(list, self.read(found).await?, size))
        })
    }

    fn tokens(
        &self,
        tenant: &Tenant,
        run: &RunId,
        page: Page,
    ) -> Task<'_, Result<Listed<TokenEntry>, Error>> {
        let sql = "SELECT run, id, action, undo, state, expires_at FROM tokens
                   WHERE tenant = ?1 AND (action, id) > (?2, ?3) AND run = ?5 ORDER BY action, id LIMIT ?4";
        self.list_of_run(
            tenant,
            run,
            ("tokens", page),
            (sql, |row| {
                let entry = TokenEntry {
                    run: parse(row, 0)?,
                    id: parse(row, 1)?,
                    action: row.get(2)?,
                    undo: from_json(text(row, 3)?)?,
                    state: row.get(4)?,
                    expires_at: row.get(5)?,
                };
                Ok((Key(row.get(2)?, row.get(1)?), entry))
            }),
        )
    }

    fn receipts(
        &self,
        tenant: &Tenant,
        run: &RunId,
        page: Page,
    ) -> Task<'_, Result<Listed<ReceiptEntry>, Error>> {
        let sql = "SELECT id, run, idx, action, log_index, leaf, at FROM receipts
                   WHERE tenant = ?1 AND (idx, '') > (?2, ?3) AND run = ?5 ORDER BY idx LIMIT ?4";
        self.list_of_run(
            tenant,
            run,
            ("receipts", page),
            (sql, |row| Ok((Key(row.get(2)?, String::new()), log::receipt_entry(row)?))),
        )
    }

    fn stats(&self, tenant: &Tenant) -> Task<'_, Result<Stats, Error>> {
        let tenant = tenant.clone();
        let counters = std::sync::Arc::clone(&self.counters);
        Box::pin(async move { Ok(self.read(move |conn| count(conn, &tenant, &counters)).await?) })
    }

    fn waiting(&self, tenant: &Tenant) -> Task<'_, Result<Waiting, Error>> {
        let tenant = tenant.clone();
        Box::pin(async move { Ok(self.read(move |conn| count_waiting(conn, &tenant)).await?) })
    }
}

/// How one row becomes an item with its key.
type Decode<T> = fn(&Row<'_>) -> Result<(Key, T), Fault>;

impl Sqlite {
    fn list<T: Send + 'static>(
        &self,
        tenant: &Tenant,
        (list, first, page): (&'static str, (i64, &'static str), Page),
        sql: &'static str,
        decode: Decode<T>,
    ) -> Task<'_, Result<Listed<T>, Error>> {
        let tenant = tenant.clone();
        Box::pin(async move {
            let after =
                Key::decode(list, &page)?.unwrap_or_else(|| Key(first.0, first.1.to_owned()));
            let size = page.size();
            let found = move |conn: &Connection| {
                select(conn, sql, &[&tenant.as_str(), &after.0, &after.1, &(size + 1)], decode)
            };
            Ok(Listed::cut(list, self.read(found).await?, size))
        })
    }

    fn list_of_run<T: Send + 'static>(
        &self,
        tenant: &Tenant,
        run: &RunId,
        (list, page): (&'static str, Page),
        (sql, decode): (&'static str, Decode<T>),
    ) -> Task<'_, Result<Listed<T>, Error>> {
        let (tenant, run) = (tenant.clone(), run.clone());
        Box::pin(async move {
            let after =
                Key::decode(list, &page)?.unwrap_or_else(|| Key(FIRST.0, FIRST.1.to_owned()));
            let size = page.size();
            let found = move |conn: &Connection| {
                let parameters: [&dyn ToSql; 5] =
                    [&tenant.as_str(), &after.0, &after.1, &(size + 1), &run.as_str()];
                select(conn, sql, &parameters, decode)
            };
            Ok(Listed::cut(list, self.read(found).await?, size))
        })
    }
}

fn exception_entry(row: &Row<'_>) -> Result<(Key, ExceptionEntry), Fault> {
    let closed_at = row.get(2)?;
    let entry =
        ExceptionEntry { run: parse(row, 0)?, exception: from_json(text(row, 1)?)?, closed_at };
    Ok((Key(row.get(3)?, row.get(4)?), entry))
}

/// What an exception needs, as its column says it.
fn word(need: Need) -> String {
    let value = serde_json::to_value(need).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// All rows of a statement, decoded.
pub(super) fn select<T>(
    conn: &Connection,
    sql: &str,
    parameters: &[&dyn ToSql],
    decode: impl Fn(&Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(decode(row)?);
    }
    Ok(found)
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, Fault> {
    Ok(row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?)
}

/// The columns of [`RUN_COLUMNS`].
fn run_entry(row: &Row<'_>) -> Result<RunEntry, Fault> {
    let json: Option<String> = row.get(1)?;
    Ok(RunEntry {
        run: parse(row, 0)?,
        row: json.as_deref().map(|json| run_row(row, from_json(json)?)).transpose()?,
        next_seq: row.get(2)?,
        head: Digest(row.get(3)?),
        epoch: row.get(4)?,
        wake_at: row.get(5)?,
        inbox: row.get(6)?,
    })
}

fn ask_row(row: &Row<'_>, kept: KeptAsk) -> Result<ApprovalRow, Fault> {
    let (sort, step, action, roles) = match kept {
        KeptAsk::Rest(sort, step, action, roles) => (sort, step, action, roles),
        KeptAsk::Whole(whole) => return Ok(*whole),
    };
    let (opened_at, expires_at) = (row.get(6)?, row.get(7)?);
    Ok(ApprovalRow { id: parse(row, 5)?, sort, step, action, roles, opened_at, expires_at })
}

fn run_row(row: &Row<'_>, kept: Kept) -> Result<RunRow, Fault> {
    let (on_behalf_of, subjects, at) = match kept {
        Kept::Rest(on_behalf_of, subjects, at) => (on_behalf_of, subjects, at),
        Kept::Whole(whole) => return Ok(*whole),
    };
    let status = serde_json::Value::from(text(row, 8)?);
    let unknown = |e| JournalError::Tampered(format!("a run's status cannot be read: {e}"));
    Ok(RunRow {
        status: serde_json::from_value(status).map_err(unknown)?,
        intent: row.get(9)?,
        pack: row.get(10)?,
        agent: row.get(11)?,
        on_behalf_of,
        subjects,
        opened_at: row.get(7)?,
        at,
        events: row.get(2)?,
    })
}

fn one_run(conn: &Connection, tenant: &Tenant, run: &RunId) -> Result<Option<RunEntry>, Fault> {
    let sql = format!("SELECT {RUN_COLUMNS} FROM runs WHERE tenant = ?1 AND run = ?2");
    Ok(select(conn, &sql, &[&tenant.as_str(), &run.as_str()], run_entry)?.into_iter().next())
}

fn list_runs(
    conn: &Connection,
    tenant: &Tenant,
    filter: &RunFilter,
    (after, size): (Option<Key>, usize),
) -> Result<Vec<(Key, RunEntry)>, Fault> {
    let places = facets::find(conn, tenant, filter, (after.as_ref(), size + 1))?;
    let sql = format!("SELECT {RUN_COLUMNS} FROM runs WHERE tenant = ?1 AND run = ?2");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut found = Vec::with_capacity(places.len());
    for place in places {
        let mut rows = statement.query((tenant.as_str(), &place.1))?;
        let gone = || JournalError::Tampered(format!("run {} is listed and not there", place.1));
        let entry = run_entry(rows.next()?.ok_or_else(gone)?)?;
        drop(rows);
        found.push((place, entry));
    }
    Ok(found)
}

fn count_one(conn: &Connection, tenant: &Tenant, sql: &str) -> Result<u64, Fault> {
    let counted = conn.prepare_cached(sql)?.query_row([tenant.as_str()], |row| row.get(0));
    Ok(counted.optional()?.unwrap_or(0))
}

/// Both are counted in indexes that hold nothing else.
fn count_waiting(conn: &Connection, tenant: &Tenant) -> Result<Waiting, Fault> {
    let one = |sql| count_one(conn, tenant, sql);
    Ok(Waiting {
        approvals: one("SELECT count(*) FROM approvals WHERE tenant = ?1 AND state IS NULL")?,
        exceptions: one("SELECT count(*) FROM exceptions WHERE tenant = ?1 AND closed_at IS NULL")?,
    })
}

fn count(conn: &Connection, tenant: &Tenant, counters: &super::Counters) -> Result<Stats, Fault> {
    use std::sync::atomic::Ordering::Relaxed;
    let one = |sql| count_one(conn, tenant, sql);
    let pages: u64 = super::pragma(conn, "page_count")?;
    let page_bytes: u64 = super::pragma(conn, "page_size")?;
    let waiting = count_waiting(conn, tenant)?;
    Ok(Stats {
        runs: one("SELECT count(*) FROM runs WHERE tenant = ?1")?,
        events: one("SELECT coalesce(sum(next_seq), 0) FROM runs WHERE tenant = ?1")?,
        receipts: one("SELECT count(*) FROM receipts WHERE tenant = ?1")?,
        approvals_open: waiting.approvals,
        exceptions_open: waiting.exceptions,
        writes: counters.writes.load(Relaxed),
        commits: counters.commits.load(Relaxed),
        file_bytes: pages * page_bytes,
    })
}
