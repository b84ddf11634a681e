//! What one call teaches the others: pauses, rates and circuits, over real connections (C193, C194).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use kernel::{
    exception::{Class, Landed},
    id::{EffectKey, RunId, Tenant},
    operation::Rate,
    port::{Failure, Outcome},
};
use serde_json::{Value, json};

use crate::{
    Connectors, System,
    call::Call,
    testing::{Reply, Server, Trial},
};

fn get() -> Value {
    json!({"kind": "http", "system": "sys", "method": "GET", "path": "/things"})
}

/// The same call by the n-th of several runs.
fn by_run(trial: &Trial, n: u64) -> Call {
    let tenant = Tenant::default();
    let run = RunId::of_intent(&tenant, "test", &n.to_string());
    Call { key: EffectKey::of(&tenant, &run, 7), ..trial.call() }
}

async fn call(connectors: &Connectors, trial: &Trial, n: u64) -> Outcome {
    connectors.run(by_run(trial, n)).await
}

async fn refused(connectors: &Connectors, trial: &Trial, n: u64) -> Failure {
    call(connectors, trial, n).await.unwrap_err()
}

#[tokio::test]
async fn a_pause_that_one_run_was_asked_for_holds_every_run() {
    let server = Server::start(|_| Reply::status(429, "Retry-After: 7\r\n", "slow down")).await;
    let trial = Trial::read(server.system(), get());
    let connectors = trial.connectors();
    assert_eq!(refused(&connectors, &trial, 1).await.retry_after_ms, Some(7_000));
    for n in 2..5 {
        let held = refused(&connectors, &trial, n).await;
        assert_eq!((held.class, held.landed), (Class::RateLimit, Landed::No), "{held:?}");
        // One after the other, none before the target said.
        let after = 7_000 + 20 * (i64::try_from(n).unwrap() - 2);
        assert_eq!(held.retry_after_ms, Some(after), "{held:?}");
        assert!(held.message.contains("asked for a pause until 2026-"), "{held:?}");
    }
    assert_eq!(server.seen().len(), 1, "only the first was sent");
    let health = connectors.health().remove(0);
    assert_eq!((health.system.as_str(), health.paused_until.is_some()), ("sys", true));
}

#[tokio::test]
async fn a_rate_holds_over_all_runs_per_system_and_per_operation() {
    let rate = Some(Rate { calls: 2, per_ms: 60_000 });
    let server = Server::start(|_| Reply::json(&json!({}))).await;
    let by_system = Trial::read(
        System::Http { url: server.url.clone(), rate, redact: crate::redact::Personal::default() },
        get(),
    );
    let by_operation =
        Trial::read(server.system(), get()).with(|trial| trial.operation.rate = rate);
    for (calls, trial) in [(2, by_system), (4, by_operation)] {
        let connectors = trial.connectors();
        for n in 0..2 {
            call(&connectors, &trial, n).await.unwrap();
        }
        let held = refused(&connectors, &trial, 2).await;
        assert_eq!((held.class, held.landed), (Class::RateLimit, Landed::No), "{held:?}");
        assert_eq!(held.retry_after_ms, Some(60_000));
        assert_eq!(server.seen().len(), calls, "what is held back is not sent");
    }
}

#[tokio::test]
async fn a_circuit_opens_and_nothing_more_is_sent() {
    let server = Server::start(|_| Reply::status(503, "", "down")).await;
    let trial = Trial::write(
        server.system(),
        json!({"kind": "http", "system": "sys",
        "method": "POST", "path": "/things", "body": "",
        "idempotency": {"header": "Idempotency-Key"}}),
    );
    let connectors = trial.connectors();
    for n in 0..5 {
        assert_eq!(refused(&connectors, &trial, n).await.landed, Landed::Unknown, "it was sent");
    }
    let open = refused(&connectors, &trial, 5).await;
    assert_eq!((open.class, open.landed), (Class::Unavailable, Landed::No), "{open:?}");
    assert_eq!(open.retry_after_ms, Some(5_000));
    assert!(open.message.contains("the circuit of `sys.op` is open until 2026-"), "{open:?}");
    assert_eq!(server.seen().len(), 5);
    let operation = connectors.health().remove(0).operations.remove(0);
    assert_eq!((operation.circuit, operation.failures), ("open", 5));
    assert!(operation.open_until.is_some());
}

#[tokio::test]
async fn a_trial_closes_the_circuit_again() {
    let answered = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&answered);
    let server = Server::start(move |_| match seen.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Reset,
        _ => Reply::json(&json!({"ok": true})),
    })
    .await;
    let trial = Trial::read(server.system(), get()).with(|trial| {
        // Open after one, and due for a trial at once.
        (trial.circuit.open_after, trial.circuit.cooldown_ms) = (1, 0);
    });
    let connectors = trial.connectors();
    assert_eq!(refused(&connectors, &trial, 0).await.class, Class::Unavailable);
    assert_eq!(connectors.health()[0].operations[0].circuit, "half_open");
    call(&connectors, &trial, 1).await.unwrap();
    assert_eq!(connectors.health()[0].operations[0].circuit, "closed");
}

#[tokio::test]
async fn a_call_that_came_too_late_says_nothing_about_its_target() {
    let server = Server::start(|_| Reply::json(&json!({}))).await;
    let trial = Trial::read(server.system(), get()).with(|trial| trial.punctual = 0);
    let connectors = trial.connectors();
    for n in 0..8 {
        assert_eq!(refused(&connectors, &trial, n).await.class, Class::Timeout);
    }
    assert_eq!(connectors.health()[0].operations[0].circuit, "closed");
}

/// C129: what was refused here, before anything left, is no call that went well or badly, and closes no circuit.
#[tokio::test]
async fn what_is_refused_before_it_leaves_says_nothing_about_its_target() {
    let server = Server::start(|_| Reply::status(503, "", "down")).await;
    let mut binding = get();
    binding["auth"] = json!({"bearer": "token"});
    let trial = Trial::read(server.system(), binding);
    let connectors = trial.connectors();
    for n in 0..4 {
        assert_eq!(refused(&connectors, &trial, n).await.class, Class::Unavailable);
    }
    std::fs::write(trial.secret.path(), "x").unwrap();
    assert_eq!(refused(&connectors, &trial, 4).await.class, Class::Permission);
    let operation = connectors.health().remove(0).operations.remove(0);
    let recent = operation.recent.unwrap();
    assert_eq!((operation.failures, recent.calls, recent.well), (4, 4, 0));
    assert_eq!(server.seen().len(), 4);
}
