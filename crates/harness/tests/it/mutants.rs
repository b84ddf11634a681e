//! The table of mutants fits the sources: every guarantee is broken somewhere, by a test that exists.
//! Applying them takes hours; `./mutants` does.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    guarantee: Vec<Guarantee>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Guarantee {
    claim: String,
    #[serde(default)]
    mutant: Vec<Mutant>,
    /// Why there is none.
    without: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    name: String,
    at: String,
    from: String,
    to: String,
    tests: Vec<String>,
    survives: Option<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn table() -> Table {
    toml::from_str(&fs::read_to_string(root().join("docs/mutants.toml")).unwrap()).unwrap()
}

/// First cells of the tables of SECURITY.md that say what is guaranteed.
fn claims() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows.filter_map(|row| row.split_once(" | ")).map(|(claim, _)| claim.to_owned());
    cells.filter(|claim| claim != "guarantee" && !claim.starts_with("---")).collect()
}

/// C041, C354: no guarantee without a mutant that breaks it or a reason why there is none, and no mutant of what is not guaranteed.
#[test]
fn every_guarantee_has_a_mutant() {
    let table = table().guarantee;
    for Guarantee { claim, mutant, without } in &table {
        assert!(mutant.is_empty() == without.is_some(), "a mutant, or why there is none: {claim}");
    }
    let named: BTreeSet<String> = table.into_iter().map(|g| g.claim).collect();
    let claims = claims();
    assert!(claims.len() >= 40, "SECURITY.md keeps its guarantees in tables: {}", claims.len());
    let missing: Vec<_> = claims.difference(&named).collect();
    let stale: Vec<_> = named.difference(&claims).collect();
    assert!(missing.is_empty(), "docs/mutants.toml has no mutant for {missing:#?}");
    assert!(
        stale.is_empty(),
        "docs/mutants.toml names what SECURITY.md does not claim: {stale:#?}"
    );
}

#[test]
fn every_mutant_still_fits_its_source() {
    let (mut names, mut wrong) = (BTreeSet::new(), Vec::new());
    for mutant in table().guarantee.into_iter().flat_map(|g| g.mutant) {
        let Mutant { name, at, from, to, tests, survives } = mutant;
        let source = fs::read_to_string(root().join("crates").join(&at)).unwrap_or_default();
        let found = source.matches(&from).count();
        if found != 1 {
            wrong.push(format!("{name}: its snippet stands {found} times in {at}"));
        }
        if from == to || tests.is_empty() || survives.is_some_and(|reason| reason.is_empty()) {
            wrong.push(format!("{name}: it changes nothing, names no test or gives no reason"));
        }
        for test in &tests {
            let (file, function) = test.split_once("::").unwrap_or((test, ""));
            let text = fs::read_to_string(root().join("crates").join(file)).unwrap_or_default();
            let begins = |sign: &str| text.contains(&format!("fn {function}{sign}"));
            if function.is_empty() || !(begins("(") || begins("<")) {
                wrong.push(format!("{name}: there is no test {test}"));
            }
        }
        if !names.insert(name.clone()) {
            wrong.push(format!("{name}: two mutants have this name"));
        }
    }
    assert!(wrong.is_empty(), "bring docs/mutants.toml up to date: {wrong:#?}");
}
