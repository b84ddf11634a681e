//! Telling people something: a run says that it has a word for a role, and whoever the operator named is told where to
//! read it. What it says stays in the run, where it can be erased; what goes out are ids and the role.

use std::fmt;

use kernel::{
    id::{EffectKey, OperationId, RunId, Tenant},
    port::{Failure, Task},
};
use serde_json::Value;

use crate::call::{Call, refuse};

/// Longest title, in characters.
pub const TITLE_CHARS_MAX: usize = 200;

/// Longest text, in characters.
pub const TEXT_CHARS_MAX: usize = 4_000;

/// Longest name of a role, in characters.
const ROLE_CHARS_MAX: usize = 100;

/// A word for the people of a role.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    /// Whose run it is.
    pub tenant: &'a Tenant,
    /// Which says it.
    pub run: &'a RunId,
    /// By which operation.
    pub operation: &'a OperationId,
    /// The same word has the same key: it is told once, however often it is said.
    pub key: &'a EffectKey,
    /// The role.
    pub to: &'a str,
}

/// Who tells people.
pub trait People: Send + Sync + fmt::Debug {
    /// Writes down that somebody is to be told, and answers by which channels; they hear of it later.
    ///
    /// # Errors
    /// When there is no channel to anybody of that role, or it cannot be written down.
    fn tell<'a>(&'a self, word: Word<'a>) -> Task<'a, Result<Vec<String>, Failure>>;
}

/// The role that a call is for; its title and its text are checked, and stay where they are.
pub(crate) fn role(call: &Call) -> Result<&str, Failure> {
    let text = |name: &str, most: usize| {
        let value = call.args.get(name).and_then(Value::as_str).unwrap_or_default();
        match value.chars().count() <= most {
            true => Ok(value),
            false => Err(refuse(format!("`{name}` is longer than {most} characters"))),
        }
    };
    text("text", TEXT_CHARS_MAX)?;
    if text("title", TITLE_CHARS_MAX)?.trim().is_empty() {
        return Err(refuse("`title` must say in one line what it is about"));
    }
    match text("to", ROLE_CHARS_MAX)? {
        "" => Err(refuse("`to` must name the role whose people are told, such as `finance`")),
        role => Ok(role),
    }
}
