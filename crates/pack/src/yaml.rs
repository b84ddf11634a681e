//! YAML to nodes that know their place. Anchors, aliases, merges, tags, several documents and
//! duplicate keys are refused; nesting is bounded while parsing, so no input can exhaust the stack.

use std::borrow::Cow;

use kernel::pointer;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};
use serde_json::{Map, Number, Value};

use crate::problem::{Place, Problem};

/// Deepest nesting of a file.
pub const NESTING_MAX: usize = 32;

/// Most nodes in a file.
pub const NODES_MAX: usize = 20_000;

/// The JSON value of a YAML file, by the same strict rules as packs are read.
///
/// # Errors
/// The first problem, with its place.
pub fn yaml_value(file: &str, bytes: &[u8]) -> Result<Value, Problem> {
    yaml_value_within(file, bytes, NODES_MAX)
}

/// As [`yaml_value`], for a file that may hold more (or only less) than one of a pack.
///
/// # Errors
/// The first problem, with its place.
pub fn yaml_value_within(file: &str, bytes: &[u8], nodes_max: usize) -> Result<Value, Problem> {
    Doc::parse_as(file, bytes, (Dialect::Core, nodes_max)).map(|doc| doc.root.to_value())
}

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(Text),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A string and how it was written, so that an offset in it can be shown in the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Text {
    pub(crate) value: String,
    style: Style,
}

#[derive(Clone, Debug, PartialEq)]
enum Style {
    /// On one line; `skip` characters stand before the first.
    Line { skip: usize },
    /// A literal block: each line of the value is a line of the file.
    Block { first_line: usize, indent: usize },
    /// A folded block: a space of the value may be a line break of the file, whose lines are so long.
    Folded { first_line: usize, indent: usize, lengths: Vec<usize> },
    /// Over several lines in another way: only its beginning is known.
    Unknown,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) place: Place,
}

/// One file, parsed.
#[derive(Clone, Debug)]
pub(crate) struct Doc {
    pub(crate) file: String,
    pub(crate) root: Node,
}

/// What a plain scalar is, and how lists and maps may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// YAML 1.2 core values.
    Core,
    /// StrictYAML: every scalar is text as it stands, and nothing is written in brackets or braces.
    Strict,
}

impl Doc {
    /// Parses one file.
    pub(crate) fn parse(file: &str, bytes: &[u8]) -> Result<Self, Problem> {
        Self::parse_as(file, bytes, (Dialect::Core, NODES_MAX))
    }

    /// Parses one file of StrictYAML, in which every scalar is text.
    pub(crate) fn parse_strict(file: &str, bytes: &[u8]) -> Result<Self, Problem> {
        Self::parse_as(file, bytes, (Dialect::Strict, NODES_MAX))
    }

    fn parse_as(
        file: &str,
        bytes: &[u8],
        (dialect, nodes_max): (Dialect, usize),
    ) -> Result<Self, Problem> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before =
                String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default());
            let place = place_of_offset(&before, before.len());
            Problem::new(file, place, "not UTF-8 text", "save the file as UTF-8")
        })?;
        let parser = Parser::new_from_str(text);
        let mut builder = Builder { file, text, parser, nodes: 0, nodes_max, dialect };
        let root = builder.document()?;
        Ok(Self { file: file.to_owned(), root })
    }

    /// The place of the value at a JSON pointer; of the nearest parent that exists otherwise.
    pub(crate) fn place(&self, at: &str) -> Place {
        let mut node = &self.root;
        for segment in at.split('/').skip(1) {
            match node.child(segment) {
                Some(child) => node = child,
                None => break,
            }
        }
        node.place
    }

    /// The node at a JSON pointer.
    pub(crate) fn node(&self, at: &str) -> Option<&Node> {
        at.split('/').skip(1).try_fold(&self.root, |node, segment| node.child(segment))
    }

    /// The place of a byte offset in the text at a JSON pointer.
    pub(crate) fn place_in(&self, at: &str, offset: usize) -> Place {
        match self.node(at) {
            Some(node) => node.place_in(offset),
            None => self.place(at),
        }
    }
}

impl Node {
    fn child(&self, segment: &str) -> Option<&Self> {
        match &self.kind {
            Kind::List(items) => items.get(segment.parse::<usize>().ok()?),
            Kind::Map(entries) => {
                let found = entries.iter().find(|(key, _)| pointer::escape(&key.name) == segment);
                found.map(|(_, node)| node)
            }
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => None,
        }
    }

