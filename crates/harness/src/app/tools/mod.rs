//! Tools for agents that are not ours: intents, agents of packs and chosen operations, called one by one. A call is a
//! run on the path that every run takes; who calls may learn of it, wait for it and let go of it, and nobody else.

mod accepted;
pub mod changes;
pub(in crate::app) mod ends;
mod held;
pub mod learn;
mod offer;
pub(in crate::app) mod people;
pub mod proxy;
mod seen;
pub mod tasks;
mod waits;
mod would;

use std::{collections::BTreeMap, sync::Arc};

use kernel::{event::Body, id::RunId, input::Input, label::Trust};
use pack::{Intent, Written};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    App, Caller, agents,
    followed::Following,
    intents::{self, Chosen, Nothing, Submit},
    parse_id,
    problem::{Kind, Problem},
    runs,
    shelf::Shelved,
};
pub(super) use accepted::RoutedTools;
use ends::{ToolQuestion, ToolSaid};
pub(super) use held::About;
use held::{New, TRIES};
use offer::{Offer, What};
use seen::look;
use waits::{Through, watched};
pub use would::Would;

/// Longest that one answer waits, in ms.
const WAIT_MAX_MS: u64 = 45_000;

/// The intent of a run that makes one call.
const OPERATION: &str = "operation";

/// A tool.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ToolView {
    /// What it is called by.
    pub name: String,
    /// What people read.
    pub title: String,
    /// What a model reads.
    pub description: String,
    /// `intent`, `agent` or `operation`.
    pub kind: ToolKind,
    /// Which: `pack/name`, or the operation's id.
    pub of: String,
    /// JSON Schema of its arguments.
    pub input: Value,
    /// JSON Schema of its answer, where it is known.
    #[serde(default)]
    pub output: Option<Value>,
    /// Nothing that it can do changes anything.
    pub read_only: bool,
    /// Something that it can do may not come back.
    pub destructive: bool,
    /// Calling it twice is calling it once.
    pub idempotent: bool,
    /// Something may leave to a place that nobody declared.
    pub open_world: bool,
}

/// What a tool stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolKind {
    /// An intent.
    #[default]
    Intent,
    /// An agent of a pack.
    Agent,
    /// One operation.
    Operation,
}

/// All tools.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ToolList {
    /// By name.
    pub items: Vec<ToolView>,
}

/// A call of a tool.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallTool {
    /// The tool.
    pub tool: String,
    /// Its arguments.
    #[serde(default)]
    pub arguments: Value,
    /// The `state` of an earlier answer to the same call; absent = the call under way, or a new one.
    #[serde(default)]
    pub state: Option<String>,
    /// How long to wait for its end, or until a person is asked, in ms: 0 when nothing is said, at most 45,000.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// Waits for a call.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitTool {
    /// Its run.
    pub run: String,
    /// How long to wait for its end, in ms: 0 when nothing is said, at most 45,000.
    #[serde(default)]
    pub wait_ms: Option<u64>,
    /// Whether to go on waiting while a person is asked.
    #[serde(default)]
    pub through_asks: bool,
}

/// Lets go of a call.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveTool {
    /// Its run.
    pub run: String,
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolState {
    /// It is under way.
    Running,
    /// A person is asked.
    PendingApproval,
    /// Somebody holds it: paused or halted.
    Held,
    /// It ended well; `output` says with what.
    Done,
    /// Policy, or a person, said no.
    Denied,
    /// It failed.
    Failed,
    /// Somebody ended it, or took it back.
    Cancelled,
    /// Whether something happened is not known; a person finds out. Repeating it may do it twice.
    Unknown,
    /// A person has to look after it.
    NeedsPerson,
}

impl ToolState {
    /// Whether it can still end by itself or by an answer.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::PendingApproval | Self::Held)
    }

    /// Whether its outcome is all that will ever be said about it.
    fn is_told(self) -> bool {
        matches!(self, Self::Done | Self::Denied | Self::Failed | Self::Cancelled)
    }
}

