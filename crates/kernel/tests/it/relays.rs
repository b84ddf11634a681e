//! What a server and the client of a call say to each other in the middle of it: put down once, in its order, while the
//! call is out, and nothing that the planner hears of.

use std::sync::Arc;

use kernel::{
    event::{Body, Side},
    input::{Input, Relay},
    operation::{Effect, Retry, Undo},
    run::{RELAYED_MAX, RELAYED_MAX_BYTES, Refused, Run, Status, replay},
};
use serde_json::{Value, json};
use testkit::{Bench, Crash, NoSchemas, Rules, operation, person, proposal};

/// One call of a server that asks its client, on its way.
fn bench() -> Bench {
    let ask = operation("notes.ask", Effect::Write, Undo::None, Retry::Never);
    let steps = vec![proposal("ask", "notes.ask", json!({}))];
    let mut b = Bench::new(vec![ask], steps, Rules::default());
    b.hangs.insert("notes.ask".to_owned());
    assert!(b.start(Crash::Never));
    b
}

fn relay(b: &Bench, nth: u32, from: Side, said: Value) -> Relay {
    let (action, attempt) = b.flying[0];
    Relay { action, attempt, nth, from, said: Arc::new(said) }
}

fn put(b: &mut Bench, relay: Relay) -> Result<(), Refused> {
    b.input(Input::Relayed { relay: Box::new(relay) })
}

fn asks(b: &mut Bench, nth: u32) -> Result<(), Refused> {
    let relay = relay(b, nth, Side::Server, json!({"method": "elicitation/create"}));
    put(b, relay)
}

fn answers(b: &mut Bench, nth: u32, said: Value) -> Result<(), Refused> {
    let relay = relay(b, nth, Side::Client, said);
    put(b, relay)
}

/// Who said what, in the order of the journal.
fn told(b: &Bench) -> Vec<(u32, Side, Value)> {
    let said = b.records.iter().filter_map(|record| match &record.event.body {
        Body::Relayed { nth, from, said, .. } => Some((*nth, *from, (*said.value()).clone())),
        _ => None,
    });
    said.collect()
}

/// Whatever happened: the journal folds to the same state, and replays to the same events.
fn holds(b: &Bench) {
    let run = b.run.as_ref().unwrap();
    assert_eq!(Run::fold(&b.records, b.pins()).unwrap().status(), run.status());
    let replayed = replay(&b.records, b.pins(), (&b.rules, &NoSchemas)).unwrap();
    assert_eq!(replayed.head, run.head());
}

#[test]
fn what_is_asked_and_answered_is_in_the_journal_in_its_order() {
    let mut b = bench();
    asks(&mut b, 0).unwrap();
    holds(&b);
    assert_eq!(b.run.as_ref().unwrap().status(), Status::Running, "nobody of ours is asked");
    answers(&mut b, 0, json!({"action": "accept"})).unwrap();
    asks(&mut b, 1).unwrap();
    answers(&mut b, 1, Value::Null).unwrap();
    b.land(json!({"heard": "it"})).unwrap();
    let question = || json!({"method": "elicitation/create"});
    let expected = [
        (0, Side::Server, question()),
        (0, Side::Client, json!({"action": "accept"})),
        (1, Side::Server, question()),
        (1, Side::Client, Value::Null),
    ];
    assert_eq!(told(&b), expected);
    assert_eq!(b.run.as_ref().unwrap().status(), Status::Succeeded);
    holds(&b);
}

#[test]
fn handed_in_again_it_is_put_down_once() {
    let mut b = bench();
    for _ in 0..2 {
        asks(&mut b, 0).unwrap();
    }
    for said in [json!({"action": "decline"}), json!({"action": "accept"})] {
        answers(&mut b, 0, said).unwrap();
    }
    asks(&mut b, 0).unwrap();
    let told = told(&b);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1].2, json!({"action": "decline"}), "the first answer counts");
    holds(&b);
}

#[test]
fn a_client_answers_only_what_it_was_asked() {
    let mut b = bench();
    assert!(matches!(answers(&mut b, 0, json!({})), Err(Refused::NotNow(_))));
    asks(&mut b, 0).unwrap();
    assert!(answers(&mut b, 1, json!({})).is_err());
    assert_eq!(told(&b).len(), 1);
}

#[test]
fn nothing_is_put_down_of_a_call_that_is_over_or_another() {
    let mut b = bench();
    let asked = relay(&b, 0, Side::Server, json!({}));
    let answered = relay(&b, 0, Side::Client, json!({}));
    for bad in [Relay { action: 77, ..asked.clone() }, Relay { attempt: 2, ..asked.clone() }] {
        assert!(matches!(put(&mut b, bad), Err(Refused::Late(_))));
    }
    put(&mut b, asked.clone()).unwrap();
    b.land(json!({})).unwrap();
    for late in [Relay { nth: 1, ..asked }, answered] {
        assert!(matches!(put(&mut b, late), Err(Refused::Late(_))));
    }
    assert_eq!(told(&b).len(), 1);
    holds(&b);
}

/// Nothing new is asked while it is held; what was asked before may be answered, for its call is out.
#[test]
fn while_a_run_is_held_its_client_still_answers() {
    let mut b = bench();
    asks(&mut b, 0).unwrap();
    b.input(Input::Pause { by: person("person:lena", &[]) }).unwrap();
    assert!(matches!(asks(&mut b, 1), Err(Refused::NotNow(_))));
    answers(&mut b, 0, json!({})).unwrap();
    assert_eq!(told(&b).len(), 2);
    holds(&b);
}

#[test]
fn there_is_an_end_to_how_much_is_asked() {
    let mut b = bench();
    let long = |bytes: usize| json!("x".repeat(bytes - 2));
    let most = relay(&b, 0, Side::Server, long(RELAYED_MAX_BYTES));
    let more = relay(&b, 1, Side::Server, long(RELAYED_MAX_BYTES + 1));
    put(&mut b, most).unwrap();
    assert!(matches!(put(&mut b, more), Err(Refused::NotNow(_))));
    assert!(answers(&mut b, 0, long(RELAYED_MAX_BYTES + 1)).is_err());
    for nth in 1..u32::try_from(RELAYED_MAX).unwrap() {
        asks(&mut b, nth).unwrap();
    }
    assert!(matches!(asks(&mut b, 1_000), Err(Refused::NotNow(_))));
    assert_eq!(told(&b).len(), RELAYED_MAX);
}

/// What is from outside stands in no hashed body.
#[test]
fn what_is_said_is_sealed_and_untrusted() {
    let mut b = bench();
    let asked = relay(&b, 0, Side::Server, json!({"message": "c4nary"}));
    put(&mut b, asked).unwrap();
    answers(&mut b, 0, json!("c4nary")).unwrap();
    assert!(!b.text().contains("c4nary"), "{}", b.text());
    for record in b.records.iter().filter(|record| record.event.body.kind() == "relayed") {
        let labels = record.event.body.sealed()[0].labels().join_all();
        assert!(labels.is_tainted(), "{labels:?}");
    }
}
