//! Agents: begun on a task, told something on the way, looked into afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kernel::{
    Label,
    agent::Limits,
    conversation::{Item, MODEL_CONNECTOR, Part, Prompt, Reply, Said, Segment, Thread, Usage},
    event::{Body, Ended, Record},
    id::{OperationId, RunId, Seq},
    label::Trust,
    operation::Effect,
    planning::Mark,
    port::Journal,
};
use pack::{Intent, Tool, WrittenAgent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    App, Caller,
    intents::{Chosen, Submit, Submitted, submit_chosen},
    parse_id,
    problem::Problem,
    receipts,
    runs::{self, RunDetail, RunView},
    shelf::Shelved,
};

/// The intent of a run that begins with a task in words.
const TASK: &str = "task";

/// The agent of such a run, where none is named.
const ASSISTANT: &str = "assistant";

/// What it is told.
const INSTRUCTIONS: &str = "Do the task you are given with the tools you have. Where something is \
missing, say what is missing instead of guessing.";

/// How often a run that pauses is looked at.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(50);

/// Runs that are due at once, of which this may be one.
const DUE_MAX: usize = 1_024;

/// Longest task, in bytes.
const TASK_MAX_BYTES: usize = 65_536;

/// Text of a piece that is shown before it is cut, in bytes.
const SHOWN_MAX_BYTES: usize = 262_144;

/// A task in words for an agent.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartAgent {
    /// What is to be done.
    pub task: String,
    /// The pack whose operations it may use; may be left out where only one takes work.
    #[serde(default)]
    pub pack: Option<String>,
    /// An agent of that pack; absent = one that may use every operation of the pack.
    #[serde(default)]
    pub agent: Option<String>,
    /// The role of the model it thinks with; absent = the agent's own, or `main`.
    #[serde(default)]
    pub model: Option<String>,
    /// Whether it may propose changes; without it, it has reads alone.
    #[serde(default)]
    pub write: bool,
    /// Most turns of its model.
    #[serde(default)]
    pub turns: Option<u32>,
    /// Most tokens, read and written.
    #[serde(default)]
    pub tokens: Option<u64>,
    /// The same key is the same run; absent = a fresh one.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// How long to wait for the run to park, in ms; absent = do not wait.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// What came of a task so far.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AgentRun {
    /// Whether the run is new, or the same key was submitted before.
    pub new: bool,
    /// The idempotency key in force.
    pub idempotency_key: String,
    /// Its receipts, in order.
    pub receipts: Vec<String>,
    /// The run in full.
    #[serde(flatten)]
    pub detail: RunDetail,
}

/// Begins a run that hands a task to an agent.
///
/// # Errors
/// When no single pack is meant, it has no such agent, or no model is configured for it.
pub async fn start(app: &App, caller: &Caller, request: StartAgent) -> Result<AgentRun, Problem> {
    let length = request.task.trim().len();
    if length == 0 || length > TASK_MAX_BYTES {
        let detail = format!("a task has 1 to {TASK_MAX_BYTES} bytes, not {length}");
        return Err(Problem::usage("no-task", detail).next("say what is to be done"));
    }
    let shelved = the_pack(app, request.pack.as_deref())?;
    let agent = the_agent(&shelved, &request)?;
    let mut pack = shelved.pack.clone();
    let roles = std::iter::once(&agent.role).chain(&agent.summary_role);
    let models = roles.filter_map(|role| format!("{MODEL_CONNECTOR}.{role}").parse().ok());
    pack.manifest.asks.operations.extend(models);
    let input = json!({
        "type": "object",
        "required": ["task"],
        "additionalProperties": false,
        "properties": { "task": { "type": "string", "minLength": 1 } },
    });
    let intent = Intent {
        name: TASK.to_owned(),
        title: "A task in words".to_owned(),
        input: Arc::new(input),
        hands_to: Some(agent.name.clone()),
        agent: Some(parse_id(&format!("agent:{}", agent.name))?),
        ..Intent::default()
    };
    pack.agents.insert(agent.name.clone(), agent);
    pack.intents.insert(TASK.to_owned(), intent);
    let shelved = Arc::new(Shelved { pack, ..shelved.again() });
    let wait_ms = request.wait_ms;
    let submit = Submit {
        intent: Some(TASK.to_owned()),
        text: None,
        inputs: json!({ "task": request.task }),
        idempotency_key: request.idempotency_key,
        wait_ms,
    };
    let chosen = Chosen::of(shelved, TASK.to_owned());
    let Submitted { new, idempotency_key, run } =
        submit_chosen(app, caller, (submit, chosen), Trust::User).await?;
    if let Some(wait_ms) = wait_ms {
        wait_through_pauses(app, caller, &run, wait_ms).await?;
    }
    let named = || runs::NamedRun { run: run.id.clone() };
    let detail = runs::get(app, caller, named()).await?;
    let receipts = receipts::list(app, caller, named()).await?.items;
    let receipts = receipts.into_iter().map(|line| line.id).collect();
    Ok(AgentRun { new, idempotency_key, receipts, detail })
}

