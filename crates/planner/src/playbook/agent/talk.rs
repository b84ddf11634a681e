//! The conversation of an agent with its model: what is said next, what was said, and how it is
//! shortened when it outgrows its limit.
//!
//! What was said is appended to and never touched, so that its bytes stay as they are and a provider's
//! cache holds. When it has grown too long a new conversation begins: the standing texts and the task as
//! they were, then what happened since, told again with less of it. Each stage only as far as needed:
//! results that lie far back shrink to their handles; what the model thought is dropped; the oldest turns
//! become a summary; at last ([`fit`]) whatever still does not fit is cut or left out. Calls and their
//! results always stay together, and pinned pieces (instructions, task, what a person said on the way) are
//! never dropped.

mod fit;

use std::sync::Arc;

use kernel::{
    agent::OUTPUT_TURNS,
    conversation::{Item, Part, Prompt, Segment, Source, Tool, tokens, weight},
};
use serde_json::Value;

use super::notes::{self, Notes};

/// Turns at the end of a conversation that are told again as they were.
const TURNS_WHOLE: usize = OUTPUT_TURNS as usize;

/// Bytes of an older result that are told again.
const RESULT_KEPT_BYTES: usize = 160;

/// Bytes that what is told after a cut may take.
const MARK_BYTES: usize = 200;

/// The machine since which nothing outgrows its limit and results keep their names.
const SINCE: u32 = 5;

/// Something that is told, and where the rest of it can be read.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) segment: Segment,
    pub(super) piece: Option<Piece>,
}

impl From<Segment> for Told {
    fn from(segment: Segment) -> Self {
        Self { segment, piece: None }
    }
}

/// Which part of something is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Of what, as the model calls it.
    pub(super) of: String,
    /// Its first byte.
    pub(super) from: usize,
    /// The first byte after it.
    pub(super) to: usize,
    /// All bytes; 0 where nothing of it is told but its name.
    pub(super) whole: usize,
}

impl Piece {
    /// Of something of which nothing but its name is told.
    pub(super) fn name(of: String) -> Self {
        Self { of, from: 0, to: 0, whole: 0 }
    }

    /// The same with less of it.
    fn cut(self, content: &str, weight_max: usize) -> (String, Option<Self>) {
        let body = content.strip_suffix(&self.mark()).unwrap_or(content);
        let most = weight_max.saturating_sub(MARK_BYTES).max(RESULT_KEPT_BYTES);
        let kept = head_of_weight(body, most);
        // Where what is told is not as long as what it stands for, no place within it is known.
        let is_exact = body.len() == self.to.saturating_sub(self.from);
        let to = match (kept.len() == body.len(), is_exact) {
            (true, _) => self.to,
            (false, true) => self.from.saturating_add(kept.len()),
            (false, false) => self.from,
        };
        let piece = Self { to, ..self };
        (format!("{kept}{}", piece.mark()), Some(piece))
    }

    /// What is told after it, where more follows.
    pub(super) fn mark(&self) -> String {
        match self.whole.saturating_sub(self.to) {
            0 => String::new(),
            left => format!("\n[{left} bytes of {} follow, from {}]", self.of, self.to),
        }
    }
}

/// What one turn left behind.
#[derive(Clone, Debug)]
struct Past {
    items: Arc<[Item]>,
    /// What was said after it: results, messages.
    after: Arc<[Told]>,
}

/// A conversation.
#[derive(Debug)]
pub(super) struct Talk {
    name: String,
    /// Version of the machine's behaviour that the run keeps to.
    machine: u32,
    number: u32,
    turn: u32,
    /// Said first in every conversation: instructions and the task.
    pinned: Vec<Segment>,
    /// What is told with the beginning besides: tools and what an answer looks like, by weight.
    base: usize,
    /// A summary of turns that are gone.
    summary: Option<String>,
    /// What results of turns that are summed up are called.
    gone: Vec<String>,
    past: Vec<Past>,
    /// What the model said last, waiting for what follows it.
    said: Option<Arc<[Item]>>,
    /// What it has not been told yet.
    fresh: Vec<Told>,
    /// Tokens of the conversation as the provider counted them last.
    counted: u64,
    /// What the conversation weighs so far.
    weighs: usize,
    /// What the agent noted down for itself.
    notes: Notes,
}

