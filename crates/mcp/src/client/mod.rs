//! The side that asks: one connection to one server, over the pipes of a program or over streamable HTTP.
//!
//! What a server says is bounded in every direction, and what it asks of us is refused: it gets no model and no roots, and
//! no answers of people unless somebody was named who gives them. Nothing is asked twice: a call whose answer is lost is
//! the caller's to judge.

mod deaf;
mod error;
mod http;
pub mod oauth;
mod said;
pub mod suspect;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use rmcp::{
    Peer,
    model::{
        CallToolRequestParams, GetPromptRequestParams, PaginatedRequestParams, ProtocolVersion,
        ReadResourceRequestParams,
    },
    service::{
        ClientCacheConfig, ClientLifecycleMode, ClientServiceExt as _, RoleClient, RunningService,
        ServiceError,
    },
    transport::{IntoTransport, async_rw::AsyncRwTransport},
};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncWrite};

use deaf::Deaf;
pub use deaf::{Answer, Answering, Person, Question};
pub use error::{Error, Refusal};
pub use http::{CONNECT_WITHIN, Http};
pub use said::{CallResult, Prompt, PromptResult, Resource, ServerIs, Template, Tool};

/// How often a server may ask for something in the middle of one call.
const ROUNDS_MAX: usize = 3;

/// How much a server may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message: a line of a program, a body or an event over HTTP.
    pub message_bytes: usize,
    /// Tools, resources, templates or prompts in one list.
    pub items: usize,
    /// Pages of one list.
    pub pages: usize,
    /// Bytes of one list, all pages together.
    pub list_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message_bytes: 8 << 20, items: 1_000, pages: 100, list_bytes: 8 << 20 }
    }
}

/// Which generation of the protocol is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Generation {
    /// The stateless one where the server knows it, else the one with sessions.
    #[default]
    Either,
    /// 2025-11-25 and before: a handshake, then a session.
    Sessions,
    /// 2026-07-28: every request stands by itself.
    Stateless,
}

impl Generation {
    fn lifecycle(self) -> ClientLifecycleMode {
        let preferred_versions = vec![ProtocolVersion::LATEST];
        match self {
            Self::Either => ClientLifecycleMode::Auto {
                preferred_versions,
                legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
            },
            Self::Sessions => ClientLifecycleMode::Initialize,
            Self::Stateless => ClientLifecycleMode::Discover { preferred_versions },
        }
    }
}

/// How a connection is to be.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// How much the server may say.
    pub limits: Limits,
    /// Which generation of the protocol is spoken.
    pub generation: Generation,
    /// How long the first exchange may take.
    pub within: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        let within = Duration::from_secs(30);
        Self { limits: Limits::default(), generation: Generation::default(), within }
    }
}

