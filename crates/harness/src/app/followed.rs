//! Runs as this process writes them. Whoever begins a call and waits for its end says here what is to be written with its
//! beginning, in the same transaction, and is told from here what became of it, instead of reading back what has just been
//! written. Nothing of it is durable: where somebody else wrote in between, or it is too much, the store is asked.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kernel::{
    event::Record,
    id::{RunId, Tenant},
    port::Batch,
    project::{Change, RunRow},
    run::Status,
};
use store::{Beginning, Document, RunEntry};

/// Most events of one run that are kept: a single call has fewer, what has more is read.
const EVENTS_MAX: usize = 64;

type Key = (Tenant, RunId);

/// Every run that somebody follows.
#[derive(Debug, Default)]
pub(super) struct Followed(Mutex<HashMap<Key, Written>>);

/// What was written of a run, from its beginning.
#[derive(Debug, Default)]
struct Written {
    records: Vec<Record>,
    row: Option<RunRow>,
    epoch: u64,
    /// Something of it is not here.
    has_gap: bool,
    /// What its first batch is written with, until then.
    beginning: Option<Beginning>,
    /// A document that was to be written with it is there already, so that it did not begin.
    is_taken: bool,
}

/// What an append is about to add to a run that is followed.
#[derive(Debug)]
pub(super) struct Copied {
    key: Key,
    first: u64,
    epoch: u64,
    records: Vec<Record>,
    row: Option<RunRow>,
}

/// One run, followed from before it begins until this is dropped.
#[derive(Debug)]
pub(super) struct Following {
    all: Arc<Followed>,
    key: Key,
}

impl Followed {
    /// From now on what this process writes of a run is kept. It begins with this document, or not at all where there is one
    /// already.
    pub(super) fn follow(
        self: &Arc<Self>,
        (tenant, run): (&Tenant, &RunId),
        document: Document,
    ) -> Following {
        let key = (tenant.clone(), run.clone());
        let beginning = Some(Beginning { documents: vec![document], ..Beginning::default() });
        self.runs().insert(key.clone(), Written { beginning, ..Written::default() });
        Following { all: Arc::clone(self), key }
    }

    /// Has this written with the beginning of a run; gives it back where nobody follows that.
    pub(super) fn with_blob(
        &self,
        (tenant, run): (&Tenant, &RunId),
        blob: Vec<u8>,
    ) -> Option<Vec<u8>> {
        let mut runs = self.runs();
        let written = runs.get_mut(&(tenant.clone(), run.clone()));
        match written.and_then(|written| written.beginning.as_mut()) {
            Some(beginning) => {
                beginning.blobs.push(blob);
                None
            }
            None => Some(blob),
        }
    }

    /// What a batch is to be written with: that of a run which begins with it.
    pub(super) fn beginning(&self, batch: &Batch) -> Option<Beginning> {
        let mut runs = self.runs();
        runs.get_mut(&(batch.tenant.clone(), batch.run.clone()))?.beginning.take()
    }

    /// What it was to begin with is there already.
    pub(super) fn taken(&self, tenant: &Tenant, run: &RunId) {
        if let Some(written) = self.runs().get_mut(&(tenant.clone(), run.clone())) {
            written.is_taken = true;
        }
    }

    /// What is to be kept of a batch once it is durable.
    pub(super) fn copy(&self, batch: &Batch) -> Option<Copied> {
        let key = (batch.tenant.clone(), batch.run.clone());
        if !self.runs().contains_key(&key) {
            return None;
        }
        let row = batch.changes.iter().rev().find_map(|change| match change {
            Change::Run(row) => Some((**row).clone()),
            _ => None,
        });
        let (first, epoch, records) = (batch.expected_seq, batch.epoch, batch.records.clone());
        Some(Copied { key, first, epoch, records, row })
    }

    /// It is durable.
    pub(super) fn wrote(&self, copied: Copied) {
        let mut runs = self.runs();
        let Some(written) = runs.get_mut(&copied.key) else { return };
        let events = written.records.len();
        if written.has_gap
            || copied.first != events as u64
            || events.saturating_add(copied.records.len()) > EVENTS_MAX
        {
            *written = Written { has_gap: true, ..Written::default() };
            return;
        }
        written.records.extend(copied.records);
        written.row = copied.row.or_else(|| written.row.take());
        written.epoch = copied.epoch;
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<Key, Written>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Following {
    /// Whether it did not begin because what it was to begin with is there already.
    pub(super) fn is_taken(&self) -> bool {
        self.all.runs().get(&self.key).is_some_and(|written| written.is_taken)
    }

    /// Where the run stands, as far as all of it was written here.
    pub(super) fn status(&self) -> Option<Status> {
        self.all.runs().get(&self.key)?.row.as_ref().map(|row| row.status)
    }

    /// The run from its beginning, as far as all of it was written here.
    pub(super) fn written(&self) -> Option<(RunEntry, Vec<Record>)> {
        let runs = self.all.runs();
        let written = runs.get(&self.key)?;
        let entry = RunEntry {
            run: self.key.1.clone(),
            row: Some(written.row.clone()?),
            next_seq: written.records.len() as u64,
            head: written.records.last()?.hash,
            epoch: written.epoch,
            wake_at: None,
            inbox: 0,
        };
        Some((entry, written.records.clone()))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.all.runs().remove(&self.key);
    }
}
