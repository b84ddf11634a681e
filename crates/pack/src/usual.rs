//! What the inputs of an intent usually look like, learned from runs that ended well, and what about new
//! ones is unlike all of them. Nothing is learned that a person could not say in a sentence: which parts
//! are given, of which types, in which range, from which few values, how long, in which characters.

use std::collections::{BTreeMap, BTreeSet};

use kernel::novelty::{Unlike, Unusual};
use serde_json::Value;

use crate::Intent;

/// Parts looked at in one set of inputs; the rest is not judged.
const PARTS_MAX: usize = 256;

/// Values kept of one part; a part with more is not one of few values.
const VALUES_MAX: usize = 8;

/// How often each of few values must have been seen on average before a new one is unusual.
const TIMES_PER_VALUE: usize = 5;

/// Longest text that is compared as a token, in characters: an identifier, a code, a date. Longer ones
/// are prose, of which only the length and the alphabets are usual or not.
const TOKEN_CHARS_MAX: usize = 64;

/// Characters a text may always have more than the longest before.
const CHARS_SPARE: usize = 16;

/// What earlier inputs of one intent had in common.
#[derive(Clone, Debug, Default)]
pub struct Usual {
    runs: usize,
    parts: BTreeMap<String, Part>,
}

/// One part of the inputs, over all runs.
#[derive(Clone, Debug, Default)]
struct Part {
    runs: usize,
    types: BTreeSet<&'static str>,
    range: Option<(f64, f64)>,
    /// `None` once there are too many, or one that is not a word.
    values: Option<BTreeSet<String>>,
    chars_max: usize,
    kinds: u8,
    is_identity: bool,
}

impl Usual {
    /// Learns from the inputs of runs that ended well.
    pub fn of<'v>(intent: &Intent, inputs: impl IntoIterator<Item = &'v Value>) -> Self {
        let mut usual = Self::default();
        for value in inputs {
            usual.runs += 1;
            let mut seen = BTreeSet::new();
            for (at, value) in parts(intent, value) {
                let part = usual.parts.entry(at.clone()).or_insert_with(|| Part {
                    values: Some(BTreeSet::new()),
                    is_identity: intent.subjects.values().any(|pointer| *pointer == at),
                    ..Part::default()
                });
                part.learn(value);
                if seen.insert(at) {
                    part.runs += 1;
                }
            }
        }
        usual
    }

    /// How many runs it was learned from.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.runs
    }

    /// What is unlike everything before, in order of place; each place and kind once.
    #[must_use]
    pub fn unlike(&self, intent: &Intent, inputs: &Value) -> Vec<Unusual> {
        let mut found = BTreeSet::new();
        let mut given = BTreeSet::new();
        for (at, value) in parts(intent, inputs) {
            let unlike = match self.parts.get(&at) {
                Some(part) => part.unlike(value),
                None => Some(Unlike::NewPart),
            };
            found.extend(unlike.map(|how| Unusual { at: at.clone(), how }));
            given.insert(at);
        }
        let always = self.parts.iter().filter(|(_, part)| part.runs == self.runs);
        let missing = always.filter(|(at, _)| !given.contains(*at));
        found.extend(missing.map(|(at, _)| Unusual { at: at.clone(), how: Unlike::MissingPart }));
        // Whatever lies below a new or missing part says the same again.
        let whole = |one: &Unusual| matches!(one.how, Unlike::NewPart | Unlike::MissingPart);
        let tops: Vec<String> = found.iter().filter(|u| whole(u)).map(|u| u.at.clone()).collect();
        let below = |at: &str| tops.iter().any(|top| is_below(at, top));
        found.into_iter().filter(|unusual| !below(&unusual.at)).collect()
    }
}

impl Part {
    fn learn(&mut self, value: &Value) {
        self.types.insert(type_of(value));
        if let Some(number) = measure(value) {
            let (low, high) = self.range.unwrap_or((number, number));
            self.range = Some((low.min(number), high.max(number)));
        }
        if let Value::String(text) = value {
            self.chars_max = self.chars_max.max(text.chars().count());
            self.kinds |= kinds(text);
        }
        let mut values = self.values.take();
        if let (Some(values), Some(word)) = (&mut values, word(value)) {
            values.insert(word);
        }
        let is_few = |few: &BTreeSet<String>| few.len() <= VALUES_MAX && word(value).is_some();
        self.values = values.filter(is_few);
    }

