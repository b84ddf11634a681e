//! An agent of the Agent Client Protocol for tests: what it is prompted with says what it does. It works in the folder that its
//! session names, and leaves a word there of what it did.

use std::{
    fs,
    io::{self, Lines, StdinLock, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::{Value, json};

/// Its one session.
const SESSION: &str = "session-1";

struct Agent {
    lines: Lines<StdinLock<'static>>,
    cwd: PathBuf,
    asked: u64,
}

fn main() -> ExitCode {
    let how = std::env::args().nth(1).unwrap_or_default();
    let mut agent = Agent { lines: io::stdin().lines(), cwd: PathBuf::new(), asked: 0 };
    while let Some(message) = agent.reads() {
        let id = message.get("id").cloned().unwrap_or_default();
        let params = message.get("params").cloned().unwrap_or_default();
        match message.get("method").and_then(Value::as_str).unwrap_or_default() {
            "initialize" if how == "silent" => {}
            "initialize" => {
                let version = if how == "old" { 7 } else { 1 };
                let is = json!({"name": "acp-fixture", "version": "1.2.3"});
                let logins = json!([{"id": "key", "name": "With a key"}]);
                says(&json!({"jsonrpc": "2.0", "id": id, "result": {
                    "protocolVersion": version, "agentInfo": is, "authMethods": logins,
                    "agentCapabilities": {"promptCapabilities": {"image": true}},
                }}));
            }
            "session/new" if how == "login" => {
                let error = json!({"code": -32000, "message": "Authentication required"});
                says(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
            }
            "session/new" => {
                agent.cwd = params.get("cwd").and_then(Value::as_str).unwrap_or_default().into();
                says(&json!({"jsonrpc": "2.0", "id": id, "result": {"sessionId": SESSION}}));
            }
            "session/prompt" => {
                let text = params.pointer("/prompt/0/text").and_then(Value::as_str);
                let stop = match agent.turn(text.unwrap_or_default()) {
                    Some(stop) => stop,
                    None => return ExitCode::from(3),
                };
                says(&json!({"jsonrpc": "2.0", "id": id, "result": {"stopReason": stop}}));
            }
            _ => {}
        }
    }
    ExitCode::SUCCESS
}

fn says(message: &Value) {
    let mut out = io::stdout().lock();
    // Whoever does not listen does not hear.
    drop(out.write_all(format!("{message}\n").as_bytes()));
    drop(out.flush());
}

fn updates(update: &Value) {
    let params = json!({"sessionId": SESSION, "update": update});
    says(&json!({"jsonrpc": "2.0", "method": "session/update", "params": params}));
}

fn speaks(text: &str) {
    updates(&json!({
        "sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text},
    }));
}

impl Agent {
    fn reads(&mut self) -> Option<Value> {
        let line = self.lines.next()?.ok()?;
        serde_json::from_str(&line).ok()
    }

    /// What it was prompted with, a command a line: why the turn is over; none where it ends without a word.
    fn turn(&mut self, text: &str) -> Option<&'static str> {
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "say" => speaks(rest),
                "token" => speaks(&std::env::var("TOKEN").unwrap_or_default()),
                "use" | "use-and-forget" | "stranger" => {
                    if self.uses(word, rest) == "cancelled" {
                        return Some("cancelled");
                    }
                }
                "fs" | "terminal" => self.asks_for(word),
                "refuse" => return Some("refusal"),
                "tire" => return Some("max_tokens"),
                "die" => {
                    drop(io::stderr().write_all(b"my model is on fire\n"));
                    return None;
                }
                "hang" => return self.hangs(rest),
                "flood" => loop {
                    speaks(&"x".repeat(100_000));
                },
                "endless" => loop {
                    drop(io::stdout().write_all(&[b'x'; 65_536]));
                },
                _ => speaks(&format!("what is {word}?")),
            }
        }
        Some("end_turn")
    }

    /// `KIND NAME`, and where it has one a command: uses a tool, once it may.
    fn uses(&mut self, how: &str, rest: &str) -> String {
        let mut words = rest.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (kind, name, command) = (word(), word(), word());
        self.asked += 1;
        let id = format!("call-{}", self.asked);
        let place = self.cwd.join(&name);
        let mut input = json!({"path": place});
        if let (false, Some(map)) = (command.is_empty(), input.as_object_mut()) {
            map.insert("command".to_owned(), json!(command));
        }
        let title = format!("{kind} {name}");
        updates(&json!({
            "sessionUpdate": "tool_call", "toolCallId": id, "title": title, "kind": kind,
            "status": "pending", "rawInput": input, "locations": [{"path": place}],
        }));
        let session = if how == "stranger" { "session-2" } else { SESSION };
        let outcome = self.permitted(session, &id);
        if outcome == "once" {
            self.does(&place, &kind);
            if how == "use-and-forget" {
                return outcome;
            }
        }
        let (status, said) = match outcome.as_str() {
            "once" => ("completed", "did it"),
            _ => ("failed", "was not permitted"),
        };
        updates(&json!({
            "sessionUpdate": "tool_call_update", "toolCallId": id, "status": status,
            "content": [{"type": "content", "content": {"type": "text", "text": said}}],
        }));
        speaks(&format!("{title}: {outcome}. "));
        outcome
    }

    fn does(&self, place: &Path, kind: &str) {
        if kind != "read" {
            drop(fs::write(place, "was here\n"));
        }
    }

    /// The option that was chosen, or the outcome where none was.
    fn permitted(&mut self, session: &str, id: &str) -> String {
        let options = json!([
            {"optionId": "always", "name": "Always", "kind": "allow_always"},
            {"optionId": "once", "name": "Once", "kind": "allow_once"},
            {"optionId": "no", "name": "No", "kind": "reject_once"},
        ]);
        let params =
            json!({"sessionId": session, "toolCall": {"toolCallId": id}, "options": options});
        let method = "session/request_permission";
        says(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        while let Some(message) = self.reads() {
            if message.get("id").and_then(Value::as_str) == Some(id) {
                let outcome = message.pointer("/result/outcome");
                let of = |key: &str| outcome.and_then(|outcome| outcome.get(key)?.as_str());
                return of("optionId").or(of("outcome")).unwrap_or("error").to_owned();
            }
        }
        "gone".to_owned()
    }

    /// Asks for what was not offered.
    fn asks_for(&mut self, what: &str) {
        let (method, params) = match what {
            "fs" => ("fs/read_text_file", json!({"sessionId": SESSION, "path": "/etc/passwd"})),
            _ => ("terminal/create", json!({"sessionId": SESSION, "command": "id"})),
        };
        says(&json!({"jsonrpc": "2.0", "id": what, "method": method, "params": params}));
        let answer = self.reads().unwrap_or_default();
        let code = answer.pointer("/error/code").and_then(Value::as_i64);
        speaks(&format!(
            "{what}: {}. ",
            code.map_or("answered".to_owned(), |code| code.to_string())
        ));
    }

    /// Says nothing any more, and hears nothing but that it is to stop, unless it is deaf.
    fn hangs(&mut self, how: &str) -> Option<&'static str> {
        drop(fs::write(self.cwd.join("hangs"), "was here\n"));
        while let Some(message) = self.reads() {
            let is_stop = message.get("method").and_then(Value::as_str) == Some("session/cancel");
            if is_stop && how != "deaf" {
                drop(fs::write(self.cwd.join("stopped"), "was here\n"));
                return Some("cancelled");
            }
        }
        None
    }
}
