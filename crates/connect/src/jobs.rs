//! Commands that go on while their run does something else: started, listened to from where one left off, reached at the
//! port at which they listen, and ended.
//!
//! A job belongs to the run that started it and to this process. It ends with the run, when nobody has asked about it
//! for a while, at its own deadline, and with the harness, however that ends: its guard watches.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::{self, Read, pipe},
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use kernel::{
    exception::{Class, Landed},
    id::{RunId, Tenant},
    port::Failure,
};
use sandbox::{Child, Command, Door, End, Finished, Leash, Output};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{sync::Notify, time::Instant};

use crate::{
    call::{Call, fail, refuse},
    folder::{RESULT_BYTES, read_args, shrinking},
    redact::{Redactor, Scrubber},
    started::name,
    way_out::Opened,
};

/// Most jobs of one run that go on at the same time.
const RUNNING_PER_RUN_MAX: usize = 4;

/// Most jobs of one folder that go on at the same time, over all runs.
const RUNNING_MAX: usize = 16;

/// Most jobs of one run that are remembered; of more, the oldest that has ended is forgotten.
const REMEMBERED_PER_RUN_MAX: usize = 16;

/// Most bytes of a job's output that are kept; older ones are dropped.
const KEPT_MAX_BYTES: usize = 1 << 20;

/// How long a job goes on that nobody asks about.
const UNATTENDED: Duration = Duration::from_secs(600);

/// Longest that a call waits for a job to say something, in milliseconds.
const WAIT_MAX_MS: u64 = 20_000;

/// Bytes that are read at a time.
const CHUNK: usize = 16 << 10;

