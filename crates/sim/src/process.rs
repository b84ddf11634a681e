//! A process: one runtime, one engine, and the ports through which it meets the stage. It can be killed,
//! frozen and thawed at every point.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use engine::{Clock, Engine, Entropy, Loaded, Loader, Options, Seal};
use kernel::{
    event::Header,
    exception::{Class, Landed},
    gate::Permit,
    id::{At, Digest, RunId, Tenant},
    input::Now,
    port::{Batch, Connector, Journal, JournalError, Loaded as Stored, Outcome, Posted, Task},
};
use testkit::{NoSchemas, Rules};
use tokio::runtime::{Builder, Runtime};

use crate::{
    case::Fault,
    mutant::Mutant,
    stage::{Place, Stage},
    target::failed,
};

/// Why a process stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    /// It is dead.
    Killed,
    /// It is frozen; when it goes on, so much time has passed.
    Frozen(i64),
    /// Another process is to go on first.
    Yielded,
}

/// What came of work in a process.
#[derive(Debug)]
pub(crate) enum Ran<T> {
    /// It is done.
    Done(T),
    /// The process stands still.
    Halted(Halt),
    /// Nothing in the process can go on: a call hangs.
    Idle,
}

#[derive(Debug, Default)]
struct Door {
    halt: Option<Halt>,
    main: Option<Waker>,
    waiting: Vec<Waker>,
    hanging: Vec<Waker>,
    /// Times hanging calls were let go.
    releases: u32,
}

/// What the ports of one process share.
#[derive(Debug)]
pub(crate) struct Gate {
    stage: Arc<Stage>,
    id: u32,
    door: Mutex<Door>,
    idle: AtomicBool,
}

impl Gate {
    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn halt(&self, halt: Halt) {
        let mut door = self.door();
        door.halt = Some(halt);
        if let Some(main) = door.main.take() {
            main.wake();
        }
    }

    /// Passes a point; comes back with a fault that the port has to play, or never.
    async fn pass(&self, place: Place) -> Fault {
        let mut drawn = None;
        poll_fn(|cx| self.poll_pass(place, &mut drawn, cx)).await
    }

    fn poll_pass(
        &self,
        place: Place,
        drawn: &mut Option<(Fault, u32)>,
        cx: &mut Context<'_>,
    ) -> Poll<Fault> {
        if self.door().halt.is_some() {
            self.door().waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        if drawn.is_none() {
            let mut scene = self.stage.scene();
            if scene.points >= scene.thaw_at {
                scene.thaw_at = u32::MAX;
                drop(scene);
                self.door().waiting.push(cx.waker().clone());
                self.halt(Halt::Yielded);
                return Poll::Pending;
            }
            let fault = scene.pass(self.id, place);
            drop(scene);
            *drawn = Some((fault, self.door().releases));
            let halt = match fault {
                Fault::Kill => Some(Halt::Killed),
                Fault::Freeze { points, ms } => {
                    let mut scene = self.stage.scene();
                    scene.thaw_at = scene.points.saturating_add(points);
                    Some(Halt::Frozen(ms))
                }
                _ => None,
            };
            if let Some(halt) = halt {
                self.door().waiting.push(cx.waker().clone());
                self.halt(halt);
                return Poll::Pending;
            }
        }
        let (fault, since) = drawn.unwrap_or((Fault::Go, 0));
        let mut door = self.door();
        if fault == Fault::Hang && door.releases == since {
            door.hanging.push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(fault)
    }
}

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    runtime: Runtime,
    pub(crate) engine: Arc<Engine>,
    gate: Arc<Gate>,
}

impl Process {
    pub(crate) fn boot(stage: &Arc<Stage>, id: u32) -> Self {
        let (door, idle) = (Mutex::default(), AtomicBool::new(false));
        let gate = Arc::new(Gate { stage: Arc::clone(stage), id, door, idle });
        let parked = Arc::clone(&gate);
        let runtime = Builder::new_current_thread()
            .on_thread_park(move || {
                // Nothing in this process can go on by itself.
                parked.idle.store(true, Ordering::Relaxed);
                if let Some(main) = parked.door().main.take() {
                    main.wake();
                }
            })
            .build()
            .expect("a runtime");
        let engine = Engine::new(Options {
            journal: Arc::clone(&gate) as Arc<dyn Journal>,
            connector: Arc::clone(&gate) as Arc<dyn Connector>,
            loader: Arc::clone(&gate) as Arc<dyn Loader>,
            seal: Arc::clone(&gate) as Arc<dyn Seal>,
            clock: Arc::clone(&gate) as Arc<dyn Clock>,
            entropy: Arc::clone(&gate) as Arc<dyn Entropy>,
            runs_max: 4,
        });
        stage.scene().note(|| format!("process {id} boots"));
        Self { runtime, engine, gate }
    }

    /// Whether a call hangs.
    pub(crate) fn hangs(&self) -> bool {
        !self.gate.door().hanging.is_empty()
    }

    /// Hanging calls go on.
    pub(crate) fn release(&self) {
        let mut door = self.gate.door();
        door.releases += 1;
        door.hanging.drain(..).for_each(Waker::wake);
    }

    /// A frozen or yielded process goes on.
    pub(crate) fn thaw(&self) {
        let mut door = self.gate.door();
        door.halt = None;
        door.waiting.drain(..).for_each(Waker::wake);
    }

