//! An agent over HTTP, in two bindings: JSON-RPC at its address, and HTTP+JSON below it.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use bytes::Bytes;
use futures_util::Stream;
use lf::{JsonRpcError, JsonRpcId, JsonRpcRequest, JsonRpcResponse, error_code, methods};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    About, Desk, HELD_MAX, PAGE_TASKS, PAGE_TASKS_MAX, Page, Patience, Refusal, Refused, Said,
    Task, Wanted, card, rest, stream,
};
use crate::wire::{self, Outputs};

/// Events of a stream, each as it goes over the wire.
pub type Events = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// A request, its body already read.
#[derive(Clone, Debug)]
pub struct Request {
    /// How it asks.
    pub method: Method,
    /// What stands behind the agent's address: empty, or beginning with a slash.
    pub path: String,
    /// Its query, without the question mark.
    pub query: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// An answer.
pub enum Answer {
    /// One document.
    Whole(Response<Bytes>),
    /// Server-Sent Events, for as long as somebody listens.
    Events(Events),
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(response) => f.debug_tuple("Whole").field(&response.status()).finish(),
            Self::Events(_) => f.debug_tuple("Events").finish(),
        }
    }
}

/// How a stream's events are wrapped.
#[derive(Clone, Debug)]
pub(super) enum Frame {
    /// As answers to this request.
    Rpc(JsonRpcId),
    /// Not at all.
    Plain,
}

/// What was asked for, once it was done.
pub(super) enum Done {
    /// A document.
    Told(Value),
    /// A task that is followed from here.
    Follow(Box<Task>),
}

/// Answers requests.
#[derive(Debug, Default)]
pub struct Http {
    held: Arc<AtomicUsize>,
}

/// A place among the messages that are waited for, until it is dropped.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Http {
    /// The card that everybody may read.
    #[must_use]
    pub fn public_card(about: &About) -> Response<Bytes> {
        document(StatusCode::OK, &card::card(about, None))
    }

    /// Answers a request of whoever's desk this is.
    pub async fn answer(&self, request: Request, about: &About, desk: Arc<dyn Desk>) -> Answer {
        let is_rpc = matches!(request.path.as_str(), "" | "/");
        match is_rpc {
            true => self.rpc(request, about, desk).await,
            false => {
                let done = match check_version(&request.headers) {
                    Ok(()) => rest::done(self, &request, about, &desk).await,
                    Err(refusal) => Err(refusal),
                };
                match done {
                    Ok(Done::Told(value)) => Answer::Whole(document(StatusCode::OK, &value)),
                    Ok(Done::Follow(task)) => {
                        Answer::Events(stream::follow(desk, *task, Frame::Plain))
                    }
                    Err(refusal) => Answer::Whole(rest::refused(&refusal)),
                }
            }
        }
    }

    async fn rpc(&self, request: Request, about: &About, desk: Arc<dyn Desk>) -> Answer {
        if request.method != Method::POST {
            let mut response = document(StatusCode::METHOD_NOT_ALLOWED, &Value::Null);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            return Answer::Whole(response);
        }
        let call = match read_call(&request.body) {
            Ok(call) => call,
            Err(response) => return Answer::Whole(document(StatusCode::OK, &*response)),
        };
        let id = call.id.clone();
        let done = match check_version(&request.headers) {
            Ok(()) => self.done(call, about, &desk).await,
            Err(refusal) => Err(refusal),
        };
        match done {
            Ok(Done::Told(value)) => {
                let response = JsonRpcResponse::success(id, value);
                Answer::Whole(document(StatusCode::OK, &response))
            }
            Ok(Done::Follow(task)) => Answer::Events(stream::follow(desk, *task, Frame::Rpc(id))),
            Err(refusal) => {
                let response = JsonRpcResponse::error(id, error_of(&refusal));
                Answer::Whole(document(StatusCode::OK, &response))
            }
        }
    }

    async fn done(
        &self,
        call: JsonRpcRequest,
        about: &About,
        desk: &Arc<dyn Desk>,
    ) -> Result<Done, Refusal> {
        let params = call.params.unwrap_or_else(|| Value::Object(Default::default()));
        match call.method.as_str() {
            methods::SEND_MESSAGE => self.send(read(params)?, desk).await,
            methods::SEND_STREAMING_MESSAGE => begin(read(params)?, desk).await,
            methods::GET_TASK => get(read(params)?, desk).await,
            methods::LIST_TASKS => list(read(params)?, desk).await,
            methods::CANCEL_TASK => cancel(read(params)?, desk).await,
            methods::SUBSCRIBE_TO_TASK => subscribe(read(params)?, desk).await,
            methods::GET_EXTENDED_AGENT_CARD => {
                let asked: lf::GetExtendedAgentCardRequest = read(params)?;
                wire::no_tenant(asked.tenant.as_deref())?;
                extended(about, desk).await
            }
            methods::CREATE_PUSH_CONFIG
            | methods::GET_PUSH_CONFIG
            | methods::LIST_PUSH_CONFIGS
            | methods::DELETE_PUSH_CONFIG => Err(wire::no_push()),
            other => Err(no_method(other)),
        }
    }

    /// Takes a message, and waits for what comes of it where its sender wants that.
    pub(super) async fn send(
        &self,
        request: lf::SendMessageRequest,
        desk: &Arc<dyn Desk>,
    ) -> Result<Done, Refusal> {
        let at_once = request.configuration.as_ref().and_then(|asked| asked.return_immediately);
        let said = wire::said(request)?;
        // Who finds no place to wait in is told where the task stands now.
        let place = self.place().filter(|_| at_once != Some(true));
        let patience = if place.is_some() { Patience::Settled } else { Patience::None };
        let task = desk.send(said, patience).await?;
        drop(place);
        let response = lf::SendMessageResponse::Task(wire::task_out(&task, Outputs::Told));
        told(&response)
    }

    fn place(&self) -> Option<Place> {
        let place = Place(Arc::clone(&self.held));
        (self.held.fetch_add(1, Ordering::SeqCst) < HELD_MAX).then_some(place)
    }
}

