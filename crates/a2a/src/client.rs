//! A client: what is said to an agent, as bytes, and what it answered, read. Who sends them, with which credential and for
//! how long, is somebody else's.

use std::collections::HashMap;

use lf::{JsonRpcId, JsonRpcRequest, JsonRpcResponse, error_code, methods};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{State, wire};

/// Most parts of what an agent answers.
pub const PARTS_MAX: usize = 256;

/// The id of every request: there is one on its way at a time.
const ID: i64 = 1;

/// What is to be said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outgoing {
    /// What the message is called; the same name is the same message to an agent that cares.
    pub id: String,
    /// Words.
    pub text: Option<String>,
    /// Data.
    pub data: Option<Value>,
    /// Beside it, such as a skill.
    pub metadata: Map<String, Value>,
}

/// What an agent says.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// A message: there is no task.
    Answer(Answer),
    /// Where a task stands.
    Task(Box<Task>),
}

/// A task of an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: State,
    /// What is said about that, in words.
    pub note: String,
    /// What it came to.
    pub answer: Answer,
}

/// What an agent answers with. What is a file there is named here, and not fetched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Its words.
    pub text: String,
    /// Its data.
    pub data: Vec<Value>,
    /// Its files: name, media type, and address or size.
    pub files: Vec<Value>,
}

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not what the protocol says.
    #[error("this is no answer of the protocol: {0}")]
    Shape(String),
    /// It answers something else.
    #[error("it answers another request than was made")]
    Other,
    /// The agent refused.
    #[error("the agent refused ({code}): {message}")]
    Refused {
        /// Its number.
        code: i32,
        /// In its words.
        message: String,
    },
}

impl Error {
    /// Whether the agent says that it did not even take the request.
    #[must_use]
    pub fn was_not_taken(&self) -> bool {
        const NOT_TAKEN: [i32; 6] = [
            error_code::PARSE_ERROR,
            error_code::INVALID_REQUEST,
            error_code::METHOD_NOT_FOUND,
            error_code::INVALID_PARAMS,
            error_code::CONTENT_TYPE_NOT_SUPPORTED,
            error_code::VERSION_NOT_SUPPORTED,
        ];
        matches!(self, Self::Refused { code, .. } if NOT_TAKEN.contains(code))
    }
}

/// A message to an agent, which is to answer at once: a long task is asked after, so that a line that breaks loses nothing.
///
/// # Errors
/// What cannot be written.
pub fn send(said: Outgoing) -> Result<Vec<u8>, Error> {
    let mut parts: Vec<lf::Part> = said.text.into_iter().map(lf::Part::text).collect();
    parts.extend(said.data.map(lf::Part::data));
    let message = lf::Message {
        message_id: said.id,
        context_id: None,
        task_id: None,
        role: lf::Role::User,
        parts,
        metadata: Some(wire::metadata(&said.metadata)).filter(|map| !map.is_empty()),
        extensions: None,
        reference_task_ids: None,
    };
    let configuration = lf::SendMessageConfiguration {
        accepted_output_modes: None,
        task_push_notification_config: None,
        history_length: Some(0),
        return_immediately: Some(true),
    };
    let request = lf::SendMessageRequest {
        message,
        configuration: Some(configuration),
        metadata: None,
        tenant: None,
    };
    request_of(methods::SEND_MESSAGE, &request)
}

/// Asks after a task.
///
/// # Errors
/// What cannot be written.
pub fn ask(task: &str) -> Result<Vec<u8>, Error> {
    let request = lf::GetTaskRequest { id: task.to_owned(), history_length: Some(0), tenant: None };
    request_of(methods::GET_TASK, &request)
}

/// Lets go of a task.
///
/// # Errors
/// What cannot be written.
pub fn cancel(task: &str) -> Result<Vec<u8>, Error> {
    let request = lf::CancelTaskRequest { id: task.to_owned(), metadata: None, tenant: None };
    request_of(methods::CANCEL_TASK, &request)
}

fn request_of<T: Serialize>(method: &str, params: &T) -> Result<Vec<u8>, Error> {
    let shape = |error: serde_json::Error| Error::Shape(error.to_string());
    let params = serde_json::to_value(params).map_err(shape)?;
    let request = JsonRpcRequest::new(JsonRpcId::Number(ID), method, Some(params));
    serde_json::to_vec(&request).map_err(shape)
}

/// What came of a message.
///
/// # Errors
/// When it is no sound answer, or a refusal.
pub fn read_sent(bytes: &[u8]) -> Result<Said, Error> {
    let result = result_of(bytes)?;
    let response: lf::SendMessageResponse = serde_json::from_value(result).map_err(shape)?;
    match response {
        lf::SendMessageResponse::Message(message) => {
            answer_of(vec![message.parts]).map(Said::Answer)
        }
        lf::SendMessageResponse::Task(task) => task_of(task).map(Box::new).map(Said::Task),
    }
}

/// Where the task stands that was asked after, or let go of.
///
/// # Errors
/// When it is no sound answer, a refusal, or about another task.
pub fn read_task(bytes: &[u8], asked: &str) -> Result<Task, Error> {
    let task: lf::Task = serde_json::from_value(result_of(bytes)?).map_err(shape)?;
    if task.id != asked {
        return Err(Error::Other);
    }
    task_of(task)
}

fn result_of(bytes: &[u8]) -> Result<Value, Error> {
    let response: JsonRpcResponse = serde_json::from_slice(bytes).map_err(shape)?;
    if response.jsonrpc != "2.0" {
        return Err(Error::Shape("`jsonrpc` is not `2.0`".to_owned()));
    }
    if let Some(error) = response.error {
        return Err(Error::Refused { code: error.code, message: error.message });
    }
    if response.id != JsonRpcId::Number(ID) {
        return Err(Error::Other);
    }
    response.result.ok_or_else(|| Error::Shape("it has neither a result nor an error".to_owned()))
}

