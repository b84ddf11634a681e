//! Runs: list, get, resume, steer, replay.

use std::{sync::Arc, time::Duration};

use kernel::{
    conversation::MODEL_CONNECTOR,
    event::{Body, Record},
    id::{OperationId, PrincipalId, RunId},
    input::Input,
    run::{Divergence, Run, Status, replay as replay_run, replay_under},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Page, Query, RunFilter};

use super::{
    App, Caller,
    agents::{AgentView, agents_of},
    attachments::{AttachedView, attached_to},
    header_of, intents, parse_id,
    problem::{Kind, Problem},
    rollbacks::{RollbackView, rollback_of},
    timeline::{ActionLine, action_lines},
    todo::{TodoList, todo_of},
    trouble::{TroubleView, switched_off, troubles},
};

/// A run as lists show it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RunView {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub status: String,
    /// The intent.
    pub intent: String,
    /// Pack and version.
    pub pack: String,
    /// Who proposes.
    pub agent: String,
    /// For whom.
    pub on_behalf_of: String,
    /// Who handed it in, where that is somebody else: an agent of its own, with its own credential. Not told in lists.
    #[serde(default)]
    pub submitted_by: Option<String>,
    /// When it began, RFC 3339 UTC.
    pub opened_at: String,
    /// When it last changed, RFC 3339 UTC.
    pub changed_at: String,
    /// Events so far.
    pub events: u64,
    /// Hash of the last event.
    pub head: String,
    /// The failure that ended it; not told in lists.
    pub ended_by: Option<EndedBy>,
    /// What about its inputs no earlier run of the intent had: each place, and how it differs. Every
    /// change of such a run needs a person's approval. Not told in lists.
    #[serde(default)]
    pub unusual: Vec<String>,
}

/// The failure that ended a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EndedBy {
    /// The step whose recoveries were used up.
    pub step: String,
    /// Its failure class; `policy_error` where policy said no.
    pub class: String,
}

/// Which runs to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListRuns {
    /// In this state.
    pub status: Option<String>,
    /// Of this intent.
    pub intent: Option<String>,
    /// By this agent.
    pub agent: Option<String>,
    /// Of this pack: `customer-ops`, or `customer-ops@1.0.0`.
    pub pack: Option<String>,
    /// Begun at or after: RFC 3339, or a date in UTC.
    pub since: Option<String>,
    /// Begun before: RFC 3339, or a date in UTC.
    pub until: Option<String>,
    /// In which this operation was proposed, whether it was then called or not, such as
    /// `billing.create_refund`.
    pub operation: Option<String>,
    /// About this customer: the same as `subject` with `customer=`.
    pub customer: Option<String>,
    /// About this account: the same as `subject` with `account=`.
    pub account: Option<String>,
    /// About this subject, as `kind=value`, such as `customer=ACC-0042`.
    pub subject: Option<String>,
    /// Where the page before ended.
    pub after: Option<String>,
    /// How many at most.
    pub limit: Option<usize>,
}

/// A page of runs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RunList {
    /// Newest first.
    pub items: Vec<RunView>,
    /// Cursor of the next page.
    pub next: Option<String>,
}

/// A run by id.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedRun {
    /// The run.
    pub run: String,
}

/// What a run came to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RunDetail {
    /// Its row.
    pub run: RunView,
    /// What it is for: `live`, or `preview` where changes are shown and not made.
    #[serde(default)]
    pub mode: String,
    /// The result, once it ended.
    pub output: Option<Value>,
    /// Files that came with its task or intent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attached: Vec<AttachedView>,
    /// What a reader of the result must know.
    pub caveats: Vec<String>,
    /// What went wrong, and what was done about it.
    pub troubles: Vec<TroubleView>,
    /// Operations that recoveries have switched off for the rest of the run.
    pub switched_off: Vec<String>,
    /// What was done, in order.
    pub actions: Vec<ActionLine>,
    /// Agents that stopped, and why.
    #[serde(default)]
    pub agents: Vec<AgentView>,
    /// Whether an agent has a part in it, to which something can be said while the run is under way.
    #[serde(default)]
    pub hears: bool,
    /// Open asks and questions.
    pub waiting_for: Vec<String>,
    /// Open exceptions.
    pub exceptions: Vec<String>,
    /// Tokens that can take effects back.
    pub tokens: Vec<String>,
    /// The last rollback: its result, and each effect.
    pub rollback: Option<RollbackView>,
    /// What it still has to do by its own list; absent where it keeps none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub todo: Option<TodoList>,
}

