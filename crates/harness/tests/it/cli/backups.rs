//! Backups, the drill, restores, and the store's own checks: C355, C361.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::support::{Office, PERMIT_ALL, Serving, change, id_of};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// One statement on a store file, behind everybody's back.
fn meddle(database: &Path, sql: &str) {
    let conn = rusqlite::Connection::open(database).unwrap();
    assert!(conn.execute(sql, []).unwrap() > 0, "nothing was changed by {sql}");
}

/// Makes a manifest fit a database that was changed: where it lies, and what it says.
fn refit(backup: &str) -> (PathBuf, Value) {
    let database = Path::new(backup).join("harness.db");
    let manifest = Path::new(backup).join("manifest.json");
    let mut document: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    let digest = Command::new("sha256sum").arg(&database).output().unwrap();
    let digest = String::from_utf8(digest.stdout).unwrap();
    for file in document["files"].as_array_mut().unwrap() {
        if file["path"] == "harness.db" {
            file["sha256"] = json!(digest.split(' ').next().unwrap());
            file["bytes"] = json!(fs::metadata(&database).unwrap().len());
        }
    }
    fs::write(&manifest, document.to_string()).unwrap();
    (manifest, document)
}

/// An office with a parked run, a finished one and an exception; its backup.
fn backed_up() -> (Office, String, String) {
    let office = Office::open();
    office.changed("ACC-0007", 45, "done");
    let parked = id_of(&office.submit_change("ACC-0042", 45, "parked"));
    let to = text(&office.path("copies/monday"));
    let made = office.json(&["backup", "create", &to]).exits(0).document();
    assert_eq!((&made["runs"], &made["path"]), (&json!(2), &json!(to)));
    (office, parked, to)
}

fn outcomes(verified: &Value) -> Vec<(String, String)> {
    let each = verified["checks"].as_array().unwrap().iter();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    each.map(|check| (word(&check["check"]), word(&check["outcome"]))).collect()
}

