//! Hooks of a plan: each look is a call in the pipeline, and it may only narrow what happens.

use std::{fs, path::PathBuf, sync::Arc};

use kernel::{
    event::{Body, End, MACHINE, Purpose, Record, Role, Stage},
    exception::{Class, Landed},
    hook::{Hook, Moment},
    id::{Digest, Seq},
    input::{Answer, Input, OnConflict, Scope},
    label::{Confidentiality, Label, LabelMap, Trust},
    operation::{Effect, Operation, Retry, Undo},
    planning::Caveat,
    run::{Run, Status, replay},
};
use serde_json::{Value, json};
use testkit::{
    Bench, Crash, NoSchemas, Rules, failure, hook, operation, person, proposal, restorable_set,
    returned,
};

fn write(id: &str) -> Operation {
    operation(id, Effect::Write, Undo::None, Retry::Keyed)
}

/// One write that hooks look at.
fn bench(hooks: Vec<Hook>) -> Bench {
    let steps = vec![proposal("a", "crm.set", json!({"id": 7}))];
    let mut bench = Bench::new(vec![write("crm.set")], steps, Rules::default());
    bench.look(hooks);
    bench
}

fn gate(name: &str) -> Hook {
    hook(name, Moment::Before, &["crm.set"])
}

fn say(bench: &mut Bench, name: &str, answer: Value) {
    bench.world.script(&format!("hook.{name}"), vec![Ok(returned(answer))]);
}

fn calls(bench: &Bench, id: &str) -> usize {
    bench.world.calls.get(id).copied().unwrap_or_default()
}

fn rejection(bench: &Bench) -> Option<(Stage, Class, String)> {
    bench.records.iter().find_map(|r| match &r.event.body {
        Body::Rejected { stage, class, code, .. } => Some((*stage, *class, code.clone())),
        _ => None,
    })
}

fn caveats(bench: &Bench) -> Vec<Caveat> {
    let ended = bench.records.iter().find_map(|r| match &r.event.body {
        Body::Finished { caveats, .. } => Some(caveats.clone()),
        _ => None,
    });
    ended.unwrap_or_default()
}

fn replays(bench: &Bench) {
    let replayed = replay(&bench.records, bench.pins(), (&bench.rules, &NoSchemas)).unwrap();
    assert_eq!(replayed.events, bench.records.len() as u64);
}

fn approve(bench: &mut Bench) {
    let ask = bench.run.as_ref().unwrap().asks().remove(0);
    let (approval, action) = (ask.id, ask.action.digest.unwrap());
    let (by, shown) = (person("person:lena", &["approver"]), Digest::default());
    bench.input(Input::Answer { approval, action, shown, by, answer: Answer::Approve }).unwrap();
}

#[test]
fn a_look_is_a_call_that_is_journaled_before_the_call_it_is_about() {
    let mut b = bench(vec![gate("check")]);
    say(&mut b, "check", json!({"verdict": "pass"}));
    assert!(b.start(Crash::Never));
    let about = ["proposed", "judged", "dispatched", "returned", "receipted"];
    let expected: Vec<&str> = ["opened", "proposed", "judged"]
        .into_iter()
        .chain(about)
        .chain(["judged", "dispatched", "returned", "receipted", "finished", "closed"])
        .collect();
    assert_eq!(b.kinds(), expected);
    let look = b.records.iter().find_map(|r| match &r.event.body {
        Body::Proposed { operation, because, args, .. } if operation.connector() == "hook" => {
            Some((because.clone(), args.value()))
        }
        _ => None,
    });
    let seen = json!({"operation": "crm.set", "args": {"id": 7}, "action": 1});
    assert_eq!(look, Some((Role::Companion { of: 1, purpose: Purpose::Gate }, Arc::new(seen))));
    assert_eq!((calls(&b, "hook.check"), calls(&b, "crm.set")), (1, 1));
    replays(&b);
}

#[test]
fn a_hook_that_denies_keeps_the_call_from_happening() {
    let mut b = bench(vec![gate("check"), gate("later")]);
    say(&mut b, "check", json!({"verdict": "deny", "told": "not on Mondays"}));
    b.goes_on = true;
    b.start(Crash::Never);
    assert_eq!(calls(&b, "crm.set"), 0);
    assert_eq!(calls(&b, "hook.later"), 0, "nobody else is asked");
    let expected = (Stage::Policy, Class::PolicyError, "hook.check".to_owned());
    assert_eq!(rejection(&b).unwrap(), expected);
    assert_eq!(caveats(&b)[0].text, "Verified: not on Mondays");
    let hashed: Vec<u8> = b.records.iter().flat_map(|r| r.bytes.clone()).collect();
    // The planner of this test repeats it in its own, declared, caveat.
    let told = String::from_utf8(hashed).unwrap().matches("not on Mondays").count();
    assert_eq!(told, 1, "a hook's words are sealed");
    replays(&b);
}

