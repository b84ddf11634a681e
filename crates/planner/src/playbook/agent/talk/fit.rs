//! The last stage of shortening, which always comes to an end that fits: the newest turns, as many as there is
//! room for, each piece of them cut. What is left out is said, with what its results are called.

use std::sync::Arc;

use kernel::conversation::{Item, Malformed, Part, Segment, Source, bytes_of, weight};
use serde_json::{Value, json};

use super::{
    Past, Talk, Told, cut, is_pinned, less_of, message, most_of_each, said_again, summed_up,
};

/// Weight of what the model said that is told again of each piece.
const SAID_KEPT: usize = 400;

/// Most bytes of names of results that are left out.
pub(super) const NAMES_MAX_BYTES: usize = 1_000;

/// Bytes that saying what is left out may take beside the names.
const LEFT_OUT_BYTES: usize = 250;

impl Talk {
    /// Begins a new conversation, or the one that was about to begin anew, with what fits into so many tokens;
    /// returns whether even what nobody may drop does.
    pub(in super::super) fn fit(&mut self, tokens_max: u64, turns: u32) -> bool {
        if self.turn > 0 || self.weighs > 0 {
            self.begin_anew();
        }
        self.fresh = self.pinned.iter().cloned().map(Told::from).collect();
        let Some(room) = room_for(tokens_max, self.tokens()) else { return false };
        let quarter = room / 4;
        let summary = self
            .summary
            .as_ref()
            .map(|summary| message(summed_up(&less_of(summary, quarter)), Source::History));
        let notes = self.notes.told(turns).map(|notes| less_of_message(&notes, quarter));
        let taken: usize = summary.iter().chain(&notes).map(Segment::weight).sum();
        let names_max = NAMES_MAX_BYTES.min(room / 8);
        let mut room = room.saturating_sub(taken).saturating_sub(names_max);
        room = room.saturating_sub(LEFT_OUT_BYTES);
        let mut told: Vec<Vec<Told>> = Vec::new();
        for (back, past) in self.past.iter().rev().enumerate() {
            let wide = squeezed(past, if back == 0 { room / 2 } else { 0 });
            let turn = if weight_of(&wide) <= room { wide } else { squeezed(past, 0) };
            let Some(left) = room.checked_sub(weight_of(&turn)) else { break };
            room = left;
            told.push(turn);
        }
        let dropped = self.past.len().saturating_sub(told.len());
        let gone = self.past.get(..dropped).unwrap_or_default();
        let names = names(self.gone.clone(), gone);
        self.fresh.extend(summary.map(Told::from));
        self.fresh.extend(left_out(dropped, &names, names_max).map(Told::from));
        self.fresh.extend(told.into_iter().rev().flatten());
        self.fresh.extend(notes.map(Told::from));
        if self.tokens() > tokens_max {
            self.fresh = self.pinned.iter().cloned().map(Told::from).collect();
        }
        true
    }
}

/// The weight that is left of so many tokens.
fn room_for(tokens_max: u64, taken: u64) -> Option<usize> {
    let left = tokens_max.checked_sub(taken)?;
    Some(bytes_of(u32::try_from(left).unwrap_or(u32::MAX)))
}

fn weight_of(told: &[Told]) -> usize {
    told.iter().map(|told| told.segment.weight()).sum()
}

/// A turn with its results cut so that together they weigh about this, at least a little of each.
fn squeezed(past: &Past, results_max: usize) -> Vec<Told> {
    let items = said_again(&past.items).map(squeezed_item);
    let mut told = vec![Segment::Said { items: items.collect() }.into()];
    let after = past.after.iter().filter(|told| !is_pinned(&told.segment) && !is_state(told));
    let after: Vec<Told> = after.cloned().collect();
    let most = most_of_each(&after, results_max);
    told.extend(after.into_iter().map(|told| match &told.segment {
        Segment::Result { .. } => cut(told, most),
        other => less_of_message(other, SAID_KEPT).into(),
    }));
    told
}

/// State is told again with each conversation.
fn is_state(told: &Told) -> bool {
    matches!(told.segment, Segment::User { source: Source::State, .. })
}

fn less_of_message(segment: &Segment, weight_max: usize) -> Segment {
    let Segment::User { parts, source } = segment else { return segment.clone() };
    let parts = parts.iter().map(|part| match part {
        Part::Text { text } => Part::Text { text: less_of(text, weight_max) },
        other => other.clone(),
    });
    Segment::User { parts: parts.collect(), source: *source }
}

/// What the model said, cut. A call stays one, so that its result has something to answer.
fn squeezed_item(item: Item) -> Item {
    match item {
        Item::Text { text } => Item::Text { text: less_of(&text, SAID_KEPT) },
        Item::Refusal { text } => Item::Refusal { text: less_of(&text, SAID_KEPT) },
        Item::Call { id, name, arguments, malformed } => {
            let arguments = arguments.map(|arguments| match arguments.to_string() {
                text if weight(&text) > SAID_KEPT => {
                    Arc::new(json!({ "bytes_left_out": text.len() }))
                }
                _ => arguments,
            });
            let malformed = malformed.map(|wrong| Malformed {
                text: less_of(&wrong.text, SAID_KEPT),
                problem: wrong.problem,
            });
            Item::Call { id, name, arguments, malformed }
        }
        Item::Provided { name, detail } if weight(&detail.to_string()) > SAID_KEPT => {
            Item::Provided { name, detail: Arc::new(Value::Null) }
        }
        other => other,
    }
}

/// What results of turns are called, those known before included: each once.
pub(super) fn names(mut known: Vec<String>, past: &[Past]) -> Vec<String> {
    for piece in past.iter().flat_map(|past| past.after.iter()).filter_map(|t| t.piece.as_ref()) {
        if !known.contains(&piece.of) {
            known.push(piece.of.clone());
        }
    }
    known
}

/// Names as they are told: those of results in a row as one, the newest last, and no more than so many bytes.
fn told_names(names: &[String], bytes_max: usize) -> Option<String> {
    let number = |name: &str| name.strip_prefix("`r")?.strip_suffix('`')?.parse::<u64>().ok();
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number(name)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let rows = numbers.chunk_by(|one, next| next.checked_sub(*one) == Some(1));
    let rows = rows.filter_map(|row| match (row.first()?, row.last()?) {
        (first, last) if first == last => Some(format!("`r{first}`")),
        (first, last) => Some(format!("`r{first}` to `r{last}`")),
    });
    let others = names.iter().filter(|name| number(name).is_none()).cloned();
    let all: Vec<String> = others.chain(rows).collect();
    let mut left = bytes_max;
    let fits = all.iter().rev().take_while(|name| {
        left = left.saturating_sub(weight(name).saturating_add(2));
        left > 0
    });
    let first = all.len().saturating_sub(fits.count());
    all.get(first..).filter(|told| !told.is_empty()).map(|told| told.join(", "))
}

/// Says that turns are left out, and what results of theirs are called.
pub(super) fn left_out(turns: usize, names: &[String], bytes_max: usize) -> Option<Segment> {
    let names = told_names(names, bytes_max);
    let turns = match turns {
        0 if names.is_none() => return None,
        0 => String::new(),
        turns => format!("{turns} turns before this are left out: they were too long. "),
    };
    let names = names
        .map(|names| format!("Results from before that can be read again by name: {names}."))
        .unwrap_or_default();
    Some(message(format!("{turns}{names}"), Source::History))
}
