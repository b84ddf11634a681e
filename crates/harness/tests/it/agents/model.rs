//! A model that says what its script says, over real HTTP, on the wire of OpenAI's Chat Completions.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::{Value, json};

/// One thing the model says.
#[derive(Clone, Debug)]
pub(crate) enum Says {
    /// Text.
    Text(&'static str),
    /// Tool calls: name and arguments.
    Calls(Vec<(&'static str, Value)>),
    /// Text as a stream, one event a piece.
    Streams(Vec<String>),
    /// The same: the first half at once, the rest once it is let.
    StreamsWhenLet(Vec<String>, Arc<Barrier>),
    /// Something that is no answer: a status and a body.
    Fails(u16, &'static str),
    /// Nothing, for as long as it is listened to.
    Hangs,
}

/// A scripted model; it serves until the test's process ends.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) url: String,
    script: Arc<Mutex<VecDeque<Says>>>,
    heard: Arc<Mutex<Vec<Value>>>,
    /// How many times as long as its first request one may be.
    reads_times: Option<usize>,
    first_bytes: Arc<Mutex<Option<usize>>>,
    too_long: Arc<Mutex<Vec<Value>>>,
    hung_up: Arc<AtomicUsize>,
}

/// What OpenAI says of a request that is longer than the model reads.
const TOO_LONG: &str = r#"{"error": {"message": "This model's maximum context length is exceeded.",
    "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}}"#;

impl Model {
    pub(crate) fn start(script: impl IntoIterator<Item = Says>) -> Self {
        Self::serve(script, None)
    }

    /// One that refuses whatever is more than so many times as long as what it was asked first.
    pub(crate) fn reading(times: usize, script: impl IntoIterator<Item = Says>) -> Self {
        Self::serve(script, Some(times))
    }

    fn serve(script: impl IntoIterator<Item = Says>, reads_times: Option<usize>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let model = Self {
            url,
            script: Arc::new(Mutex::new(script.into_iter().collect())),
            heard: Arc::default(),
            reads_times,
            first_bytes: Arc::default(),
            too_long: Arc::default(),
            hung_up: Arc::default(),
        };
        let served = model.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (served, stream) = (served.clone(), stream.unwrap());
                thread::spawn(move || served.talk(stream));
            }
        });
        model
    }

    /// Says this, too, after what it has to say already.
    pub(crate) fn says(&self, more: Says) {
        self.script.lock().unwrap().push_back(more);
    }

    /// Every request body so far.
    pub(crate) fn heard(&self) -> Vec<Value> {
        self.heard.lock().unwrap().clone()
    }

    /// Every request that it refused because of its length.
    pub(crate) fn too_long(&self) -> Vec<Value> {
        self.too_long.lock().unwrap().clone()
    }

    fn is_too_long(&self, bytes: usize) -> bool {
        let first = *self.first_bytes.lock().unwrap().get_or_insert(bytes);
        self.reads_times.is_some_and(|times| bytes > first * times)
    }

    /// How often nobody listened any more while it said nothing.
    pub(crate) fn hung_up(&self) -> usize {
        self.hung_up.load(Ordering::SeqCst)
    }

    /// The messages of its `n`-th request, from 1.
    pub(crate) fn messages(&self, n: usize) -> Vec<Value> {
        self.heard()[n - 1]["messages"].as_array().unwrap().clone()
    }

    fn talk(&self, stream: TcpStream) -> Option<()> {
        let mut writer = stream.try_clone().ok()?;
        let mut reader = BufReader::new(stream);
        loop {
            let (mut line, mut length) = (String::new(), 0);
            loop {
                line.clear();
                if reader.read_line(&mut line).ok()? == 0 {
                    return None;
                }
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().ok()?;
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            let request: Value = serde_json::from_slice(&body).ok()?;
            if self.is_too_long(length) {
                self.too_long.lock().unwrap().push(request);
                write(&mut writer, 400, TOO_LONG)?;
                continue;
            }
            let turn = {
                let mut heard = self.heard.lock().unwrap();
                heard.push(request);
                heard.len()
            };
            let says = self.script.lock().unwrap().pop_front();
            let (status, body) = match says.unwrap_or(Says::Text("I have nothing more to say.")) {
                Says::Text(text) => {
                    (200, completion(&json!({ "role": "assistant", "content": text }), "stop"))
                }
                Says::Calls(calls) => {
                    let calls: Vec<Value> = calls
                        .iter()
                        .enumerate()
                        .map(|(index, (name, arguments))| {
                            json!({
                                "id": format!("call_{turn}_{index}"),
                                "type": "function",
                                "function": { "name": name, "arguments": arguments.to_string() },
                            })
                        })
                        .collect();
                    let message =
                        json!({ "role": "assistant", "content": null, "tool_calls": calls });
                    (200, completion(&message, "tool_calls"))
                }
                Says::Streams(pieces) => (200, streamed(&pieces)),
                Says::StreamsWhenLet(pieces, barrier) => {
                    let body = streamed(&pieces);
                    let half = body.match_indices("\n\n").nth(pieces.len() / 2)?.0 + 2;
                    let (first, rest) = body.split_at(half);
                    writer.write_all((head(200, &body) + first).as_bytes()).ok()?;
                    barrier.wait();
                    writer.write_all(rest.as_bytes()).ok()?;
                    continue;
                }
                Says::Fails(status, body) => (status, body.to_owned()),
                Says::Hangs => {
                    // Its end, or that the connection was reset.
                    let _gone = reader.read_to_end(&mut Vec::new());
                    self.hung_up.fetch_add(1, Ordering::SeqCst);
                    return None;
                }
            };
            write(&mut writer, status, &body)?;
        }
    }
}

fn write(writer: &mut TcpStream, status: u16, body: &str) -> Option<()> {
    writer.write_all((head(status, body) + body).as_bytes()).ok()
}

fn head(status: u16, body: &str) -> String {
    let kind = match body.starts_with("data: ") {
        true => "text/event-stream",
        false => "application/json",
    };
    format!(
        "HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
}

fn completion(message: &Value, finish: &str) -> String {
    json!({
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "scripted-1",
        "choices": [{ "index": 0, "message": message, "finish_reason": finish }],
        "usage": { "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110 },
    })
    .to_string()
}

fn streamed(pieces: &[String]) -> String {
    let chunk = |delta: Value, finish: Value| {
        json!({
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": "scripted-1",
            "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }],
        })
    };
    let said = pieces.iter().map(|piece| chunk(json!({ "content": piece }), Value::Null));
    let all = said.chain([chunk(json!({}), json!("stop"))]);
    let events = all.map(|chunk| format!("data: {chunk}\n\n"));
    events.chain(["data: [DONE]\n\n".to_owned()]).collect()
}
