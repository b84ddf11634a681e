//! One process owns the store; every other command talks through its socket.

use std::{
    fs::File,
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    process::Stdio,
};

use serde_json::{Value, json};

use crate::{
    agents::{
        self,
        model::{Model, Says},
    },
    support::{Office, Serving, change, id_of},
    wrapped::with_few_files,
};

#[test]
fn beside_an_owner_everything_goes_through_its_socket() {
    let office = Office::open();
    let serving = Serving::start(&office);
    let second = office.json(&["serve"]).exits(75).problem();
    assert_eq!(second["code"], "store-owned");
    assert!(second["next"].is_string());

    let run = office.changed("ACC-0007", 45, "through the socket");
    assert_eq!(office.contract("ACC-0007")["Terms"]["PaymentTermsDays"], 45);
    let listed = office.json(&["run", "list"]).exits(0).document();
    assert_eq!(id_of(&listed["items"][0]), run);
    let asked = id_of(&office.submit_change("ACC-0042", 45, "waits"));
    let (approval, digest) = office.card(&asked);
    // The owner trusts no name it does not know, and the socket is no way around a role.
    let words = ["approval", "approve", &approval, "--digest", &digest];
    assert_eq!(office.json_as("ulla", &words).exits(4).problem()["kind"], "not_allowed");
    let none = office.json(&["run", "get", "run_00000000000000000000000000000000"]).exits(3);
    assert_eq!(none.problem()["code"], "run-not-found");
    office.json(&["receipt", "verify", &run]).exits(0);
    let replayed = office.json(&["run", "replay", &run]).exits(0).document();
    assert_eq!(replayed["identical"], true);

    assert_eq!(serving.end("TERM"), Some(0));
    // Nothing was lost: the ask still stands, and the same answer counts without an owner.
    let done = office.json_as("mira", &words).exits(0).document();
    assert_eq!(done["status"], "succeeded", "{done}");
    office.world.performed_nothing_twice();
}

/// Were clients few, or files, those who wait for an approval would keep out whoever comes to give it.
#[test]
fn those_who_wait_at_an_owner_keep_nobody_out() {
    let office = Office::open();
    let (serving, _) = Serving::of(with_few_files(&office.command(&["serve"]), 100));
    let run = id_of(&office.submit_change("ACC-0007", 45, "waited for"));
    let body = json!({"run": run, "wait_ms": 45_000});
    let waits = json!({"op": "run.speech", "person": "mira", "body": body});
    let connect = || UnixStream::connect(office.path("store/owner.sock")).unwrap();
    let waiting = |_| {
        let mut waiter = connect();
        writeln!(waiter, "{waits}").unwrap();
        waiter
    };
    let waiters: Vec<UnixStream> = (0..300).map(waiting).collect();
    let silent: Vec<UnixStream> = (0..100).map(|_| connect()).collect();
    assert_eq!(office.approve(&run).exits(0).document()["status"], "succeeded");
    for mut waiter in waiters {
        waiter.set_nonblocking(true).unwrap();
        let heard = waiter.read(&mut [0]).unwrap_err();
        assert_eq!(heard.kind(), ErrorKind::WouldBlock, "it waits still");
    }
    drop(silent);
    assert_eq!(serving.end("TERM"), Some(0));
}

#[test]
fn an_owner_that_is_told_to_end_lets_calls_finish() {
    let office = Office::open();
    // Sixteen bytes at a time: the call is under way when the signal comes.
    office.world.fault(&json!({
        "system": "crm", "operation": "crm.get_account", "kind": "slow_drip", "delay_ms": 40,
    }));
    let serving = Serving::start(&office);
    let words = change("ACC-0007", 45, "under way");
    let submitted = office.json(&[&words.each()[..], &["--timeout", "0s"]].concat()).exits(0);
    let run = id_of(&submitted.document());
    assert_eq!(serving.end("TERM"), Some(0));
    let doubts = office.json(&["exception", "list", "--all"]).exits(0).document();
    assert!(doubts["items"].as_array().unwrap().is_empty(), "{doubts}");
    let events = office.json(&["run", "events", &run]).exits(0).document();
    let count = |kind: &str| {
        events["items"].as_array().unwrap().iter().filter(|e| e["kind"] == kind).count()
    };
    assert_eq!(count("dispatched"), count("returned"), "a call was cut off: {events:#}");
    office.world.heal();
    let resumed = office.json(&["run", "resume", &run]).exits(7).document();
    assert_eq!(resumed["status"], "asking", "{resumed}");
    assert_eq!(office.approve(&run).exits(0).document()["status"], "succeeded");
}

#[test]
fn an_owner_that_was_killed_leaves_a_store_that_opens() {
    let office = Office::open();
    let serving = Serving::start(&office);
    let run = id_of(&office.submit_change("ACC-0007", 45, "survives"));
    let (approval, digest) = office.card(&run);
    assert_eq!(serving.end("KILL"), None);
    assert!(office.path("store/owner.sock").exists(), "a killed owner cannot tidy up");
    let again = Serving::start(&office);
    let words = ["approval", "approve", &approval, "--digest", &digest];
    let done = office.json_as("mira", &words).exits(0).document();
    assert_eq!(done["status"], "succeeded", "{done}");
    assert_eq!(again.end("INT"), Some(0));
}

/// A command that only passes by lets nobody in: the next one waits for it, and then works itself.
#[test]
fn an_owner_that_lets_nobody_in_is_waited_for() {
    let office = Office::open();
    office.json(&["run", "list"]).exits(0);
    let passing = File::open(office.path("store/lock")).unwrap();
    passing.lock().unwrap();
    let list = || office.command(&["run", "list", "-o", "json"]).stdout(Stdio::piped()).spawn();
    let (mut first, mut second) = (list().unwrap(), list().unwrap());
    assert!(first.try_wait().unwrap().is_none());
    passing.unlock().unwrap();
    for waited in [&mut first, &mut second] {
        assert_eq!(waited.wait().unwrap().code(), Some(0));
    }
}

/// Whoever waits at an owner's socket takes its place when it dies, with the run that it handed in there, once.
#[test]
fn whoever_waits_at_an_owner_that_dies_takes_its_place() {
    let model = Model::start([Says::Hangs, Says::Text("Good morning.")]);
    let office = agents::office(&model);
    let serving = Serving::start(&office);
    let words = ["run", "Say good morning", "-o", "json"];
    let mut waits = office.command(&words).stdout(Stdio::piped()).spawn().unwrap();
    while model.heard().is_empty() {
        assert!(waits.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
    serving.end("KILL");
    let ended = waits.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    let ended: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(ended["run"]["status"], "succeeded", "{ended:#}");
    let listed = office.json(&["run", "list"]).exits(0).document();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "it was handed in once: {listed:#}");
    assert_eq!(model.heard().len(), 2);
}
