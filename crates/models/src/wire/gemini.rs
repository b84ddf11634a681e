//! Gemini `generateContent`.
//!
//! After the types of the `google-genai` Python package. Parts go back as they came, with their thought
//! signatures. Calls may come without an id; those we name ourselves are told without one again. Calls
//! of another model carry the signature that the API's manual gives for history it did not write
//! (ai.google.dev, "Thought signatures").

use kernel::conversation::{Item, Part, Prompt, Stop, ToolChoice, Usage};
use serde_json::{Map, Value, json, value::RawValue};

use super::{Answer, Ids, Listen, OWN_ID, Outcome, Stretch, Wire, stop_of};
use crate::{
    attached::named,
    buffer::{History, Turn},
    error::Error,
    json::{self, Doc, push, push_field},
    provider::{Provider, SchemaSupport},
};

mod stream;

/// What stands for a signature that another model never gave.
const FOREIGN_SIGNATURE: &str = "skip_thought_signature_validator";

#[derive(Debug)]
pub(crate) struct Gemini;

impl Wire for Gemini {
    fn path(&self, provider: &Provider) -> String {
        let folder = if provider.model.contains('/') { "" } else { "models/" };
        let verb = match provider.is_streaming() {
            true => "streamGenerateContent?alt=sse",
            false => "generateContent",
        };
        format!("/{folder}{}:{verb}", provider.model)
    }

    fn reserved(&self) -> &'static [&'static str] {
        &["contents", "systemInstruction", "tools", "toolConfig"]
    }

    fn merges(&self, field: &str) -> bool {
        field == "generationConfig"
    }

    fn begin(&self, provider: &Provider, prompt: &Prompt, out: &mut Vec<u8>) {
        let tool = |tool: &kernel::conversation::Tool| {
            json!({"name": tool.name, "description": tool.description,
                "parametersJsonSchema": *tool.input})
        };
        let mut tools = Vec::new();
        if !prompt.tools.is_empty() {
            let ours: Vec<Value> = prompt.tools.iter().map(tool).collect();
            tools.push(json!({"functionDeclarations": ours}));
        }
        tools.extend(provider.provided_tools.iter().cloned());
        out.push(b'{');
        if !tools.is_empty() {
            out.extend_from_slice(b"\"tools\":");
            push(out, &tools);
            out.push(b',');
        }
        if let Some(text) = super::instructions(prompt) {
            out.extend_from_slice(b"\"systemInstruction\":");
            push(out, &json!({"parts": [{"text": text}]}));
            out.push(b',');
        }
        out.extend_from_slice(b"\"contents\":[");
    }

    fn tell(&self, provider: &Provider, prompt: &Prompt, history: &mut History) {
        for stretch in super::stretches(provider, prompt) {
            match stretch {
                Stretch::Told { results, parts } => {
                    let told = results.iter().map(result_part);
                    let parts: Vec<Value> =
                        told.chain(parts.iter().map(|part| told_part(part))).collect();
                    push(history.message(), &json!({"role": "user", "parts": parts}));
                }
                Stretch::Said(items) => self.retell(items, history),
            }
        }
    }

    fn echo(&self, _: &Provider, answer: &str, history: &mut History) -> Result<(), Error> {
        let doc = Doc::read(answer)?;
        let content = candidate(&doc).ok_or_else(|| Error::garbage("no candidate"))?.doc("content");
        let parts = content.list("parts").into_iter().filter(|part| says(part));
        let parts: Vec<&RawValue> = parts.collect();
        if !parts.is_empty() {
            let out = history.message();
            out.extend_from_slice(b"{\"role\":\"model\",\"parts\":");
            push(out, &parts);
            out.push(b'}');
        }
        Ok(())
    }

    fn retell(&self, items: &[Item], history: &mut History) {
        let mut parts = Vec::new();
        let mut signature = Some(FOREIGN_SIGNATURE);
        for item in items {
            match item {
                Item::Text { text } | Item::Refusal { text } => parts.push(json!({"text": text})),
                Item::Call { id, name, arguments, .. } => {
                    let args = arguments.as_ref().filter(|value| value.is_object());
                    let args = args.map_or_else(|| json!({}), |value| (**value).clone());
                    let mut call = with_id(id, json!({"name": name, "args": args}));
                    call = json!({"functionCall": call});
                    // Of calls made at once only the first carries one.
                    if let (Some(fields), Some(text)) = (call.as_object_mut(), signature.take()) {
                        fields.insert("thoughtSignature".to_owned(), text.into());
                    }
                    parts.push(call);
                }
                Item::Reasoning { .. } | Item::Provided { .. } => {}
            }
        }
        if !parts.is_empty() {
            push(history.message(), &json!({"role": "model", "parts": parts}));
        }
    }

    fn end(&self, provider: &Provider, turn: &Turn, out: &mut Vec<u8>) {
        out.push(b']');
        let configured = provider.body.get("generationConfig").and_then(Value::as_object);
        let mut config: Map<String, Value> = configured.cloned().unwrap_or_default();
        config.insert("maxOutputTokens".to_owned(), turn.output_tokens_max.into());
        if let Some(temperature) = provider.temperature(turn.temperature_milli) {
            config.insert("temperature".to_owned(), json::milli(temperature));
        }
        if let Some(schema) = &turn.output {
            let is_held = provider.quirks.schema != SchemaSupport::Told;
            let kind = is_held.then(|| ("responseMimeType".to_owned(), "application/json".into()));
            config.extend(kind);
            if provider.quirks.schema == SchemaSupport::Schema {
                config.insert("responseJsonSchema".to_owned(), (**schema).clone());
            }
        }
        push_field(out, "generationConfig", &config);
        let mode = match turn.tool_choice {
            _ if !turn.offers_tools => return,
            ToolChoice::Auto => return,
            ToolChoice::Required => "ANY",
            ToolChoice::None => "NONE",
        };
        push_field(out, "toolConfig", &json!({"functionCallingConfig": {"mode": mode}}));
    }

    fn read(&self, answer: &str) -> Result<Answer, Error> {
        let doc = super::open(answer)?;
        let Some(candidate) = candidate(&doc) else {
            let blocked = doc.doc("promptFeedback");
            return Err(match blocked.text("blockReason") {
                Some(why) => {
                    Error::ContentFilter(blocked.text("blockReasonMessage").unwrap_or(why))
                }
                None => Error::garbage("an answer without `candidates`"),
            });
        };
        let (mut items, ids) = (Vec::new(), Ids::new(answer));
        for (index, raw) in candidate.doc("content").list("parts").into_iter().enumerate() {
            add_part(raw, &ids, index, &mut items);
        }
        if let Some(grounding) = candidate.get("groundingMetadata") {
            items.push(json::provided("groundingMetadata".to_owned(), grounding));
        }
        let said = match candidate.text("finishReason").as_deref() {
            Some("STOP") => Stop::End,
            Some("MAX_TOKENS") => Stop::Length,
            Some(
                "SAFETY"
                | "RECITATION"
                | "BLOCKLIST"
                | "PROHIBITED_CONTENT"
                | "SPII"
                | "IMAGE_SAFETY"
                | "IMAGE_PROHIBITED_CONTENT"
                | "IMAGE_RECITATION"
                | "MODEL_ARMOR",
            ) => Stop::Refusal,
            _ => Stop::Other,
        };
        let stop = stop_of(&items, said);
        let usage = usage(&doc.doc("usageMetadata"));
        Ok(Answer { model: doc.text("modelVersion"), items, stop, usage })
    }

    fn listen(&self) -> Box<dyn Listen> {
        Box::new(stream::Chunks::default())
    }
}

