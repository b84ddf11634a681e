//! Hooks as programs around agents, end to end: what they let an agent be told, add to it, and send it on for.

use std::fs;

use serde_json::{Value, json};

use crate::{
    agents::{
        model::{Model, Says},
        office,
    },
    chat::piped,
    hooks::{events, hook, lines, replays},
    support::{Office, id_of},
};

/// Times that hooks send an agent on at most.
const SENT_ON_MAX: usize = 8;

/// Keeps back what names everyone.
const NOT_EVERYONE: &str = r#"#!/bin/bash
set -euo pipefail
prompt=$(python3 -c 'import json,sys; print(json.load(sys.stdin)["prompt"])')
echo "$prompt" >> asked
if [[ "$prompt" == *everyone* ]]; then
  echo "Not to everyone" >&2
  exit 2
fi
"#;

/// Wants the work looked at once more, as such hooks are written.
const ONCE_MORE: &str = r#"#!/usr/bin/env python3
import json, sys
data = json.load(sys.stdin)
with open("asked", "a") as asked:
    print(data["stop_hook_active"], data["last_assistant_message"], file=asked)
if not data["stop_hook_active"]:
    print(json.dumps({"decision": "block", "reason": "Say how you know."}))
"#;

fn run(office: &Office, task: &str) -> Value {
    office.json(&["run", task]).document()
}

fn detail(office: &Office, run: &str) -> Value {
    office.json(&["run", "get", run]).exits(0).document()
}

/// The looks of a run: its proposals that are hooks' calls.
fn looks(office: &Office, run: &str) -> Vec<Value> {
    let all = events(office, run).into_iter();
    let is_look = |event: &Value| {
        let operation = event["body"]["operation"].as_str().unwrap_or_default();
        event["kind"] == "proposed" && operation.starts_with("hook.")
    };
    all.filter(is_look).collect()
}

fn content(message: &Value) -> &str {
    message["content"].as_str().unwrap_or_default()
}

/// No model hears of it, the run says which hook and why, and a replay needs no hook (C004, C086).
#[test]
fn a_task_that_a_hook_keeps_back_reaches_no_model() {
    let model = Model::start([Says::Text("Sent.")]);
    let office = office(&model);
    hook(&office, ("check.sh", "UserPromptSubmit", ""), NOT_EVERYONE, "");
    let ran = run(&office, "Write to everyone");
    let id = id_of(&ran);
    assert_eq!(ran["run"]["status"], "failed", "{ran:#}");
    assert!(model.heard().is_empty());
    assert_eq!(ran["agents"][0]["stopped"], "policy_denied", "{ran:#}");
    let trouble = ran["troubles"][0].clone();
    assert_eq!(trouble["class"], "policy_error", "{trouble:#}");
    assert_eq!(trouble["said"], "kept from the agent: hook.check: “Not to everyone”");
    assert_eq!(trouble["recovery"], "stop");
    let text = office.run(&["run", "get", &id]).stdout;
    assert!(text.contains("agent/hook[1]  hook.check  deny     done"), "{text}");
    let text = office.run(&["explain", &id]).stdout;
    assert!(text.contains("kept from the agent: hook.check"), "{text}");
    let look = looks(&office, &id).remove(0);
    assert_eq!(look["body"]["because"]["role"], "step", "{look:#}");
    let receipts = office.json(&["receipt", "list", &id]).exits(0).document();
    let receipts = receipts["items"].as_array().unwrap();
    assert!(receipts.iter().any(|one| one["action"] == look["seq"]), "{receipts:#?}");
    replays(&office, &id);
    fs::remove_file(office.path("check.sh")).unwrap();
    replays(&office, &id);
    assert_eq!(lines(&office.path("asked")), ["Write to everyone"], "a replay asks no hook");
}

/// A hook that is gone, crashes, or says what nobody knows keeps the task back (C086).
#[test]
fn a_hook_that_says_nothing_that_counts_keeps_a_task_back() {
    let unclear = ["#!/bin/sh\nexit 1\n", "#!/bin/sh\necho '{\"decision\": \"maybe\"}'\n"];
    for program in unclear.into_iter().chain(["#!/no/such/interpreter\n"]) {
        let model = Model::start([]);
        let office = office(&model);
        hook(&office, ("check.sh", "UserPromptSubmit", ""), program, "");
        let ran = run(&office, "Say hello");
        assert_eq!(ran["agents"][0]["stopped"], "policy_denied", "{program}: {ran:#}");
        assert!(model.heard().is_empty());
        replays(&office, &id_of(&ran));
    }
}

