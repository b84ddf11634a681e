//! What is said to a model and what it says back, whatever wire carries it.
//!
//! A model call is an action like any other: operation `model.<role>`, its arguments a [`Prompt`], its
//! result a [`Reply`]. A prompt holds only what is new since the model last spoke; what came before is
//! a [`Thread`] of the prompts and replies that were journaled, shared and never copied, so that a turn
//! costs what it adds. Whoever keeps the bytes of a conversation can append to them, and whoever has
//! lost them can build them again from the thread.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    attachment::{Attachment, Kind},
    id::Seq,
};

/// The connector that every model call names. No pack may declare one of this name.
pub const MODEL_CONNECTOR: &str = "model";

/// Group of the operations behind which tools run that are none of ours: the provider's own. Every policy may name
/// it, whether there is such an operation or not.
pub const PROVIDED_TOOLS: &str = "provided_tools";

/// Most tools one conversation may offer.
pub const TOOLS_MAX: usize = 256;

/// What a model call that failed is coded by where the conversation was longer than the model can read.
pub const CONTEXT_TOO_LONG: &str = "model_context_too_long";

/// Bytes of text that make one token at the least.
const BYTES_PER_TOKEN: u64 = 3;

/// What a piece of a conversation counts for beside its text, in bytes: every wire wraps each in words of its own.
const WRAPPED_BYTES: usize = 32;

/// What a picture counts for, in bytes of text: about what the large providers count for one.
const PICTURE_BYTES: usize = 4_800;

/// Bytes of a PDF that count for one byte of text: fonts and pictures are most of it.
const PDF_BYTES_PER_TEXT: u64 = 10;

/// Where a piece of a prompt comes from: each source has its own budget and its own mark of trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The harness and the agent's own instructions.
    System,
    /// What policy allows, asks and denies.
    Policy,
    /// Guides.
    Guide,
    /// Skills.
    Skill,
    /// What was remembered from other runs.
    Memory,
    /// Earlier turns, where they are told again.
    History,
    /// Tool results.
    Tool,
    /// State of the run: plan, counters, time.
    State,
    /// The person who asked.
    User,
    /// A person who steers the run on its way.
    Steering,
    /// What sensors and acceptance checks saw.
    Sensor,
    /// What hooks of the operator say beside the task, or beside what a person says.
    Hook,
}

/// A part of what a person says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "part", deny_unknown_fields)]
pub enum Part {
    /// Text.
    Text {
        /// It.
        text: String,
    },
    /// A picture.
    Image {
        /// Such as `image/png`.
        media_type: String,
        /// Its bytes in base64.
        data: String,
    },
    /// A file.
    File {
        /// What it is called.
        name: String,
        /// Such as `application/pdf`.
        media_type: String,
        /// Its bytes in base64.
        data: String,
    },
    /// A file or a picture that was handed in with the request: its bytes are read again when it is sent.
    Attached(Attachment),
}

impl Part {
    fn weight(&self) -> usize {
        match self {
            Self::Text { text } => weight(text),
            // What an attached text holds is not known here.
            Self::Attached(file) if file.kind() == Kind::Text => self.length().saturating_mul(2),
            Self::Image { .. } | Self::File { .. } | Self::Attached(_) => self.length(),
        }
    }

    fn length(&self) -> usize {
        match self {
            Self::Text { text } => text.len(),
            Self::Image { data, .. } | Self::File { data, .. } => data.len(),
            Self::Attached(file) => match file.kind() {
                Kind::Text => usize::try_from(file.bytes).unwrap_or(usize::MAX),
                Kind::Image => PICTURE_BYTES,
                Kind::Pdf => usize::try_from(file.bytes / PDF_BYTES_PER_TEXT).unwrap_or(usize::MAX),
            },
        }
    }
}

