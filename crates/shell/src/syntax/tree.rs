//! What a command line consists of, as far as it matters for what may run: order and conditions are not kept.

use std::{cell::OnceCell, rc::Rc};

/// Commands of which every one may run.
pub(crate) type Script = Vec<Command>;

/// One word, as far as it is known before it is expanded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Word {
    /// As it is written.
    pub(crate) source: String,
    /// What it begins with, whatever is expanded; all of it where `whole`.
    pub(crate) known: String,
    /// Whether nothing in it is expanded.
    pub(crate) whole: bool,
    /// Whether it may become several words.
    pub(crate) splits: bool,
    /// Whether anything in it is quoted: a quoted word is never a keyword.
    pub(crate) quoted: bool,
    /// Where it stands before a command it is an assignment: the name, and how far into `known` it reaches.
    pub(crate) assigns: Option<(String, usize)>,
    /// What runs to make it.
    pub(crate) commands: Script,
    /// What cannot be known of it, and why.
    pub(crate) unsure: Vec<String>,
    /// Variables that expanding it sets.
    pub(crate) sets: Vec<String>,
}

impl Word {
    /// All of it, where that is known.
    pub(crate) fn fixed(&self) -> Option<&str> {
        self.whole.then_some(self.known.as_str())
    }

    /// Whether it may be, or bring with it, an option of the program that gets it.
    pub(crate) fn may_be_option(&self) -> bool {
        !self.whole && (self.splits || self.known.is_empty() || self.known.starts_with('-'))
    }

    /// A word that nobody knows.
    pub(crate) fn anything(source: &str) -> Self {
        Self { source: source.to_owned(), splits: true, ..Self::default() }
    }

    /// A word that says exactly this.
    pub(crate) fn exactly(text: &str) -> Self {
        Self { source: text.to_owned(), known: text.to_owned(), whole: true, ..Self::default() }
    }
}

/// Where a stream of a command comes from or goes.
#[derive(Clone, Debug)]
pub(crate) enum Redirect {
    /// A file is read.
    From(Word),
    /// A file is written.
    To(Word),
    /// A text of the command line itself is read; it stands further down, and is set by the time all is read.
    Here(Rc<OnceCell<Word>>),
    /// A text that is read by another descriptor than the first.
    Beside(Rc<OnceCell<Word>>),
    /// Output goes where another descriptor's goes.
    Same,
    /// Input comes from where another descriptor's comes.
    SameInput,
}

/// What may run.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// A program, a builtin or a function, by its words.
    Simple(Simple),
    /// Whatever holds commands: groups, loops, conditions, functions.
    Compound(Compound),
}

/// A command of words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Simple {
    /// Name and value.
    pub(crate) assigns: Vec<(String, Word)>,
    /// The program and its arguments; empty where it only assigns or redirects.
    pub(crate) words: Vec<Word>,
    /// Its streams.
    pub(crate) redirects: Vec<Redirect>,
}

/// Commands within a command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Compound {
    /// Variables that it sets, such as that of a loop.
    pub(crate) sets: Vec<String>,
    /// Words that it expands.
    pub(crate) words: Vec<Word>,
    /// Whatever may run.
    pub(crate) body: Script,
    /// Its streams.
    pub(crate) redirects: Vec<Redirect>,
    /// What cannot be known of it.
    pub(crate) unsure: Vec<String>,
    /// The function that it defines.
    pub(crate) defines: Option<String>,
}
