//! A Chat Completions stream put together into the completion it would have been.
//!
//! Fields we do not know are joined by shape: text is appended, lists are extended, the rest is
//! replaced. Servers differ in the calls: some give each fragment the call's id, some no `index`, some
//! the same `index` to different calls; a new id begins a new call.

use serde_json::{Map, Value, json};

use crate::{
    ask::Delta,
    error::Error,
    sse::Event,
    wire::{self, Listen},
};

/// Most calls one message may hold: an `index` beyond is no index.
const CALLS_MAX: usize = 1_024;

/// Fields that are said once or said again, never in pieces.
const WHOLE: [&str; 5] = ["role", "id", "type", "index", "name"];

#[derive(Debug, Default)]
pub(super) struct Chunks {
    top: Map<String, Value>,
    message: Map<String, Value>,
    calls: Vec<Map<String, Value>>,
    /// Where the calls with each `index` stand.
    places: Vec<(u64, usize)>,
    finish_reason: Option<Value>,
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
        let chunk: Map<String, Value> = serde_json::from_str(&event.data)
            .map_err(|e| Error::garbage(format!("a chunk that is no JSON: {e}")))?;
        if chunk.get("error").is_some_and(|error| !error.is_null()) {
            return Err(crate::status::inside(&event.data));
        }
        for (name, mut value) in chunk {
            if name == "choices" {
                let first = value.get_mut(0).and_then(Value::as_object_mut);
                if let Some(choice) = first.map(std::mem::take) {
                    self.add_choice(choice, tell)?;
                }
            } else if !value.is_null() {
                self.top.insert(name, value);
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn finish(mut self: Box<Self>) -> Result<String, Error> {
        // Some servers never say [DONE]; whoever gave a reason to stop has said all the same.
        if self.finish_reason.is_none() {
            return Err(wire::cut_off());
        }
        if !self.calls.is_empty() {
            let calls = self.calls.into_iter().map(Value::Object).collect();
            self.message.insert("tool_calls".to_owned(), calls);
        }
        let choice = json!({
            "index": 0, "finish_reason": self.finish_reason, "message": self.message,
        });
        self.top.insert("object".to_owned(), "chat.completion".into());
        self.top.insert("choices".to_owned(), json!([choice]));
        Ok(Value::Object(self.top).to_string())
    }
}

impl Chunks {
    fn add_choice(
        &mut self,
        mut choice: Map<String, Value>,
        tell: &mut dyn FnMut(Delta<'_>),
    ) -> Result<(), Error> {
        if let Some(reason) = choice.remove("finish_reason").filter(|reason| !reason.is_null()) {
            self.finish_reason = Some(reason);
        }
        let Some(Value::Object(mut delta)) = choice.remove("delta") else {
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
