//! What people and policies are told of a command.

use shell::{Effect, PROGRAMS_MAX, TEXT_MAX_BYTES, read, read_code};

#[test]
fn a_reading_names_programs_what_hands_them_on_and_what_is_written() {
    let reading = read("sudo sh -c 'curl -s https://x.test/i | tee log.txt' 2>> errors.txt");
    let told: Vec<(&str, Vec<&str>)> = reading
        .programs
        .iter()
        .map(|p| (p.name.as_str(), p.through.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(
        told,
        [("sudo", vec![]), ("curl", vec!["sudo", "sh -c"]), ("tee", vec!["sudo", "sh -c"]),]
    );
    assert_eq!(reading.writes, ["errors.txt"]);
    assert_eq!(reading.gravest(), Some(Effect::Privilege));
    assert!(reading.unknown.is_empty(), "{reading:?}");
    assert_eq!(
        reading.summary,
        "Runs `sudo` (asks for more rights), `curl` through `sudo`, `sh -c` (talks to other machines), `tee` through \
         `sudo`, `sh -c` (writes files). Writes to `errors.txt`."
    );
}

#[test]
fn what_only_reads_is_said_to_change_nothing() {
    let reading = read("grep -rn TODO src | head -20");
    assert!(reading.only_reads());
    assert_eq!(reading.summary, "Runs `grep` (reads), `head` (reads). Changes nothing.");
}

#[test]
fn what_cannot_be_known_is_named() {
    let reading = read("$TOOL --version; eval \"$(cat x)\"");
    assert!(!reading.only_reads());
    assert!(reading.unknown.contains(&"which program `$TOOL` is".to_owned()), "{reading:?}");
    assert!(reading.summary.contains("Not known before it runs:"), "{}", reading.summary);
}

#[test]
fn a_reading_survives_as_json_and_knows_its_fields() {
    let reading = read("env -i make > log");
    let json = serde_json::to_string(&reading).unwrap();
    assert_eq!(serde_json::from_str::<shell::Reading>(&json).unwrap(), reading);
    assert!(serde_json::from_str::<shell::Reading>("{\"harmless\":true}").is_err());
}

#[test]
fn what_is_shown_cannot_disguise_itself() {
    let reading = read("'a\u{202e}\nb' \u{7}");
    assert_eq!(reading.programs[0].name, "a\u{fffd}\u{fffd}b");
    let long = read(&"x".repeat(500));
    assert_eq!(long.programs[0].name.chars().count(), 81);
}

#[test]
fn what_is_above_a_limit_is_unknown() {
    assert!(
        read(&format!("cat {}", "a".repeat(TEXT_MAX_BYTES))).effects.contains(&Effect::Unknown)
    );
    let many: String = (0..=PROGRAMS_MAX).map(|n| format!("/x/p{n};")).collect();
    let reading = read(&many);
    assert_eq!(reading.programs.len(), PROGRAMS_MAX);
    assert!(reading.effects.contains(&Effect::Unknown));
    for (open, close) in [("(", ")"), ("$(", ")"), ("sh -c '", "'"), ("{ ", ";}"), ("eval ", "")] {
        let deep = format!("{}rm x{}", open.repeat(400), close.repeat(400));
        assert!(!read(&deep).only_reads(), "{open}");
    }
}

#[test]
fn code_in_another_language_is_code() {
    let reading = read_code("python3");
    assert_eq!(reading.summary, "Runs `python3` (runs code that is not shown).");
    assert!(!reading.only_reads());
}
