//! SQL: one parameterised statement per call, inside a transaction that its row count may undo.
//!
//! Until the commit is on its way nothing has landed, whatever happens; only a lost commit is unknown.

mod postgres;
mod sqlite;
mod statement;

use std::{sync::Arc, time::Duration};

use kernel::{
    exception::{Class, Landed},
    operation::{Operation, Retry},
    port::Failure,
};
use serde_json::{Value, json};

pub(crate) use postgres::check_dsn;

use crate::{
    blob::PREVIEW_BYTES,
    call::{Call, Departure, fail, refuse},
    error::Error,
    ingest::Received,
    read::Reader,
    secret::Vault,
    system::System,
};
use statement::Statement;

/// Most rows a read may ever return.
pub(crate) const ROWS_MAX: u64 = 10_000;

/// Rows a read may return when its binding does not say.
const ROWS_DEFAULT_MAX: u64 = 1_000;

/// Instead of a pointer: the effect key, for statements that deduplicate on it.
const KEY: &str = "$key";

/// One operation as a statement.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) system: String,
    statement: Statement,
    /// In the order of the statement's numbers: where each value comes from.
    sources: Vec<String>,
    bounds: Bounds,
    one: bool,
}

/// How many rows a statement must touch or return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    min: u64,
    max: u64,
}

/// What one SQL call needs besides the call itself.
#[derive(Debug)]
pub(crate) struct Wire<'a> {
    pub(crate) system: &'a System,
    pub(crate) vault: &'a Vault,
    pub(crate) departure: &'a Arc<Departure>,
    pub(crate) deadline: Duration,
}

impl Query {
    pub(crate) fn compile(binding: &Reader<'_>, operation: &Operation) -> Result<Self, Error> {
        binding.only(&["kind", "system", "statement", "params", "rows", "one"])?;
        let statement = statement::parse(binding.text("statement")?);
        let statement = statement.map_err(|problem| binding.error("statement", problem))?;
        let sources = sources(binding, &statement)?;
        let bounds = bounds(binding, operation)?;
        let one = binding.flag("one")?;
        if one && operation.is_write() {
            return Err(
                binding.error("one", "a write returns `{\"affected\": n}`; leave `one` out")
            );
        }
        let keyed = operation.is_write() && operation.facts.retry == Retry::Keyed;
        if keyed && !sources.iter().any(|source| source == KEY) {
            let text = "the operation declares `retry: keyed`, but no parameter is `\"$key\"`";
            return Err(binding.error("params", text));
        }
        Ok(Self { system: binding.text("system")?.to_owned(), statement, sources, bounds, one })
    }

    /// The values in the order of the statement's numbers. An absent argument is NULL.
    fn values(&self, call: &Call) -> Vec<Value> {
        let value = |source: &String| match source.as_str() {
            KEY => Value::String(call.key.as_str().to_owned()),
            pointer => call.args.pointer(pointer).cloned().unwrap_or(Value::Null),
        };
        self.sources.iter().map(value).collect()
    }

    /// The rows of a read as its output, or why there are too many or too few.
    fn shape(&self, rows: Vec<Value>) -> Result<Received, Failure> {
        self.bounds.check(rows.len() as u64)?;
        if !self.one {
            return Ok(Received::Value(json!({"rows": rows})));
        }
        let first = rows.into_iter().next();
        Ok(first.map_or_else(|| Received::Absent(Vec::new()), Received::Value))
    }
}

impl Bounds {
    fn check(self, rows: u64) -> Result<(), Failure> {
        let Self { min, max } = self;
        if rows > max {
            let message = format!("more rows than the {max} allowed; nothing was changed");
            return Err(fail(Class::Duplicate, Landed::No, message));
        }
        if rows < min {
            let message =
                format!("{rows} rows where at least {min} were promised; nothing was changed");
            return Err(fail(Class::MissingField, Landed::No, message));
        }
        Ok(())
    }
}

/// Counts what a read collects, so that no result fills the memory.
#[derive(Debug, Default)]
struct Weight(usize);

