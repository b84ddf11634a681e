//! Agents of the Agent Client Protocol as connectors, end to end: one is started in a sandbox, prompted, and what it wants to
//! do with tools of its own is judged, asked about and recorded by the gate (C003, C131, C133).

mod hostile;
mod judged;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{PERMIT_ALL, Ran, Serving, copy, id_of, program, root, run_in};

/// What only the agent's environment holds.
const CANARY: &str = "c4nary-of-the-agent-0123456789";

/// The agent for tests: built beside the harness.
fn fixture() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let built = path.join("examples/acp-fixture");
    if !built.exists() {
        // Only this test binary was asked for: the examples are not there yet.
        let arguments = ["build", "-q", "-p", "harness-acp", "--example", "acp-fixture"];
        assert!(Command::new(env!("CARGO")).args(arguments).status().unwrap().success());
    }
    built.canonicalize().unwrap()
}

/// A store, a pack with one agent, and the folder that the agent works in.
struct Shop {
    dir: TempDir,
    serving: Option<Serving>,
}

impl Shop {
    /// With an agent that behaves like this.
    fn of(how: &str) -> Self {
        let shop = Self { dir: tempfile::tempdir().unwrap(), serving: None };
        let fixture = fixture().display().to_string();
        fs::create_dir(shop.path("work")).unwrap();
        let work = shop.path("work").display().to_string();
        let system = format!(
            "[systems.helper]\nkind = \"acp\"\nrun = [\"{fixture}\", \"{how}\"]\nsecrets = {{ TOKEN = \"token\" }}\n\
             [systems.helper.profile]\nfolder = \"{work}\"\npaths = {{ write = [\"{work}\"] }}\n"
        );
        shop.configure(&system);
        copy(&root().join("packs/coding-agent"), &shop.path("coding-agent"));
        let connector = "schema: harness.connector/v1\nname: helper\nkind: acp\nsystem: helper\ndefaults:\n  timeout_ms: 60000\n  \
                         labels: {trust: untrusted, confidentiality: internal}\n  clearance: {confidentiality: internal}\noperations:\n";
        let operation = |name: &str, more: &str| {
            format!(
                "  {name}:\n    summary: Have the helper do something\n{more}    input: {{type: object, required: [text], properties: \
                 {{text: {{type: string}}}}}}\n    output: {{type: object, required: [text, stop, uses]}}\n"
            )
        };
        let operations = [
            operation("look", "    effect: read\n"),
            operation("soon", "    effect: read\n    timeout_ms: 3000\n"),
            operation(
                "anyhow",
                "    effect: read\n    request: {unfinished: tell, result: /stop}\n",
            )
            .replace("{type: object, required: [text, stop, uses]}", "{type: string}"),
            operation("act", ""),
        ];
        let names = ["look", "soon", "anyhow", "act"];
        shop.file("pack/connectors/helper.yaml", &format!("{connector}{}", operations.concat()));
        let asks = names.map(|name| format!("helper.{name}")).join(", ");
        shop.file(
            "pack/pack.yaml",
            &format!(
                "schema: harness.pack/v1\nname: team\nversion: 0.1.0\nowner: tests\ndescription: A helper.\nharness: \">=0.1\"\n\
                 asks: {{operations: [{asks}], secrets: [], egress: []}}\nroles: [approver]\nconstants: {{}}\n"
            ),
        );
        for name in names {
            shop.file(
                &format!("pack/intents/{name}.yaml"),
                &format!(
                    "schema: harness.intent/v1\nname: {name}\ntitle: Do it\ninput: {{type: object, required: [text], \
                     additionalProperties: false, properties: {{text: {{type: string}}}}}}\nplaybook: {name}\nagent: agent:team\n\
                     triggers: [{name} it]\nexamples: []\nsubjects: {{}}\n"
                ),
            );
            shop.file(
                &format!("pack/playbooks/{name}.yaml"),
                &format!(
                    "schema: harness.playbook/v1\nname: {name}\nsteps:\n  - id: helper\n    do: helper.{name}\n    with: {{text: \"${{{{ \
                     intent.text }}}}\"}}\n    on_failure:\n      unavailable: [stop]\n      timeout: [stop]\n  - id: result\n    \
                     return: ${{{{ steps.helper.output }}}}\n"
                ),
            );
        }
        shop.file("operator.cedar", PERMIT_ALL);
        shop.file("token", CANARY);
        fs::set_permissions(shop.path("token"), fs::Permissions::from_mode(0o600)).unwrap();
        shop
    }

    fn configure(&self, system: &str) {
        let config = format!(
            "store = \"store\"\npacks = [\"pack\", \"coding-agent\"]\nme = \"ulla\"\napprovals.terminal = \"name\"\n\
             [people.ulla]\nroles = [\"requester\", \"operator\", \"approver\"]\n[people.mira]\nroles = [\"approver\"]\n\
             [keys]\nreceipts = \"file:keys/receipts.key\"\n[policy]\noperator = [\"operator.cedar\"]\n\
             [secrets]\ntoken = \"file:{}\"\n{system}",
            self.path("token").display(),
        );
        self.file("harness.toml", &config);
    }

    /// Served from now on: what waits for a person goes on by itself.
    fn served(mut self) -> Self {
        let mut command = program(self.dir.path());
        command.arg("serve");
        self.serving = Some(Serving::of(command).0);
        self
    }

    fn file(&self, below: &str, text: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(below)
    }

    /// What the agent did in its folder.
    fn did(&self, name: &str) -> bool {
        self.path("work").join(name).exists()
    }

    fn json(&self, args: &[&str]) -> Ran {
        run_in(self.dir.path(), &[&["-o", "json"], args].concat())
    }

