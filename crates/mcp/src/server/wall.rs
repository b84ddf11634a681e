//! Between the protocol's library and a desk.

#![expect(deprecated, reason = "the older generation is told of logs and of changes")]

use std::sync::{Arc, PoisonError};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CancelTaskParams,
        CompleteRequestMethod, CompleteRequestParams, CompleteResult, ConstString, Extensions,
        GetPromptRequestMethod, GetPromptRequestParams, GetPromptResponse, GetPromptResult,
        GetTaskParams, GetTaskResult, Implementation, InitializeRequestParams, InitializeResult,
        InputRequiredResult, ListPromptsRequestMethod, ListPromptsResult,
        ListResourceTemplatesRequestMethod, ListResourceTemplatesResult,
        ListResourcesRequestMethod, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
        ProtocolVersion, ReadResourceRequestMethod, ReadResourceRequestParams,
        ReadResourceResponse, ReadResourceResult, ResultType, ServerCapabilities, ServerConfig,
        SetLevelRequestMethod, SetLevelRequestParams, SubscribeRequestMethod,
        SubscribeRequestParams, SubscriptionFilter, UnsubscribeRequestMethod,
        UnsubscribeRequestParams, UpdateTaskParams,
    },
    service::{NotificationContext, RequestContext, SubscriptionContext},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    About, Answer, Asks, CALLS_MAX, Call, Desk, Fetch, Has, Keeps, LISTENERS_MAX, PAGE_TOOLS,
    PASSED_BYTES_MAX, Sort, TOOLS_MAX,
    http::Routed,
    kept,
    line::{Level, Line, Reach},
    watch::{self, WATCHED_MAX, Watch},
    words::{answered, asked, described, opened, refused, with_ours},
};

/// At whose desk a request is, as whoever answers HTTP says it.
#[derive(Clone, Debug)]
pub(super) struct At(pub(super) Arc<dyn Desk>);

/// Speaks the protocol for a desk.
#[derive(Clone, Debug)]
pub(super) struct Wall {
    about: Arc<About>,
    desk: Option<Arc<dyn Desk>>,
    slots: Arc<Semaphore>,
    /// Whether there is one client, or one session, at the other end.
    whose: Whose,
    level: Level,
    watch: Watch,
    /// Places of those who listen.
    ears: Arc<Semaphore>,
    routed: Option<Routed>,
    /// Says when whoever is at the other end is gone, or about to be left.
    ends: Option<tokio::sync::watch::Receiver<bool>>,
}

/// Whose requests are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// Those of one connection.
    One,
    /// Each stands for itself, or belongs to the session that it names.
    Many,
}

impl Wall {
    /// For one caller, whose end is told.
    pub(super) fn of(
        about: About,
        desk: Arc<dyn Desk>,
        ends: tokio::sync::watch::Receiver<bool>,
    ) -> Self {
        Self { desk: Some(desk), whose: Whose::One, ends: Some(ends), ..Self::open(about) }
    }

    /// For whoever each request is from.
    pub(super) fn open(about: About) -> Self {
        let (slots, ears) = (Semaphore::new(CALLS_MAX), Semaphore::new(LISTENERS_MAX));
        Self {
            about: Arc::new(about),
            desk: None,
            slots: Arc::new(slots),
            whose: Whose::Many,
            level: Level::default(),
            watch: Watch::default(),
            ears: Arc::new(ears),
            routed: None,
            ends: None,
        }
    }

    /// With what requests say in their headers about arguments, and what is told before the end.
    pub(super) fn over_http(
        self,
        routed: Routed,
        ends: tokio::sync::watch::Receiver<bool>,
    ) -> Self {
        Self { routed: Some(routed), ends: Some(ends), ..self }
    }

    /// Returns once the end was told.
    async fn ended(&self) {
        match &self.ends {
            // Whoever would tell it and is gone has told it.
            Some(ends) => drop(ends.clone().wait_for(|over| *over).await),
            None => std::future::pending().await,
        }
    }

    /// For another session.
    pub(super) fn afresh(&self) -> Self {
        Self { level: Level::default(), watch: Watch::default(), ..self.clone() }
    }

