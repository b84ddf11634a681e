//! What an agent wants to do with tools of its own is judged by the gate.

use std::fs;

use serde_json::json;

use super::Shop;

/// C131, C133: what only looks is permitted by policy, recorded as a run of its own with a receipt, found by the run that the
/// agent worked for, and ends with what the agent says came of it.
#[test]
fn what_policy_permits_is_permitted_once_and_recorded() {
    let shop = Shop::of("");
    if !shop.is_held() {
        return;
    }
    let run = shop.ask("look", "use read a.txt\nuse read b.txt");
    assert_eq!(run["run"]["status"], "succeeded", "{run:#}");
    let id = run["run"]["id"].as_str().unwrap();
    let uses = run["output"]["uses"].as_array().unwrap();
    assert_eq!(uses.len(), 2, "{run:#}");
    let judged = shop.judged(id);
    assert_eq!(judged.len(), 2, "each use is judged by itself: {judged:#?}");
    for used in uses {
        let asked = &used["asked"];
        assert_eq!((&asked["allowed"], &used["status"]), (&json!(true), &json!("completed")));
        let own = shop.get(asked["run"].as_str().unwrap());
        assert_eq!(own["run"]["status"], "succeeded", "{own:#}");
        assert_eq!(own["output"], json!({"ended": "well", "text": "did it"}));
        let events = shop.json(&["run", "events", asked["run"].as_str().unwrap()]);
        let opened = events.exits(0).document()["items"][0]["body"].to_string();
        assert!(opened.contains("\"submitted_by\":\"agent:acp-helper\""), "{opened}");
        assert_eq!(own["run"]["on_behalf_of"], "person:ulla", "{own:#}");
        let verified = shop.json(&["receipt", "verify", asked["run"].as_str().unwrap()]);
        assert_eq!(verified.exits(0).document()["verdict"], "verified");
    }
    // The option that means for ever was there each time.
    assert_eq!(run["output"]["text"], "read a.txt: once. read b.txt: once. ");
}

/// C003, C133: what changes something waits for a person, and happens when they agree; whoever the agent works for cannot agree
/// themselves, and a no is a no.
#[test]
fn what_changes_something_waits_for_a_person() {
    let shop = Shop::of("");
    if !shop.is_held() {
        return;
    }
    let shop = shop.served();
    let run = shop.begin("look", "use edit a.txt\nuse edit b.txt\nuse execute c.txt touch c.txt");
    let first = shop.judged_once(&run, "asking");
    assert!(!shop.did("a.txt"));
    let ask = shop.get(&first)["waiting_for"][0].as_str().unwrap().to_owned();
    let card = shop.json(&["approval", "get", &ask]).exits(0).document();
    let summary = card["summary"].as_str().unwrap();
    assert!(summary.contains("helper: edit") && summary.contains("work/a.txt"), "{card:#}");
    assert_ne!(shop.answer("ulla", "approve", &first).code, 0, "it is done for ulla");
    shop.answer("mira", "approve", &first);
    let second = shop.judged_once(&run, "asking");
    assert!(shop.did("a.txt") && !shop.did("b.txt"));
    assert_eq!(shop.once(&first, "succeeded")["output"]["ended"], "well");
    shop.answer("mira", "deny", &second);
    shop.once(&second, "failed");
    let third = shop.judged_once(&run, "asking");
    let ask = shop.get(&third)["waiting_for"][0].as_str().unwrap().to_owned();
    let card = shop.json(&["approval", "get", &ask]).exits(0).document();
    assert_eq!(card["summary"], "The agent runs: touch c.txt");
    shop.answer("mira", "approve", &third);
    let told = shop.once(&run, "succeeded");
    let output = &told["output"];
    assert_eq!(output["text"], "edit a.txt: once. edit b.txt: no. execute c.txt: once. ");
    assert!(shop.did("a.txt") && !shop.did("b.txt") && shop.did("c.txt"));
    let asked = &output["uses"][1]["asked"];
    assert_eq!((&asked["allowed"], &asked["run"]), (&json!(false), &json!(second)));
    assert_eq!(shop.get(&second)["run"]["status"], "failed");
}

/// What an agent is held by is not its to touch: denied by rule, on record, and nobody is asked.
#[test]
fn what_an_agent_is_held_by_is_denied() {
    let shop = Shop::of("");
    if !shop.is_held() {
        return;
    }
    let before = fs::read(shop.path("harness.toml")).unwrap();
    let run = shop.ask(
        "look",
        "use edit ../harness.toml\nuse read ../keys/receipts.key\nuse read x harness halt --lift",
    );
    assert_eq!(run["run"]["status"], "succeeded", "{run:#}");
    for used in run["output"]["uses"].as_array().unwrap() {
        assert_eq!(used["asked"]["allowed"], false, "{used:#}");
        assert!(used["asked"]["because"].as_str().unwrap().contains("coder.own"), "{used:#}");
    }
    assert_eq!(fs::read(shop.path("harness.toml")).unwrap(), before);
}

/// Without the pack that says what is decided, and without an operator's yes, nothing is permitted.
#[test]
fn where_nobody_decides_it_is_a_no() {
    let shop = Shop::of("");
    if !shop.is_held() {
        return;
    }
    let config = fs::read_to_string(shop.path("harness.toml")).unwrap();
    shop.file("harness.toml", &config.replace(", \"coding-agent\"", ""));
    let run = shop.ask("look", "use read a.txt");
    let asked = &run["output"]["uses"][0]["asked"];
    assert_eq!(asked["allowed"], false, "{run:#}");
    assert!(asked["because"].as_str().unwrap().contains("coding-agent"), "{run:#}");
    assert_eq!(run["output"]["text"], "read a.txt: no. ");
}

/// A run that is cancelled has its agent told, which hears `session/cancel`; what it asks about is taken back, so that nobody is
/// asked in vain.
#[test]
fn cancelling_a_run_tells_its_agent_and_takes_back_what_it_asks() {
    let shop = Shop::of("");
    if !shop.is_held() {
        return;
    }
    let shop = shop.served();
    let hangs = shop.begin("act", "hang");
    shop.once(&hangs, "asking");
    shop.answer("mira", "approve", &hangs);
    while !shop.did("hangs") {
        std::thread::yield_now();
    }
    shop.json(&["run", "cancel", &hangs]);
    // What it did before it stopped, nobody knows.
    shop.once(&hangs, "needs_person");
    assert!(shop.did("stopped"), "it heard that it is to stop");
    // One that only looks is ended with its run.
    let waits = shop.begin("look", "use edit a.txt\nuse edit b.txt");
    let asks = shop.judged_once(&waits, "asking");
    shop.json(&["run", "cancel", &waits]);
    shop.once(&waits, "cancelled");
    shop.once(&asks, "cancelled");
    let open = shop.json(&["approval", "list"]).exits(0).document();
    assert_eq!(open["items"], json!([]), "{open:#}");
    assert_eq!(shop.judged(&waits).len(), 1, "from then on it is not even asked");
    assert!(!shop.did("a.txt") && !shop.did("b.txt"));
}
