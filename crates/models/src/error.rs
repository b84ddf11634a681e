//! What can go wrong between us and a model, and how the kernel hears of it.

use std::sync::Arc;

use kernel::{
    conversation::CONTEXT_TOO_LONG,
    exception::{Class, Landed},
    port::Failure,
};
use serde_json::json;

/// Longest message of a provider that is passed on, in characters.
pub const MESSAGE_MAX_CHARS: usize = 500;

/// A call that brought no reply. Messages of providers are outside text, cut to
/// [`MESSAGE_MAX_CHARS`]; none holds a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The provider does not know the key.
    #[error("the provider refused the key: {0}")]
    Auth(String),
    /// The key may not do this.
    #[error("the provider does not permit this: {0}")]
    Permission(String),
    /// The account is empty or its quota used up.
    #[error("the account at the provider is used up: {0}")]
    Quota(String),
    /// No such model or address.
    #[error("the provider does not know the model or the address: {0}")]
    NotFound(String),
    /// Too many calls.
    #[error("too many calls: {message}")]
    RateLimit {
        /// What the provider said.
        message: String,
        /// How long it asked us to wait, in milliseconds.
        retry_after_ms: Option<i64>,
    },
    /// The provider has more to do than it can.
    #[error("the provider is overloaded: {message}")]
    Overloaded {
        /// What the provider said.
        message: String,
        /// How long it asked us to wait, in milliseconds.
        retry_after_ms: Option<i64>,
    },
    /// The conversation is longer than the model can read.
    #[error("the conversation is too long for the model: {0}")]
    ContextTooLong(String),
    /// The provider refused the request.
    #[error("the provider refused the request: {0}")]
    BadRequest(String),
    /// The provider's filter refused what was said.
    #[error("the provider's filter refused what was said: {0}")]
    ContentFilter(String),
    /// No answer in time.
    #[error("no answer in time: {0}")]
    Timeout(String),
    /// Not reached, hung up or broken.
    #[error("the provider is not available: {message}")]
    Unavailable {
        /// What was seen.
        message: String,
        /// How long it asked us to wait, in milliseconds.
        retry_after_ms: Option<i64>,
    },
    /// An answer nobody can read.
    #[error("the answer cannot be read: {0}")]
    Garbage(String),
    /// More bytes than a limit of ours allows.
    #[error("too large: {0}")]
    TooLarge(String),
    /// The provider broke the call off.
    #[error("the call was cancelled: {0}")]
    Cancelled(String),
    /// Nothing left: the dispatch window had passed.
    #[error("too late to send: the dispatch window has passed, nothing left")]
    TooLate,
    /// No provider of the role may be shown this.
    #[error("no provider of the role may be asked: {0}")]
    NoProvider(String),
    /// The provider's entry does not say that it takes what the conversation holds.
    #[error("a file cannot be sent: {0}; add it to `takes` of the provider")]
    NotTaken(String),
    /// The thread is not one that can be told.
    #[error("the conversation cannot be told: {0}")]
    Thread(String),
    /// The recording does not hold this request.
    #[error("not in the recording: {0}")]
    Unrecorded(String),
    /// What is configured cannot work.
    #[error("the configuration cannot work: {0}")]
    Config(String),
}