impl Weight {
    fn add(&mut self, row: &Value) -> Result<(), Failure> {
        self.0 = self.0.saturating_add(row.to_string().len());
        if self.0 <= PREVIEW_BYTES {
            return Ok(());
        }
        let message = format!(
            "the rows are larger than {PREVIEW_BYTES} bytes; select fewer or narrower ones"
        );
        Err(fail(Class::UnexpectedShape, Landed::No, message))
    }
}

fn sources(binding: &Reader<'_>, statement: &Statement) -> Result<Vec<String>, Error> {
    let params = binding.child("params")?;
    let mut sources = Vec::new();
    for name in &statement.names {
        let source = params.as_ref().map_or(Ok(None), |params| params.text_opt(name))?;
        let source = source.ok_or_else(|| {
            binding.error(
                "params",
                format!("`:{name}` of the statement is bound to nothing; add `\"{name}\": \"/…\"`"),
            )
        })?;
        if source != KEY {
            binding.check_pointer("params", source)?;
        }
        sources.push(source.to_owned());
    }
    let declared = params.iter().flat_map(Reader::entries);
    match declared.map(|(name, _)| name).find(|name| !statement.names.contains(name)) {
        Some(unused) => {
            Err(binding.error("params", format!("`{unused}` does not stand in the statement")))
        }
        None => Ok(sources),
    }
}

/// What is not declared: a write touches exactly one row, `one` returns exactly one.
fn bounds(binding: &Reader<'_>, operation: &Operation) -> Result<Bounds, Error> {
    let one = binding.flag("one")?;
    let usual = match (operation.is_write(), one) {
        (true, _) | (_, true) => Bounds { min: 1, max: 1 },
        (false, false) => Bounds { min: 0, max: ROWS_DEFAULT_MAX },
    };
    let Some(rows) = binding.child("rows")? else {
        return Ok(usual);
    };
    rows.only(&["min", "max"])?;
    let max = rows.count("max")?.unwrap_or(usual.max);
    let min = rows.count("min")?.unwrap_or(usual.min.min(max));
    if min > max || max > ROWS_MAX {
        return Err(
            binding.error("rows", format!("`min` must not exceed `max`, nor `max` {ROWS_MAX}"))
        );
    }
    if one && max != 1 {
        return Err(binding.error("rows", "`one` allows a `max` of 1 only"));
    }
    Ok(Bounds { min, max })
}

/// Runs the statement.
pub(crate) async fn call(query: &Query, call: &Call, wire: &Wire<'_>) -> Result<Received, Failure> {
    match wire.system {
        System::Sqlite { path, .. } => sqlite::call(query, call, path, wire).await,
        System::Postgres { dsn, password, .. } => {
            let login =
                postgres::Login { system: &query.system, dsn, password: password.as_deref() };
            postgres::call(query, call, login, wire).await
        }
        System::Http { .. }
        | System::Smtp { .. }
        | System::Process(_)
        | System::Folder(_)
        | System::Web(_)
        | System::Worker(_)
        | System::Acp(_)
        | System::Mcp(_) => Err(refuse(format!("system `{}` is no database", query.system))),
    }
}

/// Column names must differ: a row is an object.
fn check_columns<'a>(names: impl Iterator<Item = &'a str>) -> Result<Vec<String>, Failure> {
    let mut seen: Vec<String> = Vec::new();
    for name in names {
        if seen.iter().any(|other| other == name) {
            let message =
                format!("two columns are named `{name}`; give one another name with `as`");
            return Err(fail(Class::UnexpectedShape, Landed::No, message));
        }
        seen.push(name.to_owned());
    }
    Ok(seen)
}

/// An integer as a number while every JSON reader agrees on it, as text beyond.
fn integer(number: i64) -> Value {
    if number.unsigned_abs() <= kernel::canon::INTEGER_MAX {
        json!(number)
    } else {
        json!(number.to_string())
    }
}

/// A double as a number; what JSON cannot hold as text.
fn double(number: f64) -> Value {
    serde_json::Number::from_f64(number).map_or_else(|| json!(number.to_string()), Value::Number)
}

#[cfg(test)]
mod tests;
