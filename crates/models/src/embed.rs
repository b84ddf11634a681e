//! Texts as vectors: the `/embeddings` of the OpenAI wire, the `batchEmbedContents` of Gemini. The
//! Anthropic wire has none.

use bytes::Bytes;
use kernel::conversation::Usage;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    error::Error,
    json::push,
    provider::{ApiKind, Provider},
};

/// Most texts of one call.
pub const TEXTS_MAX: usize = 2_048;

/// Where they are sent, and what.
pub(crate) fn request(provider: &Provider, texts: &[String]) -> Result<(String, Bytes), Error> {
    if texts.len() > TEXTS_MAX {
        return Err(Error::TooLarge(format!("more than {TEXTS_MAX} texts in one call")));
    }
    let model = &provider.model;
    let (path, mut body) = match provider.api {
        ApiKind::OpenAi | ApiKind::OpenAiResponses => (
            "/embeddings".to_owned(),
            json!({"model": model, "input": texts, "encoding_format": "float"}),
        ),
        ApiKind::Gemini => {
            let model = if model.contains('/') { model.clone() } else { format!("models/{model}") };
            let content = |text: &String| json!({"parts": [{"text": text}]});
            let requests =
                texts.iter().map(|text| json!({"model": model, "content": content(text)}));
            let requests: Vec<Value> = requests.collect();
            (format!("/{model}:batchEmbedContents"), json!({"requests": requests}))
        }
        ApiKind::Anthropic => {
            return Err(Error::config("the anthropic wire has no embeddings"));
        }
    };
    if let Some(fields) = body.as_object_mut() {
        fields.extend(provider.body.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    let mut bytes = Vec::new();
    push(&mut bytes, &body);
    let path = provider.path.clone().unwrap_or(path);
    Ok((format!("{}{path}", provider.url.trim_end_matches('/')), bytes.into()))
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    index: Option<usize>,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct Values {
    values: Vec<f32>,
}

/// What an answer holds.
pub(crate) struct Answer {
    /// In the order of the texts.
    pub(crate) vectors: Vec<Vec<f32>>,
    pub(crate) usage: Usage,
    pub(crate) model: Option<String>,
}

/// Reads an answer to `count` texts.
pub(crate) fn read(api: ApiKind, answer: &str, count: usize) -> Result<Answer, Error> {
    let doc = crate::wire::open(answer)?;
    let bad = |e: serde_json::Error| Error::garbage(format!("vectors that are none: {e}"));
    let vectors: Vec<Vec<f32>> = match api {
        ApiKind::Gemini => {
            let list = doc.get("embeddings").map_or("[]", |raw| raw.get());
            let list: Vec<Values> = serde_json::from_str(list).map_err(bad)?;
            list.into_iter().map(|vector| vector.values).collect()
        }
        ApiKind::OpenAi | ApiKind::OpenAiResponses | ApiKind::Anthropic => {
            let list = doc.get("data").map_or("[]", |raw| raw.get());
            let mut list: Vec<Listed> = serde_json::from_str(list).map_err(bad)?;
            list.sort_by_key(|vector| vector.index);
            list.into_iter().map(|vector| vector.embedding).collect()
        }
    };
    if vectors.len() != count {
        return Err(Error::garbage(format!("{} vectors for {count} texts", vectors.len())));
    }
    let (usage, metadata) = (doc.doc("usage"), doc.doc("usageMetadata"));
    let read = usage.count("prompt_tokens").or_else(|| metadata.count("promptTokenCount"));
    let usage = Usage { input: read.unwrap_or_default(), ..Usage::default() };
    Ok(Answer { vectors, usage, model: doc.text("model") })
}
