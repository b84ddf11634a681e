//! JSON Schemas: what a pack may write, and checking values against them, compiled once per schema.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use jsonschema::{PatternOptions, ValidationError, Validator, error::ValidationErrorKind};
use kernel::{
    exception::Class,
    pointer,
    port::{Validate, Violation},
};
use serde_json::Value;

use crate::{
    keyword::{KEYWORDS, MAPS, MORE_KEYWORDS, NESTED, advice, keyword_at},
    problem::did_you_mean,
    read::cut,
};

/// Most compiled schemas kept; beyond it the cache is emptied and fills again.
pub(crate) const COMPILED_MAX: usize = 1_024;

/// Most violations looked at to find the first in pointer order.
const VIOLATIONS_MAX: usize = 64;

/// Checks values against schemas. Compiled validators are kept by the schema's address, and the schema
/// with them, so that an address never comes to mean another schema.
#[derive(Default)]
pub struct Schemas {
    compiled: Mutex<BTreeMap<usize, Kept>>,
}

struct Kept {
    _schema: Arc<Value>,
    validator: Arc<Result<Validator, String>>,
}

impl fmt::Debug for Schemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schemas").finish_non_exhaustive()
    }
}

impl Schemas {
    /// With nothing compiled yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn validator(&self, schema: &Arc<Value>) -> Arc<Result<Validator, String>> {
        let address = Arc::as_ptr(schema) as usize;
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = compiled.get(&address) {
            return Arc::clone(&kept.validator);
        }
        let validator = Arc::new(compile(schema).map_err(|(at, message)| unfit(&at, &message)));
        if compiled.len() >= COMPILED_MAX {
            compiled.clear();
        }
        let kept = Kept { _schema: Arc::clone(schema), validator: Arc::clone(&validator) };
        compiled.insert(address, kept);
        validator
    }
}

impl Validate for Schemas {
    fn violation(&self, schema: &Arc<Value>, value: &Value) -> Option<Violation> {
        match &*self.validator(schema) {
            Ok(validator) => first_violation(validator, schema, value),
            Err(message) => Some(Violation {
                at: String::new(),
                problem: format!("the schema itself is not usable: {message}"),
                class: Class::InvalidArguments,
            }),
        }
    }
}

/// Compiles a schema; the error carries a pointer into the schema.
fn compile(schema: &Value) -> Result<Validator, (String, String)> {
    let options = jsonschema::draft202012::options()
        .offline()
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .with_pattern_options(PatternOptions::regex());
    options
        .build(schema)
        .map_err(|error| (error.instance_path().as_str().to_owned(), error.masked().to_string()))
}

/// Whether a keyword may stand in a schema of a pack.
#[must_use]
pub fn is_keyword(name: &str) -> bool {
    KEYWORDS.contains(&name) || MORE_KEYWORDS.contains(&name)
}

/// What keeps a schema from being used, with where; `None` when it can be.
#[must_use]
pub fn schema_problem(schema: &Value) -> Option<String> {
    check_schema(schema).into_iter().next().map(|(at, what, _)| format!("{at}: {what}"))
}

/// The first violation of a value, unknown fields before the rest; for schemas that are used once.
pub(crate) fn violation_once(schema: &Value, value: &Value) -> Option<Violation> {
    let validator = compile(schema).ok()?;
    first_violation(&validator, schema, value)
}

fn first_violation(validator: &Validator, schema: &Value, value: &Value) -> Option<Violation> {
    if validator.is_valid(value) {
        return None;
    }
    let all =
        validator.iter_errors(value).take(VIOLATIONS_MAX).map(|error| describe(&error, schema));
    // A field nobody knows comes first: it is often the missing one, mistyped.
    let rank = |v: &Violation| (v.class != Class::UnknownField, v.at.clone(), v.problem.clone());
    all.min_by_key(rank)
}

fn describe(error: &ValidationError<'_>, schema: &Value) -> Violation {
    let at = error.instance_path().as_str();
    let below = |name: &str| format!("{at}/{}", pointer::escape(&cut(name)));
    let (at, problem, class) = match error.kind() {
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            (below(name), format!("`{}` is required", cut(name)), Class::MissingField)
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            let name = unexpected.iter().min().map(String::as_str).unwrap_or_default();
            let hint = known_beside(schema, error.schema_path().as_str());
            let hint = did_you_mean(name, hint.iter().map(String::as_str));
            (below(name), format!("unknown field `{}`; {hint}", cut(name)), Class::UnknownField)
        }
        kind => (at.to_owned(), say(kind), Class::InvalidArguments),
    };
    Violation { at, problem, class }
}