/// What a person is asked.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ToolAsk {
    /// The ask.
    pub approval: String,
    /// Who is asked: roles and how many, or the role that answers.
    pub needs: Vec<String>,
    /// Until when an answer counts, RFC 3339 UTC; then it is denied.
    pub expires_at: String,
    /// Its page, where one is served.
    #[serde(default)]
    pub url: Option<String>,
}

/// Where a call of a tool stands.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ToolCall {
    /// Its run.
    pub run: String,
    /// Where it stands.
    pub state: ToolState,
    /// When it began, RFC 3339 UTC.
    #[serde(default)]
    pub opened_at: String,
    /// When something last became of it, RFC 3339 UTC.
    #[serde(default)]
    pub changed_at: String,
    /// What it came to.
    #[serde(default)]
    pub output: Option<Value>,
    /// What a reader of the output must know.
    #[serde(default)]
    pub caveats: Vec<String>,
    /// Why it is not done.
    #[serde(default)]
    pub because: Vec<String>,
    /// What is asked.
    #[serde(default)]
    pub asks: Vec<ToolAsk>,
    /// Receipts so far, in order.
    #[serde(default)]
    pub receipts: Vec<String>,
    /// To be given back with the same call, so that it is this one.
    #[serde(default)]
    pub resume: Option<String>,
    /// What the server behind us gave back, as it was: of a call that the proxy made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<Value>,
    /// What policy thinks of a call that the proxy made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Would>,
    /// The error of the protocol that the server behind us answered with, as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Value>,
    /// What its server asks of whoever makes the call, before it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<ToolQuestion>,
    /// What its server said meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub said: Vec<ToolSaid>,
    /// Whether the tool promises a structured answer, so that nothing else may stand in its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub promises: bool,
}

/// Lists what can be called.
///
/// # Errors
/// None.
pub async fn list(app: &App, _: &Caller, _: Nothing) -> Result<ToolList, Problem> {
    Ok(ToolList { items: offer::offers(app).into_values().map(|offer| offer.view).collect() })
}

/// Calls a tool: a run of its own, durable on return. The same call of the same caller is one run until its outcome was
/// told.
///
/// # Errors
/// When there is no such tool, its arguments do not fit, or the state is not one of this call.
pub async fn call(app: &App, caller: &Caller, request: CallTool) -> Result<ToolCall, Problem> {
    let arguments = if request.arguments.is_null() { json!({}) } else { request.arguments };
    let about = About::of(caller, &request.tool, &arguments)?;
    let begun = match &request.state {
        Some(state) => {
            let run = app.tool_opened(state, &about).await?;
            check_whose(app, caller, &run).await?;
            Begun::before(run)
        }
        None => begun(app, caller, (&request.tool, arguments), &about).await?,
    };
    stands(app, caller, (begun, &about), (request.wait_ms, Through::NoAsk)).await
}

/// The run of a call.
struct Begun {
    run: RunId,
    /// It began just now, and this process saw all of it.
    following: Option<Following>,
}

impl Begun {
    /// One that began at another time.
    fn before(run: RunId) -> Self {
        Self { run, following: None }
    }
}

/// Where a call stands, told to whoever made it: from then on it is over, or can be come back to.
async fn stands(
    app: &App,
    caller: &Caller,
    (begun, about): (Begun, &About),
    waits: (Option<u64>, Through),
) -> Result<ToolCall, Problem> {
    let mut seen = watched(app, caller, &begun, waits).await?;
    let run = &begun.run;
    if seen.state.is_told() {
        app.ends.end(&(caller.tenant().clone(), run.clone()));
        app.tool_told(caller, run, Some(about)).await?;
    } else {
        app.tool_runs(caller, run, about).await?;
        seen.resume = Some(app.tool_state(run, about).await?);
    }
    Ok(seen)
}

