//! Servers of the Model Context Protocol as connectors: what a pack may call of them, held against what was accepted.
//!
//! Which program or address a server is, the operator declares. Which of its tools exist for us, what each does to the
//! world and what its answers are worth, the pack's file says; what the server claims about that is a hint and decides
//! nothing. Each tool is pinned to the digest of its definition: one that is another than was accepted is not called.

mod ears;
mod form;
mod permission;
mod session;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use ::mcp::client::{self, CallResult, Client, Listener, Tool};
use kernel::{
    canon,
    exception::{Class, Landed},
    id::Digest,
    port::{Failure, Validate},
};
use serde_json::{Map, Value, json};

pub(crate) use ears::NobodyThere;
pub use ears::{Calling, Passing, There};
pub use form::{Form, Told};
pub use session::Listing;
pub(crate) use session::Servers;

use crate::{
    blob::{BlobSink, pass_on},
    call::{Arrived, Call, Departure, clip, fail, landed_if_write, refuse},
    error::Error,
    ingest::Pick,
    read::Reader,
    redact::Redactor,
};

/// Longest part of what a server says about a failure, in characters.
const SAID_MAX_CHARS: usize = 300;

/// Largest result of a tool that failed which is kept whole, in bytes.
const FAILED_MAX_BYTES: usize = 64 * 1024;

/// Where the result of a tool that failed stands in what is kept of it, if its answers are passed on whole.
pub const FAILED_AS: &str = "result";

/// Where an error of the protocol stands in what is kept of a call whose answers are passed on whole.
pub const REFUSED_AS: &str = "error";

/// Longest pause that a server may ask for, in milliseconds: it holds for every run.
const PAUSE_MAX_MS: i64 = 3_600_000;

/// Errors of JSON-RPC that say that the call was none: not well-formed, of no method, with no such arguments.
const REFUSALS: [i32; 3] = [-32_600, -32_601, -32_602];

/// The error of a server that would have to ask what its client cannot answer: nothing was done, the protocol says.
const CANNOT_ASK: i32 = -32_021;

/// What is asked of a server.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(crate) system: String,
    what: What,
    result: String,
    external_ref: Option<String>,
}

#[derive(Debug)]
enum What {
    /// A tool, with the digest of the definition that was accepted.
    Call {
        tool: String,
        accepted: Digest,
        answer: Answer,
        on_error: Landed,
        /// What the accepted definition promises of a result, once it was seen: the digest holds it to that.
        promised: OnceLock<Option<Arc<Value>>>,
    },
    /// What there is to be read.
    Resources,
    /// What stands at the address that an argument names.
    Read { uri: String, answer: Answer },
    /// A prompt, its places filled with the arguments.
    Prompt { name: String, answer: Answer },
}

/// Which part of a result is the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Structured,
    Text,
    /// All of it, as it came.
    Whole,
}

impl Errand {
    pub(crate) fn compile(binding: &Reader<'_>) -> Result<Self, Error> {
        const SHARED: [&str; 4] = ["kind", "system", "result", "external_ref"];
        let with = |own: &[&str]| binding.only(&[&SHARED[..], &["do"], own].concat());
        let what = match binding.text_opt("do")?.unwrap_or("call") {
            "call" => {
                with(&["tool", "definition", "answer", "landed_on_error"])?;
                What::Call {
                    tool: binding.text("tool")?.to_owned(),
                    accepted: binding.text("definition")?.parse().map_err(|error| {
                        binding
                            .error("definition", format!("{error}; `harness mcp import` writes it"))
                    })?,
                    answer: answer(binding)?,
                    on_error: on_error(binding)?,
                    promised: OnceLock::new(),
                }
            }
            "resources" => with(&[]).map(|()| What::Resources)?,
            "read" => {
                with(&["uri", "answer"])?;
                let uri = binding.pointer("uri")?.unwrap_or_else(|| "/uri".to_owned());
                What::Read { uri, answer: answer_of_reading(binding)? }
            }
            "prompt" => {
                with(&["prompt", "answer"])?;
                let name = binding.text("prompt")?.to_owned();
                What::Prompt { name, answer: answer_of_reading(binding)? }
            }
            other => {
                let text = format!("`{other}` is none of call, resources, read, prompt");
                return Err(binding.error("do", text));
            }
        };
        Ok(Self {
            system: binding.text("system")?.to_owned(),
            what,
            result: binding.pointer("result")?.unwrap_or_default(),
            external_ref: binding.pointer("external_ref")?,
        })
    }

    pub(crate) fn pick(&self) -> Pick<'_> {
        let external_ref = self.external_ref.as_deref();
        Pick { result: &self.result, external_ref, ..Pick::default() }
    }
}

