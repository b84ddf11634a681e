//! Whoever a call of a server is passed on for: answers what the server asks in the middle of it, and hears what it says.
//!
//! A server with a session does not tell which call a question belongs to. So calls of one that may ask take turns, and
//! what is said while several are under way is told to nobody. One without sessions is told for each call what its
//! other end can be asked, and asks by answering that call.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use ::mcp::client::{Able, Answers, Asked, Client, List, Listener, Said};
use kernel::{
    id::{RunId, Seq, Tenant},
    port::Task,
};
use serde_json::{Map, Value};

use crate::{
    call::{Call, Departure},
    redact::Redactor,
};

/// Where a client's program finds which server asks.
const ASKED_BY: &str = "harness/server";

/// Least of a call's time that is left to its server once nobody has answered, and the most that is kept back for that.
const KEPT_BACK: (u32, Duration) = (4, Duration::from_secs(30));

/// Who of ours answers what a server asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AnsweredBy {
    pub(super) role: String,
    /// How long they are waited for.
    pub(super) within: Option<Duration>,
}

/// A call that is under way, as whoever can be asked in the middle of it has to know it.
#[derive(Debug)]
pub struct Calling {
    /// Whose it is.
    pub tenant: Tenant,
    /// The run that makes it.
    pub run: RunId,
    /// The action.
    pub action: Seq,
    /// Which call of this action.
    pub attempt: u32,
    /// The server, as the operator calls it.
    pub system: String,
    answered: Option<AnsweredBy>,
    /// When its answer is not waited for any more.
    ends: Instant,
    /// Questions so far.
    asked: AtomicU32,
}

impl Calling {
    /// The role whose people answer where no client does.
    #[must_use]
    pub fn answered_by(&self) -> Option<&str> {
        self.answered.as_ref().map(|answered| answered.role.as_str())
    }

    /// How long people are waited for who are asked now: some of the call's time is the server's.
    #[must_use]
    pub fn waits(&self) -> Duration {
        let left = self.ends.saturating_duration_since(Instant::now());
        let (part, most) = KEPT_BACK;
        let left = left.saturating_sub(most.min(left / part));
        let within = self.answered.as_ref().and_then(|answered| answered.within);
        within.map_or(left, |within| within.min(left))
    }

    /// The number of the next question of this call.
    #[must_use]
    pub fn next_question(&self) -> u32 {
        self.asked.fetch_add(1, Ordering::Relaxed)
    }
}

/// Who is at the other end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct There {
    /// What they can be asked.
    pub able: Able,
    /// Whether they hear what is said.
    pub hears: bool,
}

/// Where whoever a run is made for can be asked and told.
pub trait Passing: Send + Sync + fmt::Debug {
    /// Who is at the other end of a call; none = nobody.
    fn there(&self, call: &Calling) -> Option<There>;

    /// Answers what is asked of it, all of it; none = nobody is there who could.
    fn ask(&self, call: Arc<Calling>, asked: Vec<Asked>) -> Task<'_, Option<Answers>>;

    /// Tells it something.
    fn hear(&self, run: (&Tenant, &RunId), said: Said);

    /// Says that what a system has at this address is another now.
    fn updated(&self, system: &str, uri: &str);

    /// Says that a list of a system is another now.
    fn relisted(&self, system: &str, list: List);
}

type Asking<'a> = Pin<Box<dyn Future<Output = Option<Answers>> + Send + 'a>>;

/// There is nobody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NobodyThere;

impl Passing for NobodyThere {
    fn there(&self, _: &Calling) -> Option<There> {
        None
    }

    fn ask(&self, _: Arc<Calling>, _: Vec<Asked>) -> Task<'_, Option<Answers>> {
        Box::pin(std::future::ready(None))
    }

    fn hear(&self, _: (&Tenant, &RunId), _: Said) {}

    fn updated(&self, _: &str, _: &str) {}

    fn relisted(&self, _: &str, _: List) {}
}

/// The calls of one connection, and who is at their other ends.
pub(super) struct Ears {
    system: String,
    may: Able,
    passing: Arc<dyn Passing>,
    redactor: Arc<Redactor>,
    calls: Mutex<Vec<Arc<Calling>>>,
    turn: tokio::sync::Mutex<()>,
}

/// A call that is under way, and its turn.
pub(super) struct During<'a> {
    end: Arc<End>,
    _turn: Option<tokio::sync::MutexGuard<'a, ()>>,
}

/// The other end of a call.
struct End {
    ears: Arc<Ears>,
    call: Arc<Calling>,
    there: Option<There>,
}

impl During<'_> {
    /// The other end of this call, if anybody is there.
    pub(super) fn listener(&self) -> Option<Arc<dyn Listener>> {
        self.end.there.is_some().then(|| Arc::clone(&self.end) as Arc<dyn Listener>)
    }
}

