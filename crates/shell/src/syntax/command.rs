//! Commands: lists, pipelines, groups, loops, functions.

use std::{cell::OnceCell, rc::Rc};

use super::{
    Expands, Parser, Read, Tabs, Unreadable, Waiting,
    tree::{Command, Compound, Redirect, Script, Simple, Word},
};

/// What ends a list of commands beside the end of the text.
const CLOSERS: [&str; 8] = ["then", "do", "done", "fi", "else", "elif", "esac", "}"];

impl Parser {
    /// Commands up to the end of the text, a `)`, a `;;`, or one of these words, none of which is taken.
    pub(super) fn script(&mut self, until: &[&str]) -> Read<Script> {
        let mut script = Script::new();
        loop {
            self.lines()?;
            match (self.peek(), self.ahead(1)) {
                (None | Some(')'), _) => return Ok(script),
                (Some(';'), Some(';' | '&')) => return Ok(script),
                (Some(';' | '&' | '|'), _) => {
                    return Err(Unreadable("an operator stands where a command should"));
                }
                _ => {}
            }
            if let Some(word) = self.keyword_ahead().filter(|word| CLOSERS.contains(&word.as_str()))
            {
                if until.contains(&word.as_str()) {
                    return Ok(script);
                }
                return Err(Unreadable("it ends what it has not begun"));
            }
            self.pipeline(&mut script)?;
            self.blanks();
            match (self.peek(), self.ahead(1)) {
                (None | Some(')' | '\n'), _) | (Some(';'), Some(';' | '&')) => {}
                (Some('&'), Some('&')) | (Some('|'), Some('|')) => {
                    self.at += 2;
                    self.lines()?;
                    self.need_command()?;
                }
                (Some(';' | '&'), _) => self.at += 1,
                _ => return Err(Unreadable("a command ends where nothing ends it")),
            }
        }
    }

    /// After an operator that joins commands, one has to come.
    fn need_command(&mut self) -> Read<()> {
        match self.peek() {
            None | Some(')' | ';' | '&' | '|') => Err(Unreadable("half of it is missing")),
            _ => Ok(()),
        }
    }

    fn pipeline(&mut self, script: &mut Script) -> Read<()> {
        loop {
            while self.keyword_ahead().as_deref() == Some("!") {
                self.at += 1;
                self.blanks();
            }
            let command = self.deeper(Self::command)?;
            script.push(command);
            self.blanks();
            if self.peek() != Some('|') || self.ahead(1) == Some('|') {
                return Ok(());
            }
            self.at += 1;
            // `|&` is both streams to bash, and nothing to dash.
            self.take("&");
            self.lines()?;
            self.need_command()?;
        }
    }

    /// The bare word that comes next, if it is all of a word; nothing is taken.
    fn keyword_ahead(&self) -> Option<String> {
        let rest = self.text.get(self.at..)?.iter();
        let word: String = rest.take_while(|c| !" \t\n;&|<>()".contains(**c)).take(9).collect();
        (!word.is_empty() && word.len() < 9).then_some(word)
    }

    fn keyword(&mut self, word: &'static str) -> Read<()> {
        self.lines()?;
        if self.keyword_ahead().as_deref() != Some(word) {
            return Err(Unreadable("a compound command is not complete"));
        }
        self.at += word.len();
        Ok(())
    }

    fn command(&mut self) -> Read<Command> {
        if self.peek() == Some('(') {
            self.at += 1;
            let body = self.script(&[])?;
            if !self.take(")") {
                return Err(Unreadable("a parenthesis is not closed"));
            }
            return self.with_redirects(Compound { body, ..Compound::default() });
        }
        match self.keyword_ahead().as_deref() {
            Some("{") => self.closed_by(Compound::default(), "{", "}"),
            Some("if") => self.condition(),
            Some("while") => self.repetition("while"),
            Some("until") => self.repetition("until"),
            Some("for") => self.each("for"),
            Some("select") => self.each("select"),
            Some("case") => self.case(),
            Some("function") => self.function(),
            Some("time") => self.timed(),
            _ => self.simple(),
        }
    }

