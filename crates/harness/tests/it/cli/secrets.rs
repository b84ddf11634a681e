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

/// Every text of a document that holds this.
fn texts_with(value: &serde_json::Value, part: &str) -> Vec<String> {
    use serde_json::Value;
    match value {
        Value::String(text) if text.contains(part) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(|item| texts_with(item, part)).collect(),
        Value::Object(map) => map.values().flat_map(|item| texts_with(item, part)).collect(),
        _ => Vec::new(),
    }
}

/// C159: where the operator asks for it, what is taken out of answers can be had back with the key it was sealed for:
/// by nobody else, not from anything that harness made, and never without a record of who had it.
#[test]
fn what_was_taken_out_can_be_had_back_by_who_holds_the_key_alone() {
    let office = Office::open();
    // Two pairs of keys, as `harness secret set` makes them: one of who may have it back, and another.
    let pair = |name: &str| {
        let keys = format!("[keys]\nsecrets = \"file:{name}.key\"\n");
        office.reconfigure("[keys]\n", &keys);
        office.tell(&["secret", "set", "spare"], "a-spare-value").exits(0);
        fs::remove_file(office.path("store/secrets.age")).unwrap();
        office.reconfigure(&keys, "[keys]\n");
        let text = fs::read_to_string(office.path(&format!("{name}.key"))).unwrap();
        let public = text.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
        (text.clone(), public.to_owned())
    };
    let ((holder, public), (other, _)) = (pair("holder"), pair("other"));
    // Whoever bills is written to; nobody here needs the address.
    let url = format!("{}/billing\"\n", office.world.url);
    office.reconfigure(&url, &format!("{url}redact = [\"card\", \"mail\"]\n"));
    office.reconfigure("[keys]\n", &format!("[redaction]\nkeep_for = [\"{public}\"]\n[keys]\n"));

    let words = ["intent", "submit", "churn_risk_read", "--input", "account=ACC-0042", "--wait"];
    let run = id_of(&office.json(&words).exits(0).document());
    let export = office.path("export.json").display().to_string();
    office.json(&["run", "export", &run, "--to", &export]).exits(0);
    let exported: serde_json::Value =
        serde_json::from_slice(&fs::read(office.path("export.json")).unwrap()).unwrap();
    let marks = texts_with(&exported, "[mail#");
    let mark = marks.first().unwrap_or_else(|| panic!("{exported:#}"));
    let mark = &mark[mark.find("[mail#").unwrap()..=mark.find(']').unwrap()];

    let reveal = ["secret", "reveal", mark];
    let file = office.path("holder.key").display().to_string();
    let had = office.json(&["secret", "reveal", mark, "--key", &file]).exits(0).document();
    let value = had["value"].as_str().unwrap();
    assert!(value.contains('@') && had["kind"] == "mail" && had["run"] == run.as_str(), "{had}");
    assert_eq!(office.tell(&reveal, &holder).exits(0).stdout.trim(), value);
    let as_json = [&reveal[..], &["-o", "json"]].concat();
    let refused = office.tell(&as_json, &other).exits(4).problem();
    assert_eq!(refused["code"], "redacted-for-others");
    assert_eq!(office.tell(&as_json, "no key").exits(2).problem()["code"], "secrets-key");
    let nothing = office.json(&["secret", "reveal", "[mail#00]", "--key", &file]).exits(3);
    assert_eq!(nothing.problem()["code"], "redacted-not-kept");

    // Nothing that was made holds it, the record of who had it included.
    for (path, bytes) in crate::support::files(&office.path("store")) {
        assert!(!crate::support::holds(&bytes, value), "{}", path.display());
    }
    assert!(texts_with(&exported, value).is_empty());
    let kept = office.path("store/redacted.jsonl");
    assert_eq!(fs::metadata(kept).unwrap().permissions().mode() & 0o777, 0o600);

    let listed = office.json(&["secret", "reveals"]).exits(0).document();
    let items = listed["items"].as_array().unwrap();
    let opened: Vec<bool> = items.iter().map(|item| item["opened"].as_bool().unwrap()).collect();
    assert_eq!(opened, [false, true, true], "newest first: {listed}");
    assert!(
        items
            .iter()
            .all(|item| item["who"] == "ulla" && mark.contains(item["name"].as_str().unwrap()))
    );

    // A record that was tampered with is told, and nothing more is shown.
    let record = office.path("store/revealed.jsonl");
    let text = fs::read_to_string(&record).unwrap();
    let shorter: String = text.split_inclusive('\n').skip(1).collect();
    fs::write(&record, shorter).unwrap();
    assert_eq!(office.json(&["secret", "reveals"]).exits(10).problem()["code"], "reveals-damaged");
    let shown = office.tell(&as_json, &holder).exits(10);
    assert!(!shown.stdout.contains(value) && !shown.stderr.contains(value), "{shown:#?}");
}

/// The same value has the same mark, over restarts: what is compared with what was there before is equal still.
#[test]
fn what_is_kept_is_named_the_same_over_restarts_and_default_keeps_nothing() {
    let office = Office::open();
    let read = |key: &str| {
        let words = ["intent", "submit", "churn_risk_read", "--input", "account=ACC-0042"];
        let run = id_of(
            &office
                .json(&[&words[..], &["--idempotency-key", key, "--wait"]].concat())
                .exits(0)
                .document(),
        );
        let export = office.path(&format!("{key}.json"));
        office.json(&["run", "export", &run, "--to", &export.display().to_string()]).exits(0);
        let text: serde_json::Value = serde_json::from_slice(&fs::read(export).unwrap()).unwrap();
        texts_with(&text, "[mail")
    };
    let url = format!("{}/billing\"\n", office.world.url);
    office.reconfigure(&url, &format!("{url}redact = [\"mail\"]\n"));
    let plain = read("plain");
    assert!(!plain.is_empty() && plain.iter().all(|text| !text.contains("[mail#")), "{plain:?}");
    assert!(!office.path("store/redacted.jsonl").exists());
    let public = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    office.reconfigure("[keys]\n", &format!("[redaction]\nkeep_for = [\"{public}\"]\n[keys]\n"));
    let once = read("once");
    assert!(once.iter().any(|text| text.contains("[mail#")), "{once:?}");
    assert_eq!(read("again"), once);
    office.reconfigure(public, "age1nothing");
    let refused = office.json(&["run", "list"]).exits(2).problem();
    assert!(
        refused["code"] == "config-invalid" && !refused.to_string().contains("age1nothing"),
        "{refused}"
    );
}
