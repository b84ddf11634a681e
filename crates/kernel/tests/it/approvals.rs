use std::sync::Arc;

use kernel::{
    approval::{Approval, Refusal, SelfApproval, count},
    event::Body,
    id::Digest,
    input::{Answer, Input},
    label::{Confidentiality, Label, Trust},
    novelty::{Unlike, Unusual},
    operation::{Companion, Effect, Retry, Undo},
    principal::{Kind, Principal},
    project::Change,
    run::{Refused, Run, Status},
};
use serde_json::json;
use testkit::{Bench, Crash, Rules, failure, operation, person, proposal, returned};

fn bench(role_count: u32) -> Bench {
    let op = operation("mail.send", Effect::Write, Undo::None, Retry::Never);
    let steps = vec![proposal("a", "mail.send", json!({"to": "x"}))];
    let mut bench =
        Bench::new(vec![op], steps, Rules::default().ask("mail.send", "approver", role_count));
    bench.start(Crash::Never);
    bench
}

fn answer(bench: &Bench, by: Principal, answer: Answer) -> Input {
    let ask = bench.run.as_ref().unwrap().asks().remove(0);
    let (action, shown) = (ask.action.digest.unwrap(), Digest::of(b"card"));
    Input::Answer { approval: ask.id, action, shown, by, answer }
}

fn refusal(bench: &mut Bench, input: Input) -> Refusal {
    let before = bench.records.len();
    match bench.input(input) {
        Err(Refused::Answer(refusal)) => {
            assert_eq!(bench.records.len(), before, "a refused answer leaves no trace");
            assert!(bench.world.effects.is_empty());
            refusal
        }
        other => panic!("not refused: {other:?}"),
    }
}

/// C171, C174: exactly this action, by exactly whom it may be.
#[test]
fn answers_that_must_not_count_do_not() {
    let mut b = bench(1);
    let ask = b.run.as_ref().unwrap().asks().remove(0);
    let yes = |by, action| Input::Answer {
        approval: ask.id.clone(),
        action,
        shown: Digest::default(),
        by,
        answer: Answer::Approve,
    };
    let right = ask.action.digest.unwrap();
    let lena = person("person:lena", &["approver"]);
    let input = yes(lena.clone(), Digest::of(b"another action"));
    assert_eq!(refusal(&mut b, input), Refusal::OtherAction);
    let agent = Principal { kind: Kind::Agent, ..person("agent:other", &["approver"]) };
    assert_eq!(refusal(&mut b, yes(agent, right)), Refusal::NotAPerson);
    let proposer = Principal { id: "agent:test".parse().unwrap(), ..lena.clone() };
    assert_eq!(refusal(&mut b, yes(proposer, right)), Refusal::Proposer);
    let requester = person("person:mira", &["approver"]);
    assert_eq!(refusal(&mut b, yes(requester, right)), Refusal::Requester);
    assert_eq!(refusal(&mut b, yes(person("person:eve", &["admin"]), right)), Refusal::NoRole);
    b.at += kernel::approval::ASK_EXPIRES_MS;
    assert_eq!(refusal(&mut b, yes(lena, right)), Refusal::Expired);
}

#[test]
fn one_yes_dispatches_once_and_survives_a_restart() {
    let mut b = bench(1);
    assert_eq!(b.run.as_ref().unwrap().status(), Status::Asking);
    b.recover(Crash::Never).unwrap();
    let yes = answer(&b, person("person:lena", &["approver"]), Answer::Approve);
    b.input(yes.clone()).unwrap();
    assert_eq!(b.run.as_ref().unwrap().status(), Status::Succeeded);
    assert_eq!(b.world.calls["mail.send"], 1);
    assert!(matches!(b.input(yes), Err(Refused::Answer(Refusal::NotAsked))), "twice is too late");
    assert_eq!(b.world.calls["mail.send"], 1);
}

