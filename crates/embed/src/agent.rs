//! An agent inside this program, and its runs.

use std::{fmt, sync::Arc};

use engine::{Engine, Submitted};
use kernel::{
    Digest, Label, LabelMap, RunId,
    approval::ApproverRule,
    budget::Budget,
    canon,
    event::{Body, Header, MACHINE, Record},
    id::{ExceptionId, PrincipalId, hex},
    input::{Input, Scope, Settlement},
    label::{Confidentiality, Trust},
    plan::Plan,
    planning::Labelled,
    principal::{Chain, Grant, Principal},
    run::{Genesis, Replayed, Run, Status, replay},
};
use policy::Bundle;
use receipts::{
    bundle,
    key::{Keys, Signer},
    verify::{self, Report},
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    Builder, Error, Outcome, World,
    argument::schema_of,
    evidence,
    outcome::outcome,
    people::{Approver, Ask},
    plan::{INTENT, Planned},
    shelf::Shelf,
    watch::{Followed, Following, Watched},
};

/// Times a run that stands still is driven on before it is given up.
const PUSHES_MAX: u32 = 3;

/// Everything an agent is put together from.
pub(crate) struct Parts {
    pub(crate) chain: Chain,
    pub(crate) planned: Planned,
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) watched: Arc<Watched>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) signer: Arc<Signer>,
    pub(crate) world: World,
    pub(crate) approver: Option<Approver>,
    pub(crate) limits: (Budget, ApproverRule),
    pub(crate) task: Confidentiality,
}

/// An agent: a model, its tools, and the gate between them. Cheap to clone; clones share everything.
///
/// Its futures are `Send`. A run that is under way goes on when its future is dropped, and its journal
/// says how it ends; [`Agent::cancel`] ends it.
#[derive(Clone)]
pub struct Agent(Arc<Parts>);

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("name", &self.0.planned.name()).finish_non_exhaustive()
    }
}

/// Signs what the engine hands it.
#[derive(Debug)]
pub(crate) struct Sealer(pub(crate) Arc<Signer>);

impl engine::Seal for Sealer {
    fn seal(&self, payload: &[u8]) -> Vec<u8> {
        receipts::dsse::envelope(&*self.0, payload)
    }
}

impl Agent {
    /// Begins with nothing.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The public key that its receipts are verified with.
    #[must_use]
    pub fn keys(&self) -> Keys {
        std::iter::once(*self.0.signer.public()).collect()
    }

