//! A server: what it offers is a [`Desk`], which somebody else implements; how it is spoken is here.
//!
//! One desk is one caller. Over standard input there is one for the whole connection; over HTTP whoever answers
//! requests says for each of them at whose desk it is, so nothing that a client says about itself can matter.

mod http;
mod kept;
mod line;
mod seal;
mod stdio;
mod wall;
mod watch;
mod words;

use std::{fmt, future::Future, pin::Pin};

use serde_json::{Map, Value};

pub use self::{
    http::{Body, Http, Routed},
    line::{Line, fits},
    seal::{Broken, Seal},
    stdio::serve,
};
pub use crate::client::{Able, Answers, Asked, List, Said};

/// Longest message on a line of standard input, in bytes.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Largest body of a request over HTTP, in bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Tools on one page of a list.
pub const PAGE_TOOLS: usize = 100;

/// Most tools that one caller is offered; what is beyond is left out.
pub const TOOLS_MAX: usize = 1_000;

/// Calls of one connection, or over HTTP of one server, under way at a time.
pub const CALLS_MAX: usize = 128;

/// Clients of the newer generation that listen to one server at a time.
pub const LISTENERS_MAX: usize = 256;

/// Largest text or structured part of an answer, in bytes: one event, one line.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Largest answer that is passed on as somebody else gave it, in bytes: what one message of a server may have.
pub const PASSED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What takes a while.
pub type Task<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who this server is.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What a client's model should know about all of it.
    pub instructions: String,
    /// What it has beside tools.
    pub has: Has,
}

/// What a server has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Has {
    /// Tools alone.
    #[default]
    Tools,
    /// Resources and prompts, too, and completions of both: those of other servers.
    Everything,
}

/// Something that can be called.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tool {
    /// What it is called by.
    pub name: String,
    /// What people read.
    pub title: String,
    /// What a model reads.
    pub description: String,
    /// JSON Schema of its arguments: an object.
    pub input: Map<String, Value>,
    /// JSON Schema of its structured answer, where it has one.
    pub output: Option<Map<String, Value>>,
    /// What is said about its effects.
    pub hints: Hints,
    /// Its definition as another server wrote it. Where it is there, all of it is passed on but the name.
    pub passed: Option<Value>,
}

/// What is said about the effects of a tool. Clients take it as a hint; it holds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// It changes nothing.
    pub read_only: bool,
    /// What it changes may not come back.
    pub destructive: bool,
    /// Calling it twice is calling it once.
    pub idempotent: bool,
    /// It reaches beyond systems that are declared.
    pub open_world: bool,
}

/// A call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which tool.
    pub name: String,
    /// Its arguments.
    pub arguments: Map<String, Value>,
    /// What this server said to give back when the call is repeated. It comes from the client: sealed or worthless.
    pub state: Option<String>,
    /// What the client says to what it was asked, by its keys; none where it says nothing.
    pub answers: Option<Answers>,
    /// How the client can be sent to a person.
    pub asks: Asks,
    /// Whether it can be told to come back.
    pub keeps: Keeps,
}

/// Whether a client comes back for what a call came to (the protocol's extension for tasks).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// It does.
    Tasks,
    /// It waits for the answer.
    Nothing,
}

/// How a client can be sent to a person while a call waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// It opens an address and repeats the call afterwards.
    ByUrl,
    /// It cannot.
    No,
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It has an answer.
    Told(Told),
    /// A person is asked at an address, and the call is repeated with this state.
    Open(Open),
    /// The client is asked, and repeats the call with what it says and this state.
    Asks(Asking),
    /// Another server answered with an error of the protocol, which is passed on.
    Refused(Refusal),
    /// The call goes on, and its client comes back: only of a client that keeps tasks.
    Kept(Box<Kept>),
}

/// A call that goes on without its client, which comes back for what it came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// By what it is asked for.
    pub id: String,
    /// Where it stands.
    pub stands: Stands,
    /// The same in a sentence.
    pub message: String,
    /// When it began, RFC 3339 UTC.
    pub begun_at: String,
    /// When something last became of it, RFC 3339 UTC.
    pub changed_at: String,
    /// Beside it, for programs.
    pub meta: Map<String, Value>,
}

/// Where a kept call stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Stands {
    /// It goes on, or somebody else is waited for.
    Working,
    /// Its client is asked.
    Asks(Vec<Asked>),
    /// It came to an answer, be it a bad one.
    Ended(Told),
    /// It came to an error of the protocol.
    Refused(Refusal),
    /// It was ended before it came to anything.
    Cancelled,
}

/// What a client without a session is asked before its call goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Asking {
    /// What, in the protocol's own words.
    pub asked: Vec<Asked>,
    /// To be given back; sealed by whoever made it.
    pub state: String,
    /// Beside the questions, for programs.
    pub meta: Map<String, Value>,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// What a model reads.
    pub text: String,
    /// The same as data: an object.
    pub structured: Option<Map<String, Value>>,
    /// Whether it went well.
    pub ended: Ended,
    /// Beside the answer, for programs.
    pub meta: Map<String, Value>,
    /// The result as another server gave it. Where it is there, it is passed on as it is, with `meta` beside what it has.
    pub passed: Option<Value>,
}

