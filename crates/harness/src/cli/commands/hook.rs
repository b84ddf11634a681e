//! `harness hook`: what a coding agent's host starts before and after each use of a tool.
//!
//! It ends with 0 or with 2, and says nothing on standard output: the host takes 2 for a no, and lets the use pass on
//! everything else. So whatever goes wrong, is not understood, or takes too long is a no.

pub(super) mod install;

use std::{
    io::Read as _,
    sync::mpsc::{RecvTimeoutError, channel},
    time::Duration,
};

use clap::{Args as ClapArgs, Subcommand};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Outcome, duration_ms};
use crate::{
    app::problem::{Kind, Problem},
    cli::{Context, client::Client, runtime, screen::write_err},
};

/// Largest event, in bytes.
const EVENT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Longest reason that is told, in characters.
const REASON_MAX_CHARS: usize = 2_000;

/// How long before its end it stops waiting for a person, in ms.
const SPARE_MS: u64 = 2_000;

/// Longest that is asked for at once, in ms.
const STEP_MS: u64 = 20_000;

/// What denies.
const NO: u8 = 2;

/// Hosts of agents.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Judge what Claude Code is about to do: it writes its event to standard input
    ClaudeCode(Judge),
    /// Judge what Codex is about to do: it writes its event to standard input
    Codex(Judge),
    /// Have a host ask: shows what would be different in its settings, and writes it with --yes
    Install(install::Args),
}

/// How long to take.
#[derive(Debug, ClapArgs)]
pub struct Judge {
    /// How long everything may take; then the answer is no
    #[arg(long, value_name = "TIME", default_value = "50s", value_parser = duration_ms)]
    timeout: u64,
    /// How long to wait for a person; then the answer is no, until somebody has decided
    #[arg(long, value_name = "TIME", default_value = "45s", value_parser = duration_ms)]
    wait: u64,
}

/// Why not.
type No = String;

impl Verb {
    /// What the command comes to.
    ///
    /// # Errors
    /// Of an installation alone: a judgement has an answer to everything.
    pub fn outcome(self, context: &Context) -> Result<Outcome, Problem> {
        let (agent, judge) = match self {
            Self::ClaudeCode(judge) => ("claude-code", judge),
            Self::Codex(judge) => ("codex", judge),
            Self::Install(args) => return args.outcome(context).map(Outcome::Printed),
        };
        let answer = watched(agent, &judge, context.clone());
        Ok(Outcome::Printed(match answer {
            Ok(()) => 0,
            Err(reason) => {
                let reason: String = reason.chars().take(REASON_MAX_CHARS).collect();
                write_err(&format!("harness: {reason}"));
                NO
            }
        }))
    }
}

/// The answer of another thread, or a no: when it is late, and when it panics.
fn watched(agent: &'static str, judge: &Judge, context: Context) -> Result<(), No> {
    let timeout_ms = judge.timeout;
    let wait_ms = judge.wait.min(timeout_ms.saturating_sub(SPARE_MS));
    let (told, answer) = channel();
    // The panic itself is told below, without a trace on the agent's screen.
    std::panic::set_hook(Box::new(|_| {}));
    let work = move || drop(told.send(judged(agent, wait_ms, context)));
    let thread = std::thread::Builder::new().name("hook".to_owned()).spawn(work);
    thread.map_err(|error| format!("denied, because no thread could be started: {error}"))?;
    match answer.recv_timeout(Duration::from_millis(timeout_ms)) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Timeout) => {
            Err(format!("denied, because there was no answer within {timeout_ms} ms"))
        }
        Err(RecvTimeoutError::Disconnected) => {
            Err("denied, because something went wrong in the hook itself".to_owned())
        }
    }
}

fn judged(agent: &'static str, wait_ms: u64, context: Context) -> Result<(), No> {
    let until = Instant::now() + Duration::from_millis(wait_ms);
    let event = event()?;
    let runtime = runtime().map_err(|problem| why(&problem))?;
    let answer = runtime.block_on(async {
        let mut ends = super::serve::Ends::new().map_err(|problem| why(&problem))?;
        tokio::select! {
            () = ends.wait() => Err("denied, because the hook was ended".to_owned()),
            answer = asked(agent, &event, until, &context) => answer,
        }
    });
    runtime.shutdown_background();
    answer
}

/// What stands on standard input.
fn event() -> Result<Value, No> {
    let mut text = Vec::new();
    let read = std::io::stdin().lock().take(EVENT_BYTES_MAX + 1).read_to_end(&mut text);
    read.map_err(|error| format!("denied, because the event cannot be read: {error}"))?;
    if text.len() as u64 > EVENT_BYTES_MAX {
        return Err(format!("denied, because the event is larger than {EVENT_BYTES_MAX} bytes"));
    }
    let event: Value = serde_json::from_slice(&text)
        .map_err(|error| format!("denied, because the event is no JSON: {error}"))?;
    if event.is_object() {
        Ok(event)
    } else {
        Err("denied, because the event is no object".to_owned())
    }
}

/// Asks until somebody decided or the time is over.
async fn asked(agent: &str, event: &Value, until: Instant, context: &Context) -> Result<(), No> {
    let client = Client::open(&context.overrides).await.map_err(|problem| why(&problem))?;
    if client.is_local() {
        // What is permitted here and used later has to be remembered by somebody who is still there.
        drop(client.close().await);
        return Err(
            "denied, because nobody serves the store; start `harness serve` there".to_owned()
        );
    }
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let wait_ms = u64::try_from(left.as_millis()).unwrap_or(0).min(STEP_MS);
        let body = json!({ "agent": agent, "event": event, "wait_ms": wait_ms });
        let verdict = client.call("gate.hook", body).await.map_err(|problem| why(&problem))?;
        let reason = verdict.get("reason").and_then(Value::as_str).unwrap_or_default();
        match verdict.get("says").and_then(Value::as_str) {
            Some("pass") => return Ok(()),
            Some("ask") if Instant::now() < until => {}
            _ => return Err(reason.to_owned()),
        }
    }
}

fn why(problem: &Problem) -> No {
    let next = problem.next.as_deref().map(|next| format!("; {next}")).unwrap_or_default();
    let because = match problem.kind {
        Kind::Denied => "",
        _ => "denied, because ",
    };
    format!("{because}{}{next}", problem.detail)
}
