//! From the pieces to an agent: everything that could only fail later is refused here.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use engine::{Engine, Options};
use kernel::{
    Digest, RunId,
    agent::Results,
    approval::{ASK_EXPIRES_MS, ApproverRule},
    canon,
    catalogue::Catalogue,
    conversation::MODEL_CONNECTOR,
    id::{OperationId, Tenant},
    label::Confidentiality,
    operation::Operation,
    port::{Journal, Judge, Validate},
    principal::{Chain, Kind, Principal},
};
use models::{Models, Role};
use pack::Schemas;
use policy::{Bundle, INHERITED, Layer, STARTER, Source};
use receipts::key::Signer;
use serde_json::{Value, json};

use crate::{
    Agent, Builder, Error, Tool,
    agent::Parts,
    builder::{Mind, REQUESTER},
    doors::{Doors, Sensed},
    hook::Hooked,
    people::person,
    plan::Planned,
    registry::{Registered, all},
    sensor,
    shelf::Shelf,
    watch::Watched,
    world::ModelClock,
};

/// What an own policy need not say: whoever gives an agent a model lets it think.
const MAY_THINK: &str = r#"@id("embed.model")
@reason("The agent may ask its model.")
permit (principal, action in Action::"model", resource);
"#;

/// Runs driven at a time by one agent.
const RUNS_MAX: usize = 256;

impl Builder {
    /// Builds it. Nothing is sent and no file is touched.
    ///
    /// # Errors
    /// Everything that could only fail later: no model, a tool that is not declared as it must be, a
    /// policy that does not load, a model that may not be shown what it would be shown.
    pub fn build(mut self) -> Result<Agent, Error> {
        self.check_aims()?;
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
            programs: Mutex::new(HashMap::new()),
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

    /// That what was given looks at a tool that is there. What is registered may look at another agent's.
    fn check_aims(&self) -> Result<(), Error> {
        let hooks = self.hooks.iter().filter_map(|hook| Some((hook.name(), hook.tool()?)));
        let sensors = self.sensors.iter().map(|sensor| (sensor.name(), sensor.tool()));
        let is_known = |aim: &str| self.tools.iter().any(|tool| tool.name() == aim);
        match hooks.chain(sensors).find(|(_, aim)| !is_known(aim)) {
            None => Ok(()),
            Some((name, aim)) => Err(Error::Agent(format!(
                "`{name}` looks at the tool `{aim}`, which the agent does not have"
            ))),
        }
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
