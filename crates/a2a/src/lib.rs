//! The Agent2Agent protocol, version 1.0, spoken as an agent and as its client.
//!
//! It must not know: runs, policy, packs, sockets. Bytes come in and bytes go out; who listens and who connects is
//! somebody else's. No type of the protocol's library leaves it.

pub mod client;
pub mod server;
mod wire;

/// The version of the protocol that is spoken.
pub const VERSION: &str = lf::VERSION;

/// The header that says which version a request speaks.
pub const VERSION_HEADER: &str = lf::SVC_PARAM_VERSION;

/// Where an agent's card lies, below its address.
pub const CARD_PATH: &str = "/.well-known/agent-card.json";

/// What names the extension by which a message names a skill and says its arguments.
pub const SKILLS: &str = "urn:harness:a2a:skills:v1";

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was taken, and nobody works on it yet.
    Submitted,
    /// It is under way.
    Working,
    /// Somebody is asked something first.
    InputRequired,
    /// Somebody has to prove who they are first.
    AuthRequired,
    /// It ended well.
    Completed,
    /// It failed.
    Failed,
    /// Somebody ended it.
    Canceled,
    /// It is not done: the agent, or somebody for it, said no.
    Rejected,
}

impl State {
    /// Whether nothing more will come of it.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled | Self::Rejected)
    }

    /// Whether it goes on only once somebody has done something.
    #[must_use]
    pub fn waits(self) -> bool {
        matches!(self, Self::InputRequired | Self::AuthRequired)
    }

    /// What people read.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Working => "working",
            Self::InputRequired => "input-required",
            Self::AuthRequired => "auth-required",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Rejected => "rejected",
        }
    }
}
