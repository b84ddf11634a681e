//! Credentials remembered in memory, so that a request needs no look at the store.
//!
//! A copy that was read before a credential ended must not come back after it: what was read is remembered
//! only when nothing was changed meanwhile, and a note about use changes nothing here.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kernel::id::At;

use super::Credential;

/// Credentials remembered; beyond it all are read again.
const REMEMBERED: usize = 10_000;

/// How old the noted time of last use may be before it is written again, in milliseconds.
const USED_AGAIN_MS: i64 = 3_600_000;

/// What is remembered of credentials.
#[derive(Debug, Default)]
pub(in crate::app) struct Known(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    all: BTreeMap<String, Arc<Credential>>,
    /// When the use of one was last noted by this process.
    noted: BTreeMap<String, At>,
    /// How often something was written or removed.
    changes: u64,
}

/// A look at the store that began when so many changes were known.
#[derive(Debug)]
pub(super) struct Reading(u64);

impl Known {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered; otherwise the store is read, from now on.
    pub(super) fn find(&self, key: &str) -> Result<Arc<Credential>, Reading> {
        let inner = self.inner();
        inner.all.get(key).map(Arc::clone).ok_or(Reading(inner.changes))
    }

    /// Remembers what was read, unless something was changed since the reading began.
    pub(super) fn found(&self, reading: &Reading, key: String, credential: Arc<Credential>) {
        let mut inner = self.inner();
        if inner.changes == reading.0 {
            inner.insert(key, credential);
        }
    }

    /// Takes note of what is durable now: written, or gone.
    pub(super) fn changed(&self, key: String, credential: Option<Arc<Credential>>) {
        let mut inner = self.inner();
        inner.changes += 1;
        match credential {
            Some(credential) => inner.insert(key, credential),
            None => drop(inner.all.remove(&key)),
        }
    }

    /// Whether the time of this use is to be written; said once in an hour.
    pub(super) fn use_is_due(&self, key: &str, used_at: Option<At>, now: At) -> bool {
        let mut inner = self.inner();
        let last = inner.noted.get(key).copied().max(used_at);
        let due = last.is_none_or(|at| now - at > USED_AGAIN_MS);
        if due {
            inner.noted.insert(key.to_owned(), now);
        }
        due
    }
}

impl Inner {
    fn insert(&mut self, key: String, credential: Arc<Credential>) {
        if self.all.len() >= REMEMBERED {
            self.all.clear();
            self.noted.clear();
        }
        self.all.insert(key, credential);
    }
}
