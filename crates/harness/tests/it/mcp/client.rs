//! Clients of MCP that know nothing of ours: lines on a pipe, and bodies over HTTP, in either generation.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, ChildStdin, ChildStdout, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{api::Answer, support::Office};

/// Which generation of the protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// 2025-11-25: a handshake, then requests.
    Before,
    /// 2026-07-28: every request says all by itself.
    Now,
    /// The same, by a client that opens addresses.
    NowWithPages,
    /// 2025-11-25, by a client that opens addresses.
    BeforeWithPages,
    /// 2025-11-25, by a client that answers what it is asked.
    BeforeAnswering,
    /// 2026-07-28, by a client that answers what it is asked.
    NowAnswering,
    /// 2026-07-28, by a client that comes back for what a call came to, and answers what it is asked.
    NowWithTasks,
}

impl Speaks {
    pub(super) fn version(self) -> &'static str {
        if self.has_sessions() { "2025-11-25" } else { "2026-07-28" }
    }

    pub(super) fn has_sessions(self) -> bool {
        matches!(self, Self::Before | Self::BeforeWithPages | Self::BeforeAnswering)
    }

    /// What it says that it can.
    pub(super) fn can(self) -> Value {
        match self {
            Self::BeforeWithPages | Self::NowWithPages => json!({"elicitation": {"url": {}}}),
            Self::BeforeAnswering | Self::NowAnswering => {
                json!({"elicitation": {"form": {}}, "sampling": {}, "roots": {}})
            }
            Self::NowWithTasks => json!({
                "extensions": {"io.modelcontextprotocol/tasks": {}}, "elicitation": {"form": {}},
            }),
            Self::Before | Self::Now => json!({}),
        }
    }

    /// What goes with a request.
    fn dressed(self, mut params: Value) -> Value {
        if self.has_sessions() {
            return params;
        }
        let can = self.can();
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": self.version(),
            "io.modelcontextprotocol/clientInfo": {"name": "person:mira", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": can,
        });
        let kept = params["_meta"].take();
        params["_meta"] = meta;
        if let Some(more) = kept.as_object() {
            for (key, value) in more {
                params["_meta"][key] = value.clone();
            }
        }
        params
    }
}

/// `harness mcp serve` with somebody at its other end; killed when its value goes.
#[derive(Debug)]
pub(super) struct Pipe {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    speaks: Speaks,
    asked: u64,
    /// What was said beside answers.
    pub(super) heard: Vec<Value>,
}

impl Pipe {
    pub(super) fn open(office: &Office, speaks: Speaks, words: &[&str]) -> Self {
        Self::with(office.command(&[&["-q", "mcp", "serve"], words].concat()), speaks)
    }

    pub(super) fn with(mut command: std::process::Command, speaks: Speaks) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let to = child.stdin.take();
        let from = BufReader::new(child.stdout.take().unwrap());
        let mut pipe = Self { child, to, from, speaks, asked: 0, heard: Vec::new() };
        if speaks.has_sessions() {
            let hello = json!({
                "protocolVersion": speaks.version(), "capabilities": speaks.can(),
                "clientInfo": {"name": "person:mira", "version": "1"},
            });
            let welcome = pipe.ask("initialize", hello);
            assert_eq!(welcome["result"]["protocolVersion"], speaks.version(), "{welcome}");
            pipe.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        }
        pipe
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn say(&mut self, message: &Value) {
        writeln!(self.to.as_mut().unwrap(), "{message}").unwrap();
    }

    /// Asks, and does not wait for the answer; the id.
    pub(super) fn begin(&mut self, method: &str, params: Value) -> u64 {
        self.asked += 1;
        let params = self.speaks.dressed(params);
        let message =
            json!({"jsonrpc": "2.0", "id": self.asked, "method": method, "params": params});
        self.say(&message);
        self.asked
    }

    /// The answer to a request.
    pub(super) fn answer(&mut self, id: u64) -> Value {
        loop {
            let mut line = String::new();
            let count = self.from.read_line(&mut line).unwrap();
            assert!(count > 0, "it ended: {:?}, {}", self.child.wait(), self.errors());
            let message: Value =
                serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
            if message["id"] == id {
                return message;
            }
            self.heard.push(message);
        }
    }

    /// What the other end asks next.
    pub(super) fn asked(&mut self) -> Value {
        loop {
            let mut line = String::new();
            let count = self.from.read_line(&mut line).unwrap();
            assert!(count > 0, "it ended: {:?}, {}", self.child.wait(), self.errors());
            let message: Value = serde_json::from_str(&line).unwrap();
            if !message["method"].is_null() && !message["id"].is_null() {
                return message;
            }
            self.heard.push(message);
        }
    }

