//! Whatever somebody changes behind the journal shows at the next claim.

use kernel::{
    id::{RunId, Tenant},
    port::{Blobs, Journal, JournalError},
};
use rusqlite::Connection;
use store::{Error, Log, Query, Store};

use crate::make::*;

/// How many events one append brought.
#[derive(Clone, Copy)]
enum Appended {
    One,
    All,
}

/// Four events of a run.
async fn appended(store: &dyn Store, (tenant, run): (&Tenant, &RunId), how: Appended) {
    let records = match how {
        Appended::All => return drop(opened(store, tenant, run, 4).await),
        Appended::One => opening(tenant, run, 4).records,
    };
    for (seq, record) in (0..).zip(records) {
        let mut one = batch(tenant, vec![record]);
        one.expected_seq = seq;
        store.append(one).await.unwrap();
    }
}

/// Runs one SQL statement on a sound store and claims the run again.
async fn claim_after(sql: &str, how: Appended) -> Result<(), JournalError> {
    let folder = Folder::new();
    let (tenant, run) = (tenant("default"), run("a"));
    let store = folder.open();
    appended(&*store, (&tenant, &run), how).await;
    appended(&*store, (&tenant, &crate::make::run("b")), how).await;
    store.post(tenant.clone(), run.clone(), posted("s1", "x")).await.unwrap();
    store.post(tenant.clone(), run.clone(), posted("s2", "y")).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let conn = Connection::open(folder.path()).unwrap();
    let changed = conn.execute(&sql.replace("RUN", run.as_str()), []).unwrap();
    assert!(changed > 0, "nothing was changed by {sql}");
    drop(conn);
    let store = folder.open();
    let sound = store.integrity_check(100).await;
    let claimed = store.claim(tenant, run.clone()).await.map(|_| ());
    if let Err(JournalError::Tampered(problem)) = &claimed {
        assert!(problem.contains(run.as_str()), "{problem} does not name the run");
        assert!(!sound.unwrap().problems.is_empty(), "doctor does not see {sql}");
    }
    claimed
}

