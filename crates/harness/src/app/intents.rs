//! Intents: route, plan, submit.

use kernel::{
    Digest,
    decision::Mode,
    event::{Body, Header},
    id::{OperationId, RunId},
    label::{Confidentiality, Label, LabelMap, Trust},
    plan::{Asks, Plan, PlanStep},
    planning::Labelled,
    port::Blobs,
    principal::{Chain, Grant, Kind as ActorKind, Principal},
    run::Genesis,
};
use pack::{Request, Routed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

use super::{
    App, Caller,
    attachments::{self, Attach},
    header::pin_header,
    novelty,
    plans::{compile, planned},
    problem::{Kind, Problem},
    runs::{self, RunView},
    shelf::Shelved,
};

/// Longest wait for a run to park, in milliseconds.
const WAIT_MAX_MS: u64 = 24 * 3_600_000;

/// A request that an intent should serve.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Submit {
    /// The intent: `name` or `pack/name`.
    #[serde(default)]
    pub intent: Option<String>,
    /// The request in words, where no intent is named.
    #[serde(default)]
    pub text: Option<String>,
    /// The inputs.
    #[serde(default)]
    pub inputs: Value,
    /// Files and pictures that go with it, for an intent that has the input `attachments`.
    #[serde(default)]
    pub attachments: Vec<Attach>,
    /// Whether the person who submits vouches for the files as for their own words; otherwise what stands in them
    /// is untrusted.
    #[serde(default)]
    pub vouch: bool,
    /// The same key is the same run; absent = a fresh one.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// How long to wait for the run to park, in ms; absent = do not wait.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// What became of a submission.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Submitted {
    /// Whether the run is new, or the same key was submitted before.
    pub new: bool,
    /// The idempotency key in force.
    pub idempotency_key: String,
    /// The run.
    pub run: RunView,
}

/// A plan as people read it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlanView {
    /// The plan hash.
    pub digest: String,
    /// The intent.
    pub intent: String,
    /// Pack and version.
    pub pack: String,
    /// Pack digest.
    pub pack_digest: String,
    /// Policy digest.
    pub policy_digest: String,
    /// Why this intent was chosen.
    #[serde(default)]
    pub why: Vec<String>,
    /// What it may do.
    pub steps: Vec<PlanStepView>,
}

/// One step of a plan.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlanStepView {
    /// Static path.
    pub path: String,
    /// Operation.
    pub operation: String,
    /// `read` or `write`.
    pub effect: String,
    /// `restore`, `compensate` or `none`.
    pub undo: String,
    /// Whether something leaves to a place nobody declared.
    pub egress: bool,
    /// Whether it runs only on a condition.
    pub conditional: bool,
    /// Most times it can run.
    pub times_max: u64,
    /// `no`, `always`, `maybe` or `denied`.
    pub asks: String,
    /// Roles and numbers asked for.
    pub approvals: Vec<String>,
    /// Rules that ask or deny.
    pub rules: Vec<String>,
    /// What a `maybe` depends on.
    pub depends_on: Vec<String>,
}

/// Which plan to show.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetPlan {
    /// The run whose stored plan is meant.
    pub run: String,
}

/// An intent as lists show it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct IntentView {
    /// Pack.
    pub pack: String,
    /// Name.
    pub name: String,
    /// Title.
    pub title: String,
    /// Phrases that ask for it.
    pub triggers: Vec<String>,
    /// JSON Schema of its inputs.
    pub input: Value,
}

/// All intents.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct IntentList {
    /// In pack and name order.
    pub items: Vec<IntentView>,
}

/// Nothing to say.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Lists the intents of all packs.
///
/// # Errors
/// None.
pub async fn list(app: &App, _: &Caller, _: Nothing) -> Result<IntentList, Problem> {
    let stock = app.shelf.stock();
    let items = stock.packs().flat_map(|shelved| {
        let pack = shelved.pack.manifest.name.clone();
        shelved.pack.intents.values().map(move |intent| IntentView {
            pack: pack.clone(),
            name: intent.name.clone(),
            title: intent.title.clone(),
            triggers: intent.triggers.clone(),
            input: (*intent.input).clone(),
        })
    });
    Ok(IntentList { items: items.collect() })
}

