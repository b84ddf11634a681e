//! The one path every request walks: route, token, key, ledger, fault, transaction, fault.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::Response;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::watch;

use crate::config::{AsOf, SystemTokens, Tokens};
use crate::db::{self, Db};
use crate::fault::{Fault, FaultKind, Faults, Phase};
use crate::ledger::{Entry, Keyed};
use crate::problem::{Problem, Refusal, System};
use crate::records::{Doc, Records};
use crate::route::{self, Call, HTTP_SYSTEMS, Reply, Route};
use crate::wire::{self, Peer};
use crate::{bend, clock, control};

/// The largest request body.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;
const MAX_KEY_CHARS: usize = 200;
const DEFAULT_HANG_MS: u64 = 30_000;
const DEFAULT_DRIP_MS: u64 = 200;
const DEFAULT_HUGE_MEGABYTES: u32 = 8;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) db: Db,
    pub(crate) faults: Faults,
    pub(crate) tokens: Tokens,
    pub(crate) as_of: AsOf,
    pub(crate) closing: watch::Receiver<bool>,
    /// What `GET /_world` says about this world.
    pub(crate) about: Value,
}

impl Shared {
    /// Waits for `ms`, or until the world goes down. A client that leaves drops this future.
    pub(crate) async fn hang(&self, ms: u64) {
        let mut closing = self.closing.clone();
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(ms)) => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }
}

/// How long a timeout fault hangs.
pub(crate) fn hang_ms(fault: &Fault) -> u64 {
    fault.delay_ms.unwrap_or(DEFAULT_HANG_MS)
}

/// Answers any HTTP request.
pub(crate) async fn answer(
    State(world): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
) -> Response {
    let path = request.uri().path().to_owned();
    let prefix = path.split('/').nth(1).unwrap_or("");
    if prefix == "_world" {
        return control::answer(&world, request).await;
    }
    let Some(system) = HTTP_SYSTEMS.into_iter().find(|system| system.name() == prefix) else {
        let body = serde_json::json!({"error": format!("no such path: {path}")});
        return json_response(404, &body);
    };
    match exchange(&world, system, (request, peer)).await {
        Ok(response) => response,
        Err(refusal) => refuse(system, &refusal),
    }
}

/// A request that has passed route, token and form.
struct Asked {
    system: System,
    route: &'static Route,
    call: Call,
    entry: Option<Entry>,
    keyed: Option<Keyed>,
}

async fn exchange(
    world: &Shared,
    system: System,
    (request, peer): (Request, Peer),
) -> Result<Response, Refusal> {
    let asked = take_apart(world, system, request).await?;
    let route = asked.route;
    if let Some(entry) = asked.entry.clone() {
        world.db.with(move |tx| entry.count_requested(tx)).await?;
    }
    let fault = world.faults.fire(system, route.operation);
    if let Some(fault) = &fault
        && let Some(response) = strike_before(world, fault, (system, &peer)).await?
    {
        return Ok(response);
    }
    let (mut reply, as_of) = perform(world, asked).await?;
    let Some(fault) = fault else {
        return Ok(respond(&reply));
    };
    bend::bend(&mut reply, route, system, (&fault, as_of));
    strike_after(world, &fault, (&reply, &peer)).await
}

