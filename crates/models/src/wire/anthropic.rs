//! Anthropic Messages.
//!
//! After the types of the `anthropic` Python package. Thinking, its signatures and redacted thinking go
//! back as they came: the API checks them. Cache breakpoints stand on the head (the last block of
//! instructions, which covers the tools before it; else the last tool) and at the ends of the last two
//! prompts: the API looks back twenty blocks from a breakpoint, and a turn with many calls adds more.

use kernel::conversation::{Item, Part, Prompt, Stop, ToolChoice, Usage};
use serde_json::{Map, Value, json, value::RawValue};

use super::{Answer, Ids, Listen, Outcome, Stretch, Wire, stop_of, text_of_file};
use crate::{
    attached::named,
    buffer::{History, Turn},
    error::Error,
    json::{self, Doc, push, push_field},
    provider::{Field, Provider, SchemaSupport},
};

mod stream;

/// Ends the last block, its list and its message.
const CLOSER: &str = "}]}";

const MARKER: &str = ",\"cache_control\":{\"type\":\"ephemeral\"}";

#[derive(Debug)]
pub(crate) struct Messages;

impl Wire for Messages {
    fn path(&self, _: &Provider) -> String {
        "/messages".to_owned()
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[("anthropic-version", "2023-06-01")]
    }

