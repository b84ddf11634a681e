//! A few read-only connections, each used off the async threads.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::{BUSY_MS, Fault, STATEMENTS_CACHED};

/// Most queries that read at once.
const READERS_MAX: usize = 4;

/// The pool.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    turns: Arc<Semaphore>,
}

impl Readers {
    /// Opens none yet.
    pub(super) fn new(path: &Path) -> Arc<Self> {
        let turns = Arc::new(Semaphore::new(READERS_MAX));
        Arc::new(Self { path: path.to_owned(), idle: Mutex::default(), turns })
    }

    /// The database.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a query on one snapshot of everything committed before the call.
    pub(super) async fn read<T, F>(self: &Arc<Self>, query: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let closed = |_| Fault::medium("the store is closed");
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(closed)?;
        let readers = Arc::clone(self);
        let work = move || {
            let _turn = turn;
            let conn = readers.take()?;
            let answer = conn
                .unchecked_transaction()
                .map_err(Fault::from)
                .and_then(|_snapshot| query(&conn));
            readers.give_back(conn);
            answer
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| Fault::medium(format!("a query stopped: {e}")))?
    }

    /// Closes every idle connection and lets no new query begin.
    pub(super) fn close(&self) {
        self.turns.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn take(&self) -> Result<Connection, Fault> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| self.connect(), Ok)
    }

    fn give_back(&self, conn: Connection) {
        if !self.turns.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        }
    }

    fn connect(&self) -> Result<Connection, Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&self.path, flags)?;
        conn.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
        conn.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(conn)
    }
}