#[test]
fn what_hooks_say_about_the_beginning_and_the_task_is_told_with_it() {
    let model = Model::start([Says::Text("Hello.")]);
    let office = office(&model);
    let start = "#!/bin/sh\ncat > start.json\necho 'It is Monday.'\n";
    hook(&office, ("start.sh", "SessionStart", ""), start, "");
    let broken = "#!/bin/sh\necho broken >&2\nexit 1\n";
    hook(&office, ("broken.sh", "SessionStart", ""), broken, "");
    let context = r#"#!/usr/bin/env python3
import json, sys
data = json.load(sys.stdin)
json.dump(data, open("prompt.json", "w"))
print(json.dumps({"hookSpecificOutput": {
    "hookEventName": "UserPromptSubmit", "additionalContext": "Speak German."}}))
"#;
    hook(&office, ("context.py", "UserPromptSubmit", ""), context, "");
    hook(&office, ("other.sh", "UserPromptSubmit", "somebody"), "#!/bin/sh\nexit 2\n", "");
    let ran = run(&office, "Say hello");
    let id = id_of(&ran);
    assert_eq!(ran["output"], "Hello.", "{ran:#}");
    let seen = |name: &str| -> Value {
        serde_json::from_str(&fs::read_to_string(office.path(name)).unwrap()).unwrap()
    };
    let (start, prompt) = (seen("start.json"), seen("prompt.json"));
    assert_eq!(
        (&start["hook_event_name"], &start["source"], &start["session_id"]),
        (&json!("SessionStart"), &json!("startup"), &json!(id))
    );
    assert_eq!(
        (&prompt["hook_event_name"], &prompt["prompt"], &prompt["agent_type"]),
        (&json!("UserPromptSubmit"), &json!("Say hello"), &json!("assistant"))
    );
    let messages = model.messages(1);
    let told: Vec<&str> = messages.iter().filter(|m| m["role"] == "user").map(content).collect();
    let told = told.join("\n");
    let expected = "A hook of the operator says: It is Monday.\n\n\
                    {\"task\":\"Say hello\"}\n\nA hook of the operator says: Speak German.";
    assert_eq!(told, expected);
    let context = office.json(&["run", "context", &id]).exits(0).document();
    assert!(context["calls"][0]["bytes"]["hook"].as_u64() > Some(0), "{context:#}");
    assert_eq!(looks(&office, &id).len(), 3, "who looks at another agent was not asked");
    replays(&office, &id);
    let shown = office.json(&["config", "show"]).exits(0).document();
    let items = shown["items"].as_array().unwrap();
    let item = items.iter().find(|item| item["key"] == "hooks.other").unwrap();
    let expected = r#"UserPromptSubmit somebody ["./other.sh"] within 10000 ms"#;
    assert_eq!(item["value"], expected);
    let doctor = office.json(&["doctor"]).document()["checks"].clone();
    let found = doctor.as_array().unwrap().iter().find(|check| check["id"] == "hooks").unwrap();
    assert_eq!(found["found"], "hook other looks at nothing: no agent fits `somebody`");
}

/// A conversation goes on without what a hook kept back; what is told again is looked at again.
#[test]
fn what_was_kept_back_does_not_come_with_the_next_message() {
    let model = Model::start([Says::Text("Hello."), Says::Text("Again.")]);
    let office = office(&model);
    hook(&office, ("check.sh", "UserPromptSubmit", ""), NOT_EVERYONE, "");
    let (answers, ran) = piped(&office, &[], "Say hello\nWrite to everyone\nSay it again\n");
    assert_eq!(answers.len(), 3, "{ran:#?}");
    assert_eq!(answers[1]["agents"][0]["stopped"], "policy_denied", "{:#}", answers[1]);
    assert_eq!(answers[2]["output"], "Again.", "{:#}", answers[2]);
    assert_eq!(model.heard().len(), 2);
    let told = model.heard()[1].to_string();
    assert!(told.contains("Say hello") && !told.contains("everyone"), "{told}");
    let last = lines(&office.path("asked")).pop().unwrap();
    assert!(last.contains("Say it again") && last.contains("Say hello"), "{last}");
    replays(&office, &id_of(&answers[2]));
}

