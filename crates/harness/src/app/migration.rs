//! `store migrate`: brings a store forward on purpose, with a copy of what was there first.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::Sqlite;

use super::{
    backups::DATABASE,
    config::Config,
    host::Lock,
    problem::{Kind, Problem},
};

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
    let copy = (from < store::VERSION).then(|| config.store.join(format!("before-v{from}.db")));
    if let Some(copy) = &copy {
        Sqlite::copy_file(&path, copy)?;
    }
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