#[test]
fn a_backup_is_made_while_the_store_is_written_and_the_drill_shows_it_works() {
    let office = Office::open();
    let _serving = Serving::start(&office);
    office.changed("ACC-0007", 45, "done");
    // Runs begin while the copies are made.
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for n in 0..4 {
                let words = change("ACC-0042", 30 + n, &format!("busy-{n}"));
                office.json(&words.each()).exits(0);
            }
        });
        for n in 0..3 {
            let to = text(&office.path(&format!("copies/{n}")));
            office.json(&["backup", "create", &to]).exits(0);
        }
        writing.join().unwrap();
    });
    for n in 0..3 {
        let to = office.path(&format!("copies/{n}"));
        let verified =
            office.json(&["backup", "verify", &text(&to), "--drill"]).exits(0).document();
        let all = ["files", "store", "log", "new-work"].map(|c| (c.to_owned(), "ok".to_owned()));
        assert_eq!(outcomes(&verified), all, "{verified:#}");
        assert!(verified["store"]["receipts"].as_u64().unwrap() > 0);
        assert_eq!(mode(&to), 0o700);
        for file in ["harness.db", "manifest.json"] {
            assert_eq!(mode(&to.join(file)), 0o600, "{file}");
        }
    }
    // The drill left the store in use alone, and nothing beside the copies.
    let left: Vec<String> = fs::read_dir(office.path("copies"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(left.len(), 3, "{left:?}");
    let runs = office.json(&["run", "list"]).exits(0).document();
    let intents = runs["items"].as_array().unwrap().iter().map(|run| &run["intent"]);
    assert!(intents.clone().all(|intent| *intent == "contract_field_change"), "{runs}");

    let again = office.json(&["backup", "create", &text(&office.path("copies/0"))]);
    assert_eq!(again.exits(5).problem()["code"], "exists");
    let to = text(&office.path("copies/mine"));
    let refused = office.json_as("mira", &["backup", "create", &to]).exits(4).problem();
    assert_eq!(refused["code"], "not-an-operator");
    assert!(!office.path("copies/mine").exists());
}

#[test]
fn a_damaged_backup_is_found_before_anything_is_restored() {
    let (office, _, from) = backed_up();
    let database = Path::new(&from).join("harness.db");
    let sound = fs::read(&database).unwrap();
    let policies = fs::read_dir(Path::new(&from).join("policies")).unwrap();
    let policy = policies.map(|entry| entry.unwrap().path()).next().unwrap();
    let kept = fs::read(&policy).unwrap();
    let to = text(&office.path("elsewhere"));
    let refused = |what: &str| {
        for words in
            [vec!["backup", "verify", &from], vec!["backup", "restore", &from, "--to", &to]]
        {
            let problem = office.json(&words).exits(10).problem();
            assert_eq!(problem["code"], "backup-damaged", "{what}: {problem}");
            assert!(!Path::new(&to).exists(), "{what}");
        }
    };
    for at in [0, sound.len() / 2] {
        let mut flipped = sound.clone();
        flipped[at] ^= 1;
        fs::write(&database, &flipped).unwrap();
        refused(&format!("byte {at}"));
    }
    fs::write(&database, &sound[..sound.len() - 4_096]).unwrap();
    refused("cut");
    fs::write(&database, &sound).unwrap();
    fs::remove_file(&policy).unwrap();
    refused("a policy is gone");
    fs::write(&policy, &kept).unwrap();
    office.json(&["backup", "verify", &from]).exits(0);
    // A manifest that was made to fit a changed database: the chains do not.
    meddle(&database, "UPDATE batches SET events = zeroblob(length(events)) WHERE rowid = 3");
    let (manifest, mut document) = refit(&from);
    let verified = office.json(&["backup", "verify", &from]).exits(10).document();
    assert_eq!(verified["sound"], false, "{verified:#}");
    document["files"][0]["path"] = json!("../../harness.toml");
    fs::write(&manifest, document.to_string()).unwrap();
    refused("it leads out");
    fs::write(&manifest, "{}").unwrap();
    assert_eq!(
        office.json(&["backup", "verify", &from]).exits(2).problem()["code"],
        "backup-unreadable"
    );
}

#[test]
fn a_restored_store_stands_still_until_somebody_has_looked() {
    let (office, parked, from) = backed_up();
    // After the backup the parked run goes on: its call is not in the backup.
    assert_eq!(office.approve(&parked).exits(0).document()["status"], "succeeded");
    let to = text(&office.path("again"));
    let restored = office.json(&["backup", "restore", &from, "--to", &to]).exits(0).document();
    assert_eq!(mode(Path::new(&to)), 0o700);
    assert_eq!(
        office.json(&["backup", "restore", &from, "--to", &to]).exits(5).problem()["code"],
        "exists"
    );
    let there = |words: &[&str]| office.json(&[&["--store", to.as_str()], words].concat());
    let run = there(&["run", "get", &parked]).exits(0).document();
    assert_eq!(run["run"]["status"], "asking", "as it was");
    let approval = run["waiting_for"][0].as_str().unwrap().to_owned();
    let card = there(&["approval", "get", &approval]).exits(0).document();
    let digest = card["digest"].as_str().unwrap();
    let words = ["--as", "mira", "approval", "approve", &approval, "--digest", digest];
    let approved = there(&words).exits(0).document();
    assert_eq!(approved["status"], "halted", "the same call is not made again: {approved}");
    office.world.performed_nothing_twice();
    there(&["store", "check"]).exits(0);
    let halt = restored["halt"].as_str().unwrap();
    there(&["halt", "lift", halt, "--reason", "looked"]).exits(0);
    // What the approver saw is not what is there any more: asked again, not called again.
    let asked = there(&["run", "resume", &parked]).exits(7).document();
    assert_eq!(asked["status"], "asking", "{asked}");
    office.world.performed_nothing_twice();
}

/// C355: a restored store that calls again what was called since must never stand there without its halt.
#[test]
fn a_restore_that_cannot_be_halted_leaves_no_store() {
    let (office, _, from) = backed_up();
    let to = text(&office.path("again"));
    let restore = ["backup", "restore", &from, "--to", &to];
    let left = || -> Vec<_> {
        let beside = fs::read_dir(office.path("")).unwrap();
        let names = beside.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("again")).collect()
    };
    // Nobody can be held to the halt.
    let refused = office.json_as("nobody", &restore);
    assert_ne!(refused.code, 0);
    refused.problem();
    assert_eq!(left(), Vec::<String>::new());
    // The halt cannot be written: it comes before the store has its name.
    let conn = rusqlite::Connection::open(Path::new(&from).join("harness.db")).unwrap();
    conn.execute_batch("DROP TABLE halts").unwrap();
    drop(conn);
    refit(&from);
    let refused = office.json(&restore);
    assert_ne!(refused.code, 0);
    refused.problem();
    assert_eq!(left(), Vec::<String>::new());
}

