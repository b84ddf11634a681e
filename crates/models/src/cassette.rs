//! Recorded conversations: a JSON Lines file of requests and replies, for tests and examples that run
//! offline.
//!
//! The first line names the format; every other line holds the digest of a request's exact bytes, the
//! request as JSON, and the reply. Requests are bodies: a key stands in a header and is never in one.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use kernel::{
    conversation::{Reply, Thread},
    id::Digest,
    port::Task,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ask::{Ask, Embedded, Model},
    attached::Contents,
    error::Error,
};

/// What the first line says.
const FORMAT: &str = "harness.cassette/v1";

/// Most recorded requests that a differing one is compared with.
const COMPARED_MAX: usize = 1_000;

/// Longest value shown of a difference, in characters.
const SHOWN_MAX: usize = 80;

/// In which order a recording is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// As it was recorded: the n-th request must be the n-th recorded.
    Strict,
    /// By request: the same request gets its replies in their order, the last one again and again.
    #[default]
    ByRequest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: String,
}

/// One recorded call.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Take {
    digest: Digest,
    request: Value,
    reply: Reply,
}

#[derive(Debug)]
enum Mode {
    Record(Mutex<File>),
    Replay { order: Order, takes: Mutex<Takes> },
}

#[derive(Debug, Default)]
struct Takes {
    all: Vec<Take>,
    next: usize,
    by_digest: BTreeMap<Digest, VecDeque<usize>>,
}

/// A model that records another one, or plays a recording of it. When it plays, the other one only
/// says what the request would be: it needs no key and is never asked.
#[derive(Debug)]
pub struct Cassette {
    model: Arc<dyn Model>,
    mode: Mode,
}

impl Cassette {
    /// Records what `model` says at the end of a file, which is begun where there is none.
    ///
    /// # Errors
    /// [`Error::Config`] when the file cannot be written.
    pub fn record(model: Arc<dyn Model>, path: &Path) -> Result<Self, Error> {
        let begin = || {
            let mut file = OpenOptions::new().create(true).append(true).open(path)?;
            if file.metadata()?.len() == 0 {
                let head = Head { format: FORMAT.to_owned() };
                writeln!(file, "{}", serde_json::to_string(&head)?)?;
            }
            Ok(file)
        };
        let file = begin().map_err(|e: io::Error| unusable(path, &e.to_string()))?;
        Ok(Self { model, mode: Mode::Record(Mutex::new(file)) })
    }

    /// Plays a file. `model` must be configured as it was when it was recorded.
    ///
    /// # Errors
    /// [`Error::Config`] when the file cannot be read.
    pub fn replay(model: Arc<dyn Model>, path: &Path, order: Order) -> Result<Self, Error> {
        let file = File::open(path).map_err(|e| unusable(path, &e.to_string()))?;
        let mut takes = Takes::default();
        for (index, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(|e| unusable(path, &e.to_string()))?;
            let bad = |e: serde_json::Error| unusable(path, &format!("line {}: {e}", index + 1));
            if index == 0 {
                let head: Head = serde_json::from_str(&line).map_err(bad)?;
                if head.format != FORMAT {
                    return Err(unusable(path, &format!("its format is not {FORMAT}")));
                }
            } else if !line.trim().is_empty() {
                let take: Take = serde_json::from_str(&line).map_err(bad)?;
                let place = takes.by_digest.entry(take.digest).or_default();
                place.push_back(takes.all.len());
                takes.all.push(take);
            }
        }
        Ok(Self { model, mode: Mode::Replay { order, takes: Mutex::new(takes) } })
    }

    async fn run(&self, ask: Ask) -> Result<Reply, Error> {
        let of = (&ask.tenant, &ask.run);
        let files = Contents::of_thread(ask.files.as_ref(), of, &ask.thread).await?;
        let bytes = self.model.request_bytes(&ask.thread, &files)?;
        let digest = Digest::of(&bytes);
        match &self.mode {
            Mode::Replay { order, takes } => {
                let mut takes = takes.lock().unwrap_or_else(PoisonError::into_inner);
                takes.find(*order, digest, &bytes)
            }
            Mode::Record(file) => {
                let reply = self.model.ask(ask).await?;
                let request = serde_json::from_slice(&bytes);
                let request = request.map_err(|e| Error::garbage(e.to_string()))?;
                let take = Take { digest, request, reply: reply.clone() };
                let line = serde_json::to_string(&take);
                let line = line.map_err(|e| Error::garbage(e.to_string()))?;
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let written = writeln!(file, "{line}");
                written
                    .map_err(|e| Error::config(format!("the recording cannot be written: {e}")))?;
                Ok(reply)
            }
        }
    }
}

