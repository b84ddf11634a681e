//! What is one caller's is nobody else's (C131): two agents of one person at one address, and that person beside them.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    Speaks,
    front::{Front, text},
    run_of,
    served::{Served, keeps_a_secret_of, state},
};
use crate::api::{Answer, request, send};

/// The error's number for what makes no sense.
const INVALID: i64 = -32602;

/// What a client says to a form.
fn filled(action: &str, word: &str) -> Value {
    json!({"action": action, "content": {"password": word}})
}

/// The proxy, and everything else that a server has, in front of a server that may ask.
fn serving(mode: &str, system: &str) -> Served {
    let front = Front::open(mode);
    front.edit("harness.toml", "kind = \"mcp\"\n", &format!("kind = \"mcp\"\n{system}\n"));
    of(front)
}

fn of(front: Front) -> Served {
    front.edit("harness.toml", "proxy_mode = ", "hold_ms = 0\nproxy_mode = ");
    Served::with(front, &["serve", "--listen", "127.0.0.1:0"], "/mcp/proxy")
}

/// The one who calls, and those who would like to have what is that one's: another agent of the same person, and that
/// person.
fn callers(served: &Served) -> (String, [String; 2]) {
    let person = served.token(&[])["token"].as_str().unwrap().to_owned();
    (served.agent("coder", "ulla"), [served.agent("writer", "ulla"), person])
}

/// One request of the API.
fn rest(served: &Served, token: &str, path: &str, body: &Value) -> Answer {
    let text = request(&served.host, token, ("POST", path), body, &[]);
    send(&served.host, text.as_bytes())
}

/// Events as they come.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(served: &Served, method: &str, (token, session): (&str, &str), body: &Value) -> Self {
        let text = request(&served.host, token, (method, served.path), body, &speaking(session));
        let mut stream = TcpStream::connect(&served.host).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while reader.read_line(&mut head).unwrap() > 2 {}
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        Self(reader)
    }

    /// The next message that this is true of.
    fn next(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "it is over");
            let data = line.strip_prefix("data:").map(serde_json::from_str::<Value>);
            if let Some(Ok(message)) = data
                && wanted(&message)
            {
                return message;
            }
        }
    }
}

fn speaking(session: &str) -> [&str; 3] {
    ["Accept: application/json, text/event-stream", "MCP-Protocol-Version: 2025-11-25", session]
}

/// A message in a session; its status.
fn say(served: &Served, (token, session): (&str, &str), message: &Value) -> u16 {
    let line = ("POST", served.path);
    let text = request(&served.host, token, line, message, &speaking(session));
    send(&served.host, text.as_bytes()).status
}

/// What a server asks in the middle of a call is answered by whoever the call is made for. The attack: others learn the run,
/// the question's key and the state that was given with it, and answer first.
#[test]
fn a_question_is_its_callers_to_answer() {
    let served = serving("observe", "may_ask = [\"elicitation\"]\nspeaks = \"stateless\"");
    let (one, strangers) = callers(&served);
    let call = json!({"name": "ask", "arguments": {"kind": "form"}});
    let asked =
        served.ask((&one, Speaks::NowAnswering), ("tools/call", call.clone()))["result"].clone();
    assert_eq!(asked["resultType"], "input_required", "{asked:#}");
    let run = run_of(&asked);
    let key = asked["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
    let with = |answer: Value| {
        let mut call = call.clone();
        call["requestState"] = asked["requestState"].clone();
        call["inputResponses"] = json!({ &key: answer });
        ("tools/call", call)
    };
    for stranger in &strangers {
        let refused =
            served.ask((stranger, Speaks::NowAnswering), with(filled("accept", "stolen")));
        assert_eq!(refused["error"]["code"], INVALID, "{refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains("state"), "{refused}");
        let answers = json!({ &key: filled("accept", "stolen") });
        for (verb, body) in [
            ("answer", json!({"question": "1", "answers": answers})),
            ("answer", json!({"question": "1"})),
            ("wait", json!({})),
            ("leave", json!({})),
        ] {
            let path = format!("/v1/tool-calls/{run}/{verb}");
            assert_eq!(rest(&served, stranger, &path, &body).refused(404), "call-not-found");
        }
    }
    // It is still asked, and by nobody's word; who looks at the run sees what is asked.
    let lanes = || {
        let page = served.page(&format!("/runs/{run}"));
        page.split("id=\"lanes\"").nth(1).unwrap().split("</ol>").next().unwrap().to_owned()
    };
    let (before, question) = (lanes(), "password");
    assert!(before.contains(question) && before.contains("b-waiting"), "{before}");
    let heard =
        served.ask((&one, Speaks::NowAnswering), with(filled("accept", "mine")))["result"].clone();
    let heard = heard["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{heard:#}"));
    assert!(heard.contains("mine") && !heard.contains("stolen"), "{heard}");
    assert!(lanes().contains(question), "{}", lanes());
    assert_eq!(served.front.runs().len(), 1, "nobody else's call was begun");
}

/// The same over a session, where the client is asked by a message of its own. The attack: an answer to it under the
/// session that was learned, and one in a session of one's own.
#[test]
fn a_question_over_a_session_is_answered_in_it_and_by_its_caller() {
    let served = serving("observe", "may_ask = [\"elicitation\"]\nspeaks = \"sessions\"");
    let (one, strangers) = callers(&served);
    let session = |token: &str| {
        let session = served.session((token, Speaks::BeforeAnswering));
        let begun = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(say(&served, (token, &session), &begun), 202);
        session
    };
    let mine = session(&one);
    let params = json!({"name": "ask", "arguments": {"kind": "form"}});
    let call = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params});
    let mut stream = Stream::open(&served, "POST", (&one, &mine), &call);
    let asked = stream.next(|message| message["method"] == "elicitation/create");
    let answer =
        |word: &str| json!({"jsonrpc": "2.0", "id": asked["id"], "result": filled("accept", word)});
    for stranger in &strangers {
        assert_eq!(say(&served, (stranger, &mine), &answer("stolen")), 404);
        // In their own session nobody asked them anything: whatever is said to it, it is not heard here.
        say(&served, (stranger, &session(stranger)), &answer("stolen"));
    }
    assert_eq!(say(&served, ("", &mine), &answer("stolen")), 401);
    assert_eq!(say(&served, (&one, &mine), &answer("mine")), 202);
    let told = stream.next(|message| message["id"] == 5);
    let heard = told["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{told:#}"));
    assert!(heard.contains("mine") && !heard.contains("stolen"), "{heard}");
}

