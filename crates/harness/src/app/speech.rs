//! What models say while they say it: for whoever watches a run. Lossy and never journaled; what counts
//! is the reply.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use connect::{
    Connectors,
    redact::{Redactor, Scrubber},
};
use kernel::{RunId, id::Tenant};
use models::{Delta, Progress, Speaking};
use tokio::sync::broadcast;

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
    connectors: Arc<Connectors>,
    held: Mutex<BTreeMap<Speaker, Held>>,
}

impl fmt::Debug for Speech {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Speech").field("heard", &self.heard).finish_non_exhaustive()
    }
}

impl Speech {
    /// What these connectors know as secret is not told.
    #[must_use]
    pub fn new(connectors: Arc<Connectors>) -> Self {
        let heard = broadcast::Sender::new(PIECES_MAX);
        Self { heard, connectors, held: Mutex::default() }
    }

    /// Listens from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Piece> {
        self.heard.subscribe()
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

    fn redactor(&self) -> Arc<Redactor> {
        self.connectors.redactor()
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
        let mut all = self.held();
        let held = all.entry(speaker.clone()).or_default();
        let watched = || Scrubber::watched(self.redactor());
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
                let name = self.redactor().scrub_text(name);
                self.send(&speaker, Said::Call, name.into_bytes());
            }
        }
    }
}
