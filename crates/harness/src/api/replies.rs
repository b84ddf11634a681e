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

use super::routes::Shown;

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

/// Keeps the answer of a request that was done. Whatever was refused did nothing: it may be made again under
/// its key, once it is corrected or the time has come.
pub(super) async fn end(
    app: &App,
    (place, version): (&Place, u64),
    shown: Shown,
    response: Result<Response, Told>,
) -> Result<Response, Told> {
    let response = match response {
        Ok(response) => response,
        Err(told) => told.into_response(),
    };
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, BODY_BYTES_MAX * 64).await.unwrap_or_default();
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|k| k.to_str().ok());
    let answer = match (parts.status.is_success(), shown) {
        (false, _) => None,
        (true, Shown::Once) => Some(shown_once()),
        (true, Shown::Again) => Some(Answer {
            status: parts.status.as_u16(),
            kind: kind.unwrap_or("application/json").to_owned(),
            body: String::from_utf8_lossy(&bytes).into_owned(),
        }),
    };
    app.settle_answer(&place.0, version, answer).await?;
    Ok(Response::from_parts(parts, Body::from(bytes)))
}

/// Frees the place of a request that ended without any answer.
pub(super) async fn drop_claim(app: &App, place: &Place, version: u64) {
    drop(app.settle_answer(&place.0, version, None).await);
}

/// What a repeated request is told where the answer holds a secret.
fn shown_once() -> Answer {
    let detail = "this was done, and its answer holds a secret that is shown once";
    let problem = Problem::new(Kind::Conflict, "shown-once", detail)
        .next("if the answer was lost, end what it made and ask under another key");
    Answer {
        status: StatusCode::CONFLICT.as_u16(),
        kind: "application/problem+json".to_owned(),
        body: Told::from(problem).body().to_string(),
    }
}
