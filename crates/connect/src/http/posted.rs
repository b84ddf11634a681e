//! What protocols on top of HTTP send: bodies to the system's own address, and the answers to them, bounded.

use std::sync::Arc;

use kernel::{
    exception::{Class, Landed},
    port::Failure,
};
use reqwest::{
    Body, Method, Request, Response,
    header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue},
};

use super::{
    Clients, DEPARTURE, Wire, read_error,
    request::{BODY_MAX_BYTES, log_in, use_of},
    route::Auth,
    send, status, unsent,
};
use crate::{
    call::{Call, fail, refuse},
    error::Error,
    secret::Vault,
};

/// Largest answer, in bytes.
const ANSWER_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Who is spoken to, and as whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) system: &'a str,
    pub(crate) auth: Option<&'a Auth>,
    /// A header that every request has.
    pub(crate) header: (&'static str, &'static str),
}

/// Whether the secret of a line may be used there.
///
/// # Errors
/// That it is not declared, or not granted.
pub(crate) fn check_granted(line: Line<'_>, clients: &Clients, vault: &Vault) -> Result<(), Error> {
    let Some(auth) = line.auth else { return Ok(()) };
    let base = &clients.base;
    vault.check(auth.secret(), &use_of(line.system, (Method::POST.as_str(), base), base.path()))
}

/// The request that begins something. It leaves within the window of its call, or not at all.
pub(crate) async fn begin(
    line: Line<'_>,
    body: Vec<u8>,
    (call, wire): (&Call, &Wire<'_>),
) -> Result<Vec<u8>, Failure> {
    let request = build(line, body, wire)?;
    let response = send(request, call, wire).await.map_err(|error| *error)?;
    let landed = wire.departure.landed();
    read(response, (call, wire), landed).await
}

/// A request that only looks after what was begun.
pub(crate) async fn look(
    line: Line<'_>,
    body: Vec<u8>,
    (call, wire): (&Call, &Wire<'_>),
) -> Result<Vec<u8>, Failure> {
    let request = build(line, body, wire)?;
    let onward = Arc::new(wire.departure.onward());
    let sent = DEPARTURE.scope(onward, wire.clients.reads.execute(request)).await;
    let landed = wire.departure.landed();
    let response = sent.map_err(|error| Failure { landed, ..unsent(error, wire.departure) })?;
    // Whatever is said about the look, what it looks after is as open as before.
    let read = read(response, (call, wire), landed).await;
    read.map_err(|failure| Failure { landed, ..failure })
}

fn build(line: Line<'_>, body: Vec<u8>, wire: &Wire<'_>) -> Result<Request, Failure> {
    if body.len() > BODY_MAX_BYTES {
        return Err(refuse(format!("the request would be larger than {BODY_MAX_BYTES} bytes")));
    }
    let mut request = Request::new(Method::POST, wire.clients.base.clone());
    let json = HeaderValue::from_static("application/json");
    let headers = request.headers_mut();
    headers.insert(ACCEPT, json.clone());
    headers.insert(CONTENT_TYPE, json);
    let name = HeaderName::from_bytes(line.header.0.as_bytes());
    let name = name.map_err(|_| refuse(format!("`{}` is no header", line.header.0)))?;
    headers.insert(name, HeaderValue::from_static(line.header.1));
    if let Some(auth) = line.auth {
        let (method, url) = (Method::POST, request.url().clone());
        let asked = use_of(line.system, (method.as_str(), &url), url.path());
        let secret = wire.vault.resolve(auth.secret(), &asked);
        let secret = secret.map_err(|e| fail(Class::Permission, Landed::No, e.to_string()))?;
        log_in(&mut request, auth, &secret)?;
    }
    *request.body_mut() = Some(Body::from(body));
    Ok(request)
}

async fn read(
    mut response: Response,
    (call, wire): (&Call, &Wire<'_>),
    landed: Landed,
) -> Result<Vec<u8>, Failure> {
    let status = response.status();
    if !status.is_success() {
        let retry_after_ms = status::retry_after_ms(response.headers(), wire.departure.now_ms());
        let body = read_error(response).await;
        let (class, landed) = status::classify(status.as_u16(), &[], landed);
        let said = crate::ingest::excerpt(&body, &wire.redactor, &call.masks);
        let message = format!("the target answered {}: {said}", status.as_u16());
        return Err(Failure { class, landed, message, retry_after_ms, sample: None });
    }
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes),
            Err(error) => return Err(unsent(error, wire.departure)),
        }
        if bytes.len() > ANSWER_MAX_BYTES {
            let message = format!("the answer is larger than {ANSWER_MAX_BYTES} bytes");
            return Err(fail(Class::UnexpectedShape, landed, message));
        }
    }
}
