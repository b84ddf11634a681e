//! How a problem is told over HTTP: RFC 9457, with the stable code, the next step and the places.

use axum::{
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::app::problem::{Kind, Problem};

/// A problem on its way to whoever asked.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    status: StatusCode,
    problem: Box<Problem>,
    retry_after_s: Option<u64>,
}

impl Told {
    /// With another status than its kind has.
    pub(crate) fn with(status: StatusCode, problem: Problem) -> Self {
        Self { status, problem: Box::new(problem), retry_after_s: None }
    }

    /// Try again after so many seconds.
    pub(crate) fn after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The problem itself.
    pub(crate) fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The document.
    pub(crate) fn body(&self) -> Value {
        let Problem { kind, code, detail, next, at, .. } = &*self.problem;
        let errors: Vec<Value> = at.iter().map(|place| json!({"pointer": place})).collect();
        let mut body = json!({
            "schema": "harness.problem/v1",
            "type": format!("urn:harness:problem:{code}"),
            "title": self.status.canonical_reason().unwrap_or("Problem"),
            "status": self.status.as_u16(),
            "kind": kind,
            "code": code,
            "detail": detail,
            "retryable": matches!(kind, Kind::TryAgain | Kind::Interrupted),
        });
        if let Some(map) = body.as_object_mut() {
            if let Some(next) = next {
                map.insert("next".to_owned(), json!(next));
            }
            if !errors.is_empty() {
                map.insert("errors".to_owned(), Value::Array(errors));
            }
        }
        body
    }
}

impl From<Problem> for Told {
    fn from(problem: Problem) -> Self {
        let status = match problem.kind {
            Kind::Unexpected => StatusCode::INTERNAL_SERVER_ERROR,
            Kind::Usage => StatusCode::BAD_REQUEST,
            Kind::NotSignedIn => StatusCode::UNAUTHORIZED,
            Kind::NotAllowed | Kind::Denied => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict | Kind::WaitingForApproval | Kind::NeedsPerson => StatusCode::CONFLICT,
            Kind::Gone => StatusCode::GONE,
            Kind::RunFailed | Kind::VerificationFailed => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::TryAgain | Kind::Interrupted => StatusCode::SERVICE_UNAVAILABLE,
        };
        let retry_after_s = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
        Self { status, problem: Box::new(problem), retry_after_s }
    }
}

impl IntoResponse for Told {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body().to_string()).into_response();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // Whoever is a person is told by a page instead.
        response.extensions_mut().insert(self);
        response
    }
}

/// What nothing else answers.
pub(crate) async fn nothing_here(uri: Uri) -> Response {
    let detail = format!("there is nothing at {}", uri.path());
    let problem = Problem::new(Kind::NotFound, "no-such-route", detail);
    Told::from(problem.next(what_there_is(&uri))).into_response()
}

/// An address that is there, asked with a method that it does not take.
pub(crate) async fn other_method(uri: Uri) -> Response {
    let detail = format!("{} does not take this method", uri.path());
    let problem = Problem::usage("no-such-method", detail).next(what_there_is(&uri));
    Told::with(StatusCode::METHOD_NOT_ALLOWED, problem).into_response()
}

fn what_there_is(uri: &Uri) -> &'static str {
    match uri.path().starts_with("/v1") {
        true => "`GET /v1/openapi.json` lists what there is",
        false => "the pages begin at /approvals, the API at /v1/openapi.json",
    }
}