/// Waits for a call that is under way.
///
/// # Errors
/// When there is no such call of this caller.
pub async fn wait(app: &App, caller: &Caller, request: WaitTool) -> Result<ToolCall, Problem> {
    let run: RunId = parse_id(&request.run)?;
    check_whose(app, caller, &run).await?;
    let through = if request.through_asks { Through::Asks } else { Through::NoAsk };
    let begun = Begun::before(run);
    let seen = watched(app, caller, &begun, (request.wait_ms, through)).await?;
    let run = begun.run;
    if seen.state.is_told() {
        app.ends.end(&(caller.tenant().clone(), run.clone()));
        app.tool_told(caller, &run, None).await?;
    }
    Ok(seen)
}

/// What is said to what a server asks in the middle of a call.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerTool {
    /// The run of the call.
    pub run: String,
    /// The question, by its id.
    pub question: String,
    /// The results that it is answered with, by the keys of its parts, in the words of the protocol; absent = nobody
    /// answers.
    #[serde(default)]
    pub answers: Option<BTreeMap<String, Value>>,
}

/// Answers what a server asks in the middle of a call. Whatever is said is the client's word and goes to the server alone.
///
/// # Errors
/// When there is no such call of this caller, or parts of the question are left out.
pub async fn answer(app: &App, caller: &Caller, request: AnswerTool) -> Result<ToolCall, Problem> {
    let run: RunId = parse_id(&request.run)?;
    check_whose(app, caller, &run).await?;
    // One that is not asked any more needs no answer.
    let _was_asked = app.ends.answer(
        &(caller.tenant().clone(), run.clone()),
        &request.question,
        request.answers,
    );
    look(app, caller, &run).await
}

/// Lets go of a call: it is cancelled if nothing of it was handed out, and else goes on.
///
/// # Errors
/// When there is no such call of this caller.
pub async fn leave(app: &App, caller: &Caller, request: LeaveTool) -> Result<ToolCall, Problem> {
    let run: RunId = parse_id(&request.run)?;
    check_whose(app, caller, &run).await?;
    let records = app.own_records(caller, &run).await?;
    let has_begun = records.iter().any(|r| matches!(r.event.body, Body::Dispatched { .. }));
    let seen = look(app, caller, &run).await?;
    if has_begun || !seen.state.is_open() {
        return Ok(seen);
    }
    let reason = "whoever asked for it does not want it any more".to_owned();
    let cancel = Input::Cancel { by: caller.principal().clone(), reason };
    runs::hand_in(app, caller, &run, cancel).await?;
    app.tool_told(caller, &run, None).await?;
    watched(app, caller, &Begun::before(run), (Some(WAIT_MAX_MS), Through::NoAsk)).await
}

/// The run of a call: the one under way, or a new one.
async fn begun(
    app: &App,
    caller: &Caller,
    (tool, arguments): (&str, Value),
    about: &About,
) -> Result<Begun, Problem> {
    let offer = offer::offer(app, tool)?;
    let intent = match &offer.what {
        What::Intent(name) => name.as_str(),
        What::Agent(_) => agents::TASK,
        What::Operation(_) => OPERATION,
    };
    let run_of = |key: &str| RunId::of_intent(caller.tenant(), intent, key);
    for _ in 0..TRIES {
        // Most calls are made once: it is begun before anybody looks whether it is under way.
        let New { key, document } = app.tool_new(about)?;
        let following = app.followed.follow((caller.tenant(), &run_of(&key)), document);
        let problem = match begin(app, caller, (&offer, arguments.clone()), key).await {
            Ok(run) => return Ok(Begun { run, following: Some(following) }),
            Err(problem) => problem,
        };
        if let Some(begun) =
            under_way(app, caller, (about, &[intent]), (&following, problem)).await?
        {
            return Ok(begun);
        }
    }
    Err(held::busy())
}

