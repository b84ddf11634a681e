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
//! none touches that system. One that runs a command or code has `context.command`, what the crate `shell` reads in it.
//! Agents, people and services are in roles and in their tenant.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

use kernel::{
    catalogue::Catalogue, conversation::PROVIDED_TOOLS, decision::Mode, id::OperationId,
    operation::Operation,
};
use serde_json::{Map, Value, json};

use crate::shape::{Field, Shape, named, object, quoted, shape_of};

/// Groups every operation is sorted into by its facts; no operation may claim them itself.
pub const GROUPS: [&str; 4] = ["read", "write", "egress", "irreversible"];

const TAKEN: [&str; 17] = [
    "Action",
    "Agent",
    "Person",
    "Service",
    "Role",
    "Tenant",
    "System",
    "HarnessLabel",
    "HarnessRun",
    "HarnessEvidence",
    "HarnessBehalf",
    "Bool",
    "Long",
    "String",
    "Set",
    "Record",
    "Entity",
];
const PRINCIPALS: [&str; 3] = ["Agent", "Person", "Service"];
const TRUST: [&str; 5] = ["untrusted", "verified", "user", "operator", "system"];
const CONFIDENTIALITY: [&str; 4] = ["public", "internal", "confidential", "secret"];
const RUN: [&str; 6] = ["calls", "writes", "calls_left", "writes_left", "same_operation", "denied"];

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
        let runs = shell::sort_of(&operation.binding).is_some();
        let context = context_shape((args, runs.then(command_shape)), &arguments, roles);
        Self { operation: Arc::clone(operation), groups, resource_type, context, arguments }
    }

    /// This action in Cedar's JSON form.
    fn json(&self) -> Value {
        let args = match self.context.at(&["args"]) {
            Ok(shape) => shape.json(),
            Err(_) => record([]),
        };
        let arguments = self.arguments.iter().map(|name| (name.as_str(), named("HarnessLabel")));
        let labels = ["args", "run", "existence"].map(|name| (name, named("HarnessLabel")));
        let labels = labels.into_iter().chain([("arg", record(arguments))]);
        let always = [
            ("args", args),
            ("labels", record(labels)),
            ("classes", Shape::words().json()),
            ("recoveries", Shape::words().json()),
            ("autonomy", Shape::Text(None).json()),
            ("run", named("HarnessRun")),
            ("at", Shape::Long.json()),
            ("mode", Shape::Text(None).json()),
            ("on_behalf_of", named("HarnessBehalf")),
            ("evidence", named("HarnessEvidence")),
        ];
        let command = self.context.at(&["command"]).ok().map(|shape| ("command", shape.json()));
        let groups: Vec<Value> = self.groups.iter().map(|group| json!({"id": group})).collect();
        let applies = object([
            ("principalTypes", Value::from_iter(PRINCIPALS)),
            ("resourceTypes", Value::from_iter([self.resource_type.as_str()])),
            ("context", record(always.into_iter().chain(command))),
        ]);
        object([("memberOf", groups.into()), ("appliesTo", applies)])
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
        let command = self.context.at(&["command"]).map(Shape::render);
        let command = command.map(|shape| format!("    command: {shape},\n")).unwrap_or_default();
        format!(
            "action {id} in [{groups}] appliesTo {{\n  principal: [{principals}],\n  resource: \
             [{resource}],\n  context: {{\n    args: {args},\n{command}    labels: {{args: HarnessLabel, run: \
             HarnessLabel, existence: HarnessLabel, arg: {{{labels}}}}},\n    {rest}\n  }}\n}};\n",
            groups = groups.join(", "),
            principals = PRINCIPALS.join(", "),
            labels = labels.join(", "),
        )
    }
}

/// A record all of whose attributes are required, in Cedar's JSON form.
fn record<'n>(attributes: impl IntoIterator<Item = (&'n str, Value)>) -> Value {
    let attributes = attributes.into_iter().map(|(name, json)| (name.to_owned(), json));
    object([("type", "Record".into()), ("attributes", Value::Object(attributes.collect()))])
}

/// What the text of a command says, read by us: see the crate `shell`.
fn command_shape() -> Shape {
    let effects = shell::Effect::ALL.map(shell::Effect::name);
    Shape::record([
        ("effects", Shape::Set(Box::new(Shape::text(&effects)))),
        ("only_reads", Shape::Bool),
        ("programs", Shape::words()),
        ("unknown", Shape::Bool),
        ("writes", Shape::words()),
    ])
}

