//! What servers of the Model Context Protocol have to offer, for whoever looks before a call.

use std::time::Duration;

use kernel::{
    exception::{Class, Landed},
    id::Tenant,
    port::Failure,
};
use serde_json::Value;

use super::{Connectors, wrong_kind};
use crate::{
    call::{MESSAGE_MAX_CHARS, clip, fail, refuse},
    mcp::{Listed, Listing, Offer, Servers},
};

/// How long a server may take to say what it has.
const LOOK_WITHIN: Duration = Duration::from_secs(60);

impl Connectors {
    /// Who a declared server of the Model Context Protocol is, and which tools it has now.
    ///
    /// # Errors
    /// That it is none, or why it gave no sound list.
    pub async fn look(&self, system: &str) -> Result<Listing, Failure> {
        self.asked(system, async |servers| servers.look(&self.around()).await).await
    }

    /// What such a server has now, over the connection that calls use.
    ///
    /// # Errors
    /// That it is none, or why it gave no sound list.
    pub async fn offers_of(
        &self,
        tenant: &Tenant,
        system: &str,
        what: Listed,
    ) -> Result<Vec<Offer>, Failure> {
        self.asked(system, async |servers| servers.listed(tenant, what, &self.around()).await).await
    }

    /// Wants to hear when what such a server has at this address is another.
    ///
    /// # Errors
    /// That it is none, or why it will not say so.
    pub async fn subscribe(&self, tenant: &Tenant, system: &str, uri: &str) -> Result<(), Failure> {
        self.asked(system, async |servers| servers.subscribe(tenant, uri, &self.around()).await)
            .await
    }

    /// How an argument of a prompt of such a server, or a place of a template, may go on; both as the protocol has them.
    ///
    /// # Errors
    /// That it is none, or why it gave no sound answer.
    pub async fn complete(
        &self,
        tenant: &Tenant,
        system: &str,
        params: Value,
    ) -> Result<Value, Failure> {
        let ask = async |servers: &Servers| servers.complete(tenant, params, &self.around()).await;
        let mut found = self.asked(system, ask).await?;
        self.vault.redactor().scrub_value(&mut found);
        Ok(found)
    }

    /// Asks in turn, and not for ever.
    async fn asked<T>(
        &self,
        system: &str,
        ask: impl AsyncFnOnce(&Servers) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let target = self.target(system)?;
        let servers = target.servers.as_ref().ok_or_else(|| wrong_kind(system))?;
        let turn = target.turns.acquire().await;
        let _turn = turn.map_err(|_| refuse("the system is being shut down"))?;
        let asked = tokio::time::timeout(LOOK_WITHIN, ask(servers)).await;
        let asked = asked.unwrap_or_else(|_| {
            let message = format!("`{system}` has not answered in {} s", LOOK_WITHIN.as_secs());
            Err(fail(Class::Timeout, Landed::No, message))
        });
        asked.map_err(|failure| {
            let message = self.vault.redactor().scrub_text(&failure.message);
            Failure { message: clip(&message, MESSAGE_MAX_CHARS), ..failure }
        })
    }
}
