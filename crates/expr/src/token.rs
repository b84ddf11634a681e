//! Tokens, read one at a time so that text after an expression is never looked at.

use crate::{Error, MAX_SOURCE_BYTES};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Symbol {
    OpenParen,
    CloseParen,
    OpenBracket,
    CloseBracket,
    OpenBrace,
    CloseBrace,
    Dot,
    Comma,
    Colon,
    Question,
    Plus,
    Minus,
    Star,
    Slash,
    Percent,
    Not,
    And,
    Or,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// Longest first where one is the start of another.
const SYMBOLS: &[(&str, Symbol)] = &[
    ("&&", Symbol::And),
    ("||", Symbol::Or),
    ("==", Symbol::Equal),
    ("!=", Symbol::NotEqual),
    ("<=", Symbol::LessEqual),
    (">=", Symbol::GreaterEqual),
    ("<", Symbol::Less),
    (">", Symbol::Greater),
    ("!", Symbol::Not),
    ("(", Symbol::OpenParen),
    (")", Symbol::CloseParen),
    ("[", Symbol::OpenBracket),
    ("]", Symbol::CloseBracket),
    ("{", Symbol::OpenBrace),
    ("}", Symbol::CloseBrace),
    (".", Symbol::Dot),
    (",", Symbol::Comma),
    (":", Symbol::Colon),
    ("?", Symbol::Question),
    ("+", Symbol::Plus),
    ("-", Symbol::Minus),
    ("*", Symbol::Star),
    ("/", Symbol::Slash),
    ("%", Symbol::Percent),
];

impl Symbol {
    pub(crate) fn text(self) -> &'static str {
        SYMBOLS.iter().find(|(_, symbol)| *symbol == self).map_or("", |(text, _)| text)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Lexeme<'s> {
    Name(&'s str),
    /// Digits as written, without a sign.
    Number(&'s str),
    Text(String),
    Symbol(Symbol),
    End,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token<'s> {
    pub(crate) at: usize,
    pub(crate) end: usize,
    pub(crate) lexeme: Lexeme<'s>,
}

impl Token<'_> {
    /// How an error names this token.
    pub(crate) fn describe(&self) -> String {
        match &self.lexeme {
            Lexeme::Name(name) => format!("`{name}`"),
            Lexeme::Number(digits) => format!("`{digits}`"),
            Lexeme::Text(_) => "a string".to_owned(),
            Lexeme::Symbol(symbol) => format!("`{}`", symbol.text()),
            Lexeme::End => "the end".to_owned(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    pub(crate) fn new(source: &'s str) -> Self {
        Self { source, at: 0 }
    }

    pub(crate) fn next(&mut self) -> Result<Token<'s>, Error> {
        self.skip_while(char::is_whitespace);
        let at = self.at;
        let lexeme = match self.peek() {
            None => Lexeme::End,
            Some(quote @ ('"' | '\'')) => self.read_text(quote)?,
            Some(c) if c.is_ascii_digit() => self.read_number()?,
            Some(c) if c.is_ascii_alphabetic() || c == '_' => self.read_name()?,
            Some(c) => self.read_symbol(c)?,
        };
        if self.at > MAX_SOURCE_BYTES {
            return Err(Error::TooLarge {
                at,
                what: "the expression, in bytes,",
                limit: MAX_SOURCE_BYTES,
            });
        }
        let end = self.at;
        Ok(Token { at, end, lexeme })
    }

    fn rest(&self) -> &'s str {
        self.source.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn skip_while(&mut self, keep: impl Fn(char) -> bool) -> &'s str {
        let rest = self.rest();
        let length = rest.find(|c| !keep(c)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or("")
    }

    fn read_name(&mut self) -> Result<Lexeme<'s>, Error> {
        let at = self.at;
        let name = self.skip_while(|c| c.is_ascii_alphanumeric() || c == '_');
        if matches!(self.peek(), Some('"' | '\'')) && name.len() <= 2 {
            return Err(Error::Unsupported {
                at,
                what: format!("the string prefix `{name}`"),
                instead: "write a plain string and escape with `\\`".to_owned(),
            });
        }
        Ok(Lexeme::Name(name))
    }

    fn read_number(&mut self) -> Result<Lexeme<'s>, Error> {
        let at = self.at;
        let digit = |c: char| c.is_ascii_digit();
        self.skip_while(digit);
        let mut ahead = self.rest().chars();
        if ahead.next() == Some('.') && ahead.next().is_some_and(digit) {
            self.at += 1;
            self.skip_while(digit);
        }
        let mut ahead = self.rest().chars();
        if matches!(ahead.next(), Some('e' | 'E')) {
            let sign = matches!(ahead.next(), Some('+' | '-'));
            self.at += if sign { 2 } else { 1 };
            if self.skip_while(digit).is_empty() {
                return Err(Error::Syntax {
                    at,
                    message: "an exponent needs digits; write `1e3`".to_owned(),
                });
            }
        }
        if self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_') {
            return Err(Error::Unsupported {
                at,
                what: "a number with a suffix or in another base".to_owned(),
                instead: "write plain decimal digits".to_owned(),
            });
        }
        Ok(Lexeme::Number(self.source.get(at..self.at).unwrap_or("")))
    }

    fn read_symbol(&mut self, found: char) -> Result<Lexeme<'s>, Error> {
        let at = self.at;
        if self.rest().starts_with("//") {
            return Err(Error::Unsupported {
                at,
                what: "a comment".to_owned(),
                instead: "write it in the file around the expression".to_owned(),
            });
        }
        for (text, symbol) in SYMBOLS {
            if self.rest().starts_with(text) {
                self.at += text.len();
                return Ok(Lexeme::Symbol(*symbol));
            }
        }
        let message = match found {
            '=' => "`=` is not an operator; compare with `==`".to_owned(),
            '&' => "`&` is not an operator; use `&&`".to_owned(),
            '|' => "`|` is not an operator; use `||`".to_owned(),
            other => format!("unexpected character `{}`", other.escape_debug()),
        };
        Err(Error::Syntax { at, message })
    }

    fn read_text(&mut self, quote: char) -> Result<Lexeme<'s>, Error> {
        let at = self.at;
        self.bump();
        let mut text = String::new();
        if self.starts_with_two(quote) {
            return Err(Error::Unsupported {
                at,
                what: "a triple-quoted string".to_owned(),
                instead: "write `\\n` for a line break".to_owned(),
            });
        }
        loop {
            let here = self.at;
            match self.bump() {
                Some(c) if c == quote => return Ok(Lexeme::Text(text)),
                Some('\\') => text.push(self.read_escape(here)?),
                Some('\n' | '\r') | None => {
                    return Err(Error::Syntax {
                        at,
                        message: format!("the string has no closing {quote}; end it with one"),
                    });
                }
                Some(c) => text.push(c),
            }
        }
    }

    fn starts_with_two(&self, quote: char) -> bool {
        let mut ahead = self.rest().chars();
        ahead.next() == Some(quote) && ahead.next() == Some(quote)
    }

    fn read_escape(&mut self, at: usize) -> Result<char, Error> {
        match self.bump() {
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some(c @ ('\\' | '\'' | '"' | '`' | '?')) => Ok(c),
            Some('u') => self.read_code_point(at, 4),
            Some('U') => self.read_code_point(at, 8),
            _ => Err(Error::Syntax {
                at,
                message: "unknown escape; use \\\\ \\\' \\\" \\n \\r \\t \\uXXXX".to_owned(),
            }),
        }
    }

    fn read_code_point(&mut self, at: usize, digits: usize) -> Result<char, Error> {
        let hex = self.rest().get(..digits).unwrap_or("");
        let valid = hex.len() == digits && hex.chars().all(|c| c.is_ascii_hexdigit());
        let point = u32::from_str_radix(hex, 16).ok().filter(|_| valid);
        match point.and_then(char::from_u32) {
            Some(c) => {
                self.at += digits;
                Ok(c)
            }
            None => Err(Error::Syntax {
                at,
                message: format!(
                    "the escape needs {digits} hexadecimal digits of a character; write it as it is"
                ),
            }),
        }
    }
}
