//! Work kept apart: each run in a folder of its own, looked at, merged through the gate, taken back or dropped.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use serde_json::{Value, json};

use crate::{
    agents::model::{Model, Says},
    folders::{Bench, told},
    support::id_of,
};

/// What the owner of a repository does in it.
fn git(at: &Path, words: &[&str]) -> String {
    let mut command = Command::new("git");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command.args(["-c", "user.name=Owner", "-c", "user.email=owner@example.com", "-C"]);
    let done = command.arg(at).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "git {words:?}: {said}");
    String::from_utf8_lossy(&done.stdout).trim_end().to_owned()
}

fn reconfigure(bench: &Bench, from: &str, to: &str) {
    let config = fs::read_to_string(bench.path("harness.toml")).unwrap();
    assert!(config.contains(from), "{config}");
    fs::write(bench.path("harness.toml"), config.replace(from, to)).unwrap();
}

/// A bench whose folder is a repository, and where runs work apart.
fn apart(model: &Model) -> Bench {
    let bench = Bench::furnished(model);
    reconfigure(&bench, "kind = \"folder\"\n", "kind = \"folder\"\napart = \"worktree\"\n");
    let work = bench.work("");
    git(&work, &["init", "-q", "-b", "main"]);
    git(&work, &["add", "-A"]);
    git(&work, &["commit", "-q", "-m", "start"]);
    bench
}

/// A run of the playbook that replaces a text: its id.
fn replaced(bench: &Bench, (path, old, new): (&str, &str, &str)) -> String {
    let inputs = json!({ "path": path, "old": old, "new": new }).to_string();
    let key = format!("{old}-{new}");
    let submit = ["intent", "submit", "replace_text", "--json", &inputs, "--idempotency-key", &key];
    let run = id_of(&bench.json(&[&submit[..], &["--wait"]].concat()).exits(0).document());
    assert_eq!(bench.json(&["run", "get", &run]).document()["run"]["status"], "succeeded");
    run
}

fn work(bench: &Bench, words: &[&str]) -> Value {
    bench.json(&[&["run", "work"], words].concat()).exits(0).document()
}

