//! Agents: begun on a task in words, and how they ended. `contexts` shows what their models saw.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kernel::{
    LabelMap,
    agent::Limits,
    conversation::MODEL_CONNECTOR,
    decision::Mode,
    event::{Body, Ended, Record},
    id::{OperationId, RunId},
    label::Trust,
    money::{Currency, Money},
    operation::Effect,
    planning::Mark,
    port::Journal,
};
use pack::{Intent, Tool, WrittenAgent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    App, Caller,
    attachments::{self, Attach},
    hearing,
    intents::{Chosen, Submit, Submitted, of_trust, submit_chosen},
    parse_id,
    problem::Problem,
    receipts,
    runs::{self, RunDetail, RunView},
    shelf::Shelved,
    turns,
};

/// The intent of a run that begins with a task in words.
pub(super) const TASK: &str = "task";

/// The agent of such a run, where none is named.
pub(super) const ASSISTANT: &str = "assistant";

/// What it is told.
const INSTRUCTIONS: &str = "Do the task you are given with the tools you have. Where something is \
missing, say what is missing instead of guessing.";

/// How often a run that pauses is looked at.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(50);

/// Runs that are due at once, of which this may be one.
const DUE_MAX: usize = 1_024;

/// Longest task, in bytes.
const TASK_MAX_BYTES: usize = 65_536;

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
    /// Whether it may propose commands for a shell, too; means nothing without `write`.
    #[serde(default)]
    pub shell: bool,
    /// Whether it only shows what it would change: it may propose changes, and reads are made, but no change is.
    #[serde(default)]
    pub dry_run: bool,
    /// Most turns of its model.
    #[serde(default)]
    pub turns: Option<u32>,
    /// Most tokens, read and written.
    #[serde(default)]
    pub tokens: Option<u64>,
    /// Files and pictures that go with the task.
    #[serde(default)]
    pub attachments: Vec<Attach>,
    /// Whether the person who hands the task over vouches for the files as for their own words; otherwise what
    /// stands in them is untrusted, and whatever the agent then changes asks a person.
    #[serde(default)]
    pub vouch: bool,
    /// The run that this one goes on from: what was said and answered up to its end is told as well, under
    /// the labels it had. It began with a task in words, too, and has ended.
    #[serde(default)]
    pub after: Option<String>,
    /// The same key is the same run; absent = a fresh one.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// How long to wait for the run to park, in ms; absent = do not wait.
    #[serde(default)]
    pub wait_ms: Option<u64>,
    /// Whether to open an ear for what is said from the run's beginning on: `run.speech` hears with it.
    #[serde(default)]
    pub hear: bool,
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
    /// The ear for what is said in it, where one was to be opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ear: Option<String>,
    /// The run in full.
    #[serde(flatten)]
    pub detail: RunDetail,
}

/// Begins a run that hands a task to an agent.
///
/// # Errors
/// When no single pack is meant, it has no such agent, or no model is configured for it.
pub async fn start(app: &App, caller: &Caller, request: StartAgent) -> Result<AgentRun, Problem> {
    start_from(app, caller, request, Trust::User).await
}

/// As [`start`], for a task that is the word of somebody of this trust.
pub(super) async fn start_from(
    app: &App,
    caller: &Caller,
    request: StartAgent,
    trust: Trust,
) -> Result<AgentRun, Problem> {
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
    let intent = Intent {
        name: TASK.to_owned(),
        title: "A task in words".to_owned(),
        input: Arc::new(input_schema()),
        hands_to: Some(agent.name.clone()),
        agent: Some(parse_id(&format!("agent:{}", agent.name))?),
        ..Intent::default()
    };
    pack.agents.insert(agent.name.clone(), agent);
    pack.intents.insert(TASK.to_owned(), intent);
    let shelved = Arc::new(Shelved { pack, ..shelved.again() });
    let wait_ms = request.wait_ms;
    let (inputs, labels) = told(app, caller, &request, trust).await?;
    let submit = Submit {
        intent: Some(TASK.to_owned()),
        text: None,
        inputs,
        attachments: request.attachments,
        vouch: request.vouch,
        idempotency_key: request.idempotency_key,
        wait_ms,
    };
    let heard = request.hear.then(|| app.speech().listen());
    let mode = if request.dry_run { Mode::Preview } else { Mode::Live };
    let chosen = Chosen::of(shelved, TASK.to_owned()).in_mode(mode);
    let Submitted { new, idempotency_key, run } =
        submit_chosen(app, caller, (submit, chosen), labels).await?;
    let ear = match heard {
        Some(heard) => Some(hearing::keep(app, caller, (parse_id(&run.id)?, heard))),
        None => None,
    };
    if let Some(wait_ms) = wait_ms {
        wait_through_pauses(app, caller, &run, wait_ms).await?;
    }
    let named = || runs::NamedRun { run: run.id.clone() };
    let detail = runs::get(app, caller, named()).await?;
    let receipts = receipts::list(app, caller, named()).await?.items;
    let receipts = receipts.into_iter().map(|line| line.id).collect();
    Ok(AgentRun { new, idempotency_key, receipts, ear, detail })
}