    /// Whether this machine can hold the agent; where it cannot, that it is refused and why is what is to be seen.
    fn is_held(&self) -> bool {
        let checks = self.json(&["doctor"]).document()["checks"].clone();
        let checks = checks.as_array().unwrap().clone();
        let check = checks.into_iter().find(|check| check["id"] == "programs").unwrap();
        if check["result"] == "ok" {
            assert_eq!(check["found"], "helper (isolated sandbox)");
            return true;
        }
        let wants_all = std::env::var_os("HARNESS_TEST_SANDBOX").is_some_and(|all| all == "all");
        assert!(!wants_all, "{check:#}");
        println!("skipped: {}", check["found"]);
        false
    }

    /// Hands an intent in, and waits for nothing.
    fn begin(&self, intent: &str, text: &str) -> String {
        let inputs = json!({ "text": text }).to_string();
        let intent = format!("team/{intent}");
        let submit = ["intent", "submit", &intent, "--json", &inputs, "--timeout", "0s"];
        id_of(&self.json(&submit).document())
    }

    /// Runs an intent until it parks: the run in full.
    fn ask(&self, intent: &str, text: &str) -> Value {
        let inputs = json!({ "text": text }).to_string();
        let intent = format!("team/{intent}");
        let run = id_of(&self.json(&["intent", "submit", &intent, "--json", &inputs]).document());
        self.get(&run)
    }

    fn get(&self, run: &str) -> Value {
        self.json(&["run", "get", run]).exits(0).document()
    }

    /// The run, once it stands like this.
    fn once(&self, run: &str, status: &str) -> Value {
        loop {
            let seen = self.get(run);
            if seen["run"]["status"] == status {
                return seen;
            }
            let over = ["succeeded", "failed", "cancelled", "needs_person"];
            let is_over = over.iter().any(|over| seen["run"]["status"] == *over);
            assert!(!is_over, "{status}: {seen:#}");
        }
    }

    /// The runs of what the agent asked about for a run, the newest first.
    fn judged(&self, run: &str) -> Vec<Value> {
        let list = ["run", "list", "--subject", &format!("run={run}")];
        let runs = self.json(&list).exits(0).document();
        runs["items"].as_array().unwrap().clone()
    }

    /// The first of them, once it stands like this.
    fn judged_once(&self, run: &str, status: &str) -> String {
        loop {
            if let Some(judged) = self.judged(run).into_iter().find(|one| one["status"] == status) {
                return judged["id"].as_str().unwrap().to_owned();
            }
        }
    }

    /// What somebody says to what a run asks: how the command ended.
    fn answer(&self, person: &str, verb: &str, run: &str) -> Ran {
        let approval = self.get(run)["waiting_for"][0].as_str().unwrap().to_owned();
        let card = self.json(&["approval", "get", &approval]).exits(0).document();
        let digest = card["digest"].as_str().unwrap();
        let more = match verb {
            "deny" => ["--reason", "not today"],
            _ => ["--digest", digest],
        };
        let words = ["--as", person, "approval", verb, &approval, more[0], more[1]];
        self.json(&[&words[..], &["--timeout", "0s"]].concat())
    }
}

fn said(run: &Value) -> String {
    run["troubles"][0]["said"].as_str().unwrap_or_default().to_owned()
}

fn class(run: &Value) -> String {
    run["troubles"][0]["class"].as_str().unwrap_or_default().to_owned()
}

/// What stands below a folder, as text: where a secret would show.
fn holds(folder: &Path, text: &str) -> bool {
    crate::support::files(folder).iter().any(|(_, bytes)| crate::support::holds(bytes, text))
}

/// An agent is prompted and answers; its answer is text of nobody, without its secrets; it has a receipt, and a replay needs no
/// agent.
#[test]
fn an_agent_is_prompted_and_its_answer_is_told() {
    let shop = Shop::of("");
    if !shop.is_held() {
        return;
    }
    let run = shop.ask("look", "say Hello.\ntoken\nfs\nterminal");
    assert_eq!(run["run"]["status"], "succeeded", "{run:#}");
    let output = &run["output"];
    assert_eq!((&output["stop"], &output["uses"]), (&json!("end_turn"), &json!([])));
    assert_eq!(output["agent"], json!({"name": "acp-fixture", "version": "1.2.3"}));
    let text = output["text"].as_str().unwrap();
    assert!(text.starts_with("Hello."), "{text}");
    // Files and terminals of ours are not offered, and refused.
    assert!(text.ends_with("fs: -32601. terminal: -32601. "), "{text}");
    assert!(!text.contains(CANARY), "{text}");
    let id = run["run"]["id"].as_str().unwrap();
    let verified = shop.json(&["receipt", "verify", id]).exits(0).document();
    assert_eq!(verified["verdict"], "verified");
    assert!(!holds(&shop.path("store"), CANARY));
    shop.configure("[systems.helper]\nkind = \"acp\"\nrun = [\"/nowhere/at/all\"]\n");
    let replay = shop.json(&["run", "replay", id]).exits(0).document();
    assert_eq!(replay["identical"], true, "{replay:#}");
}

/// A program that others wrote is not run between weaker walls.
#[test]
fn an_agent_is_held_by_the_isolated_tier_or_a_stronger_one() {
    let shop = Shop::of("");
    let run = fixture().display().to_string();
    shop.configure(&format!(
        "[systems.helper]\nkind = \"acp\"\ntier = \"restricted\"\nrun = [\"{run}\"]\n"
    ));
    let refused = shop.json(&["run", "list"]).problem();
    assert!(refused["detail"].as_str().unwrap().contains("`tier` is \"isolated\""), "{refused}");
}
