//! What every store promises. Each case runs over RAM and over SQLite.

use std::{collections::BTreeMap, sync::Arc};

use kernel::{
    event::{Body, Event, Record, check_chain},
    exception::{Class, Exception, Need},
    halt::{Covers, HaltChange, Reach, Standing},
    id::{ApprovalId, Digest, ExceptionId, HaltId, TokenId},
    operation::Undo,
    port::JournalError,
    project::{ApprovalRow, Change, ExceptionRow},
    run::Status,
};
use serde_json::json;
use store::{
    BLOB_BYTES_MAX, Brake, Checkpoint, DOCUMENT_BYTES_MAX, Document, Error, ExceptionEntry,
    ExceptionFilter, Expected, HaltNote, Page, Ram, RunFilter, State, Store, StoredReceipt, Thing,
    Waiting,
};

use crate::make::*;

macro_rules! over_both {
    ($($case:ident),* $(,)?) => {
        mod ram {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::$case(Arc::new(Ram::new())).await; })*
        }
        mod sqlite {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { let folder = Folder::new(); super::$case(folder.open()).await; })*
        }
    };
}

over_both!(
    what_is_appended_is_loaded,
    of_two_writers_one_is_lost,
    of_a_thousand_creations_one_wins,
    an_older_epoch_is_fenced_off,
    a_batch_that_does_not_chain_is_refused,
    unknown_runs_are_named,
    posts_are_deduplicated_and_consumed_once,
    an_early_post_waits_for_its_run,
    an_inbox_has_a_limit,
    due_lists_timers_and_inboxes,
    tenants_see_only_their_own,
    blobs_come_back_and_are_checked,
    receipts_form_one_dense_log,
    a_refused_batch_leaves_nothing,
    checkpoints_must_agree,
    erased_values_are_gone_and_the_chain_holds,
    erasing_a_subject_spares_the_others,
    runs_are_filtered,
    runs_are_paged,
    runs_are_filtered_by_operation,
    filters_combine_on_every_page,
    pages_hold_still_while_runs_are_written,
    what_waits_is_counted,
    approvals_open_and_close,
    exceptions_open_and_close,
    a_token_is_armed_then_spent,
    floats_survive,
    a_halt_refuses_the_dispatches_it_covers,
    a_dispatch_that_does_not_say_what_it_reaches_is_refused,
    halts_are_logged_and_lifting_one_wakes_what_it_held,
    a_document_changes_from_the_version_it_was_read_at,
    documents_are_listed_and_due_by_kind,
);

async fn what_is_appended_is_loaded(store: Arc<dyn Store>) {
    let (tenant, run) = (tenant("default"), run("a"));
    let mut all = opened(&*store, &tenant, &run, 3).await;
    let more = records(&run, 3, all[2].hash, 2);
    all.extend(more.clone());
    store.append(batch(&tenant, more)).await.unwrap();
    let loaded = store.claim(tenant.clone(), run.clone()).await.unwrap();
    assert_eq!(loaded.records, all);
    assert_eq!(
        *loaded.records[1].event.body.clone().sealed_mut()[0].value(),
        json!({"canary": "value-1"})
    );
    assert_eq!(store.events(&tenant, &run, 0, 100).await.unwrap(), all);
    assert_eq!(store.events(&tenant, &run, 2, 2).await.unwrap(), all[2..4]);
    assert!(store.events(&tenant, &run, 5, 9).await.unwrap().is_empty());
    let entry = store.run(&tenant, &run).await.unwrap().unwrap();
    assert_eq!((entry.next_seq, entry.head, entry.epoch), (5, all[4].hash, 1));
    let stats = store.stats(&tenant).await.unwrap();
    assert_eq!((stats.runs, stats.events), (1, 5));
}

async fn of_two_writers_one_is_lost(store: Arc<dyn Store>) {
    let (tenant, run) = (tenant("default"), run("a"));
    let head = opened(&*store, &tenant, &run, 1).await[0].hash;
    let next = || batch(&tenant, records(&run, 1, head, 1));
    let (one, two) = tokio::join!(store.append(next()), store.append(next()));
    assert_eq!(u8::from(one.is_ok()) + u8::from(two.is_ok()), 1);
    let lost = one.and(two).unwrap_err();
    assert!(matches!(lost, JournalError::Lost { expected: 1, found: 2 }), "{lost:?}");
}

async fn of_a_thousand_creations_one_wins(store: Arc<dyn Store>) {
    let (tenant, run) = (tenant("default"), run("a"));
    let tasks = (0..1_000).map(|_| {
        let (store, batch) = (Arc::clone(&store), opening(&tenant, &run, 1));
        tokio::spawn(async move { store.append(batch).await })
    });
    let mut won = 0;
    for task in tasks.collect::<Vec<_>>() {
        match task.await.unwrap() {
            Ok(()) => won += 1,
            Err(error) => {
                assert!(matches!(error, JournalError::Lost { expected: 0, found: 1 }), "{error:?}")
            }
        }
    }
    assert_eq!(won, 1);
}

async fn an_older_epoch_is_fenced_off(store: Arc<dyn Store>) {
    let (tenant, run) = (tenant("default"), run("a"));
    let head = opened(&*store, &tenant, &run, 1).await[0].hash;
    let first = store.claim(tenant.clone(), run.clone()).await.unwrap().epoch;
    let second = store.claim(tenant.clone(), run.clone()).await.unwrap().epoch;
    assert_eq!((first, second), (1, 2));
    let mut zombie = batch(&tenant, records(&run, 1, head, 1));
    zombie.epoch = first;
    assert!(matches!(store.append(zombie.clone()).await, Err(JournalError::Lost { .. })));
    zombie.epoch = second;
    store.append(zombie).await.unwrap();
}

