//! Everything an agent needs of the world, as ports: nothing is reached for behind its back.

use std::{fmt, sync::Arc};

use engine::{Clock, Entropy, OsEntropy};
use kernel::{
    id::At,
    input::Now,
    port::{Blobs, Journal},
};
use models::clock::Clock as _;
use store::Ram;

/// The ports of an agent: where it writes, what time it is, where chance comes from.
#[derive(Clone)]
pub struct World {
    /// The durable truth.
    pub journal: Arc<dyn Journal>,
    /// Content by digest: plans.
    pub blobs: Arc<dyn Blobs>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Random bytes: salts, run ids, the key where none is given.
    pub entropy: Arc<dyn Entropy>,
}

impl World {
    /// A world over one store, such as `store::Ram` or `store::Sqlite`, with the system's clocks.
    #[must_use]
    pub fn over<S: Journal + Blobs + 'static>(store: Arc<S>) -> Self {
        Self {
            journal: Arc::clone(&store) as Arc<dyn Journal>,
            blobs: store,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
        }
    }

    /// The same under another clock.
    #[must_use]
    pub fn at(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The same with another source of chance.
    #[must_use]
    pub fn by_chance_of(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }
}

impl Default for World {
    /// In memory: nothing survives the process, no file is touched.
    fn default() -> Self {
        Self::over(Arc::new(Ram::new()))
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// The system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let system = models::clock::SystemClock;
        Now { at: system.now_ms(), boot_ms: system.boot_ms() }
    }
}

/// The world's clock, as models read it: one clock for everybody.
#[derive(Debug)]
pub(crate) struct ModelClock(pub(crate) Arc<dyn Clock>);

impl models::clock::Clock for ModelClock {
    fn boot_ms(&self) -> u64 {
        self.0.now().boot_ms
    }

    fn now_ms(&self) -> At {
        self.0.now().at
    }
}
