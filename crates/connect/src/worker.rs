//! Workers as connectors: an application that cannot be reached comes for its jobs. A permitted call waits at the
//! desk of its system, leaves when a worker takes it, and ends with the first thing that worker commits.
//!
//! A job is handed out once. Whoever took it says now and then that it is still there; when it falls silent, or the
//! operation's deadline is over, nobody knows what came of it, and a job is never given to a second worker. Nothing
//! here is durable: after a restart every lease is over.

mod book;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kernel::{
    canon,
    exception::{Class, Landed},
    id::{At, Digest, EffectKey, OperationId, PrincipalId, RunId, Seq, Tenant},
    port::Failure,
};
use serde_json::{Value, json};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep_until},
};

use book::{Book, Cancelled, Delivery, Door, Entry, Lease, Stage};

use crate::{
    call::{Call, Departure, clip, fail, outside_class, refuse},
    error::Error,
    ingest::Pick,
    read::Reader,
    redact::Redactor,
    started::SAID_MAX_CHARS,
    system::WorkerSystem,
};

/// Longest pause between two words of a worker that a system may declare, in milliseconds.
const HEARTBEAT_MAX_MS: u32 = 600_000;

/// Pauses without a word after which a worker is taken for lost.
const SILENT_BEATS: u32 = 2;

/// Most jobs that a system may let wait.
const WAITING_MAX: usize = 10_000;

/// Most services that may take jobs of one system.
const PRINCIPALS_MAX: usize = 100;

/// What a principal that may take jobs begins with: a program with a token of its own.
const SERVICE: &str = "service:";

/// What is asked of a worker.
#[derive(Debug)]
pub(crate) struct Chore {
    pub(crate) system: String,
    task: String,
    result: String,
    external_ref: Option<String>,
}

impl Chore {
    pub(crate) fn compile(binding: &Reader<'_>) -> Result<Self, Error> {
        binding.only(&["kind", "system", "task", "result", "external_ref"])?;
        Ok(Self {
            system: binding.text("system")?.to_owned(),
            task: binding.text("task")?.to_owned(),
            result: binding.pointer("result")?.unwrap_or_default(),
            external_ref: binding.pointer("external_ref")?,
        })
    }

    pub(crate) fn pick(&self) -> Pick<'_> {
        let external_ref = self.external_ref.as_deref();
        Pick { result: &self.result, external_ref, ..Pick::default() }
    }
}

/// Who comes to a desk.
#[derive(Clone, Copy, Debug)]
pub struct Worker<'a> {
    /// Whose jobs it may see.
    pub tenant: &'a Tenant,
    /// The service it is.
    pub principal: &'a PrincipalId,
}

/// A job that a worker has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What the pack calls it.
    pub task: String,
    /// The operation.
    pub operation: OperationId,
    /// Exactly these arguments.
    pub args: Arc<Value>,
    /// The run it is of.
    pub run: RunId,
    /// Which action of that run, by its proposal's place in the journal.
    pub action: Seq,
    /// Its idempotency key: the same for every try of the same effect.
    pub key: EffectKey,
    /// How long it is waited for from now on, in milliseconds.
    pub left_ms: u64,
    /// How often the worker says that it is still there, in milliseconds.
    pub heartbeat_ms: u32,
}

/// What a worker says came of its job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It was done; this is its output.
    Done(Value),
    /// It failed.
    Failed {
        /// How.
        class: Class,
        /// In words.
        message: String,
        /// Whether something changed.
        landed: Landed,
    },
}

/// What a worker is told when it says that it is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// It goes on; so many milliseconds are left.
    Wanted(u64),
    /// The run is to end: stop if that is possible, and commit what came of it within so many milliseconds.
    Cancelled(u64),
    /// Nobody waits for it any more.
    Over,
}

/// How a commit was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is what came of the job.
    First(Evidence),
    /// It was said before, word for word.
    Again,
}

/// Which job a word was about, and the word's digest; never the word itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The operation.
    pub operation: OperationId,
    /// The run.
    pub run: RunId,
    /// The key.
    pub key: EffectKey,
    /// SHA-256 of what was said, in its canonical form.
    pub said: Digest,
}