    fn reserved(&self) -> &'static [&'static str] {
        &["model", "messages", "system", "tools", "max_tokens", "stream", "temperature"]
    }

    fn merges(&self, field: &str) -> bool {
        ["output_config", "tool_choice"].contains(&field)
    }

    fn begin(&self, provider: &Provider, prompt: &Prompt, out: &mut Vec<u8>) {
        let instructions = super::instructions(prompt);
        let mark = |block: &mut Value| {
            let marks = provider.quirks.cache_marks == Field::Sent;
            if let Some(fields) = block.as_object_mut().filter(|_| marks) {
                fields.insert("cache_control".to_owned(), json!({"type": "ephemeral"}));
            }
        };
        out.extend_from_slice(b"{\"model\":");
        push(out, &provider.model);
        if !prompt.tools.is_empty() || !provider.provided_tools.is_empty() {
            let tool = |tool: &kernel::conversation::Tool| {
                json!({"name": tool.name, "description": tool.description,
                    "input_schema": *tool.input})
            };
            let provided = provider.provided_tools.iter().cloned();
            let mut tools: Vec<Value> = prompt.tools.iter().map(tool).chain(provided).collect();
            if let Some(last) = tools.last_mut().filter(|_| instructions.is_none()) {
                mark(last);
            }
            push_field(out, "tools", &tools);
        }
        if let Some(text) = instructions.filter(|text| !text.is_empty()) {
            let mut block = json!({"type": "text", "text": text});
            mark(&mut block);
            push_field(out, "system", &[block]);
        }
        out.extend_from_slice(b",\"messages\":[");
    }

    fn tell(&self, provider: &Provider, prompt: &Prompt, history: &mut History) {
        let mut stretches = super::stretches(provider, prompt).into_iter().peekable();
        while let Some(stretch) = stretches.next() {
            let (results, parts) = match stretch {
                Stretch::Said(items) => {
                    self.retell(items, history);
                    continue;
                }
                Stretch::Told { results, parts } => (results, parts),
            };
            let told = results.iter().map(result_block);
            let blocks: Vec<Value> = told.chain(parts.iter().map(|part| block(part))).collect();
            let out = history.message();
            out.extend_from_slice(b"{\"role\":\"user\",\"content\":");
            push(out, &blocks);
            out.push(b'}');
            if stretches.peek().is_none() {
                // The last block stays open: markers come and go there.
                out.truncate(out.len().saturating_sub(CLOSER.len()));
                history.stay_open(CLOSER);
            }
        }
    }

    fn echo(&self, _: &Provider, answer: &str, history: &mut History) -> Result<(), Error> {
        let doc = Doc::read(answer)?;
        doc.get("content").ok_or_else(|| Error::garbage("no `content`"))?;
        let blocks = doc.list("content").into_iter().filter(|block| says(block));
        let blocks: Vec<&RawValue> = blocks.collect();
        // A reply may be empty; a message may not, but for the last one.
        if blocks.is_empty() {
            return Ok(());
        }
        let out = history.message();
        out.extend_from_slice(b"{\"role\":\"assistant\",\"content\":[");
        for (index, block) in blocks.into_iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            echo_block(block, out);
        }
        out.extend_from_slice(b"]}");
        Ok(())
    }

    fn retell(&self, items: &[Item], history: &mut History) {
        let block = |item: &Item| match item {
            Item::Text { text } | Item::Refusal { text } => {
                (!text.trim().is_empty()).then(|| json!({"type": "text", "text": text}))
            }
            Item::Call { id, name, arguments, .. } => {
                let input = arguments.as_ref().filter(|value| value.is_object());
                let input = input.map_or_else(|| json!({}), |value| (**value).clone());
                Some(json!({"type": "tool_use", "id": wire_id(id), "name": name, "input": input}))
            }
            Item::Reasoning { .. } | Item::Provided { .. } => None,
        };
        let blocks: Vec<Value> = items.iter().filter_map(block).collect();
        if !blocks.is_empty() {
            push(history.message(), &json!({"role": "assistant", "content": blocks}));
        }
    }

    fn end(&self, provider: &Provider, turn: &Turn, out: &mut Vec<u8>) {
        out.push(b']');
        push_field(out, "max_tokens", &turn.output_tokens_max);
        if let Some(temperature) = provider.temperature(turn.temperature_milli) {
            push_field(out, "temperature", &json::milli(temperature));
        }
        let configured = |name: &str| provider.body.get(name).cloned();
        let choice = match turn.tool_choice {
            _ if !turn.offers_tools => None,
            ToolChoice::Auto => configured("tool_choice"),
            ToolChoice::Required => Some(json!({"type": "any"})),
            ToolChoice::None => Some(json!({"type": "none"})),
        };
        if let Some(choice) = choice {
            push_field(out, "tool_choice", &choice);
        }
        let mut output = configured("output_config").unwrap_or_else(|| json!({}));
        let schema = turn.output.as_ref();
        let schema = schema.filter(|_| provider.quirks.schema == SchemaSupport::Schema);
        if let (Some(schema), Some(fields)) = (schema, output.as_object_mut()) {
            let format = json!({"type": "json_schema", "schema": **schema});
            fields.insert("format".to_owned(), format);
        }
        if output != json!({}) {
            push_field(out, "output_config", &output);
        }
        if provider.is_streaming() {
            push_field(out, "stream", &true);
        }
    }

    fn marker(&self, provider: &Provider) -> Option<&'static str> {
        (provider.quirks.cache_marks == Field::Sent).then_some(MARKER)
    }

    fn read(&self, answer: &str) -> Result<Answer, Error> {
        let doc = super::open(answer)?;
        if doc.get("content").is_none() {
            return Err(Error::garbage("an answer without `content`"));
        }
        let (mut items, ids) = (Vec::new(), Ids::new(answer));
        for (index, raw) in doc.list("content").into_iter().enumerate() {
            items.extend(item(raw, &ids, index));
        }
        let said = match doc.text("stop_reason").as_deref() {
            Some("end_turn" | "stop_sequence") => Stop::End,
            Some("tool_use") => Stop::Tools,
            Some("max_tokens" | "model_context_window_exceeded") => Stop::Length,
            Some("refusal") => Stop::Refusal,
            Some("pause_turn") => Stop::Pause,
            _ => Stop::Other,
        };
        if let Some(text) = doc.doc("stop_details").text("explanation") {
            items.push(Item::Refusal { text });
        }
        let stop = stop_of(&items, said);
        Ok(Answer { model: doc.text("model"), items, stop, usage: usage(&doc.doc("usage")) })
    }

    fn listen(&self) -> Box<dyn Listen> {
        Box::new(stream::Blocks::default())
    }
}

