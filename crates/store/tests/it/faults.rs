//! What a medium may do to the file: nothing acknowledged is lost, nothing damaged is taken for sound.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use kernel::{
    event::Record,
    id::{Digest, RunId, Tenant},
    port::{Journal, JournalError},
};
use rusqlite::Connection;
use store::{Error, Options, Query, Sqlite};

use crate::make::*;

/// Batches written before a fault.
const BATCHES: usize = 14;

/// A store that was copied the moment after each acknowledgement, as a power cut would leave it.
struct History {
    folder: Folder,
    tenant: Tenant,
    runs: Vec<RunId>,
    /// After each acknowledgement: length of the log, and how many records each run has.
    acknowledged: Vec<(u64, Vec<usize>)>,
    records: Vec<Vec<Record>>,
    database: Vec<u8>,
    log: Vec<u8>,
}

fn side(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl History {
    async fn write() -> Self {
        let folder = Folder::new();
        let tenant = tenant("default");
        let runs: Vec<RunId> = ["a", "b", "c"].map(run).to_vec();
        let store = folder.open();
        let mut records: Vec<Vec<Record>> = vec![Vec::new(); runs.len()];
        let mut acknowledged = Vec::new();
        let log = side(&folder.path(), "-wal");
        for n in 0..BATCHES {
            let which = n % runs.len();
            let (seq, head) = match records[which].last() {
                Some(last) => (last.event.seq + 1, last.hash),
                None => (0, Digest::default()),
            };
            let fresh = crate::make::records(&runs[which], seq, head, 2);
            store.append(batch(&tenant, fresh.clone())).await.unwrap();
            records[which].extend(fresh);
            let length = fs::metadata(&log).unwrap().len();
            acknowledged.push((length, records.iter().map(Vec::len).collect()));
        }
        let database = fs::read(folder.path()).unwrap();
        let log = fs::read(&log).unwrap();
        drop(store);
        Self { folder, tenant, runs, acknowledged, records, database, log }
    }

    /// Puts these bytes in the place of the store, as found after a restart.
    fn place(&self, database: &[u8], log: &[u8]) {
        let path = self.folder.path();
        fs::write(&path, database).unwrap();
        fs::write(side(&path, "-wal"), log).unwrap();
        let _gone = fs::remove_file(side(&path, "-shm"));
    }

    /// How many records each run must at least have when the log is sound up to here.
    fn owed(&self, sound: u64) -> Vec<usize> {
        let owed = self.acknowledged.iter().rev().find(|(length, _)| *length <= sound);
        owed.map_or_else(|| vec![0; self.runs.len()], |(_, counts)| counts.clone())
    }

    /// Every run is whole, a prefix of what was written, and holds what was owed.
    async fn holds(&self, sound: u64, what: &str) {
        let store = self.folder.open();
        assert_eq!(store.integrity_check(99).await.unwrap().problems, [""; 0], "{what}");
        let counts = self.acknowledged.iter().map(|(_, counts)| counts.clone());
        let states: Vec<Vec<usize>> =
            std::iter::once(vec![0; self.runs.len()]).chain(counts).collect();
        let mut found = Vec::new();
        for (run, written) in self.runs.iter().zip(&self.records) {
            let loaded = match store.claim(self.tenant.clone(), run.clone()).await {
                Ok(loaded) => loaded.records,
                Err(JournalError::NoRun(_)) => Vec::new(),
                Err(error) => panic!("{what}: {error}"),
            };
            assert_eq!(loaded, written[..loaded.len()], "{what}");
            found.push(loaded.len());
        }
        assert!(states.contains(&found), "{what}: half a batch: {found:?}");
        let owed = self.owed(sound);
        assert!(found.iter().zip(&owed).all(|(f, o)| f >= o), "{what}: {found:?} of {owed:?}");
        // And it goes on from there.
        for (run, count) in self.runs.iter().zip(&found) {
            let head = self
                .records
                .iter()
                .flatten()
                .find(|r| r.event.run == *run && r.event.seq + 1 == *count as u64);
            let head = head.map(|r| r.hash).unwrap_or_default();
            let mut next = batch(&self.tenant, records(run, *count as u64, head, 1));
            next.epoch = 1;
            store.append(next).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        }
        store.close().await.unwrap();
    }
}

/// Lost flushes: the tail of the log that never reached the disk is gone, wherever it was cut.
#[tokio::test]
async fn whatever_of_the_log_is_cut_off_the_acknowledged_part_survives() {
    let history = History::write().await;
    let length = history.log.len();
    let acknowledged: Vec<usize> =
        history.acknowledged.iter().map(|(length, _)| *length as usize).collect();
    let odd = (0..length).step_by(length / 23);
    for cut in acknowledged.into_iter().chain(odd).chain([length]) {
        history.place(&history.database, &history.log[..cut]);
        history.holds(cut as u64, &format!("cut at {cut} of {length}")).await;
    }
}

/// Torn writes: a stretch of the log that holds nonsense, or nothing, ends it there.
#[tokio::test]
async fn torn_pages_of_the_log_end_it_there() {
    let history = History::write().await;
    let length = history.log.len();
    for at in (40..length).step_by(length / 19) {
        for fill in [0x00, 0xff, 0x5a] {
            let mut log = history.log.clone();
            let end = (at + 512).min(length);
            log[at..end].fill(fill);
            if log == history.log {
                continue;
            }
            history.place(&history.database, &log);
            history.holds(at as u64, &format!("{fill:#x} at {at} of {length}")).await;
        }
    }
}

/// The database file itself: whatever is changed, no run comes back other than it was written.
#[tokio::test]
async fn damage_in_the_database_is_an_error_and_never_another_truth() {
    let history = History::write().await;
    history.place(&history.database, &history.log);
    // Everything into the one file.
    let store = history.folder.open();
    store.close().await.unwrap();
    drop(store);
    let sound = fs::read(history.folder.path()).unwrap();
    let pages = sound.len() / 4_096;
    let mut damaged: Vec<(String, Vec<u8>)> = Vec::new();
    for page in 0..pages {
        let (start, end) = (page * 4_096, (page + 1) * 4_096);
        let mut zeroed = sound.clone();
        zeroed[start..end].fill(0);
        damaged.push((format!("page {page} zeroed"), zeroed));
        for offset in [1, 18, 60, 700, 2_048, 4_000] {
            let mut flipped = sound.clone();
            flipped[start + offset] ^= 0x11;
            damaged.push((format!("page {page} flipped at {offset}"), flipped));
        }
        damaged.push((format!("cut before page {page}"), sound[..start].to_vec()));
        if page > 0 {
            damaged.push((format!("cut in page {page}"), sound[..start + 99].to_vec()));
        }
    }
    let mut refused = 0;
    for (what, bytes) in damaged {
        if bytes.is_empty() {
            continue; // An empty file is a new store.
        }
        history.place(&bytes, &[]);
        let store = match Sqlite::open(&history.folder.path(), Options::default()) {
            Ok(store) => store,
            Err(error) => {
                assert!(error.to_string().len() > 10, "{what}: {error}");
                refused += 1;
                continue;
            }
        };
        for (run, written) in history.runs.iter().zip(&history.records) {
            match store.claim(history.tenant.clone(), run.clone()).await {
                Ok(loaded) => assert_eq!(loaded.records, *written, "{what}: another truth"),
                Err(_) => refused += 1,
            }
        }
        let _maybe = store.close().await;
    }
    assert!(refused > pages, "the damage was felt: {refused}");
}

#[test]
fn what_is_no_database_is_refused_untouched() {
    for bytes in
        [&b"not a database at all, but long enough to look like a header...."[..], &[0; 8_192]]
    {
        let folder = Folder::new();
        fs::create_dir_all(folder.path().parent().unwrap()).unwrap();
        fs::write(folder.path(), bytes).unwrap();
        let refused = Sqlite::open(&folder.path(), Options::default()).unwrap_err();
        assert!(
            matches!(refused, Error::Journal(JournalError::Tampered(_)) | Error::Foreign { .. }),
            "{refused}"
        );
        assert_eq!(fs::read(folder.path()).unwrap(), bytes);
    }
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let folder = Folder::new();
    fs::write(folder.dir.path().join("file"), "x").unwrap();
    let below_a_file = folder.dir.path().join("file").join("data").join("store.db");
    for path in [Path::new("/proc/no/store.db"), &below_a_file, folder.dir.path()] {
        let refused = Sqlite::open(path, Options::default()).unwrap_err();
        let Error::Path { path: named, problem } = refused else { panic!("{refused}") };
        assert!(path.starts_with(&named) && !problem.is_empty(), "{named:?}: {problem}");
    }
}

/// Somebody else holds the database: a clear error, and everything goes on once they let go.
#[tokio::test]
async fn a_locked_database_fails_clearly_and_recovers() {
    let folder = Folder::new();
    let (tenant, run) = (tenant("default"), run("a"));
    let store = folder.open();
    let head = opened(&*store, &tenant, &run, 1).await[0].hash;
    let other = Connection::open(folder.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let next = || batch(&tenant, records(&run, 1, head, 1));
    let refused = store.append(next()).await.unwrap_err();
    assert!(matches!(&refused, JournalError::Medium(text) if text.contains("lock")), "{refused}");
    assert_eq!(store.run(&tenant, &run).await.unwrap().unwrap().next_seq, 1, "reading goes on");
    other.execute_batch("ROLLBACK").unwrap();
    store.append(next()).await.unwrap();
}

/// Two processes on one file: the compare-and-set is the file's, not the process's.
#[tokio::test]
async fn two_owners_of_one_file_cannot_both_append() {
    let folder = Folder::new();
    let (tenant, run) = (tenant("default"), run("a"));
    let (one, two) = (folder.open(), folder.open());
    let head = opened(&*one, &tenant, &run, 1).await[0].hash;
    let next = || batch(&tenant, records(&run, 1, head, 1));
    let (first, second) = tokio::join!(one.append(next()), two.append(next()));
    assert_eq!(u8::from(first.is_ok()) + u8::from(second.is_ok()), 1, "{first:?} {second:?}");
    let epoch = two.claim(tenant.clone(), run.clone()).await.unwrap().epoch;
    let loaded = one.claim(tenant.clone(), run.clone()).await.unwrap();
    assert_eq!(loaded.epoch, epoch + 1);
    let mut zombie = batch(&tenant, records(&run, 2, loaded.records[1].hash, 1));
    zombie.epoch = epoch;
    assert!(matches!(two.append(zombie).await, Err(JournalError::Lost { .. })));
}

/// A full disk in the middle of everything: refused whole, and what was there is there.
#[tokio::test]
async fn a_full_disk_refuses_whole_batches_and_loses_none() {
    let folder = Folder::new();
    let tenant = tenant("default");
    let options = Options { pages_max: Some(90) };
    let store = Sqlite::open(&folder.path(), options).unwrap();
    let mut kept = Vec::new();
    let mut full = false;
    for n in 0..400 {
        let run = run(&n.to_string());
        match store.append(opening(&tenant, &run, 5)).await {
            Ok(()) => kept.push(run),
            Err(JournalError::Medium(problem)) => {
                assert!(problem.contains("full"), "{problem}");
                full = true;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(full && kept.len() > 3, "{} kept", kept.len());
    store.close().await.unwrap();
    drop(store);
    let store = Arc::clone(&folder.open());
    let stats = store.stats(&tenant).await.unwrap();
    assert_eq!((stats.runs, stats.events), (kept.len() as u64, kept.len() as u64 * 5));
    assert!(store.integrity_check(999).await.unwrap().problems.is_empty());
    store.append(opening(&tenant, &run("room again"), 5)).await.unwrap();
}

/// A copy is whole and consistent while others write; a failed one leaves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_made_while_writing_is_consistent() {
    let folder = Folder::new();
    let tenant = tenant("default");
    let store = folder.open();
    let writer = {
        let (store, tenant) = (Arc::clone(&store), tenant.clone());
        tokio::spawn(async move {
            for n in 0..120 {
                store.append(opening(&tenant, &run(&n.to_string()), 4)).await.unwrap();
            }
        })
    };
    let mut copies = Vec::new();
    for n in 0..3 {
        let to = folder.dir.path().join(format!("copy-{n}"));
        let before = store.stats(&tenant).await.unwrap().runs;
        store.copy_to(&to).await.unwrap();
        copies.push((to, before));
    }
    writer.await.unwrap();
    for (to, before) in copies {
        let copy = Sqlite::open(&to, Options::default()).unwrap();
        let stats = copy.stats(&tenant).await.unwrap();
        assert!(stats.runs >= before && stats.events == stats.runs * 4, "{stats:?}");
        assert!(copy.integrity_check(999).await.unwrap().problems.is_empty());
    }
    let taken = folder.dir.path().join("copy-0");
    assert!(store.copy_to(&taken).await.is_err(), "nothing is overwritten");
    let nowhere = Path::new("/proc/no/copy");
    assert!(store.copy_to(nowhere).await.is_err() && !nowhere.exists());
}
