//! What a client of an older document would miss in a newer one. What is added is not missed.

use std::collections::BTreeSet;

use serde_json::Value;

/// Which way a schema's values go: what a client sends may be taken more widely, never less; what it is told
/// may say more, never less.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Sent,
    Told,
}

#[derive(Clone)]
struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    seen: BTreeSet<(String, String, Way)>,
    found: BTreeSet<String>,
}

/// Everything that was taken back between two documents.
pub(super) fn taken_back(old: &Value, new: &Value) -> Vec<String> {
    let mut all = Comparison { old, new, seen: BTreeSet::new(), found: BTreeSet::new() };
    for (path, verbs) in old["paths"].as_object().unwrap() {
        for (verb, operation) in verbs.as_object().unwrap() {
            match &new["paths"][path][verb] {
                Value::Null => drop(all.found.insert(format!("{verb} {path}"))),
                now => all.operation(&format!("{verb} {path}"), operation, now),
            }
        }
    }
    // What no operation names is told in streams and problems.
    for name in old["components"]["schemas"].as_object().unwrap().keys() {
        let reference = serde_json::json!({ "$ref": format!("#/components/schemas/{name}") });
        if !all.seen.iter().any(|(seen, _, _)| *seen == reference["$ref"]) {
            all.schema(name, (&reference, &reference), Way::Told);
        }
    }
    all.found.into_iter().collect()
}

impl<'a> Comparison<'a> {
    fn find(&mut self, found: String) {
        self.found.insert(found);
    }

    fn operation(&mut self, place: &str, old: &'a Value, now: &'a Value) {
        let list = |operation: &'a Value| operation["parameters"].as_array().into_iter().flatten();
        let same = |one: &Value, other: &Value| {
            (&one["in"], &one["name"]) == (&other["in"], &other["name"])
        };
        for parameter in list(old) {
            let name = format!("{} {}", parameter["in"], parameter["name"]);
            match list(now).find(|other| same(other, parameter)) {
                None => self.find(format!("{place}: {name}")),
                Some(other) => {
                    let schemas = (&parameter["schema"], &other["schema"]);
                    self.schema(&format!("{place}: {name}"), schemas, Way::Sent);
                }
            }
        }
        for parameter in list(now).filter(|parameter| parameter["required"] == true) {
            let was = list(old).find(|other| same(other, parameter));
            if was.is_none_or(|was| was["required"] != true) {
                let name = format!("{} {}", parameter["in"], parameter["name"]);
                self.find(format!("{place}: {name} is needed now"));
            }
        }
        let body = |operation: &'a Value| &operation["requestBody"]["content"]["application/json"];
        if !body(old).is_null() {
            let bodies = (&body(old)["schema"], &body(now)["schema"]);
            self.schema(&format!("{place} body"), bodies, Way::Sent);
        }
        for (status, answer) in old["responses"].as_object().into_iter().flatten() {
            if now["responses"][status].is_null() {
                self.find(format!("{place}: no {status} any more"));
            }
            for (kind, content) in answer["content"].as_object().into_iter().flatten() {
                let told = &now["responses"][status]["content"][kind]["schema"];
                self.schema(&format!("{place} {status}"), (&content["schema"], told), Way::Told);
            }
        }
    }

    fn schema(&mut self, place: &str, (old, new): (&Value, &Value), way: Way) {
        let reference = |schema: &Value| schema["$ref"].as_str().unwrap_or_default().to_owned();
        let key = (reference(old), reference(new), way);
        let name = key.0.rsplit('/').next().unwrap_or_default().to_owned();
        if !key.0.is_empty() && !self.seen.insert(key) {
            return;
        }
        let named = if name.is_empty() { place } else { &name };
        let (was, is) =
            (alternatives(resolve(self.old, old)), alternatives(resolve(self.new, new)));
        if !was.is_empty() || !is.is_empty() {
            let whole = |schema: &Value, all: Vec<Value>| match all.is_empty() {
                true => vec![schema.clone()],
                false => all,
            };
            return self.alternatives(place, (whole(old, was), whole(new, is)), way);
        }
        let (place, old, new) = (named, resolve(self.old, old), resolve(self.new, new));
        if new.is_null() {
            return self.find(format!("{place} is gone"));
        }
        self.types(place, (old, new), way);
        self.fields(place, (old, new), way);
        self.values(place, (old, new), way);
        self.inner(place, (old, new), way);
    }

