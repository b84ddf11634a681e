//! What an agent may spend: money and time stop it exactly at their bound.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicUsize, Ordering},
};

use embed::{Agent, Budget, Builder, Class, Limits, Outcome, Status, StopReason, Tool, World};
use kernel::{
    event::Body,
    input::Now,
    money::{Currency, Money},
};
use models::{Line, Price, ScriptedModel, Terms};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

/// A clock that moves only when somebody moves it.
#[derive(Debug, Default)]
struct Hands(AtomicI64);

impl engine::Clock for Hands {
    fn now(&self) -> Now {
        let at = self.0.load(Ordering::SeqCst);
        Now { at: 1_800_000_000_000 + at, boot_ms: 1_000_000 + at.unsigned_abs() }
    }
}

#[derive(Deserialize, JsonSchema)]
struct Args {
    n: u32,
}

/// What moves the clock by 100 ms with each call.
fn work(clock: &Arc<Hands>) -> Tool {
    let clock = Arc::clone(clock);
    let work = Tool::new("work", "Works for a while.", move |args: Args| {
        clock.0.fetch_add(100, Ordering::SeqCst);
        async move { Ok::<_, String>(args.n) }
    });
    work.reads().verified()
}

/// A model that calls so many times before it answers, and how often it was asked.
fn model(calls: u32) -> (ScriptedModel, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let model = ScriptedModel::new("script", move |_, prompt| {
        count.fetch_add(1, Ordering::SeqCst);
        match prompt.turn {
            turn if turn < calls => Ok(Line::call(&turn.to_string(), "work", json!({ "n": turn }))),
            _ => Ok(Line::text("Worked.")),
        }
    });
    (model, asked)
}

async fn run(builder: Builder, clock: &Arc<Hands>) -> Outcome {
    let world = World::default().at(Arc::clone(clock) as Arc<dyn engine::Clock>);
    let agent = builder.tool(work(clock)).world(world).build().unwrap();
    let outcome = agent.run("Work").await.unwrap();
    agent.replay(&outcome.records).await.unwrap();
    outcome
}

fn euros(minor: i64) -> Money {
    Money { minor, currency: Currency::parse("EUR").unwrap() }
}

/// Each answer reads ten tokens and writes five, at a cent each, of which no answer can read or write more than these.
async fn run_for(calls: u32, cents: i64, (read_max, written_max): (u64, u32)) -> (Outcome, usize) {
    let a_cent_each = || "10000".parse().unwrap();
    let price = Price {
        currency: euros(0).currency,
        input: a_cent_each(),
        cached: None,
        cache_written: None,
        output: a_cent_each(),
    };
    let terms = Terms {
        price: Some(price),
        context_tokens_max: Some(read_max),
        output_tokens_max: Some(written_max),
        ..Terms::own()
    };
    let (model, asked) = model(calls);
    let budget = Budget { cost_max: Some(euros(cents)), ..Budget::default() };
    let builder = Agent::builder().model_on(Arc::new(model), terms).budget(budget);
    let outcome = run(builder, &Arc::default()).await;
    (outcome, asked.load(Ordering::SeqCst))
}

/// C066: the price of what a model says counts against the money of the run. What fits to the cent is asked,
/// and for a cent less nobody is.
#[tokio::test]
async fn money_stops_an_agent_exactly_at_its_bound() {
    // What is put aside for a call is what it costs.
    let exact = (10, 5);
    let (outcome, asked) = run_for(3, 60, exact).await;
    assert_eq!((outcome.stop, outcome.text(), asked), (Some(StopReason::Done), "Worked.", 4));
    let (outcome, asked) = run_for(3, 59, exact).await;
    assert_eq!((outcome.stop, outcome.status), (Some(StopReason::Budget), Status::Failed));
    assert_eq!((asked, outcome.spent.turns, outcome.answer()), (3, 3, None));
    for (cents, turns) in [(45, 3), (44, 2), (14, 0)] {
        let (outcome, asked) = run_for(50, cents, exact).await;
        assert_eq!((outcome.stop, asked), (Some(StopReason::Budget), turns), "{cents} cents");
    }
    // Twenty-five are put aside, and ten of them are given back: the price counts, not the most that it could be.
    for (cents, turns) in [(55, 3), (54, 2), (40, 2), (39, 1), (24, 0)] {
        let (outcome, asked) = run_for(50, cents, (20, 5)).await;
        assert_eq!((outcome.stop, asked), (Some(StopReason::Budget), turns), "{cents} cents");
    }
}

async fn run_until(limit_ms: i64) -> Outcome {
    let limits = Limits { wall_max_ms: limit_ms, turns_max: 20, ..Limits::default() };
    run(Agent::builder().model(model(10).0).limits(limits), &Arc::default()).await
}

/// C066: an agent whose time is up is stopped before it asks its model again, at the very millisecond.
#[tokio::test]
async fn time_stops_an_agent_exactly_at_its_bound() {
    for (limit_ms, turns) in [(300, 3), (301, 4), (1, 1), (100, 1), (101, 2)] {
        let outcome = run_until(limit_ms).await;
        assert_eq!((outcome.stop, outcome.status), (Some(StopReason::Budget), Status::Failed));
        assert_eq!(outcome.spent.turns, turns, "{limit_ms} ms");
    }
    let outcome = run_until(1_001).await;
    assert_eq!((outcome.stop, outcome.text()), (Some(StopReason::Done), "Worked."));
}

/// C066: so is a run, whatever its agent may: it ends where its time does, with a reason.
#[tokio::test]
async fn time_stops_a_run_exactly_at_its_bound() {
    let run_within = |wall_max_ms: i64| async move {
        let clock = Arc::new(Hands::default());
        let (model, asked) = model(4);
        let budget = Budget { wall_max_ms, ..Budget::default() };
        let outcome = run(Agent::builder().model(model).budget(budget), &clock).await;
        (outcome, asked.load(Ordering::SeqCst))
    };
    let (outcome, asked) = run_within(401).await;
    assert_eq!((outcome.status, outcome.text(), asked), (Status::Succeeded, "Worked.", 5));
    let (outcome, asked) = run_within(400).await;
    assert_eq!((outcome.status, outcome.answer(), asked), (Status::Failed, None, 4));
    let abandoned = outcome.records.iter().filter_map(|record| match &record.event.body {
        Body::Abandoned { class, .. } => Some(*class),
        _ => None,
    });
    assert_eq!(abandoned.collect::<Vec<_>>(), [Class::Budget]);
}