    pub(crate) fn place_in(&self, offset: usize) -> Place {
        let Kind::Text(text) = &self.kind else { return self.place };
        let inside = place_of_offset(&text.value, offset);
        match &text.style {
            Style::Line { skip } => Place {
                line: self.place.line,
                column: self.place.column + skip + inside.column - 1,
            },
            Style::Block { first_line, indent } => {
                Place { line: first_line + inside.line - 1, column: indent + inside.column }
            }
            Style::Folded { first_line, indent, lengths } => {
                let before = text.value.get(..offset).unwrap_or_default().chars().count();
                let (line, column) = unfold(lengths, before);
                Place { line: first_line + line, column: indent + column + 1 }
            }
            Style::Unknown => self.place,
        }
    }

    /// What it is, in words.
    pub(crate) fn describe(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "true or false",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }

    pub(crate) fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(flag) => Value::Bool(*flag),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Text(text) => Value::String(text.value.clone()),
            Kind::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Kind::Map(entries) => {
                // Sorted, so that no later step can depend on the order they were written in.
                let mut pairs: Vec<_> =
                    entries.iter().map(|(key, node)| (key.name.clone(), node.to_value())).collect();
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
                Value::Object(pairs.into_iter().collect::<Map<_, _>>())
            }
        }
    }
}

/// The line and column, both from 0, of a character of a folded text.
fn unfold(lengths: &[usize], mut at: usize) -> (usize, usize) {
    for (line, length) in lengths.iter().enumerate() {
        if *length == 0 {
            continue;
        }
        if at < *length {
            return (line, at);
        }
        at -= (length + 1).min(at);
    }
    (0, 0)
}

fn place_of_offset(text: &str, offset: usize) -> Place {
    let (line, column) = expr::line_column(text, offset);
    Place { line, column }
}

fn place_of(mark: Marker) -> Place {
    Place { line: mark.line().max(1), column: mark.col() + 1 }
}

/// A parsed event with everything needed owned.
struct Seen<'t> {
    event: Event<'t>,
    place: Place,
    start: Marker,
    end: Marker,
}

struct Builder<'t> {
    file: &'t str,
    text: &'t str,
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    nodes: usize,
    nodes_max: usize,
    dialect: Dialect,
}

impl<'t> Builder<'t> {
    fn problem(&self, place: Place, message: &str, fix: &str) -> Problem {
        Problem::new(self.file, place, message, fix)
    }

