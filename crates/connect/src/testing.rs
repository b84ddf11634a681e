//! What the tests of this crate share: held clocks, a small validator, a blob store and loopback servers.

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use kernel::{
    exception::Class,
    id::{At, Digest, EffectKey, RunId, Tenant},
    label::{Confidentiality, Label, LabelMap, Trust},
    operation::{Effect, Facts, Operation},
    port::{Outcome, Task, Validate, Violation},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::{
    CircuitRule, Connectors, Host, Secrets, System, Systems,
    blob::{BlobSink, BlobWriter},
    call::Call,
    clock::Clock,
};

pub(crate) const NOW: At = 1_795_165_200_000;
pub(crate) const DISPATCH_BY: u64 = 10_000;
pub(crate) const CANARY: &str = "tok-c4nary-7731";

/// Looks at the clock before a call is let at its target.
const ADMISSION_LOOKS: u64 = 1;

/// On time until it has been looked at `punctual` times.
#[derive(Debug)]
pub(crate) struct HeldClock {
    looks: AtomicU64,
    punctual: u64,
}

impl Clock for HeldClock {
    fn boot_ms(&self) -> u64 {
        let looks = self.looks.fetch_add(1, Ordering::SeqCst);
        if looks < self.punctual { DISPATCH_BY } else { DISPATCH_BY + 1 }
    }

    fn now_ms(&self) -> At {
        NOW
    }
}

/// `type: object` and `required`, enough to see classes.
#[derive(Debug)]
pub(crate) struct Required;

impl Validate for Required {
    fn violation(&self, schema: &Arc<Value>, value: &Value) -> Option<Violation> {
        let broken = |class, problem: &str| {
            Some(Violation { at: String::new(), problem: problem.into(), class })
        };
        if schema.get("type") == Some(&json!("object")) && !value.is_object() {
            return broken(Class::UnexpectedShape, "is no object");
        }
        let required = schema.get("required")?.as_array()?;
        let missing = required.iter().find(|name| value.get(name.as_str().unwrap()).is_none())?;
        broken(Class::MissingField, &format!("{missing} is missing"))
    }
}

/// A sink in memory, as slow to finish as it is told.
#[derive(Debug, Default)]
pub(crate) struct Blobs(pub(crate) Arc<Mutex<Vec<u8>>>, pub(crate) Duration);

struct Blob(Arc<Mutex<Vec<u8>>>, Duration);

impl BlobSink for Blobs {
    fn open(&self, _: &Tenant) -> Box<dyn BlobWriter> {
        Box::new(Blob(Arc::clone(&self.0), self.1))
    }
}

impl BlobWriter for Blob {
    fn write(&mut self, bytes: Bytes) -> Task<'_, io::Result<()>> {
        self.0.lock().unwrap().extend_from_slice(&bytes);
        Box::pin(async { Ok(()) })
    }

    fn finish(self: Box<Self>) -> Task<'static, io::Result<Digest>> {
        Box::pin(async move {
            tokio::time::sleep(self.1).await;
            Ok(Digest::of(&self.0.lock().unwrap()))
        })
    }
}

/// One call to be made, with everything at its usual value.
pub(crate) struct Trial {
    pub(crate) systems: Systems,
    pub(crate) operation: Operation,
    pub(crate) args: Value,
    pub(crate) masks: BTreeSet<String>,
    pub(crate) punctual: u64,
    pub(crate) blobs: Option<Arc<Blobs>>,
    pub(crate) secret: tempfile::NamedTempFile,
    pub(crate) circuit: CircuitRule,
    pub(crate) hooks: Vec<Operation>,
    pub(crate) kept: Arc<tempfile::TempDir>,
}

impl Trial {
    pub(crate) fn read(system: System, binding: Value) -> Self {
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), CANARY).unwrap();
        Self {
            systems: Systems::from([("sys".to_owned(), system)]),
            operation: operation(Effect::Read, binding),
            args: json!({}),
            masks: BTreeSet::new(),
            punctual: u64::MAX,
            blobs: None,
            secret,
            circuit: CircuitRule::default(),
            hooks: Vec::new(),
            kept: Arc::new(tempfile::tempdir().unwrap()),
        }
    }

    pub(crate) fn write(system: System, binding: Value) -> Self {
        let mut trial = Self::read(system, binding);
        trial.operation.facts.effect = Effect::Write;
        trial
    }

    pub(crate) fn args(mut self, args: Value) -> Self {
        self.args = args;
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn connectors(&self) -> Connectors {
        let reference = format!("file:{}", self.secret.path().display());
        let host = Host {
            clock: Arc::new(HeldClock {
                looks: AtomicU64::new(0),
                punctual: self.punctual.saturating_add(ADMISSION_LOOKS),
            }),
            validate: Arc::new(Required),
            blobs: self.blobs.clone().map(|blobs| blobs as Arc<dyn BlobSink>),
            circuit: self.circuit,
            traffic: Arc::new(Unheard),
            listen: Arc::new(Unheard),
            kept: Some(self.kept.path().to_owned()),
            people: Arc::new(Unheard),
        };
        let secrets = Secrets::parse([("token", reference.as_str())]).unwrap();
        let connectors = Connectors::new(self.systems.clone(), secrets, host).unwrap();
        connectors.with_hooks(&self.hooks).unwrap()
    }

    pub(crate) fn call(&self) -> Call {
        let tenant = Tenant::default();
        let run = RunId::of_intent(&tenant, "test", "k");
        Call {
            key: EffectKey::of(&tenant, &run, 7),
            run,
            action: 7,
            attempt: 1,
            tenant,
            operation: Arc::new(self.operation.clone()),
            args: Arc::new(self.args.clone()),
            masks: self.masks.clone(),
            dispatch_by_boot_ms: DISPATCH_BY,
        }
    }

    /// Checks the binding, then makes the call.
    pub(crate) async fn run(&self) -> Outcome {
        let connectors = self.connectors();
        connectors.check(&self.operation).unwrap();
        connectors.run(self.call()).await
    }

    pub(crate) async fn output(&self) -> Value {
        (*self.run().await.unwrap().output).clone()
    }
}

