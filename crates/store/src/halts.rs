//! Halts: what every store does about them. See `kernel::halt`.

use std::fmt;

use kernel::{
    event::Body,
    halt::{Covers, HALTS_MAX, HaltChange, HaltEvent, Standing},
    id::{At, Digest, HaltId, PrincipalId, Tenant},
    port::{Batch, JournalError, Task},
    sealed::Sealed,
};

use crate::{Error, batch::tampered};

/// Version of the halt log's entries.
const HALT_EVENT_VERSION: u32 = 1;

/// What somebody wants done about halts.
#[derive(Clone, Debug)]
pub struct HaltNote {
    /// When.
    pub at: At,
    /// Who.
    pub by: PrincipalId,
    /// What.
    pub act: Brake,
    /// Why.
    pub reason: Sealed,
}

/// Pulling the brake, or letting it go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Brake {
    /// Nothing this covers is dispatched from here on.
    Halt(Covers),
    /// This halt stands no more; runs it held become due.
    Lift(HaltId),
}

/// Keeps halts. [`kernel::port::Journal::append`] asks them.
pub trait Halts: Send + Sync + fmt::Debug {
    /// Adds an entry to the tenant's halt log; durable on return.
    fn record_halt(&self, tenant: &Tenant, note: HaltNote) -> Task<'_, Result<HaltEvent, Error>>;

    /// The whole log, verified, with reasons that were not erased.
    fn halt_log(&self, tenant: &Tenant) -> Task<'_, Result<Vec<HaltEvent>, Error>>;
}

/// Where a tenant's halt log stands.
pub(crate) struct Brakes {
    pub(crate) n: u64,
    pub(crate) head: Digest,
    pub(crate) standing: Vec<Standing>,
}

impl Brakes {
    /// The entry a note becomes.
    pub(crate) fn entry(&self, tenant: &Tenant, note: HaltNote) -> Result<HaltEvent, Error> {
        let change = match note.act {
            Brake::Halt(_) if self.standing.len() >= HALTS_MAX => return Err(Error::Halts),
            Brake::Halt(covers) => HaltChange::Halted { halt: HaltId::of(tenant, self.n), covers },
            Brake::Lift(halt) if self.standing.iter().any(|s| s.id == halt) => {
                HaltChange::Lifted { halt }
            }
            Brake::Lift(halt) => return Err(Error::NoHalt(halt)),
        };
        Ok(HaltEvent {
            v: HALT_EVENT_VERSION,
            tenant: tenant.clone(),
            n: self.n,
            at: note.at,
            by: note.by,
            change,
            reason: note.reason,
            prev_hash: self.head,
        })
    }
}

/// Refuses a batch whose dispatches a halt covers, or that does not say what they reach.
pub(crate) fn check<'a>(
    batch: &Batch,
    mut standing: impl Iterator<Item = &'a Standing>,
) -> Result<(), JournalError> {
    let Some(reach) = &batch.reach else {
        return Ok(());
    };
    match standing.find(|standing| standing.covers.covers(&batch.run, reach)) {
        Some(standing) => Err(JournalError::Halted(standing.id.clone())),
        None => Ok(()),
    }
}

/// Silence means no: a dispatch that does not say what it reaches passes no halt.
pub(crate) fn check_says(batch: &Batch) -> Result<(), JournalError> {
    let dispatched =
        |record: &&kernel::event::Record| matches!(record.event.body, Body::Dispatched { .. });
    match batch.records.iter().find(dispatched) {
        Some(record) if batch.reach.is_none() => Err(tampered(
            &batch.run,
            record.event.seq,
            "it dispatches and does not say what it reaches",
        )),
        _ => Ok(()),
    }
}

/// A halt log that is not what was written.
pub(crate) fn broken(tenant: &Tenant, n: u64) -> JournalError {
    JournalError::Tampered(format!(
        "tenant {tenant}: entry {n} of the halt log is not what was written"
    ))
}