/// What such a run is told.
fn input_schema() -> Value {
    json!({
        "type": "object",
        "required": ["task"],
        "additionalProperties": false,
        "properties": {
            "task": { "type": "string", "minLength": 1 },
            "earlier": { "type": "array", "items": { "type": "object" } },
            "left_out": { "type": "integer", "minimum": 0 },
            "attachments": attachments::schema(),
        },
    })
}

/// The task, with what was said before it. An answer keeps its label: what untrusted text had a part in does
/// not become a person's word by being told again.
async fn told(
    app: &App,
    caller: &Caller,
    request: &StartAgent,
    trust: Trust,
) -> Result<(Value, LabelMap), Problem> {
    let mut labels = of_trust(trust);
    let Some(after) = &request.after else {
        return Ok((json!({ "task": request.task }), labels));
    };
    let before = turns::before(app, caller, (after, TASK)).await?;
    labels.parts.insert("/earlier".to_owned(), before.label);
    let inputs = json!({
        "task": request.task, "earlier": before.earlier, "left_out": before.left_out,
    });
    Ok((inputs, labels))
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
    if !request.write && !request.dry_run {
        let is_read = |tool: &Tool| {
            let id = tool.what.parse::<OperationId>().ok();
            let entry = id.and_then(|id| shelved.catalogue.get(&id));
            entry.is_some_and(|entry| entry.operation.facts.effect == Effect::Read)
        };
        agent.operations.retain(is_read);
        // A playbook may change something; which of its steps run is not known before.
        agent.playbooks.clear();
    }
    if !request.shell {
        agent.operations.retain(|tool| !is_shell(shelved, tool));
    }
    if let Some(role) = &request.model {
        agent.role.clone_from(role);
    }
    agent.limits.turns_max = request.turns.unwrap_or(agent.limits.turns_max);
    agent.limits.tokens_max = request.tokens.unwrap_or(agent.limits.tokens_max);
    Ok(agent)
}

/// A command and code can do whatever the folder allows, so they are not among what a task may change unless that is said.
fn is_shell(shelved: &Shelved, tool: &Tool) -> bool {
    let id = tool.what.parse::<OperationId>().ok();
    let binding = id.and_then(|id| Some(&shelved.catalogue.get(&id)?.operation.binding));
    let is_job = |binding: &serde_json::Value| {
        let deed = binding["do"].as_str().unwrap_or_default();
        binding["kind"] == "folder" && deed.starts_with("job_")
    };
    binding.is_some_and(|binding| shell::sort_of(binding).is_some() || is_job(binding))
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
    /// What its model cost by the operator's prices, each call rounded up; one sum a currency, such as
    /// `EUR 0.30`, and none where no price is set.
    #[serde(default)]
    pub costs: Vec<String>,
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
                costs: costs_of(records, step),
                claims_unproven: *unproven,
            })
        }
        _ => None,
    });
    each.collect()
}

/// What the model calls below a step cost, a sum for each currency.
fn costs_of(records: &[Record], step: &str) -> Vec<String> {
    let within = |path: &str| path.strip_prefix(step).is_some_and(|rest| rest.starts_with('/'));
    let mut asked = BTreeSet::new();
    let mut sums: BTreeMap<Currency, Money> = BTreeMap::new();
    for record in records {
        match &record.event.body {
            Body::Proposed { step, operation, .. }
                if operation.connector() == MODEL_CONNECTOR && within(step) =>
            {
                asked.insert(record.event.seq);
            }
            Body::Returned { action, ended: Ended::Done { cost: Some(cost), .. }, .. }
                if asked.contains(action) =>
            {
                let sum = sums.entry(cost.currency).or_insert(Money { minor: 0, ..*cost });
                sum.minor = sum.minor.saturating_add(cost.minor);
            }
            _ => {}
        }
    }
    sums.into_values().map(|sum| sum.to_string()).collect()
}
