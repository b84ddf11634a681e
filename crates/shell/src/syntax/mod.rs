//! Reads the text of a command line, as `dash` and as `bash` at once.
//!
//! `/bin/sh` is one of them, and the same text is not always the same program: `((rm x))` is arithmetic to one and runs
//! `rm` to the other, `[[ a || rm x ]]` is one test or two commands. Where they differ, what either may run is kept, and
//! where one of them would end a word or a text elsewhere, nothing is claimed at all. Reading takes time in proportion to
//! the text: nothing is tried twice.

mod command;
mod expand;
pub(crate) mod tree;
mod word;

pub(crate) use command::is_name;

use std::{cell::OnceCell, rc::Rc};

use tree::{Script, Word};

/// How deep commands may stand within commands.
pub(crate) const DEPTH_MAX: usize = 24;

/// Why a text is not read: for people, in half a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable(pub(crate) &'static str);

pub(crate) type Read<T> = Result<T, Unreadable>;

/// Reads a whole command line that stands this deep in others.
pub(crate) fn parse(text: &str, depth: usize) -> Read<Script> {
    if text.contains('\0') {
        return Err(Unreadable("it holds a NUL byte"));
    }
    let mut parser = Parser::new(text, depth);
    let script = parser.deeper(|parser| parser.script(&[]))?;
    if parser.peek().is_some() {
        return Err(Unreadable("it closes what it has not opened"));
    }
    if !parser.waiting.is_empty() {
        return Err(Unreadable("the text of a here-document is missing"));
    }
    Ok(script)
}

/// Where reading is.
struct Parser {
    text: Vec<char>,
    at: usize,
    depth: usize,
    /// Here-documents whose text begins after this line.
    waiting: Vec<Waiting>,
}

struct Waiting {
    text: Rc<OnceCell<Word>>,
    end: String,
    expands: Expands,
    tabs: Tabs,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expands {
    Yes,
    No,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tabs {
    Kept,
    Stripped,
}

impl Parser {
    fn new(text: &str, depth: usize) -> Self {
        Self { text: text.chars().collect(), at: 0, depth, waiting: Vec::new() }
    }

    fn peek(&self) -> Option<char> {
        self.ahead(0)
    }

    fn ahead(&self, by: usize) -> Option<char> {
        self.text.get(self.at + by).copied()
    }

    fn next(&mut self) -> Option<char> {
        let found = self.peek()?;
        self.at += 1;
        Some(found)
    }

    /// Takes this text if it comes next.
    fn take(&mut self, text: &str) -> bool {
        let length = text.chars().count();
        let comes = text.chars().enumerate().all(|(by, c)| self.ahead(by) == Some(c));
        self.at += if comes { length } else { 0 };
        comes
    }

    fn between(&self, from: usize, to: usize) -> String {
        self.text.get(from..to.max(from)).unwrap_or_default().iter().collect()
    }

    /// Reads what stands within something else.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        if self.depth >= DEPTH_MAX {
            return Err(Unreadable("too much of it stands within something else"));
        }
        self.depth += 1;
        let done = read(self);
        self.depth -= 1;
        done
    }

    /// Skips blanks, comments and lines that go on; not the end of a line.
    fn blanks(&mut self) {
        loop {
            match (self.peek(), self.ahead(1)) {
                (Some(' ' | '\t'), _) => self.at += 1,
                (Some('\\'), Some('\n')) => self.at += 2,
                (Some('#'), _) => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    /// Skips blanks and ends of lines; the texts of here-documents stand after the latter.
    fn lines(&mut self) -> Read<()> {
        loop {
            self.blanks();
            if self.peek() != Some('\n') {
                return Ok(());
            }
            self.newline()?;
        }
    }

    fn newline(&mut self) -> Read<()> {
        self.at += 1;
        for waiting in std::mem::take(&mut self.waiting) {
            let text = self.here_text(&waiting)?;
            let word = match waiting.expands {
                Expands::No => Word { quoted: true, ..Word::exactly(&text) },
                Expands::Yes => expand::here(&text, self.depth)?,
            };
            // Each is set once: whoever waits is taken out of the list.
            waiting.text.set(word).unwrap_or(());
        }
        Ok(())
    }

    fn here_text(&mut self, waiting: &Waiting) -> Read<String> {
        let mut text = String::new();
        loop {
            let from = self.at;
            while self.peek().is_some_and(|c| c != '\n') {
                self.at += 1;
            }
            let line = self.between(from, self.at);
            let line = match waiting.tabs {
                Tabs::Stripped => line.trim_start_matches('\t'),
                Tabs::Kept => line.as_str(),
            };
            if line == waiting.end {
                return Ok(text);
            }
            if self.peek().is_none() {
                return Err(Unreadable("the end of a here-document is missing"));
            }
            // Shells disagree about an end that a line which goes on runs into.
            if waiting.expands == Expands::Yes && line.ends_with('\\') {
                return Err(Unreadable("a line of a here-document goes on"));
            }
            text.push_str(line);
            text.push('\n');
            self.at += 1;
        }
    }
}
