//! The store on SQLite: write-ahead log, flushed at every commit, one writer thread, a few readers.

mod append;
mod begin;
mod cipher;
mod copy;
mod dictionaries;
mod documents;
mod erase;
mod facets;
mod halts;
mod load;
mod log;
mod packed;
mod project;
mod query;
mod readers;
mod schema;
mod soon;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use kernel::{
    id::{At, Digest, RunId, Tenant},
    port::{Batch, Blobs, Journal, JournalError, Loaded, Posted, Task},
};
use rusqlite::{Connection, OpenFlags, types::FromSql};
use tokio::sync::{mpsc, oneshot};

use crate::{Error, batch};

pub use begin::Beginning;
use dictionaries::{Dictionaries, Lesson};
pub use load::Integrity;
pub use packed::unpack;
use readers::Readers;
pub use schema::VERSION;
use soon::Soon;
use writer::{Counters, Job};

/// 3.51.3 fixed the WAL-reset bug: a checkpoint racing a write could corrupt the database.
const SQLITE_MIN: (i32, &str) = (3_051_003, "3.51.3");

/// How long to wait for another process's lock, in milliseconds.
const BUSY_MS: u64 = 5_000;

/// Statements kept prepared per connection.
const STATEMENTS_CACHED: usize = 64;

/// The write-ahead log is cut back to this after a checkpoint, in bytes.
const WAL_BYTES_KEPT: i64 = 64 << 20;

/// What the writing connection may keep of the file in memory, in KiB. With less it reads pages back
/// that it wrote a moment ago.
const WRITER_CACHE_KIB: i64 = 16 << 10;

/// Pages in the write-ahead log that make a commit move them into the file: fewer, larger moves.
const CHECKPOINT_PAGES: i64 = 8_000;

/// The database, its log, the log's index and its folder.
const HANDLES_OF_A_DATABASE: usize = 4;

/// How many handles may have been closed between a failure and a look at how many there are.
const HANDLES_ABOUT: usize = 8;

/// How to open a store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Largest database file, in pages of 4 KiB; beyond it writes fail as on a full disk.
    pub pages_max: Option<u32>,
}

/// A store in one SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    readers: Arc<Readers>,
    counters: Arc<Counters>,
    soon: Arc<Soon>,
    dictionaries: Arc<Dictionaries>,
    migrated_from: Option<u32>,
}