/// What stands in the place of a call that could not be begun: the same call under way, or nothing, and it is to be tried
/// again.
///
/// # Errors
/// Why it could not be begun, where no other call is the reason.
async fn under_way(
    app: &App,
    caller: &Caller,
    (about, intents): (&About, &[&str]),
    (following, problem): (&Following, Problem),
) -> Result<Option<Begun>, Problem> {
    // One that is under way is told whatever would be said to a new one.
    let key = app.tool_found(caller, about).await?;
    let runs = key.iter().flat_map(|key| {
        intents.iter().map(move |intent| RunId::of_intent(caller.tenant(), intent, key))
    });
    let runs: Vec<RunId> = runs.collect();
    for run in &runs {
        if runs::entry_of(app, caller, run).await.is_ok() {
            return Ok(Some(Begun::before(run.clone())));
        }
    }
    if !following.is_taken() {
        return Err(problem);
    }
    for run in &runs {
        // What remembers a call whose run never began leads nowhere.
        app.tool_told(caller, run, Some(about)).await?;
    }
    Ok(None)
}

/// Begins a run. What an agent says may have come from anybody it has read, so its arguments are nobody's word.
async fn begin(
    app: &App,
    caller: &Caller,
    (offer, arguments): (&Offer, Value),
    key: String,
) -> Result<RunId, Problem> {
    let Offer { what, shelved, .. } = offer;
    let chosen = match what {
        What::Intent(name) => Chosen::of(Arc::clone(shelved), name.clone()),
        What::Operation(id) => one_call(shelved, id)?,
        What::Agent(name) => {
            let task = TaskArguments::read(arguments)?;
            let request = agents::StartAgent {
                task: task.task,
                pack: Some(shelved.pack.manifest.name.clone()),
                agent: Some(name.clone()),
                write: task.write,
                idempotency_key: Some(key),
                ..agents::StartAgent::default()
            };
            let begun = agents::start_from(app, caller, request, Trust::Untrusted).await?;
            return parse_id(&begun.detail.run.id);
        }
    };
    let submit = Submit {
        intent: Some(chosen.intent.clone()),
        inputs: arguments,
        idempotency_key: Some(key),
        ..Submit::default()
    };
    let labels = intents::of_trust(Trust::Untrusted);
    intents::open_chosen(app, caller, (submit, chosen), labels).await.map(|opened| opened.run)
}

/// What an agent's tool takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskArguments {
    task: String,
    #[serde(default)]
    write: bool,
}

impl TaskArguments {
    fn read(arguments: Value) -> Result<Self, Problem> {
        serde_json::from_value(arguments).map_err(|error| {
            Problem::usage("inputs-invalid", error.to_string())
                .next("send `task`, and `write` where it may propose changes")
        })
    }
}

/// A run whose plan is one call: of an operation that the pack asks for anyway, under the same policies.
fn one_call(shelved: &Shelved, id: &kernel::id::OperationId) -> Result<Chosen, Problem> {
    let single = shelved.single::<Problem>((OPERATION, id), || {
        let entry = shelved.catalogue.get(id);
        let operation = entry.ok_or_else(|| Problem::not_found("operation", id.as_str()))?;
        let intent = Intent {
            name: OPERATION.to_owned(),
            title: format!("Call {id}"),
            input: Arc::clone(&operation.operation.input),
            playbook: OPERATION.to_owned(),
            ..Intent::default()
        };
        let written = Written { name: OPERATION.to_owned(), input: None, steps: offer::single(id) };
        let mut pack = shelved.pack.clone();
        pack.intents.insert(OPERATION.to_owned(), intent);
        pack.playbooks.insert(OPERATION.to_owned(), written);
        Ok(Shelved { pack, ..shelved.again() })
    })?;
    Ok(Chosen::of(single, OPERATION.to_owned()))
}

/// A call is its caller's alone: to everybody else, there is none.
async fn check_whose(app: &App, caller: &Caller, run: &RunId) -> Result<(), Problem> {
    let header = app.own_header(caller, run).await;
    match header {
        Ok(header) if caller.handed_in(&header) => Ok(()),
        _ => Err(Problem::new(
            Kind::NotFound,
            "call-not-found",
            format!("there is no call {run} of yours"),
        )
        .next("wait for a call with the credential it was made with")),
    }
}
