//! Many cases, counted: the systematic space or seeds one after the other, on several threads.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    case::{Case, CaseId},
    check::{Broken, check},
    grid,
    play::{Trace, play},
};

/// Failures kept; the rest is counted.
const KEPT_MAX: usize = 12;
/// Seeds a thread takes at a time.
const SEEDS_AT_A_TIME: u64 = 64;

/// What many cases showed.
#[derive(Debug, Default)]
pub struct Tally {
    /// Schedules played.
    pub schedules: u64,
    /// Points passed.
    pub points: u64,
    /// Faults that happened.
    pub faults: u64,
    /// Events journaled.
    pub events: u64,
    /// Effects at the target.
    pub effects: u64,
    /// Schedules in which a call landed later than anybody may send.
    pub late: u64,
    /// How runs ended, by status.
    pub ends: BTreeMap<&'static str, u64>,
    /// Cases in which something did not hold.
    pub broken: u64,
    /// The first of them.
    pub kept: Vec<(CaseId, Vec<Broken>)>,
    /// How long it took.
    pub took: Duration,
}

impl Tally {
    /// Schedules a minute.
    #[must_use]
    pub fn per_minute(&self) -> f64 {
        let seconds = self.took.as_secs_f64().max(f64::MIN_POSITIVE);
        #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
        let schedules = self.schedules as f64;
        schedules / seconds * 60.0
    }

    /// Plays one case and counts it.
    pub fn count(&mut self, id: CaseId) {
        let Ok(case) = Case::of(id) else { return };
        let story = play(&case, Trace::Dropped);
        let broken = check(&case, &story);
        self.schedules += 1;
        self.points += story.places.len() as u64;
        self.faults += u64::from(story.faults);
        self.events += story.shelf.records.len() as u64;
        self.effects += story.target.arrivals.iter().filter(|a| a.landed).count() as u64;
        self.late += u64::from(story.target.arrivals.iter().any(|a| a.late));
        let word = story.shelf.status().map_or("none", kernel::run::Status::word);
        *self.ends.entry(word).or_default() += 1;
        if !broken.is_empty() {
            self.broken += 1;
            if self.kept.len() < KEPT_MAX {
                self.kept.push((id, broken));
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.points += other.points;
        self.faults += other.faults;
        self.events += other.events;
        self.effects += other.effects;
        self.late += other.late;
        self.broken += other.broken;
        for (word, count) in other.ends {
            *self.ends.entry(word).or_default() += count;
        }
        let room = KEPT_MAX.saturating_sub(self.kept.len());
        self.kept.extend(other.kept.into_iter().take(room));
    }
}

/// Runs `work` on so many threads and adds up what each counted.
fn on_threads(threads: u32, work: impl Fn(&mut Tally) + Sync) -> Tally {
    let begun = Instant::now();
    let total = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut mine = Tally::default();
                work(&mut mine);
                total.lock().unwrap_or_else(PoisonError::into_inner).add(mine);
            });
        }
    });
    let mut total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    total.took = begun.elapsed();
    total
}

/// Every case of every `stride`-th scenario of the grid.
#[must_use]
pub fn whole_grid(threads: u32, stride: u32) -> Tally {
    let next = AtomicU32::new(0);
    let count = u32::try_from(grid::scenarios().len()).unwrap_or(u32::MAX);
    on_threads(threads, |mine| {
        loop {
            let scenario = next.fetch_add(stride.max(1), Ordering::Relaxed);
            if scenario >= count {
                return;
            }
            grid::cases(scenario).into_iter().for_each(|id| mine.count(id));
        }
    })
}

/// Seeds from `first` on, as many as fit into the time, or `count` of them.
#[must_use]
pub fn seeds(threads: u32, first: u64, until: Until) -> Tally {
    let next = AtomicU64::new(first);
    let over = AtomicBool::new(false);
    let begun = Instant::now();
    on_threads(threads, |mine| {
        while !over.load(Ordering::Relaxed) {
            let from = next.fetch_add(SEEDS_AT_A_TIME, Ordering::Relaxed);
            for seed in from..from + SEEDS_AT_A_TIME {
                if let Until::Count(count) = until
                    && seed >= first + count
                {
                    return;
                }
                mine.count(CaseId::Seed(seed));
            }
            if let Until::Time(time) = until
                && begun.elapsed() >= time
            {
                over.store(true, Ordering::Relaxed);
            }
        }
    })
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many.
    Count(u64),
    /// After so long.
    Time(Duration),
}