    fn line(&self, context: RequestContext<RoleServer>) -> Line {
        let parts = context.extensions.get::<::http::request::Parts>();
        let in_session = parts.is_some_and(|parts| parts.headers.contains_key(SESSION));
        let reach = match (repeats(&context), self.whose) {
            (true, _) => Reach::Repeats,
            (false, Whose::One) => Reach::Session,
            (false, Whose::Many) if in_session => Reach::Session,
            (false, Whose::Many) => Reach::Nowhere,
        };
        Line::of(context, (Arc::clone(&self.level), reach))
    }

    fn desk(&self, context: &RequestContext<RoleServer>) -> Result<Arc<dyn Desk>, ErrorData> {
        self.desk_of(&context.extensions)
    }

    fn desk_of(&self, told: &Extensions) -> Result<Arc<dyn Desk>, ErrorData> {
        let told = told.get::<::http::request::Parts>();
        let told = told.and_then(|parts| parts.extensions.get::<At>());
        let desk = told.map(|at| &at.0).or(self.desk.as_ref());
        desk.cloned()
            .ok_or_else(|| ErrorData::internal_error("nobody is known to have asked", None))
    }

    /// Whether there is somebody whom more can be told than answers: a client of the older generation.
    fn has_sessions(&self) -> bool {
        self.whose == Whose::One || self.about.has == Has::Everything
    }

    /// Where there are tools alone, nothing else was declared, and is no method.
    fn check_has<M: ConstString>(&self) -> Result<(), ErrorData> {
        match self.about.has {
            Has::Tools => Err(ErrorData::method_not_found::<M>()),
            Has::Everything => Ok(()),
        }
    }

    /// A place among those who are answered.
    fn slot(&self) -> Result<SemaphorePermit<'_>, ErrorData> {
        self.slots.try_acquire().map_err(|_| {
            let message = format!("{CALLS_MAX} calls are under way; try again");
            ErrorData::internal_error(message, None)
        })
    }

    /// One page of what other servers have.
    async fn offers<T: DeserializeOwned>(
        &self,
        sort: Sort,
        request: Option<PaginatedRequestParams>,
        context: &RequestContext<RoleServer>,
    ) -> Result<(Vec<T>, Option<String>), ErrorData> {
        let desk = self.desk(context)?;
        let _slot = self.slot()?;
        let mut all = desk.offers(sort).await.map_err(refused)?;
        all.truncate(TOOLS_MAX);
        let (page, next) = page(all, request)?;
        // What is none is left out, as with tools.
        let page = page.into_iter().filter_map(|one| serde_json::from_value(one).ok());
        Ok((page.collect(), next))
    }

    /// What another server gave, with our own word beside it.
    async fn fetch<T: DeserializeOwned>(
        &self,
        fetch: Fetch,
        context: RequestContext<RoleServer>,
    ) -> Result<Result<T, InputRequiredResult>, ErrorData> {
        let desk = self.desk(&context)?;
        let _slot = self.slot()?;
        let line = self.line(context);
        let told = match desk.fetch(fetch, &line).await.map_err(refused)? {
            Answer::Told(told) => told,
            Answer::Open(open) => return Ok(Err(opened(open))),
            Answer::Asks(asking) => return Ok(Err(asked(asking).ok_or_else(not_passed)?)),
            Answer::Refused(refusal) => return Err(refused(refusal)),
            // The protocol keeps calls of tools alone.
            Answer::Kept(_) => return Err(not_passed()),
        };
        let mut passed = told.passed.filter(|one| one.to_string().len() <= PASSED_BYTES_MAX);
        if let Some(result) = passed.as_mut().and_then(Value::as_object_mut) {
            let beside = result.entry("_meta").or_insert_with(|| Value::Object(Map::new()));
            let theirs = beside.as_object().cloned().unwrap_or_default();
            *beside = Value::Object(with_ours(theirs, &told.meta));
        }
        passed.and_then(|one| serde_json::from_value(one).ok()).map(Ok).ok_or_else(not_passed)
    }
}

/// One page of a list, and where the next one begins.
fn page<T>(
    all: Vec<T>,
    request: Option<PaginatedRequestParams>,
) -> Result<(Vec<T>, Option<String>), ErrorData> {
    let from =
        match request.and_then(|request| request.cursor) {
            None => 0,
            Some(cursor) => cursor
                .parse::<usize>()
                .ok()
                .filter(|from| (1..all.len()).contains(from))
                .ok_or_else(|| ErrorData::invalid_params("no list gave this cursor", None))?,
        };
    let next = from.saturating_add(PAGE_TOOLS);
    let next = (next < all.len()).then(|| next.to_string());
    Ok((all.into_iter().skip(from).take(PAGE_TOOLS).collect(), next))
}

