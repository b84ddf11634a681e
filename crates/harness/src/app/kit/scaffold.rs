//! A new pack that is sound and passes its own test, alone or with everything around it that lets it run:
//! something to change, not something to fill in.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::problem::{Kind, Problem};

/// Longest name of a pack.
const NAME_CHARS_MAX: usize = 40;

/// Files of a new pack: where they go and what they hold, with `NAME` for its name.
const FILES: [(&str, &str); 7] = [
    ("pack.yaml", include_str!("scaffold/pack.yaml")),
    ("intents/reschedule.yaml", include_str!("scaffold/intent.yaml")),
    ("playbooks/reschedule.yaml", include_str!("scaffold/playbook.yaml")),
    ("connectors/bookings.yaml", include_str!("scaffold/connector.yaml")),
    ("policies/bookings.cedar", include_str!("scaffold/policy.cedar")),
    ("policies/bookings.test.yaml", include_str!("scaffold/policy.test.yaml")),
    ("README.md", include_str!("scaffold/README.md")),
];

/// What a new project holds beside its pack, and what its pack holds more: an agent, and a tool that
/// needs no system.
const PROJECT: [(&str, &str); 9] = [
    ("harness.toml", include_str!("scaffold/project/harness.toml")),
    ("operator.cedar", include_str!("scaffold/project/operator.cedar")),
    ("answers.yaml", include_str!("scaffold/project/answers.yaml")),
    (".gitignore", include_str!("scaffold/project/gitignore")),
    ("README.md", include_str!("scaffold/project/README.md")),
    ("test", include_str!("scaffold/project/test")),
    ("packs/NAME/agents/clerk.yaml", include_str!("scaffold/project/clerk.yaml")),
    ("packs/NAME/connectors/sums.yaml", include_str!("scaffold/project/sums.yaml")),
    ("packs/NAME/intents/ask.yaml", include_str!("scaffold/project/ask.yaml")),
];

/// What a pack asks for, and what that of a project asks for: the tool, and to think.
const ASKS: [&str; 2] =
    ["bookings.move_booking]", "bookings.move_booking, sums.calculate, model.main]"];

/// What a new pack or project is called, and where it goes.
#[derive(Clone, Debug)]
pub struct NewPack {
    /// Its name, also of its folder.
    pub name: String,
    /// The folder its own folder is made in.
    pub dir: PathBuf,
}

/// A new pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PackMade {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub folder: String,
    /// Its files.
    pub files: Vec<String>,
}

/// Makes a pack.
///
/// # Errors
/// When the name is no name, the folder exists, or a file cannot be written.
pub fn make(request: &NewPack) -> Result<PackMade, Problem> {
    write_all(request, "pack new", &FILES.map(|(path, text)| (path.to_owned(), text.to_owned())))
}

/// Makes a project: a configuration, an operator's policy, a scripted model and a pack, with a test that
/// passes as it is.
///
/// # Errors
/// As for [`make`].
pub fn make_project(request: &NewPack) -> Result<PackMade, Problem> {
    let [asks, more] = ASKS;
    let pack = FILES.map(|(path, text)| (format!("packs/NAME/{path}"), text.replace(asks, more)));
    let around = PROJECT.map(|(path, text)| (path.to_owned(), text.to_owned()));
    write_all(request, "new", &[&around[..], &pack[..]].concat())
}

fn write_all(
    request: &NewPack,
    command: &str,
    files: &[(String, String)],
) -> Result<PackMade, Problem> {
    check_name(&request.name, command)?;
    let folder = request.dir.join(&request.name);
    if folder.exists() {
        let detail = format!("{} exists already; nothing was written", folder.display());
        return Err(Problem::new(Kind::Conflict, "folder-exists", detail)
            .next("choose another name, or another folder with --dir"));
    }
    let named = |text: &str| text.replace("NAME", &request.name);
    for (path, text) in files {
        write(&folder.join(named(path)), &named(text))?;
    }
    Ok(PackMade {
        name: request.name.clone(),
        folder: folder.display().to_string(),
        files: files.iter().map(|(path, _)| named(path)).collect(),
    })
}

/// Packs are named as their files name each other: lower case, digits and hyphens.
fn check_name(name: &str, command: &str) -> Result<(), Problem> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    let ends = name.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if begins && ends && name.chars().all(plain) && name.len() <= NAME_CHARS_MAX {
        return Ok(());
    }
    let suggestion: String =
        name.to_lowercase().chars().map(|c| if plain(c) { c } else { '-' }).collect();
    let suggestion = suggestion.trim_matches(|c: char| !c.is_ascii_lowercase());
    let next = match suggestion.get(..suggestion.len().min(NAME_CHARS_MAX)) {
        Some(better) if !better.is_empty() => format!("for example `harness {command} {better}`"),
        _ => format!("for example `harness {command} field-service`"),
    };
    let detail = format!(
        "a name is 1 to {NAME_CHARS_MAX} lower-case letters, digits and hyphens, and begins \
         with a letter"
    );
    Err(Problem::usage("pack-name", detail).next(next))
}

fn write(path: &Path, text: &str) -> Result<(), Problem> {
    let refuse = |error: std::io::Error| {
        Problem::usage("file-unwritable", format!("cannot write {}: {error}", path.display()))
            .next("choose a folder you may write to with --dir")
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(refuse)?;
    }
    std::fs::write(path, text).map_err(refuse)?;
    // What begins so is run.
    if text.starts_with("#!") {
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, mode).map_err(refuse)?;
    }
    Ok(())
}
