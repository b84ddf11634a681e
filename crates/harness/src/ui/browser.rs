//! Whoever asks with a browser is told by a page: what cannot be done, and what to do now. Programs get the
//! problem document that stands behind it.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, Method, header},
    middleware::Next,
    response::Response,
};

use super::shell;
use crate::web::Told;

/// Addresses that no person looks at.
const FOR_PROGRAMS: [&str; 5] = ["/v1", "/hooks", "/healthz", "/readyz", "/metrics"];

/// Turns a problem on its way to a browser into a page.
pub(crate) async fn for_browsers(request: Request, next: Next) -> Response {
    if !is_for_a_person(&request) {
        return next.run(request).await;
    }
    // What a form was sent to cannot be asked for again by a link.
    let here = (request.method() == Method::GET).then(|| request.uri().to_string());
    let response = next.run(request).await;
    let Some(told) = response.extensions().get::<Told>() else { return response };
    let problem = told.problem();
    let page = shell::door(
        shell::problem_title(problem),
        &shell::problem(problem, here.as_deref().filter(|here| here.starts_with('/'))),
    );
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::WWW_AUTHENTICATE);
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    parts.headers.insert(header::CONTENT_TYPE, html);
    Response::from_parts(parts, Body::from(page.into_string()))
}

fn is_for_a_person(request: &Request) -> bool {
    let path = request.uri().path();
    let below = |root: &&str| -> bool {
        path.strip_prefix(*root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let accepts = request.headers().get(header::ACCEPT).and_then(|kinds| kinds.to_str().ok());
    !FOR_PROGRAMS.iter().any(below) && accepts.is_some_and(|kinds| kinds.contains("text/html"))
}
