//! The store in RAM: for tests, simulations and trials. Same contract, nothing survives the process.

mod documents;
mod query;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use kernel::{
    event::{Record, check_chain},
    halt::{HaltChange, HaltEvent, Standing},
    id::{
        ApprovalId, At, Digest, Epoch, ExceptionId, OperationId, ReceiptId, RunId, Seq, Tenant,
        TokenId,
    },
    port::{Batch, Blobs, Journal, JournalError, Loaded, Posted, Task},
    project::{Change, RunRow},
    run::Status,
};

use crate::{
    Error, HaltNote, Halts, Kept, batch,
    halts::{self, Brakes},
    query::{ApprovalEntry, Checkpoint, ExceptionEntry, ReceiptEntry, StoredReceipt, TokenEntry},
};

/// A store in RAM.
#[derive(Debug, Default)]
pub struct Ram {
    state: Mutex<Memory>,
}

/// Where a document is: tenant, kind, id.
type Place = (Tenant, &'static str, String);

/// A run, by tenant.
type Key = (Tenant, RunId);

#[derive(Debug, Default)]
struct Memory {
    runs: BTreeMap<Key, Held>,
    inboxes: BTreeMap<Key, Inbox>,
    approvals: BTreeMap<(Tenant, ApprovalId), ApprovalEntry>,
    exceptions: BTreeMap<(Tenant, ExceptionId), ExceptionEntry>,
    tokens: BTreeMap<(Tenant, TokenId), TokenEntry>,
    logs: BTreeMap<Tenant, ReceiptLog>,
    checkpoints: BTreeMap<Tenant, BTreeMap<u64, Checkpoint>>,
    blobs: BTreeMap<(Tenant, Digest), Vec<u8>>,
    halt_logs: BTreeMap<Tenant, Vec<HaltEvent>>,
    documents: BTreeMap<Place, Kept>,
    writes: u64,
}

/// One run.
#[derive(Debug, Default)]
struct Held {
    records: Vec<Record>,
    epoch: Epoch,
    wake_at: Option<At>,
    row: Option<RunRow>,
    /// Operations of its proposals.
    proposed: BTreeSet<OperationId>,
}

/// The receipts of a tenant.
#[derive(Debug, Default)]
struct ReceiptLog {
    /// In order, with envelopes.
    receipts: Vec<StoredReceipt>,
    /// Where each of them stands.
    at: HashMap<ReceiptId, usize>,
    /// Where those of each run stand.
    of_runs: HashMap<RunId, Vec<usize>>,
}

impl ReceiptLog {
    fn push(&mut self, stored: StoredReceipt) {
        let at = self.receipts.len();
        self.at.insert(stored.entry.id.clone(), at);
        self.of_runs.entry(stored.entry.run.clone()).or_default().push(at);
        self.receipts.push(stored);
    }

    fn find(&self, id: &ReceiptId) -> Option<&StoredReceipt> {
        self.receipts.get(*self.at.get(id)?)
    }

    fn of_run(&self, run: &RunId) -> &[usize] {
        self.of_runs.get(run).map_or(&[], Vec::as_slice)
    }
}

/// Signal ids in the order posted; the item is gone once it is consumed.
type Inbox = Vec<(String, Option<Posted>)>;

impl Held {
    fn head(&self) -> Digest {
        self.records.last().map_or_else(Digest::default, |last| last.hash)
    }
}

impl Ram {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A future that has its answer: nothing here waits.
fn ready<'a, T: Send + 'a>(answer: T) -> Task<'a, T> {
    Box::pin(std::future::ready(answer))
}

impl Journal for Ram {
    fn append(&self, batch: Batch) -> Task<'_, Result<(), JournalError>> {
        Box::pin(async move { self.lock().append(batch) })
    }

    fn post(
        &self,
        tenant: Tenant,
        run: RunId,
        posted: Posted,
    ) -> Task<'_, Result<(), JournalError>> {
        Box::pin(async move { self.lock().post((tenant, run), posted) })
    }

    fn claim(&self, tenant: Tenant, run: RunId) -> Task<'_, Result<Loaded, JournalError>> {
        Box::pin(async move { self.lock().claim(&(tenant, run)) })
    }

    fn due(&self, now: At, limit: usize) -> Task<'_, Result<Vec<(Tenant, RunId)>, JournalError>> {
        Box::pin(async move { Ok(self.lock().due(now, limit)) })
    }
}

