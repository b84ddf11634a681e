//! Packs come, are replaced and go over HTTP (C019, C047, C064): only by who may, only as they were shown,
//! and never under a run in flight.

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};

use super::Api;
use crate::support::{Office, files, id_of, root};

/// An office without a configured pack.
pub(super) fn bare() -> Api {
    let office = Office::open();
    let config = fs::read_to_string(office.config()).unwrap();
    let config = config.replace("packs = [\"packs/customer-ops\"]", "packs = []");
    // Who waits here asks again at once, and as fast as the machine answers.
    let patient = "[serve]\nrequests_per_second = 100000\n";
    fs::write(office.config(), config + patient).unwrap();
    Api::of(office)
}

/// The files of the shipped pack, under this version, each text changed as said.
pub(super) fn pack(version: &str, edits: &[(&str, &str, &str)]) -> BTreeMap<String, String> {
    let folder = root().join("packs/customer-ops");
    let read = files(&folder).into_iter().map(|(path, bytes)| {
        let path = path.strip_prefix(&folder).unwrap_or(&path).to_string_lossy().into_owned();
        (path, String::from_utf8(bytes).unwrap())
    });
    let mut files: BTreeMap<String, String> = read.collect();
    let manifest = files.get_mut("pack.yaml").unwrap();
    *manifest = manifest.replace("version: 0.1.0", &format!("version: {version}"));
    for (path, from, to) in edits {
        let text = files.get_mut(*path).unwrap();
        assert!(text.contains(from), "{path} does not hold {from}");
        *text = text.replace(from, to);
    }
    files
}

fn review(api: &Api, token: &str, files: &BTreeMap<String, String>) -> Value {
    api.post(token, "/v1/pack-reviews", &json!({ "files": files })).ok()
}

pub(super) fn accepted(api: &Api, token: &str, files: &BTreeMap<String, String>) -> Value {
    let accept = review(api, token, files)["accept"].clone();
    json!({ "files": files, "accept": accept })
}

fn change(account: &str) -> Value {
    json!({"intent": "contract_field_change", "inputs": {
        "account": account, "field": "PaymentTermsDays", "value": "45",
        "reason": "as agreed in the call"}, "wait_ms": 20_000})
}

/// Submits a change and answers its run, which waits for a person.
fn submitted(api: &Api, account: &str) -> Value {
    let ulla = api.token("ulla", &[]);
    let answer = api.post(&ulla, "/v1/intents", &change(account)).ok();
    assert_eq!(answer["run"]["status"], "asking", "{answer}");
    answer["run"].clone()
}

/// C165: what is installed is pinned by its digest; the folder it came from may change as it likes.
#[test]
fn a_pack_is_installed_as_it_was_shown_and_by_an_admin_only() {
    let api = bare();
    let ada = api.token("ada", &[]);
    let files = pack("0.1.0", &[]);
    let shown = review(&api, &ada, &files);
    assert_eq!(shown["refused"], json!([]), "{shown}");
    let asks = shown["operations"].as_array().unwrap();
    let write = asks.iter().find(|ask| ask["operation"] == "crm.update_contract").unwrap();
    assert_eq!((&write["effect"], &write["asks"]), (&json!("write"), &json!("maybe")), "{write}");
    assert_eq!(api.get(&ada, "/v1/packs").ok()["items"], json!([]), "a review installs nothing");

    let unseen = api.post(&ada, "/v1/packs", &json!({ "files": files }));
    assert_eq!(unseen.refused(409), "pack-not-accepted");
    // What was accepted is what was shown: one character more is another pack.
    let mut other = accepted(&api, &ada, &files);
    other["files"]["README.md"] = json!("something else");
    assert_eq!(api.post(&ada, "/v1/packs", &other).refused(409), "pack-not-accepted");
    let body = accepted(&api, &ada, &files);
    for person in ["ulla", "mira", "lars"] {
        let token = api.token(person, &[]);
        assert_eq!(api.post(&token, "/v1/packs", &body).refused(403), "not-allowed", "{person}");
    }
    let agent = api.token("ada", &["--agent", "helper", "--owner", "ada"]);
    assert_eq!(api.post(&agent, "/v1/packs", &body).refused(403), "not-allowed");
    assert_eq!(api.get(&ada, "/v1/packs").ok()["items"], json!([]), "none of them installed it");

    let installed = api.post(&ada, "/v1/packs", &body).ok();
    assert_eq!(installed["state"], "on", "{installed}");
    assert_eq!(installed["digest"], shown["digest"]);
    assert_eq!(installed["changes"][0]["by"], "person:ada");
    assert_eq!(api.post(&ada, "/v1/packs", &body).refused(409), "pack-not-accepted");
    submitted(&api, "ACC-0007");
}

