//! Halts: stop everything, or one pack, connector, agent or run, within the next dispatch.

use std::{collections::BTreeSet, sync::Arc};

use kernel::{
    exception::OPERATOR_ROLE,
    halt::{Covers, HALT_REASON_BYTES_MAX, HaltChange, HaltEvent},
    id::{HaltId, PrincipalId, RunId},
    label::{Confidentiality, Label, LabelMap, Trust},
    sealed::{Salt, Sealed},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Brake, HaltNote, Halts as _, Page, Query as _, RunFilter, Sqlite};

use super::{
    App, Caller,
    agents::ASSISTANT,
    identity::token_agents,
    parse_id,
    problem::{Kind, Problem},
    runs::{rfc3339, view_of},
    value::visible,
};

/// A halt, as it stands or stood.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HaltView {
    /// Its id.
    pub id: String,
    /// `everything`, `pack`, `connector`, `agent` or `run`.
    pub scope: String,
    /// Which; empty for everything.
    pub name: String,
    /// `standing` or `lifted`.
    pub state: String,
    /// Who put it up.
    pub by: String,
    /// When.
    pub at: String,
    /// Why.
    pub reason: String,
    /// Who lifted it.
    pub lifted_by: Option<String>,
    /// When.
    pub lifted_at: Option<String>,
    /// Why.
    pub lifted_because: Option<String>,
}

/// Halts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HaltList {
    /// Newest first.
    pub items: Vec<HaltView>,
    /// Runs that are held now, of the first 200.
    pub held: u64,
}

/// Which halts.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListHalts {
    /// Lifted ones too.
    pub all: bool,
}

/// Puts up a halt. At most one of the four names; none means everything.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Halt {
    /// Runs of this pack: `name`, whatever the version, or `name@version`.
    pub pack: Option<String>,
    /// Calls of this connector.
    pub connector: Option<String>,
    /// Runs of this agent, those it handed in, and what it does as a step of other runs.
    pub agent: Option<String>,
    /// This run.
    pub run: Option<String>,
    /// Why.
    pub reason: String,
}

/// Lifts a halt.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LiftHalt {
    /// Which.
    pub halt: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Halts: durable on return, and nothing newer is dispatched. Halting the same again changes nothing.
///
/// # Errors
/// When the caller is no operator, or what it names does not exist.
pub async fn halt(app: &App, caller: &Caller, request: Halt) -> Result<HaltView, Problem> {
    check_operator(caller)?;
    let covers = covers_of(app, caller, &request).await?;
    let log = app.store.halt_log(caller.tenant()).await?;
    let standing = kernel::halt::standing(&log).unwrap_or_default();
    let id = match standing.into_iter().find(|standing| standing.covers == covers) {
        Some(same) => same.id,
        None => record(app, caller, Brake::Halt(covers), &request.reason).await?,
    };
    one(app, caller, &id).await
}

/// Lifts a halt; what it held is due at once.
///
/// # Errors
/// When the caller is no operator, or no such halt stands.
pub async fn lift(app: &App, caller: &Caller, request: LiftHalt) -> Result<HaltView, Problem> {
    check_operator(caller)?;
    let id: HaltId = parse_id(&request.halt)?;
    let view = one(app, caller, &id).await?;
    if view.state == "lifted" {
        return Ok(view);
    }
    record(app, caller, Brake::Lift(id.clone()), &request.reason).await?;
    one(app, caller, &id).await
}

/// Lists halts.
///
/// # Errors
/// When the halt log is not what was written.
pub async fn list(app: &App, caller: &Caller, request: ListHalts) -> Result<HaltList, Problem> {
    let log = app.store.halt_log(caller.tenant()).await?;
    let mut items = views(&log);
    items.retain(|view| request.all || view.state == "standing");
    items.reverse();
    let filter = RunFilter { status: Some(kernel::run::Status::Halted), ..RunFilter::default() };
    let held = app.store.runs(caller.tenant(), filter, Page::default()).await?;
    Ok(HaltList { items, held: held.items.len() as u64 })
}

fn check_operator(caller: &Caller) -> Result<(), Problem> {
    let principal = caller.principal();
    let is_person = principal.kind == kernel::principal::Kind::Person;
    if is_person && principal.roles.contains(OPERATOR_ROLE) {
        return Ok(());
    }
    let detail = format!("{} is no operator: only operators halt and lift", principal.id);
    Err(Problem::new(Kind::NotAllowed, "not-an-operator", detail)
        .next("add the role `operator` to somebody under [people] in harness.toml"))
}

async fn covers_of(app: &App, caller: &Caller, request: &Halt) -> Result<Covers, Problem> {
    let unknown = |what: &str, name: &str, known: BTreeSet<String>| {
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        Problem::new(
            Kind::NotFound,
            &format!("{what}-not-found"),
            format!("there is no {what} `{name}`"),
        )
        .next(format!("known are: {known}; --run halts one run, no name halts everything"))
    };
    match (&request.pack, &request.connector, &request.agent, &request.run) {
        (None, None, None, None) => Ok(Covers::Everything),
        (Some(pack), None, None, None) => {
            let known = packs(app);
            let runs = RunFilter { pack: Some(pack.clone()), ..RunFilter::default() };
            if known.contains(pack) || has_runs(app, caller, runs).await? {
                return Ok(Covers::Pack { pack: pack.clone() });
            }
            Err(unknown("pack", pack, known))
        }
        (None, Some(connector), None, None) => {
            let stock = app.shelf.stock();
            let operations = stock.all().flat_map(|shelved| shelved.catalogue.iter());
            let known: BTreeSet<String> =
                operations.map(|(id, _)| id.connector().to_owned()).collect();
            if known.contains(connector) {
                return Ok(Covers::Connector { connector: connector.clone() });
            }
            Err(unknown("connector", connector, known))
        }
        (None, None, Some(name), None) => {
            let agent: PrincipalId = parse_id(name)?;
            let known = agents(app, caller).await?;
            let runs = RunFilter { agent: Some(name.clone()), ..RunFilter::default() };
            if known.contains(name) || has_runs(app, caller, runs).await? {
                return Ok(Covers::Agent { agent });
            }
            Err(unknown("agent", name, known))
        }
        (None, None, None, Some(run)) => {
            let run: RunId = parse_id(run)?;
            view_of(app, caller, &run).await?;
            Ok(Covers::Run { run })
        }
        _ => Err(Problem::usage("halt-scope", "a halt covers one pack, connector, agent or run")
            .next("name one of them, or none to halt everything; set a second halt for another")),
    }
}