/// Compiles the plan a submission would run, without running it.
///
/// # Errors
/// When no single intent is meant, or the inputs do not fit.
pub async fn plan(app: &App, caller: &Caller, request: Submit) -> Result<PlanView, Problem> {
    let chosen = choose(app, &request)?;
    let key = request.idempotency_key.clone().unwrap_or_default();
    let (mut inputs, mut labels) = (request.inputs, of_trust(Trust::User));
    let run = RunId::of_intent(caller.tenant(), &chosen.intent, &key);
    let handed = attachments::look(app, caller, (&request.attachments, request.vouch))?;
    handed.put_into(&run, (&mut inputs, &mut labels))?;
    let plan = compile(app, caller, &chosen, &inputs)?;
    attachments::check_taken(app, &plan, &inputs)?;
    let digest = plan
        .digest()
        .map_err(|e| Problem::usage("inputs-invalid", e.to_string()).next("correct the inputs"))?;
    Ok(view(&plan, digest, chosen.why))
}

/// Shows the stored plan of a run.
///
/// # Errors
/// When there is no such run.
pub async fn get_plan(app: &App, caller: &Caller, request: GetPlan) -> Result<PlanView, Problem> {
    let id: RunId = super::parse_id(&request.run)?;
    let records = app.records(caller, &id).await?;
    let header = records.first().and_then(super::header_of);
    let header = header.ok_or_else(|| Problem::not_found("run", &request.run))?;
    let plan = app.shelf.plan(caller.tenant(), header.plan).await;
    let plan = plan.map_err(|e| Problem::new(Kind::Unexpected, "plan-gone", e))?;
    Ok(view(&plan, header.plan, Vec::new()))
}

/// Submits an intent: durable on return, one run per key.
///
/// # Errors
/// When no single intent is meant, the inputs do not fit, or the key was used with other inputs.
pub async fn submit(app: &App, caller: &Caller, request: Submit) -> Result<Submitted, Problem> {
    let chosen = choose(app, &request)?;
    submit_chosen(app, caller, (request, chosen), of_trust(Trust::User)).await
}

/// Labels of inputs that somebody of this trust gives.
pub(super) fn of_trust(trust: Trust) -> LabelMap {
    LabelMap::uniform(Label::new(trust, Confidentiality::Internal))
}

/// As [`submit`], for an intent that is chosen already, with inputs under these labels.
pub(super) async fn submit_chosen(
    app: &App,
    caller: &Caller,
    chosen: (Submit, Chosen),
    labels: LabelMap,
) -> Result<Submitted, Problem> {
    let wait_ms = chosen.0.wait_ms;
    let Opened { run, new, key } = open_chosen(app, caller, chosen, labels).await?;
    if let Some(wait_ms) = wait_ms {
        runs::wait(app, caller, &run, wait_ms.min(WAIT_MAX_MS)).await;
    }
    let run = runs::view_of(app, caller, &run).await?;
    Ok(Submitted { new, idempotency_key: key, run })
}

/// A run that is durable.
pub(super) struct Opened {
    pub(super) run: RunId,
    new: bool,
    key: String,
}

/// As [`submit_chosen`], for whoever does not want to see the run yet: nobody waits.
pub(super) async fn open_chosen(
    app: &App,
    caller: &Caller,
    (mut request, chosen): (Submit, Chosen),
    mut labels: LabelMap,
) -> Result<Opened, Problem> {
    let key = key_of(&request)?;
    let run = RunId::of_intent(caller.tenant(), &chosen.intent, &key);
    let handed = attachments::look(app, caller, (&request.attachments, request.vouch))?;
    let files = handed.put_into(&run, (&mut request.inputs, &mut labels))?;
    let planned = planned(app, caller, &chosen, &request.inputs)?;
    let (plan, digest) = (&planned.plan, planned.digest);
    attachments::check_taken(app, plan, &request.inputs)?;
    for file in files {
        Blobs::put(&*app.store, caller.tenant().clone(), file).await?;
    }
    app.shelf.keep(caller.tenant(), &chosen.shelved).await?;
    let bytes = planned.bytes.clone();
    if let Some(bytes) = app.followed.with_blob((caller.tenant(), &run), bytes) {
        Blobs::put(&*app.store, caller.tenant().clone(), bytes).await?;
    }
    let from = (&request.inputs, &*key, labels);
    let mut genesis = genesis(app, caller, (&chosen, plan, digest), from)?;
    judge_inputs(app, caller, &chosen, (&mut genesis.header, &request.inputs)).await?;
    let wanted = genesis.header.clone();
    let submitted = app.engine.submit(genesis).await?;
    let run = submitted.run().clone();
    let new = matches!(submitted, engine::Submitted::New(_));
    if !new {
        check_same(app, caller, &run, (&wanted, &request.inputs)).await?;
        // Whoever drove it may have died since: handed in again, it goes on.
        app.engine.wake((caller.tenant().clone(), run.clone()));
    }
    Ok(Opened { run, new, key })
}

