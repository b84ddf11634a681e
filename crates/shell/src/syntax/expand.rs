//! What a shell puts in place of something: variables, the output of commands, sums.

use super::{
    Parser, Read, Script, Unreadable,
    command::is_name,
    parse,
    tree::Word,
    word::{Around, Making},
};

/// What a sum may consist of to be only that. bash takes the value of a name for a sum again, and runs what stands in it.
const SUM: &str = "0123456789 \t+-*/%()<>=!&|^~?:";

/// The text of a here-document in which things are expanded.
pub(super) fn here(text: &str, depth: usize) -> Read<Word> {
    let mut parser = Parser::new(text, depth);
    let mut making = Making::new();
    parser.deeper(|parser| {
        while parser.peek().is_some() {
            parser.quoted_part(&mut making)?;
        }
        Ok(())
    })?;
    Ok(making.done(text.to_owned()))
}

impl Parser {
    /// Commands up to the parenthesis that closes them.
    pub(super) fn substituted(&mut self) -> Read<Script> {
        if !self.waiting.is_empty() {
            return Err(Unreadable("a substitution stands before the text of a here-document"));
        }
        let script = self.deeper(|parser| parser.script(&[]))?;
        if !self.waiting.is_empty() || !self.take(")") {
            return Err(Unreadable("a substitution is not closed"));
        }
        Ok(script)
    }

    pub(super) fn backquoted(&mut self, making: &mut Making, around: Around) -> Read<()> {
        self.at += 1;
        let mut text = String::new();
        loop {
            match (self.next(), self.peek()) {
                (Some('`'), _) => break,
                (Some('\\'), Some(c @ ('$' | '`' | '\\'))) => {
                    self.at += 1;
                    text.push(c);
                }
                (Some('\\'), Some('"')) if around == Around::Quotes => {
                    self.at += 1;
                    text.push('"');
                }
                (Some(c), _) => text.push(c),
                (None, _) => return Err(Unreadable("a backquote is not closed")),
            }
        }
        making.runs(parse(&text, self.depth + 1)?);
        expanded(making, around);
        Ok(())
    }

    pub(super) fn dollar(&mut self, making: &mut Making, around: Around) -> Read<()> {
        self.at += 1;
        match (self.peek(), self.ahead(1)) {
            (Some('('), Some('(')) => {
                self.at += 2;
                self.sum(making)?;
                // Its digits are split where `IFS` says so.
                expanded(making, around);
            }
            (Some('('), _) => {
                self.at += 1;
                let script = self.substituted()?;
                making.runs(script);
                expanded(making, around);
            }
            (Some('{'), _) => {
                self.at += 1;
                self.deeper(|parser| parser.parameter(making, around))?;
                expanded(making, around);
            }
            (Some('\\'), Some('\n')) | (Some('['), _) => {
                return Err(Unreadable("shells disagree about what a `$` begins"));
            }
            (Some('\''), _) if around == Around::Bare => self.ansi(making)?,
            // A dollar and a quoted text to one, a text to be translated to the other.
            (Some('"'), _) if around == Around::Bare => making.hide(),
            (Some(c), _) if c.is_ascii_alphabetic() || c == '_' => {
                while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
                    self.at += 1;
                }
                expanded(making, around);
            }
            (Some(c), _) if c.is_ascii_digit() || "@*#?-$!".contains(c) => {
                self.at += 1;
                expanded(making, around);
                // Arguments stay several words within quotes.
                if c == '@' {
                    making.split();
                }
            }
            _ => making.push('$'),
        }
        Ok(())
    }

    /// `$'…'`: a text with escapes to bash, a dollar and a text to dash.
    fn ansi(&mut self, making: &mut Making) -> Read<()> {
        self.at += 1;
        making.hide();
        loop {
            match (self.next(), self.peek()) {
                (Some('\''), _) => return Ok(()),
                (Some('\\'), Some('\'' | '\\')) => {
                    return Err(Unreadable("shells disagree about where a quote ends"));
                }
                (Some(_), _) => {}
                (None, _) => return Err(Unreadable("a quote is not closed")),
            }
        }
    }

    fn sum(&mut self, making: &mut Making) -> Read<()> {
        let from = self.at;
        let mut open = 2_usize;
        while open > 0 {
            match self.next() {
                Some('(') => open += 1,
                Some(')') => open -= 1,
                // Where such a thing ends is not looked for: whatever stands in it may be run.
                Some('\'' | '"' | '`' | '\\' | '#') => {
                    return Err(Unreadable("a sum holds quotes"));
                }
                Some(_) => {}
                None => return Err(Unreadable("a sum is not closed")),
            }
        }
        let text = self.between(from, self.at);
        let sum = text.strip_suffix("))").is_some_and(|sum| sum.chars().all(|c| SUM.contains(c)));
        if !sum {
            making.unsure(format!("what the sum `$(({text}` comes to, and what it runs"));
        }
        Ok(())
    }

    /// `${…}`, after its brace.
    fn parameter(&mut self, making: &mut Making, around: Around) -> Read<()> {
        let from = self.at;
        let length = self.peek() == Some('#') && self.ahead(1) != Some('}');
        self.at += usize::from(length);
        let start = self.at;
        match self.peek() {
            Some(c) if "@*#?-$!".contains(c) && c != '!' => self.at += 1,
            _ => {
                while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
                    self.at += 1;
                }
            }
        }
        let name = self.between(start, self.at);
        if name == "@" {
            making.split();
        }
        if self.take("}") && !name.is_empty() {
            return Ok(());
        }
        let operators =
            [":-", ":=", ":+", ":?", "##", "%%", "//", "-", "=", "+", "?", "#", "%", "/", "^", ","];
        let operator = operators.into_iter().find(|operator| self.take(operator));
        let Some(operator) = operator.filter(|_| !length && !name.is_empty()) else {
            let rest = self.between(from, (self.at + 20).min(self.text.len()));
            making.unsure(format!("what `${{{rest}…` stands for"));
            return Err(Unreadable("a variable is expanded in a way that may run something"));
        };
        if operator.ends_with('=') && is_name(&name) {
            making.sets(&name);
        }
        let mut inner = Making::new();
        loop {
            match self.peek() {
                Some('}') => break,
                Some('\'') if around == Around::Quotes => {
                    return Err(Unreadable("shells disagree about where a quote ends"));
                }
                Some('\'') => {
                    self.at += 1;
                    while self.next().ok_or(Unreadable("a quote is not closed"))? != '\'' {}
                }
                Some('"') if around == Around::Quotes => {
                    return Err(Unreadable("shells disagree about where a quote ends"));
                }
                Some('"') => {
                    self.at += 1;
                    while self.peek().is_some_and(|c| c != '"') {
                        self.quoted_part(&mut inner)?;
                    }
                    if !self.take("\"") {
                        return Err(Unreadable("a quote is not closed"));
                    }
                }
                Some('\\') => self.at += 2,
                Some('<' | '>') if self.ahead(1) == Some('(') => {
                    return Err(Unreadable("shells disagree about a `<(` within `${`"));
                }
                Some(_) => self.quoted_part(&mut inner)?,
                None => return Err(Unreadable("a brace is not closed")),
            }
        }
        self.at += 1;
        making.absorb(inner.done(String::new()));
        Ok(())
    }
}

/// Something stands here that nobody knows before.
fn expanded(making: &mut Making, around: Around) {
    match around {
        Around::Bare => making.split(),
        Around::Quotes => making.hide(),
    }
}