    fn types(&mut self, place: &str, (old, new): (&Value, &Value), way: Way) {
        let types = |schema: &Value| -> Option<BTreeSet<String>> {
            let word = |one: &Value| one.as_str().unwrap_or_default().to_owned();
            match &schema["type"] {
                Value::Null => None,
                Value::Array(all) => Some(all.iter().map(word).collect()),
                one => Some([word(one)].into()),
            }
        };
        let (old, new) = (types(old), types(new));
        let (less, more) = if way == Way::Sent { (&old, &new) } else { (&new, &old) };
        let fits = match (less, more) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(less), Some(more)) => less.is_subset(more),
        };
        if !fits {
            self.find(format!("{place} is of another type"));
        }
    }

    fn fields(&mut self, place: &str, (old, new): (&Value, &Value), way: Way) {
        let needed = |schema: &Value| -> BTreeSet<String> {
            let all = schema["required"].as_array().into_iter().flatten();
            all.filter_map(|name| name.as_str().map(str::to_owned)).collect()
        };
        let (was, is) = (needed(old), needed(new));
        match way {
            Way::Sent => {
                is.difference(&was).for_each(|f| self.find(format!("{place}: {f} is needed now")));
            }
            Way::Told => {
                was.difference(&is)
                    .for_each(|f| self.find(format!("{place}: {f} may be missing now")));
            }
        }
        for (field, schema) in old["properties"].as_object().into_iter().flatten() {
            let inner = format!("{place}: {field}");
            match new["properties"].get(field) {
                None => self.find(inner),
                Some(now) => self.schema(&inner, (schema, now), way),
            }
        }
        if way == Way::Sent
            && old["additionalProperties"] != false
            && new["additionalProperties"] == false
        {
            self.find(format!("{place} takes no further fields now"));
        }
    }

    fn values(&mut self, place: &str, (old, new): (&Value, &Value), way: Way) {
        let taken = |value: &Value| new["enum"].as_array().is_none_or(|now| now.contains(value));
        for value in old["enum"].as_array().into_iter().flatten().filter(|value| !taken(value)) {
            self.find(format!("{place}: {value} is gone"));
        }
        if way == Way::Sent && old["enum"].is_null() && !new["enum"].is_null() {
            self.find(format!("{place} takes only some values now"));
        }
        if old["const"] != new["const"] && (!old["const"].is_null() || way == Way::Sent) {
            self.find(format!("{place} is another value"));
        }
        let number = |schema: &Value, key: &str| schema[key].as_f64();
        for key in ["minimum", "minLength", "minItems", "maximum", "maxLength", "maxItems"] {
            let tighter = match (number(old, key), number(new, key)) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(was), Some(is)) if key.starts_with("min") => is > was,
                (Some(was), Some(is)) => is < was,
            };
            if tighter && way == Way::Sent {
                self.find(format!("{place}: its {key} is tighter"));
            }
        }
    }

    fn alternatives(&mut self, place: &str, (was, now): (Vec<Value>, Vec<Value>), way: Way) {
        let fits = |one: &Value, other: &Value| {
            let mut tried = Self { found: BTreeSet::new(), ..self.clone() };
            tried.schema(place, (one, other), way);
            tried.found.is_empty()
        };
        let gone = was
            .iter()
            .filter(|one| !now.contains(one) && !now.iter().any(|other| fits(one, other)));
        let gone = gone.count();
        let null = serde_json::json!({ "type": "null" });
        let may_be_null = way == Way::Told && now.contains(&null) && !was.contains(&null);
        // The same name may stand for something else now.
        for one in was.iter().filter(|one| now.contains(one)) {
            self.schema(place, (one, one), way);
        }
        if gone > 0 {
            self.find(format!("{place}: {gone} alternatives are gone"));
        }
        if may_be_null {
            self.find(format!("{place} may be null now"));
        }
    }

    fn inner(&mut self, place: &str, (old, new): (&Value, &Value), way: Way) {
        let anything = Value::Bool(true);
        let or = |schema: &Value, key: &str| schema.get(key).cloned();
        for key in ["items", "additionalProperties"] {
            let (was, is) = (or(old, key), or(new, key));
            if was.as_ref().or(is.as_ref()).is_none_or(|schema| !schema.is_object()) {
                continue;
            }
            let (was, is) = (was.unwrap_or(anything.clone()), is.unwrap_or(anything.clone()));
            self.schema(&format!("{place}, each"), (&was, &is), way);
        }
        let parts = |schema: &Value| schema["prefixItems"].as_array().cloned().unwrap_or_default();
        let (was, is) = (parts(old), parts(new));
        if was.len() != is.len() {
            self.find(format!("{place} has another length"));
        }
        for (part, (was, is)) in was.iter().zip(&is).enumerate() {
            self.schema(&format!("{place}, part {part}"), (was, is), way);
        }
    }
}

fn alternatives(schema: &Value) -> Vec<Value> {
    let all = ["anyOf", "oneOf"].into_iter().filter_map(|key| schema[key].as_array());
    all.flatten().cloned().collect()
}

fn resolve<'a>(whole: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => whole.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null),
        None => schema,
    }
}
