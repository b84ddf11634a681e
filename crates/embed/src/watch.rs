//! What goes past on its way into the journal: for outcomes, and for whoever looks on.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kernel::{
    RunId,
    event::{Body, Record},
    id::{At, Tenant},
    port::{Batch, Journal, JournalError, Loaded, Posted, Task},
    project::Change,
    run::Status,
};
use models::{Delta, Speaking};
use tokio::sync::watch;

/// Something that happens while a run is under way. Lossy: what counts is the outcome.
#[derive(Clone, Copy, Debug)]
pub enum Happening<'a> {
    /// The model says this to the reader.
    Text(&'a str),
    /// The model thinks this, as far as it is shown.
    Reasoning(&'a str),
    /// The model begins to call this tool.
    Calling(&'a str),
    /// This is in the journal now.
    Event(&'a Body),
}

type Tell = dyn Fn(&RunId, Happening<'_>) + Send + Sync;

/// Whoever looks on.
#[derive(Clone)]
pub(crate) struct Onlooker(pub(crate) Arc<Tell>);

impl fmt::Debug for Onlooker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Onlooker(..)")
    }
}

impl models::Progress for Onlooker {
    fn tell(&self, speaking: &Speaking<'_>, delta: Delta<'_>) {
        let happening = match delta {
            Delta::Text(text) => Happening::Text(text),
            Delta::Reasoning(text) => Happening::Reasoning(text),
            Delta::Call(tool) => Happening::Calling(tool),
        };
        (self.0)(speaking.run, happening);
    }
}

/// What is known of a run that somebody follows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Followed {
    pub(crate) status: Option<Status>,
    pub(crate) records: Vec<Record>,
    /// Envelopes, in order.
    pub(crate) receipts: Vec<Vec<u8>>,
}

/// A journal that remembers what it appends for runs that are followed.
#[derive(Debug)]
pub(crate) struct Watched {
    journal: Arc<dyn Journal>,
    followed: Mutex<HashMap<(Tenant, RunId), Followed>>,
    appended: watch::Sender<u64>,
    onlooker: Option<Onlooker>,
}

impl Watched {
    pub(crate) fn new(journal: Arc<dyn Journal>, onlooker: Option<Onlooker>) -> Self {
        let (appended, _) = watch::channel(0);
        Self { journal, followed: Mutex::default(), appended, onlooker }
    }

    /// Follows a run from what is known of it, until what this returns is dropped.
    pub(crate) fn follow(
        self: &Arc<Self>,
        tenant: &Tenant,
        run: &RunId,
        known: Followed,
    ) -> Following {
        let key = (tenant.clone(), run.clone());
        self.lock().insert(key.clone(), known);
        Following { watched: Arc::clone(self), key, appended: self.appended.subscribe() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Tenant, RunId), Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, batch: Batch) {
        let status = batch.changes.iter().rev().find_map(|change| match change {
            Change::Run(row) => Some(row.status),
            _ => None,
        });
        if let Some(Onlooker(tell)) = &self.onlooker {
            let bodies = batch.records.iter().map(|record| &record.event.body);
            bodies.for_each(|body| tell(&batch.run, Happening::Event(body)));
        }
        if let Some(followed) = self.lock().get_mut(&(batch.tenant, batch.run)) {
            followed.status = status.or(followed.status);
            followed.records.extend(batch.records);
            followed.receipts.extend(batch.receipts.into_iter().map(|receipt| receipt.envelope));
        }
        self.appended.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Journal for Watched {
    fn append(&self, batch: Batch) -> Task<'_, Result<(), JournalError>> {
        Box::pin(async move {
            self.journal.append(batch.clone()).await?;
            self.note(batch);
            Ok(())
        })
    }

    fn post(
        &self,
        tenant: Tenant,
        run: RunId,
        posted: Posted,
    ) -> Task<'_, Result<(), JournalError>> {
        self.journal.post(tenant, run, posted)
    }

    fn claim(&self, tenant: Tenant, run: RunId) -> Task<'_, Result<Loaded, JournalError>> {
        Box::pin(async move {
            let loaded = self.journal.claim(tenant.clone(), run.clone()).await?;
            if let Some(followed) = self.lock().get_mut(&(tenant, run)) {
                followed.records.clone_from(&loaded.records);
            }
            Ok(loaded)
        })
    }

    fn due(&self, now: At, limit: usize) -> Task<'_, Result<Vec<(Tenant, RunId)>, JournalError>> {
        self.journal.due(now, limit)
    }
}

/// One run, followed.
#[derive(Debug)]
pub(crate) struct Following {
    watched: Arc<Watched>,
    key: (Tenant, RunId),
    appended: watch::Receiver<u64>,
}

impl Following {
    /// What is known so far; what is appended from here on ends [`Following::changed`].
    pub(crate) fn look(&mut self) -> Followed {
        self.appended.mark_unchanged();
        self.watched.lock().get(&self.key).cloned().unwrap_or_default()
    }

    /// Where the run stands.
    pub(crate) fn status(&mut self) -> Option<Status> {
        self.appended.mark_unchanged();
        self.watched.lock().get(&self.key).and_then(|followed| followed.status)
    }

    /// Waits until something is appended to any run.
    pub(crate) async fn changed(&mut self) {
        // The sender lives as long as `watched` does.
        let _closed = self.appended.changed().await;
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.watched.lock().remove(&self.key);
    }
}
