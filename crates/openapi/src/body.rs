//! The body of a request, and what an answer holds.

use serde_json::{Map, Value, json};

use crate::{
    document::{Document, short},
    parameter::{Arguments, Shape, pairs, pointer},
    schema::Turner,
    write::Node,
};

/// The argument that holds the body.
const ARGUMENT: &str = "body";

/// The entries of a request that its body needs: `body`, `form` or `multipart`, and its media type.
///
/// # Errors
/// Why it cannot be sent.
pub(crate) fn request<'d>(
    document: Document<'d>,
    operation: &'d Map<String, Value>,
    (arguments, turner): (&mut Arguments, &mut Turner<'d>),
) -> Result<Vec<(String, Node)>, String> {
    let Some(body) = operation.get("requestBody") else { return Ok(Vec::new()) };
    let body = document.resolve(body)?;
    let content = body.get("content").and_then(Value::as_object);
    let is_required = body.get("required").and_then(Value::as_bool) == Some(true);
    let Some((media, schema, sort)) = content.and_then(best) else {
        let names: Vec<String> =
            content.into_iter().flatten().map(|(name, _)| format!("`{}`", short(name))).collect();
        if !is_required && names.is_empty() {
            return Ok(Vec::new());
        }
        return Err(format!("its body is {}: JSON and forms can be sent", names.join(" or ")));
    };
    let entries = match sort {
        Sort::Json => {
            let mut entries = vec![("body".to_owned(), Node::text(pointer(&[ARGUMENT])))];
            if media != "application/json" && media != "*/*" {
                entries.push(("media".into(), Node::text(media)));
            }
            entries
        }
        Sort::Form | Sort::Multipart => fields(document, schema, sort)?,
    };
    let mut turned = turner.turn(schema.get("schema").unwrap_or(&Value::Null))?;
    if sort == Sort::Multipart {
        as_base64(&mut turned);
    }
    arguments.properties.insert(ARGUMENT.to_owned(), turned);
    if is_required {
        arguments.required.insert(ARGUMENT.to_owned());
    }
    Ok(entries)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Json,
    Form,
    Multipart,
}

/// Whether a media type is of a sort.
type Fits = fn(&str) -> bool;

/// The media type that can be sent, the simplest first.
fn best(content: &Map<String, Value>) -> Option<(&str, &Value, Sort)> {
    let sorts: [(Sort, Fits); 4] = [
        (Sort::Json, |media| media == "application/json"),
        (Sort::Json, is_json),
        (Sort::Form, |media| media == "application/x-www-form-urlencoded"),
        (Sort::Multipart, |media| media == "multipart/form-data"),
    ];
    sorts.into_iter().find_map(|(sort, fits)| {
        let bare = |name: &str| name.split(';').next().unwrap_or(name).trim().to_ascii_lowercase();
        let found = content.iter().find(|(name, _)| fits(&bare(name)));
        found.map(|(name, value)| (name.split(';').next().unwrap_or(name).trim(), value, sort))
    })
}

fn is_json(media: &str) -> bool {
    matches!(media, "application/json" | "*/*" | "application/*") || media.ends_with("+json")
}

/// The fields of a form, each with where it stands in the arguments.
fn fields<'d>(
    document: Document<'d>,
    media: &'d Value,
    sort: Sort,
) -> Result<Vec<(String, Node)>, String> {
    let schema = document.resolve(media.get("schema").unwrap_or(&Value::Null))?;
    let Shape::Fields(names) = Shape::of(document, Some(schema)) else {
        return Err("its form has no declared fields".to_owned());
    };
    let mut all = Vec::new();
    for name in &names {
        let field = schema.get("properties").and_then(|properties| properties.get(name));
        let resolved = field.map(|field| document.resolve(field)).transpose()?;
        if resolved
            .is_some_and(|field| field.get("readOnly").and_then(Value::as_bool) == Some(true))
        {
            continue;
        }
        let at = pointer(&[ARGUMENT, name]);
        if sort == Sort::Multipart && resolved.is_some_and(is_file) {
            let entries = vec![("at".into(), Node::text(&at)), ("as".into(), Node::text("file"))];
            all.push((name.clone(), Node::Map(entries)));
            continue;
        }
        let encoding = media.get("encoding").and_then(|all| all.get(name));
        let said = |key: &str| encoding.and_then(|encoding| encoding.get(key));
        let style = said("style").and_then(Value::as_str).unwrap_or("form");
        let explode = said("explode").and_then(Value::as_bool).unwrap_or(style == "form");
        let of = pairs(document, (name, &at), (field, style, explode));
        all.extend(of.map_err(|why| format!("the field `{}` of its form {why}", short(name)))?);
    }
    let key = if sort == Sort::Form { "form" } else { "multipart" };
    Ok(vec![(key.to_owned(), Node::Map(all))])
}

/// Whether a field of a form is a file: bytes that are no text.
fn is_file(schema: &Value) -> bool {
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    text("format") == Some("binary")
        || (text("contentMediaType").is_some() && text("contentEncoding").is_none())
}

/// Files are arguments in base64.
fn as_base64(schema: &mut Value) {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for field in properties.into_iter().flatten().map(|(_, field)| field) {
        if let Some(map) = field.as_object_mut()
            && map.get("type").is_some_and(|kind| kind == "string")
            && map.remove("contentMediaType").is_some()
        {
            map.insert("contentEncoding".into(), json!("base64"));
        }
    }
}

/// The schema of what comes back when all went well.
///
/// # Errors
/// That it is nothing a connector reads.
pub(crate) fn answer<'d>(
    document: Document<'d>,
    operation: &'d Map<String, Value>,
    turner: &mut Turner<'d>,
) -> Result<Value, String> {
    let responses = operation.get("responses").and_then(Value::as_object).into_iter().flatten();
    let mut good: Vec<(&String, &Value)> =
        responses.clone().filter(|(code, _)| code.starts_with('2')).collect();
    if good.is_empty() {
        good = responses.filter(|(code, _)| *code == "default").collect();
    }
    let (mut all, mut others) = (Vec::new(), Vec::new());
    for (_, response) in good {
        let response = document.resolve(response)?;
        let content =
            response.get("content").and_then(Value::as_object).filter(|all| !all.is_empty());
        let Some(content) = content else {
            // Nothing is declared; systems say something all the same.
            all.push(json!({}));
            continue;
        };
        let json = content.iter().find(|(media, _)| {
            is_json(media.split(';').next().unwrap_or(media).trim().to_ascii_lowercase().as_str())
        });
        match json {
            Some((_, media)) => all.push(match media.get("schema") {
                Some(schema) => turner.turn(schema)?,
                None => json!({}),
            }),
            None => others.extend(content.keys().map(|media| format!("`{}`", short(media)))),
        }
    }
    all.dedup();
    match (all.len(), others.is_empty()) {
        (0, true) => Ok(json!({})),
        (0, false) => Err(format!("it answers with {}: only JSON is read", others.join(", "))),
        (1, _) => Ok(all.pop().unwrap_or_default()),
        _ if all.contains(&json!({})) => Ok(json!({})),
        _ => Ok(json!({"anyOf": all})),
    }
}
