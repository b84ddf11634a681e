//! The tools of a server as a connector that nobody has classified yet.

use std::{collections::BTreeSet, path::Path};

use ::mcp::client::{Tool, suspect};
use connect::{
    McpSystem,
    mcp::{Listing, definition_digest},
};
use kernel::Digest;
use openapi::{
    name::{name_of, take_free},
    write::{self, Node},
};
use serde_json::{Map, Value, json};

use super::{Wanted, profile::Known};
use crate::app::{config::mcp::ProxyMode, imports, problem::Problem, value::counted};

/// Most operations of one connector.
const OPERATIONS_MAX: usize = 200;

/// Most values of one file; a pack admits a few more.
const PARTS_MAX: usize = 16_000;

/// Longest summary, in characters.
const SUMMARY_MAX_CHARS: usize = 100;

/// What is said of every tool, whatever its server claims.
const WRITES: &str = "taken to write what nobody can take back: say `effect: read` where it only looks, else `undo` with \
     `undo_with`, `critical`, `groups` for policies; `landed_on_error: no` where its own failure means that nothing happened";

/// What is said of those that a profile classified.
const KNOWN: &str =
    "classified by the profile: read whether it is true of this version of the server";

/// What is said of what the protocol has for reading.
const READS: &str = "taken to read, because that is what the protocol has it for: say otherwise if this server does more";

/// What is said of those whose server claims more.
const CLAIMS: &str = "its server claims that it only reads, which is a hint: say `effect: read` if you know that it is so";

/// Most lines about what to look at first.
const ALARMS_MAX: usize = 20;

/// A connector that was drafted.
pub(super) struct Drafted {
    pub(super) text: String,
    title: String,
    address: Option<String>,
    connector: String,
    operations: Vec<String>,
    decisions: Vec<imports::DraftDecision>,
    left_out: Vec<imports::DraftLeftOut>,
    system: String,
    is_egress: bool,
    /// What may be sent to it at most.
    clearance: &'static str,
    /// Operations that a profile classified.
    known: Vec<String>,
    /// How many operations are no tools.
    beside_tools: usize,
    /// Of the decisions, what is to be looked at before anything is called.
    alarms: Vec<String>,
    /// Operations whose tools nobody has accepted: they are not called until somebody does.
    kept_back: Vec<String>,
}

impl Drafted {
    /// What is told of it.
    pub(super) fn told(self, path: &Path) -> imports::ConnectorDraft {
        let file = path.display().to_string();
        imports::ConnectorDraft {
            title: self.title,
            servers: self.address.into_iter().collect(),
            files: vec![imports::DraftFile {
                connector: self.connector,
                file,
                operations: self.operations,
            }],
            decisions: self.decisions,
            left_out: self.left_out,
            system: Some(self.system),
        }
    }

    /// Names of its operations.
    pub(super) fn names(&self) -> &[String] {
        &self.operations
    }

    /// Whether something of it leaves to a place that nobody declared.
    pub(super) fn has_egress(&self) -> bool {
        self.is_egress
    }

    /// What somebody should know who has just had a proxy put in front of it.
    pub(super) fn first_words(&self, config: &Path, mode: ProxyMode) -> Vec<String> {
        let tools = self.operations.len().saturating_sub(self.beside_tools);
        let known = self.known.len();
        let mut told = vec![
            format!("made a project for {}: {}", self.title, config.display()),
            format!(
                "{}, {known} of them classified by a profile; every other one is taken to write what nobody can take back",
                counted(tools, "tool")
            ),
        ];
        if self.beside_tools > 0 {
            told.push(format!(
                "{} beside: its resources and prompts, which are taken to read",
                counted(self.beside_tools, "operation")
            ));
        }
        told.push(match mode.lets_pass() {
            true => format!("mode {}: every call passes, and what policy would have said is recorded", mode.word()),
            false => "mode enforce: reads pass, and a person is asked about everything else; --listen serves the page for that"
                .to_owned(),
        });
        told.extend(self.alarms());
        if !self.kept_back.is_empty() {
            told.push(format!(
                "kept back until somebody accepts them: {}; read `harness --config {} mcp diff {name}`, then `mcp accept {name}`",
                self.kept_back.join(", "),
                config.display(),
                name = self.connector,
            ));
        }
        told
    }

