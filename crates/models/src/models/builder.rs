//! Puts providers and roles together, and refuses what cannot work.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use kernel::{conversation::Usage, operation::TIMEOUT_MAX_MS};

use super::{Member, Models, State};
use crate::{
    ask::{Model, Progress},
    attached::Files,
    clock::{Clock, SystemClock},
    error::Error,
    gauge::Gauge,
    role::{Role, Terms},
};

/// Most providers a role may name.
pub const PROVIDERS_MAX: usize = 16;

/// Puts providers and roles together.
#[derive(Debug, Default)]
pub struct Builder {
    members: BTreeMap<String, (Arc<dyn Model>, Terms)>,
    roles: BTreeMap<String, Role>,
    progress: Option<Arc<dyn Progress>>,
    files: Option<Arc<dyn Files>>,
    clock: Option<Arc<dyn Clock>>,
}

impl Builder {
    /// A provider over HTTP, on the terms it is configured with.
    #[must_use]
    pub fn client(self, client: crate::Client) -> Self {
        let terms = Terms::from(client.provider());
        self.model(Arc::new(client), terms)
    }

    /// Anything else that answers, on these terms.
    #[must_use]
    pub fn model(mut self, model: Arc<dyn Model>, terms: Terms) -> Self {
        self.members.insert(model.name().to_owned(), (model, terms));
        self
    }

    /// A role, such as `main`, `small`, `judge` or `embed`.
    #[must_use]
    pub fn role(mut self, name: &str, role: Role) -> Self {
        self.roles.insert(name.to_owned(), role);
        self
    }

    /// Who listens to every conversation.
    #[must_use]
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Who reads the files that conversations name; nobody where none is given.
    #[must_use]
    pub fn files(mut self, files: Arc<dyn Files>) -> Self {
        self.files = Some(files);
        self
    }

    /// The clock to go by; the system's where none is given.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Checks and puts together.
    ///
    /// # Errors
    /// [`Error::Config`] when a role names no provider, an unknown one or has an impossible name, or
    /// when prices are in different currencies.
    pub fn build(self) -> Result<Models, Error> {
        for (name, role) in &self.roles {
            check_role(name, role)?;
            if let Some(stranger) = role.providers.iter().find(|p| !self.members.contains_key(*p)) {
                return Err(Error::config(format!(
                    "role `{name}` names unknown provider `{stranger}`"
                )));
            }
        }
        let prices = self.members.values().filter_map(|(_, terms)| terms.price);
        let mut currencies: Vec<_> = prices.map(|price| price.currency).collect();
        currencies.dedup();
        if currencies.len() > 1 {
            return Err(Error::config("prices must all be in the currency of the budget"));
        }
        let member = |(name, (model, terms)): (String, (Arc<dyn Model>, Terms))| {
            let gauge = Gauge::new(terms.rate, terms.breaker);
            let state = Mutex::new(State {
                gauge,
                calls: 0,
                failed: 0,
                usage: Usage::default(),
                last: None,
            });
            (name, Member { model, terms, state })
        };
        Ok(Models {
            members: self.members.into_iter().map(member).collect(),
            roles: self.roles,
            progress: self.progress,
            files: self.files,
            clock: self.clock.unwrap_or_else(|| Arc::new(SystemClock)),
            failed: Mutex::default(),
        })
    }
}

fn check_role(name: &str, role: &Role) -> Result<(), Error> {
    let bad = |why: &str| Err(Error::config(format!("role `{name}` {why}")));
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || name.len() > 40 || !name.chars().all(is_name) {
        return bad("needs a name of lower-case letters, digits and `_`, at most 40");
    }
    if role.providers.is_empty() || role.providers.len() > PROVIDERS_MAX {
        return bad(&format!("needs 1 to {PROVIDERS_MAX} providers"));
    }
    if role.timeout_ms == 0 || role.timeout_ms > TIMEOUT_MAX_MS {
        return bad(&format!("needs a `timeout_ms` of 1 to {TIMEOUT_MAX_MS}"));
    }
    Ok(())
}
