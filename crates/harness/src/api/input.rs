//! From a request to an operation and back.

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    sync::Arc,
};

use axum::{
    body::Bytes,
    extract::{RawPathParams, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt as _;
use serde_json::{Map, Value};

use super::{
    replies::{self, Begun},
    routes::{Route, Verb},
};
use crate::{
    app::{
        Caller,
        ops::{self, OPS, Op},
        problem::{Kind, Problem},
        requests,
        value::fingerprint,
    },
    web::{BODY_BYTES_MAX, Bearer, FILES_BYTES_MAX, Told, Web, read_body, too_large},
};

/// Answers one route.
pub(super) async fn answer(
    route: &'static Route,
    State(web): State<Arc<Web>>,
    Bearer { signed, .. }: Bearer,
    request: Request,
) -> Response {
    match respond(route, web, signed.caller, request).await {
        Ok(response) => response,
        Err(told) => told.into_response(),
    }
}

/// What an HTTP request asks for.
struct Asked {
    headers: HeaderMap,
    body: Map<String, Value>,
    /// Of everything it says, for a key that is used again.
    digest: String,
}

async fn respond(
    route: &'static Route,
    web: Arc<Web>,
    caller: Caller,
    request: Request,
) -> Result<Response, Told> {
    let wait_max_ms = web.app.config().serve.answer_within_ms.get();
    let asked = read(route, request, wait_max_ms).await?;
    let key = header_text(&asked.headers, "idempotency-key")?;
    let Some(key) = key.filter(|_| route.verb == Verb::Post) else {
        return call(route, &web, &caller, asked).await;
    };
    // What takes a key itself is idempotent in the journal.
    if requests::takes_key(route.op) {
        return call(route, &web, &caller, with_key(asked, key)?).await;
    }
    let place = replies::Place::new(&caller, route.path, &key)?;
    // Whoever asked may be gone before it is done: it is done all the same, and answered when they come back.
    let done = tokio::spawn(async move { once(route, &web, &caller, (place, asked)).await });
    match done.await {
        Ok(response) => response,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => Err(Problem::new(Kind::TryAgain, "shutting-down", "the process ends").into()),
        },
    }
}

/// Does what is asked for unless it was done before, and keeps the answer.
async fn once(
    route: &'static Route,
    web: &Web,
    caller: &Caller,
    (place, asked): (replies::Place, Asked),
) -> Result<Response, Told> {
    let version = match replies::begin(&web.app, &place, &asked.digest).await? {
        Begun::Before(reply) => return Ok(reply),
        Begun::Now(version) => version,
    };
    match AssertUnwindSafe(call(route, web, caller, asked)).catch_unwind().await {
        Ok(response) => replies::end(&web.app, (&place, version), route.shown, response).await,
        Err(panic) => {
            replies::drop_claim(&web.app, &place, version).await;
            resume_unwind(panic)
        }
    }
}

fn with_key(mut asked: Asked, key: String) -> Result<Asked, Told> {
    let given = asked.body.insert("idempotency_key".to_owned(), Value::String(key.clone()));
    if given.is_some_and(|given| given != Value::String(key)) {
        let detail = "the header and the body name different idempotency keys";
        return Err(makes_no_sense(Problem::usage("idempotency-key", detail).next("name it once")));
    }
    Ok(asked)
}

async fn call(
    route: &'static Route,
    web: &Web,
    caller: &Caller,
    asked: Asked,
) -> Result<Response, Told> {
    if let Some(decides) = route.decides {
        let (op, field) = decides.shown_by();
        check_version(web, caller, (op, field), &asked).await?;
    }
    let answered = ops::call(&web.app, caller, route.op, Value::Object(asked.body)).await;
    let answered = answered.map_err(makes_no_sense)?;
    let tag = fingerprint(&answered);
    let fresh = header_text(&asked.headers, "if-none-match")?.is_some_and(|known| known == tag);
    let mut response = if route.verb == Verb::Get && fresh {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let json = HeaderValue::from_static("application/json");
        ([(header::CONTENT_TYPE, json)], answered.to_string()).into_response()
    };
    if let (Verb::Get, Ok(tag)) = (route.verb, HeaderValue::from_str(&tag)) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// The request is well-formed, or it would not have come so far: what it asks for makes no sense here.
fn makes_no_sense(problem: Problem) -> Told {
    match problem.kind {
        Kind::Usage => Told::with(StatusCode::UNPROCESSABLE_ENTITY, problem),
        _ => problem.into(),
    }
}

/// Whoever decides has seen what it is about, as it is now.
async fn check_version(
    web: &Web,
    caller: &Caller,
    (op, field): (&'static str, &str),
    asked: &Asked,
) -> Result<(), Told> {
    let Some(seen) = header_text(&asked.headers, "if-match")? else {
        let problem = Problem::usage("no-version", "a decision names the version it was made from")
            .next("send the ETag of what you looked at as If-Match");
        return Err(Told::with(StatusCode::PRECONDITION_REQUIRED, problem));
    };
    let mut body = Map::new();
    body.insert(field.to_owned(), asked.body.get(field).cloned().unwrap_or_default());
    let shown = ops::call(&web.app, caller, op, Value::Object(body)).await?;
    if seen == fingerprint(&shown) {
        return Ok(());
    }
    let problem =
        Problem::new(Kind::Conflict, "changed-meanwhile", "it is not what it was when you looked")
            .next("look at it again, then decide");
    Err(Told::with(StatusCode::PRECONDITION_FAILED, problem))
}

async fn read(route: &'static Route, request: Request, wait_max_ms: u32) -> Result<Asked, Told> {
    let (mut parts, body) = request.into_parts();
    let takes_files = requests::takes_files(route.op);
    let bytes_max = if takes_files { FILES_BYTES_MAX } else { BODY_BYTES_MAX };
    let bytes = read_body(&parts.headers, body, bytes_max).await?;
    let mut fields = if route.verb == Verb::Post {
        body_fields(&parts.headers, &bytes)?
    } else if bytes.is_empty() {
        Map::new()
    } else {
        return Err(Problem::usage("body-unused", "this method takes no body")
            .next("leave it out")
            .into());
    };
    // Files alone may make a request larger than others.
    if bytes.len().saturating_sub(bytes_of_files(&fields)) > BODY_BYTES_MAX {
        return Err(too_large(BODY_BYTES_MAX));
    }
    let op = OPS.iter().find(|op| op.name == route.op);
    for (name, text) in query_pairs(parts.uri.query().unwrap_or_default())? {
        let value = match op.filter(|_| route.verb != Verb::Post) {
            Some(op) => typed(op, &name, text)?,
            None => return Err(unknown(&name)),
        };
        if fields.insert(name.clone(), value).is_some() {
            let detail = format!("`{name}` is given twice");
            return Err(Problem::usage("bad-request", detail).at(format!("/{name}")).into());
        }
    }
    use axum::RequestPartsExt as _;
    let path = parts.extract::<RawPathParams>().await.map_err(|_| {
        Told::from(Problem::usage("bad-path", "the path is not UTF-8").next("copy the whole id"))
    })?;
    let path = path.iter().map(|(name, value)| (name.to_owned(), Value::String(value.to_owned())));
    let fixed = route.fixed_field().map(|(name, value)| (name.to_owned(), value));
    for (name, value) in path.chain(fixed) {
        // What the path says is not the body's to say.
        if fields.insert(name.clone(), value).is_some() {
            return Err(unknown(&name));
        }
    }
    // Whoever wants to wait longer looks again: an answer has to come while the line is there.
    let most = Some(u64::from(wait_max_ms));
    if let Some(wait) = fields.get_mut("wait_ms").filter(|wait| wait.as_u64() > most) {
        *wait = Value::from(wait_max_ms);
    }
    let fields = Value::Object(fields);
    requests::check(route.op, &fields)?;
    let digest = fingerprint(&fields);
    let Value::Object(fields) = fields else { return Err(unknown("request")) };
    Ok(Asked { headers: parts.headers, body: fields, digest })
}

/// Bytes of a request that are files.
fn bytes_of_files(fields: &Map<String, Value>) -> usize {
    let files = fields.get("attachments").and_then(Value::as_array).into_iter().flatten();
    let data = files.filter_map(|file| file.get("data").and_then(Value::as_str));
    data.map(str::len).sum()
}

fn unknown(name: &str) -> Told {
    let detail =
        format!("`{}` is no field of this request", name.chars().take(64).collect::<String>());
    let problem = Problem::usage("bad-request", detail)
        .at(format!("/{}", name.chars().take(64).collect::<String>()))
        .next("`GET /v1/openapi.json` lists the fields of each route");
    problem.into()
}

fn body_fields(headers: &HeaderMap, bytes: &Bytes) -> Result<Map<String, Value>, Told> {
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    let kind =
        headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let problem = Problem::usage("not-json", "a body is `application/json`")
            .next("set Content-Type: application/json");
        return Err(Told::with(StatusCode::UNSUPPORTED_MEDIA_TYPE, problem));
    }
    // serde_json goes no deeper than 128 levels.
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Problem::usage("bad-request", "a body is a JSON object")
            .next("send an object")
            .into()),
        Err(error) => {
            let detail = format!("the body is not JSON: {error}");
            Err(Problem::usage("bad-request", detail).next("send a JSON object").into())
        }
    }
}

