//! The next request of one conversation, kept as bytes and appended to.
//!
//! Its layout is the same on every wire: a head that never changes (model, tools, standing
//! instructions, the opening of the list of messages), the messages, and a tail that is written anew
//! for each request (limits, tool choice, output schema). What must move along with the end of the
//! conversation, such as a cache marker, is put between slices when the request is sent. A message may
//! stay open at its end for that; what closes it is remembered and written when the next one comes.
//!
//! The thread is the truth. A buffer that ends where the thread's predecessor does gets only the new
//! links; any other is built from the thread, by the same code, to the same bytes.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use kernel::{
    attachment::Attachment,
    conversation::{Item, Prompt, Said, Thread, ToolChoice},
    id::Seq,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    attached::Contents,
    error::Error,
    provider::Provider,
    reading,
    wire::{self, Wire},
};

/// A point in a history, to come back to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    length: usize,
    messages: usize,
    closer: &'static str,
    /// Where the prompt before the last one ends inside its last block, and where the last one does.
    ends: [Option<usize>; 2],
}

/// Messages as bytes. Shared with requests on their way, copied only when one is still being sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    bytes: Arc<Vec<u8>>,
    place: Place,
}

/// Lets a request hold the bytes of a history without copying them.
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl History {
    /// Begins a message: ends the last one, writes a comma, and gives the place to write to.
    pub(crate) fn message(&mut self) -> &mut Vec<u8> {
        let closer = std::mem::take(&mut self.place.closer);
        let separates = self.place.messages > 0;
        self.place.messages = self.place.messages.saturating_add(1);
        let bytes = self.bytes_mut();
        bytes.extend_from_slice(closer.as_bytes());
        if separates {
            bytes.push(b',');
        }
        bytes
    }

    /// Where the last message, or the head, goes on.
    pub(crate) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        Arc::make_mut(&mut self.bytes)
    }

    /// The prompt's last message stays open inside its last block; `closer` is what ends both.
    pub(crate) fn stay_open(&mut self, closer: &'static str) {
        self.place.closer = closer;
        self.place.ends = [self.place.ends[1], Some(self.bytes.len())];
    }

    fn mark(&self) -> Place {
        Place { length: self.bytes.len(), ..self.place }
    }

    fn go_back(&mut self, place: Place) {
        self.bytes_mut().truncate(place.length);
        self.place = place;
    }

    /// The history in slices with `marker` at the ends of the last two prompts, then the tail.
    fn frames(&self, marker: Option<&'static str>, tail: &[u8]) -> Vec<Bytes> {
        let whole = Bytes::from_owner(Shared(Arc::clone(&self.bytes)));
        let ends = self.place.ends.iter().flatten().filter(|_| marker.is_some());
        let (mut frames, mut at) = (Vec::with_capacity(6), 0);
        for end in ends {
            let end = (*end).clamp(at, whole.len());
            frames.push(whole.slice(at..end));
            frames.push(Bytes::from_static(marker.unwrap_or_default().as_bytes()));
            at = end;
        }
        frames.push(whole.slice(at..));
        frames.push(Bytes::from([self.place.closer.as_bytes(), tail].concat()));
        frames
    }
}

/// What the last prompt says about the answer: written into each request's tail.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn {
    pub(crate) offers_tools: bool,
    pub(crate) tool_choice: ToolChoice,
    pub(crate) output: Option<Arc<Value>>,
    pub(crate) output_tokens_max: u32,
    pub(crate) temperature_milli: Option<u32>,
}

impl Turn {
    /// What this prompt says, after a turn that said `self`: tools are only offered at the beginning.
    fn next(&self, prompt: &Prompt, provider: &Provider) -> Self {
        let most = provider.output_tokens_max.unwrap_or(u32::MAX);
        Self {
            offers_tools: self.offers_tools || !prompt.tools.is_empty(),
            tool_choice: prompt.tool_choice,
            output: prompt.output.clone(),
            output_tokens_max: prompt.output_tokens_max.min(most),
            temperature_milli: prompt.temperature_milli,
        }
    }
}

/// How far a buffer came along a thread.
#[derive(Debug)]
pub(crate) enum Followed {
    /// To its end.
    ToTheEnd,
    /// To a prompt that names these files.
    Wants(Vec<Attachment>),
}

/// The request that one conversation has grown to, at one provider.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffer {
    history: History,
    turn: Turn,
    /// The last reply told.
    reply: Option<Seq>,
    /// The prompt told after it, and where it begins.
    prompt: Option<(Seq, Place)>,
    /// The last stream that was read, and the answer it came to.
    heard: Option<(String, String)>,
}

