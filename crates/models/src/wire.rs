//! The dialects. Each writes requests, reads answers and puts streams together; none does IO.

pub(crate) mod anthropic;
pub(crate) mod chat;
pub(crate) mod gemini;
pub(crate) mod responses;

use std::{borrow::Cow, cell::OnceCell};

use base64::Engine as _;
use kernel::{
    canon,
    conversation::{Item, Part, Prompt, Segment, Stop, Usage},
    id::Digest,
};
use serde_json::Value;

use crate::{
    ask::Delta,
    buffer::{History, Turn},
    error::Error,
    json,
    provider::{ApiKind, Provider, SchemaSupport},
    sse::Event,
    status,
};

/// What an answer says, whatever wire it came over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// Which model, as the provider names it.
    pub(crate) model: Option<String>,
    pub(crate) items: Vec<Item>,
    pub(crate) stop: Stop,
    pub(crate) usage: Usage,
}

/// One dialect.
pub(crate) trait Wire: Sync {
    /// What follows the base address.
    fn path(&self, provider: &Provider) -> String;

    /// Headers that every request has.
    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Top-level fields that it writes itself.
    fn reserved(&self) -> &'static [&'static str];

    /// Whether it joins this field of a provider's own `body` with one that it writes.
    fn merges(&self, _field: &str) -> bool {
        false
    }

    /// Writes the head: everything up to the first message.
    fn begin(&self, provider: &Provider, prompt: &Prompt, out: &mut Vec<u8>);

    /// Writes what a prompt says.
    fn tell(&self, provider: &Provider, prompt: &Prompt, history: &mut History);

    /// Writes what the model said, as it said it.
    fn echo(&self, provider: &Provider, answer: &str, history: &mut History) -> Result<(), Error>;

    /// Writes what another model said.
    fn retell(&self, items: &[Item], history: &mut History);

    /// Writes everything after the last message but the last brace.
    fn end(&self, provider: &Provider, turn: &Turn, out: &mut Vec<u8>);

    /// What is put at the ends of the last two prompts.
    fn marker(&self, _provider: &Provider) -> Option<&'static str> {
        None
    }

    /// Reads an answer that did not come as a stream; one that is an error fails.
    fn read(&self, answer: &str) -> Result<Answer, Error>;

    /// Puts a stream together.
    fn listen(&self) -> Box<dyn Listen>;
}

/// Takes the events of one stream in.
pub(crate) trait Listen: Send + Sync {
    /// Takes one event in and tells what it adds. Events after the last one are passed over.
    fn hear(&mut self, event: &Event, tell: &mut dyn FnMut(Delta<'_>)) -> Result<(), Error>;

    /// Whether nothing more is to come.
    fn is_done(&self) -> bool;

    /// The answer as it would have come without streaming; fails when the stream has not come to its
    /// end.
    fn finish(self: Box<Self>) -> Result<String, Error>;
}

/// The wire of a dialect.
pub(crate) fn of(api: ApiKind) -> &'static dyn Wire {
    match api {
        ApiKind::OpenAi => &chat::Chat,
        ApiKind::OpenAiResponses => &responses::Responses,
        ApiKind::Anthropic => &anthropic::Messages,
        ApiKind::Gemini => &gemini::Gemini,
    }
}

/// An answer opened for reading; one with a good status may be an error all the same.
pub(crate) fn open(answer: &str) -> Result<json::Doc<'_>, Error> {
    let doc = json::Doc::read(answer)?;
    match doc.get("error") {
        Some(_) => Err(status::inside(answer)),
        None => Ok(doc),
    }
}

/// A stream that ended before its end.
pub(crate) fn cut_off() -> Error {
    Error::unavailable("the stream ended before the answer did")
}

/// What stands in front of a reply's items, so that calls without an id of their own get one that no
/// other call of the conversation has.
pub(crate) const OWN_ID: &str = "hcall_";

/// Ids for calls of one answer that came without one: the same whenever the answer is read.
pub(crate) struct Ids<'a> {
    answer: &'a str,
    digest: OnceCell<String>,
}

impl<'a> Ids<'a> {
    pub(crate) fn new(answer: &'a str) -> Self {
        Self { answer, digest: OnceCell::new() }
    }

    /// The id of the call that stands at `index`.
    pub(crate) fn at(&self, index: usize) -> String {
        let digest = self.digest.get_or_init(|| Digest::of(self.answer.as_bytes()).short());
        format!("{OWN_ID}{digest}_{index}")
    }
}

