//! Clients are told when what they can call is another (C131, C133), and what they repeat in headers has to be what they ask.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::net::{UnixListener, UnixStream},
    sync::mpsc::{self, Receiver},
    thread,
};

use serde_json::json;

use super::{
    Pipe, Speaks,
    client::{post_to, written},
    front::Front,
};
use crate::support::{Office, Serving};

const TOOLS_CHANGED: &str = "notifications/tools/list_changed";

/// From now on what this client is told by itself includes changes of lists; what the server says that it tells.
fn listen(pipe: &mut Pipe, speaks: Speaks) -> Option<u64> {
    if speaks.has_sessions() {
        return None;
    }
    let wanted = json!({"toolsListChanged": true});
    let id = pipe.begin("subscriptions/listen", json!({ "notifications": wanted }));
    let agreed = pipe.told("notifications/subscriptions/acknowledged");
    assert_eq!(agreed["params"]["notifications"], wanted, "{agreed}");
    Some(id)
}

/// An office whose pack somebody installed, so that it can be switched off.
fn installed() -> Office {
    let office = Office::open();
    let config = fs::read_to_string(office.config()).unwrap();
    let bare = config.replace("packs = [\"packs/customer-ops\"]", "packs = []");
    assert_ne!(bare, config);
    fs::write(office.config(), bare).unwrap();
    let folder = office.path("packs/customer-ops").display().to_string();
    office.json_as("ada", &["pack", "install", &folder, "--yes"]).exits(0);
    office
}

/// The proxy over HTTP, where it is, and a token for it.
pub(crate) fn served(front: &Front) -> (Serving, String, String) {
    let words = ["mcp", "proxy", "--hold", "0s", "--http", "127.0.0.1:0"];
    let (serving, line) = Serving::of(front.command(&words));
    let (_, place) = line.split_once(" at http://").unwrap_or_else(|| panic!("{line}"));
    let token = front.json(&["token", "create", "a test"]).exits(0).document();
    let token = token["token"].as_str().unwrap().to_owned();
    (serving, place.split(';').next().unwrap().to_owned(), token)
}