impl Talk {
    /// A conversation about to begin; with its beginning go things of this weight.
    pub(super) fn new((name, machine): (String, u32), pinned: Vec<Segment>, base: usize) -> Self {
        let fresh = pinned.iter().cloned().map(Told::from).collect();
        Self {
            name,
            machine,
            number: 1,
            turn: 0,
            pinned,
            base,
            summary: None,
            gone: Vec::new(),
            past: Vec::new(),
            said: None,
            fresh,
            counted: 0,
            weighs: 0,
            notes: Notes::default(),
        }
    }

    /// Adds something to be said.
    pub(super) fn add(&mut self, segment: Segment) {
        self.fresh.push(segment.into());
    }

    /// Adds what the calls of a turn brought. Each is told whole unless all together are heavier than this: then
    /// the heaviest are cut.
    pub(super) fn add_results(&mut self, results: Vec<Told>, weight_max: usize) {
        let is_bounded = self.machine >= SINCE;
        let most = if is_bounded { most_of_each(&results, weight_max) } else { usize::MAX };
        self.fresh.extend(results.into_iter().map(|told| cut(told, most)));
    }

    /// Something a person said: it stays whatever happens.
    pub(super) fn pin(&mut self, segment: Segment) {
        self.pinned.push(segment.clone());
        self.fresh.push(segment.into());
    }

    /// What is remembered is told before the task, and stays whatever happens.
    pub(super) fn remember(&mut self, segment: Segment) {
        self.pinned.insert(self.pinned.len().saturating_sub(1), segment.clone());
        self.fresh.insert(self.fresh.len().saturating_sub(1), segment.into());
    }

    /// What the agent noted down for itself.
    pub(super) fn notes(&mut self) -> &mut Notes {
        &mut self.notes
    }

    /// Which conversation this is, from 1: a new one begins when it is shortened.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// The model has spoken; the conversation is now `tokens` long, 0 where nobody counted.
    pub(super) fn hear(&mut self, items: Arc<[Item]>, counted: u64) {
        if self.machine >= SINCE {
            let said: usize = items.iter().map(Item::weight).sum();
            self.weighs = self.weighs.saturating_add(said);
        }
        self.said = Some(items);
        self.turn = self.turn.saturating_add(1);
        let is_uncounted = counted == 0 && self.machine >= SINCE;
        self.counted = if is_uncounted { tokens(self.weighs) } else { counted };
    }

    /// Tokens that the conversation will have when it is said on: counted so far, and estimated since.
    pub(super) fn tokens(&self) -> u64 {
        let fresh = self.fresh.iter().map(|told| self.size(&told.segment));
        let fresh: usize = fresh.sum();
        let base = if self.turn == 0 && self.machine >= SINCE { self.base } else { 0 };
        self.counted.saturating_add(tokens(fresh.saturating_add(base)))
    }

    fn size(&self, segment: &Segment) -> usize {
        if self.machine >= SINCE { segment.weight() } else { segment.length() }
    }

    /// Tokens of all that was said in this conversation, as estimated here.
    pub(super) fn estimated(&self) -> u64 {
        tokens(self.weighs)
    }

    /// Takes out what is to be said next.
    pub(super) fn prompt(&mut self, tools: &[Tool], output_tokens_max: u32) -> Prompt {
        let fresh = std::mem::take(&mut self.fresh);
        let segments: Vec<Segment> = fresh.iter().map(|told| told.segment.clone()).collect();
        if self.machine >= SINCE {
            let base = if self.turn == 0 { self.base } else { 0 };
            let fresh = segments.iter().map(Segment::weight).fold(base, usize::saturating_add);
            self.weighs = self.weighs.saturating_add(fresh);
        }
        if let Some(items) = self.said.take() {
            self.past.push(Past { items, after: fresh.into() });
        }
        Prompt {
            conversation: format!("{}#{}", self.name, self.number),
            turn: self.turn,
            segments,
            tools: if self.turn == 0 { tools.to_vec() } else { Vec::new() },
            tool_choice: Default::default(),
            output: None,
            output_tokens_max,
            temperature_milli: None,
        }
    }

    /// Begins a new conversation that tells the same in at most `tokens_max`, after so many turns in all; returns
    /// whether it will fit.
    pub(super) fn shorten(&mut self, tokens_max: u64, turns: u32) -> bool {
        self.begin_anew();
        self.fresh = self.tell(TURNS_WHOLE, turns);
        if self.tokens() > tokens_max {
            self.fresh = self.tell(1, turns);
        }
        self.tokens() <= tokens_max
    }