/// Takes a message, and follows its task.
pub(super) async fn begin(
    request: lf::SendMessageRequest,
    desk: &Arc<dyn Desk>,
) -> Result<Done, Refusal> {
    let said: Said = wire::said(request)?;
    let task = desk.send(said, Patience::None).await?;
    Ok(Done::Follow(Box::new(task)))
}

pub(super) async fn get(
    request: lf::GetTaskRequest,
    desk: &Arc<dyn Desk>,
) -> Result<Done, Refusal> {
    wire::no_tenant(request.tenant.as_deref())?;
    let task = desk.task(request.id).await?;
    told(&wire::task_out(&task, Outputs::Told))
}

pub(super) async fn list(
    request: lf::ListTasksRequest,
    desk: &Arc<dyn Desk>,
) -> Result<Done, Refusal> {
    wire::no_tenant(request.tenant.as_deref())?;
    let count = match request.page_size.unwrap_or(0) {
        0 => PAGE_TASKS,
        size => {
            usize::try_from(size).ok().filter(|size| *size <= PAGE_TASKS_MAX).ok_or_else(|| {
                wire::params("page-size-invalid", format!("a page has 1 to {PAGE_TASKS_MAX} tasks"))
            })?
        }
    };
    if request.history_length.is_some_and(|length| length < 0) {
        return Err(wire::params("history-invalid", "a history has no negative length"));
    }
    let wanted = Wanted {
        context: request.context_id.filter(|context| !context.is_empty()),
        state: request.status.as_ref().and_then(wire::state_in),
        since_ms: request.status_timestamp_after.map(|after| after.timestamp_millis()),
        count,
        after: request.page_token.filter(|token| !token.is_empty()),
    };
    let outputs =
        if request.include_artifacts == Some(true) { Outputs::Told } else { Outputs::Left };
    let Page { tasks, next, total } = desk.tasks(wanted).await?;
    told(&lf::ListTasksResponse {
        page_size: i32::try_from(tasks.len()).unwrap_or(i32::MAX),
        tasks: tasks.iter().map(|task| wire::task_out(task, outputs)).collect(),
        next_page_token: next.unwrap_or_default(),
        total_size: i32::try_from(total).unwrap_or(i32::MAX),
    })
}

