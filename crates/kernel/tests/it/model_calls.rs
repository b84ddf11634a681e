//! Model calls walk the gate like everything else; what is different about them is what a turn costs.

use std::sync::Arc;

use kernel::{
    action::Proposal,
    budget::Budget,
    event::Body,
    exception::{Class, Landed},
    id::Digest,
    input::Input,
    label::{Confidentiality, Label, LabelMap, Trust},
    operation::{Effect, Operation, Retry, Undo},
    run::{Run, Status, replay},
};
use serde_json::json;
use testkit::{Bench, Crash, NoSchemas, Rules, clean, failure, operation, person, proposal};

fn model() -> Operation {
    operation("model.main", Effect::Read, Undo::None, Retry::Never)
}

/// A prompt of a conversation, shown under this label.
fn says(step: &str, turn: u32, label: Label) -> Proposal {
    let args =
        json!({ "conversation": "c#1", "turn": turn, "segments": [], "output_tokens_max": 9 });
    let mut prompt = proposal(step, "model.main", args);
    prompt.arg_labels = LabelMap::uniform(label);
    prompt
}

fn bench(prompts: Vec<Proposal>) -> Bench {
    Bench::new(vec![model()], prompts, Rules::default())
}

fn count(b: &Bench, kind: &str) -> usize {
    b.kinds().iter().filter(|known| *known == kind).count()
}

fn ends(b: &Bench) -> Status {
    let folded = Run::fold(&b.records, b.pins()).unwrap();
    assert_eq!(folded.status(), b.run.as_ref().unwrap().status());
    replay(&b.records, b.pins(), (&b.rules, &NoSchemas)).unwrap();
    folded.status()
}

#[test]
fn a_model_is_judged_again_when_what_it_is_shown_changes() {
    let tainted = Label::new(Trust::Untrusted, Confidentiality::Internal);
    let secret = Label::new(Trust::Untrusted, Confidentiality::Secret);
    let labels = [clean(), clean(), tainted.clone(), tainted, secret.clone(), secret];
    let prompts = labels.into_iter().zip(0_u32..).map(|(l, n)| says(&format!("s{n}"), n, l));
    let mut b = bench(prompts.collect());
    b.start(Crash::Never);
    assert_eq!(ends(&b), Status::Succeeded);
    assert_eq!((count(&b, "dispatched"), count(&b, "judged")), (6, 3));
    assert_eq!(count(&b, "receipted"), 0, "what a model says has no effect of its own");
}

#[test]
fn a_model_is_judged_again_under_another_policy() {
    let mut b = bench(vec![says("a", 0, clean()), says("b", 1, clean()), says("c", 2, clean())]);
    // Parked after the first call, so that something can come in between.
    b.world.script("model.main", vec![Ok(testkit::returned(json!({})))]);
    b.start(Crash::AfterCall(2));
    b.recover(Crash::AfterCall(3)).unwrap();
    let judged = count(&b, "judged");
    b.recover(Crash::Never).unwrap();
    assert_eq!(judged, 1);
    assert_eq!(ends(&b), Status::Succeeded);

    let mut b = bench(vec![says("a", 0, clean()), says("b", 1, clean())]);
    b.start(Crash::AfterCall(1));
    b.rules = Rules::default().deny("model.main");
    // The crash lost the answer: the call is made again, as every read is. Then the policy is another.
    b.recover(Crash::AfterAppend(2)).unwrap();
    let run = Run::fold(&b.records, b.pins()).unwrap();
    b.run = Some(run);
    b.input(Input::PolicyChanged { digest: Digest::of(b"other") }).unwrap();
    b.recover(Crash::Never).unwrap();
    let rejected = b.records.iter().any(|record| {
        matches!(&record.event.body, Body::Rejected { class: Class::PolicyError, .. })
    });
    assert!(rejected, "{:?}", b.kinds());
}

/// Each call is handed its conversation: what was said before, shared, and its own prompt last.
#[test]
fn a_conversation_is_a_thread_of_what_was_said() {
    let mut again = says("d", 0, clean());
    again.args = Arc::new(json!({
        "conversation": "c#1", "turn": 0, "segments": [], "output_tokens_max": 9,
    }));
    let prompts = vec![says("a", 0, clean()), says("b", 1, clean()), says("c", 2, clean()), again];
    let mut b = bench(prompts.clone());
    b.start(Crash::Never);
    assert_eq!(b.world.threads, [1, 3, 5, 1], "turn 0 begins a conversation anew");
    // A new process that folds the journal hands out the same.
    let mut b = bench(prompts);
    b.start(Crash::AfterCall(2));
    b.recover(Crash::Never).unwrap();
    assert_eq!(b.world.threads, [1, 3, 3, 5, 1], "the call without an answer is made again");
}

#[test]
fn a_model_that_fails_says_nothing_and_is_told() {
    let mut b = bench(vec![says("a", 0, clean()), says("b", 0, clean())]);
    b.goes_on = true;
    b.world.script("model.main", vec![failure(Class::RateLimit, Landed::No)]);
    b.start(Crash::Never);
    ends(&b);
    assert_eq!(b.world.threads, [1, 1], "what failed is no part of the conversation");
    assert_eq!(count(&b, "receipted"), 0);
}

/// Model calls have a bound of their own, and none of them counts as a call to a system.
#[test]
fn model_calls_stop_exactly_at_their_bound() {
    let prompts: Vec<_> = (0..4).map(|n| says(&format!("s{n}"), n, clean())).collect();
    let mut b = bench(prompts);
    b.header_mut().budget = Budget { calls_max: 0, model_calls_max: Some(2), ..Budget::default() };
    b.start(Crash::Never);
    assert_eq!(count(&b, "dispatched"), 2);
    assert_eq!(ends(&b), Status::Failed);
}

/// Only people steer, and what they say is a person's word.
#[test]
fn people_steer_and_agents_do_not() {
    let mut b = bench(vec![says("a", 0, clean())]);
    b.rules = Rules::default().ask("model.main", "approver", 1);
    b.start(Crash::Never);
    let text = "look at usage too".to_owned();
    let steer = |by| Input::Steer { by, text: text.clone() };
    let mut agent = person("agent:other", &[]);
    agent.kind = kernel::principal::Kind::Agent;
    b.input(steer(agent)).unwrap_err();
    b.input(Input::Steer { by: person("person:mira", &[]), text: String::new() }).unwrap_err();
    b.input(steer(person("person:mira", &[]))).unwrap();
    let steered = b.records.iter().find_map(|record| match &record.event.body {
        Body::Steered { text, .. } => Some(text.clone()),
        _ => None,
    });
    let steered = steered.unwrap();
    assert_eq!(*steered.value(), json!(text));
    assert_eq!(steered.labels().whole.trust, Trust::User);
    replay(&b.records, b.pins(), (&b.rules, &NoSchemas)).unwrap();
}
