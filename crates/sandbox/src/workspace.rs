//! The changes that a program made to its workspace, read off the upper folder of the overlay.

use std::{
    fs::{self, File, Metadata},
    io::{self, BufReader, Read},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{error::Error, profile::Workspace};

/// What the folder of changes is called in `upper`.
pub(crate) const DIFF: &str = "diff";

/// What the folder is called that overlayfs works in.
pub(crate) const WORK: &str = "work";

/// Most entries that a list of changes looks at.
const ENTRIES_MAX: usize = 200_000;

/// How the kernel marks a folder whose former content is gone.
const OPAQUE: &str = "user.overlay.opaque";

/// One path that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// Where, from the workspace's own folder.
    pub path: PathBuf,
    /// What became of it.
    pub kind: Kind,
}

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It was not there before.
    Added,
    /// Its content, its mode or what it is differs.
    Changed,
    /// It is not there any more; for a folder, nor is anything that was in it.
    Deleted,
}

/// What was changed in a workspace, by path. The program that changed it has ended.
///
/// # Errors
///
/// [`Error::Io`] where a folder cannot be read, or there are more than 200,000 entries.
pub fn diff(workspace: &Workspace) -> Result<Vec<Change>, Error> {
    let mut walk = Walk { workspace, entries: 0, changes: Vec::new() };
    let upper = workspace.upper.join(DIFF);
    if upper.exists() {
        walk.folder(Path::new("")).map_err(Error::io("reading the changes of a workspace"))?;
    }
    let mut changes = walk.changes;
    changes.sort();
    Ok(changes)
}

struct Walk<'a> {
    workspace: &'a Workspace,
    entries: usize,
    changes: Vec<Change>,
}

impl Walk<'_> {
    fn upper(&self, path: &Path) -> PathBuf {
        self.workspace.upper.join(DIFF).join(path)
    }

    fn lower(&self, path: &Path) -> PathBuf {
        self.workspace.lower.join(path)
    }

    fn add(&mut self, path: PathBuf, kind: Kind) {
        self.changes.push(Change { path, kind });
    }

    fn folder(&mut self, path: &Path) -> io::Result<()> {
        for entry in fs::read_dir(self.upper(path))? {
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(io::Error::other(format!("more than {ENTRIES_MAX} changes")));
            }
            let entry = entry?;
            self.entry(path.join(entry.file_name()), &entry.metadata()?)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: PathBuf, now: &Metadata) -> io::Result<()> {
        let before = match fs::symlink_metadata(self.lower(&path)) {
            Ok(before) => Some(before),
            // Nothing was there, or what is around it was no folder.
            Err(error) if is_absent(&error) => None,
            Err(error) => return Err(error),
        };
        if now.file_type().is_char_device() && now.rdev() == 0 {
            self.add(path, Kind::Deleted);
            return Ok(());
        }
        let kind = match &before {
            None => Some(Kind::Added),
            Some(before) if self.differs(&path, before, now)? => Some(Kind::Changed),
            Some(_) => None,
        };
        if let Some(kind) = kind {
            self.add(path.clone(), kind);
        }
        if !now.is_dir() {
            return Ok(());
        }
        if before.is_some_and(|before| before.is_dir()) && self.is_opaque(&path) {
            for entry in fs::read_dir(self.lower(&path))? {
                let gone = path.join(entry?.file_name());
                if fs::symlink_metadata(self.upper(&gone)).is_err() {
                    self.add(gone, Kind::Deleted);
                }
            }
        }
        self.folder(&path)
    }

    fn is_opaque(&self, path: &Path) -> bool {
        let mut value = [0; 1];
        let got = rustix::fs::lgetxattr(self.upper(path), OPAQUE, &mut value[..]);
        got == Ok(1) && value == *b"y"
    }

    /// A file is copied up when it is opened for writing, whether it is written or not.
    fn differs(&self, path: &Path, before: &Metadata, now: &Metadata) -> io::Result<bool> {
        let kind = before.file_type() != now.file_type();
        if kind || before.mode() != now.mode() {
            return Ok(true);
        }
        let (lower, upper) = (self.lower(path), self.upper(path));
        if now.is_symlink() {
            return Ok(fs::read_link(lower)? != fs::read_link(upper)?);
        }
        if !now.is_file() {
            return Ok(false);
        }
        Ok(before.len() != now.len() || !same_content(&lower, &upper)?)
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn same_content(one: &Path, other: &Path) -> io::Result<bool> {
    let mut one = BufReader::new(File::open(one)?);
    let mut other = BufReader::new(File::open(other)?);
    let mut left = vec![0; 64 << 10];
    loop {
        let got = one.read(&mut left)?;
        let left = left.get(..got).unwrap_or_default();
        let mut right = vec![0; got];
        match other.read_exact(&mut right) {
            Ok(()) if got == 0 => return Ok(other.read(&mut [0])? == 0),
            Ok(()) if left == right => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}
