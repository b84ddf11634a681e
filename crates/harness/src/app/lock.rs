//! `harness.lock`: the digest of every file that a project's packs are made of, and of what languages install from, so
//! that nothing is put in force that nobody has looked at.
//!
//! It stands beside the configuration and is somebody's word, as a lock of other package managers is: who may write it
//! may write the packs. Signatures say whose a pack is ([`super::packs`]); this says that it is what was looked at.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use connect::{FolderSystem, Language, System};
use kernel::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    config::Config,
    problem::{Kind, Problem},
    shelf,
};

/// Name of the file, beside the configuration.
pub const FILE: &str = "harness.lock";

/// What this program writes.
const VERSION: u32 = 1;

/// Largest lock that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Largest file that languages install from, in bytes.
const LANGUAGE_BYTES_MAX: u64 = 64 << 20;

/// Most changes that a refusal names.
const NAMED_MAX: usize = 10;

const HEAD: &str = "# What the packs of this project were made of when somebody looked at them. Written by `harness pack lock`.\n# A pack that is not as it stands here is refused.\n\n";

/// The file, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lock {
    version: u32,
    /// Packs by their names.
    #[serde(default)]
    packs: BTreeMap<String, Locked>,
    /// What languages install from, by system and language.
    #[serde(default)]
    languages: BTreeMap<String, String>,
}

/// One pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Locked {
    /// Path → SHA-256 of the file.
    files: BTreeMap<String, String>,
}

/// What was locked.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PackLock {
    /// The file.
    pub file: String,
    /// In name order.
    pub packs: Vec<LockedPack>,
    /// What languages install from: `system.language` → SHA-256.
    pub languages: BTreeMap<String, String>,
    /// What is different from the lock that was there.
    pub changes: Vec<String>,
}

/// A pack that is locked.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LockedPack {
    /// Its name.
    pub name: String,
    /// How many files it has.
    pub files: usize,
}

/// Holds what was read against the lock, where there is one. The bytes that are held are those that are put in force.
///
/// # Errors
/// What is different, and a lock that cannot be read.
pub(super) fn check(config: &Config, read: &[shelf::Read]) -> Result<(), Problem> {
    let Some(file) = &config.lock else { return Ok(()) };
    let Some(held) = read_lock(file)? else { return Ok(()) };
    let changes = differences(&held, &of(config, read)?);
    if changes.is_empty() {
        return Ok(());
    }
    let more = changes.len().saturating_sub(NAMED_MAX);
    let mut named: Vec<String> = changes.into_iter().take(NAMED_MAX).collect();
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    let detail = format!("not as in {}: {}", file.display(), named.join("; "));
    Err(Problem::new(Kind::VerificationFailed, "lock-changed", detail)
        .at(file.display().to_string())
        .next("look at what changed; if it is meant, run `harness pack lock`"))
}

/// Writes the lock anew, or only says what would be different.
///
/// # Errors
/// Without a configuration file, or what cannot be read or written.
pub fn lock(config: &Config, write: Write) -> Result<PackLock, Problem> {
    let file = config.lock.as_ref().ok_or_else(|| {
        Problem::usage("no-project", "there is no harness.toml that a lock could stand beside")
            .next("run this in a project, or name its file with --config")
    })?;
    let read = shelf::read_configured(config)?;
    let fresh = of(config, &read)?;
    let held = read_lock(file)?;
    let changes = differences(&held.unwrap_or_default(), &fresh);
    if write == Write::Yes {
        write_lock(file, &fresh)?;
    }
    let packs = fresh.packs.iter();
    let packs =
        packs.map(|(name, pack)| LockedPack { name: name.clone(), files: pack.files.len() });
    Ok(PackLock {
        file: file.display().to_string(),
        packs: packs.collect(),
        languages: fresh.languages,
        changes,
    })
}

/// Whether the lock is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// It is.
    Yes,
    /// It is only compared.
    No,
}

