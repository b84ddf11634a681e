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

/// C019, C065, C165: a pack says who made it; what was changed after it was signed is never put in force, and
/// where signatures are needed nothing else is.
#[test]
fn a_pack_is_signed_by_somebody_whom_the_operator_trusts() {
    let office = Office::open();
    let folder = office.path("packs/customer-ops");
    let key = format!("file:{}", office.path("publisher.key").display());
    let signature = |person: &Office| -> String {
        let listed = person.json(&["pack", "list"]).exits(0).document();
        listed["items"][0]["signature"].as_str().unwrap().to_owned()
    };
    assert_eq!(signature(&office), "unsigned");
    let sign = ["pack", "sign", folder.to_str().unwrap(), "--key", &key];
    let signed = office.json(&sign).exits(0).document();
    assert!(signature(&office).ends_with("whom nobody declared"), "{}", signature(&office));

    let config = fs::read_to_string(office.config()).unwrap();
    let public = signed["public_key"].as_str().unwrap().trim();
    let trusted = format!("signed_packs = \"yes\"\n{config}[publishers]\nacme = \"{public}\"\n");
    fs::write(office.config(), &trusted).unwrap();
    assert_eq!(signature(&office), "signed by acme");

    // A changed file, and the signature of another version: neither is put in force.
    let page = office.path("packs/customer-ops/README.md");
    let text = fs::read_to_string(&page).unwrap();
    fs::write(&page, format!("{text}\nchanged\n")).unwrap();
    let refused = office.json(&["pack", "list"]).exits(10).problem();
    assert_eq!(refused["code"], "pack-signature", "{refused:#}");
    fs::write(&page, &text).unwrap();
    assert_eq!(signature(&office), "signed by acme");
    let manifest = office.path("packs/customer-ops/pack.yaml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("version: 0.1.0", "version: 0.2.0")).unwrap();
    let refused = office.json(&["pack", "list"]).exits(10).problem();
    assert_eq!(refused["code"], "pack-signature", "{refused:#}");
    fs::write(&manifest, &text).unwrap();

    fs::write(office.config(), format!("signed_packs = \"yes\"\n{config}")).unwrap();
    let refused = office.json(&["pack", "list"]).exits(10).problem();
    assert_eq!(refused["code"], "pack-publisher", "{refused:#}");
    fs::remove_file(folder.join("pack.sig")).unwrap();
    let refused = office.json(&["pack", "list"]).exits(10).problem();
    assert_eq!(refused["code"], "pack-unsigned", "{refused:#}");
}
