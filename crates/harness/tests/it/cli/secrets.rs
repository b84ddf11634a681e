//! `harness secret`: values go in and never come out; what is not granted is refused, with the command that grants it.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::support::{Office, Serving, id_of};

/// An office whose CRM logs in with a secret that is kept.
fn keeping() -> Office {
    let office = Office::open();
    let crm = office.path("secrets/crm");
    let token = fs::read_to_string(&crm).unwrap();
    fs::remove_file(&crm).unwrap();
    let from = format!("crm_token = \"file:{}\"", crm.display());
    office.reconfigure(&from, "crm_token = \"secret:crm-token\"");
    office.reconfigure("[keys]\n", "[keys]\nsecrets = \"file:keys/secrets.key\"\n");
    office.tell(&["secret", "set", "crm-token"], &token).exits(0);
    office
}

fn reads(office: &Office) -> i32 {
    let words = ["intent", "submit", "churn_risk_read", "--input", "account=ACC-0007", "--wait"];
    office.json(&words).code
}

/// The command that a problem names, as it would be typed.
fn told_command(text: &str) -> Vec<String> {
    let command = text.split("harness ").nth(1).unwrap_or_else(|| panic!("{text}"));
    let words = command.split(['"', '\n']).next().unwrap();
    words.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect()
}

/// C151: a secret that nobody granted is refused before anything runs; the command that is told grants exactly what
/// was asked, one operation after the other.
#[test]
fn a_secret_without_a_grant_is_refused_with_the_command_that_grants_it() {
    let office = keeping();
    let mut granted = 0;
    loop {
        let opened = office.json(&["intent", "list"]);
        if opened.code == 0 {
            break;
        }
        let problem = opened.problem();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("is not granted to `crm` for"), "{detail}");
        let words = told_command(detail);
        assert!(words.contains(&"--path".to_owned()) && words.contains(&"--host".to_owned()));
        office.run(&words.iter().map(String::as_str).collect::<Vec<_>>()).exits(0);
        granted += 1;
        assert!(granted < 60, "{detail}");
    }
    assert!(granted > 3, "each request has its own");
    assert_eq!(reads(&office), 0);
    let listed = office.json(&["secret", "list"]).exits(0).document();
    assert_eq!(listed["items"][0]["grants"].as_array().unwrap().len(), granted);
    assert_eq!(listed["items"][0]["declared_as"][0], "crm_token");
}

/// A grant that is taken back counts at once, in a service that runs, and a value that is changed as well.
#[test]
fn what_is_revoked_or_rotated_counts_at_once() {
    let office = keeping();
    let token = office.world.token("crm");
    office.run(&["secret", "grant", "crm-token", "--system", "crm"]).exits(0);
    let serving = Serving::start(&office);
    assert_eq!(reads(&office), 0);
    office.tell(&["secret", "rotate", "crm-token"], "another-token-0123456789").exits(0);
    let submit = |key: &str| {
        let account = "account=ACC-0042";
        let words =
            ["intent", "submit", "churn_risk_read", "--input", account, "--idempotency-key", key];
        let ran = office.json(&[&words[..], &["--wait"]].concat());
        let run = office.json(&["run", "get", &id_of(&ran.document())]).exits(0);
        (ran.code, run.stdout)
    };
    let (code, said) = submit("rotated");
    assert_ne!(code, 0, "{said}");
    assert!(said.contains("permission") && !said.contains("another-token"), "{said}");
    office.tell(&["secret", "rotate", "crm-token"], &token).exits(0);
    assert_eq!(submit("back").0, 0);
    office.run(&["secret", "revoke", "crm-token", "--system", "crm"]).exits(0);
    let (code, said) = submit("revoked");
    assert_ne!(code, 0, "{said}");
    assert!(said.contains("permission"), "{said}");
    drop(serving);
}

#[test]
fn values_go_in_and_never_come_out() {
    let office = keeping();
    let token = office.world.token("crm");
    for words in [
        &["secret", "list"][..],
        &["secret", "list", "-o", "json"],
        &["secret", "list", "-o", "id"],
        &["secret", "grant", "crm-token", "--system", "crm", "-o", "json"],
        &["config", "show"],
        &["doctor"],
        &["secret", "remove", "crm-token", "-o", "json"],
    ] {
        let ran = office.run(words).exits(0);
        assert!(!ran.stdout.contains(&token) && !ran.stderr.contains(&token), "{ran:#?}");
    }
    let gone = office.json(&["secret", "rotate", "crm-token"]).exits(3).problem();
    assert_eq!(gone["code"], "secret-not-found");
    let elsewhere = ["secret", "list", "--server", "https://harness.example.com"];
    assert_eq!(office.json(&elsewhere).exits(2).problem()["code"], "not-over-the-network");
}

#[test]
fn a_key_that_is_gone_open_or_another_one_is_told_and_nothing_is_overwritten() {
    let office = keeping();
    let (file, key) = (office.path("store/secrets.age"), office.path("keys/secrets.key"));
    let sealed = fs::read(&file).unwrap();
    let code = |words: &[&str]| office.tell(words, "another-value").problem()["code"].clone();
    let set = ["secret", "set", "other", "-o", "json"];
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(code(&set), "secrets-key");
    fs::rename(&key, office.path("keys/away")).unwrap();
    assert_eq!(code(&set), "secrets-key");
    assert!(!key.exists(), "no second key is made");
    let refused = office.json(&["intent", "list"]).exits(2).problem();
    assert_eq!(refused["code"], "connector-invalid", "{refused}");
    office.reconfigure("secrets.key", "other.key");
    fs::rename(office.path("keys/away"), &key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let elsewhere = office.path("elsewhere");
    office
        .tell(&["--store", elsewhere.to_str().unwrap(), "secret", "set", "x"], "another-value")
        .exits(0);
    assert_eq!(code(&set), "secrets-unreadable");
    assert_eq!(fs::read(&file).unwrap(), sealed);
    office.reconfigure("other.key", "secrets.key");
    fs::write(&file, &sealed[..sealed.len() - 1]).unwrap();
    assert_eq!(code(&set), "secrets-unreadable");
    fs::write(&file, &sealed).unwrap();
    office.tell(&set, "another-value").exits(0);
}
