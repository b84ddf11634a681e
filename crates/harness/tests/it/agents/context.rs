//! Conversations that outgrow what a model reads, end to end.

use std::{fs, os::unix::fs::symlink};

use serde_json::{Value, json};

use super::{
    ACCOUNT, get,
    model::{Model, Says},
    office, submit, told,
};

fn usage(weeks: usize) -> (&'static str, Value) {
    ("usage_get_usage", json!({ "account": ACCOUNT, "weeks": weeks }))
}

fn read(weeks: usize) -> Says {
    Says::Calls(vec![
        usage(weeks),
        ("crm_list_contracts", json!({ "account": ACCOUNT })),
        ("crm_get_account", json!({ "account": ACCOUNT })),
    ])
}

/// C237: a model reads less than anybody said, and refuses what is longer: the conversation is told again with half of
/// it, the run goes on to its end, nothing that was read is lost (C235), and a replay comes to the same.
#[test]
fn a_model_that_reads_little_is_told_less() {
    let look = Says::Calls(vec![("look", json!({ "result": "r1" }))]);
    let first = [Says::Calls(vec![usage(26)])];
    let script = first.into_iter().chain((1..26).rev().map(read));
    let model = Model::reading(2, script.chain([look, Says::Text("It is in use.")]));
    let office = office(&model);
    let ran = office.json(&["run", "Read how ACC-0001 uses it"]).exits(0).document();
    assert_eq!(ran["output"], "It is in use.", "{ran:#}");
    let (refused, heard) = (model.too_long(), model.heard());
    assert!(!refused.is_empty(), "it never grew too long");
    let size = |request: &Value| request.to_string().len();
    for request in &refused {
        let shorter = |told: &&Value| size(told) < size(request) * 3 / 4;
        assert!(heard.iter().any(|told| shorter(&told)), "{}", size(request));
    }
    for request in &heard {
        let messages = request["messages"].as_array().unwrap();
        assert!(messages.iter().any(|m| m["content"].to_string().contains("ACC-0001 uses it")));
        let calls: Vec<&Value> = messages
            .iter()
            .flat_map(|message| message["tool_calls"].as_array().into_iter().flatten())
            .map(|call| &call["id"])
            .collect();
        let answered: Vec<&Value> =
            messages.iter().filter(|m| m["role"] == "tool").map(|m| &m["tool_call_id"]).collect();
        assert_eq!(calls, answered, "each call has its result");
    }
    // What was read first is whole again under the name that stands where it was cut.
    let first = told(&model, 2).remove(0);
    let seen = told(&model, heard.len());
    assert_eq!(*seen.last().unwrap(), first, "`look` shows it");
    let marked = |request: &Value| {
        let text = request.to_string();
        let is_named = text.contains("can be read again by name: `r1` to ");
        is_named || text.contains("bytes of `r1` follow, from ")
    };
    let last = heard.last().unwrap();
    assert!(marked(last), "its name stands where it was cut, or left out: {last:#}");

    let run = ran["run"]["id"].as_str().unwrap();
    let context = office.json(&["run", "context", run]).exits(0).document();
    let asked = context["calls"].as_array().unwrap();
    assert_eq!(asked.len(), heard.len() + refused.len(), "each prompt stands in the journal");
    let replay = office.json(&["run", "replay", run]).exits(0).document();
    assert_eq!(replay["identical"], true, "{replay:#}");
    assert_eq!(model.heard().len(), heard.len(), "a replay asks nobody");
}

/// C088: the files beside a skill are read one at a time, as the pack had them when the run began; a link is no file of
/// a pack.
#[test]
fn files_of_a_skill_are_read_one_at_a_time() {
    let load = |file: &'static str| {
        let file = json!({ "name": "renewal-mail", "file": file });
        Says::Calls(vec![("load_skill", file)])
    };
    let model = Model::start([
        Says::Calls(vec![("load_skill", json!({ "name": "renewal-mail" }))]),
        load("references/tone.md"),
        load("../../pack.yaml"),
        Says::Calls(vec![("ask_person", json!({ "question": "Which tone?" }))]),
    ]);
    let office = office(&model);
    let skill = office.path("packs/customer-ops/skills/renewal-mail");
    fs::create_dir_all(skill.join("references")).unwrap();
    fs::write(skill.join("references/tone.md"), "Warm, and never loud.").unwrap();
    let inputs = json!({ "account": ACCOUNT, "contract": "CTR-0001" });
    let run = submit(&office, "renewal_mail", &inputs);
    assert_eq!(get(&office, &run)["run"]["status"], "asking");
    let seen = told(&model, 4);
    assert!(seen[0].contains("\n- references/tone.md") && !seen[0].contains("Warm"), "{seen:#?}");
    assert_eq!(seen[1], "Warm, and never loud.");
    assert!(seen[2].contains("there is no such file in `renewal-mail`"), "{seen:#?}");
    // The run keeps to the pack that it began with.
    fs::write(skill.join("references/tone.md"), "Loud.").unwrap();
    assert_eq!(office.json(&["run", "replay", &run]).exits(0).document()["identical"], true);
    symlink("/etc/passwd", skill.join("references/passwd")).unwrap();
    let check = office.json(&["pack", "check", "packs/customer-ops"]);
    assert_ne!(check.code, 0, "{check:#?}");
    assert!(check.problem().to_string().contains("neither a file nor a folder"), "{check:#?}");
}
