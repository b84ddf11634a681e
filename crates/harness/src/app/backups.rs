//! Backups: one consistent folder, verified, drilled and restored.
//!
//! A backup holds the database and the pinned policies beside it; packs and plans of runs lie in the
//! database. It does not hold configuration, secrets or the signing key: those are yours to keep.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Component, Path, PathBuf},
};

use kernel::{Digest, exception::OPERATOR_ROLE};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::Query as _;

use super::{
    App, Caller,
    problem::{Kind, Problem},
    receipts,
    runs::rfc3339,
};

/// What a backup's manifest is called.
const MANIFEST: &str = "manifest.json";
/// The schema of manifests.
const MANIFEST_SCHEMA: &str = "harness.backup/v1";
/// The database in a backup and in a store.
pub(super) const DATABASE: &str = "harness.db";
/// The folder of pinned policies in a backup and in a store.
pub(super) const POLICIES: &str = "policies";
/// Most files a backup holds.
const FILES_MAX: usize = 100_000;
/// Largest manifest read, in bytes.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// A backup: what it holds, and the digest of each of its files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Backup {
    /// Where it is.
    #[serde(default)]
    pub path: String,
    /// When it was made, RFC 3339 UTC.
    pub made_at: String,
    /// Whose data.
    pub tenant: String,
    /// The program that made it.
    pub made_by: String,
    /// Schema version of the database.
    pub store_version: u32,
    /// Runs in it, at least: it may hold newer ones.
    pub runs: u64,
    /// Leaves of the receipt log, at least.
    pub log_size: u64,
    /// Root of the log at that size.
    pub log_root: String,
    /// Every file but the manifest.
    pub files: Vec<BackedUp>,
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackedUp {
    /// Below the backup's folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
}

/// Makes a backup.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateBackup {
    /// The folder to make; it must not exist.
    pub to: PathBuf,
}

/// Makes a backup while the store is in use. It appears whole or not at all.
///
/// # Errors
/// When the caller is no operator, the folder exists, or the medium fails.
pub async fn create(app: &App, caller: &Caller, request: CreateBackup) -> Result<Backup, Problem> {
    if !caller.principal().roles.contains(OPERATOR_ROLE) {
        let detail =
            format!("{} is no operator: only operators make backups", caller.principal().id);
        return Err(Problem::new(Kind::NotAllowed, "not-an-operator", detail)
            .next("add the role `operator` to somebody under [people] in harness.toml"));
    }
    let to = &request.to;
    refuse_existing(to)?;
    // Read before the copy: the copy holds at least this much.
    let tree = receipts::tree(app, caller).await?;
    let stats = app.store.stats(caller.tenant()).await?;
    let made_at = rfc3339(app.now());
    let draft = Draft::begin(to)?;
    app.store.copy_to(&draft.path.join(DATABASE)).await?;
    let mut files = vec![list_file(&draft.path, DATABASE)?];
    for name in policy_files(&app.config.store)? {
        let inside = format!("{POLICIES}/{name}");
        copy_file(&app.config.store.join(&inside), &draft.path.join(&inside))?;
        files.push(list_file(&draft.path, &inside)?);
    }
    let backup = Backup {
        path: to.display().to_string(),
        made_at,
        tenant: caller.tenant().to_string(),
        made_by: format!("harness {}", env!("CARGO_PKG_VERSION")),
        store_version: store::VERSION,
        runs: stats.runs,
        log_size: tree.size(),
        log_root: tree.root(tree.size()).map(|root| root.to_string()).unwrap_or_default(),
        files,
    };
    let document =
        super::ops::document(MANIFEST_SCHEMA, &Backup { path: String::new(), ..backup.clone() })?;
    let text = serde_json::to_vec_pretty(&document).map_err(|e| failed(to, e))?;
    write_private(&draft.path.join(MANIFEST), &text)?;
    draft.finish(to)?;
    Ok(backup)
}

/// Reads a backup's manifest and checks every file against it.
///
/// # Errors
/// What is missing, changed or unexpected.
pub(super) fn read(from: &Path) -> Result<Backup, Problem> {
    let path = from.join(MANIFEST);
    let unreadable = |e: String| {
        Problem::usage("backup-unreadable", format!("{}: {e}", path.display()))
            .next("name a folder that `harness backup create` made")
    };
    let size = fs::metadata(&path).map_err(|e| unreadable(e.to_string()))?.len();
    if size > MANIFEST_BYTES_MAX {
        return Err(unreadable(format!("it is larger than {MANIFEST_BYTES_MAX} bytes")));
    }
    let bytes = fs::read(&path).map_err(|e| unreadable(e.to_string()))?;
    let mut document: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|e| unreadable(e.to_string()))?;
    let schema = document.as_object_mut().and_then(|object| object.remove("schema"));
    if schema.as_ref().and_then(|s| s.as_str()) != Some(MANIFEST_SCHEMA) {
        return Err(unreadable(format!("it is not a {MANIFEST_SCHEMA}")));
    }
    let mut backup: Backup =
        serde_json::from_value(document).map_err(|e| unreadable(e.to_string()))?;
    backup.path = from.display().to_string();
    if !backup.files.iter().any(|file| file.path == DATABASE) {
        return Err(damaged(from, "its manifest names no database".to_owned()));
    }
    for file in &backup.files {
        let plain = Path::new(&file.path).components().all(|c| matches!(c, Component::Normal(_)));
        if !plain {
            return Err(damaged(from, format!("{} leads out of the folder", file.path)));
        }
        let found = list_file(from, &file.path).map_err(|problem| damaged(from, problem.detail))?;
        if found != *file {
            return Err(damaged(from, format!("{} is not what was written", file.path)));
        }
    }
    Ok(backup)
}

