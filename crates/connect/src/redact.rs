//! What is taken out of everything that comes in from outside, and of everything that is told: live secrets, in the
//! spellings a system may echo; texts that have the shape of a key; and what is personal, as far as it is asked for.
//!
//! The first is exact and is what the promise rests on. The other two are rules: they know shapes, not values.

#[cfg(test)]
mod corpus;
mod exact;
mod personal;
mod runs;
mod shapes;
mod skip;
mod stream;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, sync::Arc};

use secrets::keeper::{Keeper, Origin};
use serde_json::Value;

use exact::Exact;
pub use personal::{Kind, Personal};
pub use stream::Scrubber;

/// Longest text that a rule looks at as one, in bytes: what is held back of a stream.
const RULE_BYTES_MAX: usize = shapes::PEM_BYTES_MAX;

/// Something to take out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    /// Where the text begins that shows what it is.
    from: usize,
    /// Where it begins itself.
    start: usize,
    end: usize,
    /// What is put in its place.
    mark: String,
    /// What it is, where it is personal and nothing else: that may be kept for who holds a key.
    kind: Option<Kind>,
}

/// Where what is personal goes that is taken out, and for whom.
#[derive(Clone, Debug)]
struct Kept {
    keeper: Arc<Keeper>,
    origin: Origin,
}

/// Replaces live secrets by `[secret:NAME]`, keys by `[token:KIND]`, and what is personal by its kind.
#[derive(Clone, Debug)]
pub struct Redactor {
    exact: Arc<Exact>,
    personal: Personal,
    kept: Option<Kept>,
}