/// Stops or steers a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Steer {
    /// The run.
    pub run: String,
    /// `cancel`, `pause`, `resume`, `signal` or `tell`.
    pub verb: String,
    /// Why, for cancel.
    #[serde(default)]
    pub reason: String,
    /// What to tell whoever plans, for tell.
    #[serde(default)]
    pub text: String,
    /// The signal's name.
    #[serde(default)]
    pub signal: Option<String>,
    /// The signal's body.
    #[serde(default)]
    pub body: Value,
    /// How long to wait for the run to park, in ms.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// Which run to replay, and under what.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayRun {
    /// The run.
    pub run: String,
    /// Under the pack as it is configured now instead of the one the run is pinned to.
    #[serde(default)]
    pub current: bool,
}

/// A replay and its result.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReplayView {
    /// The run.
    pub run: String,
    /// The pack it was replayed under, with its digest.
    pub pack: String,
    /// Whether every event came out byte-identical.
    pub identical: bool,
    /// Events compared.
    pub events: u64,
    /// Hash of the last one.
    pub head: Option<String>,
    /// The first difference.
    pub difference: Option<String>,
}

/// Lists runs, newest first.
///
/// # Errors
/// A filter or cursor that makes no sense.
pub async fn list(app: &App, caller: &Caller, request: ListRuns) -> Result<RunList, Problem> {
    let filter = filter(caller, &request)?;
    let page = Page { after: request.after, limit: request.limit.unwrap_or(50) };
    let listed = app.store.runs(caller.tenant(), filter, page).await?;
    Ok(RunList { items: listed.items.iter().map(entry_view).collect(), next: listed.next })
}

/// What a run must be, in the words of the store.
pub(super) fn filter(caller: &Caller, request: &ListRuns) -> Result<RunFilter, Problem> {
    Ok(RunFilter {
        status: request.status.as_deref().map(parse_status).transpose()?,
        from: request.since.as_deref().map(parse_time).transpose()?,
        until: request.until.as_deref().map(parse_time).transpose()?,
        subjects: subjects(caller, request)?,
        operation: request.operation.as_deref().map(parse_operation).transpose()?,
        intent: request.intent.clone(),
        agent: request.agent.clone(),
        pack: request.pack.clone(),
    })
}

/// The subjects that a run must be about, all of them.
fn subjects(caller: &Caller, request: &ListRuns) -> Result<Vec<String>, Problem> {
    let named = [("customer", &request.customer), ("account", &request.account)];
    let mut all: Vec<(&str, &str)> = named
        .iter()
        .filter_map(|(kind, value)| value.as_deref().map(|value| (*kind, value)))
        .collect();
    if let Some(text) = &request.subject {
        all.push(text.split_once('=').ok_or_else(|| {
            Problem::usage(
                "bad-subject",
                "a subject is written kind=value, such as customer=ACC-0042",
            )
            .next("write --subject KIND=VALUE")
        })?);
    }
    let opaque = |(kind, value): (&str, &str)| intents::subject(caller.tenant(), kind, value);
    Ok(all.into_iter().map(opaque).collect())
}

fn parse_operation(text: &str) -> Result<OperationId, Problem> {
    text.parse().map_err(|error: kernel::id::BadId| {
        Problem::usage("bad-operation", error.to_string())
            .next("write it as `harness pack get` lists it, such as crm.get_account")
    })
}