/// Crash, timeout, nonsense: what a hook could not look at does not happen.
#[test]
fn a_hook_that_fails_or_cannot_be_understood_denies() {
    let answers = [
        failure(Class::Timeout, Landed::No),
        failure(Class::Unavailable, Landed::No),
        Ok(returned(json!({}))),
        Ok(returned(json!({"verdict": "allow"}))),
        Ok(returned(json!("pass"))),
        Ok(returned(Value::Null)),
    ];
    for answer in answers {
        let mut b = bench(vec![gate("check")]);
        b.world.script("hook.check", vec![answer.clone()]);
        b.start(Crash::Never);
        assert_eq!(calls(&b, "crm.set"), 0, "{answer:?}");
        assert_eq!(rejection(&b).unwrap().2, "hook.check");
        replays(&b);
    }
}

#[test]
fn a_hook_that_there_is_no_budget_for_denies() {
    let mut b = bench(vec![gate("check")]);
    say(&mut b, "check", json!({"verdict": "pass"}));
    b.header_mut().budget.calls_max = 0;
    b.start(Crash::Never);
    assert_eq!((calls(&b, "hook.check"), calls(&b, "crm.set")), (0, 0));
}

#[test]
fn a_hook_cannot_loosen_what_policy_decided() {
    let loosen = |rules: Rules| {
        let mut b = bench(vec![gate("check")]);
        say(&mut b, "check", json!({"verdict": "pass"}));
        b.rules = rules;
        b.start(Crash::Never);
        assert_eq!(calls(&b, "crm.set"), 0);
        b
    };
    let denied = loosen(Rules::default().deny("crm.set"));
    assert_eq!(calls(&denied, "hook.check"), 0, "what policy denies no hook is asked about");
    assert_eq!(rejection(&denied).unwrap().2, "deny");
    let asked = loosen(Rules::default().ask("crm.set", "finance", 1));
    let asks = asked.run.as_ref().unwrap().asks();
    assert_eq!(asks[0].requirement.approvals, [("finance".to_owned(), 1)].into());
}

#[test]
fn a_hook_that_asks_needs_a_person_beside_whomever_policy_needs() {
    let mut b = bench(vec![gate("check")]);
    say(&mut b, "check", json!({"verdict": "ask", "reason": "a large sum"}));
    b.start(Crash::Never);
    let ask = b.run.as_ref().unwrap().asks().remove(0);
    let decision = ask.action.decision.unwrap();
    assert_eq!(decision.rules[0].id, "hook.check");
    assert_eq!(decision.rules[0].layer, "operator");
    let (hook, why) = ask.action.hooks[0].clone();
    assert_eq!((hook.as_str(), &*why.value), ("hook.check", &json!("a large sum")));
    approve(&mut b);
    assert_eq!(b.run.as_ref().unwrap().status(), Status::Succeeded);
    assert_eq!((calls(&b, "hook.check"), calls(&b, "crm.set")), (1, 1), "it is asked once");
    replays(&b);

    let mut both = bench(vec![gate("check")]);
    both.rules = Rules::default().ask("crm.set", "finance", 1);
    say(&mut both, "check", json!({"verdict": "ask"}));
    both.start(Crash::Never);
    let needed = both.run.as_ref().unwrap().asks().remove(0).requirement.approvals;
    assert_eq!(needed, [("approver".to_owned(), 1), ("finance".to_owned(), 1)].into());
}

/// C087: hooks look at what was made of the call, too.
#[test]
fn an_edit_is_looked_at_again() {
    let mut b = bench(vec![gate("check")]);
    say(&mut b, "check", json!({"verdict": "ask"}));
    b.start(Crash::Never);
    let ask = b.run.as_ref().unwrap().asks().remove(0);
    let (approval, action) = (ask.id, ask.action.digest.unwrap());
    let (by, shown) = (person("person:lena", &["approver"]), Digest::default());
    let answer = Answer::Edit { args: Arc::new(json!({"id": 8})) };
    b.input(Input::Answer { approval, action, shown, by, answer }).unwrap();
    assert_eq!((calls(&b, "hook.check"), calls(&b, "crm.set")), (2, 0));
    approve(&mut b);
    assert_eq!(calls(&b, "crm.set"), 1);
    replays(&b);
}

