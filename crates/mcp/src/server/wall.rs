//! Between the protocol's library and a desk.

use std::{fmt, sync::Arc};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ElicitRequest,
        ElicitRequestParams, Implementation, InputRequest, InputRequiredResult, ListToolsResult,
        MetaObject, PaginatedRequestParams, ProgressNotificationParam, ProgressToken,
        ProtocolVersion, ResultType, ServerCapabilities, ServerConfig, ToolAnnotations,
    },
    service::RequestContext,
};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use super::{
    ANSWER_BYTES_MAX, About, Answer, Asks, CALLS_MAX, Call, Desk, Ended, Open, PAGE_TOOLS,
    PASSED_BYTES_MAX, Refusal, Refused, TOOLS_MAX, Told, Tool,
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
}

impl Wall {
    /// For one caller.
    pub(super) fn of(about: About, desk: Arc<dyn Desk>) -> Self {
        Self { desk: Some(desk), ..Self::open(about) }
    }

    /// For whoever each request is from.
    pub(super) fn open(about: About) -> Self {
        Self { about: Arc::new(about), desk: None, slots: Arc::new(Semaphore::new(CALLS_MAX)) }
    }

    fn desk(&self, context: &RequestContext<RoleServer>) -> Result<Arc<dyn Desk>, ErrorData> {
        let told = context.extensions.get::<::http::request::Parts>();
        let told = told.and_then(|parts| parts.extensions.get::<At>());
        let desk = told.map(|at| &at.0).or(self.desk.as_ref());
        desk.cloned()
            .ok_or_else(|| ErrorData::internal_error("nobody is known to have asked", None))
    }
}

/// The line that a call came by.
pub struct Line {
    context: RequestContext<RoleServer>,
    token: Option<ProgressToken>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("hears", &self.token.is_some()).finish_non_exhaustive()
    }
}

impl Line {
    /// Ends when the client does not want the answer any more.
    pub async fn cancelled(&self) {
        self.context.ct.cancelled().await;
    }

    /// Tells how far the call is, to a client that wants to hear it. `step` grows from one word to the next.
    pub async fn tell(&self, step: u32, message: String) {
        let Some(token) = self.token.clone() else { return };
        let mut said = ProgressNotificationParam::new(token, f64::from(step));
        said.message = Some(message);
        // Who does not listen any more is told nothing.
        drop(self.context.peer.notify_progress(said).await);
    }
}

impl ServerHandler for Wall {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::new(ServerCapabilities::builder().enable_tools().build());
        info.server_info = Implementation::new(&*self.about.name, &*self.about.version);
        info.instructions = Some(self.about.instructions.clone()).filter(|text| !text.is_empty());
        info
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut tools = self.desk(&context)?.tools().await.map_err(refused)?;
        tools.truncate(TOOLS_MAX);
        let from = match request.and_then(|request| request.cursor) {
            None => 0,
            Some(cursor) => cursor
                .parse::<usize>()
                .ok()
                .filter(|from| (1..tools.len()).contains(from))
                .ok_or_else(|| ErrorData::invalid_params("no list gave this cursor", None))?,
        };
        let page = tools.iter().skip(from).take(PAGE_TOOLS).filter_map(described).collect();
        let mut result = ListToolsResult::with_all_items(page);
        let next = from.saturating_add(PAGE_TOOLS);
        result.next_cursor = (next < tools.len()).then(|| next.to_string());
        Ok(result)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let desk = self.desk(&context)?;
        let Ok(_slot) = self.slots.try_acquire() else {
            let message = format!("{CALLS_MAX} calls are under way; try again");
            return Err(ErrorData::internal_error(message, None));
        };
        let asks = asks(&context);
        let call = Call {
            name: request.name.into_owned(),
            arguments: request.arguments.unwrap_or_default(),
            state: request.request_state,
            asks,
        };
        let token = context.meta.get_progress_token();
        let line = Line { context, token };
        match desk.call(call, &line).await.map_err(refused)? {
            Answer::Told(told) => Ok(answered(told).into()),
            Answer::Open(open) => Ok(opened(open).into()),
        }
    }
}

