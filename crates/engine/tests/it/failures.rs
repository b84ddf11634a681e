use std::sync::{Arc, atomic::Ordering};

use kernel::{
    exception::Need,
    id::Tenant,
    input::{Input, Settlement},
    port::Journal,
    run::{Run, Status},
};
use testkit::{Rules, person};

use crate::support::{Company, Deed, DryAt, Place, at, lena};

fn company(line: &[&str]) -> Arc<Company> {
    Arc::new(Company::new(Place::Disk, line, Rules::default()))
}

#[tokio::test]
async fn a_connector_that_panics_is_an_outcome() {
    let company = company(&["sys.keyed", "sys.once"]);
    company.target.script("sys.keyed", vec![Deed::Panic]);
    company.target.script("sys.once", vec![Deed::Panic]);
    let engine = company.plain_engine();
    let run = engine.submit(company.genesis("k")).await.unwrap().run().clone();
    engine.settled(&Tenant::default(), &run).await;
    let folded = Run::fold(&company.records(&run).await, company.pins()).unwrap();
    assert_eq!(company.target.calls("sys.keyed"), 2, "asked again under the same key");
    assert_eq!(folded.status(), Status::NeedsPerson, "nobody knows of the other one");
    let exception = folded.exceptions().remove(0);
    assert_eq!(exception.need, Need::InDoubt);
    let settle = Input::Settle {
        exception: exception.id,
        by: person("person:lena", &["owner"]),
        settlement: Settlement::Happened,
        evidence: "seen".into(),
    };
    engine.input(at(&run), lena("s1"), settle).await.unwrap().unwrap();
    engine.settled(&Tenant::default(), &run).await;
    let folded = Run::fold(&company.records(&run).await, company.pins()).unwrap();
    assert_eq!(folded.status(), Status::Succeeded);
    company.check_replay(&run).await;
}

/// Whichever append fails: nothing left before it, nothing is lost after it.
#[tokio::test]
async fn a_failed_append_lets_nothing_out() {
    for n in 1..=4 {
        let company = company(&["sys.read", "sys.keyed", "sys.keyed"]);
        company.journal.fail_at.lock().unwrap().push(n);
        let engine = company.plain_engine();
        let submitted = engine.submit(company.genesis("k")).await;
        if n == 1 {
            assert!(submitted.is_err(), "it is not admitted");
            assert_eq!(company.target.calls("sys.read"), 0);
            engine.submit(company.genesis("k")).await.unwrap();
        }
        let run = company.genesis("k").id;
        engine.settled(&Tenant::default(), &run).await;
        let folded = Run::fold(&company.records(&run).await, company.pins()).unwrap();
        assert_eq!(folded.status(), Status::Succeeded, "append {n}");
        // A keyed target deduplicates; the scripted one counts each call.
        assert_eq!(company.target.effects().len(), 2, "append {n}: two effects under two keys");
        company.check_replay(&run).await;
    }
}

/// A journal that stays broken is left alone for a while, and an input is still there afterwards.
#[tokio::test]
async fn a_broken_journal_loses_no_input() {
    let rules = Rules::default().ask("sys.once", "approver", 1);
    let company = Arc::new(Company::new(Place::Disk, &["sys.once"], rules));
    let engine = company.plain_engine();
    let run = engine.submit(company.genesis("k")).await.unwrap().run().clone();
    engine.settled(&Tenant::default(), &run).await;
    let tries = company.journal.tries.load(Ordering::SeqCst);
    *company.journal.fail_at.lock().unwrap() = (tries + 1..tries + 50).collect();
    let by = person("person:lena", &[]);
    let cancel = Input::Cancel { by, reason: "enough".into() };
    let failed = engine.input(at(&run), lena("c1"), cancel).await;
    assert!(failed.is_err(), "no answer leaves before it is durable: {failed:?}");
    company.journal.fail_at.lock().unwrap().clear();
    let parked = engine.run_until_parked(Tenant::default(), run.clone()).await.unwrap();
    assert_eq!(parked, Status::Cancelled, "the inbox kept it");
}

/// A fault of ours holds the run with an exception; it is not tried for ever, and a person resumes it.
#[tokio::test]
async fn a_fault_in_the_machine_holds_the_run_for_a_person() {
    // 64 salts a draw, two an action: the second draw falls into the middle of the line.
    let company = company(&["sys.read"; 40]);
    let engine = company.engine(DryAt::draw(2));
    let run = engine.submit(company.genesis("k")).await.unwrap().run().clone();
    engine.settled(&Tenant::default(), &run).await;
    let folded = Run::fold(&company.records(&run).await, company.pins()).unwrap();
    assert_eq!(folded.status(), Status::NeedsPerson);
    let exceptions = folded.exceptions();
    assert_eq!(exceptions.iter().map(|e| e.need).collect::<Vec<_>>(), [Need::Defect]);
    let calls = company.target.calls("sys.read");
    assert!((20..40).contains(&calls), "{calls}");
    let due = company.journal.due(company.now(), 10).await.unwrap();
    assert!(due.is_empty(), "nothing wakes it until a person does");
    let resume = Input::Resume { by: person("person:lena", &[]) };
    engine.input(at(&run), lena("r1"), resume).await.unwrap().unwrap();
    engine.settled(&Tenant::default(), &run).await;
    let by = person("person:lena", &["owner"]);
    let (exception, evidence) = (exceptions[0].id.clone(), "seen".to_owned());
    let close = Input::Settle { exception, by, settlement: Settlement::Close, evidence };
    engine.input(at(&run), lena("s1"), close).await.unwrap().unwrap();
    engine.settled(&Tenant::default(), &run).await;
    let folded = Run::fold(&company.records(&run).await, company.pins()).unwrap();
    assert_eq!(folded.status(), Status::Succeeded);
    assert_eq!(company.kinds(&run).await.last().unwrap(), "closed");
    company.check_replay(&run).await;
}

#[tokio::test]
async fn nothing_is_journaled_under_salts_that_are_not_random() {
    let company = company(&["sys.read"]);
    let engine = company.engine(DryAt::draw(1));
    assert!(engine.submit(company.genesis("k")).await.is_err());
    assert_eq!(company.journal.appends.load(Ordering::SeqCst), 0);
    assert_eq!(company.target.calls("sys.read"), 0);
}

/// A caller that gives up does not leave the run locked.
#[tokio::test]
async fn a_caller_that_gives_up_leaves_the_run_driveable() {
    let company = company(&["sys.once"]);
    company.target.script("sys.once", vec![Deed::Wait]);
    let engine = company.plain_engine();
    let run = engine.submit(company.genesis("k")).await.unwrap().run().clone();
    company.target.at_gate(1).await;
    let waiting = tokio::spawn({
        let (engine, run) = (Arc::clone(&engine), run.clone());
        async move { engine.run_until_parked(Tenant::default(), run).await }
    });
    tokio::task::yield_now().await;
    waiting.abort();
    company.target.gate.add_permits(1);
    engine.settled(&Tenant::default(), &run).await;
    let parked = engine.run_until_parked(Tenant::default(), run.clone()).await.unwrap();
    assert_eq!(parked, Status::Succeeded);
    assert_eq!(company.target.effects(), [1]);
}
