//! The compiled form of an `http` binding.

use kernel::{
    exception::{Class, Landed},
    operation::{Operation, Retry},
};
use reqwest::{
    Method,
    header::{HeaderName, HeaderValue},
};
use serde_json::Value;

use crate::{error::Error, error::hint, read::Reader};

/// Headers the client or the binding's own keys set.
const OWN_HEADERS: [&str; 9] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Keys of an `http` binding.
const KEYS: [&str; 14] = [
    "kind",
    "system",
    "auth",
    "method",
    "path",
    "query",
    "headers",
    "body",
    "idempotency",
    "result",
    "capture",
    "external_ref",
    "errors",
    "absent_ok",
];

/// Deepest nesting of a body template.
const BODY_DEPTH_MAX: usize = 16;

/// One operation as a request.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) system: String,
    pub(crate) method: Method,
    pub(crate) path: Vec<Piece>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: Option<Template>,
    pub(crate) auth: Option<Auth>,
    pub(crate) idempotency: Option<Idempotency>,
    pub(crate) result: String,
    pub(crate) capture: Vec<(String, HeaderName)>,
    pub(crate) external_ref: Option<String>,
    pub(crate) errors: Vec<ErrorRule>,
    pub(crate) absent_ok: bool,
}

/// A part of a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Fixed(String),
    Arg(String),
}

/// A part of a body.
#[derive(Debug)]
pub(crate) enum Template {
    /// What the pointer finds in the arguments; left out when it finds nothing.
    At(String),
    Fixed(Value),
    Object(Vec<(String, Template)>),
}

/// How a request proves who sends it; names of secrets only.
#[derive(Debug)]
pub(crate) enum Auth {
    Bearer(String),
    Header(HeaderName, String),
    Basic(String, String),
}

impl Auth {
    /// The secret it needs.
    pub(crate) fn secret(&self) -> &str {
        match self {
            Self::Bearer(secret) | Self::Header(_, secret) | Self::Basic(_, secret) => secret,
        }
    }
}

/// Where the effect key goes.
#[derive(Debug)]
pub(crate) enum Idempotency {
    Header(HeaderName),
    Body(String),
}

/// What one status means for this operation.
#[derive(Debug)]
pub(crate) struct ErrorRule {
    pub(crate) status: u16,
    pub(crate) class: Class,
    pub(crate) landed: Option<Landed>,
}

impl Route {
    pub(crate) fn compile(binding: &Reader<'_>, operation: &Operation) -> Result<Self, Error> {
        binding.only(&KEYS)?;
        let route = Self {
            system: binding.text("system")?.to_owned(),
            method: method(binding)?,
            path: path(binding)?,
            query: binding.pointers("query")?,
            headers: headers(binding)?,
            body: body(binding)?,
            auth: auth(binding)?,
            idempotency: idempotency(binding)?,
            result: binding.pointer("result")?.unwrap_or_default(),
            capture: capture(binding)?,
            external_ref: binding.pointer("external_ref")?,
            errors: errors(binding)?,
            absent_ok: binding.flag("absent_ok")?,
        };
        if route.absent_ok && operation.is_write() {
            return Err(binding.error("absent_ok", "only a read may find nothing"));
        }
        if operation.is_write()
            && operation.facts.retry == Retry::Keyed
            && route.idempotency.is_none()
        {
            let text = "the operation declares `retry: keyed`, but no key is sent; add `{\"header\": \"Idempotency-Key\"}`";
            return Err(binding.error("idempotency", text));
        }
        if route.body.is_some() && route.method == Method::GET {
            return Err(binding.error("body", "a GET has none; use `query`"));
        }
        if matches!((&route.idempotency, &route.method), (Some(Idempotency::Body(_)), &Method::GET))
        {
            return Err(binding.error("idempotency", "a GET has no body; use a header"));
        }
        Ok(route)
    }
}

fn method(binding: &Reader<'_>) -> Result<Method, Error> {
    let known = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let name = binding.text("method")?;
    let names = known.iter().map(Method::as_str);
    let wrong = || binding.error("method", format!("no method `{name}`{}", hint(name, names)));
    known.iter().find(|method| method.as_str() == name).cloned().ok_or_else(wrong)
}

fn path(binding: &Reader<'_>) -> Result<Vec<Piece>, Error> {
    let text = binding.text("path")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/{}".contains(c);
    if !text.starts_with('/') || !text.chars().all(plain) {
        return Err(
            binding.error("path", "must begin with `/` and hold neither `?`, `#`, `%` nor spaces")
        );
    }
    if text.contains("//") || text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(binding.error("path", "must not hold `//`, `.` or `..`"));
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, tail) = after.split_once('}').unwrap_or(("", ""));
        if name.is_empty() || name.contains(['{', '/']) || before.contains('}') {
            return Err(binding.error("path", "a `{name}` is not closed or has no name"));
        }
        pieces.push(Piece::Fixed(before.to_owned()));
        pieces.push(Piece::Arg(name.to_owned()));
        rest = tail;
    }
    if rest.contains('}') {
        return Err(binding.error("path", "a `}` stands without `{`"));
    }
    pieces.push(Piece::Fixed(rest.to_owned()));
    pieces.retain(|piece| *piece != Piece::Fixed(String::new()));
    Ok(pieces)
}

