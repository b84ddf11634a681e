//! One run, driven from wake-up to the next park.

use std::{collections::HashMap, sync::Arc};

use futures_util::{StreamExt, stream::FuturesUnordered};
use kernel::{
    event::{Body, Record},
    exception::{Class, Landed},
    gate::Permit,
    halt::Standing,
    id::{At, HaltId, RunId, Seq, Tenant},
    input::Input,
    port::{Batch, Connector, Failure, Journal, Outcome, Posted, SignedReceipt},
    run::{Fault, Pending, Ports, Run, Status},
};

use tokio::task::AbortHandle;
use tracing::{debug, trace};

use crate::{
    Error,
    desk::{Desk, Taken},
    ports::{Clock, Entropy, Loaded, Loader, Pool, Seal},
};

/// What the drive loop works with.
#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) loader: Arc<dyn Loader>,
    pub(crate) seal: Arc<dyn Seal>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

/// A run in memory, with everything needed to decide. Boxed wherever it is handed on: each task that it
/// passes through would have room for another one.
pub(crate) struct Driver {
    shell: Arc<Shell>,
    tenant: Tenant,
    id: RunId,
    run: Run,
    loaded: Rules,
    pool: Pool,
    epoch: u64,
    consumed: Vec<String>,
    seen: HashMap<String, Taken>,
    /// Since when the run has been due for whoever comes after this owner.
    due_since: Option<At>,
    /// Outcomes that no append has made durable yet.
    unsaved: Vec<Ended>,
    /// Reads on their way: nobody waits for them once the run is stopped.
    reads: Vec<AbortHandle>,
    stopped: bool,
}

/// How a call ended: the action, which call of it, and the outcome.
type Ended = (Seq, u32, Outcome);

/// What the next fold of a run must hear first, because this one could not be made durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carried {
    /// A defect met: it holds the run, whatever the claim would have begun.
    pub(crate) fault: Option<String>,
    /// The halt that refused what was decided.
    pub(crate) halt: Option<HaltId>,
    /// Calls that have ended all the same.
    pub(crate) ended: Vec<Ended>,
}

/// The parts of [`Loaded`] that outlive the pins.
struct Rules {
    judge: Arc<dyn kernel::port::Judge>,
    validate: Arc<dyn kernel::port::Validate>,
    current_policy: kernel::id::Digest,
}

/// A call on its way, and how it ends.
type OnItsWay = kernel::port::Task<'static, (Seq, u32, Outcome)>;

type Calls = FuturesUnordered<OnItsWay>;

impl Driver {
    /// Begins a new run: its first batch is durable when this returns.
    pub(crate) async fn open(
        shell: Arc<Shell>,
        genesis: kernel::run::Genesis,
        loaded: Loaded,
    ) -> Result<Box<Self>, Error> {
        let mut pool = Pool::new(Arc::clone(&shell.entropy));
        let (pins, loaded) = split(loaded);
        let mut ports = ports(&loaded, &mut pool);
        let run = Run::open(genesis, pins, shell.clock.now(), &mut ports)?;
        check_salts(&pool, &run)?;
        let (tenant, id) = (run.header().chain.tenant.clone(), run.id().clone());
        let mut driver = Box::new(Self {
            shell,
            tenant,
            id,
            run,
            loaded,
            pool,
            epoch: 0,
            consumed: vec![],
            seen: HashMap::new(),
            due_since: None,
            unsaved: vec![],
            reads: vec![],
            stopped: false,
        });
        driver.commit().await?;
        Ok(driver)
    }

    /// Takes an existing run over: folds its journal and claims it, and tells it first what the fold
    /// before could not make durable.
    pub(crate) async fn claim(
        shell: Arc<Shell>,
        (tenant, id): (Tenant, RunId),
        carried: Carried,
        desk: &mut Desk,
    ) -> Result<Box<Self>, Error> {
        let stored = shell.journal.claim(tenant.clone(), id.clone()).await?;
        let loaded = load(&shell, &id, &stored.records).await?;
        let (pins, loaded) = split(loaded);
        let run = Run::fold(&stored.records, pins)?;
        let pool = Pool::new(Arc::clone(&shell.entropy));
        let epoch = stored.epoch;
        let mut driver = Box::new(Self {
            shell,
            tenant,
            id,
            run,
            loaded,
            pool,
            epoch,
            consumed: vec![],
            seen: HashMap::new(),
            due_since: None,
            unsaved: vec![],
            reads: vec![],
            stopped: false,
        });
        desk.open_inbox(stored.inbox);
        driver.consumed = desk.take_poison();
        let fault = carried.fault.map(|message| Input::Fault { message });
        // Held while it hears what ended: what it would begin now would look like an orphan of the claim.
        let hold = (!carried.ended.is_empty()).then_some(Input::Hold);
        let brake = driver.brake(&stored.halts, carried.halt.as_ref());
        let (halt, unhalt) = match brake {
            Some(Input::Unhalt { .. }) => (None, brake),
            other => (other, None),
        };
        for input in fault.into_iter().chain(halt).chain(hold) {
            let _taken = driver.decide(input)?;
        }
        for (action, attempt, outcome) in carried.ended {
            driver.take_ended(action, attempt, outcome)?;
        }
        let digest = driver.loaded.current_policy;
        let claim = [Input::Claimed { epoch }, Input::PolicyChanged { digest }];
        for input in claim.into_iter().chain(unhalt).chain([Input::Tick]) {
            // These are never refused: where nothing follows, nothing is journaled.
            let _taken = driver.decide(input)?;
        }
        driver.commit().await?;
        Ok(driver)
    }