#[test]
fn only_what_a_plan_says_is_looked_at_and_it_costs_nothing_otherwise() {
    let other = || hook("other", Moment::Before, &["mail.send"]);
    let (mut with, mut without) = (bench(vec![other()]), bench(vec![]));
    with.start(Crash::Never);
    without.start(Crash::Never);
    assert_eq!(with.kinds(), without.kinds());
    assert_eq!(calls(&with, "hook.other"), 0);
    assert!(!serde_json::to_string(&kernel_plan(&without)).unwrap().contains("hooks"));
}

fn kernel_plan(bench: &Bench) -> kernel::plan::Plan {
    (*bench.pins().plan).clone()
}

/// What hooks say about a result reaches whoever plans, with the label of all that the hook saw, and
/// changes nothing.
#[test]
fn what_is_said_about_a_result_is_told_and_changes_nothing() {
    let after = || vec![hook("audit", Moment::After, &["crm.set"])];
    let mut b = bench(after());
    say(&mut b, "audit", json!({"verdict": "deny", "told": "format it"}));
    b.world.script("crm.set", vec![Ok(returned(json!({"ok": true})))]);
    b.start(Crash::Never);
    let output = b.records.iter().find_map(|r| match &r.event.body {
        Body::Finished { output, end, .. } => Some((output.value(), *end)),
        _ => None,
    });
    assert_eq!(output, Some((Arc::new(json!({"ok": true})), End::Partial)));
    assert_eq!(caveats(&b)[0].text, "Verified: format it");
    let order = b.kinds();
    let ended = order.iter().position(|k| k == "returned").unwrap();
    assert_eq!(order[ended + 1], "proposed", "the hook looks before the receipt is written");
    replays(&b);

    let mut tainted = bench(after());
    say(&mut tainted, "audit", json!({"verdict": "pass", "told": "format it"}));
    let label = Label::new(Trust::Untrusted, Confidentiality::Internal);
    let answer = kernel::port::Returned {
        labels: LabelMap::uniform(label),
        ..returned(json!({"text": "from a stranger"}))
    };
    tainted.world.script("crm.set", vec![Ok(answer)]);
    tainted.start(Crash::Never);
    assert_eq!(caveats(&tainted)[0].text, "Untrusted: format it");

    let mut broken = bench(after());
    broken.world.script("hook.audit", vec![failure(Class::Timeout, Landed::No)]);
    broken.start(Crash::Never);
    assert_eq!(broken.run.as_ref().unwrap().status(), Status::Succeeded);
    assert!(caveats(&broken).is_empty());
}

#[test]
fn a_failure_is_looked_at_by_its_own_hooks() {
    let hooks = vec![
        hook("audit", Moment::After, &["crm.set"]),
        hook("mourn", Moment::Failure, &["crm.set"]),
    ];
    let mut b = bench(hooks);
    b.goes_on = true;
    b.world.script("crm.set", vec![failure(Class::Unavailable, Landed::No)]);
    say(&mut b, "mourn", json!({"verdict": "pass", "told": "try tomorrow"}));
    b.start(Crash::Never);
    assert_eq!((calls(&b, "hook.audit"), calls(&b, "hook.mourn")), (0, 1));
    let seen = b.records.iter().find_map(|r| match &r.event.body {
        Body::Proposed { operation, args, .. } if operation.as_str() == "hook.mourn" => {
            Some(args.value())
        }
        _ => None,
    });
    assert_eq!(seen.unwrap()["failed"], json!("unavailable"), "the class, and no text");
    assert!(caveats(&b)[0].text.ends_with("try tomorrow"));
    replays(&b);
}

/// Reads around an action are the harness's own; taking back is a call like others.
#[test]
fn taking_back_is_looked_at_and_images_are_not() {
    let set = restorable_set();
    let get = operation("crm.get", Effect::Read, Undo::None, Retry::Keyed);
    let run = |second: &str| {
        let steps = vec![proposal("set", "crm.set", json!({"value": "new"}))];
        let mut b = Bench::new(vec![set.clone(), get.clone()], steps, Rules::default());
        b.look(vec![hook("check", Moment::Before, &["crm.set", "crm.get"])]);
        b.world.script("crm.get", vec![Ok(returned(json!("record")))]);
        b.world.record = json!("original");
        let answers = ["pass", second].map(|v| Ok(returned(json!({"verdict": v}))));
        b.world.script("hook.check", answers.to_vec());
        b.start(Crash::Never);
        assert_eq!(calls(&b, "hook.check"), 1, "not at the image before, nor after");
        let (by, scope) = (person("person:lena", &[]), Scope::Run);
        b.input(Input::Rollback { by, scope, on_conflict: OnConflict::Refuse }).unwrap();
        assert_eq!(calls(&b, "hook.check"), 2);
        replays(&b);
        b.run.as_ref().unwrap().status()
    };
    assert_eq!(run("pass"), Status::RolledBack);
    assert_ne!(run("deny"), Status::RolledBack);
}

