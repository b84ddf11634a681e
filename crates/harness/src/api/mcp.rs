//! `/mcp`: the tools of [`crate::app::tools`] over streamable HTTP, and `/mcp/proxy`: those of the servers behind us. Who calls is whoever the bearer token stands for;
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
    app::{
        config::mcp::Face,
        speak::{Behalf, Here, Http, Speaker},
    },
    web::{Bearer, Web},
};

/// Longest that a call is held over HTTP, in ms: an answer begins within a minute, or not at all.
const HOLD_MAX_MS: u64 = 50_000;

pub(super) fn router() -> Router<Arc<Web>> {
    Router::new().route("/mcp", any(answer)).route("/mcp/proxy", any(pass_on))
}

/// The header that names a session of MCP.
const SESSION: &str = "mcp-session-id";

async fn answer(State(web): State<Arc<Web>>, bearer: Bearer, request: Request) -> Response {
    let behalf = Behalf::of(web.app.config().mcp.face);
    speak(web, bearer, request, behalf).await
}

async fn pass_on(State(web): State<Arc<Web>>, bearer: Bearer, request: Request) -> Response {
    speak(web, bearer, request, Behalf::of(Face::Proxy)).await
}

async fn speak(web: Arc<Web>, bearer: Bearer, request: Request, behalf: Behalf) -> Response {
    let hold_ms = web.app.config().mcp.hold_ms.min(HOLD_MAX_MS);
    let here = Here { app: Arc::clone(&web.app), caller: bearer.signed.caller };
    let speaks: &Http = match &behalf {
        Behalf::Own => &web.speaks,
        Behalf::Proxy { .. } => &web.passes_on,
    };
    let whose = here.caller.principal().id.to_string();
    let session = request.headers().get(SESSION).and_then(|id| id.to_str().ok());
    let behalf = behalf.in_session(session.unwrap_or_default());
    let speaker = Arc::new(Speaker::new(here, hold_ms).on_behalf(behalf));
    let answer = speaks.answer(request, (speaker, &whose)).await;
    answer.map(Body::new)
}