/// One piece of a conversation, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "segment", deny_unknown_fields)]
pub enum Segment {
    /// Standing instructions; only in the prompt that begins a conversation.
    System {
        /// The text.
        text: String,
        /// Where it comes from.
        source: Source,
    },
    /// What the model is told.
    User {
        /// Its parts.
        parts: Vec<Part>,
        /// Where it comes from.
        source: Source,
    },
    /// What a tool call brought.
    Result {
        /// The call's id, as the model gave it.
        call: String,
        /// The tool.
        name: String,
        /// What the model is shown.
        content: String,
        /// Whether it was refused or failed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
    /// What the model said in a conversation that this one replaces.
    Said {
        /// Its items; what only its own provider could read is gone.
        items: Vec<Item>,
    },
}

impl Segment {
    /// Bytes of text that it counts for.
    #[must_use]
    pub fn length(&self) -> usize {
        match self {
            Self::System { text, .. } => text.len(),
            Self::User { parts, .. } => parts.iter().map(Part::length).sum(),
            Self::Result { content, name, .. } => content.len().saturating_add(name.len()),
            Self::Said { items } => items.iter().map(Item::length).sum(),
        }
    }

    /// What it weighs: see [`weight`].
    #[must_use]
    pub fn weight(&self) -> usize {
        let own = match self {
            Self::System { text, .. } => weight(text),
            Self::User { parts, .. } => parts.iter().map(Part::weight).sum(),
            Self::Result { call, name, content, .. } => {
                weight(content).saturating_add(name.len()).saturating_add(call.len())
            }
            Self::Said { items } => items.iter().map(Item::weight).sum(),
        };
        own.saturating_add(WRAPPED_BYTES)
    }

    /// Where it comes from.
    #[must_use]
    pub fn source(&self) -> Source {
        match self {
            Self::System { source, .. } | Self::User { source, .. } => *source,
            Self::Result { .. } => Source::Tool,
            Self::Said { .. } => Source::History,
        }
    }
}

/// Tokens that so much text has at the most: an estimate that errs on the safe side.
#[must_use]
pub fn tokens(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX).div_ceil(BYTES_PER_TOKEN)
}

/// What a text weighs, in bytes of ASCII that make as many tokens: every other byte counts for two, because scripts
/// that take several bytes a letter take up to two tokens a letter.
#[must_use]
pub fn weight(text: &str) -> usize {
    let others = text.bytes().filter(|byte| !byte.is_ascii()).count();
    text.len().saturating_add(others)
}

/// Bytes of text that surely fit into so many tokens.
#[must_use]
pub fn bytes_of(tokens: u32) -> usize {
    usize::try_from(u64::from(tokens).saturating_mul(BYTES_PER_TOKEN)).unwrap_or(usize::MAX)
}

/// An operation as the model sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its name on the wire: letters, digits, `_` and `-`, at most 64.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// JSON Schema of its arguments.
    pub input: Arc<Value>,
}

impl Tool {
    /// What telling it weighs: see [`weight`].
    #[must_use]
    pub fn weight(&self) -> usize {
        let texts = weight(&self.description).saturating_add(weight(&self.input.to_string()));
        texts.saturating_add(self.name.len()).saturating_add(WRAPPED_BYTES)
    }
}

/// Whether the model must, may or must not call tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// As it likes.
    #[default]
    Auto,
    /// At least one.
    Required,
    /// None.
    None,
}

/// Arguments of a model call: what is new in a conversation since the model last spoke.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// Which conversation of the run, such as `analyse#1`.
    pub conversation: String,
    /// How often the model has spoken in it; 0 begins it.
    pub turn: u32,
    /// What is new, in order.
    pub segments: Vec<Segment>,
    /// What it may call, in the order it is shown; only where the conversation begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// Whether it must call one.
    #[serde(default, skip_serializing_if = "is_auto")]
    pub tool_choice: ToolChoice,
    /// JSON Schema that a final answer must fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Arc<Value>>,
    /// Most tokens it may answer with.
    pub output_tokens_max: u32,
    /// How freely it answers, in thousandths: 0 is as steady as it gets. Absent = as the provider likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_milli: Option<u32>,
}

fn is_auto(choice: &ToolChoice) -> bool {
    *choice == ToolChoice::Auto
}

