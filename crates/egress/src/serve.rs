//! One request: read strictly, held against the rules, sent to an address that was checked, and its answer cleaned.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri, Version,
    body::{Body, Incoming},
    header::{self, HeaderName, HeaderValue},
    http::{request, response},
};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    body::{Answer, Cut, Most, Sent},
    event::{Totals, Trace, Witness},
    headers::strip_hop,
    host::Host,
    limits::{Limits, ms},
    line::Line,
    refusal::Refusal,
    rules::{Allowed, Book, Place, Scheme},
    scrub::{Scrubber, Stream},
    secret::Vault,
    tunnel::Tunnel,
    upstream::{Opened, Outside, in_time},
};

pub(crate) type Out = UnsyncBoxBody<Bytes, Cut>;

/// What all connections of one proxy share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) book: Book,
    pub(crate) limits: Limits,
    pub(crate) outside: Outside,
    pub(crate) vault: Arc<Vault>,
    pub(crate) witness: Arc<dyn Witness>,
    pub(crate) totals: Arc<Totals>,
}

impl Shared {
    pub(crate) fn trace(&self) -> Trace {
        Trace::begin(&self.witness, &self.vault, &self.totals)
    }
}

/// Answers one request; whatever goes wrong is an answer, too.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    line: Arc<Line>,
    request: Request<Incoming>,
) -> Result<Response<Out>, Infallible> {
    let trace = Arc::new(shared.trace());
    line.begin(&trace);
    trace.note(|event| event.method = request.method().to_string());
    let answered = if request.method() == Method::CONNECT {
        connect(&shared, &line, &trace, request).await
    } else {
        forward(&shared, &trace, request).await
    };
    let response = answered.unwrap_or_else(|refusal| {
        trace.refuse(refusal);
        // What came first is the cause: a body that is cut makes the sending fail.
        refuse(trace.refusal().unwrap_or(refusal))
    });
    trace.note(|event| event.status = Some(response.status().as_u16()));
    Ok(response)
}

