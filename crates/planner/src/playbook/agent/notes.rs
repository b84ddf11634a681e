//! What an agent notes down for itself: temporary state, kept for as many turns as it says.
//!
//! A note is a call like any other until the conversation is shortened. Then those that still hold are told again, and
//! the words of all others are gone: what has run out does not come back with the turns in which it was written.

use std::{collections::BTreeMap, sync::Arc};

use kernel::{
    agent::NOTE_TURNS_MAX,
    conversation::{Item, Segment, Source, Tool},
};
use serde_json::{Value, json};

use super::{
    Frame,
    calls::{At, told, told_error},
    code::NOTE,
    talk::message,
};

/// Most notes at a time.
const NOTES_MAX: usize = 32;

/// Longest name of a note, in bytes.
const NAME_MAX_BYTES: usize = 64;

/// Longest note, in bytes.
const TEXT_MAX_BYTES: usize = 2_000;

/// How many turns a note is kept that does not say.
const TURNS_DEFAULT: u32 = 10;

/// Notes by name.
#[derive(Debug, Default)]
pub(super) struct Notes(BTreeMap<String, Note>);

#[derive(Debug)]
struct Note {
    text: String,
    /// The last turn in which it holds.
    until: u32,
}

impl Notes {
    /// Keeps a note; an empty one takes away what was there.
    fn keep(&mut self, name: &str, text: &str, until: u32) {
        match text.is_empty() {
            true => drop(self.0.remove(name)),
            false => drop(self.0.insert(name.to_owned(), Note { text: text.to_owned(), until })),
        }
    }

    /// Those that still hold, in order of their names; the others are forgotten.
    fn holding(&mut self, turn: u32) -> &BTreeMap<String, Note> {
        self.0.retain(|_, note| note.until >= turn);
        &self.0
    }

    /// What is told again when the conversation is shortened in this turn.
    pub(super) fn told(&mut self, turn: u32) -> Option<Segment> {
        let lines = self.holding(turn).iter().map(|(name, note)| {
            let left = note.until.saturating_sub(turn).saturating_add(1);
            format!("\n- {name} (for {left} more turns): {}", note.text)
        });
        let lines: String = lines.collect();
        let text = format!("What you noted down for yourself and still holds:{lines}");
        (!lines.is_empty()).then(|| message(text, Source::State))
    }
}

/// The call as the model sees it.
pub(super) fn tool() -> Tool {
    let input = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "minLength": 1, "maxLength": NAME_MAX_BYTES },
            "text": { "type": "string", "maxLength": TEXT_MAX_BYTES },
            "turns": { "type": "integer", "minimum": 1, "maximum": NOTE_TURNS_MAX },
        },
        "required": ["name", "text"],
        "additionalProperties": false,
    });
    let description = "Notes something down for yourself, under a name, for as many turns as you need it: it outlives \
        what is left out of a long conversation. An empty text forgets it.";
    Tool { name: NOTE.to_owned(), description: description.to_owned(), input: Arc::new(input) }
}

/// A call of `note` as it is told again: without its words.
pub(super) fn without_words(item: &Item) -> Item {
    match item {
        Item::Call { id, name, arguments: Some(arguments), malformed } if name == NOTE => {
            let kept = json!({ "name": arguments.get("name") });
            let arguments = Some(Arc::new(kept));
            Item::Call {
                id: id.clone(),
                name: name.clone(),
                arguments,
                malformed: malformed.clone(),
            }
        }
        other => other.clone(),
    }
}

impl Frame {
    /// The model notes something down. Its own words: they carry what it has seen, as all that it does.
    pub(super) fn note(&mut self, args: &Value) -> At {
        let text = |name: &str| args.get(name).and_then(Value::as_str).unwrap_or_default().trim();
        let (name, words) = (text("name"), text("text"));
        if name.is_empty() || name.len() > NAME_MAX_BYTES {
            return told_error(format!("`name` has 1 to {NAME_MAX_BYTES} bytes"));
        }
        if words.len() > TEXT_MAX_BYTES {
            return told_error(format!("a note has at most {TEXT_MAX_BYTES} bytes: write less"));
        }
        let turns = match args.get("turns") {
            None | Some(Value::Null) => Some(TURNS_DEFAULT),
            Some(turns) => turns.as_u64().and_then(|turns| u32::try_from(turns).ok()),
        };
        let Some(turns) = turns.filter(|turns| (1..=NOTE_TURNS_MAX).contains(turns)) else {
            return told_error(format!("`turns` is 1 to {NOTE_TURNS_MAX}"));
        };
        let turn = self.spent.turns;
        let notes = self.talk.notes();
        let is_new = !notes.holding(turn).contains_key(name);
        if is_new && !words.is_empty() && notes.0.len() >= NOTES_MAX {
            return told_error(format!("there are {NOTES_MAX} notes already: empty one first"));
        }
        notes.keep(name, words, turn.saturating_add(turns));
        let content = match words.is_empty() {
            true => format!("`{name}` is forgotten"),
            false => format!("kept for {turns} turns"),
        };
        told(content)
    }
}
