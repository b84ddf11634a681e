//! Taking back: once, in comparison with what is there now, and never silently over somebody's work.

use serde_json::{Value, json};

use crate::support::Office;

#[test]
fn a_token_takes_back_once() {
    let office = Office::served();
    let before = office.world.hash();
    let run = office.changed("ACC-0007", 45, "back");
    assert_ne!(office.world.hash(), before);
    let detail = office.json(&["run", "get", &run]).exits(0).document();
    let token = detail["tokens"][0].as_str().unwrap();
    let undone = office.json(&["run", "rollback", &run, "--token", token]).exits(0).document();
    assert_eq!(undone["result"], "complete", "{undone:#}");
    assert_eq!(undone["effects"][0]["result"], "restored", "{undone:#}");
    assert_eq!(office.world.hash(), before, "the world is what it was");
    let writes = office.writes();
    let again = office.json(&["run", "rollback", &run, "--token", token]).exits(5).problem();
    assert_eq!(again["kind"], "conflict", "{again}");
    assert_eq!(office.writes(), writes, "a refused rollback asks nothing of the world");
    assert_eq!(office.json(&["run", "get", &run]).document()["tokens"], json!([]));
    let other = format!("rbk_{}", "0".repeat(32));
    let none = office.json(&["run", "rollback", &run, "--token", &other]);
    assert!([3, 5].contains(&none.code), "{none:#?}");
    office.json(&["receipt", "verify", &run]).exits(0);
    let replayed = office.json(&["run", "replay", &run]).exits(0).document();
    assert_eq!(replayed["identical"], true, "{replayed:#}");
}

#[test]
fn what_somebody_changed_since_is_shown_and_not_overwritten() {
    let office = Office::served();
    let was = office.contract("ACC-0007")["Terms"]["PaymentTermsDays"].clone();
    let run = office.changed("ACC-0007", 45, "moved");
    office.meddle("ACC-0007", &json!({ "Terms": { "PaymentTermsDays": 77 } }));
    let writes = office.writes();
    let held = office.json(&["run", "rollback", &run]).exits(9).document();
    assert_ne!(held["result"], "complete");
    let effects = held["effects"].as_array().unwrap();
    let conflict = effects.iter().find(|e| e["result"] == "conflict");
    let difference = &conflict.unwrap_or_else(|| panic!("{held:#}"))["difference"];
    let days = |side: &str| difference[side].pointer("/Terms/PaymentTermsDays").cloned();
    assert_eq!(
        (days("before"), days("after"), days("now")),
        (Some(was.clone()), Some(json!(45)), Some(json!(77))),
        "{difference:#}"
    );
    assert_eq!(office.contract("ACC-0007")["Terms"]["PaymentTermsDays"], 77);
    assert_eq!(office.writes(), writes, "nothing was overwritten");

    // Whoever has seen the difference may accept it: this one, and as it was shown.
    let accept = |seen: &str| office.json(&["run", "rollback", &run, "--accept-conflict", seen]);
    let seen = held["conflict"].as_str().unwrap();
    let unseen = accept(&format!("sha256:{}", "0".repeat(64))).exits(5).problem();
    assert_eq!(unseen["code"], "other-difference", "{unseen}");
    office.meddle("ACC-0007", &json!({ "Terms": { "PaymentTermsDays": 78 } }));
    let moved = accept(seen).exits(9).document();
    assert_eq!(office.contract("ACC-0007")["Terms"]["PaymentTermsDays"], 78, "{moved:#}");
    assert_eq!(accept(seen).exits(5).problem()["code"], "other-difference");
    let accepted = accept(moved["conflict"].as_str().unwrap());
    let accepted = accepted.exits(0).document();
    assert_eq!(accepted["result"], "complete", "{accepted:#}");
    assert_eq!(office.contract("ACC-0007")["Terms"]["PaymentTermsDays"], was);
    office.world.performed_nothing_twice();
    let events: Value = office.json(&["run", "events", &run]).exits(0).document();
    assert!(events["items"].as_array().unwrap().iter().any(|e| e["kind"] == "unwound"));
    office.json(&["receipt", "verify", &run]).exits(0);
}

#[test]
fn a_run_that_is_not_over_cannot_be_taken_back() {
    let office = Office::served();
    let submitted = office.submit_change("ACC-0007", 45, "early");
    let run = submitted["run"]["id"].as_str().unwrap();
    let early = office.json(&["run", "rollback", run]).exits(5).problem();
    assert_eq!(early["kind"], "conflict", "{early}");
    assert!(office.writes().is_empty());
}

/// C349: what a rollback says it would do is what it does, and saying so does nothing.
#[test]
fn what_is_said_beforehand_is_what_is_done() {
    let office = Office::served();
    let run = office.changed("ACC-0007", 45, "dry");
    let writes = office.writes();
    let events = || office.json(&["run", "get", &run]).exits(0).document()["run"]["events"].clone();
    let before = events();
    let told = office.json(&["run", "rollback", &run, "--dry-run"]).exits(0).document();
    assert_eq!(told["schema"], "harness.rollback-preview/v1", "{told:#}");
    assert_eq!(told["possible"], true, "{told:#}");
    let effects = told["effects"].as_array().unwrap();
    assert_eq!((effects.len(), told["stays"].as_array().unwrap().len()), (1, 0), "{told:#}");
    let token = effects[0]["token"].as_str().unwrap();
    let one = office.json(&["run", "rollback", &run, "--dry-run", "--token", token]).exits(0);
    assert_eq!(one.document()["effects"], told["effects"]);
    let other = format!("rbk_{}", "0".repeat(32));
    let none = office.json(&["run", "rollback", &run, "--dry-run", "--token", &other]).exits(3);
    assert_eq!(none.problem()["code"], "rollback-token-not-found");
    let both = office.run(&["run", "rollback", &run, "--dry-run", "--accept-conflict"]).exits(2);
    assert!(both.stderr.contains("--accept-conflict"), "{both:?}");
    let text = office.run(&["run", "rollback", &run, "--dry-run"]).exits(0).stdout;
    assert!(text.contains("Would take back 1 effect; 0 would stay"), "{text}");
    assert!(text.contains("PaymentTermsDays"), "{text}");
    assert_eq!((office.writes(), events()), (writes, before), "nothing was done");

    let done = office.json(&["run", "rollback", &run]).exits(0).document();
    let back = done["effects"].as_array().unwrap();
    assert_eq!(back.len(), effects.len(), "{done:#}");
    assert_eq!(back[0]["token"], effects[0]["token"]);
    let after = office.json(&["run", "rollback", &run, "--dry-run"]).exits(0).document();
    assert_eq!(after["effects"], json!([]), "{after:#}");
    assert_eq!(after["possible"], false);
}
