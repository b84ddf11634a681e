//! What only a file can get wrong: reopening, versions, full disks, traces of erased values.

use std::sync::Arc;

use kernel::{
    event::Record,
    id::Tenant,
    port::{Blobs, Journal, JournalError},
    run::Status,
};
use rusqlite::Connection;
use store::{
    Document, Documents as _, Erase, Error, Expected, Options, Page, Query, RunFilter, Sqlite,
    Store, VERSION,
};

use crate::make::*;

#[tokio::test]
async fn everything_survives_reopening() {
    let folder = Folder::new();
    let (tenant, run) = (tenant("default"), run("a"));
    let store = folder.open();
    let before = opened(&*store, &tenant, &run, 3).await;
    store.post(tenant.clone(), run.clone(), posted("s", "x")).await.unwrap();
    let digest = store.put(tenant.clone(), b"blob".to_vec()).await.unwrap();
    // Dropped without a word: nothing acknowledged may be missing.
    drop(store);
    let store = folder.open();
    assert_eq!(store.get(tenant.clone(), digest).await.unwrap(), Some(b"blob".to_vec()));
    let loaded = store.claim(tenant.clone(), run.clone()).await.unwrap();
    assert_eq!((loaded.records, loaded.inbox.len()), (before, 1));
    let sound = store.integrity_check(10).await.unwrap();
    assert_eq!((sound.runs, sound.problems), (1, vec![]));
}

#[tokio::test]
async fn a_crash_loses_nothing_acknowledged() {
    let folder = Folder::new();
    let (tenant, run) = (tenant("default"), run("a"));
    let store = folder.open();
    let before = opened(&*store, &tenant, &run, 5).await;
    // What a crash leaves: the files as they stand, nothing closed, nothing checkpointed.
    let crashed = Folder::new();
    std::fs::create_dir_all(crashed.path().parent().unwrap()).unwrap();
    for name in ["store.db", "store.db-wal"] {
        let copy = crashed.path().with_file_name(name);
        std::fs::copy(folder.path().with_file_name(name), copy).unwrap();
    }
    let store = crashed.open();
    assert_eq!(store.claim(tenant, run).await.unwrap().records, before);
}

#[tokio::test]
async fn a_closed_store_leaves_one_file_and_refuses_all() {
    let folder = Folder::new();
    let (tenant, run) = (tenant("default"), run("a"));
    let store = folder.open();
    opened(&*store, &tenant, &run, 3).await;
    store.close().await.unwrap();
    let wal = folder.path().with_extension("db-wal");
    assert!(!wal.exists() || std::fs::metadata(&wal).unwrap().len() == 0);
    assert!(matches!(store.claim(tenant.clone(), run.clone()).await, Err(JournalError::Medium(_))));
    assert!(store.run(&tenant, &run).await.is_err());
    assert!(store.close().await.is_err());
}

#[cfg(unix)]
#[tokio::test]
async fn folder_and_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let store = folder.open();
    opened(&*store, &tenant("default"), &run("a"), 1).await;
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder.path().parent().unwrap()), 0o700);
    for file in std::fs::read_dir(folder.path().parent().unwrap()).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[tokio::test]
async fn values_never_stand_in_the_file_in_clear() {
    let folder = Folder::new();
    let (tenant, run) = (tenant("default"), run("a"));
    let store = folder.open();
    opened(&*store, &tenant, &run, 3).await;
    store.post(tenant.clone(), run.clone(), posted("s", "canary-posted")).await.unwrap();
    store.put(tenant.clone(), b"canary-blob".to_vec()).await.unwrap();
    for canary in ["canary-posted", "canary-blob", "value-1", "value-2"] {
        assert!(!folder.holds(canary.as_bytes()), "{canary}");
    }
    assert!(folder.holds(run.as_str().as_bytes()), "the search finds what is there");
}

