//! The governed proxy: tools of servers behind us under their own names, passed on as their servers describe them, and
//! called as runs like everything else. What a server may be asked for stands in a pack's file; what it says now is held
//! against that before anything is shown or called.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ::mcp::client::Tool;
use connect::{System, mcp::definition_digest};
use futures_util::future::join_all;
use kernel::{
    exception::Class,
    id::{OperationId, RunId},
    label::{Confidentiality, Label, LabelMap, Trust},
    plan::Asks,
    playbook::{Recovery, Step, Work},
    port::Validate as _,
};
use pack::{Intent, Written};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    About, Through, ToolCall, check_whose, offer,
    would::{self, Would},
};
use crate::app::{
    App, Caller,
    config::mcp::{Face, ProxyMode, Servers},
    intents::{self, Chosen, Submit},
    parse_id,
    problem::{Kind, Problem},
    runs,
    shelf::Shelved,
    value::at,
};

/// The intent of a call that policy decides about.
pub(super) const PROXIED: &str = "proxied";

/// The intent of a call that the operator lets pass.
pub(super) const OBSERVED: &str = "observed";

/// The class of data that a person never vouched for: the operator's setting let it pass.
const LET_PASS: &str = "let_pass";

/// The name of the tool that waits, which is ours.
pub(in crate::app) const WAIT: &str = "harness_wait";

/// Longest name of a session, in characters.
const SESSION_MAX_CHARS: usize = 200;

/// Which servers are meant.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListProxied {
    /// Connectors; absent = every one that is passed on.
    #[serde(default)]
    pub servers: Vec<String>,
}

/// What servers behind us offer.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProxiedList {
    /// What happens with what policy thinks of a call.
    pub mode: ProxyMode,
    /// By name.
    pub items: Vec<ProxiedTool>,
    /// Servers that could not be asked, and why.
    pub silent: Vec<SilentServer>,
}

/// A tool of a server behind us.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProxiedTool {
    /// What it is called by: its own name, or `server__name` where two servers have that name.
    pub name: String,
    /// The connector.
    pub server: String,
    /// The operation it is here.
    pub operation: String,
    /// As its server describes it, and as somebody accepted it.
    pub definition: Value,
}

/// A server that could not be asked.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SilentServer {
    /// The connector.
    pub server: String,
    /// Why.
    pub why: String,
}

/// A call of a tool of a server behind us.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallProxied {
    /// The tool, by its name in the list.
    pub tool: String,
    /// Its arguments.
    #[serde(default)]
    pub arguments: Value,
    /// The same servers as in the list that the name is from.
    #[serde(default)]
    pub servers: Vec<String>,
    /// Which session of the caller's it belongs to: the same call in another is another.
    #[serde(default)]
    pub session: String,
    /// The `resume` of an earlier answer to the same call; absent = the call under way, or a new one.
    #[serde(default)]
    pub state: Option<String>,
    /// How long to wait for its end, or until a person is asked, in ms: 0 when nothing is said, at most 45,000.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// A tool that was accepted, and where it stands.
#[derive(Clone)]
struct Accepted {
    id: OperationId,
    tool: String,
    digest: String,
    system: String,
    shelved: Arc<Shelved>,
}

/// Whether a run of this intent is a call that the proxy made.
pub(super) fn is_one(intent: &str) -> bool {
    intent == PROXIED || intent == OBSERVED
}

/// That there is something to pass on, for whoever serves nothing else.
///
/// # Errors
/// When no tool of any server that is meant was accepted.
pub fn check(app: &App) -> Result<(), Problem> {
    if app.config.mcp.face != Face::Proxy || !accepted(app, &[])?.is_empty() {
        return Ok(());
    }
    let detail = "no pack here has an operation of a server that is to be passed on";
    Err(Problem::new(Kind::NotFound, "nothing-to-pass-on", detail).next(
        "`harness mcp proxy -- PROGRAM` makes a project for one server; `harness mcp import` drafts a connector for a pack",
    ))
}

