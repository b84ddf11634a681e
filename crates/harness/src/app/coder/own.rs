//! What an agent is held by: the store, keys, policies and the configuration of the harness, and the settings of the
//! agent's own host. Whatever a use would touch of it is named, and policy denies it.

use std::path::{Component, Path, PathBuf};

use shell::Reading;

use crate::app::config::{Config, own_place};

/// The program that decides.
const OURS: &str = "harness";

/// Files and folders that say what an agent's host lets it do, wherever they lie.
const SETTINGS: [&[&str]; 10] = [
    &[".claude", "settings.json"],
    &[".claude", "settings.local.json"],
    &[".claude", "managed-settings.json"],
    &[".claude", "hooks"],
    &[".claude.json"],
    &[".mcp.json"],
    &[".codex", "config.toml"],
    &[".codex", "hooks.json"],
    &[".codex", "hooks"],
    &["managed-settings.json"],
];

/// Which of it a path is, lies in, or is written as.
pub(super) fn of_path(config: &Config, path: &str, cwd: &str) -> Option<String> {
    let place = plain(Path::new(cwd), path);
    if is_setting(&place) {
        return Some("the settings of the agent's host".to_owned());
    }
    own_place(config, &place)
}

/// What a command would touch of it: a file that it names, or the program that decides.
pub(super) fn of_command(
    config: &Config,
    (command, read): (&str, &Reading),
    cwd: &str,
) -> Option<String> {
    let calls_us = read.programs.iter().any(|program| {
        let names = program.through.iter().flat_map(|through| through.split(' '));
        names.chain([program.name.as_str()]).any(|name| name.rsplit('/').next() == Some(OURS))
    });
    if calls_us {
        return Some("the commands of the harness".to_owned());
    }
    // Which files a program reads, no table says: each word that could be a path is looked at. That finds too much
    // sooner than too little; what a program opens by itself, a sandbox has to hold.
    let apart = |c: char| c.is_whitespace() || "\"'`;|&<>()={},:".contains(c);
    let words = command.split(apart).filter(|word| !word.is_empty());
    let written = read.writes.iter().map(String::as_str);
    words.chain(written).find_map(|word| of_path(config, word, cwd))
}

fn is_setting(place: &Path) -> bool {
    let parts: Vec<&str> = place
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    // A folder that holds settings is theirs as a whole only where it is named as a whole.
    SETTINGS.iter().any(|setting| parts.windows(setting.len()).any(|window| window == *setting))
        || parts.last().is_some_and(|last| [".claude", ".codex"].contains(last))
}

/// A path as it is meant, without looking at the disk: `~` is the home, and `..` goes up.
fn plain(cwd: &Path, path: &str) -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let expanded = match (path.strip_prefix("~/").or(path.strip_prefix("$HOME/")), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => cwd.join(path.strip_prefix("file://").unwrap_or(path)),
    };
    let mut place = PathBuf::new();
    for part in expanded.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                place.pop();
            }
            other => place.push(other),
        }
    }
    place
}