/// Copies a backup into the draft of a new store folder, which appears whole or not at all.
pub(super) fn unpack(backup: &Backup, from: &Path, to: &Path) -> Result<Draft, Problem> {
    refuse_existing(to)?;
    let draft = Draft::begin(to)?;
    for file in &backup.files {
        copy_file(&from.join(&file.path), &draft.path.join(&file.path))?;
    }
    Ok(draft)
}

fn damaged(from: &Path, problem: String) -> Problem {
    let detail = format!("the backup {} is damaged: {problem}", from.display());
    Problem::new(Kind::VerificationFailed, "backup-damaged", detail)
        .next("nothing was restored; use another backup")
}

fn failed(path: &Path, error: impl std::fmt::Display) -> Problem {
    let detail = format!("{}: {error}", path.display());
    Problem::new(Kind::TryAgain, "backup-failed", detail)
        .next("nothing half-written is left; free disk space or check permissions")
}

fn refuse_existing(to: &Path) -> Result<(), Problem> {
    if to.exists() {
        let detail = format!("{} exists already", to.display());
        return Err(Problem::new(Kind::Conflict, "exists", detail).next("name a new folder"));
    }
    Ok(())
}

/// A folder in the making, removed unless it is finished.
pub(super) struct Draft {
    pub(super) path: PathBuf,
}

impl Draft {
    fn begin(to: &Path) -> Result<Self, Problem> {
        let mut name = to.file_name().map(ToOwned::to_owned).ok_or_else(|| {
            Problem::usage("bad-path", format!("{} names no folder", to.display()))
                .next("name a new folder for the backup, such as `--to backups/today`")
        })?;
        name.push(format!(".draft-{}", std::process::id()));
        let path = to.with_file_name(name);
        if let Some(parent) = to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            super::host::make_private_dir(parent).map_err(|e| failed(parent, e))?;
        }
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(|e| failed(&path, e))?;
        let draft = Self { path };
        let inside = draft.path.join(POLICIES);
        fs::DirBuilder::new().mode(0o700).create(&inside).map_err(|e| failed(&inside, e))?;
        Ok(draft)
    }

    /// Gives it its name: from here on it is there.
    pub(super) fn finish(self, to: &Path) -> Result<(), Problem> {
        for folder in [self.path.join(POLICIES), self.path.clone()] {
            sync_folder(&folder)?;
        }
        rename_durably(&self.path, to)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After a rename there is nothing left here.
        let _gone = fs::remove_dir_all(&self.path);
    }
}

/// Renames, and says so only once it outlives the machine.
pub(super) fn rename_durably(from: &Path, to: &Path) -> Result<(), Problem> {
    fs::rename(from, to).map_err(|e| failed(to, e))?;
    match to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

fn sync_folder(path: &Path) -> Result<(), Problem> {
    let folder = fs::File::open(path).map_err(|e| failed(path, e))?;
    folder.sync_all().map_err(|e| failed(path, e))
}

fn policy_files(store: &Path) -> Result<Vec<String>, Problem> {
    let folder = store.join(POLICIES);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|e| failed(&folder, e))? {
        let name = entry.map_err(|e| failed(&folder, e))?.file_name();
        let name = name.to_string_lossy().into_owned();
        if name.ends_with(".json") {
            names.push(name);
        }
        if names.len() > FILES_MAX {
            return Err(failed(&folder, format!("more than {FILES_MAX} files")));
        }
    }
    names.sort();
    Ok(names)
}

fn list_file(folder: &Path, inside: &str) -> Result<BackedUp, Problem> {
    let path = folder.join(inside);
    let mut file = fs::File::open(&path).map_err(|e| failed(&path, e))?;
    let (digest, bytes) =
        Digest::of_stream(|buffer| file.read(buffer)).map_err(|e| failed(&path, e))?;
    Ok(BackedUp { path: inside.to_owned(), bytes, sha256: digest.hex() })
}

fn copy_file(from: &Path, to: &Path) -> Result<(), Problem> {
    let mut source = fs::File::open(from).map_err(|e| failed(from, e))?;
    let mut target = create_private(to)?;
    std::io::copy(&mut source, &mut target).map_err(|e| failed(to, e))?;
    target.sync_all().map_err(|e| failed(to, e))
}

fn create_private(path: &Path) -> Result<fs::File, Problem> {
    let opened = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
    opened.map_err(|e| failed(path, e))
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Problem> {
    let mut file = create_private(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(|e| failed(path, e))
}