fn of(config: &Config, read: &[shelf::Read]) -> Result<Lock, Problem> {
    let mut packs = BTreeMap::new();
    for (folder, files) in read {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let digest =
            |(path, bytes): (&String, &Vec<u8>)| (path.clone(), Digest::of(bytes).to_string());
        let locked = Locked { files: files.iter().map(digest).collect() };
        if packs.insert(name.clone(), locked).is_some() {
            let detail = format!("two pack folders are called `{name}`");
            return Err(Problem::usage("lock-names", detail).next("rename one of them"));
        }
    }
    let mut languages = BTreeMap::new();
    for (name, system) in &config.systems {
        let System::Folder(folder) = system else { continue };
        for (language, path) in locks_of(folder) {
            languages.insert(format!("{name}.{language}"), digest_of(&path)?);
        }
    }
    Ok(Lock { version: VERSION, packs, languages })
}

fn locks_of(folder: &FolderSystem) -> Vec<(&'static str, PathBuf)> {
    let Some(code) = &folder.code else { return Vec::new() };
    let named = [("python", &code.python), ("javascript", &code.javascript)];
    let lock =
        |(name, language): (_, &Option<Language>)| Some((name, language.as_ref()?.lock.clone()?));
    named.into_iter().filter_map(lock).collect()
}

fn digest_of(path: &Path) -> Result<String, Problem> {
    let unreadable = |problem: String| {
        Problem::usage("lock-unreadable", format!("cannot read {}: {problem}", path.display()))
            .next("correct `lock` of the language under [systems]")
    };
    let meta = fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if meta.len() > LANGUAGE_BYTES_MAX {
        return Err(unreadable(format!("it is larger than {LANGUAGE_BYTES_MAX} bytes")));
    }
    let bytes = fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    Ok(Digest::of(&bytes).to_string())
}

/// Each difference in one sentence.
fn differences(held: &Lock, found: &Lock) -> Vec<String> {
    let mut all = Vec::new();
    let names: BTreeSet<&String> = held.packs.keys().chain(found.packs.keys()).collect();
    for name in names {
        match (held.packs.get(name), found.packs.get(name)) {
            (Some(_), None) => all.push(format!("pack `{name}` is locked and not configured")),
            (None, Some(_)) => all.push(format!("pack `{name}` is not locked")),
            (Some(held), Some(found)) => {
                compare(&format!("{name}: "), &held.files, &found.files, &mut all);
            }
            (None, None) => {}
        }
    }
    compare("", &held.languages, &found.languages, &mut all);
    all
}

fn compare(
    of: &str,
    held: &BTreeMap<String, String>,
    found: &BTreeMap<String, String>,
    all: &mut Vec<String>,
) {
    let names: BTreeSet<&String> = held.keys().chain(found.keys()).collect();
    for name in names {
        let what = match (held.get(name), found.get(name)) {
            (Some(held), Some(found)) if held == found => continue,
            (Some(_), Some(_)) => "changed",
            (Some(_), None) => "is gone",
            (None, _) => "is new",
        };
        all.push(format!("{of}{name} {what}"));
    }
}

fn read_lock(file: &Path) -> Result<Option<Lock>, Problem> {
    let wrong = |problem: String| {
        Problem::new(
            Kind::VerificationFailed,
            "lock-invalid",
            format!("{}: {problem}", file.display()),
        )
        .next("bring it back from version control, or write it anew with `harness pack lock`")
    };
    match fs::metadata(file) {
        Ok(meta) if meta.len() > FILE_BYTES_MAX => {
            return Err(wrong(format!("it is larger than {FILE_BYTES_MAX} bytes")));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error.to_string())),
    }
    let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let lock: Lock = toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
    if lock.version != VERSION {
        return Err(wrong(format!(
            "it is of version {}, this program knows {VERSION}",
            lock.version
        )));
    }
    Ok(Some(lock))
}

/// Replaces it as a whole, so that a crash leaves the old one or the new one.
fn write_lock(file: &Path, lock: &Lock) -> Result<(), Problem> {
    let failed = |problem: String| {
        Problem::usage("file-unwritable", format!("cannot write {}: {problem}", file.display()))
            .next("make its folder writable, with room on its disk")
    };
    let text = toml::to_string(lock).map_err(|error| failed(error.to_string()))?;
    let beside = file.with_extension("lock.new");
    let written = fs::write(&beside, format!("{HEAD}{text}"));
    let written = written.and_then(|()| fs::rename(&beside, file));
    written.map_err(|error| failed(error.to_string()))
}
