//! The bare versions: what the same bytes cost without a harness around them.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Broken, Doing as _};

/// As many as the store takes into one transaction.
const GROUP_MAX: usize = 256;

/// A blob to insert, and who waits until it is durable.
type Job = (Vec<u8>, oneshot::Sender<()>);

/// A table of blobs in a fresh SQLite file, flushed at every commit, with one writer thread that
/// commits whatever waits.
#[derive(Debug)]
struct BareWriter {
    queue: mpsc::Sender<Job>,
    thread: JoinHandle<rusqlite::Result<()>>,
}

impl BareWriter {
    fn open(path: &Path) -> Result<Self, Broken> {
        let conn = open_bare(path).doing("open the bare database")?;
        let (queue, jobs) = mpsc::channel(1024);
        let thread = std::thread::spawn(move || write_bare(&conn, jobs));
        Ok(Self { queue, thread })
    }

    async fn insert(queue: &mpsc::Sender<Job>, blob: Vec<u8>) -> Result<(), Broken> {
        let (reply, durable) = oneshot::channel();
        queue.send((blob, reply)).await.doing("queue a blob")?;
        durable.await.doing("write a blob")
    }

    fn close(self) -> Result<(), Broken> {
        drop(self.queue);
        let ended = self.thread.join().map_err(|_| Broken::new("end the bare writer", "panic"))?;
        ended.doing("write blobs")
    }
}

fn open_bare(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open(path)?;
    let read = |row: &rusqlite::Row<'_>| row.get::<_, rusqlite::types::Value>(0);
    conn.pragma_update_and_check(None, "journal_mode", "wal", read)?;
    conn.pragma_update(None, "synchronous", "full")?;
    conn.execute_batch("CREATE TABLE blob (n INTEGER PRIMARY KEY, bytes BLOB NOT NULL)")?;
    Ok(conn)
}

fn write_bare(conn: &Connection, mut jobs: mpsc::Receiver<Job>) -> rusqlite::Result<()> {
    while let Some(first) = jobs.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP_MAX
            && let Ok(job) = jobs.try_recv()
        {
            group.push(job);
        }
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut insert = conn.prepare_cached("INSERT INTO blob (bytes) VALUES (?1)")?;
        for (blob, _) in &group {
            insert.execute([blob])?;
        }
        drop(insert);
        conn.prepare_cached("COMMIT")?.execute([])?;
        for (_, reply) in group {
            // Whoever asked may have gone.
            let _gone = reply.send(());
        }
    }
    Ok(())
}

/// Wall time for `tasks` tasks to insert blobs of these sizes one after the other, each durable.
pub(crate) async fn bare_log(
    path: &Path,
    (tasks, sizes): (usize, &Arc<Vec<usize>>),
) -> Result<Duration, Broken> {
    let writer = BareWriter::open(path)?;
    let before = Instant::now();
    let task = |_| {
        let (queue, sizes) = (writer.queue.clone(), Arc::clone(sizes));
        tokio::spawn(async move {
            for size in sizes.iter() {
                BareWriter::insert(&queue, vec![7; *size]).await?;
            }
            Ok(())
        })
    };
    let tasks: Vec<_> = (0..tasks).map(task).collect();
    for task in tasks {
        task.await.doing("join a task")??;
    }
    let took = before.elapsed();
    writer.close()?;
    Ok(took)
}

/// Wall times of flushing 4 KiB appended to a file, one by one.
pub(crate) fn flushes(dir: &Path, count: usize) -> Result<Vec<Duration>, Broken> {
    let mut file = tempfile::tempfile_in(dir).doing("make a file")?;
    (0..count).map(|_| flush(&mut file)).collect()
}

fn flush(file: &mut File) -> Result<Duration, Broken> {
    let page = [7_u8; 4096];
    let before = Instant::now();
    file.write_all(&page).doing("write a page")?;
    file.sync_data().doing("flush a page")?;
    Ok(before.elapsed())
}
