//! HTTP: one request per call, no redirects, no proxies, no cookies, no retries of its own.
//!
//! Reads share kept-alive connections. A write always gets a fresh one: a connection the server closed
//! in the same moment would otherwise leave a write in doubt that was never seen; and on a fresh
//! connection the dispatch window is checked after name lookup, connect and TLS, right before the request.

mod form;
pub(crate) mod posted;
mod request;
mod route;
pub(crate) mod status;

use std::{error::Error as _, sync::Arc, time::Duration};

use kernel::{
    exception::{Class, Landed},
    port::{Failure, Task},
};
use reqwest::{Client, Response, redirect, retry};
use serde_json::{Map, Value};
use tower::{Layer, Service};

pub(crate) use route::{Auth, Route, auth};

use crate::{
    blob::{BlobSink, Collector, PREVIEW_BYTES},
    call::{Arrived, Call, Departure, fail, landed_if_write},
    error::Error,
    ingest::{Pick, Received, may_travel_unread},
    redact::Redactor,
    secret::Vault,
};

/// Most of a failed answer's body that is read, in bytes.
const ERROR_BODY_BYTES: usize = 64 * 1024;

/// How long an idle connection for reads is kept, in seconds.
const IDLE_S: u64 = 30;

tokio::task_local! {
    /// The call whose connection is being made.
    static DEPARTURE: Arc<Departure>;
}

/// The two clients of one system.
#[derive(Debug)]
pub(crate) struct Clients {
    base: reqwest::Url,
    reads: Client,
    writes: Client,
}

impl Clients {
    pub(crate) fn new(system: &str, url: &str) -> Result<Self, Error> {
        let problem = |problem: String| Error::System { system: system.to_owned(), problem };
        let base = reqwest::Url::parse(url)
            .map_err(|e| problem(format!("its url cannot be read: {e}")))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(problem("its url must begin with http:// or https://".to_owned()));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(problem(
                "its url holds credentials; declare a secret and name it under `auth`".to_owned(),
            ));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(problem("its url must end with a path".to_owned()));
        }
        let client = |idle: usize| {
            let mut builder = Client::builder()
                .user_agent(concat!("harness/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::none())
                .retry(retry::never())
                .referer(false)
                .no_proxy()
                .pool_max_idle_per_host(idle)
                .pool_idle_timeout(Duration::from_secs(IDLE_S))
                .connector_layer(Punctual);
            if base.scheme() == "http" {
                // Nothing to verify: start without certificates on the machine.
                builder = builder.tls_certs_only([]);
            }
            builder.build().map_err(|e| problem(format!("no HTTP client for it: {}", chain(&e))))
        };
        let (reads, writes) = (client(4)?, client(0)?);
        Ok(Self { base, reads, writes })
    }
}

/// What one HTTP call needs besides the call itself.
#[derive(Debug)]
pub(crate) struct Wire<'a> {
    pub(crate) clients: &'a Clients,
    pub(crate) vault: &'a Vault,
    pub(crate) sink: Option<&'a dyn BlobSink>,
    pub(crate) departure: &'a Arc<Departure>,
    /// What is taken out of the answer.
    pub(crate) redactor: Arc<Redactor>,
}

/// Whether the secret of a route may be used for what it asks.
///
/// # Errors
/// That it is not declared, or not granted.
pub(crate) fn check_granted(route: &Route, clients: &Clients, vault: &Vault) -> Result<(), Error> {
    request::check_granted(route, &clients.base, vault)
}

/// Makes the request; what came back, and what to pick from it.
pub(crate) async fn call<'r>(
    route: &'r Route,
    call: &Call,
    wire: &Wire<'_>,
) -> Result<(Arrived, Pick<'r>), Failure> {
    let request = request::build(route, call, &wire.clients.base, wire.vault)?;
    let redactor = Arc::clone(&wire.redactor);
    let response = send(request, call, wire).await.map_err(|error| *error)?;
    let status = response.status();
    if status.is_success() {
        let captured = capture(route, &response);
        let received = read_success(response, call, wire, redactor).await?;
        let pick =
            Pick { result: &route.result, captured, external_ref: route.external_ref.as_deref() };
        return Ok((received, pick));
    }
    let retry_after_ms = status::retry_after_ms(response.headers(), wire.departure.now_ms());
    let scope = status::needed_scope(response.headers());
    let body = read_error(response).await;
    if route.absent_ok && matches!(status.as_u16(), 404 | 410) {
        return Ok((Received::Absent(body).into(), Pick::default()));
    }
    let (class, landed) = status::classify(status.as_u16(), &route.errors, wire.departure.landed());
    let said = crate::ingest::excerpt(&body, &redactor, &call.masks);
    let mut message = format!("the target answered {}: {said}", status.as_u16());
    if class == Class::Permission {
        let told = scope.filter(|_| call.masks.is_empty());
        message.push_str(&lacking(route, call, told.map(|scope| redactor.scrub_text(&scope))));
    }
    Err(Failure { class, landed, message, retry_after_ms, sample: None })
}

