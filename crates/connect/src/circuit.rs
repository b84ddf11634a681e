//! Circuit breakers: after several calls of an operation in a row that nobody answered, further calls
//! fail at once. After a rest one call may try; when it is answered the circuit closes again.

use kernel::exception::Class;

/// When circuits open and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitRule {
    /// Calls in a row without an answer that open it.
    pub open_after: u32,
    /// How long it stays open the first time, in milliseconds; doubles each time a trial fails.
    pub cooldown_ms: u64,
}

impl Default for CircuitRule {
    fn default() -> Self {
        Self { open_after: 5, cooldown_ms: 5_000 }
    }
}

/// Longest time a circuit stays open before the next trial, in milliseconds.
pub const COOLDOWN_MAX_MS: u64 = 300_000;

/// How soon those come back who meet a trial under way, in milliseconds.
const TRIAL_WAIT_MS: u64 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        until: u64,
    },
    /// One call is on its way; when it does not come back by then, the next may try.
    Trial {
        until: u64,
    },
}

/// The circuit of one operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circuit {
    rule: CircuitRule,
    state: State,
    failures: u32,
    cooldown_ms: u64,
}

/// What a circuit shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// `closed`, `open` or `half_open`.
    pub(crate) word: &'static str,
    /// Calls in a row without an answer.
    pub(crate) failures: u32,
    /// Until when nothing is sent.
    pub(crate) until: Option<u64>,
}

impl Circuit {
    pub(crate) fn new(rule: CircuitRule) -> Self {
        Self { rule, state: State::Closed, failures: 0, cooldown_ms: rule.cooldown_ms }
    }

    /// When this caller may come again; `None` = now.
    pub(crate) fn look(&self, now: u64) -> Option<u64> {
        match self.state {
            State::Closed => None,
            State::Open { until } => Some(until).filter(|until| *until > now),
            State::Trial { until } if until > now => Some(now.saturating_add(TRIAL_WAIT_MS)),
            State::Trial { .. } => None,
        }
    }

    /// A call goes now; it takes at most `takes_ms`. Whoever goes through a circuit that is not closed
    /// is its trial.
    pub(crate) fn take(&mut self, now: u64, takes_ms: u64) {
        if self.state != State::Closed {
            self.state = State::Trial { until: now.saturating_add(takes_ms) };
        }
    }

    /// A call ended.
    pub(crate) fn note(&mut self, failed: Option<Class>, now: u64) {
        match failed {
            Some(Class::Timeout | Class::Unavailable) => self.note_silence(now),
            // An answer, however bad: the target is there.
            _ => *self = Self::new(self.rule),
        }
    }

    /// A call was let through and then never made: it says nothing, and somebody else may try.
    pub(crate) fn forget_trial(&mut self, now: u64) {
        if let State::Trial { .. } = self.state {
            self.state = State::Open { until: now };
        }
    }

    fn note_silence(&mut self, now: u64) {
        self.failures = self.failures.saturating_add(1);
        match self.state {
            State::Closed if self.failures < self.rule.open_after => {}
            State::Closed => {
                self.state = State::Open { until: now.saturating_add(self.cooldown_ms) }
            }
            State::Trial { .. } => {
                self.cooldown_ms = self.cooldown_ms.saturating_mul(2).min(COOLDOWN_MAX_MS);
                self.state = State::Open { until: now.saturating_add(self.cooldown_ms) };
            }
            // It left before the circuit opened.
            State::Open { .. } => {}
        }
    }

    pub(crate) fn seen(&self, now: u64) -> Seen {
        let (word, until) = match self.state {
            State::Closed => ("closed", None),
            State::Open { until } if until > now => ("open", Some(until)),
            State::Open { .. } | State::Trial { .. } => ("half_open", None),
        };
        Seen { word, failures: self.failures, until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: CircuitRule = CircuitRule { open_after: 3, cooldown_ms: 1_000 };
    const DOWN: Option<Class> = Some(Class::Unavailable);

    fn open_at(now: u64) -> Circuit {
        let mut circuit = Circuit::new(RULE);
        for _ in 0..3 {
            assert_eq!(circuit.look(now), None);
            circuit.take(now, 100);
            circuit.note(DOWN, now);
        }
        circuit
    }

    #[test]
    fn opens_after_so_many_in_a_row_and_no_sooner() {
        let mut circuit = Circuit::new(RULE);
        for failed in [DOWN, DOWN, None, DOWN, Some(Class::Timeout), Some(Class::RateLimit), DOWN] {
            circuit.take(0, 100);
            circuit.note(failed, 0);
            assert_eq!(circuit.look(0), None, "an answer in between, even a refusal, is an answer");
        }
        let circuit = open_at(0);
        assert_eq!(circuit.look(0), Some(1_000));
        assert_eq!(circuit.seen(0), Seen { word: "open", failures: 3, until: Some(1_000) });
    }

    #[test]
    fn one_call_tries_and_closes_it() {
        let mut circuit = open_at(0);
        assert_eq!(circuit.look(1_000), None);
        circuit.take(1_000, 100);
        assert_eq!(circuit.look(1_001), Some(2_001), "the second waits for the trial");
        assert_eq!(circuit.seen(1_001).word, "half_open");
        circuit.note(None, 1_050);
        assert_eq!((circuit.look(1_050), circuit.seen(1_050).word), (None, "closed"));
    }

    #[test]
    fn a_failed_trial_rests_longer_up_to_a_limit() {
        let (mut circuit, mut now, mut rests) = (open_at(0), 1_000, Vec::new());
        for _ in 0..12 {
            circuit.take(now, 100);
            circuit.note(DOWN, now);
            let until = circuit.look(now).unwrap();
            rests.push(until - now);
            now = until;
        }
        assert_eq!(rests[..3], [2_000, 4_000, 8_000]);
        assert_eq!(rests.last(), Some(&COOLDOWN_MAX_MS));
    }

    #[test]
    fn a_trial_that_never_left_or_never_came_back_is_not_the_last() {
        let mut circuit = open_at(0);
        circuit.take(1_000, 100);
        circuit.forget_trial(1_010);
        assert_eq!(circuit.look(1_010), None);
        circuit.take(1_010, 100);
        assert_eq!(circuit.look(1_110), None, "its time is over");
    }
}
