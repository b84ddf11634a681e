//! Whether a provider may be asked now: its rate, the pause it asked for, and a breaker that opens when
//! nobody answers. Nobody waits here; whoever comes too early is told when to come again.

use std::collections::VecDeque;

use kernel::operation::Rate;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Longest time a breaker stays open before the next trial, in milliseconds.
const COOLDOWN_MAX_MS: u64 = 300_000;

/// Most calls of a rate: each is remembered for as long as the rate says.
const RATE_CALLS_MAX: u32 = 10_000;

/// When a provider's breaker opens and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// Calls in a row without an answer that open it.
    pub open_after: u32,
    /// How long it stays open the first time, in milliseconds; doubles each time a trial fails.
    pub cooldown_ms: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { open_after: 3, cooldown_ms: 5_000 }
    }
}

/// One provider's gauge.
#[derive(Debug)]
pub(crate) struct Gauge {
    rate: Option<Rate>,
    breaker: Breaker,
    left: VecDeque<u64>,
    paused_until: u64,
    failures: u32,
    cooldown_ms: u64,
    /// Until when nobody is let through; past it one may try.
    open_until: Option<u64>,
}

/// Why somebody has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It is called too often, or asked for a pause; for so many milliseconds.
    Rate(u64),
    /// Nobody answered lately; for so many milliseconds.
    Open(u64),
}

impl Wait {
    pub(crate) fn error(self, provider: &str) -> Error {
        let after = |ms: u64| Some(i64::try_from(ms).unwrap_or(i64::MAX));
        match self {
            Self::Rate(ms) => Error::RateLimit {
                message: format!("`{provider}` is asked as often as it may be"),
                retry_after_ms: after(ms),
            },
            Self::Open(ms) => Error::Unavailable {
                message: format!("`{provider}` did not answer lately"),
                retry_after_ms: after(ms),
            },
        }
    }
}

impl Gauge {
    pub(crate) fn new(rate: Option<Rate>, breaker: Breaker) -> Self {
        let sound = |rate: &Rate| rate.calls > 0 && rate.per_ms > 0;
        Self {
            rate: rate.filter(sound),
            breaker,
            left: VecDeque::new(),
            paused_until: 0,
            failures: 0,
            cooldown_ms: breaker.cooldown_ms,
            open_until: None,
        }
    }

    /// Lets a caller through, or says how long to wait. Whoever is let through an open breaker is its
    /// trial; the others wait until the trial has had its time.
    pub(crate) fn enter(&mut self, now: u64, takes_ms: u64) -> Result<(), Wait> {
        if let Some(until) = self.open_until.filter(|until| *until > now) {
            return Err(Wait::Open(until.saturating_sub(now)));
        }
        if self.paused_until > now {
            return Err(Wait::Rate(self.paused_until.saturating_sub(now)));
        }
        if let Some(rate) = self.rate {
            let span = u64::from(rate.per_ms);
            while self.left.front().is_some_and(|at| at.saturating_add(span) <= now) {
                self.left.pop_front();
            }
            let calls = usize::try_from(rate.calls.min(RATE_CALLS_MAX)).unwrap_or(usize::MAX);
            if self.left.len() >= calls {
                let free = self.left.front().map_or(span, |at| at.saturating_add(span));
                return Err(Wait::Rate(free.saturating_sub(now).max(1)));
            }
            self.left.push_back(now);
        }
        if self.open_until.is_some() {
            self.open_until = Some(now.saturating_add(takes_ms));
        }
        Ok(())
    }

    /// A call ended.
    pub(crate) fn note(&mut self, error: Option<&Error>, now: u64) {
        match error {
            Some(Error::Timeout(_) | Error::Unavailable { .. } | Error::Overloaded { .. }) => {
                self.note_silence(now);
            }
            // Whatever it said, it is there.
            _ => {
                (self.failures, self.cooldown_ms) = (0, self.breaker.cooldown_ms);
                self.open_until = None;
            }
        }
        if let Some(wait) = error.and_then(Error::retry_after_ms) {
            let until = now.saturating_add(wait.max(0).unsigned_abs());
            self.paused_until = self.paused_until.max(until);
        }
    }

    /// A call was let through and never came back, or nothing of it left: somebody else may try.
    pub(crate) fn forget(&mut self, now: u64) {
        if self.open_until.is_some() {
            self.open_until = Some(now);
        }
    }

    fn note_silence(&mut self, now: u64) {
        self.failures = self.failures.saturating_add(1);
        let was_trial = self.open_until.is_some();
        if was_trial {
            self.cooldown_ms = self.cooldown_ms.saturating_mul(2).min(COOLDOWN_MAX_MS);
        }
        if was_trial || self.failures >= self.breaker.open_after.max(1) {
            self.open_until = Some(now.saturating_add(self.cooldown_ms));
        }
    }

    /// `closed`, `open` or `half_open`.
    pub(crate) fn word(&self, now: u64) -> &'static str {
        match self.open_until {
            None => "closed",
            Some(until) if until > now => "open",
            Some(_) => "half_open",
        }
    }

    /// Calls in a row without an answer.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down() -> Error {
        Error::unavailable("down")
    }

    #[test]
    fn opens_after_so_many_in_a_row_and_rests_longer_each_time() {
        let mut gauge = Gauge::new(None, Breaker { open_after: 2, cooldown_ms: 100 });
        gauge.note(Some(&down()), 0);
        gauge.note(Some(&Error::Auth(String::new())), 0);
        gauge.note(Some(&down()), 0);
        assert_eq!(gauge.enter(0, 50), Ok(()), "an answer between, even a refusal, is one");
        gauge.note(Some(&down()), 0);
        assert_eq!(gauge.enter(40, 50), Err(Wait::Open(60)));
        assert_eq!(gauge.enter(100, 50), Ok(()));
        assert_eq!(gauge.enter(110, 50), Err(Wait::Open(40)), "a trial is on its way");
        gauge.note(Some(&down()), 120);
        assert_eq!(gauge.enter(130, 50), Err(Wait::Open(190)));
        assert_eq!(gauge.enter(320, 50), Ok(()));
        gauge.forget(330);
        assert_eq!(gauge.enter(330, 50), Ok(()), "it never left: the next may try");
        gauge.note(None, 340);
        assert_eq!((gauge.enter(340, 50), gauge.word(340)), (Ok(()), "closed"));
    }

    #[test]
    fn never_more_than_the_rate_and_never_before_the_provider_said() {
        let mut gauge = Gauge::new(Some(Rate { calls: 2, per_ms: 100 }), Breaker::default());
        assert_eq!([gauge.enter(0, 1), gauge.enter(10, 1)], [Ok(()), Ok(())]);
        assert_eq!(gauge.enter(20, 1), Err(Wait::Rate(80)));
        assert_eq!(gauge.enter(100, 1), Ok(()));
        let limited = Error::RateLimit { message: String::new(), retry_after_ms: Some(500) };
        gauge.note(Some(&limited), 100);
        assert_eq!(gauge.enter(300, 1), Err(Wait::Rate(300)));
    }
}
