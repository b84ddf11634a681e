//! One core, several ways in: the same run driven over each leaves the same journal (C011, C022).

use std::collections::BTreeSet;

use harness::{app::ops::OPS, ui::FORMS};
use serde_json::{Value, json};

use super::{Api, Pages};
use crate::support::{Office, Ran, change, files, id_of};

/// How somebody reaches the core.
enum Way<'a> {
    /// A command in this machine, through the owner's socket or in its own process.
    Local(&'a Office),
    /// A command with `--server` and a token.
    Server(&'a Api),
}

impl Way<'_> {
    fn run(&self, person: &str, words: &[&str]) -> Ran {
        match self {
            Self::Local(office) => office.json_as(person, words),
            Self::Server(api) => {
                let url = format!("http://{}", api.host);
                let mut command = api.office.command(&[words, &["-o", "json"]].concat());
                command.env("HARNESS_SERVER", url).env("HARNESS_TOKEN", api.token(person, &[]));
                Ran::of(words, command.output().unwrap())
            }
        }
    }
}

/// Submits, approves, rolls back; the run's events without what differs by nature.
fn story(way: &Way<'_>) -> Vec<Value> {
    let words = change("ACC-0007", 45, "parity");
    let submitted = way.run("ulla", &[&words.each()[..], &["--wait"]].concat()).exits(7).document();
    let run = id_of(&submitted);
    let waiting = way.run("mira", &["approval", "list"]).exits(0).document();
    let approval = waiting["items"][0]["id"].as_str().unwrap().to_owned();
    let card = way.run("mira", &["approval", "get", &approval]).exits(0).document();
    let digest = card["digest"].as_str().unwrap().to_owned();
    let words = ["approval", "approve", &approval, "--digest", &digest];
    assert_eq!(way.run("mira", &words).exits(0).document()["status"], "succeeded");
    let back = way.run("ulla", &["run", "rollback", &run]).exits(0).document();
    assert_eq!(back["run"]["status"], "rolled_back", "{back}");
    bodies(&way.run("ulla", &["run", "events", &run]).exits(0).document())
}

/// The same by forms of the pages, for whatever pages can do: a submission is no page's.
fn story_on_pages(api: &Api) -> Vec<Value> {
    let words = change("ACC-0007", 45, "parity");
    let submitted = api.office.json(&[&words.each()[..], &["--wait"]].concat()).exits(7).document();
    let run = id_of(&submitted);
    let (mira, ulla) = (Pages::open(api, "mira"), Pages::open(api, "ulla"));
    let card = mira.page("/approvals");
    let field = |name: &str| {
        let value = card.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap();
        value.split('"').next().unwrap().to_owned()
    };
    let approval = card.split("id=\"card-").nth(1).unwrap().split('"').next().unwrap();
    let fields = [("verb", "approve"), ("digest", &field("digest"))];
    let answered = mira.submit(&format!("/approvals/{approval}"), &fields);
    assert_eq!(answered.status, 303, "{answered:?}");
    let status = || {
        let detail = api.office.json(&["run", "get", &run]).exits(0).document();
        detail["run"]["status"].as_str().unwrap().to_owned()
    };
    while status() != "succeeded" {
        std::thread::yield_now();
    }
    let taken = ulla.submit(&format!("/rollback/{run}"), &[]);
    assert_eq!(taken.status, 303, "{taken:?}");
    while status() != "rolled_back" {
        std::thread::yield_now();
    }
    bodies(&api.office.json(&["run", "events", &run]).exits(0).document())
}

fn bodies(events: &Value) -> Vec<Value> {
    let items = events["items"].as_array().unwrap();
    let body = |item: &Value| {
        let mut body = item.clone();
        forget(&mut body);
        body
    };
    items.iter().map(body).collect()
}

/// What differs by nature: times, and what salts and times flow into; and, since each office lies in a folder of
/// its own, what the place of its policies flows into. By its name: what else there is must be the same,
/// whatever it looks like.
const FORGOTTEN: [&str; 13] = [
    "at",
    "expires_at",
    "dispatch_by",
    "took_ms",
    "hash",
    "prev_hash",
    "root",
    "statement",
    "policy",
    "policies",
    "plan",
    "digest",
    "shown",
];

/// Where two journals differ.
fn differences(at: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    let none = Value::Null;
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                let (a, b) = (a.get(key).unwrap_or(&none), b.get(key).unwrap_or(&none));
                differences(&format!("{at}/{key}"), a, b, found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (n, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{at}/{n}"), a, b, found);
            }
        }
        _ if one != other => found.push(format!("{at}: {one} and {other}")),
        _ => {}
    }
}

#[track_caller]
fn same(one: &[Value], other: &[Value]) {
    let mut found = Vec::new();
    differences("", &json!(one), &json!(other), &mut found);
    assert!(found.is_empty(), "{found:#?}");
}

fn forget(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for key in FORGOTTEN {
                map.remove(key);
            }
            map.values_mut().for_each(forget);
        }
        Value::Array(items) => items.iter_mut().for_each(forget),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_same_run_over_each_way_in_leaves_the_same_journal() {
    let alone = Office::open();
    let in_process = story(&Way::Local(&alone));
    assert!(in_process.len() > 20, "{}", in_process.len());
    let socket = Office::served();
    same(&story(&Way::Local(&socket)), &in_process);
    let api = Api::open();
    same(&story(&Way::Server(&api)), &in_process);
    let pages = Api::open();
    same(&story_on_pages(&pages), &in_process);
    api.office.world.performed_nothing_twice();
}