async fn take_apart(world: &Shared, system: System, request: Request) -> Result<Asked, Refusal> {
    let (parts, body) = request.into_parts();
    let (path, method) = (parts.uri.path(), parts.method.as_str());
    let (route, params) = route::find(system, method, path)?;
    check_token(tokens_of(&world.tokens, system), &parts, route)?;
    let bytes = axum::body::to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| {
        Refusal::new(
            Problem::TooLarge,
            format!("the body must be whole and ≤ {MAX_BODY_BYTES} bytes"),
        )
    })?;
    let mut call = Call {
        params,
        query: read_query(&parts.uri)?,
        body: Doc::new(),
        if_match: header(&parts, &IF_MATCH).map(str::to_owned),
        now: 0,
    };
    let (mut entry, mut keyed) = (None, None);
    if route.writes() {
        call.body = read_object(&bytes)?;
        let header_key = header(&parts, &IDEMPOTENCY_KEY).unwrap_or("");
        if header_key.chars().count() > MAX_KEY_CHARS {
            let message = format!("an idempotency key has at most {MAX_KEY_CHARS} characters");
            return Err(Refusal::new(Problem::BadParameter, message).on("Idempotency-Key"));
        }
        let honoured = system.honours_keys();
        let key = if honoured { header_key.to_owned() } else { call.text("client_ref").to_owned() };
        if honoured && !key.is_empty() {
            let fingerprint = Keyed::fingerprint(method, path, &bytes);
            keyed = Some(Keyed { system, key: key.clone(), fingerprint });
        }
        entry = Some(Entry { system, operation: route.operation, key });
    }
    Ok(Asked { system, route, call, entry, keyed })
}

fn tokens_of(tokens: &Tokens, system: System) -> Option<&SystemTokens> {
    match system {
        System::Crm => Some(&tokens.crm),
        System::Desk => Some(&tokens.desk),
        System::Billing => Some(&tokens.billing),
        System::Usage => Some(&tokens.usage),
        System::Mail => None,
    }
}

fn check_token(good: Option<&SystemTokens>, parts: &Parts, route: &Route) -> Result<(), Refusal> {
    let given = header(parts, &AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    let (Some(given), Some(good)) = (given, good) else {
        return Err(Refusal::new(Problem::NoToken, "send Authorization: Bearer <token>"));
    };
    if given == good.write {
        return Ok(());
    }
    if given != good.read {
        return Err(Refusal::new(Problem::NoToken, "this token is not known here"));
    }
    if route.writes() {
        let message = format!("this token may only read, {} writes", route.operation);
        return Err(Refusal::new(Problem::ReadOnly, message));
    }
    Ok(())
}

fn header<'a>(parts: &'a Parts, name: &HeaderName) -> Option<&'a str> {
    parts.headers.get(name).and_then(|value| value.to_str().ok())
}

/// The query's parameters; the last of a name counts.
pub(crate) fn read_query(uri: &Uri) -> Result<BTreeMap<String, String>, Refusal> {
    let query = Query::<BTreeMap<String, String>>::try_from_uri(uri);
    query
        .map(|Query(params)| params)
        .map_err(|_| Refusal::new(Problem::BadParameter, "the query cannot be read"))
}

/// A body's JSON object; an empty body is an empty object.
pub(crate) fn read_object(bytes: &[u8]) -> Result<Doc, Refusal> {
    if bytes.is_empty() {
        return Ok(Doc::new());
    }
    serde_json::from_slice(bytes).map_err(|error| {
        Refusal::new(Problem::Malformed, format!("the body must be a JSON object: {error}"))
    })
}

/// Runs the request in one transaction; gives the answer and the time it tells.
async fn perform(world: &Shared, asked: Asked) -> Result<(Reply, i64), Refusal> {
    let as_of = world.as_of;
    world
        .db
        .with(move |tx| {
            let Asked { system, route, mut call, entry, keyed } = asked;
            call.now = db::now_seconds(tx)?;
            let told = match as_of {
                AsOf::Wall => clock::wall_seconds(),
                AsOf::World => call.now,
            };
            if let Some(keyed) = &keyed
                && let Some(kept) = keyed.find(tx)?
            {
                return Ok((kept, told));
            }
            let mut reply = (route.run)(Records::new(tx), &call)?;
            bend::stamp(system, &mut reply.body, told);
            if let Some(entry) = entry {
                entry.count_performed(tx)?;
            }
            if let Some(keyed) = keyed {
                keyed.keep(tx, &reply)?;
            }
            Ok((reply, told))
        })
        .await
}

