//! What is known about a system over all runs: how often it may be called, whether it asked for a pause,
//! and which of its operations answer. A call that may not go fails at once, before anything leaves.

use std::collections::BTreeMap;

use kernel::{
    exception::{Class, Landed},
    id::{At, OperationId},
    operation::Rate,
    port::Failure,
};

use crate::{
    call::{Call, fail},
    circuit::{Circuit, CircuitRule},
    pace::Pace,
    recent::{Calls, Recent},
};

/// How a system, and each of its operations that was called, stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The system.
    pub system: String,
    /// Until when it asked not to be called, in milliseconds since the Unix epoch.
    pub paused_until: Option<At>,
    /// Its operations, by name.
    pub operations: Vec<OperationHealth>,
}

/// How an operation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationHealth {
    /// Which.
    pub operation: OperationId,
    /// `closed`, `open` or `half_open`.
    pub circuit: &'static str,
    /// Calls in a row that nobody answered.
    pub failures: u32,
    /// Until when nothing is sent, in milliseconds since the Unix epoch.
    pub open_until: Option<At>,
    /// How its last calls went; `None` where nothing was called within the hour.
    pub recent: Option<Recent>,
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) boot_ms: u64,
    pub(crate) at: At,
}

impl Moment {
    fn wall(self, boot_ms: u64) -> At {
        self.at.saturating_add(self.until(boot_ms))
    }

    fn until(self, boot_ms: u64) -> i64 {
        i64::try_from(boot_ms.saturating_sub(self.boot_ms)).unwrap_or(i64::MAX)
    }
}

#[derive(Debug)]
struct Line {
    pace: Pace,
    circuit: Circuit,
    calls: Calls,
}

/// One system's gauge.
#[derive(Debug)]
pub(crate) struct Gauge {
    rule: CircuitRule,
    pace: Pace,
    lines: BTreeMap<OperationId, Line>,
}

impl Gauge {
    pub(crate) fn new(rule: CircuitRule, rate: Option<Rate>) -> Self {
        Self { rule, pace: Pace::new(rate), lines: BTreeMap::new() }
    }

    /// Lets a call go, or says when it may come again.
    pub(crate) fn admit(&mut self, call: &Call, system: &str, now: Moment) -> Result<(), Failure> {
        let operation = &call.operation;
        let line = self.lines.entry(operation.id.clone()).or_insert_with(|| Line {
            pace: Pace::new(operation.rate),
            circuit: Circuit::new(self.rule),
            calls: Calls::default(),
        });
        if let Some(due) = line.circuit.look(now.boot_ms) {
            let seen = line.circuit.seen(now.boot_ms);
            let until = seen.until.map_or_else(
                || "while one call tries it".to_owned(),
                |until| format!("until {}", rfc3339(now.wall(until))),
            );
            let message = format!(
                "the circuit of `{}` is open {until}: {} calls in a row were not answered; nothing was sent",
                operation.id, seen.failures
            );
            return Err(come_again(Class::Unavailable, message, now.until(due)));
        }
        let paused = self.pace.paused(now.boot_ms);
        let dues = [self.pace.look(&call.key, now.boot_ms), line.pace.look(&call.key, now.boot_ms)];
        if let Some(due) = dues.into_iter().flatten().max() {
            self.pace.promise(&call.key, due);
            line.pace.promise(&call.key, due);
            let message = match paused {
                Some(until) => format!(
                    "system `{system}` asked for a pause until {}; nothing was sent",
                    rfc3339(now.wall(until))
                ),
                None => format!(
                    "`{}` is called as often as its rate allows; nothing was sent",
                    operation.id
                ),
            };
            return Err(come_again(Class::RateLimit, message, now.until(due)));
        }
        self.pace.take(&call.key, now.boot_ms);
        line.pace.take(&call.key, now.boot_ms);
        line.circuit.take(now.boot_ms, call.takes_ms());
        Ok(())
    }

    /// A call that was let go at `began` (milliseconds since boot) has ended.
    pub(crate) fn note(&mut self, call: &Call, failed: Option<&Failure>, began: u64, now: Moment) {
        if let Some(Failure { class: Class::RateLimit, retry_after_ms: Some(ms), .. }) = failed {
            let until = now.boot_ms.saturating_add(u64::try_from(*ms).unwrap_or_default());
            self.pace.pause(until);
        }
        if let Some(line) = self.lines.get_mut(&call.operation.id) {
            let class = failed.map(|failure| failure.class);
            line.circuit.note(class, now.boot_ms);
            line.calls.note(class, began, now.boot_ms);
        }
    }

    /// A call that was let go was never made.
    pub(crate) fn forget(&mut self, call: &Call, now: Moment) {
        if let Some(line) = self.lines.get_mut(&call.operation.id) {
            line.circuit.forget_trial(now.boot_ms);
        }
    }

    pub(crate) fn health(&self, system: &str, now: Moment) -> Health {
        let operations = self.lines.iter().map(|(operation, line)| {
            let seen = line.circuit.seen(now.boot_ms);
            OperationHealth {
                operation: operation.clone(),
                circuit: seen.word,
                failures: seen.failures,
                open_until: seen.until.map(|until| now.wall(until)),
                recent: line.calls.seen(now.boot_ms),
            }
        });
        Health {
            system: system.to_owned(),
            paused_until: self.pace.paused(now.boot_ms).map(|until| now.wall(until)),
            operations: operations.collect(),
        }
    }
}

fn come_again(class: Class, message: String, wait_ms: i64) -> Failure {
    Failure { retry_after_ms: Some(wait_ms), ..fail(class, Landed::No, message) }
}

fn rfc3339(at: At) -> String {
    jiff::Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |time| time.to_string())
}
