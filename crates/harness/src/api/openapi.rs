//! The OpenAPI 3.1 document, made from the same table as the routes.

use serde_json::{Map, Value, json};

use super::routes::{ROUTES, Route, Verb};
use crate::app::{
    ops::{OPS, Op, publish},
    requests,
};

/// The document.
#[must_use]
pub(crate) fn document() -> Value {
    let mut shared = Map::new();
    let mut paths = Map::new();
    for route in ROUTES {
        let Some(op) = OPS.iter().find(|op| op.name == route.op) else { continue };
        let described = describe(route, op, &mut shared);
        let verb = match route.verb {
            Verb::Get => "get",
            Verb::Post => "post",
            Verb::Delete => "delete",
        };
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(verb.to_owned(), described);
        }
    }
    paths.insert("/v1/events".to_owned(), events());
    shared.insert("Problem".to_owned(), problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "harness",
            "version": "1",
            "description": "The control plane of production agents. Every refusal is a problem document (RFC 9457).",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": shared,
        },
    })
}

/// What [`crate::web::Told`] writes.
fn problem() -> Value {
    let text = json!({"type": "string"});
    let place = json!({"type": "object", "required": ["pointer"], "properties": {"pointer": text}});
    json!({
        "type": "object",
        "description": "Why something cannot be done: RFC 9457.",
        "required": ["schema", "type", "title", "status", "kind", "code", "detail", "retryable"],
        "properties": {
            "schema": {"const": "harness.problem/v1"},
            "type": text, "title": text, "status": {"type": "integer"}, "kind": text,
            "code": {"type": "string", "description": "Stable; programs decide by it."},
            "detail": text, "next": {"type": "string", "description": "What to do now."},
            "retryable": {"type": "boolean"},
            "errors": {"type": "array", "items": place},
        },
    })
}

fn describe(route: &Route, op: &Op, shared: &mut Map<String, Value>) -> Value {
    let request = requests::schema(op.name).map(|schema| (**schema).clone()).unwrap_or_default();
    let request = hoist(request, shared);
    let taken: Vec<&str> = route.path_fields().chain(route.fixed.map(|(name, _)| name)).collect();
    let mut parameters: Vec<Value> = Vec::new();
    for name in route.path_fields() {
        let schema = request.pointer(&format!("/properties/{name}"));
        let schema = schema.map_or_else(|| json!({"type": "string", "minLength": 1}), query_schema);
        parameters.push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
    }
    let free = |name: &str| !taken.contains(&name);
    let fields = request.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let required = request.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut described = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "responses": responses(op, shared),
    });
    let mut body = None;
    if route.verb == Verb::Post {
        parameters.push(header("Idempotency-Key", "The same key and request are done once."));
        if route.decides.is_some() {
            let mut parameter = header("If-Match", "The ETag of what the decision was made from.");
            set(&mut parameter, "required", json!(true));
            parameters.push(parameter);
        }
        body = Some(body_of(&request, &fields, &required, &free));
    } else {
        for (name, schema) in fields.iter().filter(|(name, _)| free(name)) {
            let required = required.iter().any(|needed| needed == name);
            let place = json!({"name": name, "in": "query", "required": required, "schema": query_schema(schema)});
            parameters.push(place);
        }
    }
    if let Some(map) = described.as_object_mut() {
        map.insert("parameters".to_owned(), Value::Array(parameters));
        if let Some((schema, needed)) = body {
            let content = json!({"application/json": {"schema": schema}});
            map.insert("requestBody".to_owned(), json!({"required": needed, "content": content}));
        }
    }
    described
}

/// The schema of a body without what the path says, and whether a body is needed.
fn body_of(
    request: &Value,
    fields: &Map<String, Value>,
    required: &[Value],
    free: &impl Fn(&str) -> bool,
) -> (Value, bool) {
    let left: Map<String, Value> =
        fields.iter().filter(|(name, _)| free(name)).map(|(n, s)| (n.clone(), s.clone())).collect();
    let needed: Vec<&Value> =
        required.iter().filter(|name| name.as_str().is_some_and(free)).collect();
    let mut schema = json!({"type": "object", "properties": left, "additionalProperties": false});
    if !needed.is_empty() {
        set(&mut schema, "required", json!(needed));
    }
    if let Some(text) = request.get("description") {
        set(&mut schema, "description", text.clone());
    }
    (schema, !needed.is_empty())
}

