//! What is right in a folder.

use std::os::fd::BorrowedFd;

use rustix::{
    fs::{AtFlags, FileType, RawDir, statat},
    io::Errno,
};

use crate::{
    error::Error,
    list::Kind,
    place::{RESERVED, shown},
    root::{kind, of},
};

/// Bytes of names that the kernel gives at once.
const BUFFER_BYTES: usize = 32 << 10;

/// What is right in a folder, in the order of names.
#[derive(Debug, Default)]
pub(crate) struct Items {
    pub(crate) items: Vec<Item>,
    /// How many have a name that is not UTF-8, which no caller can write.
    pub(crate) unnamed: u64,
    /// Names of our own files in the making.
    pub(crate) making: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// Lists a folder from the position of its descriptor, which was just opened. `path` is for messages.
pub(crate) fn items(path: &str, folder: BorrowedFd<'_>) -> Result<Items, Error> {
    let failed = Error::io;
    let (path, what) = (shown(path), "listing the folder");
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let mut dir = RawDir::new(folder, buffer.spare_capacity_mut());
    let mut found = Items::default();
    while let Some(entry) = dir.next() {
        let entry = entry.map_err(failed(path, what))?;
        let Ok(name) = entry.file_name().to_str() else {
            found.unnamed += 1;
            continue;
        };
        if matches!(name, "." | "..") {
            continue;
        }
        if name.starts_with(RESERVED) {
            found.making.push(name.to_owned());
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems do not say.
            FileType::Unknown => match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => kind(&stat),
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(failed(path, what)(error)),
            },
            known => of(known),
        };
        found.items.push(Item { name: name.to_owned(), kind });
    }
    found.items.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}
