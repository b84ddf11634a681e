//! The governed proxy (C131, C132, C134): what servers behind it say is passed on as they say it, and every call of one of
//! their tools is a run like any other.

use std::fs;

use serde_json::{Value, json};

use super::{
    Speaks,
    front::{Front, plain, text},
    run_of,
};
use crate::support::Ran;

/// Calls that a server answers by itself.
fn calls() -> Vec<(&'static str, Value)> {
    vec![
        ("add", json!({"a": 40, "b": 2})),
        ("echo", text("hello")),
        ("note", text("in between")),
        ("image", json!({})),
        ("fail", text("because it is Sunday")),
        ("big", json!({"bytes": 300_000})),
    ]
}

/// C131, C132: in both generations, tools are listed as their server describes them and results come back as it gave
/// them, pictures, structured values, failures and large ones among them; beside each stands its run, with receipts
/// that verify.
#[test]
fn what_a_server_says_is_passed_on_unchanged() {
    let front = Front::open("observe");
    let direct: Vec<Value> = calls()
        .into_iter()
        .map(|(tool, args)| front.direct("tools/call", json!({"name": tool, "arguments": args})))
        .collect();
    let page = |cursor: Option<&str>| {
        front.direct("tools/list", cursor.map_or(json!({}), |at| json!({"cursor": at})))
    };
    let (mut own, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let listed = page(cursor.as_deref());
        own.extend(listed["tools"].as_array().unwrap().clone());
        cursor = listed["nextCursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    own.sort_by_key(|tool| tool["name"].as_str().unwrap().to_owned());
    for speaks in [Speaks::Before, Speaks::Now] {
        let mut pipe = front.pipe(speaks, &[]);
        let mut tools = pipe.tools();
        let wait = tools.pop().unwrap();
        assert_eq!(wait["name"], "harness_wait", "{wait}");
        assert_eq!(tools, own, "{speaks:?}");
        for ((tool, args), direct) in calls().into_iter().zip(&direct) {
            let proxied = pipe.call(tool, args);
            assert_eq!(plain(&proxied), plain(direct), "{tool} in {speaks:?}");
            // What is in doubt has its receipt once somebody has found out.
            if proxied["_meta"]["harness/state"] == "unknown" {
                continue;
            }
            assert_ne!(proxied["_meta"]["harness/receipts"], json!([]), "{tool}: {proxied:#}");
            let verified = front.json(&["receipt", "verify", &run_of(&proxied)]);
            assert_eq!(verified.exits(0).document()["verdict"], "verified", "{tool}");
        }
        assert_eq!(pipe.end(), 0);
    }
}

/// The first minute: one command makes a project in which nothing is classified, and every call asks a person; the second
/// time it is the same project, and another mode is not slipped in.
#[test]
fn the_first_minute_leaves_a_project_that_asks_about_everything() {
    let front = Front::drafted("enforce");
    let connector = fs::read_to_string(front.project().join("pack/connectors/notes.yaml")).unwrap();
    // What the protocol has for reading is taken to read, and no tool is.
    let (tools, beside) = connector.split_once("\n  read_resource:\n").unwrap();
    assert!(!tools.contains("effect: read") && tools.contains("answer: whole"), "{connector}");
    assert!(beside.contains("prompt_greet:"), "{connector}");
    front.json(&["pack", "check", &front.project().join("pack").display().to_string()]).exits(0);
    let mut pipe = front.pipe(Speaks::Now, &["--hold", "0s"]);
    let asked = pipe.call("echo", text("is it a read?"));
    assert_eq!(asked["_meta"]["harness/stands"]["state"], "pending_approval", "{asked:#}");
    assert_eq!(pipe.end(), 0);
    let same = front.first(&["--url", "http://127.0.0.1:1/mcp", "--name", "notes"]);
    assert_eq!(same.code, 0, "the project is there: the server is not looked at again: {same:?}");
    let other =
        front.first(&["--url", "http://127.0.0.1:1/mcp", "--name", "notes", "--mode", "observe"]);
    assert_eq!(other.code, 2, "{other:?}");
    assert!(other.stderr.contains("proxy_mode"), "{other:?}");
}

/// C134: a tool that policy denies whatever the evidence, or that is another than was accepted, is not listed; called by
/// its name all the same, the call is a run that says no. Whatever the mode, a tool that changed is not called.
#[test]
fn denied_and_quarantined_tools_are_hidden() {
    let front = Front::open("enforce");
    let denies = "\n@id(\"shop.no\") @reason(\"Nobody writes notes.\")\n\
                  forbid (principal, action == Action::\"notes.note\", resource);\n";
    let policy = fs::read_to_string(front.project().join("operator.cedar")).unwrap();
    fs::write(front.project().join("operator.cedar"), policy + denies).unwrap();
    let names = |pipe: &mut super::Pipe| -> Vec<String> {
        let tools = pipe.tools();
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    };
    let mut pipe = front.pipe(Speaks::Now, &[]);
    let listed = names(&mut pipe);
    assert!(
        !listed.contains(&"note".to_owned()) && listed.contains(&"echo".to_owned()),
        "{listed:?}"
    );
    let denied = pipe.call("note", text("all the same"));
    assert_eq!(denied["_meta"]["harness/state"], "denied", "{denied:#}");
    assert!(
        denied["_meta"]["harness/stands"]["because"].to_string().contains("shop.no"),
        "{denied:#}"
    );
    front.misbehave("changed");
    let listed = names(&mut pipe);
    assert!(
        !listed.contains(&"echo".to_owned()) && listed.contains(&"add".to_owned()),
        "{listed:?}"
    );
    let refused = pipe.call("echo", text("x"));
    assert_eq!(refused["isError"], true, "{refused:#}");
    assert!(refused.to_string().contains("quarantined"), "{refused:#}");
    assert_eq!(pipe.end(), 0);
    // Where everything passes, what is denied is listed, and what was changed still is not.
    front.edit("harness.toml", "proxy_mode = \"enforce\"", "proxy_mode = \"observe\"");
    let mut pipe = front.pipe(Speaks::Now, &[]);
    let listed = names(&mut pipe);
    assert!(
        listed.contains(&"note".to_owned()) && !listed.contains(&"echo".to_owned()),
        "{listed:?}"
    );
    let refused = pipe.call("echo", text("x"));
    assert!(refused.to_string().contains("quarantined"), "{refused:#}");
    assert_eq!(front.notes(), "", "nothing was written until now");
}

/// The three modes: each call is a run with a gate, a journal and receipts. What passes by the operator's setting says so,
/// says what policy would have said, and claims nobody's approval.
#[test]
fn modes_record_what_policy_would_have_said_and_claim_no_approval() {
    for (mode, told) in [("observe", false), ("warn", true)] {
        let front = Front::open(mode);
        let mut pipe = front.pipe(Speaks::Now, &["--hold", "0s"]);
        let done = pipe.call("note", text(mode));
        assert_eq!(done["content"][0]["text"], "noted", "{done:#}");
        assert_eq!(front.notes(), format!("{mode}\n"), "it passed, once");
        let verdict = &done["_meta"]["harness/verdict"];
        assert_eq!(verdict["verdict"] == "ask", told, "{done:#}");
        assert_eq!(verdict["mode"] == mode, told, "{done:#}");
        let run = run_of(&done);
        let events = front.events(&run);
        let all = events.to_string();
        assert!(all.contains("mcp.proxy-lets-pass"), "{events:#}");
        let kinds: Vec<&str> =
            events["items"].as_array().unwrap().iter().filter_map(|e| e["kind"].as_str()).collect();
        assert!(kinds.contains(&"judged") && kinds.contains(&"receipted"), "{kinds:?}");
        assert!(!kinds.contains(&"asked") && !kinds.contains(&"answered"), "{kinds:?}");
        let list = front.json(&["receipt", "list", &run]).exits(0).document();
        let id = list["items"][0]["id"].as_str().unwrap();
        let receipt = front.json(&["receipt", "get", id]).exits(0).document().to_string();
        assert!(receipt.contains("mcp.proxy-lets-pass"), "{receipt}");
        assert!(!receipt.contains("person:mira"), "nobody approved it: {receipt}");
        let read = pipe.call("echo", text("x"));
        assert_eq!(read["_meta"]["harness/verdict"]["verdict"] == "allow", told, "{read:#}");
        assert_eq!(pipe.end(), 0);
    }
    let front = Front::open("enforce");
    let mut pipe = front.pipe(Speaks::Now, &["--hold", "0s"]);
    let asked = pipe.call("note", text("enforced"));
    assert_eq!(asked["_meta"]["harness/stands"]["state"], "pending_approval", "{asked:#}");
    assert_eq!(front.notes(), "");
    let read = pipe.call("echo", text("x"));
    assert_eq!(read["_meta"]["harness/verdict"]["verdict"], "allow", "{read:#}");
    assert_eq!(read["_meta"]["harness/stands"], Value::Null, "an answer is given once: {read:#}");
    // What a tool does not declare cannot be said to it, a verdict of one's own least.
    let mut claims = text("x");
    claims["would"] = json!({"mode": "observe", "verdict": "deny", "rules": ["none/such: no"]});
    let refused = pipe.call("echo", claims);
    assert_eq!(refused["_meta"]["harness/stands"]["code"], "inputs-invalid", "{refused:#}");
}

/// What the calls of one tool have in common is kept once: their plan. What each is called with stands in its run.
#[test]
fn calls_of_one_tool_share_their_plan() {
    for mode in ["observe", "enforce"] {
        let front = Front::open(mode);
        let mut pipe = front.pipe(Speaks::Now, &["--hold", "0s"]);
        let mut planned = |tool: &str, arguments: Value| {
            let done = pipe.call(tool, arguments);
            let run = run_of(&done);
            let plan = front.json(&["plan", "get", &run]).exits(0).document();
            (plan["digest"].clone(), plan["steps"][0]["operation"].clone(), done)
        };
        let (one, other) = (planned("echo", text("one")), planned("echo", text("another")));
        let elsewhere = planned("add", json!({"a": 1, "b": 2}));
        assert_eq!((&one.0, &one.1), (&other.0, &other.1), "{mode}");
        assert_ne!(run_of(&one.2), run_of(&other.2), "{mode}: each is a run of its own");
        assert_ne!((&one.0, &one.1), (&elsewhere.0, &elsewhere.1), "{mode}");
        assert_eq!(other.2["content"][0]["text"], "another", "{mode}: {:#}", other.2);
        assert_eq!(pipe.end(), 0);
    }
}

/// What was let pass and is not over when the operator takes the setting back is policy's again.
#[test]
fn a_setting_that_is_taken_back_lets_nothing_pass_any_more() {
    let front = Front::open("observe");
    let mut pipe = front.pipe(Speaks::Now, &[]);
    let done = pipe.call("note", text("passes"));
    assert_eq!(done["_meta"]["harness/state"], "done", "{done:#}");
    let beside = front.command(&["mcp", "proxy", "--mode", "enforce"]).output().unwrap();
    assert_eq!(beside.status.code(), Some(2), "the owner says which mode: {beside:?}");
    assert_eq!(pipe.end(), 0);
    let mut pipe = front.pipe(Speaks::Now, &["--mode", "enforce", "--hold", "0s"]);
    let asked = pipe.call("note", text("passes"));
    assert_eq!(asked["_meta"]["harness/stands"]["state"], "pending_approval", "{asked:#}");
    assert_eq!(front.notes(), "passes\n");
    // The old one replays under what it was pinned to.
    let replay = front.json(&["run", "replay", &run_of(&done)]).exits(0).document();
    assert_eq!(replay["identical"], true, "{replay:#}");
}

/// A name that two servers have is told with its server; the others keep theirs, and calls go where the name says.
#[test]
fn two_servers_keep_their_names_but_where_they_clash() {
    let front = Front::open("observe");
    let other = Front::open("observe");
    front.join(&other);
    front.edit("second/pack.yaml", ", other.echo", "");
    let mut pipe = front.pipe(Speaks::Now, &[]);
    let tools = pipe.tools();
    let named = |name: &str| tools.iter().any(|tool| tool["name"] == name);
    assert!(
        named("echo") && !named("add") && named("notes__add") && named("other__add"),
        "{tools:#?}"
    );
    let done = pipe.call("other__note", text("here"));
    assert_eq!(done["content"][0]["text"], "noted", "{done:#}");
    assert_eq!((front.notes(), other.notes()), (String::new(), "here\n".to_owned()));
    assert_eq!(pipe.end(), 0);
    // One that is asked for alone has its own names.
    let mut pipe = front.pipe(Speaks::Now, &["--only", "other"]);
    assert!(pipe.tools().iter().any(|tool| tool["name"] == "add"));
    assert_eq!(pipe.end(), 0);
    // One whose server does not answer takes no other with it.
    drop(other);
    let mut pipe = front.pipe(Speaks::Now, &[]);
    let names: Vec<Value> = pipe.tools().iter().map(|tool| tool["name"].clone()).collect();
    assert!(
        names.contains(&json!("notes__add")) && !names.contains(&json!("other__add")),
        "{names:?}"
    );
}

/// What would have been is what would have been: a read that leaves to places nobody declared is allowed by policy, and the
/// kernel asks about it all the same.
#[test]
fn the_verdict_counts_what_the_kernel_would_ask_by_itself() {
    let front = Front::open("warn");
    let (read, leaves) = (
        "effect: read\n    summary: Gives a text",
        "effect: read\n    egress: true\n    summary: Gives a text",
    );
    front.edit("pack/connectors/notes.yaml", read, leaves);
    front.edit("pack/pack.yaml", "egress: []", "egress: [\"system:notes\"]");
    let mut pipe = front.pipe(Speaks::Now, &["--hold", "0s"]);
    let passed = pipe.call("echo", text("x"));
    assert_eq!(passed["content"][0]["text"], "x", "{passed:#}");
    let verdict = &passed["_meta"]["harness/verdict"];
    assert_eq!(verdict["verdict"], "ask", "{verdict:#}");
    assert!(verdict["rules"].to_string().contains("kernel/untrusted-input"), "{verdict:#}");
    assert_eq!(pipe.end(), 0);
    let mut pipe = front.pipe(Speaks::Now, &["--hold", "0s", "--mode", "enforce"]);
    let asked = pipe.call("echo", text("x"));
    assert_eq!(
        asked["_meta"]["harness/stands"]["state"], "pending_approval",
        "so it comes: {asked:#}"
    );
}

/// What a tool promises is kept by nobody else: where a person is asked about one with a schema of its answer, the client is
/// told beside the result, and waiting gives it the server's own.
#[test]
fn what_is_not_the_servers_is_never_told_as_its_structured_answer() {
    let front = Front::drafted("enforce");
    let mut pipe = front.pipe(Speaks::Before, &["--hold", "0s"]);
    let asked = pipe.call("add", json!({"a": 1, "b": 2}));
    assert_eq!(asked.get("structuredContent"), None, "{asked:#}");
    assert_eq!(asked["isError"], true, "{asked:#}");
    assert_eq!(asked["_meta"]["harness/stands"]["state"], "pending_approval", "{asked:#}");
    front.approve(&run_of(&asked)).exits(0);
    let done = pipe.call("harness_wait", json!({"run": run_of(&asked)}));
    assert_eq!((&done["structuredContent"], &done["isError"]), (&json!({"sum": 3}), &json!(false)));
}

/// Observed traffic becomes a draft: what was read may be read, what changes something needs a person, and what nobody used is
/// not in it. In force, it holds.
#[test]
fn what_clients_did_becomes_a_draft_that_allows_no_write_by_itself() {
    let front = Front::open("observe");
    let nothing = front.json(&["mcp", "learn"]);
    assert_eq!(nothing.exits(3).problem()["code"], "nothing-learned");
    let mut pipe = front.pipe(Speaks::Now, &[]);
    for n in 0..3 {
        pipe.call("echo", text("x"));
        pipe.call("note", text(&format!("{n}")));
    }
    assert_eq!(pipe.end(), 0);
    let to = front.dir().join("drafts").display().to_string();
    let learned = front.json(&["mcp", "learn", "--to", &to]).exits(0).document();
    crate::kit::validates(&learned);
    assert_eq!(learned["calls"], 6, "{learned:#}");
    let note =
        learned["tools"].as_array().unwrap().iter().find(|tool| tool["operation"] == "notes.note");
    assert_eq!(note.unwrap()["verdicts"], json!({"ask": 3}), "{learned:#}");
    let policy = learned["policy"].as_str().unwrap();
    let write = policy.split("@id").find(|rule| rule.contains("notes.note")).unwrap();
    assert!(write.contains("approvals.approver >= 1"), "{policy}");
    assert!(!policy.contains("notes.big"), "nobody used it: {policy}");
    assert_eq!(front.json(&["mcp", "learn", "--to", &to]).code, 5, "nothing is written over");
    fs::copy(front.dir().join("drafts/learned.cedar"), front.project().join("operator.cedar"))
        .unwrap();
    front.edit("harness.toml", "proxy_mode = \"observe\"", "proxy_mode = \"enforce\"");
    let mut pipe = front.pipe(Speaks::Now, &["--hold", "0s"]);
    let names: Vec<Value> = pipe.tools().iter().map(|tool| tool["name"].clone()).collect();
    assert!(names.contains(&json!("note")) && !names.contains(&json!("big")), "{names:?}");
    assert_eq!(pipe.call("echo", text("x"))["content"][0]["text"], "x");
    let asked = pipe.call("note", text("3"));
    assert_eq!(asked["_meta"]["harness/stands"]["state"], "pending_approval", "{asked:#}");
}

/// `--learn`: while it runs every call passes, and when it ends the drafts lie there; a folder that has some already is told
/// before anything is served, and where nobody called anything there is no draft.
#[test]
fn a_proxy_that_learns_leaves_drafts_of_what_clients_did_meanwhile() {
    let front = Front::open("enforce");
    let mut pipe = front.pipe(Speaks::Now, &["--hold", "0s"]);
    pipe.call("big", json!({"bytes": 1}));
    assert_eq!(pipe.end(), 0);
    let mut idle = front.pipe(Speaks::Now, &["--learn"]);
    assert!(!idle.tools().is_empty());
    assert_eq!(idle.end(), 0);
    let learned = front.project().join("learned");
    assert!(!learned.exists(), "nobody called anything");
    let mut pipe = front.pipe(Speaks::Before, &["--learn"]);
    assert_eq!(pipe.call("note", text("passes"))["_meta"]["harness/state"], "done");
    pipe.call("echo", text("x"));
    assert_eq!(pipe.end(), 0);
    assert_eq!(front.notes(), "passes\n");
    let policy = fs::read_to_string(learned.join("learned.cedar")).unwrap();
    let write = policy.split("@id").find(|rule| rule.contains("notes.note")).unwrap();
    assert!(write.contains("approvals.approver >= 1"), "{policy}");
    assert!(policy.contains("notes.echo") && !policy.contains("notes.big"), "{policy}");
    assert!(fs::read_to_string(learned.join("learned.yaml")).unwrap().contains("note"));
    let again = front.command(&["mcp", "proxy", "--learn"]).output().unwrap();
    assert_eq!(again.status.code(), Some(5), "{again:?}");
    let both = front.command(&["mcp", "proxy", "--learn", "--mode", "warn"]).output().unwrap();
    assert_eq!(both.status.code(), Some(2), "{both:?}");
    // Policy decides again as soon as it is over.
    let mut pipe = front.pipe(Speaks::Now, &["--hold", "0s"]);
    let asked = pipe.call("note", text("asks"));
    assert_eq!(asked["_meta"]["harness/state"], "pending_approval", "{asked:#}");
}

/// What a client's own configuration can say against going round the proxy is written with it, shown first, and taken out
/// again; what it cannot say is told.
#[test]
fn clients_are_told_what_they_may_not_and_what_they_ask_about() {
    let front = Front::open("observe");
    let url = front.upstream();
    let dir = front.dir().canonicalize().unwrap();
    let store = front.project().canonicalize().unwrap().join(".harness").display().to_string();
    let config = front.project().canonicalize().unwrap().join("harness.toml").display().to_string();
    for (client, servers, rules, said) in [
        (
            "claude-code",
            ".mcp.json",
            ".claude/settings.json",
            [
                "\"mcp__direct\"".to_owned(),
                format!("\"Read(/{store})\""),
                format!("\"Edit(/{store}/**)\""),
                format!("\"Edit(/{config})\""),
                "\"Bash(harness:*)\"".to_owned(),
                "\"mcp__harness__note\"".to_owned(),
            ]
            .to_vec(),
        ),
        (
            "cursor",
            ".cursor/mcp.json",
            ".cursor/cli.json",
            [
                "\"Mcp(direct:*)\"".to_owned(),
                format!("\"Read({store})\""),
                format!("\"Write({config})\""),
                "\"Shell(harness)\"".to_owned(),
            ]
            .to_vec(),
        ),
        (
            "vscode",
            ".vscode/mcp.json",
            ".vscode/settings.json",
            [
                "\"harness/note\": false".to_owned(),
                "\"harness\": false".to_owned(),
                format!("\"{config}\": false"),
            ]
            .to_vec(),
        ),
    ] {
        let key = if client == "vscode" { "servers" } else { "mcpServers" };
        let before =
            json!({key: {"direct": {"url": url}, "other": {"url": "https://other.example/mcp"}}});
        let before = serde_json::to_string_pretty(&before).unwrap() + "\n";
        let own = "{\n  \"mine\": true,\n  \"permissions\": {\n    \"deny\": [\n      \"mine\"\n    ]\n  }\n}\n";
        for (file, text) in [(servers, before.as_str()), (rules, own)] {
            fs::create_dir_all(dir.join(file).parent().unwrap()).unwrap();
            fs::write(dir.join(file), text).unwrap();
        }
        let install = |more: &[&str]| {
            let words = [&["mcp", "install", client], more].concat();
            Ran::of(&words, front.command(&words).output().unwrap())
        };
        let look = install(&[]).exits(0);
        assert!(look.stdout.contains(rules), "the difference is shown: {look:?}");
        assert_eq!(fs::read_to_string(dir.join(rules)).unwrap(), own, "nothing was written");
        assert!(look.stderr.contains("directly: other"), "{look:?}");
        assert_eq!(
            look.stderr.contains("direct (which stands behind"),
            client == "vscode",
            "{look:?}"
        );
        install(&["--yes"]).exits(0);
        let written = fs::read_to_string(dir.join(rules)).unwrap();
        for rule in said {
            assert!(written.contains(&rule), "{client}: {rule}: {written}");
        }
        assert!(written.contains("mine") && !written.contains("echo"), "{written}");
        assert!(
            !written.contains("other"),
            "what does not stand behind it is left alone: {written}"
        );
        install(&["--yes"]).exits(0);
        assert_eq!(fs::read_to_string(dir.join(rules)).unwrap(), written, "twice is once");
        install(&["--undo", "--yes"]).exits(0);
        assert_eq!(fs::read_to_string(dir.join(rules)).unwrap(), own);
        assert_eq!(fs::read_to_string(dir.join(servers)).unwrap(), before);
        let note = dir.join(rules).with_extension("harness.json");
        assert!(!note.exists(), "nothing is left");
    }
    // Codex has one file: a server that stands behind the proxy is switched off in it.
    let file = dir.join("config.toml");
    let before =
        format!("[mcp_servers.direct]\nurl = \"{url}\"\n\n[mcp_servers.other]\ncommand = \"x\"\n");
    fs::write(&file, &before).unwrap();
    let shown = file.display().to_string();
    let install = |more: &[&str]| {
        let words = [&["mcp", "install", "codex", "--settings", &shown], more].concat();
        Ran::of(&words, front.command(&words).output().unwrap()).exits(0)
    };
    let told = install(&["--yes"]).stderr;
    assert!(
        told.contains("directly: other\n") && told.contains("no rules about single files"),
        "{told}"
    );
    let written: toml::Table = fs::read_to_string(&file).unwrap().parse().unwrap();
    let servers = &written["mcp_servers"];
    assert_eq!(servers["direct"]["enabled"].as_bool(), Some(false));
    assert!(servers["other"].get("enabled").is_none());
    assert_eq!(servers["harness"]["default_tools_approval_mode"].as_str(), Some("prompt"));
    assert_eq!(servers["harness"]["tools"]["echo"]["approval_mode"].as_str(), Some("auto"));
    assert!(servers["harness"]["tools"].get("note").is_none(), "a write is asked about");
    install(&["--undo", "--yes"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
}

/// C131, C256: a client's configuration is shown before it is written, keeps what else stands in it, holds no secret, starts a
/// proxy that answers, and is as it was after an undo.
#[test]
fn clients_are_led_to_the_proxy_and_back() {
    let front = Front::open("observe");
    let settings = front.dir().join("settings");
    fs::create_dir(&settings).unwrap();
    for (client, file, before) in [
        (
            "claude-code",
            "mcp.json",
            "{\n  \"mcpServers\": {\n    \"own\": {\n      \"command\": \"x\"\n    }\n  }\n}\n",
        ),
        ("cursor", "cursor.json", ""),
        ("vscode", "vscode.json", "{\n  \"inputs\": []\n}\n"),
        ("codex", "config.toml", "# mine\nmodel = \"o\"\n\n[mcp_servers.own]\ncommand = \"x\"\n"),
    ] {
        let path = settings.join(file);
        fs::write(&path, before).unwrap();
        let shown = path.display().to_string();
        let install = |more: &[&str]| {
            let words = [&["mcp", "install", client, "--settings", &shown], more].concat();
            Ran::of(&words, front.command(&words).output().unwrap())
        };
        let look = install(&[]);
        assert_eq!(look.code, 0, "{look:?}");
        assert!(look.stdout.contains("+") && look.stderr.contains("what stays open"), "{look:?}");
        assert_eq!(look.stderr.contains("directly: own"), before.contains("own"), "{look:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), before, "nothing was written");
        assert_eq!(install(&["--yes"]).code, 0);
        let written = fs::read_to_string(&path).unwrap();
        assert!(written.contains("proxy") && written.contains("harness.toml"), "{written}");
        assert!(install(&["--yes"]).stdout.contains("nothing to change"), "twice is once");
        assert_eq!(install(&["--undo", "--yes"]).code, 0);
        assert_eq!(fs::read_to_string(&path).unwrap_or_default(), before);
        // Over HTTP the client gets a token of its own, which is in no file, and which an undo ends.
        let made = install(&["--at", "http://127.0.0.1:7411/mcp/proxy", "--yes"]);
        assert_eq!(made.code, 0, "{made:?}");
        let token = made.stdout.lines().find_map(|line| line.strip_prefix("export ")).unwrap();
        let (variable, token) = token.split_once('=').unwrap();
        let written = fs::read_to_string(&path).unwrap();
        assert!(written.contains(variable) && !written.contains(token), "{written}");
        let kept = front.json(&["token", "list"]).exits(0).document();
        let ours = |list: &Value| -> Vec<Value> {
            let all = list["items"].as_array().unwrap().iter();
            all.filter(|one| one["name"] == format!("mcp install {client}")).cloned().collect()
        };
        assert_eq!(ours(&kept)[0]["scopes"], json!(["propose"]), "{kept:#}");
        assert_eq!(install(&["--undo", "--yes"]).code, 0);
        let kept = front.json(&["token", "list"]).exits(0).document();
        assert_ne!(ours(&kept)[0]["state"], "valid", "{kept:#}");
        assert_eq!(fs::read_to_string(&path).unwrap_or_default(), before);
    }
    // What somebody else wrote under our name is left alone.
    let path = settings.join("theirs.json");
    fs::write(&path, "{\"mcpServers\": {\"harness\": {\"command\": \"theirs\"}}}").unwrap();
    let shown = path.display().to_string();
    let words = ["mcp", "install", "cursor", "--settings", &shown, "--yes"];
    assert_eq!(front.command(&words).output().unwrap().status.code(), Some(5));
}

/// A proxy in front of nothing says so before a client finds no tools.
#[test]
fn a_proxy_without_a_server_behind_it_does_not_begin() {
    let office = crate::support::Office::open();
    for words in [&["mcp", "proxy"][..], &["mcp", "proxy", "--only", "nope"]] {
        let refused = office.json(words).exits(3).problem();
        assert_eq!(refused["code"], "nothing-to-pass-on", "{refused}");
    }
}
