//! One operation of the document as one of a connector.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::{
    body,
    document::{Document, short},
    parameter::Arguments,
    schema::{Turner, Way},
    security::{self, Login},
    write::{self, Node},
};

/// An operation, drafted.
#[derive(Debug)]
pub(crate) struct Drafted {
    /// What it should be called: unique only once it is placed.
    pub(crate) name: String,
    /// Method and path, as the document has them.
    pub(crate) place: String,
    pub(crate) login: Login,
    pub(crate) is_read: bool,
    pub(crate) node: Node,
    /// How many values it holds.
    pub(crate) parts: usize,
    /// About how many bytes it takes in its file.
    pub(crate) bytes: usize,
    /// What a person should know about it.
    pub(crate) notes: BTreeSet<String>,
}

/// Drafts one of so many.
///
/// # Errors
/// Why it cannot be one of a connector.
pub(crate) fn draft<'d>(
    document: Document<'d>,
    (path, item): (&'d str, &'d Map<String, Value>),
    (method, operation): (&'static str, &'d Map<String, Value>),
    count: usize,
) -> Result<Drafted, String> {
    if operation.contains_key("servers") || item.contains_key("servers") {
        return Err("it has a server of its own: a connector has one address".to_owned());
    }
    let login = security::login(&document, operation)?;
    let mut sent = Turner::new(document, Way::In, count);
    let lists = [item.get("parameters"), operation.get("parameters")];
    let mut arguments = Arguments::read(document, (path, lists), &mut sent)?;
    let body = if method == "GET" {
        Vec::new()
    } else {
        body::request(document, operation, (&mut arguments, &mut sent))?
    };
    let mut received = Turner::new(document, Way::Out, count);
    let answer = body::answer(document, operation, &mut received)?;
    let mut notes = std::mem::take(&mut arguments.notes);
    if let Some(pages) = &arguments.pages {
        notes.insert(format!(
            "answers come in pages: each call reads one, `{pages}` leads to the next"
        ));
    }
    if let Some(header) = &arguments.idempotency {
        notes.insert(format!(
            "it takes `{header}`, which is sent: say `retry: keyed` where the system promises that the same key happens once"
        ));
    }
    if operation.get("deprecated").and_then(Value::as_bool) == Some(true) {
        notes.insert("its vendor calls it deprecated".to_owned());
    }
    let input = input(&arguments, sent, &mut notes)?;
    let output = output(answer, received, &mut notes)?;
    let is_read = method == "GET";
    let text = |key: &str| {
        operation.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty())
    };
    let place = format!("{method} {path}");
    let name = crate::name::name_of(text("operationId").unwrap_or(&place));
    let summary = text("summary").or_else(|| text("description")).unwrap_or(&place);
    let mut entries = vec![
        ("effect".to_owned(), Node::text(if is_read { "read" } else { "write" })),
        ("summary".to_owned(), Node::text(plain(summary))),
    ];
    if !is_read {
        entries.push(("undo".into(), Node::text("none")));
        entries.push(("retry".into(), Node::text("never")));
    }
    entries.push(("request".into(), Node::Map(request(method, &arguments, body))));
    entries.push(("input".into(), Node::schema(&input)));
    entries.push(("output".into(), Node::schema(&output)));
    let text = write::file(&entries);
    // Four more on each line, for where it stands.
    let bytes = text.len() + 4 * text.lines().count() + name.len();
    let node = Node::Map(entries);
    Ok(Drafted { name, place, login, is_read, parts: node.count(), bytes, node, notes })
}

fn request(method: &str, arguments: &Arguments, body: Vec<(String, Node)>) -> Vec<(String, Node)> {
    let mut request = vec![
        ("method".to_owned(), Node::text(method)),
        ("path".to_owned(), Node::text(arguments.path.clone())),
    ];
    for (key, entries) in [("query", &arguments.query), ("headers", &arguments.headers)] {
        if !entries.is_empty() {
            request.push((key.into(), Node::Map(entries.clone())));
        }
    }
    request.extend(body);
    if let Some(header) = &arguments.idempotency {
        let entries = vec![("header".to_owned(), Node::text(header.clone()))];
        request.push(("idempotency".into(), Node::Map(entries)));
    }
    request
}

fn input(
    arguments: &Arguments,
    turner: Turner<'_>,
    notes: &mut BTreeSet<String>,
) -> Result<Value, String> {
    let mut input = Map::new();
    input.insert("type".into(), json!("object"));
    if !arguments.required.is_empty() {
        input.insert("required".into(), json!(arguments.required));
    }
    input.insert("additionalProperties".into(), json!(false));
    input.insert("properties".into(), Value::Object(arguments.properties.clone()));
    notes.extend(turner.finish(&mut input)?);
    Ok(Value::Object(input))
}

fn output(
    answer: Value,
    turner: Turner<'_>,
    notes: &mut BTreeSet<String>,
) -> Result<Value, String> {
    let mut output = match answer {
        Value::Object(map) => map,
        other => return Ok(other),
    };
    notes.extend(turner.finish(&mut output)?);
    Ok(Value::Object(output))
}

/// A sentence that a summary may be: one line, without the braces that would be places in it.
fn plain(text: &str) -> String {
    short(text).replace('{', "(").replace('}', ")").trim_end_matches('.').to_owned()
}
