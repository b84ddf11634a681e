//! Answers: every document validates against its published schema, and nothing else is printed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Stdio,
};

use serde_json::Value;

use crate::{
    agents::{
        self,
        model::{Model, Says},
    },
    support::{DemoHome, Office, Serving, change, id_of, root, run_in},
};

/// Commands that need nothing of what was done before.
const ALONE: &[&[&str]] = &[
    &["intent", "list"],
    &["intent", "plan", "churn_risk_read", "--input", "account=ACC-0042"],
    &["intent", "submit", "churn_risk_read", "--input", "account=ACC-0007", "--wait"],
    &["run", "Look around and report"],
    &["run", "list"],
    &["run", "work", "list"],
    &["approval", "list"],
    &["exception", "list"],
    &["halt", "list", "--all"],
    &["receipt", "checkpoint"],
    &["receipt", "list", "--customer", "ACC-0007"],
    &["kpi", "report"],
    &["pack", "list"],
    &["pack", "status"],
    &["pack", "failures", "customer-ops"],
    &["pack", "check", "packs/customer-ops"],
    &["policy", "check"],
    &["policy", "matrix"],
    &["policy", "explain", "crm.get_account", "--args", r#"{"account":"ACC-0042"}"#],
    &["store", "check"],
    &["token", "list"],
    &["token", "link"],
    &["doctor"],
    &["config", "show"],
    &["schema"],
];

/// Every published schema by kind, as `harness schema --write` writes them.
fn published(office: &Office) -> BTreeMap<String, Value> {
    let folder = office.path("schemas");
    office.run(&["schema", "--write", folder.to_str().unwrap()]).exits(0);
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let each = files.map(|path| {
        let kind = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (kind, serde_json::from_slice(&fs::read(&path).unwrap()).unwrap())
    });
    each.collect()
}

/// The kind a document's `schema` names: `run` for `harness.run/v1`.
fn kind(document: &Value) -> String {
    let name = document["schema"].as_str().unwrap();
    name.strip_prefix("harness.").unwrap().split('/').next().unwrap().to_owned()
}

#[track_caller]
fn validates(schemas: &BTreeMap<String, Value>, document: &Value, said: &str) -> String {
    let kind = kind(document);
    let schema = schemas.get(&kind).unwrap_or_else(|| panic!("no schema {kind}, for {said}"));
    let validator = jsonschema::validator_for(schema).unwrap();
    let wrong: Vec<String> =
        validator.iter_errors(document).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(wrong.is_empty(), "{said}: {wrong:#?}");
    kind
}

/// A run that waits for a person to take over.
fn need_someone(office: &Office) {
    office.world.fault(&serde_json::json!({
        "system": "crm", "operation": "crm.get_account", "kind": "403",
    }));
    let words = change("ACC-0064", 45, "forbidden");
    office.json(&[&words.each()[..], &["--wait"]].concat()).exits(9);
    office.world.heal();
}

/// What makes folders: a new pack, a backup and what is restored from it.
fn hold_copies(office: &Office, hold: &mut impl FnMut(&[&str]) -> Value) {
    let below = |name: &str| office.path(name).display().to_string();
    let (made, copy, restored) = (below("made"), below("copy"), below("restored"));
    hold(&["pack", "new", "made", "--dir", &made]);
    hold(&["new", "project", "--dir", &made]);
    hold(&["pack", "test", &format!("{made}/made")]);
    let described = crate::support::root().join("docs/openapi.json").display().to_string();
    hold(&["connector", "import", "openapi", &described, "--name", "own", "--to", &made]);
    let key = format!("file:{}", below("publisher.key"));
    hold(&["pack", "sign", &format!("{made}/made"), "--key", &key]);
    hold(&["backup", "create", &copy]);
    hold(&["backup", "verify", &copy]);
    hold(&["backup", "restore", &copy, "--to", &restored]);
    hold(&["--store", &restored, "store", "migrate"]);
    office.tell(&["secret", "set", "spare"], "a-spare-value").exits(0);
    hold(&["secret", "grant", "spare", "--system", "crm"]);
    hold(&["secret", "list"]);
    hold(&["secret", "reveals"]);
    hold(&["run", "leases"]);
    hold(&["pack", "lock"]);
    hold(&["secret", "remove", "spare"]);
    let (folder, again) = (below("kept"), below("again"));
    fs::create_dir(&folder).unwrap();
    let taken = hold(&["sandbox", "snapshot", "take", &folder]);
    hold(&["sandbox", "snapshot", "list"]);
    hold(&["sandbox", "snapshot", "restore", taken["id"].as_str().unwrap(), &again]);
    hold(&["sandbox", "snapshot", "remove", taken["id"].as_str().unwrap()]);
}

/// What makes, claims and installs: the pack is a small one, whose call somebody else makes.
fn hold_what_is_made(office: &Office, hold: &mut impl FnMut(&[&str]) -> Value) {
    hold_copies(office, hold);
    let listed = hold(&["approval", "list"]);
    hold(&["approval", "claim", listed["items"][0]["id"].as_str().unwrap()]);
    hold(&["approval", "batch", r#"[{"approval":"apr_0","verb":"deny","reason":"no"}]"#]);
    let files = [
        (
            "pack.yaml",
            "schema: harness.pack/v1\nname: greeting\nversion: 0.1.0\nowner: office\n\
             description: Says hello.\nharness: \">=0.1\"\nasks: {operations: [voice.say]}\n",
        ),
        (
            "intents/greet.yaml",
            "schema: harness.intent/v1\nname: greet\ntitle: Say hello\ninput: {type: object}\n\
             playbook: greet\nagent: agent:greeter\ntriggers: [hello]\n",
        ),
        (
            "playbooks/greet.yaml",
            "schema: harness.playbook/v1\nname: greet\nsteps:\n  - {id: say, do: voice.say, with: {}}\n",
        ),
        (
            "connectors/voice.yaml",
            "schema: harness.connector/v1\nname: voice\nkind: outside\noperations:\n  say:\n    effect: \
             read\n    egress: false\n    summary: Say hello.\n    input: {type: object, \
             additionalProperties: false}\n    output: {type: object}\n",
        ),
    ];
    for (path, text) in files {
        let path = office.path("greeting").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let folder = office.path("greeting").display().to_string();
    hold(&["--as", "ada", "pack", "install", &folder, "--dry-run"]);
    hold(&["--as", "ada", "pack", "install", &folder, "--yes"]);
    hold(&["pack", "get", "greeting"]);
    let call = hold(&["gate", "call", "greet"]);
    hold(&["gate", "report", call["run"].as_str().unwrap(), "done", "--result", "{}"]);
    hold(&["--as", "ada", "pack", "remove", "greeting"]);
}

/// What is said of sandboxes, in a tier that this machine runs; where it runs none, nothing more is said.
fn sandboxes(office: &Office, schemas: &BTreeMap<String, Value>) -> Vec<String> {
    let proven = office.json(&["sandbox", "doctor"]).document();
    let mut tiers = proven["tiers"].as_array().unwrap().iter();
    let tier = tiers.rfind(|tier| tier.get("refused").is_none());
    let mut seen = vec![validates(schemas, &proven, "sandbox doctor")];
    let Some(tier) = tier.and_then(|tier| tier["tier"].as_str()) else {
        println!("skipped: this machine runs no sandbox");
        return [seen, vec!["sandbox-explained".to_owned(), "sandbox-ended".to_owned()]].concat();
    };
    for words in [&["explain", "--tier", tier][..], &["run", "--tier", tier, "--", "true"]] {
        // What stands behind `--` is the program's.
        let words = [&["-o", "json", "sandbox"], words].concat();
        let document = office.run(&words).exits(0).document();
        seen.push(validates(schemas, &document, &words.join(" ")));
    }
    seen
}

/// Kinds that no command answers here, and the tests that hold them.
const HELD_ELSEWHERE: [&str; 20] = [
    // `agents/watched.rs`: it is heard while something is said.
    "speech",
    // `workers.rs`: a person takes no job.
    "worker-lease",
    "worker-heartbeat",
    "worker-commit",
    // `work.rs`: they need a folder that runs work in.
    "artifact",
    "work-preview",
    "work-dropped",
    // `leases.rs`: they need a job that listens. `cli/secrets.rs`: it needs something that was taken out.
    "lease",
    "lease-made",
    "secret-revealed",
    // `mcp.rs`, `mcp/proxy.rs` and `coder.rs`: clients call them, no command does.
    "tool-list",
    "tool-call",
    "proxied-list",
    "list-changes",
    "proxied-changes",
    "proxied-completion",
    "proxy-learned",
    "hook-verdict",
    // `servers.rs`: they need a changed server, and one that wants a login.
    "mcp-difference",
    "mcp-login",
];

#[test]
fn every_answer_validates_against_its_published_schema() {
    let model = Model::start([Says::Text("Nothing to do.")]);
    let office = agents::office(&model);
    let served = Serving::start(&office);
    let schemas = published(&office);
    let mut seen = BTreeSet::new();
    let mut hold = |words: &[&str]| {
        let document = office.json(words).exits(0).document();
        seen.insert(validates(&schemas, &document, &words.join(" ")));
        document
    };
    let run = office.changed("ACC-0007", 45, "changed");
    let waiting = id_of(&office.submit_change("ACC-0042", 45, "waiting"));
    let (approval, _) = office.card(&waiting);
    need_someone(&office);
    let open = hold(&["exception", "list"]);
    let exception = open["items"][0]["id"].as_str().unwrap().to_owned();
    let receipts = hold(&["receipt", "list", &run]);
    let receipt = receipts["items"][0]["id"].as_str().unwrap().to_owned();
    let made = hold(&["token", "create", "to be ended"]);
    let token = made["kept"]["id"].as_str().unwrap().to_owned();
    let bundle = office.path("run.bundle");
    let bundle = bundle.to_str().unwrap();

    let halt = hold(&["halt", "--connector", "usage"]);
    hold(&["halt", "lift", halt["id"].as_str().unwrap()]);
    for words in [
        &["plan", "get", &run][..],
        &["run", "context", &run],
        &["run", "get", &run],
        &["run", "get", &waiting],
        &["run", "events", &run],
        &["run", "resume", &run],
        &["run", "replay", &run],
        &["run", "artifacts", &run],
        &["run", "egress", &run],
        &["run", "export", &run, "--to", bundle],
        &["run", "pause", &waiting],
        &["run", "rollback", &run, "--dry-run"],
        &["run", "rollback", &run],
        &["approval", "get", &approval],
        &["exception", "get", &exception],
        &["receipt", "get", &receipt],
        &["receipt", "verify", &run],
        &["receipt", "verify", &receipt],
        &["receipt", "export", "--from", "1", "--to", "3"],
        &["explain", &run],
        &["explain", &receipt],
        &["token", "revoke", &token],
    ] {
        hold(words);
    }
    ALONE.iter().for_each(|words| drop(hold(words)));
    hold_what_is_made(&office, &mut hold);
    let note = office.path("note.txt");
    fs::write(&note, "A note.").unwrap();
    let attached = hold(&["run", "Read this note please", "--attach", note.to_str().unwrap()]);
    hold(&["run", "attachment", attached["run"]["id"].as_str().unwrap(), "note.txt"]);
    seen.extend(sandboxes(&office, &schemas));
    let problem = office.json(&["run", "get", "run_00000000000000000000000000000000"]).exits(3);
    seen.insert(validates(&schemas, &problem.problem(), "a problem"));
    seen.insert("demo".to_owned()); // Held by `the_demo_validates`: it needs a home of its own.
    seen.extend(HELD_ELSEWHERE.map(str::to_owned));
    let all: BTreeSet<String> =
        schemas.keys().filter(|kind| !kind.starts_with("file-")).cloned().collect();
    assert_eq!(seen, all, "a kind that no command answers, or the other way round");
    drop(served);
}

#[test]
fn the_demo_validates_against_its_published_schema() {
    let office = Office::open();
    let home = DemoHome::new();
    let told = home.demo(&["--yes", "-o", "json"]).exits(0).document();
    assert_eq!(validates(&published(&office), &told, "demo"), "demo");
}

#[test]
fn each_schema_is_one_document() {
    let dir = tempfile::tempdir().unwrap();
    let listed = run_in(dir.path(), &["schema", "-o", "json"]).exits(0).document();
    for item in listed["items"].as_array().unwrap() {
        let kind = item["name"].as_str().unwrap();
        let ran = run_in(dir.path(), &["schema", kind, "-o", "json"]).exits(0);
        let schema: Value = serde_json::from_str(&ran.stdout).unwrap();
        jsonschema::validator_for(&schema).unwrap();
    }
    let none = run_in(dir.path(), &["schema", "teapot", "-o", "json"]).exits(3);
    assert_eq!(none.problem()["code"], "schema-not-found");
}

#[test]
fn the_published_schemas_are_those_of_this_build() {
    let dir = tempfile::tempdir().unwrap();
    run_in(dir.path(), &["schema", "--write", "schemas"]).exits(0);
    let read = |folder: std::path::PathBuf| -> BTreeMap<String, String> {
        let entries = fs::read_dir(folder).into_iter().flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        let paths = paths.filter(|path| path.extension().is_some_and(|e| e == "json"));
        let named = |path: &std::path::Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        paths.map(|path| (named(&path), fs::read_to_string(&path).unwrap())).collect()
    };
    let (made, committed) = (read(dir.path().join("schemas")), read(root().join("schemas")));
    let stale = made.iter().filter(|(name, text)| committed.get(*name) != Some(*text));
    let gone = committed.keys().filter(|name| !made.contains_key(*name));
    let wrong: Vec<&String> = stale.map(|(name, _)| name).chain(gone).collect();
    assert!(
        wrong.is_empty(),
        "schemas/ is stale: {wrong:?}; refresh it with `cargo run -- schema --write schemas` and \
         delete what has no kind any more"
    );
}

#[test]
fn runs_are_listed_by_operation_and_customer() {
    let office = Office::served();
    let run = office.changed("ACC-0007", 45, "one");
    let other = office.changed("ACC-0003", 30, "two");
    let ids = |filter: &[&str]| -> Vec<String> {
        let listed = office.json(&[&["run", "list"], filter].concat()).exits(0).document();
        let items = listed["items"].as_array().unwrap();
        items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    let actions = office.json(&["run", "get", &run]).exits(0).document()["actions"].clone();
    let operation = actions[0]["operation"].as_str().unwrap();
    assert_eq!(ids(&["--operation", operation]), [other.clone(), run.clone()]);
    assert!(ids(&["--operation", "billing.create_refund"]).is_empty());
    assert_eq!(ids(&["--customer", "ACC-0007"]), [run.as_str()]);
    let both = ["--operation", operation, "--customer", "ACC-0003", "--status", "succeeded"];
    assert_eq!(ids(&both), [other]);
    assert!(ids(&["--customer", "ACC-0007", "--subject", "customer=ACC-0003"]).is_empty());
    assert!(ids(&["--account", "ACC-0007"]).is_empty());
    let refused = office.json(&["run", "list", "--operation", "not an id"]).exits(2).problem();
    assert_eq!(refused["code"], "bad-operation");
}

#[test]
fn every_format_prints_what_it_says() {
    let office = Office::served();
    let run = office.changed("ACC-0007", 45, "one");
    let ids = office.run(&["run", "list", "-o", "id"]).exits(0);
    assert_eq!(ids.stdout, format!("{run}\n"));
    let lines = office.run(&["receipt", "list", &run, "-o", "ndjson"]).exits(0);
    assert!(lines.stdout.lines().count() > 3, "{lines:#?}");
    for line in lines.stdout.lines() {
        let item: Value = serde_json::from_str(line).unwrap();
        assert_eq!(item["run"], run);
    }
    let quiet = office.run(&["run", "get", &run, "--quiet"]).exits(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    // The environment decides where no flag does.
    let mut by_environment = office.command(&["run", "list"]);
    let output = by_environment.env("HARNESS_OUTPUT", "id").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), ids.stdout);
    for words in [
        &["run", "get", &run][..],
        &["run", "list"],
        &["plan", "get", &run],
        &["explain", &run],
        &["receipt", "verify", &run],
        &["kpi", "report"],
        &["policy", "matrix"],
        &["policy", "check"],
        &["doctor"],
        &["intent", "list"],
    ] {
        let table = office.run(words).exits(0);
        assert!(!table.stdout.contains('\u{1b}'), "colour without a terminal: {table:#?}");
        for line in table.stdout.lines() {
            let longest = line.split_whitespace().map(|w| w.chars().count()).max().unwrap_or(0);
            let wide = line.chars().count();
            assert!(wide <= 80 || longest > 60, "{words:?}: {wide} columns: {line}");
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let office = Office::served();
    let run = office.changed("ACC-0007", 45, "one");
    for format in ["table", "json", "ndjson"] {
        let mut command = office.command(&["run", "events", &run, "-o", format]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Closed before a byte is read, as `head -0` does.
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{format}: {ended:?}");
        assert!(ended.stderr.is_empty(), "{format}: {}", String::from_utf8_lossy(&ended.stderr));
    }
}

#[test]
fn the_configuration_says_where_each_value_comes_from() {
    let office = Office::open();
    let shown = office.json(&["config", "show", "--origin"]).exits(0).document();
    let origin = |key: &str| {
        let items = shown["items"].as_array().unwrap();
        let item = items.iter().find(|item| item["key"] == key);
        item.unwrap_or_else(|| panic!("no {key} in {shown:#}"))["origin"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(origin("store").ends_with("harness.toml"));
    assert_eq!(origin("tenant"), "default");
    let other = office.path("other");
    let flagged = office.json(&["config", "show", "--store", other.to_str().unwrap()]).exits(0);
    let store = flagged.document()["items"].as_array().unwrap().clone();
    let store = store.iter().find(|item| item["key"] == "store").unwrap().clone();
    assert_eq!((&store["origin"], store["value"].as_str()), (&"flag".into(), other.to_str()));
    let mut command = office.command(&["config", "show", "-o", "json"]);
    let by_environment = command.env("HARNESS_STORE", &other).output().unwrap();
    let shown_there: Value = serde_json::from_slice(&by_environment.stdout).unwrap();
    let items = shown_there["items"].as_array().unwrap();
    assert!(items.iter().any(|i| i["key"] == "store" && i["origin"] == "environment"), "{items:?}");
    // A secret's reference is shown, its value never.
    let token = fs::read_to_string(office.path("secrets/crm")).unwrap();
    let table = office.run(&["config", "show", "--origin"]).exits(0);
    assert!(!table.stdout.contains(&token) && !shown.to_string().contains(&token));
}

#[test]
fn help_version_manual_and_completion_need_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let help = run_in(dir.path(), &["--help"]).exits(0);
    assert!(help.stdout.contains("Exit codes:") && help.stderr.is_empty(), "{help:#?}");
    assert!(run_in(dir.path(), &["--version"]).exits(0).stdout.starts_with("harness "));
    assert!(run_in(dir.path(), &["man"]).exits(0).stdout.contains(".TH"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(!run_in(dir.path(), &["completion", shell]).exits(0).stdout.is_empty());
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "only the user's folder is there");
}
