//! Properties: nothing panics, and no wrapping makes a command look milder (C121).

use proptest::prelude::*;
use shell::{Effect, Reading, read};

use crate::corpus::CORPUS;

fn quoted(command: &str) -> String {
    format!("'{}'", command.replace('\'', "'\\''"))
}

/// Whether a reading leaves out nothing of another but that it reads where it does more, or says that it does not know.
fn covers(wrapped: &Reading, plain: &Reading) -> bool {
    let kept = |effect: &Effect| match effect {
        Effect::Reads => wrapped.gravest().is_some(),
        effect => wrapped.effects.contains(effect),
    };
    wrapped.effects.contains(&Effect::Unknown) || plain.effects.iter().all(kept)
}

/// Whether it is a command line of its own, and not half of another.
fn is_whole(reading: &Reading) -> bool {
    !reading.unknown.iter().any(|what| what.contains("` does: "))
}

fn wrappings(command: &str) -> Vec<String> {
    let text = quoted(command);
    vec![
        format!("sh -c {text}"),
        format!("bash -ec {text} name arg"),
        format!("env -u X A=b sh -c {text}"),
        format!("echo x | xargs sh -c {text}"),
        format!("nohup nice -n 5 timeout 9 sh -c {text} &"),
        format!("find . -exec sh -c {text} \\;"),
        format!("eval {text}"),
        format!("trap {text} EXIT"),
        format!("sh <<'END_OF_IT'\n{command}\nEND_OF_IT"),
        format!("sudo sh -c {text}"),
    ]
}

fn surroundings(command: &str) -> Vec<String> {
    vec![
        format!("({command}\n)"),
        format!("{{ {command}\n}}"),
        format!("echo $({command}\n)"),
        format!("echo \"$({command}\n)\""),
        format!("cat <({command}\n)"),
        format!("f() {{ {command}\n}}"),
        format!("if true; then {command}\nfi"),
        format!("while {command}\ndo :; done"),
        format!("true && {{ {command}\n}} || false"),
    ]
}

#[test]
fn no_wrapping_makes_a_command_of_the_corpus_milder() {
    for (command, _) in CORPUS {
        let plain = read(command);
        let around = surroundings(command).into_iter().filter(|_| is_whole(&plain));
        for wrapped in wrappings(command).into_iter().chain(around) {
            let reading = read(&wrapped);
            assert!(covers(&reading, &plain), "{wrapped}\n{reading:#?}\nbut by itself\n{plain:#?}");
        }
    }
}

#[test]
fn programs_before_a_plain_command_never_make_it_milder() {
    let plain = CORPUS.iter().filter(|(command, _)| {
        !command.contains([';', '|', '&', '\n', '(', ')', '{', '}', '<', '>', '`', '!', '['])
            && command.starts_with(|c: char| c.is_ascii_lowercase())
            && !command.split(' ').next().is_some_and(|word| word.contains('='))
    });
    let mut seen = 0;
    for (command, _) in plain {
        seen += 1;
        for before in
            ["env", "xargs", "nohup", "command", "exec", "time", "busybox", "xargs -n1 env"]
        {
            let (wrapped, plain) = (format!("{before} {command}"), read(command));
            assert!(covers(&read(&wrapped), &plain), "{wrapped}: {:#?}", read(&wrapped));
        }
    }
    assert!(seen > 60, "{seen}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,80}") {
        let _ = read(&text);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = read(&String::from_utf8_lossy(&bytes));
    }

    /// Made of what shells take for special, so that much of it parses.
    #[test]
    fn special_text_never_panics_and_wrapping_it_is_never_milder(
        parts in proptest::collection::vec(prop_oneof![
            Just("rm -rf x"), Just("cat y"), Just("sh -c"), Just("'"), Just("\""), Just("`"), Just("$("), Just(")"),
            Just("("), Just("${x"), Just("}"), Just("{ "), Just(";"), Just("\n"), Just("|"), Just("&&"), Just("&"),
            Just(" > f"), Just("<<E\n"), Just("E\n"), Just("if "), Just("then "), Just("fi"), Just("case x in "),
            Just("esac"), Just("for i in "), Just("do "), Just("done"), Just("$x"), Just("$(("), Just("))"),
            Just("\\"), Just("#"), Just(" "), Just("env "), Just("xargs "), Just("eval "), Just("A=b "), Just("[["),
            Just("f()"), Just("!"), Just("*"), Just("$'"), Just("curl u"), Just("git push"),
        ], 0..14),
    ) {
        // With a backslash at its end it would go on in what comes after it.
        let text = parts.concat().trim_end_matches('\\').to_owned();
        let plain = read(&text);
        let around = surroundings(&text).into_iter().filter(|_| is_whole(&plain));
        for wrapped in wrappings(&text).into_iter().chain(around) {
            let reading = read(&wrapped);
            prop_assert!(covers(&reading, &plain), "{}\n{:#?}\n{:#?}", wrapped, reading, plain);
        }
    }
}