fn answer(binding: &Reader<'_>) -> Result<Answer, Error> {
    match binding.text_opt("answer")? {
        None | Some("text") => Ok(Answer::Text),
        Some("structured") => Ok(Answer::Structured),
        Some("whole") => Ok(Answer::Whole),
        Some(other) => {
            Err(binding.error("answer", format!("`{other}` is none of text, structured, whole")))
        }
    }
}

/// What is read, and a prompt, have no structured part.
fn answer_of_reading(binding: &Reader<'_>) -> Result<Answer, Error> {
    match answer(binding)? {
        Answer::Structured => {
            Err(binding.error("answer", "only tools have a structured result".to_owned()))
        }
        other => Ok(other),
    }
}

fn on_error(binding: &Reader<'_>) -> Result<Landed, Error> {
    match binding.text_opt("landed_on_error")? {
        None | Some("unknown") => Ok(Landed::Unknown),
        Some("no") => Ok(Landed::No),
        Some(other) => {
            Err(binding.error("landed_on_error", format!("`{other}` is neither no nor unknown")))
        }
    }
}

/// The digest that pins a tool: over everything that somebody read who accepted it.
///
/// # Errors
/// A definition with a number that means different things to different readers.
pub fn definition_digest(tool: &Tool) -> Result<Digest, String> {
    digest_of(&tool.definition())
}

/// The same of a definition as it stands in [`Offer::whole`].
///
/// # Errors
/// As [`definition_digest`].
pub fn digest_of(definition: &Value) -> Result<Digest, String> {
    let bytes = canon::bytes(definition).map_err(|error| error.to_string())?;
    Ok(Digest::of(&bytes))
}

/// What a server can be asked to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Its tools.
    Tools,
    /// What can be read.
    Resources,
    /// Templates of addresses of what can be read.
    Templates,
    /// Its prompts.
    Prompts,
}

/// Something that a server lists.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// What it is called by: a name; an address, or a template of some.
    pub name: String,
    /// All of it, as it came; of a tool what is pinned.
    pub whole: Value,
}

impl Listed {
    async fn of(self, client: &Client) -> Result<Vec<Offer>, client::Error> {
        let offer = |name, whole| Offer { name, whole };
        let listed = match self {
            Self::Tools => client.tools().await.map(|all| {
                all.into_iter().map(|one| offer(one.name.clone(), one.definition())).collect()
            }),
            Self::Resources => client
                .resources()
                .await
                .map(|all| all.into_iter().map(|one| offer(one.uri, one.whole)).collect()),
            Self::Templates => client
                .templates()
                .await
                .map(|all| all.into_iter().map(|one| offer(one.uri, one.whole)).collect()),
            Self::Prompts => client
                .prompts()
                .await
                .map(|all| all.into_iter().map(|one| offer(one.name, one.whole)).collect()),
        };
        match listed {
            // Many servers have none, and do not know the question.
            Err(client::Error::Answer { code, .. })
                if self != Self::Tools && REFUSALS.contains(&code) =>
            {
                Ok(Vec::new())
            }
            listed => listed,
        }
    }
}

/// What one call needs besides the call itself.
pub(crate) struct Wire<'a> {
    pub(crate) departure: &'a Departure,
    pub(crate) sink: Option<&'a dyn BlobSink>,
    pub(crate) redactor: Arc<Redactor>,
    pub(crate) validate: &'a dyn Validate,
}

impl Errand {
    /// What the call is held against, as it is now: asked for anew before each call.
    pub(crate) async fn look(&self, client: &Client) -> Result<Vec<Tool>, client::Error> {
        match &self.what {
            What::Call { .. } => client.tools().await,
            What::Resources | What::Read { .. } | What::Prompt { .. } => Ok(Vec::new()),
        }
    }

