//! C072, C034: stop after any append or any call, resume, and end with the same effects; replay gives
//! byte-identical events.

use kernel::{
    id::Digest,
    input::{Answer, Input, OnConflict, Scope},
    operation::{Effect, Operation, Retry, Undo},
    run::{Divergence, Status, replay},
};
use serde_json::json;
use testkit::{
    Bench, Crash, NoSchemas, Rules, operation, person, proposal, restorable_set, returned,
};

fn operations() -> Vec<Operation> {
    let set = restorable_set();
    let get = operation("crm.get", Effect::Read, Undo::None, Retry::Keyed);
    let mut mail = operation("mail.send", Effect::Write, Undo::None, Retry::Never);
    mail.resource =
        Some(kernel::operation::ResourceRule { kind: "Contact".into(), id: "/to".into() });
    vec![set, get, mail]
}

fn bench() -> Bench {
    let steps = vec![
        proposal("read", "crm.get", json!({})),
        proposal("set", "crm.set", json!({"value": "new"})),
        proposal("send", "mail.send", json!({"to": "x"})),
    ];
    let rules = Rules::default().ask("mail.send", "approver", 1);
    let mut bench = Bench::new(operations(), steps, rules);
    bench.world.script("crm.get", vec![Ok(returned(json!("record")))]);
    bench.world.record = json!("original");
    bench
}

/// Brings a bench to its end: answers the ask, settles a doubt as what the world really did.
fn bring_home(b: &mut Bench) {
    for _ in 0..4 {
        let run = b.run.as_ref().unwrap();
        if let Some(ask) = run.asks().into_iter().next() {
            let (approval, action) = (ask.id, ask.action.digest.unwrap());
            let by = person("person:lena", &["approver"]);
            let shown = Digest::default();
            b.input(Input::Answer { approval, action, shown, by, answer: Answer::Approve })
                .unwrap();
        } else if let Some(exception) = run.exceptions().into_iter().next() {
            let sent = b.world.calls.contains_key("mail.send");
            use kernel::input::Settlement::{DidNotHappen, Happened};
            let settlement = if sent { Happened } else { DidNotHappen };
            // No call can be on its way any more.
            b.at += 60_000;
            let by = person("person:lena", &["owner"]);
            let (exception, evidence) = (exception.id, "looked".to_owned());
            b.input(Input::Settle { exception, by, settlement, evidence }).unwrap();
        }
    }
}

#[test]
fn stop_anywhere_and_resume_with_every_effect_at_most_once() {
    let mut stops = 0;
    for n in 1..40 {
        for crash in [Crash::AfterAppend(n), Crash::AfterCall(n)] {
            let mut b = bench();
            if b.start(crash) {
                continue;
            }
            stops += 1;
            b.recover(Crash::Never).unwrap();
            bring_home(&mut b);
            let run = b.run.as_ref().unwrap();
            assert!(run.status().is_over(), "{crash:?}: {:?}", run.status());
            assert!(b.world.effects.values().all(|n| *n == 1), "{crash:?}: {:?}", b.world.effects);
            check_replay(&b);
        }
    }
    assert!(stops >= 8, "the run has at least as many places to stop: {stops}");
}

/// C347: whoever folds a journal makes none of the calls that an earlier owner may be making.
#[test]
fn a_fold_hands_out_no_call_of_an_earlier_owner() {
    let mut b = bench();
    b.start(Crash::AfterAppend(1));
    assert_eq!(b.kinds().last().unwrap(), "dispatched");
    let mut run = kernel::run::Run::fold(&b.records, b.pins()).unwrap();
    assert!(run.in_flight());
    assert!(run.next(1).is_empty());
}

#[test]
fn crashes_while_recovering_from_crashes_change_nothing() {
    for n in 1..12 {
        let mut b = bench();
        b.start(Crash::AfterAppend(3));
        // Appends count on across processes.
        let _ended = b.recover(Crash::AfterAppend(3 + n)).unwrap();
        b.recover(Crash::Never).unwrap();
        bring_home(&mut b);
        assert_eq!(b.run.as_ref().unwrap().status(), Status::Succeeded);
        assert!(b.world.effects.values().all(|n| *n == 1));
    }
}

#[test]
fn any_prefix_of_batches_folds_to_a_run_that_can_go_on() {
    let mut b = bench();
    b.start(Crash::Never);
    bring_home(&mut b);
    let roll_back = Scope::Run;
    let by = person("person:lena", &[]);
    b.input(Input::Rollback { by, scope: roll_back, on_conflict: OnConflict::Refuse }).unwrap();
    for n in 1..=b.records.len() {
        let run = kernel::run::Run::fold(&b.records[..n], b.pins()).unwrap();
        assert_eq!(run.events(), n as u64);
        assert_eq!(run.head(), b.records[n - 1].hash);
    }
}

fn check_replay(b: &Bench) {
    let replayed = replay(&b.records, b.pins(), (&b.rules, &NoSchemas)).unwrap();
    assert_eq!(replayed.events, b.records.len() as u64);
    assert_eq!(replayed.head, b.records.last().unwrap().hash);
}

/// C300, C004: replay needs no world and names the first difference.
#[test]
fn replay_is_byte_identical_and_names_the_first_difference() {
    let mut b = bench();
    b.start(Crash::Never);
    bring_home(&mut b);
    let by = person("person:lena", &[]);
    b.input(Input::Rollback { by, scope: Scope::Run, on_conflict: OnConflict::Refuse }).unwrap();
    let calls = b.world.calls.clone();
    check_replay(&b);
    assert_eq!(b.world.calls, calls, "no effect is possible");
    // A policy that is another one now: the first judgement that differs is named.
    let changed = Rules::default().deny("crm.set");
    let found = replay(&b.records, b.pins(), (&changed, &NoSchemas));
    let set = b.kinds().iter().enumerate().filter(|(_, k)| *k == "judged").nth(1).unwrap().0 as u64;
    match found {
        Err(Divergence::Differs { seq, .. }) => assert_eq!(seq, set),
        other => panic!("not noticed: {other:?}"),
    }
}

#[test]
fn an_edited_journal_does_not_fold() {
    let mut b = bench();
    b.start(Crash::Never);
    for n in 0..b.records.len() {
        let mut records = b.records.clone();
        let last = records[n].bytes.len() - 2;
        records[n].bytes[last] ^= 1;
        assert!(kernel::run::Run::fold(&records, b.pins()).is_err(), "edit of {n}");
    }
    let mut records = b.records.clone();
    records.remove(2);
    assert!(kernel::run::Run::fold(&records, b.pins()).is_err(), "a hole");
    let mut records = b.records.clone();
    records.swap(2, 3);
    assert!(kernel::run::Run::fold(&records, b.pins()).is_err(), "another order");
}

#[test]
fn erased_values_leave_every_chain_standing() {
    let mut b = bench();
    b.start(Crash::Never);
    bring_home(&mut b);
    for record in &mut b.records {
        for sealed in record.event.body.sealed_mut() {
            sealed.erase();
        }
    }
    kernel::event::check_chain(&b.records).unwrap();
    assert!(matches!(
        replay(&b.records, b.pins(), (&b.rules, &NoSchemas)),
        Err(Divergence::Erased { .. })
    ));
}
