//! What runs are pinned to, by digest: plans, the catalogue, policy under its hooks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use engine::Loaded;
use kernel::{
    Digest, RunId,
    catalogue::Catalogue,
    event::Header,
    id::Tenant,
    plan::Plan,
    port::{Blobs, Judge, Task, Validate},
    run::Pins,
};
use planner::Program;

/// Most plans kept in memory; all of them are in the store.
const PLANS_MAX: usize = 256;

/// Loads what headers pin.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) judge: Arc<dyn Judge>,
    pub(crate) policy: Digest,
    pub(crate) validate: Arc<dyn Validate>,
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) programs: Mutex<HashMap<Digest, Arc<Program>>>,
}

impl Shelf {
    /// Keeps a plan that is in the store, compiled.
    pub(crate) fn keep(&self, digest: Digest, plan: Arc<Plan>) -> Result<Arc<Program>, String> {
        let program = Arc::new(Program::compile(plan).map_err(|e| e.to_string())?);
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if programs.len() >= PLANS_MAX {
            programs.clear();
        }
        programs.insert(digest, Arc::clone(&program));
        Ok(program)
    }

    fn kept(&self, digest: &Digest) -> Option<Arc<Program>> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    async fn program(&self, tenant: &Tenant, digest: Digest) -> Result<Arc<Program>, String> {
        if let Some(program) = self.kept(&digest) {
            return Ok(program);
        }
        let bytes = self.blobs.get(tenant.clone(), digest).await.map_err(|e| e.to_string())?;
        let bytes = bytes.ok_or_else(|| format!("plan {digest} is not in the store"))?;
        let plan: Plan =
            serde_json::from_slice(&bytes).map_err(|e| format!("plan {digest}: {e}"))?;
        self.keep(digest, Arc::new(plan))
    }

    /// Everything a header pins.
    ///
    /// # Errors
    /// A sentence for a person: what has changed since the run began.
    pub(crate) async fn pins(&self, run: &RunId, header: &Header) -> Result<Loaded, String> {
        if header.policy != self.policy {
            return Err("it began under another policy than this agent has".to_owned());
        }
        let program = self.program(&header.chain.tenant, header.plan).await?;
        let plan = Arc::clone(program.plan());
        for step in &plan.steps {
            let known = self.catalogue.get(&step.operation).map(|entry| entry.digest);
            if known != Some(step.definition) {
                return Err(format!("`{}` has changed since it began", step.operation));
            }
        }
        let planner = program.planner(run).with_schemas(Arc::clone(&self.validate));
        let catalogue = Arc::clone(&self.catalogue);
        Ok(Loaded {
            pins: Pins { plan, catalogue, planner: Box::new(planner) },
            judge: Arc::clone(&self.judge),
            validate: Arc::clone(&self.validate),
            current_policy: self.policy,
        })
    }
}

impl engine::Loader for Shelf {
    fn load<'a>(&'a self, run: &'a RunId, header: &'a Header) -> Task<'a, Result<Loaded, String>> {
        Box::pin(self.pins(run, header))
    }
}
