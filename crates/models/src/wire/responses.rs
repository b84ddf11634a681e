//! OpenAI Responses, without anything stored on the provider's side: `store` is false and reasoning
//! comes sealed (`encrypted_content`), so that every output item goes back as it came.
//!
//! After the types of the `openai` Python package (`types/responses`). A reasoning item that is neither
//! sealed nor open is dropped when told again: without storage the API would look for it in vain.

use kernel::conversation::{Item, Part, Prompt, Stop, ToolChoice, Usage};
use serde_json::{Map, Value, json, value::RawValue};

use super::{Answer, Ids, Listen, Stretch, Wire, data_url, stop_of};
use crate::{
    ask::Delta,
    attached::named,
    buffer::{History, Turn},
    error::Error,
    json::{self, Doc, push, push_field},
    provider::{Field, Provider, SchemaSupport},
    sse::Event,
};

#[derive(Debug)]
pub(crate) struct Responses;

impl Wire for Responses {
    fn path(&self, _: &Provider) -> String {
        "/responses".to_owned()
    }

    fn reserved(&self) -> &'static [&'static str] {
        &[
            "model",
            "input",
            "instructions",
            "tools",
            "tool_choice",
            "max_output_tokens",
            "stream",
            "temperature",
        ]
    }

    fn merges(&self, field: &str) -> bool {
        ["text", "include", "store"].contains(&field)
    }

    fn begin(&self, provider: &Provider, prompt: &Prompt, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"model\":");
        push(out, &provider.model);
        let tool = |tool: &kernel::conversation::Tool| {
            // Strict would ask for schemas of a narrower kind than tools have.
            json!({"type": "function", "name": tool.name, "description": tool.description,
                "parameters": *tool.input, "strict": false})
        };
        let ours = prompt.tools.iter().map(tool);
        let tools: Vec<Value> = ours.chain(provider.provided_tools.iter().cloned()).collect();
        if !tools.is_empty() {
            push_field(out, "tools", &tools);
        }
        if let Some(text) = super::instructions(prompt) {
            push_field(out, "instructions", &text);
        }
        out.extend_from_slice(b",\"input\":[");
    }

    fn tell(&self, provider: &Provider, prompt: &Prompt, history: &mut History) {
        for stretch in super::stretches(provider, prompt) {
            match stretch {
                Stretch::Told { results, parts } => {
                    for result in results {
                        let item = json!({"type": "function_call_output",
                            "call_id": result.call, "output": result.content});
                        push(history.message(), &item);
                    }
                    if !parts.is_empty() {
                        let content: Vec<Value> =
                            parts.iter().map(|part| content_part(part)).collect();
                        let item = json!({"type": "message", "role": "user", "content": content});
                        push(history.message(), &item);
                    }
                }
                Stretch::Said(items) => self.retell(items, history),
            }
        }
    }

    fn echo(&self, _: &Provider, answer: &str, history: &mut History) -> Result<(), Error> {
        let doc = Doc::read(answer)?;
        doc.get("output").ok_or_else(|| Error::garbage("no `output`"))?;
        for raw in doc.list("output") {
            let item = Doc::of(raw);
            match item.text("type").as_deref() {
                Some("reasoning")
                    if item.get("encrypted_content").is_none()
                        && item.list("content").is_empty() => {}
                Some("function_call")
                    if !json::is_object(&item.text("arguments").unwrap_or_default()) =>
                {
                    let mut fields: Map<String, Value> =
                        serde_json::from_str(raw.get()).unwrap_or_default();
                    fields.insert("arguments".to_owned(), "{}".into());
                    push(history.message(), &fields);
                }
                _ => push(history.message(), raw),
            }
        }
        Ok(())
    }

    fn retell(&self, items: &[Item], history: &mut History) {
        for item in items {
            let told = match item {
                Item::Text { text } | Item::Refusal { text } => {
                    json!({"type": "message", "role": "assistant", "content": text})
                }
                Item::Call { id, name, arguments, .. } => {
                    let arguments = arguments.as_ref().map_or("{}".to_owned(), |a| a.to_string());
                    json!({"type": "function_call", "call_id": id, "name": name,
                        "arguments": arguments})
                }
                Item::Reasoning { .. } | Item::Provided { .. } => continue,
            };
            push(history.message(), &told);
        }
    }

    fn end(&self, provider: &Provider, turn: &Turn, out: &mut Vec<u8>) {
        out.push(b']');
        push_field(out, "max_output_tokens", &turn.output_tokens_max);
        if let Some(temperature) = provider.temperature(turn.temperature_milli) {
            push_field(out, "temperature", &json::milli(temperature));
        }
        if turn.offers_tools {
            match turn.tool_choice {
                ToolChoice::Auto => {}
                ToolChoice::Required => push_field(out, "tool_choice", "required"),
                ToolChoice::None => push_field(out, "tool_choice", "none"),
            }
        }
        let configured = |name: &str| provider.body.get(name).cloned();
        let mut text = configured("text").unwrap_or_else(|| json!({}));
        if let (Some(schema), Some(fields)) = (&turn.output, text.as_object_mut()) {
            let format = match provider.quirks.schema {
                SchemaSupport::Schema => Some(json!({"type": "json_schema", "name": "output",
                    "schema": **schema, "strict": json::is_strict(schema)})),
                SchemaSupport::Json => Some(json!({"type": "json_object"})),
                SchemaSupport::Told => None,
            };
            fields.extend(format.map(|format| ("format".to_owned(), format)));
        }
        if text != json!({}) {
            push_field(out, "text", &text);
        }
        push_field(out, "store", &configured("store").unwrap_or(Value::Bool(false)));
        let mut include = configured("include").unwrap_or_else(|| json!([]));
        if let Some(list) = include.as_array_mut()
            && provider.quirks.sealed_reasoning == Field::Sent
        {
            list.push("reasoning.encrypted_content".into());
        }
        if include != json!([]) {
            push_field(out, "include", &include);
        }
        if provider.is_streaming() {
            push_field(out, "stream", &true);
        }
    }

    fn read(&self, answer: &str) -> Result<Answer, Error> {
        let doc = super::open(answer)?;
        if doc.get("output").is_none() {
            return Err(Error::garbage("an answer without `output`"));
        }
        let (mut items, ids) = (Vec::new(), Ids::new(answer));
        for (index, raw) in doc.list("output").into_iter().enumerate() {
            add_item(raw, &ids, index, &mut items);
        }
        let reason = doc.doc("incomplete_details").text("reason");
        let said = match (doc.text("status").as_deref(), reason.as_deref()) {
            (Some("completed"), _) => Stop::End,
            (Some("incomplete"), Some("max_output_tokens")) => Stop::Length,
            (Some("incomplete"), Some("content_filter")) => Stop::Refusal,
            (Some("cancelled"), _) => return Err(Error::Cancelled("by the provider".to_owned())),
            _ => Stop::Other,
        };
        let stop = stop_of(&items, said);
        Ok(Answer { model: doc.text("model"), items, stop, usage: usage(&doc.doc("usage")) })
    }

    fn listen(&self) -> Box<dyn Listen> {
        Box::new(Response::default())
    }
}

