//! What an operation promises about its output: schema, freshness, uniqueness, entity agreement.

use jiff::Timestamp;
use kernel::{
    exception::Class,
    operation::{Freshness, Match},
    port::Failure,
};
use serde_json::Value;

use crate::{
    call::{clip, fail, landed_if_write},
    entity,
    ingest::Rules,
};

/// Unix times from here on are milliseconds, below seconds (the year 5138 in seconds, 1973 in ms).
const UNIX_MS_FROM: i64 = 100_000_000_000;

/// Longest part of a schema violation that a message repeats, in characters.
const PROBLEM_MAX_CHARS: usize = 200;

/// Checks every promise; the first that is broken is the failure.
pub(crate) fn check(value: &Value, rules: &Rules<'_>) -> Result<(), Failure> {
    check_schema(value, rules)?;
    let contract = &rules.operation.contract;
    if let Some(freshness) = &contract.freshness {
        check_freshness(value, freshness, rules)?;
    }
    if let Some(place) = &contract.unique {
        check_unique(value, place, rules)?;
    }
    if let Some(rule) = &contract.matches {
        check_match(value, rule, rules)?;
    }
    Ok(())
}

fn broken(rules: &Rules<'_>, class: Class, message: String) -> Failure {
    fail(class, landed_if_write(rules.operation), message)
}

fn check_schema(value: &Value, rules: &Rules<'_>) -> Result<(), Failure> {
    let Some(violation) = rules.validate.violation(&rules.operation.output, value) else {
        return Ok(());
    };
    let class = match violation.class {
        Class::MissingField => Class::MissingField,
        _ => Class::UnexpectedShape,
    };
    let problem = clip(&rules.redactor.scrub_text(&violation.problem), PROBLEM_MAX_CHARS);
    Err(broken(
        rules,
        class,
        format!("the answer breaks its schema at `{}`: {problem}", violation.at),
    ))
}

fn check_freshness(value: &Value, rule: &Freshness, rules: &Rules<'_>) -> Result<(), Failure> {
    let at = match value.pointer(&rule.at) {
        None | Some(Value::Null) => {
            let message = format!("the answer does not say at {} how old it is", rule.at);
            return Err(broken(rules, Class::MissingField, message));
        }
        Some(Value::String(text)) => text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond),
        Some(other) => other.as_i64().map(unix_ms),
    };
    let Some(at) = at else {
        let message =
            format!("the answer's {} is neither an RFC 3339 time nor a Unix time", rule.at);
        return Err(broken(rules, Class::UnexpectedShape, message));
    };
    let age_ms = rules.now.saturating_sub(at);
    if age_ms <= rule.max_age_ms {
        return Ok(());
    }
    let message = format!(
        "the answer is {age_ms} ms old by its {}, at most {} are allowed",
        rule.at, rule.max_age_ms
    );
    Err(broken(rules, Class::Stale, message))
}

fn unix_ms(number: i64) -> i64 {
    if number < UNIX_MS_FROM { number.saturating_mul(1_000) } else { number }
}

fn check_unique(value: &Value, place: &str, rules: &Rules<'_>) -> Result<(), Failure> {
    match value.pointer(place) {
        Some(Value::Array(items)) if items.len() <= 1 => Ok(()),
        Some(Value::Array(items)) => {
            let message = format!(
                "the answer holds {} records at {place} where one was promised",
                items.len()
            );
            Err(broken(rules, Class::Duplicate, message))
        }
        Some(_) => {
            let message = format!("the answer's {place} is no list");
            Err(broken(rules, Class::UnexpectedShape, message))
        }
        None => {
            let message = format!("the answer has nothing at {place}");
            Err(broken(rules, Class::MissingField, message))
        }
    }
}

fn check_match(value: &Value, rule: &Match, rules: &Rules<'_>) -> Result<(), Failure> {
    let Some(found) = value.pointer(&rule.output).and_then(Value::as_str) else {
        let message = format!("the answer names no entity at {}", rule.output);
        return Err(broken(rules, Class::MissingField, message));
    };
    let expected = rules.args.pointer(&rule.expected).and_then(Value::as_str).unwrap_or_default();
    let score = entity::agreement(expected, found);
    if score >= rule.threshold {
        return Ok(());
    }
    let message = format!(
        "the answer's {} and the argument {} name different entities (agreement {score} of 100, at least {} is asked)",
        rule.output, rule.expected, rule.threshold
    );
    Err(broken(rules, Class::Mismatch, message))
}
