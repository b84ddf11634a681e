//! A Chat Completions stream put together into the completion it would have been.
//!
//! Fields we do not know are joined by shape: text is appended, lists are extended, the rest is
//! replaced. Servers differ in the calls: some give each fragment the call's id, some no `index`, some
//! the same `index` to different calls; a new id begins a new call.

use serde_json::{Map, Value, json, value::RawValue};

use crate::{
    ask::Delta,
    error::Error,
    json::{Doc, push, push_field},
    sse::Event,
    wire::{self, Listen},
};

/// Most calls one message may hold: an `index` beyond is no index.
const CALLS_MAX: usize = 1_024;

/// Most fields beside the choices that are kept.
const FIELDS_MAX: usize = 64;

/// Fields that are said once or said again, never in pieces.
const WHOLE: [&str; 5] = ["role", "id", "type", "index", "name"];

#[derive(Debug, Default)]
pub(super) struct Chunks {
    top: Vec<(String, Box<RawValue>)>,
    message: Map<String, Value>,
    calls: Vec<Map<String, Value>>,
    /// Where the calls with each `index` stand.
    places: Vec<(u64, usize)>,
    finish_reason: Option<Box<RawValue>>,
    is_done: bool,
}

impl Listen for Chunks {
    fn hear(&mut self, event: &Event, tell: &mut dyn FnMut(Delta<'_>)) -> Result<(), Error> {
        if self.is_done {
            return Ok(());
        }
        if event.data.trim() == "[DONE]" {
            self.is_done = true;
            return Ok(());
        }
        let chunk = Doc::read(&event.data)?;
        if chunk.get("error").is_some() {
            return Err(crate::status::inside(&event.data));
        }
        for (name, value) in chunk.fields() {
            if !["choices", "object"].contains(&name) && value.get() != "null" {
                self.keep(name, value);
            }
        }
        match chunk.list("choices").first() {
            Some(choice) => self.add_choice(&Doc::of(choice), tell),
            None => Ok(()),
        }
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn finish(mut self: Box<Self>) -> Result<String, Error> {
        // Some servers never say [DONE]; whoever gave a reason to stop has said all the same.
        let Some(reason) = self.finish_reason.take() else {
            return Err(wire::cut_off());
        };
        if !self.calls.is_empty() {
            let calls = self.calls.into_iter().map(Value::Object).collect();
            self.message.insert("tool_calls".to_owned(), calls);
        }
        let mut out = b"{\"choices\":[{\"index\":0,\"finish_reason\":".to_vec();
        push(&mut out, &reason);
        push_field(&mut out, "message", &self.message);
        out.extend_from_slice(b"}],\"object\":\"chat.completion\"");
        self.top.iter().for_each(|(name, value)| push_field(&mut out, name, value));
        out.push(b'}');
        String::from_utf8(out).map_err(|_| Error::garbage("it is not UTF-8"))
    }
}

impl Chunks {
    /// Keeps a field beside the choices as it was said last; most say the same in every chunk.
    fn keep(&mut self, name: &str, value: &RawValue) {
        let has_room = self.top.len() < FIELDS_MAX;
        match self.top.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) if known.get() == value.get() => {}
            Some((_, known)) => *known = value.to_owned(),
            None if has_room => self.top.push((name.to_owned(), value.to_owned())),
            None => {}
        }
    }

    fn add_choice(
        &mut self,
        choice: &Doc<'_>,
        tell: &mut dyn FnMut(Delta<'_>),
    ) -> Result<(), Error> {
        if let Some(reason) = choice.get("finish_reason") {
            self.finish_reason = Some(reason.to_owned());
        }
        let delta = choice.get("delta").map(|delta| serde_json::from_str(delta.get()));
        let Some(Ok(Value::Object(mut delta))) = delta else {
            return Ok(());
        };
        super::deltas(&delta, tell);
        if let Some(Value::Array(calls)) = delta.remove("tool_calls") {
            for call in calls {
                if let Value::Object(call) = call {
                    self.add_call(call)?;
                }
            }
        }
        join_object(&mut self.message, delta);
        Ok(())
    }

    fn add_call(&mut self, mut fragment: Map<String, Value>) -> Result<(), Error> {
        let index = fragment.remove("index").and_then(|index| index.as_u64());
        let id = fragment.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
        let known = match index {
            Some(index) => self.places.iter().rev().find(|(at, _)| *at == index).map(|(_, at)| *at),
            None => self.calls.len().checked_sub(1).filter(|_| id.is_none()),
        };
        let same = known.filter(|at| {
            let begun = self.calls.get(*at).and_then(|call| call.get("id")).and_then(Value::as_str);
            id.is_none() || begun.is_none_or(|begun| begun.is_empty() || Some(begun) == id)
        });
        let at = same.unwrap_or(self.calls.len());
        if at >= CALLS_MAX {
            return Err(Error::TooLarge(format!("more than {CALLS_MAX} calls in one message")));
        }
        if at == self.calls.len() {
            self.calls.push(Map::new());
            self.places.push((index.unwrap_or(u64::MAX), at));
        }
        if let Some(call) = self.calls.get_mut(at) {
            join_object(call, fragment);
        }
        Ok(())
    }
}

fn join_object(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (name, value) in from {
        if value.is_null() {
            continue;
        }
        match into.get_mut(&name) {
            None => {
                into.insert(name, value);
            }
            Some(known) if WHOLE.contains(&name.as_str()) => {
                let says_nothing = value.as_str().is_some_and(str::is_empty);
                if !says_nothing {
                    *known = value;
                }
            }
            Some(known) => join(known, value),
        }
    }
}

fn join(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::String(known), Value::String(more)) => known.push_str(&more),
        (Value::Array(known), Value::Array(more)) => known.extend(more),
        (Value::Object(known), Value::Object(more)) => join_object(known, more),
        // Text that goes on in parts.
        (known @ Value::String(_), Value::Array(more)) => {
            let text = known.take();
            let first = json!({"type": "text", "text": text});
            *known = std::iter::once(first).chain(more).collect();
        }
        (Value::Array(known), Value::String(more)) => {
            known.push(json!({"type": "text", "text": more}));
        }
        (known, more) => *known = more,
    }
}