/// Operations with routes, each with the verb that a route stands for.
fn routed(document: &Value) -> BTreeSet<(String, String)> {
    let verbs = document["paths"].as_object().unwrap().values();
    let ids = verbs.flat_map(|verbs| verbs.as_object().unwrap().values());
    let ids = ids.map(|operation| operation["operationId"].as_str().unwrap());
    let op_of = |id: &str| {
        let fits = |name: &str| {
            let base = name.replace('.', "_");
            let rest = id.strip_prefix(&base)?;
            let verb = rest.strip_prefix('_').unwrap_or(rest);
            // `approval_decide-batch` is no `approval_decide`.
            (rest.is_empty() || rest.starts_with('_')).then(|| (name.to_owned(), verb.to_owned()))
        };
        OPS.iter().filter_map(|op| fits(op.name)).max_by_key(|(name, _)| name.len())
    };
    ids.filter_map(op_of).collect()
}

/// C022. Every operation of the facade is a route, but for those that belong to the machine.
#[test]
fn every_operation_has_a_route_and_a_command() {
    let api = Api::open();
    let routed = routed(&super::document::openapi(&api));
    // Written to a folder of the server; a link is for the terminal of whoever opens it.
    let local = ["backup.create", "token.link"];
    for op in OPS.iter().filter(|op| !local.contains(&op.name)) {
        assert!(routed.iter().any(|(name, _)| name == op.name), "{} has no route", op.name);
    }
    let source = crate::support::root().join("crates/harness/src");
    // The second is what `harness mcp serve` speaks.
    let (folder, speaks) = (source.join("cli/commands"), source.join("app/speak.rs"));
    let read = |path| std::fs::read_to_string(path).unwrap();
    let mut text: String = files(&folder).into_iter().map(|(path, _)| read(path)).collect();
    text.push_str(&read(speaks));
    for op in OPS {
        assert!(text.contains(&format!("\"{}\"", op.name)), "{} has no command", op.name);
    }
}

/// C022. Whatever a form of a page can say, a route and a command can say, too.
#[test]
fn every_form_and_verb_has_a_route_and_a_command() {
    let api = Api::open();
    let routed = routed(&super::document::openapi(&api));
    let has_route = |op: &str, verb: &str| routed.contains(&(op.to_owned(), verb.to_owned()));
    let mut said = 0;
    for form in FORMS {
        let verbs = if form.verbs.is_empty() { &[""][..] } else { form.verbs };
        for verb in verbs {
            let (op, route_verb) = match (form.op, *verb) {
                // Each answer of a batch names its verb itself.
                (op @ "approval.decide-batch", _) => (op, ""),
                // The same input, handed in by an operation of its own.
                ("run.steer", "resume") => ("run.resume", ""),
                other => other,
            };
            assert!(has_route(op, route_verb), "{} {verb} has no route", form.op);
            let noun = form.op.split('.').next().unwrap();
            let command: Vec<String> = match (form.op, *verb) {
                ("approval.decide-batch", _) => vec!["batch".to_owned()],
                ("exception.settle", "use") => vec!["answer".to_owned()],
                ("exception.settle", verb @ ("happened" | "did_not_happen" | "stop")) => {
                    vec!["settle".to_owned(), "exc_0".to_owned(), verb.replace('_', "-")]
                }
                ("run.rollback", _) => vec!["rollback".to_owned()],
                (_, verb) => vec![verb.replace('_', "-")],
            };
            let words: Vec<&str> =
                [noun].into_iter().chain(command.iter().map(String::as_str)).collect();
            let help = api.office.run(&[&words[..], &["--help"]].concat()).exits(0);
            assert!(help.stdout.contains(&format!("{noun} {}", words[1])), "{help:?}");
            said += 1;
        }
    }
    assert!(said > 25, "{said}");
}

#[test]
fn a_server_that_is_none_is_told_plainly() {
    let office = Office::open();
    let ask = |url: &str, token: Option<&str>| {
        let mut command = office.command(&["run", "list", "-o", "json"]);
        command.env("HARNESS_SERVER", url).env_remove("HARNESS_TOKEN");
        if let Some(token) = token {
            command.env("HARNESS_TOKEN", token);
        }
        Ran::of(&[url], command.output().unwrap())
    };
    assert_eq!(ask("http://127.0.0.1:1", None).exits(4).problem()["code"], "no-token");
    assert_eq!(
        ask("http://127.0.0.1:1", Some("x")).exits(75).problem()["code"],
        "server-unreachable"
    );
    assert_eq!(ask("http://harness.example.com", Some("x")).exits(2).problem()["code"], "no-tls");
    assert_eq!(ask("nowhere", Some("x")).exits(2).problem()["code"], "bad-server");
    let other = ask(&office.world.url, Some("x"));
    assert_ne!(other.code, 0, "{other:?}");
    let api = Api::open();
    let refused = ask(&format!("http://{}", api.host), Some("hns_x")).exits(4).problem();
    assert_eq!(refused["code"], "not-signed-in", "{refused}");
    assert_eq!(refused["kind"], json!("not_signed_in"));
}