#[test]
fn what_policy_or_configuration_does_not_cover_is_not_installed() {
    let api = bare();
    let ada = api.token("ada", &[]);
    // Reads alone are permitted to anybody.
    let reads = "@id(\"op.reads\") @reason(\"Reads.\") permit (principal, action in Action::\"read\", \
                 resource);\n";
    fs::write(api.office.path("operator.cedar"), reads).unwrap();
    let body = accepted(&api, &ada, &pack("0.1.0", &[]));
    let refused = api.post(&ada, "/v1/packs", &body);
    assert_eq!(refused.refused(403), "pack-refused");
    let at = refused.json()["errors"].to_string();
    assert!(at.contains("permits crm.update_contract to nobody"), "{at}");
    assert!(!at.contains("crm.get_contract"), "reads are covered: {at}");

    // A pack of a system that nobody declared.
    let made = api.office.run(&["pack", "new", "bookings-desk"]).exits(0);
    drop(made);
    let folder = api.office.path("bookings-desk");
    let all = files(&folder).into_iter().map(|(path, bytes)| {
        let path = path.strip_prefix(&folder).unwrap_or(&path).to_string_lossy().into_owned();
        (path, String::from_utf8(bytes).unwrap())
    });
    let body = accepted(&api, &ada, &all.collect());
    let at = api.post(&ada, "/v1/packs", &body).json()["errors"].to_string();
    assert!(at.contains("bookings"), "{at}");
    assert_eq!(api.get(&ada, "/v1/packs").ok()["items"], json!([]));

    // A broken one says where.
    let mut broken = pack("0.1.0", &[]);
    broken.insert("pack.yaml".to_owned(), "name: [".to_owned());
    let refused = api.post(&ada, "/v1/pack-reviews", &json!({ "files": broken }));
    assert_eq!(refused.refused(422), "pack-invalid");
}

/// C099: a run keeps the version of its pack, agents included, whatever is installed meanwhile.
#[test]
fn an_upgrade_shows_what_is_different_and_a_run_in_flight_keeps_its_version() {
    let mut api = bare();
    let ada = api.token("ada", &[]);
    let mira = api.token("mira", &[]);
    let first = pack("0.1.0", &[]);
    let old = api.post(&ada, "/v1/packs", &accepted(&api, &ada, &first)).ok();
    let parked = submitted(&api, "ACC-0007");

    let named = "/v1/packs/customer-ops";
    let upgrade = format!("{named}/upgrade");
    // Other files under the same number, and a lower number, are no upgrade.
    let retitled = ("intents/contract_field_change.yaml", "title: ", "title: Now ");
    let same = accepted(&api, &ada, &pack("0.1.0", &[retitled]));
    assert_eq!(api.post(&ada, &upgrade, &same).refused(409), "pack-version-known");
    let lower = accepted(&api, &ada, &pack("0.0.9", &[retitled]));
    assert_eq!(api.post(&ada, &upgrade, &lower).refused(409), "pack-not-newer");
    // A contract that breaks, and a fact that takes less care, are said before anything is installed.
    let second = pack(
        "0.2.0",
        &[
            retitled,
            ("intents/contract_field_change.yaml", "required: [", "required: [ticket, "),
            (
                "intents/contract_field_change.yaml",
                "properties:\n",
                "properties:\n    ticket: {type: string}\n",
            ),
        ],
    );
    let shown = review(&api, &ada, &second);
    assert_eq!(shown["replaces"], "0.1.0");
    let sorts: Vec<&str> =
        shown["changes"].as_array().unwrap().iter().map(|c| c["sort"].as_str().unwrap()).collect();
    assert_eq!(sorts, ["breaks"], "{shown}");
    let new = api.post(&ada, &upgrade, &accepted(&api, &ada, &second)).ok();
    assert_eq!(new["version"], "0.2.0", "{new}");

    // The run that waited goes on with what it began with; a new one begins with what is there now.
    let waiting = api.get(&mira, "/v1/approvals").ok();
    let shown = format!("/v1/approvals/{}", waiting["items"][0]["id"].as_str().unwrap());
    let card = api.get(&mira, &shown).ok();
    let yes = json!({"digest": card["digest"], "wait_ms": 20_000});
    let done = api.decide(&mira, &shown, "approve", &yes).ok();
    assert_eq!(done["status"], "succeeded", "{done}");
    assert_eq!(done["pack"], "customer-ops@0.1.0");
    assert_eq!(done["id"], parked["id"]);
    let ulla = api.token("ulla", &[]);
    assert_eq!(api.post(&ulla, "/v1/intents", &change("ACC-0008")).refused(422), "inputs-invalid");

    // Kill the owner: what is in force is in the store.
    api.serving.take().unwrap().end("KILL");
    let mut api = Api::of(api.office);
    let kept = api.get(&ada, named).ok();
    assert_eq!((&kept["version"], &kept["digest"]), (&new["version"], &new["digest"]));
    let back = api.post(&ada, &format!("{named}/rollback"), &json!({})).ok();
    assert_eq!((&back["version"], &back["digest"]), (&old["version"], &old["digest"]));
    let did: Vec<&str> =
        back["changes"].as_array().unwrap().iter().map(|c| c["did"].as_str().unwrap()).collect();
    assert_eq!(did, ["rolled_back", "upgraded", "installed"]);
    submitted(&api, "ACC-0008");
    let verified = api.post(&ulla, &format!("/v1/runs/{}/replay", id_of(&done)), &json!({})).ok();
    assert_eq!(verified["identical"], true, "{verified}");
    api.serving.take().unwrap().end("TERM");
}