impl Blobs for Ram {
    fn put(&self, tenant: Tenant, bytes: Vec<u8>) -> Task<'_, Result<Digest, JournalError>> {
        Box::pin(async move {
            batch::check_blob(&bytes)?;
            let digest = Digest::of(&bytes);
            let mut memory = self.lock();
            memory.writes += 1;
            memory.blobs.insert((tenant, digest), bytes);
            Ok(digest)
        })
    }

    fn get(
        &self,
        tenant: Tenant,
        digest: Digest,
    ) -> Task<'_, Result<Option<Vec<u8>>, JournalError>> {
        ready(Ok(self.lock().blobs.get(&(tenant, digest)).cloned()))
    }
}

impl Halts for Ram {
    fn record_halt(&self, tenant: &Tenant, note: HaltNote) -> Task<'_, Result<HaltEvent, Error>> {
        let tenant = tenant.clone();
        Box::pin(async move { self.lock().record_halt(&tenant, note) })
    }

    fn halt_log(&self, tenant: &Tenant) -> Task<'_, Result<Vec<HaltEvent>, Error>> {
        ready(Ok(self.lock().halt_logs.get(tenant).cloned().unwrap_or_default()))
    }
}

impl Memory {
    /// Refuses before it changes anything, so that a batch happens whole or not at all.
    fn append(&mut self, batch: Batch) -> Result<(), JournalError> {
        batch::check(&batch)?;
        let key = (batch.tenant.clone(), batch.run.clone());
        let head = match self.runs.get(&key) {
            Some(held) => {
                let found = held.records.len() as Seq;
                if held.epoch > batch.epoch || found != batch.expected_seq {
                    return Err(JournalError::Lost { expected: batch.expected_seq, found });
                }
                held.head()
            }
            None if batch.expected_seq == 0 && !batch.records.is_empty() => Digest::default(),
            None => return Err(JournalError::NoRun(batch.run)),
        };
        batch::check_follows(&batch, &head)?;
        halts::check(&batch, self.standing(&batch.tenant).iter())?;
        self.check_receipts(&batch)?;
        self.append_receipts(&batch);
        for change in &batch.changes {
            self.apply(&key, change);
        }
        for (signal, posted) in self.inboxes.get_mut(&key).into_iter().flatten() {
            if batch.consumed.contains(signal) {
                *posted = None;
            }
        }
        let row = batch.changes.iter().rev().find_map(|change| match change {
            Change::Run(row) => Some((**row).clone()),
            _ => None,
        });
        let held = self.runs.entry(key).or_default();
        held.proposed.extend(batch.records.iter().filter_map(batch::proposed).cloned());
        held.records.extend(batch.records);
        held.epoch = batch.epoch;
        held.wake_at = batch.wake_at;
        held.row = row.or_else(|| held.row.take());
        self.writes += 1;
        Ok(())
    }

    fn check_receipts(&self, batch: &Batch) -> Result<(), JournalError> {
        let log = self.logs.get(&batch.tenant);
        let mut seen = HashSet::new();
        for receipt in &batch.receipts {
            let id = &receipt.draft.id;
            if !seen.insert(id) || log.is_some_and(|log| log.at.contains_key(id)) {
                return Err(JournalError::Medium(format!("receipt {id} exists already")));
            }
        }
        Ok(())
    }

    fn append_receipts(&mut self, batch: &Batch) {
        if batch.receipts.is_empty() {
            return;
        }
        let log = self.logs.entry(batch.tenant.clone()).or_default();
        for receipt in &batch.receipts {
            let entry = ReceiptEntry {
                id: receipt.draft.id.clone(),
                run: batch.run.clone(),
                index: log.of_run(&batch.run).len() as u64,
                action: receipt.draft.action,
                log_index: log.receipts.len() as u64,
                leaf: batch::leaf_hash(&receipt.envelope),
                at: batch::receipt_at(batch, &receipt.draft.id),
            };
            let envelope = receipt.envelope.clone();
            log.push(StoredReceipt { entry, envelope });
        }
    }

