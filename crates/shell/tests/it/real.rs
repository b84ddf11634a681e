//! Real shells judge: where a reading claims to know a command, no program runs that it did not name.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use proptest::{prelude::*, test_runner::TestRunner};
use shell::{Effect, read};

/// Commands that are tried; each starts every shell.
const CASES: u32 = 400;

/// A shell whose only program is one that leaves a mark.
fn runs_it(shell: &str, text: &str, folder: &Path) -> bool {
    let mark = folder.join("mark");
    let _ = fs::remove_file(&mark);
    let mut command = Command::new(shell);
    command.arg("-c").arg(text).current_dir(folder.join("here"));
    command.env_clear().env("PATH", folder.join("bin"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = command.status();
    mark.exists()
}

/// What shells take for special, and a program.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "mk", "mk", "mk x", "'", "\"", "`", "`", "$(", ")", ")", "(", "((", "))", "${x", "${x:-", "}", "}", "{ ",
    "; }", ";", "\n", "|", "&&", "||", "&", " > f", " < f", "<<E\n", "<<'E'\n", "<<-E\n", "\nE\n", "E", "if ",
    "; then ", "; fi", "case x in ", "x) ", ";;", " esac", "for i in ", "; do ", "; done", "$x", "\"$x\"", "$((",
    "\\", "\\\n", "#", " ", " ", "eval ", "A=b ", "[[ ", " ]]", "[ ", " ]", "f() ", "! ", "*", "$'", "$\"",
    "echo ", ": ", "x=", "=", "~", "-", "command ", "exec ", "time ", "trap ", " EXIT", "alias x=", "<(", ">(",
    "<<<", "$[", "a[", "]", "test ", "-v ", ",", "set -- ", "\"$@\"", "$1", "return", "function f ", "coproc ",
    "printf ", "read ", "unset ", "export ", "let ", "1",
];

fn parts() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(WORDS.to_vec()), 1..9)
        .prop_map(|parts| parts.concat())
}

#[test]
fn what_real_shells_run_was_named_or_said_to_be_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::create_dir(folder.join("bin")).unwrap();
    fs::create_dir(folder.join("here")).unwrap();
    let program = folder.join("bin/mk");
    fs::write(&program, format!("#!/bin/sh\n: > '{}'\n", folder.join("mark").display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let shells: Vec<&str> = ["/bin/sh", "/bin/dash", "/bin/bash"]
        .into_iter()
        .filter(|s| Path::new(s).exists())
        .collect();
    assert!(runs_it("/bin/sh", "mk", folder), "the program leaves its mark");
    let cases = std::env::var("SHELL_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(CASES);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    let outcome = TestRunner::new(config).run(&parts(), |text| {
        let reading = read(&text);
        if reading.effects.contains(&Effect::Unknown) {
            return Ok(());
        }
        for shell in &shells {
            prop_assert!(
                !runs_it(shell, &text, folder),
                "{} ran it: {:?}\n{:?}",
                shell,
                text,
                reading
            );
        }
        Ok(())
    });
    outcome.unwrap();
}