    fn next(&mut self) -> Result<Seen<'t>, Problem> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                Ok(Seen { event, place: place_of(span.start), start: span.start, end: span.end })
            }
            Some(Err(error)) => Err(self.syntax(&error)),
            None => {
                let fix = "close the quotes, lists and maps that are open";
                Err(self.problem(Place { line: 1, column: 1 }, "the file ends too early", fix))
            }
        }
    }

    fn syntax(&self, error: &ScanError) -> Problem {
        let message = format!("not YAML: {}", error.info());
        let fix = "check indentation, quotes and brackets here";
        Problem::new(self.file, place_of(*error.marker()), message, fix)
    }

    fn document(&mut self) -> Result<Node, Problem> {
        let mut seen = self.next()?;
        while matches!(seen.event, Event::StreamStart | Event::DocumentStart(_) | Event::Nothing) {
            seen = self.next()?;
        }
        if matches!(seen.event, Event::StreamEnd) {
            let place = Place { line: 1, column: 1 };
            return Err(self.problem(
                place,
                "the file is empty",
                "begin it with `schema: harness.…/v1`",
            ));
        }
        let root = self.node(seen, 0)?;
        loop {
            let seen = self.next()?;
            match seen.event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentEnd | Event::Nothing => {}
                _ => {
                    let fix = "put each document into its own file";
                    return Err(self.problem(seen.place, "a second document in one file", fix));
                }
            }
        }
    }

    fn node(&mut self, seen: Seen<'t>, depth: usize) -> Result<Node, Problem> {
        let place = seen.place;
        self.nodes += 1;
        if depth > NESTING_MAX {
            let message = format!("nested deeper than {NESTING_MAX} levels");
            return Err(self.problem(place, &message, "make it flatter"));
        }
        if self.nodes > self.nodes_max {
            let message = format!("more than {} values in one file", self.nodes_max);
            return Err(self.problem(place, &message, "split the file"));
        }
        let (anchor, tag) = match &seen.event {
            Event::Scalar(_, _, anchor, tag) => (*anchor, tag.is_some()),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
                (*anchor, tag.is_some())
            }
            _ => (0, false),
        };
        if anchor != 0 || matches!(seen.event, Event::Alias(_)) {
            return Err(self.problem(
                place,
                "anchors and aliases are refused",
                "write the value out",
            ));
        }
        if tag {
            return Err(self.problem(place, "tags are refused", "leave the tag out"));
        }
        if self.dialect == Dialect::Strict && self.is_flow(&seen) {
            let fix = "write a line for each entry, indented below its key";
            return Err(self.problem(place, "lists and maps in brackets are refused here", fix));
        }
        let kind = match seen.event {
            Event::Scalar(text, style, _, _) => self.scalar(text, style, seen.start, seen.end)?,
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.map(depth)?,
            _ => {
                return Err(self.problem(place, "not a value", "write text, a list or a map here"));
            }
        };
        Ok(Node { place, kind })
    }

    /// Whether a list or map begins with its bracket; a block begins with its first entry.
    fn is_flow(&self, seen: &Seen<'t>) -> bool {
        let bracket = match seen.event {
            Event::SequenceStart(..) => '[',
            Event::MappingStart(..) => '{',
            _ => return false,
        };
        let line = self.text.lines().nth(seen.start.line().saturating_sub(1));
        line.and_then(|line| line.chars().nth(seen.start.col())) == Some(bracket)
    }

    fn list(&mut self, depth: usize) -> Result<Kind, Problem> {
        let mut items = Vec::new();
        loop {
            let seen = self.next()?;
            if matches!(seen.event, Event::SequenceEnd) {
                return Ok(Kind::List(items));
            }
            items.push(self.node(seen, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Kind, Problem> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut names = std::collections::BTreeMap::<String, Place>::new();
        loop {
            let seen = self.next()?;
            if matches!(seen.event, Event::MappingEnd) {
                return Ok(Kind::Map(entries));
            }
            let key = self.key(seen)?;
            if let Some(first) = names.insert(key.name.clone(), key.place) {
                let message = format!("`{}` stands twice in this map", key.name);
                let fix = format!("keep one; the first is on line {}", first.line);
                return Err(self.problem(key.place, &message, &fix));
            }
            let seen = self.next()?;
            let value = self.node(seen, depth + 1)?;
            entries.push((key, value));
        }
    }

    fn key(&mut self, seen: Seen<'t>) -> Result<Key, Problem> {
        let place = seen.place;
        match seen.event {
            Event::Scalar(text, ScalarStyle::Plain, 0, None) if text == "<<" => {
                Err(self.problem(place, "merge keys are refused", "write the fields out"))
            }
            Event::Scalar(text, _, 0, None) => Ok(Key { name: text.into_owned(), place }),
            _ => Err(self.problem(place, "a key must be plain text", "write `name: value`")),
        }
    }

    fn scalar(
        &self,
        text: Cow<'t, str>,
        style: ScalarStyle,
        start: Marker,
        end: Marker,
    ) -> Result<Kind, Problem> {
        let one_line = start.line() == end.line();
        let style = match style {
            ScalarStyle::Plain if self.dialect == Dialect::Strict => Style::Line { skip: 0 },
            ScalarStyle::Plain => {
                if let Some(kind) = self.plain(&text, place_of(start))? {
                    return Ok(kind);
                }
                if one_line { Style::Line { skip: 0 } } else { Style::Unknown }
            }
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                if one_line {
                    Style::Line { skip: 1 }
                } else {
                    Style::Unknown
                }
            }
            // The parser marks a block where its first character stands, past any empty lines.
            ScalarStyle::Literal => {
                let empty = text.chars().take_while(|c| *c == '\n').count();
                Style::Block { first_line: start.line().saturating_sub(empty), indent: start.col() }
            }
            ScalarStyle::Folded => self.folded(start, end),
        };
        Ok(Kind::Text(Text { value: text.into_owned(), style }))
    }

    /// The YAML 1.2 core values of a plain scalar; `None` when it is text.
    fn plain(&self, text: &str, place: Place) -> Result<Option<Kind>, Problem> {
        let kind = match text {
            "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
            "true" | "True" | "TRUE" => Kind::Bool(true),
            "false" | "False" | "FALSE" => Kind::Bool(false),
            _ if looks_numeric(text) => match text.parse::<Number>() {
                Ok(number) if kernel::canon::parse(text.as_bytes()).is_ok() => Kind::Number(number),
                _ => {
                    let message = "a number that is not exact in JSON";
                    return Err(self.problem(place, message, "put it in quotes"));
                }
            },
            // YAML reads these as numbers, JSON has none of them, and as text they would surprise.
            ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF"
            | "-.inf" | "-.Inf" | "-.INF" => {
                let message = "a number that is none or has no end";
                let fix = "write a number, or put it in quotes if it is text";
                return Err(self.problem(place, message, fix));
            }
            _ => return Ok(None),
        };
        Ok(Some(kind))
    }

    fn folded(&self, start: Marker, end: Marker) -> Style {
        let count = end.line().saturating_sub(start.line()) + 1;
        let lines = self.text.lines().skip(start.line().saturating_sub(1)).take(count);
        let lengths = lines.map(|line| line.chars().skip(start.col()).count()).collect();
        Style::Folded { first_line: start.line(), indent: start.col(), lengths }
    }
}

fn looks_numeric(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| matches!(c, '0'..='9' | '.' | 'e' | 'E' | '+' | '-'))
        && digits.matches('.').count() < 2
        && !digits.contains('-')
        || text.parse::<i64>().is_ok()
}
