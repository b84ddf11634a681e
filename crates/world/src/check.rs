//! Checks of request bodies against a flat description of what a write accepts.

use serde_json::Value;

use crate::clock;
use crate::problem::{Problem, Refusal};
use crate::records::Doc;

/// What a field may hold.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Text of 1 to n characters.
    Text(usize),
    /// Text of 1 to n characters, or null.
    TextOrNull(usize),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number within these bounds.
    Whole(i64, i64),
    /// A whole number within these bounds, or null.
    WholeOrNull(i64, i64),
    /// True or false.
    YesNo,
    /// A date, `YYYY-MM-DD`.
    Date,
    /// An exact decimal as text.
    Decimal,
    /// Three upper-case letters.
    Currency,
    /// An object with these fields.
    Fields(&'static [Field]),
}

/// Whether a field may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Required,
    Optional,
}

/// One field of a body.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) need: Need,
    pub(crate) shape: Shape,
}

/// A field that may be left out.
pub(crate) const fn optional(name: &'static str, shape: Shape) -> Field {
    Field { name, need: Need::Optional, shape }
}

/// A field that must be there.
pub(crate) const fn required(name: &'static str, shape: Shape) -> Field {
    Field { name, need: Need::Required, shape }
}

/// Refuses a body with an unknown, missing or mistyped field.
pub(crate) fn check(body: &Doc, fields: &'static [Field]) -> Result<(), Refusal> {
    for name in body.keys() {
        if !fields.iter().any(|field| field.name == name) {
            let known: Vec<_> = fields.iter().map(|field| field.name).collect();
            let message = format!("unknown field {name}; known: {}", known.join(", "));
            return Err(Refusal::new(Problem::BadParameter, message).on(name));
        }
    }
    for field in fields {
        match body.get(field.name) {
            None if field.need == Need::Required => {
                let message = format!("{} is required", field.name);
                return Err(Refusal::new(Problem::BadParameter, message).on(field.name));
            }
            None => {}
            Some(value) => check_value(field, value)?,
        }
    }
    Ok(())
}

/// Like [`check`], for a change: it must name at least one field.
pub(crate) fn check_change(body: &Doc, fields: &'static [Field]) -> Result<(), Refusal> {
    if body.is_empty() {
        return Err(Refusal::new(Problem::BadParameter, "name at least one field to change"));
    }
    check(body, fields)
}

fn check_value(field: &Field, value: &Value) -> Result<(), Refusal> {
    let text = value.as_str();
    let fits = |max: usize| text.is_some_and(|t| !t.is_empty() && t.chars().count() <= max);
    let within = |min: i64, max: i64| value.as_i64().is_some_and(|n| (min..=max).contains(&n));
    let (good, wanted) = match &field.shape {
        Shape::Text(max) => (fits(*max), format!("text of 1 to {max} characters")),
        Shape::TextOrNull(max) => {
            (value.is_null() || fits(*max), format!("null or text of 1 to {max} characters"))
        }
        Shape::OneOf(words) => {
            (text.is_some_and(|t| words.contains(&t)), format!("one of {}", words.join(", ")))
        }
        Shape::Whole(min, max) => (within(*min, *max), format!("a whole number {min} to {max}")),
        Shape::WholeOrNull(min, max) => (
            value.is_null() || within(*min, *max),
            format!("null or a whole number {min} to {max}"),
        ),
        Shape::YesNo => (value.is_boolean(), "true or false".to_owned()),
        Shape::Date => (text.is_some_and(clock::is_date), "a date like 2026-12-28".to_owned()),
        Shape::Decimal => (text.is_some_and(is_decimal), "a decimal as text, 12.50".to_owned()),
        Shape::Currency => (text.is_some_and(is_currency), "a currency like EUR".to_owned()),
        Shape::Fields(inner) => match value.as_object() {
            Some(object) => return check_change(object, inner),
            None => (false, "an object".to_owned()),
        },
    };
    if good {
        return Ok(());
    }
    let message = format!("{} must be {wanted}", field.name);
    Err(Refusal::new(Problem::BadParameter, message).on(field.name))
}

fn is_currency(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase())
}

fn is_decimal(text: &str) -> bool {
    let digits =
        |part: &str| (1..=12).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    let plain = text.strip_prefix('-').unwrap_or(text);
    match plain.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(plain),
    }
}

/// Merges checked changes into a record: objects one level deep, everything else replaced.
pub(crate) fn merge(doc: &mut Doc, changes: &Doc) {
    for (name, change) in changes {
        match (doc.get_mut(name), change) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                for (inner, value) in new {
                    old.insert(inner.clone(), value.clone());
                }
            }
            _ => {
                doc.insert(name.clone(), change.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    static FIELDS: &[Field] = &[
        required("name", Shape::Text(5)),
        optional("pct", Shape::Decimal),
        optional("terms", Shape::Fields(&[optional("days", Shape::WholeOrNull(0, 365))])),
    ];

    fn refused(body: Value) -> Option<String> {
        check(body.as_object().unwrap(), FIELDS).err().and_then(|refusal| refusal.field)
    }

    #[test]
    fn bodies_are_checked_field_by_field() {
        assert_eq!(refused(json!({"name": "a", "pct": "1.5", "terms": {"days": null}})), None);
        assert_eq!(refused(json!({})).as_deref(), Some("name"));
        assert_eq!(refused(json!({"name": "a", "nmae": 1})).as_deref(), Some("nmae"));
        assert_eq!(refused(json!({"name": "too long"})).as_deref(), Some("name"));
        assert_eq!(refused(json!({"name": "a", "pct": 1.5})).as_deref(), Some("pct"));
        assert_eq!(refused(json!({"name": "a", "terms": {"days": 999}})).as_deref(), Some("days"));
    }

    #[test]
    fn merge_keeps_what_a_change_does_not_name() {
        let mut doc = json!({"a": 1, "terms": {"x": 1, "y": 2}}).as_object().unwrap().clone();
        merge(&mut doc, json!({"terms": {"y": null}}).as_object().unwrap());
        assert_eq!(Value::Object(doc), json!({"a": 1, "terms": {"x": 1, "y": null}}));
    }
}
