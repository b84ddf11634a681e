//! Between the protocol's library and ours.

use std::collections::HashMap;

use lf::error_code as code;
use serde_json::{Map, Value, json};

use crate::{
    State,
    server::{Note, OUTPUT_BYTES_MAX, PARTS_MAX, Refusal, Refused, Said, Task},
};

/// In whose name errors are told.
const DOMAIN: &str = "a2a-protocol.org";

/// The kind of detail that names an error.
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

pub(crate) fn state_out(state: State) -> lf::TaskState {
    match state {
        State::Submitted => lf::TaskState::Submitted,
        State::Working => lf::TaskState::Working,
        State::InputRequired => lf::TaskState::InputRequired,
        State::AuthRequired => lf::TaskState::AuthRequired,
        State::Completed => lf::TaskState::Completed,
        State::Failed => lf::TaskState::Failed,
        State::Canceled => lf::TaskState::Canceled,
        State::Rejected => lf::TaskState::Rejected,
    }
}

pub(crate) fn state_in(state: &lf::TaskState) -> Option<State> {
    match state {
        lf::TaskState::Unspecified => None,
        lf::TaskState::Submitted => Some(State::Submitted),
        lf::TaskState::Working => Some(State::Working),
        lf::TaskState::InputRequired => Some(State::InputRequired),
        lf::TaskState::AuthRequired => Some(State::AuthRequired),
        lf::TaskState::Completed => Some(State::Completed),
        lf::TaskState::Failed => Some(State::Failed),
        lf::TaskState::Canceled => Some(State::Canceled),
        lf::TaskState::Rejected => Some(State::Rejected),
    }
}

/// A message, as a desk reads it.
pub(crate) fn said(request: lf::SendMessageRequest) -> Result<Said, Refusal> {
    let lf::SendMessageRequest { message, configuration, metadata, tenant } = request;
    no_tenant(tenant.as_deref())?;
    if let Some(asked) = &configuration {
        if asked.task_push_notification_config.is_some() {
            return Err(no_push());
        }
        check_modes(asked.accepted_output_modes.as_deref())?;
    }
    if message.role != lf::Role::User {
        return Err(params("role-invalid", "a message to an agent has the role ROLE_USER"));
    }
    if message.parts.is_empty() || message.parts.len() > PARTS_MAX {
        let text = format!("a message has 1 to {PARTS_MAX} parts, not {}", message.parts.len());
        return Err(params("parts-invalid", text));
    }
    let skill = named_skill(message.metadata.as_ref())?.or(named_skill(metadata.as_ref())?);
    let mut read = Said {
        id: message.message_id,
        task: message.task_id.filter(|id| !id.is_empty()),
        context: message.context_id.filter(|id| !id.is_empty()),
        skill,
        ..Said::default()
    };
    for part in message.parts {
        match part.content {
            lf::PartContent::Text(text) => {
                if !read.text.is_empty() {
                    read.text.push('\n');
                }
                read.text.push_str(&text);
            }
            lf::PartContent::Data(Value::Object(data)) if read.data.is_none() => {
                read.data = Some(data);
            }
            lf::PartContent::Data(_) => {
                return Err(params(
                    "data-invalid",
                    "a message has at most one data part, an object",
                ));
            }
            lf::PartContent::Raw(_) | lf::PartContent::Url(_) => {
                return Err(content(
                    "a message is made of text and data; files are not taken here",
                ));
            }
        }
    }
    Ok(read)
}

fn named_skill(metadata: Option<&HashMap<String, Value>>) -> Result<Option<String>, Refusal> {
    match metadata.and_then(|metadata| metadata.get("skill")) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) => Ok(Some(name.clone())),
        Some(_) => Err(params("skill-invalid", "`skill` in the metadata is the name of a skill")),
    }
}

fn check_modes(accepted: Option<&[String]>) -> Result<(), Refusal> {
    let Some(accepted) = accepted.filter(|modes| !modes.is_empty()) else { return Ok(()) };
    let fits = |mode: &String| {
        matches!(
            mode.as_str(),
            "*/*" | "application/*" | "application/json" | "text/*" | "text/plain"
        )
    };
    match accepted.iter().any(fits) {
        true => Ok(()),
        false => Err(content("what a task comes to is told as application/json or text/plain")),
    }
}

/// Whose data somebody sees follows from who they are.
pub(crate) fn no_tenant(tenant: Option<&str>) -> Result<(), Refusal> {
    match tenant.is_none_or(str::is_empty) {
        true => Ok(()),
        false => Err(params(
            "tenant-unknown",
            "no tenant is named here: the credential says whose tasks these are",
        )),
    }
}

pub(crate) fn no_push() -> Refusal {
    Refusal::new(Refused::Unsupported, "no-push", "this agent tells nobody by itself")
        .next("ask for the task, or subscribe to it")
}

pub(crate) fn params(code: &str, message: impl Into<String>) -> Refusal {
    Refusal::new(Refused::Params, code, message)
}

fn content(message: &str) -> Refusal {
    Refusal::new(Refused::Content, "content-not-taken", message)
        .next("send text parts and one data part")
}

/// Whether what a task came to is told with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outputs {
    Told,
    Left,
}

