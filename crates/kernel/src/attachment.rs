//! Files and pictures that somebody hands in with a request.
//!
//! A request holds an [`Attachment`] where the file would stand: what it is called, what it is, and under which
//! digest its bytes are kept. Journals, plans and prompts hold no more than that; whoever sends a prompt reads the
//! bytes again. What is kept begins with the run it was handed in with, so that no value of a run, whoever wrote it,
//! can name the bytes of another one, or anything else that a store keeps by digest.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{Digest, RunId};

/// The input that holds what was handed in.
pub const ATTACHMENTS: &str = "attachments";

/// The field that makes an object the name of a file that was handed in. No other value may have it.
pub const ATTACHED: &str = "$attached";

/// Most files of one request.
pub const ATTACHMENTS_MAX: usize = 16;

/// What stands before the bytes that are kept.
const FRAME: &str = "harness/attachment/v1";

/// A file that was handed in with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// Digest under which it is kept, frame included.
    #[serde(rename = "$attached")]
    pub digest: Digest,
    /// What it is called; says nothing about what it is.
    pub name: String,
    /// What it is, by its content.
    pub media_type: String,
    /// Its bytes.
    pub bytes: u64,
}

impl Attachment {
    /// What a model has to be able to take.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.media_type.as_str() {
            kind if kind.starts_with("image/") => Kind::Image,
            "application/pdf" => Kind::Pdf,
            _ => Kind::Text,
        }
    }
}

/// What a model has to be able to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Text: every model takes it.
    Text,
    /// A picture.
    Image,
    /// A PDF document.
    Pdf,
}

impl Kind {
    /// The word used in configuration and errors.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Pdf => "pdf",
        }
    }
}

/// Bytes as they are kept: the run first.
#[must_use]
pub fn frame(run: &RunId, content: &[u8]) -> Vec<u8> {
    [head(run).as_bytes(), content].concat()
}

/// What stands in kept bytes, where they were handed in with this run.
#[must_use]
pub fn unframe<'a>(run: &RunId, kept: &'a [u8]) -> Option<&'a [u8]> {
    kept.strip_prefix(head(run).as_bytes())
}

fn head(run: &RunId) -> String {
    format!("{FRAME}\n{run}\n")
}

/// The files that a value holds in its `attachments`; none where anything else stands there.
#[must_use]
pub fn of_value(value: &Value) -> Vec<Attachment> {
    let held = value.get(ATTACHMENTS).filter(|held| held.as_array().is_some());
    held.and_then(|held| Vec::<Attachment>::deserialize(held).ok()).unwrap_or_default()
}

/// Whether a value names a file somewhere, as only a door may.
#[must_use]
pub fn is_named_in(value: &Value) -> bool {
    let mut rest = vec![value];
    while let Some(value) = rest.pop() {
        match value {
            Value::Array(items) => rest.extend(items),
            Value::Object(map) if map.contains_key(ATTACHED) => return true,
            Value::Object(map) => rest.extend(map.values()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::id::Tenant;

    #[test]
    fn what_is_kept_belongs_to_one_run() {
        let run = |key: &str| RunId::of_intent(&Tenant::default(), "task", key);
        let kept = frame(&run("a"), b"content");
        assert_eq!(unframe(&run("a"), &kept), Some(&b"content"[..]));
        assert_eq!(unframe(&run("b"), &kept), None);
        assert_eq!(unframe(&run("a"), b"a plan, or anything else that is kept"), None);
    }

    #[test]
    fn only_whole_names_count_and_any_is_found() {
        let one = json!({
            "$attached": Digest::of(b"x"), "name": "a.png", "media_type": "image/png", "bytes": 1,
        });
        let found = of_value(&json!({"task": "look", "attachments": [one]}));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].kind(), Kind::Image);
        for wrong in
            [json!({"attachments": "x"}), json!({"attachments": [{"name": "a"}]}), json!("x")]
        {
            assert!(of_value(&wrong).is_empty(), "{wrong}");
        }
        assert!(is_named_in(&json!({"a": [1, {"b": one}]})));
        assert!(!is_named_in(&json!({"a": [1, {"b": "$attached"}]})));
    }
}