    /// Works until the work is done, the process stands still, or nothing in it can go on. Where it has
    /// to let another process go first, `others` runs that, and the work goes on.
    pub(crate) fn run<T>(&self, work: impl Future<Output = T>, mut others: impl FnMut()) -> Ran<T> {
        let mut work = pin!(work);
        loop {
            self.gate.idle.store(false, Ordering::Relaxed);
            let ran = self.runtime.block_on(poll_fn(|cx| {
                let halt = self.gate.door().halt;
                if let Some(halt) = halt {
                    return Poll::Ready(Ran::Halted(halt));
                }
                if self.gate.idle.load(Ordering::Relaxed) {
                    return Poll::Ready(Ran::Idle);
                }
                self.gate.door().main = Some(cx.waker().clone());
                work.as_mut().poll(cx).map(Ran::Done)
            }));
            if let Ran::Halted(Halt::Yielded) = ran {
                others();
                self.thaw();
                continue;
            }
            return ran;
        }
    }

    /// Goes on with whatever its tasks do, until they stand still.
    pub(crate) fn run_on(&self) -> Option<Halt> {
        match self.run(std::future::pending::<()>(), || {}) {
            Ran::Halted(halt) => Some(halt),
            Ran::Done(()) | Ran::Idle => None,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Wakers lead back to the runtime, which leads back to the gate.
        let mut door = self.gate.door();
        door.main = None;
        door.waiting.clear();
        door.hanging.clear();
    }
}

impl Journal for Gate {
    fn append(&self, batch: Batch) -> Task<'_, Result<(), JournalError>> {
        Box::pin(async move {
            let failed = || JournalError::Medium("simulated".to_owned());
            let fault = self.pass(Place::BeforeAppend).await;
            if fault == Fault::Fail {
                return Err(failed());
            }
            let first = batch.expected_seq;
            let kinds: Vec<_> = batch.records.iter().map(|r| r.event.body.kind()).collect();
            let (epoch, id) = (batch.epoch, self.id);
            let appended = {
                let mut scene = self.stage.scene();
                let appended = scene.shelf.append(batch);
                scene.note(|| {
                    let kinds = kinds.join(" ");
                    format!("  process {id} epoch {epoch} appends {first}: {kinds}: {appended:?}")
                });
                appended
            };
            if fault == Fault::FailWritten && appended.is_ok() {
                return Err(failed());
            }
            appended?;
            self.pass(Place::AfterAppend).await;
            Ok(())
        })
    }

    fn post(&self, _: Tenant, _: RunId, posted: Posted) -> Task<'_, Result<(), JournalError>> {
        Box::pin(async move {
            self.pass(Place::BeforePost).await;
            {
                let mut scene = self.stage.scene();
                scene.note(|| format!("  posts {}", posted.signal_id));
                scene.shelf.post(posted);
            }
            self.pass(Place::AfterPost).await;
            Ok(())
        })
    }

    fn claim(&self, _: Tenant, run: RunId) -> Task<'_, Result<Stored, JournalError>> {
        Box::pin(async move {
            self.pass(Place::BeforeClaim).await;
            let claimed = self.stage.scene().shelf.claim(&run);
            self.pass(Place::AfterClaim).await;
            claimed
        })
    }

    fn due(&self, now: At, _: usize) -> Task<'_, Result<Vec<(Tenant, RunId)>, JournalError>> {
        let due = self.stage.scene().shelf.due(now, &self.stage.run);
        Box::pin(std::future::ready(Ok(due)))
    }
}

impl Connector for Gate {
    fn call(&self, permit: Permit) -> Task<'_, Outcome> {
        Box::pin(async move {
            self.pass(Place::BeforeCheck).await;
            let by = permit.dispatch_by_boot_ms();
            if self.now().boot_ms > by && self.stage.mutant != Mutant::OpenWindow {
                self.stage.scene().note(|| "  too late to send".to_owned());
                return failed(Class::Timeout, Landed::No);
            }
            self.pass(Place::BeforeSend).await;
            let outcome = {
                let mut scene = self.stage.scene();
                let at = scene.at;
                // Nobody sends that late unless it stood still between the check and the send.
                let last = by.saturating_add(u64::from(permit.operation().timeout_ms));
                let late = at.unsigned_abs() > last && self.stage.mutant != Mutant::OpenWindow;
                let outcome = scene.target.take(&permit, (at, late));
                scene.note(|| {
                    let said = match &outcome {
                        Ok(returned) => returned.output.to_string(),
                        Err(failure) => format!("{:?} landed {:?}", failure.class, failure.landed),
                    };
                    let (id, key) = (&permit.operation().id, permit.key());
                    format!("  target: {id} action {} key {key}: {said}", permit.action())
                });
                outcome
            };
            self.pass(Place::AfterSend).await;
            outcome
        })
    }
}

impl Loader for Gate {
    fn load<'a>(&'a self, run: &'a RunId, header: &'a Header) -> Task<'a, Result<Loaded, String>> {
        let company = &self.stage.company;
        let careless = self.stage.mutant == Mutant::CarelessJudge && self.id > 0;
        let judge = if careless { Rules::default() } else { company.rules.clone() };
        let loaded = Loaded {
            pins: company.pins(run),
            judge: Arc::new(judge),
            validate: Arc::new(NoSchemas),
            current_policy: header.policy,
        };
        Box::pin(std::future::ready(Ok(loaded)))
    }
}

impl Seal for Gate {
    fn seal(&self, payload: &[u8]) -> Vec<u8> {
        payload.to_vec()
    }
}

impl Clock for Gate {
    fn now(&self) -> Now {
        self.stage.now()
    }
}

impl Entropy for Gate {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), String> {
        let salt = self.stage.scene().salt();
        for (place, byte) in buffer.iter_mut().enumerate() {
            *byte = salt.to_le_bytes()[place % 8] ^ u8::try_from(place / 8 % 251).unwrap_or(0);
        }
        Ok(())
    }
}

/// A digest that no card has: nothing was shown.
pub(crate) fn no_card() -> Digest {
    Digest::default()
}
