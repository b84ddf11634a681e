//! The owner's socket: a command line beside a running owner talks through it.
//!
//! One JSON line in, one JSON line out. The file is 0600: whoever can open it is the owner's user.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};
use tracing::warn;

use super::{
    App, Caller, ops,
    problem::{Kind, Problem},
};

/// Longest request line, in bytes.
const REQUEST_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Clients at a time. Most of them wait for a person or for something to happen, which costs next to nothing: were
/// they few, those who wait for an approval would keep out whoever comes to give it.
const CONNECTIONS_MAX: usize = 1_024;
/// How long a client may take to say what it asks.
const ASKED_WITHIN: Duration = Duration::from_secs(10);
/// How long to rest where no connection is to be had, as when too many files are open.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// A request line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Operation name.
    op: String,
    /// The declared person who calls.
    person: String,
    /// The request.
    body: Value,
    /// A token they typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// An answer line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answered {
    Ok(Value),
    Problem(Box<Problem>),
}

/// Where the socket of a store is.
#[must_use]
pub fn path(store: &Path) -> PathBuf {
    store.join("owner.sock")
}

/// Opens the socket; whoever connects from here on is answered once [`answer_all`] runs.
///
/// # Errors
/// When the socket cannot be made.
pub fn bind(app: &App) -> Result<UnixListener, Problem> {
    let path = path(&app.config().store);
    let refuse = |e: std::io::Error| failed(&path, &e);
    // Only the lock's holder comes here: what lies there is a dead owner's.
    if path.exists() {
        std::fs::remove_file(&path).map_err(refuse)?;
    }
    let listener = UnixListener::bind(&path).map_err(refuse)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(refuse)?;
    Ok(listener)
}

fn failed(path: &Path, error: &std::io::Error) -> Problem {
    let detail = format!("cannot listen on {}: {error}", path.display());
    Problem::new(Kind::Unexpected, "socket", detail)
}

/// Answers requests until the task is dropped.
pub async fn answer_all(app: Arc<App>, listener: UnixListener) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "a connection to the owner was not accepted");
                tokio::time::sleep(AGAIN_AFTER).await;
                continue;
            }
        };
        let (app, slots) = (Arc::clone(&app), Arc::clone(&slots));
        tokio::spawn(async move {
            if let Err(error) = answer(&app, stream, &slots).await {
                warn!(%error, "a client went away");
            }
        });
    }
}

fn busy() -> Problem {
    let detail = format!("the owner of the store answers {CONNECTIONS_MAX} clients already");
    Problem::new(Kind::TryAgain, "owner-busy", detail)
        .next("end some of the commands that wait at it, or try again later")
}

async fn answer(app: &App, stream: UnixStream, slots: &Semaphore) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(REQUEST_BYTES_MAX));
    tokio::time::timeout(ASKED_WITHIN, reader.read_line(&mut line)).await??;
    if line.is_empty() {
        // Somebody looked whether anybody is here.
        return Ok(());
    }
    let responded = match slots.try_acquire() {
        Ok(_slot) => respond(app, &line).await,
        Err(_) => Err(busy()),
    };
    let answered = match responded {
        Ok(value) => Answered::Ok(value),
        Err(problem) => Answered::Problem(Box::new(problem)),
    };
    let mut bytes = serde_json::to_vec(&answered)?;
    bytes.push(b'\n');
    writer.write_all(&bytes).await?;
    writer.shutdown().await
}

async fn respond(app: &App, line: &str) -> Result<Value, Problem> {
    let asked: Asked = serde_json::from_str(line).map_err(|e| {
        Problem::usage("bad-request", e.to_string())
            .next("use the same version as the owner of the store")
    })?;
    let caller = match &asked.token {
        Some(token) => app.typed(&asked.person, token).await?,
        None => Caller::person(app.config(), &asked.person)?,
    };
    ops::call(app, &caller, &asked.op, asked.body).await
}

/// Code of a problem: the owner cannot be reached, and has heard nothing.
pub const NOT_HEARD: &str = "owner-unreachable";

/// Code of a problem: the owner ended, or its socket did, between the request and the answer.
pub const NOT_ANSWERED: &str = "owner-ended";

/// Whether an owner answers at its socket.
pub async fn is_open(store: &Path) -> bool {
    UnixStream::connect(path(store)).await.is_ok()
}

/// Asks the owner of a store.
///
/// # Errors
/// What the owner refused, or that it cannot be reached.
pub async fn ask(
    store: &Path,
    (person, token): (&str, Option<String>),
    op: &str,
    body: Value,
) -> Result<Value, Problem> {
    let not_heard = |e: std::io::Error| {
        let detail = format!("another process owns the store and does not answer: {e}");
        Problem::new(Kind::TryAgain, NOT_HEARD, detail).next("wait for it to end, or end it")
    };
    let not_answered = |e: std::io::Error| {
        let detail = format!("the process that owns the store heard it and did not answer: {e}");
        Problem::new(Kind::TryAgain, NOT_ANSWERED, detail)
            .next("look whether it was done before you ask again")
    };
    let stream = UnixStream::connect(path(store)).await.map_err(not_heard)?;
    let (reader, mut writer) = stream.into_split();
    let asked = Asked { op: op.to_owned(), person: person.to_owned(), body, token };
    let mut bytes = serde_json::to_vec(&asked).map_err(|e| not_heard(e.into()))?;
    bytes.push(b'\n');
    writer.write_all(&bytes).await.map_err(not_answered)?;
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).await.map_err(not_answered)?;
    match serde_json::from_str(&line).map_err(|e| not_answered(e.into()))? {
        Answered::Ok(value) => Ok(value),
        Answered::Problem(problem) => Err(*problem),
    }
}