#[tokio::test]
async fn an_erased_key_leaves_no_trace() {
    let folder = Folder::new();
    let (tenant, run) = (tenant("default"), run("a"));
    let store = folder.open();
    opened(&*store, &tenant, &run, 3).await;
    let digest = store.put(tenant.clone(), b"canary-blob".to_vec()).await.unwrap();
    let keys: Vec<Vec<u8>> = {
        let conn = Connection::open(folder.path()).unwrap();
        let mut statement = conn.prepare("SELECT key FROM keys").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(keys.len(), 2);
    assert!(keys.iter().all(|key| folder.holds(key)));
    store.erase_run(&tenant, &run).await.unwrap();
    store.erase_blob(&tenant, &digest).await.unwrap();
    assert!(!keys.iter().any(|key| folder.holds(key)), "a key is still in the database or its log");
}

#[tokio::test]
async fn a_reader_that_holds_the_log_is_reported() {
    let folder = Folder::new();
    let (tenant, run) = (tenant("default"), run("a"));
    let store = folder.open();
    opened(&*store, &tenant, &run, 3).await;
    let reader = Connection::open(folder.path()).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM batches").unwrap();
    let count = || reader.query_row("SELECT count(*) FROM batches", [], |row| row.get::<_, i64>(0));
    count().unwrap();
    assert!(matches!(store.erase_run(&tenant, &run).await, Err(Error::Lingering)));
    reader.execute_batch("COMMIT").unwrap();
    store.erase_run(&tenant, &run).await.unwrap();
}

#[tokio::test]
async fn a_store_of_version_1_is_brought_forward() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path().parent().unwrap()).unwrap();
    let conn = Connection::open(folder.path()).unwrap();
    conn.execute_batch(include_str!("version_1.sql")).unwrap();
    drop(conn);
    let store = folder.open();
    let (tenant, run) = (tenant("default"), run("frozen"));
    let loaded = store.claim(tenant.clone(), run.clone()).await.unwrap();
    assert_eq!((loaded.records.len(), loaded.inbox.len(), loaded.epoch), (2, 1, 1));
    assert_eq!(
        *loaded.records[1].openings()[0].as_ref().unwrap().value,
        serde_json::json!({"canary": "value-1"})
    );
    let subjects = vec!["customer:1".to_owned()];
    let filter = RunFilter { subjects, status: Some(Status::Waiting), ..RunFilter::default() };
    let listed = store.runs(&tenant, filter, Page::default()).await.unwrap();
    assert_eq!(listed.items.iter().map(|entry| &entry.run).collect::<Vec<_>>(), [&run]);
    drop(store);
    let version: u32 = Connection::open(folder.path())
        .unwrap()
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, VERSION);
}

/// What a store of version 5 had instead of the facets and batches.
const BACK_TO_5: &str = "
    CREATE TABLE subjects (tenant TEXT NOT NULL, subject TEXT NOT NULL, run TEXT NOT NULL,
      PRIMARY KEY (tenant, subject, run)) STRICT, WITHOUT ROWID;
    INSERT INTO subjects SELECT facets.tenant, name, 'run_' || lower(hex(facet_runs.run))
      FROM facets JOIN facet_runs ON facet = id WHERE kind = 'subject';
    DROP TABLE facets; DROP TABLE facets_last; DROP TABLE facet_runs;
    DROP TABLE batches;
    DROP TABLE dictionaries;
    CREATE TABLE events (tenant TEXT NOT NULL, run TEXT NOT NULL, seq INTEGER NOT NULL,
      kind TEXT NOT NULL, at INTEGER NOT NULL, hash BLOB NOT NULL, bytes BLOB NOT NULL, openings BLOB,
      PRIMARY KEY (tenant, run, seq)) STRICT;
    CREATE INDEX runs_opened ON runs (tenant, opened_at, run);
    CREATE INDEX runs_status ON runs (tenant, status, opened_at, run);
    PRAGMA user_version = 5;";

/// Every event of every run.
async fn every_event(store: &Sqlite, tenants: &[&Tenant]) -> Vec<(Tenant, Record)> {
    let mut events = Vec::new();
    for tenant in tenants.iter().copied() {
        let runs = store.runs(tenant, RunFilter::default(), Page::default()).await.unwrap();
        for entry in runs.items {
            let records = store.events(tenant, &entry.run, 0, 100).await.unwrap();
            events.extend(records.into_iter().map(|record| (tenant.clone(), record)));
        }
    }
    events
}

