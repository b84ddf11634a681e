//! What a configuration file says about models: providers by name, and roles.
//!
//! ```toml
//! [models.providers.claude]
//! api = "anthropic"
//! url = "https://api.anthropic.com/v1"
//! model = "claude-sonnet-4-5"
//! clearance = "confidential"
//! tier = "contracted"
//! price = { currency = "USD", input = "3", cached = "0.30", cache_written = "3.75", output = "15" }
//!
//! [models.providers.local]
//! api = "openai"
//! url = "http://127.0.0.1:11434/v1"
//! model = "qwen3"
//! auth = "none"
//! clearance = "secret"
//! tier = "own"
//! quirks = { max_tokens = "max_tokens" }
//!
//! [models.roles.main]
//! providers = ["claude", "local"]
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    client::Client, error::Error, http::Http, key::Key, models::Builder, provider::Provider,
    role::Role,
};

/// Providers and roles as configured. Holds no key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Providers by name. A `name` of their own may be left out and must not differ.
    pub providers: BTreeMap<String, Provider>,
    /// Roles by name.
    pub roles: BTreeMap<String, Role>,
}

impl Settings {
    /// Clients for all providers, and the roles; `key` finds the key of a provider by its name.
    ///
    /// # Errors
    /// What `key` says, and [`Error::Config`] when a provider cannot work.
    pub fn builder(
        &self,
        http: &Http,
        key: impl Fn(&str) -> Result<Key, Error>,
    ) -> Result<Builder, Error> {
        let mut builder = Builder::default();
        for (name, provider) in &self.providers {
            if !provider.name.is_empty() && provider.name != *name {
                return Err(Error::config(format!(
                    "provider `{name}` calls itself `{}`",
                    provider.name
                )));
            }
            let provider = Provider { name: name.clone(), ..provider.clone() };
            builder = builder.client(Client::new(provider, key(name)?, http)?);
        }
        let roles = self.roles.iter();
        Ok(roles.fold(builder, |builder, (name, role)| builder.role(name, role.clone())))
    }
}
