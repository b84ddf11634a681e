//! Refusals: each names its place and the next step, with the exit code of the table.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::Value;

use crate::support::{Office, change, id_of, run_in};

/// An id in the right form that nothing has.
const NOBODY: &str = "00000000000000000000000000000000";

#[test]
fn a_typo_is_one_problem_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    for words in [
        &["rnu", "list"][..],
        &["run", "lst"],
        &["run", "list", "--limt", "3"],
        &["run", "get"],
        &["run", "list", "--limit", "many"],
        &["receipt", "verify"],
        &["receipt", "verify", "--bundle", "x"],
    ] {
        let refused = run_in(dir.path(), &[words, &["-o", "json"]].concat()).exits(2);
        let problem = refused.problem();
        assert_eq!((&problem["kind"], &problem["code"]), (&"usage".into(), &"usage".into()));
        assert!(problem["next"].is_string(), "{problem}");
        let told = run_in(dir.path(), words).exits(2);
        assert!(told.stdout.is_empty() && told.stderr.starts_with("error:"), "{told:#?}");
    }
    let hinted = run_in(dir.path(), &["aproval", "list"]).exits(2);
    assert!(hinted.stderr.contains("'approval'"), "{hinted:#?}");
    let bare = run_in(dir.path(), &[]).exits(2);
    assert!(bare.stdout.is_empty() && bare.stderr.contains("Usage:"), "{bare:#?}");
}

#[test]
fn what_is_no_id_is_usage_and_what_is_nowhere_is_not_found() {
    let office = Office::served();
    for noun in [&["run", "get"][..], &["run", "events"], &["plan", "get"], &["run", "cancel"]] {
        let bad = office.json(&[noun, &["../run"]].concat()).exits(2);
        assert_eq!(bad.problem()["code"], "bad-id", "{noun:?}");
        let none = office.json(&[noun, &[&format!("run_{NOBODY}")]].concat()).exits(3);
        assert_eq!(none.problem()["code"], "run-not-found", "{noun:?}");
    }
    for (words, code) in [
        (
            vec!["approval".to_owned(), "get".to_owned(), format!("apr_{NOBODY}")],
            "approval-not-found",
        ),
        (
            vec!["receipt".to_owned(), "get".to_owned(), format!("rct_{NOBODY}")],
            "receipt-not-found",
        ),
        (vec!["run".to_owned(), "resume".to_owned(), format!("run_{NOBODY}")], "run-not-found"),
        (vec!["run".to_owned(), "rollback".to_owned(), format!("run_{NOBODY}")], "run-not-found"),
        (vec!["run".to_owned(), "replay".to_owned(), format!("run_{NOBODY}")], "run-not-found"),
    ] {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let problem = office.json(&words).exits(3).problem();
        assert_eq!(problem["code"], code);
        assert!(problem["next"].is_string(), "{problem}");
    }
    let nobody = office.json_as("nobody", &["run", "list"]).exits(2).problem();
    assert_eq!(nobody["code"], "unknown-person");
    assert!(nobody["next"].as_str().unwrap().contains("mira"), "{nobody}");
}

#[test]
fn a_typo_in_the_configuration_names_its_place() {
    let office = Office::open();
    let text = fs::read_to_string(office.config()).unwrap();
    let line = text.lines().position(|line| line.starts_with("packs")).unwrap() + 1;
    fs::write(office.config(), text.replace("packs =", "pakcs =")).unwrap();
    let problem = office.json(&["run", "list"]).exits(2).problem();
    assert_eq!(problem["code"], "config-invalid");
    let place = format!("{}:{line}:1", office.config().display());
    assert_eq!(problem["at"][0], place, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("`packs`"), "the nearest key: {problem}");
}

