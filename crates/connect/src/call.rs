//! What a permit allows, taken out of it in one place, and the moment its bytes may leave.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use kernel::{
    exception::{Class, Landed},
    gate::{DISPATCH_WINDOW_MS, Permit},
    id::{EffectKey, RunId, Seq, Tenant},
    operation::{Operation, TIMEOUT_MAX_MS},
    port::Failure,
};
use serde_json::Value;
use tokio::sync::Notify;

use crate::{
    blob::{Body, Spill},
    clock::Clock,
    ingest::Received,
};

/// Longest failure message, in characters.
pub(crate) const MESSAGE_MAX_CHARS: usize = 500;

/// Everything a connector may read.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) tenant: Tenant,
    pub(crate) run: RunId,
    /// Which action of the run, by its proposal's place in the journal.
    pub(crate) action: Seq,
    /// Which call of this action.
    pub(crate) attempt: u32,
    pub(crate) operation: Arc<Operation>,
    pub(crate) args: Arc<Value>,
    pub(crate) key: EffectKey,
    pub(crate) masks: BTreeSet<String>,
    pub(crate) dispatch_by_boot_ms: u64,
}

impl Call {
    /// The only way in from outside this crate: a permit, consumed.
    pub(crate) fn of(permit: Permit) -> Self {
        let permit = &permit;
        Self {
            tenant: permit.tenant().clone(),
            run: permit.run().clone(),
            action: permit.action(),
            attempt: permit.attempt(),
            operation: Arc::clone(permit.operation()),
            args: Arc::clone(permit.args()),
            key: permit.key().clone(),
            masks: permit.masks().clone(),
            dispatch_by_boot_ms: permit.dispatch_by_boot_ms(),
        }
    }

    /// The longest it takes, in milliseconds: until nothing leaves any more, and its answer.
    pub(crate) fn takes_ms(&self) -> u64 {
        DISPATCH_WINDOW_MS.unsigned_abs().saturating_add(u64::from(self.operation.timeout_ms))
    }
}

/// An answer that has come in whole; a large one is not durable yet.
pub(crate) enum Arrived {
    /// It fits into memory.
    Whole(Received),
    /// It goes to the blob sink.
    Large(Box<Spill>),
}

impl Arrived {
    /// Makes a large answer durable.
    pub(crate) async fn keep(self) -> Result<Received, Failure> {
        match self {
            Self::Whole(received) => Ok(received),
            Self::Large(spill) => spill.keep().await.map(Received::Stored),
        }
    }
}

impl From<Received> for Arrived {
    fn from(received: Received) -> Self {
        Self::Whole(received)
    }
}

impl From<Body> for Arrived {
    fn from(body: Body) -> Self {
        match body {
            Body::Small(bytes) => Self::Whole(Received::Bytes(bytes)),
            Body::Large(spill) => Self::Large(spill),
        }
    }
}

/// Nothing has left, and something still may.
const HERE: u8 = 0;
/// Something has left, or is about to.
const SENT: u8 = 1;
/// Given up while nothing had left: nothing will.
const WITHDRAWN: u8 = 2;

/// Watches one call leave: not after `dispatch_by`, and remembers whether anything may have left.
#[derive(Debug)]
pub(crate) struct Departure {
    clock: Arc<dyn Clock>,
    dispatch_by_boot_ms: u64,
    /// When its answer is not waited for any more.
    answer_by: Instant,
    is_write: bool,
    /// Its system's gauge let it go.
    admitted: AtomicBool,
    /// It had its turn: what comes of it is the target's doing.
    tried: AtomicBool,
    /// [`HERE`], then [`SENT`] or [`WITHDRAWN`]: whoever gives up and whoever sends, on another thread, agree.
    way: AtomicU8,
    late: AtomicBool,
    /// Its run is to end: nobody wants what it would bring.
    stop: AtomicBool,
    stop_told: Notify,
}

impl Departure {
    pub(crate) fn new(call: &Call, clock: Arc<dyn Clock>) -> Self {
        let timeout_ms = u64::from(call.operation.timeout_ms.min(TIMEOUT_MAX_MS));
        Self {
            clock,
            dispatch_by_boot_ms: call.dispatch_by_boot_ms,
            answer_by: Instant::now() + Duration::from_millis(timeout_ms),
            is_write: call.operation.is_write(),
            admitted: AtomicBool::new(false),
            tried: AtomicBool::new(false),
            way: AtomicU8::new(HERE),
            late: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            stop_told: Notify::new(),
        }
    }

