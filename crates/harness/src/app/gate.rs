//! The gate for agents that are not ours: before such an agent uses a tool of its own, it asks here. The call
//! is judged, asked about and recorded like every other; it leaves when the agent takes it, and ends with what
//! the agent reports.

use connect::outside::Report;
use kernel::{
    id::RunId,
    label::Trust,
    playbook::{Work, visit_steps},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Duration, Instant};

use super::{
    App, Caller,
    intents::{self, Submit},
    parse_id,
    problem::{Kind, Problem},
    runs::{self, NamedRun, RunDetail},
};

/// Longest that an answer is waited for, in ms.
const WAIT_MAX_MS: u64 = 60_000;

/// How long a verdict is waited for when nothing is said, in ms.
const WAIT_MS: u64 = 5_000;

/// A call that another agent is about to make.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GateCall {
    /// The tool: an intent (`name` or `pack/name`) whose one call is of a connector of kind `outside`.
    pub tool: String,
    /// Exactly what it is about to be called with.
    #[serde(default)]
    pub arguments: Value,
    /// Makes repeated requests one call.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// How long to wait for the verdict, in ms: 5,000 when nothing is said, at most 60,000.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// Takes a call once it may be made.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GateTake {
    /// The run of the call.
    pub run: String,
    /// How long to wait for the verdict, in ms: 5,000 when nothing is said, at most 60,000.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// Says what came of a call that was taken.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GateReport {
    /// The run of the call.
    pub run: String,
    /// What came of it.
    pub outcome: GateOutcome,
    /// What the tool answered, when it was done.
    #[serde(default)]
    pub result: Value,
    /// What went wrong, otherwise.
    #[serde(default)]
    pub message: String,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateOutcome {
    /// It was made; `result` says what it answered.
    Done,
    /// It was made and failed: whether something changed is open, and a person settles it.
    Failed,
    /// It was not made after all.
    NotMade,
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateVerdict {
    /// It may be made now, once, exactly so; report what came of it.
    Allow,
    /// A person is asked; take it once they have agreed.
    Ask,
    /// It may not be made.
    Deny,
    /// It was made and reported.
    Done,
    /// Nothing is decided yet; ask again.
    Pending,
}

/// Where a call of another agent stands.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct GateView {
    /// Its run: journal, receipts and explanation are there.
    pub run: String,
    /// What the agent may do.
    pub verdict: GateVerdict,
    /// Why not, or who is asked.
    pub because: Vec<String>,
    /// Open asks, when a person is asked.
    pub approvals: Vec<String>,
    /// The operation that may be called, when it may.
    pub operation: Option<String>,
    /// The arguments it may be called with: they can be others than those asked for, where a person
    /// changed them.
    pub arguments: Value,
    /// The key of the effect, for tools that deduplicate.
    pub key: Option<String>,
}

/// Judges and records a call that another agent is about to make.
///
/// # Errors
/// When there is no such tool, its call is one that the harness makes itself, or the arguments do not fit.
pub async fn call(app: &App, caller: &Caller, request: GateCall) -> Result<GateView, Problem> {
    let submit = Submit {
        intent: Some(request.tool.clone()),
        inputs: request.arguments,
        idempotency_key: request.idempotency_key,
        ..Submit::default()
    };
    let chosen = intents::choose(app, &submit)?;
    check_outside(&chosen, &request.tool)?;
    // Whatever an agent says may have come from anybody it has read.
    let submitted =
        intents::submit_chosen(app, caller, (submit, chosen), intents::of_trust(Trust::Untrusted))
            .await?;
    verdict(app, caller, &parse_id(&submitted.run.id)?, request.wait_ms).await
}

/// Waits for the verdict, and takes the call when it may be made. Taken again, it is the same call.
///
/// # Errors
/// When there is no such call.
pub async fn take(app: &App, caller: &Caller, request: GateTake) -> Result<GateView, Problem> {
    verdict(app, caller, &parse_id(&request.run)?, request.wait_ms).await
}

/// Records what came of a call that was taken.
///
/// # Errors
/// When no such call is under way.
pub async fn report(app: &App, caller: &Caller, request: GateReport) -> Result<GateView, Problem> {
    let run: RunId = parse_id(&request.run)?;
    check_whose(app, caller, &run).await?;
    let said = match request.outcome {
        GateOutcome::Done => Report::Done(request.result),
        GateOutcome::Failed => Report::Failed(request.message),
        GateOutcome::NotMade => Report::NotMade(request.message),
    };
    if !app.connectors.outside().report(caller.tenant(), &run, said) {
        let detail = format!("no call of {run} is under way");
        return Err(Problem::new(Kind::Conflict, "no-call", detail)
            .next("take the call first; what was in doubt is settled by a person"));
    }
    runs::wait(app, caller, &run, WAIT_MS).await;
    stands(app, caller, &run).await
}