pub(crate) fn operation(effect: Effect, binding: Value) -> Operation {
    Operation {
        id: "sys.op".parse().unwrap(),
        summary: String::new(),
        facts: Facts { effect, ..Facts::default() },
        resource: None,
        input: Arc::new(json!({})),
        output: Arc::new(json!({})),
        labels: LabelMap::uniform(Label::new(Trust::Verified, Confidentiality::Internal)),
        clearance: Label::bottom(),
        maskable: Vec::new(),
        contract: kernel::operation::Contract::default(),
        companions: kernel::operation::Companions::default(),
        groups: Vec::new(),
        timeout_ms: 10_000,
        cost_max: None,
        rate: None,
        witness: Default::default(),
        binding: Arc::new(binding),
    }
}

/// What a loopback server does with one request.
pub(crate) enum Reply {
    /// Sends these bytes and closes.
    Bytes(Vec<u8>),
    /// Sends these bytes one by one for ever.
    Drip(&'static str),
    /// Sends this head, then as much as anybody takes.
    Flood(&'static str),
    /// Closes without an answer, with a reset.
    Reset,
    /// Never answers.
    Hang,
}

/// Nobody is told what programs ask of the outside.
#[derive(Debug)]
struct Unheard;

impl crate::Traffic for Unheard {
    fn saw(&self, _: (&RunId, &kernel::id::OperationId), _: &crate::Departed) {}
}

impl crate::Listen for Unheard {
    fn wrote(&self, _: (&Tenant, &RunId, &kernel::id::OperationId), _: &str) {}
}

/// There is somebody of the role `finance`, and of no other.
impl crate::people::People for Unheard {
    fn tell<'a>(
        &'a self,
        word: crate::people::Word<'a>,
    ) -> Task<'a, Result<Vec<String>, kernel::port::Failure>> {
        let told = match word.to {
            "finance" => Ok(vec![format!("mail {} of {}", word.to, word.key)]),
            _ => Err(crate::call::refuse("nobody of that role can be told")),
        };
        Box::pin(std::future::ready(told))
    }
}

impl Reply {
    pub(crate) fn status(status: u16, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self::Bytes(
            format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
                .into_bytes(),
        )
    }

    pub(crate) fn json(value: &Value) -> Self {
        Self::status(200, "", &value.to_string())
    }
}

/// A loopback HTTP server that remembers what it was asked.
pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/base", listener.local_addr().unwrap());
        let (seen, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let server = Self { url, seen: Arc::clone(&seen), connections: Arc::clone(&connections) };
        let reply = Arc::new(reply);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, Arc::clone(&seen), Arc::clone(&reply)));
            }
        });
        server
    }

    pub(crate) fn system(&self) -> System {
        System::Http {
            url: self.url.clone(),
            rate: None,
            redact: crate::redact::Personal::default(),
        }
    }

    /// Every request so far: head and body as text.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(
    mut stream: TcpStream,
    seen: Arc<Mutex<Vec<String>>>,
    reply: Arc<impl Fn(&str) -> Reply>,
) {
    let Some(request) = read_request(&mut stream).await else {
        return;
    };
    seen.lock().unwrap().push(request.clone());
    match reply(&request) {
        Reply::Bytes(bytes) => {
            let _ = stream.write_all(&bytes).await;
        }
        Reply::Drip(head) => {
            let _ = stream.write_all(head.as_bytes()).await;
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Reply::Flood(head) => {
            let _ = stream.write_all(head.as_bytes()).await;
            let chunk = vec![b'x'; 1 << 16];
            while stream.write_all(&chunk).await.is_ok() {}
        }
        Reply::Reset => stream.set_zero_linger().unwrap(),
        Reply::Hang => {
            let _ = stream.read(&mut [0]).await;
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        let is_end = line == "\r\n";
        head.push_str(&line);
        if is_end {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.ok()?;
    Some(head + &String::from_utf8(body).unwrap())
}