    /// What it says by itself under this name, as soon as it has.
    pub(super) fn told(&mut self, method: &str) -> Value {
        loop {
            if let Some(at) = self.heard.iter().position(|one| one["method"] == method) {
                return self.heard.remove(at);
            }
            let mut line = String::new();
            let count = self.from.read_line(&mut line).unwrap();
            assert!(count > 0, "it ended: {:?}, {}", self.child.wait(), self.errors());
            self.heard.push(serde_json::from_str(&line).unwrap());
        }
    }

    /// What was heard of this since it was asked last, and what has come with the answers of others meanwhile.
    pub(super) fn heard_of(&mut self, method: &str) -> Vec<Value> {
        let (of_it, others) = self.heard.drain(..).partition(|one| one["method"] == method);
        self.heard = others;
        of_it
    }

    /// Answers what the other end asked.
    pub(super) fn reply(&mut self, asked: &Value, result: Value) {
        self.say(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}));
    }

    /// Fails where it has ended.
    #[track_caller]
    pub(super) fn goes_on(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "it ended: {ended:?}, {}", self.errors());
    }

    fn errors(&mut self) -> String {
        let mut text = String::new();
        let from = self.child.stderr.take().unwrap();
        { from }.read_to_string(&mut text).unwrap();
        text
    }

    pub(super) fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.begin(method, params);
        self.answer(id)
    }

    /// Calls a tool; its result.
    #[track_caller]
    pub(super) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.ask("tools/call", json!({"name": tool, "arguments": arguments}));
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }

    pub(super) fn tools(&mut self) -> Vec<Value> {
        let answer = self.ask("tools/list", json!({}));
        answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
    }

    /// Hangs up; everything that was said beside the answers that were read, to the end.
    pub(super) fn rest(mut self) -> Vec<Value> {
        drop(self.to.take());
        let mut rest = std::mem::take(&mut self.heard);
        let lines = self.from.by_ref().lines().map(|line| serde_json::from_str(&line.unwrap()));
        rest.extend(lines.map(Result::unwrap));
        rest
    }

    /// Says nothing more.
    pub(super) fn hang_up(&mut self) {
        drop(self.to.take());
    }

    /// Hangs up; its exit code.
    pub(super) fn end(mut self) -> i32 {
        self.hang_up();
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// One request over HTTP; extra header lines come after the usual ones.
pub(crate) fn post(host: &str, who: (&str, Speaks), what: (&str, Value), extra: &[&str]) -> Answer {
    post_to((host, "/mcp"), who, what, extra)
}

/// The same at another path.
pub(super) fn post_to(
    (host, path): (&str, &str),
    (token, speaks): (&str, Speaks),
    what: (&str, Value),
    extra: &[&str],
) -> Answer {
    read_all(host, written((host, path), (token, speaks), what, extra).as_bytes())
}

/// The bytes of such a request.
pub(super) fn written(
    (host, path): (&str, &str),
    (token, speaks): (&str, Speaks),
    (method, params): (&str, Value),
    extra: &[&str],
) -> String {
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": speaks.dressed(params)});
    let body = body.to_string();
    let named = |line: &str| extra.iter().any(|extra| extra.to_lowercase().starts_with(line));
    let mut text = format!("POST {path} HTTP/1.1\r\nConnection: close\r\n");
    if !named("host:") {
        text.push_str(&format!("Host: {host}\r\n"));
    }
    if !token.is_empty() {
        text.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    text.push_str(&format!(
        "Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
         MCP-Protocol-Version: {}\r\nContent-Length: {}\r\n",
        speaks.version(),
        body.len()
    ));
    if !speaks.has_sessions() {
        text.push_str(&format!("Mcp-Method: {method}\r\n"));
        let params = serde_json::from_str::<Value>(&body).unwrap()["params"].take();
        let named = ["name", "uri", "taskId"].into_iter().find_map(|key| params[key].as_str());
        if let Some(name) = named {
            text.push_str(&format!("Mcp-Name: {name}\r\n"));
        }
    }
    for line in extra {
        text.push_str(&format!("{line}\r\n"));
    }
    format!("{text}\r\n{body}")
}

/// Sends bytes and reads until the other end hangs up; pieces are put together.
fn read_all(host: &str, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    // Whoever is refused early may find the line closed before everything is sent.
    let _ = stream.write_all(bytes);
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    let (head, rest) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut answer = Answer { status, headers, body: rest.to_owned() };
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.body = String::new();
        let mut rest = rest;
        while let Some((size, after)) = rest.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16).unwrap();
            answer.body.push_str(after.get(..size).unwrap_or(after));
            rest = after.get(size + 2..).unwrap_or_default();
        }
    }
    answer
}
