//! Recursive descent with precedence climbing. Every recursion passes `descend`, which counts.

use crate::ast::{Arithmetic, Choice, Comparison, FieldName, Kind, Loop, LoopKind, Node};
use crate::error::suggest;
use crate::function::{FUNCTIONS, LEFT_OUT, RESERVED, SPECIAL};
use crate::number::Num;
use crate::token::{Lexeme, Lexer, Symbol, Token};
use crate::{Error, MAX_LIST, MAX_NESTING};

/// Keywords that are not even field names after a dot.
const KEYWORDS: &[&str] = &["true", "false", "null", "in"];

pub(crate) struct Parser<'s> {
    lexer: Lexer<'s>,
    token: Token<'s>,
    /// End of the last token taken.
    taken_to: usize,
    depth: usize,
}

/// An expression which ends where `source` does.
pub(crate) fn parse_whole(source: &str) -> Result<Node, Error> {
    let mut parser = Parser::new(source)?;
    let node = parser.parse_choice()?;
    match parser.token.lexeme {
        Lexeme::End => Ok(node),
        _ => Err(parser.unexpected("an operator or the end")),
    }
}

/// An expression followed by `}}`; also gives the offset after the braces.
pub(crate) fn parse_braced(source: &str) -> Result<(Node, usize), Error> {
    let mut parser = Parser::new(source)?;
    let node = parser.parse_choice()?;
    let rest = source.get(parser.token.at..).unwrap_or("");
    if rest.starts_with("}}") {
        return Ok((node, parser.token.at + 2));
    }
    Err(parser.unexpected("an operator or `}}`"))
}

impl<'s> Parser<'s> {
    fn new(source: &'s str) -> Result<Self, Error> {
        let mut lexer = Lexer::new(source);
        let token = lexer.next()?;
        Ok(Self { lexer, token, taken_to: 0, depth: 0 })
    }

    fn unexpected(&self, wanted: &str) -> Error {
        Error::Syntax {
            at: self.token.at,
            message: format!("expected {wanted}, found {}", self.token.describe()),
        }
    }