fn task_of(task: lf::Task) -> Result<Task, Error> {
    let state = wire::state_in(&task.status.state)
        .ok_or_else(|| Error::Shape("the task stands nowhere".to_owned()))?;
    let note = task.status.message.map(|message| answer_of(vec![message.parts])).transpose()?;
    let note = note.unwrap_or_default();
    let artifacts = task.artifacts.unwrap_or_default();
    let mut answer = answer_of(artifacts.into_iter().map(|artifact| artifact.parts).collect())?;
    // Agents without artifacts say what came of it where they say where it stands.
    if answer == Answer::default() && state == State::Completed {
        answer = note.clone();
    }
    Ok(Task { id: task.id, state, note: note.text, answer })
}

fn answer_of(all: Vec<Vec<lf::Part>>) -> Result<Answer, Error> {
    let parts: Vec<lf::Part> = all.into_iter().flatten().collect();
    if parts.len() > PARTS_MAX {
        return Err(Error::Shape(format!("it has {} parts, and at most {PARTS_MAX}", parts.len())));
    }
    let mut answer = Answer::default();
    for part in parts {
        let file = |more: (&str, Value)| {
            let mut file = Map::new();
            file.extend(part.filename.as_ref().map(|name| ("name".to_owned(), json!(name))));
            file.extend(part.media_type.as_ref().map(|media| ("media".to_owned(), json!(media))));
            file.insert(more.0.to_owned(), more.1);
            Value::Object(file)
        };
        match &part.content {
            lf::PartContent::Text(text) => {
                if !answer.text.is_empty() {
                    answer.text.push('\n');
                }
                answer.text.push_str(text);
            }
            lf::PartContent::Data(data) => answer.data.push(data.clone()),
            lf::PartContent::Url(url) => answer.files.push(file(("url", json!(url)))),
            lf::PartContent::Raw(bytes) => answer.files.push(file(("bytes", json!(bytes.len())))),
        }
    }
    Ok(answer)
}

fn shape(error: serde_json::Error) -> Error {
    Error::Shape(error.to_string())
}

/// What an agent's card says, as far as somebody has to know who wants to call it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Card {
    /// Its name.
    pub name: String,
    /// What it says it is for.
    pub description: String,
    /// Where it is spoken to by JSON-RPC, in the version that is spoken here.
    pub url: String,
    /// What it says it can do.
    pub skills: Vec<CardSkill>,
    /// Whether it wants a bearer token.
    pub wants_bearer: bool,
}

/// A skill of a card.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CardSkill {
    /// What it is called by.
    pub id: String,
    /// What people read.
    pub name: String,
    /// What it says it does.
    pub description: String,
    /// JSON Schema of its arguments, where the card says it.
    pub input: Option<Value>,
}

/// Most skills that are read of a card.
pub const SKILLS_MAX: usize = 200;

/// Reads a card.
///
/// # Errors
/// When it is none, or says no address that can be used.
pub fn read_card(bytes: &[u8]) -> Result<Card, Error> {
    let card: lf::AgentCard = serde_json::from_slice(bytes).map_err(shape)?;
    let is_ours = |at: &&lf::AgentInterface| {
        at.protocol_binding == lf::TRANSPORT_PROTOCOL_JSONRPC
            && at.protocol_version == crate::VERSION
    };
    let found = card.supported_interfaces.iter().find(is_ours).ok_or_else(|| {
        Error::Shape(format!("it names no address for JSON-RPC in version {}", crate::VERSION))
    })?;
    let inputs = inputs_of(&card);
    if card.skills.len() > SKILLS_MAX {
        let text = format!("it has {} skills, and at most {SKILLS_MAX}", card.skills.len());
        return Err(Error::Shape(text));
    }
    let schemes = card.security_schemes.unwrap_or_default();
    let is_bearer = |scheme: &lf::SecurityScheme| match scheme {
        lf::SecurityScheme::HttpAuth(http) => http.scheme.eq_ignore_ascii_case("bearer"),
        _ => false,
    };
    Ok(Card {
        url: found.url.clone(),
        wants_bearer: schemes.values().any(is_bearer),
        skills: card
            .skills
            .into_iter()
            .map(|skill| CardSkill {
                input: inputs.get(&skill.id).cloned(),
                id: skill.id,
                name: skill.name,
                description: skill.description,
            })
            .collect(),
        name: card.name,
        description: card.description,
    })
}

/// Schemas of arguments, where an agent speaks the extension that says them.
fn inputs_of(card: &lf::AgentCard) -> HashMap<String, Value> {
    let all = card.capabilities.extensions.iter().flatten();
    let ours = all.filter(|extension| extension.uri == crate::SKILLS);
    let inputs = ours.filter_map(|extension| extension.params.as_ref()?.get("inputs")?.as_object());
    inputs.flat_map(|map| map.iter().map(|(id, schema)| (id.clone(), schema.clone()))).collect()
}

/// Asks for what a card says to whoever is known.
///
/// # Errors
/// What cannot be written.
pub fn ask_card() -> Result<Vec<u8>, Error> {
    request_of(methods::GET_EXTENDED_AGENT_CARD, &lf::GetExtendedAgentCardRequest { tenant: None })
}

/// Reads what [`ask_card`] was answered with.
///
/// # Errors
/// As [`read_card`].
pub fn read_extended(bytes: &[u8]) -> Result<Card, Error> {
    let card = serde_json::to_vec(&result_of(bytes)?).map_err(shape)?;
    read_card(&card)
}