/// Why a commit does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No such lease is known: it was of a process that has ended, or it never was.
    Unknown,
    /// It is another tenant's, or another service's.
    NotYours,
    /// Its end came first; which job it was.
    Late(Box<Evidence>),
    /// Something else was committed before.
    Differs,
    /// It cannot be written down.
    Unusable(String),
}

/// How a desk stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Jobs that wait.
    pub waiting: usize,
    /// Jobs that a worker has.
    pub leased: usize,
    /// Who came last, and when in milliseconds since the Unix epoch.
    pub last_seen: Option<(PrincipalId, At)>,
}

/// Where the workers of one system come for their jobs.
#[derive(Debug)]
pub struct Desk {
    name: String,
    principals: BTreeSet<PrincipalId>,
    heartbeat_ms: u32,
    waiting_max: usize,
    book: Mutex<Book>,
    changed: watch::Sender<u64>,
}

/// Takes a job back when its call is over, however it ends.
struct Waiting<'d> {
    desk: &'d Desk,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut book = self.desk.book();
        book.waiting.retain(|entry| entry.number != self.number);
        book.end(self.number);
        drop(book);
        self.desk.note_change();
    }
}

impl Desk {
    pub(crate) fn new(name: &str, declared: &WorkerSystem) -> Result<Self, Error> {
        let wrong = |problem: String| Error::System { system: name.to_owned(), problem };
        if declared.principals.is_empty() || declared.principals.len() > PRINCIPALS_MAX {
            return Err(wrong(format!(
                "`principals` must name 1 to {PRINCIPALS_MAX} services, such as `[\"service:billing\"]`"
            )));
        }
        if let Some(other) = declared.principals.iter().find(|p| !p.as_str().starts_with(SERVICE)) {
            return Err(wrong(format!(
                "`principals`: {other} is no service; a worker has a token of a service"
            )));
        }
        if !(1..=HEARTBEAT_MAX_MS).contains(&declared.heartbeat_ms) {
            return Err(wrong(format!("`heartbeat_ms` must be 1 to {HEARTBEAT_MAX_MS}")));
        }
        if !(1..=WAITING_MAX).contains(&declared.waiting_max) {
            return Err(wrong(format!("`waiting_max` must be 1 to {WAITING_MAX}")));
        }
        Ok(Self {
            name: name.to_owned(),
            principals: declared.principals.clone(),
            heartbeat_ms: declared.heartbeat_ms,
            waiting_max: declared.waiting_max,
            book: Mutex::default(),
            changed: watch::Sender::new(0),
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The system whose jobs these are.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether somebody may take jobs here.
    #[must_use]
    pub fn serves(&self, principal: &PrincipalId) -> bool {
        self.principals.contains(principal)
    }

    /// Wakes whenever a job has come or gone.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Hands out nothing any more: the process is about to end.
    pub fn close(&self) {
        self.book().door = Door::Closed;
        self.note_change();
    }

    /// Whether jobs are handed out.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.book().door == Door::Open
    }

    /// Returns once no worker has a job.
    pub async fn settled(&self) {
        let mut changed = self.watch();
        loop {
            changed.borrow_and_update();
            if self.book().leased.is_empty() || changed.changed().await.is_err() {
                return;
            }
        }
    }

    fn note_change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let book = self.book();
        let (waiting, leased) = (book.waiting.len(), book.leased.len());
        Standing { waiting, leased, last_seen: book.last_seen.clone() }
    }

    /// Hands the job that has waited longest to a worker, under a lease of this id, which must be new. From here on
    /// it may be done, and nobody else is given it.
    #[must_use]
    pub fn lease(&self, worker: Worker<'_>, id: &str, at: At) -> Option<Job> {
        let mut book = self.book();
        book.last_seen = Some((worker.principal.clone(), at));
        if book.door == Door::Closed {
            return None;
        }
        let may_leave =
            |entry: &Entry| entry.tenant == *worker.tenant && entry.departure.leave().is_ok();
        let place = book.waiting.iter().position(may_leave)?;
        let entry = book.waiting.remove(place)?;
        entry.departure.mark_tried();
        entry.stage.send_replace(Stage::Leased(self.silent_at()));
        let job = Job { left_ms: left_ms(entry.until), ..entry.job.clone() };
        let principal = worker.principal.clone();
        book.leased.insert(id.to_owned(), Lease { entry, principal, cancelled: Cancelled::No });
        Some(job)
    }

    /// A worker says that it is still at its job.
    #[must_use]
    pub fn beat(&self, worker: Worker<'_>, id: &str, at: At) -> Beat {
        let mut book = self.book();
        book.last_seen = Some((worker.principal.clone(), at));
        let Some(lease) = book.leased.get(id).filter(|lease| lease.is_of(worker)) else {
            return Beat::Over;
        };
        lease.entry.stage.send_replace(Stage::Leased(self.silent_at()));
        let left = left_ms(lease.entry.until);
        match lease.cancelled {
            Cancelled::No => Beat::Wanted(left),
            Cancelled::Yes => Beat::Cancelled(left),
        }
    }

    /// Takes what came of a job: the first word counts.
    ///
    /// # Errors
    /// Why it does not count.
    pub async fn commit(&self, worker: Worker<'_>, id: &str, said: Said) -> Result<Taken, Refused> {
        let digest = digest_of(&said)?;
        let (before, ended) = {
            let mut book = self.book();
            if book.leased.get(id).is_some_and(|lease| !lease.is_of(worker)) {
                return Err(Refused::NotYours);
            }
            match book.leased.remove(id) {
                Some(lease) => {
                    let (kept, reached) = watch::channel(false);
                    let ended = lease.ended(Some((digest, reached)));
                    book.remember(id.to_owned(), ended.clone());
                    // Where nobody waits any more it is let go here.
                    drop(lease.entry.said.send(Delivery { said, kept }));
                    (Before::Nothing, ended)
                }
                None => (Before::Something, book.ended.get(id).cloned().ok_or(Refused::Unknown)?),
            }
        };
        if ended.tenant != *worker.tenant || ended.principal != *worker.principal {
            return Err(Refused::NotYours);
        }
        let evidence = ended.evidence(&digest);
        let Some((first, mut reached)) = ended.committed else {
            return Err(Refused::Late(Box::new(evidence)));
        };
        if reached.wait_for(|reached| *reached).await.is_err() {
            return Err(Refused::Late(Box::new(evidence)));
        }
        match before {
            Before::Nothing => Ok(Taken::First(evidence)),
            Before::Something if first == digest => Ok(Taken::Again),
            Before::Something => Err(Refused::Differs),
        }
    }

    /// A run is to end: its jobs that nobody took are withdrawn, and who works for it hears of it.
    pub(crate) fn cancel(&self, tenant: &Tenant, run: &RunId) {
        let mut book = self.book();
        let is_of_it = |entry: &Entry| entry.tenant == *tenant && entry.job.run == *run;
        book.waiting.retain(|entry| !is_of_it(entry));
        let leased = book.leased.values_mut().filter(|lease| is_of_it(&lease.entry));
        leased.for_each(|lease| lease.cancelled = Cancelled::Yes);
    }

    /// Lets a call wait for a worker, and then for what came of it: the output as JSON. The caller bounds the time.
    pub(crate) async fn call(
        &self,
        (chore, call): (&Chore, &Call),
        (departure, deadline): (&Arc<Departure>, Duration),
        redactor: &Redactor,
    ) -> Result<Vec<u8>, Failure> {
        let mut told = (*call.args).clone();
        redactor.scrub_value(&mut told);
        if told != *call.args {
            return Err(refuse("the arguments hold a secret, which goes to no worker"));
        }
        let (waiting, mut stage, mut said) = self.wait(chore, call, (departure, deadline))?;
        loop {
            let now = *stage.borrow_and_update();
            let (Stage::Waiting(until) | Stage::Leased(until)) = now;
            tokio::select! {
                biased;
                delivered = &mut said => return self.end(delivered.ok(), departure, redactor),
                _ = stage.changed() => {}
                () = sleep_until(until) => {
                    if let Some(failure) = self.give_up(waiting.number, departure) {
                        return Err(failure);
                    }
                }
            }
        }
    }

    /// Puts a call in line.
    fn wait(
        &self,
        chore: &Chore,
        call: &Call,
        (departure, deadline): (&Arc<Departure>, Duration),
    ) -> Result<(Waiting<'_>, watch::Receiver<Stage>, oneshot::Receiver<Delivery>), Failure> {
        departure.check()?;
        let now = Instant::now();
        let (stage, stages) = watch::channel(Stage::Waiting(now + departure.left()));
        let (said, hears) = oneshot::channel();
        let job = Job {
            task: chore.task.clone(),
            operation: call.operation.id.clone(),
            args: Arc::clone(&call.args),
            run: call.run.clone(),
            action: call.action,
            key: call.key.clone(),
            left_ms: 0,
            heartbeat_ms: self.heartbeat_ms,
        };
        let (tenant, departure) = (call.tenant.clone(), Arc::clone(departure));
        let number = {
            let mut book = self.book();
            if book.waiting.len() >= self.waiting_max {
                let message = format!(
                    "{} jobs wait for a worker of `{}`, which is `waiting_max`; nothing left",
                    self.waiting_max, self.name
                );
                return Err(fail(Class::Unavailable, Landed::No, message));
            }
            book.number += 1;
            let (number, until) = (book.number, now + deadline);
            let entry = Entry { number, tenant, job, departure, until, stage, said };
            book.waiting.push_back(entry);
            number
        };
        self.note_change();
        Ok((Waiting { desk: self, number }, stages, hears))
    }

    /// How a call ends whose time as it is has passed; nothing if it got on meanwhile.
    fn give_up(&self, number: u64, departure: &Departure) -> Option<Failure> {
        let mut book = self.book();
        if book.waiting.iter().any(|entry| entry.number == number) {
            book.waiting.retain(|entry| entry.number != number);
            let message = format!(
                "no worker of `{}` took the call while it might leave; nothing left",
                self.name
            );
            return Some(fail(Class::Unavailable, Landed::No, message));
        }
        let lease = book.leased.values().find(|lease| lease.entry.number == number)?;
        let Stage::Leased(silent_at) = *lease.entry.stage.borrow() else { return None };
        if Instant::now() < silent_at {
            return None;
        }
        book.end(number);
        let message = format!(
            "the worker of `{}` that took the call has said nothing for {} ms",
            self.name,
            u64::from(self.heartbeat_ms) * u64::from(SILENT_BEATS)
        );
        Some(fail(Class::Timeout, departure.landed(), message))
    }

    /// What a call ends with.
    fn end(
        &self,
        delivered: Option<Delivery>,
        departure: &Departure,
        redactor: &Redactor,
    ) -> Result<Vec<u8>, Failure> {
        let Some(Delivery { said, kept }) = delivered else {
            let message = "withdrawn: the run was cancelled before a worker took the call";
            return Err(fail(Class::Unavailable, departure.landed(), message));
        };
        // From here on nothing keeps it from the run.
        kept.send_replace(true);
        match said {
            Said::Done(output) => canon::bytes(&output).map_err(|error| {
                let message = format!("the output of `{}` cannot be used: {error}", self.name);
                fail(Class::UnexpectedShape, departure.landed(), message)
            }),
            Said::Failed { class, message, landed } => {
                // A read has no effect, whatever its worker says.
                let landed = match departure.landed() {
                    Landed::Unknown => landed,
                    Landed::No | Landed::Yes => Landed::No,
                };
                let message = clip(&redactor.scrub_text(&message), SAID_MAX_CHARS);
                Err(fail(outside_class(class), landed, message))
            }
        }
    }

    fn silent_at(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.heartbeat_ms.into()) * SILENT_BEATS
    }
}

/// What was committed under a lease before.
enum Before {
    Nothing,
    Something,
}

fn digest_of(said: &Said) -> Result<Digest, Refused> {
    let value = match said {
        Said::Done(output) => json!({ "ok": output }),
        Said::Failed { class, message, landed } => {
            json!({ "failed": { "class": class, "message": message, "landed": landed } })
        }
    };
    let bytes = canon::bytes(&value).map_err(|error| Refused::Unusable(error.to_string()))?;
    Ok(Digest::of(&bytes))
}

fn left_ms(until: Instant) -> u64 {
    let left = until.saturating_duration_since(Instant::now());
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
