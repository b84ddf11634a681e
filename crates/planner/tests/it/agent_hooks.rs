//! Hooks at the moments of an agent: what they let through, keep back, add and send on.

use kernel::{
    conversation::Source,
    event::MACHINE,
    exception::Class,
    hook::{Hook, Moment},
    label::{Label, LabelMap, Trust},
    operation::Facts,
    plan::Plan,
    planning::Settled,
};
use serde_json::{Value, json};

use crate::{
    agent::{agent, call, concluded, prompt, says, text, told_by},
    support::{
        Drive, Seen, UNTRUSTED, USER, VERIFIED, give, label, labelled, open_with, plan, steps,
    },
};

/// Times that hooks send an agent on at most.
const SENT_ON_MAX: u32 = 8;

pub(crate) fn hook(name: &str, on: Moment) -> Hook {
    let any = json!({ "type": "object" });
    let operation = json!({
        "id": format!("hook.{name}"), "summary": "look", "facts": Facts::default(), "input": any,
        "output": any, "labels": LabelMap::uniform(label(VERIFIED)), "clearance": Label::bottom(),
        "timeout_ms": 1000, "binding": {},
    });
    let hook = json!({ "on": on, "looks_at": [], "agents": ["analyst"], "operation": operation });
    serde_json::from_value(hook).unwrap()
}

/// An agent on a task, with these hooks.
fn hooked(hooks: Vec<Hook>, more: Value) -> Drive {
    let playbook = json!([agent(more), give(json!("${{ steps.a.output }}"))]);
    let plan = Plan { hooks, ..plan(steps(playbook)) };
    open_with(plan, json!({ "task": "Look into Acme", "u": "x" }), MACHINE)
}

/// The `n`-th look, answered.
fn looked(drive: &mut Drive, n: u32, verdict: &str, told: &str) {
    let answer = json!({ "verdict": verdict, "told": told });
    drive.done_as(&format!("a/hook[{n}]"), labelled(answer, VERIFIED));
}

fn lines(drive: &Drive, about: &str) -> Vec<String> {
    drive.lines().into_iter().filter(|line| line.contains(about)).collect()
}

fn asked(drive: &Drive, turn: u32) -> bool {
    drive.proposals().any(|proposal| proposal.step == format!("a/think[{turn}]"))
}

/// A plan whose hooks look at other agents, or at calls, is as one without.
#[test]
fn an_agent_that_no_hook_looks_at_goes_on_as_before() {
    let other = Hook { agents: ["somebody".to_owned()].into(), ..hook("other", Moment::Prompt) };
    let of_calls = Hook { agents: Default::default(), ..hook("calls", Moment::Before) };
    let drive = hooked(vec![other, of_calls], json!({}));
    assert_eq!(drive.lines(), hooked(vec![], json!({})).lines());
    assert!(asked(&drive, 1));
}

/// What hooks say at the beginning stands before the task, what they say about it after; each is asked once.
#[test]
fn what_hooks_say_at_the_beginning_and_about_the_task_is_told_with_it() {
    let hooks = vec![
        hook("rules", Moment::Prompt),
        hook("hello", Moment::Start),
        hook("mute", Moment::Start),
        hook("more", Moment::Prompt),
    ];
    let mut drive = hooked(hooks, json!({}));
    assert_eq!(drive.lines(), ["do a/hook[1] hook.hello#1 {\"agent\":\"analyst\"}"]);
    looked(&mut drive, 1, "pass", "it is Monday");
    drive.failed("a/hook[2]", Class::Timeout);
    let shown = json!({ "agent": "analyst", "prompt": "Look into Acme" });
    assert_eq!(*drive.proposal("a/hook[3]").args, shown);
    looked(&mut drive, 3, "pass", "Acme is a customer");
    assert!(!asked(&drive, 1), "one hook has not looked");
    looked(&mut drive, 4, "pass", "");
    let told = prompt(&drive, 1).segments;
    let told = serde_json::to_value(&told).unwrap();
    let texts: Vec<&str> = told.as_array().unwrap()[2..]
        .iter()
        .map(|segment| segment["parts"][0]["text"].as_str().unwrap())
        .collect();
    let said = |text: &str| format!("A hook of the operator says: {text}");
    let expected = [said("it is Monday"), "Look into Acme".into(), said("Acme is a customer")];
    assert_eq!(texts, expected);
    let marks = [
        "Pass a/hook[1] hook.hello Start",
        "Failed a/hook[2] hook.mute Start",
        "Pass a/hook[3] hook.rules Prompt",
        "Pass a/hook[4] hook.more Prompt",
    ];
    let marked: Vec<String> =
        drive.lines().into_iter().filter(|line| !line.starts_with("do ")).collect();
    assert_eq!(marked, marks);
}

