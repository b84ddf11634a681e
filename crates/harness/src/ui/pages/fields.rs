//! Typed answers: one control for a schema that is simple, a text of JSON for any other.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::Value;

use crate::{
    app::{approvals::Card, value::exact},
    ui::{icons::Icon, shell::Frame},
};

/// Most choices shown at once; more become a list to open.
const RADIOS_MAX: usize = 6;

/// The form that answers a typed question.
pub(super) fn reply(frame: &Frame, card: &Card, wrong: Option<&str>) -> Markup {
    let schema = card.question.as_ref().map(|question| &question.answer);
    html! {
        section #decide {
            form.stack method="post" action={ "/approvals/" (card.approval) } {
                (frame.token())
                input type="hidden" name="verb" value="reply";
                (control(schema.unwrap_or(&Value::Null), "value"))
                @if let Some(wrong) = wrong { p.wrong role="alert" { (Icon::Alert.draw()) " " (wrong) } }
                p.actions { button.main data-key="a" { "Answer " kbd aria-hidden="true" { "A" } } }
            }
            (super::card::set_aside(frame, &format!("/approvals/{}", card.approval)))
        }
    }
}

/// A control for a schema. What it sends is read with [`read`].
pub(super) fn control(schema: &Value, name: &str) -> Markup {
    let told = schema.get("description").and_then(Value::as_str).unwrap_or("Your answer");
    match fields_of(schema) {
        Some(fields) => html! { fieldset.stack {
            legend.meta { (told) }
            @for (field, inner) in fields {
                (one(inner, &format!("{name}.{field}"), inner.get("description").and_then(Value::as_str).unwrap_or(field)))
            }
        } },
        None => one(schema, name, told),
    }
}

/// The fields of an object that has nothing but simple ones, all of them required.
fn fields_of(schema: &Value) -> Option<&serde_json::Map<String, Value>> {
    let fields = schema.get("properties").and_then(Value::as_object)?;
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let simple = |inner: &Value| {
        let kind = inner.get("type").and_then(Value::as_str);
        choices(inner).is_some() || matches!(kind, Some("string" | "integer" | "number"))
    };
    let all = fields.iter().all(|(name, inner)| simple(inner) && required.contains(&name.as_str()));
    (all && !fields.is_empty()).then_some(fields)
}

/// One control. A field that sends a text as it is has a name that ends in `:text`; others send JSON.
fn one(schema: &Value, name: &str, told: &str) -> Markup {
    if let Some(choices) = choices(schema) {
        return html! { fieldset.stack {
            legend.meta { (told) }
            @if choices.len() <= RADIOS_MAX { div.lines { @for choice in &choices {
                label.tick { input type="radio" name=(name) value=(exact(choice)) required; (shown(choice)) }
            } } } @else {
                select name=(name) aria-label=(told) { @for choice in &choices { option value=(exact(choice)) { (shown(choice)) } } }
            }
        } };
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => {
            html! { label { (told) input type="text" name={ (name) ":text" } maxlength="2000" required; } }
        }
        Some("integer") => {
            html! { label { (told) input type="number" name=(name) step="1" required; } }
        }
        Some("number") => {
            html! { label { (told) input type="number" name=(name) step="any" required; } }
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

fn choices(schema: &Value) -> Option<Vec<Value>> {
    if schema.get("type").and_then(Value::as_str) == Some("boolean") {
        return Some(vec![Value::Bool(true), Value::Bool(false)]);
    }
    schema.get("enum").and_then(Value::as_array).cloned()
}

fn shown(choice: &Value) -> String {
    match choice {
        Value::Bool(true) => "Yes".to_owned(),
        Value::Bool(false) => "No".to_owned(),
        Value::String(text) => crate::app::value::visible(text),
        other => other.to_string(),
    }
}

/// Reads what a control sent: a text as it is, everything else as JSON, fields as an object of both.
///
/// # Errors
/// Says what is wrong with the JSON.
pub(crate) fn read(sent: &BTreeMap<String, String>) -> Result<Value, String> {
    let fields: serde_json::Map<String, Value> = sent
        .iter()
        .filter_map(|(name, given)| Some((name.strip_prefix("value.")?, given)))
        .map(|(name, given)| match name.strip_suffix(":text") {
            Some(name) => Ok((name.to_owned(), Value::String(given.clone()))),
            None => Ok((name.to_owned(), json_of(given)?)),
        })
        .collect::<Result<_, String>>()?;
    match (sent.get("value:text"), sent.get("value")) {
        _ if !fields.is_empty() => Ok(Value::Object(fields)),
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

    #[test]
    fn answers_are_read_as_they_were_meant() {
        let sent = |pairs: &[(&str, &str)]| {
            read(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
        };
        assert_eq!(sent(&[("value:text", "12")]).unwrap(), json!("12"));
        assert_eq!(sent(&[("value", "12")]).unwrap(), json!(12));
        let both = sent(&[("value.n", "3"), ("value.s:text", "x"), ("form_token", "t")]).unwrap();
        assert_eq!(both, json!({ "n": 3, "s": "x" }));
        assert!(sent(&[("value", "{")]).is_err());
        assert!(sent(&[("value.n", "three")]).is_err());
        assert!(sent(&[]).is_err());
    }
}
