//! The desk, held against its promises: a job is handed out once, its first word counts, and whatever nobody knows
//! is unknown (C125).

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use kernel::{
    exception::{Class, Landed},
    id::{PrincipalId, Tenant},
    operation::Effect,
    port::Failure,
};
use serde_json::{Value, json};

use super::{Beat, Desk, Job, Refused, Said, Taken, Worker};
use crate::{
    Connectors, Error, System, WorkerSystem,
    call::Call,
    testing::{CANARY, DISPATCH_BY, NOW, Trial},
};

const SERVICE: &str = "service:billing";

fn declared() -> WorkerSystem {
    let principals = BTreeSet::from([SERVICE.parse().unwrap(), "service:other".parse().unwrap()]);
    WorkerSystem {
        principals,
        heartbeat_ms: 600_000,
        waiting_max: 2,
        rate: None,
        redact: Default::default(),
    }
}

fn trial(effect: Effect, system: WorkerSystem) -> Trial {
    let binding = json!({"kind": "worker", "system": "sys", "task": "book"});
    Trial::read(System::Worker(Box::new(system)), binding).with(|trial| {
        trial.operation.facts.effect = effect;
        trial.args = json!({"n": 1});
    })
}

/// Somebody with a token of a service.
struct Somebody(Tenant, PrincipalId);

impl Somebody {
    fn billing() -> Self {
        Self(Tenant::default(), SERVICE.parse().unwrap())
    }

    fn worker(&self) -> Worker<'_> {
        Worker { tenant: &self.0, principal: &self.1 }
    }
}

/// Waits for the job that a call is about to put in line.
async fn take(desk: &Desk, who: &Somebody, lease: &str) -> Job {
    let mut changed = desk.watch();
    loop {
        changed.borrow_and_update();
        if let Some(job) = desk.lease(who.worker(), lease, NOW) {
            return job;
        }
        changed.changed().await.unwrap();
    }
}

fn done() -> Said {
    Said::Done(json!({"booked": true}))
}

/// How long a job may wait for a worker, in milliseconds.
const WINDOW_MS: u64 = 5_000;

/// The call of a trial that may leave for so long.
fn call(trial: &Trial, window_ms: u64) -> Call {
    Call { dispatch_by_boot_ms: DISPATCH_BY + window_ms, ..trial.call() }
}

/// Makes a call while somebody works: how it ended, and what they came back with.
async fn with<T>(
    trial: &Trial,
    work: impl AsyncFnOnce(&Desk, &Connectors) -> T,
) -> (Result<Value, Failure>, T) {
    let connectors = trial.connectors();
    connectors.check(&trial.operation).unwrap();
    let desk = connectors.desk("sys").unwrap();
    let (outcome, back) =
        tokio::join!(connectors.run(call(trial, WINDOW_MS)), work(desk, &connectors));
    (outcome.map(|returned| (*returned.output).clone()), back)
}

#[tokio::test]
async fn a_job_is_taken_once_and_ends_with_what_is_committed() {
    let (billing, other) =
        (Somebody::billing(), Somebody(Tenant::default(), "service:other".parse().unwrap()));
    let trial = trial(Effect::Write, declared());
    let (outcome, ()) = with(&trial, async |desk, _| {
        let job = take(desk, &billing, "one").await;
        assert_eq!((job.task.as_str(), &*job.args), ("book", &json!({"n": 1})));
        assert_eq!((&job.key, &job.run, job.action), (&trial.call().key, &trial.call().run, 7));
        assert!(job.left_ms <= 10_000 && job.heartbeat_ms == 600_000, "{job:?}");
        assert_eq!(desk.lease(other.worker(), "two", NOW), None, "handed out once");
        assert_eq!(desk.lease(billing.worker(), "three", NOW), None);
        let standing = desk.standing();
        assert_eq!((standing.waiting, standing.leased), (0, 1), "{standing:?}");
        // Nobody else speaks for it, under whatever name.
        assert_eq!(desk.commit(other.worker(), "one", done()).await, Err(Refused::NotYours));
        assert_eq!(desk.beat(other.worker(), "one", NOW), Beat::Over);
        assert!(matches!(desk.beat(billing.worker(), "one", NOW), Beat::Wanted(1..)));
        let first = desk.commit(billing.worker(), "one", done()).await;
        assert!(matches!(first, Ok(Taken::First(_))), "{first:?}");
        assert_eq!(desk.commit(billing.worker(), "one", done()).await, Ok(Taken::Again));
        let differs = Said::Done(json!({"booked": false}));
        assert_eq!(desk.commit(billing.worker(), "one", differs).await, Err(Refused::Differs));
        assert_eq!(desk.commit(other.worker(), "one", done()).await, Err(Refused::NotYours));
        let never = desk.commit(billing.worker(), "never", done()).await;
        assert_eq!(never, Err(Refused::Unknown));
        assert_eq!(desk.beat(billing.worker(), "one", NOW), Beat::Over);
    })
    .await;
    assert_eq!(outcome.unwrap(), json!({"booked": true}));
}