fn not_passed() -> ErrorData {
    ErrorData::internal_error("what came cannot be passed on", None)
}

impl ServerHandler for Wall {
    fn get_info(&self) -> ServerConfig {
        let tools =
            ServerCapabilities::builder().enable_tools().enable_tool_list_changed().enable_tasks();
        let has = match self.about.has {
            Has::Tools => tools.build(),
            Has::Everything => tools
                .enable_resources()
                .enable_resources_list_changed()
                .enable_resources_subscribe()
                .enable_prompts()
                .enable_prompts_list_changed()
                .enable_completions()
                .enable_logging()
                .build(),
        };
        let mut info = ServerConfig::new(has);
        info.server_info = Implementation::new(&*self.about.name, &*self.about.version);
        info.instructions = Some(self.about.instructions.clone()).filter(|text| !text.is_empty());
        info
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        context.peer.set_peer_info(request.clone());
        let mut result = self.negotiate_initialize(&request)?;
        if let Some(tools) = result.capabilities.tools.as_mut().filter(|_| !self.has_sessions()) {
            // Without a session there is nobody to be told.
            tools.list_changed = None;
        }
        Ok(result)
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        if let (true, Ok(desk)) = (self.has_sessions(), self.desk_of(&context.extensions)) {
            let wall = self.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = wall.ended() => {}
                    () = watch::tell_of_lists(desk, context.peer) => {}
                }
            });
        }
    }

    fn accepted_subscription_filter(
        &self,
        wanted: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        let mut accepted = wanted.clone();
        if let Some(uris) = accepted.resource_subscriptions.as_mut() {
            uris.truncate(WATCHED_MAX);
        }
        Some(accepted)
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let desk = self.desk(context.request_context())?;
        let _place = self.ears.try_acquire().map_err(|_| {
            let message = format!("{LISTENERS_MAX} listen already; try again later");
            ErrorData::internal_error(message, None)
        })?;
        tokio::select! {
            () = context.cancelled() => Ok(()),
            () = self.ended() => Ok(()),
            told = watch::listen(desk, &context) => told.map_err(refused),
        }
    }

    fn get_tool(&self, name: &str) -> Option<rmcp::model::Tool> {
        let schema = self.routed.as_ref()?.schema(name)?;
        Some(rmcp::model::Tool::new(name.to_owned(), "", schema))
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut tools = self.desk(&context)?.tools().await.map_err(refused)?;
        tools.truncate(TOOLS_MAX);
        let (page, next) = page(tools, request)?;
        let mut result =
            ListToolsResult::with_all_items(page.iter().filter_map(described).collect())
                .with_ttl_ms(0)
                .with_cache_scope(CacheScope::Private);
        result.next_cursor = next;
        Ok(result)
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        self.check_has::<ListResourcesRequestMethod>()?;
        let (page, next) = self.offers(Sort::Resource, request, &context).await?;
        let result = ListResourcesResult::with_all_items(page).with_ttl_ms(0);
        let mut result = result.with_cache_scope(CacheScope::Private);
        result.next_cursor = next;
        Ok(result)
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        self.check_has::<ListResourceTemplatesRequestMethod>()?;
        let (page, next) = self.offers(Sort::Template, request, &context).await?;
        let result = ListResourceTemplatesResult::with_all_items(page).with_ttl_ms(0);
        let mut result = result.with_cache_scope(CacheScope::Private);
        result.next_cursor = next;
        Ok(result)
    }

    async fn list_prompts(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        self.check_has::<ListPromptsRequestMethod>()?;
        let (page, next) = self.offers(Sort::Prompt, request, &context).await?;
        let result = ListPromptsResult::with_all_items(page).with_ttl_ms(0);
        let mut result = result.with_cache_scope(CacheScope::Private);
        result.next_cursor = next;
        Ok(result)
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        self.check_has::<ReadResourceRequestMethod>()?;
        let fetch = Fetch {
            sort: Sort::Resource,
            name: request.uri,
            arguments: Map::new(),
            state: request.request_state,
            answers: request.input_responses,
        };
        let mut read: ReadResourceResult = match self.fetch(fetch, context).await? {
            Ok(read) => read,
            Err(asked) => return Ok(ReadResourceResponse::InputRequired(asked)),
        };
        read.result_type = Some(ResultType::COMPLETE);
        // What nobody says may be kept is asked for again.
        read.ttl_ms.get_or_insert(0);
        read.cache_scope.get_or_insert(CacheScope::Private);
        Ok(read.into())
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        self.check_has::<GetPromptRequestMethod>()?;
        let arguments = request.arguments.unwrap_or_default();
        let fetch = Fetch {
            sort: Sort::Prompt,
            name: request.name,
            arguments,
            state: request.request_state,
            answers: request.input_responses,
        };
        let mut got: GetPromptResult = match self.fetch(fetch, context).await? {
            Ok(got) => got,
            Err(asked) => return Ok(GetPromptResponse::InputRequired(asked)),
        };
        got.result_type = Some(ResultType::COMPLETE);
        Ok(got.into())
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        self.check_has::<CompleteRequestMethod>()?;
        let desk = self.desk(&context)?;
        let _slot = self.slot()?;
        let params = serde_json::to_value(&request).map_err(|_| not_passed())?;
        let found = desk.complete(params).await.map_err(refused)?;
        let mut found: CompleteResult = serde_json::from_value(found).map_err(|_| not_passed())?;
        found.result_type = Some(ResultType::COMPLETE);
        Ok(found)
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.check_has::<SubscribeRequestMethod>()?;
        let (desk, _slot) = (self.desk(&context)?, self.slot()?);
        self.watch.begin(request.uri, (desk, context.peer.clone())).await.map_err(refused)
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.check_has::<UnsubscribeRequestMethod>()?;
        self.watch.end(&request.uri);
        Ok(())
    }

    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.check_has::<SetLevelRequestMethod>()?;
        *self.level.lock().unwrap_or_else(PoisonError::into_inner) = Some(request.level);
        Ok(())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let desk = self.desk(&context)?;
        let _slot = self.slot()?;
        let asks = asks(&context);
        let call = Call {
            name: request.name.into_owned(),
            arguments: request.arguments.unwrap_or_default(),
            state: request.request_state,
            answers: request.input_responses,
            asks,
            keeps: keeps(&context),
        };
        let line = self.line(context);
        match desk.call(call, &line).await.map_err(refused)? {
            Answer::Told(told) => Ok(answered(told).into()),
            Answer::Open(open) => Ok(opened(open).into()),
            Answer::Asks(asking) => Ok(asked(asking).ok_or_else(not_passed)?.into()),
            Answer::Refused(refusal) => Err(refused(refusal)),
            Answer::Kept(call) => Ok(kept::begun(*call).map_err(refused)?.into()),
        }
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        let (desk, _slot) = (self.desk(&context)?, self.slot()?);
        let line = self.line(context);
        let call = desk.kept(request.task_id, &line).await.map_err(refused)?;
        kept::seen(call).map_err(refused)
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let (desk, _slot) = (self.desk(&context)?, self.slot()?);
        let line = self.line(context);
        desk.hear(request.task_id, request.input_responses, &line).await.map_err(refused)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let (desk, _slot) = (self.desk(&context)?, self.slot()?);
        desk.leave(request.task_id).await.map_err(refused)
    }
}

/// The header that names a session.
pub(super) const SESSION: &str = "mcp-session-id";

/// Whether the client is of the generation that repeats its calls.
fn repeats(context: &RequestContext<RoleServer>) -> bool {
    let version = context.protocol_version();
    version.is_some_and(|v| v.as_str() >= ProtocolVersion::V_2026_07_28.as_str())
}

/// Only a client that repeats its calls, and said that it opens addresses, is sent to one.
fn asks(context: &RequestContext<RoleServer>) -> Asks {
    let can = context.client_capabilities().and_then(|can| can.elicitation);
    let opens = can.is_some_and(|elicitation| elicitation.url.is_some());
    if repeats(context) && opens { Asks::ByUrl } else { Asks::No }
}

/// Only a client that said so is told to come back.
fn keeps(context: &RequestContext<RoleServer>) -> Keeps {
    let can = context.client_capabilities().is_some_and(|can| can.supports_tasks());
    if repeats(context) && can { Keeps::Tasks } else { Keeps::Nothing }
}