    fn apply(&mut self, (tenant, run): &Key, change: &Change) {
        match change {
            // The run's row goes in with its records; a receipt comes with its envelope.
            Change::Run(_) | Change::Receipt { .. } => {}
            Change::ApprovalOpened(row) => {
                let entry = ApprovalEntry {
                    run: run.clone(),
                    row: (**row).clone(),
                    state: None,
                    closed_at: None,
                };
                self.approvals.insert((tenant.clone(), row.id.clone()), entry);
            }
            Change::ApprovalClosed { id, state, at } => {
                let entry = self.approvals.get_mut(&(tenant.clone(), id.clone()));
                if let Some(entry) = entry.filter(|entry| entry.run == *run) {
                    entry.state = Some(state.clone());
                    entry.closed_at = Some(*at);
                }
            }
            Change::ExceptionOpened(row) => {
                let exception = row.exception.clone();
                let id = exception.id.clone();
                let entry = ExceptionEntry { run: run.clone(), exception, closed_at: None };
                self.exceptions.insert((tenant.clone(), id), entry);
            }
            Change::ExceptionClosed { id, at } => {
                let entry = self.exceptions.get_mut(&(tenant.clone(), id.clone()));
                if let Some(entry) = entry.filter(|entry| entry.run == *run) {
                    entry.closed_at = Some(*at);
                }
            }
            Change::Token { id, action, undo, state, expires_at } => {
                let (action, undo, expires_at) = (*action, *undo, *expires_at);
                let (run, id, state) = (run.clone(), id.clone(), state.clone());
                let entry = TokenEntry { run, id, action, undo, state, expires_at };
                self.tokens.insert((tenant.clone(), entry.id.clone()), entry);
            }
        }
    }

    fn standing(&self, tenant: &Tenant) -> Vec<Standing> {
        let log = self.halt_logs.get(tenant).map(Vec::as_slice);
        kernel::halt::standing(log.unwrap_or_default()).unwrap_or_default()
    }

    fn record_halt(&mut self, tenant: &Tenant, note: HaltNote) -> Result<HaltEvent, Error> {
        let log = self.halt_logs.get(tenant).map(Vec::as_slice).unwrap_or_default();
        let last = log.last().and_then(|event| event.hashed().ok());
        let (n, head) = (log.len() as u64, last.map(|(_, hash)| hash).unwrap_or_default());
        let brakes = Brakes { n, head, standing: self.standing(tenant) };
        let event = brakes.entry(tenant, note)?;
        if matches!(event.change, HaltChange::Lifted { .. }) {
            let mine = self.runs.iter_mut().filter(|((owner, _), _)| owner == tenant);
            let is_halted = |row: &RunRow| row.status == Status::Halted;
            for (_, held) in mine.filter(|(_, held)| held.row.as_ref().is_some_and(is_halted)) {
                held.wake_at = Some(event.at);
            }
        }
        self.halt_logs.entry(tenant.clone()).or_default().push(event.clone());
        self.writes += 1;
        Ok(event)
    }

    fn pending(&self, key: &Key) -> u64 {
        let inbox = self.inboxes.get(key).into_iter().flatten();
        inbox.filter(|(_, posted)| posted.is_some()).count() as u64
    }

    fn post(&mut self, key: Key, posted: Posted) -> Result<(), JournalError> {
        // Counting is only worth it where the limit is in sight.
        let many =
            self.inboxes.get(&key).is_some_and(|inbox| inbox.len() as u64 >= batch::INBOX_MAX);
        let full = many && self.pending(&key) >= batch::INBOX_MAX;
        let run = key.1.clone();
        let inbox = self.inboxes.entry(key).or_default();
        if inbox.iter().any(|(signal, _)| *signal == posted.signal_id) {
            return Ok(());
        }
        if full {
            return Err(batch::inbox_full(&run));
        }
        inbox.push((posted.signal_id.clone(), Some(posted)));
        self.writes += 1;
        Ok(())
    }

    fn claim(&mut self, key: &Key) -> Result<Loaded, JournalError> {
        let inbox = self.inboxes.get(key).into_iter().flatten();
        let inbox = inbox.filter_map(|(_, posted)| posted.clone()).collect();
        let held = self.runs.get_mut(key).ok_or_else(|| JournalError::NoRun(key.1.clone()))?;
        held.epoch += 1;
        self.writes += 1;
        let broken = |damage| JournalError::Tampered(format!("run {}: {damage}", key.1));
        check_chain(&held.records).map_err(broken)?;
        let (records, epoch) = (held.records.clone(), held.epoch);
        Ok(Loaded { records, epoch, inbox, halts: self.standing(&key.0) })
    }

    fn due(&self, now: At, limit: usize) -> Vec<Key> {
        let mut timers: Vec<_> =
            self.runs.iter().filter_map(|(key, held)| Some((held.wake_at?, key))).collect();
        timers.retain(|(wake_at, _)| *wake_at <= now);
        timers.sort();
        let timers: Vec<Key> = timers.into_iter().map(|(_, key)| key.clone()).take(limit).collect();
        let waits = |held: &Held| held.wake_at.is_none_or(|wake_at| wake_at > now);
        let posted = self.runs.iter().filter(|(key, held)| waits(held) && self.pending(key) > 0);
        let posted = posted.map(|(key, _)| key.clone()).take(limit).collect();
        batch::interleave(timers, posted, limit)
    }
}