/// The key in force: the one given, or a fresh one.
fn key_of(request: &Submit) -> Result<String, Problem> {
    match &request.idempotency_key {
        Some(key) if key.is_empty() || key.len() > 200 => {
            let detail = "an idempotency key has 1 to 200 characters";
            Err(Problem::usage("idempotency-key", detail)
                .next("leave the key out to get a new one, or shorten it"))
        }
        Some(key) => Ok(key.clone()),
        None => Ok(uuid::Uuid::now_v7().to_string()),
    }
}

/// Inputs unlike those of earlier runs take autonomy away.
async fn judge_inputs(
    app: &App,
    caller: &Caller,
    chosen: &Chosen,
    (header, inputs): (&mut Header, &Value),
) -> Result<(), Problem> {
    if chosen.is_one_of_many {
        return Ok(());
    }
    let shelved = &*chosen.shelved;
    let intent = shelved.pack.intents.get(&chosen.intent);
    let intent = intent.ok_or_else(|| Problem::not_found("intent", &chosen.intent))?;
    header.unusual = novelty::unusual(app, caller, (shelved, intent), inputs).await?;
    if !header.unusual.is_empty() {
        header.autonomy = header.autonomy.lowered();
    }
    Ok(())
}

/// The intent that is meant.
pub(super) struct Chosen {
    pub(super) shelved: Arc<Shelved>,
    pub(super) intent: String,
    /// What the run is for.
    mode: Mode,
    why: Vec<String>,
    /// Whether calls of any sort share this intent: what is usual for all of them says nothing about one.
    pub(super) is_one_of_many: bool,
}

impl Chosen {
    /// An intent that somebody has chosen already.
    pub(super) fn of(shelved: Arc<Shelved>, intent: String) -> Self {
        Self { shelved, intent, mode: Mode::Live, why: Vec::new(), is_one_of_many: false }
    }

    /// The same, where calls of any sort share the intent.
    pub(super) fn one_of_many(self) -> Self {
        Self { is_one_of_many: true, ..self }
    }

    /// The same in another mode.
    pub(super) fn in_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }
}

pub(super) fn choose(app: &App, request: &Submit) -> Result<Chosen, Problem> {
    if request.intent.is_none() && request.text.is_none() {
        return Err(Problem::usage("no-intent", "name an intent or say what is wanted")
            .next("`harness intent list` shows what can be asked for"));
    }
    let asked = Request {
        text: request.text.clone(),
        intent: request.intent.clone(),
        inputs: Some(request.inputs.clone()).filter(|inputs| !inputs.is_null()),
    };
    let names = |candidates: &[pack::Candidate]| {
        let each = candidates.iter().map(|c| format!("{}/{}", c.pack, c.intent));
        each.collect::<Vec<_>>().join(", ")
    };
    let stock = app.shelf.stock();
    match stock.router().route(&asked) {
        Routed::One(found) => {
            let shelved = Arc::clone(stock.pack(&found.pack)?);
            Ok(Chosen { why: found.why, ..Chosen::of(shelved, found.intent) })
        }
        Routed::Tie { candidates } => {
            let detail = format!("several intents fit: {}", names(&candidates));
            Err(Problem::new(Kind::NeedsPerson, "intent-ambiguous", detail)
                .next("name the one that is meant"))
        }
        Routed::None { nearest } => {
            let detail = match nearest.is_empty() {
                true => "no intent fits".to_owned(),
                false => format!("no intent fits; nearest: {}", names(&nearest)),
            };
            Err(Problem::new(Kind::NotFound, "intent-not-found", detail)
                .next("`harness intent list` shows what can be asked for"))
        }
    }
}

