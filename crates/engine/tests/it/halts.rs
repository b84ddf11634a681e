//! C211: the kill switch. Whoever drives, nothing covered is dispatched; what ran may end.

use std::sync::{Arc, atomic::Ordering};

use kernel::{
    action::Proposal,
    halt::{Covers, HaltChange},
    id::{Digest, HaltId, Tenant},
    input::{Answer, Input},
    port::{Journal, JournalError},
    run::{Run, Status},
    sealed::Sealed,
};
use serde_json::json;
use store::{Brake, HaltNote};
use testkit::{Rules, person};

use crate::support::{Company, Deed, Place, at, lena};

fn company(line: &[&str]) -> Arc<Company> {
    Arc::new(Company::new(Place::Disk, line, Rules::default()))
}

async fn brake(company: &Company, act: Brake) -> HaltId {
    let reason = Sealed::new(Arc::new(json!("stop")), Default::default(), [1; 16]).unwrap();
    let note = HaltNote { at: company.now(), by: "person:omar".parse().unwrap(), act, reason };
    let event = company.store.record_halt(&Tenant::default(), note).await.unwrap();
    match event.change {
        HaltChange::Halted { halt, .. } | HaltChange::Lifted { halt } => halt,
    }
}

async fn status(company: &Company, run: &kernel::RunId) -> Status {
    Run::fold(&company.records(run).await, company.pins()).unwrap().status()
}

#[tokio::test]
async fn a_parked_run_that_is_woken_under_a_halt_calls_nothing_until_it_is_lifted() {
    let rules = Rules::default().ask("sys.once", "approver", 1);
    let company = Arc::new(Company::new(Place::Disk, &["sys.once", "sys.read"], rules));
    let engine = company.plain_engine();
    let run = engine.submit(company.genesis("k")).await.unwrap().run().clone();
    engine.settled(&Tenant::default(), &run).await;
    let halt = brake(&company, Brake::Halt(Covers::Everything)).await;
    // The answer is taken and kept; the call is not made.
    say_yes(&company, &engine, &run).await;
    assert_eq!(status(&company, &run).await, Status::Halted);
    assert_eq!(company.target.calls("sys.once"), 0);
    // Another process is held by the same row.
    let other = company.plain_engine();
    other.run_until_parked(Tenant::default(), run.clone()).await.unwrap();
    assert_eq!(status(&company, &run).await, Status::Halted);
    assert_eq!(company.target.calls("sys.once"), 0);
    brake(&company, Brake::Lift(halt)).await;
    assert_eq!(company.journal.due(company.now(), 9).await.unwrap(), [at(&run)]);
    let parked = other.run_until_parked(Tenant::default(), run.clone()).await.unwrap();
    assert_eq!(parked, Status::Succeeded);
    assert_eq!((company.target.calls("sys.once"), company.target.calls("sys.read")), (1, 1));
    company.check_replay(&run).await;
}

/// What a run is parked on.
#[derive(Clone, Copy, Debug)]
enum Parked {
    Ask,
    Timer,
    Retry,
}

const PAUSE_MS: i64 = 60_000;

fn parked_on(parked: Parked) -> Arc<Company> {
    let ask = Rules::default().ask("sys.once", "approver", 1);
    let mut company = match parked {
        Parked::Ask => Company::new(Place::Memory, &["sys.once"], ask),
        Parked::Timer => Company::new(Place::Memory, &["sys.keyed"], Rules::default()),
        Parked::Retry => Company::new(Place::Memory, &["sys.keyed", "sys.keyed"], Rules::default()),
    };
    if let Parked::Retry = parked {
        company.target.script("sys.keyed", vec![Deed::Fail]);
        company.line[1] = Proposal { attempt: 2, ..company.line[0].clone() };
    }
    company.pause_ms = Some(PAUSE_MS).filter(|_| !matches!(parked, Parked::Ask));
    Arc::new(company)
}

/// C211: whatever a run waits for, and whatever the halt names, nothing is called until it is lifted.
#[tokio::test]
async fn every_scope_holds_a_run_whatever_it_waits_for() {
    for scope in 0..5 {
        for parked in [Parked::Ask, Parked::Timer, Parked::Retry] {
            let company = parked_on(parked);
            let engine = company.plain_engine();
            let run = engine.submit(company.genesis("k")).await.unwrap().run().clone();
            engine.settled(&Tenant::default(), &run).await;
            if let Parked::Retry = parked {
                company.clock.advance(PAUSE_MS);
                let status = engine.run_until_parked(Tenant::default(), run.clone()).await.unwrap();
                assert_eq!(status, Status::Waiting, "it failed once and waits");
            }
            let calls = || company.target.calls("sys.once") + company.target.calls("sys.keyed");
            let before = calls();
            let covers = match scope {
                0 => Covers::Everything,
                1 => Covers::Pack { pack: "test".into() },
                2 => Covers::Connector { connector: "sys".into() },
                3 => Covers::Agent { agent: "agent:test".parse().unwrap() },
                _ => Covers::Run { run: run.clone() },
            };
            let what = format!("{covers:?} on {parked:?}");
            let halt = brake(&company, Brake::Halt(covers)).await;
            match parked {
                Parked::Ask => say_yes(&company, &engine, &run).await,
                Parked::Timer | Parked::Retry => {
                    company.clock.advance(PAUSE_MS);
                    let due = company.journal.due(company.now(), 9).await.unwrap();
                    assert_eq!(due, [at(&run)], "{what}");
                    engine.run_until_parked(Tenant::default(), run.clone()).await.unwrap();
                }
            }
            assert_eq!(status(&company, &run).await, Status::Halted, "{what}");
            assert_eq!(calls(), before, "{what}: nothing is called");
            brake(&company, Brake::Lift(halt)).await;
            let ended = engine.run_until_parked(Tenant::default(), run.clone()).await.unwrap();
            assert_eq!((ended, calls()), (Status::Succeeded, before + 1), "{what}");
            company.check_replay(&run).await;
        }
    }
}

