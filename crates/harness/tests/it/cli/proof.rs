//! Proof: a bundle and a public key are enough for anybody, and whatever was changed shows.

use std::{fs, path::PathBuf, process::Command};

use rusqlite::Connection;
use serde_json::Value;

use crate::support::{Office, Serving, id_of, root, run_in};

/// A run's bundle, and the store's public key, as files.
fn exported(office: &Office, run: &str, more: &[&str]) -> (PathBuf, PathBuf) {
    let (bundle, key) = (office.path("run.bundle"), office.path("public.key"));
    let words = [&["run", "export", run, "--to", bundle.to_str().unwrap()], more].concat();
    let exported = office.json(&words).exits(0).document();
    fs::write(&key, exported["public_key"].as_str().unwrap()).unwrap();
    (bundle, key)
}

/// What an independent program says about a bundle: its last line and whether it is content.
fn python(bundle: &std::path::Path, key: &std::path::Path) -> (bool, String) {
    let script = root().join("crates/receipts/tests/verify.py");
    let said = Command::new("python3").arg(script).arg(bundle).arg(key).output().unwrap();
    (said.status.success(), String::from_utf8(said.stdout).unwrap())
}

#[test]
fn a_stranger_verifies_a_bundle_with_a_public_key_alone() {
    let office = Office::served();
    let run = office.changed("ACC-0007", 45, "proof");
    let (bundle, key) = exported(&office, &run, &[]);
    let stranger = tempfile::tempdir().unwrap();
    let (bundle_name, key_name) = (bundle.to_str().unwrap(), key.to_str().unwrap());
    let verify = |bundle: &str, key: &str| {
        let words = ["receipt", "verify", "--bundle", bundle, "--key", key, "-o", "json"];
        run_in(stranger.path(), &words)
    };
    let found = verify(bundle_name, key_name).exits(0).document();
    assert_eq!(found["verdict"], "verified", "{found:#}");
    let (content, said) = python(&bundle, &key);
    assert!(content, "{said}");
    let left = fs::read_dir(stranger.path().join("user")).unwrap().count();
    assert_eq!(left, 0, "verifying leaves nothing behind");

    // One byte, anywhere.
    let bytes = fs::read(&bundle).unwrap();
    let changed = stranger.path().join("changed.bundle");
    for place in [1, 3, 5, 7, 9].map(|n| bytes.len() * n / 10) {
        let mut copy = bytes.clone();
        copy[place] = if copy[place] == b'1' { b'2' } else { b'1' };
        fs::write(&changed, &copy).unwrap();
        let found = verify(changed.to_str().unwrap(), key_name).exits(10).document();
        assert_eq!(found["verdict"], "failed", "byte {place}: {found:#}");
        assert!(!found["reason"].as_str().unwrap().is_empty());
        assert!(!python(&changed, &key).0, "byte {place}: the other program is content");
    }

    // Another company's key does not fit.
    let other = Office::open();
    let theirs = other.changed("ACC-0007", 45, "proof");
    let (_, their_key) = exported(&other, &theirs, &[]);
    let foreign = verify(bundle_name, their_key.to_str().unwrap()).exits(10).document();
    assert_eq!(foreign["verdict"], "failed", "{foreign:#}");

    // Without the values it still verifies: commitments are enough.
    let (bundle, key) = exported(&office, &run, &["--withhold"]);
    let found = verify(bundle.to_str().unwrap(), key_name).exits(0).document();
    assert_eq!(found["verdict"], "verified", "{found:#}");
    assert!(python(&bundle, &key).0);
}

#[test]
fn a_checkpoint_kept_elsewhere_pins_the_log() {
    let office = Office::open();
    let serving = Serving::start(&office);
    let run = office.changed("ACC-0007", 45, "first");
    let kept = office.path("kept.checkpoint");
    let kept = kept.to_str().unwrap();
    office.run(&["receipt", "checkpoint", "--to", kept]).exits(0);
    let later = office.changed("ACC-0042", 45, "second");
    for run in [&run, &later] {
        let found = office.json(&["receipt", "verify", run, "--since", kept]).exits(0).document();
        assert_eq!(found["verdict"], "verified", "{found:#}");
    }
    // A log that began anew cannot contain what was signed before.
    assert_eq!(serving.end("TERM"), Some(0));
    fs::remove_dir_all(office.path("store")).unwrap();
    let _serving = Serving::start(&office);
    let run = office.changed("ACC-0064", 45, "rewritten");
    let found = office.json(&["receipt", "verify", &run, "--since", kept]).exits(10).document();
    assert_eq!(found["verdict"], "failed", "{found:#}");
}