/// Packs in force, by name and in their version.
fn packs(app: &App) -> BTreeSet<String> {
    let stock = app.shelf.stock();
    let manifests = stock.all().map(|shelved| &shelved.pack.manifest);
    let each = manifests.flat_map(|m| [m.name.clone(), format!("{}@{}", m.name, m.version)]);
    each.collect()
}

/// Agents that packs in force name, as who proposes or as a step, those with a credential of their own, and
/// the one that tasks in words go to.
async fn agents(app: &App, caller: &Caller) -> Result<BTreeSet<String>, Problem> {
    let mut known = token_agents(app, caller).await?;
    known.insert(format!("agent:{ASSISTANT}"));
    for shelved in app.shelf.stock().all() {
        let pack = &shelved.pack;
        let named = std::iter::once(&pack.manifest.name).chain(pack.agents.keys());
        known.extend(named.map(|name| format!("agent:{name}")));
        let proposers = pack.intents.values().filter_map(|intent| intent.agent.as_ref());
        known.extend(proposers.map(ToString::to_string));
    }
    Ok(known)
}

async fn has_runs(app: &App, caller: &Caller, filter: RunFilter) -> Result<bool, Problem> {
    let page = Page { after: None, limit: 1 };
    Ok(!app.store.runs(caller.tenant(), filter, page).await?.items.is_empty())
}

async fn record(app: &App, caller: &Caller, act: Brake, reason: &str) -> Result<HaltId, Problem> {
    record_in(&app.store, caller, act, reason).await
}

/// Puts a halt up in a store that no app has open.
pub(super) async fn put_up(
    store: &Sqlite,
    caller: &Caller,
    covers: Covers,
    reason: &str,
) -> Result<HaltId, Problem> {
    record_in(store, caller, Brake::Halt(covers), reason).await
}

async fn record_in(
    store: &Sqlite,
    caller: &Caller,
    act: Brake,
    reason: &str,
) -> Result<HaltId, Problem> {
    if reason.len() > HALT_REASON_BYTES_MAX {
        let detail = format!("a reason has at most {HALT_REASON_BYTES_MAX} bytes");
        return Err(Problem::usage("reason-long", detail)
            .next("say it shorter, and name where the rest is written"));
    }
    let unexpected = |e: String| Problem::new(Kind::Unexpected, "halt", e);
    let mut salt = Salt::default();
    getrandom::fill(&mut salt).map_err(|e| unexpected(e.to_string()))?;
    let label = Label::new(Trust::Operator, Confidentiality::Internal);
    let value = Arc::new(Value::String(reason.trim().to_owned()));
    let reason = Sealed::new(value, LabelMap::uniform(label), salt)
        .map_err(|e| unexpected(e.to_string()))?;
    let at = engine::Clock::now(&super::host::SystemClock).at;
    let note = HaltNote { at, by: caller.principal().id.clone(), act, reason };
    let event = store.record_halt(caller.tenant(), note).await?;
    match event.change {
        HaltChange::Halted { halt, .. } | HaltChange::Lifted { halt } => Ok(halt),
    }
}

async fn one(app: &App, caller: &Caller, id: &HaltId) -> Result<HaltView, Problem> {
    let log = app.store.halt_log(caller.tenant()).await?;
    let found = views(&log).into_iter().find(|view| view.id == id.as_str());
    found.ok_or_else(|| Problem::not_found("halt", id.as_str()))
}

/// The halts a log tells of, in order.
fn views(log: &[HaltEvent]) -> Vec<HaltView> {
    let mut views: Vec<HaltView> = Vec::new();
    for event in log {
        let reason = event.reason.value().as_str().map(visible).unwrap_or_default();
        match &event.change {
            HaltChange::Halted { halt, covers } => {
                let (scope, name) = words(covers);
                views.push(HaltView {
                    id: halt.to_string(),
                    scope: scope.to_owned(),
                    name,
                    state: "standing".to_owned(),
                    by: event.by.to_string(),
                    at: rfc3339(event.at),
                    reason,
                    lifted_by: None,
                    lifted_at: None,
                    lifted_because: None,
                });
            }
            HaltChange::Lifted { halt } => {
                let lifted = views.iter_mut().find(|view| view.id == halt.as_str());
                if let Some(view) = lifted {
                    view.state = "lifted".to_owned();
                    view.lifted_by = Some(event.by.to_string());
                    view.lifted_at = Some(rfc3339(event.at));
                    view.lifted_because = Some(reason);
                }
            }
        }
    }
    views
}

/// A scope in words, and the name in it.
pub(super) fn words(covers: &Covers) -> (&'static str, String) {
    match covers {
        Covers::Everything => ("everything", String::new()),
        Covers::Pack { pack } => ("pack", pack.clone()),
        Covers::Connector { connector } => ("connector", connector.clone()),
        Covers::Agent { agent } => ("agent", agent.to_string()),
        Covers::Run { run } => ("run", run.to_string()),
    }
}
