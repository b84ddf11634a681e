//! Commands that look, go on in the background, or are code: what an agent with the shipped `workbench` pack gets of
//! them, and who is asked first.

use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
};

use serde_json::{Value, json};

use crate::{
    agents::model::{Model, Says},
    folders::{Bench, told},
    support::{copy, root},
};

/// What the last call of a model was told of its tool.
fn last(model: &Model, n: usize) -> Value {
    let told = told(model, n);
    let text = told.last().unwrap().as_str().unwrap().to_owned();
    serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text))
}

/// Everything that was told, as one text.
fn all(value: &Value) -> String {
    value.to_string()
}

fn use_own_pack(bench: &Bench) -> std::path::PathBuf {
    copy(&root().join("packs/workbench"), &bench.path("pack"));
    let config = fs::read_to_string(bench.path("harness.toml")).unwrap();
    let place = root().join("packs/workbench").display().to_string();
    fs::write(bench.path("harness.toml"), config.replace(&place, "pack")).unwrap();
    bench.path("pack/policies/workbench.cedar")
}

fn add(bench: &Bench, more: &str) {
    let config = fs::read_to_string(bench.path("harness.toml")).unwrap();
    fs::write(bench.path("harness.toml"), format!("{config}{more}")).unwrap();
}

/// C121: where the operator says so, a command that surely only looks runs unasked; whatever else it is, it asks.
#[test]
fn a_command_that_only_looks_runs_unasked_where_a_rule_says_so() {
    for (command, status) in [
        ("grep -c t notes.txt | cat", "succeeded"),
        ("sh -c 'rm notes.txt'", "asking"),
        ("cat notes.txt; $TOOL", "asking"),
    ] {
        let model = Model::start([
            Says::Calls(vec![("shell_look", json!({ "command": command }))]),
            Says::Text("Done."),
        ]);
        let bench = Bench::furnished(&model);
        if !bench.has_shell() {
            return;
        }
        let rules = use_own_pack(&bench);
        let shipped = fs::read_to_string(&rules).unwrap();
        let ending =
            "unless { context.evidence.approvals.approver >= 1 || context.command.only_reads };";
        assert!(shipped.contains(&format!("//   {ending}")), "the pack shows how: {shipped}");
        let (before, rule) = shipped.split_once("@id(\"workbench.look\")").unwrap();
        let rule = rule.replace("unless { context.evidence.approvals.approver >= 1 };", ending);
        fs::write(&rules, format!("{before}@id(\"workbench.look\"){rule}")).unwrap();
        let run = bench.hand_over(&["--write", "--shell"]);
        assert_eq!(run["run"]["status"], status, "{command}: {run:#}");
        if status == "succeeded" {
            assert!(all(&last(&model, 2)).contains('2'), "{}", last(&model, 2));
        }
    }
}

/// C121: an approval does not make a look more than that.
#[test]
fn a_look_that_would_change_something_is_refused_even_when_somebody_agreed() {
    let model = Model::start([
        Says::Calls(vec![("shell_look", json!({ "command": "echo x > copy.txt" }))]),
        Says::Text("It was refused."),
    ]);
    let bench = Bench::furnished(&model);
    if !bench.has_shell() {
        return;
    }
    let asking = bench.hand_over(&["--write", "--shell"]);
    assert_eq!(asking["run"]["status"], "asking", "{asking:#}");
    bench.approve(&asking);
    assert!(!bench.work("copy.txt").exists());
    assert!(all(&last(&model, 2)).contains("the arguments are not valid"), "{}", last(&model, 2));
}

/// C127, C233: a job is listened to from where one left off, and its end is the end of all it started.
#[test]
fn a_job_goes_on_is_read_in_parts_and_ends_with_all_it_started() {
    let command = "exec 9> held; flock 9; echo ready; sleep infinity & sleep infinity";
    let model = Model::start([
        Says::Calls(vec![("shell_start", json!({ "command": command }))]),
        Says::Calls(vec![("shell_output", json!({ "job": 1, "wait_ms": 20000 }))]),
        Says::Calls(vec![("shell_output", json!({ "job": 1, "from": 6 }))]),
        Says::Calls(vec![("shell_jobs", json!({}))]),
        Says::Calls(vec![("shell_stop", json!({ "job": 1 }))]),
        Says::Calls(vec![("shell_output", json!({ "job": 7 }))]),
        Says::Text("It was ready."),
    ]);
    let bench = Bench::furnished(&model);
    if !bench.has_shell() {
        return;
    }
    let asking = bench.hand_over(&["--write", "--shell"]);
    assert_eq!(asking["run"]["status"], "asking", "{asking:#}");
    assert!(!bench.work("held").exists(), "nothing runs before somebody agreed");
    let ended = bench.approve(&asking);
    // It asked about a job that it does not have.
    assert_eq!(ended["run"]["status"], "partial", "{ended:#}");
    let ready = last(&model, 3);
    assert_eq!((&ready["output"], &ready["next"]), (&json!("ready\n"), &json!(6)), "{ready:#}");
    assert_eq!(ready["state"], "running");
    assert_eq!(last(&model, 4)["output"], "", "nothing is told twice");
    let jobs = last(&model, 5);
    assert_eq!(jobs["jobs"][0]["command"], command, "{jobs:#}");
    let stopped = last(&model, 6);
    assert_eq!(stopped["state"], "ended", "{stopped:#}");
    assert_eq!(stopped["because"], "it was stopped");
    assert!(all(&last(&model, 7)).contains("the arguments are not valid"), "{}", last(&model, 7));
    // Whoever still ran would hold it.
    File::open(bench.work("held")).unwrap().lock().unwrap();
}

