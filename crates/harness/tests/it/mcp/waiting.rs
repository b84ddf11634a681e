//! A call that needs a person (C131, C176, C185): held, then pending; waited for by its caller; at a page where the
//! client can open one; and nothing of it twice.

use serde_json::{Value, json};

use super::{
    Pipe, Speaks, change,
    front::{Front, text},
    run_of,
};
use crate::support::{Office, Ran, kill};

/// The identical call is the same call until its outcome was told, and another one afterwards.
#[test]
fn a_call_is_held_then_pending_and_a_retry_is_the_same_call_until_it_was_told() {
    let office = Office::open();
    let mut pipe = Pipe::open(&office, Speaks::Before, &["--hold", "0s"]);
    let pending = pipe.call("contract_field_change", change(45));
    assert_eq!(pending["isError"], false, "waiting is no failure: {pending}");
    let told = &pending["structuredContent"];
    assert_eq!(told["state"], "pending_approval", "{told}");
    assert!(told["approvals"][0]["expires_at"].is_string(), "{told}");
    let run = run_of(&pending);
    let again = pipe.call("contract_field_change", change(45));
    assert_eq!(run_of(&again), run, "an identical retry is the same call");
    let other = pipe.call("contract_field_change", change(60));
    assert_ne!(run_of(&other), run, "other arguments are another call");
    // Whoever decides does it as everywhere: the card says that an agent's words are nobody's.
    let (approval, _) = office.card(&run);
    let card = office.json(&["approval", "get", &approval]).exits(0).document();
    assert_eq!(card["untrusted"], true, "{card}");
    office.approve(&run).exits(0);
    let done = pipe.call("harness_wait", json!({"run": run}));
    assert_eq!(done["isError"], false, "{done}");
    assert_eq!(done["_meta"]["harness/state"], "done", "{done}");
    assert_eq!(office.contract("ACC-0042")["Terms"]["PaymentTermsDays"], 45);
    // It was told: the same again is meant again. Who asks after the old one is told the same as before.
    assert_eq!(run_of(&pipe.call("harness_wait", json!({"run": run}))), run);
    let new = pipe.call("contract_field_change", change(45));
    assert_ne!(run_of(&new), run, "{new}");
    office.world.performed_nothing_twice();
}

/// A call is held as long as its client has patience for, and hears how far it is, if it wants to; then it is told where it
/// stands, and whoever waits for it learns the outcome. The same of our own tools and of those behind the proxy.
#[test]
fn a_held_call_tells_how_far_it_is_then_where_it_stands_and_waiting_gives_the_outcome() {
    for speaks in [Speaks::Before, Speaks::Now] {
        let office = Office::open();
        let mut pipe = Pipe::open(&office, speaks, &["--hold", "1s"]);
        is_held(&mut pipe, ("contract_field_change", change(45)), |run| office.approve(run));
        assert_eq!(office.contract("ACC-0042")["Terms"]["PaymentTermsDays"], 45);
        let front = Front::open("enforce");
        let mut pipe = front.pipe(speaks, &["--hold", "1s"]);
        is_held(&mut pipe, ("note", text("held")), |run| front.approve(run));
        assert_eq!(front.notes(), "held\n");
    }
}

fn is_held(pipe: &mut Pipe, (tool, arguments): (&str, Value), approve: impl Fn(&str) -> Ran) {
    let asks = |tool: &str, arguments: Value, token: Option<&str>| {
        let meta = token.map_or(json!({}), |token| json!({ "progressToken": token }));
        json!({"name": tool, "arguments": arguments, "_meta": meta})
    };
    let pending = pipe.ask("tools/call", asks(tool, arguments, Some("of the call")));
    let pending = pending["result"].clone();
    assert_eq!(pending["_meta"]["harness/state"], "pending_approval", "{pending}");
    let run = run_of(&pending);
    // Everything that was said of it came before its answer.
    let heard_of = |pipe: &mut Pipe, token: &str| {
        let told = pipe.heard_of("notifications/progress");
        let last = told.last().unwrap_or_else(|| panic!("nothing was told before {pending}"));
        assert!(told.iter().all(|one| one["params"]["progressToken"] == token), "{told:?}");
        let steps = told.iter().map(|one| one["params"]["progress"].as_f64().unwrap());
        assert!(steps.is_sorted_by(|one, next| one < next), "it only grows: {told:?}");
        let message = last["params"]["message"].as_str().unwrap();
        assert!(message.contains("has to decide") && message.contains(&run), "{message}");
    };
    heard_of(pipe, "of the call");
    // Waiting for it is being held again; who names no token wants to hear nothing.
    for token in [Some("of the wait"), None] {
        let waits = pipe.ask("tools/call", asks("harness_wait", json!({ "run": run }), token));
        let waits = waits["result"].clone();
        assert_eq!(waits["_meta"]["harness/state"], "pending_approval", "{waits}");
        match token {
            Some(token) => heard_of(pipe, token),
            None => assert!(pipe.heard_of("notifications/progress").is_empty()),
        }
    }
    approve(&run).exits(0);
    let done = pipe.call("harness_wait", json!({ "run": run }));
    assert_eq!(done["_meta"]["harness/state"], "done", "{done}");
    assert_eq!(run_of(&done), run);
    assert_ne!(done["_meta"]["harness/receipts"], json!([]), "{done}");
}

