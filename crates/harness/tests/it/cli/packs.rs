//! Packs at the terminal (C022, C064): what a pack asks for is accepted before it is installed.

use std::fs;

use serde_json::json;

use crate::support::Office;

/// An office without a configured pack; Ada may install one.
fn bare() -> Office {
    let office = Office::open();
    let config = fs::read_to_string(office.config()).unwrap();
    let config = config.replace("packs = [\"packs/customer-ops\"]", "packs = []");
    fs::write(office.config(), config).unwrap();
    office
}

#[test]
fn a_pack_is_looked_at_accepted_installed_upgraded_and_rolled_back() {
    let office = bare();
    let folder = office.path("packs/customer-ops");
    let folder = folder.to_str().unwrap();
    let shown = office.json_as("ada", &["pack", "install", folder, "--dry-run"]).exits(0);
    let accept = shown.document()["accept"].as_str().unwrap().to_owned();
    // Nobody at a terminal, nothing accepted: nothing is installed, and the next step is said.
    let unseen = office.json_as("ada", &["pack", "install", folder]).exits(5).problem();
    assert_eq!(unseen["code"], "pack-not-accepted");
    assert!(unseen["next"].as_str().unwrap().contains(&accept), "{unseen}");
    let refused = office.json_as("ulla", &["pack", "install", folder, "--yes"]).exits(4).problem();
    assert_eq!(refused["code"], "not-allowed");
    let installed = office.json_as("ada", &["pack", "install", folder, "--accept", &accept]);
    assert_eq!(installed.exits(0).document()["state"], "on");

    let manifest = office.path("packs/customer-ops/pack.yaml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("version: 0.1.0", "version: 0.2.0")).unwrap();
    let upgraded = office.json_as("ada", &["pack", "upgrade", folder, "--yes"]).exits(0).document();
    assert_eq!(upgraded["version"], "0.2.0");
    let listed = office.json(&["pack", "list"]).exits(0).document();
    assert_eq!(listed["items"][0]["version"], "0.2.0");
    let back = office.json_as("ada", &["pack", "rollback", "customer-ops"]).exits(0).document();
    assert_eq!(back["version"], "0.1.0");
    let to = ["pack", "rollback", "customer-ops", "--to", "0.2.0"];
    assert_eq!(office.json_as("ada", &to).exits(0).document()["version"], "0.2.0");
    let unknown = ["pack", "rollback", "customer-ops", "--to", "0.3.0"];
    let problem = office.json_as("ada", &unknown).exits(3).problem();
    assert!(problem["next"].as_str().unwrap().contains("0.1.0, 0.2.0"), "{problem}");

    office.json_as("ada", &["pack", "disable", "customer-ops"]).exits(0);
    assert_eq!(office.json(&["pack", "get", "customer-ops"]).exits(0).document()["state"], "off");
    office.json_as("ada", &["pack", "enable", "customer-ops"]).exits(0);
    office.json_as("ada", &["pack", "remove", "customer-ops"]).exits(0);
    assert_eq!(office.json(&["pack", "list"]).exits(0).document()["items"], json!([]));
    let unknown = office.json(&["pack", "get", "customer-ops"]).exits(3).problem();
    assert_eq!(unknown["code"], "pack-not-found");
}

#[test]
fn a_configured_pack_is_changed_in_its_folder() {
    let office = Office::open();
    let folder = office.path("packs/customer-ops");
    let folder = folder.to_str().unwrap();
    let install = office.json_as("ada", &["pack", "install", folder, "--yes"]).exits(6).problem();
    assert_eq!(install["code"], "pack-refused");
    for verb in ["disable", "remove", "rollback"] {
        let refused = office.json_as("ada", &["pack", verb, "customer-ops"]).exits(5).problem();
        assert_eq!(refused["code"], "pack-configured", "{verb}");
    }
    assert_eq!(office.json(&["pack", "get", "customer-ops"]).exits(0).document()["state"], "on");
}

#[test]
fn a_person_at_the_screen_sees_what_a_pack_asks_for() {
    let office = bare();
    let folder = office.path("packs/customer-ops");
    let shown = office.run(&["pack", "install", folder.to_str().unwrap(), "--dry-run"]).exits(0);
    let text = shown.stdout;
    for line in ["crm.update_contract", "restore", "maybe", "accept", "customer-ops 0.1.0"] {
        assert!(text.contains(line), "{line} is missing:\n{text}");
    }
}
