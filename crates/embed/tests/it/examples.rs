//! Every example runs offline and says what it should.

use std::process::Command;

fn run(example: &str) -> String {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let built = path.join("examples").join(example);
    let output = if built.exists() {
        Command::new(built).output()
    } else {
        // Only this test binary was asked for: the examples are not there yet.
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let arguments = ["run", "-q", "--manifest-path", manifest, "--example", example];
        Command::new(env!("CARGO")).args(arguments).output()
    };
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// C107, C337: the quick start and the first example have at most twenty lines and need no service; the quick start
/// is a doc test of the crate.
#[test]
fn hello_is_an_agent_in_twenty_lines() {
    assert_eq!(run("hello"), "It is sunny in Bern. (2 receipts)\n");
    let code = include_str!("../../examples/hello.rs");
    let lines = code.lines().filter(|line| !line.is_empty() && !line.starts_with("//!"));
    assert!(lines.count() <= 20);
    let quick = include_str!("../../QUICKSTART.md").split("```").nth(1).unwrap();
    assert!(quick.lines().skip(1).filter(|line| !line.is_empty()).count() <= 20);
}

#[test]
fn each_part_works_alone() {
    assert_eq!(
        run("only_gate"),
        "small, nobody asked: {\"ask\":{\"approvals\":{\"approver\":1},\"dry_run\":false}}\n\
         small, approved: \"allow\"\nlarge, approved: \"deny\"\n"
    );
    assert_eq!(
        run("only_journal"),
        "2 events, chain intact, epoch 1\nthe earlier writer is fenced off\n"
    );
    assert_eq!(run("only_models"), "demo: Hello, Mira.\n");
}
