//! Schemas of both dialects as schemas of a pack: JSON Schema 2020-12, whole in themselves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Number, Value, json};

use crate::document::{Dialect, Document, short};

/// Most keywords in the schemas of one operation, each way; what is deeper is left open.
const PARTS_MAX: usize = 400;

/// As many are left however many operations there are.
const PARTS_MIN: usize = 25;

/// Most keywords of all operations together, each way: a pack has an end.
const PARTS_ALL: usize = 30_000;

/// What is said where a schema is cut.
const CUT: &str = "its schemas are larger than a draft holds, and left open below: import fewer tags to keep more of them";

/// Deepest nesting without a reference.
const DEPTH_MAX: usize = 16;

/// Longest description that is kept, in characters.
const DESCRIPTION_MAX: usize = 300;

/// Keywords whose values are taken as they stand.
const PLAIN: [&str; 20] = [
    "const",
    "contentEncoding",
    "contentMediaType",
    "dependentRequired",
    "deprecated",
    "enum",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "title",
    "uniqueItems",
    "default",
];

/// Keywords whose value is one schema.
const ONE: [&str; 10] = [
    "additionalProperties",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// Keywords whose value is a list of schemas.
const LISTS: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];

/// Keywords whose value is a map from names to schemas.
const MAPS: [&str; 4] = ["$defs", "dependentSchemas", "patternProperties", "properties"];

/// Formats that a validator knows; others say nothing that could be checked.
const FORMATS: [&str; 18] = [
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "idn-email",
    "idn-hostname",
    "ipv4",
    "ipv6",
    "iri",
    "iri-reference",
    "json-pointer",
    "regex",
    "relative-json-pointer",
    "time",
    "uri",
    "uri-reference",
    "uuid",
];

/// Which way a value goes: some properties exist only one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the system.
    In,
    /// From it.
    Out,
}

/// Turns the schemas of one operation, one way.
pub(crate) struct Turner<'d> {
    document: Document<'d>,
    way: Way,
    /// Definitions by the reference that led to them: their name, and what they are once they are turned.
    known: BTreeMap<String, String>,
    definitions: BTreeMap<String, Value>,
    /// Definitions that are referred to, and not turned yet: what is near is turned before what is far.
    ahead: VecDeque<(String, &'d Value)>,
    parts: usize,
    parts_max: usize,
    /// What could not be kept, in words.
    pub(crate) notes: BTreeSet<String>,
}

impl<'d> Turner<'d> {
    /// For one of so many operations.
    pub(crate) fn new(document: Document<'d>, way: Way, operations: usize) -> Self {
        let parts_max = (PARTS_ALL / operations.max(1)).clamp(PARTS_MIN, PARTS_MAX);
        Self {
            document,
            way,
            known: BTreeMap::new(),
            definitions: BTreeMap::new(),
            ahead: VecDeque::new(),
            parts: 0,
            parts_max,
            notes: BTreeSet::new(),
        }
    }

    /// One schema; what it refers to is kept for [`Turner::finish`].
    ///
    /// # Errors
    /// Why a reference leads nowhere.
    pub(crate) fn turn(&mut self, schema: &'d Value) -> Result<Value, String> {
        self.any(schema, 0)
    }

    /// The definitions that the turned schemas refer to, for the whole they stand in; what could not be kept.
    ///
    /// # Errors
    /// Why a reference leads nowhere.
    pub(crate) fn finish(
        mut self,
        whole: &mut Map<String, Value>,
    ) -> Result<BTreeSet<String>, String> {
        while let Some((name, target)) = self.ahead.pop_front() {
            let turned = self.any(target, 0)?;
            self.definitions.insert(name, turned);
        }
        if !self.definitions.is_empty() {
            whole.insert("$defs".into(), Value::Object(self.definitions.into_iter().collect()));
        }
        Ok(self.notes)
    }

    fn note(&mut self, text: impl Into<String>) {
        self.notes.insert(text.into());
    }

