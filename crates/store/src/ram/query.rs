//! [`Query`], [`Log`] and [`Erase`] over the maps.

use kernel::{
    event::Record,
    id::{Digest, ReceiptId, RunId, Seq, Tenant},
    port::{JournalError, Task},
};

use crate::{
    Error, LEAVES_MAX, PAGE_MAX,
    query::{
        ApprovalEntry, Checkpoint, Erase, ExceptionEntry, ExceptionFilter, Key as Place, Listed,
        Log, Page, Query, ReceiptEntry, RunEntry, RunFilter, State, Stats, StoredReceipt, Thing,
        TokenEntry, Waiting,
    },
};

use super::{Held, Key, Memory, Ram, ready};

/// Which end a list begins at.
#[derive(Clone, Copy)]
enum Order {
    Ascending,
    Descending,
}

/// One page of items with their places, in order.
fn paged<T>(
    list: &'static str,
    mut keyed: Vec<(Place, T)>,
    order: Order,
    page: &Page,
) -> Result<Listed<T>, Error> {
    keyed.sort_by(|(a, _), (b, _)| match order {
        Order::Ascending => a.cmp(b),
        Order::Descending => b.cmp(a),
    });
    if let Some(after) = Place::decode(list, page)? {
        keyed.retain(|(place, _)| match order {
            Order::Ascending => *place > after,
            Order::Descending => *place < after,
        });
    }
    Ok(Listed::cut(list, keyed, page.size()))
}

/// The signed place of a sequence number.
fn place(seq: Seq, id: &str) -> Place {
    Place(i64::try_from(seq).unwrap_or(i64::MAX), id.to_owned())
}

impl Memory {
    fn entry(&self, key: &Key, held: &Held) -> RunEntry {
        RunEntry {
            run: key.1.clone(),
            row: held.row.clone(),
            next_seq: held.records.len() as Seq,
            head: held.head(),
            epoch: held.epoch,
            wake_at: held.wake_at,
            inbox: self.pending(key),
        }
    }

    fn waiting(&self, tenant: &Tenant) -> Waiting {
        let approvals = self.approvals.iter();
        let asks = approvals.filter(|((owner, _), ask)| owner == tenant && ask.state.is_none());
        let exceptions = self.exceptions.iter();
        let open =
            exceptions.filter(|((owner, _), entry)| owner == tenant && entry.closed_at.is_none());
        Waiting { approvals: asks.count() as u64, exceptions: open.count() as u64 }
    }

    fn log(&self, tenant: &Tenant) -> &[StoredReceipt] {
        self.logs.get(tenant).map_or(&[], |log| log.receipts.as_slice())
    }

    fn receipt(&self, tenant: &Tenant, id: &ReceiptId) -> Option<&StoredReceipt> {
        self.logs.get(tenant)?.find(id)
    }

    fn erase_run(&mut self, key: &Key) -> Result<(), JournalError> {
        let (held, inbox) = (self.runs.get_mut(key), self.inboxes.get_mut(key));
        if held.is_none() && inbox.is_none() {
            return Err(JournalError::NoRun(key.1.clone()));
        }
        for record in held.into_iter().flat_map(|held| &mut held.records) {
            record.event.body.sealed_mut().into_iter().for_each(kernel::sealed::Sealed::erase);
        }
        for (_, posted) in inbox.into_iter().flatten() {
            *posted = None;
        }
        Ok(())
    }

    fn erase_subject(&mut self, tenant: &Tenant, subject: &str) -> Result<Vec<RunId>, Error> {
        let about = |held: &Held| {
            held.row.as_ref().is_some_and(|row| row.subjects.iter().any(|s| s == subject))
        };
        let mine = self.runs.iter().filter(|((owner, _), held)| owner == tenant && about(held));
        let keys: Vec<Key> = mine.map(|(key, _)| key.clone()).collect();
        for key in &keys {
            self.erase_run(key)?;
        }
        Ok(keys.into_iter().map(|(_, run)| run).collect())
    }

    fn keep(&mut self, tenant: Tenant, checkpoint: Checkpoint) -> Result<(), Error> {
        let (size, log_size) = (checkpoint.size, self.log(&tenant).len() as u64);
        let kept = self.checkpoints.entry(tenant).or_default();
        let known = kept.get(&size).map(|known| known.root);
        if let Some(problem) = checkpoint.refusal(log_size, known) {
            return Err(Error::Checkpoint { size, problem });
        }
        kept.insert(size, checkpoint);
        Ok(())
    }
}

