//! The folder of a path that is to change, held against other changes, and files in the making in it.

use std::{
    fs::File,
    io::Write,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::{Timespec, poll},
    fs::{
        AtFlags, FlockOperation, Gid, Mode, OFlags, RenameFlags, Stat, Uid, fchmod, fchown, flock,
        fstat, fsync, openat, renameat_with, statat, unlinkat,
    },
    io::Errno,
    rand::{GetRandomFlags, getrandom},
};

use crate::{
    beneath::Links,
    error::{Error, State},
    hash::Hash,
    limits::LOCK_WAIT_MS,
    list::Kind,
    place::{Place, RESERVED, join, shown},
    read,
    root::{READ, Root, kind, open_name, regular},
};

/// How long to wait before asking for a lock again, in nanoseconds.
const LOCK_AGAIN_NS: i64 = 500_000;

/// How often a path is looked up again whose folder was moved while we waited for it.
const MOVED_MAX: usize = 16;

/// A folder, locked until it is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    fd: OwnedFd,
    path: String,
}

/// A folder with a name in it, and another one if it is another, with a name in that.
pub(crate) type Two<'a> = ((Folder, &'a str), (Option<Folder>, &'a str));

/// What a name in a folder stands for.
#[derive(Debug)]
pub(crate) enum Found {
    Absent,
    File(Stat),
    Folder,
    Other(Kind),
}

impl Root {
    /// The folder of a place, locked, and the name in it. No link is followed on the way.
    pub(crate) fn lock<'a>(&self, place: Place<'a>) -> Result<(Folder, &'a str), Error> {
        let (folder, name) = place.split();
        for _ in 0..MOVED_MAX {
            let held = Folder { fd: self.parent(place)?, path: folder.to_owned() };
            held.lock(Duration::from_millis(LOCK_WAIT_MS))?;
            // What was locked may have been moved away while we waited for it.
            let again = self.parent(place)?;
            if same(held.fd.as_fd(), again.as_fd()) {
                return Ok((held, name));
            }
        }
        Err(Error::Busy { folder: shown(folder).to_owned() })
    }

    /// The folders of two places, both locked, and the names in them. There is one folder where both are in the same.
    ///
    /// Folders are locked in the order of their numbers, so that two moves never wait for each other.
    pub(crate) fn lock_two<'a>(&self, one: Place<'a>, two: Place<'a>) -> Result<Two<'a>, Error> {
        let held = |place: Place<'a>| -> Result<Folder, Error> {
            Ok(Folder { fd: self.parent(place)?, path: place.split().0.to_owned() })
        };
        let wait = Duration::from_millis(LOCK_WAIT_MS);
        for _ in 0..MOVED_MAX {
            let (first, second) = (held(one)?, held(two)?);
            if same(first.fd(), second.fd()) {
                drop((first, second));
                let (folder, name) = self.lock(one)?;
                if same(folder.fd(), self.parent(two)?.as_fd()) {
                    return Ok(((folder, name), (None, two.split().1)));
                }
                continue;
            }
            let number = |folder: &Folder| fstat(folder.fd()).map(|stat| identity(&stat)).ok();
            if number(&first) < number(&second) {
                first.lock(wait)?;
                second.lock(wait)?;
            } else {
                second.lock(wait)?;
                first.lock(wait)?;
            }
            if same(first.fd(), self.parent(one)?.as_fd())
                && same(second.fd(), self.parent(two)?.as_fd())
            {
                return Ok(((first, one.split().1), (Some(second), two.split().1)));
            }
        }
        Err(Error::Busy { folder: shown(one.split().0).to_owned() })
    }

    fn parent(&self, place: Place<'_>) -> Result<OwnedFd, Error> {
        let (folder, _) = place.split();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        self.resolve(folder, flags, Links::Refused).map_err(|error| match error {
            Errno::NOENT => {
                let mut missing = folder;
                // The uppermost folder that is missing is the one to make first.
                while let Some((upper, _)) = missing.rsplit_once('/')
                    && matches!(
                        self.resolve(upper, OFlags::PATH, Links::Refused),
                        Err(Errno::NOENT)
                    )
                {
                    missing = upper;
                }
                Error::NoFolder { path: place.text().to_owned(), folder: missing.to_owned() }
            }
            Errno::NOTDIR => self.no_folder(place),
            error => Error::system(place.text(), "opening its folder", error),
        })
    }

    /// Something on the way is no folder: whether it is a link decides what to say. `openat2` says the one, our own
    /// walk the other.
    fn no_folder(&self, place: Place<'_>) -> Error {
        let mut seen = String::new();
        for name in place.split().0.split('/') {
            seen = join(&seen, name);
            match self.resolve(&seen, OFlags::PATH | OFlags::NOFOLLOW, Links::Refused) {
                Ok(fd) => match fstat(&fd).map(|stat| kind(&stat)) {
                    Ok(Kind::Folder) => {}
                    Ok(Kind::Link) => break,
                    Ok(found) => return Error::Kind { path: seen, found, wanted: Kind::Folder },
                    Err(_) => break,
                },
                Err(_) => break,
            }
        }
        Error::Link { path: place.text().to_owned() }
    }
}

