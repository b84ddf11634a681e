//! What changed, as it changes: for pages and listeners that stay open. It names runs, places and kinds of
//! events, never values. What was missed is read again from the journal, so nothing here is durable.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kernel::{
    id::{At, RunId, Seq, Tenant},
    port::{Batch, Journal, JournalError, Loaded, Posted, Task},
    project::Change,
    run::Status,
};
use serde::Serialize;
use store::{Beginning, Sqlite};
use tokio::sync::watch;

use super::followed::Followed;

/// Changes remembered for listeners that come back.
pub const REMEMBERED: usize = 65_536;

/// One append to a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Whose; not told to listeners, who hear their own tenant only.
    #[serde(skip)]
    pub tenant: Tenant,
    /// The run.
    pub run: RunId,
    /// Events it has now.
    pub events: Seq,
    /// Kinds of the events that were appended.
    pub kinds: Vec<&'static str>,
    /// Where the run stands since; `None`: the row says so.
    #[serde(skip)]
    pub status: Option<Status>,
}

/// The latest changes, in the order they became durable.
#[derive(Debug)]
pub struct Feed {
    /// Tells this process's feed from those before it.
    epoch: u64,
    ring: Mutex<Ring>,
    head: watch::Sender<u64>,
    /// Of runs that somebody waits for, rung for each alone.
    bells: Mutex<HashMap<Key, watch::Sender<()>>>,
}

type Key = (Tenant, RunId);

/// One who waits for what becomes of a run, whatever becomes of others.
#[derive(Debug)]
pub(super) struct Listening {
    feed: Arc<Feed>,
    run: Key,
    bell: watch::Receiver<()>,
    position: u64,
}

#[derive(Debug, Default)]
struct Ring {
    /// Position of the newest entry; the first is 1.
    head: u64,
    entries: VecDeque<Arc<Changed>>,
}

/// What a listener is told next.
#[derive(Debug)]
pub enum Heard {
    /// Changes with their positions, in order; may be empty.
    Changes(Vec<(u64, Arc<Changed>)>),
    /// More was missed than is remembered: read lists again, then go on from this position.
    Missed(u64),
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// Nothing.
    Nothing,
    /// Something; it stands so since.
    Stands(Status),
    /// Something that is not remembered, or that says nothing about where it stands.
    Unknown,
}

impl Feed {
    /// An empty feed. `epoch` differs between processes, such as the time one began.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        let (ring, bells) = (Mutex::default(), Mutex::default());
        Self { epoch, ring, head: watch::Sender::new(0), bells }
    }

    /// Tells of something about a run that is no event of it.
    pub(super) fn tell(&self, tenant: &Tenant, run: RunId, (events, kind): (Seq, &'static str)) {
        let (tenant, kinds) = (tenant.clone(), vec![kind]);
        self.publish(Changed { tenant, run, events, kinds, status: None });
    }

    fn publish(&self, changed: Changed) {
        let run = (changed.tenant.clone(), changed.run.clone());
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.head += 1;
        ring.entries.push_back(Arc::new(changed));
        if ring.entries.len() > REMEMBERED {
            ring.entries.pop_front();
        }
        let head = ring.head;
        drop(ring);
        self.head.send_replace(head);
        if let Some(bell) = self.bells().get(&run) {
            bell.send_replace(());
        }
    }

    /// From now on whatever becomes of a run is heard.
    pub(super) fn listen(self: &Arc<Self>, run: Key) -> Listening {
        let bell = self.bells().entry(run.clone()).or_default().subscribe();
        Listening { feed: Arc::clone(self), run, bell, position: self.head() }
    }

    fn bells(&self) -> MutexGuard<'_, HashMap<Key, watch::Sender<()>>> {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The position of the newest change.
    #[must_use]
    pub fn head(&self) -> u64 {
        *self.head.borrow()
    }

    /// Wakes whenever something changed.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// At most `limit` of a tenant's changes after a position.
    #[must_use]
    pub fn after(&self, tenant: &Tenant, position: u64, limit: usize) -> (u64, Heard) {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let first = ring.head - ring.entries.len() as u64 + 1;
        // A position that never was may be any number.
        let next = position.checked_add(1).filter(|next| (first..=ring.head + 1).contains(next));
        let Some(next) = next else { return (ring.head, Heard::Missed(ring.head)) };
        let skip = usize::try_from(next - first).unwrap_or(usize::MAX);
        let mut at = position;
        let mut found = Vec::new();
        for entry in ring.entries.iter().skip(skip) {
            at += 1;
            if entry.tenant == *tenant {
                found.push((at, Arc::clone(entry)));
                if found.len() >= limit {
                    break;
                }
            }
        }
        (at, Heard::Changes(found))
    }

    /// The last that happened to a run after a position, as far as it is remembered.
    fn last_of(&self, (tenant, run): &Key, position: u64) -> Last {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let new = usize::try_from(ring.head.saturating_sub(position)).unwrap_or(usize::MAX);
        let mut newest = ring.entries.iter().rev().take(new);
        match newest.find(|one| one.run == *run && one.tenant == *tenant) {
            Some(last) => last.status.map_or(Last::Unknown, Last::Stands),
            None if new > ring.entries.len() => Last::Unknown,
            None => Last::Nothing,
        }
    }

    /// What tells this process from those that owned the store before it.
    #[must_use]
    pub(super) fn process(&self) -> String {
        format!("{:x}", self.epoch)
    }

    /// A position as listeners hold it.
    #[must_use]
    pub fn mark(&self, position: u64) -> String {
        format!("{:x}-{position}", self.epoch)
    }

    /// The position of a mark of this process; `None` for another's, or for none at all.
    #[must_use]
    pub fn position(&self, mark: &str) -> Option<u64> {
        let (epoch, position) = mark.split_once('-')?;
        let ours = u64::from_str_radix(epoch, 16).ok()? == self.epoch;
        position.parse().ok().filter(|_| ours)
    }
}