impl Query for Ram {
    fn run(&self, tenant: &Tenant, run: &RunId) -> Task<'_, Result<Option<RunEntry>, Error>> {
        let (memory, key) = (self.lock(), (tenant.clone(), run.clone()));
        ready(Ok(memory.runs.get(&key).map(|held| memory.entry(&key, held))))
    }

    fn runs(
        &self,
        tenant: &Tenant,
        filter: RunFilter,
        page: Page,
    ) -> Task<'_, Result<Listed<RunEntry>, Error>> {
        let memory = self.lock();
        let mine = memory.runs.iter().filter(|((owner, _), _)| owner == tenant);
        let keyed = mine.filter_map(|(key, held)| {
            let row = held.row.as_ref().filter(|row| filter.admits(row, &held.proposed))?;
            Some((Place(row.opened_at, key.1.to_string()), memory.entry(key, held)))
        });
        ready(paged("runs", keyed.collect(), Order::Descending, &page))
    }

    fn events(
        &self,
        tenant: &Tenant,
        run: &RunId,
        from: Seq,
        limit: usize,
    ) -> Task<'_, Result<Vec<Record>, Error>> {
        let memory = self.lock();
        let held = memory.runs.get(&(tenant.clone(), run.clone()));
        let held = held.ok_or_else(|| JournalError::NoRun(run.clone()).into());
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        ready(held.map(|held| {
            held.records.iter().skip(from).take(limit.min(PAGE_MAX)).cloned().collect()
        }))
    }

    fn find_run(&self, tenant: &Tenant, thing: &Thing) -> Task<'_, Result<Option<RunId>, Error>> {
        let memory = self.lock();
        let owner = tenant.clone();
        let found = match thing {
            Thing::Receipt(id) => memory.receipt(tenant, id).map(|stored| &stored.entry.run),
            Thing::Approval(id) => {
                memory.approvals.get(&(owner, id.clone())).map(|entry| &entry.run)
            }
            Thing::Exception(id) => {
                memory.exceptions.get(&(owner, id.clone())).map(|entry| &entry.run)
            }
            Thing::Token(id) => memory.tokens.get(&(owner, id.clone())).map(|entry| &entry.run),
        };
        ready(Ok(found.cloned()))
    }

    fn approvals(
        &self,
        tenant: &Tenant,
        state: State,
        page: Page,
    ) -> Task<'_, Result<Listed<ApprovalEntry>, Error>> {
        let memory = self.lock();
        let mine = memory
            .approvals
            .iter()
            .filter(|((owner, _), _)| owner == tenant)
            .map(|(_, entry)| entry);
        let keyed = |at: fn(&ApprovalEntry) -> i64| {
            move |entry: &ApprovalEntry| (Place(at(entry), entry.row.id.to_string()), entry.clone())
        };
        ready(match state {
            State::Open => {
                let open = mine
                    .filter(|entry| entry.state.is_none())
                    .map(keyed(|entry| entry.row.expires_at));
                paged("approvals-open", open.collect(), Order::Ascending, &page)
            }
            State::All => {
                let all = mine.map(keyed(|entry| entry.row.opened_at));
                paged("approvals", all.collect(), Order::Descending, &page)
            }
        })
    }

    fn exceptions(
        &self,
        tenant: &Tenant,
        (state, filter): (State, ExceptionFilter),
        page: Page,
    ) -> Task<'_, Result<Listed<ExceptionEntry>, Error>> {
        let memory = self.lock();
        let mine = memory
            .exceptions
            .iter()
            .filter(|((owner, _), _)| owner == tenant)
            .map(|(_, entry)| entry)
            .filter(|entry| filter.admits(&entry.run, &entry.exception));
        let keyed = |entry: &ExceptionEntry| {
            (Place(entry.exception.at, entry.exception.id.to_string()), entry.clone())
        };
        ready(match state {
            State::Open => {
                let open = mine.filter(|entry| entry.closed_at.is_none()).map(keyed);
                paged("exceptions-open", open.collect(), Order::Ascending, &page)
            }
            State::All => paged("exceptions", mine.map(keyed).collect(), Order::Descending, &page),
        })
    }

    fn tokens(
        &self,
        tenant: &Tenant,
        run: &RunId,
        page: Page,
    ) -> Task<'_, Result<Listed<TokenEntry>, Error>> {
        let memory = self.lock();
        let mine =
            memory.tokens.iter().filter(|((owner, _), entry)| owner == tenant && entry.run == *run);
        let keyed = mine.map(|((_, id), entry)| (place(entry.action, id.as_str()), entry.clone()));
        ready(paged("tokens", keyed.collect(), Order::Ascending, &page))
    }

    fn receipts(
        &self,
        tenant: &Tenant,
        run: &RunId,
        page: Page,
    ) -> Task<'_, Result<Listed<ReceiptEntry>, Error>> {
        let memory = self.lock();
        let log = memory.logs.get(tenant);
        let places = log.map_or(&[][..], |log| log.of_run(run));
        let mine = places.iter().filter_map(|at| memory.log(tenant).get(*at));
        let keyed = mine.map(|stored| (place(stored.entry.index, ""), stored.entry.clone()));
        ready(paged("receipts", keyed.collect(), Order::Ascending, &page))
    }

    fn stats(&self, tenant: &Tenant) -> Task<'_, Result<Stats, Error>> {
        let memory = self.lock();
        let runs = || memory.runs.iter().filter(|((owner, _), _)| owner == tenant);
        let waiting = memory.waiting(tenant);
        ready(Ok(Stats {
            runs: runs().count() as u64,
            events: runs().map(|(_, held)| held.records.len() as u64).sum(),
            receipts: memory.log(tenant).len() as u64,
            approvals_open: waiting.approvals,
            exceptions_open: waiting.exceptions,
            writes: memory.writes,
            commits: memory.writes,
            file_bytes: 0,
        }))
    }

    fn waiting(&self, tenant: &Tenant) -> Task<'_, Result<Waiting, Error>> {
        ready(Ok(self.lock().waiting(tenant)))
    }
}