/// Lists what servers behind us offer now: what was accepted, is still what was accepted, and is not denied whatever the
/// evidence.
///
/// # Errors
/// When nothing is passed on, or a server is named that is not.
pub async fn list(
    app: &App,
    caller: &Caller,
    request: ListProxied,
) -> Result<ProxiedList, Problem> {
    let mode = app.config.mcp.proxy_mode;
    let mut named = accepted(app, &request.servers)?;
    named.retain(|_, one| one.is_for(app, caller));
    let systems: BTreeSet<&str> = named.values().map(|one| one.system.as_str()).collect();
    let asked = systems.iter().map(|system| async move {
        (*system, app.connectors.tools_of(caller.tenant(), system).await)
    });
    let mut now: BTreeMap<&str, Vec<Tool>> = BTreeMap::new();
    let mut silent = Vec::new();
    for (system, tools) in join_all(asked).await {
        match tools {
            Ok(tools) => drop(now.insert(system, tools)),
            Err(failure) => silent
                .push(SilentServer { server: system.to_owned(), why: failure.message.clone() }),
        }
    }
    let mut items = Vec::new();
    for (name, one) in &named {
        let tools = now.get(one.system.as_str()).map(Vec::as_slice).unwrap_or_default();
        if is_denied(one) && !mode.lets_pass() {
            continue;
        }
        if let Some(definition) = one.as_it_is(tools) {
            items.push(ProxiedTool {
                name: name.clone(),
                server: one.id.connector().to_owned(),
                operation: one.id.to_string(),
                definition,
            });
        }
    }
    Ok(ProxiedList { mode, items, silent })
}

/// Calls a tool of a server behind us: a run of its own, durable on return. The same call of the same caller in the same
/// session is one run until its outcome was told.
///
/// # Errors
/// When there is no such tool, its arguments do not fit, or the state is not one of this call.
pub async fn call(app: &App, caller: &Caller, request: CallProxied) -> Result<ToolCall, Problem> {
    let arguments = if request.arguments.is_null() { json!({}) } else { request.arguments };
    if request.session.chars().count() > SESSION_MAX_CHARS {
        let detail = format!("a session is named in at most {SESSION_MAX_CHARS} characters");
        return Err(Problem::usage("session-name", detail).next("name it by a shorter id"));
    }
    let one = accepted(app, &request.servers)?.remove(&request.tool).ok_or_else(|| {
        let shown: String = request.tool.chars().take(64).collect();
        Problem::new(Kind::NotFound, "tool-not-found", format!("there is no tool `{shown}`"))
            .next("the list of tools has all of them")
    })?;
    if !one.is_for(app, caller) {
        let detail =
            format!("the secrets of `{}` are not those of {}", one.system, caller.acts_for().id);
        return Err(Problem::new(Kind::NotAllowed, "not-your-secrets", detail).next(format!(
            "whose they are stands under `of` of [systems.{}]; `shared = true` there says that they are everybody's",
            one.system
        )));
    }
    let scope = format!("proxy {} {}", one.id, request.session);
    let about = About::of(caller, &scope, &arguments)?;
    let run = match &request.state {
        Some(state) => {
            let run = app.tool_opened(state, &about).await?;
            check_whose(app, caller, &run).await?;
            run
        }
        None => begun(app, caller, (&one, arguments), &about).await?,
    };
    let waits = (request.wait_ms, Through::NoAsk);
    let seen = super::stands(app, caller, (&run, &about), waits).await?;
    Ok(ToolCall { promises: one.promises(), ..seen })
}

/// The run of a call: the one under way, or a new one.
async fn begun(
    app: &App,
    caller: &Caller,
    (one, arguments): (&Accepted, Value),
    about: &About,
) -> Result<RunId, Problem> {
    let key = app.tool_key(caller, about).await?;
    // One that was begun before the mode was changed is the same call.
    for intent in [PROXIED, OBSERVED] {
        let run = RunId::of_intent(caller.tenant(), intent, &key);
        if runs::entry_of(app, caller, &run).await.is_ok() {
            return Ok(run);
        }
    }
    let begun = begin(app, caller, (one, arguments), key.clone()).await;
    if begun.is_err() {
        // What was refused has no run: the next try is another.
        let run = RunId::of_intent(caller.tenant(), PROXIED, &key);
        app.tool_told(caller, &run, Some(about)).await?;
    }
    begun
}