fn parse_status(text: &str) -> Result<Status, Problem> {
    serde_json::from_value(Value::String(text.to_owned())).map_err(|_| {
        Problem::usage("bad-status", format!("`{text}` is not a status")).next(
            "use one of running, waiting, asking, paused, halted, needs_person, rolling_back, succeeded, partial, failed, cancelled, rolled_back, partly_rolled_back",
        )
    })
}

/// Reads RFC 3339, or a date in UTC, as Unix milliseconds.
fn parse_time(text: &str) -> Result<i64, Problem> {
    let whole = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    let time: Result<jiff::Timestamp, _> = whole.parse();
    time.map(jiff::Timestamp::as_millisecond).map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        Problem::usage("bad-time", format!("`{shown}` is no time"))
            .next("write it as 2026-11-24 or 2026-11-24T08:00:00Z")
    })
}

/// RFC 3339 in UTC, to the millisecond.
#[must_use]
pub fn rfc3339(at: i64) -> String {
    jiff::Timestamp::from_millisecond(at).map(|t| t.to_string()).unwrap_or_else(|_| at.to_string())
}

fn entry_view(entry: &store::RunEntry) -> RunView {
    let row = entry.row.as_ref();
    let text =
        |pick: fn(&kernel::project::RunRow) -> &String| row.map(pick).cloned().unwrap_or_default();
    RunView {
        id: entry.run.to_string(),
        status: row.map_or("running", |r| r.status.word()).to_owned(),
        intent: text(|r| &r.intent),
        pack: text(|r| &r.pack),
        agent: text(|r| &r.agent),
        on_behalf_of: text(|r| &r.on_behalf_of),
        opened_at: row.map(|r| rfc3339(r.opened_at)).unwrap_or_default(),
        changed_at: row.map(|r| rfc3339(r.at)).unwrap_or_default(),
        events: entry.next_seq,
        head: entry.head.to_string(),
        submitted_by: None,
        ended_by: None,
        unusual: Vec::new(),
    }
}

fn ended_by(records: &[Record]) -> Option<EndedBy> {
    records.iter().rev().find_map(|record| match &record.event.body {
        Body::Abandoned { step, class } => {
            Some(EndedBy { step: step.clone(), class: class.name().to_owned() })
        }
        _ => None,
    })
}

fn has_failed(entry: &store::RunEntry) -> bool {
    let failed = [Status::Failed, Status::RolledBack, Status::PartlyRolledBack];
    entry.row.as_ref().is_some_and(|row| failed.contains(&row.status))
}

/// One run's row.
pub(crate) async fn view_of(app: &App, caller: &Caller, id: &RunId) -> Result<RunView, Problem> {
    let entry = entry_of(app, caller, id).await?;
    let mut records = app.store.events(caller.tenant(), id, 0, 1).await?;
    // The failure that ended it stands near the end: read from there, as far back as it takes.
    let mut upto = if has_failed(&entry) { entry.next_seq } else { 0 };
    while upto > 0 {
        let from = upto.saturating_sub(store::PAGE_MAX as u64);
        let count = usize::try_from(upto - from).unwrap_or(store::PAGE_MAX);
        let piece = app.store.events(caller.tenant(), id, from, count).await?;
        upto = if ended_by(&piece).is_some() { 0 } else { from };
        records.extend(piece);
    }
    Ok(view_from(&entry, &records))
}

/// A run's row with what its journal, or the parts of it that matter, adds.
fn view_from(entry: &store::RunEntry, records: &[Record]) -> RunView {
    let mut view = entry_view(entry);
    if let Some(header) = records.first().and_then(header_of) {
        view.submitted_by = header.submitted_by.as_ref().map(ToString::to_string);
        view.unusual = header.unusual.iter().map(ToString::to_string).collect();
    }
    if has_failed(entry) {
        view.ended_by = ended_by(records);
    }
    view
}

/// One run as lists know it.
pub(super) async fn entry_of(
    app: &App,
    caller: &Caller,
    id: &RunId,
) -> Result<store::RunEntry, Problem> {
    let entry = app.store.run(caller.tenant(), id).await?;
    entry.ok_or_else(|| Problem::not_found("run", id.as_str()))
}