    fn closed_by(
        &mut self,
        mut compound: Compound,
        open: &'static str,
        close: &'static str,
    ) -> Read<Command> {
        self.keyword(open)?;
        compound.body.extend(self.script(&[close])?);
        self.keyword(close)?;
        self.with_redirects(compound)
    }

    fn condition(&mut self) -> Read<Command> {
        self.keyword("if")?;
        let mut body = self.script(&["then"])?;
        self.keyword("then")?;
        loop {
            body.extend(self.script(&["elif", "else", "fi"])?);
            match self.keyword_ahead().as_deref() {
                Some("elif") => {
                    self.keyword("elif")?;
                    body.extend(self.script(&["then"])?);
                    self.keyword("then")?;
                }
                Some("else") => self.keyword("else")?,
                _ => break,
            }
        }
        self.keyword("fi")?;
        self.with_redirects(Compound { body, ..Compound::default() })
    }

    fn repetition(&mut self, word: &'static str) -> Read<Command> {
        self.keyword(word)?;
        let body = self.script(&["do"])?;
        self.closed_by(Compound { body, ..Compound::default() }, "do", "done")
    }

    fn each(&mut self, word: &'static str) -> Read<Command> {
        self.keyword(word)?;
        self.blanks();
        let name = self.word()?;
        let Some(name) = name.fixed().filter(|name| is_name(name)).map(str::to_owned) else {
            return Err(Unreadable("a loop has no variable"));
        };
        let mut compound = Compound { sets: vec![name], ..Compound::default() };
        self.lines()?;
        if self.keyword_ahead().as_deref() == Some("in") {
            self.at += 2;
            self.blanks();
            while !matches!(self.peek(), None | Some(';' | '\n')) {
                compound.words.push(self.word()?);
                self.blanks();
            }
        }
        self.take(";");
        self.closed_by(compound, "do", "done")
    }

    fn case(&mut self) -> Read<Command> {
        self.keyword("case")?;
        self.blanks();
        let mut compound = Compound { words: vec![self.word()?], ..Compound::default() };
        self.keyword("in")?;
        loop {
            self.lines()?;
            if self.keyword_ahead().as_deref() == Some("esac") {
                self.keyword("esac")?;
                return self.with_redirects(compound);
            }
            self.take("(");
            loop {
                self.blanks();
                compound.words.push(self.word()?);
                self.blanks();
                if !self.take("|") {
                    break;
                }
            }
            if !self.take(")") {
                return Err(Unreadable("a pattern is not closed"));
            }
            compound.body.extend(self.script(&["esac"])?);
            let _ = self.take(";;&") || self.take(";;") || self.take(";&");
        }
    }

    fn function(&mut self) -> Read<Command> {
        self.keyword("function")?;
        self.blanks();
        let name = self.word()?;
        self.blanks();
        if self.take("(") {
            self.blanks();
            if !self.take(")") {
                return Err(Unreadable("a function has arguments"));
            }
        }
        self.defined(&name)
    }

    fn defined(&mut self, name: &Word) -> Read<Command> {
        let Some(name) = name.fixed().map(str::to_owned) else {
            return Err(Unreadable("a function has no name"));
        };
        self.lines()?;
        let command = self.deeper(Self::command)?;
        let Command::Compound(mut compound) = command else {
            return Err(Unreadable("a function has no body"));
        };
        if compound.defines.is_some() {
            return Err(Unreadable("a function is the body of another"));
        }
        compound.defines = Some(name);
        Ok(Command::Compound(compound))
    }

    /// `time` is a keyword to bash and a program to dash.
    fn timed(&mut self) -> Read<Command> {
        let from = self.at;
        self.keyword("time")?;
        self.blanks();
        if self.peek() == Some('(') || self.keyword_ahead().as_deref() == Some("{") {
            return self.deeper(Self::command);
        }
        self.at = from;
        self.simple()
    }