    /// Makes the call on a connection whose tools these are.
    pub(crate) async fn run(
        &self,
        (client, tools): (&Client, Vec<Tool>),
        (call, via): (&Call, Option<&Arc<dyn Listener>>),
        wire: &Wire<'_>,
    ) -> Result<Arrived, Failure> {
        let passed = self.is_passed() && call.masks.is_empty();
        let lost = |error: client::Error| {
            let kept = passed.then(|| error_as_sample(&error, wire)).flatten();
            Failure { sample: kept, ..failure(error, wire.departure.landed()) }
        };
        let value = match &self.what {
            What::Call { tool, answer, on_error, .. } => {
                let promised = self.accepted(tools, call)?;
                let args = arguments(call)?;
                wire.departure.leave()?;
                let result = client.call_for(tool, args, via).await.map_err(|error| {
                    let failed = lost(error);
                    let message = with_refusals(failed.message, &client.told());
                    Failure { message, ..failed }
                })?;
                if result.is_error {
                    let failed = failed(&result, call, *on_error);
                    let kept = (*answer == Answer::Whole).then(|| as_sample(&result, call, wire));
                    return Err(Failure { sample: kept.flatten(), ..failed });
                }
                taken(result, *answer, promised.as_ref(), (call, wire.validate))?
            }
            What::Resources => {
                wire.departure.leave()?;
                let resources = client.resources().await.map_err(lost)?;
                let templates = match client.templates().await {
                    Ok(templates) => templates,
                    // Many servers have none, and do not know the question.
                    Err(client::Error::Answer { code, .. }) if REFUSALS.contains(&code) => {
                        Vec::new()
                    }
                    Err(error) => return Err(lost(error)),
                };
                json!({"resources": resources, "templates": templates})
            }
            What::Read { uri, answer } => {
                let named = call.args.pointer(uri).and_then(Value::as_str);
                let named = named
                    .ok_or_else(|| refuse(format!("the argument {uri} must name a resource")))?;
                wire.departure.leave()?;
                let read = client.read_for(named, via).await.map_err(lost)?;
                match answer {
                    Answer::Whole => read.whole,
                    _ => json!({"contents": read.contents}),
                }
            }
            What::Prompt { name, answer } => {
                let args = arguments(call)?;
                wire.departure.leave()?;
                let got = client.prompt_for(name, args, via).await.map_err(lost)?;
                match answer {
                    Answer::Whole => got.whole,
                    _ => json!({"description": got.description, "messages": got.messages}),
                }
            }
        };
        pass_on(&value, call, (wire.sink, &wire.redactor)).await
    }

    /// Whether what comes is passed on as it came.
    fn is_passed(&self) -> bool {
        match &self.what {
            What::Call { answer, .. } | What::Read { answer, .. } | What::Prompt { answer, .. } => {
                *answer == Answer::Whole
            }
            What::Resources => false,
        }
    }

    /// That the tool is still what was accepted; the schema that it promises for its result.
    fn accepted(&self, tools: Vec<Tool>, call: &Call) -> Result<Option<Arc<Value>>, Failure> {
        let What::Call { tool: name, accepted, promised, .. } = &self.what else { return Ok(None) };
        let (system, id) = (&self.system, &call.operation.id);
        let connector = id.as_str().split('.').next().unwrap_or_default();
        let mut named = tools.into_iter().filter(|tool| tool.name == *name);
        let quarantined = |why: String| {
            let next = format!(
                "look with `harness mcp diff {connector}`; until somebody takes it with `harness mcp accept`, it is not called"
            );
            fail(Class::Permission, Landed::No, format!("`{id}` is quarantined: {why}; {next}"))
        };
        let tool = named
            .next()
            .ok_or_else(|| quarantined(format!("`{system}` has no tool `{name}` any more")))?;
        if named.next().is_some() {
            return Err(quarantined(format!("`{system}` has two tools called `{name}`")));
        }
        if *accepted == Digest::default() {
            return Err(quarantined(format!("nobody has accepted the definition of `{name}` yet")));
        }
        let now = definition_digest(&tool).map_err(quarantined)?;
        if now != *accepted {
            return Err(quarantined(format!(
                "the definition of `{name}` is another than the one that was accepted (then {}, now {})",
                accepted.short(),
                now.short()
            )));
        }
        Ok(promised.get_or_init(|| tool.output.map(Arc::new)).clone())
    }
}

fn arguments(call: &Call) -> Result<Map<String, Value>, Failure> {
    match &*call.args {
        Value::Object(map) => Ok(map.clone()),
        Value::Null => Ok(Map::new()),
        _ => Err(refuse("the arguments of a tool are an object")),
    }
}

/// What a tool says that failed. That a write failed does not say that it did nothing: only a person who knows the tool
/// can.
fn failed(result: &CallResult, call: &Call, on_error: Landed) -> Failure {
    let landed = if call.operation.is_write() { on_error } else { Landed::No };
    let mut message = match result.text().trim() {
        "" => "the tool says that it failed, and nothing more".to_owned(),
        text => format!("the tool says that it failed: {}", clip(text, SAID_MAX_CHARS)),
    };
    message = with_refusals(message, &result.declined);
    if !call.masks.is_empty() {
        "the tool says that it failed (withheld: fields of its answers are masked)"
            .clone_into(&mut message);
    }
    fail(Class::InvalidArguments, landed, message)
}

