use std::{future::Future as _, sync::Arc, task::Poll};

use kernel::{
    id::Tenant,
    input::Input,
    port::{Journal, JournalError},
    run::{Run, Status},
};
use testkit::Rules;

use crate::support::{Company, Deed, Place, at, lena};

/// Calls in flight end, nothing new leaves, and the next engine goes on without a doubt.
#[tokio::test]
async fn a_drain_leaves_nothing_in_doubt() {
    for place in [Place::Memory, Place::Disk] {
        let line = ["sys.once", "sys.once", "sys.once"];
        let company = Arc::new(Company::new(place, &line, Rules::default()));
        company.target.script("sys.once", vec![Deed::Wait; 8]);
        let engine = company.plain_engine();
        let mut runs = Vec::new();
        for n in 0..8 {
            runs.push(engine.submit(company.genesis(&format!("k{n}"))).await.unwrap());
        }
        company.target.at_gate(8).await;
        let drained = tokio::spawn({
            let engine = Arc::clone(&engine);
            async move { engine.drain().await }
        });
        // The holds are durable before the calls may end.
        for run in &runs {
            while !company.kinds(run.run()).await.contains(&"held".to_owned()) {
                tokio::task::yield_now().await;
            }
        }
        company.target.gate.add_permits(8);
        drained.await.unwrap();
        assert_eq!(company.target.calls("sys.once"), 8, "nothing new was dispatched");
        assert!(engine.submit(company.genesis("late")).await.is_err());
        let due = company.journal.due(1_000, 100).await.unwrap();
        assert_eq!(due.len(), 8, "a held run is due at once for the next owner");
        let next = company.plain_engine();
        for run in &runs {
            let parked = next.run_until_parked(Tenant::default(), run.run().clone()).await;
            assert_eq!(parked.unwrap(), Status::Succeeded);
            let kinds = company.kinds(run.run()).await;
            assert!(
                !kinds.contains(&"doubted".to_owned()) && !kinds.contains(&"raised".to_owned())
            );
            company.check_replay(run.run()).await;
        }
        assert_eq!(company.target.effects(), vec![1; 24]);
    }
}

/// Two processes over one store: the journal lets one of them write.
#[tokio::test]
async fn of_two_engines_one_wins_and_the_loser_drops_the_run() {
    let company = Arc::new(Company::new(Place::Disk, &["sys.keyed", "sys.read"], Rules::default()));
    company.target.script("sys.keyed", vec![Deed::Wait]);
    let first = company.plain_engine();
    let run = first.submit(company.genesis("k")).await.unwrap().run().clone();
    company.target.at_gate(1).await;
    // The second takes over while the first still waits for its call.
    let second = company.plain_engine();
    let parked = second.run_until_parked(Tenant::default(), run.clone()).await.unwrap();
    assert_eq!(parked, Status::Succeeded);
    let events = company.records(&run).await.len();
    company.target.gate.add_permits(1);
    first.settled(&Tenant::default(), &run).await;
    assert_eq!(company.records(&run).await.len(), events, "the loser wrote nothing");
    company.check_replay(&run).await;
    // A caller with the old epoch is told so.
    let claimed = company.journal.claim(Tenant::default(), run.clone()).await.unwrap();
    let stale = kernel::port::Batch {
        tenant: at(&run).0,
        run: run.clone(),
        expected_seq: claimed.records.len() as u64,
        epoch: claimed.epoch - 1,
        records: vec![],
        receipts: vec![],
        changes: vec![],
        consumed: vec!["x".into()],
        wake_at: None,
        reach: None,
    };
    assert!(matches!(company.journal.append(stale).await, Err(JournalError::Lost { .. })));
    let folded = Run::fold(&claimed.records, company.pins()).unwrap();
    assert_eq!(folded.status(), Status::Succeeded);
}

/// A message that nobody has taken yet when the process goes down stays in the inbox; handing it on to
/// ever new seats would never end.
#[test]
fn a_runtime_that_goes_down_leaves_deliveries_to_the_inbox() {
    let company = Arc::new(Company::new(Place::Memory, &["sys.once"], Rules::default()));
    company.target.script("sys.once", vec![Deed::Wait]);
    let run = company.genesis("k").id;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let engine = company.plain_engine();
        engine.submit(company.genesis("k")).await.unwrap();
        company.target.at_gate(1).await;
        let by = testkit::person("person:lena", &[]);
        let cancel = Input::Cancel { by, reason: "enough".into() };
        let mut told = std::pin::pin!(engine.input(at(&run), lena("c"), cancel));
        // It is at the driver's door, and the driver never comes to it.
        let waits = std::future::poll_fn(|cx| Poll::Ready(told.as_mut().poll(cx).is_pending()));
        assert!(waits.await);
    });
    drop(runtime);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let inbox = company.journal.claim(Tenant::default(), run.clone()).await.unwrap().inbox;
        assert_eq!(inbox.len(), 1, "the next owner finds it");
    });
}