fn query_pairs(query: &str) -> Result<Vec<(String, String)>, Told> {
    let bad = || {
        Told::from(
            Problem::usage("bad-query", "the query is not `name=value&…` in UTF-8")
                .next("escape what stands in it"),
        )
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((unescape(name).ok_or_else(bad)?, unescape(value).ok_or_else(bad)?))
    });
    pairs.collect()
}

/// Undoes `%41` and `+`.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (rest.next()?, rest.next()?);
                let digit = |b: u8| char::from(b).to_digit(16);
                u8::try_from(digit(high)? * 16 + digit(low)?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// A query's text as the type that the operation's request gives this field.
fn typed(op: &Op, name: &str, text: String) -> Result<Value, Told> {
    let schema = (op.request)().to_value();
    let Some(field) = schema.pointer("/properties").and_then(|p| p.get(name)) else {
        return Err(unknown(name));
    };
    let is = |wanted: &str| match field.get("type") {
        Some(Value::String(found)) => found == wanted,
        Some(Value::Array(all)) => all.iter().any(|found| found == wanted),
        _ => false,
    };
    let digits = text.strip_prefix('-').unwrap_or(&text);
    let is_whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let value = if is("integer") {
        if is_whole && text.parse::<i64>().is_err() {
            let problem = Problem::usage("bad-request", format!("`{name}` is beyond all bounds"));
            return Err(makes_no_sense(
                problem.at(format!("/{name}")).next("use a smaller number"),
            ));
        }
        text.parse::<i64>().ok().map(Value::from)
    } else if is("boolean") {
        text.parse::<bool>().ok().map(Value::from)
    } else if is("array") {
        Some(text.split(',').filter(|part| !part.is_empty()).map(Value::from).collect())
    } else {
        Some(Value::String(text.clone()))
    };
    value.ok_or_else(|| {
        let detail = format!("`{name}` is not of its type");
        Told::from(
            Problem::usage("bad-request", detail)
                .at(format!("/{name}"))
                .next("`GET /v1/openapi.json` gives the type of each parameter"),
        )
    })
}

fn header_text(headers: &HeaderMap, name: &str) -> Result<Option<String>, Told> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let fits = |text: &&str| {
        (1..=200).contains(&text.len()) && text.bytes().all(|byte| (b'!'..=b'~').contains(&byte))
    };
    let text = value.to_str().ok().filter(fits).map(str::to_owned);
    text.map(Some).ok_or_else(|| {
        let problem = Problem::usage(
            "bad-header",
            format!("the header {name} is not 1 to 200 plain characters without spaces"),
        );
        problem.next("send plain ASCII").into()
    })
}
