//! What every request passes, in order: an id, the host it was meant for, where it comes from, time; and
//! what every answer carries. A panic in a handler is an answer too.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt as _;
use tracing::{error, info};

use super::{Scheme, Told, Web};
use crate::app::problem::{Kind, Problem};

/// How long a request may take until its answer begins.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// What a browser may load and do on our pages: ours, and nothing else.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Where people reach the server over TLS, browsers never go back to doing without: for a year.
const ONLY_TLS: &str = "max-age=31536000";

/// Guards every route.
pub(crate) async fn guard(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = uuid::Uuid::now_v7().simple().to_string();
    let (method, headers) = (request.method().clone(), request.headers());
    // The template, never the path: a path is made of what somebody else wrote.
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_else(|| "unknown".to_owned());
    let refused = check_host(&web, request.uri().path(), headers)
        .or_else(|| check_origin(&web, &method, headers));
    let mut response = match refused {
        Some(told) => told.into_response(),
        None => answer(next, request, &id).await,
    };
    let status = response.status().as_u16();
    let took = began.elapsed();
    web.metrics.note(&method, &route, status, took);
    info!(request = %id, %method, %route, status, took_us = took.as_micros(), "answered");
    dress(response.headers_mut(), &id, web.scheme);
    response
}

async fn answer(next: Next, request: Request, id: &str) -> Response {
    let caught = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(ANSWER_WITHIN, caught).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            error!(request = %id, "a handler panicked");
            let detail = format!("something went wrong; the log knows it as {id}");
            Told::from(Problem::new(Kind::Unexpected, "unexpected", detail)).into_response()
        }
        Err(_) => {
            let problem = Problem::new(Kind::TryAgain, "too-slow", "the answer took too long")
                .next("look at what became of it before you repeat it");
            Told::with(StatusCode::GATEWAY_TIMEOUT, problem).into_response()
        }
    }
}

/// A name that leads here but is not ours is somebody else's page playing with us.
fn check_host(web: &Web, path: &str, headers: &HeaderMap) -> Option<Told> {
    let given = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host_name(given);
    if web.hosts.iter().any(|host| host == &name) || is_for_probes(path, &name) {
        return None;
    }
    let problem = Problem::usage("wrong-host", "this server does not go by that name")
        .next("use the address it printed, or name it in serve.public_url or serve.hosts");
    Some(Told::with(StatusCode::MISDIRECTED_REQUEST, problem))
}

/// Probes ask by the address of a machine or a container, which no configuration knows. Whether the process
/// lives is no secret. Figures are for whoever came by a bare address: no page of another site can, it has
/// a name.
fn is_for_probes(path: &str, host: &str) -> bool {
    match path {
        "/healthz" | "/readyz" => true,
        "/metrics" => host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok(),
        _ => false,
    }
}

/// The name of `name:port`, in lower case; brackets of an address stay.
fn host_name(host: &str) -> String {
    let name = match host.rfind(':') {
        Some(at) if !host.ends_with(']') => host.get(..at).unwrap_or(host),
        _ => host,
    };
    name.to_ascii_lowercase()
}

/// Whatever changes something must not come from another site's page.
fn check_origin(web: &Web, method: &Method, headers: &HeaderMap) -> Option<Told> {
    if [Method::GET, Method::HEAD].contains(method) {
        return None;
    }
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let same_site = matches!(text("sec-fetch-site"), None | Some("same-origin" | "none"));
    let same_origin = text("origin").is_none_or(|origin| {
        let host = origin.split_once("://").map(|(_, host)| host_name(host));
        host.is_some_and(|host| web.hosts.contains(&host))
    });
    if same_site && same_origin {
        return None;
    }
    let problem =
        Problem::new(Kind::NotAllowed, "cross-site", "another site's page may not do this here");
    Some(Told::with(StatusCode::FORBIDDEN, problem))
}

fn dress(headers: &mut HeaderMap, id: &str, scheme: Scheme) {
    for (name, value) in [
        ("content-security-policy", CONTENT_POLICY),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=()"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if scheme == Scheme::Https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(ONLY_TLS));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert("x-request-id", id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_people_come_over_tls_browsers_stay_with_it() {
        for (scheme, told) in [(Scheme::Https, Some(ONLY_TLS)), (Scheme::Http, None)] {
            let mut headers = HeaderMap::new();
            dress(&mut headers, "1", scheme);
            let found = headers.get(header::STRICT_TRANSPORT_SECURITY);
            assert_eq!(found.map(|value| value.to_str().unwrap()), told);
        }
    }

    #[test]
    fn a_host_is_its_name_without_the_port() {
        for (given, name) in [
            ("localhost:7411", "localhost"),
            ("Harness.Example", "harness.example"),
            ("[::1]:7411", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(host_name(given), name);
        }
    }
}
