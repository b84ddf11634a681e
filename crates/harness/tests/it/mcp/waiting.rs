//! A call that needs a person (C131, C176, C185): held, then pending; waited for by its caller; at a page where the
//! client can open one; and nothing of it twice.

use serde_json::{Value, json};

use super::{Pipe, Speaks, change, run_of};
use crate::support::{Office, kill};

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

/// While a call is held its client hears how far it is, and the answer comes with the decision.
#[test]
fn a_held_call_ends_with_the_decision() {
    let office = Office::open();
    let mut pipe = Pipe::open(&office, Speaks::Now, &["--hold", "10m"]);
    let call = json!({"name": "contract_field_change", "arguments": change(45), "_meta": {"progressToken": "p"}});
    let id = pipe.begin("tools/call", call);
    let run = the_run(&office, &mut pipe);
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

/// Who cancels does not want the answer any more: a call of which nothing was begun is cancelled with it, and one that
/// has begun goes on.
#[test]
fn cancelling_ends_the_waiting_and_the_run_only_where_nothing_began() {
    let office = Office::open();
    let mut pipe =
        Pipe::open(&office, Speaks::Now, &["--hold", "10m", "--operations", "crm.update_contract"]);
    let id =
        pipe.begin("tools/call", json!({"name": "contract_field_change", "arguments": change(45)}));
    let run = the_run(&office, &mut pipe);
    let cancel = |id: u64| json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
    pipe.say(&cancel(id));
    // It read the contract before it asked: something began, so it still asks.
    let again =
        pipe.begin("tools/call", json!({"name": "contract_field_change", "arguments": change(45)}));
    office.approve(&run).exits(0);
    let done = pipe.answer(again)["result"].clone();
    assert_eq!(run_of(&done), run, "{done}");
    assert_eq!(done["_meta"]["harness/state"], "done", "{done}");
}

/// The one run that asks, once it does.
fn the_run(office: &Office, pipe: &mut Pipe) -> String {
    loop {
        pipe.goes_on();
        let asked = office.json(&["approval", "list"]);
        if asked.code == 0 {
            let asked = asked.document();
            if let Some(run) = asked["items"][0]["run"].as_str() {
                return run.to_owned();
            }
        }
        std::thread::yield_now();
    }
}
