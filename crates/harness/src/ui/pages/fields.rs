//! Typed answers: one control for a schema that is simple, a text of JSON for any other.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::Value;

use crate::{
    app::{
        approvals::Card,
        value::{exact, visible},
    },
    ui::{icons::Icon, shell::Frame},
};

/// Most choices shown at once; more become a list to open.
const RADIOS_MAX: usize = 6;

/// The form that answers a typed question.
pub(super) fn reply(frame: &Frame, card: &Card, wrong: Option<&str>) -> Markup {
    let schema = card.question.as_ref().map(|question| &question.answer);
    let action = format!("/approvals/{}", card.approval);
    html! {
        section #decide {
            form.stack method="post" action=(action) {
                (frame.token())
                input type="hidden" name="verb" value="reply";
                (control(schema.unwrap_or(&Value::Null), "value"))
                @if let Some(wrong) = wrong { p.wrong role="alert" { (Icon::Alert.draw()) " " (wrong) } }
                p.actions { button.main data-key="a" { "Answer " kbd aria-hidden="true" { "A" } } }
            }
            div.actions {
                @if super::card::asked_by(card).is_some() {
                    form method="post" action=(action) {
                        (frame.token())
                        input type="hidden" name="verb" value="reply";
                        input type="hidden" name="value" value="null";
                        button.danger data-key="d" { "Decline " kbd aria-hidden="true" { "D" } }
                    }
                }
                (super::card::set_aside(frame, &action))
            }
        }
    }
}

/// A control for a schema. What it sends is read with [`read`].
pub(super) fn control(schema: &Value, name: &str) -> Markup {
    let told = told(schema, "Your answer");
    match fields_of(schema) {
        Some(fields) => html! { fieldset.stack {
            legend.meta { (told) }
            // Read as an object even where nothing is filled in.
            input type="hidden" name={ (name) ":object" } value="";
            @for (field, inner) in fields {
                (one(inner, &format!("{name}.{field}"), (&self::told(inner, field), is_required(schema, field))))
            }
        } },
        None => one(schema, name, (&told, Wanted::Required)),
    }
}

/// Whether a field may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Required,
    Optional,
}

fn is_required(schema: &Value, field: &str) -> Wanted {
    let required = schema.get("required").and_then(Value::as_array);
    match required.is_some_and(|all| all.iter().any(|one| one == field)) {
        true => Wanted::Required,
        false => Wanted::Optional,
    }
}

/// What a schema says of itself; servers of others write some of it.
fn told(schema: &Value, or: &str) -> String {
    let text = |word: &str| schema.get(word).and_then(Value::as_str);
    match (text("title"), text("description")) {
        (Some(title), Some(more)) => visible(&format!("{title}: {more}")),
        (Some(only), None) | (None, Some(only)) => visible(only),
        (None, None) => visible(or),
    }
}

/// The fields of an object that has nothing but simple ones.
fn fields_of(schema: &Value) -> Option<&serde_json::Map<String, Value>> {
    let fields = schema.get("properties").and_then(Value::as_object)?;
    let simple = |inner: &Value| {
        let kind = inner.get("type").and_then(Value::as_str);
        let many = kind == Some("array") && inner.get("items").and_then(choices).is_some();
        many || choices(inner).is_some() || matches!(kind, Some("string" | "integer" | "number"))
    };
    // What is nothing but an object may hold anything.
    let is_closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    let all = fields.keys().all(|field| is_required(schema, field) == Wanted::Required);
    let is_plain = is_closed || (all && !fields.is_empty());
    (is_plain && fields.values().all(simple)).then_some(fields)
}

