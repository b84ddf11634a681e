//! Model wires: OpenAI Chat Completions and Responses, Anthropic Messages, Gemini; behind
//! `kernel::port::Connector` as the operations `model.<role>`.
//!
//! It must not know: policy, storage, planners, other connectors. It reads what to say from a
//! `kernel::gate::Permit` and nothing else. A key never leaves it but as a request header: not in an
//! output, an error, a log, a cassette.
//!
//! Start with [`Models`]: roles, each an ordered list of providers. A provider is configuration
//! ([`Provider`]) on one of four dialects ([`ApiKind`]); one `Client` speaks to one provider. What
//! implements [`Model`] can stand behind a role: [`Client`], [`ScriptedModel`], [`Cassette`].
//!
//! A conversation is kept as the bytes of its next request and only appended to (`buffer.rs`); whoever
//! has lost them builds the same bytes again from the `Thread`. A dialect is one file in `wire/` that
//! writes what is new, reads an answer and puts a stream together; it does no IO.

mod ask;
mod attached;
mod buffer;
mod cassette;
mod client;
pub mod clock;
mod embed;
mod error;
mod gauge;
mod http;
mod json;
mod key;
mod models;
mod price;
mod provider;
mod reading;
mod role;
mod scripted;
mod settings;
mod shelf;
mod sse;
mod status;
mod wire;

pub use ask::{Ask, Delta, Embedded, Model, Progress, Speaking};
pub use attached::{Contents, Files};
pub use cassette::{Cassette, Order};
pub use client::{Client, REQUEST_MAX_BYTES};
pub use embed::TEXTS_MAX;
pub use error::{Error, MESSAGE_MAX_CHARS};
pub use gauge::Breaker;
pub use http::{CONNECTIONS_MAX, Http};
pub use key::Key;
pub use models::{Builder, Health, Models, PROVIDERS_MAX};
pub use price::{PerMillion, Price};
pub use provider::{
    ApiKind, Auth, Echo, Field, MaxTokens, Plaintext, Provider, Quirks, SchemaSupport, Streaming,
    SystemRole, Tier,
};
pub use reading::BODY_MAX_BYTES;
#[doc(hidden)]
pub use reading::fuzzing;
pub use role::{Purpose, Role, TIMEOUT_DEFAULT_MS, Terms, Weaker};
pub use scripted::{Line, SCRIPTED_WIRE, ScriptedModel};
pub use settings::Settings;
