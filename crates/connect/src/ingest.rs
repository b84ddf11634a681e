//! The one way in for outside bytes: cap, decode, pick, redact, check, mask, label.
//!
//! The contract is checked before the masks are laid on, so that a masked field still counts as present;
//! a mask replaces what it names by [`MASKED`], so that people and models see that something is withheld
//! (a `null` would read as "the system holds nothing here").

use std::{collections::BTreeSet, sync::Arc};

use kernel::{
    canon,
    exception::Class,
    id::{At, Digest},
    kept::{self, Kept},
    operation::{Contract, Operation},
    pointer,
    port::{Failure, Outcome, Returned, Validate},
};
use serde_json::{Map, Value, json};

use crate::{
    blob::{PREVIEW_BYTES, Stored},
    call::{clip, fail, landed_if_write},
    contract,
    redact::Redactor,
    sample::{self, Breach},
};

/// What stands where a policy withholds a field.
pub const MASKED: &str = "[masked]";

/// Longest piece of an outside answer that a failure message repeats, in characters.
pub const EXCERPT_MAX_CHARS: usize = 200;

/// Something from outside, not trusted yet.
#[derive(Debug)]
pub enum Received {
    /// JSON text, exactly as received.
    Bytes(Vec<u8>),
    /// A value decoded by a database driver or made by a tool in this crate.
    Value(Value),
    /// The target said that there is nothing, and the operation allows that.
    Absent(Vec<u8>),
    /// Too large to travel: stored, redacted, undecoded.
    Stored(Stored),
}

/// How one operation's answers are treated.
#[derive(Debug)]
pub struct Rules<'a> {
    /// The operation.
    pub operation: &'a Operation,
    /// Its arguments, for entity agreement.
    pub args: &'a Value,
    /// Pointer patterns of fields that must not come back.
    pub masks: &'a BTreeSet<String>,
    /// Live secrets.
    pub redactor: &'a Redactor,
    /// Checks the declared output schema.
    pub validate: &'a dyn Validate,
    /// Wall clock, for freshness.
    pub now: At,
    /// What to take from the answer.
    pub pick: Pick<'a>,
}

/// What to take from an answer.
#[derive(Debug, Default)]
pub struct Pick<'a> {
    /// Pointer into the answer that becomes the output; empty = all of it.
    pub result: &'a str,
    /// Extra output fields that did not stand in the body.
    pub captured: Map<String, Value>,
    /// Pointer into the output: the target's own id for what happened.
    pub external_ref: Option<&'a str>,
}

/// Turns something from outside into what may be journaled, or says why not.
///
/// # Errors
/// A failure whose `landed` is `Yes` for a write: its effect is there, only its answer is bad.
pub fn ingest(received: Received, rules: &Rules<'_>) -> Outcome {
    match received {
        Received::Bytes(bytes) => {
            let digest = Digest::of(&bytes);
            let value = decode(&bytes, rules)?;
            finish(value, digest, rules)
        }
        Received::Value(value) => {
            let bytes = canon::bytes(&value).map_err(|e| bad_shape(rules, &e.to_string()))?;
            if bytes.len() > PREVIEW_BYTES {
                let message =
                    format!("the result is larger than {PREVIEW_BYTES} bytes; ask for less of it");
                return Err(bad_shape(rules, &message));
            }
            finish(value, Digest::of(&bytes), rules)
        }
        Received::Absent(bytes) => Ok(returned(Value::Null, Digest::of(&bytes), rules)),
        Received::Stored(stored) => reference(stored, rules),
    }
}

/// A short, redacted piece of an outside text for a failure message; nothing while fields are masked.
#[must_use]
pub fn excerpt(text: &[u8], redactor: &Redactor, masks: &BTreeSet<String>) -> String {
    if !masks.is_empty() {
        return "(withheld: fields of this answer are masked)".to_owned();
    }
    let text = redactor.scrub_text(&String::from_utf8_lossy(text));
    clip(text.trim(), EXCERPT_MAX_CHARS)
}

