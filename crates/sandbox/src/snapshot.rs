//! Trees of files that are kept: each by the digest of its manifest, and what files hold once each by its digest.
//!
//! A folder of snapshots has `trees/` (manifests), `blobs/` (what files hold) and `making/` (what is not finished). All
//! of it is readable by its owner alone, and everything in it is written beside its place and moved there, so what has a
//! name is whole.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Seek},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};

use crate::{
    error::Error,
    local::fresh_id,
    profile::Workspace,
    scratch,
    tree::{
        Bounds, Digest, Item, Layers, Manifest, Reading, Seen, Specials, Take, digest_of, read,
        sync_folder,
    },
    workspace::DIFF,
};

const TREES: &str = "trees";
const BLOBS: &str = "blobs";
const MAKING: &str = "making";
const LOCK: &str = "lock";

/// The longest manifest that is read, in bytes.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;

/// What a snapshot is taken of. Nothing runs in it meanwhile: what changes while it is read may be kept as it was before
/// or after, each file by itself.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A folder of the host.
    Folder(&'a Path),
    /// A workspace as the program sees it: its folder, and the changes over it.
    Workspace(&'a Workspace),
}

/// A tree that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The digest of its manifest, which names it: equal trees are one snapshot.
    pub id: Digest,
    /// What it holds.
    pub manifest: Manifest,
    /// Bytes that were new to the folder of snapshots.
    pub new_bytes: u64,
}

/// A file that was copied out of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Its path in the tree.
    pub path: PathBuf,
    /// What it holds, which was checked.
    pub sha256: Digest,
    /// Its length, in bytes.
    pub size: u64,
}

/// What was cleared away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Snapshots.
    pub snapshots: usize,
    /// Contents of files that no snapshot needs any more.
    pub blobs: usize,
    /// What was never finished.
    pub unfinished: usize,
}

/// A folder of snapshots. Several processes may use it at once.
#[derive(Clone, Debug)]
pub struct Snapshots {
    folder: PathBuf,
    bounds: Bounds,
}