fn unusable(path: &Path, why: &str) -> Error {
    Error::config(format!("the cassette {} cannot be used: {why}", path.display()))
}

impl Takes {
    fn find(&mut self, order: Order, digest: Digest, bytes: &[u8]) -> Result<Reply, Error> {
        let at = match order {
            Order::Strict => {
                let next = self.all.get(self.next).filter(|take| take.digest == digest);
                next.map(|_| self.next)
            }
            Order::ByRequest => self.by_digest.get_mut(&digest).and_then(|places| {
                if places.len() > 1 { places.pop_front() } else { places.front().copied() }
            }),
        };
        match at.and_then(|at| self.all.get(at)) {
            Some(take) => {
                self.next = self.next.saturating_add(1);
                Ok(take.reply.clone())
            }
            None => Err(Error::Unrecorded(self.nearest(order, bytes))),
        }
    }

    /// Where the nearest recorded request differs.
    fn nearest(&self, order: Order, bytes: &[u8]) -> String {
        let Ok(asked) = serde_json::from_slice::<Value>(bytes) else {
            return "the request is no JSON".to_owned();
        };
        let (skipped, compared) = match order {
            Order::Strict => (self.next, 1),
            Order::ByRequest => (0, COMPARED_MAX),
        };
        let candidates = self.all.iter().enumerate().skip(skipped).take(compared);
        let compared = candidates.map(|(index, take)| {
            let mut differences = Vec::new();
            compare(&take.request, &asked, "", &mut differences);
            (index, differences)
        });
        match compared.min_by_key(|(_, differences)| differences.len()) {
            None => "nothing more is recorded".to_owned(),
            Some((index, differences)) => {
                let first = differences.first();
                let first = first.map_or("only in its spelling", String::as_str);
                let count = differences.len();
                format!(
                    "request {} comes nearest and differs in {count} places, first: {first}",
                    index + 1
                )
            }
        }
    }
}

fn compare(known: &Value, asked: &Value, at: &str, differences: &mut Vec<String>) {
    match (known, asked) {
        (Value::Object(a), Value::Object(b)) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            for name in names {
                let field = |map: &serde_json::Map<String, Value>| map.get(name).cloned();
                let (a, b) = (field(a).unwrap_or_default(), field(b).unwrap_or_default());
                compare(&a, &b, &format!("{at}/{name}"), differences);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for index in 0..a.len().max(b.len()) {
                let item = |list: &[Value]| list.get(index).cloned().unwrap_or_default();
                compare(&item(a), &item(b), &format!("{at}/{index}"), differences);
            }
        }
        (a, b) if a == b => {}
        (a, b) => {
            let shown =
                |value: &Value| value.to_string().chars().take(SHOWN_MAX).collect::<String>();
            differences.push(format!("at {at}: recorded {}, asked {}", shown(a), shown(b)));
        }
    }
}

impl Model for Cassette {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn ask(&self, ask: Ask) -> Task<'_, Result<Reply, Error>> {
        Box::pin(self.run(ask))
    }

    fn embed<'a>(&'a self, texts: &'a [String], ask: &'a Ask) -> Task<'a, Result<Embedded, Error>> {
        match &self.mode {
            Mode::Record(_) => self.model.embed(texts, ask),
            Mode::Replay { .. } => {
                Box::pin(
                    async move { Err(Error::Unrecorded("vectors are not recorded".to_owned())) },
                )
            }
        }
    }

    fn request_bytes(&self, thread: &Arc<Thread>, files: &Contents) -> Result<Vec<u8>, Error> {
        self.model.request_bytes(thread, files)
    }
}