pub(super) async fn cancel(
    request: lf::CancelTaskRequest,
    desk: &Arc<dyn Desk>,
) -> Result<Done, Refusal> {
    wire::no_tenant(request.tenant.as_deref())?;
    let task = desk.cancel(request.id).await?;
    told(&wire::task_out(&task, Outputs::Told))
}

pub(super) async fn subscribe(
    request: lf::SubscribeToTaskRequest,
    desk: &Arc<dyn Desk>,
) -> Result<Done, Refusal> {
    wire::no_tenant(request.tenant.as_deref())?;
    let task = desk.task(request.id).await?;
    if task.state.is_over() {
        let message = format!("{} is over", task.id);
        return Err(Refusal::new(Refused::Unsupported, "task-over", message)
            .next("ask for it: it says how it ended"));
    }
    Ok(Done::Follow(Box::new(task)))
}

pub(super) async fn extended(about: &About, desk: &Arc<dyn Desk>) -> Result<Done, Refusal> {
    let skills = desk.skills().await?;
    told(&card::card(about, Some(&skills)))
}

fn told<T: Serialize>(value: &T) -> Result<Done, Refusal> {
    serde_json::to_value(value).map(Done::Told).map_err(broken)
}

pub(super) fn read<T: DeserializeOwned>(params: Value) -> Result<T, Refusal> {
    serde_json::from_value(params)
        .map_err(|error| wire::params("params-invalid", format!("it cannot be read: {error}")))
}

fn no_method(name: &str) -> Refusal {
    let shown: String = name.chars().take(64).collect();
    Refusal::new(Refused::Unsupported, "no-method", format!("there is no method `{shown}`"))
        .next(format!("use those of version {}, such as SendMessage", crate::VERSION))
}

pub(super) fn broken(error: serde_json::Error) -> Refusal {
    Refusal::new(Refused::Here, "unserialisable", error.to_string())
}

/// A request of no version speaks one from before there were versions.
pub(super) fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    let named = headers.get(crate::VERSION_HEADER);
    if named.is_some_and(|version| version.as_bytes() == crate::VERSION.as_bytes()) {
        return Ok(());
    }
    let message = format!("only version {} of the protocol is spoken here", crate::VERSION);
    Err(Refusal::new(Refused::Unsupported, "no-version", message).next(format!(
        "send `{}: {}`",
        crate::VERSION_HEADER,
        crate::VERSION
    )))
}

fn read_call(body: &[u8]) -> Result<JsonRpcRequest, Box<JsonRpcResponse>> {
    let refuse = |id: JsonRpcId, code: i32, message: String| {
        Box::new(JsonRpcResponse::error(id, JsonRpcError { code, message, data: None }))
    };
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        refuse(JsonRpcId::Null, error_code::PARSE_ERROR, format!("this is no JSON: {error}"))
    })?;
    let id = value.get("id").cloned().unwrap_or_default();
    let id: JsonRpcId = serde_json::from_value(id).unwrap_or(JsonRpcId::Null);
    let call: JsonRpcRequest = serde_json::from_value(value).map_err(|error| {
        let message = format!("this is no request of JSON-RPC: {error}");
        refuse(id.clone(), error_code::INVALID_REQUEST, message)
    })?;
    if call.jsonrpc == "2.0" {
        return Ok(call);
    }
    let message = "`jsonrpc` is to be `2.0`".to_owned();
    Err(refuse(id, error_code::INVALID_REQUEST, message))
}

pub(super) fn error_of(refusal: &Refusal) -> JsonRpcError {
    let called = wire::called(refusal);
    JsonRpcError {
        code: called.code,
        message: wire::words(refusal),
        data: Some(wire::details(refusal, called.reason)),
    }
}

pub(super) fn document<T: Serialize>(status: StatusCode, value: &T) -> Response<Bytes> {
    // What is told was made of JSON.
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
