//! Puts an agent together, and refuses what could only fail later.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    sync::{Arc, Mutex},
};

use engine::{Clock, Engine, Options};
use kernel::{
    Digest, RunId,
    agent::{Guide, Limits, Results, Skill},
    approval::{ASK_EXPIRES_MS, ApproverRule},
    budget::Budget,
    canon,
    catalogue::Catalogue,
    conversation::MODEL_CONNECTOR,
    id::{OperationId, Tenant},
    label::Confidentiality,
    operation::Operation,
    port::{Blobs, Journal, Judge, Validate},
    principal::{Chain, Kind, Principal},
};
use models::{Cassette, Client, Model, Models, Role, ScriptedModel, Terms};
use pack::Schemas;
use policy::{Bundle, INHERITED, Layer, STARTER, Source};
use receipts::key::Signer;
use serde_json::{Value, json};

use crate::{
    Agent, Error, Hook, Sensor, Tool, World,
    agent::Parts,
    doors::{Doors, Sensed},
    hook::Hooked,
    people::{Answer, Approver, Ask, person},
    plan::{Planned, Spec},
    registry::{Registered, all},
    sensor,
    shelf::Shelf,
    watch::{Happening, Onlooker, Watched},
    world::ModelClock,
};

/// The role that an agent thinks with where none is named.
pub const ROLE: &str = "main";

/// For whom an agent acts where nobody is named.
pub const REQUESTER: &str = "person:user";

/// What an own policy need not say: whoever gives an agent a model lets it think.
const MAY_THINK: &str = r#"@id("embed.model")
@reason("The agent may ask its model.")
permit (principal, action in Action::"model", resource);
"#;

/// Runs driven at a time by one agent.
const RUNS_MAX: usize = 256;

/// A model that knows on which terms it is asked.
pub trait OnTerms: Model {
    /// What may be shown to it, how often it may be asked, what it costs.
    fn terms(&self) -> Terms;
}

impl OnTerms for Client {
    fn terms(&self) -> Terms {
        Terms::from(self.provider())
    }
}

impl OnTerms for ScriptedModel {
    fn terms(&self) -> Terms {
        Terms::own()
    }
}

impl OnTerms for Cassette {
    fn terms(&self) -> Terms {
        Terms::own()
    }
}

/// What stands behind the agent's role.
#[derive(Debug)]
enum Mind {
    One(Arc<dyn Model>, Terms),
    Roles(Arc<Models>),
}

/// Puts an [`Agent`] together. Whatever is left out takes its strictest value.
#[derive(Debug)]
pub struct Builder {
    spec: Spec,
    mind: Option<Mind>,
    tools: Vec<Tool>,
    hooks: Vec<Hook>,
    sensors: Vec<Sensor>,
    policy: Option<String>,
    world: World,
    signer: Option<Signer>,
    approver: Option<Approver>,
    onlooker: Option<Onlooker>,
    chain: (Tenant, Option<Principal>),
    budget: Budget,
    task: Confidentiality,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            spec: Spec {
                name: "agent".to_owned(),
                role: ROLE.to_owned(),
                summary_role: None,
                instructions: "Do what you are asked, with the tools you have.".to_owned(),
                skills: Vec::new(),
                guides: Vec::new(),
                results: Results::default(),
                limits: Limits::default(),
            },
            mind: None,
            tools: Vec::new(),
            hooks: Vec::new(),
            sensors: Vec::new(),
            policy: None,
            world: World::default(),
            signer: None,
            approver: None,
            onlooker: None,
            chain: (Tenant::default(), None),
            budget: Budget::default(),
            task: Confidentiality::Internal,
        }
    }
}

