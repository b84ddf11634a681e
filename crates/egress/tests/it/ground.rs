//! What the tests stand on: servers on loopback, a scripted resolver, a witness that keeps what it sees, and a client
//! that sends whatever it is told to.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use egress::{
    Event, Limits, Proxy, Resolver, Resolving, Rules, Secret, Secrets, Setup, Trust, Witness,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::Notify,
    task::JoinHandle,
    time::timeout,
};

/// How long a test waits before it says that nothing comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Answers each look-up of a name with the next of its answers, and the last one from then on.
#[derive(Debug, Default)]
pub(crate) struct Script {
    answers: Mutex<BTreeMap<String, Vec<Vec<IpAddr>>>>,
    pub(crate) asked: AtomicUsize,
}

impl Script {
    pub(crate) fn new(answers: &[(&str, &[&[&str]])]) -> Arc<Self> {
        let script = Self::default();
        for (name, turns) in answers {
            let read = |turn: &&[&str]| turn.iter().map(|ip| ip.parse().unwrap()).collect();
            let turns = turns.iter().map(read).collect();
            script.answers.lock().unwrap().insert((*name).to_owned(), turns);
        }
        Arc::new(script)
    }
}

impl Resolver for Script {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock().unwrap();
        let turn = answers.get_mut(name).map(|turns| match turns.len() {
            1 => turns[0].clone(),
            _ => turns.remove(0),
        });
        let found = turn.ok_or_else(|| io::Error::other("no such name"));
        Box::pin(async move { found })
    }
}

/// Keeps every event.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    events: Mutex<Vec<Event>>,
    more: Notify,
}

impl Seen {
    /// The events, once there are this many.
    pub(crate) async fn wait(&self, count: usize) -> Vec<Event> {
        let enough = async {
            loop {
                let more = self.more.notified();
                let events = self.events.lock().unwrap().clone();
                if events.len() >= count {
                    return events;
                }
                more.await;
            }
        };
        let waited = timeout(PATIENCE, enough).await;
        waited
            .unwrap_or_else(|_| panic!("{count} events awaited: {:?}", self.events.lock().unwrap()))
    }

    pub(crate) fn codes(events: &[Event]) -> Vec<&'static str> {
        events.iter().map(|event| event.refusal.map_or("", |refusal| refusal.code())).collect()
    }
}

impl Witness for Seen {
    fn at_ms(&self) -> i64 {
        1_700_000_000_000
    }

    fn saw(&self, event: Event) {
        self.events.lock().unwrap().push(event);
        self.more.notify_waiters();
    }
}

/// Values by name.
#[derive(Debug, Default)]
pub(crate) struct Values(pub(crate) BTreeMap<&'static str, &'static str>);

impl Secrets for Values {
    fn value(&self, name: &str) -> Option<Secret> {
        self.0.get(name).map(|value| Secret::new((*value).to_owned()))
    }
}

/// A proxy and what it is seen to do.
pub(crate) struct Ground {
    pub(crate) proxy: Proxy,
    pub(crate) seen: Arc<Seen>,
    pub(crate) folder: TempDir,
}

pub(crate) fn rules(rules: Value) -> Rules {
    serde_json::from_value(rules).unwrap()
}

/// A setup with few surprises, to be changed by the test.
pub(crate) fn setup(written: Value) -> (Setup, Arc<Seen>, TempDir) {
    let (seen, folder) = (Arc::new(Seen::default()), tempfile::tempdir().unwrap());
    let mut setup = Setup::new(folder.path(), rules(written), Arc::clone(&seen) as _);
    setup.resolver = Script::new(&[]);
    setup.trust = Trust::Roots(Vec::new());
    (setup, seen, folder)
}

pub(crate) fn start(written: Value, change: impl FnOnce(&mut Setup)) -> Ground {
    let (mut setup, seen, folder) = setup(written);
    change(&mut setup);
    Ground { proxy: Proxy::start(setup).unwrap(), seen, folder }
}

impl Ground {
    pub(crate) async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.proxy.socket()).await.unwrap()
    }

    /// Sends bytes on a connection of their own and reads all that comes back.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        raw(self.proxy.socket(), bytes.as_ref()).await
    }

    /// One GET that ends its connection.
    pub(crate) async fn get(&self, url: &str) -> Told {
        self.ask("GET", url, "").await
    }

    pub(crate) async fn ask(&self, method: &str, url: &str, headers: &str) -> Told {
        let head =
            format!("{method} {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        Told::read(&self.raw(head).await)
    }
}

async fn raw(socket: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    // A proxy that refuses early does not read the rest.
    let _ = stream.write_all(bytes).await;
    let mut out = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut out)).await.expect("no end of the answer");
    drop(read);
    String::from_utf8_lossy(&out).into_owned()
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Told {
    pub(crate) fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// The code of a refusal; empty when it is none.
    pub(crate) fn code(&self) -> String {
        let problem: Option<Value> = serde_json::from_str(&self.body).ok();
        problem.and_then(|problem| Some(problem["code"].as_str()?.to_owned())).unwrap_or_default()
    }
}

/// A server on loopback. Each connection is one call of what it was given.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) taken: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn run<W, F>(work: W) -> Self
    where
        W: Fn(TcpStream) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, taken) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&taken);
        let task = tokio::spawn(async move {
            let mut all = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                all.spawn(work(stream));
            }
        });
        Self { address, taken, task }
    }

    /// Sends back the request as it came, head and body, as a body.
    pub(crate) async fn echo() -> Self {
        Self::run(|mut stream| async move {
            let request = read_request(&mut stream).await;
            respond(&mut stream, "200 OK", "content-type: text/plain\r\n", &request).await;
        })
        .await
    }

    /// Answers everything with these bytes.
    pub(crate) async fn says(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::run(move |mut stream| {
            let answer = answer.clone();
            async move {
                read_request(&mut stream).await;
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A rule that lets everything through to it, by its address.
    pub(crate) fn rule(&self) -> Value {
        serde_json::json!({
            "host": "127.0.0.1", "scheme": "http", "port": self.port(),
            "methods": ["GET", "HEAD", "POST"], "paths": ["/**"], "private": ["127.0.0.1"],
        })
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

/// Reads a head, and the body that it announces.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = find(&bytes, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length =
                head.split("content-length: ").nth(1).map(|rest| rest.lines().next().unwrap());
            let is_whole = match length {
                Some(length) => bytes.len() >= end + 4 + length.parse::<usize>().unwrap(),
                None => !head.contains("chunked") || bytes.ends_with(b"0\r\n\r\n"),
            };
            if is_whole {
                return bytes;
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return bytes;
        }
    }
}

pub(crate) async fn respond(
    stream: &mut (impl AsyncWrite + Unpin),
    status: &str,
    headers: &str,
    body: &[u8],
) {
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body).await;
    let _ = stream.flush().await;
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Limits with short times, for tests that wait for them.
pub(crate) fn hasty() -> Limits {
    Limits {
        head_ms: 200,
        connect_ms: 5_000,
        answer_ms: 200,
        idle_ms: 200,
        stop_ms: 200,
        ..Limits::default()
    }
}
