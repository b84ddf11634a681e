//! From an intent and its inputs to a plan: calls inlined, recoveries merged, every operation listed.

use std::sync::Arc;

use kernel::{
    Digest,
    agent::{Agent, AgentTool, Does, Endorsing, Gaps},
    canon,
    catalogue::{self, Catalogue, Entry},
    conversation::MODEL_CONNECTOR,
    id::OperationId,
    money::Money,
    operation::{Companion, Operation},
    plan::{Asks, Plan, PlanStep},
    playbook::{
        Playbook, Recovery, STEPS_MAX, Step, Work, call_path, extract_path, fix_path, join_path,
        memory_path, sense_path, think_path,
    },
    port::Validate,
    sensor::{Sense, Sensor},
};
use serde_json::Value;

use crate::{
    check_agents::extract_role,
    load::Pack,
    problem::{Place, Problem, did_you_mean},
    read::cut,
    recovery::{EffectOf, merged},
};

/// The step that hands an intent to an agent.
const AGENT_STEP: &str = "agent";

/// Schema of a plan document.
pub const PLAN_SCHEMA: &str = "harness.plan/v1";

/// Digests of everything else a plan depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pins {
    /// Policy bundle.
    pub policy_digest: Digest,
    /// Operator configuration.
    pub config_digest: Digest,
}

/// Tells whether using an operation will stop for a person.
pub type Forecast<'f> = &'f dyn Fn(&Operation) -> Asks;