/// One control. A field that sends a text as it is has a name that ends in `:text`, one of several choices a name that ends in
/// one of them; others send JSON. What is left blank and may be is not sent on.
fn one(schema: &Value, name: &str, (told, wanted): (&str, Wanted)) -> Markup {
    let required = wanted == Wanted::Required;
    let default = schema.get("default").unwrap_or(&Value::Null);
    let mark = if required { "" } else { " (if you like)" };
    if let Some(all) = schema.get("items").and_then(choices) {
        let is_on = |choice: &Value| default.as_array().is_some_and(|on| on.contains(choice));
        return html! { fieldset.stack {
            legend.meta { (told) (mark) }
            // None of them is an answer, too.
            @if required { input type="hidden" name={ (name) ":many" } value="[]"; }
            div.lines { @for (n, (choice, shown)) in all.iter().enumerate() {
                label.tick { input type="checkbox" name={ (name) ":" (n) } value=(exact(choice)) checked[is_on(choice)]; (shown) }
            } }
        } };
    }
    if let Some(choices) = choices(schema) {
        return html! { fieldset.stack {
            legend.meta { (told) (mark) }
            @if choices.len() <= RADIOS_MAX { div.lines { @for (choice, shown) in &choices {
                label.tick { input type="radio" name=(name) value=(exact(choice)) required[required] checked[choice == default]; (shown) }
            } } } @else {
                select name=(name) aria-label=(told) {
                    @if !required { option value="" { "–" } }
                    @for (choice, shown) in &choices { option value=(exact(choice)) selected[choice == default] { (shown) } }
                }
            }
        } };
    }
    let (text, number) = (default.as_str(), default.as_number().map(ToString::to_string));
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => {
            html! { label { (told) (mark) input type="text" name={ (name) ":text" } maxlength="2000" required[required] value=[text]; } }
        }
        Some("integer") => {
            html! { label { (told) (mark) input type="number" name=(name) step="1" required[required] value=[number]; } }
        }
        Some("number") => {
            html! { label { (told) (mark) input type="number" name=(name) step="any" required[required] value=[number]; } }
        }
        _ => {
            let blank = sample(schema.get("properties").and_then(Value::as_object));
            html! { label { (told) " (JSON)" textarea.code name=(name) spellcheck="false" required { (blank) } } }
        }
    }
}

fn sample(fields: Option<&serde_json::Map<String, Value>>) -> String {
    let Some(fields) = fields else { return String::new() };
    let blank = |schema: &Value| match schema.get("type").and_then(Value::as_str) {
        Some("string") => Value::String(String::new()),
        Some("integer" | "number") => Value::from(0),
        Some("boolean") => Value::Bool(false),
        Some("array") => Value::Array(Vec::new()),
        _ => Value::Null,
    };
    let filled: serde_json::Map<String, Value> =
        fields.iter().map(|(name, schema)| (name.clone(), blank(schema))).collect();
    serde_json::to_string_pretty(&Value::Object(filled)).unwrap_or_default()
}

/// Values to choose from, each with what it is called.
fn choices(schema: &Value) -> Option<Vec<(Value, String)>> {
    let as_they_are = |all: &[Value]| all.iter().map(|one| (one.clone(), shown(one))).collect();
    if schema.get("type").and_then(Value::as_str) == Some("boolean") {
        return Some(as_they_are(&[Value::Bool(true), Value::Bool(false)]));
    }
    let list = |word: &str| schema.get(word).and_then(Value::as_array);
    if let Some(all) = list("enum") {
        return Some(as_they_are(all));
    }
    let titled = |one: &Value| Some((one.get("const")?.clone(), shown(one.get("title")?)));
    list("oneOf")?.iter().map(titled).collect()
}

fn shown(choice: &Value) -> String {
    match choice {
        Value::Bool(true) => "Yes".to_owned(),
        Value::Bool(false) => "No".to_owned(),
        Value::String(text) => visible(text),
        other => other.to_string(),
    }
}