/// Who lacks what, for whoever gives rights out.
fn lacking(route: &Route, call: &Call, scope: Option<String>) -> String {
    let id = &call.operation.id;
    let who = match &route.auth {
        Some(auth) => format!("the secret `{}` does not give the right to `{id}`", auth.secret()),
        None => format!("`{id}` is called without a secret"),
    };
    match scope {
        Some(scope) => format!("; {who}; the target names the scope `{scope}`"),
        None => format!("; {who}"),
    }
}

async fn send(
    request: reqwest::Request,
    call: &Call,
    wire: &Wire<'_>,
) -> Result<Response, Box<Failure>> {
    let departure = wire.departure;
    let client = if call.operation.is_write() {
        // Marked as sent by the connection it waits for.
        departure.check()?;
        &wire.clients.writes
    } else {
        departure.leave()?;
        &wire.clients.reads
    };
    let sent = DEPARTURE.scope(Arc::clone(departure), client.execute(request)).await;
    sent.map_err(|error| Box::new(unsent(error, departure)))
}

fn unsent(error: reqwest::Error, departure: &Departure) -> Failure {
    if departure.was_late() {
        let message =
            "too late to send: connecting took longer than the dispatch window, nothing left";
        return fail(Class::Timeout, Landed::No, message);
    }
    let landed =
        if error.is_connect() || error.is_builder() { Landed::No } else { departure.landed() };
    // Without its URL: that holds arguments.
    let message = format!("no answer from the target: {}", chain(&error.without_url()));
    fail(Class::Unavailable, landed, message)
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

fn capture(route: &Route, response: &Response) -> Map<String, Value> {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let captured = route.capture.iter().filter_map(|(field, header)| {
        text(header).map(|value| (field.clone(), Value::String(value.to_owned())))
    });
    captured.collect()
}

/// Reads all of a good answer. A connection lost in the middle leaves the outcome unknown, like one lost
/// before; a complete answer that cannot be used leaves it known.
async fn read_success(
    mut response: Response,
    call: &Call,
    wire: &Wire<'_>,
    redactor: Arc<Redactor>,
) -> Result<Arrived, Failure> {
    let landed = landed_if_write(&call.operation);
    let sink = wire.sink.filter(|_| may_travel_unread(&call.operation, &call.masks));
    let mut collector = Collector::new(sink, &call.tenant, redactor, landed);
    collector.expect(response.content_length())?;
    loop {
        match response.chunk().await {
            Ok(Some(bytes)) => collector.push(&bytes).await?,
            Ok(None) => break,
            Err(error) => return Err(unsent(error, wire.departure)),
        }
    }
    Ok(Arrived::from(collector.finish()))
}

async fn read_error(mut response: Response) -> Vec<u8> {
    const { assert!(ERROR_BODY_BYTES <= PREVIEW_BYTES) };
    let mut body = Vec::new();
    // A failed answer that breaks off is still that failure.
    while let Ok(Some(bytes)) = response.chunk().await {
        body.extend_from_slice(&bytes);
        if body.len() >= ERROR_BODY_BYTES {
            body.truncate(ERROR_BODY_BYTES);
            break;
        }
    }
    body
}

/// Lets a fresh connection carry a request only within the dispatch window of its call.
#[derive(Clone, Copy, Debug)]
struct Punctual;

impl<S> Layer<S> for Punctual {
    type Service = OnTime<S>;

    fn layer(&self, inner: S) -> OnTime<S> {
        OnTime(inner)
    }
}

#[derive(Clone, Debug)]
struct OnTime<S>(S);

#[derive(Debug, thiserror::Error)]
#[error("the dispatch window has passed")]
struct TooLate;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<S, R> Service<R> for OnTime<S>
where
    S: Service<R, Error = BoxError>,
    S::Future: Send + 'static,
    S::Response: Send,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Task<'static, Result<S::Response, BoxError>>;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, target: R) -> Self::Future {
        // A connection nobody is known to wait for is refused.
        let departure = DEPARTURE.try_with(Arc::clone);
        let connecting = self.0.call(target);
        Box::pin(async move {
            let connection = connecting.await?;
            departure.map_err(|_| TooLate)?.leave().map_err(|_| TooLate)?;
            Ok(connection)
        })
    }
}

#[cfg(test)]
mod form_tests;
#[cfg(test)]
mod gauge_tests;
#[cfg(test)]
mod sample_tests;
#[cfg(test)]
mod tests;
