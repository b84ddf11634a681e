//! Programs as they are written for Claude Code, run unmodified.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use kernel::{exception::Class, hook::Moment, operation::Effect, port::Outcome};
use serde_json::{Value, json};

use super::{CONTEXT_MAX_CHARS, STDOUT_MAX_BYTES};
use crate::{
    System,
    call::Call,
    testing::{DISPATCH_BY, Trial},
};

/// Most looks at something that must come.
const LOOKS_MAX: usize = 2_000_000;

/// A folder with one program in it.
struct Program {
    folder: tempfile::TempDir,
}

impl Program {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hook");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn sh(body: &str) -> Self {
        Self::new(&format!("#!/bin/sh\n{body}\n"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn made(&self, on: Moment) -> Trial {
        let binding =
            json!({"kind": "hook", "on": on, "run": ["./hook"], "in": self.folder.path()});
        let unused = System::Http {
            url: "http://127.0.0.1:9/".to_owned(),
            rate: None,
            redact: crate::redact::Personal::default(),
        };
        let mut trial = Trial::read(unused, binding).args(json!({
            "operation": "crm.update_account",
            "args": {"id": "A-7", "command": "rm -rf /"},
            "action": 4,
            "output": {"updated": true},
            "failed": "unavailable",
            "agent": "analyst",
            "prompt": "Look into Acme",
            "answer": "Done.",
            "active": true,
        }));
        trial.operation.id = "hook.check".parse().unwrap();
        trial
    }

    async fn trial(&self, on: Moment, change: impl FnOnce(&mut Trial)) -> Outcome {
        let mut trial = self.made(on);
        change(&mut trial);
        trial.hooks.push(trial.operation.clone());
        trial.run().await
    }

    /// What it says before a call.
    async fn gate(&self) -> Value {
        self.says(Moment::Before).await
    }

    async fn says(&self, on: Moment) -> Value {
        (*self.trial(on, |_| {}).await.unwrap().output).clone()
    }

    /// Why what it says does not count.
    async fn fails(&self, on: Moment) -> String {
        let failure = self.trial(on, |_| {}).await.unwrap_err();
        assert_eq!(failure.class, Class::Unavailable);
        failure.message
    }
}

/// Waits until a file holds something, and reads it.
async fn appears(path: &Path) -> String {
    for _ in 0..LOOKS_MAX {
        match fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ => tokio::task::yield_now().await,
        }
    }
    panic!("{} never came", path.display());
}

fn is_alive(pid: &str) -> bool {
    // One that has ended and is not fetched yet is gone, too.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[tokio::test]
async fn a_program_reads_the_contract_on_its_standard_input() {
    let program = Program::sh("cat > seen.json");
    assert_eq!(program.gate().await, json!({"verdict": "pass"}));
    let text = fs::read_to_string(program.path("seen.json")).unwrap();
    let seen: Value = serde_json::from_str(&text).unwrap();
    let id = seen["session_id"].as_str().unwrap();
    assert!(id.starts_with("run_"), "{id}");
    let expected = json!({
        "session_id": id,
        "transcript_path": "",
        "cwd": program.folder.path(),
        "permission_mode": "default",
        "hook_event_name": "PreToolUse",
        "tool_name": "crm.update_account",
        "tool_input": {"id": "A-7", "command": "rm -rf /"},
        "tool_use_id": format!("{id}-4"),
    });
    assert_eq!(seen, expected);
    for (on, name, key, value) in [
        (Moment::After, "PostToolUse", "tool_response", json!({"updated": true})),
        (Moment::Failure, "PostToolUseFailure", "error", json!("unavailable")),
    ] {
        program.says(on).await;
        let text = fs::read_to_string(program.path("seen.json")).unwrap();
        let seen: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&seen["hook_event_name"], &seen[key]), (&json!(name), &value));
    }
}

