//! Roles: which providers are asked for what, in which order, on which terms.

use std::collections::BTreeSet;

use kernel::{attachment::Kind, label::Confidentiality, operation::Rate};
use serde::{Deserialize, Serialize};

use crate::{
    gauge::Breaker,
    price::Price,
    provider::{Provider, Tier},
};

/// How long a model call may take when its role does not say, in milliseconds.
pub const TIMEOUT_DEFAULT_MS: u32 = 180_000;

/// What a role is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Conversations.
    #[default]
    Converse,
    /// Texts as vectors.
    Embed,
}

/// Whether a fallback may go to a provider that is trusted less than the role's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weaker {
    /// Never.
    #[default]
    Never,
    /// Where its clearance suffices.
    Allowed,
}

/// Who is asked under one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Names of providers, the first one first.
    pub providers: Vec<String>,
    /// Whether a fallback may be trusted less.
    #[serde(default)]
    pub weaker: Weaker,
    /// How long a call may take, all tries together, in milliseconds.
    #[serde(default = "timeout_default_ms")]
    pub timeout_ms: u32,
    /// What it is asked for.
    #[serde(default)]
    pub purpose: Purpose,
}

fn timeout_default_ms() -> u32 {
    TIMEOUT_DEFAULT_MS
}

impl Role {
    /// A role for conversations with these providers, in this order.
    #[must_use]
    pub fn of(providers: &[&str]) -> Self {
        Self {
            providers: providers.iter().map(|name| (*name).to_owned()).collect(),
            weaker: Weaker::Never,
            timeout_ms: TIMEOUT_DEFAULT_MS,
            purpose: Purpose::Converse,
        }
    }
}

/// On which terms a provider is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The most confidential thing that may be shown to it.
    pub clearance: Confidentiality,
    /// How far it is trusted.
    pub tier: Tier,
    /// How often it may be asked.
    pub rate: Option<Rate>,
    /// When it is left alone.
    pub breaker: Breaker,
    /// What it costs.
    pub price: Option<Price>,
    /// Most tokens it can read.
    pub context_tokens_max: Option<u64>,
    /// Most tokens it can answer with.
    pub output_tokens_max: Option<u32>,
    /// How many tools it runs on its own side.
    pub provided_tools: usize,
    /// What it can be sent beside text.
    pub takes: BTreeSet<Kind>,
}

impl Terms {
    /// Terms of something on this machine that costs nothing: a scripted model, a cassette.
    #[must_use]
    pub fn own() -> Self {
        Self {
            clearance: Confidentiality::Secret,
            tier: Tier::Own,
            rate: None,
            breaker: Breaker::default(),
            price: None,
            context_tokens_max: None,
            output_tokens_max: None,
            provided_tools: 0,
            takes: BTreeSet::from([Kind::Image, Kind::Pdf]),
        }
    }
}

impl From<&Provider> for Terms {
    fn from(provider: &Provider) -> Self {
        Self {
            clearance: provider.clearance,
            tier: provider.tier,
            rate: provider.rate,
            breaker: provider.breaker,
            price: provider.price,
            context_tokens_max: provider.context_tokens_max,
            output_tokens_max: provider.output_tokens_max,
            provided_tools: provider.provided_tools.len(),
            takes: provider.takes.clone(),
        }
    }
}
