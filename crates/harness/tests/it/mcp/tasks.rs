//! A call that needs a person, of a client that keeps tasks (C131, C176): it is told to come back, and the task is the run.

use serde_json::{Value, json};

use super::{Pipe, Speaks, change, front::Front, run_of};
use crate::support::{Office, kill};

/// The error's number for what makes no sense.
const INVALID: i64 = -32602;

/// Where a task stands.
fn seen(pipe: &mut Pipe, task: &str) -> Value {
    let answer = pipe.ask("tasks/get", json!({ "taskId": task }));
    assert!(answer["result"].is_object(), "{answer}");
    answer["result"].clone()
}

/// The task of a call that waits.
fn kept(pipe: &mut Pipe, tool: &str, arguments: Value) -> String {
    let told = pipe.call(tool, arguments);
    assert_eq!(told["resultType"], "task", "{told}");
    assert_eq!(told["status"], "working", "{told}");
    assert!(told["pollIntervalMs"].is_u64() && told["ttlMs"].is_null(), "{told}");
    assert_eq!(told["taskId"], json!(run_of(&told)), "its run is its name: {told}");
    told["taskId"].as_str().unwrap().to_owned()
}

/// It is told at once and not held, outlives the process, and comes to what the run came to; what ended stays told.
#[test]
fn a_call_that_needs_a_person_is_a_task_that_outlives_the_process() {
    let office = Office::open();
    let mut pipe = Pipe::open(&office, Speaks::NowWithTasks, &["--hold", "10m"]);
    let task = kept(&mut pipe, "contract_field_change", change(45));
    let waits = seen(&mut pipe, &task);
    assert_eq!((&waits["status"], &waits["resultType"]), (&json!("working"), &json!("complete")));
    assert!(waits["statusMessage"].as_str().unwrap().contains("has to decide"), "{waits}");
    assert_eq!(kept(&mut pipe, "contract_field_change", change(45)), task, "a retry is the same");
    kill(pipe.pid(), "KILL");
    drop(pipe);
    let mut pipe = Pipe::open(&office, Speaks::NowWithTasks, &["--hold", "10m"]);
    assert_eq!(seen(&mut pipe, &task)["status"], "working");
    office.approve(&task).exits(0);
    let ended = seen(&mut pipe, &task);
    assert_eq!(ended["status"], "completed", "{ended}");
    assert_eq!(ended["result"]["isError"], false, "{ended}");
    assert_eq!(run_of(&ended["result"]), task);
    assert_ne!(ended["result"]["_meta"]["harness/receipts"], json!([]), "{ended}");
    assert_eq!(office.contract("ACC-0042")["Terms"]["PaymentTermsDays"], 45);
    assert_eq!(seen(&mut pipe, &task), ended, "told again");
    office.world.performed_nothing_twice();
}

/// A denial is what the call came to.
#[test]
fn a_denied_task_ends_with_the_denial() {
    let office = Office::open();
    let mut pipe = Pipe::open(&office, Speaks::NowWithTasks, &[]);
    let task = kept(&mut pipe, "contract_field_change", change(45));
    let (approval, _) = office.card(&task);
    office.json_as("mira", &["approval", "deny", &approval, "--reason", "not now"]).exits(6);
    let ended = seen(&mut pipe, &task);
    assert_eq!(ended["status"], "completed", "{ended}");
    assert_eq!(ended["result"]["isError"], true, "{ended}");
    assert_eq!(ended["result"]["_meta"]["harness/state"], "denied", "{ended}");
    assert_eq!(office.contract("ACC-0042")["Terms"]["PaymentTermsDays"], 30);
}