    /// Does a task, text or any JSON, and returns when the run is over or needs a person.
    ///
    /// # Errors
    /// When the run cannot be planned, made durable or driven. That the agent failed, was denied or ran
    /// out of something is an outcome.
    pub async fn run(&self, task: impl Into<Value>) -> Result<Outcome, Error> {
        let read = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            other => Ok(other.to_string()),
        };
        self.run_for(task.into(), None, read).await
    }

    /// As [`Agent::run`], with an answer of this type: the model is held to its JSON Schema.
    ///
    /// # Errors
    /// As [`Agent::run`], and [`Error::Unreadable`] when an answer that fits the schema is no `T`.
    pub async fn run_as<T>(&self, task: impl Into<Value>) -> Result<Outcome<T>, Error>
    where
        T: DeserializeOwned + JsonSchema + Send,
    {
        let read = |value: &Value| T::deserialize(value).map_err(|e| e.to_string());
        self.run_for(task.into(), Some(schema_of::<T>()), read).await
    }

    async fn run_for<T>(
        &self,
        task: Value,
        output: Option<Arc<Value>>,
        read: impl FnOnce(&Value) -> Result<T, String> + Send,
    ) -> Result<Outcome<T>, Error> {
        let genesis = self.genesis(task, output).await?;
        let (id, tenant) = (genesis.id.clone(), &self.0.chain.tenant);
        let mut following = self.0.watched.follow(tenant, &id, Followed::default());
        let Submitted::New(_) = self.0.engine.submit(genesis).await? else {
            return Err(Error::Agent(format!("{id} exists already: chance repeats itself")));
        };
        self.drive(&id, &mut following).await?;
        let followed = following.look();
        let run = self.fold(&followed.records).await?;
        outcome(&run, followed, &self.keys(), read)
    }

    async fn genesis(&self, task: Value, output: Option<Arc<Value>>) -> Result<Genesis, Error> {
        let parts = &*self.0;
        canon::check_depth(&task).map_err(|e| Error::Plan(e.to_string()))?;
        let forecast = |operation: &kernel::operation::Operation| parts.bundle.forecast(operation);
        let plan = Arc::new(parts.planned.compile(&task, output, &forecast)?);
        let bytes = canon::bytes(&*plan).map_err(|e| Error::Plan(e.to_string()))?;
        let digest = parts.world.blobs.put(parts.chain.tenant.clone(), bytes).await?;
        let kept = parts.shelf.keep(digest, Arc::clone(&plan));
        kept.map_err(Error::Plan)?;
        let mut chance = [0_u8; 16];
        parts.world.entropy.fill(&mut chance).map_err(Error::Agent)?;
        let label = Label::new(Trust::User, parts.task);
        Ok(Genesis {
            id: RunId::of_intent(&parts.chain.tenant, INTENT, &hex(&chance)),
            header: self.header(&plan, digest),
            intent: Labelled { value: Arc::new(task), labels: LabelMap::uniform(label) },
            subjects: Vec::new(),
        })
    }

    fn header(&self, plan: &Plan, digest: Digest) -> Header {
        let (budget, approvers) = self.0.limits.clone();
        let operations = plan.steps.iter().map(|step| step.operation.clone()).collect();
        Header {
            machine: MACHINE,
            chain: self.0.chain.clone(),
            intent: plan.intent.clone(),
            pack: self.0.planned.name(),
            pack_digest: plan.pack_digest,
            plan: digest,
            policy: plan.policy_digest,
            config: plan.config_digest,
            grant: Grant { operations },
            budget,
            approvers,
            autonomy: Default::default(),
            mode: Default::default(),
            owner: "operator".to_owned(),
            unusual: Vec::new(),
            submitted_by: None,
        }
    }

    /// Drives a run until it is over or needs a person who is not here.
    async fn drive(&self, id: &RunId, following: &mut Following) -> Result<(), Error> {
        let (engine, tenant) = (&self.0.engine, &self.0.chain.tenant);
        let mut pushes = 0;
        loop {
            engine.settled(tenant, id).await;
            match following.status() {
                Some(Status::Asking) => match &self.0.approver {
                    Some(approver) => self.answer(id, approver, following).await?,
                    // An ask that nobody can answer has expired.
                    None => drop(engine.run_until_parked(tenant.clone(), id.clone()).await?),
                },
                // Whatever is due is driven by whoever waits for it.
                Some(Status::Waiting) => tokio::select! {
                    () = Arc::clone(engine).serve() => {}
                    () = following.changed() => {}
                },
                // Its driver could not go on: whoever drives it now says why.
                None | Some(Status::Running | Status::RollingBack) if pushes < PUSHES_MAX => {
                    pushes += 1;
                    engine.run_until_parked(tenant.clone(), id.clone()).await?;
                }
                _ => return Ok(()),
            }
        }
    }

    /// Hands one open ask to the approver, and the answer to the run.
    async fn answer(
        &self,
        id: &RunId,
        approver: &Approver,
        following: &mut Following,
    ) -> Result<(), Error> {
        let tenant = &self.0.chain.tenant;
        let run = self.fold(&following.look().records).await?;
        let Some(view) = run.asks().into_iter().next() else {
            self.0.engine.run_until_parked(tenant.clone(), id.clone()).await?;
            return Ok(());
        };
        drop(run);
        let ask = Ask::of(id, view);
        let input = ask.input(approver.ask(ask.clone()).await)?;
        self.input(id, (ask.id.as_str(), input)).await
    }

    async fn input(&self, id: &RunId, (what, input): (&str, Input)) -> Result<(), Error> {
        let place = (self.0.chain.tenant.clone(), id.clone());
        let mut chance = [0_u8; 8];
        self.0.world.entropy.fill(&mut chance).map_err(Error::Agent)?;
        let signal = (format!("{what}-{}", hex(&chance)), self.requester());
        let taken = self.0.engine.input(place, signal, input).await?;
        taken.map_err(|refused| Error::Answer { run: id.clone(), refused })
    }

    fn requester(&self) -> PrincipalId {
        self.0.chain.on_behalf_of.id.clone()
    }

    async fn fold(&self, records: &[Record]) -> Result<Run, Error> {
        let loaded = self.pins(records).await?;
        Ok(Run::fold(records, loaded.pins)?)
    }

    async fn pins(&self, records: &[Record]) -> Result<engine::Loaded, Error> {
        let first = records.first().map(|first| (&first.event.run, &first.event.body));
        let Some((run, Body::Opened { header, .. })) = first else {
            return Err(Error::Agent("a journal begins with `opened`".to_owned()));
        };
        self.0.shelf.pins(run, header).await.map_err(Error::Agent)
    }

    /// Ends a run; what is done stays done.
    ///
    /// # Errors
    /// When it is over, or cannot be driven.
    pub async fn cancel(&self, run: &RunId, reason: &str) -> Result<(), Error> {
        let by = self.0.chain.on_behalf_of.clone();
        self.input(run, ("cancel", Input::Cancel { by, reason: reason.to_owned() })).await
    }

    /// Takes back what a run did, newest first. Every undo walks the gate and has a receipt.
    ///
    /// # Errors
    /// When it cannot be driven.
    pub async fn roll_back<T>(&self, outcome: Outcome<T>) -> Result<Outcome<T>, Error>
    where
        T: DeserializeOwned + Send,
    {
        let by = self.0.chain.on_behalf_of.clone();
        let (scope, on_conflict) = (Scope::Run, Default::default());
        self.go_on(outcome, ("rollback", Input::Rollback { by, scope, on_conflict })).await
    }

    /// Decides about something that needs a person, such as an effect in doubt, and goes on. `by` holds
    /// the role `operator`; `evidence` is how they know.
    ///
    /// # Errors
    /// When the decision does not count, or the run cannot be driven.
    pub async fn settle<T>(
        &self,
        outcome: Outcome<T>,
        exception: &ExceptionId,
        settlement: Settlement,
        (by, evidence): (Principal, &str),
    ) -> Result<Outcome<T>, Error>
    where
        T: DeserializeOwned + Send,
    {
        let (exception, evidence) = (exception.clone(), evidence.to_owned());
        let input = Input::Settle { exception, by, settlement, evidence };
        self.go_on(outcome, ("settle", input)).await
    }

    /// Hands an input to a run that came to rest, and follows it to where it rests then.
    async fn go_on<T>(&self, outcome: Outcome<T>, input: (&str, Input)) -> Result<Outcome<T>, Error>
    where
        T: DeserializeOwned + Send,
    {
        let id = outcome.run.clone();
        let mut following = self.0.watched.follow(&self.0.chain.tenant, &id, outcome.into());
        self.input(&id, input).await?;
        self.drive(&id, &mut following).await?;
        let followed = following.look();
        let run = self.fold(&followed.records).await?;
        let read = |value: &Value| T::deserialize(value).map_err(|e| e.to_string());
        crate::outcome::outcome(&run, followed, &self.keys(), read)
    }

    /// Drives what is due, also what an earlier process left behind in the same store, until dropped.
    pub async fn serve(&self) {
        Arc::clone(&self.0.engine).serve().await;
    }

    /// Does a run again from its journal, without any model or tool, and compares every event.
    ///
    /// # Errors
    /// [`Error::Diverged`] with the first difference.
    pub async fn replay(&self, records: &[Record]) -> Result<Replayed, Error> {
        let loaded = self.pins(records).await?;
        Ok(replay(records, loaded.pins, (&*loaded.judge, &*loaded.validate))?)
    }

    /// A run as a file that another machine can verify and replay, over a log of its own receipts.
    ///
    /// # Errors
    /// When it cannot be put together.
    pub async fn bundle<T: Sync>(&self, outcome: &Outcome<T>) -> Result<bundle::Bundle, Error> {
        let mut bundle = evidence::bundle(outcome, &self.0.signer)?;
        let plan = self.pins(&outcome.records).await?.pins.plan;
        bundle.add_blob(&canon::bytes(&*plan).map_err(|e| Error::Plan(e.to_string()))?);
        Ok(bundle)
    }

    /// Verifies a run as anyone could from its bundle: signatures, chain, journal, log.
    ///
    /// # Errors
    /// When its bundle cannot be put together. A verification that fails is a report.
    pub async fn verify<T: Sync>(&self, outcome: &Outcome<T>) -> Result<Report, Error> {
        Ok(verify::verify(&self.bundle(outcome).await?, &self.keys(), None))
    }
}
