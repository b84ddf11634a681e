//! A folder of its own for each job, with what a repository holds, and the way back: what would be merged is shown, then
//! brought into a branch.
//!
//! A job has a `git` folder of its own, which borrows the objects of the repository and none of its settings. The
//! repository and its checkouts are only read until [`Worktree::apply`], which adds objects and sets one branch. `git`
//! never looks into the folder of a job: it is read here, file by file, as what a stranger left.
//!
//! This keeps *changes* apart, not processes: see [`Separation`]. What runs in there is held by the isolated tier.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

mod apart;
mod capture;
mod git;
mod merge;
mod names;
mod repository;
mod undo;

pub use apart::{Kept, Separation};
pub use git::Author;
pub use merge::{Applied, Preview, Way};

use crate::{
    error::Error,
    local::fresh_id,
    scratch,
    tree::{Bounds, Manifest, sync_folder},
};
use capture::{checkout, scan};
use git::Git;
use repository::Repository;

/// The longest name of a job.
const NAME_MAX: usize = 64;

/// The longest account of a job, in bytes.
const JOB_BYTES_MAX: u64 = 64 << 10;

const LOCK: &str = "lock";
const JOB: &str = "job.json";
const BASE: &str = "base";
const GIT: &str = "git";
const TREE: &str = "tree";
const PACKS: &str = "packs";

/// How the name of a folder begins that is on its way out.
const GOING: &str = ".going-";

/// What a job starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// What the repository stands at.
    Head,
    /// A branch.
    Branch(&'a str),
}

/// What is known about a job besides its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Job {
    /// The repository, as it was named.
    repository: PathBuf,
    /// The commit that it started from.
    base: String,
    /// Folders of other repositories in it, which stay as they are.
    submodules: Vec<PathBuf>,
}

/// The folder of all jobs. Nobody but the caller's account may write to it.
#[derive(Clone, Debug)]
pub struct Worktrees {
    folder: PathBuf,
    git: Git,
    bounds: Bounds,
}

/// The folder of one job. It stays when this is dropped; while this is there, no other process has it.
#[derive(Debug)]
pub struct Worktree {
    name: String,
    folder: PathBuf,
    all: PathBuf,
    job: Job,
    base: Manifest,
    repository: Repository,
    /// On the `git` folder of the job alone: it sees no file of the folder that the job works in.
    git: Git,
    bounds: Bounds,
    _lock: File,
}

