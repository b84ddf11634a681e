//! One run, driven from wake-up to the next park.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use kernel::{
    event::{Body, Record},
    exception::{Class, Landed},
    gate::Permit,
    id::{RunId, Seq, Tenant},
    input::Input,
    port::{Batch, Connector, Failure, Journal, Outcome, Posted, SignedReceipt},
    run::{Fault, Pending, Ports, Refused, Run, Status},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    Error,
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

/// How an input was taken.
pub(crate) type Taken = Result<(), Refused>;

/// A message for a run that somebody drives.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) posted: Posted,
    pub(crate) reply: Option<oneshot::Sender<Taken>>,
}

/// A run in memory, with everything needed to decide.
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
}

/// The parts of [`Loaded`] that outlive the pins.
struct Rules {
    judge: Arc<dyn kernel::port::Judge>,
    validate: Arc<dyn kernel::port::Validate>,
    current_policy: kernel::id::Digest,
}

type Calls = FuturesUnordered<kernel::port::Task<'static, (Seq, u32, Outcome)>>;

impl Driver {
    /// Begins a new run: its first batch is durable when this returns.
    pub(crate) async fn open(
        shell: Arc<Shell>,
        genesis: kernel::run::Genesis,
        loaded: Loaded,
    ) -> Result<Self, Error> {
        let mut pool = Pool::new(Arc::clone(&shell.entropy));
        let (pins, loaded) = split(loaded);
        let mut ports = ports(&loaded, &mut pool);
        let run = Run::open(genesis, pins, shell.clock.now(), &mut ports)?;
        let (tenant, id) = (run.header().chain.tenant.clone(), run.id().clone());
        let mut driver = Self {
            shell,
            tenant,
            id,
            run,
            loaded,
            pool,
            epoch: 0,
            consumed: vec![],
            seen: HashMap::new(),
        };
        driver.commit().await?;
        Ok(driver)
    }

    /// Takes an existing run over: folds its journal and claims it.
    pub(crate) async fn claim(
        shell: Arc<Shell>,
        tenant: Tenant,
        id: RunId,
    ) -> Result<(Self, Vec<Posted>), Error> {
        let stored = shell.journal.claim(tenant.clone(), id.clone()).await?;
        let loaded = load(&shell, &id, &stored.records).await?;
        let (pins, loaded) = split(loaded);
        let run = Run::fold(&stored.records, pins)?;
        let pool = Pool::new(Arc::clone(&shell.entropy));
        let epoch = stored.epoch;
        let mut driver = Self {
            shell,
            tenant,
            id,
            run,
            loaded,
            pool,
            epoch,
            consumed: vec![],
            seen: HashMap::new(),
        };
        let digest = driver.loaded.current_policy;
        for input in [Input::Claimed { epoch }, Input::PolicyChanged { digest }, Input::Tick] {
            // These three are never refused: where nothing follows, nothing is journaled.
            let _taken = driver.decide(input)?;
        }
        driver.commit().await?;
        Ok((driver, stored.inbox))
    }

    pub(crate) fn status(&self) -> Status {
        self.run.status()
    }

    fn decide(&mut self, input: Input) -> Result<Taken, Error> {
        let now = self.shell.clock.now();
        let mut ports = ports(&self.loaded, &mut self.pool);
        let taken = self.run.decide(input, now, &mut ports)?;
        if self.pool.failed() {
            let fault =
                Fault::Illegal { seq: self.run.events(), problem: "no random bytes for salts" };
            return Err(fault.into());
        }
        Ok(taken)
    }

    /// Makes everything decided so far durable; nothing leaves before this returns.
    async fn commit(&mut self) -> Result<(), Error> {
        if !self.run.has_pending() && self.consumed.is_empty() {
            return Ok(());
        }
        let Pending { expected_seq, records, drafts, changes, wake_at } = self.run.take();
        let sign = |draft: kernel::receipt::Draft| {
            let envelope = self.shell.seal.seal(&draft.payload);
            SignedReceipt { draft, envelope }
        };
        // A run with calls in flight is due at once if this process dies.
        let wake_at = if self.run.in_flight() { Some(self.shell.clock.now().at) } else { wake_at };
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
        };
        self.shell.journal.append(batch).await?;
        self.run.committed();
        Ok(())
    }

    /// Drives until the run parks or ends. Deliveries are taken in between calls.
    pub(crate) async fn drive(
        &mut self,
        inbox: Vec<Posted>,
        deliveries: &mut mpsc::UnboundedReceiver<Delivery>,
    ) -> Result<(), Error> {
        let mut waiting: VecDeque<Delivery> =
            inbox.into_iter().map(|posted| Delivery { posted, reply: None }).collect();
        let mut calls = Calls::new();
        loop {
            while let Some(delivery) = waiting.pop_front() {
                self.take_delivery(delivery)?;
            }
            self.commit().await?;
            for permit in self.run.next(self.shell.clock.now().boot_ms) {
                calls.push(call(Arc::clone(&self.shell.connector), permit));
            }
            if calls.is_empty() {
                match deliveries.try_recv() {
                    Ok(delivery) => waiting.push_back(delivery),
                    Err(_) => return Ok(()),
                }
                continue;
            }
            tokio::select! {
                Some((action, attempt, outcome)) = calls.next() => {
                    // A late outcome is refused: somebody has settled it meanwhile.
                    let _late = self.decide(Input::Outcome { action, attempt, outcome })?;
                }
                Some(delivery) = deliveries.recv() => waiting.push_back(delivery),
            }
        }
    }

    fn take_delivery(&mut self, delivery: Delivery) -> Result<(), Error> {
        let Delivery { posted, reply } = delivery;
        let taken = match self.seen.get(&posted.signal_id) {
            // It stood in the inbox too.
            Some(taken) => taken.clone(),
            None => {
                let taken = self.decide(posted.input)?;
                self.seen.insert(posted.signal_id.clone(), taken.clone());
                self.consumed.push(posted.signal_id);
                taken
            }
        };
        if let Some(reply) = reply {
            // Whoever asked may have gone; the journal knows.
            let _gone = reply.send(taken);
        }
        Ok(())
    }
}

/// Makes one call in a task of its own: a panic in a connector is an outcome, not the end of the run.
fn call(
    connector: Arc<dyn Connector>,
    permit: Permit,
) -> kernel::port::Task<'static, (Seq, u32, Outcome)> {
    Box::pin(async move {
        let (action, attempt) = (permit.action(), permit.attempt());
        let is_write = permit.operation().is_write();
        let task = tokio::spawn(async move { connector.call(permit).await });
        let outcome = task.await.unwrap_or_else(|_| {
            let landed = if is_write { Landed::Unknown } else { Landed::No };
            let message = "the connector stopped unexpectedly".to_owned();
            Err(Failure { class: Class::Unavailable, landed, message, retry_after_ms: None })
        });
        (action, attempt, outcome)
    })
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
