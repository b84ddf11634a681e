//! Coding agents that are not ours, through their hooks (C003, C131): each use of a tool is judged before it happens and
//! recorded; whatever is not a clear yes is a no; and what the agent is held by is not its to touch.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::support::{Office, Ran, Serving, copy, kill, root};

/// An office that serves the pack of coding agents.
struct Shop {
    office: Office,
    serving: Option<Serving>,
}

impl Shop {
    fn open() -> Self {
        let office = Office::open();
        copy(&root().join("packs/coding-agent"), &office.path("packs/coding-agent"));
        office.reconfigure(
            "packs = [\"packs/customer-ops\"]",
            "packs = [\"packs/customer-ops\", \"packs/coding-agent\"]",
        );
        let serving = Some(Serving::start(&office));
        Self { office, serving }
    }

    fn event(&self, name: &str, (tool, input): (&str, Value), id: &str) -> Value {
        json!({
            "session_id": "s-1", "transcript_path": "", "cwd": self.office.dir(), "permission_mode": "default",
            "hook_event_name": name, "tool_name": tool, "tool_input": input, "tool_use_id": id,
        })
    }

    fn hook(&self, event: &Value) -> Ran {
        self.hook_of("claude-code", event)
    }

    fn hook_of(&self, agent: &str, event: &Value) -> Ran {
        self.office.tell(&["hook", agent, "--timeout", "30s", "--wait", "0s"], &event.to_string())
    }

    /// What an event before a use comes to.
    fn before(&self, tool: &str, input: Value, id: &str) -> Ran {
        self.hook(&self.event("PreToolUse", (tool, input), id))
    }

    fn latest(&self) -> Value {
        let runs = self.office.json(&["run", "list"]).exits(0).document();
        let run = runs["items"][0]["id"].as_str().unwrap().to_owned();
        self.office.json(&["run", "get", &run]).exits(0).document()
    }
}

/// A no: two, a reason, and nothing on standard output.
#[track_caller]
fn denied(ran: Ran, because: &str) {
    let ran = ran.exits(2);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains(because), "{because}: {}", ran.stderr);
}