impl Worktrees {
    /// Opens the folder of all jobs, or makes it; the folder around it exists.
    ///
    /// # Errors
    ///
    /// [`Error::Git`] where there is no `git`, [`Error::File`] where the folder cannot be made, [`Error::Tree`] where
    /// others may write to it.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        scratch::own_folder(folder)?;
        let folder = fs::canonicalize(folder).map_err(Error::file("resolving", folder))?;
        Ok(Self { folder, git: Git::find()?, bounds: Bounds::default() })
    }

    /// Uses another `git`.
    #[must_use]
    pub fn with_git(mut self, program: impl Into<PathBuf>) -> Self {
        self.git = Git::at(program.into());
        self
    }

    /// Sets how much the folder of one job may hold.
    #[must_use]
    pub fn with_bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Makes the folder of a job: up to 64 letters, digits, `-` and `_` name it.
    ///
    /// # Errors
    ///
    /// [`Error::Tree`] where there is one of that name, or it would hold more than the bounds allow; [`Error::Branch`]
    /// where there is no such branch; [`Error::Git`] where the repository cannot be read. Nothing is left then.
    pub fn create(
        &self,
        name: &str,
        repository: &Path,
        start: Start<'_>,
    ) -> Result<Worktree, Error> {
        let place = self.place(name)?;
        let found = Repository::find(&self.git, repository)?;
        let base = match start {
            Start::Head => found.head()?,
            Start::Branch(branch) => found.branch(branch)?.ok_or_else(|| {
                let problem = "there is no such branch".to_owned();
                Error::Branch { branch: branch.to_owned(), problem }
            })?,
        };
        let lock = {
            let _all = self.lock_all()?;
            if fs::symlink_metadata(&place).is_ok() {
                return Err(Error::tree(&place, "is the folder of a job that is there already"));
            }
            DirBuilder::new().mode(0o700).create(&place).map_err(Error::file("making", &place))?;
            lock_job(&place)?
        };
        let repository =
            fs::canonicalize(repository).map_err(Error::file("resolving", repository))?;
        let job = Job { repository, base, submodules: Vec::new() };
        let made = self.fill(&place, job, &found);
        let (job, base, git) = match made {
            Ok(made) => made,
            Err(error) => {
                scratch::remove(&place);
                return Err(error);
            }
        };
        let name = name.to_owned();
        let all = self.folder.clone();
        let bounds = self.bounds;
        let folder = place;
        Ok(Worktree { name, folder, all, job, base, repository: found, git, bounds, _lock: lock })
    }

    fn fill(
        &self,
        place: &Path,
        mut job: Job,
        repository: &Repository,
    ) -> Result<(Job, Manifest, Git), Error> {
        let git = self.own_git(place, repository);
        for name in [TREE, PACKS] {
            let path = place.join(name);
            DirBuilder::new().mode(0o700).create(&path).map_err(Error::file("making", &path))?;
        }
        capture::prepare(&self.git, &place.join(GIT), repository)?;
        job.submodules = checkout(&git, &place.join(TREE), &job.base, self.bounds)?;
        let seen = scan(&place.join(TREE), &job.submodules, self.bounds)?;
        write(&place.join(BASE), seen.manifest.encode().as_bytes())?;
        // Last: a folder without it was never finished.
        let text = serde_json::to_vec(&job).map_err(io::Error::from);
        write(&place.join(JOB), &text.map_err(Error::file("writing", place))?)?;
        sync_folder(place)?;
        Ok((job, seen.manifest, git))
    }

    /// `git` on the `git` folder of a job: its own settings, and the objects of the repository besides its own.
    fn own_git(&self, place: &Path, repository: &Repository) -> Git {
        repository.lend(self.git.with("GIT_DIR", place.join(GIT)))
    }

    /// Goes on with the folder of a job that another process made, or this one.
    ///
    /// # Errors
    ///
    /// [`Error::Tree`] where there is none of that name that was finished, or another process has it.
    pub fn resume(&self, name: &str) -> Result<Worktree, Error> {
        let place = self.place(name)?;
        let lock = {
            let _all = self.lock_all()?;
            if !place.join(JOB).is_file() {
                return Err(Error::tree(&place, "is no folder of a job"));
            }
            lock_job(&place)?
        };
        let account = read(&place.join(JOB), JOB_BYTES_MAX)?;
        let job: Job = serde_json::from_slice(&account)
            .map_err(|error| Error::damaged(&place.join(JOB), error.to_string()))?;
        let text = read(&place.join(BASE), u64::MAX)?;
        let text = String::from_utf8(text);
        let base = text.map_err(|_| "it is no text".to_owned());
        let base = base.and_then(|text| Manifest::decode(&text));
        let base = base.map_err(|problem| Error::damaged(&place.join(BASE), problem))?;
        let repository = Repository::find(&self.git, &job.repository)?;
        let git = self.own_git(&place, &repository);
        let (name, all, bounds) = (name.to_owned(), self.folder.clone(), self.bounds);
        Ok(Worktree { name, folder: place, all, job, base, repository, git, bounds, _lock: lock })
    }

    /// The names of the jobs whose folders are there, those included that were never finished.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where they cannot be listed.
    pub fn list(&self) -> Result<Vec<String>, Error> {
        let listing = || Error::file("listing", self.folder.as_path());
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(listing())? {
            let entry = entry.map_err(listing())?;
            let is_folder = entry.file_type().map_err(listing())?.is_dir();
            names.extend(entry.file_name().into_string().ok().filter(|_| is_folder));
        }
        names.retain(|name| check_name(name).is_ok());
        names.sort();
        Ok(names)
    }

    /// Takes away what killed processes left: the folders of jobs that no process has and that are not to be kept.
    /// Gives their names.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where one cannot be taken away.
    pub fn prune(&self, keep: &BTreeSet<String>) -> Result<Vec<String>, Error> {
        let _all = self.lock_all()?;
        let mut gone = Vec::new();
        for name in self.list()? {
            let place = self.folder.join(&name);
            let is_kept = keep.contains(&name) && place.join(JOB).is_file();
            if is_kept || lock_job(&place).is_err() {
                continue;
            }
            remove_job(&self.folder, &place)?;
            gone.push(name);
        }
        for entry in fs::read_dir(&self.folder).map_err(Error::file("listing", &self.folder))? {
            let entry = entry.map_err(Error::file("listing", &self.folder))?;
            if entry.file_name().to_string_lossy().starts_with(GOING) {
                scratch::remove(&entry.path());
            }
        }
        Ok(gone)
    }

    fn place(&self, name: &str) -> Result<PathBuf, Error> {
        check_name(name)?;
        Ok(self.folder.join(name))
    }

    /// Held for moments, while folders of jobs come and go.
    fn lock_all(&self) -> Result<File, Error> {
        let path = self.folder.join(LOCK);
        let file = open_lock(&path)?;
        file.lock().map_err(Error::file("locking", &path))?;
        Ok(file)
    }
}

