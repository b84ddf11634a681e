//! A model that says what its script says, over real HTTP, on the wire of OpenAI's Chat Completions.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
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
}

impl Model {
    pub(crate) fn start(script: impl IntoIterator<Item = Says>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let model = Self {
            url,
            script: Arc::new(Mutex::new(script.into_iter().collect())),
            heard: Arc::default(),
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

    /// Every request body so far.
    pub(crate) fn heard(&self) -> Vec<Value> {
        self.heard.lock().unwrap().clone()
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
                Says::Fails(status, body) => (status, body.to_owned()),
                Says::Hangs => {
                    let mut rest = Vec::new();
                    reader.read_to_end(&mut rest).ok()?;
                    return None;
                }
            };
            let head = format!(
                "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            writer.write_all((head + &body).as_bytes()).ok()?;
        }
    }
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