/// Properties declared beside the keyword at `path`.
fn known_beside(schema: &Value, path: &str) -> Vec<String> {
    let parent = path.rsplit_once('/').and_then(|(parent, _)| schema.pointer(parent));
    let map = parent.and_then(|parent| parent.get("properties")).and_then(Value::as_object);
    let mut names: Vec<String> = map.map(|map| map.keys().cloned().collect()).unwrap_or_default();
    names.sort();
    names
}

/// What is wrong, from the schema alone: the value itself is never repeated.
fn say(kind: &ValidationErrorKind) -> String {
    match kind {
        ValidationErrorKind::Type { kind } => match kind {
            jsonschema::error::TypeKind::Single(one) => format!("must be {one}"),
            jsonschema::error::TypeKind::Multiple(many) => {
                let names: Vec<String> = many.iter().map(|one| one.to_string()).collect();
                format!("must be {}", names.join(" or "))
            }
        },
        ValidationErrorKind::Enum { options } => {
            format!("must be one of {}", cut(&options.to_string()))
        }
        ValidationErrorKind::Constant { expected_value } => {
            format!("must be {}", cut(&expected_value.to_string()))
        }
        ValidationErrorKind::Minimum { limit } => format!("must be at least {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("must be at most {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        ValidationErrorKind::MinLength { limit } => {
            format!("must have at least {limit} characters")
        }
        ValidationErrorKind::MaxLength { limit } => format!("must have at most {limit} characters"),
        ValidationErrorKind::MinItems { limit } => format!("must have at least {limit} items"),
        ValidationErrorKind::MaxItems { limit } => format!("must have at most {limit} items"),
        ValidationErrorKind::MinProperties { limit } => {
            format!("must have at least {limit} fields")
        }
        ValidationErrorKind::MaxProperties { limit } => format!("must have at most {limit} fields"),
        ValidationErrorKind::Pattern { pattern } => format!("must match {}", cut(pattern)),
        ValidationErrorKind::Format { format } => format!("must be a valid {}", cut(format)),
        ValidationErrorKind::AnyOf { .. } | ValidationErrorKind::OneOfNotValid { .. } => {
            "fits none of the declared alternatives".to_owned()
        }
        other => format!("does not fit `{}`", other.keyword()),
    }
}

/// A fault in a schema: a pointer into it, what is wrong, what to do.
pub(crate) type Fault = (String, String, String);

/// Everything wrong with a schema that a pack declares.
pub(crate) fn check_schema(schema: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    walk((schema, schema), "", &mut faults);
    if faults.is_empty()
        && let Err((at, message)) = compile(schema)
    {
        let fix = advice(keyword_at(&at)).to_owned();
        faults.push((at.clone(), unfit(&at, &message), fix));
    }
    faults
}

/// That a keyword is not as JSON Schema wants it, by its name.
fn unfit(at: &str, message: &str) -> String {
    format!("not a JSON Schema at `{}`: {message}", cut(keyword_at(at)))
}

/// As [`check_schema`], for arguments and inputs, which are always objects.
pub(crate) fn check_object_schema(schema: &Value) -> Vec<Fault> {
    let mut faults = check_schema(schema);
    if faults.is_empty() && schema.get("type").and_then(Value::as_str) != Some("object") {
        let fix = "write `type: object` with `properties`".to_owned();
        faults.push((String::new(), "the schema must describe an object".to_owned(), fix));
    }
    faults
}

/// Looks at a schema and all schemas in it; references lead into the `whole`.
fn walk((whole, schema): (&Value, &Value), at: &str, faults: &mut Vec<Fault>) {
    let Value::Object(map) = schema else {
        if !schema.is_boolean() {
            let message = "a schema is a map, true or false".to_owned();
            faults.push((at.to_owned(), message, "write `type: …`".to_owned()));
        }
        return;
    };
    for (key, value) in map {
        let here = format!("{at}/{}", pointer::escape(key));
        let name = key.as_str();
        if !KEYWORDS.contains(&name) && !MORE_KEYWORDS.contains(&name) {
            let fix = did_you_mean(name, KEYWORDS.iter().chain(&MORE_KEYWORDS).copied());
            faults.push((here, format!("`{}` is no schema keyword", cut(name)), fix));
        } else if name == "type" {
            check_type(value, here, faults);
        } else if name == "$ref" {
            check_reference((whole, value), here, faults);
        } else if MAPS.contains(&name) {
            for (inner, child) in value.as_object().into_iter().flatten() {
                walk((whole, child), &format!("{here}/{}", pointer::escape(inner)), faults);
            }
        } else if NESTED.contains(&name) {
            match value {
                Value::Array(items) => {
                    for (index, child) in items.iter().enumerate() {
                        walk((whole, child), &format!("{here}/{index}"), faults);
                    }
                }
                child => walk((whole, child), &here, faults),
            }
        }
    }
}

fn check_type(value: &Value, here: String, faults: &mut Vec<Fault>) {
    const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];
    let names: Vec<&Value> = match value {
        Value::Array(names) => names.iter().collect(),
        one => vec![one],
    };
    for name in names {
        let text = name.as_str().unwrap_or("null");
        if !name.is_string() || !TYPES.contains(&text) {
            let message = if name.is_null() {
                "null is a word here: put it in quotes".to_owned()
            } else {
                format!("`{}` is no type of JSON Schema", cut(text))
            };
            faults.push((here.clone(), message, did_you_mean(text, TYPES)));
        }
    }
}

fn check_reference((whole, value): (&Value, &Value), here: String, faults: &mut Vec<Fault>) {
    let text = value.as_str().unwrap_or_default();
    if text != "#" && !text.starts_with("#/") {
        let message = "only references into the same schema: nothing is fetched".to_owned();
        faults.push((here, message, "write `$ref: '#/$defs/name'`".to_owned()));
        return;
    }
    let target = text.trim_start_matches('#');
    // An escaped pointer is left to the validator, which reads the escapes.
    if !target.contains('%') && whole.pointer(target).is_none() {
        let message = format!("`$ref` leads nowhere: there is no `{}` in this schema", cut(target));
        let names = whole.get("$defs").and_then(Value::as_object);
        let known: Vec<String> =
            names.into_iter().flatten().map(|(name, _)| format!("#/$defs/{name}")).collect();
        faults.push((here, message, did_you_mean(text, known.iter().map(String::as_str))));
    }
}

/// Whether a pointer (`*` = each list item) can lead somewhere in values of this schema; yes when the
/// schema leaves it open.
pub(crate) fn leads_somewhere(schema: &Value, path: &str) -> bool {
    let mut node = schema;
    for segment in path.split('/').skip(1) {
        for _ in 0..8 {
            let target = node.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#'));
            match target.and_then(|target| schema.pointer(target)) {
                Some(next) => node = next,
                None => break,
            }
        }
        let name = segment.replace("~1", "/").replace("~0", "~");
        let property = node.get("properties").and_then(|map| map.get(&name));
        let numeric = segment == "*" || segment.parse::<usize>().is_ok();
        let items = node.get("items").filter(|_| numeric);
        match property.or(items) {
            Some(next) => node = next,
            None if node.get("properties").is_some() && !numeric => {
                return node
                    .get("additionalProperties")
                    .is_some_and(|rest| rest != &Value::Bool(false));
            }
            None => return is_open(node),
        }
    }
    true
}

fn is_open(node: &Value) -> bool {
    !matches!(
        node.get("type").and_then(Value::as_str),
        Some("string" | "integer" | "number" | "boolean" | "null")
    ) && node.get("items").is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn first(schema: Value, value: Value) -> Violation {
        let schema = Arc::new(schema);
        let schemas = Schemas::new();
        let once = schemas.violation(&schema, &value).unwrap();
        assert_eq!(
            schemas.violation(&schema, &value).unwrap(),
            once,
            "the kept validator says the same"
        );
        once
    }

    #[test]
    fn violations_say_where_and_which_class_and_never_the_value() {
        let schema = json!({"type": "object", "required": ["account"], "additionalProperties": false,
            "properties": {"account": {"type": "string", "pattern": "^ACC-"}, "n": {"type": "integer"}}});
        let missing = first(schema.clone(), json!({"n": 1}));
        assert_eq!((missing.at.as_str(), missing.class), ("/account", Class::MissingField));
        let unknown = first(schema.clone(), json!({"account": "ACC-1", "acount": 1}));
        assert_eq!((unknown.at.as_str(), unknown.class), ("/acount", Class::UnknownField));
        assert!(unknown.problem.contains("did you mean `account`?"), "{}", unknown.problem);
        let wrong = first(schema.clone(), json!({"account": "hunter2"}));
        assert_eq!((wrong.at.as_str(), wrong.class), ("/account", Class::InvalidArguments));
        assert!(!wrong.problem.contains("hunter2"));
        let wrong = first(schema, json!({"account": "ACC-1", "n": "hunter2"}));
        assert_eq!((wrong.at.as_str(), wrong.problem.as_str()), ("/n", "must be integer"));
    }

    #[test]
    fn the_first_violation_does_not_depend_on_field_order() {
        let schema = json!({"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "string"}}});
        assert_eq!(first(schema.clone(), json!({"b": 1, "a": 1})).at, "/a");
        assert_eq!(first(schema, json!({"a": 1, "b": 1})).at, "/a");
    }

    #[test]
    fn formats_are_checked_and_unknown_ones_refused() {
        assert_eq!(
            first(json!({"type": "string", "format": "date"}), json!("soon")).class,
            Class::InvalidArguments
        );
        assert!(!check_schema(&json!({"type": "string", "format": "moon"})).is_empty());
    }

    #[test]
    fn a_refused_schema_names_the_keyword_at_fault_and_its_place() {
        let wrong = |schema: Value| {
            let faults = check_schema(&schema);
            assert_eq!(faults.len(), 1, "{schema}: {faults:?}");
            faults.into_iter().next().unwrap()
        };
        for (schema, at, keyword, fix) in [
            (json!({"required": "account"}), "/required", "required", "list of names"),
            (
                json!({"properties": {"required": {"enum": 5}}}),
                "/properties/required/enum",
                "enum",
                "list",
            ),
            (
                json!({"properties": {"a": {"minLength": -1}}}),
                "/properties/a/minLength",
                "minLength",
                "from 0",
            ),
            (json!({"allOf": [{"maxItems": "3"}]}), "/allOf/0/maxItems", "maxItems", "from 0"),
            (json!({"items": {"pattern": "("}}), "/items/pattern", "pattern", "regular expression"),
            (
                json!({"patternProperties": {"(": true}}),
                "/patternProperties/(",
                "patternProperties",
                "regular expression",
            ),
            (json!({"items": [{"type": "string"}]}), "/items", "items", "one schema"),
            (json!({"uniqueItems": "yes"}), "/uniqueItems", "uniqueItems", "true"),
            (json!({"type": ["string", "string"]}), "/type", "type", "one type"),
            (json!({"multipleOf": 0}), "/multipleOf", "multipleOf", "more than 0"),
            (json!({"format": "moon"}), "/format", "format", "date-time"),
            (json!({"title": 5}), "/title", "title", "text"),
            (json!({"properties": 5}), "/properties", "properties", "map"),
            (
                json!({"dependentRequired": {"a": "b"}}),
                "/dependentRequired/a",
                "dependentRequired",
                "lists of names",
            ),
            (
                json!({"$defs": {"item": true}, "items": {"$ref": "#/$defs/itm"}}),
                "/items/$ref",
                "$ref",
                "#/$defs/item",
            ),
        ] {
            let (place, message, next) = wrong(schema.clone());
            assert_eq!(place, at, "{schema}: {message}");
            assert!(message.contains(&format!("`{keyword}`")), "{schema}: {message}");
            assert!(next.contains(fix), "{schema}: {next}");
        }
    }

    #[test]
    fn schemas_are_closed_documents() {
        let remote =
            check_schema(&json!({"properties": {"a": {"$ref": "https://example.org/a.json"}}}));
        assert_eq!(remote.first().unwrap().0, "/properties/a/$ref");
        let typo = check_schema(&json!({"type": "object", "requierd": ["a"]}));
        assert_eq!(typo.first().unwrap().2, "did you mean `required`?");
        assert!(!check_schema(&json!({"type": "objekt"})).is_empty());
        assert!(
            !check_schema(&json!({"type": "string", "pattern": "(?=x)"})).is_empty(),
            "linear time only"
        );
        assert!(
            check_schema(&json!({"$defs": {"a": true}, "items": {"$ref": "#/$defs/a"}})).is_empty()
        );
    }

    #[test]
    fn pointers_are_followed_into_schemas() {
        let schema = json!({"type": "object", "additionalProperties": false, "properties": {
            "list": {"type": "array", "items": {"$ref": "#/$defs/item"}}, "open": {"type": "object"}},
            "$defs": {"item": {"type": "object", "properties": {"id": {"type": "string"}}}}});
        for good in ["", "/list", "/list/*/id", "/list/0/id", "/open/anything"] {
            assert!(leads_somewhere(&schema, good), "{good}");
        }
        for bad in ["/lost", "/list/*/idd", "/list/name", "/list/*/id/x"] {
            assert!(!leads_somewhere(&schema, bad), "{bad}");
        }
    }
}