#[test]
fn store_check_finds_what_lists_say_wrongly() {
    let (office, parked, _) = backed_up();
    let done = office.json(&["run", "list", "--status", "succeeded"]).exits(0).document();
    let done = done["items"][0]["id"].as_str().unwrap().to_owned();
    office.world.fault(&json!({ "system": "crm", "operation": "crm.get_account", "kind": "403" }));
    let words = change("ACC-0064", 45, "forbidden");
    office.json(&[&words.each()[..], &["--wait"]].concat()).exits(9);
    let sound = office.json(&["store", "check"]).exits(0).document();
    assert_eq!((&sound["sound"], &sound["runs"]), (&json!(true), &json!(3)), "{sound:#}");
    let database = office.path("store/harness.db");
    let kept = fs::read(&database).unwrap();
    for (sql, what) in [
        ("UPDATE exceptions SET closed_at = 5", "its exceptions"),
        ("DELETE FROM exceptions", "its exceptions"),
        ("DELETE FROM approvals", "its approvals"),
        ("UPDATE approvals SET state = 'denied'", "its approvals"),
        ("UPDATE tokens SET state = 'spent'", "its rollback tokens"),
        ("UPDATE runs SET status = 'failed'", "its status"),
        ("UPDATE receipts SET envelope = CAST('{}' AS BLOB) WHERE log_index = 1", "envelope"),
        ("DELETE FROM receipts WHERE log_index = 1", "receipt"),
        ("UPDATE batches SET hash = zeroblob(32) WHERE rowid = 3", "event"),
        ("DELETE FROM blobs", "it is not over and cannot go on"),
    ] {
        meddle(&database, sql);
        let found = office.json(&["store", "check"]).exits(10).document();
        let problems = found["problems"].to_string();
        assert!(problems.contains(what), "{sql}: {problems}");
        fs::write(&database, &kept).unwrap();
        for side in ["harness.db-wal", "harness.db-shm"] {
            let _gone = fs::remove_file(office.path("store").join(side));
        }
    }
    office.json(&["store", "check"]).exits(0);
    // Policies a run is pinned to, once others are in force: one that is over only cannot be folded.
    let policies = office.path("store/policies");
    fs::rename(&policies, office.path("store/taken")).unwrap();
    let other = PERMIT_ALL.replace("office.all", "office.other");
    fs::write(office.path("operator.cedar"), other).unwrap();
    let found = office.json(&["store", "check"]).exits(10).document();
    let problems = found["problems"].to_string();
    assert!(problems.contains(&format!("run {parked}: it is not over")), "{found:#}");
    assert!(!problems.contains(&done), "{found:#}");
    assert!(found["not_foldable"].to_string().contains(&done), "{found:#}");
    let _gone = fs::remove_dir_all(&policies);
    fs::rename(office.path("store/taken"), &policies).unwrap();
    fs::write(office.path("operator.cedar"), PERMIT_ALL).unwrap();
    office.json(&["store", "check"]).exits(0);
    assert_eq!(office.approve(&parked).code, 0);
}

/// C355: a backup is its tenant's. Ids, keys and hashes hold the name: under another nothing verifies.
#[test]
fn a_backup_is_not_restored_for_another_tenant() {
    let (office, _, from) = backed_up();
    let config = fs::read_to_string(office.config()).unwrap();
    fs::write(office.config(), format!("tenant = \"acme\"\n{config}")).unwrap();
    let to = text(&office.path("again"));
    for words in [vec!["backup", "restore", &from, "--to", &to], vec!["backup", "verify", &from]] {
        let refused = office.json(&words).exits(5).problem();
        assert_eq!(refused["code"], "other-tenant", "{refused:#}");
        assert!(refused["next"].is_string(), "{refused:#}");
    }
    assert!(!Path::new(&to).exists());
}

/// A drill that could show nothing about new work is no drill.
#[test]
fn a_drill_without_a_pack_is_not_sound() {
    let (office, _, from) = backed_up();
    let config = fs::read_to_string(office.config()).unwrap();
    let bare = config.replace("packs = [\"packs/customer-ops\"]\n", "");
    assert_ne!(bare, config);
    fs::write(office.config(), bare).unwrap();
    office.json(&["backup", "verify", &from]).exits(0);
    let drilled = office.json(&["backup", "verify", &from, "--drill"]).exits(10).document();
    assert_eq!(drilled["sound"], false, "{drilled:#}");
    assert!(outcomes(&drilled).contains(&("new-work".into(), "failed".into())), "{drilled:#}");
}

