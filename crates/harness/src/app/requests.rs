//! What a request looks like, as strictly as a schema can say it: ids have their prefix, words are of their
//! set. A request that fits may still make no sense; one that does not fit never does.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use kernel::port::Validate as _;
use pack::Schemas;
use serde_json::{Value, json};

use super::{
    ops::OPS,
    problem::{Kind, Problem},
};

/// Field names that hold ids, and the prefixes an id may have there.
const IDS: [(&str, &str); 7] = [
    ("run", "run_"),
    ("approval", "apr_"),
    ("exception", "exc_"),
    ("receipt", "rct_"),
    ("halt", "hlt_"),
    ("id", "(run|rct|exc)_"),
    ("token", "(rbk_|hns_)?"),
];

/// The schema of an operation's request.
#[must_use]
pub fn schema(op: &str) -> Option<&'static Arc<Value>> {
    static ALL: LazyLock<HashMap<&'static str, Arc<Value>>> = LazyLock::new(|| {
        OPS.iter().map(|op| (op.name, Arc::new(tightened((op.request)().to_value())))).collect()
    });
    ALL.get(op)
}

/// Whether an operation takes an idempotency key itself: the journal makes its requests one.
#[must_use]
pub fn takes_key(op: &str) -> bool {
    schema(op).is_some_and(|schema| schema.pointer("/properties/idempotency_key").is_some())
}

/// Whether files may be attached to the requests of an operation.
#[must_use]
pub fn takes_files(op: &str) -> bool {
    schema(op).is_some_and(|schema| schema.pointer("/properties/attachments").is_some())
}

/// Refuses a request that does not fit its schema, with the place.
///
/// # Errors
/// What does not fit, and where.
pub fn check(op: &str, request: &Value) -> Result<(), Problem> {
    static SCHEMAS: LazyLock<Schemas> = LazyLock::new(Schemas::new);
    let Some(schema) = schema(op) else { return Ok(()) };
    match SCHEMAS.violation(schema, request) {
        None => Ok(()),
        Some(violation) => {
            let at = if violation.at.is_empty() { "/".to_owned() } else { violation.at };
            let detail = format!("the request does not fit at `{at}`: {}", violation.problem);
            Err(Problem::new(Kind::Usage, "bad-request", detail)
                .at(at)
                .next("`GET /v1/openapi.json` gives the schema of each request"))
        }
    }
}

fn tightened(mut schema: Value) -> Value {
    without_widths(&mut schema);
    let fields = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, field) in fields.into_iter().flatten() {
        let Some(field) = field.as_object_mut() else { continue };
        if !takes_text(field.get("type")) {
            continue;
        }
        if let Some((_, prefix)) = IDS.iter().find(|(id, _)| id == name) {
            field
                .insert("pattern".to_owned(), json!(format!("^{prefix}[A-Za-z0-9_.:-]{{1,120}}$")));
        }
    }
    schema
}

/// How wide a number is stored is no format that JSON Schema knows; its bounds are.
fn without_widths(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let is_width = |format: &str| format.contains("int") || format == "double";
            if map.get("format").and_then(Value::as_str).is_some_and(is_width) {
                map.remove("format");
            }
            map.values_mut().for_each(without_widths);
        }
        Value::Array(items) => items.iter_mut().for_each(without_widths),
        _ => {}
    }
}

fn takes_text(kind: Option<&Value>) -> bool {
    match kind {
        Some(Value::String(kind)) => kind == "string",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "string"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_parses_as_an_id_fits_and_what_does_not_is_told_with_its_place() {
        let run = kernel::RunId::of_intent(&kernel::id::Tenant::default(), "a", "b");
        assert_eq!(check("run.get", &json!({"run": run.as_str()})), Ok(()));
        for wrong in
            [json!("apr_1"), json!(""), json!("run_"), json!("run_ä"), json!(1), json!(null)]
        {
            let problem = check("run.get", &json!({"run": wrong})).unwrap_err();
            assert_eq!(problem.at, ["/run"], "{wrong}: {problem:?}");
        }
        let token = "hns_0123456789abcdef_".to_owned() + &"a".repeat(70);
        assert_eq!(check("token.revoke", &json!({"token": token})), Ok(()));
        assert!(check("run.get", &json!({"run": run.as_str(), "more": 1})).is_err());
    }

    #[test]
    fn what_begins_a_run_takes_its_key_itself() {
        for op in ["intent.submit", "gate.call", "run.start"] {
            assert!(takes_key(op), "{op}");
        }
        assert!(!takes_key("approval.decide") && !takes_key("halt.set"));
    }
}