/// One run in full.
///
/// # Errors
/// When there is no such run, or its journal was changed.
pub async fn get(app: &App, caller: &Caller, request: NamedRun) -> Result<RunDetail, Problem> {
    let id: RunId = parse_id(&request.run)?;
    app.check_own(caller, &id).await?;
    // The row first: what it says has happened stands in what is read after it.
    let entry = entry_of(app, caller, &id).await?;
    let records = app.records(caller, &id).await?;
    let run = app.fold(&id, &records).await?;
    Ok(detail_of(&entry, &run, &records))
}

/// A run in full, from its row and its journal.
pub(super) fn detail_of(entry: &store::RunEntry, run: &Run, records: &[Record]) -> RunDetail {
    let finished = records.iter().rev().find_map(|record| match &record.event.body {
        Body::Finished { output, caveats, .. } => Some((output.value(), caveats.clone())),
        _ => None,
    });
    let asks = run.asks().into_iter().map(|ask| ask.id.to_string());
    let questions = run.questions().into_iter().map(|question| question.id.to_string());
    let troubles = troubles(records, Some(run));
    RunDetail {
        run: view_from(entry, records),
        mode: run.header().mode.word().to_owned(),
        output: finished.as_ref().map(|(output, _)| (**output).clone()),
        attached: attached_to(records).0.values().map(AttachedView::from).collect(),
        caveats: finished.map(|(_, c)| c.into_iter().map(|c| c.text).collect()).unwrap_or_default(),
        switched_off: switched_off(&troubles),
        troubles,
        actions: action_lines(records),
        agents: agents_of(records),
        hears: hears(run),
        waiting_for: asks.chain(questions).collect(),
        exceptions: run.exceptions().into_iter().map(|e| e.id.to_string()).collect(),
        tokens: run.usable_tokens().into_iter().map(|t| t.id.to_string()).collect(),
        rollback: rollback_of(records),
        todo: todo_of(run, records),
    }
}

/// A run that may ask a model has an agent. What is over hears nothing.
fn hears(run: &Run) -> bool {
    let mut granted = run.header().grant.operations.iter();
    !run.status().is_over() && granted.any(|id| id.connector() == MODEL_CONNECTOR)
}

/// Waits until the run parks, at most so long.
pub(crate) async fn wait(app: &App, caller: &Caller, id: &RunId, wait_ms: u64) {
    let settled = app.engine.settled(caller.tenant(), id);
    // Running out of time is not a failure: the answer says where the run stands.
    let _elapsed = tokio::time::timeout(Duration::from_millis(wait_ms), settled).await;
}

/// Hands an input to a run and maps a refusal to a problem.
pub(crate) async fn hand_in(
    app: &App,
    caller: &Caller,
    id: &RunId,
    input: Input,
) -> Result<(), Problem> {
    let by: PrincipalId = caller.principal().id.clone();
    let signal = uuid::Uuid::now_v7().to_string();
    // Only what exists takes inputs: an inbox for a typo would wait for ever.
    view_of(app, caller, id).await?;
    let key = (caller.tenant().clone(), id.clone());
    let taken = app.engine.input(key, (signal, by), input).await?;
    taken.map_err(refusal)
}

/// What a caller is told when a run does not take an input.
pub(crate) fn refusal(refused: kernel::run::Refused) -> Problem {
    let kind = match refused {
        kernel::run::Refused::Answer(refusal) => match refusal {
            kernel::approval::Refusal::NotAsked
            | kernel::approval::Refusal::OtherAction
            | kernel::approval::Refusal::Expired => Kind::Conflict,
            _ => Kind::NotAllowed,
        },
        kernel::run::Refused::Shape { .. } => Kind::Usage,
        kernel::run::Refused::NotYours { .. } => Kind::NotAllowed,
        kernel::run::Refused::Late(_) | kernel::run::Refused::NotNow(_) => Kind::Conflict,
    };
    Problem::new(kind, "refused", refused.to_string())
        .next("`harness run get` shows where the run stands and what it waits for")
}