#[tokio::test]
async fn runs_of_an_older_version_are_found_by_every_filter() {
    let folder = Folder::new();
    let (mine, theirs) = (tenant("default"), tenant("other"));
    let store = folder.open();
    for (n, tenant) in (0..40_i64).zip([&mine, &theirs].into_iter().cycle()) {
        let run = run(&n.to_string());
        let mut row = row(100 + n / 4, &[&format!("customer:{}", n % 3)]);
        row.status = [Status::Succeeded, Status::Failed][(n / 2 % 2) as usize];
        row.agent = format!("agent:{}", n % 3);
        let mut first = with_row(opening(tenant, &run, 1), row);
        let (head, operation) = (first.records[0].hash, format!("crm.op{}", n % 5));
        let proposed = proposal(&run, 1, head, &operation);
        first.records.push(proposal(&run, 2, proposed.hash, &operation));
        first.records.insert(1, proposed);
        store.append(first).await.unwrap();
    }
    let status = Some(Status::Failed);
    let filters = [
        RunFilter::default(),
        RunFilter { status, ..RunFilter::default() },
        RunFilter { intent: Some("renewal".to_owned()), ..RunFilter::default() },
        RunFilter { pack: Some("customer-ops".to_owned()), ..RunFilter::default() },
        RunFilter { agent: Some("agent:2".to_owned()), ..RunFilter::default() },
        RunFilter { subjects: vec!["customer:1".to_owned()], ..RunFilter::default() },
        RunFilter { operation: Some("crm.op2".parse().unwrap()), status, ..RunFilter::default() },
    ];
    let all = async |store: &Sqlite| {
        let mut listed = Vec::new();
        for (filter, tenant) in filters.iter().flat_map(|f| [(f, &mine), (f, &theirs)]) {
            listed.push(store.runs(tenant, filter.clone(), Page::default()).await.unwrap());
        }
        listed
    };
    let before = all(&store).await;
    let events = every_event(&store, &[&mine, &theirs]).await;
    assert!(before.iter().all(|listed| !listed.items.is_empty()), "a filter that says nothing");
    store.close().await.unwrap();
    drop(store);
    let conn = Connection::open(folder.path()).unwrap();
    conn.execute_batch(BACK_TO_5).unwrap();
    let sql = "INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL)";
    for (tenant, Record { event, hash, bytes }) in &events {
        let place = (tenant.as_str(), event.run.as_str(), event.seq);
        let about = (event.body.kind(), event.at, hash.0, bytes);
        conn.execute(sql, (place.0, place.1, place.2, about.0, about.1, about.2, about.3)).unwrap();
    }
    // Their values were erased long ago.
    conn.execute("UPDATE runs SET erased_to = next_seq", []).unwrap();
    drop(conn);
    let store = folder.open();
    assert_eq!(store.migrated_from(), Some(5));
    assert_eq!(all(&store).await, before);
    let after = every_event(&store, &[&mine, &theirs]).await;
    let hashes =
        |events: &[(Tenant, Record)]| -> Vec<_> { events.iter().map(|(_, r)| r.hash).collect() };
    assert_eq!(hashes(&after), hashes(&events));
    // What comes after the migration joins what it filled, and erasing goes by it.
    let fresh = with_row(opening(&mine, &run("new"), 1), row(900, &["customer:1", "customer:new"]));
    store.append(fresh).await.unwrap();
    let expected = before[10].items.len() + 1;
    assert_eq!(store.erase_subject(&mine, "customer:1").await.unwrap().len(), expected);
}

#[test]
fn newer_and_foreign_files_are_refused_untouched() {
    let folder = Folder::new();
    drop(folder.open());
    let conn = Connection::open(folder.path()).unwrap();
    conn.pragma_update(None, "user_version", VERSION + 1).unwrap();
    drop(conn);
    let newer = Sqlite::open(&folder.path(), Options::default()).unwrap_err();
    assert!(
        matches!(newer, Error::Newer { found, known: VERSION, .. } if found == VERSION + 1),
        "{newer}"
    );
    assert!(newer.to_string().contains("upgrade"));

    let foreign = folder.dir.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = std::fs::read(&foreign).unwrap();
    assert!(matches!(Sqlite::open(&foreign, Options::default()), Err(Error::Foreign { .. })));
    assert_eq!(std::fs::read(&foreign).unwrap(), before);

    let text = folder.dir.path().join("text.db");
    std::fs::write(
        &text,
        "not a database, but long enough to look like one at first sight ".repeat(9),
    )
    .unwrap();
    assert!(Sqlite::open(&text, Options::default()).is_err());
}

fn letter(id: &str) -> Document {
    Document { kind: "letter", id: id.to_owned(), due: None, body: b"x".to_vec() }
}

/// What is given up soon costs no commit of its own, and whoever writes next finds it gone.
#[tokio::test]
async fn what_is_given_up_soon_goes_with_the_next_commit() {
    let folder = Folder::new();
    let (store, here) = (folder.open(), tenant("default"));
    store.keep(&here, letter("a"), Expected::Absent).await.unwrap();
    let before = store.stats(&here).await.unwrap().commits;
    for n in 1..=50 {
        store.discard_soon(&here, "letter", "a");
        let kept = store.keep(&here, letter("a"), Expected::Absent).await;
        assert_eq!(kept.unwrap(), 1, "the {n}th time");
    }
    assert_eq!(store.stats(&here).await.unwrap().commits - before, 50);
}

