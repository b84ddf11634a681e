//! The machine under the product fails: a clear error, nothing lost, nothing called on damage.

use std::{fs, path::Path, process::Command};

use crate::support::{Office, Ran, Serving, change, id_of};

/// A command under a limit of the system, as a shell sets it.
fn limited(office: &Office, limit: &str, words: &[&str]) -> Ran {
    let plain = office.command(words);
    let mut shell = Command::new("bash");
    shell.arg("-c").arg(format!("trap '' XFSZ; {limit}; exec \"$@\"")).arg("limited");
    shell.arg(plain.get_program()).args(plain.get_args()).args(["-o", "json"]);
    shell.current_dir(plain.get_current_dir().unwrap());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    Ran::of(words, shell.output().unwrap())
}

#[track_caller]
fn fails_clearly(ran: &Ran) {
    assert!(!ran.stderr.contains("panicked"), "{ran:#?}");
    assert_ne!(ran.code, 0, "{ran:#?}");
    assert!(ran.code > 0, "it was killed: {ran:#?}");
}

/// A file that may not grow is a disk that is full.
#[test]
fn a_full_disk_is_a_clear_error_and_everything_is_there_afterwards() {
    let office = Office::open();
    let run = id_of(&office.submit_change("ACC-0007", 45, "before"));
    let (approval, digest) = office.card(&run);
    let approve = ["--as", "mira", "approval", "approve", &approval, "--digest", &digest];
    let mut refused = 0;
    // Kibibytes of any one file: from nothing at all up to where it fits.
    for limit in [0, 40, 400] {
        let ran = limited(&office, &format!("ulimit -f {limit}"), &approve);
        if ran.code == 0 {
            break;
        }
        fails_clearly(&ran);
        let problem = ran.problem();
        if problem["detail"].as_str().unwrap().contains("approved already") {
            break; // The answer had been kept before the disk was full.
        }
        refused += 1;
        assert_eq!(problem["kind"], "try_again", "{problem}");
        assert!(problem["next"].as_str().unwrap().contains("disk space"), "{problem}");
    }
    assert!(refused > 0, "the limit was never felt");
    office.world.performed_nothing_twice();
    let done = office.json(&["run", "resume", &run]);
    let done = if done.code == 7 { office.approve(&run) } else { done };
    assert_eq!(done.exits(0).document()["status"], "succeeded");
    assert_eq!(office.contract("ACC-0007")["Terms"]["PaymentTermsDays"], 45);
    office.world.performed_nothing_twice();
    office.json(&["store", "check"]).exits(0);
}

#[test]
fn without_file_handles_it_says_so_and_leaves_the_store_whole() {
    let office = Office::open();
    let run = id_of(&office.submit_change("ACC-0007", 45, "before"));
    let mut refused = 0;
    for handles in 5..=20 {
        let words = change("ACC-0042", 45, &format!("with-{handles}"));
        let ran = limited(&office, &format!("ulimit -n {handles}"), &words.each());
        if ![0, 7].contains(&ran.code) {
            refused += 1;
            fails_clearly(&ran);
            let problem = ran.problem();
            let said = problem["detail"].as_str().unwrap();
            assert!(said.contains("Too many open files"), "with {handles}: {problem}");
            assert!(problem["next"].is_string(), "with {handles}: {problem}");
        }
    }
    assert!(refused > 0, "the limit was never felt");
    office.json(&["store", "check"]).exits(0);
    assert_eq!(office.approve(&run).exits(0).document()["status"], "succeeded");
    office.world.performed_nothing_twice();
}

#[test]
fn a_store_that_cannot_be_written_is_named() {
    let office = Office::open();
    fs::write(office.path("plain"), "a file").unwrap();
    let below = office.path("plain/store").display().to_string();
    for store in ["/proc/harness", "/sys/harness", &below] {
        let problem = office.json(&["--store", store, "run", "list"]);
        fails_clearly(&problem);
        let problem = problem.problem();
        assert!(problem["detail"].as_str().unwrap().contains(store), "{problem}");
        assert!(problem["next"].is_string(), "{problem}");
    }
}

/// Corruption is found before anything is sent.
#[test]
fn nothing_is_called_on_a_damaged_journal() {
    let office = Office::open();
    let run = id_of(&office.submit_change("ACC-0007", 45, "damaged"));
    let (approval, digest) = office.card(&run);
    let database = office.path("store/harness.db");
    let sound = fs::read(&database).unwrap();
    for sql in [
        "UPDATE batches SET events = zeroblob(length(events)) WHERE seq > 0",
        "UPDATE batches SET openings = zeroblob(length(openings)) WHERE openings IS NOT NULL",
        "DELETE FROM batches WHERE seq = (SELECT max(seq) FROM batches)",
        "DELETE FROM keys",
    ] {
        let conn = rusqlite::Connection::open(&database).unwrap();
        assert!(conn.execute(sql, []).unwrap() > 0, "{sql}");
        drop(conn);
        for words in [
            &["run", "resume", &run][..],
            &["--as", "mira", "approval", "approve", &approval, "--digest", &digest],
        ] {
            let problem = office.json(words).exits(10).problem();
            assert_eq!(problem["kind"], "verification_failed", "{sql}: {problem}");
        }
        {
            let _serving = Serving::start(&office);
            office.json(&["run", "resume", &run]).exits(10);
        }
        assert!(office.writes().is_empty(), "{sql}");
        restore(&database, &sound);
    }
    fs::write(&database, &sound[..sound.len() / 2]).unwrap();
    fails_clearly(&office.json(&["run", "resume", &run]));
    fs::write(&database, vec![0x5a; sound.len()]).unwrap();
    fails_clearly(&office.json(&["run", "resume", &run]));
    assert!(office.writes().is_empty());
    restore(&database, &sound);
    assert_eq!(office.approve(&run).exits(0).document()["status"], "succeeded");
}

fn restore(database: &Path, sound: &[u8]) {
    fs::write(database, sound).unwrap();
    for side in ["harness.db-wal", "harness.db-shm"] {
        let _gone = fs::remove_file(database.with_file_name(side));
    }
}
