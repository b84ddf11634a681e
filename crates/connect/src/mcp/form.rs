//! What a server asks of a person, as a typed question of ours: its text, and the schema of its answer. All of it is the
//! server's word. What is not plainly the flat form that the protocol has, or an address that a person may be told, is no
//! question.

use std::net::IpAddr;

use ::mcp::client::Asked;
use kernel::canon;
use reqwest::Url;
use serde_json::{Map, Value, json};

/// Longest text of a question, in characters.
const TEXT_MAX_CHARS: usize = 4_000;
/// Longest address of a page, in characters.
const URL_MAX_CHARS: usize = 2_000;
/// Most fields of a form.
const FIELDS_MAX: usize = 30;
/// Longest name of a field, in characters.
const NAME_MAX_CHARS: usize = 64;
/// Longest title or description of a field, in characters.
const WORDS_MAX_CHARS: usize = 500;
/// Most choices of one field.
const CHOICES_MAX: usize = 100;
/// Largest schema, in bytes.
const SCHEMA_MAX_BYTES: usize = 16_000;

/// A question of a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// What the person is told.
    pub text: String,
    /// JSON Schema of the answer.
    pub answer: Value,
    sort: Sort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    /// Fields to be filled in.
    Fields,
    /// A page of somebody's own, elsewhere.
    Page,
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Told<'a> {
    /// A person answered; null = they decline.
    Answer(&'a Value),
    /// Nobody did.
    Nothing,
}

impl Form {
    /// The question in what is asked, if it is one that a person can be asked.
    #[must_use]
    pub fn of(asked: &Asked) -> Option<Self> {
        let params = Some(&asked.params).filter(|_| asked.method == "elicitation/create")?;
        let message = words(params.get("message")?, TEXT_MAX_CHARS)?;
        match params.get("mode").map(Value::as_str) {
            None | Some(Some("form")) => {
                let (text, sort) = (message.to_owned(), Sort::Fields);
                Some(Self { text, answer: form(params.get("requestedSchema")?)?, sort })
            }
            Some(Some("url")) => page(message, params.get("url")?.as_str()?),
            Some(_) => None,
        }
    }

    /// The result that the server is told, in the words of the protocol.
    #[must_use]
    pub fn result(&self, told: Told<'_>) -> Value {
        match (self.sort, told) {
            (_, Told::Nothing) => json!({"action": "cancel"}),
            (_, Told::Answer(Value::Null)) | (Sort::Page, Told::Answer(Value::Bool(false))) => {
                json!({"action": "decline"})
            }
            (Sort::Page, Told::Answer(_)) => json!({"action": "accept"}),
            (Sort::Fields, Told::Answer(filled)) => json!({"action": "accept", "content": filled}),
        }
    }
}

/// A page is never opened or looked at by us. Its host stands alone, before the whole address, which may hide it.
fn page(message: &str, url: &str) -> Option<Form> {
    let parsed = Url::parse(url).ok().filter(|_| words_of(url, URL_MAX_CHARS).is_some())?;
    let host = parsed.host_str()?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|at| at.is_loopback());
    let is_safe = parsed.scheme() == "https" || (parsed.scheme() == "http" && is_here);
    // What stands before an `@` is not where it leads, and looks as if it were.
    if !is_safe || !parsed.username().is_empty() || parsed.password().is_some() {
        return None;
    }
    let text = format!(
        "{message} — It wants you to open a page of {host}, which nobody here has looked at: {parsed}"
    );
    let told = "I have opened the page and finished what it asks";
    let answer = json!({"type": "boolean", "description": told});
    Some(Form { text, answer, sort: Sort::Page })
}