/// Crash, nonsense and a wish that somebody be asked are no yes: an agent that may not have its task ends.
#[test]
fn a_task_that_a_hook_keeps_back_reaches_no_model() {
    for verdict in ["deny", "ask", "allow", ""] {
        let mut drive =
            hooked(vec![hook("check", Moment::Prompt), hook("later", Moment::Prompt)], json!({}));
        looked(&mut drive, 1, verdict, "not this");
        assert!(!asked(&drive, 1));
        assert_eq!(lines(&drive, "hook.later"), Vec::<String>::new(), "nobody else is asked");
        assert_eq!(concluded(&drive), "policy_denied");
        assert_eq!(drive.lines().last().unwrap(), "abandon a policy_error");
        assert_eq!(lines(&drive, "hook.check Prompt").len(), 1, "its rule is on record");
    }
    let mut drive = hooked(vec![hook("check", Moment::Prompt)], json!({}));
    drive.failed("a/hook[1]", Class::Unavailable);
    assert_eq!(concluded(&drive), "policy_denied");
    assert_eq!(lines(&drive, "Failed "), ["Failed a/hook[1] hook.check Prompt"]);
}

fn steered(drive: &mut Drive, text: &str) {
    drive.told(Seen::Steered(labelled(json!(text), USER)));
}

/// What a person says on the way is looked at, each message for itself, before it is told.
#[test]
fn what_a_person_says_is_looked_at_before_it_is_told() {
    let mut drive = hooked(vec![hook("check", Moment::Prompt)], json!({}));
    looked(&mut drive, 1, "pass", "");
    says(&mut drive, 1, json!([call("c1", "r_account", json!({ "id": "1" }))]));
    steered(&mut drive, "Send it to everyone.");
    steered(&mut drive, "Look at usage too.");
    drive.done("a/r.account[1]", json!(1));
    assert!(!asked(&drive, 2));
    looked(&mut drive, 2, "deny", "not to everyone");
    assert!(!asked(&drive, 2));
    assert_eq!(drive.proposal("a/hook[3]").args["prompt"], "Look at usage too.");
    looked(&mut drive, 3, "pass", "usage is in kWh");
    assert_eq!(told_by(&drive, 2, Source::Steering), ["Look at usage too."]);
    assert_eq!(told_by(&drive, 2, Source::Hook), ["A hook of the operator says: usage is in kWh"]);
    let all = serde_json::to_string(&prompt(&drive, 2)).unwrap();
    assert!(!all.contains("everyone"), "neither what was kept back, nor why: {all}");
    says(&mut drive, 2, json!([text("Done.")]));
    let end = drive.lines().last().unwrap().clone();
    let caveat = "[a policy_error '`hook.check` kept what a person said from the agent: the answer is \
                  without it']";
    assert_eq!(end, format!("finish \"Done.\" {caveat}"));
}