fn header_name(binding: &Reader<'_>, key: &str, name: &str) -> Result<HeaderName, Error> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| binding.error(key, format!("`{name}` is no header name")))
}

fn free_header(binding: &Reader<'_>, key: &str, name: &str) -> Result<HeaderName, Error> {
    let header = header_name(binding, key, name)?;
    if OWN_HEADERS.contains(&header.as_str()) {
        return Err(binding
            .error(key, format!("the header `{name}` is not a binding's to set; see `auth`")));
    }
    Ok(header)
}

fn headers(binding: &Reader<'_>) -> Result<Vec<(HeaderName, String)>, Error> {
    let pairs = binding.pointers("headers")?.into_iter();
    pairs.map(|(name, pointer)| Ok((free_header(binding, "headers", &name)?, pointer))).collect()
}

fn capture(binding: &Reader<'_>) -> Result<Vec<(String, HeaderName)>, Error> {
    let Some(child) = binding.child("capture")? else {
        return Ok(Vec::new());
    };
    let mut captured = Vec::new();
    for (field, _) in child.entries() {
        let from = child.text(field)?;
        let Some(name) = from.strip_prefix("header:") else {
            return Err(child.error(field, "must be `header:NAME`"));
        };
        captured.push((field.clone(), header_name(&child, field, name)?));
    }
    Ok(captured)
}

fn body(binding: &Reader<'_>) -> Result<Option<Template>, Error> {
    binding.get("body").map(|value| template(binding, value, 0)).transpose()
}

fn template(binding: &Reader<'_>, value: &Value, depth: usize) -> Result<Template, Error> {
    if depth > BODY_DEPTH_MAX {
        return Err(binding.error("body", format!("nested deeper than {BODY_DEPTH_MAX} levels")));
    }
    match value {
        Value::String(pointer) => {
            let known = binding.check_pointer("body", pointer);
            let fixed = "; for a fixed text write {\"$literal\": …}";
            known.map_err(|error| binding.error("body", format!("{error}{fixed}")))?;
            Ok(Template::At(pointer.clone()))
        }
        Value::Object(map) => {
            if let (Some(literal), 1) = (map.get("$literal"), map.len()) {
                return Ok(Template::Fixed(literal.clone()));
            }
            let mut fields = Vec::new();
            for (name, inner) in map {
                fields.push((name.clone(), template(binding, inner, depth + 1)?));
            }
            Ok(Template::Object(fields))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            Ok(Template::Fixed(value.clone()))
        }
    }
}

fn auth(binding: &Reader<'_>) -> Result<Option<Auth>, Error> {
    let Some(auth) = binding.child("auth")? else {
        return Ok(None);
    };
    auth.only(&["bearer", "header", "basic"])?;
    if let Some(secret) = auth.text_opt("bearer")? {
        return Ok(Some(Auth::Bearer(secret.to_owned())));
    }
    if let Some(header) = auth.child("header")? {
        header.only(&["name", "secret"])?;
        let name = header_name(&header, "name", header.text("name")?)?;
        return Ok(Some(Auth::Header(name, header.text("secret")?.to_owned())));
    }
    if let Some(basic) = auth.child("basic")? {
        basic.only(&["user", "secret"])?;
        let user = basic.text("user")?;
        if user.contains(':') || HeaderValue::from_str(user).is_err() {
            return Err(basic.error("user", "must not hold `:` or control characters"));
        }
        return Ok(Some(Auth::Basic(user.to_owned(), basic.text("secret")?.to_owned())));
    }
    Err(auth.error("", "must be one of `bearer`, `header`, `basic`"))
}

fn idempotency(binding: &Reader<'_>) -> Result<Option<Idempotency>, Error> {
    let Some(child) = binding.child("idempotency")? else {
        return Ok(None);
    };
    child.only(&["header", "body"])?;
    match (child.text_opt("header")?, child.pointer("body")?) {
        (Some(name), None) => Ok(Some(Idempotency::Header(free_header(&child, "header", name)?))),
        (None, Some(pointer)) if !pointer.is_empty() => Ok(Some(Idempotency::Body(pointer))),
        _ => Err(child.error("", "must be either `{\"header\": NAME}` or `{\"body\": POINTER}`")),
    }
}

fn errors(binding: &Reader<'_>) -> Result<Vec<ErrorRule>, Error> {
    let mut rules = Vec::new();
    for item in binding.children("errors")? {
        item.only(&["status", "class", "landed"])?;
        let status = item.count("status")?.and_then(|status| u16::try_from(status).ok());
        let status = status.filter(|status| (300..=599).contains(status));
        let status =
            status.ok_or_else(|| item.error("status", "must be a status from 300 to 599"))?;
        let name = item.text("class")?;
        let known = Class::ALL.iter().map(|class| class.name());
        let class = Class::ALL.iter().find(|class| class.name() == name);
        let class = class.ok_or_else(|| {
            item.error("class", format!("no class `{name}`{}", hint(name, known)))
        })?;
        let landed = match item.text_opt("landed")? {
            None => None,
            Some("no") => Some(Landed::No),
            Some("unknown") => Some(Landed::Unknown),
            Some("yes") => Some(Landed::Yes),
            Some(_) => return Err(item.error("landed", "must be `no`, `unknown` or `yes`")),
        };
        rules.push(ErrorRule { status, class: *class, landed });
    }
    Ok(rules)
}
