//! What a server may ask of whoever calls it. Nothing is given and what was asked is remembered, unless somebody was named
//! who answers.

#![expect(deprecated, reason = "servers of the older generation still ask for it, and are refused")]

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use rmcp::{
    ClientHandler, ErrorData,
    model::{
        ClientCapabilities, ClientConfig, CreateMessageRequestParams, CreateMessageResult,
        ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationCapability, ErrorCode,
        Implementation, ListRootsResult, ProtocolVersion,
    },
    service::{RequestContext, RoleClient},
};
use serde_json::{Map, Value, json};

/// Most refusals that are remembered.
const TOLD_MAX: usize = 20;

/// Longest part of a question that is remembered, in characters.
const QUESTION_MAX_CHARS: usize = 200;

/// What a server asks of a person in the middle of a call. All of it is the server's word.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// To fill in a form.
    Form {
        /// What it says.
        message: String,
        /// JSON Schema of the answer: a flat object.
        schema: Value,
    },
    /// To go to a page of the server's own.
    Page {
        /// What it says.
        message: String,
        /// Where that is.
        url: String,
    },
}

impl Question {
    /// The answer that a form suggests: every field that has a default.
    #[must_use]
    pub fn defaults(&self) -> Map<String, Value> {
        let Self::Form { schema, .. } = self else { return Map::new() };
        let fields = schema.get("properties").and_then(Value::as_object);
        let with = |(name, field): (&String, &Value)| {
            field.get("default").map(|value| (name.clone(), value.clone()))
        };
        fields.into_iter().flatten().filter_map(with).collect()
    }
}

/// What a person says to a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Yes: the form as it was filled in; nothing for a page.
    Accept(Map<String, Value>),
    /// No.
    Decline,
    /// Nothing: it was put aside.
    Cancel,
}

/// What an answer is waited for with.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// Whoever answers what a server asks of a person. Whoever implements it decides what a person is shown: a question is
/// untrusted text that wants something typed.
pub trait Person: Send + Sync {
    /// Answers one question; dropping the answer means that the call is over.
    fn answer(&self, question: Question) -> Answering<'_>;
}

/// The client's own side of a connection.
#[derive(Default)]
pub(super) struct Deaf {
    told: Mutex<Vec<String>>,
    person: Option<Arc<dyn Person>>,
}

impl fmt::Debug for Deaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deaf").field("answers", &self.person.is_some()).finish_non_exhaustive()
    }
}

impl Deaf {
    /// With somebody who answers what is asked of a person.
    pub(super) fn but(person: Option<Arc<dyn Person>>) -> Self {
        Self { person, ..Self::default() }
    }

    /// What was refused since this was asked last.
    pub(super) fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, what: String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD_MAX {
            told.push(what);
        }
    }

    fn refuse(&self, what: &str) -> ErrorData {
        self.note(what.to_owned());
        ErrorData::new(ErrorCode::METHOD_NOT_FOUND, format!("refused: {what} is not offered"), None)
    }
}

/// A question as somebody may be shown it: short, and in one line.
fn short(question: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    question.chars().take(QUESTION_MAX_CHARS).map(clean).collect()
}

impl ClientHandler for Deaf {
    fn create_message(
        &self,
        _params: CreateMessageRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> impl Future<Output = Result<CreateMessageResult, ErrorData>> + Send + '_ {
        std::future::ready(Err(self.refuse("a model's answer (sampling)")))
    }

    fn list_roots(
        &self,
        _context: RequestContext<RoleClient>,
    ) -> impl Future<Output = Result<ListRootsResult, ErrorData>> + Send + '_ {
        std::future::ready(Err(self.refuse("a list of folders (roots)")))
    }

    async fn create_elicitation(
        &self,
        params: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let question = question(params);
        if let (Some(person), Some(question)) = (&self.person, &question) {
            return Ok(told(person.answer(question.clone()).await));
        }
        self.note(match question {
            Some(Question::Form { message, .. }) => {
                format!("an answer of a person: {}", short(&message))
            }
            // Where it leads is not repeated: nobody is to follow it.
            Some(Question::Page { message, .. }) => {
                format!("a person at a page of its own: {}", short(&message))
            }
            None => "something of a person".to_owned(),
        });
        Ok(ElicitResult::new(ElicitationAction::Decline))
    }

    fn get_info(&self) -> ClientConfig {
        let own = Implementation::new("harness", env!("CARGO_PKG_VERSION"));
        let can = match self.person {
            None => ClientCapabilities::default(),
            Some(_) => ClientCapabilities::builder().enable_elicitation_with(able()).build(),
        };
        ClientConfig::new(can, own).with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }
}

/// Forms and pages.
fn able() -> ElicitationCapability {
    let both = json!({"form": {}, "url": {}});
    serde_json::from_value(both).unwrap_or_default()
}

fn question(params: ElicitRequestParams) -> Option<Question> {
    match params {
        ElicitRequestParams::FormElicitationParams { message, requested_schema, .. } => {
            let schema = serde_json::to_value(&requested_schema).ok()?;
            Some(Question::Form { message, schema })
        }
        ElicitRequestParams::UrlElicitationParams { message, url, .. } => {
            Some(Question::Page { message, url })
        }
        _ => None,
    }
}

fn told(answer: Answer) -> ElicitResult {
    match answer {
        Answer::Accept(filled) => {
            let mut result = ElicitResult::new(ElicitationAction::Accept);
            result.content = Some(Value::Object(filled));
            result
        }
        Answer::Decline => ElicitResult::new(ElicitationAction::Decline),
        Answer::Cancel => ElicitResult::new(ElicitationAction::Cancel),
    }
}