fn candidate<'a>(answer: &Doc<'a>) -> Option<Doc<'a>> {
    answer.list("candidates").first().map(|raw| Doc::of(raw))
}

/// Whether a part may go back: streams end with empty text, which the API does not take. Empty text
/// that carries a signature is another thing.
fn says(raw: &RawValue) -> bool {
    let part = Doc::of(raw);
    let is_plain = part.fields().all(|(name, _)| ["text", "thought"].contains(&name));
    !is_plain || part.text("text").is_some_and(|text| !text.is_empty())
}

fn with_id(id: &str, mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut().filter(|_| !id.starts_with(OWN_ID)) {
        fields.insert("id".to_owned(), id.into());
    }
    value
}

fn result_part(result: &Outcome<'_>) -> Value {
    let kind = if result.is_error { "error" } else { "output" };
    let response = json!({"name": result.name, "response": {kind: result.content}});
    json!({"functionResponse": with_id(result.call, response)})
}

fn told_part(part: &Part) -> Value {
    match part {
        Part::Text { text } => json!({"text": text}),
        Part::Attached(file) => json!({"text": named(file)}),
        Part::Image { media_type, data } | Part::File { media_type, data, .. } => {
            json!({"inlineData": {"mimeType": media_type, "data": data}})
        }
    }
}

fn add_part(raw: &RawValue, ids: &Ids<'_>, index: usize, items: &mut Vec<Item>) {
    let part = Doc::of(raw);
    if let Some(call) = part.get("functionCall").map(Doc::of) {
        let id = call.text("id").filter(|id| !id.is_empty());
        let id = id.unwrap_or_else(|| ids.at(index));
        let args = call.get("args").map_or("", RawValue::get);
        items.push(json::call(id, call.text("name").unwrap_or_default(), args));
        return;
    }
    let Some(text) = part.text("text") else {
        let known = ["thought", "thoughtSignature"];
        let name = part.fields().map(|(name, _)| name).find(|name| !known.contains(name));
        items.extend(name.map(|name| json::provided(name.to_owned(), raw)));
        return;
    };
    match (items.last_mut(), part.is_true("thought")) {
        _ if text.is_empty() => {}
        (Some(Item::Reasoning { text: known }), true)
        | (Some(Item::Text { text: known }), false) => known.push_str(&text),
        (_, true) => items.push(Item::Reasoning { text }),
        (_, false) => items.push(Item::Text { text }),
    }
}

fn usage(usage: &Doc<'_>) -> Usage {
    let count = |name: &str| usage.count(name).unwrap_or_default();
    let thoughts = count("thoughtsTokenCount");
    Usage {
        input: count("promptTokenCount").saturating_add(count("toolUsePromptTokenCount")),
        cached: count("cachedContentTokenCount"),
        cache_written: 0,
        output: count("candidatesTokenCount").saturating_add(thoughts),
        reasoning: thoughts,
    }
}