/// A connection to a server. Dropping it ends the connection; a call that is dropped is cancelled at the server.
pub struct Client {
    service: RunningService<RoleClient, Deaf>,
    limits: Limits,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects over what a program reads and writes, one message a line.
    ///
    /// # Errors
    /// No answer in time, or none that this protocol knows.
    pub async fn over_pipes<R, W>(from: R, to: W, setup: Setup) -> Result<Self, Error>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let pipes = AsyncRwTransport::<RoleClient, R, W>::new_client(from, to);
        let pipes = pipes.with_max_line_length(setup.limits.message_bytes);
        Self::connect(pipes, setup, None).await
    }

    /// Connects over streamable HTTP. No redirect is followed, and no proxy of the environment is used.
    ///
    /// # Errors
    /// An address or header that cannot be used, no answer in time, or none that this protocol knows.
    pub async fn over_http(to: &Http, setup: Setup) -> Result<Self, Error> {
        Self::connect(http::transport(to, &setup.limits)?, setup, None).await
    }

    /// As [`Self::over_http`], with somebody who answers what the server asks of a person.
    ///
    /// # Errors
    /// As [`Self::over_http`].
    pub async fn over_http_with(
        to: &Http,
        setup: Setup,
        person: Arc<dyn Person>,
    ) -> Result<Self, Error> {
        Self::connect(http::transport(to, &setup.limits)?, setup, Some(person)).await
    }

    async fn connect<T, E, A>(
        transport: T,
        setup: Setup,
        person: Option<Arc<dyn Person>>,
    ) -> Result<Self, Error>
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let serving =
            Deaf::but(person).serve_with_lifecycle(transport, setup.generation.lifecycle());
        let served = tokio::time::timeout(setup.within, serving).await;
        let service = served.map_err(|_| Error::Late(setup.within))?.map_err(Error::of_start)?;
        // A list is asked for anew each time: what it was a moment ago says nothing about now.
        service.set_response_cache_config(ClientCacheConfig::disabled()).await;
        Ok(Self { service, limits: setup.limits })
    }

    /// Who answers, in its own words: nothing to rely on.
    #[must_use]
    pub fn server(&self) -> ServerIs {
        self.service.peer_info().map(|info| ServerIs::of(&info)).unwrap_or_default()
    }

    /// Whether the connection is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.service.is_closed() || self.service.is_transport_closed()
    }

    /// Ends the connection, and a session with it.
    pub async fn close(mut self, within: Duration) {
        // Whoever ends it has no use for why that went wrong; dropping ends it, too.
        let _ended = self.service.close_with_timeout(within).await;
    }

    /// Every tool there is now.
    ///
    /// # Errors
    /// No sound list, or one that is too long.
    pub async fn tools(&self) -> Result<Vec<Tool>, Error> {
        self.pages("tools", |peer, params| async move {
            let page = peer.list_tools(params).await?;
            Ok((page.tools.into_iter().map(Tool::of).collect(), page.next_cursor))
        })
        .await
    }

    /// Every resource there is now.
    ///
    /// # Errors
    /// No sound list, or one that is too long.
    pub async fn resources(&self) -> Result<Vec<Resource>, Error> {
        self.pages("resources", |peer, params| async move {
            let page = peer.list_resources(params).await?;
            Ok((page.resources.into_iter().map(Resource::of).collect(), page.next_cursor))
        })
        .await
    }

    /// Every template of resources there is now.
    ///
    /// # Errors
    /// No sound list, or one that is too long.
    pub async fn templates(&self) -> Result<Vec<Template>, Error> {
        self.pages("resource templates", |peer, params| async move {
            let page = peer.list_resource_templates(params).await?;
            let templates = page.resource_templates.into_iter().map(Template::of);
            Ok((templates.collect(), page.next_cursor))
        })
        .await
    }

    /// Every prompt there is now.
    ///
    /// # Errors
    /// No sound list, or one that is too long.
    pub async fn prompts(&self) -> Result<Vec<Prompt>, Error> {
        self.pages("prompts", |peer, params| async move {
            let page = peer.list_prompts(params).await?;
            Ok((page.prompts.into_iter().map(Prompt::of).collect(), page.next_cursor))
        })
        .await
    }

    /// Calls a tool, once.
    ///
    /// # Errors
    /// No answer, or one that is none; [`Self::told`] says what it asked of us before. What the tool says about its own
    /// failure is a result.
    pub async fn call(&self, tool: &str, args: Map<String, Value>) -> Result<CallResult, Error> {
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(args);
        let called = self.service.call_tool_with_mrtr_max_rounds(params, ROUNDS_MAX).await;
        called.map(|result| CallResult::of(result, self.told())).map_err(Error::of)
    }

    /// What a resource holds, block by block.
    ///
    /// # Errors
    /// No answer, or one that is none.
    pub async fn read(&self, uri: &str) -> Result<Vec<Value>, Error> {
        let params = ReadResourceRequestParams::new(uri);
        let read = self.service.read_resource_with_mrtr_max_rounds(params, ROUNDS_MAX).await;
        let read = read.map_err(Error::of)?;
        read.contents.iter().map(said::plain).collect()
    }

    /// A prompt with its places filled in.
    ///
    /// # Errors
    /// No answer, or one that is none.
    pub async fn prompt(
        &self,
        name: &str,
        args: Map<String, Value>,
    ) -> Result<PromptResult, Error> {
        let params = GetPromptRequestParams::new(name).with_arguments(args);
        let got = self.service.get_prompt_with_mrtr_max_rounds(params, ROUNDS_MAX).await;
        PromptResult::of(got.map_err(Error::of)?)
    }

    /// What the server asked of us since it was asked for last, and was refused.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        self.service.service().told()
    }

    /// One list, to its last page.
    async fn pages<T, F, G>(&self, what: &'static str, page: F) -> Result<Vec<T>, Error>
    where
        T: said::Measured,
        F: Fn(Peer<RoleClient>, Option<PaginatedRequestParams>) -> G,
        G: Future<Output = Result<(Vec<T>, Option<String>), ServiceError>>,
    {
        let (mut all, mut bytes) = (Vec::new(), 0_usize);
        let mut cursor: Option<String> = None;
        for _ in 0..self.limits.pages {
            let params = PaginatedRequestParams::default().with_cursor(cursor.clone());
            let (items, next) =
                page(self.service.peer().clone(), Some(params)).await.map_err(Error::of)?;
            bytes = items.iter().fold(bytes, |sum, one| sum.saturating_add(one.size()));
            all.extend(items);
            if all.len() > self.limits.items {
                return Err(Error::TooMany { what, most: self.limits.items, of: "entries" });
            }
            if bytes > self.limits.list_bytes {
                return Err(Error::TooMany { what, most: self.limits.list_bytes, of: "bytes" });
            }
            match next {
                None => return Ok(all),
                // It would never come to an end.
                Some(same) if cursor.as_deref() == Some(&same) => {
                    return Err(Error::Circle { what });
                }
                next => cursor = next,
            }
        }
        Err(Error::TooMany { what, most: self.limits.pages, of: "pages" })
    }
}