/// The attack: a task is asked for by somebody else who learned its name, or by a client that never said that it keeps tasks.
#[test]
fn a_task_is_its_callers_alone() {
    let office = Office::open();
    let mut pipe = Pipe::open(&office, Speaks::NowWithTasks, &[]);
    let task = kept(&mut pipe, "contract_field_change", change(45));
    for (method, more) in [
        ("tasks/get", json!({})),
        ("tasks/cancel", json!({})),
        ("tasks/update", json!({"inputResponses": {}})),
    ] {
        let params = |task: &str| {
            let mut params = more.clone();
            params["taskId"] = json!(task);
            params
        };
        let mut other = Pipe::with(
            office.command(&["--as", "mira", "-q", "mcp", "serve"]),
            Speaks::NowWithTasks,
        );
        let refused = other.ask(method, params(&task));
        assert_eq!(refused["error"]["code"], INVALID, "{method}: {refused}");
        let none = pipe.ask(method, params("run_00000000000000000000000000000000"));
        assert_eq!(none["error"]["code"], INVALID, "{method}: {none}");
        let mut plain = Pipe::open(&office, Speaks::Now, &[]);
        let unable = plain.ask(method, params(&task));
        assert!(unable["error"]["code"].is_number(), "{method}: {unable}");
    }
    assert_eq!(seen(&mut pipe, &task)["status"], "working", "none of them ended it");
    // Who does not keep tasks is answered as before.
    let mut plain = Pipe::open(&office, Speaks::Now, &["--hold", "0s"]);
    let pending = plain.call("contract_field_change", change(90));
    assert_eq!(pending["structuredContent"]["state"], "pending_approval", "{pending}");
}

/// Through the proxy, too: the task comes to what the server answered, as it gave it.
#[test]
fn a_task_through_the_proxy_comes_to_what_the_server_said() {
    let front = Front::open("enforce");
    let mut pipe = front.pipe(Speaks::NowWithTasks, &[]);
    let task = kept(&mut pipe, "note", json!({"text": "remember"}));
    assert_eq!(front.notes(), "", "nothing was done yet");
    front.approve(&task).exits(0);
    let ended = seen(&mut pipe, &task);
    assert_eq!(ended["status"], "completed", "{ended}");
    assert!(front.notes().contains("remember"), "{}", front.notes());
    let direct =
        front.direct("tools/call", json!({"name": "note", "arguments": {"text": "remember"}}));
    assert_eq!(ended["result"]["content"], direct["content"], "{ended}");
    // One that its client ends before anything was done is cancelled, and nobody decides about it afterwards.
    let unwanted = kept(&mut pipe, "note", json!({"text": "never"}));
    let (approval, digest) = front.card(&unwanted);
    let ack = pipe.ask("tasks/cancel", json!({ "taskId": unwanted }));
    assert_eq!(ack["result"], json!({"resultType": "complete"}), "{ack}");
    assert_eq!(seen(&mut pipe, &unwanted)["status"], "cancelled");
    let late = ["--as", "mira", "approval", "approve", &approval, "--digest", &digest];
    assert_ne!(front.json(&late).code, 0);
    assert!(!front.notes().contains("never"), "{}", front.notes());
}

/// What a server asks in the middle of a kept call reaches the client that comes back, and its answer reaches the server.
#[test]
fn a_task_asks_its_client_what_the_server_asks() {
    let front = Front::open("enforce");
    front.edit("harness.toml", "kind = \"mcp\"\n", "kind = \"mcp\"\nmay_ask = [\"elicitation\"]\n");
    let mut pipe = front.pipe(Speaks::NowWithTasks, &[]);
    let task = kept(&mut pipe, "ask", json!({"kind": "form"}));
    std::thread::scope(|scope| {
        // It waits until the call is over.
        let approving = scope.spawn(|| front.approve(&task).code);
        let asked = loop {
            let now = seen(&mut pipe, &task);
            match now["status"].as_str() {
                Some("working") => std::thread::yield_now(),
                _ => break now,
            }
        };
        assert_eq!(asked["status"], "input_required", "{asked}");
        let (key, request) = asked["inputRequests"].as_object().unwrap().iter().next().unwrap();
        assert_eq!(request["method"], "elicitation/create", "{asked}");
        let answers = json!({ key: {"action": "accept", "content": {"password": "no"}} });
        let told = pipe.ask("tasks/update", json!({"taskId": task, "inputResponses": answers}));
        assert_eq!(told["result"]["resultType"], "complete", "{told}");
        assert_eq!(approving.join().unwrap(), 0);
    });
    let ended = seen(&mut pipe, &task);
    assert_eq!(ended["status"], "completed", "{ended}");
    assert!(ended["result"].to_string().contains("accept"), "{ended}");
}
