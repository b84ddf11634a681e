use kernel::{
    event::{Body, Undone, Unwound},
    exception::{Class, Landed},
    input::{Input, OnConflict, Scope},
    operation::{Binding, Companion, Effect, Operation, Retry, Undo},
    run::{Refused, Status},
};
use serde_json::{Value, json};
use testkit::{
    Bench, Crash, Rules, failure, operation, person, proposal, restorable_set, returned,
};

fn bench(values: &[&str]) -> Bench {
    let get = operation("crm.get", Effect::Read, Undo::None, Retry::Keyed);
    let steps = values.iter().enumerate();
    let steps = steps.map(|(n, v)| proposal(&format!("s{n}"), "crm.set", json!({"value": v})));
    let mut b = Bench::new(vec![restorable_set(), get], steps.collect(), Rules::default());
    b.world.script("crm.get", vec![Ok(returned(json!("record")))]);
    b.world.record = json!("original");
    b
}

fn roll_back(on_conflict: OnConflict) -> Input {
    Input::Rollback { by: person("person:lena", &[]), scope: Scope::Run, on_conflict }
}

fn undone(b: &Bench) -> Vec<Undone> {
    let of = |r: &kernel::event::Record| match &r.event.body {
        Body::Redeemed { undone, .. } => Some(undone.clone()),
        _ => None,
    };
    b.records.iter().filter_map(of).collect()
}

/// C208: newest first, compared before, read again after.
#[test]
fn a_run_is_restored_newest_first() {
    let mut b = bench(&["one", "two", "three"]);
    b.start(Crash::Never);
    assert_eq!(b.world.record, json!("three"));
    b.input(roll_back(OnConflict::Refuse)).unwrap();
    assert_eq!(b.world.record, json!("original"));
    assert_eq!(b.run.as_ref().unwrap().status(), Status::RolledBack);
    assert_eq!(undone(&b), vec![Undone::Restored; 3]);
    let again = b.input(roll_back(OnConflict::Refuse));
    assert_eq!(again, Ok(()), "nothing left is nothing to do");
    assert_eq!(undone(&b).len(), 3, "no token was used twice");
}

/// C199: a target that says it restored and did not is found out by reading again.
#[test]
fn a_restore_that_did_not_restore_is_noticed() {
    let mut b = bench(&["ours"]);
    let read = |value: &str| Ok(returned(json!({ "value": value })));
    b.world.script("crm.get", vec![read("original"), read("ours"), read("ours"), read("ours")]);
    b.start(Crash::Never);
    b.input(roll_back(OnConflict::Refuse)).unwrap();
    let failed = Undone::Failed { class: Class::Mismatch, landed: Landed::Yes };
    assert_eq!(undone(&b), [failed]);
    assert_ne!(b.run.as_ref().unwrap().status(), Status::RolledBack);
    assert_eq!(b.run.as_ref().unwrap().exceptions().len(), 1);
}

#[test]
fn a_token_is_single_use() {
    let mut b = bench(&["one"]);
    b.start(Crash::Never);
    let token = b.run.as_ref().unwrap().usable_tokens()[0].id.clone();
    let redeem = || Input::Rollback {
        by: person("person:lena", &[]),
        scope: Scope::Token { token: token.clone() },
        on_conflict: OnConflict::Refuse,
    };
    b.input(redeem()).unwrap();
    assert_eq!(b.world.record, json!("original"));
    assert!(matches!(b.input(redeem()), Err(Refused::NotNow(_))));
}

/// C208: a way back that has run out takes nothing back, and says so.
#[test]
fn a_token_that_has_run_out_calls_nothing_and_says_so() {
    const DAY_MS: i64 = 24 * 3_600_000;
    for (days, expired) in [(29, false), (31, true)] {
        let mut b = bench(&["ours"]);
        b.start(Crash::Never);
        let calls = b.world.calls.clone();
        b.at += days * DAY_MS;
        b.input(roll_back(OnConflict::Refuse)).unwrap();
        let run = b.run.as_ref().unwrap();
        if !expired {
            assert_eq!((undone(&b), run.status()), (vec![Undone::Restored], Status::RolledBack));
            continue;
        }
        assert_eq!(b.world.calls, calls, "nothing is called");
        assert_eq!(b.world.record, json!("ours"));
        assert_eq!(undone(&b), [Undone::Expired]);
        assert_eq!(run.status(), Status::Succeeded, "it is not called taken back");
        let unwound = b.records.iter().find_map(|r| match &r.event.body {
            Body::Unwound { unwound } => Some(*unwound),
            _ => None,
        });
        assert_eq!(unwound, Some(Unwound::Refused));
        assert!(run.usable_tokens().is_empty());
    }
}

