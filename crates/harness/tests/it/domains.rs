//! C032: the packs for data work and for a personal assistant, as they are shipped: their own tests, their playbooks on
//! a real folder, their agents with a scripted model.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    agents::model::{Model, Says},
    support::{PERMIT_ALL, Ran, id_of, root, run_in},
};

/// Records, and the folder that reports go to.
const FILES: [(&str, &str); 2] = [("sales/2026.csv", SALES), ("reports/README.md", "")];

const SALES: &str = "region,month,amount\nnorth,May,12.50\nsouth,May,3\nnorth,,4\n";

/// A folder, the pack that works in it, and a model that says what its script says.
struct Desk {
    dir: TempDir,
    pack: &'static str,
}

impl Desk {
    fn open(pack: &'static str, system: &str, files: &[(&str, &str)], script: Vec<Says>) -> Self {
        let desk = Self { dir: tempfile::tempdir().unwrap(), pack };
        for (path, text) in files {
            let path = desk.file(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::write(desk.path("operator.cedar"), PERMIT_ALL).unwrap();
        let config = format!(
            "store = \"store\"\npacks = [\"{}\"]\nme = \"ulla\"\napprovals.terminal = \"name\"\n\
             [people.ulla]\nroles = [\"requester\", \"operator\"]\n[people.mira]\nroles = [\"approver\"]\n\
             [keys]\nreceipts = \"file:keys/receipts.key\"\n[policy]\noperator = [\"operator.cedar\"]\n\
             [systems.{system}]\nkind = \"folder\"\npath = \"{}\"\n\
             [providers.scripted]\napi = \"openai\"\nurl = \"{}\"\nmodel = \"scripted-1\"\nstreaming = \"off\"\n\
             clearance = \"confidential\"\n[models.main]\nproviders = [\"scripted\"]\n",
            desk.place(),
            desk.path("work").display(),
            Model::start(script).url,
        );
        fs::write(desk.path("harness.toml"), config).unwrap();
        desk
    }

    fn place(&self) -> String {
        root().join("packs").join(self.pack).display().to_string()
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(below)
    }

    fn file(&self, below: &str) -> PathBuf {
        self.path("work").join(below)
    }

    fn read(&self, below: &str) -> String {
        fs::read_to_string(self.file(below)).unwrap()
    }

    fn json(&self, args: &[&str]) -> Ran {
        run_in(self.dir.path(), &[&["-o", "json"], args].concat())
    }

    /// Submits and waits: the run when it parks.
    fn submit(&self, intent: &str, inputs: &Value) -> Value {
        let inputs = inputs.to_string();
        let words = ["intent", "submit", intent, "--json", &inputs, "--wait"];
        self.get(&id_of(&self.json(&words).document()))
    }

    fn get(&self, run: &str) -> Value {
        self.json(&["run", "get", run]).exits(0).document()
    }

    fn approve(&self, run: &Value) -> Value {
        let approval = run["waiting_for"][0].as_str().unwrap_or_else(|| panic!("{run:#}"));
        let card = self.json(&["approval", "get", approval]).exits(0).document();
        let digest = card["digest"].as_str().unwrap();
        self.json(&["--as", "mira", "approval", "approve", approval, "--digest", digest]);
        self.get(run["run"]["id"].as_str().unwrap())
    }

    fn passes_its_own_tests(&self, agents: &[&str]) {
        let tested = self.json(&["pack", "test", &self.place()]).exits(0).document();
        assert_eq!(tested["handed_to_agents"], json!(agents), "{tested:#}");
        self.json(&["policy", "check"]).exits(0);
    }
}

/// The pack for data work: a file is described by counting alone, the report can be taken back, and records are never
/// changed.
#[test]
fn data_files_are_described_without_a_model() {
    let desk = Desk::open("data", "data", &FILES, vec![]);
    desk.passes_its_own_tests(&["analyse"]);
    let inputs = json!({ "path": "sales/2026.csv", "report": "sales" });
    let run = desk.submit("profile", &inputs);
    assert_eq!(run["run"]["status"], "succeeded", "{run:#}");
    let told = json!({
        "report": "reports/sales.md", "records": 3, "incomplete": 1, "bytes": SALES.len(),
    });
    assert_eq!(run["output"], told, "{run:#}");
    let report = desk.read("reports/sales.md");
    assert!(report.contains("| records | 3 |"), "{report}");
    assert!(report.contains("| columns | region,month,amount |"), "{report}");
    let run = run["run"]["id"].as_str().unwrap();
    desk.json(&["run", "rollback", run]);
    // What was there before is untrusted as all of the folder is, so putting it back asks a person.
    assert!(desk.file("reports/sales.md").exists());
    assert_eq!(desk.approve(&desk.get(run))["run"]["status"], "rolled_back");
    assert!(!desk.file("reports/sales.md").exists());
    assert_eq!(desk.read("sales/2026.csv"), SALES);
}

/// Its agent reads, computes and answers with sources; what it has read is untrusted, so its report asks a person, and a
/// change of the records is denied whoever would approve it.
#[test]
fn an_analyst_computes_and_its_report_asks() {
    let write = |path: &str| {
        ("data_write", json!({ "path": path, "text": "# May\n\nnorth: 12.50\n", "was": "any" }))
    };
    let answer = r#"{"answer": "15.5 in May.", "report": "reports/may.md",
        "figures": [{"name": "May", "value": "15.5", "source": "sales/2026.csv, records 1 and 2"}]}"#;
    let script = vec![
        Says::Calls(vec![("data_read", json!({ "path": "sales/2026.csv" }))]),
        Says::Calls(vec![("calc_evaluate", json!({ "expression": "12.50 + 3" }))]),
        Says::Calls(vec![write("sales/2026.csv")]),
        Says::Calls(vec![write("reports/may.md")]),
        Says::Text(answer),
    ];
    let desk = Desk::open("data", "data", &FILES, script);
    let run =
        desk.submit("analyse", &json!({ "question": "What was sold in May? Write a report." }));
    assert_eq!(run["run"]["status"], "asking", "{run:#}");
    assert!(!desk.file("reports/may.md").exists());
    let run = desk.approve(&run);
    assert_eq!(run["output"]["figures"][0]["value"], "15.5", "{run:#}");
    assert!(desk.read("reports/may.md").contains("12.50"));
    assert_eq!(desk.read("sales/2026.csv"), SALES);
    let replay = ["run", "replay", run["run"]["id"].as_str().unwrap()];
    assert_eq!(desk.json(&replay).exits(0).document()["identical"], true);
}

/// The pack for a personal assistant: lines are added without a model and taken back, and looked up again.
#[test]
fn todos_and_reminders_are_kept_and_taken_back() {
    let files = [("todo.md", "- [x] sow peas\n"), ("reminders.md", "")];
    let desk = Desk::open("assistant", "notes", &files, vec![]);
    desk.passes_its_own_tests(&["assist"]);
    let todo = desk.submit("add_todo", &json!({ "what": "call the roofer" }));
    assert_eq!(todo["run"]["status"], "succeeded", "{todo:#}");
    assert_eq!(desk.read("todo.md"), "- [x] sow peas\n- [ ] call the roofer\n");
    let reminder = json!({ "day": "2026-12-24", "what": "presents" });
    let run = desk.submit("add_reminder", &reminder);
    assert_eq!(run["run"]["status"], "succeeded", "{run:#}");
    let due = desk.submit("due", &json!({}));
    assert_eq!(due["output"]["reminders"], "- 2026-12-24: presents\n", "{due:#}");
    assert!(due["output"]["open"].to_string().contains("call the roofer"), "{due:#}");
    desk.json(&["run", "rollback", todo["run"]["id"].as_str().unwrap()]);
    assert_eq!(desk.read("todo.md"), "- [x] sow peas\n");
}

/// Its agent notes down what its owner said; a note goes only when somebody approves exactly that.
#[test]
fn an_assistant_notes_down_and_removes_nothing_unasked() {
    let script = vec![
        Says::Calls(vec![("notes_write", json!({ "path": "notes/roof.md", "text": "Leaks.\n" }))]),
        Says::Calls(vec![("notes_remove", json!({ "path": "notes/old.md" }))]),
        Says::Text("I noted the roof down in notes/roof.md and removed notes/old.md."),
    ];
    let files = [("todo.md", ""), ("notes/old.md", "old\n")];
    let desk = Desk::open("assistant", "notes", &files, script);
    let run =
        desk.submit("assist", &json!({ "wish": "Note that the roof leaks, and drop old.md" }));
    assert_eq!(run["run"]["status"], "asking", "{run:#}");
    assert_eq!(desk.read("notes/roof.md"), "Leaks.\n");
    assert!(desk.file("notes/old.md").exists());
    let run = desk.approve(&run);
    assert_eq!(run["run"]["status"], "succeeded", "{run:#}");
    assert_eq!(run["agents"][0]["claims_unproven"], 0, "{run:#}");
    assert!(!desk.file("notes/old.md").exists());
}
