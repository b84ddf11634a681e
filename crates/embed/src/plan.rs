//! What an agent may do, as a pack: the same plans come of it as of a folder on disk.

use std::{collections::BTreeMap, sync::Arc};

use kernel::{
    Digest,
    agent::{Guide, Limits, Results, Skill},
    canon,
    catalogue::Catalogue,
    id::OperationId,
    operation::Operation,
    plan::{Asks, Plan},
};
use pack::{Asked, Intent, Manifest, Pack, Pins, Schemas, WrittenAgent};
use serde_json::{Value, json};

use crate::{Error, Tool};

/// The intent that every task is one of.
pub(crate) const INTENT: &str = "task";

/// Version of the pack that an agent is.
const VERSION: &str = "0.0.0";

/// Who answers for an agent's exceptions.
const OWNER: &str = "operator";

/// What an agent is made of.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) summary_role: Option<String>,
    pub(crate) instructions: String,
    pub(crate) skills: Vec<Skill>,
    pub(crate) guides: Vec<Guide>,
    pub(crate) results: Results,
    pub(crate) limits: Limits,
}

/// An agent as a pack, without the form of its answer, which each run brings.
#[derive(Debug)]
pub(crate) struct Planned {
    pack: Pack,
    policy_digest: Digest,
    config_digest: Digest,
}

impl Planned {
    /// Puts a pack together from an agent and its operations.
    ///
    /// # Errors
    /// When something in it has no canonical form.
    pub(crate) fn new(
        spec: &Spec,
        tools: &[&Tool],
        catalogue: &Catalogue,
        (policy_digest, config_digest): (Digest, Digest),
    ) -> Result<Self, Error> {
        let unusable = |e: canon::Error| Error::Agent(e.to_string());
        let agent = written(spec, tools);
        let parts = json!({ "agent": agent, "skills": spec.skills, "operations": catalogue });
        let operations = catalogue.iter().map(|(id, _)| id.clone()).collect();
        let manifest = Manifest {
            name: spec.name.clone(),
            version: VERSION.to_owned(),
            owner: OWNER.to_owned(),
            asks: Asked { operations, ..Asked::default() },
            constants: json!({}),
            ..Manifest::default()
        };
        let intent = Intent {
            name: INTENT.to_owned(),
            input: Arc::new(json!({})),
            hands_to: Some(spec.name.clone()),
            ..Intent::default()
        };
        let digest = canon::digest(&parts).map_err(unusable)?;
        let skills = spec.skills.iter().map(|skill| (skill.name.clone(), skill.clone()));
        let pack = Pack {
            manifest,
            intents: BTreeMap::from([(INTENT.to_owned(), intent)]),
            playbooks: BTreeMap::new(),
            agents: BTreeMap::from([(spec.name.clone(), agent)]),
            skills: skills.collect(),
            connectors: BTreeMap::new(),
            catalogue: catalogue.clone(),
            policies: Vec::new(),
            policy_cases: Vec::new(),
            exceptions: Vec::new(),
            kpis: Vec::new(),
            digest,
            content: digest,
            signature: None,
        };
        Ok(Self { pack, policy_digest, config_digest })
    }

    /// Name and version, as receipts show them.
    pub(crate) fn name(&self) -> String {
        format!("{}@{VERSION}", self.pack.manifest.name)
    }

    /// Compiles what a task may do; `output` is the JSON Schema of the answer, absent = text.
    ///
    /// # Errors
    /// What is wrong with the task or the agent.
    pub(crate) fn compile(
        &self,
        task: &Value,
        output: Option<Arc<Value>>,
        forecast: &dyn Fn(&Operation) -> Asks,
    ) -> Result<Plan, Error> {
        let mut pack = self.pack.clone();
        for agent in pack.agents.values_mut() {
            agent.output.clone_from(&output);
        }
        let pins = Pins { policy_digest: self.policy_digest, config_digest: self.config_digest };
        let compiled = pack.compile(INTENT, task, pins, (&Schemas::new(), forecast));
        compiled.map_err(|problem| Error::Plan(format!("{}; {}", problem.message, problem.fix)))
    }
}

fn written(spec: &Spec, tools: &[&Tool]) -> WrittenAgent {
    let operations = tools.iter().filter_map(|tool| {
        let id: OperationId = crate::tool::id(&tool.name)?;
        Some(pack::Tool {
            what: id.to_string(),
            called: Some(tool.name.clone()),
            description: Some(tool.description.clone()),
        })
    });
    WrittenAgent {
        name: spec.name.clone(),
        role: spec.role.clone(),
        summary_role: spec.summary_role.clone(),
        instructions: spec.instructions.clone(),
        operations: operations.collect(),
        guides: spec.guides.clone(),
        skills: spec.skills.iter().map(|skill| skill.name.clone()).collect(),
        results: spec.results,
        limits: spec.limits.clone(),
        ..WrittenAgent::default()
    }
}