impl Listening {
    /// The last that became of it since this returned, or since it is listened to, once something did.
    pub(super) async fn next(&mut self) -> Last {
        loop {
            // Before the look: what happens in between is looked at again.
            let head = self.feed.head();
            let last = self.feed.last_of(&self.run, self.position);
            self.position = head;
            if last != Last::Nothing {
                return last;
            }
            // Its sender lies in the feed for as long as somebody listens.
            let _rang = self.bell.changed().await;
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut bells = self.feed.bells();
        // This one is still counted.
        if bells.get(&self.run).is_some_and(|bell| bell.receiver_count() <= 1) {
            bells.remove(&self.run);
        }
    }
}

/// A journal whose appends are told once they are durable.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) journal: Arc<Sqlite>,
    pub(super) feed: Arc<Feed>,
    pub(super) followed: Arc<Followed>,
    /// What may still go on for a run is ended with it.
    pub(super) connectors: Arc<connect::Connectors>,
}

/// The event that closes a run.
const CLOSED: &str = "closed";

/// The event after which a run is to end.
const CANCELLED: &str = "cancelled";

impl Watched {
    async fn begin(&self, batch: Batch, beginning: Beginning) -> Result<(), JournalError> {
        let (tenant, run) = (batch.tenant.clone(), batch.run.clone());
        self.journal.begin(batch, beginning).await.map_err(|error| match error {
            store::Error::Journal(error) => error,
            other => {
                if matches!(other, store::Error::Stale { .. }) {
                    self.followed.taken(&tenant, &run);
                }
                JournalError::Medium(other.to_string())
            }
        })
    }
}

