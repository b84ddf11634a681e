//! How the last calls of an operation went: how many its system did well, and how long they took. What is expected of
//! it is for whoever reads this to say.

use std::collections::VecDeque;

use kernel::exception::Class;

/// Most calls of an operation that are remembered.
const CALLS_MAX: usize = 256;

/// How long a call is remembered, in milliseconds.
const WINDOW_MS: u64 = 3_600_000;

/// The calls of the last hour, at most 256 of them, since this process began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recent {
    /// How many.
    pub calls: u32,
    /// How many of them the system answered as it should. An answer that refuses what was asked counts; none in time, an
    /// error of the system, a pause it asks for, an answer of another shape, and nobody knowing what became of it do not.
    pub well: u32,
    /// Half of the calls took no longer, in milliseconds.
    pub p50_ms: u64,
    /// 95 of 100 calls took no longer, in milliseconds.
    pub p95_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    at: u64,
    took_ms: u64,
    well: bool,
}

/// The calls of one operation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls(VecDeque<Call>);

impl Calls {
    /// A call ended at `now`; it began at `began`, both in milliseconds since boot.
    pub(crate) fn note(&mut self, failed: Option<Class>, began: u64, now: u64) {
        if self.0.len() == CALLS_MAX {
            self.0.pop_front();
        }
        let well = failed.is_none_or(is_an_answer);
        self.0.push_back(Call { at: now, took_ms: now.saturating_sub(began), well });
    }

    /// `None` where nothing was called within the hour.
    pub(crate) fn seen(&self, now: u64) -> Option<Recent> {
        let since = now.saturating_sub(WINDOW_MS);
        let calls: Vec<&Call> = self.0.iter().filter(|call| call.at >= since).collect();
        let mut took: Vec<u64> = calls.iter().map(|call| call.took_ms).collect();
        took.sort_unstable();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Some(Recent {
            calls: count(calls.len()),
            well: count(calls.iter().filter(|call| call.well).count()),
            p50_ms: share_of(&took, 50)?,
            p95_ms: share_of(&took, 95)?,
        })
    }
}

/// The least value that `percent` of 100 do not exceed.
fn share_of(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

fn is_an_answer(class: Class) -> bool {
    match class {
        Class::Timeout
        | Class::Unavailable
        | Class::RateLimit
        | Class::MissingField
        | Class::UnexpectedShape
        | Class::InDoubt => false,
        Class::Permission
        | Class::Stale
        | Class::Duplicate
        | Class::Mismatch
        | Class::UnknownField
        | Class::InvalidArguments
        | Class::Budget
        | Class::PolicyError => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_owes_counts_and_what_it_rightly_refuses_does_not() {
        let mut calls = Calls::default();
        assert_eq!(calls.seen(0), None);
        for (took, failed) in [
            (10, None),
            (20, Some(Class::InvalidArguments)),
            (900, Some(Class::Timeout)),
            (30, None),
        ] {
            calls.note(failed, 1_000, 1_000 + took);
        }
        let seen = calls.seen(2_000).unwrap();
        assert_eq!(seen, Recent { calls: 4, well: 3, p50_ms: 20, p95_ms: 900 });
    }

    #[test]
    fn what_is_long_ago_is_forgotten_and_so_is_what_is_too_much() {
        let mut calls = Calls::default();
        calls.note(Some(Class::Unavailable), 0, 1);
        assert_eq!(calls.seen(1 + WINDOW_MS).unwrap().calls, 1);
        assert_eq!(calls.seen(2 + WINDOW_MS), None);
        for _ in 0..CALLS_MAX {
            calls.note(None, 5, 6);
        }
        let seen = calls.seen(6).unwrap();
        assert_eq!((seen.calls, seen.well), (256, 256), "the failure was the oldest");
    }
}
