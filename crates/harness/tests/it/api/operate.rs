//! The operator's page: what it names is there, what is there is named, and what it tells to do can be done.

use std::{collections::BTreeSet, fs, path::Path};

use harness::app::config::File;

use super::Api;
use crate::support::root;

fn page() -> String {
    fs::read_to_string(root().join("docs/operate.md")).unwrap()
}

/// First cells of the table below this head, without their backticks.
fn table(page: &str, head: &str) -> BTreeSet<String> {
    let (_, below) = page.split_once(head).unwrap_or_else(|| panic!("no table `{head}`"));
    let rows = below.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|line| line.split('|').nth(1));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

fn words<'a>(all: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    all.into_iter().map(str::to_owned).collect()
}

/// Whoever is woken at night finds every word that the product can say and every figure it tells, and no
/// word that it never says.
#[test]
fn the_operators_page_has_every_class_need_and_figure() {
    let page = page();
    let classes = words(kernel::exception::Class::ALL.iter().map(|class| class.name()));
    assert_eq!(table(&page, "| class | usually |"), classes);
    let needs = ["in_doubt", "escalated", "undo_failed", "conflict", "unplanned", "defect"];
    assert_eq!(table(&page, "| it needs | what happened | what to do |"), words(needs));
    let api = Api::open();
    let figures = api.get("", "/metrics").body;
    let told = figures.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    assert_eq!(table(&page, "| metric | look when |"), words(told));
}

/// The value of a setting of the unit; several lines of one name are one list.
fn setting(unit: &str, name: &str) -> Vec<String> {
    let lines = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    lines.flat_map(|values| values.split_whitespace()).map(str::to_owned).collect()
}

/// Under the shipped unit nothing else can be written: a documented copy that lies elsewhere is none.
#[test]
fn what_the_page_writes_the_unit_lets_it_write() {
    let unit = fs::read_to_string(root().join("deploy/harness.service")).unwrap();
    assert_eq!(setting(&unit, "ProtectSystem"), ["strict"]);
    assert_eq!(setting(&unit, "SystemCallErrorNumber"), ["EPERM"], "a refusal, not an end");
    let state = setting(&unit, "StateDirectory");
    let state = state.iter().map(|name| format!("/var/lib/{name}"));
    let more = setting(&unit, "ReadWritePaths");
    let more = more.iter().map(|path| path.trim_start_matches('-').to_owned());
    let writable: Vec<String> = state.chain(more).collect();
    let page = page();
    let paths = page.split("backup create ").skip(1).filter_map(|rest| {
        let path = rest.split(['`', ' ', '\n']).next()?;
        path.starts_with('/').then(|| Path::new(path).to_owned())
    });
    let mut found = 0;
    for path in paths {
        assert!(writable.iter().any(|root| path.starts_with(root)), "{}", path.display());
        found += 1;
    }
    assert!(found > 0, "the page says where copies go");
    for folder in writable.iter().filter(|folder| !folder.starts_with("/var/lib/")) {
        let made = format!("install -d -o harness -g harness -m 0700 {folder}");
        assert!(page.contains(&made), "the page does not make {folder}");
    }
}

/// Each secret is told by the name of its setting, with how it is renewed.
#[test]
fn every_secret_is_renewed_by_name() {
    let page = page();
    let (_, keys) = page.split_once("## Keys and tokens").unwrap();
    let (keys, _) = keys.split_once("\n## ").unwrap();
    for name in [
        "keys.receipts",
        "token revoke",
        "notify.webhook",
        "notify.slack.signing_secret",
        "notify.slack.url",
        "oidc.client_secret",
    ] {
        assert!(keys.contains(&format!("`{name}`")), "{name}");
    }
}

/// What the page shows of `harness.toml` is a configuration.
#[test]
fn what_is_shown_of_the_configuration_is_one() {
    let page = page();
    let blocks: Vec<&str> = page
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect();
    assert!(blocks.len() >= 2, "{blocks:?}");
    for block in blocks {
        toml::from_str::<File>(block).unwrap_or_else(|error| panic!("{error}\n{block}"));
    }
}
