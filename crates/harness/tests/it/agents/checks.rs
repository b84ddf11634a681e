//! Operations that look: acceptance checks and sensors that call a service of their own.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

use super::{
    ACCOUNT,
    model::{Model, Says},
    office,
};
use crate::support::{Office, id_of};

const CONNECTOR: &str = "\
schema: harness.connector/v1
name: checks
kind: http
system: checks
description: Looks at texts and says what is wrong with them.
defaults:
  timeout_ms: 8000
  labels: {trust: verified, confidentiality: internal}
  clearance: {confidentiality: confidential}
operations:
  look:
    effect: read
    summary: Have a text looked at.
    request: {method: GET, path: /look, query: {text: /text}}
    input:
      type: object
      required: [text]
      additionalProperties: false
      properties: {text: {type: string, maxLength: 2000}}
    output:
      type: object
      required: [verdict]
      properties:
        verdict: {enum: [pass, fail, not_run]}
        message: {type: string}
        findings: {type: array, items: {type: string}}
";

const HELPER: &str = "\
schema: harness.agent/v1
name: checked-helper
instructions: Look accounts up.
uses: [crm.get_account]
accept:
  - {do: checks.look, with: {text: \"${{ result }}\"}, say: Name the owner of the account.}
sensors:
  - name: fresh
    after: crm.get_account
    do: checks.look
    with: {text: \"${{ args.account }}\"}
    say: Say how old the record is.
limits: {turns: 9, calls: 9, tokens: 100000, time: 1h, repairs: 2}
";

/// A service that looks at texts: what it said about each.
#[derive(Clone)]
struct Checks {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Checks {
    /// It answers what `says` makes of the path that is asked for.
    fn start(says: fn(&str) -> (u16, Value)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let checks = Self { url, asked: Arc::default() };
        let served = checks.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                served.answer(stream.unwrap(), says);
            }
        });
        checks
    }

    fn answer(&self, mut stream: TcpStream, says: fn(&str) -> (u16, Value)) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut first, mut length) = (String::new(), 0);
        reader.read_line(&mut first).unwrap();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        reader.read_exact(&mut vec![0; length]).unwrap();
        let path = first.split(' ').nth(1).unwrap().to_owned();
        let (status, body) = says(&path);
        self.asked.lock().unwrap().push(path);
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// An office whose pack has the service, and an agent that it looks at.
fn checked(model: &Model, checks: &Checks) -> Office {
    let office = office(model);
    let pack = office.path("packs/customer-ops");
    fs::write(pack.join("connectors/checks.yaml"), CONNECTOR).unwrap();
    fs::write(pack.join("agents/checked-helper.yaml"), HELPER).unwrap();
    let manifest = fs::read_to_string(pack.join("pack.yaml")).unwrap();
    let asks = manifest.replace("    - crm.add_note\n", "    - checks.look\n    - crm.add_note\n");
    assert_ne!(asks, manifest);
    fs::write(pack.join("pack.yaml"), asks).unwrap();
    let system =
        format!("[systems.checks]\nkind = \"http\"\nurl = \"{}\"\n[secrets]\n", checks.url);
    office.reconfigure("[secrets]\n", &system);
    office
}

fn start(office: &Office) -> Value {
    let task = ["run", "Who owns the account?", "--agent", "checked-helper"];
    office.json(&task).document()
}

/// The marks that say what looked, and what it found.
fn sensed(office: &Office, run: &str) -> Vec<String> {
    let events = office.json(&["run", "events", run]).exits(0).document();
    let marks = events["items"].as_array().unwrap().iter().map(|event| &event["body"]["mark"]);
    let sensed = marks.filter(|mark| mark["mark"] == "sensed");
    sensed.map(|m| format!("{} {}", m["sensor"], m["verdict"]).replace('"', "")).collect()
}

fn content(message: &Value) -> &str {
    message["content"].as_str().unwrap_or_default()
}

#[track_caller]
fn replays(office: &Office, run: &str) {
    let replay = office.json(&["run", "replay", run]).exits(0).document();
    assert_eq!(replay["identical"], true, "{replay:#}");
}

/// What an operation finds in a result is told in the next turn; what one finds in the answer sends it back
/// with the pack's words, never with the check's (C083). A replay asks neither.
#[test]
fn operations_look_at_results_and_at_the_answer() {
    let checks = Checks::start(|path| match path.contains("ACC-0001") || path.contains("Mira") {
        true if path.contains("Mira") => (200, json!({ "verdict": "pass" })),
        true => (200, json!({ "verdict": "fail", "message": "last changed in spring" })),
        false => (200, json!({ "verdict": "fail", "message": "the secret rule 7" })),
    });
    let model = Model::start([
        Says::Calls(vec![("crm_get_account", json!({ "account": ACCOUNT }))]),
        Says::Text("Somebody."),
        Says::Text("It is Mira's, as of spring."),
    ]);
    let office = checked(&model, &checks);
    let ran = start(&office);
    let run = id_of(&ran);
    assert_eq!(ran["output"], "It is Mira's, as of spring.", "{ran:#}");
    let told = model.messages(2).pop().unwrap();
    let said = content(&told).to_owned();
    assert!(said.starts_with("`fresh`: fail\nSay how old the record is."), "{said}");
    assert!(said.contains("last changed in spring"), "{said}");
    let sent_back = model.messages(3).pop().unwrap();
    assert_eq!(content(&sent_back), "Your answer was not accepted: Name the owner of the account.");
    assert!(!model.heard()[2].to_string().contains("rule 7"), "what it checks by is its own");
    let marks = ["fresh fail", "accept-0 fail", "accept-0 pass"];
    assert_eq!(sensed(&office, &run), marks);
    assert_eq!(checks.asked(), 3);
    replays(&office, &run);
    assert_eq!((checks.asked(), model.heard().len()), (3, 3), "a replay asks nobody");
}

/// A check that cannot look accepts nothing; a sensor that cannot look stops nothing.
#[test]
fn an_answer_whose_check_cannot_look_does_not_stand() {
    let checks = Checks::start(|_| (200, json!({ "verdict": "perhaps" })));
    let model = Model::start([
        Says::Calls(vec![("crm_get_account", json!({ "account": ACCOUNT }))]),
        Says::Text("It is Mira's."),
        Says::Text("It is Mira's."),
        Says::Text("It is Mira's."),
    ]);
    let office = checked(&model, &checks);
    let ran = start(&office);
    let run = id_of(&ran);
    assert_eq!(ran["agents"][0]["stopped"], "invalid_model_output", "{ran:#}");
    let said = content(&model.messages(2).pop().unwrap()).to_owned();
    assert!(said.starts_with("`fresh`: not_run") || said.starts_with("`fresh`: not run"), "{said}");
    assert_eq!((checks.asked(), model.heard().len()), (4, 4), "each answer was looked at");
    // What ends the run drops what would still have been marked.
    let marks = ["fresh not_run", "accept-0 not_run", "accept-0 not_run"];
    assert_eq!(sensed(&office, &run), marks);
    replays(&office, &run);
}

/// A pack whose checks are a command of the operator's: its exit code is the verdict.
const COMMAND: &str = "\
schema: harness.connector/v1
name: rules
kind: process
system: rules
description: Looks at texts by a command.
defaults:
  timeout_ms: 20000
  labels: {trust: verified, confidentiality: internal}
  clearance: {confidentiality: confidential}
operations:
  check:
    effect: read
    summary: Check a text.
    request: {answer: verdict}
    input:
      type: object
      required: [text]
      additionalProperties: false
      properties: {text: {type: string, maxLength: 2000}}
    output:
      type: object
      required: [verdict, message]
      properties: {verdict: {enum: [pass, fail]}, message: {type: string}}
";

/// Ends as a test runner does: 0 where all is well, else with why on its errors; a word has it end otherwise.
const SCRIPT: &str = "\
call=$(cat)
case $call in
*nobody*) exit 127 ;;
*crash*) kill -9 $$ ;;
*Mira*) echo 'one rule holds' ;;
*ACC-0001*) echo 'looked at a record' ; echo 'last changed in spring' >&2 ; exit 101 ;;
*) echo 'the secret rule 7' >&2 ; exit 1 ;;
esac
";

