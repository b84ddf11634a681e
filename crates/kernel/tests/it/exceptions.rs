//! Exceptions as work (C203, C347): who decides, what fits, and that none is lost or doubled.

use std::sync::Arc;

use kernel::{
    event::Body,
    exception::{Class, Exception, Landed, Need},
    id::PrincipalId,
    input::{Input, OnConflict, Scope, Settlement},
    operation::{Binding, Companion, Effect, Operation, ResourceRule, Retry, Undo},
    principal::{Kind, Principal},
    project::Change,
    run::{Refused, Run, Status, replay, verbs},
};
use serde_json::json;
use testkit::{Bench, Crash, NoSchemas, Rules, failure, operation, person, proposal, returned};

fn step(n: usize, operation: &str, record: &str) -> kernel::action::Proposal {
    proposal(&format!("s{n}"), operation, json!({ "record": record, "value": n }))
}

/// Writes that can be compensated, on records that their arguments name.
fn write(id: &str) -> Operation {
    let mut write = operation(id, Effect::Write, Undo::Compensate, Retry::Never);
    write.resource = Some(ResourceRule { kind: "Record".into(), id: "/record".into() });
    write.companions.undo_with = Some(Companion {
        operation: "sys.undo".parse().unwrap(),
        with: [("record".to_owned(), Binding::From("/args/record".into()))].into(),
        image: vec![],
    });
    write
}

fn operations() -> Vec<Operation> {
    let mut undo = write("sys.undo");
    // It could be undone itself; nobody guesses that.
    undo.facts.retry = Retry::Never;
    vec![write("sys.write"), write("sys.last"), undo]
}

/// Runs these records' writes one after the other; the last one ends as told.
fn bench(records: &[&str], last: Option<kernel::port::Outcome>) -> Bench {
    let names = records.iter().enumerate();
    let steps = names.map(|(n, record)| {
        let id = if n + 1 == records.len() { "sys.last" } else { "sys.write" };
        step(n, id, record)
    });
    let mut b = Bench::new(operations(), steps.collect(), Rules::default());
    if let Some(outcome) = last {
        b.world.script("sys.last", vec![outcome, Ok(returned(json!({})))]);
    }
    b
}

fn unknown() -> kernel::port::Outcome {
    failure(Class::Timeout, Landed::Unknown)
}

fn run(b: &Bench) -> &Run {
    b.run.as_ref().unwrap()
}

fn open(b: &Bench) -> Exception {
    let mut open = run(b).exceptions();
    assert_eq!(open.len(), 1, "{open:?}");
    open.remove(0)
}

fn settle(b: &mut Bench, settlement: Settlement) -> Result<(), Refused> {
    let exception = open(b).id;
    if settlement == Settlement::DidNotHappen {
        // No call can be on its way any more.
        b.at += 60_000;
    }
    let (by, evidence) = (person("person:lena", &["owner"]), "looked".to_owned());
    b.input(Input::Settle { exception, by, settlement, evidence })
}

fn roll_back(b: &mut Bench) {
    let (by, scope) = (person("person:lena", &[]), Scope::Run);
    b.input(Input::Rollback { by, scope, on_conflict: OnConflict::Refuse }).unwrap();
}

fn cancel(b: &mut Bench) {
    b.input(Input::Cancel { by: person("person:lena", &[]), reason: "enough".into() }).unwrap();
}

/// The journal alone gives the same run, the same projections, the same events.
fn stands(b: &Bench) {
    let folded = Run::fold(&b.records, b.pins()).unwrap();
    assert_eq!(folded.exceptions(), run(b).exceptions());
    assert_eq!(folded.status(), run(b).status());
    let mut live = b.changes.clone();
    let row = live.iter().rposition(|c| matches!(c, Change::Run(_))).map(|at| live.remove(at));
    live.retain(|change| !matches!(change, Change::Run(_)));
    live.extend(row);
    assert_eq!(Run::project(&b.records, b.pins()).unwrap(), live, "projections");
    replay(&b.records, b.pins(), (&b.rules, &NoSchemas)).unwrap();
}

/// What the projections show as open.
fn listed(b: &Bench) -> Vec<String> {
    let mut open = Vec::new();
    for change in Run::project(&b.records, b.pins()).unwrap() {
        match change {
            Change::ExceptionOpened(row) => {
                open.retain(|id| *id != row.exception.id.to_string());
                open.push(row.exception.id.to_string());
            }
            Change::ExceptionClosed { id, .. } => open.retain(|open| *open != id.to_string()),
            _ => {}
        }
    }
    open
}

