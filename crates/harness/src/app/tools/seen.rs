//! Where a call stands, read from its run.

use connect::mcp::{FAILED_AS, REFUSED_AS};
use kernel::{
    Digest,
    event::{Body, Record},
    exception::Need,
    id::RunId,
    port::Blobs,
    run::Run,
};
use serde_json::Value;
use store::RunEntry;

use super::{ToolAsk, ToolCall, ToolState, proxy, would};
use crate::app::{
    App, Caller, gate, parse_id,
    problem::Problem,
    runs::{self, RunDetail, rfc3339},
};

pub(super) async fn look(app: &App, caller: &Caller, id: &RunId) -> Result<ToolCall, Problem> {
    // The row first: what it says has happened stands in what is read after it.
    let entry = runs::entry_of(app, caller, id).await?;
    let records = app.own_records(caller, id).await?;
    of(app, caller, entry, records).await
}

/// The same, of a run that was read already.
pub(super) async fn of(
    app: &App,
    caller: &Caller,
    entry: RunEntry,
    records: Vec<Record>,
) -> Result<ToolCall, Problem> {
    let id = &entry.run;
    let run = app.fold(id, &records).await?;
    let detail = runs::detail_of(&entry, &run, &records);
    let state = state_of(&detail, &run);
    let receipts = records.iter().filter_map(|record| match &record.event.body {
        Body::Receipted { receipt, .. } => Some(receipt.to_string()),
        _ => None,
    });
    let is_passed = proxy::is_one(&detail.run.intent);
    let passed = match is_passed {
        true => passed(app, caller, (&detail, state)).await?,
        false => None,
    };
    let refused = is_passed.then(|| kept(&detail, REFUSED_AS)).flatten();
    let (question, said) = app.ends.take(&(caller.tenant().clone(), id.clone()));
    Ok(ToolCall {
        passed,
        refused: refused.filter(|_| state == ToolState::Failed),
        question,
        said,
        verdict: is_passed.then(|| would::recorded(&records)).flatten(),
        run: id.to_string(),
        state,
        opened_at: detail.run.opened_at.clone(),
        changed_at: detail.run.changed_at.clone(),
        because: if state == ToolState::Done { Vec::new() } else { because(&detail, state) },
        output: detail.output.filter(|_| state == ToolState::Done),
        caveats: detail.caveats,
        asks: asks_of(app, &run),
        receipts: receipts.collect(),
        resume: None,
        promises: false,
    })
}

/// What the server behind us gave back, where it did: also the result of a tool that says that it failed. A large one
/// lies beside the run.
async fn passed(
    app: &App,
    caller: &Caller,
    (detail, state): (&RunDetail, ToolState),
) -> Result<Option<Value>, Problem> {
    if state != ToolState::Done {
        return Ok(kept(detail, FAILED_AS));
    }
    let Some(output) = &detail.output else { return Ok(None) };
    let Some(blob) = output.get("$blob").and_then(Value::as_str) else {
        return Ok(Some(output.clone()));
    };
    let digest: Digest = parse_id(blob)?;
    let bytes = Blobs::get(&*app.store, caller.tenant().clone(), digest).await?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// What is kept of a call that failed.
fn kept(detail: &RunDetail, part: &str) -> Option<Value> {
    let mut samples = detail.troubles.iter().rev().filter_map(|one| one.sample.as_ref());
    samples.find_map(|sample| sample.get(part).cloned())
}

pub(super) fn state_of(detail: &RunDetail, run: &Run) -> ToolState {
    match detail.run.status.as_str() {
        "asking" => ToolState::PendingApproval,
        "paused" | "halted" => ToolState::Held,
        "succeeded" | "partial" => ToolState::Done,
        "failed" if said_no(detail) => ToolState::Denied,
        "failed" => ToolState::Failed,
        "cancelled" | "rolled_back" | "partly_rolled_back" => ToolState::Cancelled,
        "needs_person" if run.exceptions().iter().any(|e| e.need == Need::InDoubt) => {
            ToolState::Unknown
        }
        "needs_person" => ToolState::NeedsPerson,
        _ => ToolState::Running,
    }
}

/// Whether a run ended because policy, or a person, said no or nothing.
fn said_no(detail: &RunDetail) -> bool {
    detail.run.ended_by.as_ref().is_some_and(|ended| ended.class == "policy_error")
}

fn because(detail: &RunDetail, state: ToolState) -> Vec<String> {
    if state.is_open() { Vec::new() } else { gate::reasons(detail) }
}

fn asks_of(app: &App, run: &Run) -> Vec<ToolAsk> {
    let asks = run.asks().into_iter().map(|ask| {
        let needs = ask.requirement.approvals.iter().map(|(role, n)| format!("{n} × {role}"));
        (ask.id.to_string(), needs.collect(), ask.expires_at)
    });
    let questions = run
        .questions()
        .into_iter()
        .map(|question| (question.id.to_string(), vec![question.role], question.expires_at));
    let told = |(approval, needs, expires_at): (String, Vec<String>, i64)| ToolAsk {
        url: app.page_of("approvals", &approval),
        expires_at: rfc3339(expires_at),
        approval,
        needs,
    };
    asks.chain(questions).map(told).collect()
}
