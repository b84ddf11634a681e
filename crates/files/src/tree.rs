use std::{
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::fs::{AtFlags, OFlags, fstat, readlinkat};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    beneath::Links,
    error::Error,
    folder::Folder,
    hash::Hash,
    limits::DEPTH_MAX,
    list::Kind,
    place::{Place, join, shown},
    read,
    root::{READ, Root, open_name, regular},
    walk::{Items, items},
};

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// Files that killed writers left, removed.
    pub removed: u64,
    /// Folders that were left out because a change was going on in them, or that could not be read.
    pub skipped: u64,
}

impl Root {
    /// A hash of everything below a folder: names, kinds, permission bits, contents, and what links say. Times and
    /// owners are not part of it, nor are files in the making.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] above [`Limits::walk_entries`](crate::Limits::walk_entries); [`Error::Path`] for a name that
    /// is not UTF-8; [`Error::Io`] for what cannot be read.
    pub fn tree_hash(&self, path: &str) -> Result<Hash, Error> {
        let place = Place::any(path)?;
        let fd = self.open_folder(place)?;
        let mut hasher = Sha256::new();
        let most = self.limits().walk_entries;
        each(fd, place.text(), &mut Bound { looked: 0, most }, &mut |fd, path, found| {
            if found.unnamed > 0 {
                let path = shown(path).to_owned();
                return Err(Error::Path { path, problem: "a name in it is not UTF-8" });
            }
            let stat = fstat(fd).map_err(Error::io(path, "looking at the folder"))?;
            // The folder itself, and how much of what follows is right in it.
            let count = found.items.len();
            hasher.update(format!("{:o} {count}\0{path}\0", stat.st_mode & 0o777));
            for item in &found.items {
                let below = join(path, &item.name);
                hasher.update(format!("{}\0{}\0", item.kind.name(), item.name));
                match item.kind {
                    Kind::File => {
                        let fd = open_name(fd.as_fd(), &item.name, READ)
                            .map_err(Error::io(&below, "opening the file"))?;
                        let (mut file, stat) = regular(&below, fd)?;
                        hasher.update((stat.st_mode & 0o777).to_le_bytes());
                        hasher.update(read::hash(&below, &mut file, u64::MAX)?.bytes());
                    }
                    Kind::Link => {
                        let target = readlinkat(fd, &item.name, Vec::new())
                            .map_err(Error::io(&below, "reading the link"))?;
                        hasher.update(Hash::of(target.as_bytes()).bytes());
                    }
                    Kind::Folder | Kind::Other => {}
                }
            }
            Ok(())
        })?;
        Ok(Hash::finish(hasher))
    }

    /// Removes what writers left that were killed: at most one file each, under a name that no caller can write.
    /// Changes that are going on are left alone.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] above [`Limits::walk_entries`](crate::Limits::walk_entries).
    pub fn sweep(&self) -> Result<Swept, Error> {
        let fd = self.open_folder(Place::any(".")?)?;
        let mut swept = Swept::default();
        let most = self.limits().walk_entries;
        each(fd, "", &mut Bound { looked: 0, most }, &mut |_, path, found| {
            if !found.making.is_empty() {
                match self.sweep_path(path) {
                    Ok(removed) => swept.removed += removed,
                    Err(_) => swept.skipped += 1,
                }
            }
            Ok(())
        })?;
        Ok(swept)
    }

    fn sweep_path(&self, path: &str) -> Result<u64, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = self
            .resolve(path, flags, Links::Refused)
            .map_err(Error::io(shown(path), "opening the folder"))?;
        sweep_one(Folder::new(fd, path.to_owned()))
    }

    /// Sweeps one folder in a folder that is locked.
    pub(crate) fn sweep_folder(&self, folder: &Folder, name: &str) -> Result<(), Error> {
        let path = folder.path(name);
        let fd = open_name(folder.fd(), name, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(Error::io(&path, "opening the folder"))?;
        sweep_one(Folder::new(fd, path)).map(|_| ())
    }
}

/// Under the lock of the folder nobody has a file in the making, so whatever looks like one was left.
fn sweep_one(folder: Folder) -> Result<u64, Error> {
    folder.lock(Duration::ZERO)?;
    let mut removed = 0;
    for name in items("", folder.fd())?.making {
        if folder.unlink(&name, AtFlags::empty()).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}

struct Bound {
    looked: u64,
    most: u64,
}

type Visit<'a> = dyn FnMut(&OwnedFd, &str, &Items) -> Result<(), Error> + 'a;

/// Shows every folder below one, itself first, in the order of names. No link is followed.
fn each(fd: OwnedFd, path: &str, bound: &mut Bound, visit: &mut Visit<'_>) -> Result<(), Error> {
    let found = items(path, fd.as_fd())?;
    bound.looked += found.items.len() as u64;
    let too_large =
        |what, size, most| Err(Error::TooLarge { path: shown(path).to_owned(), what, size, most });
    if bound.looked > bound.most {
        return too_large("a tree in entries", bound.looked, bound.most);
    }
    let depth = path.split('/').count();
    if depth > DEPTH_MAX {
        return too_large("a tree in depth", depth as u64, DEPTH_MAX as u64);
    }
    visit(&fd, path, &found)?;
    for item in found.items.iter().filter(|item| item.kind == Kind::Folder) {
        let below = join(path, &item.name);
        let fd = open_name(fd.as_fd(), &item.name, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(Error::io(&below, "opening the folder"))?;
        each(fd, &below, bound, visit)?;
    }
    Ok(())
}