impl Snapshots {
    /// Opens a folder of snapshots, or makes it; the folder around it exists.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where it cannot be made, [`Error::Tree`] where others may write to it.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, Error> {
        let folder = folder.into();
        for path in [folder.clone(), folder.join(TREES), folder.join(BLOBS), folder.join(MAKING)] {
            scratch::own_folder(&path)?;
        }
        Ok(Self { folder, bounds: Bounds::default() })
    }

    /// Sets how much one tree may hold.
    #[must_use]
    pub fn with_bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Keeps a tree. Content that is kept already is not kept twice; where it is damaged, it is replaced.
    ///
    /// # Errors
    ///
    /// [`Error::Tree`] for a socket, a pipe, a device, or more than the bounds allow; no snapshot is there then.
    pub fn take(&self, source: Source<'_>) -> Result<Snapshot, Error> {
        let _shared = self.lock(Use::Shared)?;
        let layers = match source {
            Source::Folder(folder) => {
                self.lies_outside(folder)?;
                Layers::plain(folder)?
            }
            Source::Workspace(workspace) => {
                self.lies_outside(&workspace.lower)?;
                Layers::overlay(&workspace.upper.join(DIFF), &workspace.lower)?
            }
        };
        let mut new_bytes = 0;
        let mut keep = |_: &Path, file: &mut File| {
            let (digest, size, new) = self.keep(file)?;
            new_bytes += new;
            Ok((digest, size))
        };
        let reading = Reading {
            bounds: self.bounds,
            specials: Specials::Refuse,
            take: &|_| Take::Yes,
            file: &mut keep,
        };
        let Seen { manifest, .. } = read(layers, reading)?;
        // The manifest is the promise that all of it is there.
        let folder = File::open(&self.folder).map_err(Error::file("opening", &self.folder))?;
        syncfs(folder).map_err(Error::file("writing out", &self.folder))?;
        let id = manifest.digest();
        let text = manifest.encode();
        self.put(&self.tree(id), &mut text.as_bytes(), u64::MAX)?;
        Ok(Snapshot { id, manifest, new_bytes })
    }

    /// The snapshots there are, in the order of their names.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where they cannot be listed.
    pub fn list(&self) -> Result<Vec<Digest>, Error> {
        let mut found: Vec<Digest> =
            list(&self.folder.join(TREES))?.iter().filter_map(|name| name.parse().ok()).collect();
        found.sort();
        Ok(found)
    }

    /// What a snapshot holds.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where there is none of that name, [`Error::Damaged`] where it is not what was kept.
    pub fn manifest(&self, id: Digest) -> Result<Manifest, Error> {
        let path = self.tree(id);
        let mut file = File::open(&path).map_err(Error::file("opening the snapshot", &path))?;
        let mut bytes = Vec::new();
        let (digest, _) = digest_of(&mut file, &mut bytes, MANIFEST_BYTES_MAX)
            .map_err(Error::file("reading", &path))?;
        if digest != id {
            return Err(Error::damaged(&path, "its bytes have another digest than its name"));
        }
        let text = String::from_utf8(bytes).map_err(|_| Error::damaged(&path, "it is no text"))?;
        Manifest::decode(&text).map_err(|problem| Error::damaged(&path, problem))
    }

    /// Makes the tree of a snapshot again, at a path where nothing is. It is there whole, or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] names what is not what was kept; [`Error::File`] what cannot be made.
    pub fn restore(&self, id: Digest, to: &Path) -> Result<(), Error> {
        let _shared = self.lock(Use::Shared)?;
        let manifest = self.manifest(id)?;
        let making = beside(to)?;
        DirBuilder::new().mode(0o700).create(&making).map_err(Error::file("making", &making))?;
        let made = self.build(&manifest, &making).and_then(|()| {
            renameat_with(CWD, &making, CWD, to, RenameFlags::NOREPLACE)
                .map_err(Error::file("moving the tree to", to))
        });
        if made.is_err() {
            scratch::remove(&making);
        }
        made
    }

    /// Copies one file out of a snapshot, to a path where nothing is; it is there whole and checked, or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Tree`] where that path of the tree is no file, [`Error::Damaged`] where it is not what was kept.
    pub fn export(&self, id: Digest, path: &Path, to: &Path) -> Result<Artifact, Error> {
        let _shared = self.lock(Use::Shared)?;
        let manifest = self.manifest(id)?;
        let item = match manifest.get(path) {
            Some(Item::Same { to }) => manifest.get(to),
            item => item,
        };
        let Some(Item::File { size, sha256, .. }) = item else {
            return Err(Error::tree(path, "is no file of that snapshot"));
        };
        let making = beside(to)?;
        let copied = self.copy_blob(*sha256, *size, &making).and_then(|()| {
            renameat_with(CWD, &making, CWD, to, RenameFlags::NOREPLACE)
                .map_err(Error::file("moving the file to", to))
        });
        if copied.is_err() {
            fs::remove_file(&making).unwrap_or(());
        }
        copied.map(|()| Artifact { path: path.to_owned(), sha256: *sha256, size: *size })
    }

    /// Reads all that a snapshot needs, and holds it against what was kept.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] names the first thing that is missing or different.
    pub fn check(&self, id: Digest) -> Result<(), Error> {
        let _shared = self.lock(Use::Shared)?;
        for (_, item) in self.manifest(id)?.iter() {
            if let Item::File { size, sha256, .. } = item {
                self.read_blob(*sha256, *size, &mut io::sink())?;
            }
        }
        Ok(())
    }

    /// Takes away every snapshot but these, then what no snapshot needs, and what was never finished.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] where one that stays cannot be read: what it needs is not known, and nothing is taken away.
    pub fn retain(&self, ids: &BTreeSet<Digest>) -> Result<Swept, Error> {
        let _alone = self.lock(Use::Alone)?;
        let mut needed = BTreeSet::new();
        let mut gone = Vec::new();
        for id in self.list()? {
            if !ids.contains(&id) {
                gone.push(id);
                continue;
            }
            needed.extend(self.manifest(id)?.iter().filter_map(|(_, item)| match item {
                Item::File { sha256, .. } => Some(*sha256),
                _ => None,
            }));
        }
        let mut swept = Swept::default();
        // Manifests first: one that stands promises that its content is there.
        for id in gone {
            remove_file(&self.tree(id))?;
            swept.snapshots += 1;
        }
        sync_folder(&self.folder.join(TREES))?;
        for name in list(&self.folder.join(BLOBS))? {
            if name.parse().is_ok_and(|digest| !needed.contains(&digest)) {
                remove_file(&self.folder.join(BLOBS).join(name))?;
                swept.blobs += 1;
            }
        }
        for name in list(&self.folder.join(MAKING))? {
            remove_file(&self.folder.join(MAKING).join(name))?;
            swept.unfinished += 1;
        }
        Ok(swept)
    }

    fn tree(&self, id: Digest) -> PathBuf {
        self.folder.join(TREES).join(id.to_string())
    }

    fn blob(&self, digest: Digest) -> PathBuf {
        self.folder.join(BLOBS).join(digest.to_string())
    }

    /// What keeps a tree does not lie in it: it would grow while it is read.
    fn lies_outside(&self, tree: &Path) -> Result<(), Error> {
        let real = |path: &Path| fs::canonicalize(path).map_err(Error::file("resolving", path));
        if real(&self.folder)?.starts_with(real(tree)?) {
            return Err(Error::tree(tree, "holds the folder that its snapshots would be kept in"));
        }
        Ok(())
    }

    /// Held until it is dropped, and let go of by the kernel when the process dies.
    fn lock(&self, how: Use) -> Result<File, Error> {
        let path = self.folder.join(LOCK);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(Error::file("opening", &path))?;
        let locked = match how {
            Use::Shared => file.lock_shared(),
            Use::Alone => file.lock(),
        };
        locked.map_err(Error::file("locking", &path))?;
        Ok(file)
    }

    /// Keeps what a file holds: its digest, its length, and how much of that was new.
    fn keep(&self, file: &mut File) -> Result<(Digest, u64, u64), Error> {
        let most = self.bounds.bytes;
        let reading = Error::io("reading a file of the tree");
        let (digest, size) = digest_of(file, &mut io::sink(), most).map_err(reading)?;
        if self.read_blob(digest, size, &mut io::sink()).is_ok() {
            return Ok((digest, size, 0));
        }
        file.rewind().map_err(Error::io("reading a file of the tree again"))?;
        let making = self.making()?;
        let kept = write_new(&making, file, most);
        // It may have changed since it was read: what counts is what was written.
        let moved = kept.and_then(|(digest, size)| {
            let to = self.blob(digest);
            fs::rename(&making, &to).map_err(Error::file("keeping", &to))?;
            Ok((digest, size, size))
        });
        if moved.is_err() {
            fs::remove_file(&making).unwrap_or(());
        }
        moved
    }

    /// Writes bytes to a path in one step, durably.
    fn put(&self, to: &Path, bytes: &mut impl io::Read, most: u64) -> Result<(), Error> {
        let making = self.making()?;
        write_new(&making, bytes, most)?;
        let file = File::open(&making).map_err(Error::file("opening", &making))?;
        file.sync_all().map_err(Error::file("writing out", &making))?;
        fs::rename(&making, to).map_err(Error::file("keeping", to))?;
        to.parent().map_or(Ok(()), sync_folder)
    }

    fn making(&self) -> Result<PathBuf, Error> {
        Ok(self.folder.join(MAKING).join(fresh_id()?))
    }

    fn build(&self, manifest: &Manifest, top: &Path) -> Result<(), Error> {
        for (path, item) in manifest.iter() {
            let at = if path.as_os_str().is_empty() { top.to_owned() } else { top.join(path) };
            let made = match item {
                Item::Folder { .. } if path.as_os_str().is_empty() => Ok(()),
                Item::Folder { .. } => DirBuilder::new().mode(0o700).create(&at),
                Item::Link { target } => symlink(target, &at),
                Item::Same { to } => fs::hard_link(top.join(to), &at),
                Item::File { mode, size, sha256 } => {
                    self.copy_blob(*sha256, *size, &at)?;
                    fs::set_permissions(&at, Permissions::from_mode(*mode))
                }
            };
            made.map_err(Error::file("making", &at))?;
        }
        // Last, and inner ones first: a folder may be one that nothing can be made in.
        for (path, item) in manifest.iter().rev() {
            if let Item::Folder { mode } = item {
                let at = if path.as_os_str().is_empty() { top.to_owned() } else { top.join(path) };
                let set = fs::set_permissions(&at, Permissions::from_mode(*mode));
                set.map_err(Error::file("setting the mode of", &at))?;
            }
        }
        Ok(())
    }

    fn copy_blob(&self, digest: Digest, size: u64, to: &Path) -> Result<(), Error> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(to);
        let mut file = file.map_err(Error::file("making", to))?;
        self.read_blob(digest, size, &mut file)
    }

    /// Reads what a file holds, and fails where it is not what was kept.
    fn read_blob(&self, digest: Digest, size: u64, to: &mut impl io::Write) -> Result<(), Error> {
        let path = self.blob(digest);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::damaged(&path, "it is missing"));
            }
            Err(error) => return Err(Error::file("opening", &path)(error)),
        };
        let length = file.metadata().map_err(Error::file("looking at", &path))?.len();
        if length != size {
            return Err(Error::damaged(&path, format!("{length} bytes where {size} were kept")));
        }
        let (found, _) = digest_of(&mut file, to, size).map_err(Error::file("copying", &path))?;
        if found == digest {
            return Ok(());
        }
        Err(Error::damaged(&path, "its bytes have another digest than its name"))
    }
}

enum Use {
    /// Beside others that keep and read.
    Shared,
    /// While nobody else uses it.
    Alone,
}

/// A name beside a path, which nobody can have guessed.
fn beside(path: &Path) -> Result<PathBuf, Error> {
    let around = path.parent().filter(|_| path.file_name().is_some());
    let around = around.ok_or_else(|| Error::tree(path, "is no path of something new"))?;
    Ok(around.join(format!(".harness-making-{}", fresh_id()?)))
}

fn write_new(path: &Path, from: &mut impl io::Read, most: u64) -> Result<(Digest, u64), Error> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(Error::file("making", path))?;
    digest_of(from, &mut file, most).map_err(Error::file("writing", path))
}

fn remove_file(path: &Path) -> Result<(), Error> {
    fs::remove_file(path).map_err(Error::file("removing", path))
}

/// Names that are text; all that is made here is.
fn list(folder: &Path) -> Result<Vec<String>, Error> {
    let listing = || Error::file("listing", folder);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(listing())? {
        let name = entry.map_err(listing())?.file_name();
        names.extend(name.into_string());
    }
    Ok(names)
}
