//! Whatever somebody changes behind the journal shows at the next claim.

use kernel::port::{Blobs, Journal, JournalError};
use rusqlite::Connection;
use store::{Error, Log};

use crate::make::*;

/// Runs one SQL statement on a sound store and claims the run again.
async fn claim_after(sql: &str) -> Result<(), JournalError> {
    let folder = Folder::new();
    let (tenant, run) = (tenant("default"), run("a"));
    let store = folder.open();
    opened(&*store, &tenant, &run, 4).await;
    opened(&*store, &tenant, &crate::make::run("b"), 4).await;
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
    let events = "tenant = 'default' AND run = 'RUN' AND seq = 2";
    let tampering = [
        format!("UPDATE events SET bytes = CAST(replace(CAST(bytes AS TEXT), 'note', 'nope') AS BLOB) WHERE {events}"),
        format!("UPDATE events SET hash = zeroblob(32) WHERE {events}"),
        format!("UPDATE events SET kind = 'ticked' WHERE {events}"),
        format!("UPDATE events SET at = at + 1 WHERE {events}"),
        format!("UPDATE events SET seq = 9 WHERE {events}"),
        format!("UPDATE events SET run = 'run_other' WHERE {events}"),
        format!("UPDATE events SET openings = NULL WHERE {events}"),
        format!("UPDATE events SET openings = zeroblob(99) WHERE {events}"),
        format!("UPDATE events SET openings = (SELECT openings FROM events WHERE run = 'RUN' AND seq = 1) WHERE {events}"),
        format!("DELETE FROM events WHERE {events}"),
        "DELETE FROM events WHERE run = 'RUN' AND seq = 3".to_owned(),
        "DELETE FROM events WHERE run = 'RUN' AND seq = 0".to_owned(),
        "DELETE FROM events WHERE run = 'RUN'".to_owned(),
        "UPDATE runs SET next_seq = 3 WHERE run = 'RUN'".to_owned(),
        "UPDATE runs SET head_hash = zeroblob(32) WHERE run = 'RUN'".to_owned(),
        "DELETE FROM keys WHERE name = 'RUN'".to_owned(),
        "UPDATE keys SET key = zeroblob(32) WHERE name = 'RUN'".to_owned(),
        "UPDATE inbox SET body = zeroblob(60) WHERE signal_id = 's1'".to_owned(),
        "UPDATE inbox SET body = (SELECT body FROM inbox WHERE signal_id = 's1') WHERE signal_id = 's2'".to_owned(),
        "UPDATE inbox SET signal_id = 's9' WHERE signal_id = 's1'".to_owned(),
    ];
    for sql in tampering {
        let found = claim_after(&sql).await;
        assert!(matches!(found, Err(JournalError::Tampered(_))), "{sql}: {found:?}");
    }
}

#[tokio::test]
async fn a_rewritten_event_with_a_fresh_hash_breaks_the_chain() {
    let folder = Folder::new();
    let (tenant, run) = (tenant("default"), run("a"));
    let store = folder.open();
    let records = opened(&*store, &tenant, &run, 4).await;
    store.close().await.unwrap();
    drop(store);
    let mut event = records[2].event.clone();
    event.at += 1;
    let forged = kernel::event::Record::new(event).unwrap();
    let conn = Connection::open(folder.path()).unwrap();
    let sql = "UPDATE events SET bytes = ?1, hash = ?2, at = ?3 WHERE seq = 2";
    conn.execute(sql, (&forged.bytes, forged.hash.0, forged.event.at)).unwrap();
    drop(conn);
    let found = folder.open().claim(tenant, run).await.unwrap_err();
    assert!(matches!(&found, JournalError::Tampered(text) if text.contains("event 3")), "{found}");
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
    conn.execute("UPDATE receipts SET envelope = CAST('forged' AS BLOB) WHERE idx = 0", [])
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