/// The floor asks once: what a person approved leaves, and what policy denies is not asked about.
#[test]
fn the_floor_asks_once_and_never_about_a_denial() {
    let held = |taint: Trust, unusual: Vec<Unusual>, rules: Rules| {
        let op = operation("mail.send", Effect::Write, Undo::None, Retry::Never);
        let mut step = proposal("a", "mail.send", json!({"to": "x"}));
        step.existence = Label::new(taint, Confidentiality::Internal);
        let mut b = Bench::new(vec![op], vec![step], rules);
        b.header_mut().unusual = unusual;
        b.start(Crash::Never);
        b
    };
    let far = || vec![Unusual { at: "/to".into(), how: Unlike::OutOfRange }];
    for (taint, unusual) in [(Trust::Untrusted, vec![]), (Trust::System, far())] {
        let mut b = held(taint, unusual, Rules::default());
        assert_eq!(b.run.as_ref().unwrap().status(), Status::Asking);
        let yes = answer(&b, person("person:lena", &["approver"]), Answer::Approve);
        b.input(yes).unwrap();
        assert_eq!(b.run.as_ref().unwrap().status(), Status::Succeeded);
        assert_eq!(b.world.calls["mail.send"], 1);
    }
    let b = held(Trust::Untrusted, far(), Rules::default().deny("mail.send"));
    let judged = b.records.iter().find_map(|record| match &record.event.body {
        Body::Judged { decision, .. } => Some(decision.clone()),
        _ => None,
    });
    let rules: Vec<String> = judged.unwrap().rules.into_iter().map(|rule| rule.id).collect();
    assert_eq!(rules.len(), 1, "only what denied it: {rules:?}");
    assert!(!b.world.calls.contains_key("mail.send"));
}

/// C174: a quorum counts distinct people.
#[test]
fn a_quorum_of_two_needs_two_people() {
    let mut b = bench(2);
    let lena = person("person:lena", &["approver"]);
    let yes = answer(&b, lena.clone(), Answer::Approve);
    b.input(yes).unwrap();
    assert_eq!(b.run.as_ref().unwrap().status(), Status::Asking);
    let again = answer(&b, lena, Answer::Approve);
    assert_eq!(refusal(&mut b, again), Refusal::Twice);
    b.recover(Crash::Never).unwrap();
    let yes = answer(&b, person("person:omar", &["approver"]), Answer::Approve);
    b.input(yes).unwrap();
    assert_eq!(b.world.effects.values().sum::<usize>(), 1);
}

/// C172: consumed in the transaction that writes the dispatch: a crash between loses nothing.
#[test]
fn an_approval_is_consumed_with_its_dispatch() {
    let mut b = bench(1);
    let yes = answer(&b, person("person:lena", &["approver"]), Answer::Approve);
    b.input(yes).unwrap();
    let kinds = b.kinds();
    let at = kinds.iter().position(|k| k == "answered").unwrap();
    assert_eq!(kinds[at..at + 3], ["answered", "judged", "dispatched"]);
    let same_time = |i: usize| b.records[at + i].event.at == b.records[at].event.at;
    assert!(same_time(1) && same_time(2));
}

/// C172: while what became of the call is unknown, nobody can answer the ask a second time.
#[test]
fn an_ask_ends_with_its_dispatch() {
    let mut b = bench(1);
    let unknown = failure(kernel::exception::Class::Timeout, kernel::exception::Landed::Unknown);
    b.world.script("mail.send", vec![unknown]);
    let yes = answer(&b, person("person:lena", &["approver"]), Answer::Approve);
    b.input(yes).unwrap();
    assert_eq!(b.run.as_ref().unwrap().status(), Status::NeedsPerson);
    assert!(b.run.as_ref().unwrap().asks().is_empty());
}

/// C171, C174: what was approved is part of the approval, and a person counts once per role.
#[test]
fn only_distinct_people_who_approved_this_action_are_counted() {
    let (this, other) = (Digest::of(b"this"), Digest::of(b"other"));
    let approval = |by: &str, action| Approval {
        by: by.parse().unwrap(),
        roles: ["approver".to_owned()].into(),
        at: 1,
        action,
        shown: Digest::default(),
        self_approved: false,
    };
    let given = [
        approval("person:lena", this),
        approval("person:lena", this),
        approval("person:omar", other),
    ];
    assert_eq!(count(&given, &this), [("approver".to_owned(), 1)].into());
    assert_eq!(count(&given[..2], &other), [].into());
}

