//! A model that answers at once: so many tool calls, then a text. OpenAI's Chat Completions over HTTP/1.1,
//! plain or streamed; or holds its answers back until it is told. And the least that a client of it can do.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::error::{Broken, Doing as _};

/// What every result of a tool looks like in a request.
const RESULT: &[u8] = br#""role":"tool""#;

/// Results in a conversation whose next answer is held back.
const HELD_AFTER: usize = 5;

/// What the server saw, and what it waits for.
#[derive(Debug, Default)]
struct Door {
    waiting: AtomicUsize,
    open: tokio::sync::Notify,
    first_asked: Mutex<Option<Instant>>,
}

/// A scripted server; it ends with the process.
#[derive(Debug)]
pub(crate) struct Model {
    address: SocketAddr,
    door: Arc<Door>,
}

impl Model {
    /// Serves from a thread of its own.
    pub(crate) fn start() -> Result<Self, Broken> {
        let listener = TcpListener::bind("127.0.0.1:0").doing("listen")?;
        listener.set_nonblocking(true).doing("listen")?;
        let address = listener.local_addr().doing("listen")?;
        let door = Arc::<Door>::default();
        let behind = Arc::clone(&door);
        std::thread::spawn(move || serve(listener, &behind));
        Ok(Self { address, door })
    }

    /// The base address of a model that wants this many tool calls.
    pub(crate) fn url(&self, turns: usize) -> String {
        format!("http://{}/{turns}/v1", self.address)
    }

    /// The same, but the answer after some results is held back until [`Model::release`].
    pub(crate) fn held_url(&self, turns: usize) -> String {
        format!("http://{}/{turns}/held/v1", self.address)
    }

    /// How many wait for an answer that is held back.
    pub(crate) fn waiting(&self) -> usize {
        self.door.waiting.load(Ordering::Acquire)
    }

    /// Lets all go on that wait now.
    pub(crate) fn release(&self) {
        self.door.open.notify_waiters();
    }