/// The answer of a held call comes with the decision.
#[test]
fn a_held_call_ends_with_the_decision() {
    let office = Office::open();
    let mut pipe = Pipe::open(&office, Speaks::Now, &["--hold", "10m"]);
    let call = json!({"name": "contract_field_change", "arguments": change(45)});
    let id = pipe.begin("tools/call", call);
    let run = the_run(&mut pipe, || office.json(&["approval", "list"]));
    let (approval, _) = office.card(&run);
    let no = ["approval", "deny", &approval, "--reason", "not this quarter"];
    // It waits for the run, which fails without the change.
    office.json_as("mira", &no).exits(6);
    let denied = pipe.answer(id)["result"].clone();
    assert_eq!(denied["isError"], true, "{denied}");
    assert_eq!(denied["_meta"]["harness/state"], "denied", "{denied}");
    assert_eq!(office.contract("ACC-0042")["Terms"]["PaymentTermsDays"], 30);
}

/// An ask that nobody answers is a denial that the client sees.
#[test]
fn an_ask_that_expires_is_told_as_denied() {
    let office = Office::open();
    office.reconfigure(
        "approvals.terminal = \"name\"",
        "approvals.terminal = \"name\"\napprovals.expires_ms = 1500",
    );
    let mut pipe = Pipe::open(&office, Speaks::Before, &["--hold", "10m"]);
    let denied = pipe.call("contract_field_change", change(45));
    assert_eq!(denied["isError"], true, "{denied}");
    assert_eq!(denied["_meta"]["harness/state"], "denied", "{denied}");
}

/// A client that opens addresses is sent to the card. What it brings back opens only the same call, by the same caller,
/// and survives that the process is killed.
#[test]
fn a_client_that_opens_pages_is_sent_to_the_card_and_comes_back_with_a_sealed_state() {
    let office = Office::open();
    let open =
        || Pipe::open(&office, Speaks::NowWithPages, &["--listen", "127.0.0.1:0", "--hold", "0s"]);
    let mut pipe = open();
    let asked = pipe.call("contract_field_change", change(45));
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let (id, request) = asked["inputRequests"].as_object().unwrap().iter().next().unwrap();
    assert_eq!(request["method"], "elicitation/create", "{asked}");
    let url = request["params"]["url"].as_str().unwrap();
    assert!(
        url.starts_with("http://127.0.0.1:") && url.ends_with(&format!("/approvals/{id}")),
        "{url}"
    );
    let state = asked["requestState"].as_str().unwrap().to_owned();
    let run = run_of(&asked);
    assert!(!state.contains(&run), "it is sealed: {state}");
    // The process dies while a person decides; its next life knows the call.
    kill(pipe.pid(), "KILL");
    drop(pipe);
    let mut pipe = open();
    let back = |pipe: &mut Pipe, arguments: Value, state: &str| {
        let params = json!({
            "name": "contract_field_change", "arguments": arguments, "requestState": state,
            "inputResponses": { id: {"action": "accept"} },
        });
        pipe.ask("tools/call", params)
    };
    let early = back(&mut pipe, change(45), &state)["result"].clone();
    assert_eq!(early["structuredContent"]["state"], "pending_approval", "{early}");
    let mut changed = state.clone().into_bytes();
    let middle = changed.len() / 2;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    for (arguments, state) in
        [(change(60), &*state), (change(45), &*changed), (change(45), "rs1.x.y")]
    {
        let refused = back(&mut pipe, arguments, state);
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
    }
    office.approve(&run).exits(0);
    let done = back(&mut pipe, change(45), &state)["result"].clone();
    assert_eq!(done["_meta"]["harness/state"], "done", "{done}");
    assert_eq!(run_of(&done), run);
    // Again: the same outcome, and nothing twice.
    assert_eq!(run_of(&back(&mut pipe, change(45), &state)["result"]), run);
    office.world.performed_nothing_twice();
}