/// Drives a run until it parks or ends: after a crash, or when nothing serves.
///
/// # Errors
/// When it cannot be driven.
pub async fn resume(app: &App, caller: &Caller, request: NamedRun) -> Result<RunView, Problem> {
    let id: RunId = parse_id(&request.run)?;
    let before = view_of(app, caller, &id).await?;
    if before.status == "paused" {
        let by = caller.principal().clone();
        hand_in(app, caller, &id, Input::Resume { by }).await?;
        app.engine.settled(caller.tenant(), &id).await;
    } else {
        app.engine.run_until_parked(caller.tenant().clone(), id.clone()).await?;
    }
    view_of(app, caller, &id).await
}

/// Cancels, pauses or signals.
///
/// # Errors
/// When the run cannot take it now.
pub async fn steer(app: &App, caller: &Caller, request: Steer) -> Result<RunView, Problem> {
    let id: RunId = parse_id(&request.run)?;
    let by = caller.principal().clone();
    let input = match request.verb.as_str() {
        "cancel" => Input::Cancel { by, reason: request.reason },
        "pause" => Input::Pause { by },
        "resume" => Input::Resume { by },
        "tell" => Input::Steer { by, text: request.text },
        "signal" => {
            let name = request.signal.ok_or_else(|| {
                Problem::usage("no-signal", "a signal needs its name")
                    .next("`harness run signal RUN NAME`")
            })?;
            Input::Signal { name, body: Arc::new(request.body) }
        }
        other => {
            return Err(Problem::usage("bad-verb", format!("`{other}` is not a verb of runs"))
                .next("use one of cancel, pause, signal, tell"));
        }
    };
    hand_in(app, caller, &id, input).await?;
    wait(app, caller, &id, request.wait_ms.unwrap_or(2_000)).await;
    view_of(app, caller, &id).await
}

/// Replays a run from its journal: no connector is in reach.
///
/// # Errors
/// When there is no such run or its pins are gone. A difference is an answer, not an error.
pub async fn replay(app: &App, caller: &Caller, request: ReplayRun) -> Result<ReplayView, Problem> {
    let id: RunId = parse_id(&request.run)?;
    let records = app.records(caller, &id).await?;
    let header = records
        .first()
        .and_then(header_of)
        .ok_or_else(|| Problem::not_found("run", &request.run))?;
    let named: Vec<kernel::Digest> = records
        .iter()
        .filter_map(|record| match &record.event.body {
            Body::PolicyChanged { digest } => Some(*digest),
            _ => None,
        })
        .collect();
    let gone = |problem: String| {
        Problem::new(Kind::Unexpected, "run-not-loadable", problem).next(
            "`harness doctor` checks the store; restore it from a backup if something is gone",
        )
    };
    // Policies stay those of the run: what other policies would have said is another question.
    let judge = app.shelf.recorded_judge(header, &named).await.map_err(gone)?;
    let (pack, result) = if request.current {
        let now = intents::plan_now(app, caller, &records)?;
        let pack = format!("{}@{} ({})", now.name, now.version, now.digest.short());
        (pack, replay_under(&records, now.pins, (&judge, &*now.validate)))
    } else {
        let loaded = app.shelf.pins(&id, header).await.map_err(gone)?;
        let pack = format!("{} ({})", header.pack, header.pack_digest.short());
        (pack, replay_run(&records, loaded.pins, (&judge, &*loaded.validate)))
    };
    Ok(replay_view((&request.run, pack), &records, result))
}

fn replay_view(
    (run, pack): (&str, String),
    records: &[Record],
    result: Result<kernel::run::Replayed, Divergence>,
) -> ReplayView {
    let (identical, head, difference) = match result {
        Ok(replayed) => (true, Some(replayed.head.to_string()), None),
        Err(difference) => (false, None, Some(difference.to_string())),
    };
    let (run, events) = (run.to_owned(), records.len() as u64);
    ReplayView { run, pack, identical, events, head, difference }
}
