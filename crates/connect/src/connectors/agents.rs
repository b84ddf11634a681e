//! Calls of servers and agents that others wrote.

use std::{sync::Arc, time::Duration};

use kernel::{
    exception::{Class, Landed},
    port::Failure,
};

use super::{Connectors, wrong_kind};
use crate::{
    a2a::Delegation,
    acp,
    call::{Arrived, Call, Departure, MESSAGE_MAX_CHARS, clip, fail, refuse},
    http,
    ingest::Pick,
    mcp,
};

/// How long an agent may take to say who it is.
const MEET_WITHIN: Duration = Duration::from_secs(60);

impl Connectors {
    pub(super) async fn delegate<'b>(
        &self,
        delegation: &'b Delegation,
        call: &Call,
        departure: &Arc<Departure>,
    ) -> Result<(Arrived, Pick<'b>), Failure> {
        let (name, target) = (&delegation.system, self.target(&delegation.system)?);
        let _turn = self.enter((name, target, &target.turns), call, departure).await?;
        let clients = target.clients.as_ref().ok_or_else(|| wrong_kind(name))?;
        let (vault, sink) = (&self.vault, self.host.blobs.as_deref());
        let redactor = self.redactor_of(call);
        let wire = http::Wire { clients, vault, sink, departure, redactor };
        Ok((delegation.run(call, &wire).await?, delegation.pick()))
    }

    pub(super) async fn ask_server<'b>(
        &self,
        errand: &'b mcp::Errand,
        call: &Call,
        departure: &Departure,
    ) -> Result<(Arrived, Pick<'b>), Failure> {
        let target = self.target(&errand.system)?;
        let _turn = self.enter((&errand.system, target, &target.turns), call, departure).await?;
        let servers = target.servers.as_ref().ok_or_else(|| wrong_kind(&errand.system))?;
        let (sink, redactor) = (self.host.blobs.as_deref(), self.redactor_of(call));
        let wire = mcp::Wire { departure, sink, redactor, validate: &*self.host.validate };
        let arrived = servers.call(errand, (call, &self.around()), &wire).await?;
        Ok((arrived, errand.pick()))
    }

    pub(super) async fn prompt<'b>(
        &self,
        prompt: &'b acp::Prompt,
        call: &Call,
        (departure, deadline): (&Arc<Departure>, Duration),
    ) -> Result<(Arrived, Pick<'b>), Failure> {
        let (name, target) = (&prompt.system, self.target(&prompt.system)?);
        let _turn = self.enter((name, target, &target.turns), call, departure).await?;
        let agent = target.agent.as_ref().ok_or_else(|| wrong_kind(name))?;
        let (sink, redactor) = (self.host.blobs.as_deref(), self.redactor_of(call));
        let wire = acp::Wire { departure, deadline, sink, redactor, judges: &self.judges };
        let arrived = agent.call(prompt, (call, &self.around()), &wire).await?;
        Ok((arrived, prompt.pick()))
    }

    /// Meets a declared agent of the Agent Client Protocol. It has no way out meanwhile.
    ///
    /// # Errors
    /// That it is none, or why it gave no sound answer.
    pub async fn meet(&self, system: &str) -> Result<acp::Met, Failure> {
        let target = self.target(system)?;
        let agent = target.agent.as_ref().ok_or_else(|| wrong_kind(system))?;
        let turn = target.turns.acquire().await;
        let _turn = turn.map_err(|_| refuse("the system is being shut down"))?;
        let met = tokio::time::timeout(MEET_WITHIN, agent.meet(&self.around())).await;
        let met = met.unwrap_or_else(|_| {
            let message = format!("`{system}` has not answered in {} s", MEET_WITHIN.as_secs());
            Err(fail(Class::Timeout, Landed::No, message))
        });
        met.map_err(|failure| {
            let message = self.vault.redactor().scrub_text(&failure.message);
            Failure { message: clip(&message, MESSAGE_MAX_CHARS), ..failure }
        })
    }
}