fn context_shape(
    (args, command): (Shape, Option<Shape>),
    arguments: &[String],
    roles: &BTreeSet<String>,
) -> Shape {
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
    let command = command.map(|shape| ("command", shape));
    let always = [
        ("args", args),
        ("labels", labels),
        ("classes", Shape::words()),
        ("recoveries", Shape::words()),
        ("autonomy", Shape::text(&["l1", "l2", "l3"])),
        ("run", Shape::record(RUN.map(|name| (name, Shape::Long)))),
        ("at", Shape::Long),
        ("mode", Shape::text(&Mode::ALL.map(Mode::word))),
        ("on_behalf_of", behalf),
        ("evidence", evidence_shape(roles)),
    ];
    Shape::record(always.into_iter().chain(command))
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
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }
    };
    let mut name: String = kind.chars().map(safe).collect();
    let is_no_type = name.parse::<cedar_policy::EntityTypeName>().is_err();
    let reserved = TAKEN.contains(&name.as_str()) || is_no_type;
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
        let known = GROUPS.into_iter().chain([PROVIDED_TOOLS]);
        let mut groups: BTreeSet<String> = known.map(str::to_owned).collect();
        let mut actions = BTreeMap::new();
        let mut systems = BTreeSet::new();
        for (id, entry) in catalogue.iter() {
            systems.insert(id.connector().to_owned());
            for group in &entry.operation.groups {
                let is_id = group.parse().is_ok_and(|id| catalogue.get(&id).is_some());
                if GROUPS.contains(&group.as_str()) || is_id {
                    wrong.push(format!(
                        "operation {id} claims the group `{group}`, which is not free"
                    ));
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
                        wrong.push(format!(
                            "operation {id}: resource kinds `{a}` and `{b}` read alike"
                        ));
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
        if wrong.is_empty() {
            Ok(Self { actions, groups, kinds, systems, roles })
        } else {
            Err(wrong)
        }
    }

    /// Every entity type a rule may name.
    pub(crate) fn types(&self) -> impl Iterator<Item = &str> {
        let fixed = ["Action", "Agent", "Person", "Service", "Role", "Tenant", "System"];
        fixed.into_iter().chain(self.kinds.iter().map(String::as_str))
    }

    /// The schema in Cedar's JSON form, and not its text, whose parser builds a lexer anew for every name.
    pub(crate) fn json(&self) -> Value {
        let text = || Shape::Text(None).json();
        let words = || Shape::words().json();
        let label = [("trust", text()), ("confidentiality", text()), ("classes", words())];
        let types = object([
            ("HarnessLabel", record(label)),
            ("HarnessRun", record(RUN.map(|name| (name, Shape::Long.json())))),
            ("HarnessBehalf", record([("id", text()), ("kind", text()), ("roles", words())])),
            ("HarnessEvidence", evidence_shape(&self.roles).json()),
        ]);
        let mut entities = Map::new();
        for name in ["Role", "Tenant", "System"] {
            entities.insert(name.to_owned(), json!({}));
        }
        for name in PRINCIPALS {
            entities.insert(name.to_owned(), json!({"memberOfTypes": ["Role", "Tenant"]}));
        }
        for kind in &self.kinds {
            entities.insert(kind.clone(), json!({"memberOfTypes": ["System"]}));
        }
        let nothing = json!({"appliesTo": {"principalTypes": [], "resourceTypes": []}});
        let groups = self.groups.iter().map(|group| (group.clone(), nothing.clone()));
        let actions = self.actions.iter().map(|(id, model)| (id.to_string(), model.json()));
        let actions: Map<String, Value> = groups.chain(actions).collect();
        let all = object([
            ("commonTypes", types),
            ("entityTypes", entities.into()),
            ("actions", actions.into()),
        ]);
        object([("", all)])
    }

    /// The schema as Cedar text, as people read it.
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

    #[test]
    fn kinds_that_are_no_cedar_name_or_taken_are_renamed() {
        assert_eq!(type_name("Account"), "Account");
        assert_eq!(type_name("sales order"), "sales_order");
        assert_eq!(type_name("Agent"), "Resource_Agent");
        assert_eq!(type_name("in"), "Resource_in");
        assert_eq!(type_name("3d"), "Resource_3d");
    }
}