    /// What is suspicious about tools, and what they may be taken for.
    fn alarms(&self) -> Vec<String> {
        let alarming = self.decisions.iter().filter(|one| self.alarms.contains(&one.text));
        let mut all: Vec<String> =
            alarming.map(|one| format!("{}: {}", one.about.join(", "), one.text)).collect();
        let left_out = self.left_out.iter();
        all.extend(left_out.map(|one| format!("{}: left out: {}", one.place, one.why)));
        let more = all.len().saturating_sub(ALARMS_MAX);
        all.truncate(ALARMS_MAX);
        if more > 0 {
            all.push(format!("{more} more like these"));
        }
        all
    }

    /// Says something that is to be looked at before anything is called.
    fn warn(&mut self, text: &str, about: &str) {
        self.decide(text, about);
        if !self.alarms.iter().any(|known| known == text) {
            self.alarms.push(text.to_owned());
        }
    }

    fn decide(&mut self, text: &str, about: &str) {
        match self.decisions.iter_mut().find(|decision| decision.text == text) {
            Some(decision) => decision.about.push(about.to_owned()),
            None => self.decisions.push(imports::DraftDecision {
                text: text.to_owned(),
                about: vec![about.to_owned()],
            }),
        }
    }
}

/// What somebody has to decide about every server.
const OF_ALL: [&str; 2] = [
    "where it is and what it may reach: put what is shown below into harness.toml, unless it is there",
    "what its answers are worth and what may be sent to it: `labels` and `clearance` under `defaults`",
];

/// Drafts the connector.
///
/// # Errors
/// That there is nothing to draft.
pub(super) fn draft(
    listing: &Listing,
    wanted: &Wanted,
    system: &McpSystem,
    known: &BTreeSet<String>,
) -> Result<Drafted, Problem> {
    let title =
        suspect::shown(format!("{} {}", listing.server.name, listing.server.version).trim());
    let mut drafted = Drafted {
        text: String::new(),
        title,
        address: system.url.clone(),
        connector: wanted.name.clone(),
        operations: Vec::new(),
        decisions: Vec::new(),
        left_out: Vec::new(),
        system: declared(&wanted.name, system),
        is_egress: false,
        clearance: if wanted.passed_on { "internal" } else { "public" },
        known: Vec::new(),
        beside_tools: 0,
        alarms: Vec::new(),
        kept_back: Vec::new(),
    };
    for what in OF_ALL {
        drafted.decide(what, &wanted.name);
    }
    let (mut entries, mut taken, mut parts) = (Vec::new(), BTreeSet::new(), 0);
    for tool in &listing.tools {
        let known_tool =
            wanted.profile.as_ref().and_then(|p| p.of(tool, &wanted.name, &listing.tools));
        let node = match operation_as(tool, (known_tool.as_ref(), wanted.passed_on)) {
            _ if listing.tools.iter().filter(|other| other.name == tool.name).count() > 1 => {
                Err("two tools have this name".to_owned())
            }
            Ok(node) if parts + node.count() > PARTS_MAX || entries.len() >= OPERATIONS_MAX => {
                Err("a connector holds no more".to_owned())
            }
            other => other,
        };
        match node {
            Ok(node) => {
                parts += node.count();
                let own = take_free(&name_of(&tool.name), &mut taken);
                let is_kept_back = wanted.is_unread && !suspect::texts(tool).is_empty();
                let node = if is_kept_back { unaccepted(node) } else { node };
                if is_kept_back {
                    drafted.kept_back.push(format!("{}.{own}", wanted.name));
                }
                if let Some(known) = &known_tool {
                    drafted.known.push(own.clone());
                    drafted.is_egress |= known.is_egress;
                }
                judge(&mut drafted, (tool, &own), listing, known);
                entries.push((own.clone(), node));
                drafted.operations.push(own);
            }
            Err(why) => drafted
                .left_out
                .push(imports::DraftLeftOut { place: suspect::shown(&tool.name), why }),
        }
    }
    if wanted.passed_on {
        add_beside(&mut drafted, listing, (&mut entries, &mut taken));
    }
    if entries.is_empty() {
        return Err(Problem::usage(
            "nothing-offered",
            "the server offers nothing that can be called",
        )
        .at(wanted.name.clone())
        .next("look at the server itself; some offer tools only once they are configured"));
    }
    drafted.text = file(&drafted, entries);
    Ok(drafted)
}

