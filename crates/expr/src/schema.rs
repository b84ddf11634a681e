//! Types from JSON Schema: the type is never narrower than the schema, so what is unknown is `any`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::types::{Field, Object, Presence};
use crate::{MAX_NESTING, MAX_TYPE_NODES, Type};

impl Type {
    /// The type of the values that a JSON Schema accepts. Reads `type` (also a list of types),
    /// `nullable`, `enum`, `const`, `properties`, `required`, `additionalProperties`, `items`,
    /// `anyOf`, `oneOf` and `$ref` into the same document; every other part only narrows further,
    /// and is left to the schema's own validator. Never fails: what is not understood is `any`.
    pub fn from_schema(schema: &Value) -> Type {
        let mut reader = Reader { root: schema, nodes: 0, followed: Vec::new() };
        reader.read(schema, 0)
    }
}

struct Reader<'s> {
    root: &'s Value,
    nodes: usize,
    /// References around the schema being read.
    followed: Vec<&'s str>,
}

/// How often a reference is followed within itself; a recursive type becomes `any` below.
const MAX_UNROLLED: usize = 5;

impl<'s> Reader<'s> {
    fn read(&mut self, schema: &'s Value, depth: usize) -> Type {
        self.nodes += 1;
        let Value::Object(schema) = schema else {
            return Type::Any;
        };
        if depth > MAX_NESTING || self.nodes > MAX_TYPE_NODES {
            return Type::Any;
        }
        if let Some(Value::String(reference)) = schema.get("$ref") {
            return self.read_reference(reference, depth);
        }
        if let Some(values) = literals(schema) {
            return values.iter().fold(Type::never(), |all, value| all.or(Type::of_value(value)));
        }
        let ty = self.read_typed(schema, depth);
        match schema.get("nullable") {
            Some(Value::Bool(true)) => ty.or(Type::Null),
            _ => ty,
        }
    }

    fn read_reference(&mut self, reference: &'s str, depth: usize) -> Type {
        let target = match reference.strip_prefix('#') {
            Some(pointer) => self.root.pointer(pointer),
            None => None,
        };
        let within = self.followed.iter().filter(|one| **one == reference);
        match target {
            Some(target) if within.count() < MAX_UNROLLED => {
                self.followed.push(reference);
                let ty = self.read(target, depth + 1);
                self.followed.pop();
                ty
            }
            _ => Type::Any,
        }
    }

    fn read_typed(&mut self, schema: &'s Map<String, Value>, depth: usize) -> Type {
        match schema.get("type") {
            Some(Value::String(name)) => self.read_named(name, schema, depth),
            Some(Value::Array(names)) if !names.is_empty() => {
                let mut all = Type::never();
                for name in names {
                    all = all.or(match name {
                        Value::String(name) => self.read_named(name, schema, depth),
                        _ => Type::Any,
                    });
                }
                all
            }
            _ => {
                let choices = schema.get("anyOf").or_else(|| schema.get("oneOf"));
                let Some(Value::Array(choices)) = choices else {
                    return Type::Any;
                };
                if choices.is_empty() {
                    return Type::Any;
                }
                let mut all = Type::never();
                for choice in choices {
                    all = all.or(self.read(choice, depth + 1));
                }
                all
            }
        }
    }

    fn read_named(&mut self, name: &str, schema: &'s Map<String, Value>, depth: usize) -> Type {
        match name {
            "null" => Type::Null,
            "boolean" => Type::Bool,
            "integer" => Type::Int,
            "number" => Type::Number,
            "string" => Type::String,
            "array" => {
                let is_tuple = schema.contains_key("prefixItems");
                Type::list(match schema.get("items") {
                    Some(items) if !is_tuple => self.read(items, depth + 1),
                    _ => Type::Any,
                })
            }
            "object" => self.read_object(schema, depth),
            _ => Type::Any,
        }
    }

    fn read_object(&mut self, schema: &'s Map<String, Value>, depth: usize) -> Type {
        let mut rest = match schema.get("additionalProperties") {
            Some(Value::Bool(false)) => None,
            Some(other) => Some(Arc::new(self.read(other, depth + 1))),
            None => Some(Arc::new(Type::Any)),
        };
        if schema.contains_key("patternProperties") {
            rest = Some(Arc::new(Type::Any));
        }
        let mut fields = BTreeMap::new();
        if let Some(Value::Object(properties)) = schema.get("properties") {
            for (name, property) in properties {
                let ty = self.read(property, depth + 1);
                let presence = Presence::Optional;
                fields.insert(name.clone(), Field { ty, presence });
            }
        }
        if let Some(Value::Array(required)) = schema.get("required") {
            for name in required.iter().filter_map(Value::as_str) {
                let ty = rest.as_deref().cloned().unwrap_or(Type::Any);
                let presence = Presence::Required;
                fields.entry(name.to_owned()).or_insert(Field { ty, presence }).presence = presence;
            }
        }
        Type::from(Object { fields, rest })
    }
}

fn literals(schema: &Map<String, Value>) -> Option<&[Value]> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(value), _) => Some(std::slice::from_ref(value)),
        (None, Some(Value::Array(values))) if !values.is_empty() => Some(values),
        _ => None,
    }
}