/// The answer that says why not.
fn refuse(refusal: Refusal) -> Response<Out> {
    let status = refusal.status();
    let problem = json!({
        "type": "about:blank",
        "title": "the request did not pass the sandbox's way out",
        "status": status.as_u16(),
        "code": refusal.code(),
        "detail": refusal.problem(),
        "next": refusal.next(),
    });
    let body = Full::new(Bytes::from(problem.to_string())).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    if refusal == Refusal::Malformed {
        // Where the next request would begin is not certain.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

/// Looks for what servers read differently; hyper refuses most of it before.
fn check_head(version: Version, headers: &HeaderMap) -> Result<(), Refusal> {
    let count = |name: HeaderName| headers.get_all(name).iter().count();
    let chunks = headers.get(header::TRANSFER_ENCODING);
    let is_chunked = chunks.is_none_or(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"));
    let is_plain = version == Version::HTTP_11
        && is_chunked
        && count(header::HOST) <= 1
        && count(header::CONTENT_LENGTH) <= 1
        && count(header::TRANSFER_ENCODING) <= 1
        && !(chunks.is_some() && headers.contains_key(header::CONTENT_LENGTH));
    if is_plain { Ok(()) } else { Err(Refusal::Malformed) }
}

fn count_request(shared: &Shared) -> Result<(), Refusal> {
    let before = shared.totals.requests.fetch_add(1, Ordering::Relaxed);
    if before < shared.limits.requests_max { Ok(()) } else { Err(Refusal::Requests) }
}

/// Where a request line leads.
fn read_place(uri: &Uri, trace: &Trace) -> Result<Place, Refusal> {
    let scheme = match uri.scheme_str() {
        Some(name) if name.eq_ignore_ascii_case("https") => Scheme::Https,
        Some(name) if name.eq_ignore_ascii_case("http") => Scheme::Http,
        _ => return Err(Refusal::Form),
    };
    let authority = uri.authority().ok_or(Refusal::Form)?;
    let (host, port) = Host::parse_with_port(authority.as_str()).map_err(Refusal::Host)?;
    let port = port.unwrap_or(scheme.port());
    note_place(trace, &host, port);
    Ok(Place { scheme, host, port })
}

fn note_place(trace: &Trace, host: &Host, port: u16) {
    trace.note(|event| {
        event.host = host.to_string();
        event.port = port;
    });
}

async fn forward(
    shared: &Shared,
    trace: &Arc<Trace>,
    request: Request<Incoming>,
) -> Result<Response<Out>, Refusal> {
    let (head, body) = request.into_parts();
    trace.note(|event| event.path = head.uri.path().to_owned());
    check_head(head.version, &head.headers)?;
    count_request(shared)?;
    let place = read_place(&head.uri, trace)?;
    let allowed = shared.book.request(&place, &head.method, head.uri.path())?;
    trace.note(|event| event.rule = Some(allowed.rule.index));
    let announced = body.size_hint().lower();
    if announced > allowed.rule.request_bytes_max {
        return Err(Refusal::Bytes);
    }
    let head = prepare(shared, &allowed, &place, head)?;
    let method = head.method().clone();
    let opened = in_time(&shared.limits, async {
        let (stream, address) = shared
            .outside
            .reach((&allowed.host, allowed.port), &|ip| allowed.rule.opens(ip), &shared.limits)
            .await?;
        trace.note(|event| event.address = Some(address));
        shared.outside.open(stream, (place.scheme, &place.host), &shared.limits).await
    });
    let opened = opened.await?;
    let most = Most { here: allowed.rule.request_bytes_max, in_all: shared.limits.bytes_out_max };
    let sent = Sent { body, trace: Arc::clone(trace), most };
    let (response, opened) = send(opened, head.map(|()| sent), trace, &shared.limits).await?;
    let (head, body) = response.into_parts();
    let most = Most { here: allowed.rule.response_bytes_max, in_all: shared.limits.bytes_in_max };
    let idle = ms(shared.limits.idle_ms);
    let length = match head.status {
        StatusCode::NOT_MODIFIED => Length::OfHeader,
        _ if method == Method::HEAD => Length::OfHeader,
        _ => Length::OfBody,
    };
    check_answer(&head, &allowed)?;
    if length == Length::OfBody && body.size_hint().lower() > most.here {
        return Err(Refusal::Bytes);
    }
    let answer = Answer::new(body, opened.driver, Arc::clone(trace), most, idle);
    Ok(pass_back(head, answer, shared.vault.scrubber(), length))
}

/// What of an answer's length is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    /// As the body has it.
    OfBody,
    /// As the header says: there is no body.
    OfHeader,
}

/// The head as it leaves: for this host alone, with the secrets of its rule.
fn prepare(
    shared: &Shared,
    allowed: &Allowed<'_>,
    place: &Place,
    mut head: request::Parts,
) -> Result<Request<()>, Refusal> {
    strip_hop(&mut head.headers);
    // The length is set anew from the body itself.
    head.headers.remove(header::CONTENT_LENGTH);
    let host = match place.port == place.scheme.port() {
        true => place.host.to_string(),
        false => format!("{}:{}", place.host, place.port),
    };
    let host = HeaderValue::from_str(&host).map_err(|_| Refusal::Malformed)?;
    head.headers.insert(header::HOST, host);
    if allowed.rule.guarded {
        // A secret must not come back packed, nor in parts that are asked for one by one.
        let plain = HeaderValue::from_static("identity");
        head.headers.insert(header::ACCEPT_ENCODING, plain);
        head.headers.remove(header::RANGE);
        head.headers.remove(header::IF_RANGE);
    }
    for added in &allowed.rule.inject {
        head.headers.insert(added.header.clone(), shared.vault.header(added)?);
    }
    // Written out: as a text alone, a query without a path would have no slash before it.
    let path = head.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    let mut out = Request::new(());
    *out.uri_mut() = path.parse().map_err(|_| Refusal::Path)?;
    *out.method_mut() = head.method;
    *out.headers_mut() = head.headers;
    Ok(out)
}

/// Sends a request and waits for the head of its answer, as long as something moves.
async fn send(
    mut opened: Opened<Sent>,
    request: Request<Sent>,
    trace: &Trace,
    limits: &Limits,
) -> Result<(Response<Incoming>, Opened<Sent>), Refusal> {
    let quiet = async {
        let mut before = trace.moved();
        loop {
            sleep(ms(limits.answer_ms)).await;
            let now = trace.moved();
            if now == before {
                return;
            }
            before = now;
        }
    };
    let sent = tokio::select! {
        sent = opened.sender.send_request(request) => sent,
        () = quiet => return Err(Refusal::Timeout),
    };
    sent.map(|response| (response, opened)).map_err(|_| Refusal::Upstream)
}

fn check_answer(head: &response::Parts, allowed: &Allowed<'_>) -> Result<(), Refusal> {
    // Nobody asked for another protocol.
    if head.status.is_informational() {
        return Err(Refusal::Upstream);
    }
    let is_plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if allowed.rule.guarded && !head.headers.get_all(header::CONTENT_ENCODING).iter().all(is_plain)
    {
        return Err(Refusal::Encoding);
    }
    Ok(())
}

fn pass_back(
    head: response::Parts,
    answer: Answer,
    scrubber: Option<Arc<Scrubber>>,
    length: Length,
) -> Response<Out> {
    let mut headers = head.headers;
    strip_hop(&mut headers);
    if length == Length::OfBody {
        headers.remove(header::CONTENT_LENGTH);
    }
    if let Some(scrubber) = &scrubber {
        headers = scrub_headers(headers, scrubber);
    }
    let body = answer.scrubbed(scrubber.map(Stream::new));
    // What else hyper keeps of the head, such as the words beside the status, stays here.
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = head.status;
    *response.headers_mut() = headers;
    response
}

fn scrub_headers(headers: HeaderMap, scrubber: &Scrubber) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(headers.len());
    let mut last: Option<HeaderName> = None;
    for (name, value) in headers {
        // A repeated name is given once.
        last = name.or(last);
        let Some(name) =
            last.clone().filter(|name| scrubber.scrub(name.as_str().as_bytes()).is_none())
        else {
            continue;
        };
        let scrubbed = scrubber.scrub(value.as_bytes());
        let value = scrubbed.map_or(Ok(value), |bytes| HeaderValue::from_bytes(&bytes));
        if let Ok(value) = value {
            out.append(name, value);
        }
    }
    out
}

async fn connect(
    shared: &Shared,
    line: &Line,
    trace: &Arc<Trace>,
    mut request: Request<Incoming>,
) -> Result<Response<Out>, Refusal> {
    check_head(request.version(), request.headers())?;
    count_request(shared)?;
    let framed = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    if framed.iter().any(|name| request.headers().contains_key(name)) {
        return Err(Refusal::Malformed);
    }
    let uri = request.uri();
    let authority = uri.authority().filter(|_| uri.scheme().is_none()).ok_or(Refusal::Form)?;
    let (host, port) = Host::parse_with_port(authority.as_str()).map_err(Refusal::Host)?;
    let port = port.ok_or(Refusal::Form)?;
    note_place(trace, &host, port);
    let place = Place { scheme: Scheme::Https, host, port };
    let allowed = shared.book.tunnel(&place)?;
    trace.note(|event| event.rule = Some(allowed.rule.index));
    let Host::Name(name) = &allowed.host else { return Err(Refusal::NoTunnel) };
    let (outside, address) = in_time(
        &shared.limits,
        shared.outside.reach(
            (&allowed.host, allowed.port),
            &|ip| allowed.rule.opens(ip),
            &shared.limits,
        ),
    )
    .await?;
    trace.note(|event| event.address = Some(address));
    let (limits, rule) = (&shared.limits, allowed.rule);
    line.hand_over(Tunnel {
        inside: hyper::upgrade::on(&mut request),
        outside,
        name: name.clone(),
        trace: Arc::clone(trace),
        most_out: Most { here: rule.request_bytes_max, in_all: limits.bytes_out_max },
        most_back: Most { here: rule.response_bytes_max, in_all: limits.bytes_in_max },
    });
    let empty = Full::new(Bytes::new()).map_err(|never| match never {});
    Ok(Response::new(empty.boxed_unsync()))
}