#[tokio::test]
async fn tenants_do_not_see_each_others_jobs() {
    let stranger = Somebody("elsewhere".parse().unwrap(), SERVICE.parse().unwrap());
    let billing = Somebody::billing();
    let trial = trial(Effect::Read, declared());
    let (outcome, ()) = with(&trial, async |desk, _| {
        while desk.standing().waiting == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(desk.lease(stranger.worker(), "one", NOW), None);
        take(desk, &billing, "two").await;
        assert_eq!(desk.beat(stranger.worker(), "two", NOW), Beat::Over);
        assert_eq!(desk.commit(stranger.worker(), "two", done()).await, Err(Refused::NotYours));
        desk.commit(billing.worker(), "two", done()).await.unwrap();
    })
    .await;
    assert_eq!(outcome.unwrap(), json!({"booked": true}));
}

#[tokio::test]
async fn what_nobody_took_while_it_might_leave_did_not_happen() {
    let trial = trial(Effect::Write, declared());
    let failure = trial.connectors().run(call(&trial, 1)).await.unwrap_err();
    assert_eq!((failure.class, failure.landed), (Class::Unavailable, Landed::No), "{failure:?}");
    assert!(failure.message.contains("nothing left"), "{failure:?}");
}

#[tokio::test]
async fn a_worker_that_falls_silent_leaves_a_write_in_doubt_and_a_read_without_answer() {
    for (effect, landed) in [(Effect::Write, Landed::Unknown), (Effect::Read, Landed::No)] {
        let billing = Somebody::billing();
        let silent = WorkerSystem { heartbeat_ms: 1, ..declared() };
        let trial = trial(effect, silent);
        let left = Mutex::new(None);
        let (outcome, ()) = with(&trial, async |desk, _| {
            take(desk, &billing, "one").await;
            desk.settled().await;
            assert_eq!(desk.lease(billing.worker(), "two", NOW), None, "never handed out again");
            let late = desk.commit(billing.worker(), "one", done()).await;
            *left.lock().unwrap() = Some(late);
        })
        .await;
        let failure = outcome.unwrap_err();
        assert_eq!((failure.class, failure.landed), (Class::Timeout, landed), "{failure:?}");
        assert!(failure.message.contains("has said nothing for 2 ms"), "{failure:?}");
        let late = left.into_inner().unwrap().unwrap();
        let Err(Refused::Late(evidence)) = late else { panic!("{late:?}") };
        assert_eq!(evidence.key, trial.call().key);
    }
}

#[tokio::test]
async fn the_deadline_ends_it_whatever_is_said() {
    let billing = Somebody::billing();
    let trial = trial(Effect::Write, declared()).with(|trial| trial.operation.timeout_ms = 30);
    let (outcome, late) = with(&trial, async |desk, _| {
        take(desk, &billing, "one").await;
        while desk.beat(billing.worker(), "one", NOW) != Beat::Over {
            tokio::task::yield_now().await;
        }
        desk.commit(billing.worker(), "one", done()).await
    })
    .await;
    let failure = outcome.unwrap_err();
    assert_eq!((failure.class, failure.landed), (Class::Timeout, Landed::Unknown), "{failure:?}");
    assert!(matches!(late, Err(Refused::Late(_))), "{late:?}");
}

#[tokio::test]
async fn a_failure_says_what_landed_where_something_could() {
    let failed = |class, landed| Said::Failed { class, message: format!("no {CANARY}"), landed };
    let cases = [
        (Effect::Write, failed(Class::RateLimit, Landed::No), (Class::RateLimit, Landed::No)),
        (Effect::Write, failed(Class::Timeout, Landed::Unknown), (Class::Timeout, Landed::Unknown)),
        (Effect::Read, failed(Class::Timeout, Landed::Unknown), (Class::Timeout, Landed::No)),
        (Effect::Read, failed(Class::InDoubt, Landed::No), (Class::Unavailable, Landed::No)),
    ];
    for (effect, said, expected) in cases {
        let billing = Somebody::billing();
        let (outcome, ()) = with(&trial(effect, declared()), async |desk, _| {
            take(desk, &billing, "one").await;
            desk.commit(billing.worker(), "one", said.clone()).await.unwrap();
        })
        .await;
        let failure = outcome.unwrap_err();
        assert_eq!((failure.class, failure.landed), expected, "{failure:?}");
    }
}