    fn simple(&mut self) -> Read<Command> {
        let mut simple = Simple::default();
        loop {
            self.blanks();
            if let Some(redirect) = self.redirect()? {
                simple.redirects.push(redirect);
                continue;
            }
            match self.peek() {
                None | Some('\n' | ';' | '&' | '|' | ')') => break,
                Some('(') if simple.words.len() == 1 && simple.assigns.is_empty() => {
                    self.at += 1;
                    self.blanks();
                    if !self.take(")") {
                        return Err(Unreadable("a parenthesis stands within a command"));
                    }
                    let name = simple.words.pop().unwrap_or_default();
                    return self.defined(&name);
                }
                Some('(') => return Err(Unreadable("a parenthesis stands within a command")),
                _ => {}
            }
            let word = self.word()?;
            match word.assigns.clone() {
                Some((name, _)) if simple.words.is_empty() => {
                    let value = if self.peek() == Some('(') { self.array(word)? } else { word };
                    simple.assigns.push((name, value));
                }
                _ => simple.words.push(word),
            }
        }
        let nothing = simple.words.is_empty() && simple.assigns.is_empty();
        if nothing && simple.redirects.is_empty() {
            return Err(Unreadable("a command is missing"));
        }
        Ok(Command::Simple(simple))
    }

    /// The values of an array, which dash does not have.
    fn array(&mut self, mut word: Word) -> Read<Word> {
        self.at += 1;
        word.whole = false;
        loop {
            self.lines()?;
            if self.take(")") {
                return Ok(word);
            }
            let value = self.word()?;
            word.commands.extend(value.commands);
            word.unsure.extend(value.unsure);
            word.sets.extend(value.sets);
        }
    }

    fn with_redirects(&mut self, mut compound: Compound) -> Read<Command> {
        loop {
            self.blanks();
            match self.redirect()? {
                Some(redirect) => compound.redirects.push(redirect),
                None => return Ok(Command::Compound(compound)),
            }
        }
    }

    /// A redirection, if one comes next.
    fn redirect(&mut self) -> Read<Option<Redirect>> {
        let digits = (0..).take_while(|by| self.ahead(*by).is_some_and(|c| c.is_ascii_digit()));
        let digits = digits.count();
        if !matches!(self.ahead(digits), Some('<' | '>')) {
            return Ok(None);
        }
        // A process substitution is a word.
        if matches!(self.ahead(digits + 1), Some('(')) {
            return Ok(None);
        }
        let beside = self.between(self.at, self.at + digits);
        let beside = !matches!(beside.as_str(), "" | "0");
        self.at += digits;
        if self.take("<<<") {
            self.blanks();
            let mut word = self.word()?;
            word.splits = false;
            let text = Rc::new(OnceCell::from(word));
            return Ok(Some(if beside { Redirect::Beside(text) } else { Redirect::Here(text) }));
        }
        if self.take("<<") {
            let text = self.here()?;
            return Ok(Some(if beside { Redirect::Beside(text) } else { Redirect::Here(text) }));
        }
        let input = self.peek() == Some('<');
        let redirect: fn(Word) -> Redirect = match () {
            () if self.take("<&") || self.take(">&") => {
                self.blanks();
                let word = self.word()?;
                let number = word.fixed().map(|text| text.trim_end_matches('-'));
                let same = number.is_some_and(|text| text.bytes().all(|b| b.is_ascii_digit()));
                return Ok(Some(match (same, input) {
                    (true, true) => Redirect::SameInput,
                    (true, false) => Redirect::Same,
                    (false, _) => Redirect::To(word),
                }));
            }
            () if self.take("<>") || self.take(">>") || self.take(">|") => Redirect::To,
            () if self.take(">") => Redirect::To,
            () => {
                self.at += 1;
                Redirect::From
            }
        };
        self.blanks();
        Ok(Some(redirect(self.word()?)))
    }

    fn here(&mut self) -> Read<Rc<OnceCell<Word>>> {
        let tabs = if self.take("-") { Tabs::Stripped } else { Tabs::Kept };
        self.blanks();
        let word = self.word()?;
        let Some(end) = word.fixed().map(str::to_owned) else {
            return Err(Unreadable("nobody knows where a here-document ends"));
        };
        let expands = if word.quoted { Expands::No } else { Expands::Yes };
        let text = Rc::new(OnceCell::new());
        self.waiting.push(Waiting { text: Rc::clone(&text), end, expands, tabs });
        Ok(text)
    }
}

/// Whether a text is the name of a variable.
pub(crate) fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}