/// A model that is asked again after a pause parks the run: whoever waits for the task waits through that,
/// and drives the run on where nobody else does.
async fn wait_through_pauses(
    app: &App,
    caller: &Caller,
    run: &RunView,
    wait_ms: u64,
) -> Result<(), Problem> {
    let id: RunId = parse_id(&run.id)?;
    let until = app.now().saturating_add(i64::try_from(wait_ms).unwrap_or(i64::MAX));
    while app.now() < until && runs::view_of(app, caller, &id).await?.status == "waiting" {
        tokio::time::sleep(LOOK_EVERY).await;
        let due = Journal::due(&*app.store, app.now(), DUE_MAX).await?;
        if due.iter().any(|(tenant, due)| tenant == caller.tenant() && *due == id) {
            app.engine.run_until_parked(caller.tenant().clone(), id.clone()).await?;
        }
    }
    Ok(())
}

fn the_pack(app: &App, named: Option<&str>) -> Result<Arc<Shelved>, Problem> {
    if let Some(name) = named {
        return app.shelf.pack(name);
    }
    let stock = app.shelf.stock();
    let mut packs = stock.packs();
    match (packs.next(), packs.next()) {
        (Some(only), None) => Ok(Arc::clone(only)),
        (None, _) => {
            Err(Problem::usage("no-pack", "there is no pack whose operations could be used")
                .next("name one under `packs` in harness.toml"))
        }
        (Some(_), Some(_)) => {
            let names: Vec<String> =
                stock.packs().map(|shelved| shelved.pack.manifest.name.clone()).collect();
            let detail = format!("several packs take work: {}", names.join(", "));
            Err(Problem::usage("which-pack", detail).next("name one with --pack"))
        }
    }
}

/// The agent that is meant, narrowed to what the request allows.
fn the_agent(shelved: &Shelved, request: &StartAgent) -> Result<WrittenAgent, Problem> {
    let pack = &shelved.pack;
    let mut agent = match &request.agent {
        Some(name) => {
            let found = pack.agents.get(name).ok_or_else(|| {
                let known: Vec<&str> = pack.agents.keys().map(String::as_str).collect();
                Problem::not_found("agent", name)
                    .next(format!("agents of the pack: {}", known.join(", ")))
            })?;
            WrittenAgent { input: None, ..found.clone() }
        }
        None => WrittenAgent {
            name: ASSISTANT.to_owned(),
            role: "main".to_owned(),
            instructions: INSTRUCTIONS.to_owned(),
            operations: pack
                .manifest
                .asks
                .operations
                .iter()
                .filter_map(|id| tool(shelved, id))
                .collect(),
            limits: Limits::default(),
            ..WrittenAgent::default()
        },
    };
    if !request.write {
        let is_read = |tool: &Tool| {
            let id = tool.what.parse::<OperationId>().ok();
            let entry = id.and_then(|id| shelved.catalogue.get(&id));
            entry.is_some_and(|entry| entry.operation.facts.effect == Effect::Read)
        };
        agent.operations.retain(is_read);
        // A playbook may change something; which of its steps run is not known before.
        agent.playbooks.clear();
    }
    if let Some(role) = &request.model {
        agent.role.clone_from(role);
    }
    agent.limits.turns_max = request.turns.unwrap_or(agent.limits.turns_max);
    agent.limits.tokens_max = request.tokens.unwrap_or(agent.limits.tokens_max);
    Ok(agent)
}

/// What undoes something is for rollbacks, not for agents.
fn tool(shelved: &Shelved, id: &OperationId) -> Option<Tool> {
    let entry = shelved.catalogue.get(id)?;
    let undoes = |other: &kernel::operation::Operation| {
        other.id != *id
            && other.companions.undo_with.as_ref().is_some_and(|undo| undo.operation == *id)
    };
    let is_undo = shelved.catalogue.iter().any(|(_, other)| undoes(&other.operation));
    let usable = !entry.operation.is_model_call() && !is_undo;
    usable.then(|| Tool { what: id.to_string(), called: None, description: None })
}

