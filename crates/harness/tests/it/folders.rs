//! Hands: an agent with the shipped `workbench` pack reads and changes files of one folder and runs commands in it,
//! through the same gate, journal, receipts and rollback as everything else.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    agents::model::{Model, Says},
    support::{PERMIT_ALL, Ran, Serving, copy, files, id_of, program, root, run_in},
};

/// A folder with something in it, the pack, and a model that says what its script says.
pub(crate) struct Bench {
    dir: TempDir,
}

impl Bench {
    fn open(script: Vec<Says>) -> Self {
        Self::furnished(&Model::start(script))
    }

    pub(crate) fn furnished(model: &Model) -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(bench.work("src")).unwrap();
        fs::write(bench.work("src/main.rs"), "fn main() {\n    greet(\"world\");\n}\n").unwrap();
        fs::write(bench.work("notes.txt"), "one\ntwo\nthree\n").unwrap();
        fs::write(bench.path("outside.txt"), "nobody's business").unwrap();
        symlink(bench.path("outside.txt"), bench.work("way-out")).unwrap();
        fs::write(bench.path("operator.cedar"), PERMIT_ALL).unwrap();
        let config = format!(
            "store = \"store\"\npacks = [\"{}\"]\nme = \"ulla\"\napprovals.terminal = \"name\"\n\
             [people.ulla]\nroles = [\"requester\", \"operator\"]\n[people.mira]\nroles = [\"approver\"]\n\
             [keys]\nreceipts = \"file:keys/receipts.key\"\n[policy]\noperator = [\"operator.cedar\"]\n\
             [systems.work]\nkind = \"folder\"\npath = \"{}\"\n[systems.work.shell]\n\
             [providers.scripted]\napi = \"openai\"\nurl = \"{}\"\nmodel = \"scripted-1\"\nstreaming = \"off\"\n\
             clearance = \"confidential\"\n[models.main]\nproviders = [\"scripted\"]\n",
            root().join("packs/workbench").display(),
            bench.work("").display().to_string().trim_end_matches('/'),
            model.url,
        );
        fs::write(bench.path("harness.toml"), config).unwrap();
        bench
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(below)
    }

    pub(crate) fn work(&self, below: &str) -> PathBuf {
        self.path("work").join(below)
    }

    pub(crate) fn json(&self, args: &[&str]) -> Ran {
        run_in(self.dir.path(), &[&["-o", "json"], args].concat())
    }

    /// The program in the folder, not begun yet.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = program(self.dir.path());
        command.args(args);
        command
    }

    /// A service that owns the store.
    pub(crate) fn serve(&self) -> Serving {
        Serving::of(self.command(&["serve"])).0
    }

    fn get(&self, run: &str) -> Value {
        self.json(&["run", "get", run]).exits(0).document()
    }

    /// Hands a task to the worker: the run when it parks.
    pub(crate) fn hand_over(&self, more: &[&str]) -> Value {
        let task = ["run", "Do what is to be done", "--agent", "worker"];
        let run = id_of(&self.json(&[&task[..], more].concat()).document());
        self.get(&run)
    }

    /// Whether this machine can hold the shell; where it cannot, that is what the doctor says.
    pub(crate) fn has_shell(&self) -> bool {
        let checks = self.json(&["doctor"]).document()["checks"].clone();
        let checks = checks.as_array().unwrap().clone();
        let check = checks.into_iter().find(|check| check["id"] == "programs").unwrap();
        if check["result"] == "ok" {
            assert_eq!(check["found"], "work (isolated sandbox)");
            return true;
        }
        assert!(
            std::env::var_os("HARNESS_TEST_SANDBOX").is_none_or(|all| all != "all"),
            "{check:#}"
        );
        println!("skipped: {}", check["found"]);
        false
    }

    pub(crate) fn approve(&self, run: &Value) -> Value {
        let id = run["run"]["id"].as_str().unwrap();
        let approval = run["waiting_for"][0].as_str().unwrap_or_else(|| panic!("{run:#}"));
        let card = self.json(&["approval", "get", approval]).exits(0).document();
        let digest = card["digest"].as_str().unwrap();
        self.json(&["--as", "mira", "approval", "approve", approval, "--digest", digest]);
        self.get(id)
    }
}