/// Against the published schema of its kind.
#[track_caller]
fn validates(bench: &Bench, document: &Value) {
    let kind = document["schema"].as_str().unwrap();
    let kind = kind.strip_prefix("harness.").and_then(|name| name.split('/').next()).unwrap();
    let schema: Value =
        serde_json::from_str(&bench.json(&["schema", kind]).exits(0).stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wrong: Vec<String> = validator.iter_errors(document).map(|e| e.to_string()).collect();
    assert!(wrong.is_empty(), "{kind}: {wrong:#?}");
}

fn listed(bench: &Bench) -> Vec<String> {
    let listed = work(bench, &["list"]);
    let items = listed["items"].as_array().unwrap().iter();
    items.map(|item| item["run"]["id"].as_str().unwrap().to_owned()).collect()
}

/// C225: runs never see each other's files; what would be merged is shown; a merge is an action with a receipt and a way
/// back; nothing is left of what was dropped.
#[test]
fn runs_work_apart_and_come_together_only_by_a_merge_that_was_looked_at() {
    let bench = apart(&Model::start([]));
    let before = git(&bench.work(""), &["rev-parse", "main"]);
    let one = replaced(&bench, ("notes.txt", "two", "2"));
    let two = replaced(&bench, ("notes.txt", "two", "deux"));
    let three = replaced(&bench, ("notes.txt", "three", "3"));
    let text = fs::read_to_string(bench.work("notes.txt")).unwrap();
    assert_eq!(text, "one\ntwo\nthree\n", "the folder itself is only read");
    let mut there = [one.clone(), two.clone(), three.clone()];
    there.sort();
    assert_eq!(listed(&bench), there);

    let shown = work(&bench, &["show", &one]);
    assert_eq!(shown["way"], "new_branch", "{shown:#}");
    validates(&bench, &shown);
    assert_eq!(shown["changes"], json!([{ "path": "notes.txt", "kind": "changed" }]));
    let diff = shown["diff"].as_str().unwrap();
    assert!(diff.contains("-two\n+2\n") && !diff.contains("deux"), "{diff}");

    let commit = shown["commit"].as_str().unwrap();
    let merged = work(&bench, &["merge", &one, "--branch", "next", "--commit", commit]);
    let merge = merged["run"]["id"].as_str().unwrap().to_owned();
    assert_eq!(merged["run"]["status"], "succeeded", "{merged:#}");
    let held = || git(&bench.work(""), &["show", "next:notes.txt"]);
    assert_eq!(held(), "one\n2\nthree");
    let detail = bench.json(&["run", "get", &merge]).exits(0).document();
    let mut actions = detail["actions"].as_array().unwrap().iter();
    let action = actions.find(|action| action["operation"] == "work.merge").unwrap();
    assert!(action["receipt"].is_string() && action["outcome"] == "done", "{detail:#}");
    assert_eq!(detail["tokens"].as_array().unwrap().len(), 1, "{detail:#}");

    // What somebody else changed in the same place is no merge; what they changed elsewhere is.
    let clash = work(&bench, &["show", &two, "--branch", "next"]);
    assert_eq!((&clash["way"], &clash["conflicts"]), (&json!("conflict"), &json!(["notes.txt"])));
    let refused =
        bench.json(&["run", "work", "merge", &two, "--branch", "next"]).exits(5).problem();
    assert_eq!(refused["code"], "work-conflicts", "{refused:#}");
    let checked_out = bench.json(&["run", "work", "merge", &three, "--branch", "main"]);
    let checked_out = bench.json(&["run", "get", &id_of(&checked_out.document())]).document();
    assert_eq!(checked_out["run"]["status"], "needs_person", "{checked_out:#}");
    assert!(checked_out.to_string().contains("is checked out in"), "{checked_out:#}");

    // And taken back while nobody went on from it.
    bench.json(&["run", "rollback", &merge]).exits(0);
    assert_eq!(bench.json(&["run", "get", &merge]).document()["run"]["status"], "rolled_back");
    assert_eq!(git(&bench.work(""), &["branch", "--list", "next"]), "");
    assert_eq!(git(&bench.work(""), &["rev-parse", "main"]), before);

    for run in [&one, &two, &three] {
        validates(&bench, &work(&bench, &["drop", run]));
    }
    assert_eq!(listed(&bench), Vec::<String>::new());
    bench.json(&["run", "work", "show", &one]).exits(3);
    let left = fs::read_dir(bench.path("store/work/work")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"], "nothing else is left");
}

/// C225: a branch that went on since the merge is not set back over somebody's commits.
#[test]
fn a_merge_that_others_built_on_is_not_taken_back() {
    let bench = apart(&Model::start([]));
    let one = replaced(&bench, ("notes.txt", "two", "2"));
    let two = replaced(&bench, ("src/main.rs", "world", "you"));
    let merge = id_of(&work(&bench, &["merge", &one, "--branch", "next"]));
    // Nobody merges what no preview showed: another commit, or a branch that stood elsewhere.
    let shown = work(&bench, &["show", &two, "--branch", "next"]);
    for (field, other) in [("commit", json!("0".repeat(40))), ("stands_at", Value::Null)] {
        let mut inputs = json!({ "run": two, "branch": "next" });
        for name in ["commit", "stands_at"] {
            inputs[name] = if name == field { other.clone() } else { shown[name].clone() };
        }
        let submit = ["intent", "submit", "merge_work", "--json", &inputs.to_string(), "--wait"];
        let stale = bench.json(&["run", "get", &id_of(&bench.json(&submit).document())]).document();
        assert_eq!(stale["run"]["status"], "needs_person", "{stale:#}");
        assert!(stale.to_string().contains("since the preview"), "{stale:#}");
    }
    work(&bench, &["merge", &two, "--branch", "next"]);
    bench.json(&["run", "rollback", &merge]);
    assert_ne!(bench.json(&["run", "get", &merge]).document()["run"]["status"], "rolled_back");
    assert_eq!(git(&bench.work(""), &["show", "next:notes.txt"]), "one\n2\nthree");
    assert!(git(&bench.work(""), &["show", "next:src/main.rs"]).contains("you"));
}

/// C225: a shell sees the folder of its run and no other; a run that changes nothing leaves nothing. C233: nor does what a
/// killed process had half made.
#[test]
fn a_command_sees_its_own_runs_folder_alone() {
    let look = "ls; cat notes.txt; ls -a /; ls ../.. 2>&1; git log 2>&1 | head -1";
    let model = Model::start([
        Says::Calls(vec![("shell_run", json!({ "command": look }))]),
        Says::Text("Looked."),
    ]);
    let bench = apart(&model);
    if !bench.has_shell() {
        return;
    }
    let other = replaced(&bench, ("notes.txt", "two", "a secret of another run"));
    let half = bench.path("store/work/work/run_half");
    fs::create_dir_all(half.join("tree")).unwrap();
    let ended = bench.approve(&bench.hand_over(&["--write", "--shell"]));
    assert_eq!(ended["run"]["status"], "succeeded", "{ended:#}");
    let seen = told(&model, 2)[0].to_string();
    assert!(seen.contains("one\\\\ntwo\\\\nthree"), "{seen}");
    assert!(!seen.contains("a secret of another run") && !seen.contains(&other), "{seen}");
    assert_eq!(listed(&bench), [other], "what changed nothing is not kept");
    assert!(!half.exists(), "what a killed process had half made is gone");
}

/// C225: keeping changes apart promises nothing about processes, so a weaker tier or another writable place is refused.
#[test]
fn what_would_lead_past_the_folder_of_a_run_is_refused_at_load() {
    let bench = apart(&Model::start([]));
    let weaker = "[systems.work.shell]\ntier = \"restricted\"\n";
    reconfigure(&bench, "[systems.work.shell]\n", weaker);
    let problem = bench.json(&["doctor"]).exits(2).problem();
    assert!(problem["detail"].as_str().unwrap().contains("not processes"), "{problem:#}");
    let elsewhere =
        "[systems.work.shell]\n[systems.work.shell.profile.paths]\nwrite = [\"/srv\"]\n";
    reconfigure(&bench, weaker, elsewhere);
    let problem = bench.json(&["doctor"]).exits(2).problem();
    assert!(problem["detail"].as_str().unwrap().contains("to no other"), "{problem:#}");
    reconfigure(&bench, "apart = \"worktree\"", "apart = \"sheet\"");
    bench.json(&["doctor"]).exits(2);
}

/// C222: what a run publishes is kept by its digest, named by its receipt, and fetched whole; what holds a secret is not
/// kept, in whatever spelling it stands there.
#[test]
fn what_a_run_publishes_is_kept_and_a_secret_never_gets_out_that_way() {
    let canary = "canary-7f3a9c51d2e84b60";
    let encoded = base64(canary.as_bytes());
    let model = Model::start([
        Says::Calls(vec![("files_publish", json!({ "path": "report.bin", "name": "the report" }))]),
        Says::Calls(vec![("files_publish", json!({ "path": "plain.txt" }))]),
        Says::Calls(vec![("files_publish", json!({ "path": "encoded.bin" }))]),
        Says::Calls(vec![("files_publish", json!({ "path": "../outside.txt" }))]),
        Says::Text("Published."),
    ]);
    let bench = Bench::furnished(&model);
    fs::write(bench.path("canary"), canary).unwrap();
    fs::set_permissions(bench.path("canary"), fs::Permissions::from_mode(0o600)).unwrap();
    let named =
        format!("[secrets]\ncanary = \"file:{}\"\n[keys]\n", bench.path("canary").display());
    reconfigure(&bench, "[keys]\n", &named);
    let report: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    fs::write(bench.work("report.bin"), &report).unwrap();
    fs::write(bench.work("plain.txt"), format!("it is {canary}.")).unwrap();
    fs::write(bench.work("encoded.bin"), [&[0xff, 0][..], encoded.as_bytes()].concat()).unwrap();
    let ended = bench.hand_over(&[]);
    assert_eq!(ended["agents"][0]["stopped"], "done", "{ended:#}");
    let run = ended["run"]["id"].as_str().unwrap();
    assert!(!ended.to_string().contains(canary), "{ended:#}");
    let actions = ended["actions"].as_array().unwrap().iter();
    let refused =
        actions.filter(|action| action["failure"].to_string().contains("must not get out"));
    assert_eq!(refused.count(), 2, "plain and encoded: {ended:#}");
    assert!(!serde_json::to_string(&model.heard()).unwrap().contains(canary));

    let listed = bench.json(&["run", "artifacts", run]).exits(0).document();
    let items = listed["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{listed:#}");
    let (artifact, receipt) = (items[0]["artifact"].as_str().unwrap(), &items[0]["receipt"]);
    assert_eq!((&items[0]["name"], &items[0]["size"]), (&json!("the report"), &json!(3_000_000)));
    let named = bench.json(&["receipt", "get", receipt.as_str().unwrap()]).exits(0).document();
    assert!(named.to_string().contains("external_ref"), "the receipt commits to it: {named:#}");
    for (called, file) in [(artifact, "by-digest"), ("the report", "by-name")] {
        let to = bench.path(file).display().to_string();
        validates(
            &bench,
            &bench.json(&["run", "artifact", run, called, "--to", &to]).exits(0).document(),
        );
        assert_eq!(fs::read(&to).unwrap(), report);
        bench.json(&["run", "artifact", run, called, "--to", &to]).exits(2);
    }
    let to = bench.path("none").display().to_string();
    bench.json(&["run", "artifact", run, "plain.txt", "--to", &to]).exits(3);
    assert!(!bench.path("none").exists());
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
