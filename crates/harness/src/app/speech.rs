//! What models say and commands write while they do: for whoever watches a run. Lossy and never journaled; what counts
//! is the reply, or the result.

use kernel::{
    RunId,
    id::{OperationId, Tenant},
};
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
    /// A command or code has written this.
    Wrote(String),
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

impl connect::Listen for Speech {
    fn wrote(&self, (tenant, run, _): (&Tenant, &RunId, &OperationId), text: &str) {
        if self.0.receiver_count() == 0 {
            return;
        }
        let (tenant, run) = (tenant.clone(), run.clone());
        // Nobody listening any more is no failure.
        let _heard = self.0.send(Piece { tenant, run, said: Said::Wrote(text.to_owned()) });
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

#[cfg(test)]
mod tests {
    use connect::Listen;

    use super::*;

    #[test]
    fn who_watches_hears_what_a_command_writes() {
        let speech = Speech::default();
        let (tenant, operation) = (Tenant::default(), "shell.run".parse().unwrap());
        let run = RunId::of_intent(&tenant, "test", "k");
        speech.wrote((&tenant, &run, &operation), "nobody hears this");
        let mut heard = speech.listen();
        speech.wrote((&tenant, &run, &operation), "compiling\n");
        let said = Said::Wrote("compiling\n".to_owned());
        assert_eq!(heard.try_recv().unwrap(), Piece { tenant, run, said });
        assert!(heard.try_recv().is_err());
    }
}