/// A tool is an intent whose every call is made outside: nothing the harness does itself goes this way.
fn check_outside(chosen: &intents::Chosen, tool: &str) -> Result<(), Problem> {
    let pack = &chosen.shelved.pack;
    let playbook = pack.intents.get(&chosen.intent).map(|intent| intent.playbook.as_str());
    let playbook = playbook.and_then(|name| pack.playbooks.get(name));
    let (mut outside, mut ours) = (0_u32, 0_u32);
    if let Some(playbook) = playbook {
        visit_steps(&playbook.steps, &mut |_, step| {
            let Work::Do { operation, .. } = &step.work else { return };
            let entry = chosen.shelved.catalogue.get(operation);
            let kind = entry.and_then(|entry| entry.operation.binding.get("kind").cloned());
            match kind.as_ref().and_then(Value::as_str) {
                Some("outside") => outside += 1,
                _ => ours += 1,
            }
        });
    }
    if (outside, ours) == (1, 0) {
        return Ok(());
    }
    let detail = format!("`{tool}` is no tool of another agent: the harness does it itself");
    Err(Problem::usage("not-outside", detail).next(
        "submit it as an intent, or name one whose only call is of a connector of kind `outside`",
    ))
}

/// A call is taken, and reported, by whoever asked for it: what somebody else says came of it is not known to
/// them.
async fn check_whose(app: &App, caller: &Caller, run: &RunId) -> Result<(), Problem> {
    if caller.handed_in(&app.own_header(caller, run).await?) {
        return Ok(());
    }
    let detail = format!("the call of {run} is another one's to make");
    Err(Problem::new(Kind::NotAllowed, "not-your-call", detail)
        .next("take and report it with the credential it was asked for with"))
}

async fn verdict(
    app: &App,
    caller: &Caller,
    run: &RunId,
    wait_ms: Option<u64>,
) -> Result<GateView, Problem> {
    check_whose(app, caller, run).await?;
    let until = Instant::now() + Duration::from_millis(wait_ms.unwrap_or(WAIT_MS).min(WAIT_MAX_MS));
    let mut offered = app.connectors.outside().watch();
    let mut changed = app.feed.listen((caller.tenant().clone(), run.clone()));
    loop {
        let seen = stands(app, caller, run).await?;
        if seen.verdict != GateVerdict::Pending {
            return Ok(seen);
        }
        tokio::select! {
            _ = offered.changed() => {}
            _ = changed.next() => {}
            () = tokio::time::sleep_until(until) => return Ok(seen),
        }
    }
}

/// Where a call stands now; taken, if it may be made.
async fn stands(app: &App, caller: &Caller, run: &RunId) -> Result<GateView, Problem> {
    let detail = runs::get(app, caller, NamedRun { run: run.to_string() }).await?;
    let mut view = GateView {
        run: run.to_string(),
        verdict: GateVerdict::Pending,
        because: Vec::new(),
        approvals: Vec::new(),
        operation: None,
        arguments: Value::Null,
        key: None,
    };
    // A call on offer comes before what the run was when it was last written down.
    if let Some(taken) = app.connectors.outside().take(caller.tenant(), run) {
        view.verdict = GateVerdict::Allow;
        view.operation = Some(taken.operation.to_string());
        view.arguments = (*taken.args).clone();
        view.key = Some(taken.key.to_string());
        return Ok(view);
    }
    match detail.run.status.as_str() {
        "asking" => {
            view.verdict = GateVerdict::Ask;
            view.approvals = detail.waiting_for;
        }
        "succeeded" | "partial" => view.verdict = GateVerdict::Done,
        "failed" | "cancelled" | "rolled_back" | "partly_rolled_back" | "needs_person" => {
            view.verdict = GateVerdict::Deny;
            view.because = reasons(&detail);
        }
        _ => {}
    }
    Ok(view)
}

pub(super) fn reasons(detail: &RunDetail) -> Vec<String> {
    let said = detail.troubles.iter().map(|trouble| match trouble.said.is_empty() {
        true => trouble.class.clone(),
        false => format!("{}: {}", trouble.class, trouble.said),
    });
    let mut reasons: Vec<String> = said.collect();
    if reasons.is_empty() {
        reasons.push(format!("its run is {}", detail.run.status));
    }
    reasons
}
