//! OpenAI Chat Completions, as OpenAI and the servers that imitate it speak it.
//!
//! After the types of the `openai` Python package (`types/chat`). A call's arguments that are no JSON
//! object are told again as `{}`: several servers refuse the whole conversation otherwise, for ever.

use std::borrow::Cow;

use kernel::conversation::{Item, Part, Prompt, Stop, ToolChoice, Usage};
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    Answer, Ids, Listen, Outcome, Stretch, Wire, data_url, only_text, stop_of, text_of_file,
};
use crate::{
    ask::Delta,
    attached::named,
    buffer::{History, Turn},
    error::Error,
    json::{self, Doc, push, push_field},
    provider::{Echo, Field, MaxTokens, Provider, SchemaSupport, SystemRole},
};

mod stream;

#[derive(Debug)]
pub(crate) struct Chat;

impl Wire for Chat {
    fn path(&self, _: &Provider) -> String {
        "/chat/completions".to_owned()
    }

    fn reserved(&self) -> &'static [&'static str] {
        &[
            "model",
            "messages",
            "tools",
            "tool_choice",
            "stream",
            "stream_options",
            "n",
            "max_tokens",
            "max_completion_tokens",
            "temperature",
            "response_format",
        ]
    }

    fn begin(&self, provider: &Provider, prompt: &Prompt, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"model\":");
        push(out, &provider.model);
        if !prompt.tools.is_empty() || !provider.provided_tools.is_empty() {
            let tool = |tool: &kernel::conversation::Tool| {
                json!({"type": "function", "function": {
                    "name": tool.name, "description": tool.description, "parameters": *tool.input,
                }})
            };
            let provided = provider.provided_tools.iter().cloned();
            let tools: Vec<Value> = prompt.tools.iter().map(tool).chain(provided).collect();
            push_field(out, "tools", &tools);
        }
        out.extend_from_slice(b",\"messages\":[");
    }

    fn tell(&self, provider: &Provider, prompt: &Prompt, history: &mut History) {
        if let Some(text) = super::instructions(prompt) {
            let role = match provider.quirks.system_role {
                SystemRole::System => "system",
                SystemRole::Developer => "developer",
            };
            push(history.message(), &json!({"role": role, "content": text}));
        }
        for stretch in super::stretches(provider, prompt) {
            match stretch {
                Stretch::Told { results, parts } => {
                    results.iter().for_each(|result| tell_result(result, history));
                    tell_parts(&parts, history);
                }
                Stretch::Said(items) => self.retell(items, history),
            }
        }
    }

    fn echo(&self, provider: &Provider, answer: &str, history: &mut History) -> Result<(), Error> {
        let message = message(&Doc::read(answer)?);
        let calls = calls(&message, &Ids::new(answer));
        let refusal = message.text("refusal").filter(|text| !text.is_empty());
        let out = history.message();
        out.extend_from_slice(b"{\"role\":\"assistant\",\"content\":");
        match (message.get("content"), refusal) {
            (_, Some(refusal)) => push(out, &json!([{"type": "refusal", "refusal": refusal}])),
            (Some(content), None) => push(out, content),
            (None, None) if calls.is_empty() => out.extend_from_slice(b"\"\""),
            (None, None) => out.extend_from_slice(b"null"),
        }
        for (name, value) in message.fields().filter(|(name, value)| echoes(provider, name, value))
        {
            push_field(out, name, value);
        }
        if let Some(id) = message.doc("audio").text("id") {
            push_field(out, "audio", &json!({"id": id}));
        }
        if !calls.is_empty() {
            push_field(out, "tool_calls", &calls.iter().map(Called::told).collect::<Vec<_>>());
        }
        out.push(b'}');
        Ok(())
    }

    fn retell(&self, items: &[Item], history: &mut History) {
        let (mut text, mut calls) = (Vec::new(), Vec::new());
        for item in items {
            match item {
                Item::Text { text: said } | Item::Refusal { text: said } => {
                    text.push(said.as_str())
                }
                Item::Call { id, name, arguments, .. } => {
                    let arguments = arguments.as_ref().map_or("{}".to_owned(), |a| a.to_string());
                    calls.push(json!({"id": id, "type": "function",
                        "function": {"name": name, "arguments": arguments}}));
                }
                Item::Reasoning { .. } | Item::Provided { .. } => {}
            }
        }
        if text.is_empty() && calls.is_empty() {
            return;
        }
        let content = if text.is_empty() { Value::Null } else { text.join("\n\n").into() };
        let mut message = json!({"role": "assistant", "content": content});
        if let Some(fields) = message.as_object_mut().filter(|_| !calls.is_empty()) {
            fields.insert("tool_calls".to_owned(), calls.into());
        }
        push(history.message(), &message);
    }

    fn end(&self, provider: &Provider, turn: &Turn, out: &mut Vec<u8>) {
        out.push(b']');
        match provider.quirks.max_tokens {
            MaxTokens::MaxCompletionTokens => {
                push_field(out, "max_completion_tokens", &turn.output_tokens_max);
            }
            MaxTokens::MaxTokens => push_field(out, "max_tokens", &turn.output_tokens_max),
            MaxTokens::Omitted => {}
        }
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
        if let Some(schema) = &turn.output {
            match provider.quirks.schema {
                SchemaSupport::Schema => {
                    let format = json!({"type": "json_schema", "json_schema": {
                        "name": "output", "schema": **schema, "strict": json::is_strict(schema),
                    }});
                    push_field(out, "response_format", &format);
                }
                SchemaSupport::Json => {
                    push_field(out, "response_format", &json!({"type": "json_object"}));
                }
                SchemaSupport::Told => {}
            }
        }
        if provider.is_streaming() {
            push_field(out, "stream", &true);
            if provider.quirks.stream_usage == Field::Sent {
                push_field(out, "stream_options", &json!({"include_usage": true}));
            }
        }
    }

    fn read(&self, answer: &str) -> Result<Answer, Error> {
        let doc = super::open(answer)?;
        let Some(choice) = doc.list("choices").first().map(|choice| Doc::of(choice)) else {
            return Err(Error::garbage("an answer without `choices`"));
        };
        if choice.get("message").is_none() {
            return Err(Error::garbage("a choice without `message`"));
        }
        let items = items(&choice.doc("message"), &Ids::new(answer));
        let said = match choice.text("finish_reason").as_deref() {
            Some("stop") => Stop::End,
            Some("tool_calls" | "function_call") => Stop::Tools,
            Some("length") => Stop::Length,
            Some("content_filter") => Stop::Refusal,
            _ => Stop::Other,
        };
        let stop = stop_of(&items, said);
        Ok(Answer { model: doc.text("model"), items, stop, usage: usage(&doc.doc("usage")) })
    }

    fn listen(&self) -> Box<dyn Listen> {
        Box::new(stream::Chunks::default())
    }
}