impl Builder {
    /// What it is called: in receipts, and in policies as `Agent::"agent:<name>"`.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.spec.name = name.to_owned();
        self
    }

    /// What the model is told before everything else.
    #[must_use]
    pub fn instructions(mut self, text: &str) -> Self {
        self.spec.instructions = text.to_owned();
        self
    }

    /// The model it thinks with, on the model's own terms.
    #[must_use]
    pub fn model(self, model: impl OnTerms + 'static) -> Self {
        let terms = model.terms();
        self.model_on(Arc::new(model), terms)
    }

    /// Any model, on these terms.
    #[must_use]
    pub fn model_on(mut self, model: Arc<dyn Model>, terms: Terms) -> Self {
        self.mind = Some(Mind::One(model, terms));
        self
    }

    /// Models by role, with fallbacks. What they say on the way is heard by whoever listens to them.
    #[must_use]
    pub fn models(mut self, models: Arc<Models>) -> Self {
        self.mind = Some(Mind::Roles(models));
        self
    }

    /// The role it thinks with; absent = [`ROLE`].
    #[must_use]
    pub fn role(mut self, role: &str) -> Self {
        self.spec.role = role.to_owned();
        self
    }

    /// The role that sums up what no longer fits; absent = it is only shortened.
    #[must_use]
    pub fn summary_role(mut self, role: &str) -> Self {
        self.spec.summary_role = Some(role.to_owned());
        self
    }

    /// Something it may call, as far as policy lets it.
    #[must_use]
    pub fn tool(mut self, tool: Tool) -> Self {
        self.tools.push(tool);
        self
    }

    /// Every `#[tool]`, `#[skill]` and `#[guide]` of the program. (Every `#[hook]` and `#[sensor]` counts
    /// anyway: they only narrow and tell.)
    #[must_use]
    pub fn registered(mut self) -> Self {
        let tool = |one: &Registered| if let Registered::Tool(f) = one { Some(f()) } else { None };
        let skill =
            |one: &Registered| if let Registered::Skill(f) = one { Some(f()) } else { None };
        let guide =
            |one: &Registered| if let Registered::Guide(f) = one { Some(f()) } else { None };
        self.tools.extend(all(tool, |tool| tool.name.clone()));
        self.spec.skills.extend(all(skill, |skill| skill.name.clone()));
        self.spec.guides.extend(all(guide, |guide| guide.name.clone()));
        self
    }

    /// Instructions it may load.
    #[must_use]
    pub fn skill(mut self, skill: Skill) -> Self {
        self.spec.skills.push(skill);
        self
    }

    /// Text it is told where it helps.
    #[must_use]
    pub fn guide(mut self, guide: Guide) -> Self {
        self.spec.guides.push(guide);
        self
    }

    /// Code that looks at calls before they are made.
    #[must_use]
    pub fn hook(mut self, hook: Hook) -> Self {
        self.hooks.push(hook);
        self
    }

    /// Code that looks at a tool's results.
    #[must_use]
    pub fn sensor(mut self, sensor: Sensor) -> Self {
        self.sensors.push(sensor);
        self
    }

    /// Cedar text: what is permitted beside thinking. Absent: reads that stay inside, and no write. What
    /// a permitted write inherits stands in `policy::INHERITED`: what cannot be taken back asks a person.
    #[must_use]
    pub fn policy(mut self, cedar: &str) -> Self {
        self.policy = Some(cedar.to_owned());
        self
    }

    /// Whoever is asked. Absent: every ask is refused at once.
    #[must_use]
    pub fn approver<F, W>(mut self, ask: F) -> Self
    where
        F: Fn(Ask) -> W + Send + Sync + 'static,
        W: Future<Output = Answer> + Send + 'static,
    {
        self.approver = Some(Approver::new(ask));
        self
    }

    /// Whoever looks on while a run is under way. Must not block.
    #[must_use]
    pub fn on_progress(
        mut self,
        tell: impl Fn(&RunId, Happening<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.onlooker = Some(Onlooker(Arc::new(tell)));
        self
    }

    /// Limits of one agent: turns, calls, tokens, time.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.spec.limits = limits;
        self
    }

    /// Limits of one run: calls, writes, money.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// Whether it sees untrusted results or only handles to them.
    #[must_use]
    pub fn results(mut self, results: Results) -> Self {
        self.spec.results = results;
        self
    }

    /// How confidential its tasks are; absent = internal.
    #[must_use]
    pub fn tasks_are(mut self, confidentiality: Confidentiality) -> Self {
        self.task = confidentiality;
        self
    }

    /// Where it writes, what time it is, where chance comes from; absent = [`World::default`].
    #[must_use]
    pub fn world(mut self, world: World) -> Self {
        self.world = world;
        self
    }

    /// Where it writes, such as `store::Sqlite`; absent = in memory.
    #[must_use]
    pub fn store<S: Journal + Blobs + 'static>(mut self, store: Arc<S>) -> Self {
        self.world.journal = Arc::clone(&store) as Arc<dyn Journal>;
        self.world.blobs = store;
        self
    }

    /// The clock it goes by.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.world.clock = clock;
        self
    }

    /// The key that signs receipts; absent = a new one that lives as long as the agent.
    #[must_use]
    pub fn signer(mut self, signer: Signer) -> Self {
        self.signer = Some(signer);
        self
    }

    /// Whose data and rights are at stake, and for whom it acts.
    #[must_use]
    pub fn on_behalf_of(mut self, tenant: Tenant, principal: Principal) -> Self {
        self.chain = (tenant, Some(principal));
        self
    }

    /// Builds it. Nothing is sent and no file is touched.
    ///
    /// # Errors
    /// Everything that could only fail later: no model, a tool that is not declared as it must be, a
    /// policy that does not load, a model that may not be shown what it would be shown.
    pub fn build(mut self) -> Result<Agent, Error> {
        let hook = |one: &Registered| if let Registered::Hook(f) = one { Some(f()) } else { None };
        let sensor =
            |one: &Registered| if let Registered::Sensor(f) = one { Some(f()) } else { None };
        self.hooks.extend(all(hook, |hook| hook.name().to_owned()));
        self.sensors.extend(all(sensor, |sensor| sensor.name().to_owned()));
        let models = self.minds()?;
        let sensed = self.sensed()?;
        let catalogue = Arc::new(catalogue(&sensed, &models)?);
        self.check_shown(&catalogue)?;
        let (bundle, config) = (Arc::new(self.bundle(&catalogue)?), self.config_digest()?);
        let tools: Vec<&Tool> = sensed.values().map(|one| &one.tool).collect();
        let planned = Planned::new(&self.spec, &tools, &catalogue, (bundle.digest(), config))?;
        check_plan(&planned, &bundle)?;
        let signer = Arc::new(match self.signer.take() {
            Some(signer) => signer,
            None => self.ephemeral_key()?,
        });
        let watched =
            Arc::new(Watched::new(Arc::clone(&self.world.journal), self.onlooker.clone()));
        let shelf = Arc::new(Shelf {
            catalogue,
            judge: Arc::new(Hooked {
                policy: Arc::clone(&bundle) as Arc<dyn Judge>,
                hooks: std::mem::take(&mut self.hooks),
            }),
            policy: bundle.digest(),
            validate: Arc::new(Schemas::new()) as Arc<dyn Validate>,
            blobs: Arc::clone(&self.world.blobs),
            plans: Mutex::new(HashMap::new()),
        });
        let clock = Arc::clone(&self.world.clock);
        let engine = Engine::new(Options {
            journal: Arc::clone(&watched) as Arc<dyn Journal>,
            connector: Arc::new(Doors { models, tools: sensed, clock: Arc::clone(&clock) }),
            loader: Arc::clone(&shelf) as Arc<dyn engine::Loader>,
            seal: Arc::new(crate::agent::Sealer(Arc::clone(&signer))),
            clock,
            entropy: Arc::clone(&self.world.entropy),
            runs_max: RUNS_MAX,
        });
        let expires_ms = if self.approver.is_some() { ASK_EXPIRES_MS } else { 0 };
        Ok(Agent::new(Parts {
            chain: self.chain()?,
            planned,
            bundle,
            shelf,
            watched,
            engine,
            signer,
            world: self.world,
            approver: self.approver,
            limits: (self.budget, ApproverRule { expires_ms, ..ApproverRule::default() }),
            task: self.task,
        }))
    }

    fn minds(&mut self) -> Result<Arc<Models>, Error> {
        match self.mind.take() {
            None => Err(Error::NoModel),
            Some(Mind::Roles(models)) => Ok(models),
            Some(Mind::One(model, terms)) => {
                let role = Role::of(&[model.name()]);
                let mut builder = Models::builder()
                    .model(model, terms)
                    .role(&self.spec.role, role)
                    .clock(Arc::new(ModelClock(Arc::clone(&self.world.clock))));
                if let Some(onlooker) = &self.onlooker {
                    builder = builder.progress(Arc::new(onlooker.clone()));
                }
                Ok(Arc::new(builder.build()?))
            }
        }
    }

    /// Tools by operation, each with its sensors.
    fn sensed(&mut self) -> Result<BTreeMap<OperationId, Sensed>, Error> {
        let mut sensed = BTreeMap::new();
        for tool in std::mem::take(&mut self.tools) {
            let wrong =
                |problem: &str| Error::Tool { tool: tool.name.clone(), problem: problem.into() };
            tool.check()?;
            let id = crate::tool::id(tool.name()).ok_or_else(|| wrong("its name is no id"))?;
            if sensed.contains_key(&id) {
                return Err(wrong("two tools have this name; rename one"));
            }
            let sensors = self.sensors.iter().filter(|sensor| sensor.tool() == tool.name());
            let sensors = sensors.cloned().collect();
            sensed.insert(id, Sensed { tool, sensors });
        }
        Ok(sensed)
    }

    /// That the model may be shown what it will be shown.
    fn check_shown(&self, catalogue: &Catalogue) -> Result<(), Error> {
        let id = format!("{MODEL_CONNECTOR}.{}", self.spec.role);
        let model = catalogue.iter().find(|(known, _)| known.as_str() == id);
        let Some((_, model)) = model else {
            return Err(Error::Agent(format!(
                "no model stands behind the role `{}`",
                self.spec.role
            )));
        };
        let clearance = model.operation.clearance.confidentiality;
        let refuse = |what: &str, level: Confidentiality, fix: &str| {
            let problem =
                format!("{what} {level:?}, and its model may only be shown {clearance:?}");
            Err(Error::Agent(format!("{}; {fix}", problem.to_lowercase())))
        };
        if self.task > clearance {
            let fix = "raise `clearance` of the provider, or say `.tasks_are(…)`";
            return refuse("its tasks are", self.task, fix);
        }
        if self.spec.results == Results::Opaque {
            return Ok(());
        }
        for (_, entry) in catalogue.iter().filter(|(_, entry)| !entry.operation.is_model_call()) {
            let label = entry.operation.labels.join_all();
            if label.confidentiality > clearance {
                let what = format!("what `{}` returns is", entry.operation.id);
                let fix = "declare its `confidentiality`, raise `clearance` of the provider, or show \
                           results as handles only with `.results(Results::Opaque)`";
                return refuse(&what, label.confidentiality, fix);
            }
        }
        Ok(())
    }

    fn bundle(&self, catalogue: &Catalogue) -> Result<Bundle, Error> {
        let source = |name: &str, text: &str| Source {
            layer: Layer::Operator,
            name: name.to_owned(),
            text: text.to_owned(),
        };
        let sources = match &self.policy {
            None => vec![source("starter.cedar", STARTER)],
            Some(text) => {
                let inherited = source("inherited.cedar", INHERITED);
                vec![inherited, source("model.cedar", MAY_THINK), source("policy", text)]
            }
        };
        Ok(Bundle::load(catalogue, &sources).map_err(Error::Policy)?.bundle)
    }

    /// Digest of what can change a run beside plan and policy.
    fn config_digest(&self) -> Result<Digest, Error> {
        let hooks: Vec<Value> =
            self.hooks.iter().map(|hook| json!([hook.name(), hook.tool()])).collect();
        let sensors: Vec<Value> =
            self.sensors.iter().map(|sensor| json!([sensor.name(), sensor.tool()])).collect();
        let pinned = json!({ "budget": self.budget, "hooks": hooks, "sensors": sensors });
        canon::digest(&pinned).map_err(|e| Error::Agent(e.to_string()))
    }

    fn ephemeral_key(&self) -> Result<Signer, Error> {
        let mut seed = [0_u8; 32];
        self.world.entropy.fill(&mut seed).map_err(Error::Agent)?;
        Ok(Signer::from_seed(&seed))
    }

    fn chain(&self) -> Result<Chain, Error> {
        let id = format!("agent:{}", self.spec.name).parse();
        let id = id.map_err(|e: kernel::id::BadId| Error::Agent(e.to_string()))?;
        let agent = Principal { id, kind: Kind::Agent, roles: Default::default() };
        let on_behalf_of = match &self.chain.1 {
            Some(principal) => principal.clone(),
            None => person(REQUESTER, &[])?,
        };
        Ok(Chain { agent, on_behalf_of, tenant: self.chain.0.clone() })
    }
}

