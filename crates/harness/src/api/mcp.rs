//! `/mcp`: the tools of [`crate::app::tools`] over streamable HTTP. Who calls is whoever the bearer token stands for;
//! what a client says about itself is told to nobody.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::any,
};

use crate::{
    app::speak::{Here, Http, Speaker},
    web::{Bearer, Web},
};

/// Longest that a call is held over HTTP, in ms: an answer begins within a minute, or not at all.
const HOLD_MAX_MS: u64 = 50_000;

pub(super) fn router() -> Router<Arc<Web>> {
    Router::new().route("/mcp", any(answer))
}

async fn answer(State(web): State<Arc<Web>>, bearer: Bearer, request: Request) -> Response {
    let hold_ms = web.app.config().mcp.hold_ms.min(HOLD_MAX_MS);
    let here = Here { app: Arc::clone(&web.app), caller: bearer.signed.caller };
    let speaks: &Http = &web.speaks;
    let answer = speaks.answer(request, Arc::new(Speaker::new(here, hold_ms))).await;
    answer.map(Body::new)
}
