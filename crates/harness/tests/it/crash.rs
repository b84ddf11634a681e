//! `kill -9` at any moment, then again: the run goes on where it was, nothing happens twice, no approval
//! is lost.
//!
//! One home is killed many times in a row, so that each kill falls on what the one before left behind.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
};

use serde_json::{Value, json};

use super::support::{CANARY, DemoHome, World, files, holds};

/// Most times a home is started before its run must be over.
const STARTS_MAX: usize = 40;
/// Most looks at a running demo before it is taken for stuck.
const LOOKS_MAX: usize = 2_000_000;

/// A demo that is killed when its value goes.
struct Playing(Child);

impl Playing {
    fn start(home: &DemoHome) -> Self {
        let child =
            home.command(&["--yes"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        Self(child)
    }

    /// Kills it after so many chapters were told; true when it ended by itself before.
    fn kill_after(mut self, chapters: usize) -> bool {
        let mut told = 0;
        for line in BufReader::new(self.0.stdout.take().unwrap()).lines() {
            let Ok(line) = line else { break };
            let number: String = line.chars().take_while(char::is_ascii_digit).collect();
            if !number.is_empty() && line[number.len()..].starts_with(". ") {
                told += 1;
            }
            if told == chapters {
                self.0.kill().unwrap();
                self.0.wait().unwrap();
                return false;
            }
        }
        self.0.wait().unwrap();
        true
    }

    /// Kills it as soon as a look says so; true when it ended by itself before.
    fn kill_when(mut self, mut look: impl FnMut() -> bool) -> bool {
        // Whoever has nobody to read to would block: its story goes nowhere.
        let mut story = self.0.stdout.take().unwrap();
        let swallow = std::thread::spawn(move || std::io::copy(&mut story, &mut std::io::sink()));
        let mut ended = false;
        for _ in 0..LOOKS_MAX {
            ended = self.0.try_wait().unwrap().is_some();
            if ended || look() {
                break;
            }
            std::thread::yield_now();
        }
        let _gone = self.0.kill();
        self.0.wait().unwrap();
        swallow.join().unwrap().unwrap();
        ended
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// The one run of a home, when it has one.
fn run_of(home: &DemoHome) -> Option<Value> {
    if !home.path().join("harness.toml").is_file() {
        return None;
    }
    let listed = home.run(&["run", "list", "-o", "json"]).exits(0).document();
    let items = listed["items"].as_array().unwrap();
    assert!(items.len() <= 1, "the demo has one run: {listed}");
    items.first().cloned()
}

fn is_over(run: &Value) -> bool {
    let over = ["succeeded", "partial", "failed", "cancelled", "rolled_back", "partly_rolled_back"];
    over.contains(&run["status"].as_str().unwrap())
}

/// Approvals that were given, by id.
fn given(home: &DemoHome) -> BTreeSet<String> {
    let listed = home.run(&["approval", "list", "--all", "-o", "json"]).exits(0).document();
    let items = listed["items"].as_array().unwrap().iter();
    let given = items.filter(|item| item["state"] == "approved");
    given.map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

/// What must hold after every kill, whatever it cut off.
fn stands(home: &DemoHome, before: &mut BTreeSet<String>) {
    let now = given(home);
    assert!(before.is_subset(&now), "approvals were lost: {before:?}, now {now:?}");
    *before = now;
    for (path, bytes) in files(&home.path().join("store")) {
        assert!(!holds(&bytes, CANARY), "{} holds {CANARY}", path.display());
    }
}

/// Settles a mail that nobody knows about by looking into the mailbox; true when there was one.
fn settle(home: &DemoHome, world: &World) -> bool {
    let open = home.run(&["exception", "list", "-o", "json"]).exits(0).document();
    let Some(exception) = open["items"].as_array().unwrap().first() else { return false };
    assert_eq!(exception["need"], "in_doubt", "{open}");
    assert_eq!(exception["step"], "outreach", "only the mail cannot be asked about: {open}");
    let verb = if world.mails().is_empty() { "did_not_happen" } else { "happened" };
    let id = exception["id"].as_str().unwrap();
    home.run(&["exception", "settle", id, verb, "--evidence", "I looked into the mailbox"]);
    true
}

/// Starts the demo until its run is over.
fn finish(home: &DemoHome) {
    let mut approved = BTreeSet::new();
    for _ in 0..STARTS_MAX {
        match run_of(home) {
            Some(run) if is_over(&run) => return,
            _ => {}
        }
        stands(home, &mut approved);
        if home.demo(&["--yes"]).code == 9 {
            let world = World::at(&home.place().unwrap());
            assert!(settle(home, &world), "it says that it needs a person, and nobody is needed");
            std::mem::forget(world);
        }
    }
    panic!("the run does not end: {:?}", run_of(home));
}

/// What must hold in the end.
fn proven(home: &DemoHome) {
    let run = run_of(home).unwrap();
    let id = run["id"].as_str().unwrap();
    let verified = home.run(&["receipt", "verify", id, "-o", "json"]).exits(0).document();
    assert_eq!(verified["verdict"], "verified", "{verified:#}");
    let replayed = home.run(&["run", "replay", id, "-o", "json"]).exits(0).document();
    assert_eq!(replayed["identical"], true, "{replayed:#}");
    home.world_again().performed_nothing_twice();
}

#[test]
fn killed_after_each_chapter_the_demo_goes_on_where_it_was() {
    let home = DemoHome::new();
    let mut approved = BTreeSet::new();
    for chapters in [2, 4, 5, 6, 7] {
        if Playing::start(&home).kill_after(chapters) {
            break;
        }
        match run_of(&home) {
            // Over: another start would be another story.
            Some(run) if is_over(&run) => break,
            Some(_) => stands(&home, &mut approved),
            None => {}
        }
    }
    finish(&home);
    assert!(approved.is_subset(&given(&home)), "{approved:?}");
    proven(&home);
}

#[test]
fn killed_inside_each_write_nothing_happens_twice() {
    let home = DemoHome::new();
    home.demo(&[]).exits(7);
    let world = World::at(&home.place().unwrap());
    let mut approved = BTreeSet::new();
    let writes = [
        ("crm", "crm.mark_churn_risk", 1),
        ("crm", "crm.update_forecast", 1),
        ("mail", "mail.send", 1),
    ];
    for (system, operation, nth) in writes {
        // The effect lands, and no answer comes back in time.
        world.fault(&json!({
            "system": system, "operation": operation, "kind": "timeout_after", "on_call": 1,
            "delay_ms": 60_000,
        }));
        let landed = || {
            let effects = world.effects().into_iter().filter(|e| e["operation"] == operation);
            effects.map(|e| e["times_performed"].as_u64().unwrap()).sum::<u64>() >= nth
        };
        assert!(!Playing::start(&home).kill_when(landed), "{operation} was not reached");
        world.heal();
        stands(&home, &mut approved);
        assert!(approved.len() as u64 >= nth, "an answer that was given is lost: {approved:?}");
    }
    // Whether the mail went, nobody can ask: a person looks.
    let waits = home.demo(&["--yes", "-o", "json"]).exits(9);
    assert_eq!(waits.problem()["code"], "needs-person");
    assert_eq!(world.mails().len(), 1);
    assert!(settle(&home, &world));
    std::mem::forget(world);
    finish(&home);
    assert!(approved.is_subset(&given(&home)), "{approved:?}");
    assert_eq!(approved.len(), 3);
    proven(&home);
}

#[test]
fn killed_while_it_takes_back_the_rollback_goes_on() {
    let home = DemoHome::new();
    home.demo(&[]).exits(7);
    let world = World::at(&home.place().unwrap());
    world.fault(&json!({
        "system": "crm", "operation": "crm.update_forecast", "kind": "timeout_after",
        "on_call": 2, "delay_ms": 60_000,
    }));
    let landed = || {
        let effects = world.effects().into_iter();
        effects.filter(|e| e["operation"] == "crm.update_forecast").count() == 2
    };
    assert!(!Playing::start(&home).kill_when(landed), "the rollback was not reached");
    world.heal();
    assert_eq!(run_of(&home).unwrap()["status"], "rolling_back");
    let told = home.demo(&["--yes", "-o", "json"]).exits(0).document();
    assert_eq!(told["rolled_back"]["result"], "partial", "{:#}", told["rolled_back"]);
    assert_eq!(told["world_restored"], true, "the start is the start of the first telling");
    assert_eq!(told["decisions"].as_array().unwrap().len(), 0, "nobody is asked twice");
    std::mem::forget(world);
    proven(&home);
}

#[test]
fn killed_at_odd_moments_a_run_can_be_resumed_by_hand() {
    let home = DemoHome::new();
    let mut approved = BTreeSet::new();
    // Numbers without a pattern, the same each time (a linear congruence after Knuth).
    let mut state: u64 = 0x5eed;
    let mut odd = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    for _ in 0..6 {
        let written = || {
            let wal = fs::metadata(home.path().join("store/harness.db-wal"));
            wal.map_or(0, |meta| meta.len())
        };
        // So many bytes of journal more, wherever that is.
        let until = written() + odd() % 150_000;
        if Playing::start(&home).kill_when(|| written() > until) {
            break;
        }
        match run_of(&home) {
            Some(run) if is_over(&run) => break,
            Some(run) => {
                stands(&home, &mut approved);
                let id = run["id"].as_str().unwrap();
                let resumed = home.run(&["run", "resume", id, "-o", "json"]);
                assert!([0, 7, 9].contains(&resumed.code), "{resumed:#?}");
                let world = World::at(&home.place().unwrap());
                settle(&home, &world);
                std::mem::forget(world);
            }
            None => {}
        }
    }
    finish(&home);
    assert!(approved.is_subset(&given(&home)), "{approved:?}");
    proven(&home);
}