/// That a task can be planned at all: what is wrong with the agent shows now, not in its first run.
fn check_plan(planned: &Planned, bundle: &Bundle) -> Result<(), Error> {
    let forecast = |operation: &Operation| bundle.forecast(operation);
    let plan = Arc::new(planned.compile(&Value::Null, None, &forecast)?);
    let run = RunId::of_intent(&Tenant::default(), "build", "build");
    let planner = planner::PlaybookPlanner::new(plan, &run);
    planner.map(drop).map_err(|e| Error::Agent(e.to_string()))
}

/// The operations of tools and models.
fn catalogue(sensed: &BTreeMap<OperationId, Sensed>, models: &Models) -> Result<Catalogue, Error> {
    let mut operations = models.operations();
    for Sensed { tool, sensors } in sensed.values() {
        let operation = tool.operation()?;
        let output = match sensors.is_empty() {
            true => Arc::clone(&operation.output),
            false => Arc::new(sensor::schema(&operation.output)),
        };
        operations.push(Operation { output, ..operation });
    }
    for by in sensed.values().filter_map(|one| one.tool.taken_back_by.as_ref()) {
        let known = operations.iter().any(|o| crate::tool::id(&by.tool).as_ref() == Some(&o.id));
        if !known {
            let problem = "it takes a write back and is not among the agent's tools".to_owned();
            return Err(Error::Tool { tool: by.tool.clone(), problem });
        }
    }
    Catalogue::new(operations).map_err(|e| Error::Agent(e.to_string()))
}