/// The schema of a form: an object whose fields are each a text, a number, a yes or no, or a choice.
fn form(schema: &Value) -> Option<Value> {
    let schema = schema.as_object()?;
    only(
        schema,
        &[
            "$schema",
            "type",
            "title",
            "description",
            "properties",
            "required",
            "additionalProperties",
        ],
    )?;
    if schema.get("type")? != "object" {
        return None;
    }
    let given = schema.get("properties")?.as_object().filter(|all| all.len() <= FIELDS_MAX)?;
    let mut fields = Map::new();
    for (name, field) in given {
        words_of(name, NAME_MAX_CHARS).filter(|name| !name.contains(':'))?;
        fields.insert(name.clone(), one(field.as_object()?)?);
    }
    let required = match schema.get("required") {
        None => Vec::new(),
        Some(names) => names.as_array()?.clone(),
    };
    let is_field = |name: &Value| name.as_str().is_some_and(|name| fields.contains_key(name));
    if !required.iter().all(is_field) {
        return None;
    }
    let mut form = json!({
        "type": "object", "properties": fields, "required": required, "additionalProperties": false,
    });
    if let Some(told) = schema.get("description").or(schema.get("title")) {
        form.as_object_mut()?
            .insert("description".to_owned(), words(told, WORDS_MAX_CHARS)?.into());
    }
    canon::bytes(&form).ok().filter(|bytes| bytes.len() <= SCHEMA_MAX_BYTES).map(|_| form)
}

/// The schema of one field, of nothing but the words that the protocol has for its sort.
fn one(field: &Map<String, Value>) -> Option<Value> {
    const ALL: [&str; 4] = ["type", "title", "description", "default"];
    let with = |own: &[&str]| only(field, &[&ALL[..], own].concat());
    let mut out = Map::new();
    match field.get("type")?.as_str()? {
        "string" if field.contains_key("oneOf") => {
            with(&["oneOf"])?;
            out.insert("oneOf".to_owned(), titled(field.get("oneOf")?)?);
        }
        "string" if field.contains_key("enum") => {
            with(&["enum", "enumNames"])?;
            let choices = choices(field.get("enum")?)?;
            let (word, choices) = match field.get("enumNames") {
                None => ("enum", choices),
                Some(names) => ("oneOf", named(&choices, names)?),
            };
            out.insert(word.to_owned(), choices);
        }
        "string" => {
            with(&["minLength", "maxLength", "format"])?;
            lengths(field, ["minLength", "maxLength"], &mut out)?;
            if let Some(format) = field.get("format") {
                const KNOWN: [&str; 4] = ["email", "uri", "date", "date-time"];
                KNOWN
                    .contains(&format.as_str()?)
                    .then(|| out.insert("format".to_owned(), format.clone()))?;
            }
        }
        "number" | "integer" => {
            with(&["minimum", "maximum"])?;
            for word in ["minimum", "maximum"] {
                if let Some(bound) = field.get(word) {
                    is_exact(bound).then(|| out.insert(word.to_owned(), bound.clone()))?;
                }
            }
        }
        "boolean" => with(&[])?,
        "array" => {
            with(&["minItems", "maxItems", "items"])?;
            lengths(field, ["minItems", "maxItems"], &mut out)?;
            out.insert("items".to_owned(), items(field.get("items")?.as_object()?)?);
            out.insert("uniqueItems".to_owned(), Value::Bool(true));
        }
        _ => return None,
    }
    out.insert("type".to_owned(), field.get("type")?.clone());
    if let Some(default) = field.get("default") {
        plain(default).then(|| out.insert("default".to_owned(), default.clone()))?;
    }
    for word in ["title", "description"] {
        if let Some(told) = field.get(word) {
            out.insert(word.to_owned(), words(told, WORDS_MAX_CHARS)?.into());
        }
    }
    Some(Value::Object(out))
}

/// What one may choose several of.
fn items(items: &Map<String, Value>) -> Option<Value> {
    if items.contains_key("anyOf") {
        only(items, &["anyOf"])?;
        return Some(json!({"oneOf": titled(items.get("anyOf")?)?}));
    }
    only(items, &["type", "enum"])?;
    (items.get("type")? == "string").then_some(())?;
    Some(json!({"type": "string", "enum": choices(items.get("enum")?)?}))
}

fn choices(all: &Value) -> Option<Value> {
    let all = all.as_array().filter(|all| (1..=CHOICES_MAX).contains(&all.len()))?;
    all.iter().all(|one| words(one, WORDS_MAX_CHARS).is_some()).then(|| Value::Array(all.clone()))
}

