//! What was looked at is what runs: packs of a project held against its lock, and what the program itself is made of.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::{Value, json};

use crate::support::Office;

/// C165: with a lock, a pack of which anything changed is refused, and what changed is named; writing the lock anew says
/// what was different, and puts it in force.
#[test]
fn a_pack_that_is_not_as_it_was_locked_is_refused_with_what_changed() {
    let office = Office::open();
    let list = || office.json(&["intent", "list"]);
    list().exits(0);
    let unlocked = office.json(&["pack", "lock", "--check"]).exits(10).document();
    assert_eq!(unlocked["changes"], json!(["pack `customer-ops` is not locked"]));
    assert!(!office.path("harness.lock").exists(), "looking writes nothing");

    let locked = office.json(&["pack", "lock"]).exits(0).document();
    assert_eq!(locked["packs"][0]["name"], "customer-ops");
    let lock = fs::read_to_string(office.path("harness.lock")).unwrap();
    assert!(lock.contains("connectors/crm.yaml") && lock.contains("sha256:"), "{lock}");
    list().exits(0);
    office.json(&["pack", "lock", "--check"]).exits(0);

    // A connector, a skill, a new file, one that is gone: each is named.
    let pack = office.path("packs/customer-ops");
    let crm = fs::read(pack.join("connectors/crm.yaml")).unwrap();
    fs::write(pack.join("connectors/crm.yaml"), [&crm[..], b"\n"].concat()).unwrap();
    fs::write(pack.join("skills/renewal-mail/more.md"), "Say more.\n").unwrap();
    let readme = fs::read(pack.join("README.md")).unwrap();
    fs::remove_file(pack.join("README.md")).unwrap();
    let refused = list().exits(10).problem();
    assert_eq!(refused["code"], "lock-changed");
    let detail = refused["detail"].as_str().unwrap();
    for change in [
        "customer-ops: connectors/crm.yaml changed",
        "customer-ops: skills/renewal-mail/more.md is new",
        "customer-ops: README.md is gone",
    ] {
        assert!(detail.contains(change), "{detail}");
    }
    assert!(refused["next"].as_str().unwrap().contains("harness pack lock"), "{refused}");
    assert_eq!(fs::read_to_string(office.path("harness.lock")).unwrap(), lock);

    fs::write(pack.join("connectors/crm.yaml"), crm).unwrap();
    fs::write(pack.join("README.md"), readme).unwrap();
    let again = office.json(&["pack", "lock"]).exits(0).document();
    assert_eq!(again["changes"], json!(["customer-ops: skills/renewal-mail/more.md is new"]));
    list().exits(0);
}

/// A lock that is damaged, or of a later version, is no lock that is passed over.
#[test]
fn a_lock_that_cannot_be_read_is_refused() {
    let office = Office::open();
    office.json(&["pack", "lock"]).exits(0);
    let lock = fs::read_to_string(office.path("harness.lock")).unwrap();
    let half = lock[..lock.len() / 2].rsplit_once('=').unwrap().0.to_owned();
    for text in [half, lock.replace("version = 1", "version = 2"), "packs = 3".to_owned()] {
        fs::write(office.path("harness.lock"), text).unwrap();
        assert_eq!(office.json(&["intent", "list"]).exits(10).problem()["code"], "lock-invalid");
    }
    // An empty one locks nothing, and says so.
    fs::write(office.path("harness.lock"), "version = 1\n").unwrap();
    assert_eq!(office.json(&["intent", "list"]).exits(10).problem()["code"], "lock-changed");
}

/// C165: every crate that this program was built from, with its checksum, and what needs what; the same each time.
#[test]
fn the_program_says_what_it_was_built_from() {
    let office = Office::open();
    // A format of others: it names itself, not a schema of ours.
    let told =
        || -> Value { serde_json::from_str(&office.json(&["sbom"]).exits(0).stdout).unwrap() };
    let bom = told();
    assert_eq!((&bom["bomFormat"], &bom["specVersion"]), (&json!("CycloneDX"), &json!("1.6")));
    assert_eq!(told(), bom);
    let lock = fs::read_to_string(crate::support::root().join("Cargo.lock")).unwrap();
    let lock: toml::Value = toml::from_str(&lock).unwrap();
    let locked: BTreeMap<(String, String), Option<String>> = lock["package"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let text = |key: &str| one.get(key).and_then(|v| v.as_str()).map(str::to_owned);
            ((text("name").unwrap(), text("version").unwrap()), text("checksum"))
        })
        .collect();
    let text = |value: &Value, at: &str| value[at].as_str().unwrap_or_default().to_owned();
    let components = bom["components"].as_array().unwrap();
    let mut refs = BTreeSet::from([text(&bom["metadata"]["component"], "bom-ref")]);
    for one in components {
        let checksum = &locked[&(text(one, "name"), text(one, "version"))];
        assert_eq!(one["hashes"][0]["content"].as_str(), checksum.as_deref(), "{one}");
        assert!(refs.insert(text(one, "bom-ref")), "once: {one}");
    }
    for needed in ["harness-kernel", "tokio", "age", "ed25519-dalek", "axum"] {
        assert!(components.iter().any(|one| one["name"] == needed), "{needed}");
    }
    // Nothing is needed that is not told, and everything is needed by something.
    let mut told = BTreeSet::new();
    for one in bom["dependencies"].as_array().unwrap() {
        assert!(refs.contains(&text(one, "ref")), "{one}");
        for needed in one["dependsOn"].as_array().unwrap() {
            assert!(refs.contains(needed.as_str().unwrap()), "{one}");
            told.insert(needed.as_str().unwrap().to_owned());
        }
    }
    assert_eq!(told.len(), components.len());
}
