//! How often something may be called, over all runs of this process. Whoever comes too early is told
//! when to come again; nobody waits here, so a run that is held back costs a timer and no task.
//!
//! Places are promised in the order of asking, by effect key: a run that comes back in time finds its
//! place free, however many newcomers there are.

use std::collections::{BTreeMap, VecDeque};

use kernel::{id::EffectKey, operation::Rate};

/// How long after its time a promised place is kept, in milliseconds.
const PROMISE_KEPT_MS: u64 = 60_000;

/// How often promises that nobody came for are looked for, in milliseconds.
const LOOK_EVERY_MS: u64 = 1_000;

/// Most places that are promised at a time; later callers are told a time that nobody keeps for them.
const PROMISES_MAX: usize = 10_000;

/// How far apart those come back who were held back together, in milliseconds.
const SPREAD_MS: u64 = 20;

/// Most calls of one rate: each is remembered for as long as the rate says.
pub const RATE_CALLS_MAX: u32 = 10_000;

/// One thing that may be called only so often.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    rate: Option<Rate>,
    paused_until: u64,
    /// When the calls within the rate's span left, oldest first.
    left: VecDeque<u64>,
    promised: BTreeMap<EffectKey, u64>,
    /// When promises were last looked through.
    looked_at: u64,
}

impl Pace {
    pub(crate) fn new(rate: Option<Rate>) -> Self {
        let sound = |rate: &Rate| rate.calls > 0 && rate.per_ms > 0;
        Self { rate: rate.filter(sound), ..Self::default() }
    }

    /// The target asked for a pause.
    pub(crate) fn pause(&mut self, until: u64) {
        self.paused_until = self.paused_until.max(until);
    }

    /// Until when it is paused; `None` when it is not.
    pub(crate) fn paused(&self, now: u64) -> Option<u64> {
        Some(self.paused_until).filter(|until| *until > now)
    }

    /// When this caller may come again; `None` = now.
    pub(crate) fn look(&mut self, key: &EffectKey, now: u64) -> Option<u64> {
        self.forget_the_late(now);
        let mine = usize::from(self.promised.contains_key(key));
        let waiting = self.promised.len().saturating_sub(mine);
        if let Some(until) = self.paused(now) {
            return Some(until.saturating_add(SPREAD_MS.saturating_mul(waiting as u64)));
        }
        let rate = self.rate?;
        let span = u64::from(rate.per_ms);
        while self.left.front().is_some_and(|at| at.saturating_add(span) <= now) {
            self.left.pop_front();
        }
        // Those whose time has come go first; who has a promise stands among them.
        let ahead = match self.promised.contains_key(key) {
            true => 0,
            false => self.promised.values().filter(|due| **due <= now).count(),
        };
        let calls = usize::try_from(rate.calls.min(RATE_CALLS_MAX)).unwrap_or(usize::MAX);
        if self.left.len().saturating_add(ahead) < calls {
            return None;
        }
        // Places that are free now are taken by those ahead; the others become free one by one.
        let place = waiting.max(ahead).saturating_sub(calls.saturating_sub(self.left.len()));
        let (round, index) = (place / calls, place % calls);
        let first = self.left.get(index).copied().unwrap_or(now);
        let rounds = u64::try_from(round).unwrap_or(u64::MAX).saturating_add(1);
        Some(first.saturating_add(span.saturating_mul(rounds)).max(now.saturating_add(1)))
    }

    /// Drops promises that nobody came for; looked at now and then, since there may be many.
    fn forget_the_late(&mut self, now: u64) {
        if now.saturating_sub(self.looked_at) >= LOOK_EVERY_MS {
            self.looked_at = now;
            self.promised.retain(|_, due| due.saturating_add(PROMISE_KEPT_MS) >= now);
        }
    }

    /// Keeps a place for this caller at `due`.
    pub(crate) fn promise(&mut self, key: &EffectKey, due: u64) {
        if self.promised.len() < PROMISES_MAX || self.promised.contains_key(key) {
            self.promised.insert(key.clone(), due);
        }
    }

    /// This caller goes now.
    pub(crate) fn take(&mut self, key: &EffectKey, now: u64) {
        self.promised.remove(key);
        if self.rate.is_some() {
            self.left.push_back(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use kernel::id::{RunId, Tenant};

    use super::*;

    fn key(n: u64) -> EffectKey {
        let tenant = Tenant::default();
        EffectKey::of(&tenant, &RunId::of_intent(&tenant, "test", "k"), n)
    }

    /// Goes if it may; else is promised a place, and says when.
    fn come(pace: &mut Pace, n: u64, now: u64) -> Option<u64> {
        let due = pace.look(&key(n), now);
        match due {
            Some(due) => pace.promise(&key(n), due),
            None => pace.take(&key(n), now),
        }
        due
    }

    #[test]
    fn never_more_than_the_rate_in_any_span() {
        let mut pace = Pace::new(Some(Rate { calls: 3, per_ms: 100 }));
        let mut waiting: Vec<(u64, u64)> = (0..50).map(|n| (0, n)).collect();
        let mut left = Vec::new();
        while !waiting.is_empty() {
            waiting.sort_unstable();
            let (now, n) = waiting.remove(0);
            match come(&mut pace, n, now) {
                Some(due) => waiting.push((due, n)),
                None => left.push((now, n)),
            }
        }
        for window in left.windows(4) {
            assert!(window[3].0 >= window[0].0 + 100, "four within a span: {window:?}");
        }
        // Each was told its time once, and found its place then: nobody pushed in.
        assert_eq!(left.iter().map(|(_, n)| *n).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
        assert_eq!(left.last(), Some(&(1_600, 49)));
    }

    #[test]
    fn a_pause_holds_everybody_and_spreads_them_afterwards() {
        let mut pace = Pace::new(None);
        assert_eq!(come(&mut pace, 0, 10), None);
        pace.pause(1_000);
        pace.pause(500);
        let dues: Vec<_> = (1..4).map(|n| come(&mut pace, n, 20)).collect();
        assert_eq!(dues, [Some(1_000), Some(1_020), Some(1_040)], "never before the target said");
        assert_eq!(come(&mut pace, 1, 1_000), None);
        assert_eq!((pace.paused(999), pace.paused(1_000)), (Some(1_000), None));
    }

    #[test]
    fn a_newcomer_does_not_take_a_promised_place() {
        let mut pace = Pace::new(Some(Rate { calls: 1, per_ms: 100 }));
        assert_eq!(come(&mut pace, 1, 0), None);
        assert_eq!(come(&mut pace, 2, 1), Some(100));
        assert_eq!(come(&mut pace, 3, 150), Some(250), "the place at 100 is the other's");
        assert_eq!(come(&mut pace, 2, 160), None);
        let long_after = 250 + PROMISE_KEPT_MS + 1;
        assert_eq!(come(&mut pace, 4, long_after), None, "a promise is not kept for ever");
    }
}