/// What a folder holds, by path.
fn tree(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files(folder)
}

/// What a model was told of its calls, in order.
pub(crate) fn told(model: &Model, n: usize) -> Vec<Value> {
    let messages = model.messages(n);
    let told = messages.iter().filter(|message| message["role"] == "tool");
    told.map(|message| message["content"].clone()).collect()
}

fn outcomes(run: &Value) -> Vec<(String, String)> {
    let actions = run["actions"].as_array().unwrap().iter();
    let hands = actions.filter(|action| {
        let operation = action["operation"].as_str().unwrap();
        !operation.starts_with("model.") && action["role"] == "step"
    });
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    hands.map(|action| (text(&action["operation"]), text(&action["outcome"]))).collect()
}

#[test]
fn an_agent_looks_changes_and_everything_is_taken_back() {
    let edit =
        json!({ "path": "src/main.rs", "edits": [{ "old": "\"world\"", "new": "\"you\"" }] });
    let model = Model::start([
        Says::Calls(vec![
            ("files_list", json!({ "path": ".", "depth": 2 })),
            ("files_search", json!({ "text": "greet", "globs": ["*.rs"] })),
            ("files_read", json!({ "path": "notes.txt", "from_line": 2, "lines": 1 })),
        ]),
        Says::Calls(vec![("files_edit", edit)]),
        Says::Calls(vec![("files_make_folder", json!({ "path": "docs" }))]),
        Says::Calls(vec![("files_write", json!({ "path": "docs/new.md", "text": "# New\n" }))]),
        Says::Calls(vec![("files_move", json!({ "from": "notes.txt", "to": "docs/notes.txt" }))]),
        Says::Calls(vec![("files_remove", json!({ "path": "docs/new.md" }))]),
        Says::Text("Done."),
    ]);
    let bench = Bench::furnished(&model);
    let before = tree(&bench.work(""));
    let ended = bench.hand_over(&["--write"]);
    assert_eq!(ended["run"]["status"], "succeeded", "{ended:#}");
    let seen = told(&model, 2);
    assert!(seen.iter().any(|text| text.to_string().contains("way-out")), "named, not followed");
    assert!(seen.iter().any(|text| text.to_string().contains("greet(")), "{seen:#?}");
    assert!(seen.iter().any(|text| text.to_string().contains("two\\\\n")), "{seen:#?}");
    let main = fs::read_to_string(bench.work("src/main.rs")).unwrap();
    assert_eq!(main, "fn main() {\n    greet(\"you\");\n}\n");
    assert!(bench.work("docs/notes.txt").is_file() && !bench.work("docs/new.md").exists());
    assert!(outcomes(&ended).iter().all(|(_, outcome)| outcome == "done"), "{ended:#}");

    let run = ended["run"]["id"].as_str().unwrap();
    let replay = bench.json(&["run", "replay", run]).exits(0).document();
    assert_eq!(replay["identical"], true, "{replay:#}");
    let back = bench.json(&["run", "rollback", run]).document();
    let after = bench.get(run);
    assert_eq!(after["run"]["status"], "rolled_back", "{back:#} {after:#}");
    assert_eq!(tree(&bench.work("")), before, "what was there is there again");
}

