//! The two clocks a call needs, injected so that tests can hold them.

use std::fmt;

use kernel::id::At;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Tells the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Milliseconds since boot, suspended time included: what `dispatch_by` is measured on.
    fn boot_ms(&self) -> u64;

    /// Milliseconds since the Unix epoch, UTC: for a provider that names a date to come back at.
    fn now_ms(&self) -> At;
}

/// The operating system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn boot_ms(&self) -> u64 {
        u64::try_from(millis(&clock_gettime(ClockId::Boottime))).unwrap_or(u64::MAX)
    }

    fn now_ms(&self) -> At {
        millis(&clock_gettime(ClockId::Realtime))
    }
}

fn millis(time: &Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000).saturating_add(time.tv_nsec / 1_000_000)
}