impl Buffer {
    /// Brings the buffer to the end of `thread`, which is a prompt; as far as to a prompt that names files which are
    /// not among the contents, where there is one.
    pub(crate) fn follow(
        &mut self,
        provider: &Provider,
        thread: &Arc<Thread>,
        files: &Contents,
    ) -> Result<Followed, Error> {
        if !matches!(thread.said(), Said::Prompt(_)) {
            return Err(Error::Thread("it does not end with a prompt".to_owned()));
        }
        if self.holds(thread) {
            return Ok(Followed::ToTheEnd);
        }
        let links = thread.since(|link| self.holds(link));
        match links.first().and_then(|link| link.prev()) {
            None => *self = Self::default(),
            Some(known) if matches!(known.said(), Said::Reply(_)) => self.drop_prompt(),
            Some(_) => {}
        }
        for link in &links {
            match self.add(provider, link, files) {
                Ok(Followed::ToTheEnd) => {}
                Ok(wants) => return Ok(wants),
                Err(error) => {
                    *self = Self::default();
                    return Err(error);
                }
            }
        }
        Ok(Followed::ToTheEnd)
    }

    fn holds(&self, link: &Thread) -> bool {
        let held = match link.said() {
            Said::Prompt(_) => self.prompt.map(|(seq, _)| seq),
            Said::Reply(_) => self.reply,
        };
        held == Some(link.seq())
    }

    /// A prompt that was never answered is not part of the conversation any more.
    fn drop_prompt(&mut self) {
        if let Some((_, place)) = self.prompt.take() {
            self.history.go_back(place);
        }
    }

    fn add(
        &mut self,
        provider: &Provider,
        link: &Thread,
        files: &Contents,
    ) -> Result<Followed, Error> {
        let wire = wire::of(provider.api);
        match link.said() {
            Said::Prompt(word) => {
                let prompt = Prompt::deserialize(&*word.value());
                let mut prompt = prompt.map_err(|e| Error::Thread(format!("no prompt: {e}")))?;
                let missing = files.missing(&prompt);
                if !missing.is_empty() {
                    return Ok(Followed::Wants(missing));
                }
                files.put_into(&mut prompt);
                self.add_prompt(wire, provider, &prompt, link.seq());
                Ok(Followed::ToTheEnd)
            }
            Said::Reply(word) => {
                self.prompt = None;
                self.reply = Some(link.seq());
                let heard = self.heard.take();
                add_reply(wire, provider, &word.value(), (heard.as_ref(), &mut self.history))?;
                Ok(Followed::ToTheEnd)
            }
        }
    }

    fn add_prompt(&mut self, wire: &dyn Wire, provider: &Provider, prompt: &Prompt, seq: Seq) {
        if self.history.bytes.is_empty() {
            wire.begin(provider, prompt, self.history.bytes_mut());
        }
        self.prompt = Some((seq, self.history.mark()));
        wire.tell(provider, prompt, &mut self.history);
        self.turn = self.turn.next(prompt, provider);
    }

    /// The request as slices: what is kept is shared, not copied.
    pub(crate) fn frames(&self, provider: &Provider) -> Vec<Bytes> {
        let wire = wire::of(provider.api);
        let mut tail = Vec::with_capacity(128);
        wire.end(provider, &self.turn, &mut tail);
        for (name, value) in &provider.body {
            if !wire.merges(name) {
                crate::json::push_field(&mut tail, name, value);
            }
        }
        tail.push(b'}');
        self.history.frames(wire.marker(provider), &tail)
    }

    /// Keeps a stream that was read, with the answer it came to, until its reply is told.
    pub(crate) fn keep(&mut self, raw: String, answer: String) {
        self.heard = Some((raw, answer));
    }

    /// Bytes it holds on to.
    pub(crate) fn size(&self) -> usize {
        let heard = self.heard.as_ref().map_or(0, |(raw, answer)| raw.len() + answer.len());
        self.history.bytes.capacity().saturating_add(heard)
    }
}

/// The model's own word: as its wire gave it where it is ours, else told again from its items.
fn add_reply(
    wire: &dyn Wire,
    provider: &Provider,
    reply: &Value,
    (heard, history): (Option<&(String, String)>, &mut History),
) -> Result<(), Error> {
    let text = |name: &str| reply.get(name).and_then(Value::as_str);
    let is_ours = text("wire") == Some(provider.api.name())
        && text("provider") == Some(provider.name.as_str());
    if is_ours && let Some(raw) = text("raw") {
        let place = history.mark();
        let known = heard.filter(|(heard, _)| heard == raw).map(|(_, answer)| Cow::from(answer));
        let answer = known.map_or_else(|| reading::put_together(wire, raw), Ok);
        if answer.and_then(|answer| wire.echo(provider, &answer, history)).is_ok() {
            return Ok(());
        }
        history.go_back(place);
    }
    let items = reply.get("items").map(Vec::<Item>::deserialize);
    let items = items.and_then(Result::ok);
    let items = items.ok_or_else(|| Error::Thread("a reply without items".to_owned()))?;
    wire.retell(&items, history);
    Ok(())
}