#[test]
fn only_its_owner_or_an_operator_decides_and_agents_never() {
    let agent = Principal {
        id: "agent:test".parse::<PrincipalId>().unwrap(),
        kind: Kind::Agent,
        roles: ["owner".to_owned(), "operator".to_owned()].into(),
    };
    let service =
        Principal { id: "service:cron".parse().unwrap(), kind: Kind::Service, ..agent.clone() };
    let cases = [
        (person("person:lena", &["owner"]), true),
        (person("person:omar", &["operator"]), true),
        (person("person:mira", &["approver", "requester"]), false),
        (person("person:nobody", &[]), false),
        (agent, false),
        (service, false),
    ];
    for (by, may) in cases {
        let mut b = bench(&["A"], Some(unknown()));
        b.start(Crash::Never);
        let exception = open(&b).id;
        let events = b.records.len();
        let evidence = "seen".to_owned();
        let settlement = Settlement::Happened;
        let who = by.id.clone();
        let taken = b.input(Input::Settle { exception, by, settlement, evidence });
        assert_eq!(taken.is_ok(), may, "{who}: {taken:?}");
        assert_eq!(b.records.len() == events, !may, "{who}: a refusal leaves no trace");
        stands(&b);
    }
}

#[test]
fn a_verb_that_does_not_fit_is_refused_in_words_and_changes_nothing() {
    let all = || {
        [
            ("happened", Settlement::Happened),
            ("did_not_happen", Settlement::DidNotHappen),
            ("retry", Settlement::Retry),
            ("use", Settlement::Use { value: Arc::new(json!(1)) }),
            ("skip", Settlement::Skip),
            ("stop", Settlement::Stop),
            ("rollback", Settlement::Rollback),
            ("close", Settlement::Close),
        ]
    };
    let doubt = || bench(&["A"], Some(unknown()));
    let escalated = || {
        let mut b = bench(&["A"], Some(failure(Class::Permission, Landed::No)));
        b.escalates_to = Some("owner".into());
        b
    };
    let makers: [(&dyn Fn() -> Bench, Need); 2] =
        [(&doubt, Need::InDoubt), (&escalated, Need::Escalated)];
    for (make, need) in makers {
        for (word, settlement) in all() {
            let mut b = make();
            b.start(Crash::Never);
            assert_eq!(open(&b).need, need);
            let before = b.records.len();
            let taken = settle(&mut b, settlement.clone());
            let fits = verbs(need).contains(&word);
            assert_eq!(taken.is_ok(), fits, "{need:?} {word}: {taken:?}");
            assert_eq!(b.records.len() == before, !fits, "{need:?} {word}");
            if fits && word != "rollback" {
                assert!(run(&b).exceptions().is_empty(), "{need:?} {word} settles it");
            }
            stands(&b);
        }
    }
}

#[test]
fn the_same_decision_twice_counts_once() {
    let mut b = bench(&["A"], Some(unknown()));
    b.start(Crash::Never);
    let exception = open(&b).id;
    let input = || Input::Settle {
        exception: exception.clone(),
        by: person("person:lena", &["owner"]),
        settlement: Settlement::Happened,
        evidence: "seen".into(),
    };
    b.input(input()).unwrap();
    let events = b.records.len();
    assert!(matches!(b.input(input()), Err(Refused::Late(_))));
    assert_eq!(b.records.len(), events);
}

#[test]
fn each_way_out_of_an_escalation_ends_as_it_says() {
    let cases = [
        (Settlement::Retry, Status::Succeeded, 2),
        (Settlement::Use { value: Arc::new(json!({ "by": "hand" })) }, Status::Succeeded, 1),
        (Settlement::Skip, Status::Succeeded, 1),
        (Settlement::Stop, Status::RolledBack, 1),
        (Settlement::Rollback, Status::RolledBack, 1),
    ];
    for (settlement, status, calls) in cases {
        let mut b = bench(&["A", "B"], Some(failure(Class::Permission, Landed::No)));
        b.escalates_to = Some("owner".into());
        b.start(Crash::Never);
        assert_eq!(run(&b).status(), Status::NeedsPerson);
        settle(&mut b, settlement.clone()).unwrap();
        assert_eq!(run(&b).status(), status, "{settlement:?}");
        assert_eq!(b.world.calls["sys.last"], calls, "{settlement:?}");
        let undone = usize::from(status == Status::RolledBack);
        assert_eq!(b.world.calls.get("sys.undo").copied().unwrap_or_default(), undone);
        assert!(listed(&b).is_empty(), "{settlement:?}");
        stands(&b);
    }
}

