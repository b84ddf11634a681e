//! The OpenAPI document: it is what is served, what is committed, and it never takes anything back.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use super::{Api, compare::taken_back};
use crate::support::root;

pub(super) fn openapi(api: &Api) -> Value {
    api.get("", "/v1/openapi.json").ok()
}

fn committed() -> Value {
    let path = root().join("docs/openapi.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// C363: whoever has the document has the API. `API_WRITE=1` refreshes the committed one.
#[test]
fn the_document_is_the_committed_one() {
    let api = Api::open();
    let served = openapi(&api);
    if std::env::var_os("API_WRITE").is_some() {
        let text = serde_json::to_string_pretty(&served).unwrap();
        fs::write(root().join("docs/openapi.json"), text + "\n").unwrap();
    }
    assert!(served == committed(), "docs/openapi.json is stale: run this test with API_WRITE=1");
    assert_eq!(served["openapi"], "3.1.0");
    let mut dangling = Vec::new();
    check_references(&served, &served, &mut dangling);
    assert!(dangling.is_empty(), "{dangling:?}");
}

fn check_references(whole: &Value, part: &Value, dangling: &mut Vec<String>) {
    match part {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                let place = reference.strip_prefix('#').unwrap_or("?");
                if whole.pointer(place).is_none() {
                    dangling.push(reference.clone());
                }
            }
            map.values().for_each(|inner| check_references(whole, inner, dangling));
        }
        Value::Array(items) => {
            items.iter().for_each(|inner| check_references(whole, inner, dangling))
        }
        _ => {}
    }
}

/// Sources of the facade.
fn facade(dir: &std::path::Path, all: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => facade(&path, all),
            false => all.push_str(&fs::read_to_string(path).unwrap()),
        }
    }
}

/// What a type is made of, as it is written: its own fields, and those of the types they name.
fn fields_of(name: &str, sources: &str, seen: &mut BTreeSet<String>) -> String {
    if !seen.insert(name.to_owned()) {
        return String::new();
    }
    let begins = [format!("pub struct {name} {{"), format!("pub enum {name} {{")];
    let found = begins.iter().find_map(|begins| sources.split_once(begins.as_str()));
    let Some((_, rest)) = found else { return String::new() };
    if rest.starts_with('}') {
        return String::new();
    }
    let lines = rest.split_once("\n}").unwrap().0.lines();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let mut body: String = lines.filter(is_code).flat_map(|line| [line, "\n"]).collect();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let words: BTreeSet<String> = body
        .split(|c| !is_word(c))
        .filter(|word| word.starts_with(|c: char| c.is_uppercase()))
        .map(str::to_owned)
        .collect();
    for word in words {
        body += &fields_of(&word, sources, seen);
    }
    body
}

