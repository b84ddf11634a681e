//! `/a2a`: intents and agents as one agent of the Agent2Agent protocol, and its card. Who asks is whoever the bearer token
//! stands for; what a message says about its sender is told to nobody.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::{any, get},
};

use crate::{
    app::peers::{self, Answer, Http, Peer},
    web::{BODY_BYTES_MAX, Bearer, Client, Told, Web, read_body, relay},
};

/// The address of the agent, below that of the server.
const AT: &str = "/a2a";

pub(super) fn router() -> Router<Arc<Web>> {
    Router::new()
        .route(peers::CARD_PATH, get(card))
        .route(AT, any(answer))
        .route("/a2a/{*rest}", any(answer))
}

/// What everybody may know: that there is an agent, how it is spoken to, and that it wants a token.
async fn card(State(web): State<Arc<Web>>, Client(address): Client) -> Result<Response, Told> {
    web.count_sign_in(address)?;
    Ok(Http::public_card(&peers::about(&web.app, AT)).map(Body::from))
}

async fn answer(
    State(web): State<Arc<Web>>,
    bearer: Bearer,
    request: Request,
) -> Result<Response, Told> {
    let (parts, body) = request.into_parts();
    let body = read_body(&parts.headers, body, BODY_BYTES_MAX).await?;
    let asked = peers::Request {
        path: parts.uri.path().strip_prefix(AT).unwrap_or_default().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        method: parts.method,
        headers: parts.headers,
        body,
    };
    let about = peers::about(&web.app, AT);
    let peer = Peer::new(Arc::clone(&web.app), bearer.signed.caller.clone());
    match web.agent.answer(asked, &about, Arc::new(peer)).await {
        Answer::Whole(response) => Ok(response.map(Body::from)),
        Answer::Events(events) => Ok(relay(web, bearer, events).into_response()),
    }
}