    /// When it was asked for the first time since this was last asked.
    pub(crate) fn take_first_asked(&self) -> Option<Instant> {
        self.door.first_asked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Door {
    fn note_asked(&self) {
        let mut first = self.first_asked.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(Instant::now);
    }

    async fn hold(&self) {
        let opened = self.open.notified();
        self.waiting.fetch_add(1, Ordering::AcqRel);
        opened.await;
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

fn serve(listener: TcpListener, door: &Arc<Door>) {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = built else { return };
    runtime.block_on(async {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream, Arc::clone(door)));
        }
    });
}

async fn talk(mut stream: tokio::net::TcpStream, door: Arc<Door>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        let (head, length) = loop {
            if let Some(found) = head_of(&buffer) {
                break found;
            }
            if stream.read_buf(&mut buffer).await.ok()? == 0 {
                return None;
            }
        };
        let whole = head + length;
        while buffer.len() < whole {
            if stream.read_buf(&mut buffer).await.ok()? == 0 {
                return None;
            }
        }
        door.note_asked();
        let request = buffer.get(..whole)?;
        let (turns, is_held) = wanted_of(request)?;
        let body = request.get(head..)?;
        let done = memchr::memmem::find_iter(body, RESULT).count();
        let streamed = memchr::memmem::find(body, br#""stream":true"#).is_some();
        let answer = if streamed { stream_of(turns, done) } else { answer_of(turns, done) };
        buffer.drain(..whole);
        if is_held && done == HELD_AFTER {
            door.hold().await;
        }
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

/// Where the body begins and how long it is, once the head is there.
pub(crate) fn head_of(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(bytes.get(..end)?).ok()?.to_ascii_lowercase();
    let length = head.split("content-length:").nth(1)?.split("\r\n").next()?.trim().parse().ok()?;
    Some((end, length))
}

/// How many calls are wanted, and whether an answer is held back: `/TURNS/v1/…` or `/TURNS/held/v1/…`.
fn wanted_of(request: &[u8]) -> Option<(usize, bool)> {
    let line = request.split(|byte| *byte == b'\r').next()?;
    let mut parts = std::str::from_utf8(line).ok()?.split('/').skip(1);
    Some((parts.next()?.parse().ok()?, parts.next()? == "held"))
}

fn answer_of(turns: usize, done: usize) -> String {
    let (message, finish) = if done < turns {
        let call = format!(
            r#"{{"id":"call_{done}","type":"function","function":{{"name":"add","arguments":"{{\"a\":{done},\"b\":7}}"}}}}"#
        );
        (format!(r#"{{"role":"assistant","content":null,"tool_calls":[{call}]}}"#), "tool_calls")
    } else {
        (r#"{"role":"assistant","content":"All sums are done."}"#.to_owned(), "stop")
    };
    let body = format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"bench","choices":[{{"index":0,"message":{message},"finish_reason":"{finish}"}}],"usage":{{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120}}}}"#
    );
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn stream_of(turns: usize, done: usize) -> String {
    let (delta, finish) = if done < turns {
        let call = format!(
            r#"{{"index":0,"id":"call_{done}","type":"function","function":{{"name":"add","arguments":"{{\"a\":{done},\"b\":7}}"}}}}"#
        );
        (format!(r#"{{"role":"assistant","content":null,"tool_calls":[{call}]}}"#), "tool_calls")
    } else {
        (r#"{"role":"assistant","content":"All sums are done."}"#.to_owned(), "stop")
    };
    let chunk = |choices: String, usage: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"bench\",\"choices\":[{choices}]{usage}}}\n\n"
        )
    };
    let usage = r#","usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120}"#;
    let body = [
        chunk(format!(r#"{{"index":0,"delta":{delta},"finish_reason":null}}"#), ""),
        chunk(format!(r#"{{"index":0,"delta":{{}},"finish_reason":"{finish}"}}"#), ""),
        chunk(String::new(), usage),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    message: &'a serde_json::value::RawValue,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    tool_calls: Vec<Call>,
}

#[derive(Deserialize)]
struct Call {
    id: String,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    arguments: String,
}

#[derive(Deserialize)]
struct Sum {
    a: i64,
    b: i64,
}

/// The least that a loop of tool calls can do: one connection, a history that is appended to, the tool
/// itself. Turns, and milliseconds of processor time of this thread for each.
pub(crate) fn floor(model: &Model, turns: usize, conversations: usize) -> Result<f64, Broken> {
    let mut stream = TcpStream::connect(model.address).doing("connect")?;
    stream.set_nodelay(true).doing("connect")?;
    let began = thread_ms();
    let mut made = 0_usize;
    for _ in 0..conversations {
        made += converse(&mut stream, turns)?;
    }
    let spent = thread_ms() - began;
    #[expect(clippy::cast_precision_loss, reason = "a count of turns fits")]
    let each = spent / made as f64;
    Ok(each)
}

fn converse(stream: &mut TcpStream, turns: usize) -> Result<usize, Broken> {
    let mut history = String::from(
        r#"{"model":"bench","tools":[{"type":"function","function":{"name":"add","description":"Adds two whole numbers.","parameters":{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}}}}}],"messages":[{"role":"user","content":"Add."}"#,
    );
    let (mut made, mut buffer) = (0, vec![0_u8; 64 * 1024]);
    loop {
        let body = format!("{history}]}}");
        let head = format!(
            "POST /{turns}/v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).doing("ask")?;
        let mut got = 0;
        let (head, whole) = loop {
            let space = buffer.get_mut(got..).unwrap_or_default();
            got += stream.read(space).doing("hear")?;
            let heard = buffer.get(..got).unwrap_or_default();
            if let Some((head, length)) = head_of(heard)
                && got >= head + length
            {
                break (head, head + length);
            }
        };
        let bytes = buffer.get(head..whole).unwrap_or_default();
        let answer: Answer<'_> = serde_json::from_slice(bytes).doing("read an answer")?;
        let Some(choice) = answer.choices.first() else { return Ok(made) };
        let message: Message = serde_json::from_str(choice.message.get()).doing("read it")?;
        if message.tool_calls.is_empty() {
            return Ok(made);
        }
        history.push(',');
        history.push_str(choice.message.get());
        for call in message.tool_calls {
            let sum: Sum = serde_json::from_str(&call.function.arguments).doing("read a sum")?;
            let (id, sum) = (call.id, sum.a + sum.b);
            history.push_str(&format!(
                r#",{{"role":"tool","tool_call_id":"{id}","content":"{sum}"}}"#
            ));
            made += 1;
        }
    }
}

fn thread_ms() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of one measurement fit")]
    let ms = now.tv_sec as f64 * 1e3 + now.tv_nsec as f64 / 1e6;
    ms
}
