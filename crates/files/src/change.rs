//! Changes: each happens as a whole or not at all, and only to what the caller expects to be there.
//!
//! Under the lock of the folder, the new content is written to a file of our own, and then exchanged with what is there
//! in one step. What came out is compared with what was expected, and exchanged back if it is something else. Others
//! that use this crate wait for the lock, so among them there is no race at all. Somebody who does not (an editor, a
//! shell) and replaces the file between the look and the exchange loses nothing: their content is what comes out and
//! goes back. Two things remain of that race, both with those others only:
//!
//! - for the moment between the two exchanges, readers see the content that was refused;
//! - somebody who writes into the open file, instead of replacing it, after it was compared, writes into what is thrown
//!   away.
//!
//! When they replace the file a second time before it is exchanged back, both of theirs are kept, and the error
//! ([`Error::Tangled`]) names the second file. Which of them is in its place is then the newer one, unless they are so
//! fast that they come twice between two of our system calls.

use rustix::{
    fs::{AtFlags, Mode, RenameFlags, mkdirat, renameat_with},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Expected, State},
    folder::{Folder, Found, Making},
    hash::Hash,
    list::Kind,
    place::Place,
    root::Root,
};

/// What the caller knows to be at a path. When something else is there, the change is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// Nothing.
    Absent,
    /// A file with this content.
    Hash(Hash),
    /// Anything that the operation is for.
    Any,
}

/// What a file is after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Hash of its content.
    pub hash: Hash,
    /// Its size in bytes.
    pub size: u64,
}

/// How often a change of whatever is there begins anew because others came first.
const AGAIN_MAX: usize = 16;

impl Root {
    /// Writes a whole file, new or in the place of another. A replaced one leaves its mode and, where the system allows,
    /// its owner; other names of it (hard links) keep the old content. The content is on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] where something else is there than was expected; [`Error::NoFolder`]; [`Error::Link`] where a
    /// link is on the way or at the end; [`Error::Kind`], [`Error::TooLarge`], [`Error::Busy`].
    pub fn write(&self, path: &str, content: &[u8], expect: Expect) -> Result<Written, Error> {
        self.put(Place::below(path)?, content, None, expect)
    }

    /// Writes a whole file with a mode; without one, with that of the file it replaces.
    pub(crate) fn put(
        &self,
        place: Place<'_>,
        content: &[u8],
        mode: Option<u32>,
        expect: Expect,
    ) -> Result<Written, Error> {
        let (size, most) = (content.len() as u64, self.limits().file_bytes);
        if size > most {
            let (path, what) = (place.text().to_owned(), "a file in bytes");
            return Err(Error::TooLarge { path, what, size, most });
        }
        let (folder, name) = self.lock(place)?;
        for _ in 0..AGAIN_MAX {
            let found = folder.look(name)?;
            self.check(&folder, name, &found, expect)?;
            let like = if let Found::File(stat) = &found { Some(stat) } else { None };
            let making = folder.make(content, mode, like)?;
            let placed = match like {
                None => fill(&folder, making, name)?,
                Some(_) => self.exchange(&folder, making, name, expect)?,
            };
            if placed {
                folder.sync()?;
                return Ok(Written { hash: Hash::of(content), size });
            }
            if expect != Expect::Any {
                return Err(self.conflict(&folder, name, expect));
            }
        }
        Err(Error::Busy { folder: place.text().to_owned() })
    }

