//! Servers of the Model Context Protocol as connectors, end to end: one is imported, classified, called by a playbook and
//! by an agent through the same gate as everything else, and one that changes behind its word is not called any more.

mod logins;
mod ours;
mod people;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    agents::model::{Model, Says},
    kit::validates,
    support::{PERMIT_ALL, Ran, id_of, run_in},
};

const CANARY: &str = "c4nary-of-the-server-0123456789";

/// The server for tests: built beside the harness.
pub(crate) fn fixture() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let built = path.join("examples/mcp-fixture");
    if !built.exists() {
        // Only this test binary was asked for: the examples are not there yet.
        let arguments = ["build", "-q", "-p", "harness-mcp", "--example", "mcp-fixture"];
        assert!(Command::new(env!("CARGO")).args(arguments).status().unwrap().success());
    }
    built.canonicalize().unwrap()
}

/// A store, a pack with one server, and the folder that says how the server is to behave.
struct Shop {
    dir: TempDir,
}

/// What every intent of the pack takes, and its one step.
fn intent(operation: &str, properties: &str, with: &str) -> [(String, String); 2] {
    let names: Vec<&str> =
        properties.split(", ").filter_map(|one| Some(one.split_once(':')?.0)).collect();
    let names = names.join(", ");
    let intent = format!(
        "schema: harness.intent/v1\nname: {operation}\ntitle: Do it\ninput:\n  type: object\n  required: [{names}]\n  \
         additionalProperties: false\n  properties: {{{properties}}}\nplaybook: {operation}\nagent: agent:tools\n\
         triggers: [{operation} it]\nexamples: []\nsubjects: {{}}\n"
    );
    let playbook = format!(
        "schema: harness.playbook/v1\nname: {operation}\nsteps:\n  - id: tool\n    do: notes.{operation}\n    with: {{{with}}}\n    \
         on_failure:\n      unavailable: [stop]\n      timeout: [stop]\n  - id: result\n    \
         return: ${{{{ steps.tool.output }}}}\n"
    );
    [
        (format!("intents/{operation}.yaml"), intent),
        (format!("playbooks/{operation}.yaml"), playbook),
    ]
}

impl Shop {
    /// With the server declared, imported and classified.
    fn open() -> Self {
        let shop = Self::bare(&[]);
        shop.import().exits(0);
        shop.classify(&["add", "echo", "lies", "crash", "big", "ask"]);
        shop
    }

