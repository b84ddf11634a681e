//! Whoever a call of a server is passed on for: answers what the server asks in the middle of it, and hears what it says.
//!
//! A server with a session does not tell which call a question belongs to. So calls of one that may ask take turns, and
//! what is said while several are under way is told to nobody. One without sessions is told for each call what its
//! other end can be asked, and asks by answering that call.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ::mcp::client::{Able, Answers, Asked, Client, List, Listener, Said};
use kernel::{
    id::{RunId, Tenant},
    port::Task,
};
use serde_json::{Map, Value};

use crate::redact::Redactor;

/// Where a client's program finds which server asks.
const ASKED_BY: &str = "harness/server";

/// Where whoever a run is made for can be asked and told.
pub trait Passing: Send + Sync + fmt::Debug {
    /// What a run's other end can be asked; none = nobody is there.
    fn able(&self, run: (&Tenant, &RunId)) -> Option<Able>;

    /// Answers what is asked of it, all of it; none = nobody is there who could.
    fn ask(&self, run: (Tenant, RunId), asked: Vec<Asked>) -> Task<'_, Option<Answers>>;

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
    fn able(&self, _: (&Tenant, &RunId)) -> Option<Able> {
        None
    }

    fn ask(&self, _: (Tenant, RunId), _: Vec<Asked>) -> Task<'_, Option<Answers>> {
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
    calls: Mutex<Vec<(Tenant, RunId)>>,
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
    run: (Tenant, RunId),
    able: Option<Able>,
}

impl During<'_> {
    /// The other end of this call, if anybody is there.
    pub(super) fn listener(&self) -> Option<Arc<dyn Listener>> {
        self.end.able.is_some().then(|| Arc::clone(&self.end) as Arc<dyn Listener>)
    }
}

impl Drop for During<'_> {
    fn drop(&mut self) {
        self.end.ears.leave(&self.end.run);
    }
}

impl Listener for End {
    fn able(&self) -> Able {
        self.able.unwrap_or_default()
    }

    fn hears(&self) -> bool {
        self.able.is_some()
    }

    fn ask(&self, asked: Vec<Asked>) -> Asking<'_> {
        Box::pin(async move {
            // While it waits for an answer nothing is said in it: another call may be the only one meanwhile.
            self.ears.leave(&self.run);
            let answers = self.ears.pass(self.run.clone(), asked).await;
            self.ears.calls().push(self.run.clone());
            answers
        })
    }

    fn hear(&self, said: Said) {
        self.ears.tell(&self.run, said);
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

    /// From now on a call of this run is under way: in its turn, where a server that has a session may ask.
    pub(super) async fn during(
        self: &Arc<Self>,
        run: (Tenant, RunId),
        client: &Client,
    ) -> During<'_> {
        let turn = match client.has_session() && self.may != Able::default() {
            true => Some(self.turn.lock().await),
            false => None,
        };
        let there = self.passing.able((&run.0, &run.1));
        let able = there.map(|there| Able {
            elicitation: there.elicitation && self.may.elicitation,
            sampling: there.sampling && self.may.sampling,
            roots: there.roots && self.may.roots,
        });
        self.calls().push(run.clone());
        During { end: Arc::new(End { ears: Arc::clone(self), run, able }), _turn: turn }
    }

    fn leave(&self, run: &(Tenant, RunId)) {
        let mut calls = self.calls();
        if let Some(place) = calls.iter().position(|one| one == run) {
            calls.swap_remove(place);
        }
    }

    async fn pass(&self, run: (Tenant, RunId), mut asked: Vec<Asked>) -> Option<Answers> {
        for one in &mut asked {
            self.redactor.scrub_value(&mut one.params);
            self.attribute(one);
        }
        self.passing.ask(run, asked).await
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

    fn tell(&self, (tenant, run): &(Tenant, RunId), said: Said) {
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
        self.passing.hear((tenant, run), said);
    }

    fn calls(&self) -> MutexGuard<'_, Vec<(Tenant, RunId)>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The call that is under way, if it is one alone.
    fn only(&self) -> Option<(Tenant, RunId)> {
        match self.calls().as_slice() {
            [one] => Some(one.clone()),
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
            (said, Some(run)) => self.tell(&run, said),
            (_, None) => {}
        }
    }
}
