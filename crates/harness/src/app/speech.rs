//! What models say and commands write while they do: for whoever watches a run. Lossy and never journaled; what
//! counts is the reply, or the result.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};

use connect::{
    Connectors,
    redact::{Redactor, Scrubber},
};
use kernel::{
    RunId,
    id::{OperationId, Tenant},
};
use models::{Delta, Progress, Speaking};
use tokio::sync::broadcast;

use super::hearing::Ears;

/// Pieces kept for a listener that is slow; older ones are lost to it.
const PIECES_MAX: usize = 1_024;

/// Whose model speaks.
type Speaker = (Tenant, RunId);

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

/// What was said and not told yet: it may be the beginning of a secret.
#[derive(Default)]
struct Held {
    text: Option<Scrubber>,
    reasoning: Option<Scrubber>,
}

/// Tells listeners what models say, a few words behind, without secrets.
pub struct Speech {
    heard: broadcast::Sender<Piece>,
    /// Who knows what is secret; they hear of commands through this in turn.
    connectors: OnceLock<Weak<Connectors>>,
    held: Mutex<BTreeMap<Speaker, Held>>,
    ears: Ears,
}

impl fmt::Debug for Speech {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Speech").field("heard", &self.heard).finish_non_exhaustive()
    }
}

impl Default for Speech {
    fn default() -> Self {
        let heard = broadcast::Sender::new(PIECES_MAX);
        Self { heard, connectors: OnceLock::new(), held: Mutex::default(), ears: Ears::default() }
    }
}

impl Speech {
    /// From now on what models say is told, without what these connectors know as secret; before, nothing is.
    pub fn withhold(&self, connectors: &Arc<Connectors>) {
        // The first ones stay: a process has one set.
        let _first = self.connectors.set(Arc::downgrade(connectors));
    }

    /// Listens from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Piece> {
        self.heard.subscribe()
    }

    /// Who listens from elsewhere.
    pub(super) fn ears(&self) -> &Ears {
        &self.ears
    }

    /// Nothing more comes of this turn: tells the rest.
    pub(super) fn end(&self, speaker: &Speaker) {
        let Some(held) = self.held().remove(speaker) else { return };
        self.flush(speaker, held);
    }

    fn flush(&self, speaker: &Speaker, held: Held) {
        for (scrubber, said) in
            [(held.reasoning, Said::Reasoning as fn(String) -> Said), (held.text, Said::Text)]
        {
            let rest = scrubber.map(|mut scrubber| scrubber.finish()).unwrap_or_default();
            self.send(speaker, said, rest);
        }
    }

    /// Tells a text of which nothing is held back any more; a character is never cut.
    fn send(&self, (tenant, run): &Speaker, said: fn(String) -> Said, clean: Vec<u8>) {
        if clean.is_empty() {
            return;
        }
        let said = said(String::from_utf8_lossy(&clean).into_owned());
        // Nobody listening any more is no failure.
        let _heard = self.heard.send(Piece { tenant: tenant.clone(), run: run.clone(), said });
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Speaker, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` while nobody is there who knows what is secret.
    fn redactor(&self) -> Option<Arc<Redactor>> {
        Some(self.connectors.get()?.upgrade()?.redactor())
    }
}

impl connect::Listen for Speech {
    fn wrote(&self, (tenant, run, _): (&Tenant, &RunId, &OperationId), text: &str) {
        if self.heard.receiver_count() == 0 {
            return;
        }
        let (tenant, run) = (tenant.clone(), run.clone());
        // Nobody listening any more is no failure.
        let _heard = self.heard.send(Piece { tenant, run, said: Said::Wrote(text.to_owned()) });
    }
}

impl Progress for Speech {
    fn tell(&self, speaking: &Speaking<'_>, delta: Delta<'_>) {
        let speaker = (speaking.tenant.clone(), speaking.run.clone());
        if self.heard.receiver_count() == 0 {
            // Whoever begins to listen in the middle hears from there on.
            self.held().remove(&speaker);
            return;
        }
        let Some(redactor) = self.redactor() else { return };
        let mut all = self.held();
        let held = all.entry(speaker.clone()).or_default();
        let watched = || Scrubber::watched(Arc::clone(&redactor));
        match delta {
            Delta::Text(text) => {
                let clean = held.text.get_or_insert_with(watched).push(text.as_bytes());
                self.send(&speaker, Said::Text, clean);
            }
            Delta::Reasoning(text) => {
                let clean = held.reasoning.get_or_insert_with(watched).push(text.as_bytes());
                self.send(&speaker, Said::Reasoning, clean);
            }
            Delta::Call(name) => {
                let before = std::mem::take(held);
                self.flush(&speaker, before);
                let name = redactor.scrub_text(name);
                self.send(&speaker, Said::Call, name.into_bytes());
            }
        }
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