/// Whether two descriptors are of the same thing.
pub(crate) fn same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    match (fstat(one), fstat(other)) {
        (Ok(one), Ok(other)) => identity(&one) == identity(&other),
        _ => false,
    }
}

pub(crate) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

impl Folder {
    pub(crate) fn new(fd: OwnedFd, path: String) -> Self {
        Self { fd, path }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Waits for other changes of the folder. The lock belongs to this descriptor alone, so it also holds against
    /// other threads; the kernel takes it back when the process dies.
    ///
    /// Waiting is asking again: the kernel has no lock with a deadline, and somebody who never lets go must not keep
    /// us for ever.
    pub(crate) fn lock(&self, wait: Duration) -> Result<(), Error> {
        let began = Instant::now();
        loop {
            match flock(&self.fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(()),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(error) => {
                    return Err(Error::system(shown(&self.path), "locking the folder", error));
                }
            }
            if began.elapsed() >= wait {
                return Err(Error::Busy { folder: shown(&self.path).to_owned() });
            }
            let pause = Timespec { tv_sec: 0, tv_nsec: LOCK_AGAIN_NS };
            match poll(&mut [], Some(&pause)) {
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// The path of a name in it, for messages.
    pub(crate) fn path(&self, name: &str) -> String {
        join(&self.path, name)
    }

    pub(crate) fn look(&self, name: &str) -> Result<Found, Error> {
        match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(match kind(&stat) {
                Kind::File => Found::File(stat),
                Kind::Folder => Found::Folder,
                found => Found::Other(found),
            }),
            Err(Errno::NOENT) => Ok(Found::Absent),
            Err(error) => Err(Error::system(&self.path(name), "looking at it", error)),
        }
    }

    /// Opens a regular file.
    pub(crate) fn open(&self, name: &str) -> Result<(File, Stat), Error> {
        let path = self.path(name);
        let fd = open_name(self.fd(), name, READ).map_err(Error::io(&path, "opening the file"))?;
        regular(&path, fd)
    }

    /// What is there now, with the hash of a file of at most `most` bytes.
    pub(crate) fn state(&self, name: &str, most: u64) -> Result<State, Error> {
        match self.look(name)? {
            Found::Absent => Ok(State::Absent),
            Found::Folder => Ok(State::Kind(Kind::Folder)),
            Found::Other(kind) => Ok(State::Kind(kind)),
            Found::File(_) => match self.hash(name, most) {
                Ok(hash) => Ok(State::Hash(hash)),
                Err(Error::TooLarge { .. }) => Ok(State::Kind(Kind::File)),
                Err(error) => Err(error),
            },
        }
    }

    pub(crate) fn hash(&self, name: &str, most: u64) -> Result<Hash, Error> {
        let (mut file, _) = self.open(name)?;
        read::hash(&self.path(name), &mut file, most)
    }

    pub(crate) fn rename(&self, from: &str, to: &str, how: RenameFlags) -> Result<(), Errno> {
        renameat_with(&self.fd, from, &self.fd, to, how)
    }

    pub(crate) fn unlink(&self, name: &str, flags: AtFlags) -> Result<(), Errno> {
        unlinkat(&self.fd, name, flags)
    }

    /// Makes what was renamed in it durable.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        fsync(&self.fd).map_err(Error::io(shown(&self.path), "writing the folder to disk"))
    }

    /// A new file under a name of our own, with all its content on disk.
    ///
    /// `like` is the file whose place it will take: it gets its mode and, where the system allows, its owner.
    pub(crate) fn make(
        &self,
        content: &[u8],
        mode: Option<u32>,
        like: Option<&Stat>,
    ) -> Result<Making<'_>, Error> {
        let name = fresh().map_err(Error::io(shown(&self.path), "drawing a name"))?;
        let path = self.path(&name);
        let flags = OFlags::WRONLY
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::NOCTTY
            | OFlags::CLOEXEC;
        let fd = openat(&self.fd, name.as_str(), flags, Mode::from_raw_mode(0o666))
            .map_err(Error::io(&path, "making a file"))?;
        let made = fstat(&fd).map_err(Error::io(&path, "looking at the file"));
        let mut file = File::from(fd);
        // From here on, dropping `making` removes the file.
        let mut making = Making { folder: self, name, made: None };
        let made = made?;
        file.write_all(content).map_err(Error::std(&path, "writing the file"))?;
        if let Some(like) = like
            && (like.st_uid, like.st_gid) != (made.st_uid, made.st_gid)
        {
            // Only root may give a file away; for others the file becomes theirs, as with an editor.
            let (owner, group) = (Uid::from_raw(like.st_uid), Gid::from_raw(like.st_gid));
            match fchown(&file, Some(owner), Some(group)) {
                Ok(()) | Err(_) => {}
            }
        }
        if let Some(mode) = mode.or(like.map(|like| like.st_mode)) {
            fchmod(&file, Mode::from_raw_mode(mode & 0o777))
                .map_err(Error::io(&path, "setting the mode of the file"))?;
        }
        fsync(&file).map_err(Error::io(&path, "writing the file to disk"))?;
        making.made = Some((identity(&made), Hash::of(content)));
        Ok(making)
    }
}

/// A file under a name of our own. It is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Making<'a> {
    folder: &'a Folder,
    name: String,
    /// Which file was made, and what it says, where one was.
    made: Option<((u64, u64), Hash)>,
}