#[test]
fn a_run_that_stops_needs_nobody_to_say_how_it_goes_on() {
    let mut b = bench(&["A"], Some(failure(Class::Permission, Landed::No)));
    b.escalates_to = Some("owner".into());
    b.start(Crash::Never);
    cancel(&mut b);
    assert_eq!(run(&b).status(), Status::Cancelled);
    assert!(run(&b).exceptions().is_empty() && listed(&b).is_empty());
    stands(&b);
}

#[test]
fn the_same_trouble_again_is_one_exception_with_a_count() {
    let mut b = bench(&["A"], None);
    b.world.script("sys.undo", vec![failure(Class::Unavailable, Landed::No)]);
    b.start(Crash::Never);
    roll_back(&mut b);
    let first = open(&b);
    assert_eq!((first.need, first.class, first.count), (Need::UndoFailed, Class::Unavailable, 1));
    roll_back(&mut b);
    let again = open(&b);
    assert_eq!((again.id, again.count, again.at), (first.id.clone(), 2, first.at));
    assert_eq!(listed(&b), [first.id.to_string()]);
    b.recover(Crash::Never).unwrap();
    assert_eq!(open(&b).count, 2, "a restart counts on");
    // Settled and met again: a new one, that knows how often.
    settle(&mut b, Settlement::Retry).unwrap();
    let third = open(&b);
    assert_eq!(third.count, 3);
    assert_ne!(third.id, first.id);
    stands(&b);
}

#[test]
fn a_failed_undo_can_be_tried_again_or_closed() {
    let flaky = vec![failure(Class::Unavailable, Landed::No), Ok(returned(json!({})))];
    let mut b = bench(&["A"], None);
    b.world.script("sys.undo", flaky);
    b.start(Crash::Never);
    roll_back(&mut b);
    assert_eq!(run(&b).status(), Status::Succeeded, "nothing is back, and nothing is called back");
    settle(&mut b, Settlement::Retry).unwrap();
    assert_eq!(run(&b).status(), Status::RolledBack);
    assert!(run(&b).exceptions().is_empty());
    stands(&b);

    let mut b = bench(&["A"], None);
    b.world.script("sys.undo", vec![failure(Class::Unavailable, Landed::No)]);
    b.start(Crash::Never);
    roll_back(&mut b);
    settle(&mut b, Settlement::Close).unwrap();
    assert!(run(&b).exceptions().is_empty());
    assert_eq!(b.world.calls["sys.undo"], 1, "closing does nothing");
    stands(&b);
}

/// Compensation of compensations is never guessed.
#[test]
fn an_undo_has_no_undo_and_what_it_left_is_not_tried_again() {
    let mut b = bench(&["A"], None);
    b.start(Crash::Never);
    roll_back(&mut b);
    let armed = b.records.iter().filter(|r| matches!(r.event.body, Body::Armed { .. })).count();
    assert_eq!(armed, 1, "the write has a way back, its undo has none");
    assert!(run(&b).usable_tokens().is_empty());

    let mut b = bench(&["A"], None);
    b.world.script("sys.undo", vec![failure(Class::UnexpectedShape, Landed::Yes)]);
    b.start(Crash::Never);
    roll_back(&mut b);
    let refused = settle(&mut b, Settlement::Retry).unwrap_err();
    assert!(refused.to_string().contains("an undo has no undo"), "{refused}");
    assert_eq!(run(&b).verbs_now(&open(&b).id), ["close"], "what is refused is not offered");
    assert_eq!(b.world.calls["sys.undo"], 1);
    settle(&mut b, Settlement::Close).unwrap();
    stands(&b);
}

