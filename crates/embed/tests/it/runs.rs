//! Runs: failures as outcomes, answers with types, limits, clocks, stores, taking back.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use embed::{
    Agent, Answer, Class, Confidentiality, Error, Failed, Happening, Limits, Outcome, Results,
    Settlement, Status, StopReason, Tool, World, person, tool,
};
use kernel::{exception::Need, input::Now};
use models::{ApiKind, Key, Line, Models, Role, Terms};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::support::{agent, call_and_answer, script};

const ALL: &str = "@id(\"all\") permit (principal, action, resource);";

/// Breaks.
#[tool(egress = false)]
async fn break_async(why: String) -> String {
    panic!("{why}")
}

/// Breaks on a thread that may block.
#[tool(effect = "read", egress = false)]
fn break_blocking() -> String {
    panic!("a broken tool")
}

/// Never ends.
#[tool(effect = "read", egress = false, timeout_ms = 20)]
async fn wait_forever() -> String {
    std::future::pending().await
}

/// Charges a card.
#[tool(egress = false)]
async fn charge(amount: u32) -> Result<u32, Failed> {
    match amount {
        0 => Err(Failed::nothing_happened(Class::InvalidArguments, "nothing to charge")),
        1 => Err(Failed::unknown(Class::Unavailable, "the line broke")),
        _ => Ok(amount),
    }
}

async fn run(tool: Tool, args: serde_json::Value) -> (Outcome, Vec<(String, bool)>) {
    let (builder, told) = agent(call_and_answer(tool.name(), args));
    let builder = builder.tool(tool).policy(ALL).approver(|_| async { Answer::approve() });
    let outcome = builder.build().unwrap().run("Do it").await.unwrap();
    (outcome, told.results())
}

#[tokio::test]
async fn a_panic_in_a_read_is_told_and_the_run_goes_on() {
    let (outcome, told) = run(Tool::of::<break_blocking>(), json!({})).await;
    // What the answer is without, it says.
    assert_eq!((outcome.status, outcome.text()), (Status::Partial, "Finished."));
    assert!(outcome.caveats[0].text.contains("`break_blocking` failed"), "{:?}", outcome.caveats);
    assert!(told[0].1 && told[0].0.contains("cannot be reached"), "{told:?}");
}

#[tokio::test]
async fn a_panic_in_a_write_is_in_doubt_and_a_person_looks_into_it() {
    let (outcome, _) = run(Tool::of::<break_async>(), json!({ "why": "a broken tool" })).await;
    assert_eq!(outcome.status, Status::NeedsPerson);
    assert_eq!(outcome.exceptions.len(), 1, "{:?}", outcome.exceptions);
    assert!(matches!(outcome.exceptions[0].need, Need::InDoubt), "{:?}", outcome.exceptions);
    assert!(outcome.answer().is_none() && outcome.stop.is_none());
}

#[tokio::test]
async fn a_person_settles_a_doubt_and_the_run_goes_on() {
    let (builder, told) = agent(call_and_answer("charge", json!({ "amount": 1 })));
    let builder = builder.tool(Tool::of::<charge>()).policy(ALL);
    let agent = builder.approver(|_| async { Answer::approve() }).build().unwrap();
    let outcome = agent.run("Charge it").await.unwrap();
    assert_eq!(outcome.status, Status::NeedsPerson);
    let doubt = outcome.exceptions[0].id.clone();
    let stranger = person("person:eve", &[]).unwrap();
    let refused = agent
        .settle(outcome.clone(), &doubt, Settlement::DidNotHappen, (stranger, "a guess"))
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Answer { .. }), "{refused}");
    let mira = person("person:mira", &["operator"]).unwrap();
    let how = (mira, "the bank's books");
    let outcome = agent.settle(outcome, &doubt, Settlement::Happened, how).await.unwrap();
    assert_eq!((outcome.status, outcome.text()), (Status::Succeeded, "Finished."));
    assert_eq!(told.results().len(), 1);
    let report = agent.verify(&outcome).await.unwrap();
    assert_eq!(report.verdict, receipts::verify::Verdict::Verified, "{report:?}");
}