/// What a run's pack, as configured now, would have the run do.
pub(crate) struct PlanNow {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) digest: Digest,
    pub(crate) pins: kernel::run::Pins,
    pub(crate) validate: Arc<dyn kernel::port::Validate>,
}

/// Compiles a run's intent again, with its own inputs, from the pack as it is now.
///
/// # Errors
/// When the pack is not configured any more, or has no such intent, or takes no such inputs.
pub(crate) fn plan_now(
    app: &App,
    caller: &Caller,
    records: &[kernel::event::Record],
) -> Result<PlanNow, Problem> {
    let opened = records.first().map(|first| (&first.event.run, &first.event.body));
    let Some((run, Body::Opened { header, intent, .. })) = opened else {
        return Err(Problem::not_found("run", "without a beginning"));
    };
    let name = header.pack.split('@').next().unwrap_or_default();
    let shelved = app.shelf.pack(name)?;
    let chosen = Chosen::of(shelved, header.intent.clone());
    let plan = Arc::new(compile(app, caller, &chosen, &intent.value())?);
    let planner = planner::PlaybookPlanner::new(Arc::clone(&plan), run)
        .map_err(|e| Problem::usage("plan-invalid", e.to_string()).next("correct the inputs"))?;
    let schemas = Arc::clone(&chosen.shelved.schemas) as Arc<dyn kernel::port::Validate>;
    let planner = planner.with_schemas(schemas);
    let catalogue = Arc::clone(&chosen.shelved.catalogue);
    let manifest = &chosen.shelved.pack.manifest;
    Ok(PlanNow {
        name: manifest.name.clone(),
        version: manifest.version.to_string(),
        digest: chosen.shelved.pack.digest,
        pins: kernel::run::Pins { plan, catalogue, planner: Box::new(planner) },
        validate: Arc::clone(&chosen.shelved.schemas) as Arc<dyn kernel::port::Validate>,
    })
}

fn genesis(
    app: &App,
    caller: &Caller,
    (chosen, plan, digest): (&Chosen, &Plan, Digest),
    (inputs, key, labels): (&Value, &str, LabelMap),
) -> Result<Genesis, Problem> {
    let pack = &chosen.shelved.pack;
    let intent = pack.intents.get(&chosen.intent);
    let intent = intent.ok_or_else(|| Problem::not_found("intent", &chosen.intent))?;
    let agent = match &intent.agent {
        Some(agent) => agent.clone(),
        None => super::parse_id(&format!("agent:{}", pack.manifest.name))?,
    };
    let agent = Principal { id: agent, kind: ActorKind::Agent, roles: Default::default() };
    let tenant = caller.tenant().clone();
    let chain = Chain { agent, on_behalf_of: caller.acts_for().clone(), tenant: tenant.clone() };
    let limits = (app.config.budget.clone(), app.config.approvers.clone());
    let grant = grant_of(plan, &chosen.shelved);
    let mut header = pin_header(chain, &pack.manifest, (plan, digest), grant, limits);
    header.mode = chosen.mode;
    let by = &caller.principal().id;
    header.submitted_by = Some(by.clone()).filter(|by| *by != caller.acts_for().id);
    let subjects = intent.subjects.iter().filter_map(|(kind, pointer)| {
        let value = inputs.pointer(pointer)?.as_str()?;
        Some(subject(&tenant, kind, value))
    });
    Ok(Genesis {
        id: RunId::of_intent(&tenant, &chosen.intent, key),
        header,
        intent: Labelled { value: Arc::new(inputs.clone()), labels },
        subjects: subjects.collect(),
    })
}

/// An opaque subject: lists can filter by it, a journal shows nothing.
pub(crate) fn subject(tenant: &kernel::id::Tenant, kind: &str, value: &str) -> String {
    let parts = [tenant.as_str().as_bytes(), kind.as_bytes(), value.as_bytes()];
    let digest = Digest::of_parts("harness/subject/v1", &parts);
    format!("{kind}:{}", digest.hex().get(..24).unwrap_or_default())
}