fn content_part(part: &Part) -> Value {
    match part {
        Part::Text { text } => json!({"type": "input_text", "text": text}),
        Part::Attached(file) => json!({"type": "input_text", "text": named(file)}),
        Part::Image { media_type, data } => json!({"type": "input_image", "detail": "auto",
            "image_url": data_url(media_type, data)}),
        Part::File { name, media_type, data } => json!({"type": "input_file", "filename": name,
            "file_data": data_url(media_type, data)}),
    }
}

fn add_item(raw: &RawValue, ids: &Ids<'_>, index: usize, items: &mut Vec<Item>) {
    let item = Doc::of(raw);
    let texts = |name: &str| {
        let parts = item.list(name).into_iter();
        parts.filter_map(|part| Doc::of(part).text("text")).collect::<Vec<_>>()
    };
    let kind = item.text("type").unwrap_or_default();
    match kind.as_str() {
        "message" => {
            for part in item.list("content").into_iter().map(Doc::of) {
                let text = part.text("text").filter(|text| !text.is_empty());
                items.extend(text.map(|text| Item::Text { text }));
                items.extend(part.text("refusal").map(|text| Item::Refusal { text }));
            }
        }
        "reasoning" => {
            let (open, summary) = (texts("content"), texts("summary"));
            let text = if open.is_empty() { summary } else { open };
            items.push(Item::Reasoning { text: text.join("\n\n") });
        }
        "function_call" => {
            let id = item.text("call_id").unwrap_or_else(|| ids.at(index));
            let arguments = item.text("arguments").unwrap_or_default();
            items.push(json::call(id, item.text("name").unwrap_or_default(), &arguments));
        }
        _ => items.push(json::provided(kind, raw)),
    }
}