/// C233: what a run leaves behind ends with it, and with the process that ran it.
#[test]
fn a_job_that_nobody_stops_does_not_outlive_its_run() {
    let command = "exec 9> held; flock 9; echo ready; sleep infinity";
    let model = Model::start([
        Says::Calls(vec![("shell_start", json!({ "command": command }))]),
        Says::Calls(vec![("shell_output", json!({ "job": 1, "wait_ms": 20000 }))]),
        Says::Text("It goes on."),
    ]);
    let bench = Bench::furnished(&model);
    if !bench.has_shell() {
        return;
    }
    let ended = bench.approve(&bench.hand_over(&["--write", "--shell"]));
    assert_eq!(ended["run"]["status"], "succeeded", "{ended:#}");
    assert_eq!(last(&model, 3)["output"], "ready\n");
    File::open(bench.work("held")).unwrap().lock().unwrap();
}

/// C077: cancel does not wait for a command; all that it started is ended, and what it did until then is told.
#[test]
fn a_cancelled_run_ends_the_command_that_it_waits_for() {
    let command = "exec 9> held; flock 9; echo begun; echo there > begun.txt; sleep infinity & sleep infinity";
    let model = Model::start([
        Says::Calls(vec![("shell_run", json!({ "command": command }))]),
        Says::Hangs,
    ]);
    let bench = Bench::furnished(&model);
    if !bench.has_shell() {
        return;
    }
    let asking = bench.hand_over(&["--write", "--shell"]);
    let (run, approval) = (&asking["run"]["id"], &asking["waiting_for"][0]);
    let (run, approval) = (run.as_str().unwrap(), approval.as_str().unwrap());
    let card = bench.json(&["approval", "get", approval]).exits(0).document();
    let digest = card["digest"].as_str().unwrap();
    let mut waits =
        bench.command(&["--as", "mira", "approval", "approve", approval, "--digest", digest]);
    let mut waits = waits.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !bench.work("begun.txt").exists() {
        assert!(waits.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
    let cancelled = bench.json(&["run", "cancel", run]).exits(0).document();
    assert_eq!(cancelled["status"], "cancelled", "{cancelled:#}");
    waits.wait().unwrap();
    // Whoever still ran would hold it.
    File::open(bench.work("held")).unwrap().lock().unwrap();
    let detail = bench.json(&["run", "get", run]).exits(0).document();
    let shell = detail["actions"].as_array().unwrap().iter();
    let shell = shell.filter(|action| action["operation"] == "shell.run").collect::<Vec<_>>();
    assert_eq!(shell.len(), 1, "{detail:#}");
    assert_eq!(shell[0]["outcome"], "done", "nothing about it is in doubt: {detail:#}");
    assert!(shell[0]["receipt"].is_string(), "{detail:#}");
    assert_eq!(model.heard().len(), 1, "nobody is asked what to do next");
}

/// C124, C220, C228: code runs in the sandbox, with packages that it cannot change, and says what it changed.
#[test]
fn python_asks_runs_with_locked_packages_and_says_what_it_changed() {
    let source = "import greeter\nopen('made.txt', 'w').write(greeter.WORD)\nprint(greeter.WORD)\n\
                  try:\n    open(greeter.__file__, 'a')\nexcept OSError as error:\n    print(type(error).__name__)\n\
                  try:\n    import socket; socket.create_connection(('127.0.0.1', 1))\nexcept OSError:\n    print('no way out')\n";
    let model = Model::start([
        Says::Calls(vec![("code_python", json!({ "source": source }))]),
        Says::Text("It said hello."),
    ]);
    let bench = Bench::furnished(&model);
    if !bench.has_shell() || !Path::new("/usr/bin/python3").exists() {
        return;
    }
    fs::create_dir_all(bench.path("python")).unwrap();
    fs::write(bench.path("python/greeter.py"), "WORD = 'hello'\n").unwrap();
    fs::write(bench.path("requirements.lock"), "greeter==1.0\n").unwrap();
    add(
        &bench,
        &format!(
            "[systems.work.code.python]\ninterpreter = \"/usr/bin/python3\"\npackages = \"{}\"\nlock = \"{}\"\n",
            bench.path("python").display(),
            bench.path("requirements.lock").display()
        ),
    );
    let asking = bench.hand_over(&["--write", "--shell"]);
    assert_eq!(asking["run"]["status"], "asking", "{asking:#}");
    let card = asking["waiting_for"][0].as_str().unwrap();
    let card = bench.json(&["approval", "get", card]).exits(0).document();
    assert_eq!(card["command"]["effects"], json!(["runs_code"]), "{card:#}");
    let ended = bench.approve(&asking);
    assert_eq!(ended["run"]["status"], "succeeded", "{ended:#}");
    let told = last(&model, 2);
    assert_eq!(told["exit_code"], 0, "{told:#}");
    let output = told["output"].as_str().unwrap();
    assert!(output.starts_with("hello\n") && output.ends_with("no way out\n"), "{told:#}");
    assert!(output.contains("Error\n"), "packages are not written: {told:#}");
    assert_eq!(told["changed"], json!([{"path": "made.txt", "how": "made"}]), "{told:#}");
    let lock = kernel::id::hex(&kernel::Digest::of(b"greeter==1.0\n").0);
    assert_eq!(told["lock"], lock, "{told:#}");
    assert_eq!(fs::read_to_string(bench.path("python/greeter.py")).unwrap(), "WORD = 'hello'\n");
}

/// C220: a lock that is not the pinned one, and a language that nobody declared, run nothing.
#[test]
fn code_without_its_interpreter_or_with_another_lock_runs_nothing() {
    let model = Model::start([
        Says::Calls(vec![(
            "code_javascript",
            json!({ "source": "require('fs').writeFileSync('x', '')" }),
        )]),
        Says::Calls(vec![("code_python", json!({ "source": "open('x', 'w')" }))]),
        Says::Text("Neither ran."),
    ]);
    let bench = Bench::furnished(&model);
    if !bench.has_shell() || !Path::new("/usr/bin/python3").exists() {
        return;
    }
    fs::write(bench.path("requirements.lock"), "greeter==1.0\n").unwrap();
    let config = format!(
        "[systems.work.code.python]\ninterpreter = \"/usr/bin/python3\"\nlock = \"{}\"\nlock_sha256 = \"{}\"\n",
        bench.path("requirements.lock").display(),
        "0".repeat(64)
    );
    add(&bench, &config);
    let second = bench.approve(&bench.hand_over(&["--write", "--shell"]));
    assert!(all(&last(&model, 2)).contains("does not permit it"), "{}", last(&model, 2));
    bench.approve(&second);
    assert!(all(&last(&model, 3)).contains("does not permit it"), "{}", last(&model, 3));
    assert!(!bench.work("x").exists());
}

#[test]
fn javascript_runs_where_its_interpreter_is_declared() {
    if !Path::new("/usr/bin/node").exists() {
        return;
    }
    let source = "const {word} = require('greeter');\nrequire('fs').writeFileSync('made.txt', word);\nconsole.log(word);";
    let model = Model::start([
        Says::Calls(vec![("code_javascript", json!({ "source": source }))]),
        Says::Text("It said hello."),
    ]);
    let bench = Bench::furnished(&model);
    if !bench.has_shell() {
        return;
    }
    fs::create_dir_all(bench.path("modules/greeter")).unwrap();
    fs::write(bench.path("modules/greeter/index.js"), "exports.word = 'hello';").unwrap();
    fs::write(bench.path("package-lock.json"), "{}").unwrap();
    // Where no control group holds memory, the address space is held, of which Node takes much.
    add(
        &bench,
        &format!(
            "[systems.work.code.profile.limits]\nmemory_bytes = 68719476736\n[systems.work.code.javascript]\n\
             interpreter = \"/usr/bin/node\"\npackages = \"{}\"\nlock = \"{}\"\n",
            bench.path("modules").display(),
            bench.path("package-lock.json").display()
        ),
    );
    let ended = bench.approve(&bench.hand_over(&["--write", "--shell"]));
    assert_eq!(ended["run"]["status"], "succeeded", "{ended:#}");
    let told = last(&model, 2);
    assert_eq!((&told["exit_code"], &told["output"]), (&json!(0), &json!("hello\n")), "{told:#}");
    assert_eq!(told["changed"], json!([{"path": "made.txt", "how": "made"}]), "{told:#}");
}
