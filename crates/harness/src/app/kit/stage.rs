//! A pack on the stage: its operations, the policies of the test, a throw-away key; and runs of it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ::receipts::key::{Keys, Signer};
use kernel::{
    Digest, LabelMap, RunId,
    budget::Budget,
    catalogue::Catalogue,
    id::{OperationId, Tenant},
    label::{Confidentiality, Label, Trust},
    operation::{Companion, Operation},
    plan::Plan,
    planning::Labelled,
    playbook::visit_steps,
    principal::{Chain, Kind, Principal},
    run::{Genesis, Pins},
};
use pack::Schemas;
use planner::PlaybookPlanner;
use serde_json::Value;

use super::{
    relation::{self, Relation},
    shape::Fit,
};
use crate::app::{config::Config, header::pin_header, intents, problem::Problem, shelf::Shelved};

/// The key of a test signs nothing that anybody relies on.
const KEY_SEED: [u8; 32] = *b"a key that proves nothing at all";

/// Most statements and envelopes kept.
const KEPT_MAX: usize = 50_000;

/// What every run on the stage shares.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) shelved: Arc<Shelved>,
    pub(super) schemas: Arc<Schemas>,
    pub(super) fit: Fit,
    pub(super) relations: BTreeMap<OperationId, Relation>,
    /// Operations that change something.
    pub(super) writes: Vec<Arc<Operation>>,
    /// Write → what takes it back, overrides of steps included.
    pub(super) undos: Vec<(OperationId, Companion)>,
    signer: Signer,
    keys: Keys,
    /// Statements signed before, and envelopes opened before: most runs begin alike, byte for byte.
    sealed: Mutex<HashMap<Digest, Vec<u8>>>,
    opened: Mutex<HashMap<Digest, Option<Digest>>>,
    approvers: kernel::approval::ApproverRule,
}

impl Stage {
    /// Sets the stage for a pack under policies.
    ///
    /// # Errors
    /// When the throw-away key cannot be read back: a defect.
    pub(super) fn new(shelved: Shelved, config: &Config) -> Result<Arc<Self>, Problem> {
        let catalogue = Arc::clone(&shelved.catalogue);
        let writes: Vec<Arc<Operation>> = catalogue
            .iter()
            .map(|(_, entry)| Arc::clone(&entry.operation))
            .filter(|operation| operation.is_write())
            .collect();
        let undos = undos(&shelved, &catalogue);
        let signer = Signer::from_seed(&KEY_SEED);
        let keys = Keys::parse(&signer.public().to_string()).map_err(|error| {
            Problem::new(crate::app::problem::Kind::Unexpected, "kit-key", error.to_string())
        })?;
        Ok(Arc::new(Self {
            schemas: Arc::clone(&shelved.schemas),
            fit: Fit::default(),
            relations: relation::of_catalogue(&catalogue),
            writes,
            undos,
            signer,
            keys,
            sealed: Mutex::default(),
            opened: Mutex::default(),
            approvers: config.approvers.clone(),
            shelved: Arc::new(shelved),
        }))
    }

    /// One operation.
    pub(super) fn operation(&self, id: &OperationId) -> Option<&Arc<Operation>> {
        self.shelved.catalogue.get(id).map(|entry| &entry.operation)
    }

    /// The signed envelope of a statement.
    pub(super) fn seal(&self, payload: &[u8]) -> Vec<u8> {
        let digest = Digest::of(payload);
        let known = lock(&self.sealed).get(&digest).cloned();
        known.unwrap_or_else(|| {
            let envelope = ::receipts::dsse::envelope(&self.signer, payload);
            keep(&self.sealed, digest, envelope.clone());
            envelope
        })
    }

    /// Digest of the statement in an envelope whose signature holds.
    pub(super) fn open(&self, envelope: &[u8]) -> Option<Digest> {
        let digest = Digest::of(envelope);
        let known = lock(&self.opened).get(&digest).copied();
        known.unwrap_or_else(|| {
            let payload = ::receipts::dsse::open(envelope, &self.keys).ok();
            let statement = payload.as_deref().map(Digest::of);
            keep(&self.opened, digest, statement);
            statement
        })
    }