impl Worktree {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder that the job works in.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.join(TREE)
    }

    /// The commit that it started from.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.job.base
    }

    /// When it was made, in Unix seconds: the time of its commits, so that the same folder makes the same commit.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where its account cannot be looked at.
    pub fn made_at_s(&self) -> Result<u64, Error> {
        let path = self.folder.join(JOB);
        let found = fs::symlink_metadata(&path).map_err(Error::file("looking at", &path))?;
        Ok(u64::try_from(found.mtime()).unwrap_or_default())
    }

    /// Whether the folder holds what it held at first.
    ///
    /// # Errors
    ///
    /// [`Error::Tree`] for more than the bounds allow, or what changes while it is read.
    pub fn is_unchanged(&self) -> Result<bool, Error> {
        let seen = scan(&self.path(), &self.job.submodules, self.bounds)?;
        Ok(seen.left_out.is_empty() && seen.manifest == self.base)
    }

    /// Takes the folder away, with every change that was not applied.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where it cannot be taken away.
    pub fn remove(self) -> Result<(), Error> {
        remove_job(&self.all, &self.folder)
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(plain) && name != LOCK {
        return Ok(());
    }
    let problem = format!("is no name of a job: up to {NAME_MAX} letters, digits, `-` and `_`");
    Err(Error::tree(Path::new(name), problem))
}

fn open_lock(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(Error::file("opening", path))
}

/// Holds a job until it is dropped; the kernel lets go of it when the process is killed.
fn lock_job(place: &Path) -> Result<File, Error> {
    let file = open_lock(&place.join(LOCK))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::tree(place, "is in use by a process")),
        Err(fs::TryLockError::Error(error)) => Err(Error::file("locking", place)(error)),
    }
}

/// Under another name first: what is half gone is no job.
fn remove_job(all: &Path, place: &Path) -> Result<(), Error> {
    let going = all.join(format!("{GOING}{}", fresh_id()?));
    fs::rename(place, &going).map_err(Error::file("taking away", place))?;
    scratch::remove(&going);
    match fs::symlink_metadata(&going) {
        Ok(_) => Err(Error::file("taking away", &going)(io::Error::other("something stays in it"))),
        Err(_) => Ok(()),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(Error::file("making", path))?;
    io::Write::write_all(&mut file, bytes).map_err(Error::file("writing", path))?;
    file.sync_all().map_err(Error::file("writing out", path))
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    let size = fs::symlink_metadata(path).map_err(Error::file("looking at", path))?.size();
    if size > most {
        return Err(Error::damaged(path, format!("it has more than {most} bytes")));
    }
    fs::read(path).map_err(Error::file("reading", path))
}