#[test]
fn a_replay_needs_no_world_and_names_what_was_changed() {
    let mut office = Office::open();
    let run = office.changed("ACC-0007", 45, "again");
    office.world.stop();
    let replayed = office.json(&["run", "replay", &run]).exits(0).document();
    assert_eq!((&replayed["identical"], &replayed["difference"]), (&true.into(), &Value::Null));
    tamper(&office, &run, "judged");
    let found = office.json(&["run", "replay", &run]).exits(10);
    let said = format!("{}{}", found.stdout, found.stderr);
    assert!(said.contains(&run) || said.contains("event"), "where is it? {found:#?}");
    for words in [&["run", "get", &run][..], &["receipt", "verify", &run], &["doctor"]] {
        office.json(words).exits(10);
    }
}

/// Whether it would do the same tomorrow: under the pack as it is now, the first difference is named.
#[test]
fn a_replay_under_a_changed_pack_names_the_first_difference() {
    let mut office = Office::open();
    let run = office.changed("ACC-0007", 45, "tomorrow");
    office.world.stop();
    let replay = |words: &[&str]| office.json(&[&["run", "replay", &run], words].concat());
    let edit = |below: &str, from: &str, to: &str| {
        let path = office.path(below);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{below} holds {from}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
    };
    // What does not touch this run changes nothing.
    edit("packs/customer-ops/README.md", "#", "##");
    let same = replay(&["--current"]).exits(0).document();
    assert_eq!(same["identical"], true, "{same:#}");

    // Another operation definition, then another playbook: where they first show.
    edit("packs/customer-ops/connectors/crm.yaml", "max_age: 2d", "max_age: 3d");
    let found = replay(&["--current"]).exits(10).document();
    let difference = found["difference"].as_str().unwrap();
    assert!(difference.starts_with("event 1 (proposed)"), "{difference}");
    assert!(difference.contains("/body/definition"), "{difference}");
    edit("packs/customer-ops/connectors/crm.yaml", "max_age: 3d", "max_age: 2d");
    let playbook = "packs/customer-ops/playbooks/contract_field_change.yaml";
    edit(
        playbook,
        "PaymentTermsDays: \"${{ int(intent.value) }}",
        "PaymentTermsDays: \"${{ int(intent.value) + 1 }}",
    );
    let found = replay(&["--current"]).exits(10).document();
    let difference = found["difference"].as_str().unwrap();
    assert!(difference.contains("(proposed)"), "{difference}");
    assert!(difference.contains("/body/args"), "{difference}");
    // The run itself is pinned: what it did is still what it did.
    assert_eq!(replay(&[]).exits(0).document()["identical"], true);
}

#[test]
fn a_store_that_was_changed_sends_nothing() {
    let office = Office::open();
    let run = id_of(&office.submit_change("ACC-0007", 45, "changed"));
    let (approval, digest) = office.card(&run);
    tamper(&office, &run, "asked");
    let asked = office.world.effects();
    let words = ["approval", "approve", &approval, "--digest", &digest];
    let refused = office.json_as("mira", &words).exits(10).problem();
    assert_eq!(refused["kind"], "verification_failed", "{refused}");
    assert!(refused["next"].as_str().unwrap().contains("backup"), "{refused}");
    office.json(&["run", "resume", &run]).exits(10);
    assert_eq!(office.world.effects(), asked, "something was sent");
    assert!(office.writes().is_empty());
}

/// Changes a byte of the last event of a kind, behind the store's back.
fn tamper(office: &Office, run: &str, kind: &str) {
    let conn = Connection::open(office.path("store/harness.db")).unwrap();
    let sql = "SELECT rowid, events FROM batches WHERE run = ?1 ORDER BY seq DESC";
    let mut query = conn.prepare(sql).unwrap();
    let batches = query.query_map([run], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    for (rowid, packed) in batches.map(Result::<(i64, Vec<u8>), _>::unwrap) {
        let text = String::from_utf8(store::unpack(&packed, |_| None).unwrap()).unwrap();
        let is_it = |line: &&str| line.contains(&format!(r#""kind":"{kind}""#));
        let Some(line) = text.split('\n').rfind(is_it) else { continue };
        let changed = text.replace(line, &line.replace("action", "actoin"));
        assert_ne!(changed, text);
        // As it is, without compression: the store reads that too.
        let packed = [&[0], changed.as_bytes()].concat();
        conn.execute("UPDATE batches SET events = ?2 WHERE rowid = ?1", (rowid, packed)).unwrap();
        return;
    }
    panic!("no event of the kind {kind}");
}
