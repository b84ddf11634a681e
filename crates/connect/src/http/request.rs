//! Building the request from the arguments. Whatever a value holds, it stays in its place.

use kernel::port::Failure;
use reqwest::{
    Body, Method, Request, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderValue},
};
use serde_json::{Map, Value};

use super::{
    form,
    route::{Auth, Content, Idempotency, Piece, Route, Template},
};
use secrets::Use;

use crate::{
    call::{Call, fail, refuse},
    error::Error,
    secret::{Secret, Vault},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use kernel::exception::{Class, Landed};
use zeroize::Zeroizing;

/// Longest URL, in bytes.
const URL_MAX_BYTES: usize = 8 * 1024;

/// Largest request body, in bytes.
pub(super) const BODY_MAX_BYTES: usize = 1024 * 1024;

pub(super) fn build(
    route: &Route,
    call: &Call,
    base: &Url,
    vault: &Vault,
) -> Result<Request, Failure> {
    let url = url(route, &call.args, base)?;
    let mut request = Request::new(route.method.clone(), url);
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    for (name, pointer) in &route.headers {
        if let Some(text) = scalar(&call.args, pointer, name.as_str())? {
            let value = HeaderValue::from_str(&text);
            let value = value
                .map_err(|_| refuse(format!("{pointer} cannot stand in the header {name}")))?;
            request.headers_mut().insert(name.clone(), value);
        }
    }
    if let Some(auth) = &route.auth {
        let (method, url) = (route.method.as_str(), request.url());
        let asked = use_of(&route.system, (method, url), url.path());
        let secret = vault.resolve(auth.secret(), &asked);
        let secret = secret.map_err(|e| fail(Class::Permission, Landed::No, e.to_string()))?;
        log_in(&mut request, auth, &secret)?;
    }
    if let Some(Idempotency::Header(name)) = &route.idempotency {
        let value = HeaderValue::from_str(call.key.as_str())
            .map_err(|_| refuse("the effect key is no header value"))?;
        request.headers_mut().insert(name.clone(), value);
    }
    if let Some((media, body)) = body(route, call)? {
        if body.len() > BODY_MAX_BYTES {
            return Err(refuse(format!("the request would be larger than {BODY_MAX_BYTES} bytes")));
        }
        request.headers_mut().insert(CONTENT_TYPE, media);
        *request.body_mut() = Some(Body::from(body));
    }
    Ok(request)
}

/// What the credentials of a request are for.
pub(super) fn use_of<'a>(
    system: &'a str,
    (method, url): (&'a str, &'a Url),
    path: &'a str,
) -> Use<'a> {
    Use {
        system,
        host: url.host_str(),
        port: url.port_or_known_default(),
        method: Some(method),
        path: Some(path),
    }
}

/// Whether its secret may be used for every request that a route can come to.
pub(super) fn check_granted(route: &Route, base: &Url, vault: &Vault) -> Result<(), Error> {
    let Some(auth) = &route.auth else { return Ok(()) };
    let mut path = base.path().trim_end_matches('/').to_owned();
    for piece in &route.path {
        path.push_str(match piece {
            Piece::Fixed(text) => text,
            Piece::Arg(_) => "*",
        });
    }
    let asked = use_of(&route.system, (route.method.as_str(), base), &path);
    vault.check(auth.secret(), &asked)
}

/// Puts the credentials where they belong, marked so that nothing prints them.
pub(super) fn log_in(request: &mut Request, auth: &Auth, secret: &Secret) -> Result<(), Failure> {
    let (name, text) = match auth {
        Auth::Bearer(_) => (AUTHORIZATION, Zeroizing::new(format!("Bearer {}", secret.expose()))),
        Auth::Header(name, _) => (name.clone(), Zeroizing::new(secret.expose().to_owned())),
        Auth::Query(name, _) => {
            request.url_mut().query_pairs_mut().append_pair(name, secret.expose());
            return Ok(());
        }
        Auth::Cookie(name, _) => {
            // What would end the cookie, or begin another.
            if secret.expose().contains([';', ',', ' ', '"', '\\']) {
                let message = format!("secret `{}` cannot stand in a cookie", auth.secret());
                return Err(fail(Class::Permission, Landed::No, message));
            }
            (COOKIE, Zeroizing::new(format!("{name}={}", secret.expose())))
        }
        Auth::Basic(user, _) => {
            let pair = Zeroizing::new(format!("{user}:{}", secret.expose()));
            (AUTHORIZATION, Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes()))))
        }
    };
    let message = || format!("secret `{}` cannot stand in a header", auth.secret());
    let mut value =
        HeaderValue::from_str(&text).map_err(|_| fail(Class::Permission, Landed::No, message()))?;
    value.set_sensitive(true);
    request.headers_mut().insert(name, value);
    Ok(())
}

