//! The conversation of an agent with its model: what is said next, what was said, and how it is
//! shortened when it outgrows its limit.
//!
//! What was said is appended to and never touched, so that its bytes stay as they are and a provider's
//! cache holds. When it has grown too long a new conversation begins: the standing texts and the task as
//! they were, then what happened since, told again with less of it. Three stages, each only as far as
//! needed: results that lie far back shrink to their handles; what the model thought is dropped; the
//! oldest turns become a summary. Calls and their results always stay together, and pinned pieces
//! (instructions, task, what a person said on the way) are never dropped.

use std::sync::Arc;

use kernel::{
    agent::OUTPUT_TURNS,
    conversation::{Item, Part, Prompt, Segment, Source, Tool, tokens},
};
use serde_json::Value;

use super::notes::{self, Notes};

/// Turns at the end of a conversation that are told again as they were.
const TURNS_WHOLE: usize = OUTPUT_TURNS as usize;

/// Bytes of an older result that are told again.
const RESULT_KEPT_BYTES: usize = 160;

/// What one turn left behind.
#[derive(Clone, Debug)]
struct Past {
    items: Arc<[Item]>,
    /// What was said after it: results, messages.
    after: Arc<[Segment]>,
}

/// A conversation.
#[derive(Debug)]
pub(super) struct Talk {
    name: String,
    number: u32,
    turn: u32,
    /// Said first in every conversation: instructions and the task.
    pinned: Vec<Segment>,
    /// A summary of turns that are gone.
    summary: Option<String>,
    past: Vec<Past>,
    /// What the model said last, waiting for what follows it.
    said: Option<Arc<[Item]>>,
    /// What it has not been told yet.
    fresh: Vec<Segment>,
    /// Tokens of the conversation as the provider counted them last.
    counted: u64,
    /// What the agent noted down for itself.
    notes: Notes,
}

impl Talk {
    /// A conversation about to begin.
    pub(super) fn new(name: String, pinned: Vec<Segment>) -> Self {
        let fresh = pinned.clone();
        Self {
            name,
            number: 1,
            turn: 0,
            pinned,
            summary: None,
            past: Vec::new(),
            said: None,
            fresh,
            counted: 0,
            notes: Notes::default(),
        }
    }

    /// Adds something to be said.
    pub(super) fn add(&mut self, segment: Segment) {
        self.fresh.push(segment);
    }

    /// Something a person said: it stays whatever happens.
    pub(super) fn pin(&mut self, segment: Segment) {
        self.pinned.push(segment.clone());
        self.fresh.push(segment);
    }

    /// What is remembered is told before the task, and stays whatever happens.
    pub(super) fn remember(&mut self, segment: Segment) {
        let before_task = |told: &Vec<Segment>| told.len().saturating_sub(1);
        let (pinned, fresh) = (before_task(&self.pinned), before_task(&self.fresh));
        self.pinned.insert(pinned, segment.clone());
        self.fresh.insert(fresh, segment);
    }

    /// What the agent noted down for itself.
    pub(super) fn notes(&mut self) -> &mut Notes {
        &mut self.notes
    }

    /// Which conversation this is, from 1: a new one begins when it is shortened.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// The model has spoken; the conversation is now `tokens` long.
    pub(super) fn hear(&mut self, items: Arc<[Item]>, tokens: u64) {
        self.said = Some(items);
        self.turn = self.turn.saturating_add(1);
        self.counted = tokens;
    }

    /// Tokens that the conversation will have when it is said on: counted so far, and estimated since.
    pub(super) fn tokens(&self) -> u64 {
        let fresh: usize = self.fresh.iter().map(Segment::length).sum();
        self.counted.saturating_add(tokens(fresh))
    }