async fn strike_before(
    world: &Shared,
    fault: &Fault,
    (system, peer): (System, &Peer),
) -> Result<Option<Response>, Refusal> {
    match (fault.kind, fault.phase) {
        (FaultKind::TimeoutBefore, _) => {
            world.hang(hang_ms(fault)).await;
            Err(Refusal::new(Problem::Unavailable(504), "the system did not answer in time"))
        }
        (FaultKind::ServerError, Phase::Before) => Err(server_error(fault)),
        (FaultKind::Reset, Phase::Before) => {
            peer.reset();
            Ok(Some(Response::new(Body::empty())))
        }
        (FaultKind::RateLimit, _) => {
            let refusal = Refusal::new(Problem::RateLimited, "too many requests, slow down");
            let mut response = refuse(system, &refusal);
            let seconds = HeaderValue::from(fault.retry_after_s.unwrap_or(1));
            response.headers_mut().insert(RETRY_AFTER, seconds);
            Ok(Some(response))
        }
        (FaultKind::Forbidden, _) => {
            Err(Refusal::new(Problem::ReadOnly, "this token may not do that any more"))
        }
        (FaultKind::ServerError | FaultKind::Reset, Phase::After)
        | (
            FaultKind::TimeoutAfter
            | FaultKind::MissingField
            | FaultKind::ChangedShape
            | FaultKind::Stale
            | FaultKind::DuplicateRecord
            | FaultKind::NameMismatch
            | FaultKind::SlowDrip
            | FaultKind::Garbage
            | FaultKind::Huge,
            _,
        ) => Ok(None),
    }
}

async fn strike_after(
    world: &Shared,
    fault: &Fault,
    (reply, peer): (&Reply, &Peer),
) -> Result<Response, Refusal> {
    let mut response = respond(reply);
    match fault.kind {
        FaultKind::TimeoutAfter => {
            world.hang(hang_ms(fault)).await;
            let message = "the system did not answer in time";
            return Err(Refusal::new(Problem::Unavailable(504), message));
        }
        FaultKind::ServerError => return Err(server_error(fault)),
        FaultKind::Reset => peer.reset(),
        FaultKind::SlowDrip => {
            let pause = Duration::from_millis(fault.delay_ms.unwrap_or(DEFAULT_DRIP_MS));
            *response.body_mut() =
                wire::drip(reply.body.to_string().into_bytes(), pause, world.closing.clone());
        }
        FaultKind::Garbage => {
            *response.status_mut() = StatusCode::OK;
            *response.body_mut() = Body::from(&b"\x00\xff<html>\xfe not json \x80{"[..]);
        }
        FaultKind::Huge => {
            let megabytes = fault.megabytes.unwrap_or(DEFAULT_HUGE_MEGABYTES);
            let bytes = usize::try_from(megabytes).unwrap_or(1).saturating_mul(1024 * 1024);
            *response.body_mut() = wire::huge(bytes);
        }
        FaultKind::TimeoutBefore
        | FaultKind::RateLimit
        | FaultKind::Forbidden
        | FaultKind::MissingField
        | FaultKind::ChangedShape
        | FaultKind::Stale
        | FaultKind::DuplicateRecord
        | FaultKind::NameMismatch => {}
    }
    Ok(response)
}

fn server_error(fault: &Fault) -> Refusal {
    let status = fault.status.unwrap_or(503);
    Refusal::new(Problem::Unavailable(status), "the system is having trouble")
}

fn refuse(system: System, refusal: &Refusal) -> Response {
    json_response(refusal.problem.status(), &refusal.render(system))
}

fn respond(reply: &Reply) -> Response {
    let mut response = json_response(reply.status, &reply.body);
    let headers = response.headers_mut();
    if let Some(version) = reply.version
        && let Ok(etag) = HeaderValue::from_str(&format!("\"{version}\""))
    {
        headers.insert(ETAG, etag);
    }
    if reply.replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// A JSON answer.
pub(crate) fn json_response(status: u16, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