/// Base, path and query. The finished URL must still be what was composed: a parser that normalises a
/// segment away would have let a value out of its place.
pub(super) fn url(route: &Route, args: &Value, base: &Url) -> Result<Url, Failure> {
    let mut path = base.path().trim_end_matches('/').to_owned();
    for piece in &route.path {
        match piece {
            Piece::Fixed(text) => path.push_str(text),
            Piece::Arg(name) => path.push_str(&segment(args, name)?),
        }
    }
    let mut url = base.clone();
    url.set_path(&path);
    if url.path() != path {
        return Err(refuse("the arguments would change the path of the request"));
    }
    form::append(&mut url, &route.query, args)?;
    if url.as_str().len() > URL_MAX_BYTES {
        return Err(refuse(format!("the URL would be longer than {URL_MAX_BYTES} bytes")));
    }
    Ok(url)
}

/// One argument as a percent-encoded part of a path.
fn segment(args: &Value, name: &str) -> Result<String, Failure> {
    let value = match args.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(flag)) => flag.to_string(),
        _ => {
            return Err(refuse(format!(
                "the argument `{name}` must be text or a number: it is part of the path"
            )));
        }
    };
    // Servers decode once before they split or normalise; some treat `\` as `/`.
    let unescaped =
        value.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    let dots = unescaped.split(['/', '\\']).any(|part| matches!(part, "." | ".."));
    if value.is_empty() || dots || value.chars().any(char::is_control) || value.contains('\\') {
        let message = format!(
            "the argument `{name}` cannot be part of a path: empty, `.`, `..`, `\\` or a control character"
        );
        return Err(refuse(message));
    }
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(encoded)
}

/// A scalar as text; `None` for null and for nothing.
pub(super) fn scalar(args: &Value, pointer: &str, place: &str) -> Result<Option<String>, Failure> {
    match args.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(Value::Bool(flag)) => Ok(Some(flag.to_string())),
        Some(Value::Array(_) | Value::Object(_)) => {
            Err(refuse(format!("{pointer} is no single value and cannot stand in `{place}`")))
        }
    }
}

/// The body with its media type.
fn body(route: &Route, call: &Call) -> Result<Option<(HeaderValue, Vec<u8>)>, Failure> {
    let (template, media) = match &route.body {
        None => (None, HeaderValue::from_static("application/json")),
        Some(Content::Json(template, media)) => (Some(template), media.clone()),
        Some(Content::Form(fields)) => return form::urlencoded(fields, &call.args).map(Some),
        Some(Content::Multipart(fields)) => return form::multipart(fields, call).map(Some),
    };
    let mut body = template.and_then(|template| fill(template, &call.args));
    if let Some(Idempotency::Body(pointer)) = &route.idempotency {
        let whole = body.get_or_insert_with(|| Value::Object(Map::new()));
        put(whole, pointer, call.key.as_str())?;
    }
    if body.is_none()
        && matches!(route.method, Method::POST | Method::PUT | Method::PATCH)
        && template.is_some()
    {
        body = Some(Value::Object(Map::new()));
    }
    let Some(body) = body else { return Ok(None) };
    let bytes = kernel::canon::bytes(&body).map_err(|e| refuse(e.to_string()))?;
    Ok(Some((media, bytes)))
}

/// A body from its template. An absent argument leaves its field out; a null one is sent as null.
fn fill(template: &Template, args: &Value) -> Option<Value> {
    match template {
        Template::At(pointer) => args.pointer(pointer).cloned(),
        Template::Fixed(value) => Some(value.clone()),
        Template::Object(fields) => {
            let filled =
                fields.iter().filter_map(|(name, inner)| Some((name.clone(), fill(inner, args)?)));
            Some(Value::Object(filled.collect()))
        }
    }
}

/// Puts the key where the pointer says, making objects on the way.
fn put(whole: &mut Value, pointer: &str, key: &str) -> Result<(), Failure> {
    let mut place = whole;
    for part in pointer.split('/').skip(1) {
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(map) = place else {
            return Err(refuse(format!("the body has no place for the effect key at {pointer}")));
        };
        place = map.entry(part.replace("~1", "/").replace("~0", "~")).or_insert(Value::Null);
    }
    *place = Value::String(key.to_owned());
    Ok(())
}
