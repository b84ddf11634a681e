//! Documents that are given up without anybody waiting for it: they go with the next commit, whoever's that is, and where
//! none comes, soon after. A commit that only says that something is over costs as much as any other.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kernel::{id::Tenant, port::JournalError};
use rusqlite::Connection;
use tokio::sync::mpsc;

use super::{
    Sqlite, documents,
    writer::{Job, Work},
};

/// How long they wait for somebody else's commit.
const WITHIN: Duration = Duration::from_millis(100);

/// Most that wait, should commits fail; beyond it the oldest stay where they are, and are swept when they are due.
const WAIT_MAX: usize = 4_096;

/// A document.
#[derive(Debug)]
struct Place {
    tenant: Tenant,
    kind: &'static str,
    id: String,
}

/// What waits for a commit.
#[derive(Debug, Default)]
pub(super) struct Soon {
    places: Mutex<VecDeque<Place>>,
    /// Somebody sees to it that the writer is told, should no commit come.
    is_seen_to: AtomicBool,
}

impl Soon {
    /// What waits, as one item of the next group: it goes first, so that what is handed in from now on finds it done.
    pub(super) fn work(self: &Arc<Self>) -> Option<Box<dyn Work>> {
        let places = std::mem::take(&mut *self.lock());
        let all = Arc::clone(self);
        (!places.is_empty()).then(|| Box::new(Discards { all, places }) as Box<dyn Work>)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the writer after a while, should something still wait then.
    fn see_to(self: &Arc<Self>, queue: mpsc::WeakSender<Job>) {
        // Without a runtime, the next commit or the end of the store has to do.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.is_seen_to.swap(true, Ordering::SeqCst) {
            return;
        }
        let soon = Arc::clone(self);
        runtime.spawn(async move {
            tokio::time::sleep(WITHIN).await;
            soon.is_seen_to.store(false, Ordering::SeqCst);
            let is_left = !soon.lock().is_empty();
            if is_left && let Some(queue) = queue.upgrade() {
                // Where the queue is full, commits are on their way.
                drop(queue.try_send(Job::Soon));
            }
        });
    }
}

/// Documents that a transaction gives up.
struct Discards {
    all: Arc<Soon>,
    places: VecDeque<Place>,
}

impl Work for Discards {
    fn perform(&mut self, conn: &Connection) -> Result<(), JournalError> {
        for Place { tenant, kind, id } in &self.places {
            documents::discard(conn, (tenant, kind, id))?;
        }
        Ok(())
    }

    fn settle(self: Box<Self>, fate: Result<(), JournalError>) {
        if fate.is_ok() {
            return;
        }
        // The next commit tries again; nobody looked meanwhile who was told that it had happened.
        let mut waiting = self.all.lock();
        let later = std::mem::replace(&mut *waiting, self.places);
        waiting.extend(later);
        let over = waiting.len().saturating_sub(WAIT_MAX);
        waiting.drain(..over);
    }
}

impl Sqlite {
    /// Gives up a document without waiting for it. Every write that is handed in from now on finds it gone; whoever reads may
    /// find it until the next commit, a tenth of a second at most. A process that dies before has not done it.
    pub fn discard_soon(&self, tenant: &Tenant, kind: &'static str, id: &str) {
        let Some(queue) = &self.queue else { return };
        self.soon.lock().push_back(Place { tenant: tenant.clone(), kind, id: id.to_owned() });
        self.soon.see_to(queue.downgrade());
    }
}