    /// For what the harness itself sends: no run waits for it, so it is never too late.
    pub(crate) fn of_our_own(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            dispatch_by_boot_ms: u64::MAX,
            answer_by: Instant::now() + Duration::from_millis(u64::from(TIMEOUT_MAX_MS)),
            is_write: true,
            admitted: AtomicBool::new(false),
            tried: AtomicBool::new(false),
            way: AtomicU8::new(HERE),
            late: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            stop_told: Notify::new(),
        }
    }

    /// For what only looks after a call that has left: it changes nothing, so it is never too late.
    pub(crate) fn onward(&self) -> Self {
        Self { is_write: false, ..Self::of_our_own(Arc::clone(&self.clock)) }
    }

    /// Fails when it is too late for anything to leave.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.clock.boot_ms() > self.dispatch_by_boot_ms {
            self.late.store(true, Ordering::SeqCst);
            let message = "too late to send: the dispatch window has passed, nothing left";
            return Err(fail(Class::Timeout, Landed::No, message));
        }
        Ok(())
    }

    /// How long something may still leave.
    pub(crate) fn left(&self) -> Duration {
        let left = self.dispatch_by_boot_ms.saturating_sub(self.clock.boot_ms());
        Duration::from_millis(left.min(DISPATCH_WINDOW_MS.unsigned_abs()))
    }

    /// Until when its answer is waited for.
    pub(crate) fn answer_by(&self) -> Instant {
        self.answer_by
    }

    /// The system's gauge let it go.
    pub(crate) fn mark_admitted(&self) {
        self.admitted.store(true, Ordering::SeqCst);
    }

    /// From here on only its target keeps it from an answer.
    pub(crate) fn mark_tried(&self) {
        self.tried.store(true, Ordering::SeqCst);
    }

    /// Whether the system's gauge let it go.
    pub(crate) fn was_admitted(&self) -> bool {
        self.admitted.load(Ordering::SeqCst)
    }

    /// Whether how it ended says something about its target.
    pub(crate) fn was_tried(&self) -> bool {
        self.tried.load(Ordering::SeqCst) && !self.was_late()
    }

    /// From here on the effect may happen; fails where the call has been given up.
    pub(crate) fn mark_sent(&self) -> Result<(), Failure> {
        match self.way.compare_exchange(HERE, SENT, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) | Err(SENT) => Ok(()),
            Err(_) => {
                let message = "given up before it was sent: nothing left";
                Err(fail(Class::Unavailable, Landed::No, message))
            }
        }
    }

    /// Whether the effect may have happened.
    pub(crate) fn was_sent(&self) -> bool {
        self.way.load(Ordering::SeqCst) == SENT
    }

    /// Nobody waits any longer: what has not left stays here for good. Whether that is so.
    pub(crate) fn withdraw(&self) -> bool {
        let was = self.way.compare_exchange(HERE, WITHDRAWN, Ordering::SeqCst, Ordering::SeqCst);
        !matches!(was, Err(SENT))
    }

    /// [`Self::check`], then [`Self::mark_sent`].
    pub(crate) fn leave(&self) -> Result<(), Failure> {
        self.check()?;
        self.mark_sent()
    }

    /// Its run is to end: what has not left stays here, and a program of ours is ended.
    pub(crate) fn want_stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.stop_told.notify_waiters();
    }

    /// Whether its run is to end.
    pub(crate) fn is_stop_wanted(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Waits until its run is to end.
    pub(crate) async fn stop_wanted(&self) {
        // Asked for before the flag is read: what is told in between is heard.
        let told = self.stop_told.notified();
        if !self.is_stop_wanted() {
            told.await;
        }
    }

    /// Wall clock now.
    pub(crate) fn now_ms(&self) -> kernel::id::At {
        self.clock.now_ms()
    }

    /// Whether a check has found that it was too late.
    pub(crate) fn was_late(&self) -> bool {
        self.late.load(Ordering::SeqCst)
    }

    /// What is known about the effect while no answer has come.
    pub(crate) fn landed(&self) -> Landed {
        if self.is_write && self.was_sent() { Landed::Unknown } else { Landed::No }
    }

    /// The failure of a call that had no complete answer in its time; nothing leaves after it.
    pub(crate) fn out_of_time(&self, deadline: Duration) -> Failure {
        self.withdraw();
        let message = format!("no complete answer within {} ms", deadline.as_millis());
        fail(Class::Timeout, self.landed(), message)
    }
}

/// A failure without a wish to wait.
pub(crate) fn fail(class: Class, landed: Landed, message: impl Into<String>) -> Failure {
    Failure { class, landed, message: message.into(), retry_after_ms: None, sample: None }
}

/// A class that somebody outside names: what the harness alone can know is not theirs to say.
pub(crate) fn outside_class(said: Class) -> Class {
    match said {
        Class::InDoubt | Class::Budget | Class::PolicyError => Class::Unavailable,
        class => class,
    }
}

/// Refused before anything left.
pub(crate) fn refuse(message: impl Into<String>) -> Failure {
    fail(Class::InvalidArguments, Landed::No, message)
}

/// `Yes` for a write that the target has confirmed, `No` for a read.
pub(crate) fn landed_if_write(operation: &Operation) -> Landed {
    if operation.is_write() { Landed::Yes } else { Landed::No }
}

/// At most `max` characters, control characters replaced.
pub(crate) fn clip(text: &str, max: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut clipped: String = text.chars().take(max).map(clean).collect();
    if text.chars().nth(max).is_some() {
        clipped.push('…');
    }
    clipped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C077: whoever gives a call up and whoever sends it, each on a thread of its own, agree on what happened.
    #[test]
    fn what_was_given_up_never_leaves_and_what_left_is_not_given_up() {
        let departure = || Departure::of_our_own(Arc::new(crate::clock::SystemClock));
        let given_up = departure();
        assert!(given_up.withdraw());
        assert_eq!(given_up.leave().unwrap_err().landed, Landed::No);
        assert_eq!(given_up.landed(), Landed::No);
        let left = departure();
        left.leave().unwrap();
        assert!(!left.withdraw());
        assert_eq!(left.landed(), Landed::Unknown);
    }
}