impl Sqlite {
    /// Opens or creates the file (0600, its folder 0700) and brings its schema forward.
    ///
    /// # Errors
    /// Says which file and what is wrong: see [`Error`].
    pub fn open(path: &Path, options: Options) -> Result<Arc<Self>, Error> {
        if rusqlite::version_number() < SQLITE_MIN.0 {
            return Err(Error::Outdated { found: rusqlite::version(), needed: SQLITE_MIN.1 });
        }
        create_private(path)?;
        let mut conn = connect(path).map_err(|e| cannot_open(path, &e))?;
        let found = schema::check(&conn, path)?;
        if !configure(&conn).map_err(|e| cannot_open(path, &e))? {
            let problem =
                "no write-ahead log with full flush here: put it on a local disk".to_owned();
            return Err(Error::Path { path: path.to_owned(), problem });
        }
        schema::migrate(&mut conn, found).map_err(|e| cannot_open(path, &e))?;
        if let Some(pages) = options.pages_max {
            conn.pragma_update(None, "max_page_count", pages).map_err(|e| cannot_open(path, &e))?;
        }
        let dictionaries = Arc::new(Dictionaries::open(&conn).map_err(JournalError::from)?);
        let (queue, jobs) = mpsc::channel(writer::QUEUE_MAX);
        let counters = Arc::new(Counters::default());
        let soon = Arc::new(Soon::default());
        let beside = (Arc::clone(&soon), Arc::clone(&counters));
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer::run(&conn, jobs, &beside))
            .map_err(|e| Error::Path { path: path.to_owned(), problem: e.to_string() })?;
        let readers = Readers::new(path);
        let queue = Some(queue);
        let migrated_from = (found > 0 && found < VERSION).then_some(found);
        let thread = Some(thread);
        Ok(Arc::new(Self { queue, thread, readers, counters, soon, dictionaries, migrated_from }))
    }

    /// The schema version that opening brought forward to [`VERSION`]; `None` when there was nothing
    /// to do.
    #[must_use]
    pub fn migrated_from(&self) -> Option<u32> {
        self.migrated_from
    }

    /// Commits what waits, moves the write-ahead log into the file and refuses everything after.
    ///
    /// # Errors
    /// When the medium fails. What was acknowledged is durable even then.
    pub async fn close(&self) -> Result<(), Error> {
        self.readers.close();
        self.ask(Job::Close).await?;
        Ok(())
    }

    /// Hands a write to the writer and waits until it is durable.
    /// It happens even if the caller stops waiting.
    async fn write<T, F>(&self, bytes: usize, write: F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (job, answer) = writer::job(bytes, write);
        self.send(job).await?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn ask(
        &self,
        job: fn(oneshot::Sender<Result<bool, JournalError>>) -> Job,
    ) -> Result<bool, JournalError> {
        let (reply, answer) = oneshot::channel();
        self.send(job(reply)).await?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Learns beside the work. Nothing waits for it, and nothing is lost without it.
    fn learn(&self, lesson: Lesson) {
        // Weak: whoever learns must not keep the writer from ending.
        let Some(queue) = self.queue.as_ref().map(mpsc::Sender::downgrade) else { return };
        let dictionaries = Arc::clone(&self.dictionaries);
        tokio::task::spawn_blocking(move || {
            let Some(learned) = lesson.learn().map(Arc::new) else { return };
            let kept = Arc::clone(&learned);
            let write = move |conn: &Connection| dictionaries::keep(conn, &kept);
            let (job, answer) = writer::job(learned.bytes(), write);
            let sent = queue.upgrade().is_some_and(|queue| queue.try_send(job).is_ok());
            if sent && let Ok(Ok(true)) = answer.blocking_recv() {
                dictionaries.put_in_use(learned);
            }
        });
    }

    async fn send(&self, job: Job) -> Result<(), JournalError> {
        let queue = self.queue.as_ref().ok_or_else(closed)?;
        queue.send(job).await.map_err(|_| closed())
    }

    async fn read<T, F>(&self, query: F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        Ok(self.readers.read(query).await?)
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.readers.close();
        // The writer ends when nobody can hand it a job; what waits is committed first.
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Journal for Sqlite {
    fn append(&self, batch: Batch) -> Task<'_, Result<(), JournalError>> {
        Box::pin(async move {
            let prepared = append::Prepared::new(batch, &self.dictionaries)?;
            if let Some(lesson) = self.dictionaries.lesson() {
                self.learn(lesson);
            }
            self.write(prepared.weight(), move |conn| append::append(conn, &prepared)).await
        })
    }

    fn post(
        &self,
        tenant: Tenant,
        run: RunId,
        posted: Posted,
    ) -> Task<'_, Result<(), JournalError>> {
        Box::pin(async move {
            let body = append::plain_json(&posted)?;
            let signal = posted.signal_id;
            self.write(body.len(), move |conn| append::post(conn, (&tenant, &run), &signal, &body))
                .await
        })
    }

    fn claim(&self, tenant: Tenant, run: RunId) -> Task<'_, Result<Loaded, JournalError>> {
        Box::pin(async move {
            let (owner, claimed) = (tenant.clone(), run.clone());
            let epoch = self.write(64, move |conn| append::claim(conn, &owner, &claimed)).await?;
            self.read(move |conn| load::load(conn, &tenant, &run, epoch)).await
        })
    }

    fn due(&self, now: At, limit: usize) -> Task<'_, Result<Vec<(Tenant, RunId)>, JournalError>> {
        Box::pin(self.read(move |conn| load::due(conn, now, limit)))
    }
}

impl Blobs for Sqlite {
    fn put(&self, tenant: Tenant, bytes: Vec<u8>) -> Task<'_, Result<Digest, JournalError>> {
        Box::pin(async move {
            batch::check_blob(&bytes)?;
            let seal = move || append::SealedBlob::new(tenant, &bytes);
            let stopped = |e| Fault::medium(format!("sealing a blob stopped: {e}"));
            let sealed = tokio::task::spawn_blocking(seal).await.map_err(stopped)??;
            self.write(sealed.weight(), move |conn| append::put(conn, &sealed)).await
        })
    }

    fn get(
        &self,
        tenant: Tenant,
        digest: Digest,
    ) -> Task<'_, Result<Option<Vec<u8>>, JournalError>> {
        Box::pin(self.read(move |conn| load::blob(conn, &tenant, &digest)))
    }
}

/// What goes wrong inside, before it is told to a caller.
#[derive(Debug)]
enum Fault {
    Journal(JournalError),
    Sql(rusqlite::Error),
}

impl Fault {
    fn medium(problem: impl Into<String>) -> Self {
        Self::Journal(JournalError::Medium(problem.into()))
    }
}