pub(crate) fn task_out(task: &Task, outputs: Outputs) -> lf::Task {
    let artifact = artifact_out(task).filter(|_| outputs == Outputs::Told);
    lf::Task {
        id: task.id.clone(),
        context_id: task.context.clone(),
        status: status_out(task),
        artifacts: artifact.map(|artifact| vec![artifact]),
        history: None,
        metadata: Some(metadata(&task.meta)).filter(|map| !map.is_empty()),
    }
}

pub(crate) fn metadata(meta: &Map<String, Value>) -> HashMap<String, Value> {
    meta.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

pub(crate) fn status_out(task: &Task) -> lf::TaskStatus {
    let message = note_of(task).map(|note| {
        let mut parts = vec![lf::Part::text(note.text)];
        parts.extend(note.data.map(lf::Part::data));
        lf::Message {
            // The same word is the same message, however often it is asked for.
            message_id: format!("{}:{}:{}", task.id, task.changed_ms, task.state.word()),
            context_id: Some(task.context.clone()),
            task_id: Some(task.id.clone()),
            role: lf::Role::Agent,
            parts,
            metadata: None,
            extensions: None,
            reference_task_ids: None,
        }
    });
    lf::TaskStatus {
        state: state_out(task.state),
        message,
        timestamp: chrono::DateTime::from_timestamp_millis(task.changed_ms),
    }
}

/// What is said about a task: also that its output is too large to be told.
fn note_of(task: &Task) -> Option<Note> {
    if !is_too_large(task) {
        return task.note.clone();
    }
    let mut note = task.note.clone().unwrap_or_default();
    if !note.text.is_empty() {
        note.text.push('\n');
    }
    note.text.push_str(&format!(
        "What it came to is larger than {OUTPUT_BYTES_MAX} bytes, and lies with its run."
    ));
    Some(note)
}

fn is_too_large(task: &Task) -> bool {
    task.output.as_ref().is_some_and(|output| output.to_string().len() > OUTPUT_BYTES_MAX)
}

pub(crate) fn artifact_out(task: &Task) -> Option<lf::Artifact> {
    let output = task.output.as_ref().filter(|_| !is_too_large(task))?;
    let part = match output {
        Value::String(text) => lf::Part::text(text.clone()).with_media_type("text/plain"),
        other => lf::Part::data(other.clone()).with_media_type("application/json"),
    };
    Some(lf::Artifact {
        artifact_id: "output".to_owned(),
        name: Some("output".to_owned()),
        description: None,
        parts: vec![part],
        metadata: None,
        extensions: None,
    })
}

/// How a refusal is called: its number, its reason, its status of HTTP and of gRPC.
pub(crate) struct Called {
    pub(crate) code: i32,
    pub(crate) reason: &'static str,
    pub(crate) http: u16,
    pub(crate) grpc: &'static str,
}

pub(crate) fn called(refusal: &Refusal) -> Called {
    let of = |code, reason, http, grpc| Called { code, reason, http, grpc };
    match refusal.kind {
        Refused::NoTask => of(code::TASK_NOT_FOUND, "TASK_NOT_FOUND", 404, "NOT_FOUND"),
        Refused::NotCancelable => {
            of(code::TASK_NOT_CANCELABLE, "TASK_NOT_CANCELABLE", 400, "FAILED_PRECONDITION")
        }
        Refused::Unsupported if refusal.code == "no-push" => {
            let number = code::PUSH_NOTIFICATION_NOT_SUPPORTED;
            of(number, "PUSH_NOTIFICATION_NOT_SUPPORTED", 400, "FAILED_PRECONDITION")
        }
        Refused::Unsupported if refusal.code == "no-version" => {
            of(code::VERSION_NOT_SUPPORTED, "VERSION_NOT_SUPPORTED", 400, "FAILED_PRECONDITION")
        }
        Refused::Unsupported if refusal.code == "no-method" => {
            of(code::METHOD_NOT_FOUND, "METHOD_NOT_FOUND", 404, "UNIMPLEMENTED")
        }
        Refused::Unsupported => {
            of(code::UNSUPPORTED_OPERATION, "UNSUPPORTED_OPERATION", 400, "FAILED_PRECONDITION")
        }
        Refused::Content => {
            let number = code::CONTENT_TYPE_NOT_SUPPORTED;
            of(number, "CONTENT_TYPE_NOT_SUPPORTED", 400, "INVALID_ARGUMENT")
        }
        Refused::Params => of(code::INVALID_PARAMS, "INVALID_PARAMS", 400, "INVALID_ARGUMENT"),
        Refused::Forbidden => of(code::INVALID_REQUEST, "FORBIDDEN", 403, "PERMISSION_DENIED"),
        Refused::Busy => of(code::INTERNAL_ERROR, "UNAVAILABLE", 503, "UNAVAILABLE"),
        Refused::Here => of(code::INTERNAL_ERROR, "INTERNAL", 500, "INTERNAL"),
    }
}

/// What a program reads of a refusal.
pub(crate) fn details(refusal: &Refusal, reason: &str) -> Value {
    let mut told = json!({ "code": refusal.code });
    if let (Some(map), Some(next)) = (told.as_object_mut(), &refusal.next) {
        map.insert("next".to_owned(), json!(next));
    }
    json!([{ "@type": ERROR_INFO, "reason": reason, "domain": DOMAIN, "metadata": told }])
}

pub(crate) fn words(refusal: &Refusal) -> String {
    match &refusal.next {
        Some(next) => format!("{}; {next}", refusal.message),
        None => refusal.message.clone(),
    }
}
