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
const KEYS: [&str; 17] = [
    "kind",
    "system",
    "auth",
    "method",
    "path",
    "query",
    "headers",
    "body",
    "media",
    "form",
    "multipart",
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
    pub(crate) query: Vec<(String, Place)>,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: Option<Content>,
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

/// What a body is.
#[derive(Debug)]
pub(crate) enum Content {
    /// JSON, under this media type.
    Json(Template, HeaderValue),
    /// `name=value`, as browsers send forms.
    Form(Vec<(String, Place)>),
    /// A part for each field, files among them.
    Multipart(Vec<(String, Place)>),
}

/// An argument that stands in a query or a form.
#[derive(Debug)]
pub(crate) struct Place {
    /// Where it is in the arguments.
    pub(crate) pointer: String,
    pub(crate) written: Written,
}

/// How it is written there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// A list once for each of its items.
    Each,
    /// A list as one value, its items apart by this.
    Joined(String),
    /// Base64, sent as the bytes it stands for.
    File,
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
    /// Parameter of the query, and secret.
    Query(String, String),
    /// Name of the cookie, and secret.
    Cookie(String, String),
    Basic(String, String),
}

impl Auth {
    /// The secret it needs.
    pub(crate) fn secret(&self) -> &str {
        match self {
            Self::Bearer(secret)
            | Self::Header(_, secret)
            | Self::Query(_, secret)
            | Self::Cookie(_, secret)
            | Self::Basic(_, secret) => secret,
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
            query: places(binding, "query")?,
            headers: headers(binding)?,
            body: content(binding)?,
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
        let is_json = matches!(route.body, None | Some(Content::Json(..)));
        if matches!(route.idempotency, Some(Idempotency::Body(_))) && !is_json {
            return Err(binding.error("idempotency", "a form has no place for it; use a header"));
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

fn content(binding: &Reader<'_>) -> Result<Option<Content>, Error> {
    let body = binding.get("body").map(|value| template(binding, value, 0)).transpose()?;
    let media = binding.text_opt("media")?.unwrap_or("application/json");
    let form = binding.get("form").map(|_| places(binding, "form")).transpose()?;
    let multipart = binding.get("multipart").map(|_| places(binding, "multipart")).transpose()?;
    match (body, form, multipart) {
        (None, None, None) => Ok(None),
        (Some(template), None, None) => {
            let media = HeaderValue::from_str(media).ok().filter(|_| media.ends_with("json"));
            let media =
                media.ok_or_else(|| binding.error("media", "must be a media type of JSON"))?;
            Ok(Some(Content::Json(template, media)))
        }
        (None, Some(fields), None) => Ok(Some(Content::Form(fields))),
        (None, None, Some(fields)) => Ok(Some(Content::Multipart(fields))),
        _ => Err(binding.error("", "has one of `body`, `form`, `multipart`")),
    }
}

/// Arguments by the name under which each is sent, in name order.
fn places(binding: &Reader<'_>, key: &str) -> Result<Vec<(String, Place)>, Error> {
    let Some(child) = binding.child(key)? else {
        return Ok(Vec::new());
    };
    let mut places = Vec::new();
    for (name, value) in child.entries() {
        let Value::Object(map) = value else {
            let pointer = child.pointer(name)?.unwrap_or_default();
            places.push((name.clone(), Place { pointer, written: Written::Each }));
            continue;
        };
        let place = child.inside(name, map);
        place.only(&["at", "join", "as"])?;
        let pointer = place.pointer("at")?;
        let pointer = pointer.ok_or_else(|| place.error("at", "is required"))?;
        let written = match (place.text_opt("join")?, place.text_opt("as")?) {
            (Some(join), None) if !join.is_empty() => Written::Joined(join.to_owned()),
            (None, Some("file")) if key == "multipart" => Written::File,
            _ => return Err(place.error("", "has `join`, or in a multipart body `as: file`")),
        };
        places.push((name.clone(), Place { pointer, written }));
    }
    places.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(places)
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

pub(crate) fn auth(binding: &Reader<'_>) -> Result<Option<Auth>, Error> {
    let Some(auth) = binding.child("auth")? else {
        return Ok(None);
    };
    auth.only(&["bearer", "header", "query", "cookie", "basic"])?;
    if let Some(secret) = auth.text_opt("bearer")? {
        return Ok(Some(Auth::Bearer(secret.to_owned())));
    }
    if let Some(header) = auth.child("header")? {
        header.only(&["name", "secret"])?;
        let name = header_name(&header, "name", header.text("name")?)?;
        return Ok(Some(Auth::Header(name, header.text("secret")?.to_owned())));
    }
    if let Some(query) = auth.child("query")? {
        query.only(&["name", "secret"])?;
        let (name, secret) = (query.text("name")?, query.text("secret")?);
        return Ok(Some(Auth::Query(name.to_owned(), secret.to_owned())));
    }
    if let Some(cookie) = auth.child("cookie")? {
        cookie.only(&["name", "secret"])?;
        // A cookie's name is a token, as a header's is.
        let name = cookie.text("name")?;
        header_name(&cookie, "name", name)?;
        return Ok(Some(Auth::Cookie(name.to_owned(), cookie.text("secret")?.to_owned())));
    }
    if let Some(basic) = auth.child("basic")? {
        basic.only(&["user", "secret"])?;
        let user = basic.text("user")?;
        if user.contains(':') || HeaderValue::from_str(user).is_err() {
            return Err(basic.error("user", "must not hold `:` or control characters"));
        }
        return Ok(Some(Auth::Basic(user.to_owned(), basic.text("secret")?.to_owned())));
    }
    Err(auth.error("", "must be one of `bearer`, `header`, `query`, `cookie`, `basic`"))
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
