//! What requests say, read: whatever cannot be is a problem like any other.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;

use super::{BODY_BYTES_MAX, Told, Web};
use crate::app::problem::Problem;

/// How long the body of a request may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(20);

/// What a form sent.
#[derive(Debug)]
pub(crate) struct Form<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<Web>> for Form<T> {
    type Rejection = Told;

    async fn from_request(request: Request, web: &Arc<Web>) -> Result<Self, Told> {
        let (parts, body) = request.into_parts();
        let bytes = read_body(&parts.headers, body, BODY_BYTES_MAX).await?;
        let whole = Request::from_parts(parts, Body::from(bytes));
        match axum::Form::<T>::from_request(whole, web).await {
            Ok(axum::Form(fields)) => Ok(Self(fields)),
            Err(rejected) if rejected.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                let detail = "a form is sent as application/x-www-form-urlencoded";
                let problem = Problem::usage("not-a-form", detail).next("send it from its page");
                Err(Told::with(StatusCode::UNSUPPORTED_MEDIA_TYPE, problem))
            }
            Err(_) => {
                Err(Problem::usage("bad-form", "the form has other fields than its page sends")
                    .next("open the page again and send it from there")
                    .into())
            }
        }
    }
}

/// What a path names.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Web>> for Path<T> {
    type Rejection = Told;

    async fn from_request_parts(parts: &mut Parts, web: &Arc<Web>) -> Result<Self, Told> {
        match axum::extract::Path::<T>::from_request_parts(parts, web).await {
            Ok(axum::extract::Path(named)) => Ok(Self(named)),
            Err(_) => Err(Problem::usage("bad-path", "the path names nothing that can be read")
                .next("copy the whole address")
                .into()),
        }
    }
}

/// What a query asks.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Web>> for Query<T> {
    type Rejection = Told;

    async fn from_request_parts(parts: &mut Parts, web: &Arc<Web>) -> Result<Self, Told> {
        match axum::extract::Query::<T>::from_request_parts(parts, web).await {
            Ok(axum::extract::Query(asked)) => Ok(Self(asked)),
            Err(_) => Err(Problem::usage("bad-query", "the query is not `name=value&…`")
                .next("escape what stands in it")
                .into()),
        }
    }
}

/// A body as it came.
#[derive(Debug)]
pub(crate) struct Whole(pub(crate) Bytes);

impl FromRequest<Arc<Web>> for Whole {
    type Rejection = Told;

    async fn from_request(request: Request, _: &Arc<Web>) -> Result<Self, Told> {
        let (parts, body) = request.into_parts();
        read_body(&parts.headers, body, BODY_BYTES_MAX).await.map(Self)
    }
}

/// What a request is told that is longer than it may be.
pub(crate) fn too_large(bytes_max: usize) -> Told {
    let problem = Problem::usage("too-large", format!("a request has at most {bytes_max} bytes"))
        .next("send less");
    Told::with(StatusCode::PAYLOAD_TOO_LARGE, problem)
}

/// Reads a body, at most so long and for so long.
pub(crate) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<Bytes, Told> {
    let told = headers.get(header::CONTENT_LENGTH).and_then(|n| n.to_str().ok()?.parse().ok());
    let large = || too_large(bytes_max);
    if told.is_some_and(|n: usize| n > bytes_max) {
        return Err(large());
    }
    let read = axum::body::to_bytes(body, bytes_max);
    match tokio::time::timeout(BODY_WITHIN, read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(large()),
        Err(_) => {
            let problem =
                Problem::usage("too-slow", "the body did not arrive in time").next("send it again");
            Err(Told::with(StatusCode::REQUEST_TIMEOUT, problem))
        }
    }
}
