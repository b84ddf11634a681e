//! The harness as an agent of the Agent2Agent protocol (C133): what its cards say, what a message begins, how a task waits for
//! a person, and whose it is.

mod delegating;
mod doors;
mod tasks;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

use crate::api::{Answer, Api, request};

/// The version that is spoken.
const SPEAKS: &str = "A2A-Version: 1.0";

/// An agent that works for ulla.
fn agent(api: &Api, name: &str) -> String {
    api.token("ada", &["--agent", name, "--owner", "ulla"])
}

/// One request of JSON-RPC; what came back.
fn rpc(api: &Api, token: &str, method: &str, params: &Value) -> Value {
    let body = json!({"jsonrpc": "2.0", "id": "one", "method": method, "params": params});
    let answer = api.ask(token, ("POST", "/a2a"), &body, &[SPEAKS]);
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.json();
    assert_eq!(told["jsonrpc"], "2.0", "{told}");
    assert_eq!(told["id"], "one", "{told}");
    told
}

/// The same, where it goes well.
#[track_caller]
fn done(api: &Api, token: &str, method: &str, params: &Value) -> Value {
    let told = rpc(api, token, method, params);
    assert!(told["result"].is_object(), "{told}");
    told["result"].clone()
}

/// The same, where it is refused: the number and the code.
#[track_caller]
fn refused(api: &Api, token: &str, method: &str, params: &Value) -> (i64, String) {
    let told = rpc(api, token, method, params);
    let error = &told["error"];
    assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{told}");
    assert_eq!(error["data"][0]["@type"], "type.googleapis.com/google.rpc.ErrorInfo", "{told}");
    let code = error["data"][0]["metadata"]["code"].as_str();
    (error["code"].as_i64().unwrap(), code.unwrap_or_else(|| panic!("{told}")).to_owned())
}

/// A message that names a skill.
fn message(id: &str, skill: &str, data: &Value) -> Value {
    json!({"message": {
        "messageId": id, "role": "ROLE_USER", "parts": [{"data": data}], "metadata": {"skill": skill},
    }})
}

/// A change that asks a person.
fn change(id: &str, days: u32) -> Value {
    let data = json!({
        "account": "ACC-0042", "field": "PaymentTermsDays", "value": days.to_string(),
        "reason": "as agreed in the call",
    });
    message(id, "contract_field_change", &data)
}

/// A task that waits for a person: its id, and the id of what is asked.
#[track_caller]
fn asking(api: &Api, token: &str, message: &Value) -> (String, String) {
    let task = done(api, token, "SendMessage", message)["task"].clone();
    assert_eq!(task["status"]["state"], "TASK_STATE_INPUT_REQUIRED", "{task:#}");
    let asks = &task["status"]["message"]["parts"][1]["data"]["asks"];
    let approval = asks[0]["approval"].as_str().unwrap_or_else(|| panic!("{task:#}"));
    (task["id"].as_str().unwrap().to_owned(), approval.to_owned())
}

/// A stream that is listened to.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(api: &Api, token: &str, (path, body): (&str, &Value)) -> Self {
        let text = request(&api.host, token, ("POST", path), body, &[SPEAKS]);
        let mut stream = TcpStream::connect(&api.host).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while reader.read_line(&mut head).unwrap() > 2 {}
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.to_lowercase().contains("content-type: text/event-stream"), "{head}");
        Self(reader)
    }

    /// The next event; none once it is over.
    fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
    }
}

/// A request of the binding HTTP+JSON.
fn rest(api: &Api, token: &str, (method, path): (&str, &str), body: &Value) -> Answer {
    api.ask(token, (method, &format!("/a2a{path}")), body, &[SPEAKS])
}