    /// With the server declared.
    fn bare(misbehaves: &[&str]) -> Self {
        let shop = Self { dir: tempfile::tempdir().unwrap() };
        let state = shop.path("state");
        fs::create_dir(&state).unwrap();
        misbehaves.iter().for_each(|how| shop.misbehave(how));
        let fixture = fixture().display().to_string();
        let system = format!(
            "[systems.notes]\nkind = \"mcp\"\nrun = [\"{fixture}\", \"{state}\"]\nsecrets = {{ TOKEN = \"token\" }}\n\
             [systems.notes.profile]\npaths = {{ read = [\"{fixture}\"], write = [\"{state}\"] }}\n",
            state = state.display(),
        );
        shop.configure(&system, "");
        let pack = "schema: harness.pack/v1\nname: tools\nversion: 0.1.0\nowner: tests\ndescription: A server.\n\
                    harness: \">=0.1\"\nasks: {operations: [notes.add, notes.note, notes.echo, notes.fail, notes.lies, \
                    notes.crash, notes.big, notes.ask, model.main], secrets: [], egress: []}\nroles: [approver]\nconstants: {}\n";
        let text = "text: {type: string}";
        let agent = "schema: harness.agent/v1\nname: clerk\ntitle: Clerk\nmodel: main\ninstructions: Do it.\n\
                     input: {type: object, required: [task], properties: {task: {type: string}}}\nuses: [notes.add, notes.note, notes.echo]\n\
                     limits: {turns: 8, calls: 8, tokens: 100000, time: 60m}\n";
        let files = [
            ("pack.yaml".to_owned(), pack.to_owned()),
            ("agents/clerk.yaml".to_owned(), agent.to_owned()),
        ];
        let number = "a: {type: integer}, b: {type: integer}";
        let intents = [
            intent("add", number, "a: \"${{ intent.a }}\", b: \"${{ intent.b }}\""),
            intent("note", text, "text: \"${{ intent.text }}\""),
            intent("echo", text, "text: \"${{ intent.text }}\""),
            intent("fail", text, "text: \"${{ intent.text }}\""),
            intent("lies", "", ""),
            intent("crash", "", ""),
            intent("big", "bytes: {type: integer}", "bytes: \"${{ intent.bytes }}\""),
            intent("ask", "kind: {type: string}", "kind: \"${{ intent.kind }}\""),
        ];
        for (path, text) in files.into_iter().chain(intents.into_iter().flatten()) {
            let path = shop.path("pack").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::create_dir(shop.path("pack/connectors")).unwrap();
        fs::write(shop.path("operator.cedar"), PERMIT_ALL).unwrap();
        fs::write(shop.path("token"), CANARY).unwrap();
        fs::set_permissions(shop.path("token"), fs::Permissions::from_mode(0o600)).unwrap();
        shop
    }

    fn configure(&self, system: &str, more: &str) {
        // A pack without its connector does not load.
        let imported = self.path("pack/connectors/notes.yaml").exists();
        let packs = if imported { "\"pack\"" } else { "" };
        let config = format!(
            "store = \"store\"\npacks = [{packs}]\nme = \"ulla\"\napprovals.terminal = \"name\"\n\
             [people.ulla]\nroles = [\"requester\", \"operator\"]\n[people.mira]\nroles = [\"approver\"]\n\
             [keys]\nreceipts = \"file:keys/receipts.key\"\n[policy]\noperator = [\"operator.cedar\"]\n\
             [secrets]\ntoken = \"file:{}\"\n{system}{more}",
            self.path("token").display(),
        );
        fs::write(self.path("harness.toml"), config).unwrap();
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(below)
    }

    fn misbehave(&self, how: &str) {
        fs::write(self.path("state").join(how), "").unwrap();
    }

    fn misbehave_as(&self, how: &str, text: &str) {
        fs::write(self.path("state").join(how), text).unwrap();
    }

    fn behave(&self, how: &str) {
        fs::remove_file(self.path("state").join(how)).unwrap();
    }

    fn json(&self, args: &[&str]) -> Ran {
        run_in(self.dir.path(), &[&["-o", "json"], args].concat())
    }

    fn import(&self) -> Ran {
        let import = self.json(&["mcp", "import", "--name", "notes", "--to", "pack/connectors"]);
        let config = fs::read_to_string(self.path("harness.toml")).unwrap();
        if import.code == 0 {
            let config = config.replace("packs = []", "packs = [\"pack\"]");
            fs::write(self.path("harness.toml"), config).unwrap();
        }
        import
    }

    fn connector(&self) -> String {
        fs::read_to_string(self.path("pack/connectors/notes.yaml")).unwrap()
    }

    fn edit(&self, from: &str, to: &str) {
        let text = self.connector();
        assert!(text.contains(from), "{from} is in {text}");
        fs::write(self.path("pack/connectors/notes.yaml"), text.replace(from, to)).unwrap();
    }

    /// What somebody does who reads the draft: says which tools only look, and what their answers are worth.
    fn classify(&self, reads: &[&str]) {
        for name in reads {
            self.edit(&format!("\n  {name}:\n"), &format!("\n  {name}:\n    effect: read\n"));
        }
        self.edit("{confidentiality: public}", "{confidentiality: internal}");
        self.edit(
            "{trust: untrusted, confidentiality: internal}",
            "{trust: verified, confidentiality: internal}",
        );
    }

    /// Whether this machine can hold the server; where it cannot, that it is refused and why is what is to be seen.
    fn is_held(&self) -> bool {
        let checks = self.json(&["doctor"]).document()["checks"].clone();
        let checks = checks.as_array().unwrap().clone();
        let check = checks.into_iter().find(|check| check["id"] == "programs").unwrap();
        if check["result"] == "ok" {
            assert_eq!(check["found"], "notes (isolated sandbox)");
            return true;
        }
        assert!(
            std::env::var_os("HARNESS_TEST_SANDBOX").is_none_or(|all| all != "all"),
            "{check:#}"
        );
        println!("skipped: {}", check["found"]);
        false
    }

    /// Runs an intent until it parks: the run in full.
    fn ask(&self, intent: &str, inputs: Value) -> Value {
        let key = format!("k-{intent}-{}", fs::read_dir(self.path("")).unwrap().count());
        fs::write(self.path(&key), "").unwrap();
        let inputs = inputs.to_string();
        let submit = ["intent", "submit", intent, "--json", &inputs, "--idempotency-key", &key];
        let run = id_of(&self.json(&submit).document());
        self.get(&run)
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

    fn notes(&self) -> String {
        fs::read_to_string(self.path("state/notes")).unwrap_or_default()
    }

    fn diff(&self) -> Value {
        let difference = self.json(&["mcp", "diff", "notes"]).exits(0).document();
        validates(&difference);
        difference
    }
}

fn said(run: &Value) -> String {
    run["troubles"][0]["said"].as_str().unwrap_or_default().to_owned()
}

fn class(run: &Value) -> String {
    run["troubles"][0]["class"].as_str().unwrap_or_default().to_owned()
}

/// C056, C130: a server is imported as a pack's connector in which nothing is classified; what somebody classified as a
/// read runs, a write asks a person, is done once and has a receipt; a replay needs no server.
#[test]
fn a_server_is_imported_classified_and_called_through_the_gate() {
    let shop = Shop::bare(&[]);
    if !shop.is_held() {
        return;
    }
    let draft = shop.import().exits(0).document();
    assert_eq!(draft["title"], "fixture 1.2.3");
    let text = shop.connector();
    assert!(!text.contains("effect:") && text.contains("trust: untrusted"), "{text}");
    let unsure = draft["decisions"].to_string();
    assert!(unsure.contains("taken to write what nobody can take back"), "{unsure}");
    assert!(unsure.contains("claims that it only reads"), "{unsure}");
    // The draft loads as it is, and in it nothing reads.
    shop.json(&["pack", "check", "pack"]).exits(0);
    // It is not written over.
    assert_eq!(shop.import().exits(5).problem()["code"], "file-there");
    shop.classify(&["add", "echo"]);
    let sum = shop.ask("add", json!({"a": 40, "b": 2}));
    assert_eq!(sum["run"]["status"], "succeeded", "{sum:#}");
    assert_eq!(sum["output"], json!({"sum": 42}));
    let waiting = shop.ask("note", json!({"text": "buy milk"}));
    assert_eq!(waiting["run"]["status"], "asking", "{waiting:#}");
    assert_eq!(shop.notes(), "");
    let noted = shop.approve(&waiting);
    assert_eq!(noted["run"]["status"], "succeeded", "{noted:#}");
    assert_eq!(noted["output"], json!({"text": "noted"}));
    assert_eq!(shop.notes(), "buy milk\n");
    let run = noted["run"]["id"].as_str().unwrap();
    let receipts = shop.json(&["receipt", "list", run]).exits(0).document();
    assert_eq!(receipts["items"][0]["action"], 1, "{receipts:#}");
    // Its secret is the server's, and nobody else's.
    let exported = shop.path("run.bundle").display().to_string();
    shop.json(&["run", "export", run, "--to", &exported]).exits(0);
    assert!(!crate::support::holds(&fs::read(&exported).unwrap(), CANARY));
    shop.configure("[systems.notes]\nkind = \"mcp\"\nrun = [\"/nowhere/at/all\"]\n", "");
    let replay = shop.json(&["run", "replay", run]).exits(0).document();
    assert_eq!(replay["identical"], true, "{replay:#}");
}

/// C134: a tool whose description or schema is another than what was accepted is not called, and says what to do; a person
/// sees the difference, takes it, and it is called again. One that is gone, or there twice, is not called either, and a
/// new one is nobody's until it is taken.
#[test]
fn a_changed_tool_is_quarantined_until_somebody_accepts_it() {
    let shop = Shop::open();
    if !shop.is_held() {
        return;
    }
    assert_eq!(shop.ask("echo", json!({"text": "a"}))["output"], json!({"text": "a"}));
    let same = shop.diff();
    assert_eq!((&same["same"], &same["tools"]), (&json!(true), &json!([])));
    for (how, why) in [
        ("changed", "the definition of `echo` is another"),
        ("gone", "`notes` has no tool `echo` any more"),
        ("twice", "`notes` has two tools called `echo`"),
    ] {
        shop.misbehave(how);
        let refused = shop.ask("echo", json!({"text": "b"}));
        assert_eq!(refused["run"]["status"], "failed", "{refused:#}");
        assert_eq!(class(&refused), "permission");
        let said = said(&refused);
        assert!(said.contains(why) && said.contains("harness mcp diff notes"), "{said}");
        // What did not change is called as before.
        assert_eq!(shop.ask("add", json!({"a": 1, "b": 1}))["output"]["sum"], 2);
        shop.behave(how);
    }
    shop.misbehave("changed");
    shop.misbehave("more");
    let differs = shop.diff();
    assert_eq!(differs["same"], false);
    let (changed, new) = (&differs["tools"][0], &differs["tools"][1]);
    assert_eq!((&changed["tool"], &changed["state"]), (&json!("echo"), &json!("changed")));
    assert_eq!(changed["changes"][0]["part"], "description");
    assert_eq!(changed["changes"][0]["before"], "Gives a text back");
    assert!(changed["suspicious"][0].as_str().unwrap().contains("before you use"), "{changed:#}");
    assert_eq!((&new["tool"], &new["state"]), (&json!("new_one"), &json!("new")));
    let stranger = shop.json(&["mcp", "accept", "notes", "--tool", "other"]).exits(3).problem();
    assert_eq!(stranger["code"], "no-such-difference");
    let before = shop.connector();
    let taken = shop.json(&["mcp", "accept", "notes"]).exits(0).document();
    assert_eq!(
        (&taken["tools"][0]["taken"], &taken["tools"][1]["taken"]),
        (&json!(true), &json!(false))
    );
    // What somebody wrote about it stays: only what was accepted is another.
    let after = shop.connector();
    let kept = |text: &str| text.split("    request:").next().map(str::to_owned);
    assert_eq!(kept(&before), kept(&after));
    assert!(
        after.contains("\n  echo:\n    effect: read\n") && !after.contains("new_one"),
        "{after}"
    );
    assert_eq!(shop.ask("echo", json!({"text": "c"}))["output"], json!({"text": "c"}));
    shop.json(&["mcp", "accept", "notes", "--tool", "new_one"]).exits(0);
    shop.json(&["pack", "check", "pack"]).exits(0);
    assert!(shop.connector().contains("\n  new_one:\n"), "{}", shop.connector());
    assert_eq!(shop.diff()["tools"], json!([]));
}

/// What a tool says about its own failure leaves a write in doubt, unless the file says that nothing happened then; a
/// result that breaks the server's own promise is no result; a server that ends takes nothing with it.
#[test]
fn failures_of_tools_are_told_apart_and_stay_there() {
    let shop = Shop::open();
    if !shop.is_held() {
        return;
    }
    let doubted = shop.approve(&shop.ask("fail", json!({"text": "the disk is full"})));
    assert_eq!(doubted["run"]["status"], "needs_person", "{doubted:#}");
    shop.edit("tool: fail\n", "tool: fail\n      landed_on_error: no\n");
    let failed = shop.approve(&shop.ask("fail", json!({"text": "the disk is full"})));
    assert_eq!(failed["run"]["status"], "failed", "{failed:#}");
    assert_eq!(class(&failed), "invalid_arguments");
    assert!(said(&failed).contains("the tool says that it failed: the disk is full"), "{failed:#}");
    let lied = shop.ask("lies", json!({}));
    assert_eq!(lied["run"]["status"], "failed", "{lied:#}");
    // C126: the end of one is the end of one.
    let crashed = shop.ask("crash", json!({}));
    assert_eq!(
        (&*class(&crashed), &crashed["run"]["status"]),
        ("unavailable", &json!("failed")),
        "{crashed:#}"
    );
    assert_eq!(shop.ask("add", json!({"a": 1, "b": 1}))["output"]["sum"], 2);
    // A large answer is kept beside the run, as those of every connector.
    let large = shop.ask("big", json!({"bytes": 400_000}));
    assert_eq!(large["run"]["status"], "succeeded", "{large:#}");
    assert!(large["output"]["$blob"].is_string(), "{}", large["output"]);
    // C132: it asks for an answer of a person, and hears a no.
    let asked = shop.ask("ask", json!({"kind": "form"}));
    assert_eq!(asked["run"]["status"], "succeeded", "{asked:#}");
    assert!(asked["output"]["text"].as_str().unwrap().contains("decline"), "{asked:#}");
    assert!(asked["output"]["declined"][0].as_str().unwrap().starts_with("an answer of a person"));
}

/// C126: a program that acts and ends before it answers leaves a write in doubt; the next connection is for the next call, and
/// nothing is made again over it.
#[test]
fn a_program_that_dies_in_a_write_is_not_asked_to_do_it_again() {
    let shop = Shop::bare(&[]);
    if !shop.is_held() {
        return;
    }
    shop.import().exits(0);
    shop.classify(&["add"]);
    let doubted = shop.approve(&shop.ask("crash", json!({})));
    assert_eq!(doubted["run"]["status"], "needs_person", "{doubted:#}");
    assert_eq!(doubted["actions"][0]["outcome"], "in_doubt", "{doubted:#}");
    assert_eq!(shop.ask("add", json!({"a": 1, "b": 1}))["output"]["sum"], 2, "it is up again");
    assert_eq!(shop.notes(), "crash began\n", "it was made once");
}

/// C130: an agent that may write uses the tools of a server through the same gate: a read at once, a write when a person
/// agreed, once and with a receipt; a replay needs neither the server nor the model.
#[test]
fn an_agent_calls_tools_of_a_server_and_a_person_agrees_to_its_write() {
    let shop = Shop::open();
    if !shop.is_held() {
        return;
    }
    let model = Model::start(vec![
        Says::Calls(vec![("notes_add", json!({"a": 20, "b": 22}))]),
        Says::Calls(vec![("notes_note", json!({"text": "it is 42"}))]),
        Says::Text("Done."),
    ]);
    let config = fs::read_to_string(shop.path("harness.toml")).unwrap();
    let providers = format!(
        "[providers.scripted]\napi = \"openai\"\nurl = \"{}\"\nmodel = \"scripted-1\"\nstreaming = \"off\"\n\
         clearance = \"confidential\"\n[models.main]\nproviders = [\"scripted\"]\n",
        model.url
    );
    fs::write(shop.path("harness.toml"), config + &providers).unwrap();
    let start = ["run", "start", "Add and note it", "--agent", "clerk", "--write"];
    let run = shop.json(&start).exits(7).document()["run"]["id"].as_str().unwrap().to_owned();
    let waiting = shop.get(&run);
    assert_eq!(waiting["run"]["status"], "asking", "{waiting:#}");
    let heard = model.messages(2);
    let sum = heard.last().unwrap()["content"].as_str().unwrap();
    assert!(sum.contains("42"), "it was told the sum: {sum}");
    assert_eq!((&*shop.notes(), model.heard().len()), ("", 2));

    let done = shop.approve(&waiting);
    assert_eq!(done["run"]["status"], "succeeded", "{done:#}");
    assert_eq!(done["output"], "Done.");
    assert_eq!(shop.notes(), "it is 42\n", "it was called once");
    let actions = done["actions"].as_array().unwrap();
    let noted: Vec<_> = actions.iter().filter(|one| one["operation"] == "notes.note").collect();
    assert_eq!((noted.len(), &noted[0]["outcome"]), (1, &json!("done")), "{done:#}");
    let receipts = shop.json(&["receipt", "list", &run]).exits(0).document();
    let of_note = |one: &&Value| one["id"] == noted[0]["receipt"];
    let receipt = receipts["items"].as_array().unwrap().iter().find(of_note);
    assert_eq!(receipt.map(|one| &one["action"]), Some(&noted[0]["action"]), "{receipts:#}");

    shop.configure("[systems.notes]\nkind = \"mcp\"\nrun = [\"/nowhere/at/all\"]\n", &providers);
    let replay = shop.json(&["run", "replay", &run]).exits(0).document();
    assert_eq!(replay["identical"], true, "{replay:#}");
    assert_eq!((&*shop.notes(), model.heard().len()), ("it is 42\n", 3));
}

/// C134: what a server's texts and names are up to is said when it is imported, and none of it reaches a model.
#[test]
fn an_import_flags_what_is_suspicious() {
    let shop = Shop::bare(&["changed", "twice"]);
    if !shop.is_held() {
        return;
    }
    let other = "schema: harness.connector/v1\nname: other\nkind: outside\noperations:\n  add: {summary: Add, input: {type: object}, \
                 output: {type: object}}\n  crash_it: {summary: Crash, input: {type: object}, output: {type: object}}\n  \
                 images: {summary: Show, input: {type: object}, output: {type: object}}\n";
    fs::create_dir_all(shop.path("second/connectors")).unwrap();
    fs::write(shop.path("second/connectors/other.yaml"), other).unwrap();
    let pack = "schema: harness.pack/v1\nname: second\nversion: 0.1.0\nowner: tests\ndescription: Another.\nharness: \">=0.1\"\n\
                asks: {operations: [], secrets: [], egress: []}\nroles: []\nconstants: {}\n";
    fs::write(shop.path("second/pack.yaml"), pack).unwrap();
    let config = fs::read_to_string(shop.path("harness.toml")).unwrap();
    fs::write(shop.path("harness.toml"), config.replace("packs = []", "packs = [\"second\"]"))
        .unwrap();
    let draft = shop.import().exits(0).document();
    let about = |what: &str| {
        let all = draft["decisions"].as_array().unwrap();
        let one = all.iter().find(|one| one["text"].as_str().unwrap().contains(what));
        one.unwrap_or_else(|| panic!("{what}: {draft:#}"))["about"].to_string()
    };
    assert!(about("shadows: another connector has an operation `add`").contains("notes.add"));
    assert!(about("passes for `images`").contains("notes.image"));
    // Two of one name cannot be told apart: neither is in the draft.
    assert_eq!(draft["left_out"][0]["place"], "echo");
    shop.behave("twice");
    fs::remove_file(shop.path("pack/connectors/notes.yaml")).unwrap();
    let draft = shop.import().exits(0).document();
    assert!(draft["decisions"].to_string().contains("speaks to a model"), "{draft:#}");
    assert!(shop.connector().contains("summary: Call the tool echo"), "{}", shop.connector());
}

/// A process of the fixture over HTTP, ended with the test.
pub(crate) struct Serving(Child, pub(crate) String);

impl Serving {
    pub(crate) fn start(state: &Path) -> Self {
        let mut child = Command::new(fixture())
            .arg("--http")
            .arg(state)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self(child, line.trim().to_owned())
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ends(&mut self) {
        self.0.wait().unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// C130: a server at an address is imported, called and reached again after it was started anew.
#[test]
fn a_server_at_an_address_is_called_and_reached_again() {
    let shop = Shop::bare(&[]);
    let serving = Serving::start(&shop.path("state"));
    let system = |url: &str| {
        format!(
            "[systems.notes]\nkind = \"mcp\"\nurl = \"{url}\"\nheaders = {{ authorization = {{ secret = \"token\", prefix = \"Bearer \" }} }}\n"
        )
    };
    shop.configure(&system(&serving.1), "");
    shop.import().exits(0);
    shop.classify(&["add"]);
    assert_eq!(shop.ask("add", json!({"a": 1, "b": 2}))["output"]["sum"], 3);
    let noted = shop.approve(&shop.ask("note", json!({"text": "over HTTP"})));
    assert_eq!(noted["run"]["status"], "succeeded", "{noted:#}");
    assert_eq!(shop.notes(), "over HTTP\n");
    drop(serving);
    let nobody = shop.ask("add", json!({"a": 1, "b": 2}));
    assert_eq!(class(&nobody), "unavailable", "{nobody:#}");
    let serving = Serving::start(&shop.path("state"));
    shop.configure(&system(&serving.1), "");
    assert_eq!(shop.ask("add", json!({"a": 1, "b": 4}))["output"]["sum"], 5);
}

/// C150: the credential goes to the declared address and to no other: a redirect is not followed, and what the server
/// says of it comes back nowhere.
#[test]
fn a_credential_goes_to_its_server_alone() {
    let shop = Shop::bare(&[]);
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let there = format!("http://{}/mcp", elsewhere.local_addr().unwrap());
    let heard = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = vec![0; 1 << 16];
        let read = stream.read(&mut buffer).unwrap();
        let answer = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: {there}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&buffer[..read]).into_owned()
    });
    shop.configure(
        &format!("[systems.notes]\nkind = \"mcp\"\nurl = \"{url}\"\nheaders = {{ x-key = {{ secret = \"token\" }} }}\n"),
        "",
    );
    let refused = shop.import();
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert_eq!(refused.exits(75).problem()["code"], "server-not-heard");
    assert!(heard.join().unwrap().contains(&format!("x-key: {CANARY}")));
    assert!(!said.contains(CANARY), "{said}");
    assert!(elsewhere.accept().is_err(), "nobody came");
}