    /// A new conversation begins; what it begins with is for the caller.
    fn begin_anew(&mut self) {
        if let Some(items) = self.said.take() {
            self.past.push(Past { items, after: std::mem::take(&mut self.fresh).into() });
        }
        self.number = self.number.saturating_add(1);
        (self.turn, self.counted, self.weighs) = (0, 0, 0);
    }

    /// What a summary is to be made of: the oldest turns, as text; `None` where there is nothing to gain.
    pub(super) fn old(&self, bytes_max: usize) -> Option<String> {
        let cut = self.past.len().checked_sub(TURNS_WHOLE).filter(|cut| *cut > 0)?;
        let known = self.summary.as_deref().unwrap_or_default();
        let mut text = match self.machine {
            ..SINCE => known.to_owned(),
            _ => less_of(known, bytes_max / 2),
        };
        let size = |text: &str| if self.machine >= SINCE { weight(text) } else { text.len() };
        let mut taken = size(&text);
        for past in self.past.get(..cut)? {
            let after = past.after.iter().map(|told| self.line(told));
            for line in past.items.iter().map(line_of_item).chain(after) {
                let size = size(&line);
                if taken.saturating_add(size) < bytes_max {
                    text.push_str(&line);
                    taken = taken.saturating_add(size);
                }
            }
        }
        Some(text)
    }

    /// The oldest turns are gone; `summary` stands for them. A new conversation begins.
    pub(super) fn replace_old(&mut self, summary: String, turns: u32) {
        let cut = self.past.len().saturating_sub(TURNS_WHOLE);
        let gone: Vec<Past> = self.past.drain(..cut).collect();
        if self.machine >= SINCE {
            let known = std::mem::take(&mut self.gone);
            self.gone = fit::names(known, &gone);
        }
        self.summary = Some(summary);
        self.begin_anew();
        self.fresh = self.tell(TURNS_WHOLE, turns);
    }

    /// Everything said so far as one beginning, the last `whole` turns unshortened.
    fn tell(&mut self, whole: usize, turns: u32) -> Vec<Told> {
        let mut told: Vec<Told> = self.pinned.iter().cloned().map(Told::from).collect();
        if let Some(summary) = &self.summary {
            told.push(message(summed_up(summary), Source::History).into());
        }
        told.extend(fit::left_out(0, &self.gone, fit::NAMES_MAX_BYTES).map(Told::from));
        let first_whole = self.past.len().saturating_sub(whole);
        for (at, past) in self.past.iter().enumerate() {
            told.push(Segment::Said { items: said_again(&past.items).collect() }.into());
            let after = past.after.iter().filter(|told| !is_pinned(&told.segment));
            told.extend(
                after.map(|t| if at < first_whole { self.shortened(t) } else { t.clone() }),
            );
        }
        told.extend(self.notes.told(turns).map(Told::from));
        told
    }

    fn shortened(&self, told: &Told) -> Told {
        match &told.segment {
            Segment::Result { .. } if self.machine >= SINCE => {
                cut(told.clone(), RESULT_KEPT_BYTES.saturating_add(MARK_BYTES))
            }
            Segment::Result { call, name, content, is_error }
                if content.len() > RESULT_KEPT_BYTES =>
            {
                let kept = head(content, RESULT_KEPT_BYTES);
                let gone = content.len().saturating_sub(kept.len());
                let content = format!("{kept}\n[{gone} bytes left out; `look` shows them again]");
                let (call, name, is_error) = (call.clone(), name.clone(), *is_error);
                Segment::Result { call, name, content, is_error }.into()
            }
            _ => told.clone(),
        }
    }

    fn line(&self, told: &Told) -> String {
        match &told.segment {
            Segment::Result { name, content, is_error, .. } => {
                let how = if *is_error { "failed" } else { "gave" };
                let piece = told.piece.as_ref().filter(|_| self.machine >= SINCE);
                let of = piece.map(|piece| format!(" ({})", piece.of)).unwrap_or_default();
                format!("{name} {how}{of}: {content}\n")
            }
            Segment::User { parts, .. } => {
                let texts = parts.iter().filter_map(|part| match part {
                    Part::Text { text } => Some(text.as_str()),
                    Part::Image { .. } | Part::File { .. } | Part::Attached(_) => None,
                });
                format!("You were told: {}\n", texts.collect::<Vec<_>>().join(" "))
            }
            Segment::System { .. } | Segment::Said { .. } => String::new(),
        }
    }
}

