//! The other ends of calls that the proxy makes: what a server asks of a client, and says to it, in the middle of a call.
//! It is kept here until the client's own connection takes it; nothing of it outlives the process, and nothing is kept
//! for a call whose client said that it hears nothing.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use kernel::id::{RunId, Tenant};
use mcp::server::{Able, Answers, Asked, List, Said};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{oneshot, watch};

/// Most calls whose clients hear something.
const ENDS_MAX: usize = 1_000;

/// How long the end of a call is kept whose client never came back, once there are too many.
const KEPT: Duration = Duration::from_secs(3_600);

/// Most words that wait for a client; older ones are lost to it.
const SAID_MAX: usize = 100;

/// Most addresses that are watched.
const WATCHED_MAX: usize = 1_000;

/// Most questions that a server may ask at once.
const ASKED_MAX: usize = 20;

/// What a server asks of a client in the middle of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolQuestion {
    /// The question; another one of the same call has another id.
    pub id: String,
    /// What is asked, all of it at once.
    pub parts: Vec<ToolQuestionPart>,
}

/// One thing that a server asks, in the words of the protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolQuestionPart {
    /// What its answer is told by.
    pub key: String,
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`.
    pub method: String,
    /// What is asked.
    pub params: Value,
}

/// Something that a server says in the middle of a call, in the words of the protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolSaid {
    /// What about.
    pub about: SaidAbout,
    /// The parameters of its notification.
    pub params: Value,
}

/// What a server says something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SaidAbout {
    /// How far it is.
    Progress,
    /// A line of its log.
    Log,
}

/// What a client can be asked in the middle of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ToolHears {
    /// Forms and pages, which a person answers.
    pub elicitation: bool,
    /// What a model would say.
    pub sampling: bool,
    /// Which folders it works in.
    pub roots: bool,
}

impl From<ToolHears> for Able {
    fn from(hears: ToolHears) -> Self {
        let ToolHears { elicitation, sampling, roots } = hears;
        Self { elicitation, sampling, roots }
    }
}

type Key = (Tenant, RunId);

struct End {
    since: Instant,
    able: Able,
    question: Option<Waiting>,
    said: VecDeque<ToolSaid>,
    /// Questions so far.
    asked: u32,
}

struct Waiting {
    question: ToolQuestion,
    answer: oneshot::Sender<Option<Answers>>,
}

#[derive(Default)]
struct Watched {
    /// Changes so far.
    changes: u64,
    last: BTreeMap<(String, String), u64>,
    /// How often a system said that a list of its is another.
    lists: BTreeMap<(String, List), u64>,
}

/// The other ends of calls.
pub(in crate::app) struct Ends {
    open: Mutex<BTreeMap<Key, End>>,
    /// What is watched of which system, and when it changed last.
    watched: Mutex<Watched>,
    changed: watch::Sender<()>,
}

impl Default for Ends {
    fn default() -> Self {
        let (open, watched) = (Mutex::default(), Mutex::default());
        Self { open, watched, changed: watch::Sender::new(()) }
    }
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ends").field("open", &self.open().len()).finish_non_exhaustive()
    }
}

impl Ends {
    /// From now on a client hears what is said in this call.
    pub(super) fn begin(&self, key: Key, able: Able) {
        let mut open = self.open();
        if open.len() >= ENDS_MAX {
            // Clients that went away have not said so.
            open.retain(|_, end| end.since.elapsed() < KEPT);
        }
        if open.len() < ENDS_MAX {
            let (since, question, said) = (Instant::now(), None, VecDeque::new());
            open.entry(key).or_insert(End { since, able, question, said, asked: 0 });
        }
    }

    /// The call is over.
    pub(super) fn end(&self, key: &Key) {
        self.open().remove(key);
    }

    /// What is asked now, and what was said since this was asked last.
    pub(super) fn take(&self, key: &Key) -> (Option<ToolQuestion>, Vec<ToolSaid>) {
        let mut open = self.open();
        let Some(end) = open.get_mut(key) else { return (None, Vec::new()) };
        let question = end.question.as_ref().filter(|waiting| !waiting.answer.is_closed());
        (question.map(|waiting| waiting.question.clone()), end.said.drain(..).collect())
    }

    /// Whether there is something to take.
    pub(super) fn has_some(&self, key: &Key) -> bool {
        let open = self.open();
        let asks = |end: &End| end.question.as_ref().is_some_and(|one| !one.answer.is_closed());
        open.get(key).is_some_and(|end| asks(end) || !end.said.is_empty())
    }

    /// Answers a question; whether it was still asked. None says that nobody answers it.
    pub(super) fn answer(&self, key: &Key, id: &str, answers: Option<Answers>) -> bool {
        let waiting = {
            let mut open = self.open();
            let Some(end) = open.get_mut(key) else { return false };
            end.question.take_if(|waiting| waiting.question.id == id)
        };
        waiting.is_some_and(|waiting| waiting.answer.send(answers).is_ok())
    }

    /// From now on changes of this are counted; how many there were of anything.
    pub(super) fn notice(&self, system: &str, uri: &str) -> u64 {
        let mut watched = self.watched();
        if watched.last.len() < WATCHED_MAX {
            watched.last.entry((system.to_owned(), uri.to_owned())).or_insert(0);
        }
        watched.changes
    }

    /// Which of these changed since so many changes, and how many there were by now.
    pub(super) fn changed_since(
        &self,
        since: u64,
        what: &[(String, String)],
    ) -> (Vec<String>, u64) {
        let watched = self.watched();
        let is_new = |one: &&(String, String)| watched.last.get(one).is_some_and(|at| *at > since);
        (what.iter().filter(is_new).map(|(_, uri)| uri.clone()).collect(), watched.changes)
    }

    /// How often this system said that this list of its is another.
    pub(super) fn relisted(&self, system: &str, list: List) -> u64 {
        self.watched().lists.get(&(system.to_owned(), list)).copied().unwrap_or_default()
    }

    /// How often any system said that of any list.
    pub(super) fn lists(&self) -> u64 {
        self.watched().lists.values().sum()
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings whenever there is something new to take, of whatever call.
    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<Key, End>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, key: &Key, asked: Vec<Asked>) -> Option<oneshot::Receiver<Option<Answers>>> {
        let mut open = self.open();
        let end = open.get_mut(key)?;
        if asked.len() > ASKED_MAX {
            return None;
        }
        end.asked = end.asked.saturating_add(1);
        let parts = asked.into_iter().map(|Asked { key, method, params }| ToolQuestionPart {
            key,
            method,
            params,
        });
        let question = ToolQuestion { id: end.asked.to_string(), parts: parts.collect() };
        let (answer, answered) = oneshot::channel();
        end.question = Some(Waiting { question, answer });
        Some(answered)
    }
}

/// As those who pass calls on want it: see [`super::people`].
impl Ends {
    /// What a run's client can be asked; none = there is no client.
    pub(super) fn able(&self, (tenant, run): (&Tenant, &RunId)) -> Option<Able> {
        self.open().get(&(tenant.clone(), run.clone())).map(|end| end.able)
    }

    /// What it answers; none = it does not.
    pub(super) async fn ask(&self, run: Key, asked: Vec<Asked>) -> Option<Answers> {
        let answered = self.put(&run, asked)?;
        self.changed.send_replace(());
        // Whoever gives up asking drops this, and nobody is asked any more.
        answered.await.ok().flatten()
    }

    /// Tells it something.
    pub(super) fn hear(&self, (tenant, run): (&Tenant, &RunId), said: Said) {
        {
            let mut open = self.open();
            let Some(end) = open.get_mut(&(tenant.clone(), run.clone())) else { return };
            if end.said.len() >= SAID_MAX {
                end.said.pop_front();
            }
            let (about, params) = match said {
                Said::Progress(params) => (SaidAbout::Progress, params),
                Said::Log(params) => (SaidAbout::Log, params),
                Said::Updated(_) | Said::Relisted(_) => return,
            };
            end.said.push_back(ToolSaid { about, params });
        }
        self.changed.send_replace(());
    }

    /// What stands at this address is another now.
    pub(super) fn updated(&self, system: &str, uri: &str) {
        {
            let mut watched = self.watched();
            watched.changes += 1;
            let now = watched.changes;
            if let Some(at) = watched.last.get_mut(&(system.to_owned(), uri.to_owned())) {
                *at = now;
            }
        }
        self.changed.send_replace(());
    }

    /// This list of a system is another now.
    pub(super) fn heard_relisted(&self, system: &str, list: List) {
        // Systems are those of the configuration: there are not many.
        *self.watched().lists.entry((system.to_owned(), list)).or_default() += 1;
        self.changed.send_replace(());
    }
}
