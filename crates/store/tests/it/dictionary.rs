//! A store learns what its own events have in common, and reads everything back.

use std::sync::Arc;

use kernel::{
    event::{Body, Record},
    id::{Digest, Tenant},
    port::{Journal, JournalError},
};
use rusqlite::Connection;
use store::Sqlite;

use crate::make::*;

/// Appends allowed until a dictionary was made: a lesson takes some milliseconds beside the work.
const APPENDS_MAX: usize = 3_000;

/// Appends runs of two proposals each until the file has `count` dictionaries; how many runs there are.
async fn teach(store: &Arc<Sqlite>, folder: &Folder, from: usize, count: u32) -> usize {
    let conn = Connection::open(folder.path()).unwrap();
    let known = || -> u32 {
        conn.query_row("SELECT count(*) FROM dictionaries", [], |row| row.get(0)).unwrap()
    };
    for n in from..APPENDS_MAX {
        if known() >= count {
            return n;
        }
        store.append(batch(&Tenant::default(), proposals(n))).await.unwrap();
    }
    panic!("{APPENDS_MAX} appends, and {} dictionaries", known());
}

/// What a run of that number holds: a value, and definitions that all runs of this house have in common.
fn proposals(n: usize) -> Vec<Record> {
    let run = run(&n.to_string());
    let mut records = records(&run, 0, Digest::default(), 2);
    for seq in 2..6 {
        let head = records.last().unwrap().hash;
        let mut proposal = proposal(&run, seq, head, "house.an_operation_of_its_own").event;
        if let Body::Proposed { definition, step, .. } = &mut proposal.body {
            *definition = Digest::of(&[seq as u8]);
            *step = Digest::of(&[seq as u8, 1]).hex();
        }
        records.push(Record::new(proposal).unwrap());
    }
    records
}

fn length(folder: &Folder, n: usize) -> usize {
    let conn = Connection::open(folder.path()).unwrap();
    let sql = "SELECT length(events) FROM batches WHERE run = ?1";
    conn.query_row(sql, [run(&n.to_string()).as_str()], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn events_get_shorter_with_what_a_store_learned_and_come_back() {
    let folder = Folder::new();
    let store = folder.open();
    let runs = teach(&store, &folder, 0, 1).await;
    store.close().await.unwrap();
    drop(store);
    // Opened again it goes on with it.
    let store = folder.open();
    store.append(batch(&Tenant::default(), proposals(runs))).await.unwrap();
    let (first, last) = (length(&folder, 0), length(&folder, runs));
    assert!(last * 100 < first * 85, "{last} of {first} bytes");
    for n in [0, 1, runs / 2, runs - 1, runs] {
        let loaded = store.claim(Tenant::default(), run(&n.to_string())).await.unwrap();
        let bytes =
            |records: &[Record]| records.iter().map(|r| r.bytes.clone()).collect::<Vec<_>>();
        assert_eq!(bytes(&loaded.records), bytes(&proposals(n)));
    }
    let to = folder.dir.path().join("copy.db");
    store.copy_to(&to).await.unwrap();
    let copy = Sqlite::open(&to, store::Options::default()).unwrap();
    assert_eq!(copy.integrity_check(100).await.unwrap().problems, Vec::<String>::new());
}

#[tokio::test]
async fn a_dictionary_holds_no_value_from_outside() {
    let folder = Folder::new();
    let store = folder.open();
    teach(&store, &folder, 0, 1).await;
    let conn = Connection::open(folder.path()).unwrap();
    let sql = "SELECT bytes FROM dictionaries";
    let packed: Vec<u8> = conn.query_row(sql, [], |row| row.get(0)).unwrap();
    let text = String::from_utf8(store::unpack(&packed, |_| None).unwrap()).unwrap();
    assert!(text.contains("an_operation_of_its_own"), "{text}");
    assert!(!text.contains("canary"), "{text}");
}

#[tokio::test]
async fn without_its_dictionary_a_run_is_refused() {
    let folder = Folder::new();
    let store = folder.open();
    let runs = teach(&store, &folder, 0, 1).await;
    drop(store);
    let store = folder.open();
    store.append(batch(&Tenant::default(), proposals(runs))).await.unwrap();
    let conn = Connection::open(folder.path()).unwrap();
    for sql in ["UPDATE dictionaries SET bytes = zeroblob(9)", "DELETE FROM dictionaries"] {
        assert_eq!(conn.execute(sql, []).unwrap(), 1);
        let claimed = store.claim(Tenant::default(), run(&runs.to_string())).await;
        assert!(matches!(claimed, Err(JournalError::Tampered(_))), "after {sql}");
        let problems = store.integrity_check(runs + 1).await.unwrap().problems;
        assert!(problems.iter().any(|problem| problem.contains("not readable")), "{problems:?}");
    }
    store.claim(Tenant::default(), run("0")).await.unwrap();
}