/// Whoever asks over HTTP names no file of the server's machine: a request that has one has no route.
#[test]
fn no_request_over_http_names_a_file_of_the_server() {
    let mut sources = String::new();
    facade(&root().join("crates/harness/src/app"), &mut sources);
    let (_, table) = sources.split_once("\nops! {").unwrap();
    let table = table.split_once("\n}").unwrap().0;
    let ids: BTreeSet<String> = committed()["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|verbs| verbs.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap().to_owned())
        .collect();
    let (mut looked_at, mut with_paths) = (0, Vec::new());
    for line in table.lines().filter(|line| line.contains("=>")) {
        let name = line.split('"').nth(1).unwrap();
        let request = line.split("=>").nth(1).unwrap().split("::").last().unwrap().trim();
        let fields = fields_of(request, &sources, &mut BTreeSet::new());
        looked_at += usize::from(!fields.is_empty());
        if fields.contains("Path") {
            with_paths.push(name.to_owned());
        }
    }
    assert!(looked_at > 40, "{looked_at}");
    assert_eq!(with_paths, ["backup.create"], "say what is in the file, not where it is");
    let routed = |name: &String| ids.iter().any(|id| id.starts_with(&name.replace('.', "_")));
    assert!(!with_paths.iter().any(routed), "{ids:?}");
}

/// C363: what was promised stays true. `docs/openapi-released.json` is the promise; with a release, and never
/// else, it is replaced: `cp docs/openapi.json docs/openapi-released.json`.
#[test]
fn nothing_released_is_taken_back() {
    let text = fs::read_to_string(root().join("docs/openapi-released.json")).unwrap();
    let missing = taken_back(&serde_json::from_str(&text).unwrap(), &committed());
    assert!(missing.is_empty(), "{missing:#?}");
}

/// What is found when the committed document is edited so.
fn found(edit: impl FnOnce(&mut Value)) -> Vec<String> {
    let (old, mut new) = (committed(), committed());
    edit(&mut new);
    taken_back(&old, &new)
}

#[test]
fn a_breaking_change_is_found() {
    assert_eq!(found(|_| {}), Vec::<String>::new());
    let gone = found(|d| drop(d["paths"].as_object_mut().unwrap().remove("/v1/runs/{run}")));
    assert_eq!(gone, ["get /v1/runs/{run}"]);
    let view = |d: &mut Value| d["components"]["schemas"]["RunView"].take();
    let put = |d: &mut Value, schema: Value| d["components"]["schemas"]["RunView"] = schema;
    let edited = |edit: fn(&mut Value)| {
        found(|d| {
            let mut schema = view(d);
            edit(&mut schema);
            put(d, schema);
        })
    };
    let field = edited(|view| drop(view["properties"].as_object_mut().unwrap().remove("status")));
    assert_eq!(field, ["RunView: status"]);
    let kind = edited(|view| view["properties"]["status"]["type"] = "integer".into());
    assert_eq!(kind, ["RunView: status is of another type"]);
    let null = edited(|view| view["properties"]["status"]["type"] = json!(["string", "null"]));
    assert_eq!(null, ["RunView: status is of another type"], "what is told was never null");
    let optional = edited(|view| {
        view["required"].as_array_mut().unwrap().retain(|name| name != "status");
    });
    assert_eq!(optional, ["RunView: status may be missing now"]);
    let items = edited(|view| view["properties"]["unusual"]["items"] = json!({"type": "integer"}));
    assert_eq!(items, ["RunView: unusual, each is of another type"]);
    assert!(edited(|view| view["properties"]["new"] = json!({})).is_empty(), "more is told");
    let needed = edited(|view| view["required"].as_array_mut().unwrap().push("ended_by".into()));
    assert!(needed.is_empty(), "what is always told is no loss");
}

/// What is sent is taken back by other changes than what is told.
#[test]
fn a_request_that_takes_less_is_found() {
    let body = |d: &mut Value, path: &str, edit: fn(&mut Value)| {
        edit(&mut d["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]);
    };
    let rollback = |edit: fn(&mut Value)| found(|d| body(d, "/v1/runs/{run}/rollback", edit));
    let place = "post /v1/runs/{run}/rollback body";
    let needed = rollback(|schema| schema["required"] = json!(["token"]));
    assert_eq!(needed, [format!("{place}: token is needed now")]);
    let narrower = rollback(|schema| schema["properties"]["token"]["type"] = "string".into());
    assert_eq!(narrower, [format!("{place}: token is of another type")]);
    let few = rollback(|schema| schema["properties"]["token"]["enum"] = json!(["rbk_1"]));
    assert_eq!(few, [format!("{place}: token takes only some values now")]);
    let short = rollback(|schema| schema["properties"]["token"]["maxLength"] = json!(3));
    assert_eq!(short, [format!("{place}: token: its maxLength is tighter")]);
    let more = rollback(|schema| schema["properties"]["new"] = json!({"type": "string"}));
    assert!(more.is_empty(), "{more:?}");
    let query = found(|d| {
        let of = &mut d["paths"]["/v1/runs"]["get"]["parameters"];
        of.as_array_mut().unwrap().retain(|one| one["name"] != "status");
    });
    assert_eq!(query, ["get /v1/runs: \"query\" \"status\""]);
}

/// What is behind a name, and which values there are.
#[test]
fn what_is_behind_a_reference_is_compared() {
    let old = json!({
        "paths": {"/x": {"get": {"responses": {"200": {"content": {"application/json": {
            "schema": {"$ref": "#/components/schemas/X"}}}}}}}},
        "components": {"schemas": {
            "X": {"type": "object", "properties": {
                "word": {"type": "string", "enum": ["a", "b"]},
                "way": {"oneOf": [{"const": "in"}, {"const": "out"}]},
                "of": {"$ref": "#/components/schemas/Y"}}},
            "Y": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}},
            "Z": {"type": "object", "properties": {}}}},
    });
    let found = |place: &str, value: Value| {
        let mut new = old.clone();
        *new.pointer_mut(&format!("/components/schemas/X/properties/{place}")).unwrap() = value;
        taken_back(&old, &new)
    };
    let words = |all: Value| json!({"type": "string", "enum": all});
    assert_eq!(found("word", words(json!(["a"]))), ["X: word: \"b\" is gone"]);
    assert!(found("word", words(json!(["a", "b", "c"]))).is_empty(), "one more word");
    let other = json!({"$ref": "#/components/schemas/Z"});
    assert_eq!(found("of", other), ["Y: n", "Y: n may be missing now"]);
    let null = json!({"anyOf": [{"$ref": "#/components/schemas/Y"}, {"type": "null"}]});
    assert_eq!(found("of", null), ["X: of may be null now"]);
    let way = |all: &[&str]| json!({"oneOf": all.iter().map(|one| json!({"const": one})).collect::<Vec<_>>()});
    assert_eq!(found("way", way(&["in"])), ["X: way: 1 alternatives are gone"]);
    assert!(found("way", way(&["in", "out", "round"])).is_empty(), "one more way");
}
