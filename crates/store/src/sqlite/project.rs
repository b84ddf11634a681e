//! Projections as rows: written with the events they follow from, in the same transaction.

use std::{fmt::Display, str::FromStr};

use kernel::{
    id::{At, Seq},
    port::JournalError,
    project::{ApprovalRow, Change, ExceptionRow, RunRow},
};
use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::query::status_name;

use super::{Fault, append::Place, facets};

/// Applies one change.
pub(super) fn apply(conn: &Connection, place: Place<'_>, change: &Change) -> Result<(), Fault> {
    let (tenant, run) = (place.0.as_str(), place.1.as_str());
    match change {
        // The run's row is moved on with its head.
        Change::Run(_) => {}
        Change::ApprovalOpened(row) => open_approval(conn, place, row)?,
        Change::ApprovalClosed { id, state, at } => {
            conn.prepare_cached(
                "UPDATE approvals SET state = ?4, closed_at = ?5 WHERE tenant = ?1 AND run = ?2 AND id = ?3",
            )?
            .execute((tenant, run, id.as_str(), state, at))?;
        }
        Change::ExceptionOpened(row) => open_exception(conn, place, row)?,
        Change::ExceptionClosed { id, at } => {
            conn.prepare_cached(
                "UPDATE exceptions SET closed_at = ?4 WHERE tenant = ?1 AND run = ?2 AND id = ?3",
            )?
            .execute((tenant, run, id.as_str(), at))?;
        }
        Change::Token { id, action, undo, state, expires_at } => {
            conn.prepare_cached(
                "INSERT OR REPLACE INTO tokens (tenant, id, run, action, undo, state, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute((
                tenant,
                id.as_str(),
                run,
                action,
                json(undo)?,
                state,
                expires_at,
            ))?;
        }
        // The receipt itself comes with the batch, with its envelope.
        Change::Receipt { .. } => {}
    }
    Ok(())
}

/// What the column `row` of a run holds: the part of its row that no other column tells.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Kept {
    /// For whom, about whom, and when it last changed.
    Rest(String, Vec<String>, At),
    /// All of it, as earlier builds wrote it.
    Whole(Box<RunRow>),
}

/// The same of an ask.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum KeptAsk {
    /// Its sort, step, action and roles.
    Rest(String, String, Option<Seq>, Vec<String>),
    /// All of it, as earlier builds wrote it.
    Whole(Box<ApprovalRow>),
}

/// [`Kept::Rest`] of a row, to be written.
pub(super) fn rest_of(row: &RunRow) -> Result<String, Fault> {
    json(&(&row.on_behalf_of, &row.subjects, row.at))
}

/// What a run's row says beside its head. A run has other subjects or another intent never, so this is
/// written when it opens and when its status changes.
pub(super) fn put_run(
    conn: &Connection,
    place: Place<'_>,
    (before, row): (Option<&str>, &RunRow),
) -> Result<(), Fault> {
    conn.prepare_cached(
        "UPDATE runs SET status = ?3, intent = ?4, pack = ?5, agent = ?6, opened_at = ?7
         WHERE tenant = ?1 AND run = ?2",
    )?
    .execute((
        place.0.as_str(),
        place.1.as_str(),
        status_name(row.status),
        &row.intent,
        &row.pack,
        &row.agent,
        row.opened_at,
    ))?;
    facets::put_row(conn, place, (before, row))
}

fn open_approval(
    conn: &Connection,
    (tenant, run): Place<'_>,
    row: &ApprovalRow,
) -> Result<(), Fault> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO approvals (tenant, id, run, opened_at, expires_at, row) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((
        tenant.as_str(),
        row.id.as_str(),
        run.as_str(),
        row.opened_at,
        row.expires_at,
        json(&(&row.sort, &row.step, row.action, &row.roles))?,
    ))?;
    Ok(())
}

fn open_exception(
    conn: &Connection,
    (tenant, run): Place<'_>,
    row: &ExceptionRow,
) -> Result<(), Fault> {
    let exception = &row.exception;
    conn.prepare_cached(
        "INSERT OR REPLACE INTO exceptions (tenant, id, run, at, row) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute((
        tenant.as_str(),
        exception.id.as_str(),
        run.as_str(),
        exception.at,
        json(exception)?,
    ))?;
    Ok(())
}

fn json<T: Serialize>(value: &T) -> Result<String, Fault> {
    serde_json::to_string(value)
        .map_err(|e| Fault::medium(format!("cannot write a projection: {e}")))
}

/// A JSON column.
pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    let broken = |e| JournalError::Tampered(format!("a projection cannot be read: {e}"));
    Ok(serde_json::from_str(text).map_err(broken)?)
}

/// A column that holds an identifier.
pub(super) fn parse<T: FromStr<Err: Display>>(row: &Row<'_>, column: usize) -> Result<T, Fault> {
    let text = row.get_ref(column)?.as_str().unwrap_or_default();
    Ok(text.parse().map_err(|e| JournalError::Tampered(format!("a row cannot be read: {e}")))?)
}
