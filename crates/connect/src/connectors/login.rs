//! Logins of people to servers that want OAuth.

use ::mcp::client::oauth::{Grant, Login};
use kernel::port::Failure;

use super::{Connectors, wrong_kind};

impl Connectors {
    /// Begins a login to a declared server: where the person's browser is sent back to.
    ///
    /// # Errors
    /// That the server wants none, or why nobody can be asked.
    pub async fn log_in(&self, system: &str, redirect: &str) -> Result<Login, Failure> {
        let servers = self.target(system)?.servers.as_ref().ok_or_else(|| wrong_kind(system))?;
        servers.log_in(redirect, &self.vault).await
    }

    /// Keeps what a person granted, in the file of secrets, for that server alone.
    ///
    /// # Errors
    /// A file of secrets that cannot be written.
    pub fn keep_grant(&self, system: &str, grant: &Grant) -> Result<(), Failure> {
        let servers = self.target(system)?.servers.as_ref().ok_or_else(|| wrong_kind(system))?;
        servers.keep(grant, self.host.clock.now_ms())
    }
}
