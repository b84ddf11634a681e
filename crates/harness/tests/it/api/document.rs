//! The OpenAPI document: it is what is served, what is committed, and it never takes anything back.

use std::fs;

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
