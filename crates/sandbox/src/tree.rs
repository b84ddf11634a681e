//! A tree of files read by descriptors: no link is followed, so whoever changes it meanwhile can make what is read out
//! of date, and never something from elsewhere.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, Dir, FileType, Mode, OFlags, Stat, fgetxattr, fstat, open, openat, readlinkat,
        statat,
    },
    io::Errno,
};
use sha2::{Digest as _, Sha256};

mod digest;
mod manifest;

pub use digest::Digest;
pub use manifest::{Item, Manifest};

use crate::error::Error;

/// How deep folders may lie in each other: each level that is being read holds two descriptors.
const DEPTH_MAX: usize = 128;

/// Bytes that are read at a time.
const CHUNK: usize = 64 << 10;

/// The bits of a mode that are kept: set-id bits are not, for nothing may come back with more power than it was made with.
pub(crate) const MODE: u32 = 0o1777;

/// How the kernel marks a folder of an overlay whose former content is gone.
const OPAQUE: &str = "user.overlay.opaque";

/// How much a tree may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Files, folders and links.
    pub entries: usize,
    /// Bytes of all files together.
    pub bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { entries: 200_000, bytes: 8 << 30 }
    }
}

/// One folder, as it is seen through the layers of an overlay. Without an upper layer it is a plain folder.
#[derive(Debug)]
pub(crate) struct Layers {
    upper: Option<OwnedFd>,
    lower: Option<OwnedFd>,
}

impl Layers {
    /// A folder of the host. Its own path may lead through links, as its owner named it.
    pub(crate) fn plain(folder: &Path) -> Result<Self, Error> {
        Ok(Self { upper: None, lower: Some(open_folder(folder)?) })
    }

    /// A folder with changes over it.
    pub(crate) fn overlay(upper: &Path, lower: &Path) -> Result<Self, Error> {
        let changes = if upper.exists() { Some(open_folder(upper)?) } else { None };
        Ok(Self { upper: changes, lower: Some(open_folder(lower)?) })
    }
}

fn open_folder(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).map_err(Error::file("opening", path))
}

/// What is done about a name in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// It is read.
    Yes,
    /// It is left out, with all that is below it, and named.
    LeaveOut,
}

/// Sockets, pipes and devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Specials {
    Refuse,
    LeaveOut,
}

/// What a file holds, and how many bytes that is.
pub(crate) type OfFile<'a> = dyn FnMut(&Path, &mut File) -> Result<(Digest, u64), Error> + 'a;

/// What is to be done while a tree is read.
pub(crate) struct Reading<'a> {
    pub(crate) bounds: Bounds,
    pub(crate) specials: Specials,
    /// Whether a path is taken.
    pub(crate) take: &'a dyn Fn(&Path) -> Take,
    pub(crate) file: &'a mut OfFile<'a>,
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) manifest: Manifest,
    /// What was left out: not taken, or special where that is no error.
    pub(crate) left_out: Vec<PathBuf>,
}

/// Reads a tree.
pub(crate) fn read(layers: Layers, reading: Reading<'_>) -> Result<Seen, Error> {
    let top = layers.upper.as_ref().or(layers.lower.as_ref());
    let Some(top) = top else { return Ok(Seen::default()) };
    let stat = fstat(top).map_err(Error::file("looking at", Path::new(".")))?;
    let mut walk = Walk { reading, seen: Seen::default(), bytes: 0, links: Vec::new() };
    walk.seen.manifest.insert(PathBuf::new(), Item::Folder { mode: stat.st_mode & MODE });
    walk.folder(Path::new(""), &layers, 0)?;
    walk.settle_links();
    Ok(walk.seen)
}

struct Walk<'a> {
    reading: Reading<'a>,
    seen: Seen,
    bytes: u64,
    /// Files with several names: which file it is, and under which path it was met.
    links: Vec<((u64, u64), PathBuf)>,
}