/// The schema in words, for providers that do not hold an answer to one.
pub(crate) fn told_schema(provider: &Provider, prompt: &Prompt) -> Option<String> {
    let schema: &Value = prompt.output.as_ref()?;
    if provider.quirks.schema == SchemaSupport::Schema {
        return None;
    }
    // In canonical form: the same words whatever order its maps are in.
    let canonical = canon::bytes(schema).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let schema = canonical.unwrap_or_else(|| schema.to_string());
    Some(format!("Answer with JSON only, no other text, that fits this JSON Schema:\n{schema}"))
}

/// Everything that is standing instructions, in one text.
pub(crate) fn instructions(prompt: &Prompt) -> Option<String> {
    let texts: Vec<&str> = prompt
        .segments
        .iter()
        .filter_map(|segment| match segment {
            Segment::System { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    (!texts.is_empty()).then(|| texts.join("\n\n"))
}

/// A stretch of a prompt that one message can hold.
pub(crate) enum Stretch<'a> {
    /// What is told: results first, since some wires want them right after the calls.
    Told { results: Vec<Outcome<'a>>, parts: Vec<Cow<'a, Part>> },
    /// What the model said in a conversation that this one replaces.
    Said(&'a [Item]),
}

/// What a tool call brought.
pub(crate) struct Outcome<'a> {
    pub(crate) call: &'a str,
    pub(crate) name: &'a str,
    pub(crate) content: &'a str,
    pub(crate) is_error: bool,
}

/// A prompt in stretches, standing instructions left out; a schema told in words comes last.
pub(crate) fn stretches<'a>(provider: &Provider, prompt: &'a Prompt) -> Vec<Stretch<'a>> {
    let mut stretches = Vec::new();
    let (mut results, mut parts) = (Vec::new(), Vec::new());
    let end = |results: &mut Vec<Outcome<'a>>, parts: &mut Vec<Cow<'a, Part>>| {
        let (results, parts) = (std::mem::take(results), std::mem::take(parts));
        (!results.is_empty() || !parts.is_empty()).then_some(Stretch::Told { results, parts })
    };
    for segment in &prompt.segments {
        match segment {
            Segment::System { .. } => {}
            Segment::User { parts: said, .. } => {
                // Text without a word is refused by some and says nothing to the others.
                let says =
                    |part: &&Part| !matches!(part, Part::Text { text } if text.trim().is_empty());
                parts.extend(said.iter().filter(says).map(Cow::Borrowed));
            }
            Segment::Result { call, name, content, is_error } => {
                results.push(Outcome { call, name, content, is_error: *is_error });
            }
            Segment::Said { items } => {
                stretches.extend(end(&mut results, &mut parts));
                stretches.push(Stretch::Said(items));
            }
        }
    }
    if let Some(text) = told_schema(provider, prompt) {
        parts.push(Cow::Owned(Part::Text { text }));
    }
    stretches.extend(end(&mut results, &mut parts));
    stretches
}

/// A file that is text, as text.
pub(crate) fn text_of_file(media_type: &str, data: &str) -> Option<String> {
    let is_text = media_type.starts_with("text/") || media_type == "application/json";
    let bytes = is_text.then(|| base64::engine::general_purpose::STANDARD.decode(data).ok())??;
    String::from_utf8(bytes).ok()
}

/// A data URL.
pub(crate) fn data_url(media_type: &str, data: &str) -> String {
    format!("data:{media_type};base64,{data}")
}

/// All text of a list of parts, if there is nothing else in it.
pub(crate) fn only_text(parts: &[Cow<'_, Part>]) -> Option<String> {
    let texts: Option<Vec<&str>> = parts
        .iter()
        .map(|part| match &**part {
            Part::Text { text } => Some(text.as_str()),
            Part::Image { .. } | Part::File { .. } | Part::Attached(_) => None,
        })
        .collect();
    texts.map(|texts| texts.join("\n\n"))
}

/// Why a model stopped, where calls are waiting or it refused in its own words.
pub(crate) fn stop_of(items: &[Item], said: Stop) -> Stop {
    let has = |kind: fn(&Item) -> bool| items.iter().any(kind);
    match said {
        Stop::End | Stop::Other if has(|item| matches!(item, Item::Call { .. })) => Stop::Tools,
        Stop::End if has(|item| matches!(item, Item::Refusal { .. })) => Stop::Refusal,
        Stop::Tools if !has(|item| matches!(item, Item::Call { .. })) => Stop::End,
        said => said,
    }
}
