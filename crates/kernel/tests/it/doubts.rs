use kernel::{
    exception::{Class, Landed},
    input::{Input, Settlement},
    operation::{Companion, Effect, Probe, Retry, Undo},
    run::{Refused, Status},
};
use serde_json::json;
use testkit::{Bench, Crash, Rules, failure, operation, person, proposal, returned};

fn bench(retry: Retry, probe: Option<Option<u64>>) -> Bench {
    let mut op = operation("bill.refund", Effect::Write, Undo::None, retry);
    op.companions.probe = probe.map(|conclusive_after_ms| Probe {
        call: Companion {
            operation: "bill.find".parse().unwrap(),
            with: Default::default(),
            image: vec![],
        },
        happened: "/found".into(),
        conclusive_after_ms,
    });
    let find = operation("bill.find", Effect::Read, Undo::None, Retry::Keyed);
    let steps = vec![proposal("a", "bill.refund", json!({}))];
    Bench::new(vec![op, find], steps, Rules::default())
}

fn unknown() -> kernel::port::Outcome {
    failure(Class::Timeout, Landed::Unknown)
}

/// C347: never guessed; a person settles it, and the effect count stays one.
#[test]
fn an_unprobeable_doubt_waits_for_a_person() {
    let mut b = bench(Retry::Never, None);
    b.world.script("bill.refund", vec![unknown()]);
    b.start(Crash::Never);
    assert_eq!(b.run.as_ref().unwrap().status(), Status::NeedsPerson);
    b.recover(Crash::Never).unwrap();
    assert_eq!(b.world.calls["bill.refund"], 1, "a restart does not repeat it");
    let exception = b.run.as_ref().unwrap().exceptions().remove(0).id;
    let settle = |settlement| Input::Settle {
        exception: exception.clone(),
        by: person("person:lena", &["owner"]),
        settlement,
        evidence: "seen in the ledger".into(),
    };
    assert!(b.input(settle(Settlement::Retry)).is_err(), "retrying a doubt is not offered");
    b.input(settle(Settlement::Happened)).unwrap();
    assert_eq!(b.run.as_ref().unwrap().status(), Status::Succeeded);
    assert_eq!(b.world.calls["bill.refund"], 1);
}

/// C347: a call whose owner died may have landed; without a key nobody makes it again.
#[test]
fn a_call_whose_owner_died_is_not_repeated() {
    let mut b = bench(Retry::Never, None);
    assert!(!b.start(Crash::AfterCall(1)));
    b.recover(Crash::Never).unwrap();
    assert_eq!(b.run.as_ref().unwrap().status(), Status::NeedsPerson);
    assert_eq!(b.world.calls["bill.refund"], 1);
}

#[test]
fn a_person_may_settle_that_it_did_not_happen() {
    let mut b = bench(Retry::Never, None);
    b.world.script("bill.refund", vec![unknown()]);
    b.start(Crash::Never);
    let exception = b.run.as_ref().unwrap().exceptions().remove(0).id;
    b.at += SENT_BY_MS;
    b.input(did_not_happen(exception)).unwrap();
    assert_eq!(b.run.as_ref().unwrap().status(), Status::Failed);
    assert!(b.run.as_ref().unwrap().exceptions().is_empty());
}

/// The dispatch window and the timeout of the test kit's operations: no call is on its way after it.
const SENT_BY_MS: i64 = kernel::gate::DISPATCH_WINDOW_MS + 1_000;

fn did_not_happen(exception: kernel::id::ExceptionId) -> Input {
    let (by, settlement) = (person("person:lena", &["owner"]), Settlement::DidNotHappen);
    Input::Settle { exception, by, settlement, evidence: "not there".into() }
}

/// C347: an owner that stands still may send until its window ends; a no before that could be overtaken,
/// and a declared retry would then be a second effect.
#[test]
fn nobody_says_too_early_that_it_did_not_happen() {
    let mut b = bench(Retry::Never, None);
    b.world.script("bill.refund", vec![unknown()]);
    b.start(Crash::AfterAppend(1));
    b.recover(Crash::Never).unwrap();
    let exception = b.run.as_ref().unwrap().exceptions().remove(0).id;
    b.at += SENT_BY_MS - 1;
    let early = b.input(did_not_happen(exception.clone()));
    assert!(matches!(early, Err(Refused::NotNow(_))), "{early:?}");
    assert_eq!(b.run.as_ref().unwrap().exceptions().len(), 1, "it stays open");
    b.at += 1;
    b.input(did_not_happen(exception)).unwrap();
    // Runs that began before this rule go on as they were.
    let mut b = bench(Retry::Never, None);
    b.header_mut().machine = 1;
    b.world.script("bill.refund", vec![unknown()]);
    b.start(Crash::Never);
    let exception = b.run.as_ref().unwrap().exceptions().remove(0).id;
    b.input(did_not_happen(exception)).unwrap();
}

#[test]
fn a_keyed_target_is_asked_again_under_the_same_key() {
    let mut b = bench(Retry::Keyed, None);
    b.world.script("bill.refund", vec![unknown(), Ok(returned(json!({})))]);
    b.start(Crash::Never);
    assert_eq!(b.run.as_ref().unwrap().status(), Status::Succeeded);
    assert_eq!((b.world.calls["bill.refund"], b.world.effects.len()), (2, 1));
    let keys = b.records.iter().filter_map(|r| match &r.event.body {
        kernel::event::Body::Dispatched { key, .. } => Some(key.to_string()),
        _ => None,
    });
    assert_eq!(keys.collect::<std::collections::BTreeSet<_>>().len(), 1);
}

#[test]
fn a_probe_waits_for_the_window_and_settles_it() {
    let mut b = bench(Retry::Probe, Some(None));
    b.world.script("bill.refund", vec![unknown()]);
    b.world.script("bill.find", vec![Ok(returned(json!({"found": true})))]);
    b.start(Crash::Never);
    assert!(
        !b.world.calls.contains_key("bill.find"),
        "a zombie may still send until the window ends"
    );
    b.at = b.run.as_ref().unwrap().wake_at().unwrap();
    b.input(Input::Tick).unwrap();
    assert_eq!(b.run.as_ref().unwrap().status(), Status::Succeeded);
    assert_eq!(b.world.calls["bill.refund"], 1);
}

#[test]
fn a_negative_probe_repeats_only_once_it_is_conclusive() {
    let mut b = bench(Retry::Probe, Some(Some(60_000)));
    b.world.script("bill.refund", vec![unknown(), Ok(returned(json!({})))]);
    b.world.script("bill.find", vec![Ok(returned(json!({"found": []})))]);
    b.start(Crash::Never);
    for _ in 0..2 {
        assert_eq!(b.world.calls["bill.refund"], 1);
        b.at = b.run.as_ref().unwrap().wake_at().unwrap();
        b.input(Input::Tick).unwrap();
    }
    assert_eq!(b.run.as_ref().unwrap().status(), Status::Succeeded);
    assert_eq!((b.world.calls["bill.refund"], b.world.calls["bill.find"]), (2, 2));
    let mut b = bench(Retry::Probe, Some(None));
    b.world.script("bill.refund", vec![unknown()]);
    b.world.script("bill.find", vec![Ok(returned(json!({"found": null})))]);
    b.start(Crash::Never);
    b.at = b.run.as_ref().unwrap().wake_at().unwrap();
    b.input(Input::Tick).unwrap();
    assert_eq!(b.run.as_ref().unwrap().status(), Status::NeedsPerson, "never conclusive");
}
