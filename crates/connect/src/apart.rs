//! What runs do in a declared folder, kept apart: each run works in a folder of its own with what the repository's commit
//! holds, and what it changed comes into a branch when somebody has seen what that would be.
//!
//! The declared folder is the top of a git repository, and is only read. A run's folder is made when the run first
//! does something there, and is gone when the run is over and has changed nothing; otherwise it stays until it is
//! dropped.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kernel::{
    exception::{Class, Landed},
    id::RunId,
    port::Failure,
};
use sandbox::{Applied, Author, Preview, Start, Tier, Way, Worktree, Worktrees};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{runtime::Handle, task::spawn_blocking};

use crate::{
    call::{Call, Departure, fail, refuse},
    error::Error,
    folder::{RESULT_BYTES, read_args, shrinking},
    system::FolderSystem,
};

/// Most folders of runs of one system at a time.
const TREES_MAX: usize = 64;

/// Most changed paths that a preview names.
const CHANGES_MAX: usize = 2_000;

/// Longest name of a system whose work is kept apart.
const NAME_MAX: usize = 64;

/// Who the commits of a merge are by.
const AUTHOR: (&str, &str) = ("harness", "harness@localhost");

/// What is done with the work of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deal {
    /// What a branch would come to with it.
    Preview,
    /// It is brought into a branch, exactly as a preview showed it.
    Merge,
    /// A merge is taken back.
    TakeBack,
}

/// The folders of runs.
#[derive(Clone, Debug)]
pub(crate) struct Trees(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    system: String,
    repository: PathBuf,
    place: PathBuf,
    opened: Mutex<Option<Worktrees>>,
    /// Those that this process has; locked by the kernel against every other one.
    held: Mutex<BTreeMap<RunId, Slot>>,
}

type Slot = Arc<Mutex<Option<Worktree>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    run: RunId,
    #[serde(default)]
    branch: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Merging {
    run: RunId,
    branch: String,
    commit: String,
    #[serde(default)]
    stands_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TakingBack {
    branch: String,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    to: Option<String>,
}

/// The branch that the work of a run goes to where none is named.
#[must_use]
pub fn branch_of(run: &RunId) -> String {
    format!("harness/{run}")
}

impl Trees {
    /// Checks what is declared; whether the folder is a repository shows when a run first works there.
    pub(crate) fn new(
        name: &str,
        declared: &FolderSystem,
        kept: Option<&Path>,
    ) -> Result<Self, Error> {
        let wrong =
            |problem: &str| Error::System { system: name.to_owned(), problem: problem.to_owned() };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.len() > NAME_MAX || !name.bytes().all(plain) {
            return Err(wrong(
                "`apart` needs a system whose name has up to 64 letters, digits, `-` and `_`",
            ));
        }
        let shell = declared.shell.as_ref();
        if shell.is_some_and(|shell| shell.tier < Tier::Isolated) {
            return Err(wrong(
                "`apart` keeps changes apart, not processes: its shell needs `tier = \"isolated\"`",
            ));
        }
        let code = declared.code.as_ref().map(|code| &code.profile);
        for profile in shell.map(|shell| &shell.profile).into_iter().chain(code) {
            if !profile.paths.write.is_empty()
                || profile.mounts.workspace.is_some()
                || profile.run_as.is_some()
            {
                return Err(wrong(
                    "with `apart` a program writes to the folder of its run and to no other: leave `paths.write`, `mounts.workspace` and `run_as` out of its profile",
                ));
            }
        }
        let kept = kept.ok_or_else(|| wrong("`apart` needs a store to keep folders of runs in"))?;
        let (system, repository) = (name.to_owned(), declared.path.clone());
        let (opened, held) = (Mutex::default(), Mutex::default());
        let place = kept.to_owned();
        Ok(Self(Arc::new(Shared { system, repository, place, opened, held })))
    }

    /// The folder that a run works in: made, where the run has none yet.
    pub(crate) async fn folder_of(&self, run: &RunId) -> Result<PathBuf, Failure> {
        let (shared, run) = (Arc::clone(&self.0), run.clone());
        let found = spawn_blocking(move || shared.folder_of(&run)).await;
        found.map_err(|error| unavailable(format!("its folder was not made: {error}")))?
    }

    /// A run is over: its folder goes, unless there is something in it that somebody may want.
    pub(crate) fn over(&self, run: &RunId) {
        let Some(slot) = self.0.held().remove(run) else { return };
        let look = move || {
            let mut slot = lock(&slot);
            let changed = slot.as_ref().is_none_or(|tree| !tree.is_unchanged().unwrap_or(false));
            let tree = slot.take().filter(|_| !changed);
            // One that stays is found again by the next who looks.
            tree.map_or(Ok(()), Worktree::remove).unwrap_or(());
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(look)),
            Err(_) => look(),
        }
    }

    /// One call about the work of a run.
    pub(crate) async fn call(
        &self,
        deal: Deal,
        call: &Call,
        departure: &Departure,
    ) -> Result<Value, Failure> {
        let (shared, args) = (Arc::clone(&self.0), Arc::clone(&call.args));
        departure.leave()?;
        let done = spawn_blocking(move || match deal {
            Deal::Preview => {
                let Asked { run, branch } = read_args(&args)?;
                shared.preview(&run, branch)
            }
            Deal::Merge => shared.merge(read_args(&args)?),
            Deal::TakeBack => shared.take_back(read_args(&args)?),
        });
        done.await.map_err(|error| {
            fail(Class::Unavailable, departure.landed(), format!("nobody knows: {error}"))
        })?
    }

    fn runs(&self) -> Result<Vec<RunId>, Failure> {
        let names = self.0.all()?.list().map_err(|error| said(&error))?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    fn drop_work(&self, run: &RunId) -> Result<(), Failure> {
        let slot = self.0.held().remove(run);
        let tree = match slot.and_then(|slot| lock(&slot).take()) {
            Some(tree) => tree,
            None => self.0.resume(run)?,
        };
        tree.remove().map_err(|error| said(&error))
    }
}

/// What runs did in one declared folder, for whoever looks at it outside of a run.
#[derive(Clone, Debug)]
pub struct Work(pub(crate) Trees);

impl Work {
    /// The runs whose folders are there.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn runs(&self) -> Result<Vec<RunId>, Failure> {
        let trees = self.0.clone();
        apart(move || trees.runs()).await
    }

    /// What a branch would come to with the work of a run; as the operation says it.
    ///
    /// # Errors
    /// When the run has no folder here, or it cannot be merged with the branch at all.
    pub async fn preview(&self, run: &RunId, branch: Option<String>) -> Result<Value, Failure> {
        let (trees, run) = (self.0.clone(), run.clone());
        apart(move || trees.0.preview(&run, branch)).await
    }

    /// Takes the folder of a run away, with all that was not merged.
    ///
    /// # Errors
    /// When the run has none here, or another process uses it.
    pub async fn drop_work(&self, run: &RunId) -> Result<(), Failure> {
        let (trees, run) = (self.0.clone(), run.clone());
        apart(move || trees.drop_work(&run)).await
    }
}

