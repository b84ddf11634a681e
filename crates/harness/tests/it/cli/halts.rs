//! The kill switch: C211.

use serde_json::json;

use crate::support::{Office, Serving, change, id_of};

#[test]
fn a_halt_stops_parked_runs_and_new_ones_and_lifting_it_lets_them_go_on() {
    let office = Office::open();
    let serving = Serving::start(&office);
    let parked = id_of(&office.submit_change("ACC-0007", 45, "parked"));
    let (approval, digest) = office.card(&parked);
    // Only an operator pulls the brake, and only an operator lets it go.
    let refused = office.json_as("mira", &["halt", "--reason", "x"]).exits(4).problem();
    assert_eq!(refused["code"], "not-an-operator");
    let words = ["halt", "--reason", "the CRM sends wrong mails"];
    let halted = office.json(&words).exits(0).document();
    let halt = halted["id"].as_str().unwrap().to_owned();
    assert_eq!((&halted["scope"], &halted["by"]), (&json!("everything"), &json!("person:ulla")));
    assert_eq!(office.json(&words).exits(0).document()["id"], halt.as_str(), "halted once");

    let approve = ["approval", "approve", &approval, "--digest", &digest];
    let approved = office.json_as("mira", &approve).exits(0).document();
    assert_eq!(approved["status"], "halted", "the answer is kept, nothing is called: {approved}");
    let refused = office.json(&change("ACC-0042", 45, "new").each()).exits(75).problem();
    assert_eq!(refused["code"], "halted");
    assert!(office.writes().is_empty());
    let diagnosis = office.json(&["doctor"]).exits(0).document();
    let checks = diagnosis["checks"].as_array().unwrap();
    let halts = checks.iter().find(|check| check["id"] == "halts").unwrap();
    assert_eq!(halts["result"], "warning", "{halts}");
    let listed = office.json(&["halt", "list"]).exits(0).document();
    assert_eq!((listed["items"].as_array().unwrap().len(), &listed["held"]), (1, &json!(1)));
    // It outlives the owner, and holds a command that owns the store itself.
    assert_eq!(serving.end("KILL"), None);
    let resumed = office.json(&["run", "resume", &parked]).exits(0).document();
    assert_eq!(resumed["status"], "halted");
    assert!(office.writes().is_empty());

    let lifted = office.json(&["halt", "lift", &halt, "--reason", "it was repaired"]).exits(0);
    assert_eq!(lifted.document()["lifted_because"], "it was repaired");
    office.json(&["halt", "lift", &halt]).exits(0);
    let done = office.json(&["run", "resume", &parked]).exits(0).document();
    assert_eq!(done["status"], "succeeded", "{done}");
    assert_eq!(office.contract("ACC-0007")["Terms"]["PaymentTermsDays"], 45);
    office.world.performed_nothing_twice();
    let replayed = office.json(&["run", "replay", &parked]).exits(0).document();
    assert_eq!(replayed["identical"], true, "{replayed}");
    let all = office.json(&["halt", "list", "--all"]).exits(0).document();
    assert_eq!(all["items"][0]["state"], "lifted");
    office.json(&["doctor"]).exits(0);
}

#[test]
fn a_halt_covers_what_it_names() {
    let office = Office::served();
    for (words, code) in [
        (vec!["halt", "--pack", "nowhere"], 3),
        (vec!["halt", "--connector", "nowhere"], 3),
        (vec!["halt", "--pack", "customer-ops@9.9.9"], 3),
        (vec!["halt", "--agent", "no agent"], 2),
        (vec!["halt", "--agent", "agent:typo"], 3),
        (vec!["halt", "--run", "run_00000000000000000000000000000000"], 3),
        (vec!["halt", "--pack", "customer-ops", "--run", "run_1"], 2),
        (vec!["halt", "lift", "hlt_00000000000000000000000000000000"], 3),
    ] {
        office.json(&words).exits(code).problem();
    }
    // What is refused for its name says which there are.
    let refused = office.json(&["halt", "--pack", "customer-ops@9.9.9"]).exits(3).problem();
    assert!(refused["next"].as_str().unwrap().contains("customer-ops@"), "{refused:#}");
    let refused = office.json(&["halt", "--agent", "agent:typo"]).exits(3).problem();
    for known in ["agent:contracts", "agent:email-drafter", "agent:customer-ops"] {
        assert!(refused["next"].as_str().unwrap().contains(known), "{refused:#}");
    }
    assert_eq!(office.json(&["halt", "list"]).exits(0).document()["items"], json!([]));
    let one = id_of(&office.submit_change("ACC-0007", 45, "one"));
    let two = id_of(&office.submit_change("ACC-0042", 45, "two"));
    office.json(&["halt", "--run", &one]).exits(0);
    assert_eq!(office.approve(&two).exits(0).document()["status"], "succeeded");
    assert_eq!(office.approve(&one).exits(0).document()["status"], "halted");
    // A halted run can be cancelled: that sends nothing.
    let cancelled = office.json(&["run", "cancel", &one, "--reason", "enough"]).exits(0).document();
    assert_eq!(cancelled["status"], "cancelled", "{cancelled}");
    // A rollback is calls, too.
    let halt = office.json(&["halt", "--connector", "crm"]).exits(0).document();
    let halt = halt["id"].as_str().unwrap();
    let back = office.json(&["run", "rollback", &two]);
    assert_eq!(back.exits(7).document()["result"], "waiting");
    assert_eq!(office.contract("ACC-0042")["Terms"]["PaymentTermsDays"], 45);
    office.json(&["halt", "lift", halt]).exits(0);
    let ended = office.json(&["run", "resume", &two]).exits(0).document();
    assert_eq!(ended["status"], "rolled_back", "{ended}");
    assert_ne!(office.contract("ACC-0042")["Terms"]["PaymentTermsDays"], 45);
}