/// How often the hanging read was called.
static HUNG: AtomicI64 = AtomicI64::new(0);

/// Hangs when it is called for the first time.
#[tool(effect = "read", egress = false)]
async fn hang_once() -> String {
    if HUNG.fetch_add(1, Ordering::SeqCst) == 0 {
        std::future::pending::<()>().await;
    }
    "read".to_owned()
}

#[test]
fn what_a_process_left_behind_the_next_one_finishes() {
    let store = Arc::new(store::Ram::new());
    let agent = || {
        // It answers by what it was told, as a real model does: both processes ask the same.
        let answer = |_: usize, prompt: &kernel::conversation::Prompt| match prompt.turn {
            0 => Ok(Line::call("1", "hang_once", json!({}))),
            _ => Ok(Line::text("Finished.")),
        };
        let builder = Agent::builder().model(models::ScriptedModel::new("same", answer));
        builder.tool(Tool::of::<hang_once>()).store(Arc::clone(&store)).build().unwrap()
    };
    let start = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = start();
    first.block_on(async {
        let running = agent();
        tokio::spawn(async move { running.run("Read it").await });
        while HUNG.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    });
    drop(first);
    start().block_on(async {
        let next = agent();
        let finished = async {
            loop {
                let filter = store::RunFilter::default();
                let tenant = kernel::id::Tenant::default();
                let runs =
                    store::Query::runs(&*store, &tenant, filter, store::Page::default()).await;
                let runs = runs.unwrap();
                let row = runs.items[0].row.clone().unwrap();
                if row.status.is_over() {
                    return row.status;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = next.serve() => unreachable!("it serves until dropped"),
            status = finished => assert_eq!(status, Status::Succeeded),
        }
    });
    assert_eq!(HUNG.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_tool_that_is_out_of_time_has_failed() {
    let (outcome, told) = run(Tool::of::<wait_forever>(), json!({})).await;
    assert_eq!(outcome.text(), "Finished.");
    assert!(told[0].0.contains("took too long"), "{told:?}");
}

#[tokio::test]
async fn a_write_that_says_that_nothing_happened_is_no_doubt() {
    let (outcome, told) = run(Tool::of::<charge>(), json!({ "amount": 0 })).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert!(told[0].0.contains("arguments are not valid"), "{told:?}");
    let (outcome, _) = run(Tool::of::<charge>(), json!({ "amount": 1 })).await;
    assert_eq!(outcome.status, Status::NeedsPerson, "one that does not say so is");
    let (outcome, told) = run(Tool::of::<charge>(), json!({ "amount": 7 })).await;
    assert_eq!((outcome.status, outcome.receipts.len()), (Status::Succeeded, 2));
    assert!(told[0].0.contains("$result"), "an untrusted result of a tool that writes is a handle");
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
struct Verdict {
    good: bool,
    reasons: Vec<String>,
}

/// C033: an answer is a Rust type; what is none is sent back.
#[tokio::test]
async fn an_answer_has_the_type_that_is_asked_for() {
    let lines = vec![
        Line::text("Good!"),
        Line::text("```json\n{\"good\": true, \"reasons\": [\"a\"]}\n```"),
    ];
    let (builder, told) = agent(lines);
    let agent = builder.build().unwrap();
    let outcome = agent.run_as::<Verdict>("Is it good?").await.unwrap();
    assert_eq!(outcome.answer(), Some(&Verdict { good: true, reasons: vec!["a".to_owned()] }));
    assert!(outcome.is_done() && outcome.spent.turns == 2);
    assert!(told.text().contains("Your answer must be JSON"), "the first answer was sent back");
    let trusted = outcome.trusted().unwrap();
    assert!(trusted.good, "nothing untrusted had a part in it");
}

#[tokio::test]
async fn an_answer_that_never_fits_is_an_outcome() {
    let lines = (0..10).map(|_| Line::text("Good!")).collect();
    let (builder, _) = agent(lines);
    let outcome = builder.build().unwrap().run_as::<Verdict>("Is it good?").await.unwrap();
    assert_eq!((outcome.answer(), outcome.stop), (None, Some(StopReason::InvalidModelOutput)));
    assert_eq!(outcome.status, Status::Failed);
}

#[tokio::test]
async fn limits_stop_an_agent_and_say_which() {
    let again = |n: usize| Line::call(&n.to_string(), "count", json!({ "n": n }));
    let lines = (0..50).map(again).collect();
    let (builder, _) = agent(lines);
    #[derive(Deserialize, JsonSchema)]
    struct Args {
        n: u64,
    }
    let count = Tool::new("count", "Counts.", |args: Args| async move { Ok::<_, String>(args.n) });
    let limits = Limits { turns_max: 4, ..Limits::default() };
    let outcome = builder.tool(count.reads()).limits(limits).build().unwrap().run("Count").await;
    let outcome = outcome.unwrap();
    assert_eq!((outcome.stop, outcome.spent.turns), (Some(StopReason::MaxIterations), 4));
    assert_eq!(outcome.spent.usage.total(), 60);
}

#[tokio::test]
async fn whoever_looks_on_hears_text_calls_and_events() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listening = Arc::clone(&heard);
    let (builder, _) = agent(call_and_answer("break_blocking", json!({})));
    let builder = builder.tool(Tool::of::<break_blocking>()).on_progress(move |_, happening| {
        listening.lock().unwrap().push(match happening {
            Happening::Text(text) => format!("text {text}"),
            Happening::Reasoning(text) => format!("reasoning {text}"),
            Happening::Calling(tool) => format!("calling {tool}"),
            Happening::Event(body) => body.kind().to_owned(),
        });
    });
    builder.build().unwrap().run("Do it").await.unwrap();
    let heard = heard.lock().unwrap();
    let wanted = ["opened", "calling break_blocking", "dispatched", "text Finished.", "closed"];
    let mut at = heard.iter();
    for want in wanted {
        assert!(at.any(|one| one == want), "{want} in order in {heard:?}");
    }
}

/// A clock that stands still.
#[derive(Debug, Default)]
struct Still(AtomicI64);

impl engine::Clock for Still {
    fn now(&self) -> Now {
        let at = self.0.load(Ordering::SeqCst);
        Now { at, boot_ms: at.unsigned_abs() }
    }
}

/// C102: the clock is a port of the world that is handed in.
#[tokio::test]
async fn time_is_what_the_world_says() {
    let clock = Arc::new(Still(AtomicI64::new(86_400_000)));
    let (builder, _) = agent(vec![Line::text("Now.")]);
    let world = World::default().at(Arc::clone(&clock) as Arc<dyn engine::Clock>);
    let outcome = builder.world(world).build().unwrap().run("When?").await.unwrap();
    assert!(outcome.records.iter().all(|record| record.event.at == 86_400_000));
}

/// A system without chance.
#[derive(Debug)]
struct Empty;

impl engine::Entropy for Empty {
    fn fill(&self, _: &mut [u8]) -> Result<(), String> {
        Err("no random bytes".to_owned())
    }
}

/// C102: so is chance, and nothing is drawn beside it.
#[tokio::test]
async fn without_chance_nothing_begins() {
    let world = || World::default().by_chance_of(Arc::new(Empty));
    let (builder, _) = agent(vec![Line::text("Never.")]);
    let error = builder.world(world()).build().unwrap_err().to_string();
    assert!(error.contains("no random bytes"), "no key: {error}");
    let (builder, told) = agent(vec![Line::text("Never.")]);
    let signer = receipts::key::Signer::from_seed(&[1; 32]);
    let agent = builder.world(world()).signer(signer).build().unwrap();
    assert!(agent.run("Begin").await.is_err());
    assert!(told.text().is_empty());
}

#[tokio::test]
async fn a_model_that_cannot_be_reached_is_asked_again_and_then_given_up() {
    let fail = |_: usize, _: &kernel::conversation::Prompt| {
        Err(models::Error::Auth("no such key".to_owned()))
    };
    let agent = Agent::builder().model(models::ScriptedModel::new("broken", fail)).build().unwrap();
    let outcome = agent.run("Hello").await.unwrap();
    assert_eq!((outcome.stop, outcome.status), (Some(StopReason::ModelFailed), Status::Failed));
    // A passing failure: the run waits for its pause, and whoever waits for it drives it on.
    let flaky = models::ScriptedModel::new("flaky", |n, _| match n {
        0 => Err(models::Error::Unavailable { message: "x".to_owned(), retry_after_ms: Some(1) }),
        _ => Ok(Line::text("Back.")),
    });
    let outcome = Agent::builder().model(flaky).build().unwrap().run("Hello").await.unwrap();
    assert_eq!(outcome.text(), "Back.");
}

#[tokio::test]
async fn a_file_keeps_what_memory_forgets() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let path = folder.path().join("agent.db");
        store::Sqlite::open(&path, store::Options::default()).unwrap()
    };
    let file = open();
    let (builder, _) = agent(vec![Line::text("Kept.")]);
    let agent = builder.store(Arc::clone(&file)).build().unwrap();
    let outcome = agent.run("Keep it").await.unwrap();
    file.close().await.unwrap();
    drop((agent, file));
    let tenant = kernel::id::Tenant::default();
    let events = store::Query::events(&*open(), &tenant, &outcome.run, 0, 200).await.unwrap();
    assert_eq!(events, outcome.records);
    // Another process with the same agent replays it from there, without its model.
    let (builder, told) = crate::support::agent(vec![]);
    let again = builder.store(open()).build().unwrap();
    assert_eq!(again.replay(&events).await.unwrap().events, events.len() as u64);
    assert!(told.text().is_empty());
}

/// Seats taken.
static SEATS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Takes a seat.
#[tool(egress = false, undo(leave_seat, seat = "/output"))]
async fn take_seat(row: u32) -> String {
    let seat = format!("{row}A");
    SEATS.lock().unwrap().push(seat.clone());
    seat
}

/// Leaves a seat.
#[tool(egress = false)]
async fn leave_seat(seat: String) {
    SEATS.lock().unwrap().retain(|taken| *taken != seat);
}

#[tokio::test]
async fn what_can_be_taken_back_needs_nobody_and_is_taken_back_when_asked() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let (builder, _) = agent(call_and_answer("take_seat", json!({ "row": 12 })));
    let builder = builder.tool(Tool::of::<take_seat>()).tool(Tool::of::<leave_seat>());
    let agent = builder
        .policy(ALL)
        .approver(move |ask| {
            seen.lock().unwrap().push(ask.tool);
            async { Answer::approve() }
        })
        .build()
        .unwrap();
    let outcome = agent.run("Take a seat").await.unwrap();
    assert_eq!(outcome.status, Status::Succeeded);
    assert!(asked.lock().unwrap().is_empty(), "a way back is armed");
    assert_eq!(*SEATS.lock().unwrap(), ["12A"]);
    let back = agent.roll_back(outcome).await.unwrap();
    assert_eq!((back.status, back.text()), (Status::RolledBack, "Finished."));
    assert!(SEATS.lock().unwrap().is_empty());
    assert_eq!(*asked.lock().unwrap(), ["leave_seat"], "what cannot be taken back itself asks");
    let report = agent.verify(&back).await.unwrap();
    assert_eq!(report.verdict, receipts::verify::Verdict::Verified, "{report:?}");
    assert_eq!(back.receipts.len(), 4, "two writes, and a close record after each end");
    agent.replay(&back.records).await.unwrap();
}

#[tokio::test]
async fn a_run_is_ended_from_outside() {
    let (builder, _) = agent(call_and_answer("wait_forever", json!({})));
    let (ready, mut entered) = tokio::sync::mpsc::unbounded_channel();
    #[derive(Deserialize, JsonSchema)]
    struct Nothing {}
    let wait = Tool::new("wait_forever", "Waits.", move |_: Nothing| {
        let ready = ready.clone();
        async move {
            let _ = ready.send(());
            tokio::time::sleep(Duration::from_millis(200)).await;
            Ok::<_, String>(())
        }
    });
    let (run_ids, mut runs) = tokio::sync::mpsc::unbounded_channel();
    let builder = builder.tool(wait.reads()).on_progress(move |run, _| {
        let _ = run_ids.send(run.clone());
    });
    let agent = builder.build().unwrap();
    let running = tokio::spawn({
        let agent = agent.clone();
        async move { agent.run("Wait").await }
    });
    entered.recv().await.unwrap();
    let run = runs.recv().await.unwrap();
    agent.cancel(&run, "enough").await.unwrap();
    let outcome = running.await.unwrap().unwrap();
    assert_eq!((outcome.status, outcome.answer()), (Status::Cancelled, None));
}

#[test]
fn a_model_that_may_not_be_shown_what_it_would_be_shown_is_refused_at_once() {
    let client = || ApiKind::OpenAi.build("http://127.0.0.1:9/v1", "m", Key::none()).unwrap();
    let error = Agent::builder().model(client()).build().unwrap_err().to_string();
    assert!(error.contains("tasks are internal") && error.contains("public"), "{error}");
    let public = || Agent::builder().model(client()).tasks_are(Confidentiality::Public);
    public().build().unwrap();
    let error = public().tool(Tool::of::<wait_forever>()).build().unwrap_err().to_string();
    assert!(error.contains("tool.wait_forever") && error.contains("secret"), "{error}");
    public().tool(Tool::of::<wait_forever>()).results(Results::Opaque).build().unwrap();
    let told = Tool::of::<wait_forever>().confidentiality(Confidentiality::Public);
    public().tool(told).build().unwrap();
    assert!(matches!(Agent::builder().build(), Err(Error::NoModel)));
}

#[tokio::test]
async fn roles_of_models_are_used_as_they_are() {
    let (model, _) = script(vec![Line::text("By role.")]);
    let models = Models::builder()
        .model(Arc::new(model), Terms::own())
        .role("small", Role::of(&["script"]))
        .build()
        .unwrap();
    let models = Arc::new(models);
    let agent = Agent::builder().models(Arc::clone(&models)).role("small").build().unwrap();
    assert_eq!(agent.run("Hello").await.unwrap().text(), "By role.");
    let error = Agent::builder().models(models).build().unwrap_err().to_string();
    assert!(error.contains("role `main`"), "{error}");
}

#[tokio::test]
async fn runs_side_by_side_do_not_meet() {
    let echo = |_: usize, prompt: &kernel::conversation::Prompt| {
        let text = serde_json::to_string(&prompt.segments).unwrap();
        let word = text.rsplit("word-").next().unwrap();
        Ok(Line::text(&format!("word-{}", word.split('"').next().unwrap())))
    };
    let agent = Agent::builder().model(models::ScriptedModel::new("echo", echo)).build().unwrap();
    let runs = (0..20).map(|n| {
        let agent = agent.clone();
        tokio::spawn(async move { (n, agent.run(format!("word-{n}")).await.unwrap()) })
    });
    for run in runs.collect::<Vec<_>>() {
        let (n, outcome) = run.await.unwrap();
        assert_eq!(outcome.text(), format!("word-{n}"));
    }
}

fn is_send<T: Send>(_: &T) {}
fn is_send_and_sync<T: Send + Sync>() {}

#[test]
fn every_future_may_cross_threads() {
    is_send_and_sync::<Agent>();
    is_send_and_sync::<Outcome>();
    is_send_and_sync::<Error>();
    is_send_and_sync::<Tool>();
    is_send_and_sync::<World>();
    let (builder, _) = agent(vec![]);
    is_send(&builder);
    let agent = builder.build().unwrap();
    is_send(&agent.run("x"));
    is_send(&agent.run_as::<Verdict>("x"));
    is_send(&agent.replay(&[]));
    is_send(&agent.serve());
    let run = kernel::RunId::of_intent(&Default::default(), "x", "x");
    is_send(&agent.cancel(&run, "x"));
}

#[tokio::test]
async fn so_may_those_that_go_on() {
    let (builder, _) = agent(vec![Line::text("Done.")]);
    let agent = builder.build().unwrap();
    let outcome = agent.run("x").await.unwrap();
    is_send(&agent.roll_back(outcome.clone()));
    is_send(&agent.verify(&outcome));
    is_send(&agent.bundle(&outcome));
}
