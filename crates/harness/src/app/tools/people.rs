//! Whoever is at the other end of a call of a server: the client that the proxy makes it for or, where there is none, the
//! people of ours whose role its system names. What people are asked is a typed question of the run, in its journal and in
//! their inbox, for as long as the call is open; what a client is asked and answers is put down as it is passed on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use connect::mcp::{Calling, Form, Passing, There, Told};
use kernel::{
    Digest, canon,
    event::{Body, Record, Side},
    id::{ApprovalId, At, RunId, Seq, Tenant},
    input::{Elicitation, Input, Relay},
    port::Task,
    run::RELAYED_MAX_BYTES,
};
use mcp::server::{Able, Answers, Asked, List, Said};
use serde_json::{Value, json};
use store::{PAGE_MAX, Query as _};
use tokio::time::{Duration, Instant, sleep, timeout};

use super::ends::Ends;
use crate::app::{App, parse_id, problem::Problem, whole::Whole};

/// Who hands in what servers ask.
const SERVERS: &str = "service:harness-servers";

/// How long whoever waits relies on being told.
const LOOKS_AGAIN: Duration = Duration::from_secs(5);

/// How long the run may take to hear that the time is over.
const CLOSES_WITHIN: Duration = Duration::from_secs(5);

/// The other ends of calls.
#[derive(Debug)]
pub(in crate::app) struct OtherEnds {
    clients: Arc<Ends>,
    app: Arc<Whole>,
}

impl OtherEnds {
    /// These clients of the proxy, and people who are asked by this app.
    pub(in crate::app) fn of(clients: &Arc<Ends>, app: &Arc<Whole>) -> Arc<Self> {
        Arc::new(Self { clients: Arc::clone(clients), app: Arc::clone(app) })
    }
}

impl Passing for OtherEnds {
    fn there(&self, call: &Calling) -> Option<There> {
        match self.clients.able((&call.tenant, &call.run)) {
            Some(able) => Some(There { able, hears: true }),
            None => call.answered_by().map(|_| There {
                able: Able { elicitation: true, ..Able::default() },
                hears: false,
            }),
        }
    }

    fn ask(&self, call: Arc<Calling>, asked: Vec<Asked>) -> Task<'_, Option<Answers>> {
        Box::pin(async move {
            let app = self.app.get()?;
            if self.clients.able((&call.tenant, &call.run)).is_some() {
                return the_client_says(&app, &self.clients, &call, asked).await;
            }
            people_say(&app, &call, &asked).await
        })
    }

    fn hear(&self, run: (&Tenant, &RunId), said: Said) {
        self.clients.hear(run, said);
    }

    fn updated(&self, system: &str, uri: &str) {
        self.clients.updated(system, uri);
    }

    fn relisted(&self, system: &str, list: List) {
        self.clients.heard_relisted(system, list);
    }
}

/// What the client of the call answers. It is asked what the journal has, and what it answers is told once the journal has
/// it.
async fn the_client_says(
    app: &App,
    clients: &Ends,
    call: &Calling,
    asked: Vec<Asked>,
) -> Option<Answers> {
    let mut numbers = Vec::new();
    for Asked { key, method, params } in &asked {
        let nth = call.next_question();
        relay(app, call, (nth, Side::Server), json!({"method": method, "params": params})).await?;
        numbers.push((key.clone(), nth));
    }
    let answers = clients.ask((call.tenant.clone(), call.run.clone()), asked).await;
    for (key, nth) in numbers {
        let answer = answers.as_ref().and_then(|answers| answers.get(&key)).cloned();
        relay(app, call, (nth, Side::Client), answer.unwrap_or_default()).await?;
    }
    answers
}

/// Puts down what is said, durably; none where the run does not take it.
async fn relay(app: &App, call: &Calling, (nth, from): (u32, Side), said: Value) -> Option<()> {
    // Of what is larger than an event, which it is.
    let bytes = canon::bytes(&said).ok()?;
    let said = match bytes.len() {
        0..=RELAYED_MAX_BYTES => said,
        bytes_long => json!({"digest": Digest::of(&bytes).to_string(), "bytes": bytes_long}),
    };
    let (action, attempt) = (call.action, call.attempt);
    let relay = Box::new(Relay { action, attempt, nth, from, said: Arc::new(said) });
    match hand_in(app, call, Input::Relayed { relay }).await {
        Ok(()) => Some(()),
        Err(problem) => {
            let (run, system) = (&call.run, &call.system);
            tracing::debug!(%run, system, problem = problem.detail, "what is relayed is not put down");
            None
        }
    }
}

async fn hand_in(app: &App, call: &Calling, input: Input) -> Result<(), Problem> {
    let key = (call.tenant.clone(), call.run.clone());
    let signal = uuid::Uuid::now_v7().to_string();
    let taken = app.engine.input(key, (signal, parse_id(SERVERS)?), input).await?;
    taken.map_err(crate::app::runs::refusal)
}

