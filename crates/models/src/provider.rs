//! What is configured about one provider. A server on a known wire is only configuration.
//!
//! Usual base addresses: `https://api.openai.com/v1`, `https://api.anthropic.com/v1`,
//! `https://generativelanguage.googleapis.com/v1beta`; on the OpenAI Chat wire
//! `http://127.0.0.1:11434/v1` (Ollama), `http://127.0.0.1:8000/v1` (vLLM),
//! `https://openrouter.ai/api/v1`, `https://api.groq.com/openai/v1`, `https://api.mistral.ai/v1`,
//! `https://api.deepseek.com`; for Azure the resource's address with a `path` and a key header.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use kernel::{attachment::Kind, label::Confidentiality, operation::Rate};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    client::Client, error::Error, gauge::Breaker, http::Http, key::Key, price::Price, wire,
};

/// The dialects this crate speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ApiKind {
    /// OpenAI Chat Completions, and the many servers that speak it.
    #[serde(rename = "openai")]
    OpenAi,
    /// OpenAI Responses.
    #[serde(rename = "openai_responses")]
    OpenAiResponses,
    /// Anthropic Messages.
    #[serde(rename = "anthropic")]
    Anthropic,
    /// Gemini `generateContent`.
    #[serde(rename = "gemini")]
    Gemini,
}

impl ApiKind {
    /// Every dialect.
    pub const ALL: [Self; 4] = [Self::OpenAi, Self::OpenAiResponses, Self::Anthropic, Self::Gemini];

    /// The name used in configuration, and in [`kernel::conversation::Reply::wire`].
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::OpenAiResponses => "openai_responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
        }
    }

    /// A client for `model` at `url`, everything else at its usual value.
    ///
    /// # Errors
    /// [`Error::Config`] when the address or the key cannot be used.
    pub fn build(self, url: &str, model: &str, key: Key) -> Result<Client, Error> {
        Client::new(Provider::new(self.name(), self, url, model), key, &Http::default())
    }
}

impl fmt::Display for ApiKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a key is shown to a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// `Authorization: Bearer …`.
    Bearer,
    /// In a header of this name, such as `api-key`, `x-api-key` or `x-goog-api-key`.
    Header(String),
    /// Not at all.
    None,
}

/// Whether an address without TLS may be used beyond this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plaintext {
    /// Only to a loopback address.
    #[default]
    Loopback,
    /// Anywhere: what is said and the key travel readable.
    Allowed,
}

/// Whether answers are asked for as streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Streaming {
    /// As a stream: long answers show progress and no proxy between gives up on them.
    #[default]
    On,
    /// In one piece.
    Off,
}

/// Where what is said may go: from the most to the least trusted.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// A machine of our own.
    Own,
    /// A provider under a contract that covers what is sent to it.
    Contracted,
    /// Anybody else.
    #[default]
    Public,
}

/// Whether a field that not every server takes is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// Sent.
    #[default]
    Sent,
    /// Left out.
    Omitted,
}

/// What the limit of an answer is called on the Chat wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokens {
    /// `max_completion_tokens`.
    #[default]
    MaxCompletionTokens,
    /// `max_tokens`, as older servers call it.
    MaxTokens,
    /// It is not sent.
    Omitted,
}

/// Whose word standing instructions are on the Chat wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SystemRole {
    /// `system`.
    #[default]
    System,
    /// `developer`.
    Developer,
}

/// How an answer is held to a JSON Schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaSupport {
    /// The provider holds it to the schema.
    #[default]
    Schema,
    /// The provider holds it to being JSON; the schema is told in words.
    Json,
    /// The schema is told in words only.
    Told,
}

/// How much of a model's own message is sent back to it on the Chat wire.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Echo {
    /// Every field it came with, known to us or not.
    #[default]
    Whole,
    /// Beside `role`, `content` and `tool_calls` only these: for servers that refuse what they sent.
    Only(Vec<String>),
}

/// Where a server differs from the wire it speaks.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    /// What the limit of an answer is called.
    pub max_tokens: MaxTokens,
    /// Whose word standing instructions are.
    pub system_role: SystemRole,
    /// How an answer is held to a schema.
    pub schema: SchemaSupport,
    /// `stream_options.include_usage`.
    pub stream_usage: Field,
    /// The temperature, which many models refuse; absent = sent but on the Anthropic wire, whose
    /// current requests have no such field.
    pub temperature: Option<Field>,
    /// On the Responses wire: asking for sealed reasoning, which only reasoning models give.
    pub sealed_reasoning: Field,
    /// On the Anthropic wire: cache breakpoints.
    pub cache_marks: Field,
    /// How much of the model's own message is sent back.
    pub echo: Echo,
}

