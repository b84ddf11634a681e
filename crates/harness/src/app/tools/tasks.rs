//! Tasks: calls under a name that their caller gave them, for those who speak in messages. The same message is the same
//! run for good, whatever became of it; a task is its caller's alone, as every call is.

use std::collections::BTreeSet;

use kernel::{
    Digest, canon,
    event::{Body, Record},
    id::RunId,
    input::Input,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Document, Documents as _, Expected, Kept};
use tokio::time::{Duration, Instant};

use super::{
    OPERATION, Offer, ToolCall, ToolKind, ToolState, ToolView, WAIT_MAX_MS, What, begin,
    check_whose, look, offer,
};
use crate::app::{
    App, Caller, agents,
    intents::{self, Submit},
    ops, parse_id,
    problem::{Kind, Problem},
    runs::{self, EndedBy, RunView},
    sinks,
};

/// The operation whose right is asked for: a task is a call.
const LIKE: &str = "tool.call";

/// The kind of document a message is remembered as, by its caller and its name.
const MESSAGE: &str = "task-message";

/// The kind of document that a caller's tasks are found by, newest first.
const TASK: &str = "task";

/// How long a message and its task are remembered, in ms: longer than anything waits for a person.
const KEPT_MS: i64 = 30 * 24 * 3_600_000;

/// Most tasks of one caller that a list goes through: the newest.
pub const LISTED_MAX: usize = 1_000;

/// Longest name of a message or a conversation, in bytes.
pub const NAME_BYTES_MAX: usize = 200;

/// Times a message is written down again when somebody else was faster.
const TRIES: usize = 5;

/// What somebody wants done.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// What they call their message.
    pub message: String,
    /// The conversation it belongs to, where they say one.
    pub context: Option<String>,
    /// What is to be used, by its name; otherwise the words say which intent is meant.
    pub skill: Option<String>,
    /// Their words.
    pub text: String,
    /// Arguments, an object.
    pub arguments: Option<Value>,
}

/// A task.
#[derive(Clone, Debug)]
pub struct Task {
    /// Where it stands.
    pub call: ToolCall,
    /// The conversation it belongs to.
    pub context: String,
    /// When it last changed, in Unix ms.
    pub changed_at: i64,
}

/// A task as lists are made from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskLine {
    /// Its run.
    pub run: String,
    /// Where it stands. Of one that needs a person, no more than that is said.
    pub state: ToolState,
    /// The conversation it belongs to.
    pub context: String,
    /// When it last changed, in Unix ms.
    pub changed_at: i64,
}

/// A message that was taken.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Taken {
    /// Digest of what it said.
    about: String,
    /// What it was found to mean.
    skill: String,
    run: RunId,
    /// The idempotency key of its run: nobody can guess it, and take it first.
    key: String,
}

/// What a caller's task is remembered with.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Belongs {
    context: String,
}

/// What tasks can be: intents and agents.
///
/// # Errors
/// When the caller may not propose.
pub fn skills(app: &App, caller: &Caller) -> Result<Vec<ToolView>, Problem> {
    ops::check(caller, LIKE)?;
    let all = offer::offers(app).into_values().map(|offer| offer.view);
    Ok(all.filter(|view| view.kind != ToolKind::Operation).collect())
}

/// Begins a task, or finds the one that the same message began; durable on return.
///
/// # Errors
/// When nothing or several things are meant, the arguments do not fit, or the message's name was used for something else.
pub async fn send(app: &App, caller: &Caller, mut order: Order) -> Result<Task, Problem> {
    ops::check(caller, LIKE)?;
    check_names(&order)?;
    order.arguments = order.arguments.map(|arguments| sinks::said(app, LIKE, arguments));
    if let Value::String(text) = sinks::said(app, LIKE, Value::String(order.text)) {
        order.text = text;
    } else {
        order.text = String::new();
    }
    let (key, about) = (message_key(caller, &order.message), about(&order)?);
    let run = match taken(app, caller, (&key, &about)).await? {
        Some(taken) => again(app, caller, (taken, order.clone())).await?,
        None => fresh(app, caller, (order.clone(), about), key).await?,
    };
    keep_task(app, caller, &run, order.context).await?;
    get(app, caller, run.as_str()).await
}