    /// Whether the run must be held by a halt, or let go.
    fn brake(&self, standing: &[Standing], refused_by: Option<&HaltId>) -> Option<Input> {
        let stands = |id: &HaltId| standing.iter().any(|halt| halt.id == *id);
        let reach = self.run.reach();
        let covers = |halt: &&Standing| halt.covers.covers(&self.id, &reach);
        // A run that is over is held only once it wants to call again, to take back.
        let over = self.run.status().is_over();
        let covering = standing.iter().filter(|_| !over).find(covers).map(|halt| &halt.id);
        let holds = covering.or(refused_by.filter(|id| stands(id)));
        match (self.run.halted(), holds) {
            (Some(held), _) if stands(held) => None,
            (_, Some(halt)) => Some(Input::Halt { halt: halt.clone() }),
            (Some(held), None) => Some(Input::Unhalt { halt: held.clone() }),
            (None, None) => None,
        }
    }

    /// A late outcome is refused: somebody has settled it meanwhile.
    fn take_ended(&mut self, action: Seq, attempt: u32, outcome: Outcome) -> Result<(), Error> {
        self.unsaved.push((action, attempt, outcome.clone()));
        let _late = self.decide(Input::Outcome { action, attempt, outcome })?;
        Ok(())
    }

    /// The outcomes that no append has made durable, after [`Driver::drive`] failed.
    pub(crate) fn take_unsaved(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.unsaved)
    }

    pub(crate) fn status(&self) -> Status {
        self.run.status()
    }

    fn decide(&mut self, input: Input) -> Result<Taken, Error> {
        let now = self.shell.clock.now();
        let mut ports = ports(&self.loaded, &mut self.pool);
        let taken = self.run.decide(input, now, &mut ports)?;
        check_salts(&self.pool, &self.run)?;
        Ok(taken)
    }

    /// Makes everything decided so far durable; nothing leaves before this returns.
    async fn commit(&mut self) -> Result<(), Error> {
        if !self.run.has_pending() && self.consumed.is_empty() {
            return Ok(());
        }
        let Pending { expected_seq, records, drafts, changes, wake_at, reach } = self.run.take();
        let sign = |draft: kernel::receipt::Draft| {
            let envelope = self.shell.seal.seal(&draft.payload);
            SignedReceipt { draft, envelope }
        };
        // A run with calls in flight, or held, is due at once if this process ends. Since when stays the
        // same while it works: the store moves nothing then.
        self.due_since = self
            .run
            .wants_owner()
            .then(|| self.due_since.unwrap_or_else(|| self.shell.clock.now().at));
        let wake_at = self.due_since.or(wake_at);
        let batch = Batch {
            tenant: self.tenant.clone(),
            run: self.id.clone(),
            expected_seq,
            epoch: self.epoch,
            records,
            receipts: drafts.into_iter().map(sign).collect(),
            changes,
            consumed: std::mem::take(&mut self.consumed),
            wake_at,
            reach,
        };
        self.shell.journal.append(batch).await?;
        self.run.committed();
        self.unsaved.clear();
        Ok(())
    }

    /// Drives until the run parks or ends. Deliveries are taken in between calls.
    pub(crate) async fn drive(&mut self, desk: &mut Desk) -> Result<(), Error> {
        let mut calls = Calls::new();
        let driven = self.take_turns(desk, &mut calls).await;
        if driven.is_err() {
            // Whoever folds the run next must not meet calls of ours that are still on their way.
            while let Some(ended) = calls.next().await {
                self.unsaved.push(ended);
            }
        }
        driven
    }

    async fn take_turns(&mut self, desk: &mut Desk, calls: &mut Calls) -> Result<(), Error> {
        loop {
            desk.collect();
            while let Some(posted) = desk.next() {
                let (id, taken) = self.take_posted(posted)?;
                desk.note(id, taken);
            }
            self.commit().await?;
            desk.answer();
            self.give_up_reads();
            for permit in self.run.next(self.shell.clock.now().boot_ms) {
                let is_read = !permit.operation().is_write();
                let (handle, ended) = call(Arc::clone(&self.shell.connector), permit);
                self.reads.retain(|read| !read.is_finished());
                self.reads.extend(Some(handle).filter(|_| is_read));
                calls.push(ended);
            }
            if calls.is_empty() {
                if desk.collect() {
                    continue;
                }
                return Ok(());
            }
            // Outcomes first: deliveries are collected before each turn anyway, and which of two that are
            // there goes first is no matter of chance.
            tokio::select! {
                biased;
                Some((action, attempt, outcome)) = calls.next() => {
                    // What time alone ends, the run's own included, does not wait until the run is idle.
                    let _taken = self.decide(Input::Tick)?;
                    self.take_ended(action, attempt, outcome)?;
                }
                Some(()) = desk.receive() => {}
            }
        }
    }

    /// Once the run is stopped, reads that are on their way are given up: a model may take minutes to
    /// answer. What is called from then on takes effects back, and stays.
    fn give_up_reads(&mut self) {
        if self.run.is_stopping() && !self.stopped {
            self.stopped = true;
            self.reads.drain(..).for_each(|read| read.abort());
        }
    }

    fn take_posted(&mut self, posted: Posted) -> Result<(String, Taken), Error> {
        let Posted { signal_id, input, .. } = posted;
        // It may stand in the inbox and at the door.
        if let Some(taken) = self.seen.get(&signal_id) {
            return Ok((signal_id, taken.clone()));
        }
        let in_inbox = input != Input::Hold;
        let taken = self.decide(input)?;
        self.seen.insert(signal_id.clone(), taken.clone());
        if in_inbox {
            self.consumed.push(signal_id.clone());
        }
        Ok((signal_id, taken))
    }
}