    /// Takes out what is to be said next.
    pub(super) fn prompt(&mut self, tools: &[Tool], output_tokens_max: u32) -> Prompt {
        let segments = std::mem::take(&mut self.fresh);
        if let Some(items) = self.said.take() {
            self.past.push(Past { items, after: segments.clone().into() });
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
        if let Some(items) = self.said.take() {
            self.past.push(Past { items, after: std::mem::take(&mut self.fresh).into() });
        }
        self.number = self.number.saturating_add(1);
        (self.turn, self.counted) = (0, 0);
        self.fresh = self.tell(TURNS_WHOLE, turns);
        if self.tokens() > tokens_max {
            self.fresh = self.tell(1, turns);
        }
        self.tokens() <= tokens_max
    }

    /// What a summary is to be made of: the oldest turns, as text; `None` where there is nothing to gain.
    pub(super) fn old(&self, bytes_max: usize) -> Option<String> {
        let cut = self.past.len().checked_sub(TURNS_WHOLE).filter(|cut| *cut > 0)?;
        let mut text = self.summary.clone().unwrap_or_default();
        for past in self.past.get(..cut)? {
            for line in past.items.iter().map(line_of_item).chain(past.after.iter().map(line)) {
                if text.len().saturating_add(line.len()) < bytes_max {
                    text.push_str(&line);
                }
            }
        }
        Some(text)
    }

    /// The oldest turns are gone; `summary` stands for them. A new conversation begins.
    pub(super) fn replace_old(&mut self, summary: String, turns: u32) {
        let cut = self.past.len().saturating_sub(TURNS_WHOLE);
        self.past.drain(..cut);
        self.summary = Some(summary);
        self.number = self.number.saturating_add(1);
        (self.turn, self.counted) = (0, 0);
        self.fresh = self.tell(TURNS_WHOLE, turns);
    }

    /// Everything said so far as one beginning, the last `whole` turns unshortened.
    fn tell(&mut self, whole: usize, turns: u32) -> Vec<Segment> {
        let mut told = self.pinned.clone();
        if let Some(summary) = &self.summary {
            let text = format!("What happened before, summed up:\n{summary}");
            told.push(Segment::User { parts: vec![Part::Text { text }], source: Source::History });
        }
        let first_whole = self.past.len().saturating_sub(whole);
        for (at, past) in self.past.iter().enumerate() {
            let items = past.items.iter().filter(|item| !matches!(item, Item::Reasoning { .. }));
            told.push(Segment::Said { items: items.map(notes::without_words).collect() });
            let after = past.after.iter().filter(|segment| !is_pinned(segment));
            told.extend(after.map(|s| if at < first_whole { shortened(s) } else { s.clone() }));
        }
        told.extend(self.notes.told(turns));
        told
    }
}

/// What stands among the pinned pieces already.
fn is_pinned(segment: &Segment) -> bool {
    match segment {
        Segment::System { .. } => true,
        Segment::User { source, .. } => matches!(source, Source::Steering | Source::Hook),
        Segment::Said { .. } | Segment::Result { .. } => false,
    }
}

fn shortened(segment: &Segment) -> Segment {
    match segment {
        Segment::Result { call, name, content, is_error } if content.len() > RESULT_KEPT_BYTES => {
            let kept = head(content, RESULT_KEPT_BYTES);
            let gone = content.len().saturating_sub(kept.len());
            let content = format!("{kept}\n[{gone} bytes left out; `look` shows them again]");
            Segment::Result { call: call.clone(), name: name.clone(), content, is_error: *is_error }
        }
        other => other.clone(),
    }
}

/// The beginning of a text, cut between characters.
pub(super) fn head(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
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

fn line(segment: &Segment) -> String {
    match segment {
        Segment::Result { name, content, is_error, .. } => {
            let how = if *is_error { "failed" } else { "gave" };
            format!("{name} {how}: {content}\n")
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

/// A plain text for the model.
pub(super) fn message(text: impl Into<String>, source: Source) -> Segment {
    Segment::User { parts: vec![Part::Text { text: text.into() }], source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str) -> Item {
        let arguments = Some(Arc::new(Value::Null));
        Item::Call { id: id.into(), name: "t".into(), arguments, malformed: None }
    }

    fn result(id: &str, content: String) -> Segment {
        Segment::Result { call: id.into(), name: "t".into(), content, is_error: false }
    }

    /// A long conversation, with a fact at the start of every result.
    fn long(turns: usize, bytes: usize) -> Talk {
        let system = Segment::System { text: "the rules".into(), source: Source::System };
        let mut talk = Talk::new("a".into(), vec![system, message("the task", Source::User)]);
        for turn in 0..turns {
            talk.prompt(&[], 100);
            let id = format!("c{turn}");
            let thought = Item::Reasoning { text: "x".repeat(bytes) };
            talk.hear([thought, call(&id)].into(), 10);
            talk.add(result(&id, format!("fact-{turn} {}", "y".repeat(bytes))));
            if turn == 2 {
                talk.pin(message("mind the gap", Source::Steering));
            }
        }
        talk
    }

    fn told(talk: &mut Talk) -> (String, Prompt) {
        let prompt = talk.prompt(&[], 100);
        (serde_json::to_string(&prompt).unwrap(), prompt)
    }

    /// Planted facts survive, pinned pieces are there once, calls and results stay pairs (C235).
    #[test]
    fn a_shortened_conversation_keeps_its_facts_and_its_pairs() {
        let mut talk = long(40, 2_000);
        assert!(talk.shorten(8_000, 40));
        let (text, prompt) = told(&mut talk);
        assert_eq!((prompt.conversation.as_str(), prompt.turn), ("a#2", 0));
        for turn in 0..40 {
            assert!(text.contains(&format!("fact-{turn} ")), "fact {turn}");
        }
        for pinned in ["the rules", "the task", "mind the gap"] {
            assert_eq!(text.matches(pinned).count(), 1, "{pinned}");
        }
        assert!(!text.contains("xxx"), "what it thought is gone");
        let mut wanted = Vec::new();
        for segment in &prompt.segments {
            match segment {
                Segment::Said { items } => {
                    assert!(wanted.is_empty(), "a call without its result: {wanted:?}");
                    let ids = items.iter().filter_map(|item| match item {
                        Item::Call { id, .. } => Some(id.clone()),
                        _ => None,
                    });
                    wanted.extend(ids);
                }
                Segment::Result { call, .. } => {
                    let at = wanted.iter().position(|id| id == call).expect("a result of its own");
                    wanted.remove(at);
                }
                Segment::System { .. } | Segment::User { .. } => {}
            }
        }
        assert!(wanted.is_empty());
    }

    #[test]
    fn a_summary_takes_the_place_of_the_oldest_turns() {
        let mut talk = long(400, 2_000);
        assert!(!talk.shorten(2_000, 400), "too much even when shortened");
        let old = talk.old(1_000_000).unwrap();
        assert!(old.contains("fact-0 ") && !old.contains("fact-399 "));
        talk.replace_old("facts 0 to 395 were found".into(), 400);
        assert!(talk.tokens() < 5_000, "{}", talk.tokens());
        let (text, _) = told(&mut talk);
        assert!(text.contains("facts 0 to 395") && text.contains("fact-399 "));
        assert_eq!(text.matches("mind the gap").count(), 1);
    }

    #[test]
    fn what_is_said_next_is_what_was_not_said_yet() {
        let mut talk = long(2, 10);
        let (first, prompt) = told(&mut talk);
        assert!(first.contains("fact-1") && !first.contains("fact-0") && !first.contains("rules"));
        assert_eq!(prompt.turn, 2);
    }
}
