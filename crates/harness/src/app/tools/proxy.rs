//! The governed proxy: tools of servers behind us under their own names, passed on as their servers describe them, and
//! called as runs like everything else. What a server may be asked for stands in a pack's file; what it says now is held
//! against that before anything is shown or called.

use std::sync::Arc;

use connect::mcp::Listed;
use kernel::{
    exception::Class,
    id::{OperationId, RunId},
    label::{Confidentiality, Label, LabelMap, Trust},
    playbook::{Recovery, Step, Work},
    port::Validate as _,
};
use pack::{Intent, OWN_INTENTS, Written};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    About, Begun, Through, ToolCall,
    accepted::{self, Accepted},
    check_whose,
    ends::ToolHears,
    held::{self, New, TRIES},
    offer, under_way,
    would::{self, Would},
};
use crate::app::{
    App, Caller,
    config::mcp::{Face, ProxyMode},
    intents::{self, Chosen, Submit},
    parse_id,
    problem::{Kind, Problem},
    shelf::Shelved,
    value::at,
};

/// The intent of a call that policy decides about. No pack has it.
const PROXIED: &str = OWN_INTENTS[0];

/// The intent of a call that the operator lets pass. No pack has it.
const OBSERVED: &str = OWN_INTENTS[1];

/// The class of data that a person never vouched for: the operator's setting let it pass.
const LET_PASS: &str = "let_pass";

/// The name of the tool that waits, which is ours.
pub(in crate::app) const WAIT: &str = "harness_wait";

/// Longest name of a session, in characters.
const SESSION_MAX_CHARS: usize = 200;

/// What is meant of a server behind us.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Offered {
    /// Tools.
    #[default]
    Tool,
    /// What can be read.
    Resource,
    /// Templates of addresses of what can be read.
    Template,
    /// Prompts.
    Prompt,
}

impl Offered {
    /// As what it was accepted: one operation reads everything.
    pub(super) fn accepted_as(self) -> Self {
        if self == Self::Template { Self::Resource } else { self }
    }

    /// What a server is asked for.
    pub(super) fn listed(self) -> Listed {
        match self {
            Self::Tool => Listed::Tools,
            Self::Resource => Listed::Resources,
            Self::Template => Listed::Templates,
            Self::Prompt => Listed::Prompts,
        }
    }
}

/// What of which servers is meant.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListProxied {
    /// Tools, resources, templates or prompts.
    #[serde(default)]
    pub what: Offered,
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

/// A tool of a server behind us, or something else that it has.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProxiedTool {
    /// What it is called by: its own name, or `server__name` where two servers have that name; of a resource its address.
    pub name: String,
    /// The connector.
    pub server: String,
    /// The operation it is here.
    pub operation: String,
    /// As its server describes it; a tool as somebody accepted it, too.
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
    /// The tool or the prompt by its name in the list, or the address of what is read.
    pub tool: String,
    /// A tool, a resource or a prompt.
    #[serde(default)]
    pub what: Offered,
    /// Its arguments; nothing for what is read.
    #[serde(default)]
    pub arguments: Value,
    /// The same servers as in the list that the name is from.
    #[serde(default)]
    pub servers: Vec<String>,
    /// Which session of the caller's it belongs to: the same call in another is another.
    #[serde(default)]
    pub session: String,
    /// What the caller can be asked in the middle of the call; absent = it can be told nothing either.
    #[serde(default)]
    pub hears: Option<ToolHears>,
    /// The `resume` of an earlier answer to the same call; absent = the call under way, or a new one.
    #[serde(default)]
    pub state: Option<String>,
    /// How long to wait for its end, or until a person is asked, in ms: 0 when nothing is said, at most 45,000.
    #[serde(default)]
    pub wait_ms: Option<u64>,
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
    if app.config.mcp.face != Face::Proxy || !accepted::accepted(app, &[])?.is_empty() {
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
    let (items, silent) = accepted::listed(app, caller, (request.what, &request.servers)).await?;
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
    let meant = (request.what, &*request.tool, &*request.servers);
    let one = accepted::found(app, caller, meant).await?;
    let arguments = match one.sort {
        Offered::Resource => json!({ "uri": request.tool }),
        _ => arguments,
    };
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
    let begun = match &request.state {
        Some(state) => {
            let run = app.tool_opened(state, &about).await?;
            check_whose(app, caller, &run).await?;
            Begun::before(run)
        }
        None => begun(app, caller, (&one, arguments, request.hears), &about).await?,
    };
    let waits = (request.wait_ms, Through::NoAsk);
    let seen = super::stands(app, caller, (begun, &about), waits).await?;
    Ok(ToolCall { promises: one.promises(), ..seen })
}

/// What is to be completed, in the protocol's own words.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteProxied {
    /// `ref`, `argument` and `context` of `completion/complete`.
    pub params: Value,
    /// The same servers as in the list that the name is from.
    #[serde(default)]
    pub servers: Vec<String>,
}

/// How an argument may go on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProxiedCompletion {
    /// The result of `completion/complete`.
    pub result: Value,
}