/// Nothing is journaled under salts that are not random.
fn check_salts(pool: &Pool, run: &Run) -> Result<(), Error> {
    if !pool.failed() {
        return Ok(());
    }
    Err(Fault::Illegal { seq: run.events(), problem: "no random bytes for salts" }.into())
}

/// Makes one call in a task of its own: a panic in a connector is an outcome, not the end of the run.
fn call(connector: Arc<dyn Connector>, permit: Permit) -> (AbortHandle, OnItsWay) {
    let (action, attempt) = (permit.action(), permit.attempt());
    let (run, operation) = (permit.run().clone(), Arc::clone(permit.operation()));
    trace!(%run, action, attempt, operation = %operation.id, "called");
    let is_write = operation.is_write();
    let task = tokio::spawn(async move { connector.call(permit).await });
    let handle = task.abort_handle();
    let ended = Box::pin(async move {
        let outcome = task.await.unwrap_or_else(|error| {
            let landed = if is_write { Landed::Unknown } else { Landed::No };
            let message = match error.is_cancelled() {
                true => "given up: the run was stopped",
                false => "the connector stopped unexpectedly",
            };
            let message = message.to_owned();
            Err(Failure {
                class: Class::Unavailable,
                landed,
                message,
                retry_after_ms: None,
                sample: None,
            })
        });
        let failed = outcome.as_ref().err().map(|failure| failure.class.name());
        debug!(%run, action, attempt, operation = %operation.id, failed, "ended");
        (action, attempt, outcome)
    });
    (handle, ended)
}

async fn load(shell: &Shell, id: &RunId, records: &[Record]) -> Result<Loaded, Error> {
    let header = records.first().and_then(|record| match &record.event.body {
        Body::Opened { header, .. } => Some(header),
        _ => None,
    });
    let refuse = |problem: String| Error::Pins { run: id.clone(), problem };
    let header = header.ok_or_else(|| refuse("its journal has no beginning".to_owned()))?;
    shell.loader.load(id, header).await.map_err(refuse)
}

fn split(loaded: Loaded) -> (kernel::run::Pins, Rules) {
    let Loaded { pins, judge, validate, current_policy } = loaded;
    (pins, Rules { judge, validate, current_policy })
}

fn ports<'a>(loaded: &'a Rules, pool: &'a mut Pool) -> Ports<'a> {
    Ports { judge: &*loaded.judge, validate: &*loaded.validate, salts: pool }
}
