//! An Anthropic stream put together into the message it would have been.

use serde_json::{Map, Value, value::RawValue};

use crate::{
    ask::Delta,
    error::Error,
    json::{is_object, push},
    sse::Event,
    wire::{self, Listen},
};

/// Most blocks of one message.
const BLOCKS_MAX: usize = 4_096;

#[derive(Debug, Default)]
struct Block {
    fields: Map<String, Value>,
    /// The input of a call, as it was written.
    input: String,
}

#[derive(Debug, Default)]
pub(super) struct Blocks {
    message: Map<String, Value>,
    blocks: Vec<Block>,
    is_done: bool,
}

impl Listen for Blocks {
    fn hear(&mut self, event: &Event, tell: &mut dyn FnMut(Delta<'_>)) -> Result<(), Error> {
        if self.is_done {
            return Ok(());
        }
        let mut data: Value = serde_json::from_str(&event.data)
            .map_err(|e| Error::garbage(format!("an event that is no JSON: {e}")))?;
        let kind = data.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let index = data.get("index").and_then(Value::as_u64).unwrap_or_default();
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        match kind.as_str() {
            "message_start" => {
                if let Some(Value::Object(message)) = data.get_mut("message").map(Value::take) {
                    self.message = message;
                }
            }
            "content_block_start" => {
                self.begin(index, data.get_mut("content_block").map(Value::take), tell)?;
            }
            "content_block_delta" => {
                if let Some(block) = self.blocks.get_mut(index) {
                    block.add(data.get("delta").unwrap_or(&Value::Null), tell);
                }
            }
            "message_delta" => self.change(&mut data),
            "message_stop" => self.is_done = true,
            "error" => return Err(crate::status::inside(&event.data)),
            // `content_block_stop`, `ping`, and what this build does not know.
            _ => {}
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn finish(self: Box<Self>) -> Result<String, Error> {
        if !self.is_done {
            return Err(wire::cut_off());
        }
        let mut out = b"{\"content\":[".to_vec();
        for (index, block) in self.blocks.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            block.write(&mut out);
        }
        out.push(b']');
        for (name, value) in self.message.iter().filter(|(name, _)| *name != "content") {
            crate::json::push_field(&mut out, name, value);
        }
        out.push(b'}');
        String::from_utf8(out).map_err(|_| Error::garbage("it is not UTF-8"))
    }
}

impl Blocks {
    fn begin(
        &mut self,
        index: usize,
        block: Option<Value>,
        tell: &mut dyn FnMut(Delta<'_>),
    ) -> Result<(), Error> {
        if index >= BLOCKS_MAX {
            return Err(Error::TooLarge(format!("more than {BLOCKS_MAX} blocks in one message")));
        }
        let Some(Value::Object(fields)) = block else {
            return Err(Error::garbage("a block that is none"));
        };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).filter(|t| !t.is_empty());
        match text("type") {
            Some("tool_use") => text("name").into_iter().for_each(|name| tell(Delta::Call(name))),
            Some("text") => text("text").into_iter().for_each(|text| tell(Delta::Text(text))),
            _ => {}
        }
        // Blocks come in order; a gap would be filled by the ones that are missing.
        while self.blocks.len() <= index {
            self.blocks.push(Block::default());
        }
        if let Some(place) = self.blocks.get_mut(index) {
            *place = Block { fields, input: String::new() };
        }
        Ok(())
    }

    fn change(&mut self, data: &mut Value) {
        if let Some(Value::Object(delta)) = data.get_mut("delta").map(Value::take) {
            self.message.extend(delta);
        }
        let Some(Value::Object(usage)) = data.get_mut("usage").map(Value::take) else {
            return;
        };
        // Counts are totals so far; those not named here stand as they were.
        match self.message.get_mut("usage") {
            Some(Value::Object(known)) => {
                known.extend(usage.into_iter().filter(|(_, value)| !value.is_null()));
            }
            _ => {
                self.message.insert("usage".to_owned(), Value::Object(usage));
            }
        }
    }
}

impl Block {
    fn add(&mut self, delta: &Value, tell: &mut dyn FnMut(Delta<'_>)) {
        let text = |name: &str| delta.get(name).and_then(Value::as_str).unwrap_or_default();
        match text("type") {
            "text_delta" => {
                tell(Delta::Text(text("text")));
                self.append("text", text("text"));
            }
            "thinking_delta" => {
                tell(Delta::Reasoning(text("thinking")));
                self.append("thinking", text("thinking"));
            }
            "signature_delta" => self.append("signature", text("signature")),
            "input_json_delta" => self.input.push_str(text("partial_json")),
            "citations_delta" => {
                let citation = delta.get("citation").cloned().unwrap_or_default();
                match self.fields.get_mut("citations") {
                    Some(Value::Array(known)) => known.push(citation),
                    _ => {
                        self.fields.insert("citations".to_owned(), Value::Array(vec![citation]));
                    }
                }
            }
            _ => {}
        }
    }

    fn append(&mut self, name: &str, more: &str) {
        match self.fields.get_mut(name) {
            Some(Value::String(known)) => known.push_str(more),
            _ => {
                self.fields.insert(name.to_owned(), Value::String(more.to_owned()));
            }
        }
    }

    /// The block with its input as the model wrote it: a number must not change on the way.
    fn write(&self, out: &mut Vec<u8>) {
        let input = RawValue::from_string(self.input.clone()).ok();
        let written = self.input.trim();
        if written.is_empty() {
            push(out, &self.fields);
            return;
        }
        out.push(b'{');
        let mut separator: &[u8] = b"";
        for (name, value) in self.fields.iter().filter(|(name, _)| *name != "input") {
            out.extend_from_slice(separator);
            separator = b",";
            push(out, name);
            out.push(b':');
            push(out, value);
        }
        out.extend_from_slice(separator);
        out.extend_from_slice(b"\"input\":");
        match input.filter(|_| is_object(written)) {
            Some(input) => push(out, &input),
            // What is no object is kept as text: the reader finds it malformed.
            None => push(out, &self.input),
        }
        out.push(b'}');
    }
}