async fn begin(
    app: &App,
    caller: &Caller,
    (one, arguments): (&Accepted, Value),
    key: String,
) -> Result<RunId, Problem> {
    let entry = one.shelved.catalogue.get(&one.id);
    let operation =
        &entry.ok_or_else(|| Problem::not_found("operation", one.id.as_str()))?.operation;
    if let Some(wrong) = one.shelved.schemas.violation(&operation.input, &arguments) {
        let detail = format!("the arguments do not fit: {} {}", wrong.at, wrong.problem);
        return Err(Problem::usage("inputs-invalid", detail)
            .next("the list of tools has the schema of the arguments"));
    }
    let mode = app.config.mcp.proxy_mode;
    let (chosen, inputs, labels) = match mode.lets_pass() {
        false => {
            let chosen =
                chosen(&one.shelved, &one.id, (PROXIED, "${{ intent }}"), &operation.input)?;
            (chosen, arguments, intents::of_trust(Trust::Untrusted))
        }
        true => {
            let would = would::judged(app, caller, (&one.shelved, operation), &arguments);
            let input = Arc::new(json!({
                "type": "object", "required": ["arguments", "would"],
                "properties": { "arguments": {"type": "object"}, "would": {"type": "object"} },
            }));
            let shelved = app.shelf.let_pass(&one.shelved).map_err(|problem| {
                Problem::new(Kind::Unexpected, "policy-invalid", problem)
                    .next("say `proxy_mode = \"enforce\"` under [mcp]")
            })?;
            let chosen = chosen(&shelved, &one.id, (OBSERVED, "${{ intent.arguments }}"), &input)?;
            let would = Would { mode, ..would };
            (chosen, json!({ "arguments": arguments, "would": would }), let_pass_label())
        }
    };
    let submit = Submit {
        intent: Some(chosen.intent.clone()),
        inputs,
        idempotency_key: Some(key),
        ..Submit::default()
    };
    let submitted =
        intents::submit_chosen(app, caller, (submit, chosen.one_of_many()), labels).await?;
    parse_id(&submitted.run.id)
}

/// What stands for the word of whoever lets it pass: the operator's, and nobody's who looked at it.
fn let_pass_label() -> LabelMap {
    let mut label = Label::new(Trust::Operator, Confidentiality::Public);
    label.classes.insert(LET_PASS.to_owned());
    LabelMap::uniform(label)
}

/// A run whose plan is this one call. Whatever goes wrong with it is the client's to know, at once; what is in doubt is
/// a person's all the same.
fn chosen(
    shelved: &Shelved,
    id: &OperationId,
    (name, with): (&str, &str),
    input: &Arc<Value>,
) -> Result<Chosen, Problem> {
    let intent = Intent {
        name: name.to_owned(),
        title: format!("Call {id} for a client of the proxy"),
        input: Arc::clone(input),
        playbook: name.to_owned(),
        ..Intent::default()
    };
    let steps = offer::single(id).into_iter().map(|step| match step.work {
        Work::Do { operation, .. } => Step {
            work: Work::Do { operation, with: Value::String(with.to_owned()) },
            on_failure: Class::ALL.into_iter().map(|class| (class, vec![Recovery::Stop])).collect(),
            ..step
        },
        _ => step,
    });
    let written = Written { name: name.to_owned(), input: None, steps: steps.collect() };
    let mut pack = shelved.pack.clone();
    pack.intents.insert(name.to_owned(), intent);
    pack.playbooks.insert(name.to_owned(), written);
    Ok(Chosen::of(Arc::new(Shelved { pack, ..shelved.again() }), name.to_owned()))
}

impl Accepted {
    /// One operation of a pack, where it is a tool of a server.
    fn of(shelved: &Arc<Shelved>, id: &OperationId) -> Option<Self> {
        let binding = &shelved.catalogue.get(id)?.operation.binding;
        let text = |place: &str| at(binding, place).as_str().map(str::to_owned);
        if text("/kind")? != "mcp" || text("/do").is_some_and(|errand| errand != "call") {
            return None;
        }
        Some(Self {
            id: id.clone(),
            tool: text("/tool")?,
            digest: text("/definition")?,
            system: text("/system")?,
            shelved: Arc::clone(shelved),
        })
    }