/// What was lost as a whole is not taken for a store that never held anything.
#[test]
fn an_emptied_database_is_no_new_store() {
    let (office, parked, from) = backed_up();
    let database = office.path("store/harness.db");
    let kept = fs::read(&database).unwrap();
    let lost: [&dyn Fn(); 2] =
        [&|| fs::write(&database, b"").unwrap(), &|| fs::remove_file(&database).unwrap()];
    for lose in lost {
        lose();
        for words in [["run", "list"], ["store", "check"]] {
            let refused = office.json(&words).exits(10).problem();
            assert_eq!(refused["code"], "store-lost", "{refused:#}");
            assert!(refused["next"].as_str().unwrap().contains("backup restore"), "{refused:#}");
        }
    }
    fs::write(&database, kept).unwrap();
    assert_eq!(office.approve(&parked).exits(0).document()["status"], "succeeded");
    // One that no run ever was in holds halts and tokens, too.
    let young = text(&office.path("young"));
    let there = |words: &[&str]| office.json(&[&["--store", young.as_str()], words].concat());
    there(&["halt"]).exits(0);
    fs::write(Path::new(&young).join("harness.db"), b"").unwrap();
    assert_eq!(there(&["halt", "list"]).exits(10).problem()["code"], "store-lost");
    office.json(&["backup", "verify", &from]).exits(0);
}

/// A sound store is never called damaged because somebody works in it.
#[test]
fn store_check_finds_nothing_wrong_while_runs_go_on() {
    let office = Office::served();
    let busy = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        let writers = ["ACC-0007", "ACC-0042"].map(|account| {
            let office = &office;
            scope.spawn(move || {
                for n in 0..6 {
                    let key = format!("{account}-{n}");
                    let run = id_of(&office.submit_change(account, 30 + n, &key));
                    office.approve(&run).exits(0);
                }
            })
        });
        let checks = scope.spawn(|| {
            let mut checks = 0;
            while busy.load(std::sync::atomic::Ordering::SeqCst) {
                let found = office.json(&["store", "check"]).exits(0).document();
                assert_eq!(found["sound"], true, "{found:#}");
                checks += 1;
            }
            assert!(checks > 3, "only {checks} checks");
        });
        let ended = writers.map(|writer| writer.join().is_ok());
        busy.store(false, std::sync::atomic::Ordering::SeqCst);
        checks.join().unwrap();
        assert_eq!(ended, [true, true]);
    });
}

#[test]
fn an_older_store_is_brought_forward_with_a_copy_first() {
    let office = Office::open();
    office.json(&["run", "list"]).exits(0);
    let now = office.json(&["store", "migrate"]).exits(0).document();
    assert_eq!((&now["from"], &now["copy"]), (&now["to"], &Value::Null), "{now}");
    // As the first version left it.
    let old = office.path("old");
    fs::create_dir(&old).unwrap();
    let conn = rusqlite::Connection::open(old.join("harness.db")).unwrap();
    conn.execute_batch(include_str!("../../../../store/tests/it/version_1.sql")).unwrap();
    drop(conn);
    // Killed while it copied, and once more after it had: neither is taken for the copy of now.
    for left in ["before-v1.draft", "before-v1.db"] {
        fs::write(old.join(left), "half a copy").unwrap();
    }
    let there = text(&old);
    let migrated = office.json(&["--store", &there, "store", "migrate"]).exits(0).document();
    assert_eq!((&migrated["from"], &migrated["runs"]), (&json!(1), &json!(1)), "{migrated}");
    assert_eq!(migrated["to"], now["to"]);
    let copy = Path::new(migrated["copy"].as_str().unwrap());
    assert_eq!(mode(copy), 0o600);
    let conn = rusqlite::Connection::open(copy).unwrap();
    let runs: u64 = conn.query_row("SELECT count(*) FROM runs", [], |row| row.get(0)).unwrap();
    let version: u64 = conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!((runs, version), (1, 1));
    assert!(!old.join("before-v1.draft").exists());
    assert_eq!(fs::read(old.join("before-v1.db")).unwrap(), b"half a copy");
    let again = office.json(&["--store", &there, "store", "migrate"]).exits(0).document();
    assert_eq!((&again["from"], &again["copy"]), (&now["to"], &Value::Null), "{again}");
    let serving = Serving::start(&office);
    assert_eq!(office.json(&["store", "migrate"]).exits(75).problem()["code"], "store-owned");
    drop(serving);
    let empty = office.json(&["--store", &text(&office.path("none")), "store", "migrate"]);
    assert_eq!(empty.exits(3).problem()["code"], "store-not-found");
}