#[tokio::test]
async fn every_column_that_matters_is_checked() {
    let batch = "tenant = 'default' AND run = 'RUN' AND seq = SEQ";
    let tampering = [
        format!("UPDATE batches SET events = zeroblob(length(events)) WHERE {batch}"),
        format!("UPDATE batches SET events = x'' WHERE {batch}"),
        format!("UPDATE batches SET events = x'00' WHERE {batch}"),
        format!("UPDATE batches SET events = CAST(x'00' || events AS BLOB) WHERE {batch}"),
        format!("UPDATE batches SET events = (SELECT events FROM batches WHERE run <> 'RUN' AND seq = SEQ) WHERE {batch}"),
        format!("UPDATE batches SET hash = zeroblob(32) WHERE {batch}"),
        format!("UPDATE batches SET seq = 9 WHERE {batch}"),
        format!("UPDATE batches SET run = 'run_other' WHERE {batch}"),
        format!("UPDATE batches SET openings = NULL WHERE {batch}"),
        format!("UPDATE batches SET openings = zeroblob(99) WHERE {batch}"),
        format!("UPDATE batches SET openings = (SELECT openings FROM batches WHERE run <> 'RUN' AND seq = SEQ) WHERE {batch}"),
        format!("DELETE FROM batches WHERE {batch}"),
        "DELETE FROM batches WHERE run = 'RUN' AND seq = 0".to_owned(),
        "DELETE FROM batches WHERE run = 'RUN'".to_owned(),
        "UPDATE runs SET next_seq = 3 WHERE run = 'RUN'".to_owned(),
        "UPDATE runs SET head_hash = zeroblob(32) WHERE run = 'RUN'".to_owned(),
        "DELETE FROM keys WHERE name = 'RUN'".to_owned(),
        "UPDATE keys SET key = zeroblob(32) WHERE name = 'RUN'".to_owned(),
        "UPDATE inbox SET body = zeroblob(60) WHERE signal_id = 's1'".to_owned(),
        "UPDATE inbox SET body = (SELECT body FROM inbox WHERE signal_id = 's1') WHERE signal_id = 's2'".to_owned(),
        "UPDATE inbox SET signal_id = 's9' WHERE signal_id = 's1'".to_owned(),
    ];
    for sql in tampering {
        for (how, seqs) in [(Appended::One, &["2", "3"][..]), (Appended::All, &["0"])] {
            for sql in seqs.iter().map(|seq| sql.replace("SEQ", seq)) {
                let found = claim_after(&sql, how).await;
                assert!(matches!(found, Err(JournalError::Tampered(_))), "{sql}: {found:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_rewritten_event_with_a_fresh_hash_breaks_the_chain() {
    let (tenant, run) = (tenant("default"), run("a"));
    for how in [Appended::One, Appended::All] {
        let folder = Folder::new();
        let store = folder.open();
        appended(&*store, (&tenant, &run), how).await;
        let records = store.events(&tenant, &run, 0, 9).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let mut event = records[2].event.clone();
        event.at += 1;
        let forged = kernel::event::Record::new(event).unwrap();
        let (first, lines, last) = match how {
            Appended::One => (2, vec![&forged.bytes], &forged),
            Appended::All => {
                let [a, b, _, d] = &records[..] else { panic!("four events") };
                (0, vec![&a.bytes, &b.bytes, &forged.bytes, &d.bytes], d)
            }
        };
        // As it is, without compression: the store reads that too.
        let lines: Vec<&[u8]> = lines.into_iter().map(Vec::as_slice).collect();
        let packed = [&[0], lines.join(&b'\n').as_slice()].concat();
        let conn = Connection::open(folder.path()).unwrap();
        let sql = "UPDATE batches SET events = ?1, hash = ?2 WHERE seq = ?3";
        conn.execute(sql, (packed, last.hash.0, first)).unwrap();
        drop(conn);
        let store = folder.open();
        let found = store.claim(tenant.clone(), run.clone()).await.unwrap_err();
        assert!(
            matches!(&found, JournalError::Tampered(text) if text.contains("event 3")),
            "{found}"
        );
        // A page that begins behind it says so, too.
        assert!(store.events(&tenant, &run, 3, 1).await.is_err());
    }
}

#[tokio::test]
async fn a_page_behind_which_events_are_gone_is_refused() {
    let (tenant, run) = (tenant("default"), run("a"));
    let folder = Folder::new();
    let store = folder.open();
    appended(&*store, (&tenant, &run), Appended::One).await;
    for (from, limit, found) in [(0, 9, 4), (0, 3, 3), (3, 1, 1), (3, 9, 1), (4, 9, 0), (9, 9, 0)] {
        let page = store.events(&tenant, &run, from, limit).await.unwrap();
        assert_eq!(page.len(), found, "{limit} from {from}");
    }
    let conn = Connection::open(folder.path()).unwrap();
    conn.execute("DELETE FROM batches WHERE seq = 3", []).unwrap();
    for (from, limit) in [(0, 9), (0, 4), (2, 2), (3, 1)] {
        let page = store.events(&tenant, &run, from, limit).await;
        assert!(page.is_err(), "{limit} from {from}");
    }
}

#[tokio::test]
async fn changed_envelopes_leaves_and_blobs_are_found() {
    let folder = Folder::new();
    let (tenant, run) = (tenant("default"), run("a"));
    let store = folder.open();
    let mut batch = opening(&tenant, &run, 3);
    batch.receipts =
        vec![receipt(&tenant, &run, 0), receipt(&tenant, &run, 1), receipt(&tenant, &run, 2)];
    store.append(batch).await.unwrap();
    let digest = store.put(tenant.clone(), b"a blob".to_vec()).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let conn = Connection::open(folder.path()).unwrap();
    conn.execute(
        "UPDATE receipts SET envelope = CAST(x'00' || 'forged' AS BLOB) WHERE idx = 0",
        [],
    )
    .unwrap();
    conn.execute("DELETE FROM receipts WHERE idx = 1", []).unwrap();
    conn.execute("UPDATE blobs SET bytes = zeroblob(60)", []).unwrap();
    drop(conn);
    let store = folder.open();
    let forged = store.receipt(&tenant, &receipt(&tenant, &run, 0).draft.id).await;
    assert!(matches!(forged, Err(Error::Journal(JournalError::Tampered(_)))));
    assert!(matches!(
        store.leaves(&tenant, 0, 9).await,
        Err(Error::Journal(JournalError::Tampered(_)))
    ));
    assert!(matches!(store.get(tenant.clone(), digest).await, Err(JournalError::Tampered(_))));
    let found = store.integrity_check(9).await.unwrap();
    assert_eq!((found.runs, found.problems.len()), (1, 2), "{found:?}");
}

/// C211: a halt that somebody takes away behind the store is missed.
#[tokio::test]
async fn a_halt_that_was_changed_or_removed_is_found() {
    for sql in [
        "DELETE FROM halts",
        "UPDATE halts SET covers = '{\"scope\":\"pack\",\"pack\":\"x\"}'",
        "DELETE FROM halt_log WHERE n = 0",
        "UPDATE halt_log SET bytes = CAST(replace(CAST(bytes AS TEXT), 'omar', 'lena') AS BLOB) WHERE n = 0",
    ] {
        let folder = Folder::new();
        let tenant = tenant("default");
        let store = folder.open();
        let reason = kernel::sealed::Sealed::new(
            std::sync::Arc::new(serde_json::json!("why")),
            kernel::LabelMap::default(),
            [1; 16],
        );
        let act = store::Brake::Halt(kernel::halt::Covers::Everything);
        let by = "person:omar".parse().unwrap();
        let note = store::HaltNote { at: 1, by, act, reason: reason.unwrap() };
        store::Halts::record_halt(&*store, &tenant, note).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let conn = Connection::open(folder.path()).unwrap();
        assert!(conn.execute(sql, []).unwrap() > 0, "{sql}");
        drop(conn);
        let store = folder.open();
        let found = store.integrity_check(9).await.unwrap();
        assert_eq!(found.problems.len(), 1, "{sql}: {found:?}");
    }
}
