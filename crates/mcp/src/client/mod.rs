//! The side that asks: one connection to one server, over the pipes of a program or over streamable HTTP.
//!
//! What a server says is bounded in every direction, and what it asks of us is refused: it gets no model and no roots, and
//! no answers of people unless somebody was named who gives them. Nothing is asked twice: a call whose answer is lost is
//! the caller's to judge.

mod deaf;
mod error;
mod http;
mod listening;
pub mod oauth;
mod said;
pub mod suspect;

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use rmcp::{
    Peer,
    model::{
        CallToolRequest, CallToolRequestParams, CancelledNotificationParam, ClientRequest,
        CompleteRequestParams, GetPromptRequest, GetPromptRequestParams, InputRequiredResult,
        InputResponses, PaginatedRequestParams, ProgressToken, ProtocolVersion,
        ReadResourceRequest, ReadResourceRequestParams, RequestId, RequestMetaObject, ServerResult,
        SubscribeRequestParams,
    },
    service::{
        ClientCacheConfig, ClientLifecycleMode, ClientServiceExt as _, PeerRequestOptions,
        RoleClient, RunningService, ServiceError,
    },
    transport::{IntoTransport, async_rw::AsyncRwTransport},
};
use serde_json::{Map, Value};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::Handle,
};

pub use deaf::{Able, Answer, Answering, Answers, Asked, List, Listener, Person, Question, Said};
use deaf::{Behind, Deaf};
pub use error::{Error, Refusal};
pub use http::{CONNECT_WITHIN, Http};
use listening::Listening;
pub use said::{CallResult, Prompt, PromptResult, ReadResult, Resource, ServerIs, Template, Tool};

/// How often a server may ask for something in the middle of one call.
const ROUNDS_MAX: usize = 5;

/// How long it is waited before a call is repeated of which the server only wants that.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

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

/// What a call is repeated with: what the server wanted, and what it said to give back.
type Given = (Option<InputResponses>, Option<String>);

/// One round of a call.
type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<Round<T>, ServiceError>> + Send + 'a>>;

/// What a server says to a call.
enum Round<T> {
    /// Its result.
    Over(T),
    /// What it wants first.
    Wants(InputRequiredResult),
}