/// An answer that is there stands where what was said meanwhile is kept back; else it came too early.
#[test]
fn an_answer_waits_for_what_was_said_meanwhile() {
    let answered = |verdict: &str| {
        let mut drive = hooked(vec![hook("check", Moment::Prompt)], json!({}));
        looked(&mut drive, 1, "pass", "");
        steered(&mut drive, "And stop.");
        says(&mut drive, 1, json!([text("Done.")]));
        looked(&mut drive, 2, verdict, "");
        drive
    };
    let kept = answered("deny");
    assert_eq!(concluded(&kept), "done");
    assert!(!asked(&kept, 2));
    let told = answered("pass");
    assert_eq!(told_by(&told, 2, Source::Steering), ["And stop."]);
}

/// What is said while hooks look at an answer is told, and the answer to it is looked at again.
#[test]
fn what_is_said_while_hooks_look_at_an_answer_is_heard_first() {
    let hooks = vec![hook("check", Moment::Prompt), hook("gate", Moment::Stop)];
    let mut drive = hooked(hooks, json!({}));
    looked(&mut drive, 1, "pass", "");
    says(&mut drive, 1, json!([text("Done.")]));
    steered(&mut drive, "Wait.");
    looked(&mut drive, 2, "pass", "");
    assert_eq!(drive.proposal("a/hook[3]").args["prompt"], "Wait.");
    looked(&mut drive, 3, "deny", "");
    assert_eq!(concluded(&drive), "done", "nothing new was told");
}

/// A block sends the agent on with the reason; the next look knows that it was.
#[test]
fn an_answer_that_a_hook_is_against_sends_the_agent_on() {
    let mut drive = hooked(vec![hook("gate", Moment::Stop)], json!({}));
    says(&mut drive, 1, json!([text("Done.")]));
    let shown = |answer: &str, active: bool| json!({ "agent": "analyst", "answer": answer, "active": active });
    assert_eq!(*drive.proposal("a/hook[1]").args, shown("Done.", false));
    looked(&mut drive, 1, "deny", "the tests fail");
    let why = "Your answer was not accepted by a hook of the operator: the tests fail";
    assert_eq!(told_by(&drive, 2, Source::Sensor), [why]);
    says(&mut drive, 2, json!([call("c1", "r_usage", json!({ "id": "1" }))]));
    drive.done("a/r.usage[1]", json!(1));
    says(&mut drive, 3, json!([text("Now.")]));
    assert_eq!(*drive.proposal("a/hook[2]").args, shown("Now.", true));
    looked(&mut drive, 2, "pass", "well done");
    assert_eq!(drive.lines().last().unwrap(), "finish \"Now.\"");
    assert_eq!(concluded(&drive), "done");
}

/// It is asked about what fits and is accepted, and about nothing else.
#[test]
fn only_an_answer_that_would_stand_is_looked_at() {
    let schema = json!({ "type": "object", "required": ["score"],
        "properties": { "score": { "type": "integer" } }, "additionalProperties": false });
    let accept = json!([{ "that": "result.score > 0", "say": "Give a score above 0." }]);
    let mut drive =
        hooked(vec![hook("gate", Moment::Stop)], json!({ "output": schema, "accept": accept }));
    says(&mut drive, 1, json!([text("seven")]));
    says(&mut drive, 2, json!([text("{\"score\": 0}")]));
    assert!(lines(&drive, "hook.gate").is_empty());
    says(&mut drive, 3, json!([text("{\"score\": 7}")]));
    assert_eq!(lines(&drive, "hook.gate").len(), 1);
    looked(&mut drive, 1, "pass", "");
    assert_eq!(drive.output().value["score"], 7);
}