/// One configured provider and the model asked there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// What it is called here: in roles, replies and output.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The dialect.
    pub api: ApiKind,
    /// The base address, as far as the version: `https://host/v1`.
    pub url: String,
    /// The model, as the provider names it.
    pub model: String,
    /// What follows the base address, query included, instead of the wire's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How the key is shown; absent = as the wire has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Further request headers. Never keys: those stand here readable.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// A header that takes the key of the effect, for servers that deduplicate on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_header: Option<String>,
    /// Whether the address may do without TLS.
    #[serde(default)]
    pub plaintext: Plaintext,
    /// Whether answers come as streams.
    #[serde(default)]
    pub streaming: Streaming,
    /// Where it differs from its wire.
    #[serde(default)]
    pub quirks: Quirks,
    /// Further fields of every request body, such as `{"reasoning_effort": "low"}`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub body: Map<String, Value>,
    /// Tools that the provider runs on its own side, in its own form, such as
    /// `{"type": "web_search"}`: offered in every conversation beside ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provided_tools: Vec<Value>,
    /// Most tokens it can answer with; a prompt that asks for more gets this. Absent = a million, where
    /// the most that a call can cost is worked out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_max: Option<u32>,
    /// Most tokens it can read; absent = a million, for the same purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_tokens_max: Option<u64>,
    /// The most confidential thing that may be shown to it; undeclared = only what is public.
    #[serde(default = "public")]
    pub clearance: Confidentiality,
    /// How far it is trusted; undeclared = least.
    #[serde(default)]
    pub tier: Tier,
    /// What it can be sent beside text; absent = nothing. Only `image` and `pdf` make sense.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub takes: BTreeSet<Kind>,
    /// How often it may be asked; absent = as often as it bears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Most calls that are on their way to it at a time; whoever comes later waits within its own
    /// timeout. Absent = [`CONNECTIONS_MAX`](crate::CONNECTIONS_MAX).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_max: Option<u16>,
    /// When it is left alone because nobody answers.
    #[serde(default)]
    pub breaker: Breaker,
    /// What it costs; absent = nothing is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
}

fn public() -> Confidentiality {
    Confidentiality::Public
}

impl Provider {
    /// A provider with everything else at its usual, strictest value.
    #[must_use]
    pub fn new(name: &str, api: ApiKind, url: &str, model: &str) -> Self {
        Self {
            name: name.to_owned(),
            api,
            url: url.to_owned(),
            model: model.to_owned(),
            path: None,
            auth: None,
            headers: BTreeMap::new(),
            idempotency_header: None,
            plaintext: Plaintext::Loopback,
            streaming: Streaming::On,
            quirks: Quirks::default(),
            body: Map::new(),
            provided_tools: Vec::new(),
            output_tokens_max: None,
            context_tokens_max: None,
            clearance: Confidentiality::Public,
            tier: Tier::Public,
            takes: BTreeSet::new(),
            rate: None,
            connections_max: None,
            breaker: Breaker::default(),
            price: None,
        }
    }

    /// The address that is asked.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let path = self.path.clone().unwrap_or_else(|| wire::of(self.api).path(self));
        format!("{}{path}", self.url.trim_end_matches('/'))
    }

    /// Whether it can be sent a file of this kind.
    pub(crate) fn takes(&self, kind: Kind) -> bool {
        kind == Kind::Text || self.takes.contains(&kind)
    }

    pub(crate) fn auth(&self) -> Auth {
        self.auth.clone().unwrap_or_else(|| match self.api {
            ApiKind::OpenAi | ApiKind::OpenAiResponses => Auth::Bearer,
            ApiKind::Anthropic => Auth::Header("x-api-key".to_owned()),
            ApiKind::Gemini => Auth::Header("x-goog-api-key".to_owned()),
        })
    }

    /// The temperature to send, if any.
    pub(crate) fn temperature(&self, asked_milli: Option<u32>) -> Option<u32> {
        let usual = match self.api {
            ApiKind::Anthropic => Field::Omitted,
            ApiKind::OpenAi | ApiKind::OpenAiResponses | ApiKind::Gemini => Field::Sent,
        };
        let field = self.quirks.temperature.unwrap_or(usual);
        asked_milli.filter(|_| field == Field::Sent)
    }

    pub(crate) fn is_streaming(&self) -> bool {
        self.streaming == Streaming::On
    }

    /// Fields of [`Self::body`] that the wire writes itself.
    pub(crate) fn check_body(&self) -> Result<(), Error> {
        let reserved = wire::of(self.api).reserved();
        match self.body.keys().find(|name| reserved.contains(&name.as_str())) {
            Some(name) => Err(Error::config(format!(
                "`body.{name}` of provider `{}` is written by the {} wire itself",
                self.name, self.api
            ))),
            None => Ok(()),
        }
    }
}