    /// Moves a file or a folder to a path where nothing is. `expect` is about what is moved; a folder is moved by
    /// [`Expect::Any`] only.
    ///
    /// # Errors
    ///
    /// As [`Root::write`]; a [`Error::Conflict`] names the path that is not as expected.
    pub fn move_to(&self, from: &str, to: &str, expect: Expect) -> Result<(), Error> {
        let (from, to) = (Place::below(from)?, Place::below(to)?);
        if to.text().strip_prefix(from.text()).is_some_and(|rest| rest.starts_with('/')) {
            let problem = "it lies in what is to be moved there";
            return Err(Error::Path { path: to.text().to_owned(), problem });
        }
        let ((folder, name), (other, target)) = self.lock_two(from, to)?;
        let into = other.as_ref().unwrap_or(&folder);
        let found = folder.look(name)?;
        if matches!(found, Found::Absent) && expect == Expect::Any {
            return Err(Error::Absent { path: from.text().to_owned() });
        }
        if !(matches!(found, Found::Folder) && expect == Expect::Any) {
            self.check(&folder, name, &found, expect)?;
        }
        let rename = |one: &Folder, name: &str, other: &Folder, to: &str| {
            renameat_with(one.fd(), name, other.fd(), to, RenameFlags::NOREPLACE)
        };
        match rename(&folder, name, into, target) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(self.conflict(into, target, Expect::Absent)),
            Err(error) => return Err(renaming(from.text(), error)),
        }
        if let Expect::Hash(hash) = expect
            && !self.holds(into, target, hash)
        {
            return match rename(into, target, &folder, name) {
                Ok(()) => Err(self.conflict(&folder, name, expect)),
                Err(_) => {
                    Err(Error::Tangled { path: from.text().to_owned(), kept: to.text().to_owned() })
                }
            };
        }
        into.sync()?;
        folder.sync()
    }

    /// Removes a file, or a folder that is empty. A folder is removed by [`Expect::Any`] only.
    ///
    /// # Errors
    ///
    /// As [`Root::write`]; [`Error::Absent`] where nothing is; [`Error::NotEmpty`].
    pub fn remove(&self, path: &str, expect: Expect) -> Result<(), Error> {
        let (folder, name) = self.lock(Place::below(path)?)?;
        let found = folder.look(name)?;
        match (&found, expect) {
            (Found::Absent, Expect::Any | Expect::Absent) => {
                return Err(Error::Absent { path: path.to_owned() });
            }
            (Found::Folder, Expect::Any) => {
                self.remove_folder(&folder, name)?;
                return folder.sync();
            }
            _ => self.check(&folder, name, &found, expect)?,
        }
        // Moved aside first, so that what is removed is what was compared.
        let aside = Making::free(&folder)?;
        match folder.rename(name, aside.name(), RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Err(self.conflict(&folder, name, expect)),
            Err(error) => return Err(renaming(path, error)),
        }
        let is_expected = match expect {
            Expect::Hash(hash) => self.holds(&folder, aside.name(), hash),
            _ => matches!(folder.look(aside.name()), Ok(Found::File(_))),
        };
        if !is_expected {
            return match folder.rename(aside.name(), name, RenameFlags::NOREPLACE) {
                Ok(()) => {
                    aside.placed();
                    Err(self.conflict(&folder, name, expect))
                }
                Err(_) => Err(Error::Tangled { path: path.to_owned(), kept: aside.rescue()? }),
            };
        }
        drop(aside);
        folder.sync()
    }

    fn remove_folder(&self, folder: &Folder, name: &str) -> Result<(), Error> {
        let path = folder.path(name);
        let remove = || folder.unlink(name, AtFlags::REMOVEDIR);
        match remove() {
            Err(Errno::NOTEMPTY) => {
                // Only what a killed writer left may be in it.
                self.sweep_folder(folder, name)?;
                match remove() {
                    Err(Errno::NOTEMPTY) => Err(Error::NotEmpty { path }),
                    done => done.map_err(Error::io(&path, "removing the folder")),
                }
            }
            done => done.map_err(Error::io(&path, "removing the folder")),
        }
    }

    /// Makes a folder where nothing is, in a folder that is there.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] where something is; otherwise as [`Root::write`].
    pub fn make_folder(&self, path: &str) -> Result<(), Error> {
        let (folder, name) = self.lock(Place::below(path)?)?;
        match mkdirat(folder.fd(), name, Mode::from_raw_mode(0o777)) {
            Ok(()) => folder.sync(),
            Err(Errno::EXIST) => Err(self.conflict(&folder, name, Expect::Absent)),
            Err(error) => Err(Error::system(path, "making the folder", error)),
        }
    }

    /// Whether what is there is a file, or the absence of one, that the caller expects.
    fn check(
        &self,
        folder: &Folder,
        name: &str,
        found: &Found,
        expect: Expect,
    ) -> Result<(), Error> {
        let kind = match found {
            Found::Folder => Some(Kind::Folder),
            Found::Other(kind) => Some(*kind),
            Found::Absent | Found::File(_) => None,
        };
        match (expect, kind) {
            (Expect::Any, None) => Ok(()),
            (Expect::Any, Some(Kind::Link)) => Err(Error::Link { path: folder.path(name) }),
            (Expect::Any, Some(found)) => {
                Err(Error::Kind { path: folder.path(name), found, wanted: Kind::File })
            }
            (Expect::Absent, _) if matches!(found, Found::Absent) => Ok(()),
            (Expect::Hash(hash), None) if matches!(found, Found::File(_)) => {
                match folder.hash(name, self.limits().file_bytes) {
                    Ok(is) if is == hash => Ok(()),
                    Err(error @ Error::Io { .. }) => Err(error),
                    _ => Err(self.conflict(folder, name, expect)),
                }
            }
            _ => Err(self.conflict(folder, name, expect)),
        }
    }

    /// Whether a name stands for a file with that content.
    fn holds(&self, folder: &Folder, name: &str, hash: Hash) -> bool {
        folder.hash(name, self.limits().file_bytes).is_ok_and(|is| is == hash)
    }

    /// Exchanges a new file with the one that is there. False where none is there any more.
    fn exchange(
        &self,
        folder: &Folder,
        making: Making<'_>,
        name: &str,
        expect: Expect,
    ) -> Result<bool, Error> {
        let path = folder.path(name);
        let swap = || folder.rename(making.name(), name, RenameFlags::EXCHANGE);
        match swap() {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(renaming(&path, error)),
        }
        let is_expected = match expect {
            Expect::Hash(hash) => self.holds(folder, making.name(), hash),
            Expect::Any | Expect::Absent => {
                matches!(folder.look(making.name()), Ok(Found::File(_)))
            }
        };
        if is_expected {
            return Ok(true);
        }
        if making.is_at(name) && swap().is_ok() {
            if making.is_at(making.name()) {
                return Err(self.conflict(folder, name, expect));
            }
            // Somebody replaced the file between the two: theirs is the newest, and goes back to its place. When even
            // that fails, both stay where they are.
            match swap() {
                Ok(()) | Err(_) => {}
            }
        }
        // What we put there is gone already, and what is there is newer than what came out.
        Err(Error::Tangled { path, kept: making.rescue()? })
    }

    fn conflict(&self, folder: &Folder, name: &str, expect: Expect) -> Error {
        let expected = match expect {
            Expect::Absent => Expected::Absent,
            Expect::Hash(hash) => Expected::Hash(hash),
            Expect::Any => Expected::File,
        };
        match folder.state(name, self.limits().file_bytes) {
            Ok(found) => Error::Conflict { path: folder.path(name), expected, found },
            // It is changing while we look.
            Err(_) => Error::Conflict {
                path: folder.path(name),
                expected,
                found: State::Kind(Kind::Other),
            },
        }
    }
}

/// Gives a new file its name. False where something is there by now.
fn fill(folder: &Folder, making: Making<'_>, name: &str) -> Result<bool, Error> {
    match folder.rename(making.name(), name, RenameFlags::NOREPLACE) {
        Ok(()) => {
            making.placed();
            Ok(true)
        }
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(renaming(&folder.path(name), error)),
    }
}

fn renaming(path: &str, error: Errno) -> Error {
    let path = path.to_owned();
    match error {
        Errno::INVAL | Errno::NOSYS => {
            Error::Unsupported { path, what: "exchange names, or keep a name from being replaced" }
        }
        Errno::XDEV => Error::Unsupported { path, what: "move to another file system" },
        error => Error::system(&path, "renaming", error),
    }
}