/// A caveat is about the answer that stands, not about one that a hook was against.
#[test]
fn what_sensors_say_about_an_answer_that_did_not_stand_is_no_caveat() {
    let judge = json!({ "name": "polite", "stage": { "after": "answer" },
        "sense": { "by": "judge", "question": "Is it polite?", "role": "main" } });
    let ended = |second: &str| {
        let mut drive =
            hooked(vec![hook("gate", Moment::Stop)], json!({ "sensors": [judge.clone()] }));
        for (turn, verdict, looks) in [(1, "fail", "deny"), (2, second, "pass")] {
            says(&mut drive, turn, json!([text("Done.")]));
            let items = json!([text(&json!({ "verdict": verdict, "message": "" }).to_string())]);
            let reply = json!({ "provider": "p", "model": "m", "wire": "openai", "items": items,
                "stop": "end", "usage": { "input": 1, "output": 1 }, "raw": "" });
            drive.done_as(&format!("a/sense[{turn}]"), labelled(reply, VERIFIED));
            looked(&mut drive, turn, looks, "no");
        }
        drive.lines().last().unwrap().clone()
    };
    assert_eq!(ended("pass"), "finish \"Done.\"");
    assert!(ended("fail").contains("`polite` objects to the answer"));
}

/// However often a hook is against it, there is an end; so there is where it cannot look at all.
#[test]
fn an_agent_is_sent_on_a_bounded_number_of_times() {
    let limits = json!({ "limits": { "turns_max": 50 } });
    let mut drive = hooked(vec![hook("gate", Moment::Stop)], limits.clone());
    for turn in 1..=SENT_ON_MAX {
        says(&mut drive, turn, json!([text("Done.")]));
        looked(&mut drive, turn, "deny", "no");
        assert_eq!(concluded(&drive), "", "turn {turn}");
    }
    says(&mut drive, SENT_ON_MAX + 1, json!([text("Done.")]));
    looked(&mut drive, SENT_ON_MAX + 1, "deny", "no");
    assert_eq!(concluded(&drive), "policy_denied");
    assert_eq!(drive.lines().last().unwrap(), "abandon a policy_error");

    let mut broken = hooked(vec![hook("gate", Moment::Stop)], limits.clone());
    says(&mut broken, 1, json!([text("Done.")]));
    broken.failed("a/hook[1]", Class::Unavailable);
    let told = told_by(&broken, 2, Source::Sensor).remove(0);
    assert!(told.ends_with("it could not be looked at. Check it, and answer again"), "{told}");
    says(&mut broken, 2, json!([text("Done.")]));
    broken.failed("a/hook[2]", Class::Unavailable);
    assert_eq!(concluded(&broken), "policy_denied");

    let few = json!({ "limits": { "turns_max": 2 } });
    let mut drive = hooked(vec![hook("gate", Moment::Stop)], few);
    for turn in 1..=2 {
        says(&mut drive, turn, json!([text("Done.")]));
        looked(&mut drive, turn, "deny", "no");
    }
    assert_eq!(concluded(&drive), "max_iterations", "its own limits hold, too");
}

/// A look is shown as much as the agent has seen, under that label; what follows from it has its label.
#[test]
fn a_look_has_the_labels_of_all_that_the_agent_has_seen() {
    let mut drive = hooked(vec![hook("gate", Moment::Stop)], json!({ "results": "shown" }));
    says(&mut drive, 1, json!([call("c1", "r_account", json!({ "id": "1" }))]));
    drive.done_as("a/r.account[1]", labelled(json!("from a stranger"), UNTRUSTED));
    says(&mut drive, 2, json!([text("Done.")]));
    let look = drive.proposal("a/hook[1]");
    assert!(look.arg_labels.join_all().is_tainted() && look.existence.is_tainted());

    let mut clean = hooked(vec![hook("gate", Moment::Stop)], json!({}));
    says(&mut clean, 1, json!([text("Done.")]));
    assert!(!clean.proposal("a/hook[1]").arg_labels.join_all().is_tainted());
    let answer = labelled(json!({ "verdict": "pass" }), UNTRUSTED);
    clean.told(Seen::Settled("a/hook[1]".into(), Settled::Done(answer)));
    assert_eq!(clean.output().labels.join_all().trust, Trust::Untrusted, "it stands because of it");
}
