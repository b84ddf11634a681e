//! Hooks as programs, end to end: real processes around real calls.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Stdio};

use serde_json::{Value, json};

use crate::{
    agents::{
        model::{Model, Says},
        office,
    },
    support::{Office, Ran, change, id_of},
};

const ACCOUNT: &str = "ACC-0001";
/// Most looks at something that must come.
const LOOKS_MAX: usize = 2_000_000;

/// As such hooks are written: `jq` where it is there, exit code 2 and a reason.
const BLOCK: &str = r#"#!/bin/bash
set -euo pipefail
input=$(cat)
tool=$(echo "$input" | python3 -c 'import json,sys; print(json.load(sys.stdin)["tool_name"])')
echo "Blocked: $tool is not for Mondays" >&2
exit 2
"#;

/// As such hooks are written in Python: a decision as JSON.
fn decide(decision: &str) -> String {
    format!(
        r#"#!/usr/bin/env python3
import json, sys
data = json.load(sys.stdin)
print(json.dumps({{"hookSpecificOutput": {{
    "hookEventName": data["hook_event_name"],
    "permissionDecision": "{decision}",
    "permissionDecisionReason": "looked at " + ", ".join(sorted(data["tool_input"])),
}}}}))
"#
    )
}

/// Puts a program there and has it look.
pub(crate) fn hook(
    office: &Office,
    (name, on, matches): (&str, &str, &str),
    program: &str,
    more: &str,
) {
    let path = office.path(name);
    fs::write(&path, program).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let mut text = fs::read_to_string(office.config()).unwrap();
    text.push_str(&format!(
        "[[hooks]]\non = \"{on}\"\nmatches = \"{matches}\"\nrun = [\"./{name}\"]\n{more}"
    ));
    fs::write(office.config(), text).unwrap();
}

fn read_account(office: &Office, key: &str) -> Ran {
    let inputs = json!({ "account": ACCOUNT }).to_string();
    let submit = ["intent", "submit", "churn_risk_read", "--json", &inputs];
    office.json(&[&submit[..], &["--idempotency-key", key]].concat())
}

pub(crate) fn events(office: &Office, run: &str) -> Vec<Value> {
    let events = office.json(&["run", "events", run]).exits(0).document();
    events["items"].as_array().unwrap().clone()
}

