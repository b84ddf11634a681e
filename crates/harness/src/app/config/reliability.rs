//! `[circuit]` and `[slo]`: when operations that nobody answers are let alone, and what the operator expects of each.

use std::collections::BTreeMap;

use connect::{CircuitRule, Recent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::problem::Problem;

/// Share of calls that a system should do well, where `[slo]` does not say.
const SUCCESS: f64 = 0.99;

/// Fewer calls than these say nothing about a goal.
const CALLS_MIN: u32 = 20;

/// `[circuit]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CircuitFile {
    /// Calls in a row without an answer that open an operation's circuit.
    pub open_after: Option<u32>,
    /// How long it stays open the first time, in milliseconds.
    pub cooldown_ms: Option<u64>,
}

impl CircuitFile {
    pub(super) fn rule(&self) -> Result<CircuitRule, Problem> {
        let usual = CircuitRule::default();
        let open_after = self.open_after.unwrap_or(usual.open_after);
        let cooldown_ms = self.cooldown_ms.unwrap_or(usual.cooldown_ms);
        if open_after == 0 || cooldown_ms > connect::circuit::COOLDOWN_MAX_MS {
            let detail = format!(
                "circuit.open_after must be at least 1, circuit.cooldown_ms at most {}",
                connect::circuit::COOLDOWN_MAX_MS
            );
            return Err(refusal(detail, "circuit"));
        }
        Ok(CircuitRule { open_after, cooldown_ms })
    }
}

/// `[slo]`: what is expected of every operation, and of some by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SloFile {
    /// Share of its calls that a system should do well, above 0 and at most 1. By default 0.99.
    pub success: Option<f64>,
    /// What 95 of 100 calls should not exceed, in milliseconds. By default nothing is expected.
    pub p95_ms: Option<u64>,
    /// The same for one operation, by its name; what it does not say is as above.
    pub operations: BTreeMap<String, GoalFile>,
}

impl SloFile {
    /// As `config show` tells it.
    pub(super) fn words(&self) -> String {
        let success = self.success.unwrap_or(SUCCESS) * 100.0;
        let slowest = self.p95_ms.map(|ms| format!(", p95 {ms} ms")).unwrap_or_default();
        let own = match self.operations.len() {
            0 => String::new(),
            count => format!("; {count} of their own"),
        };
        format!("{success} % of calls{slowest}{own}")
    }
}

/// `[slo.operations."NAME"]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GoalFile {
    /// Share of its calls that the system should do well, above 0 and at most 1.
    pub success: Option<f64>,
    /// What 95 of 100 calls should not exceed, in milliseconds.
    pub p95_ms: Option<u64>,
}

/// What is expected of an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// Share of calls that its system does well.
    pub success: f64,
    /// What 95 of 100 calls do not exceed, in milliseconds.
    pub p95_ms: Option<u64>,
}

impl Goal {
    /// `met`, `missed`, or `unknown` where too little was called to say.
    #[must_use]
    pub fn verdict(self, recent: &Recent) -> &'static str {
        if recent.calls < CALLS_MIN {
            return "unknown";
        }
        let well = f64::from(recent.well) >= self.success * f64::from(recent.calls);
        match well && self.p95_ms.is_none_or(|most| recent.p95_ms <= most) {
            true => "met",
            false => "missed",
        }
    }
}

/// What is expected of every operation.
#[derive(Clone, Debug)]
pub struct Goals {
    usual: Goal,
    own: BTreeMap<String, Goal>,
}

impl Goals {
    pub(super) fn of(file: &SloFile) -> Result<Self, Problem> {
        let usual =
            goal("slo", (file.success, file.p95_ms), Goal { success: SUCCESS, p95_ms: None })?;
        let own = file.operations.iter().map(|(name, own)| {
            let place = format!("slo.operations.\"{name}\"");
            Ok((name.clone(), goal(&place, (own.success, own.p95_ms), usual)?))
        });
        Ok(Self { usual, own: own.collect::<Result<_, Problem>>()? })
    }

    /// What is expected of this one.
    #[must_use]
    pub fn of_operation(&self, operation: &str) -> Goal {
        self.own.get(operation).copied().unwrap_or(self.usual)
    }
}

fn goal(
    place: &str,
    (success, p95_ms): (Option<f64>, Option<u64>),
    usual: Goal,
) -> Result<Goal, Problem> {
    let success = success.unwrap_or(usual.success);
    if !(success > 0.0 && success <= 1.0) {
        return Err(refusal(format!("{place}.success must be above 0 and at most 1"), "slo"));
    }
    if p95_ms == Some(0) {
        return Err(refusal(format!("{place}.p95_ms must be at least 1"), "slo"));
    }
    Ok(Goal { success, p95_ms: p95_ms.or(usual.p95_ms) })
}

fn refusal(detail: String, table: &str) -> Problem {
    let next =
        format!("correct `{table}` in the configuration; `harness config show` names the file");
    Problem::usage("config-invalid", detail).next(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goals(text: &str) -> Result<Goals, Problem> {
        Goals::of(&toml::from_str(text).unwrap())
    }

    #[test]
    fn an_operation_has_its_own_goal_and_otherwise_that_of_all() {
        let goals =
            goals("success = 0.95\np95_ms = 800\n[operations.\"a.b\"]\nsuccess = 1.0\n").unwrap();
        assert_eq!(goals.of_operation("a.b"), Goal { success: 1.0, p95_ms: Some(800) });
        assert_eq!(goals.of_operation("a.c"), Goal { success: 0.95, p95_ms: Some(800) });
        let usual = self::goals("").unwrap().of_operation("a.b");
        assert_eq!(usual, Goal { success: SUCCESS, p95_ms: None });
        for wrong in ["success = 0.0", "success = 1.1", "success = nan", "p95_ms = 0"] {
            assert!(self::goals(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_goal_is_missed_by_failures_or_by_slowness_once_enough_was_called() {
        let goal = Goal { success: 0.95, p95_ms: Some(500) };
        let recent = |calls, well, p95_ms| Recent { calls, well, p50_ms: 1, p95_ms };
        assert_eq!(goal.verdict(&recent(19, 0, 9_000)), "unknown");
        assert_eq!(goal.verdict(&recent(20, 19, 500)), "met");
        assert_eq!(goal.verdict(&recent(20, 18, 500)), "missed");
        assert_eq!(goal.verdict(&recent(20, 20, 501)), "missed");
    }
}