    /// Whether it promises a structured answer.
    fn promises(&self) -> bool {
        let entry = self.shelved.catalogue.get(&self.id);
        let promised =
            entry.map(|entry| at(&entry.operation.output, "/properties/structuredContent"));
        promised.and_then(Value::as_object).is_some_and(|schema| !schema.is_empty())
    }

    /// Whether its server is reached with secrets that are this caller's to use.
    fn is_for(&self, app: &App, caller: &Caller) -> bool {
        let person = caller.acts_for().id.as_str();
        let name = person.strip_prefix("person:").unwrap_or(person);
        match app.config.systems.get(&self.system) {
            Some(System::Mcp(system)) => system.is_for(name),
            _ => false,
        }
    }

    /// What its server says of it now, if that is what was accepted.
    fn as_it_is(&self, tools: &[Tool]) -> Option<Value> {
        let mut named = tools.iter().filter(|tool| tool.name == self.tool);
        let tool = named.next().filter(|_| named.next().is_none())?;
        let same = definition_digest(tool).is_ok_and(|digest| digest.to_string() == self.digest);
        same.then(|| tool.definition())
    }
}

fn is_denied(one: &Accepted) -> bool {
    let Some(entry) = one.shelved.catalogue.get(&one.id) else { return true };
    matches!(one.shelved.bundle.forecast(&entry.operation), Asks::Denied { .. })
}

/// Every tool that was accepted of the servers that are meant, by the name it is called by. Names come from what was
/// accepted, not from what servers say: one that is silent or lies takes nobody's name.
fn accepted(app: &App, servers: &[String]) -> Result<BTreeMap<String, Accepted>, Problem> {
    let all = app.config.mcp.proxy.as_ref().ok_or_else(|| {
        Problem::new(Kind::NotAllowed, "not-proxying", "no server is passed on here").next(
            "name its connector under `proxy` of [mcp] in harness.toml, or run `harness mcp proxy`",
        )
    })?;
    let meant = Servers::of(servers).unwrap_or(Servers::All);
    let stock = app.shelf.stock();
    let mut found: BTreeMap<OperationId, Accepted> = BTreeMap::new();
    for shelved in stock.packs() {
        for id in &shelved.pack.manifest.asks.operations {
            let is_meant = all.has(id.connector()) && meant.has(id.connector());
            let one = is_meant.then(|| Accepted::of(shelved, id)).flatten();
            if let Some(one) = one {
                found.entry(id.clone()).or_insert(one);
            }
        }
    }
    check_named(&found, (all, &meant))?;
    Ok(by_name(found.into_values().collect()))
}

/// That every server somebody named is there.
fn check_named(
    found: &BTreeMap<OperationId, Accepted>,
    (all, meant): (&Servers, &Servers),
) -> Result<(), Problem> {
    let known: BTreeSet<&str> = found.keys().map(OperationId::connector).collect();
    for servers in [all, meant] {
        let Servers::Named(names) = servers else { continue };
        let Some(missing) = names.iter().find(|name| !known.contains(name.as_str())) else {
            continue;
        };
        // What the operator names may be off for now; what a client names is what it wants.
        if std::ptr::eq(servers, meant) {
            let detail = format!("no server `{missing}` is passed on here");
            return Err(Problem::new(Kind::NotFound, "no-such-server", detail).next(
                "name a connector of kind mcp of a pack that takes work and asks for its operations",
            ));
        }
    }
    Ok(())
}

fn by_name(all: Vec<Accepted>) -> BTreeMap<String, Accepted> {
    let mut times: BTreeMap<&str, u32> = BTreeMap::from([(WAIT, 1)]);
    for one in &all {
        *times.entry(one.tool.as_str()).or_default() += 1;
    }
    let twice: BTreeSet<String> =
        times.iter().filter(|(_, times)| **times > 1).map(|(name, _)| (*name).to_owned()).collect();
    let mut named: BTreeMap<String, Option<Accepted>> = BTreeMap::new();
    for one in all {
        let name = match twice.contains(&one.tool) {
            true => format!("{}__{}", one.id.connector(), one.tool),
            false => one.tool.clone(),
        };
        // One that would still be two things is neither.
        let is_free = !named.contains_key(&name);
        named.insert(name, is_free.then_some(one));
    }
    named.into_iter().filter_map(|(name, one)| Some((name, one?))).collect()
}