/// One task of this caller.
///
/// # Errors
/// When there is none.
pub async fn get(app: &App, caller: &Caller, run: &str) -> Result<Task, Problem> {
    ops::check(caller, LIKE)?;
    let run = own(app, caller, run).await?;
    seen(app, caller, &run).await
}

/// Waits until a task is as somebody wants it, at most so long.
///
/// # Errors
/// When there is no such task of this caller.
pub async fn until(
    app: &App,
    caller: &Caller,
    (run, until): (&str, Instant),
    is_wanted: impl Fn(&Task) -> bool,
) -> Result<Task, Problem> {
    ops::check(caller, LIKE)?;
    let run = own(app, caller, run).await?;
    let mut changed = app.feed.listen((caller.tenant().clone(), run.clone()));
    loop {
        let now = seen(app, caller, &run).await?;
        if is_wanted(&now) || Instant::now() >= until {
            return Ok(now);
        }
        tokio::select! {
            _ = changed.next() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

/// The newest tasks of this caller, those that changed last first.
///
/// # Errors
/// When the caller may not propose.
pub async fn list(app: &App, caller: &Caller) -> Result<Vec<TaskLine>, Problem> {
    ops::check(caller, LIKE)?;
    let who = who(caller);
    let page = (Some(format!("{who}:")), LISTED_MAX);
    let kept = app.store.documents(caller.tenant(), TASK, page).await?;
    let mut lines = Vec::new();
    for document in kept.iter().take_while(|document| document.id.starts_with(&who)) {
        lines.extend(line(app, caller, document).await?);
    }
    lines.sort_by(|a, b| b.changed_at.cmp(&a.changed_at).then_with(|| b.run.cmp(&a.run)));
    Ok(lines)
}

async fn line(app: &App, caller: &Caller, document: &Kept) -> Result<Option<TaskLine>, Problem> {
    let Some(Ok(run)) = document.id.rsplit(':').next().map(parse_id::<RunId>) else {
        return Ok(None);
    };
    let belongs: Belongs = serde_json::from_slice(&document.body).map_err(unreadable)?;
    let Ok(entry) = runs::entry_of(app, caller, &run).await else { return Ok(None) };
    let view = runs::view_of(app, caller, &run).await?;
    let changed_at = entry.row.as_ref().map_or(0, |row| row.at);
    let state = state_of_row(&view);
    Ok(Some(TaskLine { run: run.to_string(), state, context: belongs.context, changed_at }))
}

/// As [`super::state_of`], from what lists know.
fn state_of_row(view: &RunView) -> ToolState {
    let said_no = |ended: &EndedBy| ended.class == "policy_error";
    match view.status.as_str() {
        "asking" => ToolState::PendingApproval,
        "paused" | "halted" => ToolState::Held,
        "succeeded" | "partial" => ToolState::Done,
        "failed" if view.ended_by.as_ref().is_some_and(said_no) => ToolState::Denied,
        "failed" => ToolState::Failed,
        "cancelled" | "rolled_back" | "partly_rolled_back" => ToolState::Cancelled,
        "needs_person" => ToolState::NeedsPerson,
        _ => ToolState::Running,
    }
}

/// Ends a task whose caller does not want it any more, as long as nothing was changed by it: what was changed has a way
/// back, which an operator takes.
///
/// # Errors
/// When there is none, it is over, or it has begun to change something.
pub async fn cancel(app: &App, caller: &Caller, run: &str) -> Result<Task, Problem> {
    ops::check(caller, LIKE)?;
    let run = own(app, caller, run).await?;
    let before = seen(app, caller, &run).await?;
    if before.call.state.is_told() {
        return Err(Problem::new(Kind::Conflict, "task-over", format!("{run} is over"))
            .next("ask for it: it says how it ended"));
    }
    let records = app.own_records(caller, &run).await?;
    if has_written(app, &run, &records).await? {
        let detail = format!("{run} has begun to change something");
        return Err(Problem::new(Kind::Conflict, "task-began", detail).next(format!(
            "have an operator end it: `harness run cancel {run}`, and `harness run rollback {run}` takes back what can be"
        )));
    }
    let reason = "whoever asked for it does not want it any more".to_owned();
    let cancel = Input::Cancel { by: caller.principal().clone(), reason };
    runs::hand_in(app, caller, &run, cancel).await?;
    let late = Instant::now() + Duration::from_millis(WAIT_MAX_MS);
    until(app, caller, (run.as_str(), late), |now| now.call.state.is_told()).await
}

/// Whether anything that changes something was handed out. What cannot be told counts as a change.
async fn has_written(app: &App, run: &RunId, records: &[Record]) -> Result<bool, Problem> {
    let dispatched: BTreeSet<u64> = records
        .iter()
        .filter_map(|record| match &record.event.body {
            Body::Dispatched { action, .. } => Some(*action),
            _ => None,
        })
        .collect();
    let folded = app.fold(run, records).await?;
    let lines = crate::app::timeline::action_lines(records);
    let writes = |operation: &str| match operation.parse() {
        Ok(id) => folded.operation(&id).is_none_or(|operation| operation.is_write()),
        Err(_) => true,
    };
    let mut handed_out = lines.iter().filter(|line| dispatched.contains(&line.action));
    Ok(handed_out.any(|line| writes(&line.operation)))
}

/// The run of a task of this caller. One that they handed in by another door is none.
async fn own(app: &App, caller: &Caller, run: &str) -> Result<RunId, Problem> {
    let none = || {
        let shown: String = run.chars().take(NAME_BYTES_MAX).collect();
        Problem::new(Kind::NotFound, "task-not-found", format!("there is no task {shown} of yours"))
            .next("ask for a task with the credential it was sent with")
    };
    let run: RunId = run.parse().map_err(|_| none())?;
    check_whose(app, caller, &run).await.map_err(|_| none())?;
    match belongs(app, caller, &run).await? {
        Some(_) => Ok(run),
        None => Err(none()),
    }
}

async fn seen(app: &App, caller: &Caller, run: &RunId) -> Result<Task, Problem> {
    let changed_at = runs::entry_of(app, caller, run).await?.row.as_ref().map_or(0, |row| row.at);
    let call = look(app, caller, run).await?;
    let told = sinks::told(app, LIKE, serde_json::to_value(call).map_err(unreadable))?;
    let call: ToolCall = serde_json::from_value(told).map_err(unreadable)?;
    let belongs = belongs(app, caller, run).await?;
    let context = belongs.map_or_else(|| context_of(run), |belongs| belongs.context);
    Ok(Task { call, context, changed_at })
}

fn check_names(order: &Order) -> Result<(), Problem> {
    let fits = |name: &str| {
        (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
    };
    let wrong = |what: &str| {
        let detail = format!("{what} has 1 to {NAME_BYTES_MAX} bytes and no control characters");
        Err(Problem::usage("name-invalid", detail).next("use a UUID"))
    };
    if !fits(&order.message) {
        return wrong("the id of a message");
    }
    if order.context.as_ref().is_some_and(|context| !fits(context)) {
        return wrong("the id of a context");
    }
    let depth = order.arguments.as_ref().map(canon::check_depth);
    if depth.is_some_and(|checked| checked.is_err()) {
        let detail = format!("the arguments are nested deeper than {} levels", ops::DEPTH_MAX);
        return Err(Problem::usage("too-deep", detail).next("make them flatter"));
    }
    Ok(())
}

fn who(caller: &Caller) -> String {
    let parts = [caller.principal().id.as_str().as_bytes()];
    Digest::of_parts("harness/task-of/v1", &parts).hex()
}

fn message_key(caller: &Caller, message: &str) -> String {
    let parts = [caller.principal().id.as_str().as_bytes(), message.as_bytes()];
    Digest::of_parts("harness/task-message/v1", &parts).hex()
}

/// What a message says, so that its name cannot come to mean something else.
fn about(order: &Order) -> Result<String, Problem> {
    let said = json!({
        "skill": order.skill, "text": order.text, "arguments": order.arguments, "context": order.context,
    });
    let bytes = canon::bytes(&said).map_err(|error| {
        Problem::usage("bad-arguments", error.to_string())
            .next("send numbers that JSON keeps exactly")
    })?;
    Ok(Digest::of(&bytes).hex())
}

/// What a message was taken as before.
async fn taken(
    app: &App,
    caller: &Caller,
    (key, about): (&str, &str),
) -> Result<Option<Taken>, Problem> {
    let Some(found) = app.store.document(caller.tenant(), MESSAGE, key).await? else {
        return Ok(None);
    };
    let taken: Taken = serde_json::from_slice(&found.body).map_err(unreadable)?;
    if taken.about == about {
        return Ok(Some(taken));
    }
    let detail = format!("a message of this id said something else, and began {}", taken.run);
    Err(Problem::new(Kind::Conflict, "message-id-reused", detail)
        .next("give each message its own id"))
}

/// The run of a message that came before. It may have been written down and no more.
async fn again(
    app: &App,
    caller: &Caller,
    (taken, order): (Taken, Order),
) -> Result<RunId, Problem> {
    if runs::entry_of(app, caller, &taken.run).await.is_ok() {
        // Whoever drove it may have died since: sent again, it goes on.
        app.engine.wake((caller.tenant().clone(), taken.run.clone()));
        return Ok(taken.run);
    }
    let offer = offer::offer(app, &taken.skill)?;
    let arguments = arguments_for(&offer, order)?;
    begin(app, caller, (&offer, arguments), taken.key).await
}

async fn fresh(
    app: &App,
    caller: &Caller,
    (order, about): (Order, String),
    key: String,
) -> Result<RunId, Problem> {
    let offer = meant(app, &order)?;
    let intent = match &offer.what {
        What::Intent(name) => name.as_str(),
        What::Agent(_) => agents::TASK,
        What::Operation(_) => OPERATION,
    };
    let chance = uuid::Uuid::now_v7().to_string();
    let run = RunId::of_intent(caller.tenant(), intent, &chance);
    let taken_as =
        Taken { about: about.clone(), skill: offer.view.name.clone(), run, key: chance.clone() };
    let body = serde_json::to_vec(&taken_as).map_err(unreadable)?;
    for _ in 0..TRIES {
        let due = Some(app.now() + KEPT_MS);
        let document = Document { kind: MESSAGE, id: key.clone(), due, body: body.clone() };
        match app.store.keep(caller.tenant(), document, Expected::Absent).await {
            Ok(_) => {
                let arguments = arguments_for(&offer, order);
                let begun = match arguments {
                    Ok(arguments) => begin(app, caller, (&offer, arguments), chance).await,
                    Err(problem) => Err(problem),
                };
                if begun.is_err() {
                    // What was refused has no run: corrected, it may come again under its name.
                    app.store.discard(caller.tenant(), MESSAGE, &key).await?;
                }
                return begun;
            }
            Err(store::Error::Stale { .. }) => {
                // Somebody sends the same at the same moment.
                if let Some(taken) = taken(app, caller, (&key, &about)).await? {
                    return again(app, caller, (taken, order)).await;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::new(Kind::TryAgain, "message-busy", "the same message is being taken just now")
        .next("send it again"))
}

/// What is meant: by its name, or by the words.
fn meant(app: &App, order: &Order) -> Result<Offer, Problem> {
    if let Some(skill) = &order.skill {
        let offer = offer::offer(app, skill)?;
        // Single operations are offered to tools alone.
        return match offer.what {
            What::Operation(_) => Err(no_skill(skill)),
            _ => Ok(offer),
        };
    }
    if order.text.trim().is_empty() {
        return Err(Problem::usage(
            "no-skill",
            "the message says neither in words nor by a skill what is wanted",
        )
        .next("name a skill in `metadata.skill`; the extended card lists them"));
    }
    let asked = Submit {
        text: Some(order.text.clone()),
        inputs: order.arguments.clone().unwrap_or_default(),
        ..Submit::default()
    };
    let chosen = intents::choose(app, &asked).map_err(|problem| {
        problem.next("name a skill in `metadata.skill`; the extended card lists them")
    })?;
    let of = format!("{}/{}", chosen.shelved.pack.manifest.name, chosen.intent);
    let found = offer::offers(app)
        .into_values()
        .find(|offer| offer.view.kind == ToolKind::Intent && offer.view.of == of);
    found.ok_or_else(|| no_skill(&chosen.intent))
}

fn no_skill(name: &str) -> Problem {
    let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
    Problem::new(Kind::NotFound, "skill-not-found", format!("there is no skill `{shown}`"))
        .next("the extended card lists those there are")
}

/// The arguments of what is meant. To an agent, words are its task.
fn arguments_for(offer: &Offer, order: Order) -> Result<Value, Problem> {
    let Order { text, arguments, .. } = order;
    let says_task = arguments.as_ref().is_some_and(|given| given.get("task").is_some());
    let mut arguments = arguments.unwrap_or_else(|| json!({}));
    let words = text.trim();
    if offer.view.kind == ToolKind::Agent && !says_task && !words.is_empty() {
        let Some(map) = arguments.as_object_mut() else {
            return Err(Problem::usage("inputs-invalid", "the arguments are no object")
                .next("send one data part that is an object"));
        };
        map.insert("task".to_owned(), json!(words));
    }
    Ok(arguments)
}

/// Of a task whose caller named no conversation.
fn context_of(run: &RunId) -> String {
    let mark = Digest::of_parts("harness/task-context/v1", &[run.as_str().as_bytes()]).hex();
    format!("ctx_{}", mark.get(..24).unwrap_or_default())
}

/// By what a task is found: its caller, then the newest first, then its run.
async fn place(app: &App, caller: &Caller, run: &RunId) -> Result<String, Problem> {
    let entry = runs::entry_of(app, caller, run).await?;
    let opened = entry.row.as_ref().map_or(0, |row| row.opened_at);
    let back = u64::MAX - opened.unsigned_abs();
    Ok(format!("{}:{back:016x}:{run}", who(caller)))
}

async fn belongs(app: &App, caller: &Caller, run: &RunId) -> Result<Option<Belongs>, Problem> {
    let id = place(app, caller, run).await?;
    let found = app.store.document(caller.tenant(), TASK, &id).await?;
    found.map(|found| serde_json::from_slice(&found.body).map_err(unreadable)).transpose()
}

async fn keep_task(
    app: &App,
    caller: &Caller,
    run: &RunId,
    context: Option<String>,
) -> Result<(), Problem> {
    let id = place(app, caller, run).await?;
    let context = context.unwrap_or_else(|| context_of(run));
    let body = serde_json::to_vec(&Belongs { context }).map_err(unreadable)?;
    let document = Document { kind: TASK, id, due: Some(app.now() + KEPT_MS), body };
    match app.store.keep(caller.tenant(), document, Expected::Absent).await {
        Ok(_) | Err(store::Error::Stale { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl App {
    /// Forgets messages and tasks that are long over.
    pub(in crate::app) async fn sweep_tasks(&self) {
        for kind in [MESSAGE, TASK] {
            let Ok(old) = self.store.due_documents(kind, self.now(), 1_000).await else { return };
            for document in old {
                drop(self.store.discard(&document.tenant, kind, &document.id).await);
            }
        }
    }
}

fn unreadable(error: serde_json::Error) -> Problem {
    Problem::new(Kind::Unexpected, "task-unreadable", error.to_string())
}