impl Pack {
    /// Compiles what serving this intent with these inputs may do. Equal inputs and digests give an
    /// equal plan, and so an equal hash.
    ///
    /// # Errors
    /// When there is no such intent, or the inputs do not fit it. The place is `inputs`, or the pack.
    pub fn compile(
        &self,
        intent: &str,
        inputs: &Value,
        pins: Pins,
        (validate, forecast): (&dyn Validate, Forecast<'_>),
    ) -> Result<Plan, Problem> {
        self.check_inputs((intent, inputs), validate)?;
        let definition = self.definition(intent)?;
        let playbook = self.serving(definition)?;
        let steps = self.list_steps(&playbook.steps, forecast)?;
        let inputs = canon::digest(inputs)
            .map_err(|error| refuse(error.to_string(), "correct the inputs"))?;
        Ok(Plan {
            schema: PLAN_SCHEMA.to_owned(),
            intent: intent.to_owned(),
            inputs: Some(inputs),
            pack: self.manifest.name.clone(),
            pack_version: self.manifest.version.clone(),
            pack_digest: self.digest,
            policy_digest: pins.policy_digest,
            config_digest: pins.config_digest,
            servers: Default::default(),
            steps,
            playbook,
            constants: self.manifest.constants.clone(),
            hooks: Vec::new(),
        })
    }

    /// Whether inputs fit an intent.
    ///
    /// # Errors
    /// When there is no such intent, or where they do not.
    pub fn check_inputs(
        &self,
        (intent, inputs): (&str, &Value),
        validate: &dyn Validate,
    ) -> Result<(), Problem> {
        let definition = self.definition(intent)?;
        let Some(violation) = validate.violation(&definition.input, inputs) else { return Ok(()) };
        let message = format!("`inputs{}`: {}", violation.at, violation.problem);
        Err(refuse(message, format!("see the input of `{intent}`")))
    }

    /// The playbook that serves an intent, as its plans hold it.
    ///
    /// # Errors
    /// When there is no such intent.
    pub fn playbook_of(&self, intent: &str) -> Result<Playbook, Problem> {
        self.serving(self.definition(intent)?)
    }

    fn definition(&self, intent: &str) -> Result<&crate::model::Intent, Problem> {
        self.intents.get(intent).ok_or_else(|| {
            let fix = did_you_mean(intent, self.intents.keys().map(String::as_str));
            refuse(format!("no intent `{}` in pack `{}`", cut(intent), self.manifest.name), fix)
        })
    }

    /// Whether a model-driven agent has a part in serving an intent.
    #[must_use]
    pub fn has_agent(&self, intent: &crate::model::Intent) -> bool {
        let mut todo = vec![intent.playbook.as_str()];
        let mut seen = std::collections::BTreeSet::new();
        let mut found = intent.hands_to.is_some();
        while let Some(name) = todo.pop() {
            let Some(written) = self.playbooks.get(name).filter(|_| seen.insert(name)) else {
                continue;
            };
            kernel::playbook::visit_steps(&written.steps, &mut |_, step| match &step.work {
                Work::Agent { .. } => found = true,
                Work::Playbook { name, .. } => todo.push(name),
                _ => {}
            });
        }
        found
    }

    /// What serves an intent: its playbook, or one step that hands it to an agent.
    fn serving(&self, intent: &crate::model::Intent) -> Result<Playbook, Problem> {
        let Some(name) = &intent.hands_to else { return self.inline(&intent.playbook) };
        let mut left = STEPS_MAX;
        let with = Value::String("${{ intent }}".to_owned());
        let agent = Box::new(self.agent(name, &mut left)?);
        let value = Value::String(format!("${{{{ steps.{AGENT_STEP}.output }}}}"));
        let step = |id: &str, work| Step {
            id: id.to_owned(),
            work,
            when: None,
            expect: Vec::new(),
            on_failure: Default::default(),
            undo: None,
            caveat: None,
        };
        let steps = vec![
            step(AGENT_STEP, Work::Agent { agent, with }),
            step("end", Work::Return { value }),
        ];
        Ok(Playbook { name: name.clone(), steps })
    }

    /// An agent with everything it may use looked up.
    fn agent(&self, name: &str, left: &mut usize) -> Result<Agent, Problem> {
        let written = self
            .agents
            .get(name)
            .ok_or_else(|| refuse(format!("no agent `{}`", cut(name)), "load the pack again"))?;
        let mut tools = Vec::new();
        for tool in &written.operations {
            let Ok(id) = tool.what.parse::<OperationId>() else { continue };
            let operation = &self.entry(&id)?.operation;
            tools.push(AgentTool {
                name: tool.wire_name(),
                description: tool.description.clone().unwrap_or_else(|| operation.summary.clone()),
                input: Arc::clone(&operation.input),
                does: Does::Operation { operation: id, effect: operation.facts.effect },
            });
        }
        for tool in &written.playbooks {
            let steps = self.inline_playbook(&tool.what, left)?;
            let input = self.playbook_input(&tool.what);
            let description = tool.description.clone();
            tools.push(AgentTool {
                name: tool.wire_name(),
                description: description.unwrap_or_else(|| format!("Runs `{}`.", tool.what)),
                input,
                does: Does::Playbook { name: tool.what.clone(), steps },
            });
        }
        let skills = written.skills.iter().filter_map(|name| self.skills.get(name).cloned());
        Ok(Agent {
            name: written.name.clone(),
            role: written.role.clone(),
            summary_role: written.summary_role.clone(),
            instructions: written.instructions.clone(),
            tools,
            output: written.output.clone(),
            accept: written.accept.clone(),
            guides: written.guides.clone(),
            skills: skills.collect(),
            asks: written.asks.clone(),
            results: written.results,
            gaps: Gaps::Told,
            context: written.context.clone(),
            sensors: written.sensors.clone(),
            extracts: written.extracts.clone(),
            extract_role: extract_role(written, &self.manifest.asks.operations),
            noting: written.noting,
            endorsing: match written.asks {
                Some(_) => Endorsing::Asked,
                None => Endorsing::Never,
            },
            limits: written.limits.clone(),
        })
    }

    /// What a playbook takes: its own input, or that of the intent it serves.
    fn playbook_input(&self, name: &str) -> Arc<Value> {
        let own = self.playbooks.get(name).and_then(|playbook| playbook.input.clone());
        let served = || self.intents.values().find(|intent| intent.playbook == name);
        let input = own.or_else(|| served().map(|intent| Arc::clone(&intent.input)));
        input.unwrap_or_else(|| Arc::new(serde_json::json!({ "type": "object" })))
    }

    /// The pack with the operator's models among its operations. Which of them its own agents may think
    /// with is for its manifest to ask.
    ///
    /// # Errors
    /// When one of them has the name of an operation of the pack.
    pub fn with_models(
        mut self,
        models: impl IntoIterator<Item = Operation>,
    ) -> Result<Self, catalogue::Error> {
        let own = self.catalogue.iter().map(|(_, entry)| Operation::clone(&entry.operation));
        let own = own.filter(|operation| !operation.is_model_call());
        self.catalogue = Catalogue::new(own.chain(models).collect::<Vec<_>>())?;
        Ok(self)
    }

    /// The playbook with every call inlined and every step's recoveries merged.
    fn inline(&self, name: &str) -> Result<Playbook, Problem> {
        let mut left = STEPS_MAX;
        let steps = self.inline_playbook(name, &mut left)?;
        Ok(Playbook { name: name.to_owned(), steps })
    }

    fn inline_playbook(&self, name: &str, left: &mut usize) -> Result<Vec<Step>, Problem> {
        let Some(written) = self.playbooks.get(name) else {
            return Err(refuse(format!("no playbook `{}`", cut(name)), "load the pack again"));
        };
        self.inline_steps(&written.steps, name, left)
    }

    fn inline_steps(
        &self,
        steps: &[Step],
        playbook: &str,
        left: &mut usize,
    ) -> Result<Vec<Step>, Problem> {
        let mut inlined = Vec::with_capacity(steps.len());
        for step in steps {
            *left = left.checked_sub(1).ok_or_else(|| {
                refuse(format!("more than {STEPS_MAX} steps once inlined"), "split the work")
            })?;
            let mut step = step.clone();
            match &mut step.work {
                Work::Do { operation, .. } => {
                    let operation = &self.entry(operation)?.operation;
                    let other = |id: &OperationId| {
                        self.catalogue.get(id).map(|entry| entry.operation.facts.effect)
                    };
                    let site = (&**operation, &other as EffectOf<'_>);
                    step.on_failure = merged(&step.on_failure, &self.exceptions, playbook, site);
                }
                Work::Agent { agent, .. } => **agent = self.agent(&agent.name, left)?,
                Work::Playbook { name, steps, .. } => {
                    *steps = self.inline_playbook(name, left)?;
                }
                Work::Parallel { branches: inner } | Work::ForEach { steps: inner, .. } => {
                    *inner = self.inline_steps(inner, playbook, left)?;
                }
                Work::Ask { .. }
                | Work::Sleep { .. }
                | Work::Await { .. }
                | Work::Return { .. } => {}
            }
            inlined.push(step);
        }
        Ok(inlined)
    }

    fn entry(&self, id: &OperationId) -> Result<&Entry, Problem> {
        if id.connector() == MODEL_CONNECTOR && self.catalogue.get(id).is_none() {
            let role = id.as_str().split_once('.').map_or("main", |(_, role)| role);
            let message = format!("no model is configured for the role `{role}`");
            let fix = format!("name one under `[models.{role}]` in harness.toml");
            return Err(refuse(message, fix));
        }
        self.catalogue.get(id).filter(|_| self.manifest.asks.operations.contains(id)).ok_or_else(
            || {
                refuse(
                    format!("operation `{id}` is not one that the pack asks for"),
                    "load the pack again",
                )
            },
        )
    }

    fn list_steps(&self, steps: &[Step], forecast: Forecast<'_>) -> Result<Vec<PlanStep>, Problem> {
        let mut lister = Lister { pack: self, forecast, rows: Vec::new() };
        lister.walk("", steps, Reach { times: 1, conditional: Conditional::No })?;
        Ok(lister.rows)
    }
}

fn refuse(message: impl Into<String>, fix: impl Into<String>) -> Problem {
    Problem::new("inputs", Place { line: 1, column: 1 }, message, fix)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Conditional {
    Yes,
    No,
}

/// How often and how surely a step is reached.
#[derive(Clone, Copy)]
struct Reach {
    times: u64,
    conditional: Conditional,
}

impl Reach {
    fn maybe(self) -> Self {
        Self { conditional: Conditional::Yes, ..self }
    }

    fn times(self, factor: u64) -> Self {
        Self { times: self.times.saturating_mul(factor), ..self }
    }
}

struct Lister<'p> {
    pack: &'p Pack,
    forecast: Forecast<'p>,
    rows: Vec<PlanStep>,
}

impl Lister<'_> {
    fn walk(&mut self, at: &str, steps: &[Step], reach: Reach) -> Result<(), Problem> {
        // After a step that may return, nothing is sure any more.
        let mut reach = reach;
        for step in steps {
            let here = if step.when.is_some() { reach.maybe() } else { reach };
            let path = join_path(at, &step.id);
            match &step.work {
                Work::Do { operation, .. } => self.step(&path, step, operation, here)?,
                Work::Playbook { steps, .. } => self.walk(&path, steps, here)?,
                Work::Agent { agent, .. } => self.agent(&path, agent, here)?,
                Work::Parallel { branches } => {
                    for branch in branches {
                        self.walk(&path, std::slice::from_ref(branch), here)?;
                    }
                }
                Work::ForEach { steps, max, .. } => {
                    self.walk(&format!("{path}[]"), steps, here.maybe().times(u64::from(*max)))?;
                }
                Work::Ask { .. } | Work::Sleep { .. } | Work::Await { .. } => {}
                Work::Return { .. } => reach = reach.maybe(),
            }
            if may_return(step) {
                reach = reach.maybe();
            }
        }
        Ok(())
    }

    fn step(
        &mut self,
        path: &str,
        step: &Step,
        id: &OperationId,
        reach: Reach,
    ) -> Result<(), Problem> {
        let tries = step.on_failure.values().map(|recoveries| retries(recoveries)).sum::<u64>();
        let operation = self.row(path, id, reach.times(tries.saturating_add(1)))?;
        self.companions(path, &operation, step.undo.as_ref(), reach)?;
        let mut seen = vec![id.clone()];
        for recovery in step.on_failure.values().flatten() {
            let Recovery::Fallback { operation, .. } = recovery else { continue };
            if seen.contains(operation) {
                continue;
            }
            seen.push(operation.clone());
            let fallbacks = count_fallbacks(step, operation);
            let fallback = self.row(path, operation, reach.maybe().times(fallbacks))?;
            self.companions(path, &fallback, None, reach.maybe())?;
        }
        Ok(())
    }

    /// What an agent may do: its envelope. It may do less, and in any order.
    fn agent(&mut self, path: &str, agent: &Agent, reach: Reach) -> Result<(), Problem> {
        let turns = reach.maybe().times(u64::from(agent.limits.turns_max));
        for role in std::iter::once(&agent.role).chain(&agent.summary_role) {
            let id = format!("{MODEL_CONNECTOR}.{role}").parse::<OperationId>();
            let id = id.map_err(|e| refuse(e.to_string(), "rename the role"))?;
            self.row(&think_path(path), &id, turns)?;
        }
        let calls = reach.maybe().times(u64::from(agent.limits.calls_max));
        if !agent.extracts.is_empty() {
            let role = agent.extract_role.as_ref().unwrap_or(&agent.role);
            let id = format!("{MODEL_CONNECTOR}.{role}").parse::<OperationId>();
            let id = id.map_err(|e| refuse(e.to_string(), "rename the role"))?;
            let asked_again = u64::from(agent.limits.repairs_max).saturating_add(1);
            self.row(&extract_path(path), &id, calls.times(asked_again))?;
        }
        if let Some(memory) = &agent.context.memory {
            self.row(&memory_path(path), &memory.operation, reach.maybe())?;
        }
        for sensor in &agent.sensors {
            self.sensor(path, sensor, calls)?;
        }
        for tool in &agent.tools {
            match &tool.does {
                Does::Operation { operation, .. } => {
                    let path = call_path(path, operation.as_str());
                    let operation = self.row(&path, operation, calls)?;
                    self.companions(&path, &operation, None, calls)?;
                }
                Does::Playbook { name, steps } => {
                    self.walk(&call_path(path, name), steps, calls)?;
                }
            }
        }
        Ok(())
    }

    /// What a sensor calls, and what it may have put right.
    fn sensor(&mut self, path: &str, sensor: &Sensor, calls: Reach) -> Result<(), Problem> {
        let looks = match &sensor.sense {
            Sense::That { .. } => None,
            Sense::Do { operation, .. } => Some(operation.clone()),
            Sense::Judge { role, .. } => {
                let id = format!("{MODEL_CONNECTOR}.{role}").parse::<OperationId>();
                Some(id.map_err(|e| refuse(e.to_string(), "rename the role"))?)
            }
        };
        let fixes = sensor.fix.as_ref().map(|fix| (fix_path(path), fix.operation.clone()));
        for (path, id) in looks.map(|id| (sense_path(path), id)).into_iter().chain(fixes) {
            if self.rows.iter().any(|row| row.path == path && row.operation == id) {
                continue;
            }
            let operation = self.row(&path, &id, calls)?;
            self.companions(&path, &operation, None, calls)?;
        }
        Ok(())
    }

    /// Companion calls have rows of their own, under `<step>!<which>`.
    fn companions(
        &mut self,
        path: &str,
        operation: &Operation,
        undo: Option<&Companion>,
        reach: Reach,
    ) -> Result<(), Problem> {
        let companions = &operation.companions;
        let undo = undo.or(companions.undo_with.as_ref());
        let calls = [
            ("before", companions.before.as_ref(), reach),
            ("preview", companions.preview.as_ref(), reach),
            ("probe", companions.probe.as_ref().map(|probe| &probe.call), reach.maybe()),
            ("undo", undo, reach.maybe()),
        ];
        for (which, call, reach) in calls {
            let Some(call) = call else { continue };
            let path = format!("{path}!{which}");
            if self.rows.iter().any(|row| row.path == path && row.operation == call.operation) {
                continue;
            }
            let called = self.row(&path, &call.operation, reach)?;
            let inner = &called.companions;
            let again = [
                ("before", inner.before.as_ref()),
                ("probe", inner.probe.as_ref().map(|probe| &probe.call)),
            ];
            for (which, call) in again {
                if let Some(call) = call.filter(|_| called.is_write()) {
                    self.row(&format!("{path}!{which}"), &call.operation, reach.maybe())?;
                }
            }
        }
        Ok(())
    }

    fn row(
        &mut self,
        path: &str,
        id: &OperationId,
        reach: Reach,
    ) -> Result<Arc<Operation>, Problem> {
        let entry = self.pack.entry(id)?;
        let operation = Arc::clone(&entry.operation);
        self.rows.push(PlanStep {
            path: path.to_owned(),
            operation: id.clone(),
            definition: entry.digest,
            facts: operation.facts.clone(),
            times_max: reach.times,
            cost_max: operation.cost_max.map(|cost| worst_case(cost, reach.times)),
            conditional: reach.conditional == Conditional::Yes,
            asks: (self.forecast)(&operation),
        });
        Ok(operation)
    }
}

fn may_return(step: &Step) -> bool {
    match &step.work {
        Work::Return { .. } => true,
        Work::ForEach { steps, .. } => steps.iter().any(may_return),
        Work::Do { .. }
        | Work::Ask { .. }
        | Work::Agent { .. }
        | Work::Playbook { .. }
        | Work::Parallel { .. }
        | Work::Sleep { .. }
        | Work::Await { .. } => false,
    }
}

fn retries(recoveries: &[Recovery]) -> u64 {
    let times = recoveries.iter().map(|recovery| match recovery {
        Recovery::Retry { times, .. } => u64::from(*times),
        _ => 0,
    });
    times.sum()
}

/// How many classes of failure lead to this fallback: each at most once per turn.
fn count_fallbacks(step: &Step, id: &OperationId) -> u64 {
    let leads = |recovery: &&Recovery| matches!(recovery, Recovery::Fallback { operation, .. } if operation == id);
    let count = |recoveries: &Vec<Recovery>| recoveries.iter().filter(leads).count();
    let counts = step.on_failure.values().map(count);
    u64::try_from(counts.sum::<usize>()).unwrap_or(u64::MAX).max(1)
}

fn worst_case(cost: Money, times: u64) -> Money {
    let minor = i64::try_from(times).unwrap_or(i64::MAX).saturating_mul(cost.minor);
    Money { minor, currency: cost.currency }
}
