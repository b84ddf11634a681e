//! `harness run "…"`: a task for an agent, watched while it works; and what its model saw.

use std::io::{IsTerminal as _, Write as _};

use serde_json::Value;
use tokio::{sync::broadcast::Receiver, task::JoinHandle};

use super::{Asked, render};
use crate::{
    app::{
        problem::Problem,
        speech::{Piece, Said},
        value::{counted, visible},
    },
    cli::{Context, client::Client, print, screen::Screen},
};

/// Columns of a text in the overview of a turn.
const FIRST_WORDS: usize = 60;

/// Hands the task over, shows what is said meanwhile, and prints what came of it.
///
/// # Errors
/// What the facade refused.
pub(super) async fn run(body: Value, context: Context) -> Result<u8, Problem> {
    let client = Client::open(&context.overrides).await?;
    let watching = watched(&client, &context);
    let asked = Asked::new("run.start", body, ended).by_status();
    let answer = client.call(asked.op, asked.body.clone()).await;
    if let Some(watching) = watching {
        watching.abort();
        let _ended = watching.await;
    }
    let closed = client.close().await;
    let answer = answer?;
    closed?;
    print(&answer, &asked, &context)
}

/// Shows what is said meanwhile, where somebody sees it.
pub(super) fn watched(client: &Client, context: &Context) -> Option<JoinHandle<()>> {
    match client {
        Client::Local(local) if std::io::stderr().is_terminal() && !context.quiet => {
            Some(tokio::spawn(watch(local.app.speech().listen())))
        }
        _ => None,
    }
}

/// Writes what models say as they say it. Who falls behind loses pieces, never the answer.
async fn watch(mut heard: Receiver<Piece>) {
    let mut last = None;
    loop {
        let piece = match heard.recv().await {
            Ok(piece) => piece,
            Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => continue,
            Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
        };
        let (mark, text) = match piece.said {
            Said::Text(text) => ("", text),
            Said::Wrote(text) => ("│", text),
            Said::Reasoning(_) => ("(thinks)", String::new()),
            Said::Call(name) => ("→", name),
        };
        let told = if mark.is_empty() {
            format!("{}{text}", if last == Some("") { "" } else { "\n" })
        } else if last == Some(mark) && text.is_empty() {
            continue;
        } else {
            format!("\n{mark} {text}")
        };
        last = Some(mark);
        let mut stderr = std::io::stderr();
        // Whoever watched may have gone.
        let _gone = stderr.write_all(plain(&told).as_bytes()).and_then(|()| stderr.flush());
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
