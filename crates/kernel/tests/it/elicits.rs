//! What a server asks a person in the middle of a call: one question however often it is handed in, closed with its call,
//! its owner or its time, and nothing that the planner hears of.

use std::{fs, path::PathBuf, sync::Arc};

use kernel::{
    approval::Refusal,
    event::{Body, MACHINE, Record},
    id::ApprovalId,
    input::{Elicitation, Input, OnConflict, Scope},
    operation::{Effect, Retry, Undo},
    project::Change,
    run::{ELICITED_MAX, Refused, Run, Status, replay},
    sealed::Opening,
};
use serde_json::{Value, json};
use testkit::{Bench, Crash, NoSchemas, Rules, operation, person, proposal};

/// One call of a server that asks, on its way.
fn bench() -> Bench {
    let ask = operation("notes.ask", Effect::Write, Undo::None, Retry::Never);
    let look = operation("notes.look", Effect::Read, Undo::None, Retry::Keyed);
    let steps =
        vec![proposal("ask", "notes.ask", json!({})), proposal("look", "notes.look", json!({}))];
    let mut b = Bench::new(vec![ask, look], steps, Rules::default());
    b.hangs.extend(["notes.ask".to_owned(), "notes.look".to_owned()]);
    assert!(b.start(Crash::Never));
    assert_eq!(status(&b), Status::Running);
    b
}

fn status(b: &Bench) -> Status {
    b.run.as_ref().unwrap().status()
}

fn asked(b: &Bench, nth: u32) -> Elicitation {
    let (action, attempt) = b.flying[0];
    Elicitation {
        action,
        attempt,
        nth,
        text: "`notes` asks: which one?".to_owned(),
        answer: Arc::new(json!({"type": "object"})),
        role: "support".to_owned(),
        expires_ms: 60_000,
    }
}

fn elicit(b: &mut Bench, asked: Elicitation) -> Result<(), Refused> {
    b.input(Input::Elicited { asked: Box::new(asked) })
}

fn ask(b: &mut Bench, nth: u32) -> ApprovalId {
    let asked = asked(b, nth);
    elicit(b, asked).unwrap();
    open(b).pop().unwrap()
}

fn open(b: &Bench) -> Vec<ApprovalId> {
    b.run.as_ref().unwrap().questions().into_iter().map(|question| question.id).collect()
}

fn reply(b: &mut Bench, question: &ApprovalId, value: Value) -> Result<(), Refused> {
    let by = person("person:lena", &["support"]);
    b.input(Input::Reply { question: question.clone(), by, value: Arc::new(value) })
}

fn lapsed(b: &Bench) -> usize {
    b.kinds().iter().filter(|kind| *kind == "lapsed").count()
}

/// Whatever happened: the journal folds to the same state, and replays to the same events.
fn holds(b: &Bench) {
    let run = b.run.as_ref().unwrap();
    let folded = Run::fold(&b.records, b.pins()).unwrap();
    assert_eq!(folded.status(), run.status());
    assert_eq!(format!("{:?}", folded.questions()), format!("{:?}", run.questions()));
    let replayed = replay(&b.records, b.pins(), (&b.rules, &NoSchemas)).unwrap();
    assert_eq!(replayed.head, run.head());
}

#[test]
fn a_person_answers_in_the_middle_of_a_call() {
    let mut b = bench();
    let question = ask(&mut b, 0);
    assert_eq!(status(&b), Status::Asking);
    let view = b.run.as_ref().unwrap().questions().remove(0);
    assert_eq!((view.step.as_str(), view.action), ("ask", Some(b.flying[0].0)));
    assert_eq!((view.role.as_str(), &*view.answer), ("support", &json!({"type": "object"})));
    let row = b.changes.iter().find_map(|change| match change {
        Change::ApprovalOpened(row) => Some(row),
        _ => None,
    });
    assert_eq!((row.unwrap().sort.as_str(), row.unwrap().step.as_str()), ("question", "ask"));
    reply(&mut b, &question, json!({"which": "this"})).unwrap();
    assert_eq!((status(&b), b.flying.len()), (Status::Running, 1), "the call goes on");
    holds(&b);
    b.land(json!({"heard": "this"})).unwrap();
    b.land(json!({})).unwrap();
    assert_eq!((status(&b), lapsed(&b)), (Status::Succeeded, 0));
    holds(&b);
}

