//! The queue of exceptions: C015, C203, C347.

use serde_json::{Value, json};

use crate::support::{Office, Serving, change, id_of};

/// A run that a target forbids to read an account: its id and its exception's.
fn forbidden(office: &Office, account: &str, key: &str) -> (String, String) {
    office.world.fault(&json!({
        "system": "crm", "operation": "crm.get_account", "kind": "403",
    }));
    let words = change(account, 45, key);
    let ran = office.json(&[&words.each()[..], &["--wait"]].concat()).exits(9);
    office.world.heal();
    let run = id_of(&ran.document());
    let items = listed(office, &["--run", &run]);
    assert_eq!(items.len(), 1, "{items:#?}");
    (run, items[0]["id"].as_str().unwrap().to_owned())
}

fn listed(office: &Office, filters: &[&str]) -> Vec<Value> {
    let listed = office.json(&[&["exception", "list"], filters].concat()).exits(0).document();
    listed["items"].as_array().unwrap().clone()
}

fn ids(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[test]
fn the_queue_is_filtered_and_survives_its_owner() {
    let office = Office::open();
    let serving = Serving::start(&office);
    let (run, first) = forbidden(&office, "ACC-0007", "one");
    let (_, second) = forbidden(&office, "ACC-0042", "two");
    assert_eq!(ids(&listed(&office, &[])), [first.as_str(), &second], "oldest first");
    assert_eq!(ids(&listed(&office, &["--run", &run])), [first.as_str()]);
    let owner = listed(&office, &[])[0]["owner"].as_str().unwrap().to_owned();
    for (filters, count) in [
        (vec!["--class", "permission"], 2),
        (vec!["--class", "timeout"], 0),
        (vec!["--need", "escalated"], 2),
        (vec!["--need", "in-doubt"], 0),
        (vec!["--owner", &owner], 2),
        (vec!["--owner", "nobody"], 0),
        (vec!["--older-than", "1d"], 0),
        (vec!["--older-than", "0s"], 2),
    ] {
        assert_eq!(listed(&office, &filters).len(), count, "{filters:?}");
    }
    let bad = office.json(&["exception", "list", "--class", "sour"]).exits(2).problem();
    assert_eq!(bad["code"], "bad-class");
    let before = listed(&office, &["--limit", "1"]);
    assert_eq!(ids(&before), [first.as_str()]);
    assert_eq!(serving.end("KILL"), None);
    // Nobody served, then somebody else: the queue is the same.
    assert_eq!(ids(&listed(&office, &[])), [first.as_str(), &second]);
    let _again = Serving::start(&office);
    assert_eq!(ids(&listed(&office, &[])), [first.as_str(), &second]);
}

#[test]
fn one_exception_says_what_happened_and_what_is_safe() {
    let office = Office::served();
    let (run, id) = forbidden(&office, "ACC-0007", "one");
    let detail = office.json(&["exception", "get", &id]).exits(0).document();
    assert_eq!(detail["run"]["id"], run.as_str());
    assert_eq!(detail["exception"]["state"], "open");
    assert!(detail["summary"].as_str().unwrap().contains("permission"), "{detail:#}");
    let tried = detail["tried"].as_array().unwrap();
    assert!(tried.iter().any(|t| t["operation"] == "crm.get_account"), "{detail:#}");
    assert!(tried.iter().all(|t| !t["rules"].as_array().unwrap().is_empty()), "{detail:#}");
    assert!(!detail["said"].as_str().unwrap().is_empty());
    let verbs: Vec<&str> =
        detail["safe"].as_array().unwrap().iter().map(|v| v["verb"].as_str().unwrap()).collect();
    assert_eq!(verbs, ["retry", "use", "skip", "stop", "rollback"]);
    assert!(detail["answer"].is_object(), "an answer has a schema: {detail:#}");
    // For people: nothing is wider than the terminal.
    let told = office.run(&["exception", "get", &id]).exits(0).stdout;
    assert!(told.lines().all(|line| line.chars().count() <= 80 || line.contains(&id)), "{told}");
    office.json(&["exception", "get", "exc_00000000000000000000000000000000"]).exits(3);
}

#[test]
fn an_answer_must_fit_and_only_its_owner_gives_it() {
    let office = Office::served();
    let (run, id) = forbidden(&office, "ACC-0007", "one");
    let events = || office.json(&["run", "get", &run]).exits(0).document()["run"]["events"].clone();
    let before = events();
    let bad = office.json(&["exception", "answer", &id, "{\"Terms\": 3}", "--reason", "by hand"]);
    let problem = bad.exits(2).problem();
    assert!(problem["detail"].as_str().unwrap().contains("does not fit"), "{problem}");
    assert!(problem["next"].is_string(), "{problem}");
    let retry = ["exception", "retry", &id, "--reason", "allowed now"];
    let problem = office.json_as("lars", &retry).exits(4).problem();
    assert!(problem["detail"].as_str().unwrap().contains("the role operator"), "{problem}");
    let empty = office.json(&["exception", "retry", &id, "--reason", " "]).exits(2).problem();
    assert_eq!(empty["code"], "evidence-needed");
    let close = office.json(&["exception", "close", &id, "--reason", "seen"]).exits(5).problem();
    assert!(close["detail"].as_str().unwrap().contains("does not fit"), "{close}");
    assert_eq!(events(), before, "no refusal left a trace");

    let account = office.world.get("/crm/accounts/ACC-0007").to_string();
    let words = ["exception", "answer", &id, &account, "--reason", "read it in the CRM myself"];
    let answered = office.json(&words).exits(7).document();
    assert_eq!(answered["status"], "asking", "it went on with the answer: {answered}");
    let after = events();
    // The same decision again is no second one; another one comes too late.
    office.json(&words).exits(7);
    let late = office.json(&retry).exits(5).problem();
    assert_eq!(late["code"], "settled-already", "{late}");
    // So does the same verb with another value: it must not look as if it had been taken.
    let mut other = office.world.get("/crm/accounts/ACC-0007");
    other["Name"] = json!("Somebody else");
    let other = other.to_string();
    let words = ["exception", "answer", &id, &other, "--reason", "read it once more"];
    let late = office.json(&words).exits(5).problem();
    assert_eq!(late["code"], "settled-already", "{late}");
    assert!(late["detail"].as_str().unwrap().contains("another value"), "{late}");
    assert_eq!(events(), after);
    let detail = office.json(&["exception", "get", &id]).exits(0).document();
    assert_eq!(detail["exception"]["state"], "settled");
    assert!(detail["safe"].as_array().unwrap().is_empty());
    let settled = detail["steps_back"].as_array().unwrap().last().unwrap();
    assert_eq!((&settled["by"], &settled["what"]), (&json!("person:ulla"), &json!("use")));
    assert_eq!(settled["why"], "read it in the CRM myself");
    let replayed = office.json(&["run", "replay", &run]).exits(0).document();
    assert_eq!(replayed["identical"], true, "{replayed}");
}

#[test]
fn retry_skip_and_rollback_do_what_they_say() {
    let office = Office::served();
    let (_, id) = forbidden(&office, "ACC-0007", "retry");
    let retried = office.json(&["exception", "retry", &id, "--reason", "access was given"]);
    assert_eq!(retried.exits(7).document()["status"], "asking");
    let (run, id) = forbidden(&office, "ACC-0042", "rollback");
    let back = office.json(&["exception", "rollback", &id, "--reason", "not wanted any more"]);
    let back = back.exits(0).document();
    assert!(["cancelled", "rolled_back"].contains(&back["status"].as_str().unwrap()), "{back}");
    assert!(listed(&office, &["--run", &run]).is_empty());
    let (run, id) = forbidden(&office, "ACC-0064", "skip");
    let skipped = office.json(&["exception", "skip", &id, "--reason", "not needed"]);
    assert_eq!(skipped.exits(7).document()["status"], "asking", "it goes on without the step");
    assert!(office.writes().is_empty());
    let ended = office.approve(&run).exits(0).document();
    assert_eq!(ended["status"], "partial", "the result says what it is without: {ended}");
    let detail = office.json(&["run", "get", &run]).exits(0).document();
    assert!(detail["caveats"].to_string().contains("without this step"), "{detail:#}");
    assert_eq!(office.contract("ACC-0064")["Terms"]["PaymentTermsDays"], 45);
    let replayed = office.json(&["run", "replay", &run]).exits(0).document();
    assert_eq!(replayed["identical"], true, "{replayed}");
}

/// What a run did before it got stuck is taken back from its exception.
#[test]
fn a_rollback_from_an_exception_takes_back_what_was_written() {
    let office = Office::served();
    let was = office.contract("ACC-0007")["Terms"]["PaymentTermsDays"].clone();
    let run = id_of(&office.submit_change("ACC-0007", 45, "stuck"));
    // The read after the write: the ones before it are its images.
    office.world.fault(&json!({
        "system": "crm", "operation": "crm.get_contract", "kind": "403", "on_call": 3,
    }));
    let stuck = office.approve(&run).exits(9).document();
    assert_eq!(stuck["status"], "needs_person", "{stuck:#}");
    assert_eq!(office.contract("ACC-0007")["Terms"]["PaymentTermsDays"], 45, "it was written");
    office.world.heal();
    let items = listed(&office, &["--run", &run]);
    assert_eq!(items[0]["step"], "after", "{items:#?}");
    let id = items[0]["id"].as_str().unwrap();
    let back = office.json(&["exception", "rollback", id, "--reason", "not like this"]);
    assert_eq!(back.exits(0).document()["status"], "rolled_back");
    assert_eq!(office.contract("ACC-0007")["Terms"]["PaymentTermsDays"], was);
    assert!(listed(&office, &["--run", &run]).is_empty());
    office.world.performed_nothing_twice();
    let replayed = office.json(&["run", "replay", &run]).exits(0).document();
    assert_eq!(replayed["identical"], true, "{replayed}");
}

/// A conflict that is left as it is leaves the queue, and nothing is called for it.
#[test]
fn closing_takes_it_off_the_queue_and_does_nothing() {
    let office = Office::served();
    let run = office.changed("ACC-0007", 45, "moved");
    office.meddle("ACC-0007", &json!({ "Terms": { "PaymentTermsDays": 77 } }));
    office.json(&["run", "rollback", &run]).exits(9);
    let items = listed(&office, &["--run", &run]);
    assert_eq!((items.len(), &items[0]["need"]), (1, &json!("conflict")), "{items:#?}");
    let id = items[0]["id"].as_str().unwrap();
    let detail = office.json(&["exception", "get", id]).exits(0).document();
    let safe = detail["safe"].as_array().unwrap().iter();
    let safe: Vec<&str> = safe.map(|verb| verb["verb"].as_str().unwrap()).collect();
    assert_eq!(safe, ["retry", "accept", "close"], "{detail:#}");
    let writes = office.writes();
    let closed = office.json(&["exception", "close", id, "--reason", "theirs is right"]);
    assert_eq!(closed.exits(0).document()["status"], "succeeded", "its effect is still there");
    assert!(listed(&office, &["--run", &run]).is_empty());
    assert_eq!(office.writes(), writes);
    assert_eq!(office.contract("ACC-0007")["Terms"]["PaymentTermsDays"], 77);
    let detail = office.json(&["exception", "get", id]).exits(0).document();
    assert_eq!(detail["exception"]["state"], "settled");
    let settled = detail["steps_back"].as_array().unwrap().last().unwrap();
    assert_eq!((&settled["what"], &settled["why"]), (&json!("close"), &json!("theirs is right")));
}
