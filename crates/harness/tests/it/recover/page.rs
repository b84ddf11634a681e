//! `docs/recovery-matrix.md`, made from the table that the tests play.

use std::fs;

use super::matrix::{Failure, Recovery, Verdict, verdict};
use crate::support::root;

/// The page as the table says it.
fn page() -> String {
    let mut text = String::from(
        "# Failures and their ways out\n\n\
         Made from the table in `crates/harness/tests/it/recover/matrix.rs`; do not edit by hand. Refresh it with\n\
         `MATRIX_WRITE=1 cargo test -p harness --test it the_recovery_page`.\n\n\
         Each cell is a test of that name on the demo companies, over HTTP. In each a write has happened before the\n\
         failure, and another is wanted after it. *Refused* means that the pack does not load: the error names the line.\n\n",
    );
    let cell = |failure, recovery| match verdict(failure, recovery) {
        Verdict::Refused => "refused".to_owned(),
        Verdict::Ends(status) => status.replace('_', " "),
    };
    let names: Vec<&str> = Recovery::ALL.iter().map(|recovery| recovery.name()).collect();
    text.push_str(&format!("| failure | {} |\n", names.join(" | ")));
    text.push_str(&format!("| --- |{}\n", " --- |".repeat(names.len())));
    for failure in Failure::ALL {
        let cells: Vec<String> =
            Recovery::ALL.iter().map(|recovery| cell(failure, *recovery)).collect();
        text.push_str(&format!("| `{}` | {} |\n", failure.name(), cells.join(" | ")));
    }
    text.push_str("\n## How each failure is noticed\n\n| failure | noticed by | may pass by itself |\n| --- | --- | --- |\n");
    for failure in Failure::ALL {
        let passes = if failure.may_pass() { "yes" } else { "no" };
        text.push_str(&format!("| `{}` | {} | {passes} |\n", failure.name(), failure.detected()));
    }
    text.push_str("\n## What each recovery does\n\n");
    for recovery in Recovery::ALL {
        text.push_str(&format!(
            "- **{}**: {}.\n  `- {}`\n",
            recovery.name(),
            recovery.behaviour(),
            recovery.declared()
        ));
    }
    text.push_str(
        "\n## The tests\n\nBelow `recover::matrix::` in `cargo test -p harness --test it`:\n\n",
    );
    for failure in Failure::ALL {
        let tests: Vec<String> = Recovery::ALL
            .iter()
            .map(|recovery| format!("`{}::{}`", failure.name(), recovery.name()))
            .collect();
        text.push_str(&format!("- {}\n", tests.join(", ")));
    }
    text
}

#[test]
fn the_recovery_page_is_what_the_table_says() {
    let path = root().join("docs/recovery-matrix.md");
    if std::env::var_os("MATRIX_WRITE").is_some() {
        fs::write(&path, page()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "docs/recovery-matrix.md is out of date: set MATRIX_WRITE=1 once");
    assert_eq!(Failure::ALL.len() * Recovery::ALL.len(), 49);
}
