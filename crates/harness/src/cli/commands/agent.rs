//! `harness run "…"`: a task for an agent, watched while it works; and what its model saw.

use std::{convert::Infallible, io::IsTerminal as _, time::Duration};

use serde_json::{Map, Value, json};

use super::{Asked, render};
use crate::{
    app::{
        hearing::{HeardItem, HeardKind, HeardView},
        problem::Problem,
        value::{counted, visible},
    },
    cli::{
        Context,
        client::Client,
        print,
        screen::{Screen, write_err_piece},
    },
};

/// How long a question after what is said waits, in ms.
const HEARS_MS: u64 = 10_000;

/// How long it is waited after one came to nothing.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Columns of a text in the overview of a turn.
const FIRST_WORDS: usize = 60;

/// Hands the task over, shows what is said meanwhile, and prints what came of it.
///
/// # Errors
/// What the facade refused.
pub(super) async fn run(body: Map<String, Value>, context: Context) -> Result<u8, Problem> {
    let client = Client::open(&context.overrides).await?;
    let asked = Asked::new("run.start", Value::Object(body.clone()), ended).by_status();
    let answer = match is_watched(&context) {
        true => watched(&client, body).await,
        false => client.call(asked.op, asked.body.clone()).await,
    };
    let closed = client.close().await;
    let answer = answer?;
    closed?;
    print(&answer, &asked, &context)
}

/// Whether somebody sees what is said meanwhile.
pub(super) fn is_watched(context: &Context) -> bool {
    std::io::stderr().is_terminal() && !context.quiet
}

/// Begins first and waits then, so that there is a run to listen to.
async fn watched(client: &Client, mut body: Map<String, Value>) -> Result<Value, Problem> {
    let key = body.entry("idempotency_key").or_insert(Value::Null);
    if key.is_null() {
        *key = Value::from(uuid::Uuid::now_v7().to_string());
    }
    let mut begins = body.clone();
    begins.insert("hear".to_owned(), json!(true));
    begins.remove("wait_ms");
    let begun = client.call("run.start", Value::Object(begins)).await?;
    let ends = client.call("run.start", Value::Object(body));
    let mut answer = overheard(client, &begun, ends).await?;
    if let (Some(new), Some(answer)) = (begun.get("new"), answer.as_object_mut()) {
        answer.insert("new".to_owned(), new.clone());
    }
    Ok(answer)
}

/// Waits for an answer, and shows what is said meanwhile in the run that was begun, where it was begun with an ear.
pub(super) async fn overheard<T>(
    client: &Client,
    begun: &Value,
    answer: impl Future<Output = T>,
) -> T {
    let ear = render::text(begun, "/ear");
    if ear.is_empty() {
        return answer.await;
    }
    tokio::select! {
        answer = answer => answer,
        never = hear(client, render::text(begun, "/run/id"), ear) => match never {},
    }
}

/// Shows what is said as it is said. Whoever falls behind loses pieces, never the answer.
async fn hear(client: &Client, run: String, mut ear: String) -> Infallible {
    let mut last = None;
    loop {
        let body = json!({ "run": run, "ear": ear, "wait_ms": HEARS_MS });
        let heard = client.call("run.speech", body).await.ok();
        let Some(heard) = heard.and_then(|heard| serde_json::from_value::<HeardView>(heard).ok())
        else {
            // What is looked on at may be missed: the answer comes all the same.
            tokio::time::sleep(AGAIN_AFTER).await;
            continue;
        };
        ear = heard.ear;
        for item in &heard.items {
            if let Some(told) = told_after(last, item) {
                write_err_piece(&plain(&told));
            }
            last = Some(item.said);
        }
    }
}

/// A piece as it is shown after one of that kind; nothing where it says nothing new.
fn told_after(last: Option<HeardKind>, item: &HeardItem) -> Option<String> {
    let goes_on = last == Some(item.said);
    match item.said {
        HeardKind::Text if goes_on => Some(item.text.clone()),
        HeardKind::Text => Some(format!("\n{}", item.text)),
        HeardKind::Wrote => Some(format!("\n│ {}", item.text)),
        HeardKind::Reasoning if goes_on => None,
        HeardKind::Reasoning => Some("\n(thinks) ".to_owned()),
        HeardKind::Call => Some(format!("\n→ {}", item.text)),
    }
}