    fn advance(&mut self) -> Result<Token<'s>, Error> {
        self.taken_to = self.token.end;
        let next = match self.token.lexeme {
            Lexeme::End => self.token.clone(),
            _ => self.lexer.next()?,
        };
        Ok(std::mem::replace(&mut self.token, next))
    }

    fn at_symbol(&self, symbol: Symbol) -> bool {
        self.token.lexeme == Lexeme::Symbol(symbol)
    }

    fn take(&mut self, symbol: Symbol) -> Result<bool, Error> {
        let found = self.at_symbol(symbol);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, symbol: Symbol) -> Result<(), Error> {
        if self.take(symbol)? {
            return Ok(());
        }
        Err(self.unexpected(&format!("`{}`", symbol.text())))
    }

    fn too_deep(at: usize) -> Error {
        Error::TooLarge { at, what: "the nesting", limit: MAX_NESTING }
    }

    /// The node from `at` to the last token taken.
    fn node(&self, kind: Kind, at: usize) -> Result<Node, Error> {
        let node = Node::new(kind, at, self.taken_to);
        if node.depth > MAX_NESTING {
            return Err(Self::too_deep(at));
        }
        Ok(node)
    }

    fn descend(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<Node, Error>,
    ) -> Result<Node, Error> {
        if self.depth >= MAX_NESTING {
            return Err(Self::too_deep(self.token.at));
        }
        self.depth += 1;
        let node = parse(self)?;
        self.depth -= 1;
        Ok(node)
    }

    fn parse_choice(&mut self) -> Result<Node, Error> {
        self.descend(|p| {
            let at = p.token.at;
            let condition = p.parse_any()?;
            if !p.take(Symbol::Question)? {
                return Ok(condition);
            }
            let yes = p.parse_choice()?;
            p.expect(Symbol::Colon)?;
            let no = p.parse_choice()?;
            let choice = Choice { condition, yes, no };
            p.node(Kind::Choose(Box::new(choice)), at)
        })
    }

    fn parse_any(&mut self) -> Result<Node, Error> {
        self.parse_flat(Symbol::Or, Kind::Any, Self::parse_all)
    }

    fn parse_all(&mut self) -> Result<Node, Error> {
        self.parse_flat(Symbol::And, Kind::All, Self::parse_comparison)
    }

    fn parse_flat(
        &mut self,
        symbol: Symbol,
        kind: fn(Vec<Node>) -> Kind,
        operand: fn(&mut Self) -> Result<Node, Error>,
    ) -> Result<Node, Error> {
        let at = self.token.at;
        let first = operand(self)?;
        if !self.at_symbol(symbol) {
            return Ok(first);
        }
        let mut operands = vec![first];
        while self.take(symbol)? {
            operands.push(operand(self)?);
        }
        self.node(kind(operands), at)
    }

    fn comparison_here(&self) -> Option<Comparison> {
        match &self.token.lexeme {
            Lexeme::Symbol(Symbol::Equal) => Some(Comparison::Equal),
            Lexeme::Symbol(Symbol::NotEqual) => Some(Comparison::NotEqual),
            Lexeme::Symbol(Symbol::Less) => Some(Comparison::Less),
            Lexeme::Symbol(Symbol::LessEqual) => Some(Comparison::LessEqual),
            Lexeme::Symbol(Symbol::Greater) => Some(Comparison::Greater),
            Lexeme::Symbol(Symbol::GreaterEqual) => Some(Comparison::GreaterEqual),
            Lexeme::Name("in") => Some(Comparison::In),
            _ => None,
        }
    }

    fn parse_comparison(&mut self) -> Result<Node, Error> {
        let at = self.token.at;
        let mut left = self.parse_sum()?;
        while let Some(comparison) = self.comparison_here() {
            self.advance()?;
            let right = self.parse_sum()?;
            let kind = Kind::Compare(comparison, Box::new(left), Box::new(right));
            left = self.node(kind, at)?;
        }
        Ok(left)
    }

    fn parse_sum(&mut self) -> Result<Node, Error> {
        let operators = &[(Symbol::Plus, Arithmetic::Add), (Symbol::Minus, Arithmetic::Subtract)];
        self.parse_chain(operators, Self::parse_product)
    }

    fn parse_product(&mut self) -> Result<Node, Error> {
        let operators = &[
            (Symbol::Star, Arithmetic::Multiply),
            (Symbol::Slash, Arithmetic::Divide),
            (Symbol::Percent, Arithmetic::Remainder),
        ];
        self.parse_chain(operators, Self::parse_unary)
    }

    fn parse_chain(
        &mut self,
        operators: &[(Symbol, Arithmetic)],
        operand: fn(&mut Self) -> Result<Node, Error>,
    ) -> Result<Node, Error> {
        let at = self.token.at;
        let first = operand(self)?;
        let mut rest = Vec::new();
        while let Some((_, operator)) = operators.iter().find(|(s, _)| self.at_symbol(*s)) {
            self.advance()?;
            rest.push((*operator, operand(self)?));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        self.node(Kind::Chain(Box::new(first), rest), at)
    }

    fn parse_unary(&mut self) -> Result<Node, Error> {
        let at = self.token.at;
        if self.take(Symbol::Not)? {
            let operand = self.descend(Self::parse_unary)?;
            return self.node(Kind::Not(Box::new(operand)), at);
        }
        if self.take(Symbol::Minus)? {
            if let Lexeme::Number(digits) = self.token.lexeme {
                self.advance()?;
                let literal = self.number(&format!("-{digits}"), at)?;
                return self.parse_postfix(literal);
            }
            let operand = self.descend(Self::parse_unary)?;
            return self.node(Kind::Negate(Box::new(operand)), at);
        }
        let primary = self.parse_primary()?;
        self.parse_postfix(primary)
    }

    fn number(&self, text: &str, at: usize) -> Result<Node, Error> {
        let kind = match Num::parse(text) {
            Some(Num::Int(whole)) => Kind::Int(whole),
            Some(Num::Dec(decimal)) => Kind::Decimal(decimal),
            None => {
                return Err(Error::Syntax {
                    at,
                    message: "the number is not exact within 28 digits; write fewer digits"
                        .to_owned(),
                });
            }
        };
        self.node(kind, at)
    }

    fn parse_primary(&mut self) -> Result<Node, Error> {
        let token = self.token.clone();
        let at = token.at;
        match token.lexeme {
            Lexeme::Number(digits) => {
                self.advance()?;
                self.number(digits, at)
            }
            Lexeme::Text(text) => {
                self.advance()?;
                self.node(Kind::Text(text), at)
            }
            Lexeme::Name(name) => self.parse_name(name, at),
            Lexeme::Symbol(Symbol::OpenParen) => {
                self.advance()?;
                let inner = self.parse_choice()?;
                self.expect(Symbol::CloseParen)?;
                Ok(inner)
            }
            Lexeme::Symbol(Symbol::OpenBracket) => {
                self.advance()?;
                let elements = self.parse_items(Symbol::CloseBracket)?;
                self.node(Kind::List(elements), at)
            }
            Lexeme::Symbol(Symbol::OpenBrace) => {
                self.advance()?;
                let entries = self.parse_entries()?;
                self.node(Kind::Map(entries), at)
            }
            Lexeme::Symbol(_) | Lexeme::End => Err(self.unexpected("a value")),
        }
    }

    fn parse_name(&mut self, name: &str, at: usize) -> Result<Node, Error> {
        let kind = match name {
            "true" => Kind::Bool(true),
            "false" => Kind::Bool(false),
            "null" => Kind::Null,
            _ if RESERVED.contains(&name) => {
                let message =
                    format!("`{name}` is a reserved word; use another name, or put text in quotes");
                return Err(Error::Syntax { at, message });
            }
            _ => Kind::Name(name.to_owned()),
        };
        self.advance()?;
        if !self.at_symbol(Symbol::OpenParen) {
            return self.node(kind, at);
        }
        self.advance()?;
        let arguments = self.parse_items(Symbol::CloseParen)?;
        let call = FieldName { text: name.to_owned(), at };
        self.call(call, arguments, at)
    }

    /// Up to and with the closing symbol; a comma may come before it.
    fn parse_items(&mut self, close: Symbol) -> Result<Vec<Node>, Error> {
        let mut items = Vec::new();
        while !self.take(close)? {
            if items.len() >= MAX_LIST {
                return Err(Error::TooLarge {
                    at: self.token.at,
                    what: "the list, in elements,",
                    limit: MAX_LIST,
                });
            }
            items.push(self.parse_choice()?);
            if !self.at_symbol(close) {
                self.expect(Symbol::Comma)?;
            }
        }
        Ok(items)
    }

    fn parse_entries(&mut self) -> Result<Vec<(FieldName, Node)>, Error> {
        let mut entries: Vec<(FieldName, Node)> = Vec::new();
        while !self.take(Symbol::CloseBrace)? {
            let at = self.token.at;
            let Lexeme::Text(text) = self.token.lexeme.clone() else {
                return Err(self.unexpected("a key in quotes"));
            };
            if entries.iter().any(|(key, _)| key.text == text) {
                return Err(Error::Syntax {
                    at,
                    message: format!("the key `{text}` is there twice; keep one"),
                });
            }
            self.advance()?;
            self.expect(Symbol::Colon)?;
            entries.push((FieldName { text, at }, self.parse_choice()?));
            if !self.at_symbol(Symbol::CloseBrace) {
                self.expect(Symbol::Comma)?;
            }
        }
        Ok(entries)
    }

    fn parse_postfix(&mut self, mut base: Node) -> Result<Node, Error> {
        let at = base.at;
        loop {
            if self.take(Symbol::Dot)? {
                base = self.parse_member(base)?;
            } else if self.take(Symbol::OpenBracket)? {
                let index = self.parse_choice()?;
                self.expect(Symbol::CloseBracket)?;
                let kind = match index.kind {
                    Kind::Text(text) => {
                        let at = index.at;
                        Kind::Field(Box::new(base), FieldName { text, at })
                    }
                    _ => Kind::Index(Box::new(base), Box::new(index)),
                };
                base = self.node(kind, at)?;
            } else if self.at_symbol(Symbol::OpenBrace) && matches!(base.kind, Kind::Name(_)) {
                return Err(Error::Unsupported {
                    at: self.token.at,
                    what: "a message".to_owned(),
                    instead: "write a map, `{'key': value}`".to_owned(),
                });
            } else {
                return Ok(base);
            }
        }
    }

    fn parse_member(&mut self, base: Node) -> Result<Node, Error> {
        let at = self.token.at;
        if self.at_symbol(Symbol::Question) {
            return Err(Error::Unsupported {
                at,
                what: "`.?`".to_owned(),
                instead: "use `has()` or `default()`".to_owned(),
            });
        }
        let name = match self.token.lexeme {
            Lexeme::Name(name) if !KEYWORDS.contains(&name) => name.to_owned(),
            _ => return Err(self.unexpected("a field name")),
        };
        self.advance()?;
        let start = base.at;
        let name = FieldName { text: name, at };
        if !self.take(Symbol::OpenParen)? {
            return self.node(Kind::Field(Box::new(base), name), start);
        }
        let mut arguments = self.parse_items(Symbol::CloseParen)?;
        if let Some(kind) = LoopKind::named(&name.text) {
            return self.each(kind, base, (name, arguments));
        }
        arguments.insert(0, base);
        self.call(name, arguments, start)
    }

    fn each(
        &self,
        kind: LoopKind,
        list: Node,
        (name, arguments): (FieldName, Vec<Node>),
    ) -> Result<Node, Error> {
        let start = list.at;
        let usage = format!("write `list.{}(variable, expression)`", name.text);
        let Ok([variable, body]) = <[Node; 2]>::try_from(arguments) else {
            return Err(Error::Unsupported {
                at: name.at,
                what: format!("`{}` with other than two arguments", name.text),
                instead: usage,
            });
        };
        let Kind::Name(text) = variable.kind else {
            return Err(Error::Syntax {
                at: variable.at,
                message: format!("the loop variable is a plain name; {usage}"),
            });
        };
        let at = variable.at;
        let each = Loop { kind, list, variable: FieldName { text, at }, body };
        self.node(Kind::Loop(Box::new(each)), start)
    }

    fn call(&self, name: FieldName, arguments: Vec<Node>, start: usize) -> Result<Node, Error> {
        let count = arguments.len();
        let arity = |wanted: &str| Error::Syntax {
            at: name.at,
            message: format!("`{}` takes {wanted}, found {count}", name.text),
        };
        match name.text.as_str() {
            "has" => {
                let [field] = <[Node; 1]>::try_from(arguments).map_err(|_| arity("1 argument"))?;
                if !matches!(field.kind, Kind::Field(..)) {
                    return Err(Error::Syntax {
                        at: field.at,
                        message: "`has` takes a field; write `has(a.b)`".to_owned(),
                    });
                }
                return self.node(Kind::Has(Box::new(field)), start);
            }
            "default" => {
                let [value, fallback] =
                    <[Node; 2]>::try_from(arguments).map_err(|_| arity("2 arguments"))?;
                return self.node(Kind::Default(Box::new(value), Box::new(fallback)), start);
            }
            text if LoopKind::named(text).is_some() => {
                return Err(Error::Syntax {
                    at: name.at,
                    message: format!(
                        "`{text}` is asked of a list; write `list.{text}(variable, expression)`"
                    ),
                });
            }
            _ => {}
        }
        let Some((_, function, range)) = FUNCTIONS.iter().find(|(known, ..)| *known == name.text)
        else {
            return Err(unknown_function(&name));
        };
        if !range.contains(&count) {
            return Err(arity(&match (range.start(), range.end()) {
                (1, 1) => "1 argument".to_owned(),
                (least, most) if least == most => format!("{least} arguments"),
                (least, most) => format!("{least} to {most} arguments"),
            }));
        }
        self.node(Kind::Call(*function, arguments), start)
    }
}

fn unknown_function(name: &FieldName) -> Error {
    if let Some((_, instead)) = LEFT_OUT.iter().find(|(known, _)| *known == name.text) {
        return Error::Unsupported {
            at: name.at,
            what: format!("the function `{}`", name.text),
            instead: (*instead).to_owned(),
        };
    }
    let known = FUNCTIONS.iter().map(|(known, ..)| *known);
    let hint = suggest(&name.text, known.chain(SPECIAL.iter().copied()));
    Error::Syntax { at: name.at, message: format!("unknown function `{}`{hint}", name.text) }
}
