//! `harness demo`: the whole story, as anyone sees it from outside.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use serde_json::Value;

use super::support::{CANARY, DemoHome, Ran, World, files, holds, kill};

/// Longest line a terminal of 80 columns shows.
const COLUMNS: usize = 80;

#[test]
fn the_story_in_one_document_holds_every_promise() {
    let home = DemoHome::new();
    let told = home.demo(&["--yes", "-o", "json"]).exits(0);
    assert_eq!(told.stderr, "");
    let story = told.document();
    assert_eq!(story["schema"], "harness.demo/v1");

    let decisions = story["decisions"].as_array().unwrap();
    assert_eq!(decisions.len(), 3, "{decisions:#?}");
    assert!(decisions.iter().all(|d| d["decision"] == "approved"), "{decisions:#?}");
    assert_eq!(story["run"]["run"]["status"], "succeeded");
    assert_eq!(story["verified"]["verdict"], "verified", "{:#}", story["verified"]);
    assert!(!story["explained"]["items"].as_array().unwrap().is_empty());

    assert_eq!(story["rolled_back"]["result"], "partial");
    let effects = story["rolled_back"]["effects"].as_array().unwrap();
    let ended = |operation: &str| {
        effects.iter().find(|e| e["operation"] == operation).map(|e| e["result"].clone()).unwrap()
    };
    assert_eq!(ended("mail.send"), "irreversible");
    assert_eq!(ended("crm.update_forecast"), "restored");
    assert_eq!(ended("crm.mark_churn_risk"), "restored");
    assert_eq!(story["world_restored"], true);

    assert_eq!(story["replayed"]["identical"], true, "{:#}", story["replayed"]);
    let kpis = story["kpis"]["items"].as_array().unwrap();
    let measured = |kpi: &&Value| kpi["values"].as_object().is_some_and(|v| !v.is_empty());
    assert!(kpis.iter().filter(measured).count() >= 3, "{kpis:#?}");

    let world = home.world_again();
    world.performed_nothing_twice();
    let once = |operation: &str| {
        let effects = world.effects();
        let of = effects.iter().filter(|e| e["operation"] == operation);
        of.map(|e| e["times_performed"].as_u64().unwrap()).sum::<u64>()
    };
    // Done once, taken back once; the mail stays sent.
    assert_eq!(once("crm.mark_churn_risk"), 2);
    assert_eq!(once("crm.update_forecast"), 2);
    assert_eq!(once("mail.send"), 1);
    assert_eq!(world.mails().len(), 1);
    drop(world);

    nobody_is_named(&home, story["run"]["run"]["id"].as_str().unwrap());
}

/// The customer's address was read, mailed and shown to a person; no hashed byte and no file holds it.
fn nobody_is_named(home: &DemoHome, run: &str) {
    let kept = files(&home.path().join("store"));
    assert!(kept.iter().any(|(path, _)| path.ends_with("harness.db")), "{kept:?}");
    for (path, bytes) in &kept {
        assert!(!holds(bytes, CANARY), "{} holds {CANARY}", path.display());
    }
    let events = home.run(&["run", "events", run, "-o", "json"]).exits(0);
    assert!(!holds(events.stdout.as_bytes(), CANARY), "the journal names {CANARY}");
    let receipts = home.run(&["receipt", "list", run, "-o", "json"]).exits(0).document();
    let receipts = receipts["items"].as_array().unwrap();
    let mailed = home.run(&["run", "get", run, "-o", "json"]).exits(0).document();
    let mailed = mailed["actions"].as_array().unwrap();
    let mailed = mailed.iter().find(|a| a["operation"] == "mail.send").unwrap();
    let id = mailed["receipt"].as_str().unwrap();
    assert!(receipts.iter().any(|r| r["id"] == id));
    let receipt = home.run(&["receipt", "get", id, "-o", "json"]).exits(0);
    assert_eq!(receipt.document()["signature"], "valid");
    assert!(!holds(receipt.stdout.as_bytes(), CANARY), "a receipt names {CANARY}");
}

#[test]
fn the_story_reads_well_in_80_columns_without_colour() {
    let home = DemoHome::new();
    let args = ["--yes"];
    let told = Ran::of(&args, home.command(&args).env("NO_COLOR", "1").output().unwrap()).exits(0);
    assert!(!told.stdout.contains('\u{1b}') && !told.stderr.contains('\u{1b}'), "{told:#?}");
    for line in told.stdout.lines() {
        let wide = line.chars().count();
        let longest = line.split_whitespace().map(|word| word.chars().count()).max().unwrap_or(0);
        // A command to copy must stay in one piece; so must an id or an address.
        let whole = line.contains("harness --config") || longest > COLUMNS - 20;
        assert!(wide <= COLUMNS || whole, "{wide} columns: {line}");
    }
    for heading in ["The world", "The plan", "A person decides", "Receipts", "Replay", "Try next"] {
        assert!(told.stdout.contains(heading), "no chapter `{heading}`: {}", told.stdout);
    }
}

#[test]
fn without_a_person_the_demo_waits_and_says_what_to_do() {
    let home = DemoHome::new();
    let waits = home.demo(&["-o", "json"]).exits(7);
    let problem = waits.problem();
    assert_eq!(problem["code"], "waiting-for-approval");
    assert!(problem["next"].as_str().unwrap().contains("--yes"), "{problem}");
    // Nothing was written without an answer, and the answer still counts.
    let listed = home.run(&["approval", "list", "-o", "json"]).exits(0).document();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    let world = World::at(&home.place().unwrap());
    assert!(world.effects().iter().all(|e| e["times_performed"] == 0), "{:?}", world.effects());
    drop(world);
}

#[test]
fn a_folder_that_is_not_a_demo_is_never_wiped() {
    let home = DemoHome::new();
    std::fs::create_dir_all(home.path()).unwrap();
    std::fs::write(home.path().join("thesis.txt"), "ten years of work").unwrap();
    let refused = home.demo(&["--yes", "-o", "json"]).exits(2);
    assert_eq!(refused.problem()["code"], "demo-home");
    assert!(home.path().join("thesis.txt").is_file());
}

#[test]
fn a_demo_that_is_interrupted_says_how_to_go_on() {
    let home = DemoHome::new();
    let mut command = home.command(&["--yes"]);
    let mut demo = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Once the world is told of, everything listens; the story is not over for a while.
    let mut told = BufReader::new(demo.stdout.take().unwrap()).lines();
    let world = told.find(|line| line.as_ref().is_ok_and(|line| line.contains("The world")));
    assert!(world.is_some());
    kill(demo.id(), "INT");
    let swallow = std::thread::spawn(move || told.count());
    let ended = demo.wait_with_output().unwrap();
    swallow.join().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("nothing is lost") && said.contains("next:"), "{said}");
    home.demo(&["--yes", "-o", "json"]).exits(0);
}
