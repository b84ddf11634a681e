//! The OpenAPI document: it is what is served, what is committed, and it never takes anything back.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use super::Api;
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

/// What a client of the old document would miss in the new one.
fn taken_back(old: &Value, new: &Value) -> Vec<String> {
    let mut missing = Vec::new();
    for (path, verbs) in old["paths"].as_object().unwrap() {
        for (verb, operation) in verbs.as_object().unwrap() {
            let now = &new["paths"][path][verb];
            if now.is_null() {
                missing.push(format!("{verb} {path}"));
                continue;
            }
            let named = |operation: &Value, wanted: bool| -> BTreeSet<String> {
                let all = operation["parameters"].as_array().cloned().unwrap_or_default();
                let all = all.into_iter().filter(|p| !wanted || p["required"] == true);
                all.map(|p| format!("{} {}", p["in"], p["name"])).collect()
            };
            missing.extend(
                named(operation, false)
                    .difference(&named(now, false))
                    .map(|p| format!("{verb} {path}: {p}")),
            );
            missing.extend(
                named(now, true)
                    .difference(&named(operation, true))
                    .map(|p| format!("{verb} {path}: {p} is needed now")),
            );
            let body = |operation: &Value| {
                operation["requestBody"]["content"]["application/json"]["schema"].clone()
            };
            compare(&format!("{verb} {path} body"), &body(operation), &body(now), &mut missing);
        }
    }
    for (name, schema) in old["components"]["schemas"].as_object().unwrap() {
        compare(name, schema, &new["components"]["schemas"][name], &mut missing);
    }
    missing
}

fn compare(place: &str, old: &Value, new: &Value, missing: &mut Vec<String>) {
    let names = |schema: &Value| -> BTreeSet<String> {
        schema["properties"].as_object().into_iter().flat_map(|p| p.keys().cloned()).collect()
    };
    missing.extend(names(old).difference(&names(new)).map(|field| format!("{place}: {field}")));
    for (field, schema) in old["properties"].as_object().into_iter().flatten() {
        let now = &new["properties"][field];
        if !now.is_null() && schema["type"] != now["type"] {
            missing.push(format!("{place}: {field} is of another type"));
        }
    }
}

/// The document of the last release stays true: `docs/openapi-released.json` is replaced with a release.
#[test]
fn nothing_released_is_taken_back() {
    let path = root().join("docs/openapi-released.json");
    let Ok(text) = fs::read_to_string(path) else {
        // Nothing was released yet; the comparison itself is held below.
        return;
    };
    let missing = taken_back(&serde_json::from_str(&text).unwrap(), &committed());
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn a_breaking_change_is_found() {
    let old = committed();
    assert_eq!(taken_back(&old, &old), Vec::<String>::new());
    let change = |edit: fn(&mut Value)| {
        let mut new = old.clone();
        edit(&mut new);
        taken_back(&old, &new)
    };
    let gone = change(|d| drop(d["paths"].as_object_mut().unwrap().remove("/v1/runs/{run}")));
    assert_eq!(gone, ["get /v1/runs/{run}"]);
    let field = change(|d| {
        drop(
            d["components"]["schemas"]["RunView"]["properties"]
                .as_object_mut()
                .unwrap()
                .remove("status"),
        );
    });
    assert_eq!(field, ["RunView: status"]);
    let kind = change(|d| {
        d["components"]["schemas"]["RunView"]["properties"]["status"]["type"] = "integer".into()
    });
    assert_eq!(kind, ["RunView: status is of another type"]);
    let more = change(|d| {
        d["components"]["schemas"]["RunView"]["properties"]["new"] = serde_json::json!({})
    });
    assert!(more.is_empty());
}

/// Whoever is woken at night finds every word that the product can say, and every figure it tells.
#[test]
fn the_operators_page_has_every_class_need_and_figure() {
    let page = fs::read_to_string(root().join("docs/operate.md")).unwrap();
    let said = |word: &str| page.contains(&format!("`{word}`"));
    for class in kernel::exception::Class::ALL {
        assert!(said(class.name()), "{}", class.name());
    }
    for need in ["in_doubt", "escalated", "undo_failed", "conflict", "unplanned", "defect"] {
        assert!(said(need), "{need}");
    }
    let api = Api::open();
    let figures = api.get("", "/metrics").body;
    let told: BTreeSet<&str> = figures
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    assert!(told.len() > 8, "{told:?}");
    let named = page.matches("`harness_").count();
    assert!(named >= 6, "{named}");
    for name in page.split("`harness_").skip(1).filter_map(|rest| rest.split('`').next()) {
        assert!(
            told.contains(format!("harness_{name}").as_str()),
            "the page tells of harness_{name}"
        );
    }
}