#[test]
fn a_pack_that_is_off_takes_no_new_work_and_a_removed_one_leaves_its_runs() {
    let api = bare();
    let ada = api.token("ada", &[]);
    let (ulla, mira) = (api.token("ulla", &[]), api.token("mira", &[]));
    api.post(&ada, "/v1/packs", &accepted(&api, &ada, &pack("0.1.0", &[]))).ok();
    let parked = submitted(&api, "ACC-0007");
    let named = "/v1/packs/customer-ops";
    let off = api.post(&ada, &format!("{named}/disable"), &json!({})).ok();
    assert_eq!(off["state"], "off");
    assert_eq!(api.get(&ulla, "/v1/intents").ok()["items"], json!([]));
    assert_eq!(
        api.post(&ulla, "/v1/intents", &change("ACC-0008")).refused(404),
        "intent-not-found"
    );
    // Its run in flight goes on.
    let waiting = api.get(&mira, "/v1/approvals").ok();
    let shown = format!("/v1/approvals/{}", waiting["items"][0]["id"].as_str().unwrap());
    let card = api.get(&mira, &shown).ok();
    let yes = json!({"digest": card["digest"], "wait_ms": 20_000});
    assert_eq!(api.decide(&mira, &shown, "approve", &yes).ok()["status"], "succeeded");
    let on = api.post(&ada, &format!("{named}/enable"), &json!({})).ok();
    assert_eq!(on["state"], "on");
    submitted(&api, "ACC-0008");

    let gone = api.ask(&ada, ("DELETE", named), &Value::Null, &[]).ok();
    assert_eq!(gone["version"], "0.1.0");
    assert_eq!(api.get(&ada, named).refused(404), "pack-not-found");
    let run = format!("/v1/runs/{}", parked["id"].as_str().unwrap());
    assert_eq!(api.get(&ulla, &run).ok()["run"]["pack"], "customer-ops@0.1.0");
    let verified = api.post(&ulla, &format!("{run}/verify"), &json!({})).ok();
    assert_eq!(verified["verdict"], "verified", "{verified}");
}

#[test]
fn an_installed_pack_that_does_not_fit_any_more_is_shown_as_broken_and_keeps_nobody_from_working() {
    let mut api = bare();
    let ada = api.token("ada", &[]);
    api.post(&ada, "/v1/packs", &accepted(&api, &ada, &pack("0.1.0", &[]))).ok();
    api.serving.take().unwrap().end("TERM");
    // Somebody configures the folder as well.
    let config = fs::read_to_string(api.office.config()).unwrap();
    let config = config.replace("packs = []", "packs = [\"packs/customer-ops\"]");
    fs::write(api.office.config(), &config).unwrap();
    let mut api = Api::of(api.office);
    let listed = api.get(&ada, "/v1/packs").ok();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed["items"][0]["origin"], "configured");
    api.serving.take().unwrap().end("TERM");
    // And takes it out again.
    let config = config.replace("packs = [\"packs/customer-ops\"]", "packs = []");
    fs::write(api.office.config(), config).unwrap();
    let api = Api::of(api.office);
    let listed = api.get(&ada, "/v1/packs").ok();
    assert_eq!(listed["items"][0]["origin"], "installed", "{listed}");
}
