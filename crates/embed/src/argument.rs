//! Typed arguments and results of tools, and their JSON Schemas.

use std::sync::Arc;

use kernel::{exception::Class, label::Label};
use schemars::{
    JsonSchema,
    generate::{SchemaGenerator, SchemaSettings},
};
use serde::{Deserialize as _, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use crate::{Failed, IntoFailed, Trusted};

/// Formats of strings that are checked. Others, such as `uint32`, say nothing that the type does not.
const FORMATS: [&str; 12] = [
    "date",
    "date-time",
    "time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uri",
    "uuid",
    "regex",
    "json-pointer",
];

/// What a tool may take as one argument: anything typed, or a [`Trusted`] one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a tool",
    note = "derive `serde::Deserialize` and `schemars::JsonSchema` for it"
)]
pub trait Argument: Sized {
    /// What stands for it in the arguments' JSON.
    type Plain: DeserializeOwned + JsonSchema;

    /// Takes it in.
    ///
    /// # Errors
    /// When its label does not allow what the type promises.
    fn accept(plain: Self::Plain, label: impl FnOnce() -> Label) -> Result<Self, Failed>;
}

impl<T: DeserializeOwned + JsonSchema> Argument for T {
    type Plain = T;

    fn accept(plain: T, _: impl FnOnce() -> Label) -> Result<T, Failed> {
        Ok(plain)
    }
}

impl<T: DeserializeOwned + JsonSchema> Argument for Trusted<T> {
    type Plain = T;

    fn accept(plain: T, label: impl FnOnce() -> Label) -> Result<Self, Failed> {
        let refused = "an untrusted input had a part in an argument that must be trusted";
        Trusted::of(plain, label())
            .ok_or_else(|| Failed::nothing_happened(Class::PolicyError, refused))
    }
}

/// What a tool may return: something typed, or a `Result` of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of a tool",
    note = "derive `serde::Serialize` and `schemars::JsonSchema` for it"
)]
pub trait Output {
    /// JSON Schema of what it returns.
    fn schema() -> Arc<Value>;

    /// As JSON.
    ///
    /// # Errors
    /// The tool's own, or that the value has no JSON.
    fn into_value(self) -> Result<Value, Failed>;
}

impl<T: Serialize + JsonSchema> Output for T {
    fn schema() -> Arc<Value> {
        schema_of::<T>()
    }

    fn into_value(self) -> Result<Value, Failed> {
        // The tool has done what it does: only its answer cannot be used.
        serde_json::to_value(self).map_err(|e| Failed::happened(Class::UnexpectedShape, e))
    }
}

/// A `Result` as the macro and closures hand it on: the error is a failure, never a value.
#[derive(Debug)]
pub(crate) struct Fallible<T, E>(pub(crate) Result<T, E>);

impl<T: Output, E: IntoFailed> Fallible<T, E> {
    /// As JSON.
    ///
    /// # Errors
    /// The tool's own.
    pub(crate) fn into_value(self) -> Result<Value, Failed> {
        self.0.map_err(IntoFailed::into_failed)?.into_value()
    }
}

/// The JSON Schema of a list of arguments, put together one by one.
#[derive(Debug)]
pub struct Arguments {
    generator: SchemaGenerator,
    properties: Map<String, Value>,
    required: Vec<Value>,
}

impl Arguments {
    /// None yet.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "only the attribute makes one")]
    pub fn new() -> Self {
        let generator = SchemaSettings::draft2020_12().into_generator();
        Self { generator, properties: Map::new(), required: Vec::new() }
    }

    /// One more. What takes `null` may be left out.
    pub fn argument<T: Argument>(&mut self, name: &str, description: &str) {
        let schema = self.generator.subschema_for::<T::Plain>().to_value();
        // A schema that allows everything is `true`, which has no place for a description.
        let mut schema = if schema.is_object() { schema } else { json!({}) };
        if let Some(fields) = schema.as_object_mut().filter(|_| !description.is_empty()) {
            fields.insert("description".to_owned(), json!(description));
        }
        if T::Plain::deserialize(&Value::Null).is_err() {
            self.required.push(json!(name));
        }
        self.properties.insert(name.to_owned(), schema);
    }

    /// The schema: closed, so that a misspelt argument is told.
    #[must_use]
    pub fn schema(mut self) -> Arc<Value> {
        let mut schema = json!({
            "type": "object",
            "properties": self.properties,
            "required": self.required,
            "additionalProperties": false,
        });
        let definitions = self.generator.take_definitions(true);
        if let Some(root) = schema.as_object_mut().filter(|_| !definitions.is_empty()) {
            root.insert("$defs".to_owned(), Value::Object(definitions));
        }
        clean(&mut schema);
        Arc::new(schema)
    }
}

/// The JSON Schema of a type: closed, without remarks that only Rust knows.
#[must_use]
pub fn schema_of<T: JsonSchema>() -> Arc<Value> {
    let mut schema =
        SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value();
    if let Some(root) = schema.as_object_mut() {
        root.remove("$schema");
        root.remove("title");
    }
    clean(&mut schema);
    Arc::new(schema)
}

/// Drops formats of numbers, whose names are Rust's own.
fn clean(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            drop_format(map);
            map.values_mut().for_each(clean);
        }
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn drop_format(map: &mut Map<String, Value>) {
    let unknown = |format: &Value| format.as_str().is_some_and(|f| !FORMATS.contains(&f));
    if map.get("format").is_some_and(unknown) {
        map.remove("format");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Order {
        /// How many.
        count: u32,
        note: Option<String>,
    }

    #[test]
    fn a_schema_says_what_serde_takes_and_no_more() {
        let schema = schema_of::<Order>();
        assert_eq!(
            *schema,
            json!({
                "type": "object",
                "properties": {
                    "count": { "type": "integer", "minimum": 0, "description": "How many." },
                    "note": { "type": ["string", "null"] },
                },
                "required": ["count"],
                "additionalProperties": false,
            })
        );
    }

    #[test]
    fn a_trusted_argument_looks_like_its_value_and_needs_its_label() {
        use kernel::label::{Confidentiality, Trust};
        let user = || Label::new(Trust::User, Confidentiality::Internal);
        assert_eq!(*Trusted::<u8>::accept(7, user).unwrap(), 7);
        let refused = Trusted::<u8>::accept(7, Label::default).unwrap_err();
        assert_eq!(
            refused.into_failure(kernel::operation::Effect::Write).landed,
            kernel::exception::Landed::No
        );
    }
}
