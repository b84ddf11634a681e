//! Remote workers: an application that cannot be reached comes for the jobs of its system, says that it is still at
//! them, and commits what came of each. Who may is the operator's to say, by the name of a service; a person's
//! credential takes no job, whatever roles they hold.

use connect::worker::{Beat, Desk, Refused, Said, Standing, Taken, Worker};
use kernel::{
    exception::{Class, Landed},
    principal::Kind as Actor,
};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use tokio::time::{Duration, Instant, sleep_until};

use super::{
    App, Caller,
    doctor::Check,
    identity::fresh_hex,
    problem::{Kind, Problem},
    runs::rfc3339,
    value::counted,
};

/// Longest that one request waits for a job, in ms.
const WAIT_MAX_MS: u64 = 30_000;

/// How long workers may take to commit what they have once the end was told, in ms.
const END_WITHIN_MS: u64 = 20_000;

impl App {
    /// Hands out no more jobs, and lets workers commit those that they have: what is not committed by then is as if
    /// its worker had vanished.
    pub async fn part_from_workers(&self) {
        self.connectors.desks().for_each(Desk::close);
        self.connectors.outside().part();
        let all = async {
            for desk in self.connectors.desks() {
                desk.settled().await;
            }
        };
        if tokio::time::timeout(Duration::from_millis(END_WITHIN_MS), all).await.is_err() {
            tracing::warn!("some jobs were not committed in time");
        }
    }
}

/// Asks for a job.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseJob {
    /// The system of kind `worker`.
    pub system: String,
    /// How long to wait for a job, in ms: not at all when nothing is said, at most 30,000.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// The job that was taken, if there was one.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WorkerLease {
    /// Absent when nothing waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<WorkerJob>,
}

/// A job that is this worker's alone.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WorkerJob {
    /// What a heartbeat and the commit name it by.
    pub lease: String,
    /// What is to be done, as the pack calls it.
    pub task: String,
    /// The operation.
    pub operation: String,
    /// Exactly these arguments.
    pub arguments: Value,
    /// The run it is of.
    pub run: String,
    /// Which action of that run, by its place in the journal.
    pub action: u64,
    /// The same for every try of the same effect: what has seen it does nothing twice.
    pub key: String,
    /// How long it is waited for from now on, in ms.
    pub left_ms: u64,
    /// How often to say that it is still being worked at, in ms; after twice as long without a word it is over.
    pub heartbeat_ms: u32,
}

/// Says that a job is still being worked at.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkerBeat {
    /// The system.
    pub system: String,
    /// The lease.
    pub lease: String,
}

/// Whether a job goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// It goes on.
    Wanted,
    /// Its run is to end: stop if that is possible, and commit what came of it.
    Cancelled,
    /// Nobody waits for it any more: what is committed does not count.
    Over,
}

/// How a job stands.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WorkerHeard {
    /// Whether it goes on.
    pub state: WorkerState,
    /// How long it is waited for from now on, in ms.
    pub left_ms: u64,
}

/// Says what came of a job: either `ok` or `failed`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommitJob {
    /// The system.
    pub system: String,
    /// The lease.
    pub lease: String,
    /// It was done; this is its output.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Value")]
    pub ok: Option<Value>,
    /// It failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<WorkerFailure>,
}

/// How a job failed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkerFailure {
    /// A class of failure, such as `unavailable` or `not_found`.
    pub class: String,
    /// In words.
    pub message: String,
    /// Whether something changed: `unknown` where nothing is said.
    #[serde(default)]
    pub landed: WorkerLanded,
}

/// What a worker knows of the effect of a job that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerLanded {
    /// Nothing changed.
    No,
    /// It may have: the harness looks, or a person settles it.
    #[default]
    Unknown,
}

/// How a commit was taken.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WorkerCommitted {
    /// Whether it counts now, or had been said before.
    pub taken: WorkerTaken,
}

/// Whether a commit is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerTaken {
    /// It is what came of the job.
    First,
    /// The same was committed before.
    Again,
}

