//! A halted run (C211): answers are taken, it may end, nothing is called.

use kernel::{
    exception::{Class, Landed},
    id::{HaltId, Tenant},
    input::{Input, OnConflict, Scope},
    operation::{Companion, Effect, Operation, Retry, Undo},
    run::{Refused, Run, Status, replay},
};
use serde_json::json;
use testkit::{Bench, Crash, NoSchemas, Rules, failure, operation, person, proposal};

fn halt(n: u64) -> HaltId {
    HaltId::of(&Tenant::default(), n)
}

fn operations() -> Vec<Operation> {
    let mut write = operation("sys.write", Effect::Write, Undo::Compensate, Retry::Never);
    write.companions.undo_with = Some(Companion {
        operation: "sys.undo".parse().unwrap(),
        with: Default::default(),
        image: vec![],
    });
    let undo = operation("sys.undo", Effect::Write, Undo::None, Retry::Never);
    let last = operation("sys.last", Effect::Write, Undo::None, Retry::Never);
    vec![write, undo, last]
}

fn bench(rules: Rules) -> Bench {
    let steps = vec![proposal("a", "sys.write", json!({})), proposal("b", "sys.last", json!({}))];
    Bench::new(operations(), steps, rules)
}

fn status(b: &Bench) -> Status {
    let folded = Run::fold(&b.records, b.pins()).unwrap();
    let live = b.run.as_ref().unwrap();
    assert_eq!((folded.status(), folded.halted()), (live.status(), live.halted()));
    replay(&b.records, b.pins(), (&b.rules, &NoSchemas)).unwrap();
    live.status()
}

fn calls(b: &Bench, operation: &str) -> usize {
    b.world.calls.get(operation).copied().unwrap_or_default()
}

#[test]
fn a_rollback_waits_for_the_halt_to_be_lifted() {
    let mut b = bench(Rules::default());
    b.start(Crash::Never);
    let (by, scope) = (person("person:lena", &[]), Scope::Run);
    b.input(Input::Halt { halt: halt(0) }).unwrap();
    assert_eq!(status(&b), Status::Succeeded, "what is over stays so");
    // Whoever drives tells the run about the halt once it wants to call.
    let mut b = bench(Rules::default().ask("sys.last", "approver", 1));
    b.start(Crash::Never);
    b.input(Input::Cancel { by: by.clone(), reason: "enough".into() }).unwrap();
    let on_conflict = OnConflict::Refuse;
    let mut c = bench(Rules::default().ask("sys.last", "approver", 1));
    c.start(Crash::Never);
    c.input(Input::Halt { halt: halt(0) }).unwrap();
    c.input(Input::Cancel { by: by.clone(), reason: "enough".into() }).unwrap();
    assert_eq!(status(&c), Status::Cancelled, "ending sends nothing");
    // The first run rolls back; the halt comes in between.
    b.input(Input::Rollback { by, scope, on_conflict }).unwrap();
    assert_eq!(status(&b), Status::RolledBack);
}

#[test]
fn a_failure_under_a_halt_is_taken_back_once_it_is_lifted() {
    let mut b = bench(Rules::default().ask("sys.last", "approver", 1));
    b.start(Crash::Never);
    assert_eq!(status(&b), Status::Asking);
    b.input(Input::Halt { halt: halt(3) }).unwrap();
    assert_eq!(status(&b), Status::Halted);
    // The ask expires: the run fails, and its write is to be taken back.
    b.at = b.run.as_ref().unwrap().wake_at().unwrap();
    b.input(Input::Tick).unwrap();
    assert_eq!((status(&b), calls(&b, "sys.undo")), (Status::Halted, 0));
    b.recover(Crash::Never).unwrap();
    assert_eq!((status(&b), calls(&b, "sys.undo")), (Status::Halted, 0), "a restart knows it");
    assert!(matches!(b.input(Input::Unhalt { halt: halt(4) }), Err(Refused::Late(_))));
    b.input(Input::Unhalt { halt: halt(3) }).unwrap();
    assert_eq!((status(&b), calls(&b, "sys.undo")), (Status::RolledBack, 1));
}

#[test]
fn a_doubt_under_a_halt_is_looked_into_afterwards() {
    let mut b = bench(Rules::default());
    b.world.script("sys.write", vec![failure(Class::Timeout, Landed::Unknown)]);
    b.start(Crash::AfterAppend(1));
    b.run = Some(Run::fold(&b.records, b.pins()).unwrap());
    b.input(Input::Halt { halt: halt(0) }).unwrap();
    let events = b.records.len();
    b.input(Input::Halt { halt: halt(0) }).unwrap();
    assert_eq!(b.records.len(), events, "told twice, held once");
    b.recover(Crash::Never).unwrap();
    assert!(b.run.as_ref().unwrap().exceptions().is_empty());
    assert_eq!(status(&b), Status::Halted);
    b.input(Input::Unhalt { halt: halt(0) }).unwrap();
    assert_eq!(status(&b), Status::NeedsPerson);
    assert_eq!(calls(&b, "sys.last"), 0);
}
