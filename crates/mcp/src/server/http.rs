//! A server over streamable HTTP. A request says everything that is needed to answer it, and nothing of one caller is kept
//! under an id that another could learn; but where calls are passed on to other servers, which may ask the client
//! something in the middle of one, clients of the older generation get sessions, each its caller's alone.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService,
    session::{local::LocalSessionManager, never::NeverSessionManager},
};
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::{
    About, BODY_BYTES_MAX, Desk, Has,
    wall::{At, SESSION, Wall},
};

/// Most sessions at a time; one that nobody uses ends after minutes.
const SESSIONS_MAX: usize = 1_000;

/// The body of an answer: one document, or events.
pub type Body = BoxBody<Bytes, Infallible>;

/// Answers requests.
pub struct Http(Serving);

/// What is known of arguments that requests repeat in their headers (`x-mcp-header` in the schema of a tool): a header that
/// says something else than the argument is refused, because whoever stands in front may have gone by it.
#[derive(Clone)]
pub struct Routed(Arc<Known>);

type Schema = Arc<Map<String, Value>>;

type Known = dyn Fn(&str) -> Option<Schema> + Send + Sync;

impl Routed {
    /// By what gives the schema of a tool's arguments, where some of them are repeated.
    pub fn by(schema: impl Fn(&str) -> Option<Schema> + Send + Sync + 'static) -> Self {
        Self(Arc::new(schema))
    }

    pub(super) fn schema(&self, tool: &str) -> Option<Schema> {
        (self.0)(tool)
    }
}

impl fmt::Debug for Routed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routed").finish_non_exhaustive()
    }
}

enum Serving {
    Alone(StreamableHttpService<Wall, NeverSessionManager>),
    Sessions(Sessions),
}

struct Sessions {
    service: StreamableHttpService<Wall, LocalSessionManager>,
    manager: Arc<LocalSessionManager>,
    /// Whose each session is.
    owners: Mutex<BTreeMap<String, String>>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

impl Http {
    /// For a server that goes by these names, with or without a port. A request for another name, or from the page of
    /// another origin, is refused: a browser that was led here by a name of somebody else's must reach nothing. Who listens
    /// is told that it is over once `ends` says so.
    #[must_use]
    pub fn new(
        about: About,
        hosts: &[String],
        (routed, ends): (Routed, watch::Receiver<bool>),
    ) -> Self {
        let origins =
            hosts.iter().flat_map(|host| [format!("http://{host}:*"), format!("https://{host}:*")]);
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(about.has == Has::Everything)
            .with_allowed_hosts(hosts.iter().cloned())
            .with_allowed_origins(origins)
            .enforce_origin_validation()
            .with_max_request_body_bytes(BODY_BYTES_MAX);
        let has = about.has;
        let wall = Wall::open(about).over_http(routed, ends);
        Self(match has {
            Has::Tools => Serving::Alone(StreamableHttpService::new(
                move || Ok(wall.clone()),
                Arc::default(),
                config,
            )),
            Has::Everything => {
                let manager = Arc::<LocalSessionManager>::default();
                let service =
                    StreamableHttpService::new(move || Ok(wall.afresh()), manager.clone(), config);
                Serving::Sessions(Sessions { service, manager, owners: Mutex::default() })
            }
        })
    }

    /// Answers a request of whoever's desk this is; `whose` names the caller, whose sessions are nobody else's.
    pub async fn answer<B>(
        &self,
        mut request: Request<B>,
        (desk, whose): (Arc<dyn Desk>, &str),
    ) -> Response<Body>
    where
        B: http_body::Body + Send + 'static,
        B::Error: fmt::Display,
    {
        request.extensions_mut().insert(At(desk));
        match &self.0 {
            Serving::Alone(service) => service.handle(request).await,
            Serving::Sessions(sessions) => sessions.answer(request, whose).await,
        }
    }
}

impl Sessions {
    async fn answer<B>(&self, request: Request<B>, whose: &str) -> Response<Body>
    where
        B: http_body::Body + Send + 'static,
        B::Error: fmt::Display,
    {
        let named = request.headers().get(SESSION).and_then(|id| id.to_str().ok());
        if let Some(id) = named {
            // Another's session is none: that there is one is nobody's business.
            if self.owners().get(id).is_none_or(|owner| owner != whose) {
                return plain(StatusCode::NOT_FOUND, "there is no such session of yours");
            }
            return self.service.handle(request).await;
        }
        if !self.has_room().await {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "too many sessions; try again later");
        }
        let response = self.service.handle(request).await;
        let begun = response.headers().get(SESSION).and_then(|id| id.to_str().ok());
        if let Some(id) = begun {
            self.owners().insert(id.to_owned(), whose.to_owned());
        }
        response
    }

    /// Whether another session may begin. Those that are over are forgotten.
    async fn has_room(&self) -> bool {
        if self.owners().len() < SESSIONS_MAX {
            return true;
        }
        let live: Vec<String> =
            self.manager.sessions.read().await.keys().map(ToString::to_string).collect();
        let mut owners = self.owners();
        owners.retain(|id, _| live.iter().any(|one| one == id));
        owners.len() < SESSIONS_MAX
    }

    fn owners(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())).boxed());
    *response.status_mut() = status;
    response
}