/// Jobs of one folder.
#[derive(Debug, Default)]
pub(crate) struct Jobs(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table(BTreeMap<(Tenant, RunId), OfRun>);

#[derive(Debug, Default)]
struct OfRun {
    /// How many it has started.
    started: u64,
    jobs: Vec<Arc<Job>>,
}

#[derive(Debug)]
struct Job {
    number: u64,
    command: String,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    said: Window,
    /// Ends it and all it started when it is dropped.
    leash: Option<Leash>,
    /// Leads to the port at which it listens, where its profile has one; gone with it.
    door: Option<Door>,
    ended: Option<Result<Finished, String>>,
    /// Why it was ended from outside.
    because: Option<&'static str>,
    asked_at: Instant,
}

/// The latest of a stream, and where in all of it that begins.
#[derive(Debug, Default)]
struct Window {
    from: u64,
    bytes: VecDeque<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reading {
    job: u64,
    #[serde(default)]
    from: u64,
    #[serde(default)]
    wait_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Naming {
    job: u64,
}

/// A command that can be started, with both of its streams going to one place.
pub(crate) struct Prepared {
    pub(crate) command: Command,
    output: File,
}

impl Prepared {
    pub(crate) fn new(command: Command) -> io::Result<Self> {
        let (output, to) = pipe()?;
        let errors = to.try_clone()?;
        let command = command.output(Output::To(to.into())).errors(Output::To(errors.into()));
        Ok(Self { command, output: File::from(OwnedFd::from(output)) })
    }

    /// Apart: what is started, and where it is heard.
    pub(crate) fn split(self) -> (Command, File) {
        (self.command, self.output)
    }
}

/// What runs, and what it needs while it does.
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) output: File,
    pub(crate) out: Opened,
    pub(crate) redactor: Arc<Redactor>,
}

impl Jobs {
    /// Whether one more may be started; refused before anything is.
    pub(crate) fn admit(&self, call: &Call) -> Result<(), Failure> {
        let table = self.table();
        let running = |of: &OfRun| of.jobs.iter().filter(|job| job.goes_on()).count();
        let own = table.0.get(&key(call)).map_or(0, running);
        let all: usize = table.0.values().map(running).sum();
        if own < RUNNING_PER_RUN_MAX && all < RUNNING_MAX {
            return Ok(());
        }
        let (most, whose) = if own < RUNNING_PER_RUN_MAX {
            (RUNNING_MAX, "in this folder")
        } else {
            (RUNNING_PER_RUN_MAX, "of this run")
        };
        Err(refuse(format!("{most} jobs {whose} go on already; stop one, or wait for its end")))
    }

    /// Takes over what was started.
    pub(crate) fn keep(
        &self,
        call: &Call,
        command: &str,
        mut started: Started,
    ) -> io::Result<Value> {
        let leash = started.child.leash()?;
        let door = started.child.door();
        let mut table = self.table();
        let of_run = table.0.entry(key(call)).or_default();
        of_run.started += 1;
        let state = State {
            said: Window::default(),
            leash: Some(leash),
            door,
            ended: None,
            because: None,
            asked_at: Instant::now(),
        };
        let job = Arc::new(Job {
            number: of_run.started,
            command: command.to_owned(),
            state: Mutex::new(state),
            changed: Notify::new(),
        });
        let heard = Arc::clone(&job);
        thread::Builder::new().name("job".to_owned()).spawn(move || heard.hear(started))?;
        tokio::spawn(Arc::clone(&job).attend());
        if of_run.jobs.len() >= REMEMBERED_PER_RUN_MAX
            && let Some(oldest) = of_run.jobs.iter().position(|job| !job.goes_on())
        {
            of_run.jobs.remove(oldest);
        }
        let number = job.number;
        of_run.jobs.push(job);
        Ok(json!({ "job": number }))
    }

    /// What a job has said from a place on, and how it stands.
    pub(crate) async fn read(&self, call: &Call) -> Result<Value, Failure> {
        let Reading { job, from, wait_ms } = read_args(&call.args)?;
        let job = self.job(call, job)?;
        let wait = Duration::from_millis(wait_ms.min(WAIT_MAX_MS));
        let news = async {
            loop {
                let changed = job.changed.notified();
                if job.has_news(from) {
                    return;
                }
                changed.await;
            }
        };
        // Nothing new in time is an answer, too.
        let _in_time = tokio::time::timeout(wait, news).await;
        shrinking(RESULT_BYTES / 2, |most| Ok(job.tell(from, most)))
    }

    /// Ends a job and all it started, and waits until that is done.
    pub(crate) async fn stop(&self, call: &Call) -> Result<Value, Failure> {
        let Naming { job } = read_args(&call.args)?;
        let job = self.job(call, job)?;
        job.end("it was stopped");
        loop {
            let changed = job.changed.notified();
            if !job.goes_on() {
                break;
            }
            changed.await;
        }
        Ok(job.stand())
    }

    /// Every job of the run.
    pub(crate) fn list(&self, call: &Call) -> Value {
        let table = self.table();
        let jobs = table.0.get(&key(call)).map(|of| of.jobs.as_slice()).unwrap_or_default();
        json!({ "jobs": jobs.iter().map(|job| job.stand()).collect::<Vec<_>>() })
    }

    /// Ends whatever a run has started, and forgets it.
    pub(crate) fn over(&self, tenant: &Tenant, run: &RunId) {
        let of_run = self.table().0.remove(&(tenant.clone(), run.clone()));
        for job in of_run.into_iter().flat_map(|of| of.jobs) {
            job.end("its run is over");
        }
    }

    /// A job of a run that goes on and may listen at a port.
    pub(crate) fn served(&self, tenant: &Tenant, run: &RunId, number: u64) -> Option<Served> {
        let table = self.table();
        let jobs = table.0.get(&(tenant.clone(), run.clone()))?.jobs.as_slice();
        let job = jobs.iter().find(|job| job.number == number)?;
        let may_listen = job.state().door.is_some();
        may_listen.then(|| Served { job: Arc::clone(job) })
    }

    fn job(&self, call: &Call, number: u64) -> Result<Arc<Job>, Failure> {
        let table = self.table();
        let jobs = table.0.get(&key(call)).map(|of| of.jobs.as_slice()).unwrap_or_default();
        let job = jobs.iter().find(|job| job.number == number).map(Arc::clone);
        let job = job.ok_or_else(|| {
            let message = format!(
                "this run has no job {number}: it was never started, or it ended with the process that ran it"
            );
            fail(Class::InvalidArguments, Landed::No, message)
        })?;
        job.state().asked_at = Instant::now();
        Ok(job)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        for job in std::mem::take(&mut self.table().0).into_values().flat_map(|of| of.jobs) {
            job.end("the harness ended");
        }
    }
}

/// A job that may be reached at the port at which it listens.
#[derive(Clone, Debug)]
pub struct Served {
    job: Arc<Job>,
}

impl Served {
    /// A connection to its port. It ends at once where the job does not listen, or not yet.
    ///
    /// # Errors
    /// Where the job has ended, or too many connections wait already.
    pub fn dial(&self) -> io::Result<UnixStream> {
        let mut state = self.job.state();
        // Whoever uses it asks about it.
        state.asked_at = Instant::now();
        match &state.door {
            Some(door) => door.dial(),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The command that it runs.
    #[must_use]
    pub fn command(&self) -> &str {
        &self.job.command
    }

    /// Returns when the job has ended.
    pub async fn ended(&self) {
        loop {
            let changed = self.job.changed.notified();
            if !self.job.goes_on() {
                return;
            }
            changed.await;
        }
    }
}

fn key(call: &Call) -> (Tenant, RunId) {
    (call.tenant.clone(), call.run.clone())
}

impl Job {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn goes_on(&self) -> bool {
        self.state().ended.is_none()
    }

    fn has_news(&self, from: u64) -> bool {
        let state = self.state();
        state.ended.is_some() || state.said.end() > from
    }

    fn end(&self, because: &'static str) {
        let mut state = self.state();
        if state.leash.take().is_some() && state.ended.is_none() {
            state.because = Some(because);
        }
    }

    /// Ends it once nobody has asked about it for too long.
    async fn attend(self: Arc<Self>) {
        loop {
            let (until, over) = {
                let state = self.state();
                (state.asked_at + UNATTENDED, state.ended.is_some())
            };
            if over {
                return;
            }
            if Instant::now() >= until {
                return self.end("nobody asked about it");
            }
            let changed = self.changed.notified();
            let _which = tokio::time::timeout_at(until, changed).await;
        }
    }

    /// Listens until it has ended.
    fn hear(&self, started: Started) {
        let Started { child, mut output, out, redactor } = started;
        let mut scrubber = Scrubber::lines(redactor);
        let mut chunk = vec![0; CHUNK];
        loop {
            let got = match output.read(&mut chunk) {
                Ok(0) => break,
                Ok(got) => chunk.get(..got).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let clean = scrubber.push(got);
            self.state().said.push(&clean);
            self.changed.notify_waiters();
        }
        let rest = scrubber.finish();
        let ended = child.wait().map_err(|error| error.to_string());
        // What was asked of the outside is over with it.
        drop(out);
        let mut state = self.state();
        state.said.push(&rest);
        state.leash = None;
        state.door = None;
        state.ended = Some(ended);
        drop(state);
        self.changed.notify_waiters();
    }

    fn tell(&self, from: u64, most: usize) -> Value {
        let mut told = self.stand();
        let state = self.state();
        let (at, bytes) = state.said.after(from, most);
        let cut = if state.ended.is_some() { bytes.len() } else { whole_chars(&bytes) };
        let text = String::from_utf8_lossy(bytes.get(..cut).unwrap_or_default()).into_owned();
        if let Some(told) = told.as_object_mut() {
            told.insert("output".to_owned(), json!(text));
            told.insert("from".to_owned(), json!(at));
            told.insert("next".to_owned(), json!(at + cut as u64));
            told.insert("end".to_owned(), json!(state.said.end()));
            told.insert("lost".to_owned(), json!(at.saturating_sub(from)));
        }
        told
    }

    fn stand(&self) -> Value {
        let state = self.state();
        let (mut exit_code, mut signal, mut limits, mut problem) = (None, None, Vec::new(), None);
        match &state.ended {
            None => {}
            Some(Err(error)) => problem = Some(format!("nobody knows how it ended: {error}")),
            Some(Ok(finished)) => {
                match finished.outcome.end {
                    End::Exit(code) => exit_code = Some(code),
                    End::Signal(number) => signal = Some(number),
                }
                limits = finished.outcome.limits.iter().map(|limit| name(*limit)).collect();
            }
        }
        let stands = if state.ended.is_some() { "ended" } else { "running" };
        json!({
            "job": self.number, "command": self.command, "state": stands, "exit_code": exit_code,
            "signal": signal, "limits": limits, "because": state.because.map(str::to_owned).or(problem),
        })
    }
}

impl Window {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let above = self.bytes.len().saturating_sub(KEPT_MAX_BYTES);
        self.bytes.drain(..above);
        self.from += above as u64;
    }

    fn end(&self) -> u64 {
        self.from + self.bytes.len() as u64
    }

    /// At most so many bytes from a place on, and where they begin: later, where older ones are gone.
    fn after(&self, from: u64, most: usize) -> (u64, Vec<u8>) {
        let at = from.clamp(self.from, self.end());
        let skipped = usize::try_from(at - self.from).unwrap_or(usize::MAX);
        (at, self.bytes.iter().skip(skipped).take(most).copied().collect())
    }
}

/// How many bytes are whole characters; the rest of one that is under way is read with what follows.
fn whole_chars(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && bytes.len() - error.valid_up_to() < 4 => {
            // A text of nothing else would never go on.
            if error.valid_up_to() == 0 { bytes.len() } else { error.valid_up_to() }
        }
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_keeps_the_latest_and_says_where_it_begins() {
        let mut said = Window::default();
        said.push(b"abcdef");
        assert_eq!(said.after(2, 3), (2, b"cde".to_vec()));
        assert_eq!(said.after(99, 3), (6, Vec::new()));
        said.push(&vec![b'x'; KEPT_MAX_BYTES]);
        assert_eq!((said.from, said.end()), (6, 6 + KEPT_MAX_BYTES as u64));
        assert_eq!(said.after(0, 2), (6, b"xx".to_vec()));
    }

    #[test]
    fn half_a_character_waits_for_its_other_half() {
        assert_eq!(whole_chars("aé".as_bytes()), 3);
        assert_eq!(whole_chars(&"aé".as_bytes()[..2]), 1);
        assert_eq!(whole_chars(&[b'a', 0xff, b'b']), 3);
        assert_eq!(whole_chars(&[0xc3]), 1);
    }
}