/// Every look and every call once, or again under its own name where the process died in between.
fn watched() -> Bench {
    let hooks = vec![gate("check"), gate("second"), hook("audit", Moment::After, &["crm.set"])];
    let mut b = bench(hooks);
    for name in ["check", "second"] {
        say(&mut b, name, json!({"verdict": "pass"}));
    }
    say(&mut b, "audit", json!({"verdict": "pass", "told": "well done"}));
    b
}

#[test]
fn a_run_that_stops_around_a_hook_goes_on_where_it_was() {
    let mut stops = 0;
    for n in 1..16 {
        for crash in [Crash::AfterAppend(n), Crash::AfterCall(n)] {
            let mut b = watched();
            if b.start(crash) {
                continue;
            }
            stops += 1;
            b.recover(Crash::Never).unwrap();
            assert_eq!(b.run.as_ref().unwrap().status(), Status::Partial, "{crash:?}");
            assert!(b.world.effects.values().all(|n| *n == 1), "{crash:?}: {:?}", b.world.effects);
            assert_eq!(caveats(&b).len(), 1, "told once: {crash:?}");
            replays(&b);
        }
    }
    assert!(stops >= 8, "stopped at {stops} places");
}

#[test]
fn a_hook_whose_process_died_is_asked_again_before_anything_happens() {
    let mut b = bench(vec![gate("check")]);
    say(&mut b, "check", json!({"verdict": "deny"}));
    assert!(!b.start(Crash::AfterCall(1)), "the hook answered, nobody wrote it down");
    b.recover(Crash::Never).unwrap();
    assert_eq!((calls(&b, "hook.check"), calls(&b, "crm.set")), (2, 0));
    replays(&b);
}

#[test]
fn a_run_cancelled_while_a_hook_looks_makes_no_call() {
    let mut b = bench(vec![gate("check")]);
    say(&mut b, "check", json!({"verdict": "pass"}));
    assert!(!b.start(Crash::AfterAppend(1)));
    b.run = Some(Run::fold(&b.records, b.pins()).unwrap());
    let (by, reason) = (person("person:lena", &[]), "enough".to_owned());
    b.input(Input::Cancel { by, reason }).unwrap();
    b.recover(Crash::Never).unwrap();
    assert_eq!(calls(&b, "crm.set"), 0);
    assert_eq!(b.run.as_ref().unwrap().status(), Status::Cancelled);
    replays(&b);
}

/// One stored event: its bytes as text and what opens it.
type Stored = (String, Vec<Option<kernel::sealed::Opening>>);

/// Machine versions that wrote runs with hooks.
const WROTE_HOOKS: [u32; 3] = [4, 5, MACHINE];

/// Holds a journal against the file of this name that today's machine writes, `GOLDEN_WRITE=1` writes it, and replays
/// those of earlier machines.
pub(crate) fn holds_golden(name: &str, b: &Bench) {
    let place = |machine: u32| {
        let file = format!("tests/golden/{name}-v1-m{machine}.json");
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
    };
    let today = |r: &Record| (String::from_utf8(r.bytes.clone()).unwrap(), r.openings());
    let today: Vec<Stored> = b.records.iter().map(today).collect();
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        let text = serde_json::to_string_pretty(&today).unwrap() + "\n";
        fs::write(place(MACHINE), text).unwrap();
    }
    for machine in WROTE_HOOKS {
        let text = fs::read_to_string(place(machine)).unwrap();
        let stored: Vec<Stored> = serde_json::from_str(&text).unwrap();
        assert!(machine != MACHINE || stored == today, "another format is written");
        let read = |(seq, (event, openings)): (usize, Stored)| {
            Record::read(seq as Seq, event.into_bytes(), openings).unwrap()
        };
        let records: Vec<Record> = stored.into_iter().enumerate().map(read).collect();
        let replayed = replay(&records, b.pins(), (&b.rules, &NoSchemas));
        assert!(replayed.is_ok(), "machine {machine}: {replayed:?}");
    }
}

#[test]
fn the_golden_journal_of_a_run_with_hooks_folds_and_replays() {
    let mut b = watched();
    b.start(Crash::Never);
    holds_golden("journal-hooks", &b);
}
