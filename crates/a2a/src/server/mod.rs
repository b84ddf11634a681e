//! An agent: what it can do is a [`Desk`], which somebody else implements; how it is spoken is here.
//!
//! One desk is one caller: whoever answers requests says for each of them at whose desk it is, so nothing that a message
//! says about its sender can matter.

mod card;
mod http;
mod rest;
mod stream;

use std::{fmt, future::Future, pin::Pin};

use serde_json::{Map, Value};

pub use self::{
    card::{About, Skill},
    http::{Answer, Events, Http, Request},
};
use crate::State;

/// Most parts of a message.
pub const PARTS_MAX: usize = 64;

/// Messages whose tasks are waited for at a time.
pub const HELD_MAX: usize = 128;

/// Tasks on a page of a list where nothing is said, and at most.
pub const PAGE_TASKS: usize = 50;
/// See [`PAGE_TASKS`].
pub const PAGE_TASKS_MAX: usize = 100;

/// Largest output that is told, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 1024 * 1024;

/// What takes a while.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// What its sender calls it.
    pub id: String,
    /// The task it goes on with; absent = a new one.
    pub task: Option<String>,
    /// The conversation it belongs to.
    pub context: Option<String>,
    /// The skill it names, by `skill` in its metadata.
    pub skill: Option<String>,
    /// Its words.
    pub text: String,
    /// Its data.
    pub data: Option<Map<String, Value>>,
}

/// How long a message is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Until its task is over, or waits for somebody: as long as the desk thinks right.
    Settled,
    /// Not at all.
    None,
}

/// A task.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its id.
    pub id: String,
    /// The conversation it belongs to.
    pub context: String,
    /// Where it stands.
    pub state: State,
    /// What is to be said about that.
    pub note: Option<Note>,
    /// When it last changed, in Unix ms.
    pub changed_ms: i64,
    /// What it came to.
    pub output: Option<Value>,
    /// Beside it, for programs.
    pub meta: Map<String, Value>,
}

/// What an agent says about a task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Note {
    /// In words.
    pub text: String,
    /// The same as data.
    pub data: Option<Value>,
}

/// Which tasks are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of this conversation.
    pub context: Option<String>,
    /// That stand like this.
    pub state: Option<State>,
    /// That changed at this time or later, in Unix ms.
    pub since_ms: Option<i64>,
    /// How many: one to [`PAGE_TASKS_MAX`].
    pub count: usize,
    /// Where the page before ended.
    pub after: Option<String>,
}

/// A page of tasks, those that changed last first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// Where it ends, if there are more.
    pub next: Option<String>,
    /// How many there are on all pages.
    pub total: usize,
}

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What sort.
    pub kind: Refused,
    /// A stable code of whoever refuses.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What to do now.
    pub next: Option<String>,
}

impl Refusal {
    /// One without a next step.
    pub fn new(kind: Refused, code: &str, message: impl Into<String>) -> Self {
        Self { kind, code: code.to_owned(), message: message.into(), next: None }
    }

    /// With what to do now.
    #[must_use]
    pub fn next(self, next: impl Into<String>) -> Self {
        Self { next: Some(next.into()), ..self }
    }
}

/// What sort of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such task, or none of the caller's.
    NoTask,
    /// The task cannot be ended, or not any more.
    NotCancelable,
    /// This agent does not do that, or not to this task.
    Unsupported,
    /// A part of the message is of a sort that is not taken.
    Content,
    /// The request makes no sense.
    Params,
    /// The caller may not.
    Forbidden,
    /// It may work later.
    Busy,
    /// It is our fault.
    Here,
}

/// What an agent does for one caller.
pub trait Desk: Send + Sync + fmt::Debug + 'static {
    /// Everything that the caller can ask for.
    fn skills(&self) -> Later<'_, Result<Vec<Skill>, Refusal>>;

    /// Takes a message; the same id is the same message.
    fn send(&self, said: Said, patience: Patience) -> Later<'_, Result<Task, Refusal>>;

    /// A task of the caller's.
    fn task(&self, id: String) -> Later<'_, Result<Task, Refusal>>;

    /// Tasks of the caller's.
    fn tasks(&self, wanted: Wanted) -> Later<'_, Result<Page, Refusal>>;

    /// Ends a task that the caller does not want any more.
    fn cancel(&self, id: String) -> Later<'_, Result<Task, Refusal>>;

    /// The task once it is another than it was seen. Whoever does not want to know any more drops it.
    fn next(&self, seen: Task) -> Later<'_, Result<Task, Refusal>>;
}
