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
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore, mpsc, oneshot},
};
use tracing::{debug, warn};

use crate::{
    Error,
    desk::{Delivery, Desk},
    drive::{Carried, Driver, Shell},
    ports::{Clock, Entropy, Loader, Seal},
};

/// Longest the dispatcher sleeps without looking at the journal.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// Runs woken in one sweep.
const SWEEP_MAX: usize = 256;
/// Times a failed run is folded and tried again before it is left for a later sweep.
const REFOLDS_MAX: usize = 2;
/// How long a run that could not be driven is left alone by the sweep, in milliseconds.
const FAILED_REST_MS: u64 = 5_000;

/// Seats a delivery may come too late for before it is left to the inbox.
const MISSED_MAX: u8 = 2;

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

/// A run somebody drives.
#[derive(Debug)]
struct Driven {
    mailbox: Mailbox,
    stage: DrivenStage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DrivenStage {
    /// Its first batch is being appended.
    Opening,
    /// It is in the journal.
    Going,
}

/// Drives runs.
#[derive(Debug)]
pub struct Engine {
    shell: Arc<Shell>,
    active: Mutex<HashMap<Key, Driven>>,
    /// Runs that could not be driven → boot-time clock until which the sweep leaves them alone.
    resting: Mutex<HashMap<Key, u64>>,
    slots: Arc<Semaphore>,
    draining: AtomicBool,
    /// Somebody sat down, or left.
    changed: Notify,
    /// A driver left a run that is not over: it may be due again already.
    parked: Notify,
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
            resting: Mutex::new(HashMap::new()),
            slots: Arc::new(Semaphore::new(runs_max.max(1))),
            draining: AtomicBool::new(false),
            changed: Notify::new(),
            parked: Notify::new(),
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
        let key = (tenant, id.clone());
        // Seated before the first batch is durable: no sweep may claim the run in between, or its first
        // calls would look like those of an owner that died.
        let seat = self.sit_down_to_open(&key).await?;
        match Driver::open(Arc::clone(&self.shell), genesis, loaded).await {
            Ok(driver) => {
                self.go_on_with(key, seat, driver);
                Ok(Submitted::New(id))
            }
            Err(Error::Journal(JournalError::Lost { .. })) => Ok(Submitted::Existing(id)),
            Err(error) => Err(error),
        }
    }

    /// A seat to open the run from; `None` when somebody drives it already.
    async fn sit_down_to_open(self: &Arc<Self>, key: &Key) -> Result<Option<Seat>, Error> {
        loop {
            // Created before the check: a seat that is left in between is not missed.
            let changed = self.changed.notified();
            let stage = self.lock(&self.active).get(key).map(|driven| driven.stage);
            match stage {
                Some(DrivenStage::Going) => return Ok(None),
                Some(DrivenStage::Opening) => changed.await,
                None => match self.sit_down(key, DrivenStage::Opening)? {
                    Some(seat) => return Ok(Some(seat)),
                    None => continue,
                },
            }
        }
    }