/// `null` is an output like every other; what is absent is none.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// Takes the job that has waited longest, or waits for one.
///
/// # Errors
/// When the system is none of workers, or the caller is no worker of it.
pub async fn lease(app: &App, caller: &Caller, asked: LeaseJob) -> Result<WorkerLease, Problem> {
    let (desk, worker) = at_desk(app, caller, &asked.system)?;
    let until =
        Instant::now() + Duration::from_millis(asked.wait_ms.unwrap_or_default().min(WAIT_MAX_MS));
    let mut changed = desk.watch();
    loop {
        changed.borrow_and_update();
        // A lease of a process that has ended is never taken for one of this.
        let lease = fresh_hex::<16>()?;
        if let Some(job) = desk.lease(worker, &lease, app.now()) {
            let (system, principal) = (desk.name(), worker.principal);
            let (run, operation) = (&job.run, &job.operation);
            tracing::info!(system, %principal, %run, %operation, lease, "a worker took a job");
            let job = WorkerJob {
                lease,
                task: job.task,
                operation: job.operation.to_string(),
                arguments: (*job.args).clone(),
                run: job.run.to_string(),
                action: job.action,
                key: job.key.to_string(),
                left_ms: job.left_ms,
                heartbeat_ms: job.heartbeat_ms,
            };
            return Ok(WorkerLease { job: Some(job) });
        }
        if !desk.is_open() {
            let detail = "the process is about to end";
            return Err(Problem::new(Kind::TryAgain, "shutting-down", detail)
                .next("come again in a moment"));
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = sleep_until(until) => return Ok(WorkerLease { job: None }),
        }
    }
}

/// Says that a job is still being worked at.
///
/// # Errors
/// When the system is none of workers, or the caller is no worker of it.
pub async fn heartbeat(
    app: &App,
    caller: &Caller,
    said: WorkerBeat,
) -> Result<WorkerHeard, Problem> {
    let (desk, worker) = at_desk(app, caller, &said.system)?;
    let (state, left_ms) = match desk.beat(worker, &said.lease, app.now()) {
        Beat::Wanted(left) => (WorkerState::Wanted, left),
        Beat::Cancelled(left) => (WorkerState::Cancelled, left),
        Beat::Over => (WorkerState::Over, 0),
    };
    Ok(WorkerHeard { state, left_ms })
}

/// Commits what came of a job. The first word counts; the same again is acknowledged.
///
/// # Errors
/// When it is malformed, another's, late, or something else was committed before.
pub async fn commit(
    app: &App,
    caller: &Caller,
    request: CommitJob,
) -> Result<WorkerCommitted, Problem> {
    let (desk, worker) = at_desk(app, caller, &request.system)?;
    let said = said_of(request.ok, request.failed)?;
    let (system, principal, lease) = (desk.name(), worker.principal, &request.lease);
    match desk.commit(worker, lease, said).await {
        Ok(Taken::First(of)) => {
            let (run, operation, said) = (&of.run, &of.operation, &of.said);
            tracing::info!(system, %principal, %run, %operation, lease, %said, "a worker committed");
            Ok(WorkerCommitted { taken: WorkerTaken::First })
        }
        Ok(Taken::Again) => Ok(WorkerCommitted { taken: WorkerTaken::Again }),
        Err(Refused::Late(of)) => {
            let (run, operation, key, said) = (&of.run, &of.operation, &of.key, &of.said);
            tracing::warn!(
                system, %principal, %run, %operation, %key, lease, %said,
                "a worker committed after its lease was over: it does not count"
            );
            Err(over("the lease was over before this was committed"))
        }
        Err(Refused::Unknown) => {
            // Whatever stands in an address may have been written by anybody.
            let lease = super::value::visible(lease);
            tracing::warn!(system, %principal, lease, "a worker committed under no lease of this process");
            Err(over("no such lease is known: it ended with an earlier process, or never was"))
        }
        Err(Refused::NotYours) => {
            Err(Problem::new(Kind::NotAllowed, "not-your-lease", "the lease is another service's")
                .next("commit with the token that the job was taken with"))
        }
        Err(Refused::Differs) => {
            let detail = "something else was committed under this lease before, and counts";
            Err(Problem::new(Kind::Conflict, "commit-differs", detail)
                .next("look at the run; what was committed first is not taken back"))
        }
        Err(Refused::Unusable(why)) => Err(malformed(&format!("the output: {why}"))),
    }
}