async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = spawn_blocking(work).await;
    done.map_err(|error| unavailable(format!("the work could not be looked at: {error}")))?
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, BTreeMap<RunId, Slot>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, run: &RunId) -> Slot {
        Arc::clone(self.held().entry(run.clone()).or_default())
    }

    /// The folder of all folders; what killed processes left half made in it is taken away first.
    fn all(&self) -> Result<Worktrees, Failure> {
        let mut opened = lock(&self.opened);
        if let Some(all) = &*opened {
            return Ok(all.clone());
        }
        let folder = self.place.join(&self.system);
        let made = std::fs::create_dir_all(&self.place);
        made.map_err(|error| unavailable(format!("{}: {error}", self.place.display())))?;
        let all = Worktrees::open(&folder).map_err(|error| said(&error))?;
        let finished: BTreeSet<String> =
            all.list().map_err(|error| said(&error))?.into_iter().collect();
        all.prune(&finished).map_err(|error| said(&error))?;
        *opened = Some(all.clone());
        Ok(all)
    }

    fn folder_of(&self, run: &RunId) -> Result<PathBuf, Failure> {
        let slot = self.slot(run);
        let mut slot = lock(&slot);
        if let Some(tree) = &*slot {
            return Ok(tree.path());
        }
        let all = self.all()?;
        let names = all.list().map_err(|error| said(&error))?;
        let tree = if names.iter().any(|name| name == run.as_str()) {
            all.resume(run.as_str()).map_err(|error| said(&error))?
        } else if names.len() >= TREES_MAX {
            let message = format!(
                "{TREES_MAX} runs have folders of [systems.{}] already; merge and drop some: `harness run work list`",
                self.system
            );
            return Err(unavailable(message));
        } else {
            all.create(run.as_str(), &self.repository, Start::Head).map_err(|error| said(&error))?
        };
        let path = tree.path();
        *slot = Some(tree);
        Ok(path)
    }

    fn resume(&self, run: &RunId) -> Result<Worktree, Failure> {
        let all = self.all()?;
        let names = all.list().map_err(|error| said(&error))?;
        if !names.iter().any(|name| name == run.as_str()) {
            return Err(refuse(format!(
                "{run} has no folder of [systems.{}]: it changed nothing there, or its work was dropped",
                self.system
            )));
        }
        all.resume(run.as_str()).map_err(|error| said(&error))
    }

    /// Does something with the folder of a run, which is let go of again unless the run is using it.
    fn with<T>(
        &self,
        run: &RunId,
        work: impl FnOnce(&Worktree) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let slot = self.held().get(run).map(Arc::clone);
        let held = slot.as_ref().map(|slot| lock(slot));
        match held.as_deref() {
            Some(Some(tree)) => work(tree),
            _ => work(&self.resume(run)?),
        }
    }

    fn look(&self, run: &RunId, branch: &str) -> Result<(Preview, Author), Failure> {
        self.with(run, |tree| {
            let author = author(tree.made_at_s().map_err(|error| said(&error))?);
            let preview = tree.preview(branch, &author).map_err(|error| said(&error))?;
            Ok((preview, author))
        })
    }

    fn preview(&self, run: &RunId, branch: Option<String>) -> Result<Value, Failure> {
        let branch = branch.unwrap_or_else(|| branch_of(run));
        let (preview, _) = self.look(run, &branch)?;
        shrinking(RESULT_BYTES / 2, |most| Ok(shown(run, &preview, most)))
    }

    /// Brings in exactly what a preview showed: where the folder or the branch is another by now, nothing happens.
    fn merge(&self, asked: Merging) -> Result<Value, Failure> {
        let Merging { run, branch, commit, stands_at } = asked;
        let (preview, author) = self.look(&run, &branch)?;
        if preview.commit != commit || preview.stands_at != stands_at {
            let what =
                if preview.commit == commit { "the branch moved" } else { "the work changed" };
            let message = format!("{what} since the preview; look at it again, then merge that");
            return Err(fail(Class::Stale, Landed::No, message));
        }
        let message = format!("Work of {run}\n");
        let applied = self.with(&run, |tree| {
            tree.apply(&preview, &author, &message).map_err(|error| said_of_change(&error))
        })?;
        let Applied { branch, stood_at, commit } = applied;
        let paths = preview.changes.len();
        Ok(json!({
            "run": run, "branch": branch, "commit": commit, "stood_at": stood_at, "paths": paths,
        }))
    }

    fn take_back(&self, asked: TakingBack) -> Result<Value, Failure> {
        let TakingBack { branch, from, to } = asked;
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let way = (branch.as_str(), from.as_deref(), to.as_deref());
        let done = self.all()?.take_back(&self.repository, way, &author(now));
        done.map_err(|error| said_of_change(&error))?;
        Ok(json!({ "branch": branch, "stands_at": to }))
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn author(at_s: u64) -> Author {
    let (name, email) = AUTHOR;
    Author { name: name.to_owned(), email: email.to_owned(), at_s }
}

/// A preview, with at most so many bytes of its difference.
fn shown(run: &RunId, preview: &Preview, most: usize) -> Value {
    let text = preview.diff.text();
    let diff = text.get(..text.floor_char_boundary(most)).unwrap_or_default();
    let cut = preview.diff.dropped + (text.len() - diff.len()) as u64;
    let paths = |paths: &[PathBuf]| -> Vec<String> {
        paths.iter().take(CHANGES_MAX).map(|path| path.display().to_string()).collect()
    };
    let changes = preview.changes.iter().take(CHANGES_MAX.min(most));
    let changes: Vec<Value> = changes
        .map(|one| json!({ "path": one.path.display().to_string(), "kind": one.kind }))
        .collect();
    json!({
        "run": run,
        "branch": preview.branch,
        "stands_at": preview.stands_at,
        "commit": preview.commit,
        "way": preview.way,
        "mergeable": !matches!(preview.way, Way::Conflict | Way::Nothing),
        "changes_cut": preview.changes.len() - changes.len(),
        "changes": changes,
        "conflicts": paths(&preview.conflicts),
        "diff": diff,
        "diff_cut": cut,
        "left_out": paths(&preview.left_out),
        "ignored": preview.ignored,
    })
}

fn unavailable(message: String) -> Failure {
    fail(Class::Unavailable, Landed::No, message)
}

/// What the sandbox says, as a failure with its class: whatever it refuses left things as they were.
fn said(error: &sandbox::Error) -> Failure {
    let class = match error {
        sandbox::Error::Branch { .. } => Class::Stale,
        sandbox::Error::Tree { .. } | sandbox::Error::Profile { .. } => Class::InvalidArguments,
        _ => Class::Unavailable,
    };
    fail(class, Landed::No, format!("{error}; {}", error.next_step()))
}

/// The same of a branch that was being set: a step of `git` that did not end as it should may have set it.
fn said_of_change(error: &sandbox::Error) -> Failure {
    let landed = match error {
        sandbox::Error::Git { .. } | sandbox::Error::Io { .. } => Landed::Unknown,
        _ => Landed::No,
    };
    Failure { landed, ..said(error) }
}
