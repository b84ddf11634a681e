//! Reads the `request` of an operation into the binding that `connect` executes.

use std::collections::BTreeSet;

use kernel::pointer;
use serde_json::{Map, Value, json};

use crate::{
    a2a, acp,
    connector::Shared,
    mcp,
    model::ConnectorKind,
    problem::did_you_mean,
    read::{Fields, Reader, cut},
    recovery::CLASSES,
    yaml::{Kind, Node},
};

/// Builtins that exist.
pub(crate) const BUILTINS: [&str; 4] =
    ["time.now", "calculator.evaluate", "todo.write", "people.notify"];

/// What is done in folders.
pub(crate) const DEEDS: [&str; 22] = [
    "read",
    "list",
    "search",
    "write",
    "edit",
    "move",
    "remove",
    "make_folder",
    "image",
    "restore",
    "shell",
    "look",
    "job_start",
    "job_read",
    "job_stop",
    "job_list",
    "python",
    "javascript",
    "publish",
    "work_preview",
    "work_merge",
    "work_take_back",
];

/// What is asked of the web.
pub(crate) const ERRANDS: [&str; 3] = ["fetch", "read", "search"];

/// Most rows a statement may give or touch.
pub(crate) const ROWS_MAX: i64 = 10_000;

const METHODS: [(&str, &str); 5] =
    [("GET", "GET"), ("POST", "POST"), ("PUT", "PUT"), ("PATCH", "PATCH"), ("DELETE", "DELETE")];

/// How a connector proves who it is; the secret is a name, never a value.
pub(crate) struct Auth {
    pub(crate) secret: String,
    value: Value,
}

/// Status codes to failure classes, and whether the effect may have landed all the same.
#[derive(Default)]
pub(crate) struct Errors(Vec<(i64, Value)>);

const LANDED: [(&str, &str); 3] = [("no", "no"), ("unknown", "unknown"), ("yes", "yes")];

pub(crate) fn read_auth(node: &Node, reader: Reader<'_>) -> Option<Auth> {
    let mut fields = reader.fields(node, "auth")?;
    let kinds: Vec<&str> = fields.names().collect();
    let auth = if let Some(node) = fields.get("bearer") {
        let secret = reader.name(node, "a secret's name")?;
        Some(Auth { value: json!({"bearer": secret}), secret })
    } else if let Some(node) = fields.get("basic") {
        let mut inner = reader.fields(node, "basic")?;
        let (user, secret) = (inner.need_text("user"), inner.need_name("secret"));
        inner.done();
        Some(Auth { value: json!({"basic": {"user": user, "secret": secret}}), secret })
    } else {
        read_key(&mut fields, "header")
            .or_else(|| read_key(&mut fields, "query"))
            .or_else(|| read_key(&mut fields, "cookie"))
    };
    if kinds.len() != 1 {
        reader.wrong(
            fields.place,
            "`auth` is one of bearer, header, query, cookie, basic",
            "write `auth: {bearer: SECRET}`",
        );
    }
    fields.done();
    auth
}

/// A key of its own, in a header, a query parameter or a cookie.
fn read_key(fields: &mut Fields<'_, '_>, place: &'static str) -> Option<Auth> {
    let node = fields.get(place)?;
    let mut inner = fields.reader.fields(node, place)?;
    let (name, secret) = (inner.need_text("name"), inner.need_name("secret"));
    inner.done();
    Some(Auth { value: json!({place: {"name": name, "secret": secret}}), secret })
}

pub(crate) fn read_errors(node: &Node, reader: Reader<'_>) -> Errors {
    let mut rules: Vec<(i64, Value)> = Vec::new();
    for item in reader.list(node, "errors") {
        let Some(mut fields) = reader.fields(item, "an error rule") else { continue };
        let status =
            fields.need("status").and_then(|node| reader.integer(node, "status", 300..=599));
        let class =
            fields.need("class").and_then(|node| reader.choice(node, "failure class", &CLASSES));
        let landed = fields.choice("landed", &LANDED);
        fields.done();
        let (Some(status), Some(class)) = (status, class) else { continue };
        if rules.iter().any(|(known, _)| *known == status) {
            reader.wrong(item.place, format!("status {status} is mapped twice"), "keep one");
        }
        let mut rule = json!({"status": status, "class": class.name()});
        if let (Some(landed), Some(map)) = (landed, rule.as_object_mut()) {
            map.insert("landed".into(), json!(landed));
        }
        rules.push((status, rule));
    }
    Errors(rules)
}

