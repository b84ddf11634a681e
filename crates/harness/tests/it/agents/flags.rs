//! What is said beside a task on the command line: how far it may go, with which pack, thinking with which model.

use std::fs;

use serde_json::{Value, json};

use super::{
    ACCOUNT, CLEARED,
    model::{Model, Says},
    office, tools,
};

const TASK: &str = "Read the usage of ACC-0001";

/// Reads that are all different: nothing else stops whoever makes them.
fn reads() -> impl Iterator<Item = Says> {
    let read = |weeks| {
        Says::Calls(vec![("usage_get_usage", json!({ "account": ACCOUNT, "weeks": weeks }))])
    };
    (1..=9).map(read)
}

/// C066, C105: each answer takes 110 tokens. A task goes as far as is said, and not a turn further.
#[test]
fn turns_and_tokens_stop_a_task_exactly_where_it_was_said() {
    for (flag, limit, asked, stopped) in [
        ("--turns", "1", 1, "max_iterations"),
        ("--turns", "3", 3, "max_iterations"),
        ("--budget", "220", 2, "budget"),
        ("--budget", "221", 3, "budget"),
    ] {
        let model = Model::start(reads());
        let office = office(&model);
        let ran = office.json(&["run", TASK, flag, limit]);
        let ran = ran.exits(8).document();
        let agent = &ran["agents"][0];
        assert_eq!(agent["stopped"], stopped, "{flag} {limit}: {ran:#}");
        assert_eq!(model.heard().len(), asked, "{flag} {limit}: {ran:#}");
        assert_eq!(agent["turns"], asked, "{flag} {limit}: {ran:#}");
    }
    // What is enough is enough: the third answer may be the last.
    let model = Model::start(reads().take(2).chain([Says::Text("It is steady.")]));
    let office = office(&model);
    let ran = office.json(&["run", TASK, "--turns", "3", "--budget", "330"]).exits(0).document();
    assert_eq!((&ran["output"], model.heard().len()), (&json!("It is steady."), 3), "{ran:#}");
    for nonsense in [["--turns", "-1"], ["--budget", "much"], ["--turns", "1.5"]] {
        let words = [&["run", TASK][..], &nonsense].concat();
        office.json(&words).exits(2).problem();
    }
    assert_eq!(model.heard().len(), 3);
}

/// The role that is named is asked, and no other.
#[test]
fn the_role_that_is_named_thinks() {
    let main = Model::start([Says::Text("Main here.")]);
    let small = Model::start([Says::Text("Small here.")]);
    let office = office(&main);
    let mut config = fs::read_to_string(office.config()).unwrap();
    let url = &small.url;
    config.push_str(&format!(
        "[providers.little]\napi = \"openai\"\nurl = \"{url}\"\nmodel = \"little-1\"\n\
         streaming = \"off\"\n{CLEARED}[models.small]\nproviders = [\"little\"]\n"
    ));
    fs::write(office.config(), config).unwrap();
    let said = office.json(&["run", TASK, "--model", "small"]).exits(0).document();
    assert_eq!(said["output"], "Small here.", "{said:#}");
    assert_eq!((main.heard().len(), small.heard().len()), (0, 1));
    assert_eq!(small.heard()[0]["model"], "little-1");
    let said = office.json(&["run", TASK]).exits(0).document();
    assert_eq!(said["output"], "Main here.", "{said:#}");
    assert_eq!((main.heard().len(), small.heard().len()), (1, 1));
    let run = said["run"]["id"].as_str().unwrap();
    let asked = |run: &str| -> Vec<Value> {
        let detail = super::get(&office, run);
        let actions = detail["actions"].as_array().unwrap().iter();
        actions.map(|action| action["operation"].clone()).collect()
    };
    assert_eq!(asked(run), ["model.main"]);
}

const MANIFEST: &str = "\
schema: harness.pack/v1
name: watch
version: 0.1.0
owner: platform
description: Says what time it is.
harness: \">=0.1\"
asks:
  operations: [clock.now, model.main]
  secrets: []
  egress: []
roles: []
constants: {}
";

const WATCHER: &str = "\
schema: harness.agent/v1
name: watcher
instructions: Say what time it is.
uses: [clock.now]
";

const POLICY: &str = "\
@id(\"watch.read\") @reason(\"It reads the clock.\")
permit (principal, action in Action::\"read\", resource);
";

/// Where several packs take work one is named, and the model is offered what that one has.
#[test]
fn the_pack_that_is_named_is_used() {
    let model = Model::start([
        Says::Calls(vec![
            ("clock_now", json!({})),
            ("crm_get_account", json!({ "account": ACCOUNT })),
        ]),
        Says::Text("It is late."),
        Says::Text("I have the CRM."),
    ]);
    let office = office(&model);
    let pack = office.path("packs/watch");
    for folder in ["agents", "connectors", "policies"] {
        fs::create_dir_all(pack.join(folder)).unwrap();
    }
    let clock = crate::support::root().join("packs/assistant/connectors/clock.yaml");
    fs::copy(clock, pack.join("connectors/clock.yaml")).unwrap();
    fs::write(pack.join("pack.yaml"), MANIFEST).unwrap();
    fs::write(pack.join("agents/watcher.yaml"), WATCHER).unwrap();
    fs::write(pack.join("policies/watch.cedar"), POLICY).unwrap();
    let both = "packs = [\"packs/customer-ops\", \"packs/watch\"]\n";
    office.reconfigure("packs = [\"packs/customer-ops\"]\n", both);

    let which = office.json(&["run", "What time is it?"]).exits(2).problem();
    assert_eq!(which["code"], "which-pack", "{which:#}");
    assert!(which["detail"].as_str().unwrap().contains("customer-ops, watch"), "{which:#}");
    office.json(&["run", "What time is it?", "--pack", "wotch"]).exits(3).problem();
    assert!(model.heard().is_empty());

    let said = office.json(&["run", "What time is it?", "--pack", "watch"]).exits(0).document();
    assert_eq!(said["output"], "It is late.", "{said:#}");
    assert_eq!(tools(&model.heard()[0])[..1], ["clock_now"]);
    let results = super::told(&model, 2);
    assert!(results[1].contains("there is no tool `crm_get_account`"), "{results:?}");
    assert!(office.world.effects().is_empty());
    office.json(&["run", "Who is it?", "--pack", "customer-ops"]).exits(0);
    let heard = model.heard();
    assert!(tools(&heard[2]).contains(&"crm_get_account"));
    assert!(!tools(&heard[2]).contains(&"clock_now"));
}
