use std::{
    fmt,
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2},
    io::Errno,
};

use crate::{
    beneath::{self, Links},
    error::Error,
    limits::Limits,
    list::Kind,
    place::{Place, shown},
};

/// How often a path is resolved again that others move things around in, before our own walk resolves it.
const AGAIN_MAX: usize = 64;

/// One folder, and everything that callers may do below it. What a path means is decided by descriptors from this
/// folder on, so nothing that others rename or link meanwhile leads out of it.
pub struct Root {
    fd: OwnedFd,
    resolver: Resolver,
    limits: Limits,
}

/// Who follows the names of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolver {
    /// The kernel, by `openat2`.
    Kernel,
    /// We, name by name, where the kernel has no `openat2` or a filter forbids it.
    Walk,
}

impl Root {
    /// Opens a folder with the limits that stand by default. The path itself may lead through links.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] or [`Error::Io`] where it is no folder that can be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, Limits::default())
    }

    /// Opens a folder with limits of the caller's.
    ///
    /// # Errors
    ///
    /// As [`Root::open`].
    pub fn open_with(path: impl AsRef<Path>, limits: Limits) -> Result<Self, Error> {
        let path = path.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(Error::io(&path.display().to_string(), "opening the root"))?;
        let resolver = match kernel(fd.as_fd(), ".", OFlags::PATH, Links::Refused) {
            Err(Errno::NOSYS | Errno::PERM) => Resolver::Walk,
            _ => Resolver::Kernel,
        };
        Ok(Self { fd, resolver, limits })
    }

    /// The same root, with every path followed by our own walk, as on a kernel without `openat2`.
    #[doc(hidden)]
    #[must_use]
    pub fn walking(mut self) -> Self {
        self.resolver = Resolver::Walk;
        self
    }

    /// Its limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Opens what is at a path below the root; an empty path is the root itself.
    pub(crate) fn resolve(
        &self,
        path: &str,
        flags: OFlags,
        links: Links,
    ) -> Result<OwnedFd, Errno> {
        self.resolve_from(self.fd.as_fd(), path, flags, links)
    }

    /// Opens what is at a path below a folder.
    pub(crate) fn resolve_from(
        &self,
        base: BorrowedFd<'_>,
        path: &str,
        flags: OFlags,
        links: Links,
    ) -> Result<OwnedFd, Errno> {
        let path = shown(path);
        if self.resolver == Resolver::Kernel {
            for _ in 0..AGAIN_MAX {
                // The kernel gives up on `..` in a link when anything is renamed meanwhile.
                match kernel(base, path, flags, links) {
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    done => return done,
                }
            }
        }
        beneath::open(base, path, flags, links)
    }

    /// Opens a folder for reading; links inside of the root are followed on the way.
    pub(crate) fn open_folder(&self, place: Place<'_>) -> Result<OwnedFd, Error> {
        let path = shown(place.text());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match self.resolve(place.text(), flags, Links::Inside) {
            Err(Errno::NOTDIR) => match self.look(place)? {
                Kind::Folder => Err(Error::system(path, "opening the folder", Errno::NOTDIR)),
                found => Err(Error::Kind { path: path.to_owned(), found, wanted: Kind::Folder }),
            },
            done => done.map_err(Error::io(path, "opening the folder")),
        }
    }

    /// What a path leads to, through links inside of the root.
    pub(crate) fn look(&self, place: Place<'_>) -> Result<Kind, Error> {
        let path = place.text();
        let fd = self
            .resolve(path, OFlags::PATH, Links::Inside)
            .map_err(Error::io(path, "looking at it"))?;
        Ok(kind(&fstat(&fd).map_err(Error::io(path, "looking at it"))?))
    }

    /// Opens a regular file for reading; links inside of the root are followed on the way.
    ///
    /// It is looked at before it is opened, because opening alone does something to a device or a fifo; and again
    /// after, because it may have been replaced.
    pub(crate) fn open_file(&self, place: Place<'_>) -> Result<(File, Stat), Error> {
        let path = place.text();
        let found = self.look(place)?;
        if found != Kind::File {
            return Err(Error::Kind { path: path.to_owned(), found, wanted: Kind::File });
        }
        let fd =
            self.resolve(path, READ, Links::Inside).map_err(Error::io(path, "opening the file"))?;
        regular(path, fd)
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root")
            .field("resolver", &self.resolver)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// How a file is opened for reading: a fifo or a terminal that took its place neither blocks nor takes over.
pub(crate) const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Opens a name right in a folder, without following a link. The name holds no slash.
pub(crate) fn open_name(
    folder: BorrowedFd<'_>,
    name: &str,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    openat(folder, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// A descriptor as a file, if it is of a regular file.
pub(crate) fn regular(path: &str, fd: OwnedFd) -> Result<(File, Stat), Error> {
    let stat = fstat(&fd).map_err(Error::io(path, "looking at the file"))?;
    match kind(&stat) {
        Kind::File => Ok((File::from(fd), stat)),
        found => Err(Error::Kind { path: path.to_owned(), found, wanted: Kind::File }),
    }
}

/// What kind of thing a status is of.
pub(crate) fn kind(stat: &Stat) -> Kind {
    of(FileType::from_raw_mode(stat.st_mode))
}

pub(crate) fn of(kind: FileType) -> Kind {
    match kind {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    }
}

/// How many bytes a status says.
pub(crate) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

fn kernel(base: BorrowedFd<'_>, path: &str, flags: OFlags, links: Links) -> Result<OwnedFd, Errno> {
    let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    if links == Links::Refused {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    openat2(base, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}
