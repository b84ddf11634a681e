//! `POST /hooks/slack`: what somebody pressed in a Slack channel. Slack signs it; there is no token.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};

use super::{Client, Told, Web, Whole};
use crate::app::notify::{Signed, shown};

pub(crate) fn router() -> Router<Arc<Web>> {
    Router::new().route("/hooks/slack", post(slack))
}

async fn slack(
    State(web): State<Arc<Web>>,
    Client(address): Client,
    headers: HeaderMap,
    Whole(body): Whole,
) -> Response {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let (seconds, signature) = (text("x-slack-request-timestamp"), text("x-slack-signature"));
    match web.app.answer_slack(Signed { seconds, signature }, &body).await {
        Ok(told) if told.is_empty() => StatusCode::OK.into_response(),
        Ok(told) => Json(shown(&told)).into_response(),
        Err(problem) => match web.count_sign_in(address) {
            Ok(()) => Told::from(problem).into_response(),
            Err(told) => told.into_response(),
        },
    }
}