    fn unlike(&self, value: &Value) -> Option<Unlike> {
        if !self.types.contains(type_of(value)) {
            return Some(Unlike::OtherType);
        }
        if let (Some(number), Some((low, high))) = (measure(value), self.range) {
            // As far again as the range is wide, or half of the number itself where all were alike.
            let spare = (high - low).max(high.abs() * 0.5).max(1.0);
            if number > high + spare || number < low - spare {
                return Some(Unlike::OutOfRange);
            }
            return None;
        }
        let few = self.values.as_ref().filter(|few| few.len() * TIMES_PER_VALUE <= self.runs);
        if let (false, Some(few), Some(word)) = (self.is_identity, few, word(value))
            && !few.contains(&word)
        {
            return Some(Unlike::NewValue);
        }
        let Value::String(text) = value else { return None };
        if text.chars().count() > self.chars_max * 4 + CHARS_SPARE {
            return Some(Unlike::LongText);
        }
        let is_prose = self.chars_max > TOKEN_CHARS_MAX || self.kinds & SPACE != 0;
        let told = if is_prose { OTHER_ALPHABET | CONTROL } else { u8::MAX };
        (kinds(text) & told & !self.kinds != 0).then_some(Unlike::OtherCharacters)
    }
}

const LETTER: u8 = 1;
const DIGIT: u8 = 2;
const SPACE: u8 = 4;
const SIGN: u8 = 8;
const OTHER_ALPHABET: u8 = 16;
const CONTROL: u8 = 32;

/// Which kinds of characters a text has, as bits.
fn kinds(text: &str) -> u8 {
    let kind = |c: char| match c {
        '\n' | '\t' | ' ' => SPACE,
        _ if c.is_control() => CONTROL,
        // Zero-width, bidirectional and invisible characters hide what a text says.
        '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{e0000}'..='\u{e007f}' => CONTROL,
        _ if c.is_whitespace() => SPACE,
        _ if c.is_ascii_digit() => DIGIT,
        _ if c.is_ascii_alphabetic() => LETTER,
        // Latin with diacritics is an everyday name; another script is not, until it was seen.
        '\u{c0}'..='\u{24f}' => LETTER,
        _ if c.is_alphanumeric() => OTHER_ALPHABET,
        _ => SIGN,
    };
    text.chars().map(kind).fold(0, |all, one| all | one)
}

/// A number, also one written as text, or how many items a list has.
fn measure(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
        Value::Array(items) => Some(items.len() as f64),
        Value::Null | Value::Bool(_) | Value::Object(_) => None,
    }
}

/// A value that can be one of few: not prose.
fn word(value: &Value) -> Option<String> {
    let is_short = |text: &str| text.len() <= TOKEN_CHARS_MAX * 4 && text.split(' ').count() <= 3;
    match value {
        Value::Bool(flag) => Some(flag.to_string()),
        Value::String(text) if is_short(text) => Some(text.clone()),
        _ => None,
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is_below(at: &str, top: &str) -> bool {
    at.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'))
}

/// Every part of the inputs with its place, outer ones first.
fn parts<'v>(intent: &Intent, inputs: &'v Value) -> Vec<(String, &'v Value)> {
    let mut found = Vec::new();
    walk(&intent.input, inputs, String::new(), &mut found);
    found
}

fn walk<'v>(schema: &Value, value: &'v Value, at: String, found: &mut Vec<(String, &'v Value)>) {
    if found.len() >= PARTS_MAX {
        return;
    }
    if !at.is_empty() {
        found.push((at.clone(), value));
    }
    match value {
        Value::Array(items) => {
            for item in items {
                walk(&schema["items"], item, format!("{at}/*"), found);
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                let named = schema["properties"].get(key);
                let schema = named.unwrap_or(&schema["additionalProperties"]);
                let key = match named {
                    Some(_) => key.replace('~', "~0").replace('/', "~1"),
                    None => "*".to_owned(),
                };
                walk(schema, value, format!("{at}/{key}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