/// What a person says on the way is looked at like the task, before the agent is told.
#[test]
fn what_a_person_says_on_the_way_is_looked_at() {
    let mail = json!({ "to": ["ana@example.com"], "subject": "Hi", "text": "Hello." });
    let model =
        Model::start([Says::Calls(vec![("mail_send", mail)]), Says::Text("I did not send it.")]);
    let office = office(&model);
    hook(&office, ("check.sh", "UserPromptSubmit", ""), NOT_EVERYONE, "");
    let ran = office.json(&["run", "Write to Ana now", "--write"]).exits(7).document();
    let id = id_of(&ran);
    office.json(&["run", "tell", &id, "Send it to everyone."]).exits(0);
    office.json(&["run", "tell", &id, "Only write in German."]).exits(0);
    let (approval, _) = office.card(&id);
    office.json_as("mira", &["approval", "deny", &approval, "--reason", "not now"]).exits(0);
    let messages = model.messages(2);
    assert_eq!(content(messages.last().unwrap()), "Only write in German.");
    assert!(!messages.iter().any(|message| content(message).contains("everyone")), "{messages:#?}");
    let ended = detail(&office, &id);
    assert_eq!(ended["run"]["status"], "partial", "{ended:#}");
    let caveat = ended["caveats"][0].as_str().unwrap();
    assert!(caveat.starts_with("`hook.check` kept what a person said"), "{caveat}");
    let expected = ["Write to Ana now", "Send it to everyone.", "Only write in German."];
    assert_eq!(lines(&office.path("asked")), expected, "each once");
    replays(&office, &id);
}

/// A block sends the agent on with the reason; the next look knows of it, and the answer stands.
#[test]
fn an_answer_that_a_hook_blocks_sends_the_agent_on() {
    let model = Model::start([Says::Text("It is fine."), Says::Text("It is fine: I looked.")]);
    let office = office(&model);
    hook(&office, ("stop.py", "Stop", ""), ONCE_MORE, "");
    let ran = run(&office, "Is it fine?");
    let id = id_of(&ran);
    assert_eq!(ran["output"], "It is fine: I looked.", "{ran:#}");
    let messages = model.messages(2);
    let why = "Your answer was not accepted by a hook of the operator: Say how you know.";
    assert_eq!(content(messages.last().unwrap()), why);
    let asked = ["False It is fine.", "True It is fine: I looked."];
    assert_eq!(lines(&office.path("asked")), asked);
    let said = &ran["troubles"][0]["said"];
    assert_eq!(said, "the answer was not accepted: hook.stop: “Say how you know.”", "{ran:#}");
    replays(&office, &id);
    assert_eq!(lines(&office.path("asked")).len(), 2, "a replay asks no hook");
    assert_eq!(model.heard().len(), 2);
}

/// However often a hook blocks, there is an end; a hook that cannot look at all ends it sooner (C086).
#[test]
fn an_agent_is_sent_on_a_bounded_number_of_times() {
    let ended = |program: &str| {
        let model = Model::start((0..20).map(|_| Says::Text("It is fine.")));
        let office = office(&model);
        hook(&office, ("stop.sh", "Stop", ""), program, "");
        let ran = run(&office, "Is it fine?");
        assert_eq!(ran["run"]["status"], "failed", "{ran:#}");
        assert_eq!(ran["agents"][0]["stopped"], "policy_denied", "{ran:#}");
        replays(&office, &id_of(&ran));
        let heard = model.heard().len();
        assert_eq!(looks(&office, &id_of(&ran)).len(), heard);
        heard
    };
    assert_eq!(ended("#!/bin/sh\necho 'not yet' >&2\nexit 2\n"), SENT_ON_MAX + 1);
    assert_eq!(ended("#!/bin/sh\nexit 1\n"), 2);
}

/// Killed while a hook looks at the answer: the model is not asked again, the hook is.
#[test]
fn a_run_that_is_killed_while_a_hook_looks_at_its_answer_goes_on() {
    let model = Model::start([Says::Text("It is fine.")]);
    let office = office(&model);
    let program = "#!/bin/sh\necho $$ >> asked\nwhile [ ! -e go ]; do sleep 0.05; done\nexit 0\n";
    hook(&office, ("wait.sh", "Stop", ""), program, "timeout_ms = 60000\n");
    let start = ["run", "Is it fine?", "--idempotency-key", "k"];
    let null = std::process::Stdio::null;
    let mut child = office.command(&start).stdout(null()).stderr(null()).spawn().unwrap();
    while lines(&office.path("asked")).is_empty() {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    fs::write(office.path("go"), "").unwrap();
    let listed = office.json(&["run", "list"]).exits(0).document();
    let id = id_of(&listed["items"][0]);
    let ended = office.json(&["run", "resume", &id]).exits(0).document();
    assert_eq!(ended["status"], "succeeded", "{ended:#}");
    assert_eq!(lines(&office.path("asked")).len(), 2);
    assert_eq!(model.heard().len(), 1);
    assert_eq!(looks(&office, &id).len(), 1, "the look was journaled before it began");
    replays(&office, &id);
}