fn decode(bytes: &[u8], rules: &Rules<'_>) -> Result<Value, Failure> {
    if bytes.len() > PREVIEW_BYTES {
        let message =
            format!("the result is larger than {PREVIEW_BYTES} bytes; ask for less of it");
        return Err(keep_bytes(bad_shape(rules, &message), bytes, rules));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    canon::parse(bytes).map_err(|error| {
        let seen = excerpt(bytes, rules.redactor, rules.masks);
        let message = format!("the answer cannot be used: {error}; it begins: {seen}");
        keep_bytes(bad_shape(rules, &message), bytes, rules)
    })
}

fn finish(mut whole: Value, digest: Digest, rules: &Rules<'_>) -> Outcome {
    let mut value = match rules.pick.result {
        "" => whole,
        place => match whole.pointer_mut(place) {
            Some(part) => part.take(),
            None => {
                let message = format!("the answer has nothing at {place}");
                rules.redactor.scrub_value(&mut whole);
                return Err(breached(
                    &whole,
                    Breach::new(Class::MissingField, place, message),
                    rules,
                ));
            }
        },
    };
    add_captured(&mut value, rules)?;
    if kept::is_forged(&value) {
        // What stands for a large result leads to the store: nobody outside writes one.
        return Err(bad_shape(rules, "the answer looks like a reference to a stored result"));
    }
    rules.redactor.scrub_value(&mut value);
    contract::check(&value, rules).map_err(|breach| breached(&value, breach, rules))?;
    for mask in rules.masks {
        pointer::replace(&mut value, mask, &json!(MASKED));
    }
    Ok(returned(value, digest, rules))
}

fn add_captured(value: &mut Value, rules: &Rules<'_>) -> Result<(), Failure> {
    if rules.pick.captured.is_empty() {
        return Ok(());
    }
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => {
            map.extend(rules.pick.captured.clone());
            Ok(())
        }
        _ => Err(bad_shape(rules, "the answer is no object, captured headers have no place in it")),
    }
}

fn returned(value: Value, received: Digest, rules: &Rules<'_>) -> Returned {
    let external = rules.pick.external_ref.and_then(|place| value.pointer(place));
    let external_ref = match external {
        Some(Value::String(text)) if text != MASKED => Some(clip(text, EXCERPT_MAX_CHARS)),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    Returned {
        output: Arc::new(value),
        labels: rules.operation.labels.clone(),
        external_ref,
        cost: None,
        received,
    }
}

/// Whether a body nobody has looked into may stand for the answer. What cannot be decoded can neither be
/// masked nor be held to what a read promises; a write's effect is there whatever its answer holds.
pub(crate) fn may_travel_unread(operation: &Operation, masks: &BTreeSet<String>) -> bool {
    masks.is_empty() && (operation.is_write() || operation.contract == Contract::default())
}

/// A stored body travels as a reference.
fn reference(stored: Stored, rules: &Rules<'_>) -> Outcome {
    if !may_travel_unread(rules.operation, rules.masks) {
        let message =
            format!("the result is larger than {PREVIEW_BYTES} bytes; ask for less of it");
        return Err(bad_shape(rules, &message));
    }
    let Stored { blob, received, bytes, preview } = stored;
    Ok(returned(Kept { blob, bytes, preview }.into_value(), received, rules))
}

/// A broken promise as a failure, with the answer that broke it.
fn breached(value: &Value, breach: Breach, rules: &Rules<'_>) -> Failure {
    let sample = Some(sample::of_value(value, &breach, rules));
    Failure { sample, ..fail(breach.class, landed_if_write(rules.operation), breach.message) }
}

fn keep_bytes(failure: Failure, bytes: &[u8], rules: &Rules<'_>) -> Failure {
    Failure { sample: Some(sample::of_bytes(bytes, rules)), ..failure }
}

fn bad_shape(rules: &Rules<'_>, message: &str) -> Failure {
    fail(Class::UnexpectedShape, landed_if_write(rules.operation), message)
}
