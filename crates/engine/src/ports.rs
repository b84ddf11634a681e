//! What the engine needs besides the kernel's ports.

use std::{fmt, sync::Arc};

use kernel::{
    event::Header,
    id::{Digest, RunId},
    input::Now,
    port::{Judge, Salts, Task, Validate},
    run::Pins,
    sealed::Salt,
};

/// The clocks.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall clock and boot-time clock, now.
    fn now(&self) -> Now;
}

/// Everything a run is pinned to, loaded by the digests of its header.
#[derive(Debug)]
pub struct Loaded {
    /// Plan, catalogue and a fresh planner.
    pub pins: Pins,
    /// The run's policies, pinned and current.
    pub judge: Arc<dyn Judge>,
    /// Its schemas.
    pub validate: Arc<dyn Validate>,
    /// Digest of the policy in force now.
    pub current_policy: Digest,
}

/// Loads what headers pin.
pub trait Loader: Send + Sync + fmt::Debug {
    /// Loads; an error is a sentence for a person.
    fn load<'a>(&'a self, run: &'a RunId, header: &'a Header) -> Task<'a, Result<Loaded, String>>;
}

/// Wraps a statement in a signed envelope.
pub trait Seal: Send + Sync + fmt::Debug {
    /// The envelope's bytes.
    fn seal(&self, payload: &[u8]) -> Vec<u8>;
}

/// Random bytes.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills a buffer.
    ///
    /// # Errors
    /// When the system has none: nothing is decided without.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), String>;
}

/// The operating system's.
#[derive(Clone, Copy, Debug)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), String> {
        getrandom::fill(buffer)
            .map_err(|e| format!("the operating system gives no random bytes: {e}"))
    }
}

/// Salts for one decision, drawn ahead so that deciding cannot fail half-way.
#[derive(Debug)]
pub(crate) struct Pool {
    bytes: Vec<u8>,
    entropy: Arc<dyn Entropy>,
    failed: bool,
}

/// Salts drawn from the system at a time.
const POOL_SALTS: usize = 64;

impl Pool {
    pub(crate) fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self { bytes: Vec::new(), entropy, failed: false }
    }

    /// Whether the system failed to give bytes: what was decided must be dropped.
    pub(crate) fn failed(&self) -> bool {
        self.failed
    }
}

impl Salts for Pool {
    fn salt(&mut self) -> Salt {
        let mut salt = Salt::default();
        if self.bytes.len() < salt.len() {
            self.bytes.resize(POOL_SALTS * salt.len(), 0);
            self.failed |= self.entropy.fill(&mut self.bytes).is_err();
        }
        let rest = self.bytes.split_off(self.bytes.len().saturating_sub(salt.len()));
        salt.copy_from_slice(&rest);
        salt
    }
}
