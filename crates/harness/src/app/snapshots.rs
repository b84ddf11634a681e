//! Snapshots of folders: what a tree held is kept by its digest, made again elsewhere, as often as branches are wanted.
//! Only whoever may read the files of this machine's store is asked; nothing of it goes over a socket or a network.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use ::sandbox::{Digest, Item, Manifest, Snapshots, Source};
use engine::Clock as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    config::Config,
    host::{self, SystemClock},
    problem::{Kind, Problem},
    runs::rfc3339,
    sandbox::problem,
};

/// Name of the folder, inside of the store's.
const FOLDER: &str = "snapshots";

/// What is told about snapshots beside what they hold, each by its digest.
const NOTES: &str = "notes";

/// Fewest digits of a digest that stand for it.
const DIGITS_MIN: usize = 8;

/// Longest note, in bytes.
const NOTE_MAX_BYTES: u64 = 64 << 10;

/// Most places that one snapshot is restored to at once.
const PLACES_MAX: usize = 16;

/// A tree that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotView {
    /// The digest of the tree: equal trees have the same.
    pub id: String,
    /// The folder that it was last taken of.
    pub folder: String,
    /// When it was last taken.
    pub taken_at: String,
    /// Files in it.
    pub files: usize,
    /// Bytes of all of them, each content once.
    pub bytes: u64,
}

/// Every tree that is kept.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotList {
    /// The one last taken first.
    pub items: Vec<SnapshotView>,
}

/// What a snapshot was made again as.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotRestored {
    /// Its digest; that of every place, too.
    pub id: String,
    /// Where it is now.
    pub places: Vec<String>,
}

/// What was forgotten.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotRemoved {
    /// Its digest.
    pub id: String,
    /// Contents of files that no other snapshot needed.
    pub contents: usize,
}

/// Keeps what a folder holds now. Nothing should change it meanwhile.
///
/// # Errors
/// Names what cannot be kept, such as a socket.
pub fn take(config: &Config, folder: &Path) -> Result<SnapshotView, Problem> {
    let all = open(config)?;
    let real = fs::canonicalize(folder).map_err(|error| unusable(folder, &error))?;
    let snapshot = all.take(Source::Folder(&real)).map_err(problem)?;
    let note = note_of(&snapshot.id.to_string(), &real.display().to_string(), &snapshot.manifest);
    write_note(config, &note)?;
    Ok(note)
}

/// Lists what is kept.
///
/// # Errors
/// When it cannot be read.
pub fn list(config: &Config) -> Result<SnapshotList, Problem> {
    let all = open(config)?;
    let mut items = Vec::new();
    for id in all.list().map_err(problem)? {
        items.push(match read_note(config, id) {
            Some(note) => note,
            // Its process was killed before it could be noted: it is kept all the same.
            None => note_of(&id.to_string(), "", &all.manifest(id).map_err(problem)?),
        });
    }
    items.sort_by(|one, other| other.taken_at.cmp(&one.taken_at));
    Ok(SnapshotList { items })
}

/// Makes a snapshot again at places where nothing is: one to go on, several to branch.
///
/// # Errors
/// Names the place that is taken, or what is not as it was kept; what was made before is told there.
pub fn restore(
    config: &Config,
    named: &str,
    places: &[PathBuf],
) -> Result<SnapshotRestored, Problem> {
    if places.len() > PLACES_MAX {
        return Err(Problem::usage("places", format!("at most {PLACES_MAX} places at once"))
            .next("restore it again for the others"));
    }
    let all = open(config)?;
    let id = find(&all, named)?;
    let mut made: Vec<String> = Vec::new();
    for place in places {
        all.restore(id, place).map_err(|error| {
            let done = match made.is_empty() {
                true => String::new(),
                false => format!("; made before that: {}", made.join(", ")),
            };
            let failed = problem(error);
            Problem { detail: format!("{}{done}", failed.detail), ..failed }
        })?;
        made.push(place.display().to_string());
    }
    Ok(SnapshotRestored { id: id.to_string(), places: made })
}

/// Forgets a snapshot, and the content that no other one needs.
///
/// # Errors
/// When there is none of that name, or another one is damaged: what it needs is not known then.
pub fn remove(config: &Config, named: &str) -> Result<SnapshotRemoved, Problem> {
    let all = open(config)?;
    let id = find(&all, named)?;
    let kept: BTreeSet<Digest> =
        all.list().map_err(problem)?.into_iter().filter(|other| *other != id).collect();
    let swept = all.retain(&kept).map_err(problem)?;
    // A note without a snapshot says nothing to anybody.
    fs::remove_file(note_path(config, &id.to_string())).unwrap_or(());
    Ok(SnapshotRemoved { id: id.to_string(), contents: swept.blobs })
}

fn open(config: &Config) -> Result<Snapshots, Problem> {
    let folder = config.store.join(FOLDER);
    for path in [&config.store, &folder, &folder.join(NOTES)] {
        host::make_private_dir(path).map_err(|error| unusable(path, &error))?;
    }
    Snapshots::open(folder).map_err(problem)
}

fn unusable(path: &Path, error: &io::Error) -> Problem {
    let detail = format!("{}: {error}", path.display());
    Problem::usage("folder-unusable", detail).next("name a folder that is there and may be read")
}

/// The snapshot of a digest, or of its first digits.
fn find(all: &Snapshots, named: &str) -> Result<Digest, Problem> {
    let unknown = || {
        Problem::not_found("snapshot", named).next("`harness sandbox snapshot list` shows them all")
    };
    if named.len() < DIGITS_MIN {
        return Err(Problem::usage("snapshot-name", format!("`{named}` is no digest"))
            .next(format!("give at least the first {DIGITS_MIN} digits")));
    }
    let listed = all.list().map_err(problem)?;
    let mut fits = listed.into_iter().filter(|id| id.to_string().starts_with(named));
    match (fits.next(), fits.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => {
            Err(Problem::usage("snapshot-name", format!("several snapshots begin with `{named}`"))
                .next("give more digits"))
        }
        (None, _) => Err(unknown()),
    }
}

fn note_of(id: &str, folder: &str, manifest: &Manifest) -> SnapshotView {
    let is_file = |item: &Item| matches!(item, Item::File { .. } | Item::Same { .. });
    SnapshotView {
        id: id.to_owned(),
        folder: folder.to_owned(),
        taken_at: rfc3339(SystemClock.now().at),
        files: manifest.iter().filter(|(_, item)| is_file(item)).count(),
        bytes: manifest.bytes(),
    }
}

fn note_path(config: &Config, id: &str) -> PathBuf {
    config.store.join(FOLDER).join(NOTES).join(format!("{id}.json"))
}

fn write_note(config: &Config, note: &SnapshotView) -> Result<(), Problem> {
    let path = note_path(config, &note.id);
    let making = path.with_extension(format!("{}.making", std::process::id()));
    let write = || -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&making)?;
        file.write_all(&serde_json::to_vec(note)?)?;
        file.sync_all()?;
        fs::rename(&making, &path)
    };
    write().map_err(|error| {
        let detail = format!("the snapshot {} is kept, but not noted: {error}", note.id);
        Problem::new(Kind::TryAgain, "snapshot-unnoted", detail).next("take it again")
    })
}

fn read_note(config: &Config, id: Digest) -> Option<SnapshotView> {
    let path = note_path(config, &id.to_string());
    let length = fs::metadata(&path).ok()?.len();
    let text = (length <= NOTE_MAX_BYTES).then(|| fs::read(&path).ok()).flatten()?;
    serde_json::from_slice(&text).ok().filter(|note: &SnapshotView| note.id == id.to_string())
}
