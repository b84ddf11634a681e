//! `store migrate`: brings a store forward on purpose, with a copy of what was there first.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::Sqlite;

use super::{
    backups::{self, DATABASE},
    config::Config,
    host::Lock,
    problem::{Kind, Problem},
};

/// Most copies of one version kept beside a store.
const COPIES_MAX: u32 = 100;

/// What a migration did.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Migrated {
    /// The store.
    pub path: String,
    /// The version found.
    pub from: u32,
    /// The version now.
    pub to: u32,
    /// The copy of the database as it was; none when there was nothing to do.
    pub copy: Option<String>,
    /// Runs whose chains were verified afterwards.
    pub runs: u64,
}

/// Migrates the store. Every other command does so too when it opens an older one, without a copy.
///
/// # Errors
/// When there is no store, somebody owns it, it is of a newer version, or it is damaged.
pub async fn migrate(config: &Config) -> Result<Migrated, Problem> {
    let path = config.store.join(DATABASE);
    let place = config.store.display().to_string();
    let found = Sqlite::version_of(&path)?.filter(|version| *version > 0);
    let from = found.ok_or_else(|| {
        Problem::new(Kind::NotFound, "store-not-found", format!("there is no store in {place}"))
            .next("name its folder with --store")
    })?;
    let lock = Lock::take(&config.store)?.ok_or_else(|| {
        Problem::new(Kind::TryAgain, "store-owned", format!("another process owns {place}"))
            .next("stop it first")
    })?;
    let copy = match from < store::VERSION {
        true => Some(copy_first(&config.store, from)?),
        false => None,
    };
    let store = Sqlite::open(&path, store::Options::default())?;
    let integrity = store.integrity_check(usize::MAX >> 1).await?;
    store.close().await?;
    drop(lock);
    if let Some(problem) = integrity.problems.first() {
        let detail = format!("the store is damaged: {problem}");
        return Err(Problem::new(Kind::VerificationFailed, "store-damaged", detail)
            .next("restore it from a backup; `harness store check` shows every problem"));
    }
    let copy = copy.map(|copy| copy.display().to_string());
    Ok(Migrated { path: place, from, to: store::VERSION, copy, runs: integrity.runs })
}

/// A copy of the database as it is now, under a name of its own. It has the name only once it is whole: a
/// migration that was interrupted may have left half of one, or a copy of what the store was then.
fn copy_first(store: &Path, from: u32) -> Result<PathBuf, Problem> {
    let draft = store.join(format!("before-v{from}.draft"));
    let _left_over = std::fs::remove_file(&draft);
    Sqlite::copy_file(&store.join(DATABASE), &draft)?;
    let names = (1..=COPIES_MAX).map(|n| match n {
        1 => format!("before-v{from}.db"),
        _ => format!("before-v{from}-{n}.db"),
    });
    let free = names.map(|name| store.join(name)).find(|copy| !copy.exists());
    let copy = free.ok_or_else(|| {
        let detail = format!("{COPIES_MAX} copies of version {from} are in {}", store.display());
        Problem::new(Kind::Conflict, "copies", detail).next("move those you do not need elsewhere")
    })?;
    backups::rename_durably(&draft, &copy)?;
    Ok(copy)
}
