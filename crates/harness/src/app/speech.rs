//! What models say while they say it: for whoever watches a run. Lossy and never journaled; what counts
//! is the reply.

use kernel::{RunId, id::Tenant};
use models::{Delta, Progress, Speaking};
use tokio::sync::broadcast;

/// Pieces kept for a listener that is slow; older ones are lost to it.
const PIECES_MAX: usize = 1_024;

/// A piece of what a model is saying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Whose run.
    pub tenant: Tenant,
    /// Which run.
    pub run: RunId,
    /// What.
    pub said: Said,
}

/// What is being said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Text for the reader.
    Text(String),
    /// Reasoning, as far as the provider shows it.
    Reasoning(String),
    /// A tool is about to be called.
    Call(String),
}

/// Tells listeners what models say.
#[derive(Debug)]
pub struct Speech(broadcast::Sender<Piece>);

impl Default for Speech {
    fn default() -> Self {
        Self(broadcast::Sender::new(PIECES_MAX))
    }
}

impl Speech {
    /// Listens from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Piece> {
        self.0.subscribe()
    }
}

impl Progress for Speech {
    fn tell(&self, speaking: &Speaking<'_>, delta: Delta<'_>) {
        if self.0.receiver_count() == 0 {
            return;
        }
        let said = match delta {
            Delta::Text(text) => Said::Text(text.to_owned()),
            Delta::Reasoning(text) => Said::Reasoning(text.to_owned()),
            Delta::Call(name) => Said::Call(name.to_owned()),
        };
        let (tenant, run) = (speaking.tenant.clone(), speaking.run.clone());
        // Nobody listening any more is no failure.
        let _heard = self.0.send(Piece { tenant, run, said });
    }
}
