//! What is kept of an answer that broke its contract: enough for a person to see what changed, capped,
//! redacted and masked. It travels beside the failure as a value from outside, never in a hashed body.

use std::{collections::BTreeSet, sync::Arc};

use kernel::{canon, exception::Class, pointer};
use serde_json::{Map, Value, json};

use crate::{
    call::clip,
    ingest::{MASKED, Rules},
};

/// Largest answer that is kept whole, and longest beginning that is kept of a larger one, in bytes.
pub const SAMPLE_MAX_BYTES: usize = 4_096;

/// A broken promise: what was promised, where, and what was found instead.
#[derive(Debug)]
pub(crate) struct Breach {
    pub(crate) class: Class,
    pub(crate) message: String,
    /// Pointer into the answer.
    pub(crate) at: String,
    /// What speaks for the verdict: scores, ages, counts. Names in it are withheld where `at` is masked.
    pub(crate) evidence: Box<Map<String, Value>>,
}

impl Breach {
    pub(crate) fn new(class: Class, at: &str, message: String) -> Self {
        Self { class, message, at: at.to_owned(), evidence: Box::default() }
    }

    pub(crate) fn with(mut self, evidence: Value) -> Self {
        if let Value::Object(map) = evidence {
            self.evidence = Box::new(map);
        }
        self
    }
}

/// The sample of a decoded answer, and what was found wrong with it.
pub(crate) fn of_value(value: &Value, breach: &Breach, rules: &Rules<'_>) -> Arc<Value> {
    let mut shown = value.clone();
    for mask in rules.masks {
        pointer::replace(&mut shown, mask, &json!(MASKED));
    }
    let hidden = value.pointer(&breach.at) != shown.pointer(&breach.at);
    let mut sample = Map::from_iter([("at".to_owned(), json!(breach.at))]);
    let mut evidence = (*breach.evidence).clone();
    if hidden {
        // Words of a masked field would tell what it holds; numbers do not.
        evidence.retain(|_, value| value.is_number());
    }
    if !evidence.is_empty() {
        sample.insert("evidence".to_owned(), Value::Object(evidence));
    }
    // Where the shape is not the declared one, nobody can tell where the masked fields are.
    let drifted = matches!(breach.class, Class::UnexpectedShape | Class::MissingField);
    if let Some(why) = withheld(rules.masks).filter(|_| drifted) {
        sample.insert("withheld".to_owned(), json!(why));
        return Arc::new(Value::Object(sample));
    }
    match canon::bytes(&shown) {
        Ok(bytes) if bytes.len() <= SAMPLE_MAX_BYTES => {
            sample.insert("answer".to_owned(), shown);
        }
        Ok(bytes) => {
            sample.insert("bytes".to_owned(), json!(bytes.len()));
            sample.insert("begins".to_owned(), json!(beginning(&String::from_utf8_lossy(&bytes))));
        }
        Err(error) => {
            sample.insert("unreadable".to_owned(), json!(error.to_string()));
        }
    }
    Arc::new(Value::Object(sample))
}

/// The sample of bytes that could not be decoded: nothing of them while fields are masked, since nobody
/// can tell where those are.
pub(crate) fn of_bytes(bytes: &[u8], rules: &Rules<'_>) -> Arc<Value> {
    Arc::new(match withheld(rules.masks) {
        Some(why) => json!({ "bytes": bytes.len(), "withheld": why }),
        None => {
            let text = rules.redactor.scrub_text(&String::from_utf8_lossy(bytes));
            json!({ "bytes": bytes.len(), "begins": beginning(&text) })
        }
    })
}

fn withheld(masks: &BTreeSet<String>) -> Option<&'static str> {
    (!masks.is_empty()).then_some("fields of this answer are masked")
}

fn beginning(text: &str) -> String {
    // Characters are at least one byte: this many are at most as long as they may be, or cut below.
    let mut end = SAMPLE_MAX_BYTES.min(text.len());
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    clip(text.get(..end).unwrap_or_default(), SAMPLE_MAX_BYTES)
}