async fn a_batch_that_does_not_chain_is_refused(store: Arc<dyn Store>) {
    let (tenant, run_a, run_b) = (tenant("default"), run("a"), run("b"));
    let head = opened(&*store, &tenant, &run_a, 1).await[0].hash;
    let good = batch(&tenant, records(&run_a, 1, head, 2));
    let foreign_head = batch(&tenant, records(&run_a, 1, Digest::of(b"x"), 1));
    let mut foreign_run = good.clone();
    foreign_run.records = records(&run_b, 1, head, 1);
    let mut gap = good.clone();
    gap.records.remove(0);
    let mut forged = good.clone();
    forged.records[1].bytes.push(b' ');
    for wrong in [foreign_head, foreign_run, gap, forged] {
        let refused = store.append(wrong).await.unwrap_err();
        assert!(
            matches!(&refused, JournalError::Tampered(text) if text.contains(run_a.as_str())),
            "{refused}"
        );
    }
    store.append(good).await.unwrap();
}

async fn unknown_runs_are_named(store: Arc<dyn Store>) {
    let (tenant, unknown) = (tenant("default"), run("nobody"));
    let no_run = |error| matches!(error, JournalError::NoRun(run) if run == unknown);
    assert!(no_run(store.claim(tenant.clone(), unknown.clone()).await.unwrap_err()));
    let late = batch(&tenant, records(&unknown, 1, Digest::of(b"x"), 1));
    assert!(no_run(store.append(late).await.unwrap_err()));
    let Err(Error::Journal(error)) = store.erase_run(&tenant, &unknown).await else {
        panic!("erased nothing")
    };
    assert!(no_run(error));
    assert!(store.run(&tenant, &unknown).await.unwrap().is_none());
    assert!(store.events(&tenant, &unknown, 0, 1).await.is_err());
}

async fn posts_are_deduplicated_and_consumed_once(store: Arc<dyn Store>) {
    let (tenant, run) = (tenant("default"), run("a"));
    let head = opened(&*store, &tenant, &run, 1).await[0].hash;
    for (signal, value) in [("z", "first"), ("a", "second"), ("z", "again"), ("m", "third")] {
        store.post(tenant.clone(), run.clone(), posted(signal, value)).await.unwrap();
    }
    let loaded = store.claim(tenant.clone(), run.clone()).await.unwrap();
    let order: Vec<_> = loaded.inbox.iter().map(|item| item.signal_id.as_str()).collect();
    assert_eq!(order, ["z", "a", "m"]);
    assert_eq!(loaded.inbox[0].input, posted("z", "first").input);
    let mut next = batch(&tenant, records(&run, 1, head, 1));
    next.epoch = loaded.epoch;
    next.consumed = vec!["z".to_owned(), "m".to_owned()];
    store.append(next).await.unwrap();
    assert_eq!(store.run(&tenant, &run).await.unwrap().unwrap().inbox, 1);
    store.post(tenant.clone(), run.clone(), posted("z", "a late repeat")).await.unwrap();
    let left = store.claim(tenant, run).await.unwrap().inbox;
    assert_eq!(left.iter().map(|item| item.signal_id.as_str()).collect::<Vec<_>>(), ["a"]);
}

async fn an_early_post_waits_for_its_run(store: Arc<dyn Store>) {
    let (tenant, run) = (tenant("default"), run("a"));
    store.post(tenant.clone(), run.clone(), posted("s1", "early")).await.unwrap();
    assert!(store.due(i64::MAX, 10).await.unwrap().is_empty());
    opened(&*store, &tenant, &run, 1).await;
    assert_eq!(store.due(0, 10).await.unwrap(), [(tenant.clone(), run.clone())]);
    let inbox = store.claim(tenant, run).await.unwrap().inbox;
    assert_eq!(inbox[0].input, posted("s1", "early").input);
}

async fn an_inbox_has_a_limit(store: Arc<dyn Store>) {
    let (tenant, run) = (tenant("default"), run("a"));
    let post = |n: u64| store.post(tenant.clone(), run.clone(), posted(&format!("s{n}"), ""));
    let tasks: Vec<_> = (0..store::INBOX_MAX).map(post).collect();
    for chunk in futures(tasks).await {
        chunk.unwrap();
    }
    assert!(
        matches!(post(store::INBOX_MAX).await, Err(JournalError::Medium(text)) if text.contains("inbox"))
    );
    post(0).await.unwrap();
}

