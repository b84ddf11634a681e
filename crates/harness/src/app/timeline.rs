//! What a journal tells, as a timeline: actions and events.

use std::collections::BTreeMap;

use kernel::{
    event::{Body, Ended, Record},
    hook::{Moment, Opinion},
    id::RunId,
    planning::Mark,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{App, Caller, parse_id, problem::Problem, runs::rfc3339, value};

/// One action of a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ActionLine {
    /// Its proposal's position.
    pub action: u64,
    /// The step.
    pub step: String,
    /// The operation.
    pub operation: String,
    /// `step`, `companion` or `undo`.
    pub role: String,
    /// `allow`, `ask` or `deny`, the last verdict; `deny` where a hook's look at an agent is against what it
    /// looked at.
    pub verdict: String,
    /// The earlier call of the same model whose verdict stands for this one too, because neither what it shows nor
    /// the policy differs; absent where it was judged itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged_with: Option<u64>,
    /// Rules that spoke last.
    pub rules: Vec<String>,
    /// `open`, `done`, `failed:<class>`, `rejected:<stage>`, `in_doubt`.
    pub outcome: String,
    /// The receipt.
    pub receipt: Option<String>,
    /// Milliseconds from dispatch to outcome.
    pub took_ms: Option<i64>,
    /// What was said when it failed.
    pub failure: Option<String>,
}

/// One step of the pipeline, as a timeline shows it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EventView {
    /// Position.
    pub seq: u64,
    /// When, RFC 3339 UTC.
    pub at: String,
    /// What.
    pub kind: String,
    /// The event as hashed: commitments instead of values.
    pub body: Value,
    /// Its hash.
    pub hash: String,
}

/// Events of a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EventList {
    /// The run.
    pub run: String,
    /// In order.
    pub items: Vec<EventView>,
}

/// Which events.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListEvents {
    /// The run.
    pub run: String,
    /// From this position on.
    #[serde(default)]
    pub after: u64,
    /// How many at most, up to 200; all of them by default.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// What was done, from the journal alone.
#[must_use]
pub fn action_lines(records: &[Record]) -> Vec<ActionLine> {
    let mut lines: Vec<ActionLine> = Vec::new();
    let mut dispatched = BTreeMap::new();
    for record in records {
        let seq = record.event.seq;
        if let Body::Proposed { step, operation, because, .. } = &record.event.body {
            let role = serde_json::to_value(because).unwrap_or_default();
            let role = role.get("purpose").or(role.get("role")).and_then(Value::as_str);
            lines.push(ActionLine {
                action: seq,
                step: step.clone(),
                operation: operation.to_string(),
                role: role.unwrap_or_default().to_owned(),
                verdict: String::new(),
                judged_with: None,
                rules: Vec::new(),
                outcome: "open".to_owned(),
                receipt: None,
                took_ms: None,
                failure: None,
            });
            continue;
        }
        if let Body::Marked { step, mark: Mark::Looked { on, said, .. } } = &record.event.body {
            let is_against = *on != Moment::Start && *said != Opinion::Pass;
            if let Some(line) = lines.iter_mut().rfind(|line| is_against && line.step == *step) {
                line.verdict = "deny".to_owned();
            }
        }
        let Some(action) = action_of(&record.event.body) else { continue };
        if let Body::Dispatched { .. } = &record.event.body {
            dispatched.insert(action, record.event.at);
            stand_in(&mut lines, action);
        }
        if let Some(line) = lines.iter_mut().rfind(|line| line.action == action) {
            note(line, record, dispatched.get(&action).copied());
        }
    }
    lines
}

/// Gives an action that left without a verdict of its own the one that stands for it.
fn stand_in(lines: &mut [ActionLine], action: u64) {
    let Some(at) = lines.iter().rposition(|line| line.action == action) else { return };
    let (before, rest) = lines.split_at_mut(at);
    let Some(line) = rest.first_mut().filter(|line| line.verdict.is_empty()) else { return };
    let stands = |one: &&ActionLine| {
        one.operation == line.operation && one.judged_with.is_none() && one.verdict == "allow"
    };
    if let Some(judged) = before.iter().rfind(stands) {
        (line.verdict, line.rules) = (judged.verdict.clone(), judged.rules.clone());
        line.judged_with = Some(judged.action);
    }
}

/// The action an event is about.
#[must_use]
pub fn action_of(body: &Body) -> Option<u64> {
    match body {
        Body::Judged { action, .. }
        | Body::Rejected { action, .. }
        | Body::Rewritten { action, .. }
        | Body::Captured { action, .. }
        | Body::Asked { action, .. }
        | Body::Answered { action, .. }
        | Body::Voided { action, .. }
        | Body::Armed { action, .. }
        | Body::Dispatched { action, .. }
        | Body::Returned { action, .. }
        | Body::Doubted { action }
        | Body::Deferred { action, .. }
        | Body::Receipted { action, .. } => Some(*action),
        _ => None,
    }
}

fn note(line: &mut ActionLine, record: &Record, dispatched_at: Option<i64>) {
    match &record.event.body {
        Body::Judged { decision, .. } => {
            let verdict = serde_json::to_value(&decision.verdict).unwrap_or_default();
            let word = match &verdict {
                Value::Object(map) => map.keys().next().cloned(),
                other => other.as_str().map(str::to_owned),
            };
            line.verdict = word.unwrap_or_default();
            line.rules = decision.rules.iter().map(|rule| rule.id.clone()).collect();
        }
        Body::Rejected { stage, .. } => {
            let stage = serde_json::to_value(stage).unwrap_or_default();
            line.outcome = format!("rejected:{}", stage.as_str().unwrap_or_default());
        }
        Body::Returned { ended, .. } => {
            line.took_ms = dispatched_at.map(|at| record.event.at - at);
            match ended {
                Ended::Done { .. } => line.outcome = "done".to_owned(),
                Ended::Failed { class, message, .. } => {
                    line.outcome = format!("failed:{}", class.name());
                    line.failure = message.value().as_str().map(value::visible);
                }
            }
        }
        Body::Doubted { .. } => line.outcome = "in_doubt".to_owned(),
        Body::Receipted { receipt, class, .. } => {
            line.receipt = Some(receipt.to_string());
            line.outcome =
                class.map_or("done".to_owned(), |class| format!("failed:{}", class.name()));
        }
        _ => {}
    }
}

/// Events of a run, as hashed.
///
/// # Errors
/// When there is no such run.
pub async fn events(app: &App, caller: &Caller, request: ListEvents) -> Result<EventList, Problem> {
    let id: RunId = parse_id(&request.run)?;
    let records = match request.limit {
        Some(limit) => app.own_page(caller, &id, (request.after, limit)).await?,
        None => app.own_records(caller, &id).await?,
    };
    let from = records.iter().filter(|record| record.event.seq >= request.after);
    let items = from.map(|record| EventView {
        seq: record.event.seq,
        at: rfc3339(record.event.at),
        kind: record.event.body.kind().to_owned(),
        body: serde_json::to_value(&record.event.body).unwrap_or_default(),
        hash: record.hash.to_string(),
    });
    Ok(EventList { run: request.run, items: items.collect() })
}
