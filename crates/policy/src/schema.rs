//! The Cedar schema of a catalogue.
//!
//! | JSON Schema | Cedar |
//! | --- | --- |
//! | `integer` | `Long` |
//! | `string`; with `enum`, `const` | `String`; a literal outside the list is a load error |
//! | `string` with `format: decimal` | `decimal` (at most four digits after the point, else denied) |
//! | `boolean` | `Bool` |
//! | money `{minor, currency}` | `{ minor: Long, currency: String }` |
//! | `array` of scalars | `Set<…>` |
//! | `object` with `properties` | record of the typeable ones |
//! | not in `required`, or `[T, "null"]` | optional: `?`; `null` counts as absent |
//! | `number`, unions, free-form objects, arrays of objects | absent: naming it is a load error |
//!
//! Operations are actions, in the groups `read`, `write`, `egress`, `irreversible` and their own. What an
//! operation touches is an entity of the kind it declares, in `System::"<connector>"`; one that declares
//! none touches that system. Agents, people and services are in roles and in their tenant.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

use kernel::{catalogue::Catalogue, id::OperationId, operation::Operation};
use serde_json::{Map, Value};

/// Groups every operation is sorted into by its facts; no operation may claim them itself.
pub const GROUPS: [&str; 4] = ["read", "write", "egress", "irreversible"];

/// Deepest nesting of arguments that becomes typed; what lies deeper is absent.
pub const DEPTH_MAX: usize = 12;

const TAKEN: [&str; 9] = [
    "Action", "Agent", "Person", "Service", "Role", "Tenant", "System", "HarnessLabel", "HarnessRun",
];
const PRINCIPALS: [&str; 3] = ["Agent", "Person", "Service"];
const TRUST: [&str; 5] = ["untrusted", "verified", "user", "operator", "system"];
const CONFIDENTIALITY: [&str; 4] = ["public", "internal", "confidential", "secret"];
const RUN: [&str; 6] = ["calls", "writes", "calls_left", "writes_left", "same_operation", "denied"];

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

/// What is known of one action.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) operation: Arc<Operation>,
    pub(crate) groups: BTreeSet<String>,
    pub(crate) resource_type: String,
    pub(crate) context: Shape,
    arguments: Vec<String>,
}

/// Every action, and the names policies may use.
#[derive(Clone, Debug)]
pub(crate) struct Vocabulary {
    pub(crate) actions: BTreeMap<OperationId, Model>,
    pub(crate) groups: BTreeSet<String>,
    pub(crate) kinds: BTreeSet<String>,
    pub(crate) systems: BTreeSet<String>,
    pub(crate) roles: BTreeSet<String>,
}

impl Shape {
    fn text(allowed: &[&str]) -> Self {
        Self::Text(Some(allowed.iter().map(|&word| word.to_owned()).collect()))
    }

    fn words() -> Self {
        Self::Set(Box::new(Self::Text(None)))
    }