/// At the moments of an agent it is shown what is about them, and nothing about a tool.
#[tokio::test]
async fn a_program_reads_what_an_agent_is_told_and_what_it_answers() {
    let program = Program::sh("cat > seen.json");
    for (on, name, more) in [
        (Moment::Start, "SessionStart", json!({"source": "startup"})),
        (Moment::Prompt, "UserPromptSubmit", json!({"prompt": "Look into Acme"})),
        (
            Moment::Stop,
            "Stop",
            json!({"stop_hook_active": true, "last_assistant_message": "Done."}),
        ),
    ] {
        assert_eq!(program.says(on).await, json!({"verdict": "pass"}));
        let text = fs::read_to_string(program.path("seen.json")).unwrap();
        let seen: Value = serde_json::from_str(&text).unwrap();
        let mut expected = json!({
            "session_id": seen["session_id"],
            "transcript_path": "",
            "cwd": program.folder.path(),
            "permission_mode": "default",
            "hook_event_name": name,
            "agent_type": "analyst",
        });
        expected.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(seen, expected);
    }
}

/// As the contract has it, plain text is context there; and what is no clear answer keeps a prompt back (C086).
#[tokio::test]
async fn what_is_said_about_a_prompt_is_context_or_a_no() {
    let say = async |body: &str| Program::sh(body).says(Moment::Prompt).await;
    let told = json!({"verdict": "pass", "told": "it is Monday"});
    assert_eq!(say("echo it is Monday").await, told);
    assert_eq!(say("echo '[1]'").await["told"], "[1]");
    let own = r#"echo '{"hookSpecificOutput": {"additionalContext": "it is Monday"}}'"#;
    assert_eq!(say(own).await, told);
    let much = say("yes x | head -c 40000").await;
    assert_eq!(much["told"].as_str().unwrap().chars().count(), CONTEXT_MAX_CHARS);
    let no = json!({"verdict": "deny", "reason": "no names", "told": "no names"});
    assert_eq!(say(r#"echo '{"decision": "block", "reason": "no names"}'"#).await, no);
    assert_eq!(say(r#"echo '{"continue": false, "stopReason": "no names"}'"#).await, no);
    assert_eq!(say("echo context; echo 'no names' >&2; exit 2").await, no);
    let ask = r#"echo '{"hookSpecificOutput": {"permissionDecision": "ask"}}'"#;
    assert_eq!(say(ask).await, json!({"verdict": "deny"}), "nobody is asked about a prompt");
    for body in [
        "exit 1",
        "kill -9 $$",
        "echo '{\"decision\": '",
        "echo '{\"decision\": \"yes\"}'",
        "echo '{\"async\": true}'",
        "printf '\\377'",
        "exec ./missing",
    ] {
        assert!(!Program::sh(body).fails(Moment::Prompt).await.is_empty(), "{body}");
    }
}

#[tokio::test]
async fn what_is_said_at_the_beginning_is_told_and_says_no_to_nothing() {
    let say = async |body: &str| Program::sh(body).says(Moment::Start).await;
    let told = json!({"verdict": "pass", "told": "it is Monday"});
    assert_eq!(say("echo it is Monday").await, told);
    let own = r#"{"hookSpecificOutput": {"additionalContext": "it is Monday"}}"#;
    assert_eq!(say(&format!("echo '{own}'")).await, told);
    let nothing = json!({"verdict": "pass"});
    for body in [
        "echo no >&2; exit 2",
        r#"echo '{"decision": "block", "reason": "no"}'"#,
        r#"echo '{"continue": false}'"#,
        "echo '{\"half\": '",
    ] {
        assert_eq!(say(body).await, nothing, "{body}");
    }
    assert!(Program::sh("exit 1").fails(Moment::Start).await.contains("exit code 1"));
}

/// A block and exit code 2 send an agent on; text is no answer, and a wish to end is none to go on (C086).
#[tokio::test]
async fn what_is_said_about_an_answer_sends_on_or_lets_it_be() {
    let say = async |body: &str| Program::sh(body).says(Moment::Stop).await;
    let no = json!({"verdict": "deny", "reason": "run the tests", "told": "run the tests"});
    assert_eq!(say(r#"echo '{"decision": "block", "reason": "run the tests"}'"#).await, no);
    assert_eq!(say("echo 'run the tests' >&2; exit 2").await, no);
    let both = r#"echo '{"continue": false, "decision": "block", "reason": "run the tests"}'"#;
    assert_eq!(say(both).await, no, "the stricter word counts");
    for body in ["exit 0", "echo '{}'", r#"echo '{"continue": false, "stopReason": "enough"}'"#] {
        assert_eq!(say(body).await, json!({"verdict": "pass"}), "{body}");
    }
    for body in ["echo fine", "exit 1", r#"echo '{"decision": "perhaps"}'"#] {
        assert!(!Program::sh(body).fails(Moment::Stop).await.is_empty(), "{body}");
    }
}

#[tokio::test]
async fn exit_codes_mean_what_the_contract_says_and_the_rest_is_no_answer() {
    let no = Program::sh("echo 'not on Mondays' >&2; exit 2").gate().await;
    let why = "not on Mondays";
    assert_eq!(no, json!({"verdict": "deny", "reason": why, "told": why}));
    assert_eq!(Program::sh("exit 0").gate().await, json!({"verdict": "pass"}));
    assert!(Program::sh("echo oops >&2; exit 1").fails(Moment::Before).await.contains("oops"));
    assert!(Program::sh("kill -9 $$").fails(Moment::Before).await.contains("signal"));
    let silent = Program::sh("exec 0<&-; exit 0");
    assert_eq!(silent.gate().await, json!({"verdict": "pass"}), "nobody has to listen");
}

#[tokio::test]
async fn what_is_said_before_a_call_counts_by_its_strictest_word() {
    let say = async |said: Value| Program::sh(&format!("cat <<'E'\n{said}\nE")).gate().await;
    let own = |own: Value| json!({"hookSpecificOutput": own});
    let deny = own(json!({"hookEventName": "PreToolUse", "permissionDecision": "deny",
        "permissionDecisionReason": "no"}));
    assert_eq!(say(deny).await, json!({"verdict": "deny", "reason": "no", "told": "no"}));
    let ask = own(json!({"permissionDecision": "ask", "permissionDecisionReason": "large"}));
    assert_eq!(say(ask).await, json!({"verdict": "ask", "reason": "large"}));
    let allow = own(json!({"permissionDecision": "allow", "permissionDecisionReason": "fine"}));
    assert_eq!(say(allow).await["verdict"], "pass", "there is no yes");
    assert_eq!(say(json!({"decision": "approve"})).await["verdict"], "pass");
    let block = say(json!({"decision": "block", "reason": "old form"})).await;
    assert_eq!((&block["verdict"], &block["told"]), (&json!("deny"), &json!("old form")));
    let stop = say(json!({"continue": false, "stopReason": "enough"})).await;
    assert_eq!((&stop["verdict"], &stop["told"]), (&json!("deny"), &json!("enough")));
    assert_eq!(say(own(json!({"permissionDecision": "defer"}))).await["verdict"], "ask");
    let context = own(json!({"additionalContext": "it is Monday"}));
    assert_eq!(say(context).await, json!({"verdict": "pass", "told": "it is Monday"}));
    let both = json!({"decision": "block", "hookSpecificOutput": {"permissionDecision": "allow"}});
    assert_eq!(say(both).await["verdict"], "deny");
}

#[tokio::test]
async fn another_input_is_never_put_in_silently() {
    let said = json!({"hookSpecificOutput": {
        "hookEventName": "PreToolUse", "permissionDecision": "allow",
        "updatedInput": {"id": "A-8"},
    }});
    let answer = Program::sh(&format!("echo '{said}'")).gate().await;
    assert_eq!(answer["verdict"], "deny");
    assert!(answer["told"].as_str().unwrap().contains(r#"{"id":"A-8"}"#), "{answer}");
}

#[tokio::test]
async fn what_cannot_be_understood_is_no_answer() {
    for body in [
        "echo fine",
        "echo '[1]'",
        "echo '{\"decision\": '",
        "echo '{\"hookSpecificOutput\": {\"permissionDecision\": \"perhaps\"}}'",
        "echo '{\"hookSpecificOutput\": {\"permissionDecision\": true}}'",
        "echo '{\"decision\": \"yes\"}'",
        "echo '{\"async\": true}'",
        "exec ./missing",
    ] {
        let said = Program::sh(body).fails(Moment::Before).await;
        assert!(!said.is_empty(), "{body}");
    }
    let missing = Program::new("#!/no/such/interpreter\n");
    assert!(missing.fails(Moment::Before).await.contains("cannot be run"));
    let much = format!("head -c {} /dev/zero", STDOUT_MAX_BYTES + 1);
    assert!(Program::sh(&much).fails(Moment::Before).await.contains("more than"));
    let loud = Program::sh("yes complaint | head -c 1000000 >&2; exit 2").gate().await;
    assert_eq!(loud["verdict"], "deny", "what is too much of a reason is cut off");
}

#[tokio::test]
async fn what_is_said_about_an_end_is_told_and_changes_nothing() {
    let told = async |body: &str| Program::sh(body).says(Moment::After).await;
    let block = told("echo '{\"decision\": \"block\", \"reason\": \"format it\"}'").await;
    assert_eq!(block, json!({"verdict": "pass", "told": "format it"}));
    let context = json!({"hookSpecificOutput": {"hookEventName": "PostToolUse",
        "additionalContext": "two lines\nof it", "updatedToolOutput": "forged"}});
    let context = told(&format!("cat <<'E'\n{context}\nE")).await;
    assert_eq!(context, json!({"verdict": "pass", "told": "two lines\nof it"}));
    assert_eq!(told("echo it is logged").await, json!({"verdict": "pass"}));
    assert_eq!(told("echo 'format it' >&2; exit 2").await["told"], "format it");
    assert!(Program::sh("exit 1").fails(Moment::After).await.contains("exit code 1"));
}

#[tokio::test]
async fn a_program_sees_path_home_and_what_is_declared_and_nothing_else() {
    let program = Program::sh("env > seen; exit 0");
    let outcome = program
        .trial(Moment::Before, |trial| {
            let mut binding = (*trial.operation.binding).clone();
            binding["env"] = json!(["CARGO_PKG_NAME", "NOT_SET_ANYWHERE"]);
            trial.operation.binding = Arc::new(binding);
        })
        .await;
    outcome.unwrap();
    let seen = fs::read_to_string(program.path("seen")).unwrap();
    // What a shell sets by itself is not ours.
    let own = |name: &str| matches!(name, "PWD" | "OLDPWD" | "SHLVL" | "_");
    let mut names: Vec<&str> =
        seen.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.retain(|name| !own(name));
    names.sort_unstable();
    assert_eq!(names, ["CARGO_PKG_NAME", "CLAUDE_PROJECT_DIR", "HOME", "PATH"]);
}

/// Too late is no answer, and nothing of it goes on.
#[tokio::test]
async fn a_program_that_takes_too_long_is_ended_with_all_it_started() {
    let program = Program::sh("sleep 600 & echo $! > child; echo $$ > self; wait");
    let began = Instant::now();
    let run = program.trial(Moment::Before, |trial| trial.operation.timeout_ms = 700);
    let failure = run.await.unwrap_err();
    assert_eq!(failure.class, Class::Timeout);
    assert!(began.elapsed() < Duration::from_secs(60));
    for name in ["child", "self"] {
        let pid = appears(&program.path(name)).await;
        for _ in 0..LOOKS_MAX {
            if !is_alive(&pid) {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert!(!is_alive(&pid), "{name} goes on");
    }
}

#[tokio::test]
async fn what_a_program_leaves_behind_ends_with_it() {
    let program = Program::sh("sleep 600 & echo $! > child; exit 0");
    let began = Instant::now();
    assert_eq!(program.gate().await, json!({"verdict": "pass"}));
    assert!(began.elapsed() < Duration::from_secs(60), "its output was held open");
    assert!(!is_alive(&appears(&program.path("child")).await));
}

#[tokio::test]
async fn nothing_runs_after_the_dispatch_window() {
    let program = Program::sh("touch ran");
    let mut trial = program.made(Moment::Before);
    trial.hooks.push(trial.operation.clone());
    let late = Call { dispatch_by_boot_ms: DISPATCH_BY - 1, ..trial.call() };
    assert_eq!(trial.connectors().run(late).await.unwrap_err().class, Class::Timeout);
    assert!(!program.path("ran").exists());
}

#[tokio::test]
async fn only_an_operators_hook_is_a_command() {
    let program = Program::sh("touch ran");
    let stolen = |change: fn(&mut Trial)| {
        let binding = json!({"kind": "hook", "on": "before", "run": ["./hook"],
            "in": program.folder.path()});
        let unused = System::Http {
            url: "http://127.0.0.1:9/".to_owned(),
            rate: None,
            redact: crate::redact::Personal::default(),
        };
        let mut trial = Trial::read(unused, binding);
        trial.operation.id = "hook.check".parse().unwrap();
        change(&mut trial);
        trial.connectors().check(&trial.operation).unwrap_err().to_string()
    };
    let elsewhere = stolen(|trial| trial.operation.id = "crm.get".parse().unwrap());
    assert!(elsewhere.contains("[[hooks]]"), "{elsewhere}");
    stolen(|trial| trial.operation.facts.effect = Effect::Write);
    assert!(!program.path("ran").exists());
}

/// What is stored may be an old plan, or come from a backup of somebody else's.
#[tokio::test]
async fn a_program_that_the_configuration_does_not_name_now_is_not_run() {
    let program = Program::sh("touch ran");
    let declared = |change: fn(&mut Value)| {
        let mut trial = program.made(Moment::Before);
        let mut known = trial.operation.clone();
        let mut binding = (*known.binding).clone();
        change(&mut binding);
        known.binding = Arc::new(binding);
        known.timeout_ms = 1;
        trial.hooks.push(known);
        trial
    };
    let mut nothing = program.made(Moment::Before);
    nothing.hooks.clear();
    let mut shown_more = declared(|_| {});
    let mut binding = (*shown_more.operation.binding).clone();
    binding["env"] = json!(["SECRET"]);
    shown_more.operation.binding = Arc::new(binding);
    for trial in [
        nothing,
        declared(|binding| binding["run"] = json!(["./hook", "-v"])),
        declared(|binding| binding["in"] = json!("/")),
        shown_more,
    ] {
        assert!(trial.run().await.unwrap_err().message.contains("no such program"));
    }
    assert!(!program.path("ran").exists());
    let other_words = declared(|binding| binding["shown_as"] = json!("Bash"));
    other_words.run().await.unwrap();
    assert!(program.path("ran").exists(), "how long and under which name is the plan's");
}

/// Written as such hooks are written: bash with jq's work done by grep, and Python with `json`.
#[tokio::test]
async fn hooks_written_for_claude_code_run_unmodified() {
    let bash = r#"#!/bin/bash
# Block destructive commands.
set -euo pipefail
input=$(cat)
if command -v jq >/dev/null 2>&1; then
  command=$(echo "$input" | jq -r '.tool_input.command // empty')
else
  command=$(echo "$input" | sed -n 's/.*"command":"\([^"]*\)".*/\1/p')
fi
if [[ "$command" == *"rm -rf"* ]]; then
  echo "Blocked: destructive command" >&2
  exit 2
fi
exit 0
"#;
    let said = Program::new(bash).gate().await;
    assert_eq!(
        (&said["verdict"], &said["told"]),
        (&json!("deny"), &json!("Blocked: destructive command"))
    );
    let python = r#"#!/usr/bin/env python3
import json
import sys

try:
    input_data = json.load(sys.stdin)
except json.JSONDecodeError as e:
    print(f"Error: Invalid JSON input: {e}", file=sys.stderr)
    sys.exit(1)

tool_name = input_data.get("tool_name", "")
tool_input = input_data.get("tool_input", {})
if tool_name == "Bash" and "rm -rf" in tool_input.get("command", ""):
    output = {
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "ask",
            "permissionDecisionReason": "Destructive command",
        },
        "suppressOutput": True,
    }
    print(json.dumps(output))
sys.exit(0)
"#;
    let program = Program::new(python);
    assert_eq!(program.gate().await["verdict"], "pass", "it looks at another tool");
    let shown = program
        .trial(Moment::Before, |trial| {
            let mut binding = (*trial.operation.binding).clone();
            binding["shown_as"] = json!("Bash");
            trial.operation.binding = Arc::new(binding);
        })
        .await;
    let expected = json!({"verdict": "ask", "reason": "Destructive command"});
    assert_eq!(*shown.unwrap().output, expected);
}
