//! The one thread that writes: takes what waits, commits it with one flush, then answers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kernel::port::JournalError;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{BUSY_MS, Fault, soon::Soon};

/// Most items in one transaction.
const GROUP_ITEMS_MAX: usize = 256;

/// Most bytes in one transaction; one item may be larger and then commits alone or last.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// Most items that wait; beyond it callers wait to hand theirs in.
pub(super) const QUEUE_MAX: usize = 1024;

/// A group of so many means that writers come side by side: the next group is waited for.
const SIBLINGS_MIN: usize = 4;

/// A group is complete when nobody joined it for so long.
const LINGER_STEP: Duration = Duration::from_micros(250);

/// Longest that a group waits for others.
const LINGER_MAX: Duration = Duration::from_millis(3);

/// How long cutting the write-ahead log waits for readers, in milliseconds.
const CHECKPOINT_WAIT_MS: u64 = 250;

/// What the writer did since it began.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Transactions committed.
    pub(super) commits: AtomicU64,
    /// Items acknowledged.
    pub(super) writes: AtomicU64,
}

/// Something for the writer.
pub(super) enum Job {
    /// To be committed.
    Write {
        /// About how many bytes it writes.
        bytes: usize,
        /// What it does.
        work: Box<dyn Work>,
    },
    /// What waits for the next commit has waited for long enough.
    Soon,
    /// Move the write-ahead log into the database and cut it; answers whether that was possible.
    Checkpoint(oneshot::Sender<Result<bool, JournalError>>),
    /// Finish what waits, checkpoint and end.
    Close(oneshot::Sender<Result<bool, JournalError>>),
}

/// One item of a group.
pub(super) trait Work: Send {
    /// Writes. An error undoes this item alone. Called again when the whole group had to be undone.
    fn perform(&mut self, conn: &Connection) -> Result<(), JournalError>;

    /// Answers the caller, once the fate of the transaction is known.
    fn settle(self: Box<Self>, fate: Result<(), JournalError>);
}

/// A closure and where its answer goes.
struct Item<T, F> {
    write: F,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, JournalError>>,
}

impl<T, F> Work for Item<T, F>
where
    T: Send,
    F: FnMut(&Connection) -> Result<T, Fault> + Send,
{
    fn perform(&mut self, conn: &Connection) -> Result<(), JournalError> {
        self.value = None;
        self.value = Some((self.write)(conn)?);
        Ok(())
    }

    fn settle(self: Box<Self>, fate: Result<(), JournalError>) {
        let missing = || JournalError::Medium("the write was not made".to_owned());
        let Self { value, reply, .. } = *self;
        // A caller that no longer waits loses the answer, not the write.
        drop(reply.send(fate.and_then(|()| value.ok_or_else(missing))));
    }
}

/// Packs a closure as a job, with where to wait for its answer.
pub(super) fn job<T, F>(bytes: usize, write: F) -> (Job, oneshot::Receiver<Result<T, JournalError>>)
where
    T: Send + 'static,
    F: FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let work = Box::new(Item { write, value: None, reply });
    (Job::Write { bytes, work }, answer)
}

/// What is committed beside the jobs, and what counts them.
type Beside = (Arc<Soon>, Arc<Counters>);

/// Runs until everyone who could hand in a job is gone, or one says close.
pub(super) fn run(conn: &Connection, mut queue: mpsc::Receiver<Job>, beside: &Beside) {
    let (mut next, mut last) = (None, 0);
    while let Some(job) = next.take().or_else(|| queue.blocking_recv()) {
        match job {
            Job::Write { bytes, work } => {
                linger(last, || queue.len(), std::thread::park_timeout);
                let (group, stopped_by) = gather(&mut queue, bytes, work);
                last = group.len();
                commit(conn, group, beside);
                next = stopped_by;
            }
            Job::Soon => commit(conn, Vec::new(), beside),
            Job::Checkpoint(reply) => drop(reply.send(checkpoint(conn))),
            Job::Close(reply) => {
                queue.close();
                while let Ok(job) = queue.try_recv() {
                    finish(conn, job, beside);
                }
                commit(conn, Vec::new(), beside);
                drop(reply.send(checkpoint(conn)));
                return;
            }
        }
    }
    commit(conn, Vec::new(), beside);
    // Best effort: what is committed is durable with or without it.
    drop(checkpoint(conn));
}

fn finish(conn: &Connection, job: Job, beside: &Beside) {
    match job {
        Job::Write { work, .. } => commit(conn, vec![work], beside),
        Job::Soon => {}
        Job::Checkpoint(reply) | Job::Close(reply) => drop(reply.send(checkpoint(conn))),
    }
}