impl Drop for During<'_> {
    fn drop(&mut self) {
        self.end.ears.leave(&self.end.call);
    }
}

impl Listener for End {
    fn able(&self) -> Able {
        self.there.map(|there| there.able).unwrap_or_default()
    }

    fn hears(&self) -> bool {
        self.there.is_some_and(|there| there.hears)
    }

    fn ask(&self, asked: Vec<Asked>) -> Asking<'_> {
        Box::pin(async move {
            // While it waits for an answer nothing is said in it: another call may be the only one meanwhile.
            self.ears.leave(&self.call);
            let answers = self.ears.pass(Arc::clone(&self.call), asked).await;
            self.ears.calls().push(Arc::clone(&self.call));
            answers
        })
    }

    fn hear(&self, said: Said) {
        self.ears.tell(&self.call, said);
    }
}

impl Ears {
    pub(super) fn new(
        (system, may): (&str, Able),
        passing: Arc<dyn Passing>,
        redactor: Arc<Redactor>,
    ) -> Arc<Self> {
        let (calls, turn) = (Mutex::default(), tokio::sync::Mutex::default());
        Arc::new(Self { system: system.to_owned(), may, passing, redactor, calls, turn })
    }

    /// From now on this call is under way: in its turn, where a server that has a session may ask.
    pub(super) async fn during(
        self: &Arc<Self>,
        (call, answered): (&Call, &Option<AnsweredBy>),
        client: &Client,
        departure: &Departure,
    ) -> During<'_> {
        let turn = match client.has_session() && self.may != Able::default() {
            true => Some(self.turn.lock().await),
            false => None,
        };
        let call = Arc::new(Calling {
            tenant: call.tenant.clone(),
            run: call.run.clone(),
            action: call.action,
            attempt: call.attempt,
            system: self.system.clone(),
            answered: answered.clone(),
            ends: departure.answer_by(),
            asked: AtomicU32::new(0),
        });
        let there = self.passing.there(&call).map(|there| There {
            able: Able {
                elicitation: there.able.elicitation && self.may.elicitation,
                sampling: there.able.sampling && self.may.sampling,
                roots: there.able.roots && self.may.roots,
            },
            ..there
        });
        self.calls().push(Arc::clone(&call));
        During { end: Arc::new(End { ears: Arc::clone(self), call, there }), _turn: turn }
    }

    fn leave(&self, call: &Arc<Calling>) {
        let mut calls = self.calls();
        if let Some(place) = calls.iter().position(|one| Arc::ptr_eq(one, call)) {
            calls.swap_remove(place);
        }
    }

    async fn pass(&self, call: Arc<Calling>, mut asked: Vec<Asked>) -> Option<Answers> {
        for one in &mut asked {
            self.redactor.scrub_value(&mut one.params);
            self.attribute(one);
        }
        self.passing.ask(call, asked).await
    }

    /// Says who asks. Behind a proxy its client cannot know, and whoever is asked for a password has to. The name is the
    /// operator's: no server calls itself another.
    fn attribute(&self, asked: &mut Asked) {
        let Some(params) = asked.params.as_object_mut() else { return };
        if let Some(Value::String(message)) = params.get_mut("message") {
            *message = format!("`{}` asks: {message}", self.system);
        }
        let meta = params.entry("_meta").or_insert_with(|| Value::Object(Map::new()));
        if let Some(meta) = meta.as_object_mut() {
            meta.insert(ASKED_BY.to_owned(), Value::String(self.system.clone()));
        }
    }

    fn tell(&self, call: &Calling, said: Said) {
        let said = match said {
            Said::Progress(mut params) => {
                self.redactor.scrub_value(&mut params);
                Said::Progress(params)
            }
            Said::Log(mut params) => {
                self.redactor.scrub_value(&mut params);
                Said::Log(params)
            }
            Said::Updated(_) | Said::Relisted(_) => said,
        };
        self.passing.hear((&call.tenant, &call.run), said);
    }

    fn calls(&self) -> MutexGuard<'_, Vec<Arc<Calling>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The call that is under way, if it is one alone.
    fn only(&self) -> Option<Arc<Calling>> {
        match self.calls().as_slice() {
            [one] => Some(Arc::clone(one)),
            _ => None,
        }
    }
}

impl Listener for Ears {
    fn able(&self) -> Able {
        self.may
    }

    fn hears(&self) -> bool {
        self.only().is_some()
    }

    fn ask(&self, asked: Vec<Asked>) -> Asking<'_> {
        Box::pin(async move { self.pass(self.only()?, asked).await })
    }

    fn hear(&self, said: Said) {
        match (said, self.only()) {
            (Said::Updated(uri), _) => self.passing.updated(&self.system, &uri),
            (Said::Relisted(list), _) => self.passing.relisted(&self.system, list),
            (said, Some(call)) => self.tell(&call, said),
            (_, None) => {}
        }
    }
}
