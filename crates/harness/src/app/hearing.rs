//! What is being said in a run, for whoever is in another process: heard by asking again and again.
//!
//! Between two questions an ear stays open for a while, so that nothing is missed; one that nobody asks any more is closed,
//! because models tell nothing where nobody listens. As everywhere, pieces may be lost: what counts is the reply.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kernel::id::{PrincipalId, RunId, Tenant};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError, error::TryRecvError},
    time::Instant,
};
use uuid::Uuid;

use super::{
    App, Caller, parse_id,
    problem::Problem,
    speech::{Piece, Said},
};

/// Longest that a question waits, in ms.
const WAIT_MAX_MS: u64 = 45_000;

/// How long an ear stays open between two questions.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// Most ears; beyond it, the one that was not asked longest is closed.
const EARS_MAX: usize = 64;

/// Most text of one answer, in bytes; the rest is in the next one.
const TEXT_MAX_BYTES: usize = 65_536;

/// Listens to a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HearRun {
    /// The run.
    pub run: String,
    /// The ear of the answer before; without one, a new one hears what is said from now on.
    #[serde(default)]
    pub ear: Option<String>,
    /// How long to wait for something to be said, in ms; at most 45 seconds.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// What was said.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HeardView {
    /// The run.
    pub run: String,
    /// Hears on where this one ended, for half a minute.
    pub ear: String,
    /// Whether something before this was said and not heard.
    pub missed: bool,
    /// In order; none where nothing was said in time.
    pub items: Vec<HeardItem>,
}

/// Something that was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeardItem {
    /// What it is.
    pub said: HeardKind,
    /// Its words; the name of a tool that is about to be called.
    pub text: String,
}

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeardKind {
    /// A model, to the reader.
    Text,
    /// A model, to itself, as far as its provider shows it.
    Reasoning,
    /// A model calls a tool.
    Call,
    /// A command or code has written this.
    Wrote,
}

/// Ears between two questions.
#[derive(Clone, Debug, Default)]
pub struct Ears(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    ears: BTreeMap<Uuid, Ear>,
    /// Somebody closes them in time.
    is_swept: bool,
}

#[derive(Debug)]
struct Ear {
    whose: (Tenant, PrincipalId),
    run: RunId,
    heard: Receiver<Piece>,
    asked: Instant,
}

/// Keeps what has listened since before a run began, for whoever began it: the ear.
pub(super) fn keep(app: &App, caller: &Caller, (run, heard): (RunId, Receiver<Piece>)) -> String {
    let whose = (caller.tenant().clone(), caller.principal().id.clone());
    app.speech().ears().keep(Ear { whose, run, heard, asked: Instant::now() }).to_string()
}

/// Waits until something is said in a run, and tells it.
///
/// # Errors
/// When the caller has no such run.
pub async fn hear(app: &App, caller: &Caller, request: HearRun) -> Result<HeardView, Problem> {
    let run: RunId = parse_id(&request.run)?;
    app.check_own(caller, &run).await?;
    let whose = (caller.tenant().clone(), caller.principal().id.clone());
    let until =
        Instant::now() + Duration::from_millis(request.wait_ms.unwrap_or(0).min(WAIT_MAX_MS));
    let known = request.ear.as_deref().map(str::parse::<Uuid>);
    let kept = known.clone().and_then(|id| app.speech().ears().take(id.ok()?, (&whose, &run)));
    let mut missed = known.is_some() && kept.is_none();
    let mut ear = kept.unwrap_or_else(|| Ear {
        whose,
        run: run.clone(),
        heard: app.speech().listen(),
        asked: Instant::now(),
    });
    let mut items = Vec::new();
    let mut bytes = 0_usize;
    while bytes < TEXT_MAX_BYTES {
        let piece = if items.is_empty() {
            match tokio::time::timeout_at(until, ear.heard.recv()).await {
                Ok(Ok(piece)) => piece,
                Ok(Err(RecvError::Lagged(_))) => {
                    missed = true;
                    continue;
                }
                Ok(Err(RecvError::Closed)) | Err(_) => break,
            }
        } else {
            match ear.heard.try_recv() {
                Ok(piece) => piece,
                Err(TryRecvError::Lagged(_)) => {
                    missed = true;
                    continue;
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        };
        if piece.run == ear.run && piece.tenant == ear.whose.0 {
            bytes = bytes.saturating_add(add(&mut items, piece.said));
        }
    }
    let ear = app.speech().ears().keep(ear).to_string();
    Ok(HeardView { run: run.to_string(), ear, missed, items })
}

/// Adds what was said to what was said just before, where it goes on; how many bytes that are.
fn add(items: &mut Vec<HeardItem>, said: Said) -> usize {
    let (said, text) = match said {
        Said::Text(text) => (HeardKind::Text, text),
        Said::Reasoning(text) => (HeardKind::Reasoning, text),
        Said::Call(name) => (HeardKind::Call, name),
        Said::Wrote(text) => (HeardKind::Wrote, text),
    };
    let bytes = text.len();
    match items.last_mut().filter(|last| last.said == said && said != HeardKind::Call) {
        Some(last) => last.text.push_str(&text),
        None => items.push(HeardItem { said, text }),
    }
    bytes
}

impl Ears {
    /// An ear that stayed open, for whoever opened it.
    fn take(&self, id: Uuid, (whose, run): (&(Tenant, PrincipalId), &RunId)) -> Option<Ear> {
        let mut kept = self.lock();
        kept.ears.get(&id).filter(|ear| ear.whose == *whose && ear.run == *run)?;
        kept.ears.remove(&id)
    }

    fn keep(&self, ear: Ear) -> Uuid {
        let id = Uuid::now_v7();
        let mut kept = self.lock();
        if kept.ears.len() >= EARS_MAX {
            let oldest = kept.ears.iter().min_by_key(|(_, ear)| ear.asked).map(|(id, _)| *id);
            oldest.and_then(|id| kept.ears.remove(&id));
        }
        kept.ears.insert(id, Ear { asked: Instant::now(), ..ear });
        if !std::mem::replace(&mut kept.is_swept, true) {
            tokio::spawn(self.clone().sweep());
        }
        id
    }

    /// Closes ears that nobody asks any more, until there is none.
    async fn sweep(self) {
        loop {
            tokio::time::sleep(KEPT_FOR).await;
            let mut kept = self.lock();
            kept.ears.retain(|_, ear| ear.asked.elapsed() < KEPT_FOR);
            if kept.ears.is_empty() {
                kept.is_swept = false;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