/// Lets others join, as long as they come. A lone writer, or a few, wait for nobody: what is gained by one flush fewer is the
/// processor time of a commit, which only many that keep the processors busy are short of.
fn linger(last: usize, waiting: impl Fn() -> usize, sleep: impl Fn(Duration)) {
    if last < SIBLINGS_MIN {
        return;
    }
    let (mut seen, mut left) = (waiting(), LINGER_MAX);
    while seen < GROUP_ITEMS_MAX && !left.is_zero() {
        sleep(LINGER_STEP);
        left = left.saturating_sub(LINGER_STEP);
        let now = waiting();
        if now == seen {
            return;
        }
        seen = now;
    }
}

/// The first item and what waits behind it, within the limits, up to a job of another kind.
fn gather(
    queue: &mut mpsc::Receiver<Job>,
    mut total: usize,
    first: Box<dyn Work>,
) -> (Vec<Box<dyn Work>>, Option<Job>) {
    let mut group = vec![first];
    while group.len() < GROUP_ITEMS_MAX && total < GROUP_BYTES_MAX {
        match queue.try_recv() {
            Ok(Job::Write { bytes, work }) => {
                total += bytes;
                group.push(work);
            }
            Ok(other) => return (group, Some(other)),
            Err(_) => break,
        }
    }
    (group, None)
}

/// One transaction for the group, after what waited for one; nobody is answered before its fate is known.
fn commit(conn: &Connection, mut group: Vec<Box<dyn Work>>, (soon, counters): &Beside) {
    if let Some(work) = soon.work() {
        group.insert(0, work);
    }
    if group.is_empty() {
        return;
    }
    let fates = match transact(conn, &mut group) {
        Ok(fates) => {
            let written = fates.iter().filter(|fate| fate.is_ok()).count();
            if written > 0 {
                counters.commits.fetch_add(1, Ordering::Relaxed);
                counters.writes.fetch_add(written as u64, Ordering::Relaxed);
            }
            fates
        }
        Err(error) => {
            if !conn.is_autocommit() {
                // Nothing to do if even this fails: the next BEGIN will say so.
                drop(conn.execute_batch("ROLLBACK"));
            }
            let error = JournalError::from(error);
            group.iter().map(|_| Err(error.clone())).collect()
        }
    };
    for (work, fate) in group.into_iter().zip(fates) {
        work.settle(fate);
    }
}

/// What became of each item, if the whole was committed.
///
/// Items that are refused have nearly always looked before they wrote. So the group is written without
/// savepoints first; only when an item fails half-way is all of it undone and written again with them.
fn transact(
    conn: &Connection,
    group: &mut [Box<dyn Work>],
) -> Result<Vec<Result<(), JournalError>>, Fault> {
    for undo in [Undo::Group, Undo::Item] {
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        if let Some(fates) = perform(conn, group, undo)? {
            conn.prepare_cached("COMMIT")?.execute([])?;
            return Ok(fates);
        }
        conn.prepare_cached("ROLLBACK")?.execute([])?;
    }
    Err(Fault::medium("the group could not be undone item by item"))
}

/// What can be undone alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Undo {
    /// The whole group.
    Group,
    /// Each item.
    Item,
}

/// `None`: an item failed half-way and cannot be undone alone.
fn perform(
    conn: &Connection,
    group: &mut [Box<dyn Work>],
    undo: Undo,
) -> Result<Option<Vec<Result<(), JournalError>>>, Fault> {
    let mut fates = Vec::with_capacity(group.len());
    for work in group {
        if undo == Undo::Item {
            conn.prepare_cached("SAVEPOINT item")?.execute([])?;
        }
        let changes = conn.total_changes();
        let fate = work.perform(conn);
        if conn.is_autocommit() {
            // Some failures (disk full, input or output) take the whole transaction with them.
            let why = fate.err().map_or_else(|| "it ended early".to_owned(), |e| e.to_string());
            return Err(Fault::medium(format!("the transaction was rolled back: {why}")));
        }
        let half_way = fate.is_err() && conn.total_changes() != changes;
        match undo {
            Undo::Group if half_way => return Ok(None),
            Undo::Group => {}
            Undo::Item => {
                if fate.is_err() {
                    conn.prepare_cached("ROLLBACK TO item")?.execute([])?;
                }
                conn.prepare_cached("RELEASE item")?.execute([])?;
            }
        }
        fates.push(fate);
    }
    Ok(Some(fates))
}

