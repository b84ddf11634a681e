//! What is asked of a model, whoever it is, and where its words go while it speaks.

use std::{fmt, sync::Arc};

use kernel::{
    conversation::{Reply, Thread, Usage},
    id::{EffectKey, RunId, Tenant},
    port::Task,
};
use serde::{Deserialize, Serialize};

use crate::{
    attached::{Contents, Files},
    error::Error,
};

/// One question to a model: a conversation with its own prompt last.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Whose run.
    pub tenant: Tenant,
    /// Which run.
    pub run: RunId,
    /// Which conversation of the run.
    pub conversation: String,
    /// What was said so far, the prompt last.
    pub thread: Arc<Thread>,
    /// The key of the effect: the same for every try.
    pub key: EffectKey,
    /// How long the answer may take, in milliseconds.
    pub timeout_ms: u64,
    /// Boot-time clock in ms after which no byte may leave.
    pub dispatch_by_boot_ms: u64,
    /// Who listens while the model speaks.
    pub progress: Option<Arc<dyn Progress>>,
    /// Who reads the files that the conversation names.
    pub files: Option<Arc<dyn Files>>,
}

/// Whose words are told to a [`Progress`].
#[derive(Clone, Copy, Debug)]
pub struct Speaking<'a> {
    /// Whose run.
    pub tenant: &'a Tenant,
    /// Which run.
    pub run: &'a RunId,
    /// Which conversation of the run.
    pub conversation: &'a str,
    /// Which provider speaks.
    pub provider: &'a str,
}

/// A piece of what a model is saying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delta<'a> {
    /// Text for the reader.
    Text(&'a str),
    /// Reasoning, as far as it is shown.
    Reasoning(&'a str),
    /// It begins to call this tool.
    Call(&'a str),
}

/// Listens to a model while it speaks. Lossy and never journaled: what counts is the reply.
pub trait Progress: Send + Sync + fmt::Debug {
    /// Takes a piece in. Must not block: the stream waits meanwhile.
    fn tell(&self, speaking: &Speaking<'_>, delta: Delta<'_>);
}

/// Texts as vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedded {
    /// Which configured provider answered.
    pub provider: String,
    /// Which model, as the provider names it.
    pub model: String,
    /// One vector a text, in order.
    pub vectors: Vec<Vec<f32>>,
    /// What it cost in tokens, where the provider says.
    pub usage: Usage,
}

/// What can stand behind a role.
pub trait Model: Send + Sync + fmt::Debug {
    /// What it is called in replies.
    fn name(&self) -> &str;

    /// Asks. Dropping the future hangs up.
    fn ask(&self, ask: Ask) -> Task<'_, Result<Reply, Error>>;

    /// Turns texts into vectors. The thread of `ask` is not looked at.
    fn embed<'a>(&'a self, texts: &'a [String], ask: &'a Ask) -> Task<'a, Result<Embedded, Error>>;

    /// The exact bytes that asking at the end of this thread sends, built from the thread and the files that it
    /// names.
    ///
    /// # Errors
    /// [`Error::Thread`] when the thread is none that this wire could have led, or names a file that is not there.
    fn request_bytes(&self, thread: &Arc<Thread>, files: &Contents) -> Result<Vec<u8>, Error>;
}
