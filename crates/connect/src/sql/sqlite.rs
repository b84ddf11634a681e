//! SQLite: a connection per call on a thread of its own, interrupted when the call's time is up.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kernel::{
    exception::{Class, Landed},
    port::Failure,
};
use rusqlite::{
    Connection, ErrorCode, InterruptHandle, OpenFlags, Row, limits::Limit, types::ValueRef,
};
use serde_json::{Map, Value, json};

use super::{Bounds, Query, Weight, Wire, check_columns, double, integer};
use crate::{
    call::{Call, Departure, fail, refuse},
    ingest::{Received, excerpt},
};

/// A message that holds nothing of the outside needs no redaction here; the registry scrubs them all.
const NO_ANSWER: &str = "the database call was abandoned";

struct Job {
    path: PathBuf,
    statement: String,
    values: Vec<Value>,
    bounds: Bounds,
    is_write: bool,
    departure: Arc<Departure>,
    deadline: Duration,
    stop: Arc<Stop>,
}

/// Tells the thread that nobody waits any more.
#[derive(Default)]
struct Stop {
    stopped: AtomicBool,
    handle: Mutex<Option<InterruptHandle>>,
}

impl Stop {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}

/// Stops the thread when the waiting future is dropped.
struct StopOnDrop(Arc<Stop>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        if let Some(handle) = &*self.0.handle.lock().unwrap_or_else(PoisonError::into_inner) {
            handle.interrupt();
        }
    }
}

enum Done {
    Rows(Vec<Value>),
    Affected(u64),
}

enum Trouble {
    Sqlite(rusqlite::Error),
    Failure(Failure),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

pub(super) async fn call(
    query: &Query,
    call: &Call,
    path: &Path,
    wire: &Wire<'_>,
) -> Result<Received, Failure> {
    let stop = Arc::new(Stop::default());
    let job = Job {
        path: path.to_owned(),
        statement: query.statement.sqlite.clone(),
        values: query.values(call),
        bounds: query.bounds,
        is_write: call.operation.is_write(),
        departure: Arc::clone(wire.departure),
        deadline: wire.deadline,
        stop: Arc::clone(&stop),
    };
    let guard = StopOnDrop(stop);
    let done = tokio::task::spawn_blocking(move || run(&job)).await;
    drop(guard);
    let done = done.map_err(|_| fail(Class::Unavailable, wire.departure.landed(), NO_ANSWER))?;
    match done {
        Ok(Done::Rows(rows)) => query.shape(rows),
        Ok(Done::Affected(affected)) => Ok(Received::Value(json!({"affected": affected}))),
        Err(Trouble::Failure(failure)) => Err(failure),
        Err(Trouble::Sqlite(error)) => {
            let said = excerpt(error.to_string().as_bytes(), &wire.vault.redactor(), &call.masks);
            Err(fail(
                class(&error),
                wire.departure.landed(),
                format!("the database refused: {said}"),
            ))
        }
    }
}

fn run(job: &Job) -> Result<Done, Trouble> {
    let access = if job.is_write {
        OpenFlags::SQLITE_OPEN_READ_WRITE
    } else {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    };
    let mut connection =
        Connection::open_with_flags(&job.path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    *job.stop.handle.lock().unwrap_or_else(PoisonError::into_inner) =
        Some(connection.get_interrupt_handle());
    if job.stop.is_stopped() {
        return Err(fail(Class::Timeout, Landed::No, NO_ANSWER).into());
    }
    connection.busy_timeout(job.deadline)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    if job.is_write {
        return write(&mut connection, job);
    }
    connection.pragma_update(None, "query_only", true)?;
    read(&connection, job)
}

fn read(connection: &Connection, job: &Job) -> Result<Done, Trouble> {
    let mut statement = connection.prepare(&job.statement)?;
    if !statement.readonly() {
        return Err(refuse("the operation is declared as a read, its statement writes").into());
    }
    let columns = check_columns(statement.column_names())?;
    bind(&mut statement, &job.values)?;
    job.departure.leave()?;
    let mut found = statement.raw_query();
    let (mut rows, mut weight) = (Vec::new(), Weight::default());
    while let Some(row) = found.next()? {
        let row = object(row, &columns)?;
        weight.add(&row)?;
        rows.push(row);
        if rows.len() as u64 > job.bounds.max {
            break;
        }
    }
    Ok(Done::Rows(rows))
}

fn write(connection: &mut Connection, job: &Job) -> Result<Done, Trouble> {
    job.departure.check()?;
    // Waits for other writers here; dropped without a commit it rolls back.
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let mut statement = transaction.prepare(&job.statement)?;
    bind(&mut statement, &job.values)?;
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    drop(rows);
    drop(statement);
    let affected = transaction.changes();
    job.bounds.check(affected)?;
    if job.stop.is_stopped() {
        return Err(fail(Class::Timeout, Landed::No, NO_ANSWER).into());
    }
    job.departure.mark_sent()?;
    match transaction.commit() {
        Ok(()) => Ok(Done::Affected(affected)),
        Err(error) if class(&error) == Class::Unavailable && is_busy(&error) => {
            Err(fail(Class::Unavailable, Landed::No, "the database is busy; nothing was changed")
                .into())
        }
        Err(error) => Err(error.into()),
    }
}

fn bind(statement: &mut rusqlite::Statement<'_>, values: &[Value]) -> Result<(), Trouble> {
    for (index, value) in values.iter().enumerate() {
        let at = index + 1;
        match value {
            Value::Null => statement.raw_bind_parameter(at, rusqlite::types::Null)?,
            Value::Bool(flag) => statement.raw_bind_parameter(at, *flag)?,
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => statement.raw_bind_parameter(at, whole)?,
                (None, Some(real)) => statement.raw_bind_parameter(at, real)?,
                (None, None) => return Err(refuse("a number is out of range").into()),
            },
            Value::String(text) => statement.raw_bind_parameter(at, text.as_str())?,
            Value::Array(_) | Value::Object(_) => {
                statement.raw_bind_parameter(at, value.to_string())?
            }
        }
    }
    Ok(())
}

fn object(row: &Row<'_>, columns: &[String]) -> Result<Value, Trouble> {
    let mut map = Map::new();
    for (index, name) in columns.iter().enumerate() {
        let value = match row.get_ref(index)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => integer(number),
            ValueRef::Real(number) => double(number),
            ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => json!(text),
                Err(_) => {
                    let message = format!("the column `{name}` is not UTF-8 text");
                    return Err(fail(Class::UnexpectedShape, Landed::No, message).into());
                }
            },
            ValueRef::Blob(bytes) => json!(STANDARD.encode(bytes)),
        };
        map.insert(name.clone(), value);
    }
    Ok(Value::Object(map))
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn class(error: &rusqlite::Error) -> Class {
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => Class::Timeout,
        Some(ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            Class::Permission
        }
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::CannotOpen
            | ErrorCode::SystemIoFailure
            | ErrorCode::DiskFull
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::OutOfMemory,
        ) => Class::Unavailable,
        _ => Class::InvalidArguments,
    }
}