fn commanded(model: &Model) -> Office {
    let office = office(model);
    let pack = office.path("packs/customer-ops");
    fs::write(pack.join("connectors/rules.yaml"), COMMAND).unwrap();
    let helper = HELPER.replace("checks.look", "rules.check");
    fs::write(pack.join("agents/checked-helper.yaml"), helper).unwrap();
    let manifest = fs::read_to_string(pack.join("pack.yaml")).unwrap();
    let asks = manifest.replace("    - crm.add_note\n", "    - rules.check\n    - crm.add_note\n");
    assert_ne!(asks, manifest);
    fs::write(pack.join("pack.yaml"), asks).unwrap();
    let script = office.path("rules.sh");
    fs::write(&script, SCRIPT).unwrap();
    let script = script.canonicalize().unwrap().display().to_string();
    let system = format!(
        "[systems.rules]\nkind = \"process\"\nrun = [\"/bin/sh\", \"{script}\"]\n\
         [systems.rules.profile.paths]\nread = [\"{script}\"]\n[secrets]\n"
    );
    office.reconfigure("[secrets]\n", &system);
    office
}

/// C083: a command looks at a result and at the answer, by its exit code. What it wrote is told about a result; of the check of
/// an answer the agent hears the pack's words alone, and a replay runs no command.
#[test]
fn commands_look_at_results_and_at_the_answer() {
    let model = Model::start([
        Says::Calls(vec![("crm_get_account", json!({ "account": ACCOUNT }))]),
        Says::Text("Somebody."),
        Says::Text("It is Mira's, as of spring."),
    ]);
    let office = commanded(&model);
    let ran = start(&office);
    let run = id_of(&ran);
    assert_eq!(ran["output"], "It is Mira's, as of spring.", "{ran:#}");
    let said = content(&model.messages(2).pop().unwrap()).to_owned();
    assert!(said.starts_with("`fresh`: fail\nSay how old the record is."), "{said}");
    assert!(said.contains("looked at a record\nlast changed in spring"), "{said}");
    let sent_back = model.messages(3).pop().unwrap();
    assert_eq!(content(&sent_back), "Your answer was not accepted: Name the owner of the account.");
    assert!(!model.heard()[2].to_string().contains("rule 7"), "what it checks by is its own");
    let marks = ["fresh fail", "accept-0 fail", "accept-0 pass"];
    assert_eq!(sensed(&office, &run), marks);
    fs::remove_file(office.path("rules.sh")).unwrap();
    replays(&office, &run);
}

/// A command that could not be started, or was ended, found nothing: what it was to accept is not accepted.
#[test]
fn an_answer_whose_command_was_ended_does_not_stand() {
    let says = ["nobody", "a crash", "nobody"].map(Says::Text);
    let model = Model::start(says);
    let office = commanded(&model);
    let ran = start(&office);
    assert_eq!(ran["agents"][0]["stopped"], "invalid_model_output", "{ran:#}");
    assert_eq!(sensed(&office, &id_of(&ran)), ["accept-0 not_run", "accept-0 not_run"]);
}