fn tell_result(result: &Outcome<'_>, history: &mut History) {
    let message = json!({"role": "tool", "tool_call_id": result.call, "content": result.content});
    push(history.message(), &message);
}

fn tell_parts(parts: &[Cow<'_, Part>], history: &mut History) {
    if parts.is_empty() {
        return;
    }
    let content = match only_text(parts) {
        Some(text) => Value::String(text),
        None => parts.iter().map(|part| content_part(part)).collect(),
    };
    push(history.message(), &json!({"role": "user", "content": content}));
}

fn content_part(part: &Part) -> Value {
    match part {
        Part::Text { text } => json!({"type": "text", "text": text}),
        Part::Image { media_type, data } => {
            json!({"type": "image_url", "image_url": {"url": data_url(media_type, data)}})
        }
        Part::Attached(file) => json!({"type": "text", "text": named(file)}),
        // Few servers take any file but a PDF.
        Part::File { name, media_type, data } => match text_of_file(media_type, data) {
            Some(text) => json!({"type": "text", "text": format!("{name}:\n{text}")}),
            None => json!({"type": "file", "file": {
                "filename": name, "file_data": data_url(media_type, data),
            }}),
        },
    }
}

/// The first choice's message.
fn message<'a>(answer: &Doc<'a>) -> Doc<'a> {
    answer.list("choices").first().map(|choice| Doc::of(choice).doc("message")).unwrap_or_default()
}

/// A tool call as the model wrote it.
struct Called {
    fields: Map<String, Value>,
    id: String,
    name: String,
    arguments: String,
}

impl Called {
    /// As it is told again: with an id, and with arguments that every server can read.
    fn told(&self) -> Value {
        let mut fields = self.fields.clone();
        fields.insert("id".to_owned(), self.id.clone().into());
        fields.entry("type").or_insert_with(|| "function".into());
        let arguments = Some(&self.arguments).filter(|text| json::is_object(text));
        if let Some(function) = fields.get_mut("function").and_then(Value::as_object_mut) {
            function.insert("arguments".to_owned(), arguments.map_or("{}", |text| text).into());
        }
        Value::Object(fields)
    }
}