/// A task is read, answered and ended by whoever it was given to. The attack: its name, learned by others.
#[test]
fn a_task_is_neither_read_nor_answered_nor_ended_by_another_agent_of_the_same_person() {
    let served = serving("enforce", "may_ask = [\"elicitation\"]\nspeaks = \"stateless\"");
    let (one, strangers) = callers(&served);
    let ask = |token: &str, method: &str, params: Value| {
        served.ask((token, Speaks::NowWithTasks), (method, params))
    };
    let kept = |tool: &str, arguments: Value| {
        let told = ask(&one, "tools/call", json!({"name": tool, "arguments": arguments}));
        let told = &told["result"];
        assert_eq!(told["resultType"], "task", "{told:#}");
        told["taskId"].as_str().unwrap().to_owned()
    };
    let seen = |task: &str| ask(&one, "tasks/get", json!({ "taskId": task }))["result"].clone();
    let refuses = |task: &str| {
        let stolen = json!({"it": filled("accept", "stolen")});
        for stranger in &strangers {
            for (method, params) in [
                ("tasks/get", json!({ "taskId": task })),
                ("tasks/update", json!({"taskId": task, "inputResponses": stolen})),
                ("tasks/cancel", json!({ "taskId": task })),
            ] {
                let refused = ask(stranger, method, params);
                assert_eq!(refused["error"]["code"], INVALID, "{method}: {refused}");
                assert!(!refused.to_string().contains("password"), "{method}: {refused}");
            }
        }
    };
    let waits = kept("note", text("once"));
    refuses(&waits);
    assert_eq!(seen(&waits)["status"], "working", "nobody ended it");
    served.front.approve(&waits).exits(0);
    refuses(&waits);
    let ended = seen(&waits);
    assert_eq!(ended["status"], "completed", "{ended:#}");
    assert_eq!(ended["result"]["content"][0]["text"], "noted", "{ended:#}");
    // One whose server asks something.
    let asks = kept("ask", json!({"kind": "form"}));
    thread::scope(|scope| {
        // It waits until the call is over.
        let approving = scope.spawn(|| served.front.approve(&asks).code);
        let asked = loop {
            let now = seen(&asks);
            match now["status"].as_str() {
                Some("working") => thread::yield_now(),
                _ => break now,
            }
        };
        assert_eq!(asked["status"], "input_required", "{asked:#}");
        refuses(&asks);
        assert_eq!(seen(&asks)["inputRequests"], asked["inputRequests"], "it is still asked");
        let key = asked["inputRequests"].as_object().unwrap().keys().next().unwrap();
        let mine = json!({"taskId": asks, "inputResponses": { key: filled("accept", "mine") }});
        assert_eq!(ask(&one, "tasks/update", mine)["result"]["resultType"], "complete");
        assert_eq!(approving.join().unwrap(), 0);
    });
    let heard = seen(&asks)["result"].to_string();
    assert!(heard.contains("mine") && !heard.contains("stolen"), "{heard}");
    // And one that its own caller ends.
    let unwanted = kept("note", text("never"));
    refuses(&unwanted);
    ask(&one, "tasks/cancel", json!({ "taskId": unwanted }));
    assert_eq!(seen(&unwanted)["status"], "cancelled");
    assert_eq!(served.front.notes(), "once\n");
}

