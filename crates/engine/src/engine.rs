//! Who drives what: at most one driver per run in this process, many runs at once.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kernel::{
    id::{PrincipalId, RunId, Tenant},
    input::Input,
    port::{Connector, Journal, JournalError, Posted},
    run::{Genesis, Refused, Status},
};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tracing::{debug, warn};

use crate::{
    Error,
    drive::{Delivery, Driver, Shell},
    ports::{Clock, Entropy, Loader, Seal},
};

/// Longest the dispatcher sleeps without looking at the journal.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// Runs woken in one sweep.
const SWEEP_MAX: usize = 256;
/// Times a failed run is folded and tried again before it is left for the next sweep.
const REFOLDS_MAX: usize = 2;

/// What an engine is made of.
#[derive(Debug)]
pub struct Options {
    /// The durable truth.
    pub journal: Arc<dyn Journal>,
    /// The way to the world.
    pub connector: Arc<dyn Connector>,
    /// Loads what runs are pinned to.
    pub loader: Arc<dyn Loader>,
    /// Signs receipts.
    pub seal: Arc<dyn Seal>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub entropy: Arc<dyn Entropy>,
    /// Runs driven at a time.
    pub runs_max: usize,
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// A new run began.
    New(RunId),
    /// The same key was submitted before: this is its run.
    Existing(RunId),
}

impl Submitted {
    /// The run, new or not.
    #[must_use]
    pub fn run(&self) -> &RunId {
        match self {
            Self::New(run) | Self::Existing(run) => run,
        }
    }
}

/// Deliveries to a run somebody drives.
type Mailbox = mpsc::UnboundedSender<Delivery>;
type Key = (Tenant, RunId);

/// Drives runs.
#[derive(Debug)]
pub struct Engine {
    shell: Arc<Shell>,
    active: Mutex<HashMap<Key, Mailbox>>,
    slots: Arc<Semaphore>,
    draining: AtomicBool,
    /// Somebody posted, or a driver parked.
    changed: Notify,
}

impl Engine {
    /// An engine that drives nothing yet.
    #[must_use]
    pub fn new(options: Options) -> Arc<Self> {
        let Options { journal, connector, loader, seal, clock, entropy, runs_max } = options;
        let shell = Arc::new(Shell { journal, connector, loader, seal, clock, entropy });
        Arc::new(Self {
            shell,
            active: Mutex::new(HashMap::new()),
            slots: Arc::new(Semaphore::new(runs_max.max(1))),
            draining: AtomicBool::new(false),
            changed: Notify::new(),
        })
    }

    /// Admits an intent: compare-and-set at sequence 0. Durable on return; driving goes on behind it.
    ///
    /// # Errors
    /// When the run cannot be loaded or made durable.
    pub async fn submit(self: &Arc<Self>, genesis: Genesis) -> Result<Submitted, Error> {
        self.refuse_draining()?;
        let header = &genesis.header;
        let id = genesis.id.clone();
        let tenant = header.chain.tenant.clone();
        let loaded = self.shell.loader.load(&id, header).await;
        let loaded = loaded.map_err(|problem| Error::Pins { run: id.clone(), problem })?;
        match Driver::open(Arc::clone(&self.shell), genesis, loaded).await {
            Ok(driver) => {
                self.drive_opened((tenant, id.clone()), driver);
                Ok(Submitted::New(id))
            }
            Err(Error::Journal(JournalError::Lost { .. })) => Ok(Submitted::Existing(id)),
            Err(error) => Err(error),
        }
    }

    /// Hands one input to a run, durably first, and says how the run took it.
    ///
    /// # Errors
    /// When it could not be made durable, or the run cannot be driven.
    pub async fn input(
        self: &Arc<Self>,
        (tenant, run): (Tenant, RunId),
        (signal_id, by): (String, PrincipalId),
        input: Input,
    ) -> Result<Result<(), Refused>, Error> {
        self.refuse_draining()?;
        let posted = Posted { signal_id, input, by };
        self.shell.journal.post(tenant.clone(), run.clone(), posted.clone()).await?;
        let (reply, taken) = oneshot::channel();
        self.deliver((tenant, run), Delivery { posted, reply: Some(reply) });
        match taken.await {
            Ok(taken) => Ok(taken),
            // The driver ended before it came to this; the inbox holds it.
            Err(_) => Err(Error::Draining),
        }
    }

    /// Drives a run until it parks or ends, and says where it stands.
    ///
    /// # Errors
    /// When it cannot be loaded, claimed or made durable.
    pub async fn run_until_parked(
        self: &Arc<Self>,
        tenant: Tenant,
        run: RunId,
    ) -> Result<Status, Error> {
        self.refuse_draining()?;
        let (mailbox, mut deliveries) = mpsc::unbounded_channel();
        let key = (tenant, run);
        loop {
            // Created before the check: a driver that parks in between is not missed.
            let changed = self.changed.notified();
            if self.enlist(&key, &mailbox) {
                break;
            }
            changed.await;
        }
        let result = self.drive(&key, None, &mut deliveries).await;
        self.discharge(&key, deliveries);
        result
    }

    /// Waits until nobody drives the run.
    pub async fn settled(&self, tenant: &Tenant, run: &RunId) {
        let key = (tenant.clone(), run.clone());
        loop {
            let changed = self.changed.notified();
            if !self.lock().contains_key(&key) {
                return;
            }
            changed.await;
        }
    }

