//! Deploys under load (C350): the service is ended with SIGTERM and started again, many times, while people
//! submit and approve. No deploy leaves a doubt, loses a submission or repeats an effect.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::{Value, json};

use super::{Answer, Api, request, try_send};
use crate::support::Office;

/// Deploys.
const RESTARTS: usize = 5;
/// Runs that are begun between two deploys, at least.
const BEGUN: usize = 4;
/// Runs that wait at most: each is about an account of its own.
const WAITING_MAX: usize = 20;

/// Where the service is now, if it is up.
type Host = Mutex<Option<String>>;

/// Asks whatever service is there; none while there is none.
fn ask(host: &Host, token: &str, to: (&str, &str), body: &Value, extra: &[&str]) -> Option<Answer> {
    let at = host.lock().unwrap().clone()?;
    let text = request(&at, token, to, body, extra);
    // A connection that a deploy cut has no answer: people ask again.
    try_send(&at, text.as_bytes()).ok()
}

fn submit(host: &Host, token: &str, key: usize) -> Option<String> {
    let change = json!({"intent": "contract_field_change", "inputs": {
        "account": format!("ACC-{:04}", 3 + key % 50), "field": "PaymentTermsDays",
        "value": (20 + key % 40).to_string(), "reason": "as agreed in the call"}});
    let header = format!("Idempotency-Key: restart-{key}");
    let answer = ask(host, token, ("POST", "/v1/intents"), &change, &[&header])?;
    assert!([200, 503].contains(&answer.status), "{answer:?}");
    (answer.status == 200).then(|| answer.json()["run"]["id"].as_str().unwrap().to_owned())
}

fn approve_one(host: &Host, token: &str) -> Option<()> {
    let listed = ask(host, token, ("GET", "/v1/approvals"), &Value::Null, &[])?.json();
    let id = listed["items"][0]["id"].as_str()?.to_owned();
    let shown = format!("/v1/approvals/{id}");
    let card = ask(host, token, ("GET", &shown), &Value::Null, &[])?;
    let tag = format!("If-Match: {}", card.header("etag")?);
    let digest = json!({"digest": card.json()["digest"]});
    let answer = ask(host, token, ("POST", &format!("{shown}/approve")), &digest, &[&tag])?;
    (answer.status == 200).then_some(())
}

#[test]
fn deploys_under_load_leave_no_doubt_and_lose_nothing() {
    let api = Api::of(Office::open());
    let (ulla, mira) = (api.token("ulla", &[]), api.token("mira", &[]));
    let (office, first) = (&api.office, api.serving.unwrap());
    // Calls take a while, so that deploys meet them on their way.
    office.world.fault(&json!({"system": "crm", "operation": "crm.update_contract",
        "kind": "slow_drip", "delay_ms": 5}));
    let host = Host::new(Some(api.host.clone()));
    let begun = Mutex::new(BTreeSet::new());
    let (over, approved) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut serving = Some(first);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut key = 0;
            while !over.load(Ordering::Relaxed) {
                let waiting = begun.lock().unwrap().len() - approved.load(Ordering::Relaxed);
                if waiting > WAITING_MAX {
                    thread::yield_now();
                } else if let Some(run) = submit(&host, &ulla, key) {
                    begun.lock().unwrap().insert(run);
                    key += 1;
                }
            }
        });
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if approve_one(&host, &mira).is_some() {
                    approved.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        for _ in 0..RESTARTS {
            let before = begun.lock().unwrap().len();
            while begun.lock().unwrap().len() < before + BEGUN {
                thread::yield_now();
            }
            // New work goes nowhere, work under way is ended, the next one starts.
            let code = serving.take().unwrap().end("TERM");
            assert_eq!(code, Some(0), "a deploy ends well");
            *host.lock().unwrap() = None;
            let (next, at) = crate::support::Serving::listening(office);
            serving = Some(next);
            *host.lock().unwrap() = Some(at);
        }
        over.store(true, Ordering::Relaxed);
    });
    office.world.heal();
    let runs: Vec<String> = begun.into_inner().unwrap().into_iter().collect();
    assert!(runs.len() >= RESTARTS * BEGUN);
    for run in &runs {
        while office.json(&["run", "get", run]).exits(0).document()["run"]["status"] != "succeeded"
        {
            let _nothing_there = approve_one(&host, &mira);
            thread::yield_now();
        }
    }
    let exceptions = office.json(&["exception", "list", "--all"]).exits(0).document();
    assert_eq!(exceptions["items"], json!([]), "a deploy caused a doubt");
    office.world.performed_nothing_twice();
    assert_eq!(office.writes().len(), runs.len(), "each change happened, once");
}