/// What a server has that changes is told to whoever waits for it and may read it; to others there is no such thing.
#[test]
fn changes_are_told_to_whoever_may_read_what_changes() {
    let front = Front::open("observe");
    front.edit("harness.toml", "kind = \"mcp\"\n", "kind = \"mcp\"\nspeaks = \"sessions\"\n");
    keeps_a_secret_of(&front, "mira");
    let served = of(front);
    let (theirs, other) = (served.agent("coder", "mira"), served.agent("coder", "ulla"));
    let watch = |token: &str, body: Value| rest(&served, token, "/v1/proxy/watch", &body);
    let begun = watch(&theirs, json!({"uris": ["note://1", "note://3"]})).ok();
    assert_eq!(begun["changed"], json!([]), "nothing is waited for: {begun}");
    let since = begun["since"].clone();
    let told = loop {
        served.call(&theirs, "note", text("a change"));
        let body = json!({"uris": ["note://3"], "since": since, "wait_ms": 500});
        let told = watch(&theirs, body).ok();
        if told["changed"] != json!([]) {
            break told;
        }
    };
    assert_eq!(told["changed"], json!(["note://3"]), "only what was asked for: {told}");
    assert!(told["since"].as_u64() > since.as_u64(), "{told}");
    for body in [json!({"uris": ["note://3"]}), json!({"uris": ["note://3"], "since": 0})] {
        assert_eq!(watch(&other, body.clone()).refused(404), "resource-not-found");
        assert_eq!(watch("", body.clone()).status, 401);
        let looks = served.token(&["--scope", "read"])["token"].as_str().unwrap().to_owned();
        assert_eq!(watch(&looks, body).status, 403);
    }
    let many: Vec<String> = (0..101).map(|n| format!("note://{n}")).collect();
    let refused = watch(&theirs, json!({ "uris": many }));
    assert_eq!(refused.json()["code"], "inputs-invalid", "{refused:?}");
}

/// The same for a client with a session: it subscribes, and hears of changes until it does not want to any more. Nobody else
/// does it under that session, or hears of them by it.
#[test]
fn a_session_subscribes_for_itself() {
    let served = serving("observe", "speaks = \"sessions\"");
    let (one, strangers) = callers(&served);
    let session = served.session((&one, Speaks::Before));
    let begun = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(say(&served, (&one, &session), &begun), 202);
    let about = |method: &str, uri: &str| {
        let params = json!({ "uri": uri });
        json!({"jsonrpc": "2.0", "id": 8, "method": method, "params": params})
    };
    let mut own = Stream::open(&served, "GET", (&one, &session), &Value::Null);
    for stranger in &strangers {
        let hijack = (stranger.as_str(), session.as_str());
        assert_eq!(say(&served, hijack, &about("resources/subscribe", "note://5")), 404);
        assert_eq!(say(&served, hijack, &about("resources/unsubscribe", "note://3")), 404);
        let line = ("GET", served.path);
        let text = request(&served.host, stranger, line, &Value::Null, &speaking(&session));
        assert_eq!(send(&served.host, text.as_bytes()).status, 404, "nobody listens in");
    }
    for uri in ["note://3", "note://1"] {
        let asks = about("resources/subscribe", uri);
        let mut answer = Stream::open(&served, "POST", (&one, &session), &asks);
        let told = answer.next(|message| message["id"] == 8);
        assert!(told["result"].is_object(), "{told}");
    }
    let is_told = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&is_told);
        scope.spawn(|| {
            while !is_told.load(Ordering::SeqCst) {
                let noted = served.call(&strangers[0], "note", text("a change"));
                assert_eq!(state(&noted), "done", "{noted}");
            }
        });
        let of_changes = |message: &Value| message["method"] == "notifications/resources/updated";
        let mut left = vec!["note://1", "note://3"];
        while !left.is_empty() {
            let told = own.next(of_changes);
            let uri = told["params"]["uri"].as_str().unwrap_or_else(|| panic!("{told}"));
            assert_ne!(uri, "note://5", "nobody else subscribes in it");
            left.retain(|one| *one != uri);
        }
    });
}

/// Says that it is over, however it ended.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