/// One thing a model said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "item", deny_unknown_fields)]
pub enum Item {
    /// Text for the reader.
    Text {
        /// It.
        text: String,
    },
    /// What it thought, as far as the provider shows it.
    Reasoning {
        /// It; may be empty where the provider seals it.
        text: String,
    },
    /// It will not answer.
    Refusal {
        /// Why.
        text: String,
    },
    /// It wants a tool.
    Call {
        /// The call's id: what the result is told under.
        id: String,
        /// The tool, as the model wrote it.
        name: String,
        /// The arguments; absent when they are no JSON that can be journaled.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        arguments: Option<Arc<Value>>,
        /// What it wrote instead, and why it does not do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        malformed: Option<Malformed>,
    },
    /// A tool that the provider itself ran on its side, such as a search.
    Provided {
        /// The provider's name of it.
        name: String,
        /// What it was asked and what came of it, as the provider shows it.
        detail: Arc<Value>,
    },
}

impl Item {
    /// What it weighs: see [`weight`].
    #[must_use]
    pub fn weight(&self) -> usize {
        let own = match self {
            Self::Text { text } | Self::Reasoning { text } | Self::Refusal { text } => weight(text),
            Self::Call { id, name, arguments, malformed } => {
                let arguments = arguments.as_ref().map_or(0, |args| weight(&args.to_string()));
                let malformed = malformed.as_ref().map_or(0, |malformed| weight(&malformed.text));
                let names = id.len().saturating_add(name.len());
                names.saturating_add(arguments).saturating_add(malformed)
            }
            Self::Provided { name, detail } => {
                name.len().saturating_add(weight(&detail.to_string()))
            }
        };
        own.saturating_add(WRAPPED_BYTES)
    }

    /// Bytes of text that it counts for.
    #[must_use]
    pub fn length(&self) -> usize {
        match self {
            Self::Text { text } | Self::Reasoning { text } | Self::Refusal { text } => text.len(),
            Self::Call { name, arguments, malformed, .. } => {
                let arguments = arguments.as_ref().map_or(0, |args| args.to_string().len());
                let malformed = malformed.as_ref().map_or(0, |malformed| malformed.text.len());
                name.len().saturating_add(arguments).saturating_add(malformed)
            }
            Self::Provided { name, detail } => name.len().saturating_add(detail.to_string().len()),
        }
    }
}

/// Arguments that are not JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Malformed {
    /// What the model wrote.
    pub text: String,
    /// Why it cannot be taken.
    pub problem: String,
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// It was done.
    End,
    /// It waits for tools.
    Tools,
    /// `output_tokens_max` or the window was used up.
    Length,
    /// It refused, or the provider's filter did.
    Refusal,
    /// The provider wants the same conversation sent again to go on.
    Pause,
    /// Something this build does not know.
    Other,
}

/// Tokens of one call, as the provider counted them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Read, those from a cache and those written to one included.
    pub input: u64,
    /// Of these, read from a cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached: u64,
    /// Of these, written to a cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_written: u64,
    /// Written, reasoning included.
    pub output: u64,
    /// Of these, reasoning.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reasoning: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Usage {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cached: self.cached.saturating_add(other.cached),
            cache_written: self.cache_written.saturating_add(other.cache_written),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
        }
    }

    /// All tokens.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// Result of a model call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// Which configured provider answered.
    pub provider: String,
    /// Which model, as the provider names it.
    pub model: String,
    /// The wire it came over, such as `anthropic`: how `raw` is read.
    pub wire: String,
    /// What it said, in order.
    pub items: Vec<Item>,
    /// Why it stopped.
    pub stop: Stop,
    /// What it cost in tokens.
    pub usage: Usage,
    /// The answer's bytes as received, as text: what is appended to the conversation is read from it.
    pub raw: String,
}

/// A conversation up to one point: what was said last and what it followed. Shared, never copied.
#[derive(Debug)]
pub struct Thread {
    seq: Seq,
    said: Said,
    prev: Option<Arc<Thread>>,
}

/// One side's word in a thread.
#[derive(Clone, Debug)]
pub enum Said {
    /// A [`Prompt`], as journaled.
    Prompt(Word),
    /// A [`Reply`], as journaled.
    Reply(Word),
}