/// A model's words without what would steer a terminal.
fn plain(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}

/// What came of a task.
fn ended(answer: &Value, screen: &mut Screen) {
    render::run_detail(answer, screen);
    let receipts = render::list(answer, "/receipts").len();
    if receipts > 0 {
        screen.gap();
        let prove = if receipts == 1 { "proves" } else { "prove" };
        let receipts = counted(receipts.to_string(), "receipt");
        screen.line(&format!("{receipts} {prove} what was done."));
    }
}

/// What each model call saw.
pub(super) fn context(answer: &Value, screen: &mut Screen) {
    let calls = render::list(answer, "/calls");
    if calls.is_empty() {
        screen.line("No model was asked in this run.");
        return;
    }
    for call in calls {
        let number = render::text(call, "/turn");
        screen.heading(&format!("{number}. {}", render::text(call, "/step")));
        let bytes = call.get("bytes").and_then(Value::as_object);
        let each = bytes.into_iter().flatten().map(|(source, bytes)| format!("{source} {bytes}"));
        screen.field("bytes seen", &each.collect::<Vec<_>>().join(" · "));
        let (trust, width) = (render::text(call, "/trust"), render::text(call, "/confidentiality"));
        screen.field("label", &format!("{trust}, {width}"));
        ledger(call, screen);
        for piece in render::list(call, "/seen") {
            screen.gap();
            screen.field(&render::text(piece, "/source"), "");
            let text = render::text(piece, "/text");
            text.lines().for_each(|line| screen.line(&format!("  {}", visible(line))));
        }
        reply(call, screen);
        if let Some(request) = call.get("request").and_then(Value::as_str) {
            screen.gap();
            screen.field("request", "");
            screen.line(&visible(request));
        }
        screen.gap();
    }
}

/// What each source took, beside what it may take.
fn ledger(call: &Value, screen: &mut Screen) {
    for line in render::list(call, "/ledger") {
        let text = |at: &str| render::text(line, at);
        // What may take nothing and took nothing says nothing.
        if text("/tokens") == "0" && text("/budget") == "0" {
            continue;
        }
        let budget = match (text("/budget"), line.get("each").and_then(Value::as_bool)) {
            (budget, _) if budget.is_empty() => "of the whole".to_owned(),
            (budget, Some(true)) => format!("of {budget} each, the largest {}", text("/largest")),
            (budget, _) => format!("of {budget}"),
        };
        let took = format!("{} tokens ({} bytes) {budget}", text("/tokens"), text("/bytes"));
        screen.field(&text("/source"), &took);
    }
}

fn reply(call: &Value, screen: &mut Screen) {
    let failed = render::text(call, "/failed");
    if !failed.is_empty() {
        screen.field("failed", &failed);
    }
    let Some(reply) = call.get("reply").filter(|reply| reply.is_object()) else { return };
    let who = format!("{} ({})", render::text(reply, "/model"), render::text(reply, "/provider"));
    screen.field("answered by", &who);
    let tokens = format!(
        "{} read ({} cached), {} written",
        render::text(reply, "/tokens_read"),
        render::text(reply, "/tokens_cached"),
        render::text(reply, "/tokens_written")
    );
    screen.field("tokens", &tokens);
    let calls = render::list(reply, "/calls");
    let called: Vec<&str> = calls.iter().filter_map(|name| name.as_str()).collect();
    if !called.is_empty() {
        screen.field("called", &called.join(", "));
    }
    let text = render::text(reply, "/text");
    if !text.is_empty() {
        let first: String = text.chars().take(FIRST_WORDS).collect();
        let more = if first.len() < text.len() { "…" } else { "" };
        screen.field("said", &visible(&format!("{first}{more}").replace('\n', " ")));
    }
}