/// Adds what a server has beside tools, as far as it fits.
fn add_beside(
    drafted: &mut Drafted,
    listing: &Listing,
    (entries, taken): (&mut Vec<(String, Node)>, &mut BTreeSet<String>),
) {
    let room = OPERATIONS_MAX.saturating_sub(entries.len());
    for (name, node) in beside_tools(listing).into_iter().take(room) {
        let own = take_free(&name, taken);
        drafted.decide(READS, &format!("{}.{own}", drafted.connector));
        drafted.beside_tools += 1;
        drafted.operations.push(own.clone());
        entries.push((own, node));
    }
}

/// What a server has beside tools, as operations that read: whatever it lists for that, and each of its prompts.
fn beside_tools(listing: &Listing) -> Vec<(String, Node)> {
    let read = |summary: String, (input, output): (Value, Value), request: &[(&str, &str)]| {
        let request = request.iter().map(|(key, text)| ((*key).to_owned(), Node::text(*text)));
        let entries = [
            ("effect", Node::text("read")),
            ("summary", Node::text(summary)),
            ("input", Node::schema(&input)),
            ("output", Node::schema(&output)),
            ("request", Node::Map(request.collect())),
        ];
        Node::Map(entries.into_iter().map(|(key, node)| (key.to_owned(), node)).collect())
    };
    let holds = |field: &str| json!({"type": "object", "required": [field], "properties": { field: {"type": "array"} }});
    let mut all = Vec::new();
    if listing.server.offers.contains(&"resources") {
        let input = json!({"type": "object", "required": ["uri"], "properties": {"uri": {"type": "string"}}});
        let request = [("do", "read"), ("uri", "/uri"), ("answer", "whole")];
        let node = read("Read {/uri}".to_owned(), (input, holds("contents")), &request);
        all.push(("read_resource".to_owned(), node));
    }
    for prompt in &listing.prompts {
        let fields: Map<String, Value> = prompt
            .arguments
            .iter()
            .map(|(name, _)| (name.clone(), json!({"type": "string"})))
            .collect();
        let needed: Vec<&String> =
            prompt.arguments.iter().filter(|(_, needed)| *needed).map(|(name, _)| name).collect();
        let input = json!({"type": "object", "required": needed, "properties": fields});
        let request = [("do", "prompt"), ("prompt", prompt.name.as_str()), ("answer", "whole")];
        let shown = suspect::shown(&prompt.name).replace('{', "(").replace('}', ")");
        let node = read(format!("Fill the prompt {shown}"), (input, holds("messages")), &request);
        all.push((format!("prompt_{}", name_of(&prompt.name)), node));
    }
    all
}

/// What a person should know of one tool.
fn judge(
    drafted: &mut Drafted,
    (tool, own): (&Tool, &str),
    listing: &Listing,
    known: &BTreeSet<String>,
) {
    let about = format!("{}.{own}", drafted.connector);
    if drafted.known.iter().any(|name| name == own) {
        drafted.decide(KNOWN, &about);
    } else {
        drafted.decide(WRITES, &about);
        if tool.claims_to_read() {
            drafted.decide(CLAIMS, &about);
        }
    }
    for found in suspect::texts(tool) {
        drafted.warn(&format!("suspicious: {found}"), &about);
    }
    if known.contains(own) {
        let text = format!(
            "shadows: another connector has an operation `{own}`; a model may take one for the other"
        );
        drafted.warn(&text, &about);
    }
    let others = listing.tools.iter().map(|other| other.name.as_str());
    let near = suspect::near(&tool.name, others).or_else(|| {
        suspect::near(own, known.iter().map(String::as_str)).filter(|_| !known.contains(own))
    });
    if let Some(near) = near {
        drafted.warn(
            &format!("passes for `{}`: the names are almost the same", suspect::shown(near)),
            &about,
        );
    }
    // Which dialect a schema is written in is no part of what it says.
    let whole = |schema: &Value| kept(schema, &|_| true);
    if input(tool) != whole(&tool.input)
        || tool.output.as_ref().is_some_and(|schema| output(tool) != whole(schema))
    {
        drafted.decide(
            "part of its schemas cannot stand in a pack and was left out: the server checks the rest",
            &about,
        );
    }
}