impl Error {
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::Config(message.into())
    }

    pub(crate) fn garbage(message: impl AsRef<str>) -> Self {
        Self::Garbage(clip(message.as_ref()))
    }

    pub(crate) fn unavailable(message: impl AsRef<str>) -> Self {
        Self::Unavailable { message: clip(message.as_ref()), retry_after_ms: None }
    }

    /// A stable name of the kind of error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Auth(_) => "model_auth",
            Self::Permission(_) => "model_permission",
            Self::Quota(_) => "model_quota",
            Self::NotFound(_) => "model_not_found",
            Self::RateLimit { .. } => "model_rate_limit",
            Self::Overloaded { .. } => "model_overloaded",
            Self::ContextTooLong(_) => CONTEXT_TOO_LONG,
            Self::BadRequest(_) => "model_bad_request",
            Self::ContentFilter(_) => "model_content_filter",
            Self::Timeout(_) => "model_timeout",
            Self::Unavailable { .. } => "model_unavailable",
            Self::Garbage(_) => "model_garbage",
            Self::TooLarge(_) => "model_too_large",
            Self::Cancelled(_) => "model_cancelled",
            Self::TooLate => "model_too_late",
            Self::NoProvider(_) => "model_no_provider",
            Self::NotTaken(_) => "model_not_taken",
            Self::Thread(_) => "model_thread",
            Self::Unrecorded(_) => "model_unrecorded",
            Self::Config(_) => "model_config",
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Auth(_) => "check the provider's key",
            Self::Permission(_) => "ask for access to the model, or configure another one",
            Self::Quota(_) => "top up the account, or add a fallback provider",
            Self::NotFound(_) => "check `model`, `url` and `path` of the provider",
            Self::RateLimit { .. } => {
                "wait, lower the provider's `rate`, or add a fallback provider"
            }
            Self::Overloaded { .. } | Self::Unavailable { .. } | Self::Cancelled(_) => {
                "try again later, or add a fallback provider"
            }
            Self::ContextTooLong(_) => "compact the conversation, or use a model that reads more",
            Self::BadRequest(_) => "check the provider's `quirks` and `body` against its manual",
            Self::ContentFilter(_) => "look at what was said; another provider may answer",
            Self::Timeout(_) => "raise the role's `timeout_ms`, or add a fallback provider",
            Self::Garbage(_) => "check that `api` and `url` name the wire the server speaks",
            Self::TooLarge(_) => "say less at once, or ask for less",
            Self::TooLate => "nothing; the call is made again",
            Self::NoProvider(_) => "give the role a provider whose `clearance` and `tier` suffice",
            Self::NotTaken(_) => "say what the model can read in `takes` of its provider",
            Self::Thread(_) => "report this: a conversation must begin with a prompt",
            Self::Unrecorded(_) => "record the conversation again",
            Self::Config(_) => "correct the configuration",
        }
    }

    /// Whether another provider could do better: nothing was said, or nobody was there.
    #[must_use]
    pub fn may_fall_back(&self) -> bool {
        match self {
            Self::RateLimit { .. }
            | Self::Overloaded { .. }
            | Self::Timeout(_)
            | Self::Unavailable { .. }
            | Self::Quota(_)
            | Self::NotTaken(_)
            | Self::Cancelled(_) => true,
            Self::Auth(_)
            | Self::Permission(_)
            | Self::NotFound(_)
            | Self::ContextTooLong(_)
            | Self::BadRequest(_)
            | Self::ContentFilter(_)
            | Self::Garbage(_)
            | Self::TooLarge(_)
            | Self::TooLate
            | Self::NoProvider(_)
            | Self::Thread(_)
            | Self::Unrecorded(_)
            | Self::Config(_) => false,
        }
    }

    /// How long the provider asked us to wait, in milliseconds.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<i64> {
        match self {
            Self::RateLimit { retry_after_ms, .. }
            | Self::Overloaded { retry_after_ms, .. }
            | Self::Unavailable { retry_after_ms, .. } => *retry_after_ms,
            _ => None,
        }
    }

    /// The kernel's class of it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::RateLimit { .. } => Class::RateLimit,
            Self::Overloaded { .. } | Self::Unavailable { .. } | Self::Cancelled(_) => {
                Class::Unavailable
            }
            Self::Timeout(_) | Self::TooLate => Class::Timeout,
            Self::Auth(_) | Self::Permission(_) | Self::Quota(_) => Class::Permission,
            Self::NoProvider(_) => Class::PolicyError,
            Self::Garbage(_) | Self::TooLarge(_) => Class::UnexpectedShape,
            Self::NotFound(_)
            | Self::ContextTooLong(_)
            | Self::BadRequest(_)
            | Self::ContentFilter(_)
            | Self::NotTaken(_)
            | Self::Thread(_)
            | Self::Unrecorded(_)
            | Self::Config(_) => Class::InvalidArguments,
        }
    }

    /// As the kernel hears of it: asking a model changes nothing, so nothing ever landed.
    #[must_use]
    pub fn into_failure(self, provider: &str) -> Failure {
        Failure {
            class: self.class(),
            landed: Landed::No,
            message: format!("{provider}: {self}"),
            retry_after_ms: self.retry_after_ms(),
            sample: Some(Arc::new(json!({
                "code": self.code(),
                "provider": provider,
                "next_step": self.next_step(),
            }))),
        }
    }
}

/// At most [`MESSAGE_MAX_CHARS`] characters, control characters replaced.
pub(crate) fn clip(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut clipped: String = text.chars().take(MESSAGE_MAX_CHARS).map(clean).collect();
    if text.chars().nth(MESSAGE_MAX_CHARS).is_some() {
        clipped.push('…');
    }
    clipped
}