impl Redactor {
    /// Looks for these `(name, value)` pairs, for what has the shape of a key, and for cards.
    ///
    /// # Errors
    /// When the spellings do not fit into one automaton; says so without a value.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let exact = Arc::new(Exact::new(secrets)?);
        Ok(Self { exact, personal: Personal::default(), kept: None })
    }

    /// The same, with other things personal.
    #[must_use]
    pub fn with(&self, personal: Personal) -> Self {
        Self { exact: Arc::clone(&self.exact), personal, kept: self.kept.clone() }
    }

    /// The same, where what is personal is kept sealed: its mark names it.
    #[must_use]
    pub fn keeping(&self, keeper: Arc<Keeper>, origin: Origin) -> Self {
        Self { kept: Some(Kept { keeper, origin }), ..self.clone() }
    }

    /// The text without what must not be in it.
    #[must_use]
    pub fn scrub_text(&self, text: &str) -> String {
        self.scrubbed(text).unwrap_or_else(|| text.to_owned())
    }

    /// Takes it out of every string, key and number of a value.
    pub fn scrub_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(clean) = self.scrubbed(text) {
                    *text = clean;
                }
            }
            Value::Number(number) => {
                let text = number.to_string();
                if let Some(clean) = self.scrubbed(&text) {
                    *value = Value::String(clean);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.scrub_value(item)),
            Value::Object(map) => {
                for (key, item) in map.iter_mut() {
                    match item {
                        // A field says by its name what it holds; the name does not stand in the text.
                        Value::String(text) if shapes::is_credential(key, text) => {
                            // A secret that is known is told by its name.
                            *text = match self.scrubbed(text) {
                                Some(clean) => clean,
                                None => shapes::CREDENTIAL_MARK.to_owned(),
                            };
                        }
                        item => self.scrub_value(item),
                    }
                }
                if map.keys().any(|key| self.scrubbed(key).is_some()) {
                    let renamed = std::mem::take(map).into_iter();
                    *map = renamed.map(|(key, item)| (self.scrub_text(&key), item)).collect();
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Takes live secrets out of every text of a value, and nothing else: what people say to the harness, and what it
    /// says to them, is theirs.
    pub fn scrub_known(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                let mut spans = Vec::new();
                self.exact.find(text.as_bytes(), &mut spans);
                if !spans.is_empty() {
                    *text = self.replaced(text, joined(spans, usize::MAX));
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.scrub_known(item)),
            Value::Object(map) => map.values_mut().for_each(|item| self.scrub_known(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// The first that must not be in these bytes: what would be put in its place, and where it begins.
    #[must_use]
    pub fn first_in(&self, bytes: &[u8]) -> Option<(String, usize)> {
        let spans = self.spans(bytes, None);
        spans.into_iter().next().map(|span| (span.mark, span.start))
    }

    /// `None` when nothing is in it.
    fn scrubbed(&self, text: &str) -> Option<String> {
        let spans = self.spans(text.as_bytes(), None);
        if spans.is_empty() {
            return None;
        }
        Some(self.replaced(text, spans))
    }

    fn replaced(&self, text: &str, spans: Vec<Span>) -> String {
        let mut clean = String::with_capacity(text.len());
        let mut done = 0;
        for span in spans {
            clean.push_str(text.get(done..span.start).unwrap_or_default());
            let whole = text.as_bytes().get(span.start..span.end).unwrap_or_default();
            clean.push_str(&self.mark_of(&span, whole));
            done = span.end;
        }
        clean.push_str(text.get(done..).unwrap_or_default());
        clean
    }

    /// What is put in the place of these bytes, which have come in whole.
    fn mark_of<'s>(&self, span: &'s Span, whole: &[u8]) -> Cow<'s, str> {
        let (Some(kept), Some(kind)) = (&self.kept, span.kind) else {
            return Cow::Borrowed(&span.mark);
        };
        let value = String::from_utf8_lossy(whole);
        let name = kept.keeper.keep(kind.name(), &value, &kept.origin);
        Cow::Owned(format!("{}#{name}]", span.mark.trim_end_matches(']')))
    }

    /// What to take out, in order, joined where it overlaps. `before` is the byte that stood before the text.
    fn spans(&self, text: &[u8], before: Option<u8>) -> Vec<Span> {
        let mut found = Vec::new();
        self.exact.find(text, &mut found);
        // What is known exactly is told by its name, whatever its shape is.
        let known = found.len();
        shapes::find(text, before, &mut found);
        personal::find(text, before, self.personal, &mut found);
        joined(found, known)
    }

    /// How much of a stream is held back so that nothing is seen in part only.
    fn held_bytes(&self) -> usize {
        self.exact.longest.max(RULE_BYTES_MAX)
    }
}

/// In order and joined where they overlap; the first `known` are live secrets.
fn joined(found: Vec<Span>, known: usize) -> Vec<Span> {
    if found.len() < 2 {
        return found;
    }
    let mut ranked: Vec<(usize, Span)> = found.into_iter().enumerate().collect();
    ranked.sort_by(|(rank, one), (other_rank, other)| {
        let longer = other.end.cmp(&one.end);
        let known = (*rank >= known).cmp(&(*other_rank >= known));
        // What is found later has the longer beginning, and says more.
        one.start.cmp(&other.start).then(known).then(longer).then(other_rank.cmp(rank))
    });
    let mut joined: Vec<Span> = Vec::with_capacity(ranked.len());
    for (rank, span) in ranked {
        match joined.last_mut() {
            Some(last) if span.start < last.end => {
                if rank < known && !last.mark.starts_with("[secret:") {
                    last.mark = span.mark;
                }
                // One of a kind within another: what is kept is what was found, and never a secret or a key.
                last.kind = last.kind.filter(|kind| span.kind == Some(*kind));
                last.end = last.end.max(span.end);
                last.from = last.from.min(span.from);
            }
            _ => joined.push(span),
        }
    }
    joined
}

/// Whether a text is one mark and nothing else: what was withheld, where it should be written back.
pub(crate) fn is_mark(text: &str) -> bool {
    let inner = text.trim().strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    inner.is_some_and(|inner| {
        let with_name = ["secret:", "token:", "card:"].iter().any(|kind| inner.starts_with(kind));
        (with_name && !inner.contains(['[', ']', ' ']))
            || ["iban", "mail", "phone"].contains(&inner.split('#').next().unwrap_or_default())
    })
}
