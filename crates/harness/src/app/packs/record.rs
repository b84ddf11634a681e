//! What is written down about an installed pack, and how it is shown.

use kernel::{
    Digest,
    id::{At, PrincipalId},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    super::{
        App,
        problem::{Kind, Problem},
        runs::rfc3339,
        shelf::Origin,
    },
    PackView, view_of,
};

/// Versions and changes that are kept in mind; older files stay in the store as long as runs need them.
const KEPT_MAX: usize = 200;

/// An installed pack.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// Whether it takes new work.
    pub(super) serves: bool,
    /// The files in force.
    pub(super) digest: Digest,
    /// Every version that was here, oldest first.
    pub(super) versions: Vec<Version>,
    /// Everything that was done to it, oldest first.
    pub(super) changes: Vec<Change>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Version {
    pub(super) version: String,
    pub(super) digest: Digest,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    pub(super) at: At,
    pub(super) by: PrincipalId,
    pub(super) did: Did,
    pub(super) version: String,
    pub(super) digest: Digest,
}

/// What was done to a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Did {
    /// It came.
    Installed,
    /// A newer version replaced it.
    Upgraded,
    /// An earlier version replaced it.
    RolledBack,
    /// It takes work again.
    Enabled,
    /// It takes no new work.
    Disabled,
}

impl Record {
    /// The number of the version in force.
    pub(super) fn current(&self) -> &str {
        let current = self.versions.iter().find(|known| known.digest == self.digest);
        current.map_or("", |known| known.version.as_str())
    }

    /// The version that was in force before the one that is.
    pub(super) fn before(&self) -> Option<&Version> {
        let other = self.changes.iter().rev().find(|change| change.digest != self.digest)?;
        self.versions.iter().find(|known| known.digest == other.digest)
    }

    /// Notes what was done, and forgets what was done very long ago.
    pub(super) fn note(&mut self, did: Did, by: PrincipalId, at: At) {
        let (version, digest) = (self.current().to_owned(), self.digest);
        self.changes.push(Change { at, by, did, version, digest });
        self.changes.drain(..self.changes.len().saturating_sub(KEPT_MAX));
        self.versions.drain(..self.versions.len().saturating_sub(KEPT_MAX));
    }

    /// Refuses a version that does not come after the one in force.
    ///
    /// # Errors
    /// Says what is there.
    pub(super) fn check_newer(&self, new: &Version) -> Result<(), Problem> {
        let same = self.versions.iter().find(|known| known.version == new.version);
        if let Some(same) = same {
            let detail = match same.digest == new.digest {
                true => format!("version {} was here already", new.version),
                false => format!("version {} was here with other files", new.version),
            };
            return Err(conflict("pack-version-known", detail).next(
                "raise the version, or put the earlier one in force with `harness pack rollback`",
            ));
        }
        let current = self.current();
        if pack::is_newer(&new.version, current) {
            return Ok(());
        }
        let detail = format!("version {} is not newer than {current}", new.version);
        Err(conflict("pack-not-newer", detail)
            .next("raise the version, or put an earlier one in force with `harness pack rollback`"))
    }
}

/// A pack with everything that was done to it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PackDetail {
    /// The pack as it is in force.
    #[serde(flatten)]
    pub pack: PackView,
    /// Versions that can be put in force, oldest first; none for a configured pack.
    pub versions: Vec<PackVersion>,
    /// What was done to it, newest first.
    pub changes: Vec<PackDone>,
}

/// A version of a pack.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PackVersion {
    /// Its number.
    pub version: String,
    /// Digest of its files.
    pub digest: String,
    /// Whether it is in force.
    pub is_current: bool,
}

/// Something done to a pack.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PackDone {
    /// When, RFC 3339 UTC.
    pub at: String,
    /// By whom.
    pub by: String,
    /// What.
    pub did: Did,
    /// The version in force afterwards.
    pub version: String,
    /// Digest of its files.
    pub digest: String,
}

/// A pack that is gone.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PackRemoved {
    /// Its name.
    pub name: String,
    /// The version that was in force.
    pub version: String,
    /// Digest of its files.
    pub digest: String,
}

/// A pack as it is in force, with its record.
///
/// # Errors
/// When there is no such pack.
pub(super) fn detail(app: &App, name: &str, record: Option<Record>) -> Result<PackDetail, Problem> {
    let stock = app.shelf.stock();
    let shelved = stock.all().find(|shelved| shelved.pack.manifest.name == name);
    let pack = match (shelved, app.packs.lost().remove(name), &record) {
        (Some(shelved), _, _) => view_of(shelved),
        (None, Some(why), Some(record)) => lost_view(name, record.current(), why),
        _ => return Err(Problem::not_found("pack", name)),
    };
    let (versions, changes, digest) = match record {
        Some(record) => (record.versions, record.changes, Some(record.digest)),
        None => (Vec::new(), Vec::new(), None),
    };
    let versions = versions.into_iter().map(|known| PackVersion {
        is_current: Some(known.digest) == digest,
        version: known.version,
        digest: known.digest.to_string(),
    });
    let changes = changes.into_iter().rev().map(|change| PackDone {
        at: rfc3339(change.at),
        by: change.by.to_string(),
        did: change.did,
        version: change.version,
        digest: change.digest.to_string(),
    });
    Ok(PackDetail { pack, versions: versions.collect(), changes: changes.collect() })
}

/// An installed pack that is not in force.
pub(super) fn lost_view(name: &str, version: &str, why: String) -> PackView {
    PackView {
        name: name.to_owned(),
        version: version.to_owned(),
        origin: Origin::Installed.word().to_owned(),
        state: "broken".to_owned(),
        warnings: vec![why],
        ..PackView::default()
    }
}

/// Somebody was faster, or it is there already.
pub(super) fn conflict(code: &str, detail: String) -> Problem {
    Problem::new(Kind::Conflict, code, detail)
}