fn file(drafted: &Drafted, entries: Vec<(String, Node)>) -> String {
    let map = |pairs: &[(&str, &str)]| {
        Node::Map(pairs.iter().map(|(key, text)| ((*key).to_owned(), Node::text(*text))).collect())
    };
    let defaults = Node::Map(vec![
        ("labels".to_owned(), map(&[("trust", "untrusted"), ("confidentiality", "internal")])),
        ("clearance".to_owned(), map(&[("confidentiality", drafted.clearance)])),
    ]);
    let about = format!("{}, drafted from the tools of an MCP server.", drafted.title);
    let whole = [
        ("schema", Node::text("harness.connector/v1")),
        ("name", Node::text(drafted.connector.clone())),
        ("kind", Node::text("mcp")),
        ("system", Node::text(drafted.connector.clone())),
        ("description", Node::text(about)),
        ("defaults", defaults),
        ("operations", Node::Map(entries)),
    ];
    let whole: Vec<_> = whole.into_iter().map(|(key, node)| (key.to_owned(), node)).collect();
    let head = format!(
        "# A draft: nobody has classified it yet. Every tool{} is taken to write what cannot be taken back, every answer\n\
         # is untrusted, and nothing above {} may be sent. `definition` pins what was accepted: `harness mcp diff`.\n",
        if drafted.known.is_empty() { "" } else { " that no profile knows" },
        drafted.clearance,
    );
    format!("{head}{}", write::file(&whole))
}

/// One operation as it stands in the file, with what is known of it; its answers whole where they are passed on.
///
/// # Errors
/// Why it cannot be pinned.
pub(super) fn operation_as(
    tool: &Tool,
    (known, whole): (Option<&Known>, bool),
) -> Result<Node, String> {
    let is_whole = whole || known.is_some();
    let mut request = request(tool)?;
    if let Node::Map(entries) = &mut request {
        if let Some((_, answer)) = entries.iter_mut().find(|(key, _)| key == "answer" && is_whole) {
            *answer = Node::text("whole");
        }
        entries.extend(known.into_iter().flat_map(|known| known.request.clone()));
    }
    let output = if is_whole { whole_output(tool) } else { output(tool) };
    let entries = [
        ("summary", Node::text(summary(tool))),
        ("input", Node::schema(&input(tool))),
        ("output", Node::schema(&output)),
        ("request", request),
    ];
    let told = known.into_iter().flat_map(|known| known.operation.clone());
    let all = entries.into_iter().map(|(key, node)| (key.to_owned(), node));
    Ok(Node::Map(told.chain(all).collect()))
}

/// The operation of a tool that nobody has accepted: it stands in the file, pinned to nothing, and nothing that the server
/// says of it does.
fn unaccepted(node: Node) -> Node {
    let Node::Map(entries) = node else { return node };
    let one = |(key, node): (String, Node)| {
        let node = match (key.as_str(), node) {
            ("input", _) => Node::schema(&json!({"type": "object"})),
            ("output", _) => Node::schema(&json!({"type": "object", "required": ["content"]})),
            ("request", Node::Map(entries)) => {
                let said = entries.into_iter().filter(|(key, _)| key != "described");
                let pinned = said.map(|(key, node)| match key.as_str() {
                    "definition" => (key, Node::text(Digest::default().to_string())),
                    _ => (key, node),
                });
                Node::Map(pinned.collect())
            }
            (_, node) => node,
        };
        (key, node)
    };
    Node::Map(entries.into_iter().map(one).collect())
}

/// The schema of an answer that is passed on as it came. What a tool promises of its structured part stands in it, as far
/// as it can be said there.
pub(super) fn whole_output(tool: &Tool) -> Value {
    let promised = match &tool.output {
        None => json!({}),
        // A reference would lead elsewhere from there.
        Some(schema) if schema.to_string().contains("\"$ref\"") => json!({"type": "object"}),
        Some(schema) => held(schema),
    };
    let required: &[&str] =
        if tool.output.is_some() { &["content", "structuredContent"] } else { &["content"] };
    json!({
        "type": "object",
        "required": required,
        "properties": { "content": {"type": "array"}, "structuredContent": promised },
    })
}

/// How a tool is called, and what was accepted of it.
///
/// # Errors
/// Why it cannot be pinned.
pub(super) fn request(tool: &Tool) -> Result<Node, String> {
    let digest =
        definition_digest(tool).map_err(|error| format!("it cannot be pinned: {error}"))?;
    let answer = if tool.output.is_some() { "structured" } else { "text" };
    let entries = [
        ("tool", Node::text(tool.name.clone())),
        ("definition", Node::text(digest.to_string())),
        ("answer", Node::text(answer)),
        ("described", Node::schema(&described(tool))),
    ];
    Ok(Node::Map(entries.into_iter().map(|(key, node)| (key.to_owned(), node)).collect()))
}