/// Codes of what was rejected.
fn rejected(office: &Office, run: &str) -> Vec<String> {
    let all = events(office, run);
    let rejected = all.iter().filter(|event| event["kind"] == "rejected");
    rejected.map(|event| event["body"]["code"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
pub(crate) fn replays(office: &Office, run: &str) {
    let replay = office.json(&["run", "replay", run]).exits(0).document();
    assert_eq!(replay["identical"], true, "{replay:#}");
}

#[test]
fn a_hook_denies_a_write_of_a_playbook_and_a_replay_needs_no_hook() {
    let office = Office::open();
    hook(&office, ("block.sh", "PreToolUse", "crm.update_.*"), BLOCK, "");
    let ended = office.json(&change(ACCOUNT, 45, "k").each());
    let run = id_of(&ended.document());
    assert!(office.writes().is_empty());
    assert_eq!(rejected(&office, &run), ["hook.block"]);
    let proposed: Vec<Value> = events(&office, &run)
        .into_iter()
        .filter(|event| event["body"]["operation"] == "hook.block")
        .collect();
    assert_eq!(proposed.len(), 1, "one call was looked at, the reads were not");
    assert_eq!(proposed[0]["body"]["because"]["purpose"], "gate");
    let troubles = office.json(&["run", "get", &run]).exits(0).document()["troubles"].clone();
    let said = "refused before anything left: hook.block: \
                “Blocked: crm.update_contract is not for Mondays”";
    assert_eq!(troubles[0]["said"], said, "{troubles:#}");
    let receipts = office.json(&["receipt", "list", &run]).exits(0).document();
    let receipts = receipts["items"].as_array().unwrap();
    assert!(receipts.iter().any(|one| one["action"] == proposed[0]["seq"]), "{receipts:#?}");
    replays(&office, &run);
    fs::remove_file(office.path("block.sh")).unwrap();
    replays(&office, &run);
    let text = fs::read_to_string(office.config()).unwrap();
    fs::write(office.config(), text.split("[[hooks]]").next().unwrap()).unwrap();
    replays(&office, &run);
}

#[test]
fn a_hook_that_is_gone_denies() {
    let office = Office::open();
    hook(&office, ("block.sh", "PreToolUse", "crm.get_account"), BLOCK, "");
    let found = |office: &Office| {
        let checks = office.json(&["doctor"]).document()["checks"].clone();
        let checks = checks.as_array().unwrap().clone();
        checks.into_iter().find(|check| check["id"] == "hooks").unwrap()
    };
    assert_eq!(found(&office)["result"], "ok");
    fs::remove_file(office.path("block.sh")).unwrap();
    let gone = found(&office);
    assert_eq!(gone["found"], "hook block: ./block.sh cannot be run", "{gone}");
    let run = id_of(&read_account(&office, "k").document());
    assert!(rejected(&office, &run).contains(&"hook.block".to_owned()));
    replays(&office, &run);
}

#[test]
fn a_hook_denies_an_agents_call_and_the_agent_is_told_why() {
    let mail = json!({ "to": ["ana@example.com"], "subject": "Hi", "text": "Hello." });
    let model =
        Model::start([Says::Calls(vec![("mail_send", mail)]), Says::Text("I did not send it.")]);
    let office = office(&model);
    hook(&office, ("block.sh", "PreToolUse", "mail.send"), BLOCK, "");
    let ran = office.json(&["run", "Write to Ana now", "--write"]).document();
    let run = id_of(&ran);
    assert!(office.world.mails().is_empty());
    assert_eq!(rejected(&office, &run), ["hook.block"]);
    let messages = model.messages(2);
    let told = |role: &str| {
        let last = messages.iter().rfind(|message| message["role"] == role).unwrap();
        last["content"].as_str().unwrap().to_owned()
    };
    assert_eq!(told("tool"), "denied by policy; it was not called (hook.block)");
    let said = "A hook of the operator says about the call of `mail_send`: \
                Blocked: mail.send is not for Mondays";
    assert_eq!(told("user"), said);
    replays(&office, &run);
}

#[test]
fn what_a_hook_says_about_a_result_is_told_to_the_agent() {
    let account = json!({ "account": ACCOUNT });
    let model =
        Model::start([Says::Calls(vec![("crm_get_account", account)]), Says::Text("Noted.")]);
    let office = office(&model);
    let program = r#"#!/usr/bin/env python3
import json, sys
data = json.load(sys.stdin)
assert data["tool_response"]
print(json.dumps({"hookSpecificOutput": {
    "hookEventName": "PostToolUse", "additionalContext": "renewals need two signatures"}}))
"#;
    hook(&office, ("after.py", "PostToolUse", "crm.*"), program, "");
    let ran = office.json(&["run", "Look ACC-0001 up"]).exits(0).document();
    let messages = model.messages(2);
    let last = messages.last().unwrap()["content"].as_str().unwrap();
    assert!(last.ends_with("`crm_get_account`: renewals need two signatures"), "{last}");
    replays(&office, &id_of(&ran));
}

#[test]
fn a_hook_that_asks_leads_to_an_approval_whose_card_says_why() {
    let office = Office::open();
    hook(&office, ("ask.py", "PreToolUse", "crm.get_account"), &decide("ask"), "");
    let asked = read_account(&office, "k").document();
    let run = id_of(&asked);
    assert_eq!(asked["run"]["status"], "asking", "{asked:#}");
    let (approval, _) = office.card(&run);
    let card = office.json(&["approval", "get", &approval]).exits(0).document();
    assert_eq!(card["why"][0]["rule"], "operator/hook.ask", "{card:#}");
    assert!(card["why"][0]["reason"].as_str().unwrap().contains("“looked at account”"), "{card:#}");
    // What the run was opened with stays with it, whatever the configuration says now.
    let text = fs::read_to_string(office.config()).unwrap();
    fs::write(office.config(), text.split("[[hooks]]").next().unwrap()).unwrap();
    let ended = office.approve(&run).exits(0).document();
    assert_eq!(ended["status"], "succeeded", "{ended:#}");
    replays(&office, &run);
}

/// A run keeps its hooks; one that the configuration does not name any more is not run, and that is no yes.
#[test]
fn a_hook_taken_out_of_the_configuration_denies_in_runs_that_have_it() {
    let office = Office::open();
    hook(&office, ("ask.py", "PreToolUse", "crm.get_account"), &decide("ask"), "");
    hook(&office, ("gone.sh", "PreToolUse", "crm.update_.*"), "#!/bin/sh\ntouch ran\n", "");
    let asked = office.json(&change(ACCOUNT, 45, "k").each()).document();
    let run = id_of(&asked);
    assert_eq!(asked["run"]["status"], "asking", "{asked:#}");
    let text = fs::read_to_string(office.config()).unwrap();
    fs::write(office.config(), text.split("[[hooks]]").next().unwrap()).unwrap();
    office.approve(&run);
    assert!(office.writes().is_empty());
    assert!(!office.path("ran").exists());
    assert_eq!(rejected(&office, &run), ["hook.gone"]);
    replays(&office, &run);
}

#[test]
fn a_hooks_yes_loosens_nothing() {
    let office = Office::open();
    hook(&office, ("yes.py", "PreToolUse", "*"), &decide("allow"), "");
    // Policy asks about this change, whatever a hook says.
    let run = id_of(&office.submit_change(ACCOUNT, 45, "asks"));
    assert!(office.writes().is_empty());
    let approved = office.approve(&run).exits(0).document();
    assert_eq!(approved["status"], "succeeded", "{approved:#}");

    let policy = fs::read_to_string(office.path("operator.cedar")).unwrap();
    let forbid = "@id(\"no.change\") @reason(\"Not now.\")\n\
                  forbid (principal, action == Action::\"crm.update_contract\", resource);\n";
    fs::write(office.path("operator.cedar"), policy + forbid).unwrap();
    let denied = office.json(&change("ACC-0002", 45, "denied").each()).document();
    assert!(rejected(&office, &id_of(&denied)).contains(&"no.change".to_owned()));
    assert_eq!(office.writes().len(), 1, "the approved one");
}

fn is_alive(pid: &str) -> bool {
    // One that has ended and is not fetched yet is gone, too.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[track_caller]
fn until(what: &str, mut look: impl FnMut() -> bool) {
    for _ in 0..LOOKS_MAX {
        if look() {
            return;
        }
        std::thread::yield_now();
    }
    panic!("{what}");
}

pub(crate) fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn a_hook_that_takes_too_long_denies_and_is_ended_with_all_it_started() {
    let office = Office::open();
    let program = "#!/bin/sh\nsleep 600 &\necho $! >> pids\necho $$ >> pids\nwait\n";
    let at = ("slow.sh", "PreToolUse", "crm.get_account");
    hook(&office, at, program, "timeout_ms = 2000\n");
    let run = id_of(&read_account(&office, "k").document());
    assert!(rejected(&office, &run).contains(&"hook.slow".to_owned()));
    let pids = lines(&office.path("pids"));
    assert!(pids.len() >= 2, "{pids:?}");
    until("it goes on", || !pids.iter().any(|pid| is_alive(pid)));
    replays(&office, &run);
}

#[test]
fn a_run_that_is_killed_while_a_hook_looks_goes_on_and_asks_it_again() {
    let office = Office::open();
    let program = "#!/bin/sh\necho $$ >> asked\nwhile [ ! -e go ]; do sleep 0.05; done\nexit 0\n";
    let at = ("wait.sh", "PreToolUse", "crm.get_account");
    hook(&office, at, program, "timeout_ms = 60000\n");
    let inputs = json!({ "account": ACCOUNT }).to_string();
    let submit = ["intent", "submit", "churn_risk_read", "--json", &inputs];
    let mut child =
        office.command(&submit).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("no hook was asked", || lines(&office.path("asked")).len() == 1);
    child.kill().unwrap();
    child.wait().unwrap();
    fs::write(office.path("go"), "").unwrap();
    let listed = office.json(&["run", "list"]).exits(0).document();
    let run = id_of(&listed["items"][0]);
    let looks = events(&office, &run);
    let looks = looks.iter().filter(|event| event["body"]["operation"] == "hook.wait").count();
    assert_eq!(looks, 1, "the look was journaled before it began");
    let ended = office.json(&["run", "resume", &run]).exits(0).document();
    assert_eq!(ended["status"], "succeeded", "{ended:#}");
    assert_eq!(lines(&office.path("asked")).len(), 2, "nobody wrote its first answer down");
    replays(&office, &run);
}

#[test]
fn hooks_are_shown_and_checked_as_the_configuration_is_read() {
    let office = Office::open();
    hook(&office, ("block.sh", "PreToolUse", "crm.update_.*"), BLOCK, "env = [\"LANG\"]\n");
    let shown = office.json(&["config", "show"]).exits(0).document();
    let items = shown["items"].as_array().unwrap();
    let item = items.iter().find(|item| item["key"] == "hooks.block").unwrap();
    let expected = r#"PreToolUse crm.update_.* ["./block.sh"] within 10000 ms"#;
    assert_eq!(item["value"], expected);
    let sound = fs::read_to_string(office.config()).unwrap();
    let of_agent =
        sound.replace("PreToolUse", "Stop").replace("env =", "shown_as = \"Bash\"\nenv =");
    fs::write(office.config(), of_agent).unwrap();
    let problem = office.json(&["config", "show"]).problem();
    assert!(problem["detail"].as_str().unwrap().contains("name of a tool"), "{problem}");
    for (from, to, says) in [
        ("\"PreToolUse\"", "\"PreCompact\"", "UserPromptSubmit"),
        ("[\"./block.sh\"]", "[]", "names no program"),
        ("\"crm.update_.*\"", "\"(\"", "no regular expression"),
        ("[\"LANG\"]", "[\"CRM_TOKEN\"]", "secret"),
        ("[\"LANG\"]", "[\"A=B\"]", "no name of a variable"),
        ("env = [\"LANG\"]", "timeout_ms = 0", "timeout_ms"),
        ("env = [\"LANG\"]", "name = \"My hook\"", "small letters"),
        ("env = [\"LANG\"]", "environment = []", "unknown field"),
    ] {
        assert!(sound.contains(from), "{from}");
        let text =
            sound.replace(from, to).replace("[secrets]\n", "[secrets]\nt = \"env:CRM_TOKEN\"\n");
        fs::write(office.config(), text).unwrap();
        let problem = office.json(&["config", "show"]).problem();
        assert_eq!(problem["code"], "config-invalid", "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{to}: {problem}");
    }
    let twice = format!("{sound}[[hooks]]\non = \"PreToolUse\"\nrun = [\"/opt/block.sh\"]\n");
    fs::write(office.config(), twice).unwrap();
    let problem = office.json(&["config", "show"]).problem();
    assert!(problem["detail"].as_str().unwrap().contains("have this name"), "{problem}");
}