/// What the plan names, and what takes it back.
pub(crate) fn grant_of(plan: &Plan, shelved: &Shelved) -> Grant {
    let mut operations: std::collections::BTreeSet<OperationId> =
        plan.steps.iter().map(|step| step.operation.clone()).collect();
    let named: Vec<OperationId> = operations.iter().cloned().collect();
    for id in named {
        let Some(entry) = shelved.catalogue.get(&id) else { continue };
        let companions = &entry.operation.companions;
        let probe = companions.probe.as_ref().map(|p| &p.call);
        let all = [
            companions.before.as_ref(),
            companions.preview.as_ref(),
            companions.undo_with.as_ref(),
            probe,
        ];
        operations.extend(all.into_iter().flatten().map(|c| c.operation.clone()));
    }
    kernel::playbook::visit_steps(&plan.playbook.steps, &mut |_, step| {
        operations.extend(step.undo.iter().map(|c| c.operation.clone()));
    });
    Grant { operations }
}

/// The same key for something else is somebody's mistake, not a retry.
async fn check_same(
    app: &App,
    caller: &Caller,
    id: &RunId,
    (wanted, inputs): (&Header, &Value),
) -> Result<(), Problem> {
    let records = app.records(caller, id).await?;
    let reused = |how: &str| {
        let detail = format!("this idempotency key was used {how}");
        Err(Problem::new(Kind::Conflict, "idempotency-key-reused", detail).next("use another key"))
    };
    let Some(Body::Opened { header, intent, .. }) = records.first().map(|r| &r.event.body) else {
        return Ok(());
    };
    if !caller.may_see(header) {
        return reused("by somebody else");
    }
    if !is_same_work(header, wanted) {
        return reused(&format!("for something else, {id}"));
    }
    match intent.opening() {
        Some(before) if *before.value != *inputs => reused(&format!("with other inputs for {id}")),
        _ => Ok(()),
    }
}

/// Whether a request means the run that is there: the same pack and, as long as nothing that a plan is made
/// from was changed since, the same plan.
fn is_same_work(run: &Header, wanted: &Header) -> bool {
    let name = |header: &Header| header.pack.split('@').next().map(str::to_owned);
    let pins = |header: &Header| (header.pack_digest, header.policy, header.config);
    let same_plan = run.plan == wanted.plan || pins(run) != pins(wanted);
    run.mode == wanted.mode
        && name(run) == name(wanted)
        && run.chain.agent.id == wanted.chain.agent.id
        && same_plan
}

fn word<T: Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

fn view(plan: &Plan, digest: Digest, why: Vec<String>) -> PlanView {
    PlanView {
        digest: digest.to_string(),
        intent: plan.intent.clone(),
        pack: format!("{}@{}", plan.pack, plan.pack_version),
        pack_digest: plan.pack_digest.to_string(),
        policy_digest: plan.policy_digest.to_string(),
        why,
        steps: plan.steps.iter().map(step_view).collect(),
    }
}

fn step_view(step: &PlanStep) -> PlanStepView {
    let (asks, approvals, rules, depends_on) = asks_view(&step.asks);
    PlanStepView {
        path: step.path.clone(),
        operation: step.operation.to_string(),
        effect: word(&step.facts.effect),
        undo: word(&step.facts.undo),
        egress: step.facts.egress,
        conditional: step.conditional,
        times_max: step.times_max,
        asks,
        approvals,
        rules,
        depends_on,
    }
}

/// A forecast in words: asks, approvals, rules, what it depends on.
pub(crate) fn asks_view(asks: &Asks) -> (String, Vec<String>, Vec<String>, Vec<String>) {
    let people = |approvals: &std::collections::BTreeMap<String, u32>| {
        approvals.iter().map(|(role, n)| format!("{n} × {role}")).collect::<Vec<_>>()
    };
    match asks {
        Asks::No => ("no".to_owned(), vec![], vec![], vec![]),
        Asks::Always { approvals, rules } => {
            ("always".to_owned(), people(approvals), rules.clone(), vec![])
        }
        Asks::Maybe { approvals, rules, depends_on } => (
            "maybe".to_owned(),
            people(approvals),
            rules.clone(),
            depends_on.iter().cloned().collect(),
        ),
        Asks::Denied { rules } => ("denied".to_owned(), vec![], rules.clone(), vec![]),
    }
}