/// A list that an agent keeps is in its run: shown as it was written last, and the same in a replay.
#[test]
fn an_agent_keeps_a_list_that_its_run_shows() {
    let list = |first: &str, second: &str| {
        json!({ "items": [
            { "text": "look at the notes", "state": first },
            { "id": "edit", "text": "edit main.rs", "state": second },
        ] })
    };
    let model = Model::start([
        Says::Calls(vec![("todo_write", list("doing", "open"))]),
        Says::Calls(vec![("files_read", json!({ "path": "notes.txt" }))]),
        Says::Calls(vec![("todo_write", list("done", "doing"))]),
        Says::Calls(vec![("todo_write", list("doing", "doing"))]),
        Says::Text("Half of it is done."),
    ]);
    let bench = Bench::furnished(&model);
    let ended = bench.hand_over(&[]);
    // A list that is none is a read that failed, and is said beside the answer.
    assert_eq!(ended["run"]["status"], "partial", "{ended:#}");
    let todo = &ended["todo"];
    assert_eq!(
        todo["items"],
        json!([
            { "id": "1", "text": "look at the notes", "state": "done" },
            { "id": "edit", "text": "edit main.rs", "state": "doing" },
        ]),
        "what was no list changed nothing: {ended:#}"
    );
    let outcomes = outcomes(&ended);
    assert_eq!(outcomes.last().unwrap().1, "failed:invalid_arguments", "{outcomes:?}");
    let said = ended["troubles"][0]["said"].as_str().unwrap();
    assert!(said.contains("one is done at a time"), "{said}");
    let run = ended["run"]["id"].as_str().unwrap();
    let shown = bench.json(&["run", "get", run, "-o", "table"]).exits(0).stdout;
    assert!(shown.contains("look at the notes") && shown.contains("edit main.rs"), "{shown}");
    let replay = bench.json(&["run", "replay", run]).exits(0).document();
    assert_eq!(replay["identical"], true, "{replay:#}");
}

#[test]
fn what_somebody_else_changed_is_never_overwritten() {
    let model = Model::start([
        Says::Calls(vec![("files_write", json!({ "path": "notes.txt", "text": "mine" }))]),
        Says::Calls(vec![(
            "files_write",
            json!({ "path": "notes.txt", "text": "mine", "was": "0".repeat(64) }),
        )]),
        Says::Calls(vec![("files_write", json!({ "path": "new.txt", "text": "mine" }))]),
        Says::Text("Done."),
    ]);
    let bench = Bench::furnished(&model);
    let ended = bench.hand_over(&["--write"]);
    let expected = [("failed:stale", 2), ("done", 1)];
    for (outcome, times) in expected {
        let found = outcomes(&ended).iter().filter(|(_, found)| found == outcome).count();
        assert_eq!(found, times, "{outcome}: {ended:#}");
    }
    assert_eq!(fs::read_to_string(bench.work("notes.txt")).unwrap(), "one\ntwo\nthree\n");
    // And what came after a change is not overwritten by taking it back.
    fs::write(bench.work("new.txt"), "somebody else's").unwrap();
    let run = ended["run"]["id"].as_str().unwrap();
    bench.json(&["run", "rollback", run]);
    assert_ne!(bench.get(run)["run"]["status"], "rolled_back");
    assert_eq!(fs::read_to_string(bench.work("new.txt")).unwrap(), "somebody else's");
}

#[test]
fn nothing_leads_out_of_the_folder() {
    let model = Model::start([
        Says::Calls(vec![
            ("files_read", json!({ "path": "../outside.txt" })),
            ("files_read", json!({ "path": "way-out" })),
            ("files_read", json!({ "path": "/etc/hostname" })),
        ]),
        Says::Calls(vec![("files_write", json!({ "path": "way-out", "text": "x", "was": "any" }))]),
        Says::Calls(vec![("files_move", json!({ "from": "notes.txt", "to": "../notes.txt" }))]),
        Says::Text("I could not."),
    ]);
    let bench = Bench::furnished(&model);
    let before = tree(&bench.path("work"));
    let ended = bench.hand_over(&["--write"]);
    assert!(outcomes(&ended).iter().all(|(_, outcome)| outcome != "done"), "{ended:#}");
    assert!(!ended.to_string().contains("nobody's business"), "{ended:#}");
    assert!(!model.heard().iter().any(|heard| heard.to_string().contains("nobody's business")));
    assert_eq!(tree(&bench.path("work")), before);
    assert_eq!(fs::read_to_string(bench.path("outside.txt")).unwrap(), "nobody's business");
}