    fn record(fields: impl IntoIterator<Item = (&'static str, Shape)>) -> Self {
        let required = |(name, shape): (&str, _)| (name.to_owned(), Field { shape, required: true });
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
            let Shape::Record(fields) = here else { return None };
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

    fn render(&self) -> String {
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

/// A name as Cedar text: quoted, every odd character escaped.
fn quoted(name: &str) -> String {
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
fn shape_of(schema: &Value, root: &Value, depth: usize) -> Option<(Shape, bool)> {
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
        "string" if schema.get("format").and_then(Value::as_str) == Some("decimal") => Shape::Decimal,
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

fn label_shape() -> Shape {
    Shape::record([
        ("trust", Shape::text(&TRUST)),
        ("confidentiality", Shape::text(&CONFIDENTIALITY)),
        ("classes", Shape::words()),
    ])
}

fn named_record<'n>(names: impl Iterator<Item = &'n String>, shape: &Shape) -> Shape {
    let field = |name: &String| (name.clone(), Field { shape: shape.clone(), required: true });
    Shape::Record(names.map(field).collect())
}

impl Model {
    fn new(operation: &Arc<Operation>, resource_type: String, roles: &BTreeSet<String>) -> Self {
        let mut groups: BTreeSet<String> = operation.groups.iter().cloned().collect();
        groups.insert(if operation.is_write() { "write" } else { "read" }.to_owned());
        if operation.facts.egress {
            groups.insert("egress".to_owned());
        }
        if operation.is_irreversible() {
            groups.insert("irreversible".to_owned());
        }
        let empty = || Shape::Record(BTreeMap::new());
        let args = match shape_of(&operation.input, &operation.input, 0) {
            Some((Shape::Record(fields), false)) => Shape::Record(fields),
            _ => empty(),
        };
        let properties = operation.input.get("properties").and_then(Value::as_object);
        let names = properties.into_iter().flatten().map(|(name, _)| name);
        let mut arguments: Vec<String> = names.filter(|n| !n.starts_with("__")).cloned().collect();
        arguments.sort();
        let context = context_shape(args, &arguments, roles);
        Self { operation: Arc::clone(operation), groups, resource_type, context, arguments }
    }

    /// Cedar text of this action.
    fn render(&self) -> String {
        let args = self.context.at(&["args"]).map(Shape::render).unwrap_or_default();
        let label = |name: &String| format!("{}: HarnessLabel", quoted(name));
        let labels: Vec<String> = self.arguments.iter().map(label).collect();
        let groups: Vec<String> = self.groups.iter().map(|group| quoted(group)).collect();
        let id = quoted(self.operation.id.as_str());
        let resource = &self.resource_type;
        let rest = "classes: Set<String>, recoveries: Set<String>, autonomy: String, run: HarnessRun, \
                    at: Long, mode: String, on_behalf_of: HarnessBehalf, evidence: HarnessEvidence";
        format!(
            "action {id} in [{groups}] appliesTo {{\n  principal: [{principals}],\n  resource: \
             [{resource}],\n  context: {{\n    args: {args},\n    labels: {{args: HarnessLabel, run: \
             HarnessLabel, existence: HarnessLabel, arg: {{{labels}}}}},\n    {rest}\n  }}\n}};\n",
            groups = groups.join(", "),
            principals = PRINCIPALS.join(", "),
            labels = labels.join(", "),
        )
    }
}

fn context_shape(args: Shape, arguments: &[String], roles: &BTreeSet<String>) -> Shape {
    let labels = Shape::record([
        ("args", label_shape()),
        ("run", label_shape()),
        ("existence", label_shape()),
        ("arg", named_record(arguments.iter(), &label_shape())),
    ]);
    let behalf = Shape::record([
        ("id", Shape::Text(None)),
        ("kind", Shape::text(&["person", "agent", "service"])),
        ("roles", Shape::words()),
    ]);
    Shape::record([
        ("args", args),
        ("labels", labels),
        ("classes", Shape::words()),
        ("recoveries", Shape::words()),
        ("autonomy", Shape::text(&["l1", "l2", "l3"])),
        ("run", Shape::record(RUN.map(|name| (name, Shape::Long)))),
        ("at", Shape::Long),
        ("mode", Shape::text(&["live", "simulate", "replay", "backtest", "eval"])),
        ("on_behalf_of", behalf),
        ("evidence", evidence_shape(roles)),
    ])
}

fn evidence_shape(roles: &BTreeSet<String>) -> Shape {
    Shape::record([
        ("approvals", named_record(roles.iter(), &Shape::Long)),
        ("dry_run", Shape::Bool),
        ("transforms", Shape::words()),
        ("rollback", Shape::text(&["none", "compensate", "restore"])),
    ])
}

/// A resource kind as a Cedar type: as declared where that is one.
fn type_name(kind: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    let mut name: String = kind.chars().map(safe).collect();
    let reserved = TAKEN.contains(&name.as_str())
        || ["HarnessEvidence", "HarnessBehalf", "Bool", "Long", "String", "Set", "Record", "Entity"]
            .contains(&name.as_str())
        || name.parse::<cedar_policy::EntityTypeName>().is_err();
    if reserved {
        name.insert_str(0, "Resource_");
    }
    name
}

impl Vocabulary {
    /// Reads a catalogue; `roles` are those the rules name under `evidence.approvals`.
    ///
    /// # Errors
    /// One sentence per operation that cannot be named without ambiguity.
    pub(crate) fn new(catalogue: &Catalogue, roles: BTreeSet<String>) -> Result<Self, Vec<String>> {
        let mut wrong = Vec::new();
        let mut kinds: BTreeMap<String, String> = BTreeMap::new();
        let mut groups: BTreeSet<String> = GROUPS.iter().map(|&group| group.to_owned()).collect();
        let mut actions = BTreeMap::new();
        let mut systems = BTreeSet::new();
        for (id, entry) in catalogue.iter() {
            systems.insert(id.connector().to_owned());
            for group in &entry.operation.groups {
                let is_id = group.parse().is_ok_and(|id| catalogue.get(&id).is_some());
                if GROUPS.contains(&group.as_str()) || is_id {
                    wrong.push(format!("operation {id} claims the group `{group}`, which is not free"));
                }
                groups.insert(group.clone());
            }
            let resource_type = match &entry.operation.resource {
                None => "System".to_owned(),
                Some(rule) => {
                    let name = type_name(&rule.kind);
                    let first = kinds.entry(name.clone()).or_insert_with(|| rule.kind.clone());
                    if *first != rule.kind {
                        let (a, b) = (&rule.kind, &*first);
                        wrong.push(format!("operation {id}: resource kinds `{a}` and `{b}` read alike"));
                    }
                    name
                }
            };
            actions.insert(id.clone(), Model::new(&entry.operation, resource_type, &roles));
        }
        if GROUPS.iter().any(|group| actions.keys().any(|id| id.as_str() == *group)) {
            wrong.push("an operation has the name of a built-in group".to_owned());
        }
        let kinds = kinds.into_keys().collect();
        if wrong.is_empty() { Ok(Self { actions, groups, kinds, systems, roles }) } else { Err(wrong) }
    }

    /// Every entity type a rule may name.
    pub(crate) fn types(&self) -> impl Iterator<Item = &str> {
        let fixed = ["Action", "Agent", "Person", "Service", "Role", "Tenant", "System"];
        fixed.into_iter().chain(self.kinds.iter().map(String::as_str))
    }

    /// The schema as Cedar text.
    pub(crate) fn render(&self) -> String {
        let run = RUN.map(|name| format!("{name}: Long")).join(", ");
        let evidence = evidence_shape(&self.roles).render();
        let mut text = format!(
            "entity Role;\nentity Tenant;\nentity Agent, Person, Service in [Role, Tenant];\nentity \
             System;\n\ntype HarnessLabel = {{trust: String, confidentiality: String, classes: \
             Set<String>}};\ntype HarnessRun = {{{run}}};\ntype HarnessBehalf = {{id: String, kind: \
             String, roles: Set<String>}};\ntype HarnessEvidence = {evidence};\n\n"
        );
        for kind in &self.kinds {
            let _ = writeln!(text, "entity {kind} in [System];");
        }
        for group in &self.groups {
            let _ = writeln!(text, "action {};", quoted(group));
        }
        for model in self.actions.values() {
            text.push('\n');
            text.push_str(&model.render());
        }
        text
    }
}

/// The Cedar schema of a catalogue as people read it, with the approval roles given.
///
/// # Errors
/// One sentence per operation that cannot be named without ambiguity.
pub fn schema_text(catalogue: &Catalogue, roles: &BTreeSet<String>) -> Result<String, Vec<String>> {
    Vocabulary::new(catalogue, roles.clone()).map(|vocabulary| vocabulary.render())
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

    #[test]
    fn kinds_that_are_no_cedar_name_or_taken_are_renamed() {
        assert_eq!(type_name("Account"), "Account");
        assert_eq!(type_name("sales order"), "sales_order");
        assert_eq!(type_name("Agent"), "Resource_Agent");
        assert_eq!(type_name("in"), "Resource_in");
        assert_eq!(type_name("3d"), "Resource_3d");
    }
}