/// Reads what a control sent: a text as it is, everything else as JSON, fields as an object of both. A field that was left
/// blank is left out; whether it may be, the schema says.
///
/// # Errors
/// Says what is wrong with the JSON.
pub(crate) fn read(sent: &BTreeMap<String, String>) -> Result<Value, String> {
    let mut fields = serde_json::Map::new();
    for (name, given) in sent {
        let Some(name) = name.strip_prefix("value.").filter(|_| !given.is_empty()) else {
            continue;
        };
        match name.rsplit_once(':') {
            Some((name, "text")) => {
                fields.insert(name.to_owned(), Value::String(given.clone()));
            }
            Some((name, nth)) if nth == "many" || nth.parse::<usize>().is_ok() => {
                let many = fields.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                if let Some(many) = many.as_array_mut().filter(|_| nth != "many") {
                    many.push(json_of(given)?);
                }
            }
            _ => {
                fields.insert(name.to_owned(), json_of(given)?);
            }
        }
    }
    match (sent.get("value:text"), sent.get("value")) {
        _ if !fields.is_empty() || sent.contains_key("value:object") => Ok(Value::Object(fields)),
        (Some(text), _) => Ok(Value::String(text.clone())),
        (None, Some(json)) => json_of(json),
        (None, None) => Err("there is no answer yet".to_owned()),
    }
}

fn json_of(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("this is not JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn simple_schemas_have_controls_of_their_own() {
        let markup = |schema: Value| control(&schema, "value").into_string();
        assert!(markup(json!({ "type": "boolean" })).contains("Yes"));
        assert!(markup(json!({ "enum": ["a", "b"] })).contains("radio"));
        assert!(markup(json!({ "type": "string" })).contains("value:text"));
        assert!(markup(json!({ "type": "integer" })).contains("number"));
        let object = json!({
            "type": "object", "required": ["n", "s"],
            "properties": { "n": { "type": "integer" }, "s": { "type": "string" } },
        });
        assert!(markup(object.clone()).contains("name=\"value.n\""));
        assert!(markup(object).contains("name=\"value.s:text\""));
        let optional = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
        assert!(markup(optional).contains("&quot;n&quot;: 0"));
        assert!(markup(json!({})).contains("JSON"));
    }

    /// What servers ask has fields that may be left out, choices with names, and several choices of one.
    #[test]
    fn forms_of_servers_have_controls_of_their_own() {
        let schema = json!({
            "type": "object", "required": ["many"], "additionalProperties": false,
            "properties": {
                "name": { "type": "string", "title": "Name\u{202e}", "default": "Ada" },
                "size": { "type": "string", "oneOf": [{ "const": "s", "title": "Small" }] },
                "many": { "type": "array", "items": { "type": "string", "enum": ["a", "b"] } },
                "sure": { "type": "boolean", "default": true },
            },
        });
        let markup = control(&schema, "value").into_string();
        for part in [
            "name=\"value.name:text\" maxlength=\"2000\" value=\"Ada\"",
            "Name&lt;U+202E&gt; (if you like)",
            "value=\"&quot;s&quot;\"> Small",
            "name=\"value.many:1\" value=\"&quot;b&quot;\"",
            "name=\"value.many:many\" value=\"[]\"",
            "value=\"true\" checked",
        ] {
            let plain =
                markup.replace("\">Small", "\"> Small").replace("<U+202E>", "&lt;U+202E&gt;");
            assert!(plain.contains(part), "{part} in {markup}");
        }
        let empty = json!({ "type": "object", "properties": {}, "additionalProperties": false });
        assert!(control(&empty, "value").into_string().contains("value:object"));
    }

    #[test]
    fn answers_are_read_as_they_were_meant() {
        let sent = |pairs: &[(&str, &str)]| {
            read(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
        };
        assert_eq!(sent(&[("value:text", "12")]).unwrap(), json!("12"));
        assert_eq!(sent(&[("value", "12")]).unwrap(), json!(12));
        let both = sent(&[("value.n", "3"), ("value.s:text", "x"), ("form_token", "t")]).unwrap();
        assert_eq!(both, json!({ "n": 3, "s": "x" }));
        let many = sent(&[("value.m:many", "[]"), ("value.m:1", "\"b\""), ("value.n", "")]);
        assert_eq!(many.unwrap(), json!({ "m": ["b"] }), "what is blank is left out");
        assert_eq!(sent(&[("value.m:many", "[]")]).unwrap(), json!({ "m": [] }));
        assert_eq!(sent(&[("value:object", "")]).unwrap(), json!({}));
        assert!(sent(&[("value", "{")]).is_err());
        assert!(sent(&[("value.n", "three")]).is_err());
        assert!(sent(&[]).is_err());
    }
}
