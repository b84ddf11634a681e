//! `connector import openapi`: our own API, described by its own document, as the connector of another installation
//! (C056), and what the command says on a bad day.

mod sent;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    api::Api,
    support::{PERMIT_ALL, id_of, root, run_in},
};

fn import(dir: &Path, words: &[&str]) -> crate::support::Ran {
    run_in(dir, &[&["-o", "json", "connector", "import", "openapi"], words].concat())
}

/// The operation of a draft with this name: which of its files holds it is the draft's to say.
fn operation(drafted: &Value, name: &str) -> String {
    let mut files = drafted["files"].as_array().unwrap().iter();
    let holds =
        |file: &&Value| file["operations"].as_array().unwrap().iter().any(|own| own == name);
    let file = files.find(holds).unwrap_or_else(|| panic!("{name}: {drafted:#}"));
    format!("{}.{name}", file["connector"].as_str().unwrap())
}

/// How a command ends whose run waits for a person.
const ASKS_AGAIN: i32 = 7;

/// Agrees to whatever a run asks, as mira, until it asks nothing any more; how often that was.
fn approve_all(dir: &Path, run: &str) -> usize {
    let json = |words: &[&str]| run_in(dir, &[&["-o", "json"], words].concat());
    for agreed in 0..10 {
        let detail = json(&["run", "get", run]).exits(0).document();
        let Some(approval) = detail["waiting_for"][0].as_str() else { return agreed };
        let card = json(&["approval", "get", approval]).exits(0).document();
        let digest = card["digest"].as_str().unwrap();
        let told = json(&["--as", "mira", "approval", "approve", approval, "--digest", digest]);
        assert!(matches!(told.code, 0 | ASKS_AGAIN), "{told:#?}");
    }
    panic!("it asks and asks");
}

/// A second installation, whose pack is drafted from the document of the first one's API.
fn neighbour(api: &Api, token: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    for folder in ["pack/connectors", "pack/playbooks", "pack/intents"] {
        fs::create_dir_all(here.join(folder)).unwrap();
    }
    let document = root().join("docs/openapi.json").display().to_string();
    let drafted = import(here, &[&document, "--name", "own", "--to", "pack/connectors"]);
    let drafted = drafted.exits(0).document();
    assert_eq!(drafted["left_out"][0]["place"], "GET /v1/events", "{drafted:#}");
    let placed = |text: &str| {
        ["pack_list", "run_list", "halt_set"].iter().fold(text.to_owned(), |text, name| {
            text.replace(&format!("own.{name}"), &operation(&drafted, name))
        })
    };
    let files = [
        (
            "pack/pack.yaml",
            "schema: harness.pack/v1\nname: neighbour\nversion: 0.1.0\nowner: team\ndescription: Looks next door.\n\
             harness: \">=0.1\"\nasks: {operations: [own.pack_list, own.run_list, own.halt_set], secrets: [own_token]}\n",
        ),
        (
            "pack/playbooks/look.yaml",
            "schema: harness.playbook/v1\nname: look\nsteps:\n  - {id: packs, do: own.pack_list, with: {}}\n  \
             - {id: runs, do: own.run_list, with: {limit: 1}}\n  \
             - {id: stop, do: own.halt_set, with: {body: {connector: mail, reason: \"from next door\"}}}\n",
        ),
        (
            "pack/intents/look.yaml",
            "schema: harness.intent/v1\nname: look\ntitle: Look\ninput: {type: object}\nplaybook: look\n\
             agent: agent:looker\ntriggers: [look]\n",
        ),
        ("operator.cedar", PERMIT_ALL),
        ("token", token),
    ];
    for (name, text) in files {
        fs::write(here.join(name), placed(text)).unwrap();
    }
    fs::set_permissions(here.join("token"), fs::Permissions::from_mode(0o600)).unwrap();
    let config = format!(
        "store = \"store\"\npacks = [\"pack\"]\nme = \"ulla\"\napprovals.terminal = \"name\"\n\
         [people.ulla]\nroles = [\"requester\"]\n[people.mira]\nroles = [\"approver\"]\n\
         [keys]\nreceipts = \"file:keys/receipts.key\"\n[policy]\noperator = [\"operator.cedar\"]\n\
         [secrets]\nown_token = \"file:{}\"\n[systems.own]\nkind = \"http\"\nurl = \"http://{}\"\n",
        here.join("token").display(),
        api.host
    );
    fs::write(here.join("harness.toml"), config).unwrap();
    dir
}