fn titled(all: &Value) -> Option<Value> {
    let all = all.as_array().filter(|all| (1..=CHOICES_MAX).contains(&all.len()))?;
    let one = |one: &Value| {
        only(one.as_object()?, &["const", "title"])?;
        let value = words(one.get("const")?, WORDS_MAX_CHARS)?;
        Some(json!({"const": value, "title": words(one.get("title")?, WORDS_MAX_CHARS)?}))
    };
    all.iter().map(one).collect::<Option<Vec<_>>>().map(Value::Array)
}

/// Choices and their names, one for each.
fn named(choices: &Value, names: &Value) -> Option<Value> {
    let (choices, names) = (choices.as_array()?, names.as_array()?);
    let pairs = choices.iter().zip(names);
    let titled: Vec<Value> =
        pairs.map(|(value, title)| json!({"const": value, "title": title})).collect();
    (choices.len() == names.len()).then(|| self::titled(&Value::Array(titled)))?
}

fn lengths(
    field: &Map<String, Value>,
    names: [&str; 2],
    out: &mut Map<String, Value>,
) -> Option<()> {
    for name in names {
        if let Some(length) = field.get(name) {
            length.is_u64().then(|| out.insert(name.to_owned(), length.clone()))?;
        }
    }
    Some(())
}

/// What a field may hold before it is filled in.
fn plain(value: &Value) -> bool {
    match value {
        Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => text.chars().count() <= WORDS_MAX_CHARS,
        Value::Array(all) => all.len() <= CHOICES_MAX && all.iter().all(Value::is_string),
        Value::Null | Value::Object(_) => false,
    }
}

fn only(map: &Map<String, Value>, known: &[&str]) -> Option<()> {
    map.keys().all(|name| known.contains(&name.as_str())).then_some(())
}

fn words(value: &Value, most: usize) -> Option<&str> {
    words_of(value.as_str()?, most)
}

fn words_of(text: &str, most: usize) -> Option<&str> {
    (!text.is_empty() && text.chars().count() <= most).then_some(text)
}