impl Journal for Watched {
    fn append(&self, batch: Batch) -> Task<'_, Result<(), JournalError>> {
        let changed = batch.records.last().map(|last| Changed {
            tenant: batch.tenant.clone(),
            run: batch.run.clone(),
            events: last.event.seq + 1,
            kinds: batch.records.iter().map(|r| r.event.body.kind()).collect(),
            status: batch.changes.iter().rev().find_map(|change| match change {
                Change::Run(row) => Some(row.status),
                _ => None,
            }),
        });
        let (copied, beginning) = (self.followed.copy(&batch), self.followed.beginning(&batch));
        Box::pin(async move {
            match beginning {
                Some(beginning) => self.begin(batch, beginning).await?,
                None => self.journal.append(batch).await?,
            }
            if let Some(copied) = copied {
                self.followed.wrote(copied);
            }
            if let Some(changed) = changed {
                if changed.kinds.contains(&CANCELLED) {
                    self.connectors.run_cancelled(&changed.tenant, &changed.run);
                }
                if changed.kinds.contains(&CLOSED) {
                    self.connectors.run_over(&changed.tenant, &changed.run);
                }
                self.feed.publish(changed);
            }
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
        self.journal.claim(tenant, run)
    }

    fn due(&self, now: At, limit: usize) -> Task<'_, Result<Vec<(Tenant, RunId)>, JournalError>> {
        self.journal.due(now, limit)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn changed(tenant: &str, n: u64) -> Changed {
        let tenant: Tenant = tenant.parse().unwrap();
        let run = RunId::of_intent(&tenant, "test", &n.to_string());
        Changed { tenant, run, events: n, kinds: vec!["opened"], status: Some(Status::Running) }
    }

    fn heard(feed: &Feed, tenant: &str, after: u64) -> Option<Vec<u64>> {
        match feed.after(&tenant.parse().unwrap(), after, 1_000_000).1 {
            Heard::Changes(found) => Some(found.into_iter().map(|(at, _)| at).collect()),
            Heard::Missed(_) => None,
        }
    }

    #[test]
    fn each_tenant_hears_its_own_and_a_listener_goes_on_where_it_was() {
        let feed = Feed::new(7);
        for n in 0..6 {
            feed.publish(changed(if n % 2 == 0 { "a" } else { "b" }, n));
        }
        assert_eq!(heard(&feed, "a", 0), Some(vec![1, 3, 5]));
        assert_eq!(heard(&feed, "b", 2), Some(vec![4, 6]));
        assert_eq!(heard(&feed, "b", 6), Some(vec![]));
        assert_eq!(feed.position(&feed.mark(4)), Some(4));
        assert_eq!(Feed::new(8).position(&feed.mark(4)), None, "another process");
        for never in [7, u64::MAX - 1, u64::MAX] {
            assert_eq!(heard(&feed, "a", never), None, "a position that never was: {never}");
        }
    }

    #[test]
    fn whoever_waits_for_a_run_hears_of_it_alone_or_that_it_cannot_know() {
        let feed = Feed::new(7);
        feed.publish(changed("a", 1));
        let (position, ours) = (feed.head(), changed("a", 1));
        let ours = (ours.tenant, ours.run);
        assert_eq!(feed.last_of(&ours, position), Last::Nothing);
        feed.publish(changed("a", 2));
        feed.publish(changed("b", 1));
        assert_eq!(feed.last_of(&ours, position), Last::Nothing, "another run, another tenant");
        feed.publish(changed("a", 1));
        feed.publish(Changed { status: Some(Status::Asking), ..changed("a", 1) });
        assert_eq!(feed.last_of(&ours, position), Last::Stands(Status::Asking));
        assert_eq!(feed.last_of(&ours, feed.head()), Last::Nothing);
        feed.tell(&ours.0, ours.1.clone(), (9, "told"));
        assert_eq!(feed.last_of(&ours, position), Last::Unknown, "no word of where it stands");
        let position = feed.head();
        for n in 0..=REMEMBERED as u64 {
            feed.publish(changed("a", 10 + n));
        }
        assert_eq!(feed.last_of(&ours, position), Last::Unknown, "more was missed than is kept");
    }

    #[test]
    fn whoever_listens_to_a_run_is_woken_by_it_alone_and_misses_nothing() {
        let feed = Arc::new(Feed::new(7));
        let ours = changed("a", 1);
        let key = (ours.tenant.clone(), ours.run.clone());
        let mut first = feed.listen(key.clone());
        let mut second = feed.listen(key);
        assert_eq!(first.next().now_or_never(), None);
        let waker = futures_util::task::noop_waker();
        let mut context = std::task::Context::from_waker(&waker);
        let mut waits = Box::pin(first.next());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        feed.publish(changed("a", 2));
        feed.publish(changed("b", 1));
        assert!(waits.as_mut().poll(&mut context).is_pending(), "another run, another tenant");
        feed.publish(ours.clone());
        assert_eq!(waits.now_or_never(), Some(Last::Stands(Status::Running)));
        // What was not waited for at once is not lost, and told once.
        assert_eq!(second.next().now_or_never(), Some(Last::Stands(Status::Running)));
        assert_eq!(second.next().now_or_never(), None);
        drop(first);
        feed.publish(ours);
        assert_eq!(second.next().now_or_never(), Some(Last::Stands(Status::Running)));
        drop(second);
        assert!(feed.bells().is_empty(), "nobody listens any more");
    }

    #[test]
    fn whoever_missed_too_much_is_told_so() {
        let feed = Feed::new(7);
        for n in 0..REMEMBERED as u64 + 10 {
            feed.publish(changed("a", n));
        }
        assert_eq!(heard(&feed, "a", 9), None);
        assert_eq!(heard(&feed, "a", 10).map(|found| found.len()), Some(REMEMBERED));
    }
}