#[track_caller]
fn passes(ran: Ran) {
    let ran = ran.exits(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
}

/// A look is permitted, recorded, and ends with what the host says came of it.
#[test]
fn a_use_is_judged_before_and_recorded_after() {
    let shop = Shop::open();
    let read = ("Read", json!({"file_path": "/tmp/a.txt"}));
    passes(shop.hook(&shop.event("PreToolUse", read.clone(), "t1")));
    passes(shop.hook(&shop.event("PermissionRequest", read.clone(), "t1")));
    let mut after = shop.event("PostToolUse", read.clone(), "t1");
    after["tool_response"] = json!({"content": "hello"});
    passes(shop.hook(&after));
    let run = shop.latest();
    assert_eq!(run["run"]["status"], "succeeded", "{run:#}");
    assert_eq!(run["run"]["agent"], "agent:coding-agent");
    assert!(run["output"]["text"].as_str().unwrap().contains("hello"), "{run:#}");
    let id = run["run"]["id"].as_str().unwrap();
    let verified = shop.office.json(&["receipt", "verify", id]).exits(0).document();
    assert_eq!(verified["verdict"], "verified");
    // Told twice, or about a use that was never judged: said so, and nothing is recorded.
    denied(shop.hook(&after), "never permitted");
    denied(
        shop.hook(&shop.event("PermissionRequest", ("Read", json!({"file_path": "/b"})), "t2")),
        "PreToolUse",
    );
    // The same once more is another use.
    passes(shop.hook(&shop.event("PreToolUse", read, "t3")));
    assert_ne!(shop.latest()["run"]["id"], id);
}

/// What changes something asks a person; the identical use is the same ask until it was answered.
#[test]
fn a_change_waits_for_a_person_and_a_retry_is_the_same_ask() {
    let shop = Shop::open();
    let edit = || json!({"file_path": "src/main.rs", "old_string": "a", "new_string": "b"});
    denied(shop.before("Edit", edit(), "t1"), "A person has to decide");
    let run = shop.latest()["run"]["id"].as_str().unwrap().to_owned();
    denied(shop.before("Edit", edit(), "t2"), "A person has to decide");
    let open = shop.office.json(&["approval", "list"]).exits(0).document();
    assert_eq!(open["items"].as_array().unwrap().len(), 1, "one ask: {open}");
    let (approval, digest) = shop.office.card(&run);
    let card = shop.office.json(&["approval", "get", &approval]).exits(0).document();
    assert!(card["summary"].as_str().unwrap().contains("src/main.rs"), "{card:#}");
    let yes = ["approval", "approve", &approval, "--digest", &digest, "--timeout", "0s"];
    shop.office.json_as("mira", &yes);
    passes(shop.before("Edit", edit(), "t3"));
    let mut failed = shop.event("PostToolUseFailure", ("Edit", edit()), "t3");
    failed["error"] = json!("no such text");
    passes(shop.hook(&failed));
    assert_eq!(shop.latest()["output"]["ended"], "badly");
    // It was permitted once.
    denied(shop.before("Edit", edit(), "t4"), "A person has to decide");
}

/// The store, keys, configuration, the agent's own settings, and the commands that decide: denied, by rule, on record,
/// in every spelling that a shell's reader knows.
#[test]
fn what_an_agent_is_held_by_is_not_its_to_touch() {
    let shop = Shop::open();
    let store = shop.office.path("store/harness.db");
    let mut uses = vec![
        ("Read", json!({"file_path": store})),
        ("Read", json!({"file_path": "store/../store/owner.sock"})),
        ("Read", json!({"file_path": "keys/receipts.key"})),
        ("Grep", json!({"path": "store", "pattern": "x"})),
        ("Write", json!({"file_path": "harness.toml", "content": ""})),
        ("Write", json!({"file_path": "operator.cedar", "content": ""})),
        (
            "Edit",
            json!({"file_path": ".claude/settings.json", "old_string": "a", "new_string": "b"}),
        ),
        ("Write", json!({"file_path": ".claude/settings.local.json", "content": "{}"})),
        ("Write", json!({"file_path": "sub/.mcp.json", "content": "{}"})),
        ("MultiEdit", json!({"file_path": ".codex/config.toml", "edits": []})),
        ("mcp__files__write", json!({"at": {"path": ".claude/settings.json"}})),
    ];
    for command in [
        "harness approval approve apr_1 --digest x",
        "./target/debug/harness token create mine",
        "sh -c 'harness halt --lift'",
        "env X=1 nohup /opt/bin/harness secret set a",
        "echo yes | xargs harness approval approve",
        "cat keys/receipts.key",
        "cp store/harness.db /tmp/x",
        "echo '{}' > .claude/settings.json",
        "sed -i s/a/b/ ./.claude/../.claude/settings.json",
        "rm -r .claude",
    ] {
        uses.push(("Bash", json!({ "command": command })));
    }
    for (at, (tool, input)) in uses.into_iter().enumerate() {
        let shown = format!("{tool} {input}");
        let ran = shop.before(tool, input, &format!("t{at}"));
        assert_eq!((ran.code, ran.stderr.contains("coder.own")), (2, true), "{shown}: {ran:?}");
    }
    let runs = shop.office.json(&["run", "list", "--limit", "100"]).exits(0).document();
    let items = runs["items"].as_array().unwrap();
    assert!(items.len() >= 20 && items.iter().all(|run| run["status"] == "failed"), "{runs:#}");
    // What only looks, elsewhere, is not meant.
    passes(shop.before("Bash", json!({"command": "ls -l src | head -3"}), "ok"));
}

/// Every way in which a hook can go wrong ends with two.
#[test]
fn whatever_is_no_clear_yes_is_a_no() {
    let mut shop = Shop::open();
    let whole =
        shop.event("PreToolUse", ("Read", json!({"file_path": "/tmp/a"})), "t1").to_string();
    for cut in (0..whole.len()).step_by(17) {
        let ran = shop.office.tell(&["hook", "claude-code", "--timeout", "30s"], &whole[..cut]);
        assert_eq!(ran.code, 2, "{cut}: {ran:?}");
    }
    for garbage in
        ["", "null", "[]", "\"x\"", "{}", "\u{0}", "{\"hook_event_name\": \"PreToolUse\"}"]
    {
        denied(shop.office.tell(&["hook", "claude-code", "--timeout", "30s"], garbage), "harness:");
    }
    let deep = "{\"tool_input\":".repeat(3_000) + &"}".repeat(3_000);
    denied(shop.office.tell(&["hook", "codex", "--timeout", "30s"], &deep), "harness:");
    for (key, value) in [
        ("tool_input", json!("text")),
        ("tool_name", json!(7)),
        ("session_id", json!("")),
        ("cwd", json!(null)),
        ("tool_use_id", json!({})),
        ("hook_event_name", json!("Stop")),
        ("hook_event_name", json!("SessionStart")),
        ("hook_event_name", json!("")),
    ] {
        let mut event = shop.event("PreToolUse", ("Read", json!({"file_path": "/tmp/a"})), "t1");
        event[key] = value;
        denied(shop.hook(&event), "harness:");
    }
    let long = json!({"command": "x".repeat(40_000)});
    denied(shop.before("Bash", long, "t1"), "too long");
    // Words that no command line knows, a configuration that is not there, and one that is none.
    let program = |words: &[&str]| {
        let mut command: Command = crate::support::program(shop.office.dir());
        let mut child =
            command.args(words).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let _closed = child.stdin.take().unwrap().write_all(whole.as_bytes());
        child.wait().unwrap().code()
    };
    for words in [
        &["hook", "claude-code", "--nonsense"][..],
        &["hook", "somebody"],
        &["--config", "nowhere.toml", "hook", "claude-code"],
        &["--config", "operator.cedar", "hook", "claude-code"],
        &["--server", "http://127.0.0.1:1", "hook", "claude-code", "--timeout", "3s"],
        &["--output", "nonsense", "hook", "claude-code"],
        &["hook", "claude-code", "--timeout", "0s"],
    ] {
        assert_eq!(program(words), Some(2), "{words:?}");
    }
    // Nobody serves: what is permitted would be forgotten at once.
    shop.serving.take().unwrap().end("TERM");
    denied(shop.before("Read", json!({"file_path": "/tmp/a"}), "t1"), "harness serve");
}

/// A host that never ends its event, a store that does not answer, and a signal: no, in time.
#[test]
fn what_hangs_or_is_ended_is_a_no() {
    let shop = Shop::open();
    let start = || {
        let mut command = shop.office.command(&["hook", "claude-code", "--timeout", "2s"]);
        command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut child = start();
    let _open = child.stdin.take().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2), "an event that never ends");
    // The owner stands still, and holds its lock.
    let serving = shop.serving.as_ref().unwrap();
    kill(serving.pid(), "STOP");
    let event =
        shop.event("PreToolUse", ("Read", json!({"file_path": "/tmp/a"})), "t1").to_string();
    let ran = shop.office.tell(&["hook", "claude-code", "--timeout", "3s"], &event);
    kill(serving.pid(), "CONT");
    denied(ran, "within 3000 ms");
}

