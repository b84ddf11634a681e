//! Whoever hands a task over at a terminal sees what the model says while it says it (C089, C150), whoever owns the store.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Stdio},
    sync::{Arc, Barrier},
};

use serde_json::{Value, json};

use super::{
    model::{Model, Says},
    office,
};
use crate::{
    api::Api,
    kit::validates,
    support::{Office, Ran},
    wrapped::at_terminal,
};

/// What is said in so many pieces that a secret could not hide all of them.
fn words() -> Vec<String> {
    (0..120).map(|n| format!("word{n} ")).collect()
}

/// Hands a task over at a terminal: what it shows before the model has said its second half, and what it shows in all.
fn watch(command: &Command, barrier: &Barrier) -> (String, String) {
    let mut child = at_terminal(command, "").stdout(Stdio::piped()).spawn().unwrap();
    let mut shown = BufReader::new(child.stdout.take().unwrap());
    let mut first = Vec::new();
    // The model says nothing more before this was shown.
    while !String::from_utf8_lossy(&first).contains("word10 ") {
        assert!(shown.read_until(b' ', &mut first).unwrap() > 0, "{first:?}");
    }
    barrier.wait();
    let mut rest = Vec::new();
    shown.read_to_end(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    let first = String::from_utf8(first).unwrap();
    let rest = String::from_utf8(rest).unwrap();
    (first.clone(), first + &rest)
}

/// An office whose model says its second half when it is let.
fn speaking() -> (Office, Arc<Barrier>) {
    let barrier = Arc::new(Barrier::new(2));
    let model = Model::start([Says::StreamsWhenLet(words(), Arc::clone(&barrier))]);
    let office = office(&model);
    office.reconfigure("streaming = \"off\"", "streaming = \"on\"");
    (office, barrier)
}

fn is_shown(command: &Command, barrier: &Barrier) {
    let (first, all) = watch(command, barrier);
    assert!(first.contains("word0 word1 word2 ") && !first.contains("word119"), "{first}");
    assert!(all.contains("word119") && all.contains("succeeded"), "{all}");
}

const TASK: [&str; 2] = ["run", "Say a lot"];

#[test]
fn what_a_model_says_is_shown_while_it_says_it() {
    let (office, barrier) = speaking();
    is_shown(&office.command(&TASK), &barrier);
}

#[test]
fn beside_an_owner_it_is_shown_too() {
    let (office, barrier) = speaking();
    let _owner = super::Serving::start(&office);
    is_shown(&office.command(&TASK), &barrier);
}

#[test]
fn from_a_server_elsewhere_it_is_shown_too() {
    let (office, barrier) = speaking();
    let api = Api::of(office);
    let mut command = api.office.command(&TASK);
    command.env("HARNESS_SERVER", format!("http://{}", api.host));
    command.env("HARNESS_TOKEN", api.token("ulla", &[]));
    is_shown(&command, &barrier);
}

/// A run that goes on for longer than a server's answer waits is looked at again, and told with all that came of it in the
/// end: its result, what it did, and its receipts.
#[test]
fn what_came_of_a_long_run_is_told_whole() {
    let (office, barrier) = speaking();
    let config = std::fs::read_to_string(office.config()).unwrap();
    std::fs::write(office.config(), config + "[serve]\nanswer_within_ms = 100\n").unwrap();
    let api = Api::of(office);
    let mut command = api.office.command(&["-o", "json", "run", "Say a lot"]);
    command.env("HARNESS_SERVER", format!("http://{}", api.host));
    let ulla = api.token("ulla", &[]);
    command.env("HARNESS_TOKEN", &ulla);
    let ran = std::thread::scope(|scope| {
        let ran = scope.spawn(|| command.output().unwrap());
        let run = loop {
            let listed = api.get(&ulla, "/v1/runs").ok();
            if let Some(run) = listed["items"][0]["id"].as_str() {
                break run.to_owned();
            }
        };
        // As many answers come without a word as make sure that its own came, too: that it is not over.
        for _ in 0..10 {
            api.get(&ulla, &format!("/v1/runs/{run}/speech?wait_ms=100")).ok();
        }
        barrier.wait();
        Ran::of(&["run"], ran.join().unwrap())
    });
    let told = ran.exits(0).document();
    validates(&told);
    assert_eq!(told["run"]["status"], "succeeded", "{told:#}");
    assert_eq!(told["output"].as_str().unwrap().trim(), words().concat().trim(), "{told:#}");
    assert_eq!(told["actions"].as_array().unwrap().len(), 1, "{told:#}");
    let run = told["run"]["id"].as_str().unwrap();
    let receipts = api.office.json(&["receipt", "list", run]).exits(0).document();
    assert_eq!(told["receipts"], json!([receipts["items"][0]["id"]]), "{told:#}");
}

/// What is said comes in order and whole to the ear that was opened before it, which is nobody else's: not for another person
/// who may look, and not for an agent that did not begin the run.
#[test]
fn an_ear_hears_all_that_is_said_and_is_its_openers_alone() {
    let (office, barrier) = speaking();
    let api = Api::of(office);
    let ulla = api.token("ulla", &[]);
    let begun = api.post(&ulla, "/v1/runs", &json!({"task": "Say a lot", "hear": true})).ok();
    let (run, mut ear) = (begun["run"]["id"].as_str().unwrap(), begun["ear"].clone());
    let hear = |token: &str, ear: &Value| {
        let ear = ear.as_str().map(|ear| format!("&ear={ear}")).unwrap_or_default();
        api.get(token, &format!("/v1/runs/{run}/speech?wait_ms=200{ear}"))
    };
    let other = hear(&api.token("mira", &[]), &ear).ok();
    assert_eq!((&other["missed"], &other["items"]), (&json!(true), &json!([])), "{other}");
    let agent = api.token("ada", &["--agent", "coder", "--owner", "ulla"]);
    assert_eq!(hear(&agent, &ear).refused(404), "run-not-found");
    let (mut said, mut is_let) = (String::new(), false);
    while !said.ends_with("word119 ") {
        let heard = hear(&ulla, &ear).ok();
        validates(&heard);
        assert_eq!(heard["missed"], false, "{heard}");
        for item in heard["items"].as_array().unwrap() {
            assert_eq!(item["said"], "text", "{item}");
            said.push_str(item["text"].as_str().unwrap());
        }
        let before = std::mem::replace(&mut ear, heard["ear"].clone());
        assert_ne!(before, ear, "each answer names the next one");
        if said.contains("word10 ") && !is_let {
            assert!(!said.contains("word119"), "{said}");
            is_let = true;
            barrier.wait();
        }
    }
    assert_eq!(said, words().concat());
}
