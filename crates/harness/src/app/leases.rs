//! Ports of jobs that are reached from outside: each by a lease that has a token and an end.
//!
//! A job listens in a network of its own that nothing leads into. A lease opens a port of this machine, looks at the token
//! of each request, takes it out, and hands the connection in. It ends when its time is over, when somebody ends it, with
//! the job, with the run, and with this process: what it holds is in memory alone.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use connect::Served;
use kernel::{Digest, id::RunId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream, UnixStream},
    sync::Notify,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    App, Caller, identity, intents, parse_id,
    problem::{Kind, Problem},
    runs::rfc3339,
};

mod head;

use head::{Head, Refused};

/// Most leases at a time.
const LEASES_MAX: usize = 32;

/// Most connections of one lease at a time; more wait.
const CONNECTIONS_MAX: usize = 32;

/// How long a lease lasts that does not say, in ms.
const TTL_MS: u64 = 10 * 60_000;

/// Longest that one may last, in ms.
const TTL_MAX_MS: u64 = 24 * 3_600_000;

/// How long the head of a request may take to come.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Bytes that are passed on at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// What a token begins with.
const TOKEN_PREFIX: &str = "hnl_";

/// Asks for a lease.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExposeJob {
    /// The run that started the job.
    pub run: String,
    /// The number of the job, as the run was told it.
    pub job: u64,
    /// The system of kind `folder`; may be left out where the run has such a job in one alone.
    #[serde(default)]
    pub system: Option<String>,
    /// How long it lasts, in ms; absent = ten minutes, at most a day.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
}

/// Which lease.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedLease {
    /// Its id.
    pub lease: String,
}

/// A lease that was just made.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LeaseMade {
    /// The lease.
    #[serde(flatten)]
    pub lease: LeaseView,
    /// Goes into each request as `Authorization: Bearer TOKEN`. It is shown once and kept nowhere.
    pub token: String,
}

/// A lease.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LeaseView {
    /// Its id.
    pub lease: String,
    /// The run that started the job.
    pub run: String,
    /// The system in whose sandbox the job runs.
    pub system: String,
    /// The number of the job.
    pub job: u64,
    /// What it runs.
    pub command: String,
    /// Where it is reached.
    pub url: String,
    /// Who asked for it.
    pub by: String,
    /// When it ends by itself, RFC 3339 UTC.
    pub expires_at: String,
    /// How many requests with its token came.
    pub requests: u64,
}

/// Every lease that goes on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LeaseList {
    /// By id.
    pub items: Vec<LeaseView>,
}

/// Leases of this process.
#[derive(Debug, Default)]
pub(super) struct Leases(Arc<Mutex<BTreeMap<String, Arc<Lease>>>>);

#[derive(Debug)]
struct Lease {
    view: LeaseView,
    token: Digest,
    requests: AtomicU64,
    ended: Notify,
}

impl Lease {
    fn view(&self) -> LeaseView {
        LeaseView { requests: self.requests.load(Ordering::Relaxed), ..self.view.clone() }
    }
}