/// Codex speaks the same with fewer tools; a patch is judged by every file that it names.
#[test]
fn codex_is_judged_by_its_own_table() {
    let shop = Shop::open();
    let event = |tool: &str, input: Value| shop.event("PreToolUse", (tool, input), "t1");
    passes(shop.hook_of("codex", &event("Bash", json!({"command": "cat README.md | head"}))));
    let patch = |file: &str| {
        let patch = format!(
            "*** Begin Patch\n*** Update File: a.rs\n@@\n-a\n+b\n*** Add File: {file}\n+x\n*** End Patch\n"
        );
        event("apply_patch", json!({ "command": patch }))
    };
    denied(shop.hook_of("codex", &patch("b.rs")), "A person has to decide");
    denied(shop.hook_of("codex", &patch(".codex/hooks.json")), "coder.own");
    // A tool of the other host is one that nobody knows here.
    denied(
        shop.hook_of("codex", &event("Read", json!({"file_path": "/tmp/a"}))),
        "A person has to decide",
    );
    denied(shop.hook_of("codex", &event("apply_patch", json!({"command": "nothing"}))), "harness:");
}

/// Settings of a host: shown first, written when that is said, whatever else stands in them kept, and taken out again.
#[test]
fn installing_shows_the_difference_and_can_be_undone() {
    let office = Office::open();
    let path = office.path(".claude/settings.json");
    let before = json!({"model": "x", "hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [
        {"type": "command", "command": "./mine.sh"}]}]}});
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let text = serde_json::to_string_pretty(&before).unwrap() + "\n";
    std::fs::write(&path, &text).unwrap();
    let shown = office.run(&["hook", "install", "claude-code"]).exits(0);
    assert!(shown.stdout.contains("+ ") && !shown.stdout.contains("\n- "), "{}", shown.stdout);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "nothing was written");
    office.run(&["hook", "install", "claude-code", "--yes"]).exits(0);
    let read = || -> Value { serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap() };
    let after = read();
    assert_eq!(after["hooks"]["PreToolUse"][0], before["hooks"]["PreToolUse"][0], "{after}");
    let command =
        after["hooks"]["PreToolUse"][1]["hooks"][0]["command"].as_str().unwrap().to_owned();
    let config = office.config().canonicalize().unwrap();
    assert!(command.contains(&format!("--config '{}'", config.display())), "one judge: {command}");
    // Twice is once.
    office.run(&["hook", "install", "claude-code", "--yes"]).exits(0);
    assert_eq!(read(), after);
    // What is written is what a host starts: without anybody who serves, it is a no; without the program, too.
    let run = |command: &str| {
        let mut shell = Command::new("sh");
        let shell = shell.arg("-c").arg(command).stdin(Stdio::null()).stderr(Stdio::null());
        shell.status().unwrap().code()
    };
    assert_eq!(run(&command), Some(2));
    assert_eq!(run(&command.replace("/harness'", "/no-such-program'")), Some(2));
    office.run(&["hook", "install", "claude-code", "--undo", "--yes"]).exits(0);
    assert_eq!(read(), before);
    // A file that was made for it goes again.
    office.run(&["hook", "install", "codex", "--yes"]).exits(0);
    let made = office.path(".codex/hooks.json");
    assert!(made.exists());
    office.run(&["hook", "install", "codex", "--undo", "--yes"]).exits(0);
    assert!(!made.exists());
}