#[test]
fn a_doubt_holds_up_its_own_record_and_no_other() {
    // Records of the two writes, and how many can be taken back before the doubt is settled.
    let cases = [(["A", "B"], 1, Status::PartlyRolledBack), (["A", "A"], 0, Status::Cancelled)];
    for (records, back, status) in cases {
        for happened in [Settlement::Happened, Settlement::DidNotHappen] {
            let mut b = bench(&records, Some(unknown()));
            b.start(Crash::Never);
            settle(&mut b, Settlement::Rollback).unwrap();
            assert_eq!(run(&b).status(), status, "{records:?}");
            let undos = |b: &Bench| b.world.calls.get("sys.undo").copied().unwrap_or_default();
            assert_eq!(undos(&b), back, "{records:?}");
            assert_eq!(open(&b).need, Need::InDoubt, "the doubt is still open");
            assert_eq!(listed(&b).len(), 1);
            b.recover(Crash::Never).unwrap();
            settle(&mut b, happened.clone()).unwrap();
            roll_back(&mut b);
            assert_eq!(run(&b).status(), Status::RolledBack, "{records:?} {happened:?}");
            let all = 1 + usize::from(happened == Settlement::Happened);
            assert_eq!(undos(&b), all, "{records:?} {happened:?}");
            assert!(listed(&b).is_empty());
            stands(&b);
        }
    }
}

#[test]
fn an_effect_on_an_unnamed_record_may_be_anywhere() {
    let mut operations = operations();
    operations[1].resource = None;
    let steps = vec![step(0, "sys.write", "A"), step(1, "sys.last", "B")];
    let mut b = Bench::new(operations, steps, Rules::default());
    b.world.script("sys.last", vec![unknown()]);
    b.start(Crash::Never);
    cancel(&mut b);
    roll_back(&mut b);
    assert!(!b.world.calls.contains_key("sys.undo"), "what is in doubt may be on A");
    settle(&mut b, Settlement::DidNotHappen).unwrap();
    roll_back(&mut b);
    assert_eq!(run(&b).status(), Status::RolledBack);
    stands(&b);
}

#[test]
fn a_stuck_record_does_not_keep_the_others() {
    // Newest first: B is refused, then A2 and A1 go back.
    let mut b = bench(&["A", "A", "B"], None);
    b.world
        .script("sys.undo", vec![failure(Class::Permission, Landed::No), Ok(returned(json!({})))]);
    b.start(Crash::Never);
    roll_back(&mut b);
    assert_eq!(run(&b).status(), Status::PartlyRolledBack);
    assert_eq!(b.world.calls["sys.undo"], 3);
    assert_eq!(open(&b).need, Need::UndoFailed);
    settle(&mut b, Settlement::Retry).unwrap();
    assert_eq!(run(&b).status(), Status::RolledBack);
    // And on one record nothing older goes back before what is newer.
    let mut b = bench(&["A", "A", "A"], None);
    b.world
        .script("sys.undo", vec![failure(Class::Permission, Landed::No), Ok(returned(json!({})))]);
    b.start(Crash::Never);
    roll_back(&mut b);
    assert_eq!(b.world.calls["sys.undo"], 1);
    assert_eq!(run(&b).status(), Status::Succeeded);
    stands(&b);
}

#[test]
fn a_defect_holds_the_run_until_somebody_says_how_it_goes_on() {
    let faulted = || {
        let mut b = bench(&["A", "B"], None);
        b.world.script("sys.write", vec![Ok(returned(json!({})))]);
        b.start(Crash::AfterAppend(1));
        b.run = Some(Run::fold(&b.records, b.pins()).unwrap());
        b.input(Input::Fault { message: "illegal".into() }).unwrap();
        b.recover(Crash::Never).unwrap();
        b
    };
    let mut b = faulted();
    assert_eq!(open(&b).need, Need::Defect);
    let refused = settle(&mut b, Settlement::Close).unwrap_err();
    assert!(matches!(refused, Refused::NotNow(_)), "{refused}");
    assert_eq!(run(&b).verbs_now(&open(&b).id), ["retry", "rollback"]);
    b.input(Input::Fault { message: "again".into() }).unwrap();
    assert_eq!(open(&b).count, 2);
    settle(&mut b, Settlement::Retry).unwrap();
    assert!(run(&b).exceptions().iter().all(|e| e.need == Need::InDoubt), "it goes on");
    let mut b = faulted();
    settle(&mut b, Settlement::Rollback).unwrap();
    assert!(run(&b).exceptions().iter().all(|e| e.need == Need::InDoubt), "it is over");
    stands(&b);
}