impl Walk<'_> {
    fn folder(&mut self, path: &Path, layers: &Layers, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            return Err(Error::tree(path, format!("lies deeper than {DEPTH_MAX} folders")));
        }
        let most = self.reading.bounds.entries;
        let upper = names(path, layers.upper.as_ref(), most)?;
        let opaque = layers.upper.as_ref().is_some_and(is_opaque);
        let lower = match opaque {
            true => Vec::new(),
            false => names(path, layers.lower.as_ref(), most)?,
        };
        for name in &upper {
            let Some(folder) = &layers.upper else { break };
            let stat = stat_of(folder, path, name)?;
            // A whiteout: what was below is gone.
            if kind(&stat) == FileType::CharacterDevice && stat.st_rdev == 0 {
                continue;
            }
            let below = if opaque { None } else { layers.lower.as_ref() };
            self.entry(&path.join(name), Place { folder, below, name, stat, depth }, Layer::Upper)?;
        }
        for name in lower.iter().filter(|name| upper.binary_search(name).is_err()) {
            let Some(folder) = &layers.lower else { break };
            let stat = stat_of(folder, path, name)?;
            let place = Place { folder, below: None, name, stat, depth };
            self.entry(&path.join(name), place, Layer::Lower)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, place: Place<'_>, layer: Layer) -> Result<(), Error> {
        if (self.reading.take)(path) == Take::LeaveOut {
            self.seen.left_out.push(path.to_owned());
            return Ok(());
        }
        let most = self.reading.bounds.entries;
        if self.seen.manifest.len() + self.seen.left_out.len() >= most {
            return Err(Error::tree(
                path,
                format!("is more than the {most} entries a tree may have"),
            ));
        }
        match kind(&place.stat) {
            FileType::Directory => {
                let folder = open_in(place.folder, place.name, OFlags::DIRECTORY)
                    .map_err(Error::file("opening", path))?;
                let below = place.below.map(|lower| folder_below(lower, path, place.name));
                let below = below.transpose()?.flatten();
                let mode = place.stat.st_mode & MODE;
                self.seen.manifest.insert(path.to_owned(), Item::Folder { mode });
                let layers = match layer {
                    Layer::Upper => Layers { upper: Some(folder), lower: below },
                    Layer::Lower => Layers { upper: None, lower: Some(folder) },
                };
                self.folder(path, &layers, place.depth + 1)
            }
            FileType::RegularFile => self.file(path, &place),
            FileType::Symlink => {
                let target = readlinkat(place.folder, place.name, Vec::new())
                    .map_err(Error::file("reading the link", path))?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                self.seen.manifest.insert(path.to_owned(), Item::Link { target });
                Ok(())
            }
            _ if self.reading.specials == Specials::LeaveOut => {
                self.seen.left_out.push(path.to_owned());
                Ok(())
            }
            _ => Err(Error::tree(path, "is a socket, a pipe or a device, which cannot be kept")),
        }
    }

    fn file(&mut self, path: &Path, place: &Place<'_>) -> Result<(), Error> {
        // A pipe that took its place meanwhile must not hold us up.
        let file = open_in(place.folder, place.name, OFlags::NONBLOCK)
            .map_err(Error::file("opening", path))?;
        let mut file = File::from(file);
        let stat = fstat(&file).map_err(Error::file("looking at", path))?;
        if kind(&stat) != FileType::RegularFile {
            return Err(Error::tree(path, "became something else while it was read"));
        }
        let most = self.reading.bounds.bytes;
        let expected = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        let full = || Error::tree(path, format!("is more than the {most} bytes a tree may have"));
        if self.bytes.saturating_add(expected) > most {
            return Err(full());
        }
        let (sha256, size) = (self.reading.file)(path, &mut file)?;
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > most {
            return Err(full());
        }
        if stat.st_nlink > 1 {
            self.links.push(((stat.st_dev, stat.st_ino), path.to_owned()));
        }
        let item = Item::File { mode: stat.st_mode & MODE, size, sha256 };
        self.seen.manifest.insert(path.to_owned(), item);
        Ok(())
    }

    /// Of the names of one file the first stays, the others point to it.
    fn settle_links(&mut self) {
        self.links.sort();
        let mut first: Option<((u64, u64), PathBuf)> = None;
        for (which, path) in std::mem::take(&mut self.links) {
            match &first {
                Some((file, to)) if *file == which => {
                    self.seen.manifest.insert(path, Item::Same { to: to.clone() });
                }
                _ => first = Some((which, path)),
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Layer {
    Upper,
    Lower,
}

struct Place<'a> {
    folder: &'a OwnedFd,
    /// The folder of the layer below, where this entry may have a part.
    below: Option<&'a OwnedFd>,
    name: &'a OsStr,
    stat: Stat,
    depth: usize,
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn stat_of(folder: &OwnedFd, path: &Path, name: &OsStr) -> Result<Stat, Error> {
    let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    found.map_err(|errno| Error::file("looking at", &path.join(name))(errno))
}

/// The folder of the same name in the layer below, if there is one.
fn folder_below(lower: &OwnedFd, path: &Path, name: &OsStr) -> Result<Option<OwnedFd>, Error> {
    match open_in(lower, name, OFlags::DIRECTORY) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(Error::file("opening", path)(errno)),
    }
}

fn open_in(folder: &OwnedFd, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
    openat(folder, name, flags, Mode::empty())
}

/// The names in a folder, in order; up to one more than `most`, so that it shows that there are more.
fn names(path: &Path, folder: Option<&OwnedFd>, most: usize) -> Result<Vec<OsString>, Error> {
    let Some(folder) = folder else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    let entries = Dir::read_from(folder.as_fd()).map_err(Error::file("listing", path))?;
    for entry in entries {
        let entry = entry.map_err(Error::file("listing", path))?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
        if names.len() > most {
            return Err(Error::tree(
                path,
                format!("has more than {most} entries, which a tree may have"),
            ));
        }
    }
    names.sort();
    Ok(names)
}

fn is_opaque(folder: &OwnedFd) -> bool {
    let mut value = [0; 1];
    fgetxattr(folder, OPAQUE, &mut value[..]) == Ok(1) && value == *b"y"
}

/// What a reader gives, up to `most` bytes: its digest, and how many bytes there were. Each piece goes to `to` as well.
pub(crate) fn digest_of(
    from: &mut impl Read,
    to: &mut impl io::Write,
    most: u64,
) -> io::Result<(Digest, u64)> {
    let mut chunk = vec![0; CHUNK];
    let mut hash = Sha256::new();
    let mut size: u64 = 0;
    loop {
        let got = match from.read(&mut chunk) {
            Ok(0) => return Ok((Digest::new(hash.finalize().into()), size)),
            Ok(got) => chunk.get(..got).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        size = size.saturating_add(u64::try_from(got.len()).unwrap_or(u64::MAX));
        if size > most {
            return Err(io::Error::other(format!("more than {most} bytes")));
        }
        hash.update(got);
        to.write_all(got)?;
    }
}

/// A folder of the host's, for its entries to be made durable.
pub(crate) fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let folder = folder.map_err(Error::file("opening", path))?;
    rustix::fs::fsync(folder).map_err(Error::file("writing out", path))
}