/// Only a client that repeats its calls, and said that it opens addresses, is sent to one.
fn asks(context: &RequestContext<RoleServer>) -> Asks {
    let version = context.protocol_version();
    let repeats = version.is_some_and(|v| v.as_str() >= ProtocolVersion::V_2026_07_28.as_str());
    let can = context.client_capabilities().and_then(|can| can.elicitation);
    let opens = can.is_some_and(|elicitation| elicitation.url.is_some());
    if repeats && opens { Asks::ByUrl } else { Asks::No }
}

/// A tool in the library's words; none where another server's definition is none.
fn described(tool: &Tool) -> Option<rmcp::model::Tool> {
    if let Some(passed) = &tool.passed {
        let mut named: rmcp::model::Tool = serde_json::from_value(passed.clone()).ok()?;
        named.name = tool.name.clone().into();
        return Some(named);
    }
    let hints = ToolAnnotations::with_title(tool.title.clone())
        .read_only(tool.hints.read_only)
        .destructive(tool.hints.destructive)
        .idempotent(tool.hints.idempotent)
        .open_world(tool.hints.open_world);
    let described = rmcp::model::Tool::new(
        tool.name.clone(),
        tool.description.clone(),
        Arc::new(tool.input.clone()),
    );
    let described = described.with_title(tool.title.clone()).with_annotations(hints);
    Some(match &tool.output {
        Some(output) => described.with_raw_output_schema(Arc::new(output.clone())),
        None => described,
    })
}

/// The names of what we say beside a result: nobody else's word stands under them.
const OURS: &str = "harness/";

/// A result of another server as it is, with our own word beside it.
fn passed_on(passed: &Value, meta: &Map<String, Value>) -> Option<CallToolResult> {
    if passed.to_string().len() > PASSED_BYTES_MAX {
        return None;
    }
    let mut result: CallToolResult = serde_json::from_value(passed.clone()).ok()?;
    result.result_type = Some(ResultType::COMPLETE);
    let mut all = result.meta.take().map(|meta| meta.0).unwrap_or_default();
    all.retain(|name, _| !name.starts_with(OURS));
    all.extend(meta.clone());
    result.meta = meta_of(all);
    Some(result)
}

fn answered(told: Told) -> CallToolResult {
    if let Some(result) = told.passed.as_ref().and_then(|passed| passed_on(passed, &told.meta)) {
        return result;
    }
    let Told { text, structured, ended, meta, .. } = told;
    let structured = structured.map(Value::Object);
    let length = structured.as_ref().map_or(0, |value| value.to_string().len());
    let too_large = text.len().max(length) > ANSWER_BYTES_MAX;
    let (text, structured) = if too_large {
        let text = format!(
            "The answer is larger than {ANSWER_BYTES_MAX} bytes and is not told here; it is kept with its run."
        );
        (text, Some(json!({ "left_out": "too large" })))
    } else {
        (text, structured)
    };
    let content = vec![ContentBlock::text(text)];
    let mut result = match ended {
        Ended::Well => CallToolResult::success(content),
        Ended::Wrong => CallToolResult::error(content),
    };
    result.structured_content = structured;
    result.meta = meta_of(meta);
    result
}

fn opened(open: Open) -> InputRequiredResult {
    let asked = ElicitRequestParams::UrlElicitationParams {
        meta: None,
        message: open.message,
        url: open.url,
        elicitation_id: open.id.clone(),
    };
    let request = InputRequest::Elicitation(ElicitRequest::new(asked));
    let result = InputRequiredResult::new(Some([(open.id, request)].into()), Some(open.state));
    match meta_of(open.meta) {
        Some(meta) => result.with_meta(meta),
        None => result,
    }
}

fn meta_of(meta: Map<String, Value>) -> Option<MetaObject> {
    (!meta.is_empty()).then_some(MetaObject(meta))
}

fn refused(refusal: Refusal) -> ErrorData {
    match refusal.kind {
        Refused::Request => ErrorData::invalid_params(refusal.message, None),
        Refused::Here => ErrorData::internal_error(refusal.message, None),
    }
}