/// A request that is waited for: it is cancelled with whoever waits.
struct Waits<'a> {
    peer: Option<Peer<RoleClient>>,
    id: RequestId,
    deaf: &'a Deaf,
    token: ProgressToken,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.deaf.follow(&self.token, None);
        let (Some(peer), Ok(runtime)) = (self.peer.take(), Handle::try_current()) else { return };
        let cancelled = CancelledNotificationParam::new(Some(self.id.clone()), None);
        runtime.spawn(async move {
            // Whoever is gone needs no cancelling.
            let _gone = peer.notify_cancelled(cancelled).await;
        });
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
    /// What a server without sessions tells by itself, where anybody hears it.
    listening: Option<Listening>,
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
        Self::over_pipes_for(from, to, setup, None).await
    }

    /// As [`Self::over_pipes`], with whoever calls are passed on for.
    ///
    /// # Errors
    /// As [`Self::over_pipes`].
    pub async fn over_pipes_for<R, W>(
        from: R,
        to: W,
        setup: Setup,
        listener: Option<Arc<dyn Listener>>,
    ) -> Result<Self, Error>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let pipes = AsyncRwTransport::<RoleClient, R, W>::new_client(from, to);
        let pipes = pipes.with_max_line_length(setup.limits.message_bytes);
        Self::connect(pipes, setup, Behind::of(listener)).await
    }

    /// Connects over streamable HTTP. No redirect is followed, and no proxy of the environment is used.
    ///
    /// # Errors
    /// An address or header that cannot be used, no answer in time, or none that this protocol knows.
    pub async fn over_http(to: &Http, setup: Setup) -> Result<Self, Error> {
        Self::over_http_for(to, setup, None).await
    }

    /// As [`Self::over_http`], with whoever calls are passed on for.
    ///
    /// # Errors
    /// As [`Self::over_http`].
    pub async fn over_http_for(
        to: &Http,
        setup: Setup,
        listener: Option<Arc<dyn Listener>>,
    ) -> Result<Self, Error> {
        Self::connect(http::transport(to, &setup.limits)?, setup, Behind::of(listener)).await
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
        Self::connect(http::transport(to, &setup.limits)?, setup, Behind::Person(person)).await
    }

    async fn connect<T, E, A>(transport: T, setup: Setup, behind: Behind) -> Result<Self, Error>
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let heard = match &behind {
            Behind::Listener(listener) => Some(Arc::clone(listener)),
            Behind::Nobody | Behind::Person(_) => None,
        };
        let serving =
            Deaf::but(behind).serve_with_lifecycle(transport, setup.generation.lifecycle());
        let served = tokio::time::timeout(setup.within, serving).await;
        let service = served.map_err(|_| Error::Late(setup.within))?.map_err(Error::of_start)?;
        // A list is asked for anew each time: what it was a moment ago says nothing about now.
        service.set_response_cache_config(ClientCacheConfig::disabled()).await;
        let mut client = Self { service, limits: setup.limits, listening: None };
        if let Some(listener) = heard.filter(|_| !client.has_session())
            && let Some(info) = client.service.peer_info()
        {
            let peer = client.service.peer().clone();
            client.listening = Listening::begin(peer, &info.capabilities, listener).await;
        }
        Ok(client)
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
        self.call_for(tool, args, None).await
    }

    /// As [`Self::call`], for somebody.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_for<'a>(
        &'a self,
        tool: &str,
        args: Map<String, Value>,
        via: Option<&'a Arc<dyn Listener>>,
    ) -> Result<CallResult, Error> {
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(args);
        let asked = |given: Given| -> Asking<'a, _> {
            let mut params = params.clone();
            (params.input_responses, params.request_state) = given;
            Box::pin(async move {
                match self
                    .sent(ClientRequest::CallToolRequest(CallToolRequest::new(params)), via)
                    .await?
                {
                    ServerResult::CallToolResult(result) => Ok(Round::Over(result)),
                    ServerResult::InputRequiredResult(wants) => Ok(Round::Wants(wants)),
                    _ => Err(ServiceError::UnexpectedResponse),
                }
            })
        };
        self.rounds(asked, via).await.map(|result| CallResult::of(result, self.told()))
    }

    /// What a resource holds.
    ///
    /// # Errors
    /// No answer, or one that is none.
    pub async fn read(&self, uri: &str) -> Result<ReadResult, Error> {
        self.read_for(uri, None).await
    }

    /// As [`Self::read`], for somebody.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_for<'a>(
        &'a self,
        uri: &str,
        via: Option<&'a Arc<dyn Listener>>,
    ) -> Result<ReadResult, Error> {
        let params = ReadResourceRequestParams::new(uri);
        let asked = |given: Given| -> Asking<'a, _> {
            let mut params = params.clone();
            (params.input_responses, params.request_state) = given;
            Box::pin(async move {
                match self
                    .sent(ClientRequest::ReadResourceRequest(ReadResourceRequest::new(params)), via)
                    .await?
                {
                    ServerResult::ReadResourceResult(result) => Ok(Round::Over(result)),
                    ServerResult::InputRequiredResult(wants) => Ok(Round::Wants(wants)),
                    _ => Err(ServiceError::UnexpectedResponse),
                }
            })
        };
        ReadResult::of(self.rounds(asked, via).await?)
    }

    /// Sends one request. A server without sessions is told what whoever it is made for can be asked, and whether anybody
    /// hears its log; dropping this cancels the request there.
    async fn sent(
        &self,
        request: ClientRequest,
        via: Option<&Arc<dyn Listener>>,
    ) -> Result<ServerResult, ServiceError> {
        let mut options = PeerRequestOptions::no_options();
        if let Some(via) = via.filter(|_| !self.has_session()) {
            let mut meta = RequestMetaObject::default();
            meta.set_client_capabilities(deaf::capabilities(via.able()));
            if via.hears() {
                meta.0.insert("io.modelcontextprotocol/logLevel".to_owned(), Value::from("debug"));
            }
            options = options.with_meta(meta);
        }
        let peer = self.service.peer();
        let handle = peer.send_cancellable_request(request, options).await?;
        let deaf = self.service.service();
        deaf.follow(&handle.progress_token, via);
        let (id, token) = (handle.id.clone(), handle.progress_token.clone());
        let mut waits = Waits { peer: Some(peer.clone()), id, deaf, token };
        let result = handle.await_response().await;
        waits.peer = None;
        result
    }

    /// Whether the generation with sessions is spoken: a question of such a server names no call.
    #[must_use]
    pub fn has_session(&self) -> bool {
        let version = self.service.peer_info().map(|info| info.protocol_version.clone());
        version.is_none_or(|version| version.has_initialize())
    }

    /// Asks until there is an answer. A server without sessions is asked again with what it wanted in between.
    async fn rounds<'a, T>(
        &'a self,
        ask: impl Fn(Given) -> Asking<'a, T>,
        via: Option<&Arc<dyn Listener>>,
    ) -> Result<T, Error> {
        let mut given = (None, None);
        for _ in 0..ROUNDS_MAX {
            match ask(given).await.map_err(Error::of)? {
                Round::Over(result) => return Ok(result),
                Round::Wants(wants) => given = self.given(wants, via).await?,
            }
        }
        Err(Error::Insists)
    }

    /// What a server wants before it answers, and what it gave to be given back.
    async fn given(
        &self,
        wants: InputRequiredResult,
        via: Option<&Arc<dyn Listener>>,
    ) -> Result<Given, Error> {
        let (requests, state) = (wants.input_requests.unwrap_or_default(), wants.request_state);
        if requests.is_empty() {
            if state.is_none() {
                return Err(Error::NoAnswer(
                    "it wants something, and does not say what".to_owned(),
                ));
            }
            tokio::time::sleep(AGAIN_AFTER).await;
            return Ok((None, state));
        }
        let asked = requests.into_iter().map(|(key, request)| {
            let mut request = said::plain(&request)?;
            let method =
                request.get("method").and_then(Value::as_str).unwrap_or_default().to_owned();
            let params = request.get_mut("params").map(Value::take).unwrap_or_default();
            Ok(Asked { key, method, params })
        });
        let asked = asked.collect::<Result<Vec<_>, Error>>()?;
        let answers = self.service.service().answer(asked, via).await;
        let answers = answers.map_err(|error| Error::of(ServiceError::McpError(error)))?;
        Ok((Some(answers), state))
    }

    /// Wants to hear when what stands at this address is another: [`Said::Updated`] says so from then on.
    ///
    /// # Errors
    /// A server that tells of no changes, or does not agree to tell of this one; no answer, or one that is none.
    pub async fn subscribe(&self, uri: &str) -> Result<(), Error> {
        if !self.has_session() {
            let silent = || Error::Unusable("it tells of no changes by itself".to_owned());
            return self.listening.as_ref().ok_or_else(silent)?.want(uri).await;
        }
        #[expect(deprecated, reason = "the older generation subscribes by this")]
        let subscribed = self.service.subscribe(SubscribeRequestParams::new(uri)).await;
        subscribed.map_err(Error::of)
    }

    /// How an argument of a prompt, or a place of a template, may go on: parameters and result as the protocol has them.
    ///
    /// # Errors
    /// Parameters that are none; no answer, or one that is none.
    pub async fn complete(&self, params: Value) -> Result<Value, Error> {
        let params: CompleteRequestParams = serde_json::from_value(params)
            .map_err(|error| Error::Unusable(format!("this completes nothing: {error}")))?;
        let mut found = self.service.complete(params).await.map_err(Error::of)?;
        found.result_type = None;
        said::plain(&found)
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
        self.prompt_for(name, args, None).await
    }

    /// As [`Self::prompt`], for somebody.
    ///
    /// # Errors
    /// As [`Self::prompt`].
    pub async fn prompt_for<'a>(
        &'a self,
        name: &str,
        args: Map<String, Value>,
        via: Option<&'a Arc<dyn Listener>>,
    ) -> Result<PromptResult, Error> {
        let params = GetPromptRequestParams::new(name).with_arguments(args);
        let asked = |given: Given| -> Asking<'a, _> {
            let mut params = params.clone();
            (params.input_responses, params.request_state) = given;
            Box::pin(async move {
                match self
                    .sent(ClientRequest::GetPromptRequest(GetPromptRequest::new(params)), via)
                    .await?
                {
                    ServerResult::GetPromptResult(result) => Ok(Round::Over(result)),
                    ServerResult::InputRequiredResult(wants) => Ok(Round::Wants(wants)),
                    _ => Err(ServiceError::UnexpectedResponse),
                }
            })
        };
        PromptResult::of(self.rounds(asked, via).await?)
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
