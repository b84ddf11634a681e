//! `/mcp`: the tools of [`crate::app::tools`] over streamable HTTP, and `/mcp/proxy`: those of the servers behind us. Who calls is
//! whoever the bearer token stands for; what a client says about itself is told to nobody.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::{any, get},
};

use crate::{
    app::{
        config::mcp::Face,
        speak::{Behalf, Here, Http, Speaker},
    },
    web::{Client, Told, Web},
};

/// Longest that a call is held over HTTP, in ms: an answer begins within a minute, or not at all.
const HOLD_MAX_MS: u64 = 50_000;

/// Where what the configuration says is served, and where the servers behind us always are.
const OWN: &str = "/mcp";
const PROXY: &str = "/mcp/proxy";

/// How what is served describes itself stands below this (RFC 9728); at the address itself stands what is served at `/mcp`.
const DESCRIBED: &str = "/.well-known/oauth-protected-resource";

pub(super) fn router() -> Router<Arc<Web>> {
    Router::new()
        .route(OWN, any(answer))
        .route(PROXY, any(pass_on))
        .route(DESCRIBED, get(describe_own))
        .route(&format!("{DESCRIBED}{OWN}"), get(describe_own))
        .route(&format!("{DESCRIBED}{PROXY}"), get(describe_proxy))
}

/// The header that names a session of MCP.
const SESSION: &str = "mcp-session-id";

async fn answer(State(web): State<Arc<Web>>, client: Client, request: Request) -> Response {
    let behalf = Behalf::of(web.app.config().mcp.face);
    speak(web, (client, OWN), request, behalf).await
}

async fn pass_on(State(web): State<Arc<Web>>, client: Client, request: Request) -> Response {
    speak(web, (client, PROXY), request, Behalf::of(Face::Proxy)).await
}

async fn describe_own(State(web): State<Arc<Web>>, client: Client) -> Response {
    describe(&web, client, OWN)
}

async fn describe_proxy(State(web): State<Arc<Web>>, client: Client) -> Response {
    describe(&web, client, PROXY)
}

fn describe(web: &Web, Client(address): Client, path: &str) -> Response {
    if let Err(told) = web.count_sign_in(address) {
        return told.into_response();
    }
    match web.app.described(path) {
        Ok(described) => Json(described).into_response(),
        Err(problem) => Told::from(problem).into_response(),
    }
}

async fn speak(
    web: Arc<Web>,
    (client, path): (Client, &str),
    request: Request,
    behalf: Behalf,
) -> Response {
    let signed = match web.admit(request.headers(), client, path).await {
        Ok(signed) => signed,
        Err(refused) => return *refused,
    };
    let hold_ms = web.app.config().mcp.hold_ms.min(HOLD_MAX_MS);
    let here = Here { app: Arc::clone(&web.app), caller: signed.caller };
    let speaks: &Http = match &behalf {
        Behalf::Own => &web.speaks,
        Behalf::Proxy { .. } => &web.passes_on,
    };
    let whose = format!("{} for {}", here.caller.principal().id, here.caller.acts_for().id);
    let session = request.headers().get(SESSION).and_then(|id| id.to_str().ok());
    let behalf = behalf.in_session(session.unwrap_or_default());
    let speaker = Arc::new(Speaker::new(here, hold_ms).on_behalf(behalf));
    let answer = speaks.answer(request, (speaker, &whose)).await;
    answer.map(Body::new)
}