    /// Wakes what is due until drained. Loses nothing: every wake-up is found again in the journal.
    pub async fn serve(self: Arc<Self>) {
        while !self.draining.load(Ordering::SeqCst) {
            let now = self.shell.clock.now().at;
            match self.shell.journal.due(now, SWEEP_MAX).await {
                Ok(due) => due.into_iter().for_each(|key| self.wake(key)),
                Err(error) => warn!(%error, "the sweep could not read the journal"),
            }
            let changed = self.changed.notified();
            // Whichever comes first; a missed hint costs half a second, never a run.
            let _timeout = tokio::time::timeout(SWEEP_EVERY, changed).await;
        }
    }

    /// Stops taking work, holds every run, waits for calls in flight, then for the drivers.
    pub async fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        let mailboxes: Vec<Mailbox> = self.lock().values().cloned().collect();
        for (n, mailbox) in mailboxes.into_iter().enumerate() {
            let by = SYSTEM.parse::<PrincipalId>();
            let Ok(by) = by else { continue };
            let posted = Posted { signal_id: format!("hold-{n}"), input: Input::Hold, by };
            let _gone = mailbox.send(Delivery { posted, reply: None });
        }
        loop {
            let changed = self.changed.notified();
            if self.lock().is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Starts a driver unless one is at work.
    pub fn wake(self: &Arc<Self>, key: Key) {
        let (mailbox, deliveries) = mpsc::unbounded_channel();
        if self.enlist(&key, &mailbox) {
            self.spawn(key, None, deliveries);
        }
    }

    fn drive_opened(self: &Arc<Self>, key: Key, driver: Driver) {
        let (mailbox, deliveries) = mpsc::unbounded_channel();
        if self.enlist(&key, &mailbox) {
            self.spawn(key, Some(driver), deliveries);
        }
    }

    fn deliver(self: &Arc<Self>, key: Key, delivery: Delivery) {
        let mut active = self.lock();
        let delivery = match active.get(&key) {
            Some(mailbox) => match mailbox.send(delivery) {
                Ok(()) => return,
                Err(returned) => returned.0,
            },
            None => delivery,
        };
        let (mailbox, deliveries) = mpsc::unbounded_channel();
        let _open = mailbox.send(delivery);
        active.insert(key.clone(), mailbox);
        drop(active);
        self.spawn(key, None, deliveries);
    }

    fn spawn(
        self: &Arc<Self>,
        key: Key,
        driver: Option<Driver>,
        mut deliveries: mpsc::UnboundedReceiver<Delivery>,
    ) {
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            match engine.drive(&key, driver, &mut deliveries).await {
                Ok(status) => debug!(run = %key.1, status = status.word(), "parked"),
                Err(error) => warn!(run = %key.1, %error, "not driven on"),
            }
            engine.discharge(&key, deliveries);
        });
    }

    async fn drive(
        self: &Arc<Self>,
        (tenant, run): &Key,
        opened: Option<Driver>,
        deliveries: &mut mpsc::UnboundedReceiver<Delivery>,
    ) -> Result<Status, Error> {
        let _slot = self.slots.acquire().await;
        let mut opened = opened.map(|driver| (driver, Vec::new()));
        let mut fault: Option<String> = None;
        for _ in 0..=REFOLDS_MAX {
            let (mut driver, mut inbox) = match opened.take() {
                Some(opened) => opened,
                None => Driver::claim(Arc::clone(&self.shell), tenant.clone(), run.clone()).await?,
            };
            if let Some(message) = fault.take()
                && let Ok(by) = SYSTEM.parse()
            {
                let input = Input::Fault { message };
                inbox.insert(0, Posted { signal_id: "fault".to_owned(), input, by });
            }
            match driver.drive(inbox, deliveries).await {
                Ok(()) => return Ok(driver.status()),
                // A defect: drop what is in memory, fold again, and hold the run for a person.
                Err(Error::Fault(found)) => fault = Some(found.to_string()),
                Err(error) => return Err(error),
            }
        }
        let problem = fault.unwrap_or_else(|| "it keeps failing".to_owned());
        Err(Error::Pins { run: run.clone(), problem })
    }

    /// True when nobody drives the run and the caller does from here on.
    fn enlist(&self, key: &Key, mailbox: &Mailbox) -> bool {
        let mut active = self.lock();
        if active.contains_key(key) {
            return false;
        }
        active.insert(key.clone(), mailbox.clone());
        true
    }

    /// Ends a driver. What was delivered too late is in the inbox: somebody else drives it.
    fn discharge(self: &Arc<Self>, key: &Key, mut deliveries: mpsc::UnboundedReceiver<Delivery>) {
        let late = {
            let mut active = self.lock();
            active.remove(key);
            deliveries.close();
            let mut late = Vec::new();
            while let Ok(delivery) = deliveries.try_recv() {
                late.push(delivery);
            }
            late
        };
        if !self.draining.load(Ordering::SeqCst) {
            late.into_iter().for_each(|delivery| self.deliver(key.clone(), delivery));
        }
        self.changed.notify_waiters();
    }

    fn refuse_draining(&self) -> Result<(), Error> {
        if self.draining.load(Ordering::SeqCst) { Err(Error::Draining) } else { Ok(()) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Mailbox>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who the engine posts as.
const SYSTEM: &str = "service:engine";
