//! What stands in the book of a desk: jobs that wait, leases, and leases that are over.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use kernel::id::{At, Digest, EffectKey, OperationId, PrincipalId, RunId, Tenant};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use super::{Evidence, Job, Said, Worker};
use crate::call::Departure;

/// Leases of one system that are remembered after their end, so that a late or repeated word is known for what it is.
const ENDED_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Book {
    /// Jobs so far.
    pub(super) number: u64,
    /// First come, first served.
    pub(super) waiting: VecDeque<Entry>,
    /// By id of the lease.
    pub(super) leased: BTreeMap<String, Lease>,
    pub(super) ended: BTreeMap<String, Ended>,
    /// Ended leases, the oldest first.
    pub(super) order: VecDeque<String>,
    pub(super) last_seen: Option<(PrincipalId, At)>,
    pub(super) door: Door,
}

/// Whether jobs are handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Door {
    #[default]
    Open,
    Closed,
}

/// A call that waits for what came of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) number: u64,
    pub(super) tenant: Tenant,
    pub(super) job: Job,
    pub(super) departure: Arc<Departure>,
    pub(super) until: Instant,
    pub(super) stage: watch::Sender<Stage>,
    pub(super) said: oneshot::Sender<Delivery>,
}

/// Until when a call waits as it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    /// For a worker.
    Waiting(Instant),
    /// For a word of its worker.
    Leased(Instant),
}

#[derive(Debug)]
pub(super) struct Lease {
    pub(super) entry: Entry,
    pub(super) principal: PrincipalId,
    pub(super) cancelled: Cancelled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cancelled {
    No,
    Yes,
}

/// A lease that is over, and what is known of its job.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) tenant: Tenant,
    pub(super) principal: PrincipalId,
    pub(super) job: (OperationId, RunId, EffectKey),
    /// What was committed, and whether it still reached its call: no worker is told so before.
    pub(super) committed: Option<(Digest, watch::Receiver<bool>)>,
}

/// What was committed, on its way to its call; let go, it came too late.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) said: Said,
    pub(super) kept: watch::Sender<bool>,
}

impl Lease {
    pub(super) fn is_of(&self, worker: Worker<'_>) -> bool {
        self.entry.tenant == *worker.tenant && self.principal == *worker.principal
    }

    pub(super) fn ended(&self, committed: Option<(Digest, watch::Receiver<bool>)>) -> Ended {
        let job = &self.entry.job;
        Ended {
            tenant: self.entry.tenant.clone(),
            principal: self.principal.clone(),
            job: (job.operation.clone(), job.run.clone(), job.key.clone()),
            committed,
        }
    }
}

impl Ended {
    pub(super) fn evidence(&self, said: &Digest) -> Evidence {
        let (operation, run, key) = self.job.clone();
        Evidence { operation, run, key, said: *said }
    }
}

impl Book {
    /// Remembers a lease that is over.
    pub(super) fn remember(&mut self, id: String, ended: Ended) {
        self.order.push_back(id.clone());
        self.ended.insert(id, ended);
        if self.order.len() > ENDED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ended.remove(&oldest);
        }
    }

    /// Ends the lease of a job that nothing was committed for, if it has one.
    pub(super) fn end(&mut self, number: u64) {
        let found = self.leased.iter().find(|(_, lease)| lease.entry.number == number);
        let Some(id) = found.map(|(id, _)| id.clone()) else { return };
        if let Some(lease) = self.leased.remove(&id) {
            self.remember(id, lease.ended(None));
        }
    }
}
