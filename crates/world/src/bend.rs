//! Faults that bend an answer: what the body claims is no longer what the system knows.

use serde_json::{Value, json};

use crate::clock;
use crate::fault::{Fault, FaultKind};
use crate::problem::System;
use crate::records::Doc;
use crate::route::{Reply, Route};

const STALE_SECONDS: u32 = 9 * 86_400;
const OTHER_NAME: &str = "Meridian Unrelated Holdings";
const NAME_FIELDS: [&str; 3] = ["Name", "name", "company_name"];

/// The field in which a system says how fresh an answer is.
pub(crate) fn freshness_field(system: System) -> &'static str {
    match system {
        System::Crm => "AsOf",
        System::Desk => "refreshed_at",
        System::Billing | System::Usage | System::Mail => "as_of",
    }
}

/// Says in the answer how fresh it is.
pub(crate) fn stamp(system: System, body: &mut Value, seconds: i64) {
    let value = match system {
        System::Crm | System::Usage | System::Mail => Value::from(clock::rfc3339(seconds)),
        System::Desk | System::Billing => Value::from(seconds),
    };
    if let Value::Object(doc) = body {
        doc.insert(freshness_field(system).to_owned(), value);
    }
}

/// Bends the answer as the fault says; faults of other kinds leave it alone. `as_of` is the time
/// the answer was made, in unix seconds.
pub(crate) fn bend(
    reply: &mut Reply,
    route: &Route,
    system: System,
    (fault, as_of): (&Fault, i64),
) {
    match fault.kind {
        FaultKind::MissingField => {
            let pointer = fault.field.as_deref().unwrap_or(route.field);
            visit(&mut reply.body, &segments(pointer), &mut |doc, name| {
                doc.remove(name);
            });
        }
        FaultKind::ChangedShape => match &fault.field {
            None => reply.body = json!({"schema": 2, "payload": reply.body.take()}),
            Some(pointer) => visit(&mut reply.body, &segments(pointer), &mut |doc, name| {
                if let Some(value) = doc.get_mut(name) {
                    *value = json!({"value": value.take()});
                }
            }),
        },
        FaultKind::Stale => {
            let seconds = i64::from(fault.seconds.unwrap_or(STALE_SECONDS));
            stamp(system, &mut reply.body, as_of - seconds);
            reply.version = reply.version.map(|version| version - 1);
            each_record(&mut reply.body, route, &mut |doc| {
                if let Some(version) = doc.get("Version").and_then(Value::as_i64) {
                    doc.insert("Version".to_owned(), (version - 1).into());
                }
            });
        }
        FaultKind::DuplicateRecord => {
            if let Some(Value::Array(rows)) = reply.body.get_mut(route.list)
                && let Some(first) = rows.first().cloned()
            {
                rows.insert(1, first);
            }
        }
        FaultKind::NameMismatch => {
            let name = fault.value.as_deref().unwrap_or(OTHER_NAME);
            each_record(&mut reply.body, route, &mut |doc| {
                for field in NAME_FIELDS {
                    if let Some(value) = doc.get_mut(field) {
                        *value = name.into();
                    }
                }
            });
        }
        FaultKind::TimeoutBefore
        | FaultKind::TimeoutAfter
        | FaultKind::ServerError
        | FaultKind::RateLimit
        | FaultKind::Forbidden
        | FaultKind::Reset
        | FaultKind::SlowDrip
        | FaultKind::Garbage
        | FaultKind::Huge => {}
    }
}

fn each_record(body: &mut Value, route: &Route, change: &mut dyn FnMut(&mut Doc)) {
    if let Value::Object(doc) = &mut *body {
        change(doc);
    }
    if let Some(Value::Array(rows)) = body.get_mut(route.list) {
        for row in rows {
            if let Value::Object(doc) = row {
                change(doc);
            }
        }
    }
}

fn segments(pointer: &str) -> Vec<String> {
    let parts = pointer.split('/').skip(1);
    parts.map(|part| part.replace("~1", "/").replace("~0", "~")).collect()
}

/// Calls `change` with every object that holds the pointed-at field, and the field's name.
fn visit(value: &mut Value, path: &[String], change: &mut dyn FnMut(&mut Doc, &str)) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    match value {
        Value::Object(doc) if rest.is_empty() => change(doc, first),
        Value::Object(doc) => {
            if let Some(inner) = doc.get_mut(first) {
                visit(inner, rest, change);
            }
        }
        Value::Array(items) if first == "*" => {
            for item in items {
                visit(item, rest, change);
            }
        }
        Value::Array(items) => {
            let at = first.parse::<usize>().ok();
            if let Some(item) = at.and_then(|at| items.get_mut(at)) {
                visit(item, rest, change);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_reach_into_every_element() {
        let mut body = json!({"rows": [{"a": 1, "b": {"c": 1}}, {"a": 2, "b": {"c": 2}}]});
        visit(&mut body, &segments("/rows/*/a"), &mut |doc, name| {
            doc.remove(name);
        });
        visit(&mut body, &segments("/rows/1/b/c"), &mut |doc, name| {
            doc.remove(name);
        });
        assert_eq!(body, json!({"rows": [{"b": {"c": 1}}, {"b": {}}]}));
    }
}
