//! A new pack that is sound and passes its own test: something to change, not something to fill in.

use std::path::{Path, PathBuf};

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

/// What a new pack is called, and where it goes.
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
    check_name(&request.name)?;
    let folder = request.dir.join(&request.name);
    if folder.exists() {
        let detail = format!("{} exists already; nothing was written", folder.display());
        return Err(Problem::new(Kind::Conflict, "folder-exists", detail)
            .next("choose another name, or another folder with --dir"));
    }
    for (path, text) in FILES {
        write(&folder.join(path), &text.replace("NAME", &request.name))?;
    }
    Ok(PackMade {
        name: request.name.clone(),
        folder: folder.display().to_string(),
        files: FILES.iter().map(|(path, _)| (*path).to_owned()).collect(),
    })
}

/// Packs are named as their files name each other: lower case, digits and hyphens.
fn check_name(name: &str) -> Result<(), Problem> {
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
        Some(better) if !better.is_empty() => format!("for example `harness pack new {better}`"),
        _ => "for example `harness pack new field-service`".to_owned(),
    };
    let detail = format!(
        "a pack's name is 1 to {NAME_CHARS_MAX} lower-case letters, digits and hyphens, and begins \
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
    std::fs::write(path, text).map_err(refuse)
}
