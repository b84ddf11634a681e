//! Types of values as policies read them, and how a JSON Schema becomes one. The table of the mapping
//! stands in [`crate::schema`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde_json::{Map, Value};

/// Deepest nesting of arguments that becomes typed; what lies deeper is absent.
pub(crate) const DEPTH_MAX: usize = 12;

/// The type of a value that policies can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Bool,
    Long,
    Text(Option<Vec<String>>),
    Decimal,
    Set(Box<Shape>),
    Record(BTreeMap<String, Field>),
}

/// One attribute of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) shape: Shape,
    pub(crate) required: bool,
}

impl Shape {
    pub(crate) fn text(allowed: &[&str]) -> Self {
        Self::Text(Some(allowed.iter().map(|&word| word.to_owned()).collect()))
    }

    pub(crate) fn words() -> Self {
        Self::Set(Box::new(Self::Text(None)))
    }

    pub(crate) fn record(fields: impl IntoIterator<Item = (&'static str, Shape)>) -> Self {
        let required =
            |(name, shape): (&str, _)| (name.to_owned(), Field { shape, required: true });
        Self::Record(fields.into_iter().map(required).collect())
    }

    /// The attribute at a path; `Err` with how many segments exist and what stands there instead.
    pub(crate) fn at<'s>(&'s self, path: &[&str]) -> Result<&'s Shape, (usize, Vec<&'s str>)> {
        let mut here = self;
        for (depth, segment) in path.iter().enumerate() {
            let Shape::Record(fields) = here else {
                return Err((depth, Vec::new()));
            };
            let Some(field) = fields.get(*segment) else {
                return Err((depth, fields.keys().map(String::as_str).collect()));
            };
            here = &field.shape;
        }
        Ok(here)
    }

    /// Whether everything along a path is always there; `None` when it does not exist.
    pub(crate) fn is_always(&self, path: &[&str]) -> Option<bool> {
        let (mut here, mut always) = (self, true);
        for segment in path {
            let Shape::Record(fields) = here else {
                return None;
            };
            let field = fields.get(*segment)?;
            always &= field.required;
            here = &field.shape;
        }
        Some(always)
    }

    /// Whether a value that its JSON Schema admits may still not fit.
    pub(crate) fn may_not_fit(&self) -> bool {
        match self {
            Self::Bool | Self::Long | Self::Text(_) => false,
            Self::Decimal => true,
            Self::Set(item) => item.may_not_fit(),
            Self::Record(fields) => fields.values().any(|field| field.shape.may_not_fit()),
        }
    }

    /// Cedar's JSON form of the type.
    pub(crate) fn json(&self) -> Value {
        match self {
            Self::Bool => named("Bool"),
            Self::Long => named("Long"),
            Self::Text(_) => named("String"),
            Self::Decimal => named("decimal"),
            Self::Set(item) => object([("type", "Set".into()), ("element", item.json())]),
            Self::Record(fields) => {
                let field = |(name, field): (&String, &Field)| {
                    let mut json = field.shape.json();
                    if let Some(json) = json.as_object_mut().filter(|_| !field.required) {
                        json.insert("required".to_owned(), Value::Bool(false));
                    }
                    (name.clone(), json)
                };
                let fields = Value::Object(fields.iter().map(field).collect());
                object([("type", "Record".into()), ("attributes", fields)])
            }
        }
    }

    /// Cedar's text of the type.
    pub(crate) fn render(&self) -> String {
        match self {
            Self::Bool => "Bool".to_owned(),
            Self::Long => "Long".to_owned(),
            Self::Text(_) => "String".to_owned(),
            Self::Decimal => "decimal".to_owned(),
            Self::Set(item) => format!("Set<{}>", item.render()),
            Self::Record(fields) => {
                let field = |(name, field): (&String, &Field)| {
                    let optional = if field.required { "" } else { "?" };
                    format!("{}{optional}: {}", quoted(name), field.shape.render())
                };
                format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// A type by its name, in Cedar's JSON form.
pub(crate) fn named(name: &str) -> Value {
    object([("type", "EntityOrCommon".into()), ("name", name.into())])
}

/// An object of JSON. The macro would copy every value, and what is in it once for each level.
pub(crate) fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// A name as Cedar text: quoted, every odd character escaped.
pub(crate) fn quoted(name: &str) -> String {
    let mut text = String::from("\"");
    for c in name.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(text, "\\u{{{:x}}}", c as u32);
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// The type of a JSON Schema, and whether `null` is among its values; `None` when it has none.
pub(crate) fn shape_of(schema: &Value, root: &Value, depth: usize) -> Option<(Shape, bool)> {
    if depth > DEPTH_MAX {
        return None;
    }
    let schema = schema.as_object()?;
    if let Some(reference) = schema.get("$ref") {
        let pointer = reference.as_str()?.strip_prefix('#')?;
        return shape_of(root.pointer(pointer)?, root, depth + 1);
    }
    if ["anyOf", "oneOf", "allOf", "not", "if"].iter().any(|key| schema.contains_key(*key)) {
        return None;
    }
    let (kind, nullable) = kind_of(schema)?;
    let shape = match kind {
        "boolean" => Shape::Bool,
        "integer" => Shape::Long,
        "string" if schema.get("format").and_then(Value::as_str) == Some("decimal") => {
            Shape::Decimal
        }
        "string" => Shape::Text(allowed(schema)),
        "array" => match shape_of(schema.get("items")?, root, depth + 1)? {
            (Shape::Record(_) | Shape::Set(_), _) | (_, true) => return None,
            (item, false) => Shape::Set(Box::new(item)),
        },
        "object" => record_of(schema, root, depth)?,
        _ => return None,
    };
    Some((shape, nullable))
}

fn kind_of(schema: &Map<String, Value>) -> Option<(&str, bool)> {
    match schema.get("type") {
        Some(Value::String(kind)) => Some((kind, false)),
        Some(Value::Array(kinds)) => {
            let named: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
            let others: Vec<&str> = named.iter().copied().filter(|kind| *kind != "null").collect();
            match others.as_slice() {
                [only] => Some((only, named.len() > 1)),
                _ => None,
            }
        }
        None => allowed(schema).map(|_| ("string", false)),
        Some(_) => None,
    }
}

fn allowed(schema: &Map<String, Value>) -> Option<Vec<String>> {
    if let Some(Value::String(only)) = schema.get("const") {
        return Some(vec![only.clone()]);
    }
    let listed = schema.get("enum")?.as_array()?.iter().filter(|value| !value.is_null());
    listed.map(|value| value.as_str().map(str::to_owned)).collect()
}

fn record_of(schema: &Map<String, Value>, root: &Value, depth: usize) -> Option<Shape> {
    let properties = schema.get("properties")?.as_object()?;
    let required: BTreeSet<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let fields = properties.iter().filter(|(name, _)| !name.starts_with("__"));
    let typed = fields.filter_map(|(name, schema)| {
        let (shape, nullable) = shape_of(schema, root, depth + 1)?;
        let required = required.contains(name.as_str()) && !nullable;
        Some((name.clone(), Field { shape, required }))
    });
    Some(Shape::Record(typed.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shape(schema: &Value) -> Option<(Shape, bool)> {
        shape_of(schema, schema, 0)
    }

    #[test]
    fn every_row_of_the_mapping_table() {
        let rows = [
            (json!({"type": "integer"}), "Long"),
            (json!({"type": "string"}), "String"),
            (json!({"enum": ["a", "b"]}), "String"),
            (json!({"type": "boolean"}), "Bool"),
            (json!({"type": "string", "format": "decimal"}), "decimal"),
            (json!({"type": "array", "items": {"type": "string"}}), "Set<String>"),
            (
                json!({"type": "object", "required": ["minor"], "properties": {
                    "minor": {"type": "integer"}, "currency": {"type": ["string", "null"]}}}),
                r#"{"currency"?: String, "minor": Long}"#,
            ),
            (
                json!({"$defs": {"id": {"type": "integer"}}, "type": "object",
                    "properties": {"a": {"$ref": "#/$defs/id"}, "n": {"type": "number"}}}),
                r#"{"a"?: Long}"#,
            ),
        ];
        for (schema, cedar) in rows {
            assert_eq!(shape(&schema).unwrap().0.render(), cedar, "{schema}");
        }
        for untypeable in [
            json!({"type": "number"}),
            json!({"type": "object"}),
            json!({"anyOf": [{"type": "string"}]}),
            json!({"type": ["string", "integer"]}),
            json!({"type": "array", "items": {"type": "object", "properties": {}}}),
            json!({"$ref": "#"}),
            json!(true),
        ] {
            assert_eq!(shape(&untypeable), None, "{untypeable}");
        }
    }
}