impl Log for Ram {
    fn receipt(
        &self,
        tenant: &Tenant,
        id: &ReceiptId,
    ) -> Task<'_, Result<Option<StoredReceipt>, Error>> {
        ready(Ok(self.lock().receipt(tenant, id).cloned()))
    }

    fn leaves(
        &self,
        tenant: &Tenant,
        from: u64,
        limit: usize,
    ) -> Task<'_, Result<Vec<Digest>, Error>> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let memory = self.lock();
        let leaves = memory.log(tenant).iter().skip(from).take(limit.min(LEAVES_MAX));
        ready(Ok(leaves.map(|stored| stored.entry.leaf).collect()))
    }

    fn logged(
        &self,
        tenant: &Tenant,
        from: u64,
        limit: usize,
    ) -> Task<'_, Result<Vec<StoredReceipt>, Error>> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let memory = self.lock();
        let logged = memory.log(tenant).iter().skip(from).take(limit.min(PAGE_MAX));
        ready(Ok(logged.cloned().collect()))
    }

    fn log_size(&self, tenant: &Tenant) -> Task<'_, Result<u64, Error>> {
        ready(Ok(self.lock().log(tenant).len() as u64))
    }

    fn checkpoint(&self, tenant: &Tenant) -> Task<'_, Result<Option<Checkpoint>, Error>> {
        let memory = self.lock();
        let latest = memory.checkpoints.get(tenant).and_then(|kept| kept.values().next_back());
        ready(Ok(latest.cloned()))
    }

    fn put_checkpoint(
        &self,
        tenant: &Tenant,
        checkpoint: Checkpoint,
    ) -> Task<'_, Result<(), Error>> {
        let tenant = tenant.clone();
        Box::pin(async move { self.lock().keep(tenant, checkpoint) })
    }
}

impl Erase for Ram {
    fn erase_run(&self, tenant: &Tenant, run: &RunId) -> Task<'_, Result<(), Error>> {
        let key = (tenant.clone(), run.clone());
        Box::pin(async move { Ok(self.lock().erase_run(&key)?) })
    }

    fn erase_subject(&self, tenant: &Tenant, subject: &str) -> Task<'_, Result<Vec<RunId>, Error>> {
        let (tenant, subject) = (tenant.clone(), subject.to_owned());
        Box::pin(async move { self.lock().erase_subject(&tenant, &subject) })
    }

    fn erase_blob(&self, tenant: &Tenant, digest: &Digest) -> Task<'_, Result<(), Error>> {
        let key = (tenant.clone(), *digest);
        Box::pin(async move {
            self.lock().blobs.remove(&key);
            Ok(())
        })
    }
}