#[tokio::test]
async fn a_cancelled_run_withdraws_what_waits_and_tells_who_works() {
    let billing = Somebody::billing();
    let trial = trial(Effect::Write, declared());
    let (tenant, run) = (trial.call().tenant, trial.call().run);
    let (outcome, ()) = with(&trial, async |desk, connectors| {
        take(desk, &billing, "one").await;
        connectors.run_cancelled(&tenant, &run);
        assert!(matches!(desk.beat(billing.worker(), "one", NOW), Beat::Cancelled(1..)));
        // What came of it still counts: the run has to know.
        desk.commit(billing.worker(), "one", done()).await.unwrap();
    })
    .await;
    assert_eq!(outcome.unwrap(), json!({"booked": true}));
    let (outcome, ()) = with(&trial, async |desk, connectors| {
        connectors.run_cancelled(&tenant, &run);
        assert_eq!(desk.lease(billing.worker(), "two", NOW), None);
    })
    .await;
    let failure = outcome.unwrap_err();
    assert_eq!((failure.class, failure.landed), (Class::Unavailable, Landed::No));
    assert!(failure.message.contains("withdrawn"), "{failure:?}");
}

#[tokio::test]
async fn no_more_wait_than_may_and_none_are_handed_out_at_the_end() {
    let trial = trial(Effect::Write, declared());
    let connectors = trial.connectors();
    let desk = connectors.desk("sys").unwrap();
    let calls = || connectors.run(call(&trial, 20));
    let (one, two, three) = tokio::join!(calls(), calls(), calls());
    let full = |failure: &Failure| failure.message.contains("`waiting_max`");
    let failures: Vec<_> = [one, two, three].into_iter().map(Result::unwrap_err).collect();
    assert_eq!(failures.iter().filter(|failure| full(failure)).count(), 1, "{failures:?}");
    assert!(failures.iter().all(|failure| failure.landed == Landed::No));
    assert_eq!(desk.standing().waiting, 0, "whoever gives up is in no line any more");

    let billing = Somebody::billing();
    let closed = async {
        while desk.standing().waiting == 0 {
            tokio::task::yield_now().await;
        }
        desk.close();
        assert_eq!(desk.lease(billing.worker(), "one", NOW), None);
        assert!(!desk.is_open());
    };
    let (outcome, ()) = tokio::join!(calls(), closed);
    assert_eq!(outcome.unwrap_err().landed, Landed::No);
}

/// What is in the arguments by mistake does not leave.
#[tokio::test]
async fn a_secret_goes_to_no_worker() {
    let trial = trial(Effect::Read, declared()).args(json!({"text": format!("key {CANARY}")}));
    let connectors = trial.connectors();
    assert!(connectors.unresolved().is_empty(), "from here on it is known");
    let failure = connectors.run(trial.call()).await.unwrap_err();
    assert_eq!((failure.class, failure.landed), (Class::InvalidArguments, Landed::No));
    assert!(failure.message.contains("goes to no worker"), "{failure:?}");
}

#[tokio::test]
async fn an_output_is_taken_in_like_every_other() {
    let cases = [
        (json!("no object"), Class::UnexpectedShape),
        (json!({}), Class::MissingField),
        (json!({"booked": "x".repeat(300_000)}), Class::UnexpectedShape),
    ];
    for (output, class) in cases {
        let billing = Somebody::billing();
        let trial = trial(Effect::Write, declared()).with(|trial| {
            trial.operation.output = Arc::new(json!({"type": "object", "required": ["booked"]}));
        });
        let (outcome, ()) = with(&trial, async |desk, _| {
            take(desk, &billing, "one").await;
            desk.commit(billing.worker(), "one", Said::Done(output.clone())).await.unwrap();
        })
        .await;
        let failure = outcome.unwrap_err();
        assert_eq!((failure.class, failure.landed), (class, Landed::Yes), "the effect is there");
    }
}

#[test]
fn what_is_declared_wrongly_is_refused_at_its_place() {
    let refused = |system: WorkerSystem| match Desk::new("sys", &system).unwrap_err() {
        Error::System { problem, .. } => problem,
        other => panic!("{other}"),
    };
    let nobody = WorkerSystem { principals: BTreeSet::new(), ..declared() };
    assert!(refused(nobody).contains("`principals` must name"));
    let person = BTreeSet::from(["person:ada".parse().unwrap()]);
    assert!(refused(WorkerSystem { principals: person, ..declared() }).contains("is no service"));
    assert!(refused(WorkerSystem { heartbeat_ms: 0, ..declared() }).contains("`heartbeat_ms`"));
    assert!(refused(WorkerSystem { waiting_max: 0, ..declared() }).contains("`waiting_max`"));
    let trial = Trial::read(
        System::Http {
            url: "http://127.0.0.1:1".to_owned(),
            rate: None,
            redact: Default::default(),
        },
        json!({"kind": "worker", "system": "sys", "task": "book"}),
    );
    let wrong = trial.connectors().check(&trial.operation).unwrap_err().to_string();
    assert!(wrong.contains("this binding needs worker"), "{wrong}");
}
