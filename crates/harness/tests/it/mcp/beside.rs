//! What servers behind the proxy have beside tools, and what they ask in the middle of a call.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
};

use serde_json::{Value, json};

use super::{
    Pipe, Speaks,
    client::post,
    front::{Front, plain},
    run_of,
};
use crate::support::id_of;

/// The proxy over HTTP; killed when its value goes.
struct Door {
    child: Child,
    host: String,
}

impl Door {
    fn open(front: &Front) -> Self {
        let mut command = front.command(&["mcp", "proxy", "--http", "127.0.0.1:0"]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let place = said.find_map(|line| {
            let line = line.unwrap();
            line.split_once(" at http://").map(|(_, place)| place.to_owned())
        });
        let host = place.unwrap().split(';').next().unwrap().to_owned();
        Self { child, host }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

const BOTH: [Speaks; 2] = [Speaks::Before, Speaks::Now];

/// What was asked for, without what the proxy adds.
fn result(pipe: &mut Pipe, method: &str, params: Value) -> Value {
    let answer = pipe.ask(method, params);
    assert!(answer["result"].is_object(), "{method}: {answer}");
    answer["result"].clone()
}

/// C133: resources, their templates and prompts are those of the server, in both generations, and each that is read is a
/// run with a receipt that verifies; what there is not is told in the protocol's own way.
#[test]
fn what_a_server_has_is_read_by_runs_and_passed_on_unchanged() {
    let front = Front::open("enforce");
    for speaks in BOTH {
        let mut pipe = front.pipe(speaks, &[]);
        for (method, list) in [
            ("resources/list", "resources"),
            ("resources/templates/list", "resourceTemplates"),
            ("prompts/list", "prompts"),
        ] {
            let here = result(&mut pipe, method, json!({}));
            let mut there = front.direct(method, json!({}));
            let mut all = there[list].as_array().unwrap().clone();
            while let Some(cursor) = there["nextCursor"].as_str() {
                there = front.direct(method, json!({ "cursor": cursor }));
                all.extend(there[list].as_array().unwrap().clone());
            }
            assert_eq!(here[list], json!(all), "{speaks:?} {method}");
        }
        for (method, params) in [
            ("resources/read", json!({"uri": "note://3"})),
            ("prompts/get", json!({"name": "greet", "arguments": {"who": "Ada"}})),
        ] {
            let here = result(&mut pipe, method, params.clone());
            let mut there = plain(&front.direct(method, params));
            for own in ["ttlMs", "cacheScope"] {
                there.as_object_mut().unwrap().remove(own);
            }
            let mut passed = plain(&here);
            for own in ["ttlMs", "cacheScope"] {
                passed.as_object_mut().unwrap().remove(own);
            }
            assert_eq!(passed, there, "{speaks:?} {method}");
            let verified = front.json(&["receipt", "verify", &run_of(&here)]);
            assert_eq!(verified.exits(0).document()["verdict"], "verified");
        }
        let none = pipe.ask("resources/read", json!({"uri": "secret://1"}));
        assert!(none["error"]["code"].is_number(), "{none}");
        let none = pipe.ask("prompts/get", json!({"name": "no_such"}));
        assert_eq!(none["error"]["code"], -32602, "{none}");
        assert_eq!(pipe.end(), 0);
    }
}

/// C133: what policy denies whatever the evidence is not listed, not read and not completed, and reaches no server.
#[test]
fn what_policy_denies_is_nobodys_to_read() {
    let front = Front::open("enforce");
    front.edit(
        "operator.cedar",
        "permit (principal, action, resource);",
        "permit (principal, action, resource);\n@id(\"closed\") @reason(\"Closed.\")\n\
         forbid (principal, action in [Action::\"notes.read_resource\", Action::\"notes.prompt_greet\"], resource);",
    );
    front.edit("harness.toml", "kind = \"mcp\"\n", "kind = \"mcp\"\nspeaks = \"sessions\"\n");
    let mut pipe = front.pipe(Speaks::Before, &[]);
    assert_eq!(result(&mut pipe, "resources/list", json!({}))["resources"], json!([]));
    let denied = pipe.ask("resources/subscribe", json!({"uri": "note://3"}));
    assert_eq!(denied["error"]["code"], -32002, "{denied}");
    assert_eq!(result(&mut pipe, "prompts/list", json!({}))["prompts"], json!([]));
    let denied = pipe.ask("resources/read", json!({"uri": "note://3"}));
    assert!(denied["error"]["message"].as_str().unwrap().contains("Denied"), "{denied}");
    assert!(!denied.to_string().contains("this is note"), "{denied}");
    let prompt = json!({
        "ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "who", "value": "A"},
    });
    let denied = pipe.ask("completion/complete", prompt);
    assert_eq!(denied["error"]["code"], -32602, "{denied}");
}

/// C133: a session hears of changes of what it watches, and of what it does not watch any more nothing; other sessions hear
/// of nothing that they do not watch themselves. Whichever generation the server speaks.
#[test]
fn a_session_hears_of_changes_as_long_as_it_wants_to() {
    hears_of_changes("sessions");
    hears_of_changes("stateless");
}

fn hears_of_changes(server: &str) {
    const CHANGED: &str = "notifications/resources/updated";
    let front = Front::open("observe");
    let speaks = format!("kind = \"mcp\"\nspeaks = \"{server}\"\n");
    front.edit("harness.toml", "kind = \"mcp\"\n", &speaks);
    let mut pipe = front.pipe(Speaks::Before, &[]);
    let mut other = front.pipe(Speaks::Before, &[]);
    for uri in ["note://1", "note://3"] {
        result(&mut pipe, "resources/subscribe", json!({ "uri": uri }));
    }
    let mut is_told = |pipe: &mut Pipe, wanted: &[&str]| {
        let mut left = wanted.to_vec();
        let mut told = Vec::new();
        while !left.is_empty() {
            let noted = other.call("note", json!({"text": "a change"}));
            assert_eq!(noted["content"][0]["text"], "noted", "{noted}");
            pipe.tools();
            for one in pipe.heard_of(CHANGED) {
                let uri = one["params"]["uri"].as_str().unwrap().to_owned();
                left.retain(|wanted| *wanted != uri);
                told.push(uri);
            }
        }
        told
    };
    is_told(&mut pipe, &["note://1", "note://3"]);
    result(&mut pipe, "resources/unsubscribe", json!({"uri": "note://1"}));
    pipe.heard_of(CHANGED);
    // The server tells of the one before the other: whoever hears of the second would have heard of the first.
    let told = is_told(&mut pipe, &["note://3"]);
    assert!(!told.contains(&"note://1".to_owned()), "{told:?}");
    assert_eq!(other.heard_of(CHANGED), Vec::<Value>::new());
}

/// C133: a person who has to decide about a read is asked, and the client is told so, with the run to wait for.
#[test]
fn a_read_that_waits_for_a_person_says_so() {
    let front = Front::open("enforce");
    front.edit(
        "operator.cedar",
        "permit (principal, action, resource);",
        "permit (principal, action, resource) unless { action == Action::\"notes.read_resource\" };\n\
         @id(\"read.agreed\") @reason(\"Somebody agreed.\")\n\
         permit (principal, action == Action::\"notes.read_resource\", resource)\n\
         when { context.evidence.approvals.approver >= 1 };",
    );
    let mut pipe = front.pipe(Speaks::Before, &["--hold", "0s"]);
    let waits = pipe.ask("resources/read", json!({"uri": "note://3"}));
    let data = &waits["error"]["data"];
    assert_eq!(data["harness/state"], "pending_approval", "{waits}");
    let run = data["harness/run"].as_str().unwrap();
    front.approve(run).exits(0);
    let told = pipe.call("harness_wait", json!({"run": run, "wait_seconds": 45}));
    assert!(told.to_string().contains("this is note://3"), "{told}");
}

/// C133, C134: what a server asks in the middle of a call reaches the client that the call is made for, in its own
/// generation, and its answer reaches the server, whichever generation that speaks: one call each, in whose journal both
/// are.
#[test]
fn what_a_server_asks_reaches_the_client_and_back() {
    for speaks in ["stateless", "sessions"] {
        let front = Front::open("observe");
        let asks = "may_ask = [\"elicitation\", \"sampling\"]";
        front.edit(
            "harness.toml",
            "kind = \"mcp\"\n",
            &format!("kind = \"mcp\"\n{asks}\nspeaks = \"{speaks}\"\n"),
        );
        both_are_asked(&front);
        let runs = front.runs();
        assert_eq!(runs.len(), 2, "each was one call");
        for run in runs {
            is_put_down(&front, &id_of(&run));
        }
    }
}

/// The question and its answer are in the journal, once each, in their order, and whoever exports the run has their words.
fn is_put_down(front: &Front, run: &str) {
    let events = front.events(run);
    let events = events["items"].as_array().unwrap();
    let relayed = events.iter().filter(|event| event["kind"] == "relayed");
    let from: Vec<&str> = relayed.map(|event| event["body"]["from"].as_str().unwrap()).collect();
    assert_eq!(from, ["server", "client"], "{events:#?}");
    let bundle = front.dir().join("run.bundle");
    front.json(&["run", "export", run, "--to", &bundle.display().to_string()]).exits(0);
    let bundle = fs::read_to_string(bundle).unwrap();
    assert!(bundle.contains("elicitation/create") && bundle.contains("accept"), "{bundle}");
    let replayed = front.json(&["run", "replay", run]).exits(0).document();
    assert_eq!(replayed["identical"], true, "{replayed:#}");
}

fn both_are_asked(front: &Front) {
    let filled = json!({"action": "accept", "content": {"password": "no"}});

    let mut before = front.pipe(Speaks::BeforeAnswering, &[]);
    let call = json!({"name": "ask", "arguments": {"kind": "form"}});
    let id = before.begin("tools/call", call.clone());
    let asked = before.asked();
    assert_eq!(asked["method"], "elicitation/create", "{asked}");
    assert!(asked["params"]["requestedSchema"]["properties"]["password"].is_object(), "{asked}");
    before.reply(&asked, filled.clone());
    let heard = before.answer(id)["result"].clone();
    assert!(heard.to_string().contains("accept"), "{heard}");
    drop(before);

    let mut now = front.pipe(Speaks::NowAnswering, &[]);
    let wants = result(&mut now, "tools/call", call.clone());
    assert_eq!(wants["resultType"], "input_required", "{wants}");
    let (key, one) = wants["inputRequests"].as_object().unwrap().iter().next().unwrap();
    assert_eq!(one["method"], "elicitation/create", "{wants}");
    let again = |state: &str, answers: Value| {
        let mut call = call.clone();
        call["requestState"] = json!(state);
        call["inputResponses"] = answers;
        call
    };
    let state = wants["requestState"].as_str().unwrap();
    // What is left out is asked again, and what was changed is nobody's.
    let same = result(&mut now, "tools/call", again(state, json!({"other": filled})));
    assert_eq!(same["inputRequests"], wants["inputRequests"], "{same}");
    let forged = now.ask("tools/call", again(&format!("{state}x"), json!({ key: filled })));
    assert_eq!(forged["error"]["code"], -32602, "{forged}");
    let heard = result(&mut now, "tools/call", again(state, json!({ key: filled })));
    assert!(heard.to_string().contains("accept"), "{heard}");
}

/// C133: what a server may not ask, and what a client cannot answer, is refused, and reaches nobody.
#[test]
fn what_a_server_may_not_ask_reaches_nobody() {
    let front = Front::open("observe");
    let mut pipe = front.pipe(Speaks::BeforeAnswering, &[]);
    let told = pipe.call("ask", json!({"kind": "form"}));
    assert!(told.to_string().contains("decline"), "{told}");
    assert!(pipe.heard.iter().all(|heard| heard["id"].is_null()), "{:?}", pipe.heard);
    drop(pipe);
    front.edit("harness.toml", "kind = \"mcp\"\n", "kind = \"mcp\"\nmay_ask = [\"elicitation\"]\n");
    for speaks in BOTH {
        let mut pipe = front.pipe(speaks, &[]);
        let told = pipe.call("ask", json!({"kind": "form"}));
        assert!(told.to_string().contains("decline"), "{speaks:?} {told}");
        let told = pipe.call("ask", json!({"kind": "sampling"}));
        assert!(!told.to_string().contains("Think for me"), "{speaks:?} {told}");
    }
}

/// C133, C134: over HTTP, clients of the generation with sessions get one, which is theirs alone. The attack: another
/// token, or nobody, under a session that was learned.
#[test]
fn a_session_over_http_is_its_callers_alone() {
    let front = Front::open("observe");
    let token = |name: &str| {
        let words = ["token", "create", "a test", "--agent", name, "--owner", "ulla"];
        front.json(&words).exits(0).document()["token"].as_str().unwrap().to_owned()
    };
    let (one, two) = (token("coder"), token("writer"));
    let door = Door::open(&front);
    let hello = json!({
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "person:mira", "version": "1"},
    });
    let welcome = post(&door.host, (&one, Speaks::Before), ("initialize", hello), &[]);
    assert!(
        welcome.body.contains("\"subscribe\":true"),
        "a session is told of changes: {welcome:?}"
    );
    let session = welcome.header("mcp-session-id").unwrap().to_owned();
    let header = format!("Mcp-Session-Id: {session}");
    let list = |token: &str| {
        let asked = ("tools/list", json!({}));
        post(&door.host, (token, Speaks::Before), asked, &[&header])
    };
    assert_eq!(list(&one).status, 200);
    assert_eq!(list(&two).status, 404, "{}", list(&two).body);
    assert_eq!(list("").status, 401);
    let ended = post(
        &door.host,
        (&one, Speaks::Before),
        ("tools/list", json!({})),
        &["Mcp-Session-Id: none"],
    );
    assert_eq!(ended.status, 404);
}
