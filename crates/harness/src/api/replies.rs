//! Answers kept for requests that are repeated under the same `Idempotency-Key`.

use axum::{
    body::{Body, to_bytes},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    app::{
        App, Caller,
        answers::{Answer, Claimed},
        problem::{Kind, Problem},
    },
    web::{BODY_BYTES_MAX, Told},
};

/// Where an answer is kept: one key of one caller at one route.
pub(super) struct Place(String);

impl Place {
    pub(super) fn new(caller: &Caller, route: &str, key: &str) -> Result<Self, Told> {
        if key.is_empty() || key.len() > 200 {
            let detail = "an idempotency key has 1 to 200 characters";
            return Err(Problem::usage("idempotency-key", detail).next("shorten it").into());
        }
        Ok(Self(App::answer_place(caller, route, key)))
    }
}

/// What a repeated request meets.
pub(super) enum Begun {
    /// It was answered before.
    Before(Response),
    /// It is the first; the version of the claim.
    Now(u64),
}

/// Claims the key for a request, or finds its answer.
pub(super) async fn begin(app: &App, place: &Place, digest: &str) -> Result<Begun, Told> {
    match app.claim_answer(&place.0, digest).await? {
        Claimed::Now(version) => Ok(Begun::Now(version)),
        Claimed::Other => {
            let detail = "this idempotency key was used for another request";
            let problem = Problem::new(Kind::Conflict, "idempotency-key-reused", detail)
                .next("use another key");
            Err(Told::with(StatusCode::UNPROCESSABLE_ENTITY, problem))
        }
        Claimed::InFlight => {
            let detail = "the first request under this idempotency key is not answered yet";
            let problem =
                Problem::new(Kind::TryAgain, "in-flight", detail).next("ask again in a second");
            Err(Told::with(StatusCode::CONFLICT, problem).after(1))
        }
        Claimed::Before(answer) => {
            let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
            let mut response = (status, answer.body).into_response();
            let kind = HeaderValue::from_str(&answer.kind);
            let kind = kind.unwrap_or(HeaderValue::from_static("application/json"));
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            let replayed = HeaderName::from_static("idempotency-replayed");
            response.headers_mut().insert(replayed, HeaderValue::from_static("true"));
            Ok(Begun::Before(response))
        }
    }
}

/// Keeps an answer, unless the request may succeed when it is made again.
pub(super) async fn end(
    app: &App,
    place: &Place,
    version: u64,
    response: Result<Response, Told>,
) -> Result<Response, Told> {
    let response = match response {
        Ok(response) => response,
        Err(told) => told.into_response(),
    };
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, BODY_BYTES_MAX * 64).await.unwrap_or_default();
    let passes = parts.status.is_server_error() || parts.status == StatusCode::TOO_MANY_REQUESTS;
    let body = String::from_utf8(bytes.to_vec()).unwrap_or_default();
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|k| k.to_str().ok());
    let answer = Answer {
        status: parts.status.as_u16(),
        kind: kind.unwrap_or("application/json").to_owned(),
        body,
    };
    app.settle_answer(&place.0, version, (!passes).then_some(answer)).await?;
    Ok(Response::from_parts(parts, Body::from(bytes)))
}
