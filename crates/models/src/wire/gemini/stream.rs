//! A Gemini stream put together into the response it would have been. Parts stay apart, since a
//! signature belongs to its part; only plain text that goes on is joined.

use std::collections::BTreeMap;

use serde_json::{Value, json, value::RawValue};

use crate::{
    ask::Delta,
    error::Error,
    json::{Doc, push, push_field},
    sse::Event,
    wire::{self, Listen},
};

/// Most parts of one answer.
const PARTS_MAX: usize = 65_536;

type Fields = BTreeMap<String, Box<RawValue>>;

#[derive(Debug)]
enum Piece {
    Text { text: String, is_thought: bool },
    Other(Box<RawValue>),
}

#[derive(Debug, Default)]
pub(super) struct Chunks {
    top: Fields,
    candidate: Fields,
    parts: Vec<Piece>,
}

impl Listen for Chunks {
    fn hear(&mut self, event: &Event, tell: &mut dyn FnMut(Delta<'_>)) -> Result<(), Error> {
        let chunk = Doc::read(&event.data)?;
        if chunk.get("error").is_some() {
            return Err(crate::status::inside(&event.data));
        }
        for (name, value) in chunk.fields().filter(|(name, _)| *name != "candidates") {
            self.top.insert(name.to_owned(), value.to_owned());
        }
        let Some(candidate) = super::candidate(&chunk) else {
            return Ok(());
        };
        for (name, value) in candidate.fields().filter(|(name, _)| *name != "content") {
            self.candidate.insert(name.to_owned(), value.to_owned());
        }
        for part in candidate.doc("content").list("parts") {
            self.add(part, tell)?;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.candidate.contains_key("finishReason")
    }

    fn finish(self: Box<Self>) -> Result<String, Error> {
        let is_blocked = self.top.get("promptFeedback").is_some_and(|feedback| {
            Doc::of(feedback).get("blockReason").is_some() && self.parts.is_empty()
        });
        if !self.is_done() && !is_blocked {
            return Err(wire::cut_off());
        }
        let mut out = b"{\"candidates\":[".to_vec();
        if self.is_done() {
            out.extend_from_slice(b"{\"content\":{\"role\":\"model\",\"parts\":[");
            for (index, part) in self.parts.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                part.write(&mut out);
            }
            out.extend_from_slice(b"]}");
            self.candidate.iter().for_each(|(name, value)| push_field(&mut out, name, value));
            out.push(b'}');
        }
        out.push(b']');
        self.top.iter().for_each(|(name, value)| push_field(&mut out, name, value));
        out.push(b'}');
        String::from_utf8(out).map_err(|_| Error::garbage("it is not UTF-8"))
    }
}

impl Chunks {
    fn add(&mut self, raw: &RawValue, tell: &mut dyn FnMut(Delta<'_>)) -> Result<(), Error> {
        if self.parts.len() >= PARTS_MAX {
            return Err(Error::TooLarge(format!("more than {PARTS_MAX} parts")));
        }
        let part = Doc::of(raw);
        let is_thought = part.is_true("thought");
        if let Some(name) = part.doc("functionCall").text("name") {
            tell(Delta::Call(&name));
        }
        let text = part.text("text");
        match &text {
            Some(text) if text.is_empty() => {}
            Some(text) if is_thought => tell(Delta::Reasoning(text)),
            Some(text) => tell(Delta::Text(text)),
            None => {}
        }
        let is_plain = part.fields().all(|(name, _)| ["text", "thought"].contains(&name));
        match (text.filter(|_| is_plain), self.parts.last_mut()) {
            (Some(more), Some(Piece::Text { text, is_thought: same })) if *same == is_thought => {
                text.push_str(&more);
            }
            (Some(text), _) => self.parts.push(Piece::Text { text, is_thought }),
            (None, _) => self.parts.push(Piece::Other(raw.to_owned())),
        }
        Ok(())
    }
}

impl Piece {
    fn write(&self, out: &mut Vec<u8>) {
        let value: Value = match self {
            Self::Text { text, is_thought: false } => json!({"text": text}),
            Self::Text { text, is_thought: true } => json!({"text": text, "thought": true}),
            Self::Other(raw) => return push(out, raw),
        };
        push(out, &value);
    }
}