/// How an agent of a run ended.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AgentView {
    /// Its step.
    pub step: String,
    /// Why it stopped: `done`, `max_iterations`, `budget`, `stuck`, `policy_denied`, `unknown_tool`,
    /// `invalid_model_output`, `refused`, `model_failed`.
    pub stopped: String,
    /// Turns its model took.
    pub turns: u32,
    /// Tools it called.
    pub calls: u32,
    /// Tokens read, cached ones included.
    pub tokens_read: u64,
    /// Of these, from a provider's cache.
    pub tokens_cached: u64,
    /// Tokens written, reasoning included.
    pub tokens_written: u64,
    /// Effects that its answer claims and no receipt shows.
    pub claims_unproven: u32,
}

/// The agents of a run that stopped, in order.
pub(super) fn agents_of(records: &[Record]) -> Vec<AgentView> {
    let each = records.iter().filter_map(|record| match &record.event.body {
        Body::Marked { step, mark: Mark::Concluded { reason, turns, calls, usage, unproven } } => {
            Some(AgentView {
                step: step.clone(),
                stopped: reason.word().to_owned(),
                turns: *turns,
                calls: *calls,
                tokens_read: usage.input,
                tokens_cached: usage.cached,
                tokens_written: usage.output,
                claims_unproven: *unproven,
            })
        }
        _ => None,
    });
    each.collect()
}

/// Which model calls of a run to show.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetContext {
    /// The run.
    pub run: String,
    /// The model call, counted from 1 over the whole run; absent = all of them, without their texts.
    #[serde(default)]
    pub turn: Option<u32>,
    /// The exact bytes of the request as well, built again from the journal.
    #[serde(default)]
    pub request: bool,
}

/// What a model saw.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ContextView {
    /// The run.
    pub run: String,
    /// Its model calls.
    pub calls: Vec<ModelCallView>,
}

/// One model call.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ModelCallView {
    /// Its number in the run, from 1.
    pub turn: u32,
    /// The step that asked.
    pub step: String,
    /// Which conversation it belongs to.
    pub conversation: String,
    /// Its place in the journal.
    pub seq: u64,
    /// The role of the model.
    pub role: String,
    /// How far all that it saw can be trusted.
    pub trust: String,
    /// How widely it may travel.
    pub confidentiality: String,
    /// Bytes of text by source: `system`, `policy`, `guide`, `skill`, `memory`, `history`, `tool`, `state`,
    /// `user`, `steering`, `sensor`, `model`.
    pub bytes: BTreeMap<String, u64>,
    /// Names of the tools that were offered.
    pub tools: Vec<String>,
    /// Everything it saw, in order; only where one turn is asked for.
    pub seen: Vec<SeenView>,
    /// What it answered; absent where it has not, or the value was erased.
    pub reply: Option<ReplyView>,
    /// Why it did not answer.
    pub failed: Option<String>,
    /// The exact request, as text.
    pub request: Option<String>,
}

/// A piece of what a model saw.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SeenView {
    /// Where it comes from.
    pub source: String,
    /// Its text; long ones are cut.
    pub text: String,
}

/// What a model answered.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReplyView {
    /// Who answered.
    pub provider: String,
    /// The model, as its provider names it.
    pub model: String,
    /// Why it stopped.
    pub stop: String,
    /// Its text.
    pub text: String,
    /// Tools it called.
    pub calls: Vec<String>,
    /// Tokens read.
    pub tokens_read: u64,
    /// Of these, from a cache.
    pub tokens_cached: u64,
    /// Tokens written.
    pub tokens_written: u64,
}