fn query_schema(schema: &Value) -> Value {
    // A parameter that is absent is absent, never null.
    let mut schema = schema.clone();
    if let Some(Value::Array(types)) = schema.get("type") {
        let named = types.iter().find(|t| *t != "null").cloned().unwrap_or_else(|| json!("string"));
        set(&mut schema, "type", named);
    }
    if schema.get("type").is_some_and(|t| t == "array") {
        // Comma-separated.
        schema = json!({"type": "string", "description": schema.get("description")});
    }
    if let Some(map) = schema.as_object_mut() {
        map.remove("default");
    }
    schema
}

fn header(name: &str, text: &str) -> Value {
    let schema = json!({"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"});
    json!({"name": name, "in": "header", "required": false, "description": text, "schema": schema})
}

fn responses(op: &Op, shared: &mut Map<String, Value>) -> Value {
    let answer = hoist(publish(op.document, (op.response)()), shared);
    let name = type_name(op.document);
    shared.insert(name.clone(), answer);
    let reference = json!({"$ref": format!("#/components/schemas/{name}")});
    let problem = json!({"$ref": "#/components/schemas/Problem"});
    let refused = |text: &str| json!({"description": text, "content": {"application/problem+json": {"schema": problem}}});
    let mut all = json!({"200": {"description": "Done.", "content": {"application/json": {"schema": reference}}}});
    for (status, text) in [
        ("304", "It is what you know already."),
        ("400", "The request makes no sense."),
        ("401", "Nobody knows who asks."),
        ("403", "You may not, or policy says no."),
        ("404", "There is no such thing."),
        ("408", "The body did not arrive in time."),
        ("409", "Somebody was faster, or it waits for something."),
        ("412", "It is not what it was when you looked."),
        ("413", "The body is too large."),
        ("415", "The body is not JSON."),
        ("421", "This server does not go by that name."),
        (
            "422",
            "It is well-formed and makes no sense here, or the key was used for something else.",
        ),
        ("428", "A decision names the version it was made from."),
        ("429", "Too many requests."),
        ("500", "A defect."),
        ("503", "It may work later."),
        ("504", "It took too long."),
    ] {
        let told = if status == "304" { json!({"description": text}) } else { refused(text) };
        set(&mut all, status, told);
    }
    all
}

fn events() -> Value {
    let parameter = |name: &str, place: &str, text: &str| {
        json!({"name": name, "in": place, "required": false, "description": text,
            "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"}})
    };
    json!({"get": {
        "operationId": "listen",
        "summary": "What changes, as it changes: ids, kinds and versions of runs",
        "description": "An event `run` names a run, how many events it has and the kinds that were added. `reset` \
            says that more was missed than is remembered: read again what you show. Resumes after `Last-Event-ID`.",
        "parameters": [
            parameter("after", "query", "Go on after the event with this id."),
            parameter("run", "query", "Of this run only."),
            parameter("Last-Event-ID", "header", "As `after`; browsers send it by themselves."),
        ],
        "responses": {
            "200": {"description": "A stream.", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
            "default": {"description": "Refused.", "content":
                {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}},
        },
    }})
}

/// Sets a field of an object.
fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        map.insert(name.to_owned(), value);
    }
}

fn operation_id(route: &Route) -> String {
    let base = route.op.replace('.', "_");
    match route.fixed {
        Some((_, value)) => format!("{base}_{value}"),
        None => base,
    }
}

/// `harness.run-detail/v1` → `RunDetailDocument`.
fn type_name(document: &str) -> String {
    let kind = document.trim_start_matches("harness.");
    let kind = kind.split('/').next().unwrap_or(kind);
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>())
    };
    kind.split('-').filter_map(capital).chain(["Document".to_owned()]).collect()
}

/// Takes the definitions out of a schema: in the document they are shared by all.
fn hoist(mut schema: Value, shared: &mut Map<String, Value>) -> Value {
    if let Some(map) = schema.as_object_mut() {
        map.remove("$schema");
        map.remove("$id");
        map.remove("title");
        if let Some(Value::Object(definitions)) = map.remove("$defs") {
            for (name, definition) in definitions {
                let definition = hoist(definition, shared);
                shared.insert(name, definition);
            }
        }
    }
    rename(&mut schema);
    schema
}

fn rename(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get_mut("$ref") {
                *reference = reference.replace("#/$defs/", "#/components/schemas/");
            }
            map.values_mut().for_each(rename);
        }
        Value::Array(items) => items.iter_mut().for_each(rename),
        _ => {}
    }
}