/// What is from outside stands in no hashed body.
#[test]
fn what_a_server_says_is_sealed() {
    let mut b = bench();
    let mut one = asked(&b, 0);
    one.text = "c4nary".to_owned();
    one.answer = Arc::new(json!({"title": "c4nary"}));
    elicit(&mut b, one).unwrap();
    let question = open(&b).remove(0);
    reply(&mut b, &question, json!("c4nary")).unwrap();
    assert!(!b.text().contains("c4nary"), "{}", b.text());
    let elicited = b.records.iter().find(|r| r.event.body.kind() == "elicited").unwrap();
    let labels = elicited.event.body.sealed()[0].labels().join_all();
    assert!(labels.is_tainted(), "{labels:?}");
}

#[test]
fn the_same_question_handed_in_twice_is_one() {
    let mut b = bench();
    let question = ask(&mut b, 0);
    let events = b.records.len();
    let again = asked(&b, 0);
    elicit(&mut b, again.clone()).unwrap();
    assert_eq!((open(&b).len(), b.records.len()), (1, events));
    reply(&mut b, &question, json!({})).unwrap();
    elicit(&mut b, again).unwrap();
    assert_eq!(open(&b), [], "one that was answered is not asked again");
    let another = ask(&mut b, 1);
    assert_ne!(another, question);
    for nth in 2..u32::try_from(ELICITED_MAX).unwrap() {
        ask(&mut b, nth);
    }
    let one_more = asked(&b, 99);
    assert!(matches!(elicit(&mut b, one_more), Err(Refused::NotNow(_))));
    holds(&b);
}

#[test]
fn only_a_person_who_holds_the_role_answers() {
    let mut b = bench();
    let question = ask(&mut b, 0);
    let value = Arc::new(json!({}));
    let mut by = |id: &str, roles: &[&str]| {
        let (question, value) = (question.clone(), Arc::clone(&value));
        b.input(Input::Reply { question, by: person(id, roles), value })
    };
    assert_eq!(by("person:omar", &["approver"]), Err(Refusal::NoRole.into()));
    by("person:lena", &["support"]).unwrap();
    assert_eq!(by("person:lena", &["support"]), Err(Refusal::NotAsked.into()), "once");
}

#[test]
fn what_belongs_to_no_call_in_flight_is_not_asked() {
    let mut b = bench();
    let good = asked(&b, 0);
    let same = || good.clone();
    for bad in [
        Elicitation { action: 77, ..same() },
        Elicitation { attempt: 2, ..same() },
        Elicitation { text: String::new(), ..same() },
        Elicitation { text: "x".repeat(16_385), ..same() },
        Elicitation { answer: Arc::new(json!("x")), ..same() },
        Elicitation { answer: Arc::new(json!({"title": "x".repeat(16_385)})), ..same() },
        Elicitation { role: String::new(), ..same() },
        Elicitation { expires_ms: 0, ..same() },
    ] {
        assert!(elicit(&mut b, bad.clone()).is_err(), "{bad:?}");
    }
    b.input(Input::Pause { by: person("person:lena", &[]) }).unwrap();
    assert!(elicit(&mut b, same()).is_err(), "nothing new while it is held");
    b.input(Input::Resume { by: person("person:lena", &[]) }).unwrap();
    b.land(json!({})).unwrap();
    assert!(matches!(elicit(&mut b, same()), Err(Refused::Late(_))), "the call is over");
    assert!(!b.kinds().contains(&"elicited".to_owned()));
}

#[test]
fn a_question_ends_with_its_call() {
    let mut b = bench();
    let question = ask(&mut b, 0);
    b.land(json!({})).unwrap();
    assert_eq!((open(&b), lapsed(&b)), (vec![], 1));
    assert_eq!(reply(&mut b, &question, json!({})), Err(Refusal::NotAsked.into()));
    let next = ask(&mut b, 0);
    assert_ne!(next, question, "the next call counts anew");
    holds(&b);
}

#[test]
fn a_question_ends_with_its_time_and_the_call_goes_on() {
    let mut b = bench();
    let question = ask(&mut b, 0);
    b.at += 60_000;
    let late = reply(&mut b, &question, json!({}));
    assert_eq!(late, Err(Refusal::Expired.into()));
    b.input(Input::Tick).unwrap();
    assert_eq!((open(&b), status(&b)), (vec![], Status::Running));
    b.land(json!({})).unwrap();
    holds(&b);
}

