//! Looks of hooks at moments of an agent: calls in the pipeline like every other, at the place that the plan
//! has for them and at no other.

use kernel::{
    event::{Body, Role, Stage},
    exception::Class,
    hook::{Hook, Moment, Opinion},
    planning::Mark,
    run::{Status, replay},
};
use serde_json::json;
use testkit::{Bench, Crash, NoSchemas, Rules, agent_hook, hook, proposal, returned};

use crate::hooks::holds_golden;

const LOOK: &str = "a/hook[1]";

/// An agent at step `a`, of which somebody wants this look.
fn bench(step: &str, hooks: Vec<Hook>) -> Bench {
    let steps = vec![proposal(step, "hook.check", json!({"agent": "analyst", "prompt": "hi"}))];
    let mut bench = Bench::new(Vec::new(), steps, Rules::default().deny("hook.check"));
    bench.with_agent("a", "analyst");
    bench.look(hooks);
    bench.world.script("hook.check", vec![Ok(returned(json!({"verdict": "pass"})))]);
    bench
}

fn check(on: Moment) -> Hook {
    agent_hook("check", on, &["analyst"])
}

/// That it may look is the operator's configuration: no grant holds it, and no policy is asked.
#[test]
fn a_look_at_an_agent_is_a_call_of_its_step() {
    for on in [Moment::Start, Moment::Prompt, Moment::Stop] {
        let mut b = bench(LOOK, vec![check(on)]);
        b.header_mut().grant.operations.clear();
        assert!(b.start(Crash::Never));
        let each = ["opened", "proposed", "judged", "dispatched", "returned", "receipted"];
        assert_eq!(b.kinds(), [&each[..], &["finished", "closed"]].concat());
        let decided = b.records.iter().find_map(|r| match &r.event.body {
            Body::Judged { decision, .. } => Some(decision.rules[0].clone()),
            _ => None,
        });
        let rule = decided.unwrap();
        assert_eq!((&*rule.layer, &*rule.id), ("operator", "hook.check"));
        let role = b.records.iter().find_map(|r| match &r.event.body {
            Body::Proposed { because, .. } => Some(because.clone()),
            _ => None,
        });
        assert_eq!(role, Some(Role::Step));
        assert_eq!(b.world.calls["hook.check"], 1);
        assert_eq!(b.run.as_ref().unwrap().status(), Status::Succeeded);
        assert!(replay(&b.records, b.pins(), (&b.rules, &NoSchemas)).is_ok());
    }
}

#[test]
fn a_look_counts_against_the_budget() {
    let mut b = bench(LOOK, vec![check(Moment::Prompt)]);
    b.header_mut().budget.calls_max = 0;
    b.start(Crash::Never);
    assert!(!b.world.calls.contains_key("hook.check"));
    assert_eq!(rejection(&b), Some((Stage::Budget, Class::Budget)));
}

fn rejection(bench: &Bench) -> Option<(Stage, Class)> {
    bench.records.iter().find_map(|r| match &r.event.body {
        Body::Rejected { stage, class, .. } => Some((*stage, *class)),
        _ => None,
    })
}

/// A hook is no tool: elsewhere, of another agent, or of calls, there is no such operation, and the run stops.
#[test]
fn whoever_plans_cannot_call_a_hook_as_it_likes() {
    let somebody = agent_hook("check", Moment::Prompt, &["somebody"]);
    let of_calls = Hook { agents: ["analyst".into()].into(), ..hook("check", Moment::Before, &[]) };
    for (step, hooks) in [
        ("a", vec![check(Moment::Prompt)]),
        ("a/tool[1]", vec![check(Moment::Prompt)]),
        ("b/hook[1]", vec![check(Moment::Prompt)]),
        (LOOK, vec![somebody]),
        (LOOK, vec![of_calls]),
        (LOOK, vec![]),
    ] {
        let mut b = bench(step, hooks);
        b.start(Crash::Never);
        assert!(!b.world.calls.contains_key("hook.check"), "{step}");
        assert_eq!(rejection(&b), Some((Stage::Unknown, Class::UnknownField)), "{step}");
    }
}

/// Every look once, or again where the process died before its answer was written down.
#[test]
fn a_run_that_stops_around_a_look_goes_on_where_it_was() {
    let mut stops = 0;
    for n in 1..6 {
        for crash in [Crash::AfterAppend(n), Crash::AfterCall(n)] {
            let mut b = bench(LOOK, vec![check(Moment::Stop)]);
            if b.start(crash) {
                continue;
            }
            stops += 1;
            b.recover(Crash::Never).unwrap();
            assert_eq!(b.run.as_ref().unwrap().status(), Status::Succeeded, "{crash:?}");
            assert!(replay(&b.records, b.pins(), (&b.rules, &NoSchemas)).is_ok());
        }
    }
    assert!(stops >= 2, "stopped at {stops} places");
}

#[test]
fn the_golden_journal_of_a_run_with_a_look_at_an_agent_folds_and_replays() {
    let mut b = bench(LOOK, vec![check(Moment::Prompt)]);
    b.start(Crash::Never);
    holds_golden("journal-agent-hooks", &b);
}

/// What is stored keeps its form; a hook that looks at calls is written as before there were others.
#[test]
fn marks_and_hooks_are_written_as_they_are_read() {
    let hook_of_calls = serde_json::to_value(hook("check", Moment::Before, &["crm.set"])).unwrap();
    assert!(hook_of_calls.get("agents").is_none());
    let written = json!({"mark": "looked", "hook": "hook.check", "on": "prompt", "said": "deny"});
    let (on, said) = (Moment::Prompt, Opinion::Deny);
    let mark = Mark::Looked { hook: "hook.check".parse().unwrap(), on, said };
    assert_eq!(serde_json::to_value(&mark).unwrap(), written);
    assert_eq!(serde_json::from_value::<Mark>(written).unwrap(), mark);
}