/// What the server says of a tool beside its schemas, without what is not said.
pub(super) fn described(tool: &Tool) -> Value {
    let all = [
        ("title", tool.title.as_ref().map(|text| json!(text))),
        ("description", tool.description.as_ref().map(|text| json!(text))),
        ("hints", tool.hints.clone()),
    ];
    let said = all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(said.collect())
}

/// One sentence for people and models: what the server says, where nothing about it is suspicious.
fn summary(tool: &Tool) -> String {
    let plain = |text: &str| text.replace('{', "(").replace('}', ")");
    let said = tool.description.as_deref().filter(|_| suspect::texts(tool).is_empty());
    let first = said.and_then(|text| text.lines().find(|line| !line.trim().is_empty()));
    let first = first.map(|line| line.split(". ").next().unwrap_or(line).trim());
    match first.filter(|first| first.chars().count() <= SUMMARY_MAX_CHARS) {
        Some(first) => plain(first.trim_end_matches('.')),
        None => plain(&format!("Call the tool {}", suspect::shown(&tool.name))),
    }
}

/// The schema of the arguments, as a pack can hold it.
pub(super) fn input(tool: &Tool) -> Value {
    held(&tool.input)
}

/// The schema of the answer, as a pack can hold it.
pub(super) fn output(tool: &Tool) -> Value {
    match &tool.output {
        Some(schema) => held(schema),
        None => json!({
            "type": "object",
            "required": ["text"],
            "properties": {
                "text": {"type": "string"},
                "blocks": {"type": "array"},
                "declined": {"type": "array", "items": {"type": "string"}},
            },
        }),
    }
}

/// A schema without what no pack can hold: keywords nobody knows, and where that does not suffice all but its fields.
pub(in crate::app) fn held(schema: &Value) -> Value {
    let known = kept(schema, &pack::is_keyword);
    if pack::schema_problem(&known).is_none() {
        return known;
    }
    let plain = kept(&known, &|name| {
        !matches!(name, "format" | "pattern" | "patternProperties" | "default" | "examples")
    });
    match pack::schema_problem(&plain) {
        None => plain,
        Some(_) => json!({"type": "object"}),
    }
}

/// A schema with these of its keywords alone. Names of fields are no keywords.
fn kept(schema: &Value, is_kept: &dyn Fn(&str) -> bool) -> Value {
    let named = |map: &Value| match map {
        Value::Object(map) => Value::Object(
            map.iter().map(|(name, inner)| (name.clone(), kept(inner, is_kept))).collect(),
        ),
        other => other.clone(),
    };
    match schema {
        Value::Object(map) => {
            let known = map.iter().filter(|(name, _)| is_kept(name) && *name != "$schema");
            let one = |(name, inner): (&String, &Value)| {
                let inner = match name.as_str() {
                    "properties" | "patternProperties" | "$defs" | "definitions"
                    | "dependentSchemas" => named(inner),
                    "enum" | "const" | "default" | "examples" | "required" => inner.clone(),
                    _ => kept(inner, is_kept),
                };
                (name.clone(), inner)
            };
            Value::Object(known.map(one).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| kept(item, is_kept)).collect()),
        other => other.clone(),
    }
}

/// The system as it stands in `harness.toml`.
pub(super) fn declared(name: &str, system: &McpSystem) -> String {
    let quoted = |text: &str| Value::String(text.to_owned()).to_string();
    let list =
        |items: Vec<String>| items.iter().map(|one| quoted(one)).collect::<Vec<_>>().join(", ");
    let mut text = format!("[systems.{name}]\nkind = \"mcp\"\n");
    if let Some(url) = &system.url {
        text.push_str(&format!("url = {}\n", quoted(url)));
    }
    if !system.run.is_empty() {
        text.push_str(&format!("run = [{}]\n", list(system.run.clone())));
    }
    if !system.profile.paths.read.is_empty() {
        let paths = system.profile.paths.read.iter().map(|path| path.display().to_string());
        text.push_str(&format!("profile.paths.read = [{}]\n", list(paths.collect())));
    }
    if !system.profile.paths.write.is_empty() {
        let paths = system.profile.paths.write.iter().map(|path| path.display().to_string());
        text.push_str(&format!("profile.paths.write = [{}]\n", list(paths.collect())));
    }
    text
}