    fn any(&mut self, schema: &'d Value, depth: usize) -> Result<Value, String> {
        let Value::Object(map) = schema else {
            // `true` and `false` are schemas; nothing else is.
            return Ok(if schema.is_boolean() { schema.clone() } else { json!({}) });
        };
        self.parts += map.len();
        if depth > DEPTH_MAX || self.parts > self.parts_max {
            self.note(CUT);
            return Ok(json!({}));
        }
        if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
            let turned = self.reference(reference)?;
            let mut beside = map.clone();
            beside.remove("$ref");
            if self.document.dialect == Dialect::Three0 || beside.keys().all(|key| is_said(key)) {
                return Ok(turned);
            }
            let mut own = Map::new();
            self.keywords(map, &mut own, depth)?;
            own.insert("allOf".into(), json!([turned]));
            return Ok(Value::Object(own));
        }
        let mut turned = Map::new();
        self.keywords(map, &mut turned, depth)?;
        self.one_way(map, &mut turned);
        Ok(match self.document.dialect {
            Dialect::Three0 => nullable(map, turned),
            Dialect::Three1 => Value::Object(turned),
        })
    }

    fn reference(&mut self, reference: &str) -> Result<Value, String> {
        let to = |name: &str| json!({"$ref": format!("#/$defs/{name}")});
        if let Some(name) = self.known.get(reference) {
            return Ok(to(name));
        }
        let target = self.document.target(reference)?;
        let wanted = crate::name::name_of(reference.rsplit('/').next().unwrap_or("part"));
        let mut taken: BTreeSet<String> = self.known.values().cloned().collect();
        let name = crate::name::take_free(&wanted, &mut taken);
        self.known.insert(reference.to_owned(), name.clone());
        self.ahead.push_back((name.clone(), target));
        Ok(to(&name))
    }

    fn keywords(
        &mut self,
        map: &'d Map<String, Value>,
        turned: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), String> {
        for (key, value) in map {
            let name = key.as_str();
            if name == "default" && self.way == Way::Out {
                // Whoever reads an answer fills nothing in.
            } else if PLAIN.contains(&name) {
                if fits(name, value) {
                    turned.insert(key.clone(), value.clone());
                }
            } else if ONE.contains(&name) {
                turned.insert(key.clone(), self.any(value, depth + 1)?);
            } else if LISTS.contains(&name) {
                let mut all = Vec::new();
                for inner in value.as_array().into_iter().flatten() {
                    all.push(self.any(inner, depth + 1)?);
                }
                if !all.is_empty() {
                    turned.insert(key.clone(), Value::Array(all));
                }
            } else if MAPS.contains(&name) {
                let mut all = Map::new();
                for (inner, schema) in value.as_object().into_iter().flatten() {
                    all.insert(inner.clone(), self.any(schema, depth + 1)?);
                }
                if name != "$defs" {
                    turned.insert(key.clone(), Value::Object(all));
                }
            } else {
                self.keyword(key, value, turned);
            }
        }
        bounds(map, turned);
        Ok(())
    }

    /// Those that need a closer look.
    fn keyword(&mut self, key: &str, value: &Value, turned: &mut Map<String, Value>) {
        match (key, value) {
            ("type", value) if is_type(value) => {
                turned.insert(key.into(), value.clone());
            }
            ("required", Value::Array(names)) if !names.is_empty() => {
                let mut names: Vec<String> =
                    names.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                names.sort();
                names.dedup();
                turned.insert(key.into(), json!(names));
            }
            ("format", Value::String(format)) if FORMATS.contains(&format.as_str()) => {
                turned.insert(key.into(), value.clone());
            }
            // Bytes travel as text here.
            ("format", Value::String(format)) if format == "byte" || format == "binary" => {
                turned.insert("contentEncoding".into(), json!("base64"));
            }
            ("format", Value::String(format)) if format == "int32" => {
                let (least, most) = (json!(i32::MIN), json!(i32::MAX));
                turned.entry("minimum").or_insert(least);
                turned.entry("maximum").or_insert(most);
            }
            ("pattern", Value::String(pattern)) if is_plain_pattern(pattern) => {
                turned.insert(key.into(), value.clone());
            }
            ("pattern", Value::String(pattern)) => {
                self.note(format!(
                    "the pattern `{}` is not checked: it looks around or back",
                    short(pattern)
                ));
            }
            ("description", Value::String(text)) => {
                let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
                let text: String = text.chars().take(DESCRIPTION_MAX).collect();
                turned.insert(key.into(), Value::String(text));
            }
            _ => {}
        }
    }

    /// Leaves out of `required` what is never sent this way.
    fn one_way(&self, map: &Map<String, Value>, turned: &mut Map<String, Value>) {
        let flag = match self.way {
            Way::In => "readOnly",
            Way::Out => "writeOnly",
        };
        let properties = map.get("properties").and_then(Value::as_object);
        let other: BTreeSet<&str> = properties
            .into_iter()
            .flatten()
            .filter(|(_, schema)| {
                let schema = self.document.resolve(schema).unwrap_or(schema);
                schema.get(flag).and_then(Value::as_bool) == Some(true)
            })
            .map(|(name, _)| name.as_str())
            .collect();
        if other.is_empty() {
            return;
        }
        if self.way == Way::In
            && let Some(Value::Object(properties)) = turned.get_mut("properties")
        {
            properties.retain(|name, _| !other.contains(name.as_str()));
        }
        if let Some(Value::Array(required)) = turned.get_mut("required") {
            required.retain(|name| name.as_str().is_none_or(|name| !other.contains(name)));
            if required.is_empty() {
                turned.remove("required");
            }
        }
    }
}

