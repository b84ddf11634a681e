//! Where a call stands, in the words of the protocol and in words for a model.

use mcp::server::{Ended, Told};
use serde_json::{Map, Value, json};

use super::{WAIT, object};
use crate::app::{
    config::mcp::ProxyMode,
    tools::{ToolCall, ToolState},
};

/// Beside every answer: the run, where it stands, and what proves it.
pub(in crate::app) fn meta(seen: &ToolCall) -> Map<String, Value> {
    let mut meta = Map::new();
    meta.insert("harness/run".to_owned(), json!(seen.run));
    meta.insert("harness/state".to_owned(), json!(seen.state));
    meta.insert("harness/receipts".to_owned(), json!(seen.receipts));
    // What is only recorded is not told: an agent that knew would behave otherwise.
    if let Some(verdict) = seen.verdict.as_ref().filter(|one| one.mode != ProxyMode::Observe) {
        meta.insert("harness/verdict".to_owned(), json!(verdict));
    }
    meta
}

pub(super) fn told(seen: &ToolCall) -> Told {
    let ended = match seen.state {
        ToolState::Done => Ended::Well,
        state if state.is_open() => Ended::Well,
        _ => Ended::Wrong,
    };
    let (text, structured) = match seen.state {
        ToolState::Done => done(seen),
        _ => (sentence(seen), stands(seen)),
    };
    let mut meta = meta(seen);
    if let Some(passed) = seen.passed.clone() {
        // What the server said is the answer, and is not said twice.
        return Told { text, structured: None, ended, meta, passed: Some(passed) };
    }
    if seen.verdict.is_some() && seen.state != ToolState::Done {
        meta.insert(STANDS.to_owned(), structured.clone());
    }
    let told = Told { text, structured: object(structured), ended, meta, passed: None };
    if seen.promises { beside(told) } else { told }
}

fn done(seen: &ToolCall) -> (String, Value) {
    let output = seen.output.clone().unwrap_or_default();
    let mut text = match &output {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    for caveat in &seen.caveats {
        text.push_str("\nNote: ");
        text.push_str(caveat);
    }
    match output {
        Value::Object(_) => (text, output),
        other => (text, json!({ "result": other })),
    }
}

pub(super) fn stands(seen: &ToolCall) -> Value {
    let mut stands = json!({ "state": seen.state, "run": seen.run });
    let Some(map) = stands.as_object_mut() else { return stands };
    if !seen.asks.is_empty() {
        map.insert("approvals".to_owned(), json!(seen.asks));
    }
    if !seen.because.is_empty() {
        map.insert("because".to_owned(), json!(seen.because));
    }
    stands
}

/// Where a call stands, for a model and whoever reads over its shoulder.
pub(super) fn sentence(seen: &ToolCall) -> String {
    let run = &seen.run;
    let because = seen.because.join("; ");
    match seen.state {
        ToolState::Running => format!("The call is under way as {run}. Call {WAIT} with this run."),
        ToolState::Held => format!("{run} is held by a person. Call {WAIT} with this run later."),
        ToolState::PendingApproval => asked(seen),
        ToolState::Done => format!("{run} is done."),
        ToolState::Denied => format!("Denied, and nothing more will come of it: {because}"),
        ToolState::Failed => format!("It failed: {because}"),
        ToolState::Cancelled => format!("{run} was ended by a person or by its caller: {because}"),
        ToolState::Unknown => format!(
            "Whether it happened is not known: {because}. A person finds out; do not repeat it. \
             Call {WAIT} with run {run} later."
        ),
        ToolState::NeedsPerson => format!(
            "It stopped and a person has to look after it: {because}. Call {WAIT} with run {run} later."
        ),
    }
}

fn asked(seen: &ToolCall) -> String {
    let run = &seen.run;
    let Some(ask) = seen.asks.first() else { return format!("{run} waits for a person.") };
    let place = match &ask.url {
        Some(url) => format!("at {url}"),
        None => format!("with `harness approval get {}`", ask.approval),
    };
    format!(
        "A person ({}) has to decide {place}, until {}; nothing was done yet. Call {WAIT} with run {run} to learn \
         the outcome.",
        ask.needs.join(", "),
        ask.expires_at
    )
}

/// Where something of ours stands, beside a result: the tool of another server may promise a structured answer that this
/// is none of, and clients hold it to that.
const STANDS: &str = "harness/stands";

pub(super) fn beside(told: Told) -> Told {
    let Told { structured, mut meta, .. } = told;
    meta.extend(structured.map(|map| (STANDS.to_owned(), Value::Object(map))));
    Told { structured: None, ended: Ended::Wrong, meta, ..told }
}