/// A journaled value that a thread holds: as it is while it is news, and packed as JSON text from then
/// on. A small object takes about ten times its text as a value, and an agent that waits holds them all.
#[derive(Clone, Debug)]
pub struct Word(Kept);

#[derive(Clone, Debug)]
enum Kept {
    Value(Arc<Value>),
    Text(Box<str>),
}

impl From<Arc<Value>> for Word {
    fn from(value: Arc<Value>) -> Self {
        Self(Kept::Value(value))
    }
}

impl Word {
    /// Packed.
    #[must_use]
    pub fn packed(value: Arc<Value>) -> Self {
        match serde_json::to_string(&value) {
            Ok(text) => Self(Kept::Text(text.into())),
            Err(_) => Self(Kept::Value(value)),
        }
    }

    /// The value; read again where it is packed.
    #[must_use]
    pub fn value(&self) -> Arc<Value> {
        match &self.0 {
            Kept::Value(value) => Arc::clone(value),
            // It is text of our own making: it can be read.
            Kept::Text(text) => Arc::new(serde_json::from_str(text).unwrap_or_default()),
        }
    }
}

impl Thread {
    /// What follows `prev`; `seq` is the model call's place in the journal.
    #[must_use]
    pub fn after(prev: Option<Arc<Self>>, seq: Seq, said: Said) -> Arc<Self> {
        Arc::new(Self { seq, said, prev })
    }

    /// The model call that this belongs to, by its proposal's place in the journal. Within a run it
    /// names everything up to here: a journal never changes.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// What was said last.
    #[must_use]
    pub fn said(&self) -> &Said {
        &self.said
    }

    /// What it followed.
    #[must_use]
    pub fn prev(&self) -> Option<&Arc<Self>> {
        self.prev.as_ref()
    }

    /// Everything said, oldest first, but for what `until` says is known already.
    #[must_use]
    pub fn since(self: &Arc<Self>, until: impl Fn(&Self) -> bool) -> Vec<Arc<Self>> {
        let mut links = Vec::new();
        let mut at = Some(self);
        while let Some(link) = at.filter(|link| !until(link)) {
            links.push(Arc::clone(link));
            at = link.prev.as_ref();
        }
        links.reverse();
        links
    }
}

impl Drop for Thread {
    /// Link by link: a long conversation must not be dropped by a deep recursion.
    fn drop(&mut self) {
        let mut next = self.prev.take();
        while let Some(mut link) = next.and_then(Arc::into_inner) {
            next = link.prev.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A letter of three bytes weighs what two tokens do: more than any of the large tokenizers makes of one.
    #[test]
    fn letters_of_several_bytes_weigh_more() {
        assert_eq!((weight("abc"), weight("é"), weight("漢字")), (3, 4, 12));
        assert_eq!(tokens(weight("漢字")), 4);
        let told = Segment::Result {
            call: "c".into(),
            name: "t".into(),
            content: "漢".into(),
            is_error: false,
        };
        assert!(told.weight() >= told.length() + 3, "{}", told.weight());
    }

    #[test]
    fn a_long_thread_is_walked_and_dropped_without_recursion() {
        let mut thread = None;
        for seq in 0..200_000 {
            thread = Some(Thread::after(thread, seq, Said::Reply(Arc::new(Value::Null).into())));
        }
        let thread = thread.unwrap();
        let seqs = |links: Vec<Arc<Thread>>| links.iter().map(|l| l.seq()).collect::<Vec<_>>();
        assert_eq!(seqs(thread.since(|link| link.seq() == 199_996)), [199_997, 199_998, 199_999]);
        assert_eq!(thread.since(|_| false).len(), 200_000);
        drop(thread);
    }

    #[test]
    fn a_packed_word_is_the_same_value() {
        let value = serde_json::json!({
            "text": "a \u{1f600} \"b\"\n", "n": [0, -1, u64::MAX, 1.5, 1e300, 0.1], "none": null,
        });
        let value = Arc::new(value);
        assert_eq!(Word::packed(Arc::clone(&value)).value(), value);
        assert_eq!(Word::from(Arc::clone(&value)).value(), value);
    }
}