fn result_block(result: &Outcome<'_>) -> Value {
    let mut block = json!({
        "type": "tool_result", "tool_use_id": wire_id(result.call), "content": result.content,
    });
    if let Some(fields) = block.as_object_mut().filter(|_| result.is_error) {
        fields.insert("is_error".to_owned(), true.into());
    }
    block
}

fn block(part: &Part) -> Value {
    match part {
        Part::Text { text } => json!({"type": "text", "text": text}),
        Part::Attached(file) => json!({"type": "text", "text": named(file)}),
        Part::Image { media_type, data } => json!({"type": "image", "source": {
            "type": "base64", "media_type": media_type, "data": data,
        }}),
        Part::File { name, media_type, data } => {
            // Of files only PDFs may be given as bytes.
            let source = match text_of_file(media_type, data) {
                Some(text) => json!({"type": "text", "media_type": "text/plain", "data": text}),
                None => json!({"type": "base64", "media_type": media_type, "data": data}),
            };
            json!({"type": "document", "title": name, "source": source})
        }
    }
}

/// A call's id as this wire takes it: ids from elsewhere may hold other characters.
fn wire_id(id: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    id.chars().map(fits).collect()
}

/// Whether a block may go back: models write text without a word, and the API takes none.
fn says(raw: &RawValue) -> bool {
    let block = Doc::of(raw);
    block.text("type").as_deref() != Some("text")
        || block.text("text").is_some_and(|text| !text.trim().is_empty())
}

/// A block as it came. Only a call whose input is no object goes back without it: the API would refuse
/// the conversation for ever.
fn echo_block(raw: &RawValue, out: &mut Vec<u8>) {
    let block = Doc::of(raw);
    let input = block.get("input").map_or("{}", RawValue::get);
    if block.text("type").as_deref() != Some("tool_use") || json::is_object(input) {
        push(out, raw);
        return;
    }
    let mut fields: Map<String, Value> = serde_json::from_str(raw.get()).unwrap_or_default();
    fields.insert("input".to_owned(), json!({}));
    push(out, &fields);
}

fn item(raw: &RawValue, ids: &Ids<'_>, index: usize) -> Option<Item> {
    let block = Doc::of(raw);
    let kind = block.text("type")?;
    match kind.as_str() {
        "text" => {
            block.text("text").filter(|text| !text.is_empty()).map(|text| Item::Text { text })
        }
        "thinking" => Some(Item::Reasoning { text: block.text("thinking").unwrap_or_default() }),
        "redacted_thinking" => Some(Item::Reasoning { text: String::new() }),
        "tool_use" => {
            let id = block.text("id").unwrap_or_else(|| ids.at(index));
            // Input that was streamed and is no object stands there as text.
            let input = block.get("input").map_or("", RawValue::get);
            let written = block.text("input").unwrap_or_else(|| input.to_owned());
            Some(json::call(id, block.text("name").unwrap_or_default(), &written))
        }
        _ => Some(json::provided(block.text("name").unwrap_or(kind), raw)),
    }
}

fn usage(usage: &Doc<'_>) -> Usage {
    let count = |name: &str| usage.count(name).unwrap_or_default();
    let (cached, written) =
        (count("cache_read_input_tokens"), count("cache_creation_input_tokens"));
    let details = usage.doc("output_tokens_details");
    let thought = details.count("thinking_tokens").or_else(|| details.count("reasoning_tokens"));
    Usage {
        // This wire counts what was cached apart.
        input: count("input_tokens").saturating_add(cached).saturating_add(written),
        cached,
        cache_written: written,
        output: count("output_tokens"),
        reasoning: thought.unwrap_or_default(),
    }
}
