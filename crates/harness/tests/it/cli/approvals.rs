//! Approvals bind to exactly one card and one kind of person.

use crate::support::{Office, id_of};

#[test]
fn an_answer_counts_only_for_the_card_that_was_shown() {
    let office = Office::served();
    let run = id_of(&office.submit_change("ACC-0007", 45, "asked"));
    let (approval, digest) = office.card(&run);
    let approve = |person: &str, digest: &str| {
        office.json_as(person, &["approval", "approve", &approval, "--digest", digest])
    };

    let blind = office.json_as("mira", &["approval", "approve", &approval]).exits(2).problem();
    assert_eq!(blind["code"], "digest-needed");
    let typed = format!("harness approval approve {approval} --digest {digest}");
    assert_eq!(blind["next"], typed);

    let stale = format!("sha256:{}", "0".repeat(64));
    assert_eq!(approve("mira", &stale).exits(5).problem()["kind"], "conflict");
    assert_eq!(approve("ulla", &digest).exits(4).problem()["kind"], "not_allowed");
    assert_eq!(approve("lars", &digest).exits(4).problem()["kind"], "not_allowed");
    let garbled = approve("mira", "sha256:12").exits(2).problem();
    assert_eq!(garbled["code"], "bad-id");
    assert!(office.writes().is_empty(), "nobody has agreed: {:?}", office.writes());

    let done = approve("mira", &digest).exits(0).document();
    assert_eq!(done["status"], "succeeded", "{done}");
    assert_eq!(approve("mira", &digest).exits(5).problem()["kind"], "conflict");
    office.world.performed_nothing_twice();
    assert_eq!(office.contract("ACC-0007")["Terms"]["PaymentTermsDays"], 45);
    let listed = office.json(&["approval", "list", "--all"]).exits(0).document();
    assert_eq!(listed["items"][0]["state"], "approved", "{listed}");
}

#[test]
fn a_card_says_what_will_change_and_waits_with_its_own_code() {
    let office = Office::served();
    let words = crate::support::change("ACC-0042", 45, "card");
    let waits = office.json(&[&words.each()[..], &["--wait"]].concat()).exits(7);
    let run = id_of(&waits.document());
    let (approval, _) = office.card(&run);
    let card = office.json(&["approval", "get", &approval]).exits(0).document();
    assert_eq!(card["operation"], "crm.update_contract");
    assert_eq!(card["on_behalf_of"], "person:ulla");
    assert_eq!(card["needs"][0], "1 × approver");
    let change = &card["changes"][0];
    assert_eq!((&change["field"], &change["after"]), (&"PaymentTermsDays".into(), &"45".into()));
    assert!(
        card["why"].as_array().unwrap().iter().any(|w| w["rule"] == "pack/customer-ops.contract")
    );
    let shown = office.run(&["approval", "get", &approval]).exits(0);
    assert!(shown.stdout.contains("PaymentTermsDays") && shown.stdout.contains("30"), "{shown:#?}");
}

#[test]
fn a_no_needs_a_reason_and_does_nothing() {
    let office = Office::served();
    let run = id_of(&office.submit_change("ACC-0007", 45, "denied"));
    let (approval, _) = office.card(&run);
    let bare = office.json_as("mira", &["approval", "deny", &approval, "--reason", " "]).exits(2);
    assert_eq!(bare.problem()["code"], "reason-needed");
    let denied = office.json_as("mira", &["approval", "deny", &approval, "--reason", "too long"]);
    let status = denied.document()["status"].as_str().unwrap().to_owned();
    assert!(["failed", "needs_person"].contains(&status.as_str()), "{denied:#?}");
    assert!(office.writes().is_empty());
}

/// C087: an edited call walks the whole gate again, its schema included; once it is made, its receipt shows what was
/// proposed and what took its place, beside the signed commitment to the latter.
#[test]
fn an_edit_is_a_new_proposal_that_asks_again() {
    let office = Office::served();
    let run = id_of(&office.submit_change("ACC-0007", 90, "edited"));
    let (approval, digest) = office.card(&run);
    let card = office.json(&["approval", "get", &approval]).exits(0).document();
    let mut args = card["args"].clone();
    args["terms"]["PaymentTermsDays"] = 40.into();
    let mut broken = card["args"].clone();
    broken["nonsense"] = true.into();
    let wrong = id_of(&office.submit_change("ACC-0006", 90, "broken"));
    let (other, its) = office.card(&wrong);
    let words = ["approval", "edit", &other, "--digest", &its, "--args", &broken.to_string()];
    office.json_as("mira", &words);
    let detail = office.json(&["run", "get", &wrong]).exits(0).document();
    assert!(detail["actions"].to_string().contains("rejected:schema"), "{detail:#}");
    assert!(office.writes().is_empty());
    let words = ["approval", "edit", &approval, "--digest", &digest, "--args", &args.to_string()];
    let edited = office.json_as("mira", &words).exits(7).document();
    assert_eq!(edited["status"], "asking", "{edited}");
    let (second, other) = office.card(&run);
    assert_ne!((&second, &other), (&approval, &digest));
    // The first card is closed, whatever digest one says.
    let late = office.json_as("mira", &["approval", "approve", &approval, "--digest", &other]);
    late.exits(5);
    let words = ["approval", "approve", &second, "--digest", &other];
    // Whoever edited has proposed it: in an office of several, somebody else agrees.
    let done = office.json_as("mira", &words);
    assert!([0, 4].contains(&done.code), "{done:#?}");
    if done.code == 0 {
        assert_eq!(office.contract("ACC-0007")["Terms"]["PaymentTermsDays"], 40);
        let listed = office.json(&["receipt", "list", &run]).exits(0).document();
        let shown: Vec<serde_json::Value> = listed["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| {
                let receipt = ["receipt", "get", line["id"].as_str().unwrap()];
                office.json(&receipt).exits(0).document()
            })
            .filter(|receipt| !receipt["edits"].as_array().unwrap().is_empty())
            .collect();
        let [receipt] = &shown[..] else { panic!("one receipt shows an edit: {shown:#?}") };
        let edit = &receipt["edits"][0];
        assert_eq!((&edit["before"], &edit["after"]), (&card["args"], &args), "{receipt:#}");
        assert_eq!(edit["by"], "person:mira");
        assert_eq!(receipt["statement"]["predicate"]["args"]["root"], edit["after_root"]);
        assert_ne!(edit["before_root"], edit["after_root"]);
    } else {
        assert!(office.writes().is_empty());
    }
}