    /// Compiles what an intent with these inputs may do.
    ///
    /// # Errors
    /// Why the inputs do not fit.
    pub(super) fn plan(&self, intent: &str, inputs: &Value) -> Result<Arc<Plan>, String> {
        let bundle = &self.shelved.bundle;
        let pins =
            pack::Pins { policy_digest: bundle.digest(), config_digest: Digest::of(b"pack test") };
        let forecast = |operation: &Operation| bundle.forecast(operation);
        let plan = self.shelved.pack.compile(intent, inputs, pins, (&*self.schemas, &forecast));
        plan.map(Arc::new).map_err(|problem| problem.message)
    }

    /// What a run of a plan is pinned to, as a new process would load it.
    ///
    /// # Errors
    /// A sentence for a person.
    pub(super) fn pins(&self, plan: &Arc<Plan>, run: &RunId) -> Result<Pins, String> {
        let planner = PlaybookPlanner::new(Arc::clone(plan), run).map_err(|e| e.to_string())?;
        let schemas = Arc::clone(&self.shelved.schemas) as Arc<dyn kernel::port::Validate>;
        let planner = planner.with_schemas(schemas);
        Ok(Pins {
            plan: Arc::clone(plan),
            catalogue: Arc::clone(&self.shelved.catalogue),
            planner: Box::new(planner),
        })
    }

    /// How a run of a plan begins.
    ///
    /// # Errors
    /// A sentence for a person.
    pub(super) fn genesis(
        &self,
        plan: &Plan,
        inputs: &Value,
        budget: Budget,
    ) -> Result<Genesis, String> {
        let manifest = &self.shelved.pack.manifest;
        let declared = self.shelved.pack.intents.get(&plan.intent);
        let agent = declared.and_then(|intent| intent.agent.clone());
        let agent = match agent {
            Some(agent) => agent,
            None => format!("agent:{}", manifest.name).parse().map_err(|_| "no agent")?,
        };
        let agent = Principal { id: agent, kind: Kind::Agent, roles: Default::default() };
        let tenant = Tenant::default();
        let chain =
            Chain { agent, on_behalf_of: person("requester", &[])?, tenant: tenant.clone() };
        let digest = plan.digest().map_err(|e| e.to_string())?;
        let grant = intents::grant_of(plan, &self.shelved);
        let limits = (budget, self.approvers.clone());
        let header = pin_header(chain, manifest, (plan, digest), grant, limits);
        let label = Label::new(Trust::User, Confidentiality::Internal);
        Ok(Genesis {
            id: RunId::of_intent(&tenant, &plan.intent, "pack test"),
            header,
            intent: Labelled { value: Arc::new(inputs.clone()), labels: LabelMap::uniform(label) },
            subjects: Vec::new(),
        })
    }
}

fn keep<T>(kept: &Mutex<HashMap<Digest, T>>, digest: Digest, value: T) {
    let mut kept = lock(kept);
    if kept.len() >= KEPT_MAX {
        kept.clear();
    }
    kept.insert(digest, value);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Somebody with these roles.
///
/// # Errors
/// When the name is no name.
pub(super) fn person(name: &str, roles: &[String]) -> Result<Principal, String> {
    let id = format!("person:{name}").parse().map_err(|_| format!("`{name}` is no name"))?;
    Ok(Principal { id, kind: Kind::Person, roles: roles.iter().cloned().collect() })
}

fn undos(shelved: &Shelved, catalogue: &Catalogue) -> Vec<(OperationId, Companion)> {
    let declared = catalogue.iter().filter_map(|(id, entry)| {
        Some((id.clone(), entry.operation.companions.undo_with.clone()?))
    });
    let mut undos: Vec<(OperationId, Companion)> = declared.collect();
    for playbook in shelved.pack.playbooks.values() {
        visit_steps(&playbook.steps, &mut |_, step| {
            if let (kernel::playbook::Work::Do { operation, .. }, Some(undo)) =
                (&step.work, &step.undo)
            {
                undos.push((operation.clone(), undo.clone()));
            }
        });
    }
    undos
}