/// What people answer to everything that is asked at once; none where one part of it is nothing that a person can be asked.
async fn people_say(app: &App, call: &Calling, asked: &[Asked]) -> Option<Answers> {
    let role = call.answered_by()?;
    let forms = asked.iter().map(Form::of).collect::<Option<Vec<_>>>()?;
    let mut asking = Asking::of(app, call);
    let mut numbers = Vec::new();
    for form in &forms {
        let nth = call.next_question();
        numbers.push(nth);
        asking.ask(nth, (form, role)).await;
    }
    asking.wait().await;
    let said = asked.iter().zip(&forms).zip(numbers);
    let said = said.map(|((one, form), nth)| {
        let told = asking.over.get(&nth).and_then(Option::as_deref);
        (one.key.clone(), form.result(told.map_or(Told::Nothing, Told::Answer)))
    });
    Some(said.collect())
}

/// The questions that were asked at once, as the journal has them.
struct Asking<'a> {
    app: &'a App,
    call: &'a Calling,
    by: Instant,
    /// Where the journal is read on.
    next: Seq,
    /// Those that are asked, by number, and those that are not any more, with what was answered.
    asked: BTreeSet<u32>,
    open: BTreeMap<ApprovalId, u32>,
    over: BTreeMap<u32, Option<Arc<Value>>>,
    expires_at: Option<At>,
}

impl<'a> Asking<'a> {
    fn of(app: &'a App, call: &'a Calling) -> Self {
        let (by, next) = (Instant::now() + call.waits(), call.action);
        let (open, over) = (BTreeMap::new(), BTreeMap::new());
        Self { app, call, by, next, asked: BTreeSet::new(), open, over, expires_at: None }
    }

    /// Puts a question, durably. One that the run does not take is not asked: nobody answers it.
    async fn ask(&mut self, nth: u32, (form, role): (&Form, &str)) {
        let left = self.by.saturating_duration_since(Instant::now());
        let asked = Elicitation {
            action: self.call.action,
            attempt: self.call.attempt,
            nth,
            text: form.text.clone(),
            answer: Arc::new(form.answer.clone()),
            role: role.to_owned(),
            expires_ms: i64::try_from(left.as_millis()).unwrap_or(i64::MAX),
        };
        let taken = timeout(
            left + CLOSES_WITHIN,
            hand_in(self.app, self.call, Input::Elicited { asked: Box::new(asked) }),
        )
        .await;
        match taken {
            Ok(Ok(())) => drop(self.asked.insert(nth)),
            Ok(Err(problem)) => {
                let (run, system) = (&self.call.run, &self.call.system);
                tracing::debug!(%run, system, problem = problem.detail, "a server's question is not asked");
            }
            Err(_) => {}
        }
    }

    /// Waits until each was answered or is not asked any more; what is left when the time is over is closed.
    async fn wait(&mut self) {
        let key = (self.call.tenant.clone(), self.call.run.clone());
        // Before it is looked at: what happens in between has to wake whoever waits.
        let mut changed = self.app.feed.listen(key);
        loop {
            self.look().await;
            if self.over.len() >= self.asked.len() {
                return;
            }
            let left = self.left();
            if left.is_zero() {
                break;
            }
            tokio::select! {
                () = sleep(left.min(LOOKS_AGAIN)) => {}
                _ = changed.next() => {}
            }
        }
        // Time passes for a run when somebody says so: the inbox shows nothing that nobody waits for.
        let _closed = timeout(CLOSES_WITHIN, hand_in(self.app, self.call, Input::Tick)).await;
        self.look().await;
    }

    /// How long people may still answer: by the clock of the run, once it has said until when.
    fn left(&self) -> Duration {
        match self.expires_at {
            Some(at) => {
                let left = at.saturating_sub(self.app.now());
                // One that goes by another clock than this machine's ends with the time of the call.
                let left = Duration::from_millis(u64::try_from(left).unwrap_or_default());
                left.min(self.by.saturating_duration_since(Instant::now()) + CLOSES_WITHIN)
            }
            None => self.by.saturating_duration_since(Instant::now()),
        }
    }

    /// Reads on in the journal.
    async fn look(&mut self) {
        loop {
            let (tenant, run) = (&self.call.tenant, &self.call.run);
            // A store that cannot be read now is looked at again.
            let Ok(page) = self.app.store.events(tenant, run, self.next, PAGE_MAX).await else {
                return;
            };
            let full = page.len() == PAGE_MAX;
            for record in &page {
                self.take(record);
            }
            if !full {
                return;
            }
        }
    }

    fn take(&mut self, record: &Record) {
        self.next = record.event.seq + 1;
        match &record.event.body {
            Body::Elicited { action, attempt, nth, question, expires_at, .. }
                if (*action, *attempt) == (self.call.action, self.call.attempt)
                    && self.asked.contains(nth) =>
            {
                self.open.insert(question.clone(), *nth);
                self.expires_at = self.expires_at.max(Some(*expires_at));
            }
            Body::Replied { question, value, .. } => self.close(question, Some(value.value())),
            Body::Lapsed { question } => self.close(question, None),
            _ => {}
        }
    }

    fn close(&mut self, question: &ApprovalId, answer: Option<Arc<Value>>) {
        if let Some(nth) = self.open.remove(question) {
            self.over.insert(nth, answer);
        }
    }
}