/// Asks a server behind us how an argument of a prompt, or a place of a template, may go on. It is a look, and no run: of
/// what policy denies whatever the evidence, nothing is asked.
///
/// # Errors
/// When there is no such prompt or template, or its server gave no sound answer.
pub async fn complete(
    app: &App,
    caller: &Caller,
    request: CompleteProxied,
) -> Result<ProxiedCompletion, Problem> {
    let CompleteProxied { mut params, servers } = request;
    let name = |place: &str| at(&params, place).as_str().unwrap_or_default().to_owned();
    let (what, name) = match name("/ref/type").as_str() {
        "ref/prompt" => (Offered::Prompt, name("/ref/name")),
        "ref/resource" => (Offered::Template, name("/ref/uri")),
        _ => {
            let detail = "`ref` is neither a prompt's nor a resource's";
            return Err(Problem::usage("inputs-invalid", detail)
                .next("send ref/prompt with a name, or ref/resource with an address"));
        }
    };
    let (items, _) = accepted::listed(app, caller, (what, &servers)).await?;
    let one = items.into_iter().find(|item| item.name == name);
    let one = one.ok_or_else(|| accepted::none(what, &name))?;
    // Where two servers have one of this name, it is called by another here.
    if let Some(own) = at(&one.definition, "/name").as_str().filter(|_| what == Offered::Prompt)
        && let Some(place) = params.pointer_mut("/ref/name")
    {
        *place = Value::String(own.to_owned());
    }
    let system = app.shelf.stock();
    let system = system.everything().get(&parse_id(&one.operation)?);
    let system = system.and_then(|entry| at(&entry.operation.binding, "/system").as_str());
    let system = system.ok_or_else(|| accepted::none(what, &name))?;
    let result = app.connectors.complete(caller.tenant(), system, params).await;
    let result = result.map_err(|failure| {
        Problem::new(Kind::TryAgain, "server-not-heard", failure.message)
            .next("see to the server behind the proxy")
    })?;
    Ok(ProxiedCompletion { result })
}

/// The run of a call: the one under way, or a new one.
async fn begun(
    app: &App,
    caller: &Caller,
    (one, arguments, hears): (&Accepted, Value, Option<ToolHears>),
    about: &About,
) -> Result<Begun, Problem> {
    let tenant = caller.tenant();
    let intent = if app.config.mcp.proxy_mode.lets_pass() { OBSERVED } else { PROXIED };
    for _ in 0..TRIES {
        // Most calls are made once: it is begun before anybody looks whether it is under way.
        let New { key, document } = app.tool_new(about)?;
        let run = RunId::of_intent(tenant, intent, &key);
        let following = app.followed.follow((tenant, &run), document);
        let end = (tenant.clone(), run);
        if let Some(hears) = hears {
            // Before it begins: a server may ask at once.
            app.ends.begin(end.clone(), hears.into());
        }
        let problem = match begin(app, caller, (one, arguments.clone()), key).await {
            Ok(run) => return Ok(Begun { run, following: Some(following) }),
            Err(problem) => problem,
        };
        app.ends.end(&end);
        // It may have begun before the mode was changed.
        let before = (about, &[PROXIED, OBSERVED][..]);
        if let Some(begun) = under_way(app, caller, before, (&following, problem)).await? {
            return Ok(begun);
        }
    }
    Err(held::busy())
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
            .next("the list has the schema of the arguments"));
    }
    let mode = app.config.mcp.proxy_mode;
    let chosen = chosen(app, one, &operation.input)?;
    let (inputs, labels) = match mode.lets_pass() {
        false => (arguments, intents::of_trust(Trust::Untrusted)),
        true => {
            let would = would::judged(app, caller, (&one.shelved, operation), &arguments);
            let would = Would { mode, ..would };
            (json!({ "arguments": arguments, "would": would }), let_pass_label())
        }
    };
    let submit = Submit {
        intent: Some(chosen.intent.clone()),
        inputs,
        idempotency_key: Some(key),
        ..Submit::default()
    };
    let opened = intents::open_chosen(app, caller, (submit, chosen.one_of_many()), labels).await?;
    Ok(opened.run)
}

/// What stands for the word of whoever lets it pass: the operator's, and nobody's who looked at it.
fn let_pass_label() -> LabelMap {
    let mut label = Label::new(Trust::Operator, Confidentiality::Public);
    label.classes.insert(LET_PASS.to_owned());
    LabelMap::uniform(label)
}

/// What a call runs as in this mode.
fn chosen(app: &App, one: &Accepted, input: &Arc<Value>) -> Result<Chosen, Problem> {
    let name = if app.config.mcp.proxy_mode.lets_pass() { OBSERVED } else { PROXIED };
    let shelved = one.shelved.single::<Problem>((name, &one.id), || match name {
        OBSERVED => {
            let input = Arc::new(json!({
                "type": "object", "required": ["arguments", "would"],
                "properties": { "arguments": {"type": "object"}, "would": {"type": "object"} },
            }));
            let let_pass = app.shelf.let_pass(&one.shelved).map_err(|problem| {
                Problem::new(Kind::Unexpected, "policy-invalid", problem)
                    .next("say `proxy_mode = \"enforce\"` under [mcp]")
            })?;
            Ok(one_call(let_pass, &one.id, (name, "${{ intent.arguments }}"), input))
        }
        _ => Ok(one_call(one.shelved.again(), &one.id, (name, "${{ intent }}"), Arc::clone(input))),
    })?;
    Ok(Chosen::of(shelved, name.to_owned()))
}

/// What runs under an intent whose plan is this one call. Whatever goes wrong with it is the client's to know, at once;
/// what is in doubt is a person's all the same.
fn one_call(
    shelved: Shelved,
    id: &OperationId,
    (name, with): (&str, &str),
    input: Arc<Value>,
) -> Shelved {
    let intent = Intent {
        name: name.to_owned(),
        title: format!("Call {id} for a client of the proxy"),
        input,
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
    Shelved { pack, ..shelved }
}
