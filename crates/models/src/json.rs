//! Reading JSON without knowing all of it, and writing the pieces a request is made of.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use kernel::{
    canon,
    conversation::{Item, Malformed},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use crate::error::{Error, clip};

/// Deepest nesting of a tool call's arguments: inside a journaled reply they lie deeper.
const ARGUMENTS_DEPTH_MAX: usize = canon::DEPTH_MAX - 8;

/// An object whose fields are left as they were written: what nobody asks for is not looked at.
#[derive(Debug, Default)]
pub(crate) struct Doc<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Doc<'a> {
    pub(crate) fn read(text: &'a str) -> Result<Self, Error> {
        serde_json::from_str(text).map_err(|e| Error::garbage(format!("no JSON object: {e}")))
    }

    pub(crate) fn of(raw: &'a RawValue) -> Self {
        serde_json::from_str(raw.get()).unwrap_or_default()
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// A field that is there and not null; of two with one name the last.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let named = self.0.iter().rev().find(|(known, _)| known == name);
        named.map(|(_, raw)| *raw).filter(|raw| raw.get() != "null")
    }

    pub(crate) fn doc(&self, name: &str) -> Self {
        self.get(name).map(Self::of).unwrap_or_default()
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(text_of)
    }

    pub(crate) fn list(&self, name: &str) -> Vec<&'a RawValue> {
        self.get(name).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }

    pub(crate) fn count(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(|raw| serde_json::from_str(raw.get()).ok())
    }

    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|raw| raw.get() == "true")
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Doc<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Doc<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Doc<'de>, A::Error> {
                let mut fields = Vec::with_capacity(12);
                while let Some((Name(name), value)) = map.next_entry()? {
                    fields.push((name, value));
                }
                Ok(Doc(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// A field's name, borrowed unless it is written with escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

pub(crate) fn text_of(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// Appends anything serialisable; what we write always is.
pub(crate) fn push<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Writing to memory cannot fail, and our own values have string keys and finite numbers.
    let _ = serde_json::to_writer(out, value);
}

/// Appends `,"name":value`.
pub(crate) fn push_field<T: Serialize + ?Sized>(out: &mut Vec<u8>, name: &str, value: &T) {
    out.push(b',');
    push(out, name);
    out.push(b':');
    push(out, value);
}

/// A tool call as the kernel knows it. Empty arguments are none; what cannot be journaled is malformed.
pub(crate) fn call(id: String, name: String, arguments: &str) -> Item {
    let written = if arguments.trim().is_empty() { "{}" } else { arguments };
    let parsed = canon::parse(written.as_bytes()).and_then(|value| {
        if depth(&value) > ARGUMENTS_DEPTH_MAX { Err(canon::Error::Depth) } else { Ok(value) }
    });
    match parsed {
        Ok(value) => Item::Call { id, name, arguments: Some(value.into()), malformed: None },
        Err(problem) => {
            let malformed = Malformed { text: arguments.to_owned(), problem: problem.to_string() };
            Item::Call { id, name, arguments: None, malformed: Some(malformed) }
        }
    }
}

/// What a provider's own tool did; as text where it cannot be journaled as it is.
pub(crate) fn provided(name: String, detail: &RawValue) -> Item {
    let value = canon::parse(detail.get().as_bytes()).ok();
    let value = value.filter(|value| depth(value) <= ARGUMENTS_DEPTH_MAX);
    let detail = value.unwrap_or_else(|| Value::String(detail.get().to_owned()));
    Item::Provided { name, detail: detail.into() }
}

/// How deep a value nests; it was parsed under a limit, so recursion is bounded.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Whether `text` is a JSON object: what servers expect arguments to be when they are told again.
pub(crate) fn is_object(text: &str) -> bool {
    serde_json::from_str::<BTreeMap<String, &RawValue>>(text).is_ok()
}

/// Thousandths as a number with no more digits than it needs: 700 is `0.7`.
pub(crate) fn milli(thousandths: u32) -> Value {
    let number = serde_json::Number::from_f64(f64::from(thousandths) / 1_000.0);
    number.map_or(Value::Null, Value::Number)
}

/// Whether every object in a schema lists all its properties as required and allows no others: only
/// then can a provider be asked to hold an answer to it strictly.
pub(crate) fn is_strict(schema: &Value) -> bool {
    let inner = |value: &Value| match value {
        Value::Object(map) => map.values().all(is_strict),
        Value::Array(items) => items.iter().all(is_strict),
        _ => true,
    };
    let Some(map) = schema.as_object() else {
        return inner(schema);
    };
    if map.get("type").and_then(Value::as_str) == Some("object") {
        let closed = map.get("additionalProperties") == Some(&Value::Bool(false));
        let required = map.get("required").and_then(Value::as_array);
        let properties = map.get("properties").and_then(Value::as_object);
        let all = properties.is_some_and(|properties| {
            properties.keys().all(|name| {
                required.is_some_and(|names| names.iter().any(|n| n.as_str() == Some(name)))
            })
        });
        if !closed || !all {
            return false;
        }
    }
    map.values().all(inner)
}

/// The message in an error body, whatever shape it has; else the body itself.
pub(crate) fn error_message(body: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(body) else {
        return clip(body.trim());
    };
    let value = value.as_array().and_then(|list| list.first()).unwrap_or(&value);
    let error = value.get("error").unwrap_or(value);
    let said = error.as_str().or_else(|| error.get("message").and_then(Value::as_str));
    let said = said.or_else(|| value.get("message").and_then(Value::as_str));
    clip(said.unwrap_or_else(|| body.trim()))
}

/// The words by which an error body names its kind: type, code and status.
pub(crate) fn error_words(body: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(body) else {
        return String::new();
    };
    let value = value.as_array().and_then(|list| list.first()).unwrap_or(&value);
    let error = value.get("error").filter(|error| error.is_object()).unwrap_or(value);
    let word = |name: &str| error.get(name).and_then(Value::as_str);
    let words = ["type", "code", "status"].into_iter().filter_map(word);
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_closed_schema_can_be_held_to_strictly() {
        let closed = json!({"type": "object", "properties": {"a": {"type": "integer"}},
            "required": ["a"], "additionalProperties": false});
        let open = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
        let optional = json!({"type": "object", "properties": {"a": {}, "b": {}},
            "required": ["a"], "additionalProperties": false});
        assert!(is_strict(&closed) && is_strict(&json!({"type": "string"})));
        assert!(!is_strict(&open) && !is_strict(&optional));
        assert!(!is_strict(&json!({"anyOf": [closed, open]})), "wherever it stands");
    }

    #[test]
    fn arguments_are_kept_only_where_they_can_be_journaled() {
        let read = |text: &str| match call(String::new(), String::new(), text) {
            Item::Call { arguments, malformed, .. } => {
                assert!(arguments.is_some() != malformed.is_some());
                arguments.map(|value| value.to_string())
            }
            _ => None,
        };
        assert_eq!(read("").as_deref(), Some("{}"));
        assert_eq!(read(" {\"a\": 1.50} ").as_deref(), Some("{\"a\":1.5}"));
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(read(&nested(ARGUMENTS_DEPTH_MAX)).is_some());
        for bad in
            ["{", "{\"a\":01}", "1e999", "9007199254740993", &nested(ARGUMENTS_DEPTH_MAX + 1)]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn thousandths_are_written_with_no_more_digits_than_they_need() {
        for (thousandths, text) in [(0, "0.0"), (1, "0.001"), (700, "0.7"), (2_000, "2.0")] {
            assert_eq!(milli(thousandths).to_string(), text);
        }
    }

    #[test]
    fn fields_nobody_knows_are_left_as_they_were() {
        let doc = Doc::read("{\"a\\u0062\": 1.0e1, \"n\": null, \"a\": 1, \"a\": 2}").unwrap();
        assert_eq!(doc.get("ab").map(RawValue::get), Some("1.0e1"));
        assert!(doc.get("n").is_none());
        assert_eq!(doc.count("a"), Some(2), "of two with one name the last");
        assert!(Doc::read("[]").is_err());
    }
}