fn names(pipe: &mut Pipe) -> Vec<String> {
    pipe.tools().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

/// C131: a pack is switched off and on again by somebody else, and the client hears of both while it does nothing.
#[test]
fn a_client_hears_that_its_tools_are_others() {
    for speaks in [Speaks::Before, Speaks::Now] {
        let office = installed();
        let mut pipe = Pipe::open(&office, speaks, &[]);
        let all = names(&mut pipe);
        assert!(all.len() > 1, "{all:?}");
        listen(&mut pipe, speaks);
        office.json_as("ada", &["pack", "disable", "customer-ops"]).exits(0);
        pipe.told(TOOLS_CHANGED);
        assert_eq!(names(&mut pipe), ["harness_wait"], "{speaks:?}");
        office.json_as("ada", &["pack", "enable", "customer-ops"]).exits(0);
        pipe.told(TOOLS_CHANGED);
        assert_eq!(names(&mut pipe), all, "{speaks:?}");
        assert_eq!(pipe.end(), 0);
    }
}

/// Stands before the owner's socket and passes everything on but what merely waits: that is never answered. Says of each such
/// request that it came.
fn silent_to_waiters(office: &Office) -> Receiver<()> {
    let (socket, real) = (office.path("store/owner.sock"), office.path("store/real.sock"));
    fs::rename(&socket, &real).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    let (waits, came) = mpsc::channel();
    thread::spawn(move || {
        let mut kept = Vec::new();
        for mut client in listener.incoming().map(Result::unwrap) {
            let mut line = String::new();
            // Whether somebody is there is asked without a word.
            if BufReader::new(&client).read_line(&mut line).unwrap() == 0 {
                continue;
            }
            if line.starts_with(r#"{"op":"tool.watch""#) {
                // Nobody may hear it any more: the test is over then.
                let _gone = waits.send(());
                kept.push(client);
                continue;
            }
            let mut owner = UnixStream::connect(&real).unwrap();
            owner.write_all(line.as_bytes()).unwrap();
            let mut answer = String::new();
            BufReader::new(owner).read_line(&mut answer).unwrap();
            client.write_all(answer.as_bytes()).unwrap();
        }
    });
    came
}

/// C131: what merely waits for something to tell keeps neither a call waiting nor the end. A client that has gone kills a
/// server that does not go, too.
#[test]
fn what_only_waits_holds_up_neither_calls_nor_the_end() {
    for speaks in [Speaks::Before, Speaks::Now] {
        let office = Office::open();
        let _owner = Serving::start(&office);
        let waits = silent_to_waiters(&office);
        let mut pipe = Pipe::open(&office, speaks, &[]);
        let listens = listen(&mut pipe, speaks);
        waits.recv().unwrap();
        assert!(names(&mut pipe).len() > 1, "{speaks:?}");
        let risk = pipe.call("churn_risk_read", json!({"account": "ACC-0042"}));
        assert_eq!(risk["isError"], false, "{risk}");
        pipe.hang_up();
        // Whoever listened is told that it is over, as long as there is somebody to tell.
        listens.map(|id| pipe.answer(id));
        assert_eq!(pipe.end(), 0, "{speaks:?}");
    }
}

/// C133: what a server behind the proxy says of its own list reaches the client that listens, whichever generation either
/// of them speaks.
#[test]
fn what_a_server_says_of_its_list_reaches_the_client() {
    for (server, speaks) in [
        ("sessions", Speaks::Before),
        ("sessions", Speaks::Now),
        ("stateless", Speaks::Before),
        ("stateless", Speaks::Now),
    ] {
        let front = fronting(server);
        let mut pipe = front.pipe(speaks, &[]);
        listen(&mut pipe, speaks);
        front.misbehave("relists");
        let sum = pipe.call("add", json!({"a": 1, "b": 2}));
        assert_eq!(sum["structuredContent"]["sum"], 3, "{sum}");
        pipe.told(TOOLS_CHANGED);
        assert_eq!(pipe.end(), 0);
    }
}

/// A server without sessions that ends what it tells by is asked again, and what it may have said meanwhile is told.
#[test]
fn what_was_missed_while_a_server_did_not_tell_is_told() {
    let front = fronting("stateless");
    front.misbehave("hangs_up");
    let mut pipe = front.pipe(Speaks::Before, &[]);
    let sum = pipe.call("add", json!({"a": 1, "b": 2}));
    assert_eq!(sum["structuredContent"]["sum"], 3, "{sum}");
    front.behave("hangs_up");
    pipe.told(TOOLS_CHANGED);
    // And it is listened to from then on.
    front.misbehave("relists");
    pipe.call("add", json!({"a": 1, "b": 2}));
    pipe.told(TOOLS_CHANGED);
    assert_eq!(pipe.end(), 0);
}

/// A proxy in front of a server that is spoken to in this generation alone.
fn fronting(server: &str) -> Front {
    let front = Front::open("enforce");
    let speaks = format!("kind = \"mcp\"\nspeaks = \"{server}\"\n");
    front.edit("harness.toml", "kind = \"mcp\"\n", &speaks);
    front
}

/// Who listens over HTTP is told that it is over when the server ends, which does not wait for them.
#[test]
fn who_listens_holds_no_server_up() {
    let front = Front::open("enforce");
    let (serving, host, token) = served(&front);
    let what = ("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
    let mut line = TcpStream::connect(&host).unwrap();
    let asked = written((&host, "/mcp"), (&token, Speaks::Now), what, &[]);
    line.write_all(asked.as_bytes()).unwrap();
    let (mut said, mut some) = (String::new(), [0; 4096]);
    while !said.contains("notifications/subscriptions/acknowledged") {
        let count = line.read(&mut some).unwrap();
        assert!(count > 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&some[..count]));
    }
    assert!(!said.contains("\"result\""), "{said}");
    assert_eq!(serving.end("TERM"), Some(0));
    line.read_to_string(&mut said).unwrap();
    assert!(said.contains("\"result\""), "{said}");
}

/// C133: an argument that a tool wants repeated in a header is compared with it: who stands in front may have gone by the
/// header.
#[test]
fn a_header_that_says_something_else_than_the_argument_is_refused() {
    let front = Front::open("enforce");
    let (_serving, host, token) = served(&front);
    let call = |extra: &[&str]| {
        let what = ("tools/call", json!({"name": "route", "arguments": {"region": "eu"}}));
        post_to((&host, "/mcp"), (&token, Speaks::Now), what, extra)
    };
    let right = call(&["Mcp-Param-Region: eu"]);
    assert_eq!(right.status, 200, "{right:?}");
    assert!(right.body.contains("to eu"), "{right:?}");
    for wrong in [&["Mcp-Param-Region: us"][..], &[]] {
        let refused = call(wrong);
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.body.contains("-32020"), "{refused:?}");
    }
    let runs = front.json(&["run", "list"]).exits(0).document();
    assert_eq!(runs["items"].as_array().unwrap().len(), 1, "{runs:#}");
}