fn usage(usage: &Doc<'_>) -> Usage {
    let (read, written) = (usage.doc("input_tokens_details"), usage.doc("output_tokens_details"));
    Usage {
        input: usage.count("input_tokens").unwrap_or_default(),
        cached: read.count("cached_tokens").unwrap_or_default(),
        cache_written: read.count("cache_write_tokens").unwrap_or_default(),
        output: usage.count("output_tokens").unwrap_or_default(),
        reasoning: written.count("reasoning_tokens").unwrap_or_default(),
    }
}

/// The last event of a stream holds the whole answer. Items are kept as they end, for servers that
/// leave them out of it.
#[derive(Debug, Default)]
struct Response {
    items: Vec<Box<RawValue>>,
    answer: Option<String>,
}

/// Most items of one answer.
const ITEMS_MAX: usize = 4_096;

impl Listen for Response {
    fn hear(&mut self, event: &Event, tell: &mut dyn FnMut(Delta<'_>)) -> Result<(), Error> {
        if self.answer.is_some() || event.data.trim() == "[DONE]" {
            return Ok(());
        }
        let data = Doc::read(&event.data)?;
        let delta = || data.text("delta").unwrap_or_default();
        match data.text("type").as_deref().unwrap_or(&event.name) {
            "response.output_text.delta" | "response.refusal.delta" => tell(Delta::Text(&delta())),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                tell(Delta::Reasoning(&delta()));
            }
            "response.output_item.added" => {
                let item = data.doc("item");
                if item.text("type").as_deref() == Some("function_call") {
                    tell(Delta::Call(&item.text("name").unwrap_or_default()));
                }
            }
            "response.output_item.done" => {
                if self.items.len() >= ITEMS_MAX {
                    return Err(Error::TooLarge(format!("more than {ITEMS_MAX} items")));
                }
                self.items.extend(data.get("item").map(ToOwned::to_owned));
            }
            "response.completed" | "response.incomplete" | "response.done" => {
                let response = data.get("response").map(|raw| raw.get().to_owned());
                self.answer = Some(response.ok_or_else(|| Error::garbage("no `response`"))?);
            }
            "response.failed" | "response.cancelled" => {
                let response = data.get("response").map_or(event.data.as_str(), RawValue::get);
                return Err(crate::status::inside(response));
            }
            "error" => return Err(crate::status::inside(&event.data)),
            _ => {}
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.answer.is_some()
    }

    fn finish(self: Box<Self>) -> Result<String, Error> {
        let answer = self.answer.ok_or_else(super::cut_off)?;
        let doc = Doc::read(&answer)?;
        if self.items.is_empty() || !doc.list("output").is_empty() {
            return Ok(answer);
        }
        let mut out = b"{\"output\":".to_vec();
        push(&mut out, &self.items);
        for (name, value) in doc.fields().filter(|(name, _)| *name != "output") {
            push_field(&mut out, name, value);
        }
        out.push(b'}');
        String::from_utf8(out).map_err(|_| Error::garbage("it is not UTF-8"))
    }
}