/// Runs futures concurrently, so that a store may group them.
async fn futures<T: Send>(tasks: Vec<kernel::port::Task<'_, T>>) -> Vec<T> {
    let mut tasks: Vec<_> = tasks.into_iter().map(|task| (task, None)).collect();
    std::future::poll_fn(|context| {
        let mut waiting = false;
        for (task, answer) in &mut tasks {
            if answer.is_none() {
                match task.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *answer = Some(value),
                    std::task::Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    tasks.into_iter().map(|(_, answer)| answer.unwrap()).collect()
}

async fn due_lists_timers_and_inboxes(store: Arc<dyn Store>) {
    let tenant = tenant("default");
    let names = ["late", "soon", "never"];
    for (name, wake_at) in names.iter().zip([Some(500), Some(100), None]) {
        let mut batch = opening(&tenant, &run(name), 1);
        batch.wake_at = wake_at;
        store.append(batch).await.unwrap();
    }
    let due = async |now, limit| -> Vec<_> {
        store.due(now, limit).await.unwrap().into_iter().map(|(_, run)| run).collect()
    };
    assert!(due(99, 10).await.is_empty());
    assert_eq!(due(100, 10).await, [run("soon")]);
    assert_eq!(due(500, 10).await, [run("soon"), run("late")]);
    assert_eq!(due(500, 1).await, [run("soon")]);
    store.post(tenant.clone(), run("never"), posted("s", "x")).await.unwrap();
    store.post(tenant.clone(), run("soon"), posted("s", "x")).await.unwrap();
    assert_eq!(due(500, 10).await, [run("soon"), run("never"), run("late")]);
    let head = store.run(&tenant, &run("soon")).await.unwrap().unwrap().head;
    let mut parked = batch(&tenant, records(&run("soon"), 1, head, 1));
    parked.consumed = vec!["s".to_owned()];
    store.append(parked).await.unwrap();
    assert_eq!(due(500, 10).await, [run("late"), run("never")]);
}

async fn tenants_see_only_their_own(store: Arc<dyn Store>) {
    let (ours, theirs, run) = (tenant("ours"), tenant("theirs"), run("a"));
    let mut batch = with_row(opening(&ours, &run, 2), row(1, &["customer:1"]));
    batch.receipts = vec![receipt(&ours, &run, 0)];
    store.append(batch).await.unwrap();
    store.post(ours.clone(), run.clone(), posted("s", "x")).await.unwrap();
    let digest = store.put(ours.clone(), b"blob".to_vec()).await.unwrap();
    assert!(store.run(&theirs, &run).await.unwrap().is_none());
    assert!(
        store.runs(&theirs, RunFilter::default(), Page::default()).await.unwrap().items.is_empty()
    );
    assert!(store.claim(theirs.clone(), run.clone()).await.is_err());
    assert_eq!(store.get(theirs.clone(), digest).await.unwrap(), None);
    assert_eq!(store.log_size(&theirs).await.unwrap(), 0);
    let id = receipt(&ours, &run, 0).draft.id;
    assert!(store.receipt(&theirs, &id).await.unwrap().is_none());
    assert_eq!(store.find_run(&theirs, &Thing::Receipt(id)).await.unwrap(), None);
    assert!(store.erase_subject(&theirs, "customer:1").await.unwrap().is_empty());
    assert!(store.erase_run(&theirs, &run).await.is_err());
    opened(&*store, &theirs, &run, 1).await;
    assert!(store.claim(theirs, run.clone()).await.unwrap().inbox.is_empty());
    assert_eq!(store.claim(ours, run).await.unwrap().records.len(), 2);
}

async fn blobs_come_back_and_are_checked(store: Arc<dyn Store>) {
    let tenant = tenant("default");
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
    let digest = store.put(tenant.clone(), bytes.clone()).await.unwrap();
    assert_eq!(digest, Digest::of(&bytes));
    assert_eq!(store.put(tenant.clone(), bytes.clone()).await.unwrap(), digest);
    assert_eq!(store.get(tenant.clone(), digest).await.unwrap(), Some(bytes.clone()));
    store.erase_blob(&tenant, &digest).await.unwrap();
    assert_eq!(store.get(tenant.clone(), digest).await.unwrap(), None);
    store.put(tenant.clone(), bytes).await.unwrap();
    assert!(store.get(tenant.clone(), digest).await.unwrap().is_some());
    let empty = store.put(tenant.clone(), vec![]).await.unwrap();
    assert_eq!(store.get(tenant.clone(), empty).await.unwrap(), Some(vec![]));
    let huge = store.put(tenant, vec![0; BLOB_BYTES_MAX + 1]).await;
    assert!(matches!(huge, Err(JournalError::Medium(_))));
}

async fn receipts_form_one_dense_log(store: Arc<dyn Store>) {
    let tenant = tenant("default");
    let runs: Vec<_> = (0..20).map(|n| run(&format!("r{n}"))).collect();
    let appends = runs.iter().map(|run| {
        let mut batch = opening(&tenant, run, 3);
        batch.receipts = vec![receipt(&tenant, run, 1), receipt(&tenant, run, 2)];
        let at = 77;
        batch.changes =
            vec![Change::Receipt { id: receipt(&tenant, run, 1).draft.id, action: Some(1), at }];
        store.append(batch)
    });
    for answer in futures(appends.collect()).await {
        answer.unwrap();
    }
    assert_eq!(store.log_size(&tenant).await.unwrap(), 40);
    let leaves = store.leaves(&tenant, 0, 100).await.unwrap();
    assert_eq!(store.leaves(&tenant, 10, 5).await.unwrap(), leaves[10..15]);
    let logged = store.logged(&tenant, 10, 5).await.unwrap();
    let places: Vec<u64> = logged.iter().map(|stored| stored.entry.log_index).collect();
    assert_eq!(places, [10, 11, 12, 13, 14]);
    assert_eq!(logged.iter().map(|s| s.entry.leaf).collect::<Vec<_>>(), leaves[10..15]);
    assert_eq!(store.logged(&tenant, u64::MAX, 5).await.unwrap(), []);
    let mut positions = Vec::new();
    for run in &runs {
        let listed = store.receipts(&tenant, run, Page { after: None, limit: 1 }).await.unwrap();
        let rest =
            store.receipts(&tenant, run, Page { after: listed.next, limit: 1 }).await.unwrap();
        assert_eq!(rest.next, None);
        for (index, entry) in listed.items.iter().chain(&rest.items).enumerate() {
            let StoredReceipt { entry: found, envelope } =
                store.receipt(&tenant, &entry.id).await.unwrap().unwrap();
            assert_eq!((&found, found.index), (entry, index as u64));
            assert_eq!(found.at, if index == 0 { 77 } else { 1_002 });
            let leaf = Digest::of(&[&[0], envelope.as_slice()].concat());
            assert_eq!((leaf, leaf), (entry.leaf, leaves[entry.log_index as usize]));
            assert_eq!(
                store.find_run(&tenant, &Thing::Receipt(entry.id.clone())).await.unwrap().as_ref(),
                Some(run)
            );
            positions.push(entry.log_index);
        }
    }
    positions.sort_unstable();
    assert_eq!(positions, (0..40).collect::<Vec<_>>());
}

async fn a_refused_batch_leaves_nothing(store: Arc<dyn Store>) {
    let (tenant, run_a, run_b) = (tenant("default"), run("a"), run("b"));
    let mut batch = opening(&tenant, &run_a, 1);
    batch.receipts = vec![receipt(&tenant, &run_a, 0)];
    store.append(batch).await.unwrap();
    let mut clash = with_row(opening(&tenant, &run_b, 2), row(1, &["customer:1"]));
    clash.receipts = vec![receipt(&tenant, &run_b, 0), receipt(&tenant, &run_a, 0)];
    assert!(store.append(clash).await.is_err());
    assert!(store.run(&tenant, &run_b).await.unwrap().is_none());
    assert_eq!(store.log_size(&tenant).await.unwrap(), 1);
    assert!(store.erase_subject(&tenant, "customer:1").await.unwrap().is_empty());
}

async fn checkpoints_must_agree(store: Arc<dyn Store>) {
    let (tenant, run) = (tenant("default"), run("a"));
    let mut batch = opening(&tenant, &run, 3);
    batch.receipts = vec![receipt(&tenant, &run, 1), receipt(&tenant, &run, 2)];
    store.append(batch).await.unwrap();
    assert_eq!(store.checkpoint(&tenant).await.unwrap(), None);
    let note = |size, root: &[u8]| Checkpoint {
        size,
        root: Digest::of(root),
        note: b"signed".to_vec(),
        at: 5,
    };
    store.put_checkpoint(&tenant, note(2, b"two")).await.unwrap();
    store.put_checkpoint(&tenant, note(1, b"one")).await.unwrap();
    store.put_checkpoint(&tenant, note(2, b"two")).await.unwrap();
    assert_eq!(store.checkpoint(&tenant).await.unwrap(), Some(note(2, b"two")));
    for wrong in [note(2, b"other"), note(3, b"three")] {
        assert!(matches!(
            store.put_checkpoint(&tenant, wrong).await,
            Err(Error::Checkpoint { .. })
        ));
    }
    assert_eq!(store.checkpoint(&tenant).await.unwrap(), Some(note(2, b"two")));
}

async fn erased_values_are_gone_and_the_chain_holds(store: Arc<dyn Store>) {
    let (tenant, run) = (tenant("default"), run("a"));
    let before = opened(&*store, &tenant, &run, 3).await;
    store.post(tenant.clone(), run.clone(), posted("s", "x")).await.unwrap();
    store.erase_run(&tenant, &run).await.unwrap();
    let loaded = store.claim(tenant.clone(), run.clone()).await.unwrap();
    check_chain(&loaded.records).unwrap();
    assert_eq!(loaded.records.last().unwrap().hash, before[2].hash);
    assert!(loaded.records.iter().flat_map(Record::openings).all(|opening| opening.is_none()));
    assert!(loaded.inbox.is_empty());
    assert!(store.due(i64::MAX, 9).await.unwrap().is_empty());
    // The run may go on; new values live under a new key.
    let mut more = batch(&tenant, records(&run, 3, before[2].hash, 1));
    more.epoch = loaded.epoch;
    store.append(more).await.unwrap();
    let events = store.events(&tenant, &run, 0, 9).await.unwrap();
    assert!(events[2].openings()[0].is_none() && events[3].openings()[0].is_some());
    store.erase_run(&tenant, &run).await.unwrap();
    assert!(store.events(&tenant, &run, 3, 9).await.unwrap()[0].openings()[0].is_none());
}

async fn erasing_a_subject_spares_the_others(store: Arc<dyn Store>) {
    let tenant = tenant("default");
    for (name, subjects) in [
        ("a", vec!["customer:1", "account:9"]),
        ("b", vec!["customer:2"]),
        ("c", vec!["customer:1"]),
    ] {
        store.append(with_row(opening(&tenant, &run(name), 2), row(1, &subjects))).await.unwrap();
    }
    let mut erased = store.erase_subject(&tenant, "customer:1").await.unwrap();
    erased.sort();
    let mut expected = vec![run("a"), run("c")];
    expected.sort();
    assert_eq!(erased, expected);
    for (name, kept) in [("a", false), ("b", true), ("c", false)] {
        let events = store.events(&tenant, &run(name), 1, 1).await.unwrap();
        assert_eq!(events[0].openings()[0].is_some(), kept, "{name}");
    }
}

/// Seven runs, opened at 100, 100, 101, 101, 102, 102, 103.
async fn seven_runs(store: &dyn Store) {
    for n in 0..7_i64 {
        let subject = if n % 2 == 0 { "customer:even" } else { "customer:odd" };
        let mut row = row(100 + n / 2, &[subject]);
        row.status = if n < 3 { Status::Succeeded } else { Status::Waiting };
        row.intent = if n == 6 { "refund".to_owned() } else { row.intent };
        let opening = opening(&tenant("default"), &run(&n.to_string()), 1);
        store.append(with_row(opening, row)).await.unwrap();
    }
}

async fn runs_are_filtered(store: Arc<dyn Store>) {
    seven_runs(&*store).await;
    let list = async |change: fn(&mut RunFilter)| -> Vec<_> {
        let mut filter = RunFilter::default();
        change(&mut filter);
        let listed = store.runs(&tenant("default"), filter, Page::default()).await.unwrap();
        listed.items.into_iter().map(|entry| entry.row.unwrap().opened_at).collect()
    };
    assert_eq!(list(|_| ()).await, [103, 102, 102, 101, 101, 100, 100]);
    assert_eq!(list(|f| f.status = Some(Status::Succeeded)).await, [101, 100, 100]);
    assert_eq!(list(|f| f.intent = Some("refund".to_owned())).await, [103]);
    assert_eq!(list(|f| f.subjects = vec!["customer:odd".to_owned()]).await, [102, 101, 100]);
    assert_eq!(list(|f| (f.from, f.until) = (Some(101), Some(103))).await, [102, 102, 101, 101]);
    assert!(list(|f| f.agent = Some("agent:other".to_owned())).await.is_empty());
    assert_eq!(list(|f| f.pack = Some("customer-ops".to_owned())).await.len(), 7);
    assert_eq!(list(|f| f.pack = Some("customer-ops@1.0.0".to_owned())).await.len(), 7);
    for other in ["customer", "customer-ops@1", "customer-ops@1.0.1", "customer-opsA"] {
        let filter = RunFilter { pack: Some(other.to_owned()), ..RunFilter::default() };
        let listed = store.runs(&tenant("default"), filter, Page::default()).await.unwrap();
        assert!(listed.items.is_empty(), "{other}");
    }
}

async fn runs_are_paged(store: Arc<dyn Store>) {
    seven_runs(&*store).await;
    let list = async |after| {
        let page = Page { after, limit: 2 };
        store.runs(&tenant("default"), RunFilter::default(), page).await
    };
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = list(after).await.unwrap();
        assert!(page.items.len() <= 2);
        seen.extend(page.items.into_iter().map(|entry| entry.run));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut all: Vec<_> = (0..7_i64).map(|n| run(&n.to_string())).collect();
    seen.sort();
    all.sort();
    assert_eq!(seen, all);
    assert!(matches!(list(Some("00".to_owned())).await, Err(Error::Cursor(_))));
}

async fn runs_are_filtered_by_operation(store: Arc<dyn Store>) {
    let (tenant, other) = (tenant("default"), tenant("other"));
    let with = async |tenant: &kernel::id::Tenant, name: &str, operations: &[&str]| {
        let run = run(name);
        let mut first = with_row(opening(tenant, &run, 1), row(1, &[]));
        for operation in operations {
            let (seq, head) = (first.records.len() as u64, first.records.last().unwrap().hash);
            first.records.push(proposal(&run, seq, head, operation));
        }
        let head = first.records.last().unwrap().hash;
        let next = first.records.len() as u64;
        store.append(first).await.unwrap();
        (run, next, head)
    };
    let (a, next, head) = with(&tenant, "a", &["crm.get", "crm.get", "billing.refund"]).await;
    let (b, ..) = with(&tenant, "b", &["crm.get"]).await;
    with(&other, "c", &["crm.get", "mail.send"]).await;
    let list = async |operation: &str| -> Vec<_> {
        let operation = Some(operation.parse().unwrap());
        let filter = RunFilter { operation, ..RunFilter::default() };
        let listed = store.runs(&tenant, filter, Page::default()).await.unwrap();
        listed.items.into_iter().map(|entry| entry.run).collect()
    };
    let both = if a > b { [a.clone(), b.clone()] } else { [b.clone(), a.clone()] };
    assert_eq!(list("crm.get").await, both);
    assert_eq!(list("billing.refund").await, std::slice::from_ref(&a));
    assert!(list("crm").await.is_empty() && list("mail.send").await.is_empty());
    // One that comes later counts too, in whatever state the run is by then.
    let mut later = batch(&tenant, vec![proposal(&a, next, head, "mail.send")]);
    let failed = kernel::project::RunRow { status: Status::Failed, ..row(1, &[]) };
    later = with_row(later, failed);
    store.append(later).await.unwrap();
    assert_eq!(list("mail.send").await, [a]);
}

/// Every value of the six filters over runs that differ in all of them.
async fn many_runs(store: &dyn Store, tenant: &kernel::id::Tenant, runs: i64) {
    for n in 0..runs {
        let run = run(&n.to_string());
        let customer = format!("customer:{}", n % 7);
        let mut row = row(1_000 + n / 3, &[&customer, &format!("account:{}", n % 2)]);
        row.status = [Status::Succeeded, Status::Failed, Status::Waiting][(n % 3) as usize];
        row.intent = ["renewal", "refund"][(n % 2) as usize].to_owned();
        row.pack = format!("{}@1.{}.0", ["ops", "ops-x"][(n % 5 / 3) as usize], n % 2);
        row.agent = format!("agent:{}", n % 4);
        let mut first = with_row(opening(tenant, &run, 1), row);
        let head = first.records[0].hash;
        first.records.push(proposal(&run, 1, head, &format!("crm.op{}", n % 3)));
        store.append(first).await.unwrap();
    }
}

/// All pages of a list, in pages of three.
async fn all_pages(
    store: &dyn Store,
    tenant: &kernel::id::Tenant,
    filter: &RunFilter,
) -> Vec<store::RunEntry> {
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = Page { after, limit: 3 };
        let listed = store.runs(tenant, filter.clone(), page).await.unwrap();
        assert!(listed.items.len() <= 3);
        seen.extend(listed.items);
        after = listed.next;
        if after.is_none() {
            return seen;
        }
    }
}

async fn filters_combine_on_every_page(store: Arc<dyn Store>) {
    let tenant = tenant("default");
    many_runs(&*store, &tenant, 180).await;
    let everything = all_pages(&*store, &tenant, &RunFilter::default()).await;
    assert_eq!(everything.len(), 180);
    let numbers: BTreeMap<_, _> = (0..180_i64).map(|n| (run(&n.to_string()), n)).collect();
    let mut seen = 0;
    // Every subset of the filters, each with a value that some runs have.
    for set in 0..256_u32 {
        let has = |bit: u32| set & (1 << bit) != 0;
        let subjects = [(5, "account:0"), (6, "customer:3")];
        let filter = RunFilter {
            status: has(0).then_some(Status::Succeeded),
            intent: has(1).then(|| "renewal".to_owned()),
            pack: has(2).then(|| ["ops", "ops@1.0.0"][(set % 2) as usize].to_owned()),
            agent: has(3).then(|| "agent:0".to_owned()),
            operation: has(4).then(|| "crm.op0".parse().unwrap()),
            subjects: subjects.iter().filter(|s| has(s.0)).map(|s| s.1.to_owned()).collect(),
            from: has(7).then_some(1_010),
            until: has(7).then_some(1_050),
        };
        let passes = |n: i64| {
            (!has(0) || n % 3 == 0)
                && (!has(1) || n % 2 == 0)
                && (!has(2) || n % 5 / 3 == 0 && (set % 2 == 0 || n % 2 == 0))
                && (!has(3) || n % 4 == 0)
                && (!has(4) || n % 3 == 0)
                && (!has(5) || n % 2 == 0)
                && (!has(6) || n % 7 == 3)
                && (!has(7) || (1_010..1_050).contains(&(1_000 + n / 3)))
        };
        let expected: Vec<_> =
            everything.iter().filter(|entry| passes(numbers[&entry.run])).cloned().collect();
        seen += usize::from(!expected.is_empty());
        assert_eq!(all_pages(&*store, &tenant, &filter).await, expected, "{filter:?}");
    }
    assert!(seen > 200, "{seen} of the filters pass something: the values are badly chosen");
}

async fn pages_hold_still_while_runs_are_written(store: Arc<dyn Store>) {
    let tenant = tenant("default");
    many_runs(&*store, &tenant, 60).await;
    let filter = RunFilter { agent: Some("agent:1".to_owned()), ..RunFilter::default() };
    let expected: Vec<_> =
        all_pages(&*store, &tenant, &filter).await.into_iter().map(|e| e.run).collect();
    let (mut after, mut seen, mut newer) = (None, Vec::new(), 0);
    loop {
        let page = Page { after, limit: 2 };
        let listed = store.runs(&tenant, filter.clone(), page).await.unwrap();
        seen.extend(listed.items.into_iter().map(|entry| entry.run));
        after = listed.next;
        if after.is_none() {
            break;
        }
        // A run that begins while somebody turns pages, and one that goes on.
        newer += 1;
        let mut fresh = row(5_000 + newer, &[]);
        fresh.agent = "agent:1".to_owned();
        let opening = opening(&tenant, &run(&format!("newer {newer}")), 1);
        store.append(with_row(opening, fresh)).await.unwrap();
        let moved = seen.last().unwrap();
        let entry = store.run(&tenant, moved).await.unwrap().unwrap();
        let next = batch(&tenant, records(moved, entry.next_seq, entry.head, 1));
        let mut changed = entry.row.unwrap();
        changed.status = Status::Cancelled;
        store.append(with_row(next, changed)).await.unwrap();
    }
    assert!(newer > 3);
    assert_eq!(seen, expected);
}

async fn what_waits_is_counted(store: Arc<dyn Store>) {
    let (tenant, run) = (tenant("default"), run("a"));
    let ask = |seq: u64| {
        Change::ApprovalOpened(Box::new(ApprovalRow {
            id: ApprovalId::of(&tenant, &run, seq),
            sort: "action".to_owned(),
            step: "pay".to_owned(),
            action: Some(seq),
            roles: vec![],
            opened_at: 1,
            expires_at: 2,
        }))
    };
    let mut first = opening(&tenant, &run, 1);
    first.changes = vec![ask(0), ask(1), ask(2)];
    let id = ApprovalId::of(&tenant, &run, 1);
    first.changes.push(Change::ApprovalClosed { id, state: "void".to_owned(), at: 3 });
    store.append(first).await.unwrap();
    assert_eq!(store.waiting(&tenant).await.unwrap(), Waiting { approvals: 2, exceptions: 0 });
    let other = "other".parse().unwrap();
    assert_eq!(store.waiting(&other).await.unwrap(), Waiting::default());
}

async fn approvals_open_and_close(store: Arc<dyn Store>) {
    let (tenant, run) = (tenant("default"), run("a"));
    let ask = |seq: u64, opened_at, expires_at| ApprovalRow {
        id: ApprovalId::of(&tenant, &run, seq),
        sort: "action".to_owned(),
        step: "pay".to_owned(),
        action: Some(seq),
        roles: vec!["finance".to_owned()],
        opened_at,
        expires_at,
    };
    let (early, late) = (ask(0, 10, 300), ask(1, 20, 200));
    let mut first = opening(&tenant, &run, 1);
    first.changes =
        [&early, &late].map(|row| Change::ApprovalOpened(Box::new(row.clone()))).to_vec();
    let head = first.records[0].hash;
    store.append(first).await.unwrap();
    let asks = async |state| -> Vec<_> {
        let listed = store.approvals(&tenant, state, Page::default()).await.unwrap();
        listed.items.into_iter().map(|entry| (entry.row, entry.state)).collect()
    };
    assert_eq!(asks(State::Open).await, [(late.clone(), None), (early.clone(), None)]);
    assert_eq!(store.stats(&tenant).await.unwrap().approvals_open, 2);
    let found = store.find_run(&tenant, &Thing::Approval(early.id.clone())).await.unwrap();
    assert_eq!(found, Some(run.clone()));
    let mut next = batch(&tenant, records(&run, 1, head, 1));
    let state = "approved".to_owned();
    next.changes =
        vec![Change::ApprovalClosed { id: late.id.clone(), state: state.clone(), at: 30 }];
    store.append(next).await.unwrap();
    assert_eq!(asks(State::Open).await, [(early.clone(), None)]);
    assert_eq!(asks(State::All).await, [(late, Some(state)), (early, None)]);
}

async fn exceptions_open_and_close(store: Arc<dyn Store>) {
    let (tenant, run) = (tenant("default"), run("a"));
    let exception = Exception {
        id: ExceptionId::of(&tenant, &run, 2),
        need: Need::InDoubt,
        class: Class::Timeout,
        step: "pay".to_owned(),
        action: Some(0),
        owner: "ops".to_owned(),
        at: 20,
        count: 1,
    };
    let row = Box::new(ExceptionRow { exception: exception.clone() });
    let mut first = opening(&tenant, &run, 1);
    first.changes = vec![Change::ExceptionOpened(row)];
    let head = first.records[0].hash;
    store.append(first).await.unwrap();
    let list = async |state| {
        let listed = store
            .exceptions(&tenant, (state, ExceptionFilter::default()), Page::default())
            .await
            .unwrap();
        let brief = |entry: ExceptionEntry| (entry.exception, entry.closed_at);
        listed.items.into_iter().map(brief).collect::<Vec<_>>()
    };
    assert_eq!(list(State::Open).await, [(exception.clone(), None)]);
    assert_eq!(store.stats(&tenant).await.unwrap().exceptions_open, 1);
    let filters = [
        (ExceptionFilter { class: Some(Class::Timeout), ..Default::default() }, 1),
        (ExceptionFilter { class: Some(Class::Stale), ..Default::default() }, 0),
        (ExceptionFilter { need: Some(Need::InDoubt), ..Default::default() }, 1),
        (ExceptionFilter { need: Some(Need::Defect), ..Default::default() }, 0),
        (ExceptionFilter { owner: Some("ops".to_owned()), ..Default::default() }, 1),
        (ExceptionFilter { owner: Some("op".to_owned()), ..Default::default() }, 0),
        (ExceptionFilter { run: Some(run.clone()), ..Default::default() }, 1),
        (ExceptionFilter { run: Some(crate::make::run("b")), ..Default::default() }, 0),
        (ExceptionFilter { until: Some(21), ..Default::default() }, 1),
        (ExceptionFilter { until: Some(20), ..Default::default() }, 0),
    ];
    for (filter, count) in filters {
        for state in [State::Open, State::All] {
            let wanted = (state, filter.clone());
            let listed = store.exceptions(&tenant, wanted, Page::default()).await.unwrap();
            assert_eq!(listed.items.len(), count, "{state:?} {filter:?}");
        }
    }
    let thing = Thing::Exception(exception.id.clone());
    assert_eq!(store.find_run(&tenant, &thing).await.unwrap(), Some(run.clone()));
    let mut next = batch(&tenant, records(&run, 1, head, 1));
    next.changes = vec![Change::ExceptionClosed { id: exception.id.clone(), at: 31 }];
    store.append(next).await.unwrap();
    assert!(list(State::Open).await.is_empty());
    assert_eq!(list(State::All).await, [(exception, Some(31))]);
}

async fn a_token_is_armed_then_spent(store: Arc<dyn Store>) {
    let (tenant, run) = (tenant("default"), run("a"));
    let id = TokenId::of(&tenant, &run, 0);
    let token = |state: &str| {
        let (id, state) = (id.clone(), state.to_owned());
        vec![Change::Token { id, action: 0, undo: Undo::Restore, state, expires_at: 900 }]
    };
    let states = async || {
        let listed = store.tokens(&tenant, &run, Page::default()).await.unwrap();
        listed.items.into_iter().map(|token| (token.undo, token.state)).collect::<Vec<_>>()
    };
    let mut first = opening(&tenant, &run, 1);
    first.changes = token("armed");
    let head = first.records[0].hash;
    store.append(first).await.unwrap();
    assert_eq!(states().await, [(Undo::Restore, "armed".to_owned())]);
    let found = store.find_run(&tenant, &Thing::Token(id.clone())).await.unwrap();
    assert_eq!(found, Some(run.clone()));
    let mut next = batch(&tenant, records(&run, 1, head, 1));
    next.changes = token("spent");
    store.append(next).await.unwrap();
    assert_eq!(states().await, [(Undo::Restore, "spent".to_owned())]);
}

async fn floats_survive(store: Arc<dyn Store>) {
    let (tenant, run) = (tenant("default"), run("a"));
    // Arbitrary mantissas: a reader that rounds the last bit would break some of them.
    let floats: Vec<f64> = (1..5_000_u64)
        .map(|n| f64::from_bits(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) & 0x7fef_ffff_ffff_ffff))
        .collect();
    let body = Body::Signalled { name: "floats".to_owned(), body: sealed(json!(floats)) };
    let event = Event { v: 1, run: run.clone(), seq: 0, at: 1, body, prev_hash: Digest::default() };
    store.append(batch(&tenant, vec![Record::new(event).unwrap()])).await.unwrap();
    let loaded = store.claim(tenant, run).await.unwrap();
    assert_eq!(*loaded.records[0].openings()[0].as_ref().unwrap().value, json!(floats));
}

/// A batch of one dispatch, and what it reaches.
fn dispatching(
    tenant: &kernel::id::Tenant,
    run: &kernel::RunId,
    (seq, prev): (u64, Digest),
    connector: &str,
) -> kernel::port::Batch {
    let body = Body::Dispatched {
        action: 0,
        key: kernel::id::EffectKey::of(tenant, run, 0),
        attempt: 1,
        dispatch_by: 9_000,
        masks: Default::default(),
    };
    let event = Event { v: 1, run: run.clone(), seq, at: 5_000, body, prev_hash: prev };
    let mut batch = batch(tenant, vec![Record::new(event).unwrap()]);
    batch.reach = Some(Reach {
        pack: "sales@1.0.0".to_owned(),
        agents: ["agent:seller".parse().unwrap()].into(),
        connectors: [connector.to_owned()].into(),
    });
    batch
}

fn note(act: Brake) -> HaltNote {
    let labels = kernel::LabelMap::default();
    let why = Arc::new(json!("it calls the wrong people"));
    let reason = kernel::sealed::Sealed::new(why, labels, [7; 16]).unwrap();
    HaltNote { at: 7_000, by: "person:omar".parse().unwrap(), act, reason }
}

async fn halt(store: &dyn Store, tenant: &kernel::id::Tenant, covers: Covers) -> HaltId {
    let event = store.record_halt(tenant, note(Brake::Halt(covers))).await.unwrap();
    let HaltChange::Halted { halt, .. } = event.change else { panic!("{event:?}") };
    halt
}

/// C211: the halt row is read in the transaction that writes a dispatch.
async fn a_halt_refuses_the_dispatches_it_covers(store: Arc<dyn Store>) {
    let (tenant, run, other) = (tenant("default"), run("a"), run("b"));
    let head = opened(&*store, &tenant, &run, 1).await[0].hash;
    let pack = Covers::Pack { pack: "sales".to_owned() };
    let connector = Covers::Connector { connector: "crm".to_owned() };
    let agent = Covers::Agent { agent: "agent:seller".parse().unwrap() };
    let mut epoch = 0;
    for covers in [Covers::Everything, pack, connector, agent, Covers::Run { run: run.clone() }] {
        let id = halt(&*store, &tenant, covers.clone()).await;
        let mut batch = dispatching(&tenant, &run, (1, head), "crm");
        batch.epoch = epoch;
        let refused = store.append(batch).await;
        assert!(matches!(&refused, Err(JournalError::Halted(by)) if *by == id), "{covers:?}");
        let entry = store.run(&tenant, &run).await.unwrap().unwrap();
        assert_eq!((entry.next_seq, entry.head), (1, head), "nothing was written");
        let claimed = store.claim(tenant.clone(), run.clone()).await.unwrap();
        epoch = claimed.epoch;
        assert_eq!(claimed.halts, [Standing { id: id.clone(), covers }]);
        store.record_halt(&tenant, note(Brake::Lift(id))).await.unwrap();
    }
    // What is not covered goes on, and so does what dispatches nothing.
    halt(&*store, &tenant, Covers::Run { run: other }).await;
    halt(&*store, &tenant, Covers::Connector { connector: "mail".to_owned() }).await;
    halt(&*store, &crate::make::tenant("elsewhere"), Covers::Everything).await;
    let mut batch = dispatching(&tenant, &run, (1, head), "crm");
    batch.epoch = epoch;
    let head = batch.records[0].hash;
    store.append(batch).await.unwrap();
    halt(&*store, &tenant, Covers::Everything).await;
    let mut quiet = crate::make::batch(&tenant, records(&run, 2, head, 1));
    quiet.epoch = epoch;
    store.append(quiet).await.unwrap();
}

async fn a_dispatch_that_does_not_say_what_it_reaches_is_refused(store: Arc<dyn Store>) {
    let (tenant, run) = (tenant("default"), run("a"));
    let head = opened(&*store, &tenant, &run, 1).await[0].hash;
    let mut batch = dispatching(&tenant, &run, (1, head), "crm");
    batch.reach = None;
    let refused = store.append(batch).await;
    assert!(matches!(refused, Err(JournalError::Tampered(_))), "{refused:?}");
}

async fn halts_are_logged_and_lifting_one_wakes_what_it_held(store: Arc<dyn Store>) {
    let (tenant, run) = (tenant("default"), run("a"));
    let mut first = opening(&tenant, &run, 1);
    let mut held = row(5, &[]);
    held.status = Status::Halted;
    first.changes = vec![Change::Run(Box::new(held))];
    store.append(first).await.unwrap();
    let id = halt(&*store, &tenant, Covers::Everything).await;
    assert!(store.due(9_000, 9).await.unwrap().is_empty());
    store.record_halt(&tenant, note(Brake::Lift(id.clone()))).await.unwrap();
    assert_eq!(store.due(9_000, 9).await.unwrap(), [(tenant.clone(), run)]);
    let again = store.record_halt(&tenant, note(Brake::Lift(id.clone()))).await;
    assert!(matches!(again, Err(Error::NoHalt(gone)) if gone == id));
    let log = store.halt_log(&tenant).await.unwrap();
    assert_eq!(log.len(), 2);
    assert_eq!(*log[0].reason.value(), json!("it calls the wrong people"));
    assert_eq!(log[1].prev_hash, log[0].hashed().unwrap().1);
    assert_eq!(log[1].by.as_str(), "person:omar");
    assert!(store.halt_log(&crate::make::tenant("elsewhere")).await.unwrap().is_empty());
}

fn letter(id: &str, due: Option<i64>, body: &str) -> Document {
    Document { kind: "letter", id: id.to_owned(), due, body: body.as_bytes().to_vec() }
}

async fn a_document_changes_from_the_version_it_was_read_at(store: Arc<dyn Store>) {
    let (here, elsewhere) = (tenant("default"), tenant("elsewhere"));
    let put = |body: &str, expected| store.keep(&here, letter("a", None, body), expected);
    assert!(matches!(put("x", Expected::Version(1)).await, Err(Error::Stale { found: None, .. })));
    assert_eq!(put("one", Expected::Absent).await.unwrap(), 1);
    assert!(matches!(put("x", Expected::Absent).await, Err(Error::Stale { found: Some(1), .. })));
    assert_eq!(put("two", Expected::Version(1)).await.unwrap(), 2);
    assert!(matches!(put("x", Expected::Version(1)).await, Err(Error::Stale { .. })));
    assert_eq!(put("three", Expected::Any).await.unwrap(), 3);
    let kept = store.document(&here, "letter", "a").await.unwrap().unwrap();
    assert_eq!((kept.version, &*kept.body), (3, &b"three"[..]));
    assert!(store.document(&elsewhere, "letter", "a").await.unwrap().is_none());
    assert!(store.document(&here, "parcel", "a").await.unwrap().is_none());

    let racing = (0..40).map(|_| put("race", Expected::Version(3))).collect();
    let won = futures(racing).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(won, 1);

    let large = letter("b", None, &"x".repeat(DOCUMENT_BYTES_MAX + 1));
    let refused = store.keep(&here, large, Expected::Any).await;
    assert!(matches!(refused, Err(Error::Document { .. })), "{refused:?}");
    assert!(!store.discard(&elsewhere, "letter", "a").await.unwrap());
    assert!(store.discard(&here, "letter", "a").await.unwrap());
    assert!(!store.discard(&here, "letter", "a").await.unwrap());
}

async fn documents_are_listed_and_due_by_kind(store: Arc<dyn Store>) {
    let (here, elsewhere) = (tenant("default"), tenant("elsewhere"));
    for (owner, id, due) in [
        (&here, "c", Some(30)),
        (&here, "a", Some(10)),
        (&here, "b", None),
        (&elsewhere, "a", Some(20)),
    ] {
        store.keep(owner, letter(id, due, id), Expected::Any).await.unwrap();
    }
    let parcel = Document { kind: "parcel", ..letter("a", Some(1), "") };
    store.keep(&here, parcel, Expected::Any).await.unwrap();
    let ids = |found: Vec<store::Kept>| found.into_iter().map(|k| k.id).collect::<Vec<_>>();
    let list = |after: Option<&str>, limit| {
        store.documents(&here, "letter", (after.map(str::to_owned), limit))
    };
    assert_eq!(ids(list(None, 9).await.unwrap()), ["a", "b", "c"]);
    assert_eq!(ids(list(Some("a"), 1).await.unwrap()), ["b"]);
    let due = store.due_documents("letter", 20, 9).await.unwrap();
    let whose: Vec<_> = due.iter().map(|k| (k.tenant.as_str(), &*k.id, k.due)).collect();
    assert_eq!(whose, [("default", "a", Some(10)), ("elsewhere", "a", Some(20))]);
    store.keep(&here, letter("a", Some(99), ""), Expected::Any).await.unwrap();
    assert_eq!(store.due_documents("letter", 20, 9).await.unwrap().len(), 1);
}