/// Whether the write-ahead log is now empty. Nobody writes meanwhile, so it waits only briefly.
fn checkpoint(conn: &Connection) -> Result<bool, JournalError> {
    let cut = || {
        conn.busy_timeout(Duration::from_millis(CHECKPOINT_WAIT_MS))?;
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        let busy: i64 = conn.query_row(sql, [], |row| row.get(0))?;
        conn.busy_timeout(Duration::from_millis(BUSY_MS))?;
        Ok(busy == 0)
    };
    cut().map_err(|e: rusqlite::Error| Fault::from(e).into())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn memory() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(
            "PRAGMA foreign_keys = ON;
             CREATE TABLE owner (id INTEGER PRIMARY KEY);
             CREATE TABLE item (n INTEGER UNIQUE, owner INTEGER REFERENCES owner DEFERRABLE INITIALLY DEFERRED);",
        )
        .unwrap();
        conn
    }

    fn commit_all(conn: &Connection, writes: &[&'static str]) -> Vec<Result<(), JournalError>> {
        let mut group = Vec::new();
        let mut answers = Vec::new();
        for sql in writes {
            let (job, answer) = job(1, |conn: &Connection| Ok(conn.execute_batch(sql)?));
            let Job::Write { work, .. } = job else { panic!("not a write") };
            group.push(work);
            answers.push(answer);
        }
        commit(conn, group, &Arc::default());
        answers.into_iter().map(|answer| answer.blocking_recv().unwrap()).collect()
    }

    fn count(conn: &Connection) -> i64 {
        conn.query_row("SELECT count(*) FROM item", [], |row| row.get(0)).unwrap()
    }

    /// How often a group slept, after one of `last`, when so many waited at each look.
    fn slept(last: usize, waiting: impl Fn(usize) -> usize) -> usize {
        let (looks, sleeps) = (Cell::new(0), Cell::new(0));
        let look = || waiting(looks.replace(looks.get() + 1));
        linger(last, look, |_| sleeps.set(sleeps.get() + 1));
        sleeps.get()
    }

    #[test]
    fn a_group_waits_for_others_only_after_a_group_and_only_while_they_come() {
        assert_eq!(
            slept(SIBLINGS_MIN - 1, |look| look),
            0,
            "whoever writes alone waits for nobody"
        );
        assert_eq!(slept(SIBLINGS_MIN, |_| 0), 1, "nobody came");
        assert_eq!(slept(SIBLINGS_MIN, |look| look.min(3)), 4, "three came, then nobody");
        let steps = usize::try_from(LINGER_MAX.as_micros() / LINGER_STEP.as_micros()).unwrap();
        assert_eq!(slept(SIBLINGS_MIN, |look| look), steps, "some always come");
        assert_eq!(slept(SIBLINGS_MIN, |look| look * GROUP_ITEMS_MAX), 1, "the group is full");
    }

    #[test]
    fn a_refused_item_leaves_the_others() {
        let conn = memory();
        let one = "INSERT INTO item (n) VALUES (1)";
        let fates = commit_all(
            &conn,
            &[one, "INSERT INTO item (n) VALUES (2), (1)", "INSERT INTO item (n) VALUES (3)"],
        );
        assert!(fates[0].is_ok() && fates[1].is_err() && fates[2].is_ok());
        assert_eq!(count(&conn), 2);
    }

    #[test]
    fn an_item_that_fails_half_way_is_undone_alone() {
        let conn = memory();
        let half = "INSERT INTO item (n) VALUES (2); INSERT INTO item (n) VALUES (1)";
        let fates = commit_all(
            &conn,
            &["INSERT INTO item (n) VALUES (1)", half, "INSERT INTO item (n) VALUES (3)"],
        );
        assert!(fates[0].is_ok() && fates[1].is_err() && fates[2].is_ok(), "{fates:?}");
        let sum: i64 = conn.query_row("SELECT sum(n) FROM item", [], |row| row.get(0)).unwrap();
        assert_eq!((count(&conn), sum), (2, 4), "1 and 3, each once");
    }

    #[test]
    fn a_failed_commit_fails_every_item_and_writes_nothing() {
        let conn = memory();
        let fates = commit_all(
            &conn,
            &["INSERT INTO item (n) VALUES (1)", "INSERT INTO item VALUES (2, 99)"],
        );
        assert!(fates.iter().all(|fate| matches!(fate, Err(JournalError::Medium(_)))), "{fates:?}");
        assert_eq!(count(&conn), 0);
        assert!(commit_all(&conn, &["INSERT INTO item (n) VALUES (3)"])[0].is_ok());
    }

    #[test]
    fn a_transaction_lost_in_the_middle_fails_every_item() {
        let conn = memory();
        let fates = commit_all(
            &conn,
            &["INSERT INTO item (n) VALUES (1)", "ROLLBACK", "INSERT INTO item (n) VALUES (2)"],
        );
        assert!(fates.iter().all(Result::is_err), "{fates:?}");
        assert_eq!(count(&conn), 0);
    }
}