async fn say_yes(company: &Arc<Company>, engine: &Arc<engine::Engine>, run: &kernel::RunId) {
    let folded = Run::fold(&company.records(run).await, company.pins()).unwrap();
    let ask = folded.asks().remove(0);
    let answer = Input::Answer {
        approval: ask.id,
        action: ask.action.digest.unwrap(),
        shown: Digest::default(),
        by: person("person:lena", &["approver"]),
        answer: Answer::Approve,
    };
    engine.input(at(run), lena("a1"), answer).await.unwrap().unwrap();
    engine.settled(&Tenant::default(), run).await;
}

#[tokio::test]
async fn a_call_under_way_ends_and_is_journaled_and_the_next_is_not_made() {
    let company = company(&["sys.once", "sys.once"]);
    company.target.script("sys.once", vec![Deed::Wait]);
    let engine = company.plain_engine();
    let run = engine.submit(company.genesis("k")).await.unwrap().run().clone();
    company.target.at_gate(1).await;
    let halt = brake(&company, Brake::Halt(Covers::Run { run: run.clone() })).await;
    company.target.gate.add_permits(1);
    engine.settled(&Tenant::default(), &run).await;
    assert_eq!(status(&company, &run).await, Status::Halted);
    assert_eq!(company.target.calls("sys.once"), 1);
    let kinds = company.kinds(&run).await;
    let count = |kind: &str| kinds.iter().filter(|k| *k == kind).count();
    assert_eq!(
        (count("returned"), count("doubted")),
        (1, 0),
        "its outcome was not lost: {kinds:?}"
    );
    brake(&company, Brake::Lift(halt)).await;
    let parked = engine.run_until_parked(Tenant::default(), run.clone()).await.unwrap();
    assert_eq!(parked, Status::Succeeded);
    assert_eq!(company.target.effects(), [1, 1]);
    company.check_replay(&run).await;
}

#[tokio::test]
async fn a_connector_halt_holds_the_run_at_its_first_call_there() {
    let company = company(&["sys.read", "sys.once"]);
    brake(&company, Brake::Halt(Covers::Connector { connector: "elsewhere".into() })).await;
    let engine = company.plain_engine();
    let run = engine.submit(company.genesis("k")).await.unwrap().run().clone();
    engine.settled(&Tenant::default(), &run).await;
    assert_eq!(status(&company, &run).await, Status::Succeeded, "it is not covered");
    brake(&company, Brake::Halt(Covers::Connector { connector: "sys".into() })).await;
    let refused = engine.submit(company.genesis("second")).await;
    assert!(
        matches!(refused, Err(engine::Error::Journal(JournalError::Halted(_)))),
        "what could not even begin is not begun: {refused:?}"
    );
    assert_eq!(company.target.calls("sys.read"), 1);
}

#[tokio::test]
async fn a_halted_run_can_be_cancelled() {
    let company = company(&["sys.once", "sys.once"]);
    company.target.script("sys.once", vec![Deed::Wait]);
    let engine = company.plain_engine();
    let run = engine.submit(company.genesis("k")).await.unwrap().run().clone();
    company.target.at_gate(1).await;
    brake(&company, Brake::Halt(Covers::Everything)).await;
    company.target.gate.add_permits(1);
    engine.settled(&Tenant::default(), &run).await;
    let cancel = Input::Cancel { by: person("person:lena", &[]), reason: "enough".into() };
    engine.input(at(&run), lena("c1"), cancel).await.unwrap().unwrap();
    engine.settled(&Tenant::default(), &run).await;
    assert_eq!(status(&company, &run).await, Status::Cancelled);
    assert_eq!(company.kinds(&run).await.last().unwrap(), "closed");
    assert_eq!(company.target.calls("sys.once"), 1);
    company.check_replay(&run).await;
}

/// The outcome of a call that ended while the store failed is not lost: no doubt arises from it.
#[tokio::test]
async fn an_outcome_that_could_not_be_appended_is_told_to_the_next_fold() {
    let company = company(&["sys.once", "sys.once"]);
    let engine = company.plain_engine();
    // The second append holds the first outcome.
    company.journal.fail_at.lock().unwrap().push(2);
    let run = engine.submit(company.genesis("k")).await.unwrap().run().clone();
    engine.settled(&Tenant::default(), &run).await;
    assert_eq!(status(&company, &run).await, Status::Succeeded);
    let kinds = company.kinds(&run).await;
    assert!(!kinds.iter().any(|kind| kind == "doubted"), "{kinds:?}");
    assert_eq!(company.target.effects(), [1, 1]);
    assert_eq!(
        company.journal.tries.load(Ordering::SeqCst) - 1,
        company.journal.appends.load(Ordering::SeqCst)
    );
    company.check_replay(&run).await;
}