#[test]
fn a_moved_world_is_refused_with_the_three_way_difference() {
    let mut b = bench(&["ours"]);
    b.start(Crash::Never);
    b.world.record = json!("somebody else's");
    b.input(roll_back(OnConflict::Refuse)).unwrap();
    assert_eq!(b.world.record, json!("somebody else's"), "nothing was overwritten");
    let Undone::Conflict { difference } = undone(&b).remove(0) else { panic!("no conflict") };
    let image = |v: &str| json!({ "value": v });
    let expected: Value = json!({"before": image("original"), "after": image("ours"), "now": image("somebody else's")});
    assert_eq!(*difference.value(), expected);
    assert_eq!(b.run.as_ref().unwrap().exceptions().len(), 1);
    b.input(roll_back(OnConflict::Accept)).unwrap();
    assert_eq!(b.world.record, json!("original"), "a person accepted it");
}

/// Whoever accepts a difference accepts what it shows: what moved since they looked is shown again.
#[test]
fn an_accepted_difference_is_the_one_that_was_seen() {
    let mut b = bench(&["ours"]);
    b.start(Crash::Never);
    let seen = |b: &Bench, difference: &Value| {
        let run = b.run.as_ref().unwrap();
        let image = run.usable_tokens()[0].seen(&difference["now"]).unwrap();
        OnConflict::Seen { images: [image].into() }
    };
    let shown = |b: &Bench, nth: usize| {
        let Undone::Conflict { difference } = undone(b).remove(nth) else { panic!("no conflict") };
        (*difference.value()).clone()
    };
    b.world.record = json!("somebody else's");
    // Accepted without ever having been shown: refused, and shown.
    b.input(roll_back(seen(&b, &json!({"now": null})))).unwrap();
    let first = shown(&b, 0);
    assert_eq!(first["now"], json!({"value": "somebody else's"}));
    b.world.record = json!("moved again");
    b.input(roll_back(seen(&b, &first))).unwrap();
    assert_eq!(b.world.record, json!("moved again"), "nobody has seen this");
    let second = shown(&b, 1);
    b.input(roll_back(seen(&b, &second))).unwrap();
    assert_eq!(b.world.record, json!("original"), "a person accepted it");
}

#[test]
fn partial_is_called_partial() {
    let mut b = bench(&["one", "two"]);
    b.start(Crash::Never);
    // The newest undo works, the older one is refused by the target.
    b.world.script(
        "crm.set",
        vec![
            Ok(returned(json!({}))),
            Ok(returned(json!({}))),
            Ok(returned(json!({}))),
            failure(Class::Permission, Landed::No),
        ],
    );
    b.world.calls.insert("crm.set".into(), 2);
    b.input(roll_back(OnConflict::Refuse)).unwrap();
    assert_eq!(b.run.as_ref().unwrap().status(), Status::PartlyRolledBack);
    let last = b.records.iter().rev().find_map(|r| match &r.event.body {
        Body::Unwound { unwound } => Some(*unwound),
        _ => None,
    });
    assert_eq!(last, Some(Unwound::Partial));
}

#[test]
fn a_failure_unwinds_what_was_done() {
    let mut b = bench(&["one", "two"]);
    b.world.script(
        "crm.set",
        vec![
            Ok(returned(json!({}))),
            failure(Class::InvalidArguments, Landed::No),
            Ok(returned(json!({}))),
        ],
    );
    b.start(Crash::Never);
    // The scripted world stores what it is told even when it refuses; only the first landed.
    assert_eq!(b.run.as_ref().unwrap().status(), Status::Failed);
    assert!(b.kinds().contains(&"unwinding".to_owned()));
}

#[test]
fn a_missing_before_image_is_judged_again_as_irreversible() {
    let mut b = bench(&["one"]);
    b.world.script("crm.get", vec![failure(Class::Unavailable, Landed::No)]);
    b.start(Crash::Never);
    assert!(!b.kinds().contains(&"armed".to_owned()));
    let judged =
        b.records.iter().filter(|r| matches!(&r.event.body, Body::Judged { action: 1, .. }));
    assert_eq!(judged.count(), 2);
}

fn charge() -> Operation {
    let mut charge = operation("bill.charge", Effect::Write, Undo::Compensate, Retry::Keyed);
    charge.companions.undo_with = Some(Companion {
        operation: "bill.refund".parse().unwrap(),
        with: [("of".to_owned(), Binding::From("/key".into()))].into(),
        image: vec![],
    });
    charge
}

