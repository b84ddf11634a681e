//! What is asked of a server beside calls: who it is, what it has, and how arguments may go on.

use std::sync::Arc;

use ::mcp::client::Error as ClientError;
use kernel::{
    exception::{Class, Landed},
    id::Tenant,
    port::Failure,
};
use serde_json::Value;

use super::{
    super::{Listed, Offer, failure},
    LAST_WORDS_WITHIN, Listing, Live, Servers, start,
};
use crate::{call::fail, way_out::Around};

impl Servers {
    /// Who the server is and which tools it has, for somebody who calls none. It has no way out meanwhile.
    pub(crate) async fn look(&self, around: &Around<'_>) -> Result<Listing, Failure> {
        self.permitted(around, None).await?;
        let (client, _leash) = start(&self.prepare(None, around)?).await?;
        let tools = client.tools().await.map_err(|error| failure(error, Landed::No))?;
        let prompts = match client.server().offers.contains(&"prompts") {
            true => client.prompts().await.map_err(|error| failure(error, Landed::No))?,
            false => Vec::new(),
        };
        let listing = Listing { server: client.server(), tools, prompts };
        client.close(LAST_WORDS_WITHIN).await;
        Ok(listing)
    }

    /// What there is now, over the connection that the calls of a tenant share. A program with a way out is started for
    /// this alone, without one.
    pub(crate) async fn listed(
        &self,
        tenant: &Tenant,
        what: Listed,
        around: &Around<'_>,
    ) -> Result<Vec<Offer>, Failure> {
        if self.has_way_out() {
            self.permitted(around, None).await?;
            let (client, _leash) = start(&self.prepare(None, around)?).await?;
            let listed = what.of(&client).await;
            client.close(LAST_WORDS_WITHIN).await;
            return listed.map_err(|error| failure(error, Landed::No));
        }
        let live = self.shared(tenant, around).await?;
        let mut listed = what.of(&live.client).await;
        if live.client.is_over() || matches!(listed, Err(ClientError::Over)) {
            self.forget(&(tenant.clone(), None));
            listed = what.of(&self.shared(tenant, around).await?.client).await;
        }
        listed.map_err(|error| failure(error, Landed::No))
    }

    /// How an argument may go on, over the connection that the calls of a tenant share. A server with a way out is not
    /// asked: nobody would answer for what it does meanwhile.
    pub(crate) async fn complete(
        &self,
        tenant: &Tenant,
        params: Value,
        around: &Around<'_>,
    ) -> Result<Value, Failure> {
        if self.has_way_out() {
            let message =
                format!("`{}` has a way out, and is asked for nothing beside runs", self.name);
            return Err(fail(Class::Permission, Landed::No, message));
        }
        let live = self.shared(tenant, around).await?;
        let found = live.client.complete(params.clone()).await;
        let found = match found {
            Err(ClientError::Over) => {
                self.forget(&(tenant.clone(), None));
                self.shared(tenant, around).await?.client.complete(params).await
            }
            found => found,
        };
        found.map_err(|error| failure(error, Landed::No))
    }

    /// Wants to hear of changes of what stands at an address, over the connection that the calls of a tenant share: once
    /// more where that is another connection by now.
    pub(crate) async fn subscribe(
        &self,
        tenant: &Tenant,
        uri: &str,
        around: &Around<'_>,
    ) -> Result<(), Failure> {
        let live = self.shared(tenant, around).await?;
        live.client.subscribe(uri).await.map_err(|error| failure(error, Landed::No))
    }

    async fn shared(&self, tenant: &Tenant, around: &Around<'_>) -> Result<Arc<Live>, Failure> {
        self.live(&(tenant.clone(), None), None, around).await
    }
}