/// With what the server asked of us instead of answering.
fn with_refusals(message: String, declined: &[String]) -> String {
    match declined.is_empty() {
        true => message,
        false => {
            let asked = clip(&declined.join(", "), SAID_MAX_CHARS);
            format!("{message}; it asked for {asked}, and was refused")
        }
    }
}

/// The answer of a tool that did not fail, held against what its server promises.
fn taken(
    result: CallResult,
    answer: Answer,
    promised: Option<&Arc<Value>>,
    (call, validate): (&Call, &dyn Validate),
) -> Result<Value, Failure> {
    let bad = |what: String| fail(Class::UnexpectedShape, landed_if_write(&call.operation), what);
    if let Some(schema) = promised {
        let value = result
            .structured
            .as_ref()
            .ok_or_else(|| bad("the tool promises a structured result and gave none".to_owned()))?;
        // Where the file promises the same, that is checked of every answer.
        let ours = answer == Answer::Structured && call.operation.output == *schema;
        let found = (!ours).then(|| validate.violation(schema, value)).flatten();
        if let Some(found) = found {
            let what = format!(
                "the result is not what the tool itself promises: {} {}",
                found.at, found.problem
            );
            return Err(bad(what));
        }
    }
    match answer {
        Answer::Structured => {
            result.structured.ok_or_else(|| bad("the tool gave no structured result".to_owned()))
        }
        Answer::Text => Ok(as_text(&result)),
        Answer::Whole => Ok(result.whole),
    }
}

/// What a tool said that failed, for whoever it is passed on to. Nothing of it where fields are masked: nobody can tell
/// where those are.
fn as_sample(result: &CallResult, call: &Call, wire: &Wire<'_>) -> Option<Arc<Value>> {
    if !call.masks.is_empty() || result.whole.to_string().len() > FAILED_MAX_BYTES {
        return None;
    }
    let mut whole = result.whole.clone();
    wire.redactor.scrub_value(&mut whole);
    Some(Arc::new(json!({ (FAILED_AS): whole })))
}

/// An error of the protocol, for whoever it is passed on to.
fn error_as_sample(error: &client::Error, wire: &Wire<'_>) -> Option<Arc<Value>> {
    let client::Error::Answer { code, message, data } = error else { return None };
    let mut whole = json!({"code": code, "message": message, "data": data});
    if whole.to_string().len() > FAILED_MAX_BYTES {
        return None;
    }
    wire.redactor.scrub_value(&mut whole);
    Some(Arc::new(json!({ (REFUSED_AS): whole })))
}

/// Text for whoever reads it, and what is no text beside it.
fn as_text(result: &CallResult) -> Value {
    let mut value = Map::new();
    value.insert("text".to_owned(), json!(result.text()));
    let other: Vec<&Value> =
        result.content.iter().filter(|block| block["type"] != "text").collect();
    if !other.is_empty() {
        value.insert("blocks".to_owned(), json!(other));
    }
    if !result.declined.is_empty() {
        value.insert("declined".to_owned(), json!(result.declined));
    }
    Value::Object(value)
}

/// What no sound answer of a server means for the call.
fn failure(error: client::Error, landed: Landed) -> Failure {
    use client::Error as E;
    let mut retry_after_ms = None;
    let (class, landed) = match &error {
        E::Unusable(_) | E::Unreachable(_) => (Class::Unavailable, Landed::No),
        E::Late(_) => (Class::Timeout, landed),
        E::Over => (Class::Unavailable, landed),
        E::Refused(_) => (Class::Permission, landed),
        E::Status { status, retry_after } => {
            let seconds = retry_after.as_ref().and_then(|text| text.trim().parse::<i64>().ok());
            retry_after_ms = seconds.map(|s| s.saturating_mul(1_000).clamp(0, PAUSE_MAX_MS));
            (of_status(*status), landed)
        }
        E::Answer { code: CANNOT_ASK, .. } => (Class::InvalidArguments, Landed::No),
        E::Answer { code, .. } if REFUSALS.contains(code) => (Class::InvalidArguments, landed),
        E::Answer { .. } => (Class::Unavailable, landed),
        E::TooMany { .. } | E::Circle { .. } | E::TooLarge { .. } | E::Insists | E::NoAnswer(_) => {
            (Class::UnexpectedShape, landed)
        }
    };
    let message = format!("the MCP server gave no sound answer: {error}");
    Failure { retry_after_ms, ..fail(class, landed, clip(&message, SAID_MAX_CHARS * 2)) }
}

fn of_status(status: u16) -> Class {
    match status {
        401 | 403 => Class::Permission,
        429 => Class::RateLimit,
        400..500 => Class::InvalidArguments,
        _ => Class::Unavailable,
    }
}
