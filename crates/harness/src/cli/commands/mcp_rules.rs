//! What a client's own configuration can say against going round the proxy: each offers something else, and what none
//! offers is told instead. What was added is noted beside the file, so that an undo takes out exactly that.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    hook::install::{read, write},
    mcp_install::{Change, NAME, Whose},
};
use crate::app::{
    config::Secret,
    problem::{Kind, Problem},
    servers::clients::Guarded,
};

/// Largest note of what was added, in bytes.
const NOTE_BYTES_MAX: u64 = 1024 * 1024;

/// One rule of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// Keys that lead to where it stands.
    at: Vec<String>,
    /// What it is about.
    what: String,
    sort: Sort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sort {
    /// One of a list.
    Listed,
    /// A key that says `false`.
    Off,
}

/// What the rules are made from.
pub(super) struct About<'a> {
    /// Whose they are.
    pub(super) client: Whose,
    /// What stands behind the proxy.
    pub(super) guarded: &'a Guarded,
    /// Servers of the client that stand behind the proxy as well, by its own names.
    pub(super) direct: &'a [String],
    /// The client's own configuration.
    pub(super) files: [&'a Path; 2],
    /// The program that decides.
    pub(super) program: &'a str,
}

/// The file that holds a client's rules, where they stand apart from its servers.
pub(super) fn file_of(client: Whose) -> Option<PathBuf> {
    match client {
        Whose::ClaudeCode => Some(".claude/settings.json".into()),
        Whose::Cursor => Some(".cursor/cli.json".into()),
        Whose::Vscode => Some(".vscode/settings.json".into()),
        Whose::Codex => None,
    }
}

/// What a client cannot be told, in words.
pub(super) fn not_said(client: Whose) -> &'static [&'static str] {
    match client {
        Whose::ClaudeCode => &[
            "rules about commands go by how a command begins, and rules about files hold for its own tools: a script reaches round both",
        ],
        Whose::Codex => &[
            "Codex has no rules about single files: its shell reads and writes what its sandbox lets it, our store and keys among it; run the service as a user of its own",
        ],
        Whose::Cursor => &[
            "the rules are for Cursor's agent on the command line; its editor has lists only of what needs no asking: keep the tools of `harness` out of mcpAllowlist",
            "Cursor has no rule that asks about one tool: whoever lets the whole server run is asked by the proxy alone",
        ],
        Whose::Vscode => &[
            "VS Code has no rule that forbids, only such that ask: a server that stands behind the proxy has to be taken out of its configuration by hand",
        ],
    }
}

/// Whether a client can be told not to use a server that it has.
pub(super) fn can_deny_servers(client: Whose) -> bool {
    client != Whose::Vscode
}

/// The client's rules with ours in them, and the note of what was added.
pub(super) fn added(path: &Path, about: &About<'_>) -> Result<[Change; 2], Problem> {
    change(path, &rules(about))
}

/// The client's rules without ours.
pub(super) fn taken_out(path: &Path) -> Result<[Change; 2], Problem> {
    change(path, &[])
}

fn change(path: &Path, rules: &[Rule]) -> Result<[Change; 2], Problem> {
    let note = note_of(path);
    let (before, mut settings) = read(path)?;
    let (noted, ours) = noted(&note)?;
    for rule in &ours {
        take_out(&mut settings, rule);
    }
    let mut added = Vec::new();
    for rule in rules {
        let is_new = put_in(&mut settings, rule).ok_or_else(|| {
            let place = rule.at.join(".");
            Problem::usage(
                "settings-unreadable",
                format!("{}: `{place}` is of another shape", path.display()),
            )
            .next("correct the file, or name another with --rules")
        })?;
        if is_new {
            added.push(rule.clone());
        }
    }
    let is_empty = settings.as_object().is_some_and(serde_json::Map::is_empty);
    let after = if is_empty { String::new() } else { pretty(&settings) };
    let note_after = match added.is_empty() {
        true => String::new(),
        false => pretty(&json!({
            "about": "rules that `harness mcp install` added; `--undo` takes out these and no others",
            "rules": added,
        })),
    };
    // What says the same in other words is left as it is written.
    let same = serde_json::from_str::<Value>(&before).is_ok_and(|old| old == settings);
    let after = if same { before.clone() } else { after };
    Ok([
        Change { path: path.to_owned(), before, after },
        Change { path: note, before: noted, after: note_after },
    ])
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// How the name of a note ends.
const NOTE: &str = "harness.json";

/// Beside the file, under a name of its own.
fn note_of(path: &Path) -> PathBuf {
    path.with_extension(NOTE)
}

/// Whether a file says only what was added to another.
pub(super) fn is_note(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(&format!(".{NOTE}")))
}