#[tokio::test]
async fn what_is_given_up_soon_goes_without_any_other_commit_and_before_the_store_is_closed() {
    let folder = Folder::new();
    let (store, here) = (folder.open(), tenant("default"));
    for id in ["alone", "closed", "dropped"] {
        store.keep(&here, letter(id), Expected::Absent).await.unwrap();
    }
    store.discard_soon(&here, "letter", "alone");
    while store.document(&here, "letter", "alone").await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    store.discard_soon(&here, "letter", "closed");
    store.close().await.unwrap();
    drop(store);
    let store = folder.open();
    assert!(store.document(&here, "letter", "closed").await.unwrap().is_none());
    store.discard_soon(&here, "letter", "dropped");
    drop(store);
    assert!(folder.open().document(&here, "letter", "dropped").await.unwrap().is_none());
}

/// A commit that failed takes nothing away from what waits: the next one that succeeds does it.
#[tokio::test]
async fn what_is_given_up_soon_outlives_a_commit_that_failed() {
    let folder = Folder::new();
    let here = tenant("default");
    let store = folder.open();
    store.keep(&here, letter("a"), Expected::Absent).await.unwrap();
    // Somebody else holds the file for longer than the writer waits.
    let other = Connection::open(folder.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    store.discard_soon(&here, "letter", "a");
    let refused = store.keep(&here, letter("b"), Expected::Absent).await;
    assert!(refused.is_err(), "{refused:?}");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.keep(&here, letter("a"), Expected::Absent).await.unwrap(), 1);
}

#[tokio::test]
async fn waiting_appends_share_commits() {
    let folder = Folder::new();
    let store = folder.open();
    let tenant = tenant("default");
    // Somebody else holds the write lock until all appends are handed in.
    let other = Connection::open(folder.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let batches = (0..500).map(|n| opening(&tenant, &run(&n.to_string()), 2));
    // Unconstrained: the runtime would otherwise hold some back after a number of sends.
    let append = |batch| Box::pin(tokio::task::unconstrained(store.append(batch)));
    let mut appends: Vec<_> = batches.map(append).collect();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    for append in &mut appends {
        assert!(append.as_mut().poll(&mut context).is_pending(), "answered before it is durable");
    }
    other.execute_batch("ROLLBACK").unwrap();
    for append in appends {
        append.await.unwrap();
    }
    let stats = store.stats(&tenant).await.unwrap();
    assert_eq!((stats.runs, stats.events), (500, 1_000));
    let learned = stats.writes - 500;
    assert!(learned <= 3, "{learned} dictionaries of 500 appends");
    // The group the writer had begun, the rest in groups of at most 256, and the dictionaries.
    assert!(stats.commits <= 3 + learned, "{} commits for 500 appends", stats.commits);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_leaves_no_half() {
    let folder = Folder::new();
    let (tenant, run) = (tenant("default"), run("a"));
    let before = opened(&*folder.open(), &tenant, &run, 2).await;
    let store = Sqlite::open(&folder.path(), Options { pages_max: Some(60) }).unwrap();
    let mut large = opening(&tenant, &crate::make::run("large"), 12_000);
    large.receipts = vec![receipt(&tenant, &large.run, 0)];
    let next = || batch(&tenant, records(&run, 2, before[1].hash, 1));
    let failed = store.append(large.clone()).await;
    assert!(matches!(failed, Err(JournalError::Medium(_))), "{failed:?}");
    assert!(store.run(&tenant, &large.run).await.unwrap().is_none());
    assert!(store.put(tenant.clone(), vec![1; 1 << 20]).await.is_err());
    // What fits still goes in, and the rest does once there is room.
    store.append(next()).await.unwrap();
    drop(store);
    let store = folder.open();
    store.append(large).await.unwrap();
    let sound = store.integrity_check(10).await.unwrap();
    assert_eq!((sound.runs, sound.problems), (2, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_stops_waiting_does_not_undo_its_write() {
    let folder = Folder::new();
    let store: Arc<dyn Store> = folder.open();
    let (tenant, run) = (tenant("default"), run("a"));
    {
        let mut append = store.append(opening(&tenant, &run, 1));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        drop(append.as_mut().poll(&mut context));
    }
    // The queue is served in order: once this is in, so is what went before it.
    store.post(tenant.clone(), run.clone(), posted("s", "x")).await.unwrap();
    assert!(store.run(&tenant, &run).await.unwrap().is_some());
}