#[test]
fn our_own_api_is_a_governed_connector_of_another_installation() {
    let api = Api::open();
    let token = api.token("ulla", &[]);
    let next_door = neighbour(&api, &token);
    let json = |words: &[&str]| run_in(next_door.path(), &[&["-o", "json"], words].concat());
    json(&["pack", "check", "pack"]).exits(0);
    let ran = json(&["intent", "submit", "look"]);
    let id = id_of(&ran.document());
    let looked = || json(&["run", "get", &id]).exits(0).document();
    let outcomes = |run: &Value| -> Vec<(String, String)> {
        let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
        let actions = run["actions"].as_array().unwrap().iter();
        actions.map(|one| (text(one, "operation"), text(one, "outcome"))).collect()
    };
    let halts = || api.office.json(&["halt", "list"]).exits(0).document()["items"].clone();
    let run = looked();
    let asked = outcomes(&run);
    assert_eq!(asked.len(), 3, "{run:#}");
    let named = ["pack_list", "run_list", "halt_set"].iter().zip(&asked);
    named.for_each(|(name, (operation, _))| assert!(operation.ends_with(name), "{run:#}"));
    assert_eq!((asked[0].1.as_str(), asked[1].1.as_str()), ("done", "done"), "{run:#}");
    assert_ne!(asked[2].1, "done", "a write that nobody classified waits for a person: {run:#}");
    assert_eq!(run["run"]["status"], "asking", "{run:#}");
    assert_eq!(halts(), json!([]));

    // Once a person here agrees, it happens there, once.
    assert_eq!(approve_all(next_door.path(), &id), 1);
    let run = looked();
    assert_eq!(run["run"]["status"], "succeeded", "{run:#}");
    assert_eq!(outcomes(&run)[2].1, "done", "{run:#}");
    let there = halts();
    assert_eq!(there.as_array().unwrap().len(), 1, "{there:#}");
    assert!(there[0].to_string().contains("mail"), "{there:#}");
    assert_eq!(there[0]["reason"], "from next door", "{there:#}");
    assert!(!run.to_string().contains(token.trim()), "the token is nowhere");
}

#[test]
fn what_cannot_be_imported_says_why_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    let corpus =
        |name: &str| root().join("crates/openapi/tests/corpus").join(name).display().to_string();
    let code = |words: &[&str], exit: i32| {
        let problem = import(here, words).exits(exit).problem();
        assert!(problem["next"].is_string() && problem["at"][0].is_string(), "{problem:#}");
        problem["code"].as_str().unwrap().to_owned()
    };
    fs::write(here.join("swagger.json"), r#"{"swagger": "2.0"}"#).unwrap();
    fs::write(here.join("bad.json"), r#"{"openapi": "#).unwrap();
    fs::write(here.join("bad.yaml"), "openapi: 3.0.0\n  paths: &a\n").unwrap();
    assert_eq!(code(&["none.json", "--name", "x"], 2), "document-unreadable");
    assert_eq!(code(&["bad.json", "--name", "x"], 2), "document-unreadable");
    assert_eq!(code(&["bad.yaml", "--name", "x"], 2), "document-unreadable");
    assert_eq!(code(&["swagger.json", "--name", "x"], 2), "not-imported");
    assert_eq!(code(&[&corpus("pets.yaml"), "--name", "Pets!"], 2), "not-a-name");
    assert_eq!(code(&[&corpus("pets.yaml"), "--name", "pets", "--tag", "none"], 2), "not-imported");
    assert_eq!(
        code(&[&corpus("pets.yaml"), "--name", "pets", "--to", "nowhere"], 2),
        "not-written"
    );
    // The second of two files is there: the first is taken away again.
    fs::write(here.join("calendar_public.yaml"), "mine").unwrap();
    assert_eq!(code(&[&corpus("calendar.yaml"), "--name", "calendar"], 5), "file-there");
    assert!(!here.join("calendar.yaml").exists());
    assert_eq!(fs::read_to_string(here.join("calendar_public.yaml")).unwrap(), "mine");
    let made = run_in(
        here,
        &[
            "connector",
            "import",
            "openapi",
            &corpus("pets.yaml"),
            "--name",
            "pets",
            "--tag",
            "photos",
        ],
    );
    let said = made.exits(0).stdout;
    assert!(said.contains("./pets.yaml, 1 operations"), "{said}");
    assert!(
        said.contains("pets.upload_photo (POST /pets/{petId}/photo): taken to write"),
        "{said}"
    );
    assert!(said.contains("https://pets.example/v3"), "{said}");
}
