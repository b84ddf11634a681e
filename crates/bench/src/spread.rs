//! Samples, and the clocks they come from.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Median, least and greatest of some samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// How many there were.
    pub(crate) rounds: usize,
}

impl Spread {
    /// Of samples in any order; of none, all zero.
    pub(crate) fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let at = |index: usize| samples.get(index).copied().unwrap_or_default();
        let (rounds, half) = (samples.len(), samples.len() / 2);
        let median = if rounds.is_multiple_of(2) {
            (at(half.saturating_sub(1)) + at(half)) / 2.0
        } else {
            at(half)
        };
        Self { median, min: at(0), max: at(rounds.saturating_sub(1)), rounds }
    }
}

/// The median of some samples.
pub(crate) fn median(samples: Vec<f64>) -> f64 {
    Spread::of(samples).median
}

/// Processor time used by this thread so far.
pub(crate) fn thread_cpu() -> Duration {
    cpu(ClockId::ThreadCPUTime)
}

/// Processor time used by all threads of this process so far.
pub(crate) fn process_cpu() -> Duration {
    cpu(ClockId::ProcessCPUTime)
}

fn cpu(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    let (seconds, nanos) =
        (now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0));
    Duration::new(seconds, nanos)
}

/// In microseconds.
pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// In milliseconds.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Thread processor time of one call in µs: the median over batches, each long enough for the clock.
pub(crate) fn each_cpu<T>(batches: usize, calls: u32, mut call: impl FnMut() -> T) -> f64 {
    let batch = |_| {
        let before = thread_cpu();
        for _ in 0..calls {
            std::hint::black_box(call());
        }
        micros(thread_cpu().saturating_sub(before)) / f64::from(calls.max(1))
    };
    median((0..batches).map(batch).collect())
}

/// Wall time of one call.
pub(crate) fn wall<T>(call: impl FnOnce() -> T) -> (Duration, T) {
    let before = Instant::now();
    let value = call();
    (before.elapsed(), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_does_not_depend_on_order() {
        let spread = Spread { median: 2.0, min: 1.0, max: 9.0, rounds: 3 };
        assert_eq!(Spread::of(vec![9.0, 1.0, 2.0]), spread);
        assert_eq!(Spread::of(vec![4.0, 2.0]).median, 3.0);
        assert_eq!(Spread::of(vec![]), Spread::default());
    }
}
