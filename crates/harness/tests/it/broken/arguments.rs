//! What is typed: every row is read by the real command line, a part of them by the real program.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use super::{Debts, Told};
use crate::support::{Ran, program, run_in};

/// The words, one a space; and a word the refusal contains.
#[rustfmt::skip]
pub(super) const TABLE: &[(&str, &str)] = &[
    ("rnu list", "rnu"), ("run lst", "lst"), ("run", "<TASK>"), ("runs", "runs"),
    ("run get", "<RUN>"), ("run get a b", "b"), ("run replay", "<RUN>"), ("run rollback", "<RUN>"),
    ("run list --limt 3", "--limt"), ("run list --limit", "--limit"), ("run list --limit many", "whole number"),
    ("run list --limit -1", "'-1' for '--limit"), ("run list --limit 1.5", "whole number"),
    ("run list --limit -1.5", "'-1.5' for '--limit"), ("run list --limit=-1", "'-1' for '--limit"),
    ("run list --limit 99999999999999999999999", "--limit"), ("run list --limit 0x10", "0x10"),
    ("run list --limit 5 --limit 6", "--limit"), ("run list -o", "--output"), ("run list -o xml", "xml"),
    ("run list -o jsno", "json"), ("run list -o JSON", "JSON"), ("run list --color sometimes", "sometimes"),
    ("run list --as", "--as"), ("run list --quiet=yes", "--quiet"), ("run list --status", "--status"),
    ("run list --store", "--store"), ("run list --config", "--config"), ("run list -x", "-x"),
    ("run list extra", "extra"), ("run list -- extra", "extra"),
    ("run events", "<RUN>"), ("run events run_a --after -5", "'-5' for '--after"),
    ("run events run_a --after 1e3", "1e3"), ("run events run_a --after 18446744073709551616", "--after"),
    ("run rollback run_a --token", "--token"), ("run rollback run_a --accept_conflict", "--accept"),
    ("run cancel run_a --reason", "--reason"), ("run replay run_a --currnet", "--currnet"),
    ("intent", "add one of list, plan, submit"), ("intent submit", "<INTENT>"), ("intent sumbit x", "submit"), ("intent submit x y", "y"),
    ("intent submit x --input", "--input"), ("intent submit x --wait=maybe", "--wait"),
    ("intent submit x --json {} --input a=b", "--json"), ("intent submit x --input a=b --json {}", "--json"),
    ("intent submit x --timeout soon", "soon"), ("intent submit x --timeout 5y", "5y"),
    ("intent submit x --timeout -5s", "'-5s' for '--timeout"), ("intent submit x --timeout=-5s", "'-5s' for '--timeout"),
    ("intent submit x --timeout -5", "'-5' for '--timeout"), ("intent submit x --timeout --wait", "'--wait' for '--timeout"),
    ("intent submit x --timeout 99999999999999999d", "--timeout"), ("intent submit x --timeout 1.5h", "1.5h"),
    ("intent submit x --timeout ５s", "５s"), ("intent submit x --timeout s", "--timeout"),
    ("approval", "approve"), ("approval approve", "<APPROVAL>"), ("approval aprove apr_a", "approve"),
    ("approval approve apr_a --digest", "--digest"), ("approval approve apr_a apr_b", "apr_b"),
    ("approval approve apr_a --timeout -1m", "'-1m' for '--timeout"), ("aproval list", "approval"),
    ("exception list --older-than -2h", "'-2h' for '--older-than"), ("exception list --limit -3", "'-3' for '--limit"),
    ("exception get", "<EXCEPTION>"), ("exception list --older_than 2h", "--older-than"),
    ("halt --pack a --run b", "--run"), ("halt --pack a list", "list"), ("halt lift", "<HALT>"),
    ("receipt verify run_a --bundle x --key k", "--bundle"), ("receipt get", "<RECEIPT>"),
    ("schema run --write d", "--write"), ("pack test p --seed -1", "'-1' for '--seed"), ("pack test --seed many", "whole number"),
    ("demo-world --seed -7", "'-7' for '--seed"), ("demo-world --minutes -1", "'-1' for '--minutes"),
    ("completion", "<SHELL>"), ("completion tcsh", "tcsh"), ("demo --no-such", "--no-such"),
    ("serve --port 1", "--port"), ("💥", "💥"), ("run \u{202e}tsil", "tsil"),
];

/// How many of the rows the program itself is asked.
const SPAWNED_EVERY: usize = 3;

fn told(problem: &harness::app::problem::Problem) -> Told {
    let place = problem.detail.clone();
    let next = problem.next.as_deref().unwrap_or_default().to_owned();
    Told { place, detail: problem.detail.clone(), next }
}

#[test]
fn broken_arguments() {
    let mut debts = Debts::default();
    for (words, names) in TABLE {
        let typed = std::iter::once("harness").chain(words.split(' ')).map(OsString::from);
        debts.hold(words, names, harness::cli::read(typed).err().as_ref().map(told));
    }
    debts.settle();
}

#[test]
fn the_program_says_the_same_and_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut debts = Debts::default();
    // The format is said first, so that it is never the value of another flag.
    let rows = TABLE.iter().filter(|(words, _)| !words.contains("-o")).step_by(SPAWNED_EVERY);
    for (words, names) in rows {
        let said: Vec<&str> = ["--output=json"].into_iter().chain(words.split(' ')).collect();
        let problem = run_in(dir.path(), &said).exits(2).problem();
        assert_eq!((&problem["kind"], &problem["code"]), (&"usage".into(), &"usage".into()));
        let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
        let told = Told { place: text("detail"), detail: text("detail"), next: text("next") };
        debts.hold(words, names, Some(told));
    }
    debts.settle();
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().collect();
    assert!(left.iter().all(|entry| entry.file_name() == "user"), "{left:?}");
}

#[test]
fn bytes_that_are_no_text_and_words_without_end_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let huge = "x".repeat(100_000);
    let odd = OsString::from_vec(vec![b'r', 0xff, 0xfe]);
    let cases: [(&[OsString], i32); 4] = [
        (std::slice::from_ref(&odd), 2),
        (&["run".into(), "get".into(), odd.clone()], 2),
        (&["run".into(), "get".into(), huge.clone().into()], 2),
        (&["run".into(), huge.into()], 2),
    ];
    for (words, code) in cases {
        let output = program(dir.path()).arg("--output=json").args(words).output().unwrap();
        let ran = Ran::of(&["(odd)"], output).exits(code);
        let problem = ran.problem();
        assert!(problem["next"].is_string(), "{problem}");
        assert!(ran.stderr.len() < 4_000, "{} bytes of it", ran.stderr.len());
    }
}