/// Whether a number is the same to everybody who reads it: beyond 2^53 whole numbers are not.
fn is_exact(number: &Value) -> bool {
    let size = number.as_i64().map(i64::unsigned_abs).or_else(|| number.as_u64());
    number.is_number() && size.is_none_or(|size| size <= 1 << 53)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(params: Value) -> Option<Form> {
        Form::of(&Asked { key: "k".into(), method: "elicitation/create".into(), params })
    }

    fn with_field(field: Value) -> Option<Value> {
        let schema = json!({"type": "object", "properties": {"it": field}});
        let asked = asked(json!({"message": "`notes` asks: which?", "requestedSchema": schema}))?;
        Some(asked.answer["properties"]["it"].clone())
    }

    #[test]
    fn the_fields_of_the_protocol_are_asked_as_they_are() {
        for field in [
            json!({"type": "string", "title": "Name", "minLength": 1, "maxLength": 5}),
            json!({"type": "string", "format": "email", "description": "Yours", "default": "a@b.c"}),
            json!({"type": "integer", "minimum": 1, "maximum": 9}),
            json!({"type": "number", "minimum": 0.5}),
            json!({"type": "boolean", "default": true}),
            json!({"type": "string", "enum": ["a", "b"]}),
            json!({"type": "string", "oneOf": [{"const": "a", "title": "A"}]}),
        ] {
            assert_eq!(with_field(field.clone()), Some(field));
        }
        let named = json!({"type": "string", "enum": ["a"], "enumNames": ["A"]});
        assert_eq!(with_field(named).unwrap()["oneOf"], json!([{"const": "a", "title": "A"}]));
        let many =
            json!({"type": "array", "items": {"type": "string", "enum": ["a"]}, "minItems": 1});
        assert_eq!(with_field(many).unwrap()["items"]["enum"], json!(["a"]));
        let many = json!({"type": "array", "items": {"anyOf": [{"const": "a", "title": "A"}]}});
        assert_eq!(with_field(many).unwrap()["items"]["oneOf"][0]["const"], "a");
    }

    #[test]
    fn whatever_else_is_no_question() {
        for field in [
            json!({"type": "object", "properties": {}}),
            json!({"type": "array", "items": {"type": "object"}}),
            json!({"type": "array", "items": {"type": "string"}}),
            json!({"type": "string", "pattern": "(a+)+$"}),
            json!({"type": "string", "format": "password"}),
            json!({"type": "string", "minLength": -1}),
            json!({"type": "string", "enum": []}),
            json!({"type": "string", "enum": ["a"], "enumNames": []}),
            json!({"type": "string", "enum": [1]}),
            json!({"type": "string", "title": "x".repeat(501)}),
            json!({"type": "number", "minimum": "low"}),
            json!({"type": "integer", "minimum": 9_007_199_254_740_993_u64}),
            json!({"type": "boolean", "default": {}}),
            json!({"type": ["string", "null"]}),
            json!({"$ref": "https://example.com"}),
            json!("string"),
        ] {
            assert_eq!(with_field(field.clone()), None, "{field}");
        }
        let many: Map<String, Value> =
            (0..31).map(|n| (n.to_string(), json!({"type": "boolean"}))).collect();
        for schema in [
            json!({"type": "array"}),
            json!({"type": "object"}),
            json!({"type": "object", "properties": {}, "required": ["it"]}),
            json!({"type": "object", "properties": {}, "patternProperties": {}}),
            json!({"type": "object", "properties": many}),
        ] {
            let form = json!({"message": "which?", "requestedSchema": schema});
            assert_eq!(asked(form.clone()), None, "{form}");
        }
        let schema = json!({"type": "object", "properties": {}});
        for message in [json!(""), json!("x".repeat(4_001)), json!(1)] {
            assert_eq!(asked(json!({"message": message, "requestedSchema": schema})), None);
        }
        let other = json!({"message": "which?", "mode": "voice", "requestedSchema": schema});
        assert_eq!(asked(other), None);
    }

    #[test]
    fn a_page_is_told_with_its_host_and_only_where_it_is_safe() {
        let page =
            |url: &str| asked(json!({"mode": "url", "message": "`notes` asks: go", "url": url}));
        let form = page("https://login.example.com/a?b=c").unwrap();
        assert!(
            form.text.starts_with(
                "`notes` asks: go — It wants you to open a page of login.example.com, "
            )
        );
        assert!(form.text.ends_with(": https://login.example.com/a?b=c"), "{}", form.text);
        assert_eq!(form.answer["type"], "boolean");
        assert!(
            page("https://пример.example/").unwrap().text.contains("xn--"),
            "no host looks like another"
        );
        for safe in ["http://localhost:1/", "http://127.0.0.1/", "http://[::1]:2/"] {
            assert!(page(safe).is_some(), "{safe}");
        }
        for unsafe_one in [
            "http://login.example.com/",
            "https://bank.example@evil.example/",
            "https://:x@evil.example/",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "mailto:a@b.c",
            "not an address",
            "",
            &format!("https://e.example/{}", "x".repeat(2_000)),
        ] {
            assert_eq!(page(unsafe_one), None, "{unsafe_one}");
        }
    }

    #[test]
    fn answers_are_told_in_the_words_of_the_protocol() {
        let schema = json!({"type": "object", "properties": {}});
        let form = asked(json!({"message": "m", "requestedSchema": schema})).unwrap();
        let page =
            asked(json!({"mode": "url", "message": "m", "url": "https://e.example/"})).unwrap();
        let filled = json!({"a": 1});
        let accepted = json!({"action": "accept", "content": filled});
        assert_eq!(form.result(Told::Answer(&filled)), accepted);
        assert_eq!(page.result(Told::Answer(&json!(true))), json!({"action": "accept"}));
        assert_eq!(page.result(Told::Answer(&json!(false))), json!({"action": "decline"}));
        for one in [form, page] {
            assert_eq!(one.result(Told::Answer(&Value::Null)), json!({"action": "decline"}));
            assert_eq!(one.result(Told::Nothing), json!({"action": "cancel"}));
        }
    }
}
