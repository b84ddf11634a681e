//! C013: what the operator's page pipes into other programs is there to be piped.

use std::{fs, io::Write as _, process::Stdio};

use serde_json::Value;

use crate::support::{Office, change, root};

/// The lines of the page that pipe into jq: the command, and the program of jq.
fn recipes() -> Vec<(Vec<String>, String)> {
    let page = fs::read_to_string(root().join("docs/operate.md")).unwrap();
    let lines = page.lines().filter_map(|line| line.trim().strip_prefix("harness "));
    let piped = lines.filter_map(|line| line.split_once(" | jq "));
    let each = piped.map(|(command, program)| {
        let words = command.split_whitespace().map(str::to_owned).collect();
        let program = program.split('\'').nth(1).unwrap().to_owned();
        (words, program)
    });
    each.collect()
}

/// Names that a jq program takes from each item: `.id` of `.id`, `.age_ms` of `select(.age_ms > 3600000)`.
fn names(program: &str) -> Vec<&str> {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let after = program.split('.').skip(1);
    after
        .map(|rest| rest.split(ends).next().unwrap_or_default())
        .filter(|n| !n.is_empty())
        .collect()
}

#[test]
fn every_recipe_finds_what_it_looks_for() {
    let office = Office::served();
    let run = office.changed("ACC-0007", 45, "done");
    office.submit_change("ACC-0042", 45, "waits");
    office.world.fault(&serde_json::json!({
        "system": "crm", "operation": "crm.get_account", "kind": "403",
    }));
    office.json(&[&change("ACC-0064", 45, "stuck").each()[..], &["--wait"]].concat()).exits(9);
    office.world.heal();
    let recipes = recipes();
    assert!(recipes.len() >= 3, "{recipes:?}");
    for (words, program) in recipes {
        let words: Vec<&str> =
            words.iter().map(|word| if word == "RUN" { run.as_str() } else { word }).collect();
        assert!(words.ends_with(&["-o", "ndjson"]), "{words:?}");
        let told = office.run(&words).exits(0).stdout;
        let items: Vec<Value> =
            told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(!items.is_empty(), "{words:?} has nothing to pipe");
        for name in names(&program) {
            let has = |item: &Value| item.as_object().is_some_and(|item| item.contains_key(name));
            assert!(items.iter().all(has), "{words:?}: no `{name}` in {items:?}");
        }
        run_jq(&program, &told);
    }
}

/// The program itself, where there is a jq.
fn run_jq(program: &str, input: &str) {
    let mut jq = std::process::Command::new("jq");
    let started = jq.args(["-r", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = started else { return };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && !output.stdout.is_empty(), "{program}: {output:?}");
}