/// C070: which tools there are follows from what whoever hands over gave leave for.
#[test]
fn without_leave_an_agent_has_neither_changes_nor_a_shell() {
    let tools = |more: &[&str]| {
        let model = Model::start([Says::Text("Nothing to do.")]);
        Bench::furnished(&model).hand_over(more);
        let heard = &model.heard()[0]["tools"];
        let names = heard.as_array().unwrap().iter().map(|tool| tool["function"]["name"].clone());
        names.filter_map(|name| name.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let reads = tools(&[]);
    assert!(reads.contains(&"files_read".to_owned()) && !reads.contains(&"files_write".to_owned()));
    let writes = tools(&["--write"]);
    assert!(writes.contains(&"files_edit".to_owned()) && !writes.contains(&"shell_run".to_owned()));
    assert!(tools(&["--write", "--shell"]).contains(&"shell_run".to_owned()));
}

#[test]
fn a_command_asks_runs_in_the_folder_and_sees_nothing_else() {
    let command = "cat ../outside.txt; cat notes.txt > copy.txt; ls /home /root; \
                   cat /proc/1/environ | head -c 1; env; exit 3";
    let model = Model::start([
        Says::Calls(vec![("shell_run", json!({ "command": command }))]),
        Says::Text("It ended with 3."),
    ]);
    let bench = Bench::furnished(&model);
    fs::create_dir_all(bench.work(".git/hooks")).unwrap();
    if !bench.has_shell() {
        return;
    }
    let asking = bench.hand_over(&["--write", "--shell"]);
    assert_eq!(asking["run"]["status"], "asking", "{asking:#}");
    assert!(!bench.work("copy.txt").exists(), "nothing runs before somebody agreed");
    let card = asking["waiting_for"][0].as_str().unwrap();
    let card = bench.json(&["approval", "get", card]).exits(0).document();
    assert!(
        card.to_string().contains("cat notes.txt > copy.txt"),
        "a person sees all of it: {card:#}"
    );
    // C121: and what it may run and do, read by us.
    let read = &card["command"];
    let programs = read["programs"].as_array().unwrap().iter();
    let programs: Vec<&str> = programs.map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(programs, ["cat", "ls", "head", "env", "exit"], "{card:#}");
    assert_eq!(read["effects"], json!(["reads", "writes"]), "{card:#}");
    assert_eq!(read["writes"], json!(["copy.txt"]), "{card:#}");
    let ended = bench.approve(&asking);
    assert_eq!(ended["run"]["status"], "succeeded", "{ended:#}");
    assert_eq!(fs::read_to_string(bench.work("copy.txt")).unwrap(), "one\ntwo\nthree\n");
    let seen = told(&model, 2)[0].to_string();
    assert!(seen.contains("\\\"exit_code\\\":3") || seen.contains("exit_code"), "{seen}");
    assert!(!seen.contains("nobody's business"), "{seen}");
    assert!(!seen.contains("HOME=") && !seen.contains("scripted"), "{seen}");
}

/// C232: what is mounted to be read cannot be written, and that it was tried stands in the journal with what was said.
#[test]
fn a_command_cannot_plant_what_git_runs_for_somebody_else() {
    let command = "echo evil > .git/hooks/post-checkout || echo refused; ls .git/hooks";
    let model = Model::start([
        Says::Calls(vec![("shell_run", json!({ "command": command }))]),
        Says::Text("Refused."),
    ]);
    let bench = Bench::furnished(&model);
    fs::create_dir_all(bench.work(".git/hooks")).unwrap();
    if !bench.has_shell() {
        return;
    }
    let ended = bench.approve(&bench.hand_over(&["--write", "--shell"]));
    assert!(told(&model, 2)[0].to_string().contains("refused"), "{:#?}", told(&model, 2));
    assert!(!bench.work(".git/hooks/post-checkout").exists());
    let run = ended["run"]["id"].as_str().unwrap();
    let kept = bench.json(&["explain", run]).exits(0).document().to_string();
    assert!(kept.contains("cannot create .git/hooks/post-checkout"), "{kept}");
}

#[test]
fn what_git_keeps_is_not_changed_by_files_either() {
    let bench = Bench::open(vec![]);
    fs::create_dir_all(bench.work("sub/.git")).unwrap();
    fs::write(bench.work("sub/.git/config"), "[core]\n").unwrap();
    let inputs =
        json!({ "path": "sub/.git/config", "old": "[core]", "new": "[core]\nfsmonitor = touch" });
    let inputs = inputs.to_string();
    let submit = ["intent", "submit", "replace_text", "--json", &inputs, "--idempotency-key", "k"];
    let ended = bench.get(&id_of(&bench.json(&submit).document()));
    let said = ended["troubles"][0]["said"].as_str().unwrap().to_owned();
    assert!(said.contains("belongs to git"), "{ended:#}");
    assert_eq!(fs::read_to_string(bench.work("sub/.git/config")).unwrap(), "[core]\n");
}

/// What a rollback could not bring back is not written as if it could.
#[test]
fn large_files_are_read_in_parts_and_not_changed_beyond_what_an_image_holds() {
    let lines = "a \"line\" of text\n".repeat(20_000);
    let model = Model::start([
        Says::Calls(vec![("files_read", json!({ "path": "large.txt" }))]),
        Says::Calls(vec![(
            "files_write",
            json!({ "path": "new.txt", "text": "x".repeat(184_000) }),
        )]),
        Says::Calls(vec![(
            "files_edit",
            json!({ "path": "grows.txt", "edits": [{ "old": "end", "new": "y".repeat(100_000) }] }),
        )]),
        Says::Text("Done."),
    ]);
    let bench = Bench::furnished(&model);
    fs::write(bench.work("large.txt"), &lines).unwrap();
    let grows = "z".repeat(150_000) + "end";
    fs::write(bench.work("grows.txt"), &grows).unwrap();
    let ended = bench.hand_over(&["--write"]);
    let found = outcomes(&ended);
    assert_eq!(found[0].1, "done", "a part of it, and where to go on: {ended:#}");
    assert_eq!(found[1].1, "done", "as much as an image holds: {ended:#}");
    assert_ne!(found[2].1, "done", "it would have grown beyond that: {ended:#}");
    assert_eq!(fs::read_to_string(bench.work("grows.txt")).unwrap(), grows);
    let run = ended["run"]["id"].as_str().unwrap();
    bench.json(&["run", "rollback", run]);
    assert_eq!(bench.get(run)["run"]["status"], "rolled_back");
    assert!(!bench.work("new.txt").exists());
}

#[test]
fn a_noisy_command_keeps_its_beginning_its_end_and_its_exit_code() {
    let command = "echo first; yes noise | head -c 2000000; echo last; exit 4";
    let model = Model::start([
        Says::Calls(vec![("shell_run", json!({ "command": command }))]),
        Says::Text("It ended with 4."),
    ]);
    let bench = Bench::furnished(&model);
    if !bench.has_shell() {
        return;
    }
    let ended = bench.approve(&bench.hand_over(&["--write", "--shell"]));
    assert_eq!(outcomes(&ended)[0].1, "done", "{ended:#}");
    let run = ended["run"]["id"].as_str().unwrap();
    let told = bench.json(&["explain", run]).exits(0).document().to_string();
    assert!(told.contains("\"exit_code\":4") || told.contains("exit_code\\\":4"), "{told}");
}

#[test]
fn a_command_cannot_call_itself_undoable() {
    let bench = Bench::open(vec![]);
    copy(&root().join("packs/workbench"), &bench.path("pack"));
    let path = bench.path("pack/connectors/shell.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let undone =
        "    undo: compensate\n    undo_with: {use: shell.run, with: {command: \"true\"}}\n";
    fs::write(&path, text.replace("    undo: none\n", undone)).unwrap();
    let config = fs::read_to_string(bench.path("harness.toml")).unwrap();
    let shipped = root().join("packs/workbench").display().to_string();
    fs::write(bench.path("harness.toml"), config.replace(&shipped, "pack")).unwrap();
    let problem = bench.json(&["doctor"]).exits(2).problem();
    assert!(
        problem.to_string().contains("nobody can say how to take a command back"),
        "{problem:#}"
    );
}

/// C084: what a sensor would put right is held to the folder as every change is: a patch that points outside does
/// nothing, and the agent goes on.
#[test]
fn a_patch_of_a_sensor_that_points_outside_is_refused() {
    let bench = Bench::open(vec![
        Says::Calls(vec![("files_read", json!({ "path": "notes.txt" }))]),
        Says::Text("I read the notes."),
    ]);
    copy(&root().join("packs/workbench"), &bench.path("pack"));
    let agent = bench.path("pack/agents/worker.yaml");
    let text = fs::read_to_string(&agent).unwrap();
    let sensors = "sensors:\n  - name: tidy\n    after: files.read\n    that: result.size == 0\n    \
                   say: It is not empty.\n    fix:\n      do: files.write\n      \
                   with: {path: ../outside.txt, text: gone, was: any}\n";
    fs::write(&agent, text + sensors).unwrap();
    let config = fs::read_to_string(bench.path("harness.toml")).unwrap();
    let shipped = root().join("packs/workbench").display().to_string();
    fs::write(bench.path("harness.toml"), config.replace(&shipped, "pack")).unwrap();
    // There is no image of what lies outside, so it could not be taken back: a person is asked, and yes does not help.
    let asking = bench.hand_over(&["--write"]);
    assert_eq!(asking["run"]["status"], "asking", "{asking:#}");
    let ended = bench.approve(&asking);
    assert_eq!(ended["output"], "I read the notes.", "{ended:#}");
    let tried = outcomes(&ended).into_iter().find(|(operation, _)| operation == "files.write");
    let (_, outcome) = tried.unwrap_or_else(|| panic!("it was proposed: {ended:#}"));
    assert_eq!(outcome, "failed:invalid_arguments", "{ended:#}");
    assert_eq!(fs::read_to_string(bench.path("outside.txt")).unwrap(), "nobody's business");
}

#[test]
fn a_folder_without_a_shell_runs_nothing() {
    let bench = Bench::open(vec![
        Says::Calls(vec![("shell_run", json!({ "command": "touch made" }))]),
        Says::Text("There is no shell."),
    ]);
    let config = fs::read_to_string(bench.path("harness.toml")).unwrap();
    fs::write(bench.path("harness.toml"), config.replace("[systems.work.shell]\n", "")).unwrap();
    let ended = bench.approve(&bench.hand_over(&["--write", "--shell"]));
    let found = outcomes(&ended);
    assert_eq!(found, [("shell.run".to_owned(), "failed:permission".to_owned())], "{ended:#}");
    assert!(!bench.work("made").exists());
}

/// What an agent works in must not hold what it is held by.
#[test]
fn a_folder_that_holds_the_harness_itself_is_refused() {
    let bench = Bench::open(vec![]);
    let config = fs::read_to_string(bench.path("harness.toml")).unwrap();
    fs::create_dir(bench.path("store")).unwrap();
    fs::create_dir(bench.path("elsewhere")).unwrap();
    symlink(bench.path("store"), bench.path("elsewhere/link")).unwrap();
    let inside = [
        ("", "lies"),
        ("store", "the store"),
        ("store/policies", "the store"),
        ("elsewhere/link", "the store"),
        ("keys", "a secret or key"),
    ];
    let work = bench.work("").display().to_string();
    let work = work.trim_end_matches('/');
    for (folder, said) in inside {
        let path = bench.path(folder).display().to_string();
        let open = format!("path = \"{}\"", path.trim_end_matches('/'));
        let moved = config.replace(&format!("path = \"{work}\""), &open);
        assert_ne!(moved, config);
        fs::write(bench.path("harness.toml"), moved).unwrap();
        let problem = bench.json(&["doctor"]).exits(2).problem();
        assert_eq!(problem["code"], "own-files-open", "{folder}: {problem:#}");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{folder}: {problem:#}");
    }
    // And so is a shell that could read them, or rewrite what decides.
    let opens = |profile: String| {
        let table =
            format!("[systems.work.shell]\n[systems.work.shell.profile.paths]\n{profile}\n");
        let moved = config.replace("[systems.work.shell]\n", &table);
        fs::write(bench.path("harness.toml"), moved).unwrap();
        bench.json(&["doctor"])
    };
    let at = |name: &str| bench.path(name).display().to_string();
    for name in ["store", "keys"] {
        let problem = opens(format!("read = [\"{}\"]", at(name))).exits(2).problem();
        assert_eq!(problem["code"], "own-files-open", "{problem:#}");
    }
    let policy = at("operator.cedar");
    let problem = opens(format!("write = [\"{policy}\"]")).exits(2).problem();
    assert_eq!(problem["code"], "own-files-open", "{problem:#}");
    assert_ne!(opens(format!("read = [\"{policy}\"]")).code, 2, "what it is held by may be read");
}

#[test]
fn what_changes_files_must_call_itself_a_write() {
    let bench = Bench::open(vec![]);
    copy(&root().join("packs/workbench"), &bench.path("pack"));
    let path = bench.path("pack/connectors/files.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let from = "    effect: read\n    summary: \"List";
    assert!(text.contains(from));
    let text = text.replace(from, "    effect: read\n    summary: \"Listing");
    fs::write(&path, text.replacen("request: {do: list}", "request: {do: remove}", 1)).unwrap();
    let config = fs::read_to_string(bench.path("harness.toml")).unwrap();
    let shipped = root().join("packs/workbench").display().to_string();
    fs::write(bench.path("harness.toml"), config.replace(&shipped, "pack")).unwrap();
    let problem = bench.json(&["doctor"]).exits(2).problem();
    let said = "operation files.list: binding/do: `remove` changes files; say `effect: write`";
    assert_eq!(problem["detail"], said, "{problem:#}");
}

/// C032: the pack for coding.
#[test]
fn the_shipped_workbench_passes_its_own_tests() {
    let bench = Bench::open(vec![]);
    let pack = root().join("packs/workbench").display().to_string();
    let tested = bench.json(&["pack", "test", &pack]).exits(0).document();
    assert_eq!(tested["handed_to_agents"], json!(["work"]), "{tested:#}");
    bench.json(&["policy", "check"]).exits(0);
}

#[test]
fn a_playbook_changes_a_file_and_is_taken_back() {
    let bench = Bench::open(vec![]);
    let inputs = json!({ "path": "notes.txt", "old": "two", "new": "2" }).to_string();
    let submit = ["intent", "submit", "replace_text", "--json", &inputs, "--idempotency-key", "k"];
    let run = id_of(&bench.json(&submit).document());
    assert_eq!(bench.get(&run)["run"]["status"], "succeeded", "{:#}", bench.get(&run));
    assert_eq!(fs::read_to_string(bench.work("notes.txt")).unwrap(), "one\n2\nthree\n");
    bench.json(&["run", "rollback", &run]);
    assert_eq!(bench.get(&run)["run"]["status"], "rolled_back");
    assert_eq!(fs::read_to_string(bench.work("notes.txt")).unwrap(), "one\ntwo\nthree\n");
}

#[test]
fn a_folder_is_declared_at_its_place() {
    let cases = [
        ("path = \"/", "path = \"here/", "must be absolute"),
        ("[systems.work.shell]", "[systems.work.shel]", "shel"),
        ("[systems.work.shell]", "[systems.work.shell]\ntier = \"none\"", "none"),
    ];
    for (from, to, said) in cases {
        let bench = Bench::open(vec![]);
        let config = fs::read_to_string(bench.path("harness.toml")).unwrap();
        fs::write(bench.path("harness.toml"), config.replacen(from, to, 1)).unwrap();
        let problem = bench.json(&["doctor"]).exits(2).problem();
        assert!(problem.to_string().contains(said), "{from}: {problem:#}");
    }
}
