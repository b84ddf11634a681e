use std::{
    cmp::Ordering,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use rustix::fs::{AtFlags, OFlags, statat};
use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    limits::DEPTH_MAX,
    place::{Place, join, order},
    root::{Root, open_name, size},
    rules::Rules,
    walk::items,
};

/// Most entries that one list returns.
pub const ENTRIES_MAX: usize = 10_000;

/// What something in a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, a fifo or a socket. No operation touches one.
    Other,
}

impl Kind {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Folder => "folder",
            Self::Link => "link",
            Self::Other => "device, fifo or socket",
        }
    }
}

/// What to do with names that begin with a dot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hidden {
    /// They are left out.
    #[default]
    Skip,
    /// They are like others.
    Show,
}

/// What to do with what `.gitignore` and `.ignore` files name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ignored {
    /// It is left out.
    #[default]
    Skip,
    /// It is like anything else.
    Show,
}

/// What a list is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct List {
    /// How deep: 1 for what is right in the folder. At most [`DEPTH_MAX`].
    pub depth: usize,
    /// Most entries: 1,000 where nothing else is said, at most [`ENTRIES_MAX`].
    pub entries: usize,
    /// Only what comes after this path in the order of lists: the `more` of the list before.
    pub after: Option<String>,
    /// Names that begin with a dot.
    pub hidden: Hidden,
    /// What files of rules name.
    pub ignored: Ignored,
}

impl Default for List {
    fn default() -> Self {
        Self {
            depth: 1,
            entries: 1_000,
            after: None,
            hidden: Hidden::default(),
            ignored: Ignored::default(),
        }
    }
}

/// What is in a folder, ordered by path, name by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// What is there.
    pub entries: Vec<Entry>,
    /// Where there are more entries: the path to list after.
    pub more: Option<String>,
    /// How many were left out because their names are not UTF-8.
    pub unnamed: u64,
    /// Folders below that could not be read.
    pub unreadable: Vec<String>,
}

/// Something in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path from the root.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Size of a file in bytes.
    pub size: Option<u64>,
}

impl Root {
    /// What is in a folder; `.` is the root. Links are named and not followed.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`], [`Error::Kind`] for what is no folder; [`Error::TooLarge`] where more entries would have to
    /// be looked at than [`Limits::walk_entries`](crate::Limits::walk_entries).
    pub fn list(&self, path: &str, options: &List) -> Result<Listing, Error> {
        let place = Place::any(path)?;
        let fd = self.open_folder(place)?;
        let rules = match options.ignored {
            Ignored::Skip => Rules::above(self, place.text()),
            Ignored::Show => None,
        };
        let mut walk = Walk {
            options,
            most: options.entries.clamp(1, ENTRIES_MAX),
            looked: 0,
            looked_max: self.limits().walk_entries,
            listing: Listing::default(),
        };
        walk.folder(fd, place.text(), rules, options.depth.min(DEPTH_MAX))?;
        Ok(walk.listing)
    }
}

struct Walk<'a> {
    options: &'a List,
    most: usize,
    looked: u64,
    looked_max: u64,
    listing: Listing,
}

impl Walk<'_> {
    fn folder(
        &mut self,
        fd: OwnedFd,
        path: &str,
        rules: Option<Arc<Rules>>,
        depth: usize,
    ) -> Result<(), Error> {
        let fd = fd.as_fd();
        let found = items(path, fd)?;
        self.listing.unnamed += found.unnamed;
        self.looked += found.items.len() as u64;
        if self.looked > self.looked_max {
            let (what, size, most) = ("a list in entries", self.looked, self.looked_max);
            return Err(Error::TooLarge { path: join(path, "."), what, size, most });
        }
        let rules = match self.options.ignored {
            Ignored::Skip => Rules::of(fd, path, &found, rules),
            Ignored::Show => None,
        };
        for item in &found.items {
            if self.options.hidden == Hidden::Skip && item.name.starts_with('.') {
                continue;
            }
            let below = join(path, &item.name);
            if rules.as_ref().is_some_and(|rules| rules.ignores(&below, item.kind)) {
                continue;
            }
            if self.is_after(&below) {
                if self.listing.entries.len() == self.most {
                    self.listing.more = self.listing.entries.last().map(|last| last.path.clone());
                    return Ok(());
                }
                self.listing.entries.push(entry(fd, &item.name, below.clone(), item.kind));
            } else if !self.may_hold_after(&below) {
                continue;
            }
            if item.kind == Kind::Folder && depth > 1 {
                self.below(fd, &item.name, below, (rules.clone(), depth - 1))?;
                if self.listing.more.is_some() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn below(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &str,
        path: String,
        (rules, depth): (Option<Arc<Rules>>, usize),
    ) -> Result<(), Error> {
        let opened = open_name(folder, name, OFlags::RDONLY | OFlags::DIRECTORY);
        let Ok(fd) = opened else {
            self.listing.unreadable.push(path);
            return Ok(());
        };
        match self.folder(fd, &path, rules, depth) {
            Err(Error::Io { .. } | Error::Absent { .. }) => {
                self.listing.unreadable.push(path);
                Ok(())
            }
            done => done,
        }
    }

    fn is_after(&self, path: &str) -> bool {
        let after = self.options.after.as_deref();
        after.is_none_or(|after| order(path, after) == Ordering::Greater)
    }

    /// Whether what lies in a folder may come after, although the folder itself does not.
    fn may_hold_after(&self, path: &str) -> bool {
        let after = self.options.after.as_deref().unwrap_or_default();
        after.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

fn entry(folder: BorrowedFd<'_>, name: &str, path: String, kind: Kind) -> Entry {
    let size = match kind {
        Kind::File => statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok().map(|stat| size(&stat)),
        Kind::Folder | Kind::Link | Kind::Other => None,
    };
    Entry { path, kind, size }
}