/// What an earlier install added.
fn noted(note: &Path) -> Result<(String, Vec<Rule>), Problem> {
    #[derive(Deserialize)]
    struct Note {
        rules: Vec<Rule>,
    }
    let refuse = |detail: String| {
        Problem::new(Kind::Conflict, "note-unreadable", format!("{}: {detail}", note.display()))
            .next("take out by hand what it lists from the file beside it, then remove it")
    };
    let text = match fs::metadata(note) {
        Ok(meta) if meta.len() > NOTE_BYTES_MAX => {
            return Err(refuse("it is too large".to_owned()));
        }
        Ok(_) => fs::read_to_string(note).map_err(|error| refuse(error.to_string()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(error) => return Err(refuse(error.to_string())),
    };
    let read: Note = serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
    Ok((text, read.rules))
}

/// Puts a rule in: whether it was not there; none where something of another shape stands in its place.
fn put_in(settings: &mut Value, rule: &Rule) -> Option<bool> {
    let mut place = settings;
    let (last, way) = rule.at.split_last()?;
    for key in way {
        place = place.as_object_mut()?.entry(key).or_insert_with(|| json!({}));
    }
    let empty = match rule.sort {
        Sort::Listed => json!([]),
        Sort::Off => json!({}),
    };
    let place = place.as_object_mut()?.entry(last).or_insert(empty);
    match rule.sort {
        Sort::Listed => {
            let list = place.as_array_mut()?;
            let is_there = list.iter().any(|one| *one == rule.what.as_str());
            if !is_there {
                list.push(json!(rule.what));
            }
            Some(!is_there)
        }
        Sort::Off => {
            let map = place.as_object_mut()?;
            // What somebody said themselves about it stands.
            let is_there = map.contains_key(&rule.what);
            map.entry(&rule.what).or_insert(json!(false));
            Some(!is_there)
        }
    }
}

/// Takes a rule out, and whatever is empty without it.
fn take_out(settings: &mut Value, rule: &Rule) {
    fn below(value: &mut Value, way: &[String], rule: &Rule) {
        let Some((key, rest)) = way.split_first() else {
            if let Some(list) = value.as_array_mut() {
                list.retain(|one| *one != rule.what.as_str());
            } else if let Some(map) = value.as_object_mut()
                && map.get(&rule.what) == Some(&json!(false))
            {
                map.remove(&rule.what);
            }
            return;
        };
        let Some(map) = value.as_object_mut() else { return };
        let Some(inner) = map.get_mut(key) else { return };
        below(inner, rest, rule);
        if *inner == json!([]) || *inner == json!({}) {
            map.remove(key);
        }
    }
    below(settings, &rule.at, rule);
}

fn rules(about: &About<'_>) -> Vec<Rule> {
    match about.client {
        Whose::ClaudeCode => for_claude_code(about),
        Whose::Cursor => for_cursor(about),
        Whose::Vscode => for_vscode(about),
        Whose::Codex => Vec::new(),
    }
}

fn rule(at: &[&str], what: String, sort: Sort) -> Rule {
    Rule { at: at.iter().map(|key| (*key).to_owned()).collect(), what, sort }
}

/// The paths of what decides about the client, each as it is and with what lies in it, and whether it may be read.
fn places(about: &About<'_>) -> Vec<(String, Secret)> {
    // Without a slash at its end, which means something else to those who read it.
    let plain = |path: &Path| -> PathBuf {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        absolute.components().collect()
    };
    let own = about.guarded.own.iter().flat_map(|place| {
        let path = plain(&place.path);
        let shown = path.display().to_string();
        let inside = (!path.is_file()).then(|| (format!("{shown}/**"), place.secret));
        std::iter::once((shown, place.secret)).chain(inside)
    });
    let files = about.files.into_iter().map(|file| (plain(file).display().to_string(), Secret::No));
    let each = own.chain(files);
    let mut all: Vec<_> = each.collect();
    all.dedup();
    all
}

/// `.claude/settings.json`: a path from the root begins with two slashes, rules of `Edit` hold for everything that writes, and
/// those of `Read` for everything that reads.
fn for_claude_code(about: &About<'_>) -> Vec<Rule> {
    let deny = |what: String| rule(&["permissions", "deny"], what, Sort::Listed);
    let ask = |what: String| rule(&["permissions", "ask"], what, Sort::Listed);
    let mut all: Vec<Rule> =
        about.direct.iter().map(|name| deny(format!("mcp__{}", for_a_rule(name)))).collect();
    for (path, secret) in places(about) {
        if secret == Secret::Yes {
            all.push(deny(format!("Read(/{path})")));
        }
        all.push(deny(format!("Edit(/{path})")));
    }
    let programs = ["harness", about.program];
    all.extend(programs.iter().map(|program| deny(format!("Bash({program}:*)"))));
    let writes = about.guarded.writes.iter();
    all.extend(writes.map(|tool| ask(format!("mcp__{NAME}__{}", for_a_rule(tool)))));
    if about.guarded.writes.is_empty() && about.guarded.reads.is_empty() {
        // Which tools there are is not known here: all of them are asked about.
        all.push(ask(format!("mcp__{NAME}")));
    }
    all
}

/// As Claude Code writes names of servers and tools in its own.
fn for_a_rule(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    name.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}

/// `.cursor/cli.json`.
fn for_cursor(about: &About<'_>) -> Vec<Rule> {
    let deny = |what: String| rule(&["permissions", "deny"], what, Sort::Listed);
    let mut all: Vec<Rule> =
        about.direct.iter().map(|name| deny(format!("Mcp({name}:*)"))).collect();
    for (path, secret) in places(about) {
        if secret == Secret::Yes {
            all.push(deny(format!("Read({path})")));
        }
        all.push(deny(format!("Write({path})")));
    }
    let programs = ["harness", about.program];
    all.extend(programs.iter().map(|program| deny(format!("Shell({program})"))));
    all
}

/// `.vscode/settings.json`: what is never done without asking.
fn for_vscode(about: &About<'_>) -> Vec<Rule> {
    let off = |key: &str, what: String| rule(&[key], what, Sort::Off);
    let programs = ["harness", about.program].into_iter();
    let mut all: Vec<Rule> = programs
        .map(|program| off("chat.tools.terminal.autoApprove", program.to_owned()))
        .collect();
    let places = places(about).into_iter();
    all.extend(places.map(|(path, _)| off("chat.tools.edits.autoApprove", path)));
    let writes = about.guarded.writes.iter();
    all.extend(
        writes.map(|tool| off("chat.tools.eligibleForAutoApproval", format!("{NAME}/{tool}"))),
    );
    all
}

/// Writes what was shown; a file that is empty is removed, one that stays the same is left alone.
pub(super) fn write_all(changes: &[Change]) -> Result<(), Problem> {
    let different = changes.iter().filter(|change| change.before != change.after);
    for change in different {
        write(&change.path, &change.after)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(what: &str) -> Rule {
        rule(&["permissions", "deny"], what.to_owned(), Sort::Listed)
    }

    /// What was there stays there, before, meanwhile and after.
    #[test]
    fn rules_come_and_go_and_leave_what_others_wrote() {
        for (before, rules) in [
            (json!({}), vec![listed("a"), listed("b")]),
            (json!({"permissions": {"deny": ["own"], "allow": ["x"]}}), vec![listed("a")]),
            (
                json!({"chat": 1, "k": {"own": true}}),
                vec![
                    rule(&["k"], "a/**".to_owned(), Sort::Off),
                    rule(&["l"], "b".to_owned(), Sort::Off),
                ],
            ),
        ] {
            let mut settings = before.clone();
            for rule in &rules {
                assert_eq!(put_in(&mut settings, rule), Some(true));
                assert_eq!(put_in(&mut settings, rule), Some(false), "twice is once");
            }
            assert_ne!(settings, before);
            rules.iter().for_each(|rule| take_out(&mut settings, rule));
            assert_eq!(settings, before);
        }
        let mut said = json!({"k": {"a": true}});
        assert_eq!(put_in(&mut said, &rule(&["k"], "a".to_owned(), Sort::Off)), Some(false));
        assert_eq!(said, json!({"k": {"a": true}}), "what somebody said themselves stands");
        for other in [json!({"permissions": []}), json!({"permissions": {"deny": "x"}}), json!([])]
        {
            let mut settings = other.clone();
            assert_eq!(put_in(&mut settings, &listed("a")), None, "{other}");
        }
    }
}
