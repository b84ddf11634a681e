//! Words: quotes, and what is expanded in them.

use super::{Parser, Read, Unreadable, command::is_name, tree::Word};

/// A word that is being read.
#[derive(Default)]
pub(super) struct Making {
    word: Word,
    /// Whether everything so far is known.
    open: bool,
    /// Whether a bare brace stands in it, which bash may make several words of.
    brace: bool,
}

impl Making {
    pub(super) fn new() -> Self {
        Self { open: true, ..Self::default() }
    }

    pub(super) fn push(&mut self, c: char) {
        if self.open {
            self.word.known.push(c);
        }
    }

    /// From here on nobody knows what it says.
    pub(super) fn hide(&mut self) {
        self.open = false;
    }

    /// It may become several words here.
    pub(super) fn split(&mut self) {
        self.hide();
        self.word.splits = true;
    }

    pub(super) fn unsure(&mut self, why: impl Into<String>) {
        self.hide();
        self.word.unsure.push(why.into());
    }

    pub(super) fn sets(&mut self, name: &str) {
        self.word.sets.push(name.to_owned());
    }

    /// Takes over what runs in another word, and what is not known of it.
    pub(super) fn absorb(&mut self, other: Word) {
        self.hide();
        self.word.commands.extend(other.commands);
        self.word.unsure.extend(other.unsure);
        self.word.sets.extend(other.sets);
    }

    pub(super) fn runs(&mut self, script: super::Script) {
        self.word.commands.extend(script);
    }

    pub(super) fn done(self, source: String) -> Word {
        let mut word = self.word;
        word.whole = self.open;
        word.source = source;
        word
    }
}

/// What stands around a part of a word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Around {
    /// Nothing: what is expanded may become several words.
    Bare,
    /// Double quotes, or a here-document.
    Quotes,
}

impl Parser {
    /// One word; there has to be one.
    pub(super) fn word(&mut self) -> Read<Word> {
        let from = self.at;
        let mut making = Making::new();
        while let Some(c) = self.peek() {
            let at_start = self.at == from;
            match c {
                '<' | '>' if self.ahead(1) == Some('(') => {
                    self.at += 2;
                    let script = self.substituted()?;
                    making.runs(script);
                    making.hide();
                }
                ' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')' => break,
                '\\' => self.escaped(&mut making),
                '\'' => {
                    making.word.quoted = true;
                    self.at += 1;
                    self.single(&mut making)?;
                }
                '"' => {
                    making.word.quoted = true;
                    self.at += 1;
                    self.double(&mut making)?;
                }
                '$' => self.dollar(&mut making, Around::Bare)?,
                '`' => self.backquoted(&mut making, Around::Bare)?,
                '*' | '?' | '[' => {
                    self.at += 1;
                    // A pattern may become several words, each of which begins with what is known.
                    making.hide();
                }
                '=' if making.open && making.word.assigns.is_none() => {
                    self.at += 1;
                    let name = making.word.known.trim_end_matches('+');
                    if is_name(name) && !making.word.quoted {
                        making.word.assigns = Some((name.to_owned(), making.word.known.len() + 1));
                    }
                    making.push('=');
                }
                _ => {
                    self.at += 1;
                    making.brace |= c == '{';
                    if (c == ',' || c == '.') && making.brace {
                        making.split();
                    }
                    if c == '~' && at_start {
                        // Whose home it is decides where it leads; it is no option.
                        making.push('~');
                        making.hide();
                    }
                    making.push(c);
                }
            }
        }
        if self.at == from {
            return Err(Unreadable("a word is missing"));
        }
        let source = self.between(from, self.at);
        if source == "[" || source == "[[" {
            return Ok(Word::exactly(&source));
        }
        Ok(making.done(source))
    }

    fn escaped(&mut self, making: &mut Making) {
        self.at += 1;
        match self.next() {
            // The line goes on.
            Some('\n') => {}
            Some(c) => {
                making.word.quoted = true;
                making.push(c);
            }
            None => making.push('\\'),
        }
    }

    fn single(&mut self, making: &mut Making) -> Read<()> {
        loop {
            match self.next() {
                Some('\'') => return Ok(()),
                Some(c) => making.push(c),
                None => return Err(Unreadable("a quote is not closed")),
            }
        }
    }

    fn double(&mut self, making: &mut Making) -> Read<()> {
        loop {
            match self.peek() {
                Some('"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(_) => self.quoted_part(making)?,
                None => return Err(Unreadable("a quote is not closed")),
            }
        }
    }

    /// One part of what stands in double quotes or in a here-document.
    pub(super) fn quoted_part(&mut self, making: &mut Making) -> Read<()> {
        match (self.peek(), self.ahead(1)) {
            (Some('\\'), Some('\n')) => self.at += 2,
            (Some('\\'), Some(c @ ('$' | '`' | '"' | '\\'))) => {
                self.at += 2;
                making.push(c);
            }
            (Some('$'), _) => self.dollar(making, Around::Quotes)?,
            (Some('`'), _) => self.backquoted(making, Around::Quotes)?,
            (Some(c), _) => {
                self.at += 1;
                making.push(c);
            }
            (None, _) => {}
        }
        Ok(())
    }
}
