//! Agents that somebody else runs, by the Agent2Agent protocol: a message is sent, and its task is asked after until it is
//! over.
//!
//! What is sent is what the operation's arguments say and what its file fixes; the credential is the connector's own. What an
//! agent says about its task is its word alone: it is bounded, and labelled as the file says.

#[cfg(test)]
mod tests;

use std::time::Duration;

use ::a2a::{
    State,
    client::{self, Answer, Outgoing, Said, Task},
};
use kernel::{
    exception::{Class, Landed},
    port::Failure,
};
use serde_json::{Map, Value, json};

use crate::{
    blob::pass_on,
    call::{Arrived, Call, clip, fail, refuse},
    error::Error,
    http::{
        self, Clients, Wire,
        posted::{self, Line},
    },
    ingest::Pick,
    read::Reader,
    secret::Vault,
};

/// The first pause between two looks at a task, and the longest, in ms: each is twice the one before.
const PAUSE_MS: u64 = 100;
/// See [`PAUSE_MS`].
const PAUSE_MAX_MS: u64 = 5_000;

/// Looks in a row that may come to nothing.
const LOST_MAX: u32 = 5;

/// How long an agent has to hear that nobody waits any more.
const LET_GO_WITHIN: Duration = Duration::from_secs(5);

/// Longest part of what an agent says about a failure, in characters.
const SAID_MAX_CHARS: usize = 300;

/// A task for an agent.
#[derive(Debug)]
pub(crate) struct Delegation {
    pub(crate) system: String,
    auth: Option<http::Auth>,
    /// Where its words stand in the arguments.
    text: Option<String>,
    /// Where its data stand there.
    data: Option<String>,
    /// What is fixed beside them.
    metadata: Map<String, Value>,
    input: OnInput,
    on_error: Landed,
    result: String,
    external_ref: Option<String>,
}

/// What is done while the agent waits for somebody on its own side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnInput {
    /// The call fails, and the agent hears that nobody answers.
    Fail,
    /// It is waited for, as long as the call may take.
    Wait,
}

impl Delegation {
    pub(crate) fn compile(binding: &Reader<'_>) -> Result<Self, Error> {
        binding.only(&[
            "kind",
            "system",
            "auth",
            "text",
            "data",
            "metadata",
            "on_input_required",
            "landed_on_error",
            "result",
            "external_ref",
        ])?;
        let (text, data) = (binding.pointer("text")?, binding.pointer("data")?);
        if text.is_none() && data.is_none() {
            return Err(binding.error("text", "a message has words or data: name `text` or `data`"));
        }
        let mut metadata = Map::new();
        if let Some(fixed) = binding.child("metadata")? {
            for (name, value) in fixed.entries() {
                if !value.is_string() {
                    return Err(fixed.error(name, "must be text"));
                }
                metadata.insert(name.clone(), value.clone());
            }
        }
        let input = match binding.text_opt("on_input_required")? {
            None | Some("fail") => OnInput::Fail,
            Some("wait") => OnInput::Wait,
            Some(other) => {
                let text = format!("`{other}` is neither fail nor wait");
                return Err(binding.error("on_input_required", text));
            }
        };
        let on_error = match binding.text_opt("landed_on_error")? {
            None | Some("unknown") => Landed::Unknown,
            Some("no") => Landed::No,
            Some(other) => {
                let text = format!("`{other}` is neither no nor unknown");
                return Err(binding.error("landed_on_error", text));
            }
        };
        Ok(Self {
            system: binding.text("system")?.to_owned(),
            auth: http::auth(binding)?,
            text,
            data,
            metadata,
            input,
            on_error,
            result: binding.pointer("result")?.unwrap_or_default(),
            external_ref: binding.pointer("external_ref")?,
        })
    }

    pub(crate) fn check_granted(&self, clients: &Clients, vault: &Vault) -> Result<(), Error> {
        posted::check_granted(self.line(), clients, vault)
    }