/// A new owner has no caller for it: it lapses, and the run goes on as after every crash.
#[test]
fn a_question_ends_with_its_owner() {
    let mut b = bench();
    ask(&mut b, 0);
    let late = asked(&b, 1);
    b.recover(Crash::Never).unwrap();
    assert_eq!((open(&b), lapsed(&b)), (vec![], 1));
    assert_eq!(status(&b), Status::NeedsPerson, "nobody knows what the call did");
    assert!(matches!(elicit(&mut b, late), Err(Refused::Late(_))), "nobody makes it any more");
    holds(&b);

    let mut b = bench();
    b.land(json!({})).unwrap();
    let question = ask(&mut b, 0);
    b.recover(Crash::Never).unwrap();
    assert_eq!((open(&b), status(&b)), (vec![], Status::Running), "a read is made again");
    let again = ask(&mut b, 0);
    assert_ne!(again, question, "and asks again");
    holds(&b);
}

/// Whoever leaves waits for no person.
#[test]
fn a_question_ends_when_its_owner_leaves() {
    let mut b = bench();
    ask(&mut b, 0);
    b.input(Input::Hold).unwrap();
    assert_eq!((open(&b), lapsed(&b)), (vec![], 1));
    let late = asked(&b, 1);
    assert!(elicit(&mut b, late).is_err());
    holds(&b);
}

#[test]
fn a_cancelled_run_asks_nobody() {
    let mut b = bench();
    ask(&mut b, 0);
    let (by, reason) = (person("person:lena", &[]), "enough".to_owned());
    b.input(Input::Cancel { by, reason }).unwrap();
    assert_eq!((open(&b), lapsed(&b)), (vec![], 1));
    let late = asked(&b, 1);
    assert!(matches!(elicit(&mut b, late), Err(Refused::Late(_))));
    b.land(json!({})).unwrap();
    assert_eq!(status(&b), Status::Cancelled);
    holds(&b);
}

/// `null` declines what a server asks, whatever its schema says.
#[test]
fn declining_is_an_answer() {
    let mut b = bench();
    let question = ask(&mut b, 0);
    reply(&mut b, &question, Value::Null).unwrap();
    let told = b.records.iter().rev().find_map(|record| match &record.event.body {
        Body::Replied { value, .. } => Some(value.value()),
        _ => None,
    });
    assert_eq!(*told.unwrap(), Value::Null);
}

#[derive(PartialEq, serde::Serialize, serde::Deserialize)]
struct Stored {
    event: String,
    openings: Vec<Option<Opening>>,
}

/// The journal of a run that met all of it folds and replays in every later build; `GOLDEN_WRITE=1` writes it.
#[test]
fn the_golden_journal_of_a_run_whose_servers_ask_folds_and_replays() {
    let mut b = bench();
    let question = ask(&mut b, 0);
    reply(&mut b, &question, json!({"which": "this"})).unwrap();
    ask(&mut b, 1);
    b.land(json!({})).unwrap();
    let question = ask(&mut b, 0);
    reply(&mut b, &question, Value::Null).unwrap();
    b.land(json!({})).unwrap();
    let (by, scope) = (person("person:lena", &[]), Scope::Run);
    b.input(Input::Rollback { by, scope, on_conflict: OnConflict::Refuse }).unwrap();
    let name = format!("tests/golden/journal-elicits-v1-m{MACHINE}.json");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    let today = |r: &Record| Stored {
        event: String::from_utf8(r.bytes.clone()).unwrap(),
        openings: r.openings(),
    };
    let today: Vec<Stored> = b.records.iter().map(today).collect();
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        fs::write(&path, serde_json::to_string_pretty(&today).unwrap() + "\n").unwrap();
    }
    let stored: Vec<Stored> = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert!(stored == today, "another format is written");
    let read = |(seq, s): (usize, Stored)| {
        Record::read(seq as u64, s.event.into_bytes(), s.openings).unwrap()
    };
    let records: Vec<Record> = stored.into_iter().enumerate().map(read).collect();
    replay(&records, b.pins(), (&b.rules, &NoSchemas)).unwrap();
}
