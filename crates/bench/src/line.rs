//! A run driven by hand on one thread, so that its processor time is all there is.

use std::sync::Arc;

use engine::Seal as _;
use futures_util::FutureExt as _;
use kernel::{
    event::Record,
    gate::Permit,
    id::Tenant,
    input::{Input, Now},
    port::{Batch, Journal, Outcome, SignedReceipt},
    run::{Pending, Ports, Run, Status},
};
use store::Ram;

use crate::{
    error::{Broken, Doing as _},
    world::{OsSalts, World},
};

/// When everything happens: the length of a timestamp must not change.
pub(crate) const AT: i64 = 1_800_000_000_000;

/// The same on the clock since boot.
pub(crate) const BOOT_MS: u64 = 1_000;

/// What one append held, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Events as hashed.
    pub(crate) bodies: usize,
    /// Values, salts and labels beside them.
    pub(crate) openings: usize,
    /// Signed receipts.
    pub(crate) envelopes: usize,
}

impl Written {
    /// Measures a batch.
    pub(crate) fn of(records: &[Record], receipts: &[SignedReceipt]) -> Self {
        let opening = |record: &Record| {
            let openings = record.openings();
            if openings.is_empty() {
                0
            } else {
                serde_json::to_vec(&openings).map_or(0, |o| o.len())
            }
        };
        Self {
            bodies: records.iter().map(|record| record.bytes.len()).sum(),
            openings: records.iter().map(opening).sum(),
            envelopes: receipts.iter().map(|receipt| receipt.envelope.len()).sum(),
        }
    }

    /// All of it.
    pub(crate) fn total(self) -> usize {
        self.bodies + self.openings + self.envelopes
    }
}

/// Where batches go.
#[derive(Debug)]
pub(crate) enum Sink {
    /// The store in RAM.
    Ram(Box<Ram>),
    /// Kept whole, without receipts.
    Records(Vec<Record>),
    /// Nowhere; only their size is kept, one entry per batch.
    Sizes(Vec<Written>),
}

/// One run with its next calls.
#[derive(Debug)]
pub(crate) struct Line {
    world: Arc<World>,
    run: Run,
    salts: OsSalts,
    pub(crate) sink: Sink,
    permits: Vec<Permit>,
}

impl Line {
    /// Opens the run and commits its first batch: one call is ready.
    pub(crate) fn open(world: &Arc<World>, sink: Sink) -> Result<Self, Broken> {
        let mut salts = OsSalts::default();
        let (judge, validate) = (&*world.judge, &*world.validate);
        let mut ports = Ports { judge, validate, salts: &mut salts };
        let run = Run::open(world.genesis("line"), world.pins(), now(), &mut ports);
        let run = run.doing("open the run")?;
        let world = Arc::clone(world);
        let mut line = Self { world, run, salts, sink, permits: Vec::new() };
        line.commit()?;
        Ok(line)
    }

    /// One action: its outcome is taken in and receipted, the next one walks the gate, and both are
    /// in the journal when this returns. False once the run is over.
    pub(crate) fn step(&mut self) -> Result<bool, Broken> {
        let answer = Ok(self.world.answer());
        self.step_by(|_| answer)
    }

    /// The same, where something makes the call.
    pub(crate) fn step_by(&mut self, call: impl FnOnce(Permit) -> Outcome) -> Result<bool, Broken> {
        let Some(permit) = self.permits.pop() else {
            return Ok(false);
        };
        let (action, attempt) = (permit.action(), permit.attempt());
        let outcome = call(permit);
        let (judge, validate) = (&*self.world.judge, &*self.world.validate);
        let mut ports = Ports { judge, validate, salts: &mut self.salts };
        let input = Input::Outcome { action, attempt, outcome };
        let taken = self.run.decide(input, now(), &mut ports).doing("decide")?;
        taken.doing("take an outcome in")?;
        self.commit()?;
        Ok(true)
    }

    /// Drives to the end and says whether it ended well.
    pub(crate) fn finish(&mut self) -> Result<(), Broken> {
        while self.step()? {}
        match self.run.status() {
            Status::Succeeded => Ok(()),
            other => Err(Broken::new("drive the run to its end", other)),
        }
    }

    fn commit(&mut self) -> Result<(), Broken> {
        let Pending { expected_seq, records, drafts, changes, wake_at, reach } = self.run.take();
        let sign = |draft: kernel::receipt::Draft| {
            let envelope = self.world.seal(&draft.payload);
            SignedReceipt { draft, envelope }
        };
        let receipts: Vec<_> = drafts.into_iter().map(sign).collect();
        match &mut self.sink {
            Sink::Records(kept) => kept.extend(records),
            Sink::Sizes(sizes) => sizes.push(Written::of(&records, &receipts)),
            Sink::Ram(ram) => {
                let (tenant, run) = (Tenant::default(), self.run.id().clone());
                let (epoch, consumed) = (0, Vec::new());
                let batch = Batch {
                    tenant,
                    run,
                    expected_seq,
                    epoch,
                    records,
                    receipts,
                    changes,
                    consumed,
                    wake_at,
                    reach,
                };
                let appended = ram.append(batch).now_or_never();
                let waits = || Broken::new("append in RAM", "it waits");
                appended.ok_or_else(waits)?.doing("append in RAM")?;
            }
        }
        self.run.committed();
        self.permits = self.run.next(now().boot_ms);
        Ok(())
    }
}

fn now() -> Now {
    Now { at: AT, boot_ms: BOOT_MS }
}