#[test]
fn a_denial_and_an_expiry_end_the_action_without_a_call() {
    let mut b = bench(1);
    let no = answer(&b, person("person:lena", &["approver"]), Answer::Deny { reason: "no".into() });
    b.input(no).unwrap();
    assert_eq!(b.run.as_ref().unwrap().status(), Status::Failed);
    let mut b = bench(1);
    b.at += kernel::approval::ASK_EXPIRES_MS;
    b.input(Input::Tick).unwrap();
    assert_eq!(b.run.as_ref().unwrap().status(), Status::Failed);
    assert!(b.world.calls.is_empty());
}

/// C168, C087: an edit is a new proposal that walks the whole gate again.
#[test]
fn an_edit_asks_again_and_only_the_edited_call_leaves() {
    let mut b = bench(1);
    let first = b.run.as_ref().unwrap().asks().remove(0).action.digest;
    let edit = Answer::Edit { args: Arc::new(json!({"to": "y"})) };
    let edit = answer(&b, person("person:lena", &["approver"]), edit);
    b.input(edit).unwrap();
    let ask = b.run.as_ref().unwrap().asks().remove(0);
    assert_ne!(ask.action.digest, first);
    assert_eq!(*ask.action.args, json!({"to": "y"}));
    assert!(b.world.calls.is_empty());
    b.recover(Crash::Never).unwrap();
    let yes = answer(&b, person("person:omar", &["approver"]), Answer::Approve);
    b.input(yes).unwrap();
    assert_eq!(b.run.as_ref().unwrap().status(), Status::Succeeded);
}

#[test]
fn single_user_mode_records_that_it_approved_itself() {
    let op = operation("mail.send", Effect::Write, Undo::None, Retry::Never);
    let steps = vec![proposal("a", "mail.send", json!({}))];
    let mut b = Bench::new(vec![op], steps, Rules::default().ask("mail.send", "approver", 1));
    b.header_mut().approvers.self_approval = SelfApproval::Recorded;
    b.start(Crash::Never);
    let yes = answer(&b, person("person:mira", &["approver"]), Answer::Approve);
    b.input(yes).unwrap();
    let recorded = b
        .records
        .iter()
        .any(|r| matches!(&r.event.body, Body::Answered { self_approved: true, .. }));
    assert!(recorded);
}

/// What was shown is read again right before the call; moved = void, and the person is asked anew.
#[test]
fn a_preview_that_moved_voids_the_approval() {
    let mut set = operation("crm.set", Effect::Write, Undo::None, Retry::Never);
    let peek = Companion {
        operation: "crm.peek".parse().unwrap(),
        with: Default::default(),
        image: vec!["/stage".into()],
    };
    set.companions.preview = Some(peek);
    let peek = operation("crm.peek", Effect::Read, Undo::None, Retry::Keyed);
    let steps = vec![proposal("a", "crm.set", json!({}))];
    let mut b = Bench::new(vec![set, peek], steps, Rules::default().ask("crm.set", "approver", 1));
    let seen = |stage: &str, noise: u32| Ok(returned(json!({"stage": stage, "etag": noise})));
    b.world.script("crm.peek", vec![seen("open", 1), seen("won", 2), seen("won", 3)]);
    b.start(Crash::Never);
    let lena = person("person:lena", &["approver"]);
    let yes = answer(&b, lena.clone(), Answer::Approve);
    b.input(yes).unwrap();
    assert_eq!(b.run.as_ref().unwrap().status(), Status::Asking, "asked anew");
    assert!(b.world.effects.is_empty());
    assert_eq!(
        *b.run.as_ref().unwrap().asks().remove(0).action.preview.unwrap(),
        json!({"stage": "won", "etag": 2})
    );
    let yes = answer(&b, lena, Answer::Approve);
    b.input(yes).unwrap();
    assert_eq!(b.run.as_ref().unwrap().status(), Status::Succeeded, "only the etag moved");
}

/// What lists say of a run is what its journal says, also where a look that changed nothing joined the
/// batch of what did.
#[test]
fn a_later_look_that_changes_nothing_moves_no_time() {
    let mut b = bench(1);
    let input =
        answer(&b, person("person:lena", &["approver"]), Answer::Deny { reason: "no".into() });
    b.decide(input).unwrap();
    b.at += 5;
    b.input(Input::Tick).unwrap();
    let row = |changes: Vec<Change>| {
        changes.into_iter().rev().find(|change| matches!(change, Change::Run(_))).unwrap()
    };
    assert_eq!(row(b.changes.clone()), row(Run::project(&b.records, b.pins()).unwrap()));
}