/// The binding: connector facts and the operation's own `request`.
pub(crate) fn read_request(fields: &mut Fields<'_, '_>, shared: &Shared) -> Value {
    let reader = fields.reader;
    let mut binding = Map::new();
    binding.insert("kind".into(), json!(shared.kind.name()));
    if let Some(system) = &shared.system {
        binding.insert("system".into(), json!(system));
    }
    if let Some(auth) = &shared.auth {
        binding.insert("auth".into(), auth.value.clone());
    }
    if shared.kind == ConnectorKind::Outside {
        return Value::Object(binding);
    }
    // A program is told the operation, and an agent its words; only where to look is left to say.
    let node = match shared.kind {
        ConnectorKind::Process | ConnectorKind::Acp => fields.get("request"),
        _ => fields.need("request"),
    };
    if let Some(mut request) = node.and_then(|node| reader.fields(node, "request")) {
        match shared.kind {
            ConnectorKind::Http => read_http(&mut request, &mut binding, shared),
            ConnectorKind::Sql => read_sql(&mut request, &mut binding),
            ConnectorKind::Mail => {
                binding.insert("from".into(), json!(request.need_text("from")));
            }
            ConnectorKind::Process => read_program(&mut request, &mut binding),
            ConnectorKind::Folder => read_deed(&mut request, &mut binding, ("deed", &DEEDS)),
            ConnectorKind::Web => read_deed(&mut request, &mut binding, ("errand", &ERRANDS)),
            ConnectorKind::Worker => {
                binding.insert("task".into(), json!(request.need_text("task")));
                read_picks(&mut request, &mut binding);
            }
            ConnectorKind::Mcp => mcp::read_request(&mut request, &mut binding),
            ConnectorKind::A2a => a2a::read_request(&mut request, &mut binding),
            ConnectorKind::Acp => acp::read_request(&mut request, &mut binding),
            ConnectorKind::Builtin => read_builtin(&mut request, &mut binding),
            ConnectorKind::Outside => {}
        }
        request.done();
    }
    Value::Object(binding)
}

