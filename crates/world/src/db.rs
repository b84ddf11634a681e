//! The world's one database: opened, given its tables, and lent out one transaction at a time.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::config::Error;
use crate::{clock, seed};

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, id TEXT NOT NULL, seq INTEGER NOT NULL, parent TEXT,
    doc TEXT NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (kind, id)
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS records_by_seq ON records (kind, seq);
CREATE INDEX IF NOT EXISTS records_by_parent ON records (kind, parent, seq);
CREATE TABLE IF NOT EXISTS effects (
    system TEXT NOT NULL, operation TEXT NOT NULL, key TEXT NOT NULL,
    requested INTEGER NOT NULL, performed INTEGER NOT NULL,
    PRIMARY KEY (system, operation, key)
) STRICT;
CREATE TABLE IF NOT EXISTS answers (
    system TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL,
    status INTEGER NOT NULL, body TEXT NOT NULL, version INTEGER, PRIMARY KEY (system, key)
) STRICT;
CREATE TABLE IF NOT EXISTS mail (
    id INTEGER PRIMARY KEY, message_id TEXT UNIQUE, sender TEXT NOT NULL,
    recipients TEXT NOT NULL, subject TEXT NOT NULL, body TEXT NOT NULL,
    deliveries INTEGER NOT NULL
) STRICT;
";

/// The database, shared by all systems. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Db {
    connection: Arc<Mutex<Connection>>,
}

impl Db {
    /// Opens `path` (or memory); fills it from the seed when it is new. Blocks.
    pub(crate) fn open(path: Option<&Path>, seed: u64, accounts: u32) -> Result<Self, Error> {
        let mut connection = match path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        if path.is_some() {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "NORMAL")?;
        }
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(TABLES)?;
        match (read_meta(&tx, "seed")?, read_meta(&tx, "accounts")?) {
            (None, _) | (_, None) => {
                write_meta(&tx, "seed", &seed.to_string())?;
                write_meta(&tx, "accounts", &accounts.to_string())?;
                write_meta(&tx, "now", &clock::START_SECONDS.to_string())?;
                seed::fill(&tx, seed, accounts)?;
            }
            (Some(held_seed), Some(held_accounts)) => {
                if held_seed != seed.to_string() || held_accounts != accounts.to_string() {
                    return Err(Error::OtherWorld { held_seed, held_accounts });
                }
            }
        }
        tx.commit()?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Runs `work` in one transaction off the async threads; an `Err` rolls it back.
    pub(crate) async fn with<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        let connection = Arc::clone(&self.connection);
        let task = tokio::task::spawn_blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let tx = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(Error::from)?;
            let value = work(&tx)?;
            tx.commit().map_err(Error::from)?;
            Ok(value)
        });
        task.await.unwrap_or_else(|_| Err(Error::Closing.into()))
    }
}

/// The world clock, in unix seconds.
pub(crate) fn now_seconds(connection: &Connection) -> Result<i64, Error> {
    let text = read_meta(connection, "now")?;
    Ok(text.and_then(|text| text.parse().ok()).unwrap_or(clock::START_SECONDS))
}

/// Sets the world clock.
pub(crate) fn set_now(connection: &Connection, seconds: i64) -> Result<(), Error> {
    write_meta(connection, "now", &seconds.to_string())
}

fn read_meta(connection: &Connection, name: &str) -> Result<Option<String>, Error> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?)
}

fn write_meta(connection: &Connection, name: &str, value: &str) -> Result<(), Error> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)")?
        .execute(params![name, value])?;
    Ok(())
}