    pub(crate) fn pick(&self) -> Pick<'_> {
        let external_ref = self.external_ref.as_deref();
        Pick { result: &self.result, external_ref, ..Pick::default() }
    }

    fn line(&self) -> Line<'_> {
        let header = (::a2a::VERSION_HEADER, ::a2a::VERSION);
        Line { system: &self.system, auth: self.auth.as_ref(), header }
    }

    /// Sends the message, and waits for what becomes of it.
    pub(crate) async fn run(&self, call: &Call, wire: &Wire<'_>) -> Result<Arrived, Failure> {
        let body = client::send(self.said(call)?).map_err(|error| refuse(error.to_string()))?;
        let bytes = posted::begin(self.line(), body, (call, wire)).await?;
        let landed = wire.departure.landed();
        let sent = client::read_sent(&bytes).map_err(|error| unsound(&error, landed))?;
        let value = match sent {
            Said::Answer(answer) => output(&answer, None),
            Said::Task(task) => {
                let task = self.over(*task, (call, wire)).await?;
                output(&task.answer, Some(&task.id))
            }
        };
        pass_on(&value, call, (wire.sink, &wire.redactor)).await
    }

    /// What is said: the arguments, and nothing of whoever wanted the call.
    fn said(&self, call: &Call) -> Result<Outgoing, Failure> {
        let at = |pointer: &Option<String>| {
            let pointer = pointer.as_ref()?;
            call.args.pointer(pointer).filter(|value| !value.is_null()).cloned()
        };
        let text = match at(&self.text) {
            None => None,
            Some(Value::String(text)) => Some(text),
            Some(_) => return Err(refuse("the words of a message are text")),
        };
        let data = at(&self.data);
        if text.is_none() && data.is_none() {
            return Err(refuse("the arguments hold nothing to say"));
        }
        let id = call.key.as_str().to_owned();
        Ok(Outgoing { id, text, data, metadata: self.metadata.clone() })
    }

    /// The task once it is over, and ended well.
    async fn over(
        &self,
        mut task: Task,
        (call, wire): (&Call, &Wire<'_>),
    ) -> Result<Task, Failure> {
        let mut pause_ms = PAUSE_MS;
        let mut lost = 0_u32;
        loop {
            let goes_on =
                !task.state.is_over() && (self.input == OnInput::Wait || !task.state.waits());
            if !goes_on {
                break;
            }
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            pause_ms = (pause_ms * 2).min(PAUSE_MAX_MS);
            match self.look(&task.id, (call, wire)).await {
                Ok(now) => (task, lost) = (now, 0),
                Err(failure) if lost + 1 < LOST_MAX && may_pass(&failure) => lost += 1,
                Err(failure) => return Err(failure),
            }
        }
        match task.state {
            State::Completed => Ok(task),
            state if state.waits() => Err(self.asked(task, (call, wire)).await),
            _ => Err(self.ended(&task, call)),
        }
    }

    async fn look(&self, id: &str, (call, wire): (&Call, &Wire<'_>)) -> Result<Task, Failure> {
        let landed = wire.departure.landed();
        let body = client::ask(id).map_err(|error| unsound(&error, landed))?;
        let bytes = posted::look(self.line(), body, (call, wire)).await?;
        // What the agent says about being asked says nothing about what it did.
        client::read_task(&bytes, id).map_err(|error| Failure { landed, ..unsound(&error, landed) })
    }

    /// The agent wants to know something. Nobody here answers it: a call says all of it at once, or not enough.
    async fn asked(&self, task: Task, (call, wire): (&Call, &Wire<'_>)) -> Failure {
        let landed = wire.departure.landed();
        let let_go = async {
            let body = client::cancel(&task.id).ok()?;
            let bytes = posted::look(self.line(), body, (call, wire)).await.ok()?;
            client::read_task(&bytes, &task.id).ok()
        };
        let ended = tokio::time::timeout(LET_GO_WITHIN, let_go).await.ok().flatten();
        let after = match ended.map(|task| task.state) {
            Some(State::Canceled) => "was ended by us",
            _ => "may go on without us",
        };
        let (what, class) = match task.state {
            State::AuthRequired => ("wants a credential that it does not have", Class::Permission),
            _ => ("wants to know something", Class::InvalidArguments),
        };
        let said = told(&task.note, call);
        fail(
            class,
            landed,
            format!("the agent {what}: {said}; its task {} {after}", name(&task.id)),
        )
    }

    /// The task is over, and did not end well.
    fn ended(&self, task: &Task, call: &Call) -> Failure {
        let unknown = if call.operation.is_write() { self.on_error } else { Landed::No };
        let (class, landed) = match task.state {
            // It did not begin.
            State::Rejected => (Class::Permission, Landed::No),
            State::Canceled => (Class::Unavailable, unknown),
            _ => (Class::InvalidArguments, unknown),
        };
        let (id, state, said) = (name(&task.id), task.state.word(), told(&task.note, call));
        fail(class, landed, format!("the agent's task {id} is {state}: {said}"))
    }
}

/// Whether another look may come to more.
fn may_pass(failure: &Failure) -> bool {
    matches!(failure.class, Class::Unavailable | Class::Timeout | Class::RateLimit)
}

/// Somebody else's id, as far as it is shown.
fn name(id: &str) -> String {
    clip(id, 64)
}

/// What an agent says, unless fields of its answers are masked: nobody can tell where those are.
fn told(note: &str, call: &Call) -> String {
    match note.trim() {
        _ if !call.masks.is_empty() => "(withheld: fields of its answers are masked)".to_owned(),
        "" => "it says nothing more".to_owned(),
        text => clip(text, SAID_MAX_CHARS),
    }
}

fn unsound(error: &client::Error, landed: Landed) -> Failure {
    let (class, landed) = match error {
        _ if error.was_not_taken() => (Class::InvalidArguments, Landed::No),
        client::Error::Refused { .. } => (Class::Unavailable, landed),
        client::Error::Shape(_) | client::Error::Other => (Class::UnexpectedShape, landed),
    };
    fail(class, landed, clip(&format!("no sound answer of the agent: {error}"), SAID_MAX_CHARS * 2))
}

fn output(answer: &Answer, task: Option<&str>) -> Value {
    let mut value = Map::new();
    value.insert("text".to_owned(), json!(answer.text));
    value.insert("data".to_owned(), json!(answer.data));
    if !answer.files.is_empty() {
        value.insert("files".to_owned(), json!(answer.files));
    }
    value.extend(task.map(|id| ("task".to_owned(), json!(id))));
    Value::Object(value)
}
