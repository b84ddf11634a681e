//! One turn of an agent, as the call that prompts it sees it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ::acp::client::{Answer, Over, Side, Use};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Judged, Judges, Prompted};
use crate::{call::Departure, redact::Redactor};

type Asking<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Most decisions that are told beside a failure.
const TOLD_MAX: usize = 20;

pub(super) struct Turn {
    at: Prompted,
    departure: Arc<Departure>,
    judges: Arc<dyn Judges>,
    until: Instant,
    redactor: Arc<Redactor>,
    /// What was decided, by use.
    decided: Mutex<Vec<(String, Judged)>>,
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Turn {
    pub(super) fn new(
        at: Prompted,
        (departure, judges): (Arc<Departure>, Arc<dyn Judges>),
        until: Instant,
        redactor: Arc<Redactor>,
    ) -> Self {
        Self { at, departure, judges, until, redactor, decided: Mutex::default() }
    }

    fn decided(&self) -> MutexGuard<'_, Vec<(String, Judged)>> {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was decided last about a use.
    pub(super) fn asked_of(&self, id: &str) -> Option<Value> {
        let decided = self.decided();
        decided.iter().rev().find(|(of, _)| of == id).map(|(_, judged)| told(judged))
    }

    /// What was decided, for whoever looks after a turn that failed; none where nothing was.
    pub(super) fn sample(&self) -> Option<Value> {
        let decided = self.decided();
        let asked: Vec<Value> =
            decided.iter().take(TOLD_MAX).map(|(_, judged)| told(judged)).collect();
        (!asked.is_empty()).then(|| json!({ "asked": asked }))
    }
}

fn told(judged: &Judged) -> Value {
    let mut told = json!({ "allowed": judged.allowed });
    if let Some(map) = told.as_object_mut() {
        map.extend(judged.run.as_ref().map(|run| ("run".to_owned(), json!(run))));
        if !judged.because.is_empty() {
            map.insert("because".to_owned(), json!(judged.because));
        }
    }
    told
}

impl Side for Turn {
    fn leaves(&self) -> bool {
        self.departure.leave().is_ok()
    }

    fn judge(&self, mut used: Use) -> Asking<'_, Answer> {
        Box::pin(async move {
            // An agent knows the secrets of its own environment; who decides, and what is recorded, does not.
            self.redactor.scrub_value(&mut used.input);
            used.title = self.redactor.scrub_text(&used.title);
            used.name = used.name.map(|name| self.redactor.scrub_text(&name));
            for path in &mut used.paths {
                *path = self.redactor.scrub_text(path);
            }
            let id = used.id.clone();
            let judged = self.judges.judge(self.at.clone(), used).await;
            let allowed = judged.allowed;
            self.decided().push((id, judged));
            if allowed { Answer::Allow } else { Answer::Reject }
        })
    }

    fn over(&self, over: Over) {
        let text = self.redactor.scrub_text(&over.text);
        self.judges.over(&self.at, Over { text, ..over });
    }

    fn stop(&self) -> Asking<'_, ()> {
        Box::pin(async {
            tokio::select! {
                () = self.departure.stop_wanted() => {}
                () = tokio::time::sleep_until(self.until) => {}
            }
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.judges.left(&self.at);
    }
}
