//! Faults: rules that make one operation misbehave on some of its calls.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Error;
use crate::problem::System;
use crate::route::{self, MAIL_OPERATION};

/// The most rules in force at once.
pub(crate) const MAX_RULES: usize = 200;
const MAX_DELAY_MS: u64 = 600_000;
const MAX_HUGE_MEGABYTES: u32 = 2_048;

/// One rule: which calls of which operation misbehave, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The system that misbehaves.
    pub system: System,
    /// The operation, such as `crm.get_account`; `*` = every operation of the system.
    pub operation: String,
    /// How it misbehaves.
    pub kind: FaultKind,
    /// On which calls, counted from the rule's adding.
    #[serde(default)]
    pub on_call: Schedule,
    /// For `5xx` and `reset`: before the effect, or after it.
    #[serde(default)]
    pub phase: Phase,
    /// Length of a hang (default 30000), or of the pause between drips (default 200).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// For `5xx`: the status, 500 to 599; default 503.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// For `429`: the `Retry-After`, in seconds; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u32>,
    /// For `missing_field` and `changed_shape`: a JSON pointer; `*` stands for every element.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// For `name_mismatch`: the name to answer instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// For `stale`: how much older the answer claims to be; default nine days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
    /// For `huge`: the size of the body; default 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub megabytes: Option<u32>,
}

impl Fault {
    /// A fault on every call of an operation, with default details.
    #[must_use]
    pub fn new(system: System, operation: &str, kind: FaultKind) -> Self {
        Self {
            system,
            operation: operation.to_owned(),
            kind,
            on_call: Schedule::Always,
            phase: Phase::Before,
            delay_ms: None,
            status: None,
            retry_after_s: None,
            field: None,
            value: None,
            seconds: None,
            megabytes: None,
        }
    }

    /// The same fault on the n-th call only (from 1).
    #[must_use]
    pub fn on_call(mut self, call: u64) -> Self {
        self.on_call = Schedule::Calls { from: call, to: call };
        self
    }

    fn covers(&self, system: System, operation: &str) -> bool {
        self.system == system && (self.operation == "*" || self.operation == operation)
    }

    fn check(&self) -> Result<(), Error> {
        let wrong = |reason: &str| {
            Err(Error::Fault { operation: self.operation.clone(), reason: reason.to_owned() })
        };
        let mail = self.system == System::Mail;
        let known = self.operation == "*"
            || (mail && self.operation == MAIL_OPERATION)
            || route::by_operation(self.system, &self.operation).is_some();
        if !known {
            return wrong("no such operation in this system; GET /_world lists them");
        }
        if mail && !self.kind.fits_mail() {
            return wrong("mail knows timeout_before, timeout_after, 5xx, 429, 403 and reset");
        }
        let lists = route::by_operation(self.system, &self.operation);
        let single = lists.is_some_and(|route| route.list.is_empty());
        if self.kind == FaultKind::DuplicateRecord && single {
            return wrong("duplicate_record needs an operation that lists");
        }
        if self.delay_ms.is_some_and(|ms| ms > MAX_DELAY_MS) {
            return wrong("delay_ms is more than 600000");
        }
        if self.status.is_some_and(|status| !(500..=599).contains(&status)) {
            return wrong("status must be 500 to 599");
        }
        if self.megabytes.is_some_and(|size| !(1..=MAX_HUGE_MEGABYTES).contains(&size)) {
            return wrong("megabytes must be 1 to 2048");
        }
        if self.field.as_ref().is_some_and(|field| !field.starts_with('/')) {
            return wrong("field must be a JSON pointer such as /Terms");
        }
        Ok(())
    }
}

/// How an operation misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Hangs without effect until the client leaves or the delay is over (then 504).
    TimeoutBefore,
    /// The effect lands; then as `timeout_before`.
    TimeoutAfter,
    /// A server error.
    #[serde(rename = "5xx")]
    ServerError,
    /// Too many requests, with `Retry-After`.
    #[serde(rename = "429")]
    RateLimit,
    /// Forbidden, although the token is good.
    #[serde(rename = "403")]
    Forbidden,
    /// The connection is reset (TCP RST).
    Reset,
    /// A field is gone from the answer.
    MissingField,
    /// The answer, or a field of it, has another shape.
    ChangedShape,
    /// The answer claims an older time and version.
    Stale,
    /// A list holds its first record twice.
    DuplicateRecord,
    /// The answer names another company.
    NameMismatch,
    /// The body comes a few bytes at a time.
    SlowDrip,
    /// Bytes that are not JSON, with status 200.
    Garbage,
    /// A body of many megabytes.
    Huge,
}