/// Whether a keyword's value is what the keyword wants. Documents are written by hand, too.
fn fits(keyword: &str, value: &Value) -> bool {
    match keyword {
        "maximum" | "minimum" => value.is_number(),
        "multipleOf" => value.as_f64().is_some_and(|number| number > 0.0),
        "deprecated" | "uniqueItems" => value.is_boolean(),
        "contentEncoding" | "contentMediaType" | "title" => value.is_string(),
        "enum" => value.as_array().is_some_and(|values| !values.is_empty()),
        "dependentRequired" => value.as_object().is_some_and(|map| map.values().all(is_names)),
        "const" | "default" => true,
        _ => value.is_u64(),
    }
}

fn is_names(value: &Value) -> bool {
    value.as_array().is_some_and(|names| names.iter().all(Value::is_string))
}

fn is_type(value: &Value) -> bool {
    const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];
    let known = |name: &Value| name.as_str().is_some_and(|name| TYPES.contains(&name));
    match value {
        Value::Array(names) => {
            let apart = names
                .iter()
                .enumerate()
                .all(|(at, name)| !names.iter().skip(at + 1).any(|other| other == name));
            !names.is_empty() && apart && names.iter().all(known)
        }
        one => known(one),
    }
}

/// Whether a keyword beside a reference says something to people alone.
fn is_said(key: &str) -> bool {
    matches!(key, "description" | "summary" | "title" | "example" | "examples" | "deprecated")
        || key.starts_with("x-")
}

/// Bounds that 3.0 says with a flag; 3.1 with a number.
fn bounds(map: &Map<String, Value>, turned: &mut Map<String, Value>) {
    for (bound, strict) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
        match map.get(strict) {
            Some(Value::Bool(true)) => {
                if let Some(limit) = turned.remove(bound) {
                    turned.insert(strict.into(), limit);
                }
            }
            Some(Value::Number(limit)) => {
                turned.insert(strict.into(), Value::Number(Number::clone(limit)));
            }
            _ => {}
        }
    }
}

/// `nullable: true` of 3.0.
fn nullable(map: &Map<String, Value>, mut turned: Map<String, Value>) -> Value {
    if map.get("nullable").and_then(Value::as_bool) != Some(true) {
        return Value::Object(turned);
    }
    if let Some(Value::Array(values)) = turned.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
    match turned.get("type") {
        Some(Value::String(kind)) => {
            let kinds = json!([kind, "null"]);
            turned.insert("type".into(), kinds);
            Value::Object(turned)
        }
        // Without a type of its own it says something about what it is put together from.
        _ if turned.is_empty() => json!({}),
        _ => json!({"anyOf": [{"type": "null"}, Value::Object(turned)]}),
    }
}

/// Whether a validator that never looks around or back can check it.
fn is_plain_pattern(pattern: &str) -> bool {
    const PATTERN_MAX: usize = 500;
    pattern.len() <= PATTERN_MAX && regex_syntax::parse(pattern).is_ok()
}
