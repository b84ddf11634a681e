//! A server over streamable HTTP, without sessions: a request says everything that is needed to answer it, and nothing
//! of one caller is kept under an id that another could learn.

use std::{convert::Infallible, fmt, sync::Arc};

use ::http::{Request, Response};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
};

use super::{
    About, BODY_BYTES_MAX, Desk,
    wall::{At, Wall},
};

/// The body of an answer: one document, or events.
pub type Body = BoxBody<Bytes, Infallible>;

/// Answers requests.
pub struct Http(StreamableHttpService<Wall, NeverSessionManager>);

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

impl Http {
    /// For a server that goes by these names, with or without a port. A request for another name, or from the page of
    /// another origin, is refused: a browser that was led here by a name of somebody else's must reach nothing.
    #[must_use]
    pub fn new(about: About, hosts: &[String]) -> Self {
        let origins =
            hosts.iter().flat_map(|host| [format!("http://{host}:*"), format!("https://{host}:*")]);
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_allowed_hosts(hosts.iter().cloned())
            .with_allowed_origins(origins)
            .enforce_origin_validation()
            .with_max_request_body_bytes(BODY_BYTES_MAX);
        let wall = Wall::open(about);
        Self(StreamableHttpService::new(move || Ok(wall.clone()), Arc::default(), config))
    }

    /// Answers a request of whoever's desk this is.
    pub async fn answer<B>(&self, mut request: Request<B>, desk: Arc<dyn Desk>) -> Response<Body>
    where
        B: http_body::Body + Send + 'static,
        B::Error: fmt::Display,
    {
        request.extensions_mut().insert(At(desk));
        self.0.handle(request).await
    }
}
