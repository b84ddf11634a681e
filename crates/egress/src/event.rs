//! What is told about every request and tunnel: once each, when it is over.

use std::{
    fmt, mem,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{refusal::Refusal, secret::Vault};

/// Most characters of a host or path that are told.
pub const TEXT_CHARS_MAX: usize = 1024;

/// One request or tunnel. It holds no query, no header, no body and no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// When it began: what the witness's clock said.
    pub at_ms: i64,
    /// The rule that allowed it, by its place in the list from zero.
    pub rule: Option<usize>,
    /// Why it did not pass, or was cut.
    pub refusal: Option<Refusal>,
    /// As it was sent; `CONNECT` for a tunnel; empty where none could be read.
    pub method: String,
    /// The host in its one spelling; empty where none could be read.
    pub host: String,
    /// The port; 0 where none could be read.
    pub port: u16,
    /// The path without its query; empty for a tunnel.
    pub path: String,
    /// What was connected to.
    pub address: Option<SocketAddr>,
    /// The status that the inside was told.
    pub status: Option<u16>,
    /// Bytes of the body, or of the tunnel, to the outside.
    pub bytes_out: u64,
    /// Bytes of the body, or of the tunnel, from the outside, as they came.
    pub bytes_in: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// Who is told. Both are called from the proxy's own tasks, so neither waits long.
pub trait Witness: Send + Sync + fmt::Debug {
    /// The wall clock, in milliseconds since 1970.
    fn at_ms(&self) -> i64;
    /// Something is over.
    fn saw(&self, event: Event);
}

/// Bytes over the proxy's life.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) out: AtomicU64,
    pub(crate) back: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) stopping: AtomicBool,
}

/// One event as it comes about. Whoever holds it last tells it.
#[derive(Debug)]
pub(crate) struct Trace {
    witness: Arc<dyn Witness>,
    vault: Arc<Vault>,
    totals: Arc<Totals>,
    began: Instant,
    state: Mutex<State>,
    out: AtomicU64,
    back: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    event: Event,
    is_over: bool,
}

impl Trace {
    pub(crate) fn begin(
        witness: &Arc<dyn Witness>,
        vault: &Arc<Vault>,
        totals: &Arc<Totals>,
    ) -> Self {
        let event = Event { at_ms: witness.at_ms(), ..Event::default() };
        Self {
            witness: Arc::clone(witness),
            vault: Arc::clone(vault),
            totals: Arc::clone(totals),
            began: Instant::now(),
            state: Mutex::new(State { event, is_over: false }),
            out: AtomicU64::new(0),
            back: AtomicU64::new(0),
        }
    }

    pub(crate) fn note(&self, change: impl FnOnce(&mut Event)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).event);
    }

    /// The first reason counts: what follows from it does not replace it.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.event.refusal.get_or_insert(refusal);
        state.is_over = true;
    }

    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).event.refusal
    }

    /// Everything came to its end.
    pub(crate) fn end(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_over = true;
    }

    /// Counts bytes to the outside; `Err` when they are more than `most` or than all may be together.
    pub(crate) fn count_out(&self, bytes: usize, most: u64, in_all: u64) -> Result<(), Refusal> {
        let fits = count(&self.out, bytes, most) & count(&self.totals.out, bytes, in_all);
        if fits { Ok(()) } else { Err(self.too_much()) }
    }

    /// The same for bytes from the outside.
    pub(crate) fn count_back(&self, bytes: usize, most: u64, in_all: u64) -> Result<(), Refusal> {
        let fits = count(&self.back, bytes, most) & count(&self.totals.back, bytes, in_all);
        if fits { Ok(()) } else { Err(self.too_much()) }
    }

    fn too_much(&self) -> Refusal {
        self.refuse(Refusal::Bytes);
        Refusal::Bytes
    }

    /// Bytes both ways so far.
    pub(crate) fn moved(&self) -> u64 {
        self.out.load(Ordering::Relaxed).saturating_add(self.back.load(Ordering::Relaxed))
    }

    pub(crate) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    fn scrub(&self, text: &str) -> String {
        let scrubbed = self.vault.scrubber().and_then(|scrubber| scrubber.scrub(text.as_bytes()));
        let text = match &scrubbed {
            Some(bytes) => String::from_utf8_lossy(bytes),
            None => text.into(),
        };
        text.chars().take(TEXT_CHARS_MAX).collect()
    }
}

fn count(counter: &AtomicU64, bytes: usize, most: u64) -> bool {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    counter.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= most
}

impl Drop for Trace {
    fn drop(&mut self) {
        let state = mem::take(self.state.get_mut().unwrap_or_else(PoisonError::into_inner));
        let mut event = state.event;
        if !state.is_over {
            let is_stopping = self.totals.stopping.load(Ordering::Relaxed);
            event.refusal.get_or_insert(if is_stopping { Refusal::Stopped } else { Refusal::Gone });
        }
        event.host = self.scrub(&event.host);
        event.path = self.scrub(&event.path);
        event.method = self.scrub(&event.method);
        event.bytes_out = self.out.load(Ordering::Relaxed);
        event.bytes_in = self.back.load(Ordering::Relaxed);
        event.took_ms = u64::try_from(self.age().as_millis()).unwrap_or(u64::MAX);
        self.witness.saw(event);
    }
}