/// Whether a call went well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ended {
    /// It did.
    #[default]
    Well,
    /// It did not; the answer says how.
    Wrong,
}

/// A person is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    /// What is asked, by its id.
    pub id: String,
    /// Where it is answered.
    pub url: String,
    /// One sentence.
    pub message: String,
    /// To be given back; sealed by whoever made it.
    pub state: String,
    /// Beside the question, for programs.
    pub meta: Map<String, Value>,
}

/// Something beside tools that another server has: what is listed of it is passed on as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// What can be read.
    Resource,
    /// Templates of addresses of what can be read.
    Template,
    /// Prompts.
    Prompt,
}

/// What is asked for of another server, beside calls of tools.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetch {
    /// A resource, or a prompt.
    pub sort: Sort,
    /// Its address, or its name.
    pub name: String,
    /// What a prompt's places are filled with.
    pub arguments: Map<String, Value>,
    /// As in a [`Call`].
    pub state: Option<String>,
    /// As in a [`Call`].
    pub answers: Option<Answers>,
}

/// A call that is no call: an error of the protocol, which a model may not be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// What sort.
    pub kind: Refused,
    /// One sentence.
    pub message: String,
    /// The same for programs; null where there is nothing to add.
    pub data: Value,
}

/// What sort of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The request makes no sense, or names no tool.
    Request,
    /// There is no such resource.
    Resource,
    /// It is our fault, or it may work later.
    Here,
    /// Another server said so, by this code.
    There(i32),
}

/// What is offered to one caller.
pub trait Desk: Send + Sync + fmt::Debug + 'static {
    /// Everything that can be called.
    fn tools(&self) -> Task<'_, Result<Vec<Tool>, Refusal>>;

    /// Makes a call. A client that cancels is heard at the line; the call ends as the desk thinks right.
    fn call<'a>(&'a self, call: Call, line: &'a Line) -> Task<'a, Result<Answer, Refusal>>;

    /// Everything of a sort that other servers have, each as it came.
    fn offers(&self, _: Sort) -> Task<'_, Result<Vec<Value>, Refusal>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// A resource as it was read, or a prompt with its places filled, as it came.
    fn fetch<'a>(&'a self, fetch: Fetch, _: &'a Line) -> Task<'a, Result<Answer, Refusal>> {
        Box::pin(std::future::ready(Err(Refusal::none(fetch.sort))))
    }

    /// Which of these addresses have something else by now, once one does, and what to say as `since` the next time. Without
    /// it, nothing is waited for: from then on changes are counted.
    fn watch(
        &self,
        _: Vec<String>,
        _: Option<u64>,
    ) -> Task<'_, Result<(Vec<String>, u64), Refusal>> {
        Box::pin(std::future::ready(Err(Refusal::none(Sort::Resource))))
    }

    /// Which lists are others by now, once one is, and what to say as `since` the next time. Without it, nothing is waited
    /// for. Lists of a desk that does not say otherwise stay what they are.
    fn relisted(&self, _: Option<Value>) -> Task<'_, Result<(Vec<List>, Value), Refusal>> {
        Box::pin(std::future::pending())
    }

    /// Where a call stands that is kept.
    fn kept<'a>(&'a self, _: String, _: &'a Line) -> Task<'a, Result<Kept, Refusal>> {
        Box::pin(std::future::ready(Err(Refusal::no_task())))
    }

    /// Hands on what the client of a kept call says to what it was asked.
    fn hear<'a>(&'a self, _: String, _: Answers, _: &'a Line) -> Task<'a, Result<(), Refusal>> {
        Box::pin(std::future::ready(Err(Refusal::no_task())))
    }

    /// The client of a kept call does not want it any more.
    fn leave(&self, _: String) -> Task<'_, Result<(), Refusal>> {
        Box::pin(std::future::ready(Err(Refusal::no_task())))
    }

    /// How an argument may go on; parameters and result as the protocol has them.
    fn complete(&self, _: Value) -> Task<'_, Result<Value, Refusal>> {
        Box::pin(std::future::ready(Err(Refusal::none(Sort::Prompt))))
    }
}

impl Refusal {
    /// There is none of these.
    #[must_use]
    pub fn none(sort: Sort) -> Self {
        let (kind, message) = match sort {
            Sort::Resource | Sort::Template => (Refused::Resource, "there is no such resource"),
            Sort::Prompt => (Refused::Request, "there is no such prompt"),
        };
        Self { kind, message: message.to_owned(), data: Value::Null }
    }

    /// Nothing is kept under this name.
    fn no_task() -> Self {
        let message = "there is no such task".to_owned();
        Self { kind: Refused::Request, message, data: Value::Null }
    }
}