/// Who cancels does not want the answer any more, and gets none. A call that has begun goes on: it read the contract before
/// it asked, so it still asks, and does what a person agrees to.
#[test]
fn cancelling_what_has_begun_ends_the_waiting_alone() {
    let office = Office::open();
    let mut pipe = Pipe::open(&office, Speaks::Now, &["--hold", "10m"]);
    let call = json!({"name": "contract_field_change", "arguments": change(45)});
    let id = pipe.begin("tools/call", call.clone());
    let run = the_run(&mut pipe, || office.json(&["approval", "list"]));
    pipe.say(&cancelled(id));
    let again = pipe.begin("tools/call", call);
    office.approve(&run).exits(0);
    let done = pipe.answer(again)["result"].clone();
    assert_eq!(run_of(&done), run, "{done}");
    assert_eq!(done["_meta"]["harness/state"], "done", "{done}");
    // Whoever was still held would be told now.
    pipe.tools();
    let rest = pipe.rest();
    assert!(rest.iter().all(|one| one["id"] != id), "nobody waited for it: {rest:?}");
}

/// A call of which nothing was handed out is over with it: nobody is asked about it any more, and nothing comes of it. The
/// same call is meant again afterwards, and is another.
#[test]
fn cancelling_what_only_waits_cancels_its_run_and_takes_the_ask_back() {
    for speaks in [Speaks::Before, Speaks::Now] {
        let front = Front::open("enforce");
        let mut pipe = front.pipe(speaks, &["--hold", "40s"]);
        let call = json!({"name": "note", "arguments": text("meant twice")});
        let id = pipe.begin("tools/call", call.clone());
        let run = the_run(&mut pipe, || front.json(&["approval", "list"]));
        let (approval, digest) = front.card(&run);
        pipe.say(&cancelled(id));
        // It is told as soon as it is over.
        let over = pipe.call("harness_wait", json!({ "run": run }));
        assert_eq!(over["_meta"]["harness/state"], "cancelled", "{over}");
        let ended = front.json(&["run", "get", &run]).exits(0).document();
        assert_eq!(ended["run"]["status"], "cancelled", "{ended:#}");
        assert_eq!(ended["waiting_for"], json!([]), "{ended:#}");
        let open = front.json(&["approval", "list"]).exits(0).document();
        assert_eq!(open["items"], json!([]), "nobody is asked any more: {open:#}");
        let late = ["--as", "mira", "approval", "approve", &approval, "--digest", &digest];
        assert_ne!(front.json(&late).code, 0, "and nobody's yes counts");
        assert_eq!(front.notes(), "");
        let again = pipe.begin("tools/call", call);
        let other = the_run(&mut pipe, || front.json(&["approval", "list"]));
        assert_ne!(other, run, "it is another call");
        front.approve(&other).exits(0);
        let done = pipe.answer(again)["result"].clone();
        assert_eq!(done["content"][0]["text"], "noted", "{done}");
        assert_eq!(front.notes(), "meant twice\n", "once");
        let rest = pipe.rest();
        assert!(rest.iter().all(|one| one["id"] != id), "nobody waited for it: {rest:?}");
    }
}

fn cancelled(id: u64) -> Value {
    let params = json!({ "requestId": id });
    json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
}

/// The one run that asks, once it does.
fn the_run(pipe: &mut Pipe, asked: impl Fn() -> Ran) -> String {
    loop {
        pipe.goes_on();
        let asked = asked();
        if asked.code == 0 {
            let asked = asked.document();
            if let Some(run) = asked["items"][0]["run"].as_str() {
                return run.to_owned();
            }
        }
        std::thread::yield_now();
    }
}