    fn go_on_with(self: &Arc<Self>, key: Key, seat: Option<Seat>, driver: Box<Driver>) {
        if let Some(driven) = self.lock(&self.active).get_mut(&key) {
            driven.stage = DrivenStage::Going;
        }
        self.changed.notify_waiters();
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            let seat = match seat {
                Some(seat) => Ok(seat),
                // Somebody looked for the run before it was there; they will not be long.
                None => engine.wait_for_seat(&key).await,
            };
            match seat {
                Ok(seat) => drop(seat.drive(Some(driver)).await),
                Err(error) => debug!(run = %key.1, %error, "left to its next owner"),
            }
        });
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
        self.deliver(
            (tenant, run),
            Delivery { posted: Box::new(posted), reply: Some(reply), missed: 0 },
        );
        // The driver ended before it came to this; the inbox holds it.
        taken.await.unwrap_or(Err(Error::Draining))
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
        let seat = self.wait_for_seat(&(tenant, run)).await?;
        // In a task of its own: a caller that gives up does not leave the run half driven.
        let driving = tokio::spawn(seat.drive(None));
        driving.await.unwrap_or(Err(Error::Draining))
    }

    async fn wait_for_seat(self: &Arc<Self>, key: &Key) -> Result<Seat, Error> {
        loop {
            // Created before the check: a driver that parks in between is not missed.
            let changed = self.changed.notified();
            if let Some(seat) = self.sit_down(key, DrivenStage::Going)? {
                return Ok(seat);
            }
            changed.await;
        }
    }

    /// Waits until nobody drives the run.
    pub async fn settled(&self, tenant: &Tenant, run: &RunId) {
        let key = (tenant.clone(), run.clone());
        loop {
            let changed = self.changed.notified();
            if !self.lock(&self.active).contains_key(&key) {
                return;
            }
            changed.await;
        }
    }

    /// Wakes what is due until drained. Loses nothing: every wake-up is found again in the journal.
    pub async fn serve(self: Arc<Self>) {
        while !self.draining.load(Ordering::SeqCst) {
            self.sweep().await;
            // Whichever comes first; a missed hint costs half a second, never a run.
            let _timeout = tokio::time::timeout(SWEEP_EVERY, self.parked.notified()).await;
        }
    }

    /// One look at the journal: starts a driver for whatever is due now. [`Engine::serve`] repeats it.
    pub async fn sweep(self: &Arc<Self>) {
        let now = self.shell.clock.now();
        self.lock(&self.resting).retain(|_, until| *until > now.boot_ms);
        match self.shell.journal.due(now.at, SWEEP_MAX).await {
            Ok(due) => due.into_iter().for_each(|key| self.wake_rested(key)),
            Err(error) => warn!(%error, "the sweep could not read the journal"),
        }
    }

    /// Stops taking work, holds every run, waits for calls in flight, then for the drivers.
    pub async fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.parked.notify_one();
        let mailboxes: Vec<Mailbox> =
            self.lock(&self.active).values().map(|driven| driven.mailbox.clone()).collect();
        for (n, mailbox) in mailboxes.into_iter().enumerate() {
            let by = SYSTEM.parse::<PrincipalId>();
            let Ok(by) = by else { continue };
            let posted = Posted { signal_id: format!("hold-{n}"), input: Input::Hold, by };
            let _gone = mailbox.send(Delivery { posted: Box::new(posted), reply: None, missed: 0 });
        }
        loop {
            let changed = self.changed.notified();
            if self.lock(&self.active).is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Starts a driver unless one is at work.
    pub fn wake(self: &Arc<Self>, key: Key) {
        if let Ok(Some(seat)) = self.sit_down(&key, DrivenStage::Going) {
            tokio::spawn(seat.drive(None));
        }
    }

    fn wake_rested(self: &Arc<Self>, key: Key) {
        let rests = self.lock(&self.resting).contains_key(&key);
        if !rests {
            self.wake(key);
        }
    }

    fn deliver(self: &Arc<Self>, key: Key, delivery: Delivery) {
        let mut active = self.lock(&self.active);
        let delivery = match active.get(&key) {
            Some(driven) => match driven.mailbox.send(delivery) {
                Ok(()) => return,
                Err(returned) => returned.0,
            },
            None => delivery,
        };
        if self.draining.load(Ordering::SeqCst) {
            return;
        }
        let (mailbox, deliveries) = mpsc::unbounded_channel();
        let _open = mailbox.send(delivery);
        active.insert(key.clone(), Driven { mailbox, stage: DrivenStage::Going });
        drop(active);
        let seat = Seat::new(self, key, deliveries);
        tokio::spawn(seat.drive(None));
    }

    /// The driver's seat of a run; `None` when somebody has it.
    fn sit_down(self: &Arc<Self>, key: &Key, stage: DrivenStage) -> Result<Option<Seat>, Error> {
        let mut active = self.lock(&self.active);
        // Under the lock: whoever sits down before the drain looks is told to hold.
        self.refuse_draining()?;
        if active.contains_key(key) {
            return Ok(None);
        }
        let (mailbox, deliveries) = mpsc::unbounded_channel();
        active.insert(key.clone(), Driven { mailbox, stage });
        Ok(Some(Seat::new(self, key.clone(), deliveries)))
    }

    fn refuse_draining(&self) -> Result<(), Error> {
        if self.draining.load(Ordering::SeqCst) { Err(Error::Draining) } else { Ok(()) }
    }

    fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> MutexGuard<'a, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to drive one run in this process. Left by dropping it, whatever happened.
#[derive(Debug)]
struct Seat {
    engine: Arc<Engine>,
    key: Key,
    desk: Desk,
    /// The run is over: nothing of it can be due.
    is_over: bool,
}

impl Seat {
    fn new(engine: &Arc<Engine>, key: Key, deliveries: mpsc::UnboundedReceiver<Delivery>) -> Self {
        Self { engine: Arc::clone(engine), key, desk: Desk::new(deliveries), is_over: false }
    }

    /// Drives the run until it parks, ends or cannot go on.
    async fn drive(mut self, opened: Option<Box<Driver>>) -> Result<Status, Error> {
        let slots = Arc::clone(&self.engine.slots);
        let slot = slots.acquire().await;
        let driven = self.drive_through_failures(opened).await;
        drop(slot);
        let mut resting = self.engine.lock(&self.engine.resting);
        match &driven {
            Ok(status) => {
                self.is_over = status.is_over();
                resting.remove(&self.key);
                debug!(run = %self.key.1, status = status.word(), "parked");
            }
            Err(error) => {
                if !matches!(error, Error::Draining | Error::Journal(JournalError::Lost { .. })) {
                    let now = self.engine.shell.clock.now().boot_ms;
                    resting.insert(self.key.clone(), now.saturating_add(FAILED_REST_MS));
                }
                warn!(run = %self.key.1, %error, "not driven on");
                self.desk.fail(error);
            }
        }
        drop(resting);
        driven
    }

    async fn drive_through_failures(
        &mut self,
        mut opened: Option<Box<Driver>>,
    ) -> Result<Status, Error> {
        let mut carried = Carried::default();
        let mut last = Error::Draining;
        for _ in 0..=REFOLDS_MAX {
            let error = match self.drive_once(opened.take(), &mut carried).await {
                Ok(status) => return Ok(status),
                Err(error) => error,
            };
            match &error {
                // A defect: drop what is in memory, fold again, and hold the run for a person.
                Error::Fault(found) => {
                    self.desk.forget(Some(found));
                    carried = Carried { fault: Some(found.to_string()), ..Carried::default() };
                }
                // Nothing has left: the journal says where the run stands, a halt holds it.
                Error::Journal(JournalError::Halted(halt)) => {
                    self.desk.forget(None);
                    carried.halt = Some(halt.clone());
                }
                Error::Journal(JournalError::Medium(_)) => self.desk.forget(None),
                Error::Journal(_) | Error::Pins { .. } | Error::Draining => return Err(error),
            }
            last = error;
        }
        Err(last)
    }

    async fn drive_once(
        &mut self,
        opened: Option<Box<Driver>>,
        carried: &mut Carried,
    ) -> Result<Status, Error> {
        let mut driver = match opened {
            Some(opened) => opened,
            None => {
                self.engine.refuse_draining()?;
                self.desk.collect();
                let shell = Arc::clone(&self.engine.shell);
                let first = carried.clone();
                // Boxed: what claiming takes is not kept while the run waits.
                Box::pin(Driver::claim(shell, self.key.clone(), first, &mut self.desk)).await?
            }
        };
        *carried = Carried::default();
        let driven = driver.drive(&mut self.desk).await;
        carried.ended = driver.take_unsaved();
        driven?;
        Ok(driver.status())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let late = {
            let mut active = self.engine.lock(&self.engine.active);
            active.remove(&self.key);
            self.desk.close()
        };
        // What was delivered too late is in the inbox: somebody else drives it. A runtime that is going
        // down drops each new seat at once: there the inbox has to do.
        if Handle::try_current().is_ok() {
            let again = late.into_iter().filter(|one| one.missed < MISSED_MAX);
            let again = again.map(|one| Delivery { missed: one.missed + 1, ..one });
            again.for_each(|one| self.engine.deliver(self.key.clone(), one));
        }
        self.engine.changed.notify_waiters();
        if !self.is_over {
            self.engine.parked.notify_one();
        }
    }
}

/// Who the engine posts as.
const SYSTEM: &str = "service:engine";