impl Leases {
    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Lease>>> {
        lock(&self.0)
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        self.table().values().for_each(|lease| lease.ended.notify_one());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens a port of this machine that leads to the port at which a job listens.
///
/// # Errors
/// When there is no such job, it may not listen, or there are too many leases.
pub async fn create(app: &App, caller: &Caller, request: ExposeJob) -> Result<LeaseMade, Problem> {
    let run: RunId = parse_id(&request.run)?;
    app.check_own(caller, &run).await?;
    let ttl_ms = request.ttl_ms.unwrap_or(TTL_MS);
    if ttl_ms == 0 || ttl_ms > TTL_MAX_MS {
        let detail = format!("a lease lasts 1 to {TTL_MAX_MS} ms, not {ttl_ms}");
        return Err(Problem::usage("lease-ttl", detail).next("ask for less, such as --ttl 10m"));
    }
    let (system, served) = found(app, caller, &run, &request)?;
    let unusable = |problem: std::io::Error| {
        let detail = format!("no port could be opened at {}: {problem}", app.config.serve.expose);
        Problem::new(Kind::TryAgain, "lease-port", detail)
            .next("check `serve.expose`, and how many leases there are: `harness run leases`")
    };
    let listener = TcpListener::bind((app.config.serve.expose, 0)).await.map_err(unusable)?;
    let address = listener.local_addr().map_err(unusable)?;
    let token = format!("{TOKEN_PREFIX}{}", identity::fresh_hex::<32>()?);
    let view = LeaseView {
        lease: format!("LSE-{}", identity::fresh_hex::<8>()?),
        run: run.to_string(),
        system,
        job: request.job,
        command: app.connectors.redactor().scrub_text(served.command()),
        url: format!("http://{address}/"),
        by: caller.principal().id.to_string(),
        expires_at: rfc3339(app.now().saturating_add(i64::try_from(ttl_ms).unwrap_or(i64::MAX))),
        requests: 0,
    };
    let lease = Arc::new(Lease {
        view: view.clone(),
        token: hash_of(&token),
        requests: AtomicU64::new(0),
        ended: Notify::new(),
    });
    {
        let mut table = app.leases.table();
        if table.len() >= LEASES_MAX {
            let detail = format!("there are {LEASES_MAX} leases already");
            return Err(Problem::new(Kind::Conflict, "lease-full", detail)
                .next("end one: `harness run leases` lists them"));
        }
        table.insert(view.lease.clone(), Arc::clone(&lease));
    }
    tracing::info!(lease = %view.lease, %run, job = view.job, by = %view.by, url = %view.url, "a job is reached from outside");
    let until = Instant::now() + Duration::from_millis(ttl_ms);
    let table = Arc::clone(&app.leases.0);
    tokio::spawn(async move {
        let why = serve(&listener, &lease, (served, address), until).await;
        drop(listener);
        lock(&table).remove(&lease.view.lease);
        let requests = lease.requests.load(Ordering::Relaxed);
        tracing::info!(lease = %lease.view.lease, run = %lease.view.run, requests, why, "a lease ended");
    });
    Ok(LeaseMade { lease: view, token })
}

/// Every lease of this process whose run the caller may see.
///
/// # Errors
/// None of its own.
pub async fn list(app: &App, _: &Caller, _: intents::Nothing) -> Result<LeaseList, Problem> {
    Ok(LeaseList { items: app.leases.table().values().map(|lease| lease.view()).collect() })
}

/// Ends a lease; connections that go on are cut.
///
/// # Errors
/// When there is no such lease.
pub async fn end(app: &App, _: &Caller, request: NamedLease) -> Result<LeaseView, Problem> {
    let lease = app.leases.table().remove(&request.lease).ok_or_else(|| {
        Problem::not_found("lease", &request.lease)
            .next("`harness run leases` lists those that go on")
    })?;
    lease.ended.notify_one();
    Ok(lease.view())
}

fn found(
    app: &App,
    caller: &Caller,
    run: &RunId,
    request: &ExposeJob,
) -> Result<(String, Served), Problem> {
    let mut all = app.connectors.served(caller.tenant(), run, request.job);
    if let Some(system) = &request.system {
        all.retain(|(name, _)| name == system);
    }
    let several = all.len() > 1;
    match all.pop() {
        Some((name, served)) if !several => Ok((name.to_owned(), served)),
        Some(_) => {
            let detail = format!("{run} has a job {} in several systems", request.job);
            Err(Problem::usage("which-system", detail).next("name one with --system"))
        }
        None => {
            let detail =
                format!("{run} has no job {} that goes on and may listen at a port", request.job);
            Err(Problem::new(Kind::NotFound, "job-not-served", detail).next(
                "give its system a port, `serve_port = 8080` under [systems.NAME.shell.profile], and have the run start the job again",
            ))
        }
    }
}

fn hash_of(token: &str) -> Digest {
    Digest::of_parts("harness/lease/v1", &[token.as_bytes()])
}

/// Lets in until the lease is over; why it is. Connections end with it.
async fn serve(
    listener: &TcpListener,
    lease: &Arc<Lease>,
    (served, address): (Served, SocketAddr),
    until: Instant,
) -> &'static str {
    let mut connections = JoinSet::new();
    loop {
        let full = connections.len() >= CONNECTIONS_MAX;
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(until) => return "its time was over",
            () = served.ended() => return "its job ended",
            () = lease.ended.notified() => return "it was ended",
            Some(_) = connections.join_next() => {}
            came = listener.accept(), if !full => match came {
                Ok((stream, _)) => {
                    let (lease, served) = (Arc::clone(lease), served.clone());
                    connections.spawn(async move {
                        // Whoever hangs up in between is told nothing.
                        let _gone = answer(stream, &lease, (&served, address)).await;
                    });
                }
                // No descriptor left, for one: the next attempt comes in a moment.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
        }
    }
}

/// One connection: the head of its first request decides, and from there on bytes are passed on.
async fn answer(
    mut stream: TcpStream,
    lease: &Lease,
    (served, address): (&Served, SocketAddr),
) -> std::io::Result<()> {
    let read = timeout(HEAD_WITHIN, head::read(&mut stream)).await;
    let read = read.unwrap_or(Ok(Err(Refused::Late)))?;
    let is_it = |token: &str| same(&hash_of(token), &lease.token);
    let Head { forward } = match read.and_then(|read| read.admitted(is_it, address)) {
        Ok(head) => head,
        Err(refused) => return say(&mut stream, refused.status(), refused.told()).await,
    };
    lease.requests.fetch_add(1, Ordering::Relaxed);
    let inside = served.dial().and_then(|inside| {
        inside.set_nonblocking(true)?;
        UnixStream::from_std(inside)
    });
    let Ok(mut inside) = inside else {
        return say(&mut stream, "410 Gone", "the job has ended, or takes no more").await;
    };
    // Where nobody listens, it may be closed before anything was written: then there is nothing to read, either.
    let _written = inside.write_all(&forward).await;
    let (mut from_inside, mut to_inside) = inside.into_split();
    let (mut from_outside, mut to_outside) = stream.split();
    let inward = async {
        // Whoever has said all waits for the answer still.
        let _said = copy(&mut from_outside, &mut to_inside).await;
        let _closed = to_inside.shutdown().await;
        std::future::pending::<()>().await;
    };
    let mut passed = false;
    let outward = async {
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(read @ 1..) = from_inside.read(&mut piece).await {
            passed = true;
            to_outside.write_all(piece.get(..read).unwrap_or_default()).await?;
        }
        Ok::<(), std::io::Error>(())
    };
    tokio::select! {
        gone = outward => gone?,
        () = inward => {}
    }
    if !passed {
        return say(&mut stream, "502 Bad Gateway", "the job does not listen at its port").await;
    }
    to_end(&mut stream).await
}

async fn say(stream: &mut TcpStream, status: &str, told: &str) -> std::io::Result<()> {
    let length = told.len() + 1;
    let asks = if status.starts_with("401") { "WWW-Authenticate: Bearer\r\n" } else { "" };
    let text = format!(
        "HTTP/1.1 {status}\r\n{asks}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{told}\n"
    );
    stream.write_all(text.as_bytes()).await?;
    to_end(stream).await
}

/// Ends it so that what was said arrives: a reset for bytes that nobody read would take it away.
async fn to_end(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.shutdown().await?;
    let mut rest = [0; 4096];
    let drained = async { while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {} };
    let _in_time = timeout(Duration::from_secs(1), drained).await;
    Ok(())
}

/// Compares without telling by time how much was right.
fn same(one: &Digest, other: &Digest) -> bool {
    one.0.iter().zip(other.0).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}
