//! `GET /v1/events`.

use std::sync::Arc;

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use crate::{
    app::{Right, problem::Problem},
    web::{Bearer, Held, Told, Web, listen},
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    /// Go on after this event.
    after: Option<String>,
    /// Of this run only.
    run: Option<String>,
}

/// What changes, for as long as somebody listens.
pub(super) async fn events(
    State(web): State<Arc<Web>>,
    Bearer { signed, token }: Bearer,
    headers: HeaderMap,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    let wanted = match query {
        Ok(Query(wanted)) => wanted,
        Err(error) => {
            let problem =
                Problem::usage("bad-query", error.body_text()).next("use `after` and `run`");
            return Told::from(problem).into_response();
        }
    };
    if let Err(problem) = signed.caller.needs(&[Right::Read]) {
        return Told::from(problem).into_response();
    }
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    listen(web, (signed, Held::Token(token)), last.or(wanted.after), wanted.run)
}