fn summed_up(summary: &str) -> String {
    format!("What happened before, summed up:\n{summary}")
}

/// What the model said, as it is told again: without its thoughts and without the words of its notes.
fn said_again(items: &[Item]) -> impl Iterator<Item = Item> {
    let items = items.iter().filter(|item| !matches!(item, Item::Reasoning { .. }));
    items.map(notes::without_words)
}

/// What stands among the pinned pieces already.
fn is_pinned(segment: &Segment) -> bool {
    match segment {
        Segment::System { .. } => true,
        Segment::User { source, .. } => matches!(source, Source::Steering | Source::Hook),
        Segment::Said { .. } | Segment::Result { .. } => false,
    }
}

/// The same with no more than so much of it, and where the rest can be read.
fn cut(told: Told, weight_max: usize) -> Told {
    let Told { segment: Segment::Result { call, name, content, is_error }, piece } = told else {
        return told;
    };
    let (content, piece) = match piece {
        Some(piece) if piece.whole > 0 && weight(&content) > weight_max => {
            piece.cut(&content, weight_max)
        }
        piece => (less_of(&content, weight_max), piece),
    };
    Told { segment: Segment::Result { call, name, content, is_error }, piece }
}

/// The beginning of a text that cannot be read on, at least a little of it.
fn less_of(text: &str, weight_max: usize) -> String {
    if weight(text) <= weight_max {
        return text.to_owned();
    }
    let most = weight_max.saturating_sub(MARK_BYTES).max(RESULT_KEPT_BYTES);
    let kept = head_of_weight(text, most);
    match text.len().saturating_sub(kept.len()) {
        0 => text.to_owned(),
        gone => format!("{kept}\n[{gone} bytes left out: too much at once]"),
    }
}

/// How much each result may be so that all together weigh no more than this.
fn most_of_each(results: &[Told], weight_max: usize) -> usize {
    let content = |told: &Told| match &told.segment {
        Segment::Result { content, .. } => weight(content),
        _ => 0,
    };
    let contents: Vec<usize> = results.iter().map(content).collect();
    let all: usize = results.iter().map(|told| told.segment.weight()).sum();
    let wrapped = all.saturating_sub(contents.iter().sum());
    level(&contents, weight_max.saturating_sub(wrapped))
}

/// The most that each may have so that all together have no more than `total`: who needs less leaves the rest to the
/// others.
fn level(needs: &[usize], total: usize) -> usize {
    let mut needs = needs.to_vec();
    needs.sort_unstable();
    let (mut left, mut sharing) = (total, needs.len());
    for need in needs {
        let share = left.checked_div(sharing).unwrap_or_default();
        if need > share {
            return share;
        }
        (left, sharing) = (left.saturating_sub(need), sharing.saturating_sub(1));
    }
    usize::MAX
}

/// The beginning of a text, cut between characters.
pub(super) fn head(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}

/// The beginning of a text that weighs no more than this.
pub(super) fn head_of_weight(text: &str, weight_max: usize) -> &str {
    if text.len().saturating_mul(2) <= weight_max || weight(text) <= weight_max {
        return text;
    }
    let mut left = weight_max;
    let end = text.char_indices().find_map(|(at, letter)| {
        let bytes = letter.len_utf8();
        let needs = if letter.is_ascii() { bytes } else { bytes.saturating_mul(2) };
        match left.checked_sub(needs) {
            Some(rest) => {
                left = rest;
                None
            }
            None => Some(at),
        }
    });
    text.get(..end.unwrap_or(text.len())).unwrap_or_default()
}

fn line_of_item(item: &Item) -> String {
    match item {
        Item::Text { text } | Item::Refusal { text } => format!("You said: {text}\n"),
        Item::Reasoning { .. } => String::new(),
        Item::Call { name, arguments, .. } => {
            let arguments = arguments.as_deref().unwrap_or(&Value::Null);
            format!("You called {name} with {arguments}\n")
        }
        Item::Provided { name, .. } => format!("{name} was used\n"),
    }
}

/// A plain text for the model.
pub(super) fn message(text: impl Into<String>, source: Source) -> Segment {
    Segment::User { parts: vec![Part::Text { text: text.into() }], source }
}

#[cfg(test)]
mod tests;
