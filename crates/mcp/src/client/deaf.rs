//! What a server may ask of whoever calls it. Nothing is given and what was asked is remembered, unless somebody was named
//! who answers: a person, or whoever the call is passed on for.

#![expect(deprecated, reason = "servers of the older generation still ask for it, and are refused")]

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rmcp::{
    ClientHandler, ErrorData,
    model::{
        ClientCapabilities, ClientConfig, CreateMessageRequestParams, CreateMessageResult,
        ElicitRequestParams, ElicitResult, ElicitationCapability, ErrorCode, Implementation,
        ListRootsResult, LoggingMessageNotificationParam, ProgressNotificationParam, ProgressToken,
        ProtocolVersion, ResourceUpdatedNotificationParam,
    },
    service::{NotificationContext, RequestContext, RoleClient},
};
use serde::{Serialize, de::DeserializeOwned};
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

/// Something that a server asks in the middle of a call, in the protocol's own words.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// What the server tells it by.
    pub key: String,
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`.
    pub method: String,
    /// What it asks.
    pub params: Value,
}

/// Something that a server says in the middle of a call, in the protocol's own words.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// How far it is.
    Progress(Value),
    /// A line of its log.
    Log(Value),
    /// What stands at this address is another now; it belongs to no call.
    Updated(String),
    /// This list is another now; it belongs to no call.
    Relisted(List),
}

/// A list that a server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum List {
    /// What can be called.
    Tools,
    /// What can be read.
    Resources,
    /// Prompts.
    Prompts,
}

/// What whoever a call is passed on for can answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Able {
    /// Forms and pages, which a person answers.
    pub elicitation: bool,
    /// What a model would say.
    pub sampling: bool,
    /// A list of folders.
    pub roots: bool,
}

impl Able {
    /// Whether this can be answered.
    #[must_use]
    pub fn can(self, method: &str) -> bool {
        match method {
            "elicitation/create" => self.elicitation,
            "sampling/createMessage" => self.sampling,
            "roots/list" => self.roots,
            _ => false,
        }
    }
}

/// The results that questions are answered with, by their keys.
pub type Answers = BTreeMap<String, Value>;

/// Whoever a call is passed on for.
pub trait Listener: Send + Sync {
    /// What may be asked.
    fn able(&self) -> Able;

    /// Whether anybody hears what is said.
    fn hears(&self) -> bool;

    /// Answers everything that is asked at once; none = nobody is there who could.
    fn ask(&self, asked: Vec<Asked>) -> Pin<Box<dyn Future<Output = Option<Answers>> + Send + '_>>;

    /// Hears what is said.
    fn hear(&self, said: Said);
}

/// Whoever is behind a client.
#[derive(Clone, Default)]
pub(super) enum Behind {
    /// Nobody.
    #[default]
    Nobody,
    /// Somebody who answers what is asked of a person.
    Person(Arc<dyn Person>),
    /// Whoever the call is passed on for.
    Listener(Arc<dyn Listener>),
}

impl Behind {
    pub(super) fn of(listener: Option<Arc<dyn Listener>>) -> Self {
        listener.map_or(Self::Nobody, Self::Listener)
    }
}

/// The client's own side of a connection.
#[derive(Default)]
pub(super) struct Deaf {
    told: Mutex<Vec<String>>,
    behind: Behind,
    /// Who hears how far each request is.
    followed: Mutex<HashMap<ProgressToken, Arc<dyn Listener>>>,
}

impl fmt::Debug for Deaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deaf").finish_non_exhaustive()
    }
}

impl Deaf {
    /// With somebody behind it.
    pub(super) fn but(behind: Behind) -> Self {
        Self { behind, ..Self::default() }
    }

    /// Answers what is asked, all of it or nothing: by whoever this call is made for, if that is known.
    pub(super) async fn answer(
        &self,
        asked: Vec<Asked>,
        via: Option<&Arc<dyn Listener>>,
    ) -> Result<Answers, ErrorData> {
        let behind = match &self.behind {
            Behind::Listener(listener) => Some(listener),
            Behind::Nobody | Behind::Person(_) => None,
        };
        if let Some(listener) = via.or(behind)
            && asked.iter().all(|one| listener.able().can(&one.method))
            && let Some(answers) = listener.ask(asked.clone()).await
        {
            return Ok(answers);
        }
        let mut answers = Answers::new();
        for one in asked {
            let result = match one.method.as_str() {
                "elicitation/create" => self.asked_of_person(one.params).await,
                "sampling/createMessage" => return Err(self.refuse("a model's answer (sampling)")),
                _ => return Err(self.refuse("a list of folders (roots)")),
            };
            answers.insert(one.key, result);
        }
        Ok(answers)
    }

    async fn asked_of_person(&self, params: Value) -> Value {
        let question = serde_json::from_value(params).ok().and_then(question);
        if let (Behind::Person(person), Some(question)) = (&self.behind, &question) {
            return told(person.answer(question.clone()).await);
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
        told(Answer::Decline)
    }

    /// One question of a server with a session.
    async fn one<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Option<impl Serialize>,
    ) -> Result<T, ErrorData> {
        let unfit = |error: serde_json::Error| ErrorData::internal_error(error.to_string(), None);
        let params = params.map(serde_json::to_value).transpose().map_err(unfit)?;
        let (key, method) = (String::new(), method.to_owned());
        let asked = Asked { key, method, params: params.unwrap_or_default() };
        let mut answers = self.answer(vec![asked], None).await?;
        let answer = answers.remove("").unwrap_or_default();
        serde_json::from_value(answer).map_err(unfit)
    }

    /// Who hears how far a request is, from now on; nobody any more where there is none.
    pub(super) fn follow(&self, token: &ProgressToken, listener: Option<&Arc<dyn Listener>>) {
        match listener {
            Some(listener) => drop(self.followed().insert(token.clone(), Arc::clone(listener))),
            None => drop(self.followed().remove(token)),
        }
    }

    fn followed(&self) -> MutexGuard<'_, HashMap<ProgressToken, Arc<dyn Listener>>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn hear(&self, said: fn(Value) -> Said, params: &impl Serialize) {
        if let (Behind::Listener(listener), Ok(params)) =
            (&self.behind, serde_json::to_value(params))
        {
            listener.hear(said(params));
        }
    }

    /// Tells what belongs to no call.
    fn tell(&self, said: Said) {
        if let Behind::Listener(listener) = &self.behind {
            listener.hear(said);
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
    async fn create_message(
        &self,
        params: CreateMessageRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        self.one("sampling/createMessage", Some(params)).await
    }

    async fn list_roots(
        &self,
        _context: RequestContext<RoleClient>,
    ) -> Result<ListRootsResult, ErrorData> {
        self.one("roots/list", None::<Value>).await
    }

    async fn create_elicitation(
        &self,
        params: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        self.one("elicitation/create", Some(params)).await
    }

    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        let followed = self.followed().get(&params.progress_token).cloned();
        match (followed, serde_json::to_value(&params)) {
            (Some(listener), Ok(params)) => listener.hear(Said::Progress(params)),
            _ => self.hear(Said::Progress, &params),
        }
    }

    async fn on_resource_updated(
        &self,
        params: ResourceUpdatedNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.tell(Said::Updated(params.uri));
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.tell(Said::Relisted(List::Tools));
    }

    async fn on_resource_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.tell(Said::Relisted(List::Resources));
    }

    async fn on_prompt_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.tell(Said::Relisted(List::Prompts));
    }

    async fn on_logging_message(
        &self,
        params: LoggingMessageNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.hear(Said::Log, &params);
    }

    fn get_info(&self) -> ClientConfig {
        let own = Implementation::new("harness", env!("CARGO_PKG_VERSION"));
        let able = match &self.behind {
            Behind::Nobody => Able::default(),
            Behind::Person(_) => Able { elicitation: true, ..Able::default() },
            Behind::Listener(listener) => listener.able(),
        };
        ClientConfig::new(capabilities(able), own)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }
}

/// What can be asked, as it is said to a server.
pub(super) fn capabilities(able: Able) -> ClientCapabilities {
    let mut can = ClientCapabilities::default();
    can.elicitation = able.elicitation.then(forms_and_pages);
    can.sampling = able.sampling.then(Default::default);
    can.roots = able.roots.then(Default::default);
    can
}

fn forms_and_pages() -> ElicitationCapability {
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

fn told(answer: Answer) -> Value {
    match answer {
        Answer::Accept(filled) => json!({"action": "accept", "content": filled}),
        Answer::Decline => json!({"action": "decline"}),
        Answer::Cancel => json!({"action": "cancel"}),
    }
}
