//! Models that say what a test wants and remember what they were told.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use embed::{Agent, Builder};
use kernel::{
    conversation::{Part, Prompt, Segment},
    label::Confidentiality,
};
use models::{ApiKind, Client, Http, Key, Line, Provider, ScriptedModel};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// What a model was told, prompt by prompt.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<Prompt>>>);

impl Told {
    /// Every prompt as text, one a line.
    pub(crate) fn text(&self) -> String {
        let prompts = self.0.lock().unwrap();
        let segments = prompts.iter().flat_map(|prompt| &prompt.segments);
        segments.map(line).collect::<Vec<_>>().join("\n")
    }

    /// Names and descriptions of the tools that were offered first.
    pub(crate) fn offered(&self) -> Vec<(String, String)> {
        let prompts = self.0.lock().unwrap();
        let tools = prompts.first().map(|prompt| prompt.tools.clone()).unwrap_or_default();
        tools.into_iter().map(|tool| (tool.name, tool.description)).collect()
    }

    /// The results that it was told, with whether each is an error.
    pub(crate) fn results(&self) -> Vec<(String, bool)> {
        let prompts = self.0.lock().unwrap();
        let segments = prompts.iter().flat_map(|prompt| prompt.segments.clone());
        let results = segments.filter_map(|segment| match segment {
            Segment::Result { content, is_error, .. } => Some((content, is_error)),
            _ => None,
        });
        results.collect()
    }
}

fn line(segment: &Segment) -> String {
    match segment {
        Segment::System { text, .. } => text.clone(),
        Segment::User { parts, .. } => {
            let texts = parts.iter().filter_map(|part| match part {
                Part::Text { text } => Some(text.as_str()),
                _ => None,
            });
            texts.collect()
        }
        Segment::Result { content, .. } => content.clone(),
        Segment::Said { .. } => String::new(),
    }
}

/// A model that says these lines and remembers what it was told.
pub(crate) fn script(lines: Vec<Line>) -> (ScriptedModel, Told) {
    let told = Told::default();
    let heard = told.clone();
    let model = ScriptedModel::new("script", move |n, prompt| {
        heard.0.lock().unwrap().push(prompt.clone());
        let over = || models::Error::Unrecorded(format!("line {n}"));
        lines.get(n).cloned().ok_or_else(over)
    });
    (model, told)
}

/// An agent that says these lines, to be given tools.
pub(crate) fn agent(lines: Vec<Line>) -> (Builder, Told) {
    let (model, told) = script(lines);
    (Agent::builder().model(model), told)
}

/// One call, then an answer.
pub(crate) fn call_and_answer(tool: &str, args: Value) -> Vec<Line> {
    vec![Line::call("1", tool, args), Line::text("Finished.")]
}

/// A message of the Chat wire that makes these calls.
pub(crate) fn calls(turn: &str, calls: &[(&str, Value)]) -> Value {
    let calls = calls.iter().enumerate().map(|(n, (name, args))| {
        let function = json!({ "name": name, "arguments": args.to_string() });
        json!({ "id": format!("call_{turn}_{n}"), "type": "function", "function": function })
    });
    json!({ "role": "assistant", "content": null, "tool_calls": calls.collect::<Vec<_>>() })
}

/// A message of the Chat wire that answers.
pub(crate) fn answers(text: &str) -> Value {
    json!({ "role": "assistant", "content": text })
}

/// A server on the Chat wire whose n-th answer is the n-th message. It is gone with its runtime.
#[derive(Debug)]
pub(crate) struct Server {
    url: String,
    asked: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start(messages: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let server = Self { url, asked: Arc::default() };
        let (asked, messages) = (Arc::clone(&server.asked), Arc::new(messages));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (asked, messages) = (Arc::clone(&asked), Arc::clone(&messages));
                tokio::spawn(async move {
                    while read_request(&mut stream).await.is_some() {
                        let message = &messages[asked.fetch_add(1, Ordering::SeqCst)];
                        let body = completion(message).to_string();
                        let head = format!(
                            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                             content-length: {}\r\n\r\n",
                            body.len()
                        );
                        stream.write_all((head + &body).as_bytes()).await.unwrap();
                    }
                });
            }
        });
        server
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Who asks it.
    pub(crate) fn client(&self) -> Client {
        self.client_by(&Http::default())
    }

    /// Who asks it, by the clock of this pool.
    pub(crate) fn client_by(&self, http: &Http) -> Client {
        let provider = Provider {
            clearance: Confidentiality::Internal,
            ..Provider::new("b", ApiKind::OpenAi, &self.url, "model-b")
        };
        Client::new(provider, Key::new("key".to_owned()), http).unwrap()
    }
}

async fn read_request(stream: &mut tokio::net::TcpStream) -> Option<Value> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
        text.extend_from_slice(&buffer[..n]);
        let whole = String::from_utf8_lossy(&text).into_owned();
        let Some((_, body)) = whole.split_once("\r\n\r\n") else { continue };
        // Whatever the framing, the body is whole once it is JSON.
        let json = body.find('{').zip(body.rfind('}')).and_then(|(from, to)| body.get(from..=to));
        if let Some(value) = json.and_then(|json| serde_json::from_str(json).ok()) {
            return Some(value);
        }
    }
}

fn completion(message: &Value) -> Value {
    let finish = if message["tool_calls"].is_array() { "tool_calls" } else { "stop" };
    json!({
        "id": "x", "object": "chat.completion", "created": 0, "model": "model-b",
        "choices": [{ "index": 0, "message": message, "finish_reason": finish }],
        "usage": { "prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14 },
    })
}