impl From<JournalError> for Fault {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Fault> for JournalError {
    fn from(fault: Fault) -> Self {
        use rusqlite::{Error as Sql, ErrorCode};
        match fault {
            Fault::Journal(error) => error,
            Fault::Sql(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    Self::Tampered(error.to_string())
                }
                None if matches!(
                    error,
                    Sql::FromSqlConversionFailure(..)
                        | Sql::IntegralValueOutOfRange(..)
                        | Sql::InvalidColumnType(..)
                ) =>
                {
                    Self::Tampered(error.to_string())
                }
                Some(ErrorCode::CannotOpen) => {
                    Self::Medium(no_handles().unwrap_or_else(|| error.to_string()))
                }
                _ => Self::Medium(error.to_string()),
            },
        }
    }
}

fn closed() -> JournalError {
    JournalError::Medium("the store is closed".to_owned())
}

fn cannot_open(path: &Path, error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode::{CannotOpen, DatabaseCorrupt, NotADatabase};
    let problem = match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => {
            return JournalError::Tampered(format!("{}: {error}", path.display())).into();
        }
        Some(CannotOpen) => {
            let why = why_not_open(path).map(|why| why.to_string()).or_else(no_handles);
            why.unwrap_or_else(|| error.to_string())
        }
        _ => error.to_string(),
    };
    Error::Path { path: path.to_owned(), problem }
}

/// SQLite does not say why the system let it open no file: asks the system again, for as many handles as
/// a database in use has.
fn why_not_open(path: &Path) -> Option<std::io::Error> {
    let open = |_| std::fs::OpenOptions::new().read(true).write(true).open(path);
    (0..HANDLES_OF_A_DATABASE).map(open).collect::<Result<Vec<_>, _>>().err()
}

/// That this process has about as many files open as it may, where it has: SQLite does not say so, and whoever asks the
/// system again may be given a handle that somebody else has closed meanwhile.
fn no_handles() -> Option<String> {
    let open = match std::fs::read_dir("/proc/self/fd") {
        Ok(open) => open.count(),
        Err(error) => return Some(error.to_string()),
    };
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let most: usize = line.split_whitespace().next()?.parse().ok()?;
    let full = open.saturating_add(HANDLES_ABOUT) >= most;
    full.then(|| format!("Too many open files: {open} of {most} that this process may have"))
}

fn pragma<T: FromSql>(conn: &Connection, name: &str) -> rusqlite::Result<T> {
    conn.pragma_query_value(None, name, |row| row.get(0))
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(Duration::from_millis(BUSY_MS))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    // Plans do not depend on bound values: without this a statement is compiled again at every use.
    conn.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Savepoints remember pages in memory instead of a file.
    conn.pragma_update(None, "temp_store", "memory")?;
    Ok(conn)
}

/// Sets what durability and erasure rest on. Whether it holds: SQLite takes a wrong word in silence.
fn configure(conn: &Connection) -> rusqlite::Result<bool> {
    let read = |row: &rusqlite::Row<'_>| row.get::<_, rusqlite::types::Value>(0);
    conn.pragma_update_and_check(None, "journal_mode", "wal", read)?;
    conn.pragma_update(None, "synchronous", "full")?;
    let pages = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    conn.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, pages)?;
    conn.pragma_update_and_check(None, "secure_delete", "on", read)?;
    conn.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES_KEPT, read)?;
    conn.pragma_update(None, "trusted_schema", "off")?;
    // Negative: KiB, not pages.
    conn.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    let journal: String = pragma(conn, "journal_mode")?;
    let (synchronous, secure): (i64, i64) =
        (pragma(conn, "synchronous")?, pragma(conn, "secure_delete")?);
    Ok(journal == "wal" && synchronous == 2 && secure == 1)
}

/// Creates folder and file before SQLite does, so that they are private from their first moment.
fn create_private(path: &Path) -> Result<(), Error> {
    let cannot = |place: &Path, e: std::io::Error| Error::Path {
        path: place.to_owned(),
        problem: e.to_string(),
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).map(PathBuf::from);
    if let Some(parent) = parent.filter(|parent| !parent.exists()) {
        let mut folder = std::fs::DirBuilder::new();
        folder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
        folder.create(&parent).map_err(|e| cannot(&parent, e))?;
    }
    let mut file = std::fs::OpenOptions::new();
    file.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    let _file = file.open(path).map_err(|e| cannot(path, e))?;
    #[cfg(unix)]
    {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        _file.set_permissions(private).map_err(|e| cannot(path, e))?;
    }
    Ok(())
}
