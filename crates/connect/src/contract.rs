//! What an operation promises about its output: schema, freshness, uniqueness, entity agreement.

use jiff::Timestamp;
use kernel::{
    exception::Class,
    operation::{Freshness, Match},
};
use serde_json::{Value, json};

use crate::{call::clip, entity, ingest::Rules, sample::Breach};

/// Unix times from here on are milliseconds, below seconds (the year 5138 in seconds, 1973 in ms).
const UNIX_MS_FROM: i64 = 100_000_000_000;

/// Longest name that evidence repeats, in characters.
const NAME_MAX_CHARS: usize = 200;

/// Longest part of a schema violation that a message repeats, in characters.
const PROBLEM_MAX_CHARS: usize = 200;

/// Checks every promise; the first that is broken is the failure.
pub(crate) fn check(value: &Value, rules: &Rules<'_>) -> Result<(), Breach> {
    check_schema(value, rules)?;
    let contract = &rules.operation.contract;
    if let Some(freshness) = &contract.freshness {
        check_freshness(value, freshness, rules)?;
    }
    if let Some(place) = &contract.unique {
        check_unique(value, place)?;
    }
    if let Some(rule) = &contract.matches {
        check_match(value, rule, rules)?;
    }
    Ok(())
}

fn check_schema(value: &Value, rules: &Rules<'_>) -> Result<(), Breach> {
    let Some(violation) = rules.validate.violation(&rules.operation.output, value) else {
        return Ok(());
    };
    let class = match violation.class {
        Class::MissingField => Class::MissingField,
        _ => Class::UnexpectedShape,
    };
    let problem = clip(&rules.redactor.scrub_text(&violation.problem), PROBLEM_MAX_CHARS);
    let message = format!("the answer breaks its schema at `{}`: {problem}", violation.at);
    Err(Breach::new(class, &violation.at, message).with(json!({ "problem": problem })))
}

fn check_freshness(value: &Value, rule: &Freshness, rules: &Rules<'_>) -> Result<(), Breach> {
    let at = match value.pointer(&rule.at) {
        None | Some(Value::Null) => {
            let message = format!("the answer does not say at {} how old it is", rule.at);
            return Err(Breach::new(Class::MissingField, &rule.at, message));
        }
        Some(Value::String(text)) => text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond),
        Some(other) => other.as_i64().map(unix_ms),
    };
    let Some(at) = at else {
        let message =
            format!("the answer's {} is neither an RFC 3339 time nor a Unix time", rule.at);
        return Err(Breach::new(Class::UnexpectedShape, &rule.at, message));
    };
    let age_ms = rules.now.saturating_sub(at);
    if age_ms <= rule.max_age_ms {
        return Ok(());
    }
    let message = format!(
        "the answer is {age_ms} ms old by its {}, at most {} are allowed",
        rule.at, rule.max_age_ms
    );
    let evidence = json!({ "age_ms": age_ms, "max_age_ms": rule.max_age_ms });
    Err(Breach::new(Class::Stale, &rule.at, message).with(evidence))
}

fn unix_ms(number: i64) -> i64 {
    if number < UNIX_MS_FROM { number.saturating_mul(1_000) } else { number }
}

fn check_unique(value: &Value, place: &str) -> Result<(), Breach> {
    match value.pointer(place) {
        Some(Value::Array(items)) if items.len() <= 1 => Ok(()),
        Some(Value::Array(items)) => {
            let message = format!(
                "the answer holds {} records at {place} where one was promised",
                items.len()
            );
            let evidence = json!({ "records": items.len(), "records_max": 1 });
            Err(Breach::new(Class::Duplicate, place, message).with(evidence))
        }
        Some(_) => {
            let message = format!("the answer's {place} is no list");
            Err(Breach::new(Class::UnexpectedShape, place, message))
        }
        None => {
            let message = format!("the answer has nothing at {place}");
            Err(Breach::new(Class::MissingField, place, message))
        }
    }
}

fn check_match(value: &Value, rule: &Match, rules: &Rules<'_>) -> Result<(), Breach> {
    let Some(found) = value.pointer(&rule.output).and_then(Value::as_str) else {
        let message = format!("the answer names no entity at {}", rule.output);
        return Err(Breach::new(Class::MissingField, &rule.output, message));
    };
    let expected = rules.args.pointer(&rule.expected).and_then(Value::as_str).unwrap_or_default();
    let seen = entity::compare(expected, found);
    if seen.score >= rule.threshold {
        return Ok(());
    }
    let message = format!(
        "the answer's {} and the argument {} name different entities (agreement {} of 100, at least {} is asked)",
        rule.output, rule.expected, seen.score, rule.threshold
    );
    let evidence = json!({
        "score": seen.score,
        "threshold": rule.threshold,
        "expected": clip(expected, NAME_MAX_CHARS),
        "found": clip(found, NAME_MAX_CHARS),
        "shared": seen.shared,
        "only_expected": seen.only_one,
        "only_found": seen.only_other,
    });
    Err(Breach::new(Class::Mismatch, &rule.output, message).with(evidence))
}