impl<'a> Making<'a> {
    /// A free name of our own, for a file to be moved to.
    pub(crate) fn free(folder: &'a Folder) -> Result<Self, Error> {
        let name = fresh().map_err(Error::io(shown(&folder.path), "drawing a name"))?;
        Ok(Self { folder, name, made: None })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the file that was made is under a name now, and says what we wrote: somebody who took it may have
    /// written into it and put it back.
    pub(crate) fn is_at(&self, name: &str) -> bool {
        let Some((number, hash)) = self.made else { return false };
        let Ok((mut file, stat)) = self.folder.open(name) else { return false };
        // Without a limit: what others made of it is not ours to refuse.
        identity(&stat) == number
            && read::hash(name, &mut file, u64::MAX).is_ok_and(|is| is == hash)
    }

    /// Leaves what is under our name where it is: nothing is there any more.
    pub(crate) fn placed(mut self) {
        self.name.clear();
    }

    /// Gives what is under our name a name that no sweep removes; its path.
    pub(crate) fn rescue(mut self) -> Result<String, Error> {
        let name = std::mem::take(&mut self.name);
        let kept = format!("kept-{}", name.trim_start_matches(RESERVED));
        self.folder
            .rename(&name, &kept, RenameFlags::NOREPLACE)
            .map_err(Error::io(&self.folder.path(&name), "keeping what was there"))?;
        Ok(self.folder.path(&kept))
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // What cannot be removed now is removed by a sweep.
            match self.folder.unlink(&self.name, AtFlags::empty()) {
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// A name that nobody else has.
fn fresh() -> Result<String, Errno> {
    let mut bytes = [0_u8; 8];
    let mut got = 0;
    while got < bytes.len() {
        got += getrandom(bytes.get_mut(got..).unwrap_or_default(), GetRandomFlags::empty())?;
    }
    Ok(format!("{RESERVED}{:016x}", u64::from_ne_bytes(bytes)))
}