fn over(detail: &str) -> Problem {
    Problem::new(Kind::Gone, "lease-over", detail)
        .next("do nothing more for it: the run looks itself, or a person settles what is in doubt")
}

fn malformed(detail: &str) -> Problem {
    Problem::usage("bad-commit", detail.to_owned())
        .next("commit `{\"ok\": OUTPUT}` or `{\"failed\": {\"class\", \"message\", \"landed\"}}`")
}

fn said_of(ok: Option<Value>, failed: Option<WorkerFailure>) -> Result<Said, Problem> {
    match (ok, failed) {
        (Some(output), None) => Ok(Said::Done(output)),
        (None, Some(WorkerFailure { class, message, landed })) => {
            let known = serde_json::from_value::<Class>(Value::String(class));
            let class = known.map_err(|_| malformed("`class` is no class of failure"))?;
            let landed = match landed {
                WorkerLanded::No => Landed::No,
                WorkerLanded::Unknown => Landed::Unknown,
            };
            Ok(Said::Failed { class, message, landed })
        }
        (Some(_), Some(_)) => Err(malformed("it says both `ok` and `failed`")),
        (None, None) => Err(malformed("it says neither `ok` nor `failed`")),
    }
}

/// The desk of a system, and who comes to it. Nobody else than its services learns more than that it is there.
fn at_desk<'a>(
    app: &'a App,
    caller: &'a Caller,
    system: &str,
) -> Result<(&'a Desk, Worker<'a>), Problem> {
    let unknown = || {
        let detail = "there is no such system of workers";
        Problem::new(Kind::NotFound, "system-not-found", detail)
            .next("declare it under [systems] with `kind = \"worker\"`")
    };
    if *caller.tenant() != app.config.tenant {
        return Err(unknown());
    }
    let desk = app.connectors.desk(system).ok_or_else(unknown)?;
    let who = caller.principal();
    if who.kind != Actor::Service || !desk.serves(&who.id) {
        let detail = format!("{} is no worker of this system", who.id);
        return Err(Problem::new(Kind::NotAllowed, "no-worker", detail)
            .next("use the token of a service that `principals` of the system names"));
    }
    Ok((desk, Worker { tenant: caller.tenant(), principal: &who.id }))
}

/// Jobs of a system, and who comes for them.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WorkersStatus {
    /// Jobs that wait for a worker.
    pub waiting: usize,
    /// Jobs that a worker has.
    pub leased: usize,
    /// Who came last since the start.
    pub last_seen: Option<String>,
    /// When, RFC 3339 UTC.
    pub last_seen_at: Option<String>,
}

/// How a system of workers stands; none for one of another kind.
pub(super) fn status(app: &App, system: &str) -> Option<WorkersStatus> {
    let Standing { waiting, leased, last_seen } = app.connectors.desk(system)?.standing();
    let (last_seen, last_seen_at) =
        last_seen.map(|(who, at)| (who.to_string(), rfc3339(at))).unzip();
    Some(WorkersStatus { waiting, leased, last_seen, last_seen_at })
}

/// How each system of workers stands. Jobs that wait while nobody has ever come for one are trouble.
pub(super) fn check(app: &App) -> Option<Check> {
    let desks: Vec<(&str, Standing)> =
        app.connectors.desks().map(|desk| (desk.name(), desk.standing())).collect();
    if desks.is_empty() {
        return None;
    }
    let found = desks.iter().map(|(name, standing)| {
        let seen = match &standing.last_seen {
            Some((who, at)) => format!("{who} came last at {}", rfc3339(*at)),
            None => "no worker has come since the start".to_owned(),
        };
        let waiting = counted(standing.waiting as u64, "job");
        format!("{name}: {waiting} waiting, {} leased, {seen}", standing.leased)
    });
    let found = found.collect::<Vec<_>>().join("; ");
    let lonely = desks.iter().any(|(_, standing)| standing.last_seen.is_none());
    let (result, fix) = match lonely {
        true => ("warning", Some("start the worker, or look at its token and address".to_owned())),
        false => ("ok", None),
    };
    Some(Check { id: "workers".to_owned(), result: result.to_owned(), found, fix })
}