impl FaultKind {
    fn fits_mail(self) -> bool {
        match self {
            Self::TimeoutBefore
            | Self::TimeoutAfter
            | Self::ServerError
            | Self::RateLimit
            | Self::Forbidden
            | Self::Reset => true,
            Self::MissingField
            | Self::ChangedShape
            | Self::Stale
            | Self::DuplicateRecord
            | Self::NameMismatch
            | Self::SlowDrip
            | Self::Garbage
            | Self::Huge => false,
        }
    }
}

/// Whether a fault strikes before or after the effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing has happened yet.
    #[default]
    Before,
    /// The effect has landed.
    After,
}

/// On which calls a rule fires, counted from 1. In JSON: `3`, `"2..4"` (both included), `"always"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum Schedule {
    /// On every call.
    #[default]
    Always,
    /// From one call to another, both included.
    Calls {
        /// The first call.
        from: u64,
        /// The last call.
        to: u64,
    },
}

impl Schedule {
    fn holds(self, call: u64) -> bool {
        match self {
            Self::Always => true,
            Self::Calls { from, to } => (from..=to).contains(&call),
        }
    }
}

impl TryFrom<Value> for Schedule {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let range = |text: &str| {
            let (from, to) = text.split_once("..")?;
            Some((from.parse().ok()?, to.parse().ok()?))
        };
        let calls = match &value {
            Value::String(text) if text == "always" => return Ok(Self::Always),
            Value::String(text) => range(text),
            other => other.as_u64().map(|call| (call, call)),
        };
        match calls {
            Some((from, to)) if from >= 1 && from <= to => Ok(Self::Calls { from, to }),
            _ => Err(format!("on_call is {value}, must be 3, \"2..4\" or \"always\" (from 1)")),
        }
    }
}

impl From<Schedule> for Value {
    fn from(schedule: Schedule) -> Self {
        match schedule {
            Schedule::Always => "always".into(),
            Schedule::Calls { from, to } if from == to => from.into(),
            Schedule::Calls { from, to } => format!("{from}..{to}").into(),
        }
    }
}

struct Armed {
    fault: Fault,
    calls: u64,
}

/// The rules in force.
#[derive(Default)]
pub(crate) struct Faults {
    armed: Mutex<Vec<Armed>>,
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault) -> Result<(), Error> {
        fault.check()?;
        let mut armed = self.lock();
        if armed.len() >= MAX_RULES {
            let reason = format!("{MAX_RULES} rules are in force already; DELETE them first");
            return Err(Error::Fault { operation: fault.operation, reason });
        }
        armed.push(Armed { fault, calls: 0 });
        Ok(())
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    pub(crate) fn list(&self) -> Vec<Fault> {
        self.lock().iter().map(|armed| armed.fault.clone()).collect()
    }

    /// Counts a call; gives the first rule that fires on it.
    pub(crate) fn fire(&self, system: System, operation: &str) -> Option<Fault> {
        let mut fired = None;
        for armed in self.lock().iter_mut() {
            if armed.fault.covers(system, operation) {
                armed.calls = armed.calls.saturating_add(1);
                if fired.is_none() && armed.fault.on_call.holds(armed.calls) {
                    fired = Some(armed.fault.clone());
                }
            }
        }
        fired
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Armed>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn schedules_read_and_write_the_same_text() {
        for text in [json!(3), json!("2..4"), json!("always")] {
            let schedule = Schedule::try_from(text.clone()).unwrap();
            assert_eq!(Value::from(schedule), text);
        }
        for wrong in [json!(0), json!("4..2"), json!("never"), json!(-1), json!(null)] {
            assert!(Schedule::try_from(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rule_fires_on_its_calls_only() {
        let faults = Faults::default();
        let rule = json!({"system": "crm", "operation": "crm.get_account", "kind": "5xx", "on_call": "2..3"});
        faults.add(serde_json::from_value(rule).unwrap()).unwrap();
        let fired: Vec<bool> =
            (0..4).map(|_| faults.fire(System::Crm, "crm.get_account").is_some()).collect();
        assert_eq!(fired, [false, true, true, false]);
        assert!(faults.fire(System::Crm, "crm.get_contract").is_none());
    }

    #[test]
    fn rules_that_cannot_work_are_refused() {
        let faults = Faults::default();
        for (system, operation, kind) in [
            (System::Crm, "crm.no_such", FaultKind::Reset),
            (System::Desk, "crm.get_account", FaultKind::Reset),
            (System::Mail, "mail.send", FaultKind::Garbage),
            (System::Crm, "crm.get_account", FaultKind::DuplicateRecord),
        ] {
            assert!(faults.add(Fault::new(system, operation, kind)).is_err(), "{operation}");
        }
        assert!(faults.list().is_empty());
    }
}