#[test]
fn a_secret_that_is_not_there_is_named() {
    let office = Office::open();
    let text = fs::read_to_string(office.config()).unwrap();
    let secret = office.path("secrets/crm");
    let gone = text.replace(&format!("file:{}", secret.display()), "env:NOT_SET_ANYWHERE");
    fs::write(office.config(), gone).unwrap();
    let words = change("ACC-0007", 45, "no-secret");
    let ran = office.json(&[&words.each()[..], &["--wait"]].concat());
    let run = id_of(&ran.document());
    let detail = office.json(&["run", "get", &run]).exits(0).document();
    assert_ne!(detail["run"]["status"], "succeeded");
    assert!(detail.to_string().contains("NOT_SET_ANYWHERE"), "{detail:#}");
    // In the configuration a value is refused: only references stand there.
    let inline = text.replace(&format!("file:{}", secret.display()), "s3cret-value");
    fs::write(office.config(), inline).unwrap();
    let problem = office.json(&["run", "list"]).exits(2).problem();
    assert!(problem["detail"].as_str().unwrap().contains("crm_token"), "{problem}");
    assert!(!problem.to_string().contains("s3cret-value"), "a secret was shown: {problem}");
    assert!(office.writes().is_empty());
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let office = Office::open();
    office.run(&["doctor"]).exits(0);
    let key = office.path("keys/receipts.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let problem = office.json(&["run", "list"]).exits(2).problem();
    assert_eq!(problem["code"], "key-unreadable");
    assert!(problem["next"].as_str().unwrap().starts_with("chmod 600"), "{problem}");
}

#[test]
fn a_request_in_words_is_understood_or_asked_back() {
    let office = Office::served();
    let inputs = ["--input", "account=ACC-0042"];
    let plan = |words: &str| office.json(&[&["intent", "plan", words], &inputs[..]].concat());
    let tie = plan("escalate the ticket and update the contract").exits(9).problem();
    assert_eq!(tie["code"], "intent-ambiguous");
    let detail = tie["detail"].as_str().unwrap();
    assert!(detail.contains("support_escalation") && detail.contains("contract_field_change"));
    assert_eq!(plan("make me a sandwich please").exits(3).problem()["code"], "intent-not-found");
    let plain = plan("review the renewal of this account").exits(0).document();
    assert_eq!(plain["intent"], "renewal_risk_review");
    let problem = office.json(&["intent", "plan", "renewal_risk_review"]).exits(2).problem();
    assert_eq!(problem["code"], "inputs-invalid");
    assert!(problem["detail"].as_str().unwrap().contains("account"), "{problem}");
}

#[test]
fn one_key_is_one_run() {
    let office = Office::served();
    let first = office.submit_change("ACC-0007", 45, "same");
    assert_eq!(first["new"], true);
    let again = office.json(&change("ACC-0007", 45, "same").each()).exits(0).document();
    assert_eq!((&again["new"], id_of(&again)), (&Value::Bool(false), id_of(&first)));
    let other = office.json(&change("ACC-0007", 60, "same").each()).exits(5).problem();
    assert_eq!(other["code"], "idempotency-key-reused");
    assert!(other["next"].is_string());
    let listed = office.json(&["run", "list"]).exits(0).document();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
}

#[test]
fn a_run_is_paused_resumed_and_cancelled() {
    let office = Office::served();
    let run = id_of(&office.submit_change("ACC-0007", 45, "held"));
    let status = |words: &[&str]| {
        let answer = office.json(words).document();
        answer["status"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    };
    assert_eq!(status(&["run", "pause", &run]), "paused");
    // What is answered meanwhile counts, and nothing is done before the run goes on.
    let (approval, digest) = office.card(&run);
    let words = ["approval", "approve", &approval, "--digest", &digest];
    let answered = office.json_as("mira", &words).exits(0).document();
    assert_eq!(answered["status"], "paused", "{answered}");
    assert!(office.writes().is_empty(), "{:?}", office.writes());
    assert_eq!(status(&["run", "resume", &run]), "succeeded");
    assert_eq!(office.contract("ACC-0007")["Terms"]["PaymentTermsDays"], 45);

    let run = id_of(&office.submit_change("ACC-0113", 45, "stopped"));
    let words = ["run", "cancel", &run, "--reason", "not wanted any more"];
    assert_eq!(status(&words), "cancelled");
    let late = office.json(&["run", "pause", &run]).exits(5).problem();
    assert_eq!(late["kind"], "conflict", "{late}");
    let listed = office.json(&["approval", "list"]).exits(0).document();
    assert!(listed["items"].as_array().unwrap().is_empty(), "its ask is gone: {listed}");
    assert_ne!(office.contract("ACC-0113")["Terms"]["PaymentTermsDays"], 45);
}

#[test]
fn what_cannot_be_done_says_so_with_its_code() {
    let office = Office::served();
    // A target that keeps failing before anything happened: the run fails, having done nothing.
    office.world.fault(&serde_json::json!({
        "system": "crm", "operation": "crm.get_contract", "kind": "missing_field", "field": "/Terms",
    }));
    let words = change("ACC-0007", 45, "broken");
    let ran = office.json(&[&words.each()[..], &["--wait"]].concat());
    assert!([8, 9].contains(&ran.code), "{ran:#?}");
    office.world.heal();
    // A target that forbids it: a person is needed.
    office.world.fault(&serde_json::json!({
        "system": "crm", "operation": "crm.get_account", "kind": "403",
    }));
    let words = change("ACC-0064", 45, "forbidden");
    let ran = office.json(&[&words.each()[..], &["--wait"]].concat()).exits(9);
    let run = id_of(&ran.document());
    let open = office.json(&["exception", "list"]).exits(0).document();
    let exceptions = open["items"].as_array().unwrap();
    let exception = exceptions.iter().find(|e| e["run"] == run).unwrap();
    assert_eq!(exception["class"], "permission", "{open}");
    let id = exception["id"].as_str().unwrap();
    let bad = office.json(&["exception", "settle", id, "sing", "--evidence", "x"]).exits(2);
    assert_eq!(bad.problem()["code"], "bad-verb");
    let stopped =
        office.json(&["exception", "settle", id, "stop", "--evidence", "asked the admin"]);
    assert_eq!(stopped.exits(8).document()["status"], "failed");
    assert!(office.writes().is_empty());
}
