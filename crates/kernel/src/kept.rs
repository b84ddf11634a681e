//! Results that are too large to travel: what stands for one, and the read that shows a part of it.
//!
//! A large result lies in the store of blobs, and a reference with its beginning is the result. An agent that wants more of
//! it asks for a part by a read of our own, which no catalogue and no plan holds: it is at hand wherever an agent is,
//! shows nothing but results of the same run, and stands in the journal as every other read, so that a replay needs
//! no blob.

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use crate::{
    canon,
    catalogue::Entry,
    decision::{Decision, Rule, Verdict},
    id::{Digest, OperationId},
    label::{Confidentiality, Label, LabelMap, Trust},
    operation::{Critical, Effect, Facts, Operation, Retry, TIMEOUT_DEFAULT_MS, Undo},
    playbook::call_path,
};

/// The connector that the read is an operation of. No pack has one of this name.
pub const KEPT_CONNECTOR: &str = "kept";

/// The read.
pub const KEPT_READ: &str = "kept.read";

/// Most bytes of a part.
pub const PART_BYTES_MAX: usize = 256 * 1024;

/// Where a reference names what it stands for.
const BLOB: &str = "$blob";

/// What stands for a large result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which blob it is.
    pub blob: Digest,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// Its beginning.
    pub preview: String,
}

impl Kept {
    /// Reads what stands for a large result, where a value is that and nothing else.
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        let fields = value.as_object().filter(|fields| fields.len() == 3)?;
        Some(Self {
            blob: fields.get(BLOB)?.as_str()?.parse().ok()?,
            bytes: fields.get("bytes")?.as_u64()?,
            preview: fields.get("preview")?.as_str()?.to_owned(),
        })
    }

    /// As the result of a call.
    #[must_use]
    pub fn into_value(self) -> Value {
        json!({ BLOB: self.blob.to_string(), "bytes": self.bytes, "preview": self.preview })
    }
}

/// Whether something from outside looks as if a large result of ours stood for it.
#[must_use]
pub fn is_forged(value: &Value) -> bool {
    value.get(BLOB).is_some()
}

/// Static path of an agent's reads of large results.
#[must_use]
pub fn read_path(agent: &str) -> String {
    call_path(agent, KEPT_READ)
}

/// Arguments of the read.
#[must_use]
pub fn part(kept: &Kept, from: u64, bytes: usize) -> Value {
    json!({
        "blob": kept.blob.to_string(),
        "from": from,
        "bytes": bytes.clamp(1, PART_BYTES_MAX),
    })
}

/// The read as an operation. Its definition is in the journals of runs that used it: another one is another operation.
pub(crate) fn entry() -> Option<&'static Entry> {
    static ENTRY: OnceLock<Option<Entry>> = OnceLock::new();
    ENTRY.get_or_init(made).as_ref()
}

fn made() -> Option<Entry> {
    let id: OperationId = KEPT_READ.parse().ok()?;
    let operation = Operation {
        id,
        summary: "Read {/bytes} bytes of a large result, from {/from}".to_owned(),
        facts: Facts {
            effect: Effect::Read,
            undo: Undo::None,
            retry: Retry::Keyed,
            egress: false,
            critical: Critical::At(Vec::new()),
        },
        resource: None,
        input: Arc::new(json!({
            "type": "object",
            "properties": {
                "blob": { "type": "string" },
                "from": { "type": "integer", "minimum": 0 },
                "bytes": { "type": "integer", "minimum": 1, "maximum": PART_BYTES_MAX },
            },
            "required": ["blob", "from", "bytes"],
            "additionalProperties": false,
        })),
        output: Arc::new(json!({
            "type": "object",
            "properties": {
                "text": { "type": "string" },
                "from": { "type": "integer" },
                "to": { "type": "integer" },
                "whole": { "type": "integer" },
            },
            "required": ["text", "from", "to", "whole"],
            "additionalProperties": false,
        })),
        // Its arguments carry the labels of what is read, and those join.
        labels: LabelMap::uniform(Label::bottom()),
        clearance: Label::new(Trust::Untrusted, Confidentiality::Secret),
        maskable: Vec::new(),
        contract: Default::default(),
        companions: Default::default(),
        groups: Vec::new(),
        timeout_ms: TIMEOUT_DEFAULT_MS,
        cost_max: None,
        rate: None,
        witness: Default::default(),
        binding: Arc::new(json!({ "kind": KEPT_CONNECTOR })),
    };
    let digest = canon::digest(&operation).ok()?;
    Some(Entry { operation: Arc::new(operation), digest })
}

/// That a run may read its own results is no question for a policy: it was asked before they were brought.
pub(crate) fn allowed() -> Decision {
    let reason = "it reads on in a result of this run".to_owned();
    let rule = Rule { layer: "kernel".to_owned(), id: "own-result".to_owned(), reason };
    Decision { verdict: Verdict::Allow, rules: vec![rule], policies: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_that_and_nothing_else() {
        let blob = Digest::of(b"x");
        let kept = Kept { blob, bytes: 9, preview: "x".to_owned() };
        let value = kept.clone().into_value();
        assert_eq!(Kept::of(&value), Some(kept));
        assert!(is_forged(&value));
        for (key, other) in [("more", json!(1)), ("bytes", json!(-1)), (BLOB, json!("x"))] {
            let mut wrong = value.clone();
            wrong[key] = other;
            assert_eq!(Kept::of(&wrong), None, "{wrong}");
        }
    }
}
