//! The HTTP API: `/v1`. A route parses, calls one operation of `app`, and tells its answer; the whole of it
//! is the table in [`routes`], from which the OpenAPI document is made as well.

mod a2a;
mod events;
mod input;
mod mcp;
mod openapi;
mod remote;
mod replies;
mod routes;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::{MethodFilter, get, on},
};

pub(crate) use openapi::document as openapi;
pub(crate) use remote::Remote;

use crate::{
    app::problem::{Kind, Problem},
    web::{Told, Web},
};
use routes::{ROUTES, Verb};

/// Every route of the API, to be served beside the UI.
pub(crate) fn router() -> Router<Arc<Web>> {
    let mut router = Router::new()
        .route("/v1/events", get(events::events))
        .route("/v1/openapi.json", get(|| async { Json(openapi()) }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(crate::web::metrics))
        .merge(mcp::router())
        .merge(a2a::router());
    for route in ROUTES {
        let filter = match route.verb {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
            Verb::Delete => MethodFilter::DELETE,
        };
        let handle = move |web, signed, request| input::answer(route, web, signed, request);
        router = router.route(route.path, on(filter, handle));
    }
    router
}

/// Whether work is taken: not while the process ends.
async fn ready(State(web): State<Arc<Web>>) -> Response {
    let ends = *web.ends.borrow();
    match (ends, web.app.check_readable().await) {
        (false, Ok(())) => "ready\n".into_response(),
        (true, _) => {
            Told::from(Problem::new(Kind::TryAgain, "shutting-down", "the process is about to end"))
                .into_response()
        }
        (_, Err(problem)) => Told::from(problem).into_response(),
    }
}