/// Tries of a step are one effect: what landed with a bad answer and was tried again under its key has
/// one way back, and is taken back once.
#[test]
fn tries_of_one_effect_share_one_way_back() {
    let refund = operation("bill.refund", Effect::Write, Undo::None, Retry::Keyed);
    let first = proposal("a", "bill.charge", json!({"amount": 5}));
    let second = kernel::action::Proposal { attempt: 2, ..first.clone() };
    let mut b = Bench::new(vec![charge(), refund], vec![first, second], Rules::default());
    b.goes_on = true;
    b.world
        .script("bill.charge", vec![failure(Class::Stale, Landed::Yes), Ok(returned(json!({})))]);
    b.start(Crash::Never);
    assert_eq!(b.world.calls["bill.charge"], 2);
    assert_eq!(b.kinds().iter().filter(|kind| *kind == "armed").count(), 1);
    b.input(roll_back(OnConflict::Refuse)).unwrap();
    assert_eq!(b.run.as_ref().unwrap().status(), Status::RolledBack);
    assert_eq!(b.world.calls["bill.refund"], 1, "one effect, one refund");
    b.recover(Crash::Never).unwrap();
}

/// A further try with other arguments, or of another operation, is an effect of its own: it is not held
/// to have happened already, and each has its own way back.
#[test]
fn a_try_of_something_else_is_another_effect() {
    let refund = operation("bill.refund", Effect::Write, Undo::None, Retry::Keyed);
    let mut credit = charge();
    credit.id = "bill.credit".parse().unwrap();
    let first = proposal("a", "bill.charge", json!({"amount": 5}));
    let dearer = proposal("a", "bill.charge", json!({"amount": 7}));
    let other = proposal("a", "bill.credit", json!({"amount": 5}));
    for (operation, second) in [("bill.charge", dearer), ("bill.credit", other)] {
        let second = kernel::action::Proposal { attempt: 2, ..second };
        let operations = vec![charge(), credit.clone(), refund.clone()];
        let mut b = Bench::new(operations, vec![first.clone(), second], Rules::default());
        b.goes_on = true;
        let landed = failure(Class::Stale, Landed::Yes);
        b.world.script("bill.charge", vec![landed, Ok(returned(json!({})))]);
        b.start(Crash::Never);
        let calls = |b: &Bench, name: &str| b.world.calls.get(name).copied().unwrap_or_default();
        assert_eq!(calls(&b, "bill.charge") + calls(&b, "bill.credit"), 2);
        assert_eq!(b.kinds().iter().filter(|k| *k == "armed").count(), 2, "{operation}");
        b.input(roll_back(OnConflict::Refuse)).unwrap();
        assert_eq!(b.world.calls["bill.refund"], 2, "{operation}: two effects, two refunds");
        b.recover(Crash::Never).unwrap();
    }
}

/// What was there before is what the first try found, not what it left.
#[test]
fn a_second_try_restores_what_was_there_before_the_first() {
    let get = operation("crm.get", Effect::Read, Undo::None, Retry::Keyed);
    let first = proposal("a", "crm.set", json!({"value": "new"}));
    let second = kernel::action::Proposal { attempt: 2, ..first.clone() };
    let mut b = Bench::new(vec![restorable_set(), get], vec![first, second], Rules::default());
    b.goes_on = true;
    b.world.script("crm.get", vec![Ok(returned(json!("record")))]);
    b.world.script("crm.set", vec![failure(Class::Stale, Landed::Yes), Ok(returned(json!({})))]);
    b.world.record = json!("original");
    b.start(Crash::Never);
    b.input(roll_back(OnConflict::Refuse)).unwrap();
    assert_eq!(b.world.record, json!("original"));
    assert_eq!(b.run.as_ref().unwrap().status(), Status::RolledBack);
    assert_eq!(undone(&b), vec![Undone::Restored]);
}

/// A further try that the target refuses takes nothing away from what has landed.
#[test]
fn a_refused_second_try_leaves_the_way_back() {
    let refund = operation("bill.refund", Effect::Write, Undo::None, Retry::Keyed);
    let first = proposal("a", "bill.charge", json!({"amount": 5}));
    let second = kernel::action::Proposal { attempt: 2, ..first.clone() };
    let mut b = Bench::new(vec![charge(), refund], vec![first, second], Rules::default());
    b.goes_on = true;
    let refused = failure(Class::Permission, Landed::No);
    b.world.script("bill.charge", vec![failure(Class::Stale, Landed::Yes), refused]);
    b.start(Crash::Never);
    b.input(roll_back(OnConflict::Refuse)).unwrap();
    assert_eq!(b.run.as_ref().unwrap().status(), Status::RolledBack);
    assert_eq!(b.world.calls["bill.refund"], 1);
}