fn calls(message: &Doc<'_>, ids: &Ids<'_>) -> Vec<Called> {
    let read = |(index, raw): (usize, &RawValue)| {
        let fields: Map<String, Value> = serde_json::from_str(raw.get()).ok()?;
        let function = fields.get("function")?;
        let id = fields.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
        let id = id.map_or_else(|| ids.at(index), str::to_owned);
        let name = function.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        // Some servers give an object where the wire has text.
        let arguments = match function.get("arguments") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        Some(Called { fields, id, name, arguments })
    };
    message.list("tool_calls").into_iter().enumerate().filter_map(read).collect()
}

/// Whether a field of the model's message goes back as it came; those we write ourselves do not.
fn echoes(provider: &Provider, name: &str, value: &RawValue) -> bool {
    if ["role", "content", "refusal", "tool_calls", "audio"].contains(&name) {
        return false;
    }
    let wanted = match &provider.quirks.echo {
        Echo::Whole => true,
        Echo::Only(names) => names.iter().any(|wanted| wanted == name),
    };
    wanted && !["null", "[]"].contains(&value.get())
}

fn items(message: &Doc<'_>, ids: &Ids<'_>) -> Vec<Item> {
    let mut items = Vec::new();
    // As DeepSeek and vLLM name it, or OpenRouter and Groq.
    let reasoning = message.text("reasoning_content").or_else(|| message.text("reasoning"));
    if let Some(text) = reasoning.filter(|text| !text.is_empty()) {
        items.push(Item::Reasoning { text });
    }
    match message.text("content") {
        Some(text) if text.is_empty() => {}
        Some(text) => items.push(Item::Text { text }),
        None => items.extend(message.list("content").into_iter().filter_map(part_item)),
    }
    if let Some(text) = message.text("refusal").filter(|text| !text.is_empty()) {
        items.push(Item::Refusal { text });
    }
    let called = calls(message, ids).into_iter();
    items.extend(called.map(|call| json::call(call.id, call.name, &call.arguments)));
    let provided = ["annotations", "executed_tools"].into_iter().flat_map(|name| {
        let list = message.list(name).into_iter();
        list.map(move |detail| json::provided(name.to_owned(), detail))
    });
    items.extend(provided);
    items
}

/// A content part of a message; Mistral's `thinking` parts hold text parts of their own.
fn part_item(raw: &RawValue) -> Option<Item> {
    let part = Doc::of(raw);
    match part.text("type")?.as_str() {
        "text" => Some(Item::Text { text: part.text("text")? }),
        "refusal" => Some(Item::Refusal { text: part.text("refusal")? }),
        "thinking" => {
            let texts =
                part.list("thinking").into_iter().filter_map(|raw| Doc::of(raw).text("text"));
            Some(Item::Reasoning { text: texts.collect() })
        }
        _ => None,
    }
}

fn usage(usage: &Doc<'_>) -> Usage {
    let read = usage.doc("prompt_tokens_details");
    let cached = read.count("cached_tokens").or_else(|| usage.count("prompt_cache_hit_tokens"));
    let written = usage.doc("completion_tokens_details");
    Usage {
        input: usage.count("prompt_tokens").unwrap_or_default(),
        cached: cached.unwrap_or_default(),
        cache_written: read.count("cache_write_tokens").unwrap_or_default(),
        output: usage.count("completion_tokens").unwrap_or_default(),
        reasoning: written.count("reasoning_tokens").unwrap_or_default(),
    }
}

/// What a piece of a message adds for those who listen.
fn deltas(delta: &Map<String, Value>, tell: &mut dyn FnMut(Delta<'_>)) {
    let text = |name: &str| delta.get(name).and_then(Value::as_str).filter(|t| !t.is_empty());
    if let Some(text) = text("reasoning_content").or_else(|| text("reasoning")) {
        tell(Delta::Reasoning(text));
    }
    if let Some(text) = text("content").or_else(|| text("refusal")) {
        tell(Delta::Text(text));
    }
    let calls = delta.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
    for name in calls.filter_map(|call| call.pointer("/function/name").and_then(Value::as_str)) {
        if !name.is_empty() {
            tell(Delta::Call(name));
        }
    }
}
