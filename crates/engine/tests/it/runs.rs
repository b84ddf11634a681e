use std::sync::{Arc, atomic::Ordering};

use engine::{Engine, Submitted};
use kernel::{
    id::{Digest, RunId, Tenant},
    input::{Answer, Input},
    port::Journal,
    run::{Run, Status},
};
use testkit::{Rules, person};

use crate::support::{Company, Deed, Place, at, lena};

async fn status(company: &Company, run: &RunId) -> Status {
    Run::fold(&company.records(run).await, company.pins()).unwrap().status()
}

async fn approve(company: &Company, engine: &Arc<Engine>, run: &RunId) {
    let folded = Run::fold(&company.records(run).await, company.pins()).unwrap();
    let ask = folded.asks().remove(0);
    let input = Input::Answer {
        approval: ask.id.clone(),
        action: ask.action.digest.unwrap(),
        shown: Digest::default(),
        by: person("person:lena", &["approver"]),
        answer: Answer::Approve,
    };
    engine.input(at(run), lena(ask.id.as_str()), input).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_submissions_of_one_key_are_one_run_and_one_effect() {
    for place in [Place::Memory, Place::Disk] {
        let company = Arc::new(Company::new(place, &["sys.once"], Rules::default()));
        let engine = company.plain_engine();
        let sweep = tokio::spawn(Arc::clone(&engine).serve());
        let submit = |_| {
            let (engine, genesis) = (Arc::clone(&engine), company.genesis("k"));
            tokio::spawn(async move { engine.submit(genesis).await.unwrap() })
        };
        let tasks: Vec<_> = (0..1_000).map(submit).collect();
        let mut new = 0;
        let mut run = None;
        for task in tasks {
            let submitted = task.await.unwrap();
            new += usize::from(matches!(submitted, Submitted::New(_)));
            run = Some(submitted.run().clone());
        }
        let run = run.unwrap();
        engine.settled(&Tenant::default(), &run).await;
        assert_eq!(new, 1, "{place:?}");
        assert_eq!(company.target.effects(), [1], "{place:?}");
        assert_eq!(status(&company, &run).await, Status::Succeeded, "{place:?}");
        company.check_replay(&run).await;
        engine.drain().await;
        sweep.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_runs_at_once_all_finish() {
    for place in [Place::Memory, Place::Disk] {
        let line = ["sys.read", "sys.keyed", "sys.once"];
        let company = Arc::new(Company::new(place, &line, Rules::default()));
        let engine = company.plain_engine();
        let mut runs = Vec::new();
        for n in 0..64 {
            let submitted = engine.submit(company.genesis(&format!("k{n}"))).await.unwrap();
            runs.push(submitted.run().clone());
        }
        for run in &runs {
            engine.settled(&Tenant::default(), run).await;
            assert_eq!(status(&company, run).await, Status::Succeeded);
        }
        assert_eq!(company.target.effects(), vec![1; 128]);
    }
}

/// One commit a step, and one more: the result of a call goes with the dispatch of the next.
#[tokio::test]
async fn n_steps_cost_n_plus_one_commits() {
    let line = ["sys.read"; 20];
    let company = Arc::new(Company::new(Place::Memory, &line, Rules::default()));
    let engine = company.plain_engine();
    let run = engine.submit(company.genesis("k")).await.unwrap().run().clone();
    engine.settled(&Tenant::default(), &run).await;
    assert_eq!(status(&company, &run).await, Status::Succeeded);
    assert_eq!(company.journal.appends.load(Ordering::SeqCst), 21);
}

#[tokio::test]
async fn an_approval_is_answered_only_once_it_is_durable() {
    let rules = Rules::default().ask("sys.once", "approver", 1);
    let company = Arc::new(Company::new(Place::Disk, &["sys.once"], rules));
    let engine = company.plain_engine();
    let run = engine.submit(company.genesis("k")).await.unwrap().run().clone();
    engine.settled(&Tenant::default(), &run).await;
    assert_eq!(status(&company, &run).await, Status::Asking);
    approve(&company, &engine, &run).await;
    // The reply is there: so is the answer, whatever happens to the process now.
    assert!(company.kinds(&run).await.contains(&"answered".to_owned()));
    engine.settled(&Tenant::default(), &run).await;
    assert_eq!(status(&company, &run).await, Status::Succeeded);
    company.check_replay(&run).await;
}

#[tokio::test]
async fn what_is_posted_before_the_run_exists_is_taken_once_it_does() {
    let rules = Rules::default().ask("sys.once", "approver", 1);
    let company = Arc::new(Company::new(Place::Disk, &["sys.once"], rules));
    let engine = company.plain_engine();
    let genesis = company.genesis("k");
    let run = genesis.id.clone();
    let by = person("person:lena", &[]);
    let cancel = Input::Cancel { by, reason: "never mind".into() };
    let early = engine.input(at(&run), lena("c1"), cancel).await;
    assert!(early.is_err(), "nobody can say yet how it will be taken: {early:?}");
    engine.submit(genesis).await.unwrap();
    engine.settled(&Tenant::default(), &run).await;
    let due = company.journal.due(2_000, 10).await.unwrap();
    assert_eq!(due, [at(&run)], "the inbox wakes it");
    let parked = engine.run_until_parked(Tenant::default(), run.clone()).await.unwrap();
    assert_eq!(parked, Status::Cancelled);
    assert_eq!(company.target.effects().len(), 0);
}

#[tokio::test]
async fn an_input_is_taken_while_a_call_is_in_flight() {
    let company =
        Arc::new(Company::new(Place::Memory, &["sys.once", "sys.keyed"], Rules::default()));
    company.target.script("sys.once", vec![Deed::Wait]);
    let engine = company.plain_engine();
    let run = engine.submit(company.genesis("k")).await.unwrap().run().clone();
    company.target.at_gate(1).await;
    let by = person("person:lena", &[]);
    let cancel = Input::Cancel { by, reason: "enough".into() };
    engine.input(at(&run), lena("c1"), cancel.clone()).await.unwrap().unwrap();
    company.target.gate.add_permits(1);
    engine.settled(&Tenant::default(), &run).await;
    assert_eq!(status(&company, &run).await, Status::Cancelled);
    assert_eq!(company.target.calls("sys.keyed"), 0, "nothing new was dispatched");
    assert!(company.kinds(&run).await.contains(&"receipted".to_owned()), "what landed is known");
    // The same message again is not another message.
    let again = engine.input(at(&run), lena("c1"), cancel).await.unwrap();
    assert!(again.is_err(), "{again:?}");
    company.check_replay(&run).await;
}

#[tokio::test]
async fn a_due_timer_is_found_by_the_sweep() {
    let rules = Rules::default().ask("sys.once", "approver", 1);
    let company = Arc::new(Company::new(Place::Disk, &["sys.once"], rules));
    let engine = company.plain_engine();
    let run = engine.submit(company.genesis("k")).await.unwrap().run().clone();
    engine.settled(&Tenant::default(), &run).await;
    let events = company.records(&run).await.len();
    assert!(company.journal.due(2_000, 10).await.unwrap().is_empty(), "nothing is due yet");
    company.clock.advance(kernel::approval::ASK_EXPIRES_MS + 1);
    let due = company.journal.due(company.now(), 10).await.unwrap();
    assert_eq!(due, [at(&run)]);
    let sweep = tokio::spawn(Arc::clone(&engine).serve());
    while !status(&company, &run).await.is_over() {
        tokio::task::yield_now().await;
    }
    engine.drain().await;
    sweep.await.unwrap();
    assert_eq!(status(&company, &run).await, Status::Failed, "an ask nobody answered is a no");
    assert!(company.records(&run).await.len() > events);
    assert!(company.journal.due(company.now(), 10).await.unwrap().is_empty(), "no storm");
}

/// What is over cannot be due: only time, and runs that go on, make somebody look.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn runs_that_end_at_once_make_nobody_look_for_what_is_due() {
    let company = Arc::new(Company::new(Place::Memory, &["sys.read"], Rules::default()));
    let engine = company.plain_engine();
    let began = std::time::Instant::now();
    let sweep = tokio::spawn(Arc::clone(&engine).serve());
    for n in 0..300 {
        let run = engine.submit(company.genesis(&format!("k{n}"))).await.unwrap().run().clone();
        engine.settled(&Tenant::default(), &run).await;
    }
    let looks = company.journal.looks.load(Ordering::SeqCst);
    let by_time = usize::try_from(began.elapsed().as_millis() / 500).unwrap();
    assert!(looks <= by_time + 2, "{looks} looks while {by_time} were due by time");
    engine.drain().await;
    sweep.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_who_waits_for_a_run_waits_for_ever() {
    let company = Arc::new(Company::new(Place::Memory, &["sys.read"], Rules::default()));
    let engine = company.plain_engine();
    for n in 0..200 {
        let run = engine.submit(company.genesis(&format!("k{n}"))).await.unwrap().run().clone();
        let waits = |_| {
            let (engine, run) = (Arc::clone(&engine), run.clone());
            tokio::spawn(async move { engine.settled(&Tenant::default(), &run).await })
        };
        for waiting in (0..4).map(waits).collect::<Vec<_>>() {
            waiting.await.unwrap();
        }
    }
}