fn read_deed(
    request: &mut Fields<'_, '_>,
    binding: &mut Map<String, Value>,
    (what, known): (&str, &[&'static str]),
) {
    let Some(node) = request.need("do") else { return };
    let names: Vec<_> = known.iter().map(|&name| (name, name)).collect();
    if let Some(name) = request.reader.choice(node, what, &names) {
        binding.insert("do".into(), json!(name));
    }
}

fn read_builtin(request: &mut Fields<'_, '_>, binding: &mut Map<String, Value>) {
    let Some(node) = request.need("name") else { return };
    let names = BUILTINS.map(|name| (name, name));
    if let Some(name) = request.reader.choice(node, "builtin", &names) {
        binding.insert("name".into(), json!(name));
    }
}

fn read_http(request: &mut Fields<'_, '_>, binding: &mut Map<String, Value>, shared: &Shared) {
    let reader = request.reader;
    if let Some(method) =
        request.need("method").and_then(|node| reader.choice(node, "method", &METHODS))
    {
        binding.insert("method".into(), json!(method));
    }
    if let Some(path) = request.need("path").and_then(|node| read_path(node, reader)) {
        binding.insert("path".into(), json!(path));
    }
    if let Some(node) = request.get("headers") {
        binding.insert("headers".into(), Value::Object(read_pointer_map(node, "headers", reader)));
    }
    for name in ["query", "form", "multipart"] {
        if let Some(node) = request.get(name) {
            binding.insert(name.into(), Value::Object(read_places(node, name, reader)));
        }
    }
    if let Some(node) = request.get("body") {
        binding.insert("body".into(), read_body(node, reader));
    }
    if let Some(node) = request.get("media") {
        binding.extend(read_media(node, reader).map(|media| ("media".to_owned(), json!(media))));
    }
    let bodies = ["body", "form", "multipart"].iter().filter(|key| binding.contains_key(**key));
    if bodies.count() > 1 {
        reader.wrong(request.place, "a request has one of body, form, multipart", "keep one");
    }
    if let Some(node) = request.get("idempotency") {
        binding
            .extend(read_idempotency(node, reader).map(|value| ("idempotency".to_owned(), value)));
    }
    read_picks(request, binding);
    if let Some(node) = request.get("capture") {
        binding.insert("capture".into(), read_capture(node, reader));
    }
    let own = request.get("errors").map(|node| read_errors(node, reader)).unwrap_or_default();
    let errors = merge_errors(own, &shared.errors);
    if !errors.is_empty() {
        binding.insert("errors".into(), Value::Array(errors));
    }
    if let Some(node) = request.get("absent_ok") {
        match node.kind {
            Kind::Bool(flag) => binding.insert("absent_ok".into(), json!(flag)),
            _ => {
                reader.wrong(node.place, "`absent_ok` is true or false", "write `absent_ok: true`");
                None
            }
        };
    }
}

/// What a program's end means: its words are the answer, or its exit code is a verdict.
fn read_program(request: &mut Fields<'_, '_>, binding: &mut Map<String, Value>) {
    read_picks(request, binding);
    if request.choice("answer", &[("verdict", ())]).is_some() {
        if binding.contains_key("result") || binding.contains_key("external_ref") {
            let message = "a verdict holds nothing to pick";
            request.reader.wrong(request.place, message, "leave `result` and `external_ref` out");
        }
        binding.insert("answer".into(), json!("verdict"));
    }
}

/// Where in an answer the output stands, and the target's own id.
pub(crate) fn read_picks(request: &mut Fields<'_, '_>, binding: &mut Map<String, Value>) {
    for name in ["result", "external_ref"] {
        if let Some(pointer) = request.pointer(name) {
            binding.insert(name.into(), json!(pointer));
        }
    }
}

fn merge_errors(own: Errors, shared: &Errors) -> Vec<Value> {
    let named: BTreeSet<i64> = own.0.iter().map(|(status, _)| *status).collect();
    let inherited = shared.0.iter().filter(|(status, _)| !named.contains(status));
    let mut all: Vec<(i64, Value)> = own.0.iter().chain(inherited).cloned().collect();
    all.sort_by_key(|(status, _)| *status);
    all.into_iter().map(|(_, rule)| rule).collect()
}

fn read_path(node: &Node, reader: Reader<'_>) -> Option<String> {
    let text = reader.text(node, "path")?;
    let names = placeholders(text);
    let fixed =
        names.iter().flatten().fold(text.to_owned(), |path, name| path.replace(name.as_str(), "_"));
    let safe = text.starts_with('/')
        && !text.starts_with("//")
        && names.is_some()
        && !fixed.split('/').any(|segment| segment == ".." || segment == ".")
        && !text.contains(['?', '#', '\\', ' ', '%']);
    if !safe {
        let fix = "write `/things/{id}`; the query has its own key, hosts are the operator's";
        reader.wrong(node.place, "not a path below the system's address", fix);
    }
    Some(text.to_owned())
}

/// The names in `{name}` places; `None` when braces do not pair.
fn placeholders(text: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        if before.contains('}') {
            return None;
        }
        let (name, after) = after.split_once('}')?;
        if name.is_empty() || name.contains('{') {
            return None;
        }
        names.push(name.to_owned());
        rest = after;
    }
    (!rest.contains('}')).then_some(names)
}

fn read_pointer_map(node: &Node, what: &str, reader: Reader<'_>) -> Map<String, Value> {
    let entries = reader.entries(node, what).iter();
    entries
        .filter_map(|(key, node)| Some((key.name.clone(), json!(reader.pointer(node, what)?))))
        .collect()
}

/// What stands in a query or a form: a pointer, or with `join` all of a list in one, or `as: file`.
fn read_places(node: &Node, what: &str, reader: Reader<'_>) -> Map<String, Value> {
    let place = |node: &Node| {
        if !matches!(node.kind, Kind::Map(_)) {
            return Some(json!(reader.pointer(node, what)?));
        }
        let mut fields = reader.fields(node, what)?;
        let at = fields.need("at").and_then(|node| reader.pointer(node, "at"));
        let join = fields.get("join").and_then(|node| reader.text(node, "join"));
        let file = match what {
            "multipart" => fields.choice("as", &[("file", "file")]),
            _ => None,
        };
        let (at, place) = (at?, fields.place);
        fields.done();
        match (join, file) {
            (Some(join), None) => Some(json!({"at": at, "join": join})),
            (None, Some(file)) => Some(json!({"at": at, "as": file})),
            _ => {
                let fix = "write the pointer alone, or `{at: /list, join: \",\"}`";
                reader.wrong(place, "a place with `at` says how, too", fix);
                None
            }
        }
    };
    let entries = reader.entries(node, what).iter();
    entries.filter_map(|(key, node)| Some((key.name.clone(), place(node)?))).collect()
}

/// A media type of JSON, for systems that want theirs named.
fn read_media(node: &Node, reader: Reader<'_>) -> Option<String> {
    let text = reader.text(node, "media")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/.+-_".contains(c);
    let fits = text.split('/').count() == 2 && text.ends_with("json") && text.chars().all(plain);
    if !fits {
        let fix = "write one such as `application/merge-patch+json`";
        reader.wrong(node.place, "`media` is a media type of JSON", fix);
    }
    fits.then(|| text.to_owned())
}

fn read_body(node: &Node, reader: Reader<'_>) -> Value {
    match &node.kind {
        Kind::Map(entries) => {
            let pairs =
                entries.iter().map(|(key, node)| (key.name.clone(), read_body(node, reader)));
            Value::Object(pairs.collect())
        }
        Kind::Text(_) => {
            reader.pointer(node, "a body field").map(Value::String).unwrap_or_default()
        }
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::List(_) => node.to_value(),
    }
}

fn read_idempotency(node: &Node, reader: Reader<'_>) -> Option<Value> {
    let mut fields = reader.fields(node, "idempotency")?;
    let (header, body) = (fields.text("header"), fields.pointer("body"));
    let place = fields.place;
    fields.done();
    match (header, body) {
        (Some(header), None) => Some(json!({"header": header})),
        (None, Some(body)) => Some(json!({"body": body})),
        _ => {
            reader.wrong(
                place,
                "`idempotency` is one of header, body",
                "write `{header: Idempotency-Key}`",
            );
            None
        }
    }
}

fn read_capture(node: &Node, reader: Reader<'_>) -> Value {
    let mut map = Map::new();
    for (key, node) in reader.entries(node, "capture") {
        let Some(text) = reader.text(node, "capture") else { continue };
        if text.strip_prefix("header:").is_none_or(str::is_empty) {
            reader.wrong(
                node.place,
                "a captured field comes from a response header",
                "write `header:ETag`",
            );
        }
        map.insert(key.name.clone(), json!(text));
    }
    Value::Object(map)
}

fn read_sql(request: &mut Fields<'_, '_>, binding: &mut Map<String, Value>) {
    let reader = request.reader;
    binding.insert("statement".into(), json!(request.need_text("statement")));
    if let Some(node) = request.get("params") {
        binding.insert("params".into(), Value::Object(read_pointer_map(node, "params", reader)));
    }
    if let Some(mut rows) = request.need("rows").and_then(|node| reader.fields(node, "rows")) {
        let min = rows.need("min").and_then(|node| reader.integer(node, "min", 0..=ROWS_MAX));
        let max = rows.need("max").and_then(|node| reader.integer(node, "max", 0..=ROWS_MAX));
        if let (Some(min), Some(max)) = (min, max) {
            if min > max {
                reader.wrong(rows.place, "`min` is greater than `max`", "swap them");
            }
            binding.insert("rows".into(), json!({"min": min, "max": max}));
        }
        rows.done();
    }
    if let Some(node) = request.get("one") {
        let one = matches!(node.kind, Kind::Bool(true));
        binding.insert("one".into(), json!(one));
    }
}

/// Refuses pointers and path places that name no argument of the operation.
pub(crate) fn check_binding(
    binding: &Value,
    input: &Value,
    wrong: &mut dyn FnMut(&str, String, String),
) {
    let names: Vec<&str> = properties(input);
    let mut check = |at: &str, pointer: &str| {
        let Some(name) = pointer.split('/').nth(1) else { return };
        if !names.iter().any(|known| pointer::escape(known) == name) {
            let message = format!("`{}` names no argument of the operation", cut(pointer));
            wrong(at, message, did_you_mean(name, names.iter().copied()));
        }
    };
    if let Some(path) = binding.get("path").and_then(Value::as_str) {
        for name in placeholders(path).into_iter().flatten() {
            check("/path", &format!("/{}", pointer::escape(&name)));
        }
    }
    for part in ["query", "headers", "params", "body", "form", "multipart", "text", "data"] {
        let Some(value) = binding.get(part) else { continue };
        pointer::visit_leaves(value, &mut |at, leaf| {
            // How a place is written is no pointer; a field of a JSON body may be called anything.
            let how = at.split('/').nth(2).is_some_and(|key| matches!(key, "join" | "as"));
            let is_place = part == "body" || !how;
            if let Some(pointer) = leaf.as_str().filter(|_| is_place) {
                check(&format!("/{part}{at}"), pointer);
            }
        });
    }
}

/// Names of the declared properties of an object schema.
pub(crate) fn properties(schema: &Value) -> Vec<&str> {
    let map = schema.get("properties").and_then(Value::as_object);
    map.map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default()
}