/// What each model call of a run saw: from the journal, so that it is what was sent.
///
/// # Errors
/// When there is no such run or turn, or values were erased.
pub async fn context(
    app: &App,
    caller: &Caller,
    request: GetContext,
) -> Result<ContextView, Problem> {
    let id: RunId = parse_id(&request.run)?;
    let records = app.own_records(caller, &id).await?;
    let talks = talks(&records);
    let Some(turn) = request.turn else {
        let calls = talks.iter().map(Talk::view).collect();
        return Ok(ContextView { run: id.to_string(), calls });
    };
    let index = usize::try_from(turn).ok().and_then(|turn| turn.checked_sub(1));
    let talk = index.and_then(|index| talks.get(index)).ok_or_else(|| {
        Problem::not_found("model call", &turn.to_string())
            .next(format!("the run made {} of them, counted from 1", talks.len()))
    })?;
    let mut view = talk.view();
    view.seen = talk.seen();
    if request.request {
        view.request = Some(exact_request(app, talk)?);
    }
    Ok(ContextView { run: id.to_string(), calls: vec![view] })
}

/// The bytes that were sent: built from the journal by the wire of whoever answered, or would be asked.
fn exact_request(app: &App, talk: &Talk) -> Result<String, Problem> {
    let answered = talk.reply.as_ref().map(|reply| reply.provider.clone());
    let first =
        || app.config.roles.get(&talk.role).and_then(|role| role.providers.first().cloned());
    let provider = answered.or_else(first).unwrap_or_default();
    let gone = |what: String| {
        Problem::usage("provider-gone", what)
            .next("configure the provider that answered as it was, then ask again")
    };
    let model = app.models.model(&provider);
    let model = model.ok_or_else(|| gone(format!("no provider `{provider}` is configured now")))?;
    let bytes = model.request_bytes(&talk.thread).map_err(|error| gone(error.to_string()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// One model call, as journaled.
struct Talk {
    number: u32,
    step: String,
    seq: Seq,
    role: String,
    label: Label,
    prompt: Option<Prompt>,
    reply: Option<Reply>,
    failed: Option<String>,
    thread: Arc<Thread>,
}

/// The model calls of a journal, in order.
fn talks(records: &[Record]) -> Vec<Talk> {
    let mut talks: Vec<Talk> = Vec::new();
    let mut threads: BTreeMap<String, Arc<Thread>> = BTreeMap::new();
    let mut asked = BTreeSet::new();
    for record in records {
        let seq = record.event.seq;
        match &record.event.body {
            Body::Proposed { step, operation, args, attempt: 1, .. }
                if operation.connector() == MODEL_CONNECTOR =>
            {
                let prompt = serde_json::from_value::<Prompt>((*args.value()).clone()).ok();
                let conversation = prompt.as_ref().map(|p| p.conversation.clone());
                let begins = prompt.as_ref().is_none_or(|prompt| prompt.turn == 0);
                let prev = conversation.and_then(|c| threads.get(&c)).filter(|_| !begins).cloned();
                asked.insert(step.clone());
                talks.push(Talk {
                    number: u32::try_from(talks.len().saturating_add(1)).unwrap_or(u32::MAX),
                    step: step.clone(),
                    seq,
                    role: operation.as_str().split_once('.').map_or("", |(_, r)| r).to_owned(),
                    label: args.commitment().label.clone(),
                    thread: Thread::after(prev, seq, Said::Prompt(args.value())),
                    prompt,
                    reply: None,
                    failed: None,
                });
            }
            // A further try says the same again under a number of its own.
            Body::Proposed { step, operation, args, .. }
                if operation.connector() == MODEL_CONNECTOR =>
            {
                if let Some(talk) = talks.iter_mut().rev().find(|talk| talk.step == *step) {
                    let prev = talk.thread.prev().cloned();
                    talk.seq = seq;
                    talk.thread = Thread::after(prev, seq, Said::Prompt(args.value()));
                }
            }
            Body::Returned { action, ended, .. } => {
                let Some(talk) = talks.iter_mut().rev().find(|talk| talk.seq == *action) else {
                    continue;
                };
                match ended {
                    Ended::Done { output, .. } => {
                        talk.failed = None;
                        talk.reply = serde_json::from_value((*output.value()).clone()).ok();
                        let said = Said::Reply(output.value());
                        let thread = Thread::after(Some(Arc::clone(&talk.thread)), *action, said);
                        if let Some(prompt) = &talk.prompt {
                            threads.insert(prompt.conversation.clone(), thread);
                        }
                    }
                    Ended::Failed { class, .. } => talk.failed = Some(class.name().to_owned()),
                }
            }
            _ => {}
        }
    }
    talks
}

impl Talk {
    fn view(&self) -> ModelCallView {
        let pieces = self.pieces();
        let mut bytes: BTreeMap<String, u64> = BTreeMap::new();
        for (source, text) in &pieces {
            let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
            let sum = bytes.entry(source.clone()).or_default();
            *sum = sum.saturating_add(length);
        }
        let first = self.prompts().into_iter().next();
        let tools = first.map(|prompt| prompt.tools).unwrap_or_default();
        ModelCallView {
            turn: self.number,
            step: self.step.clone(),
            conversation: self.prompt.as_ref().map(|p| p.conversation.clone()).unwrap_or_default(),
            seq: self.seq,
            role: self.role.clone(),
            trust: word(&self.label.trust),
            confidentiality: word(&self.label.confidentiality),
            bytes,
            tools: tools.into_iter().map(|tool| tool.name).collect(),
            seen: Vec::new(),
            reply: self.reply.as_ref().map(reply_view),
            failed: self.failed.clone(),
            request: None,
        }
    }

    fn seen(&self) -> Vec<SeenView> {
        let cut = |text: String| match text.get(..SHOWN_MAX_BYTES) {
            Some(head) if text.len() > SHOWN_MAX_BYTES => format!("{head}…"),
            _ => text,
        };
        let pieces = self.pieces().into_iter();
        pieces.map(|(source, text)| SeenView { source, text: cut(text) }).collect()
    }

    fn prompts(&self) -> Vec<Prompt> {
        let links = self.thread.since(|_| false);
        let prompt = |link: &Arc<Thread>| match link.said() {
            Said::Prompt(value) => serde_json::from_value((**value).clone()).ok(),
            Said::Reply(_) => None,
        };
        links.iter().filter_map(prompt).collect()
    }

    /// Everything the model saw: source and text, oldest first.
    fn pieces(&self) -> Vec<(String, String)> {
        let mut pieces = Vec::new();
        for link in self.thread.since(|_| false) {
            match link.said() {
                Said::Prompt(value) => {
                    let prompt = serde_json::from_value::<Prompt>((**value).clone());
                    let segments = prompt.map(|prompt| prompt.segments).unwrap_or_default();
                    pieces.extend(segments.iter().map(piece));
                }
                Said::Reply(value) => {
                    let reply = serde_json::from_value::<Reply>((**value).clone());
                    let items = reply.map(|reply| reply.items).unwrap_or_default();
                    pieces.push(("model".to_owned(), items_text(&items)));
                }
            }
        }
        pieces
    }
}

fn word<T: Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

fn piece(segment: &Segment) -> (String, String) {
    match segment {
        Segment::System { text, source } => (word(source), text.clone()),
        Segment::User { parts, source } => {
            let texts = parts.iter().map(|part| match part {
                Part::Text { text } => text.clone(),
                Part::Image { media_type, data } => format!("[{media_type}, {} bytes]", data.len()),
                Part::File { name, media_type, .. } => format!("[{name}, {media_type}]"),
            });
            (word(source), texts.collect::<Vec<_>>().join("\n"))
        }
        Segment::Result { name, content, .. } => ("tool".to_owned(), format!("{name}: {content}")),
        Segment::Said { items } => ("model".to_owned(), items_text(items)),
    }
}

fn items_text(items: &[Item]) -> String {
    let each = items.iter().map(|item| match item {
        Item::Text { text } | Item::Refusal { text } => text.clone(),
        Item::Reasoning { text } => format!("[thinks] {text}"),
        Item::Call { name, arguments, malformed, .. } => match (arguments, malformed) {
            (Some(arguments), _) => format!("[calls] {name} {arguments}"),
            (None, Some(malformed)) => format!("[calls] {name} {}", malformed.text),
            (None, None) => format!("[calls] {name}"),
        },
        Item::Provided { name, .. } => format!("[used by the provider] {name}"),
    });
    each.collect::<Vec<_>>().join("\n")
}

fn reply_view(reply: &Reply) -> ReplyView {
    let Usage { input, cached, output, .. } = reply.usage;
    let calls = reply.items.iter().filter_map(|item| match item {
        Item::Call { name, .. } => Some(name.clone()),
        _ => None,
    });
    let texts = reply.items.iter().filter_map(|item| match item {
        Item::Text { text } | Item::Refusal { text } => Some(text.as_str()),
        _ => None,
    });
    ReplyView {
        provider: reply.provider.clone(),
        model: reply.model.clone(),
        stop: word(&reply.stop),
        text: texts.collect(),
        calls: calls.collect(),
        tokens_read: input,
        tokens_cached: cached,
        tokens_written: output,
    }
}
