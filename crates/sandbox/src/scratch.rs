//! Folders of our own on the host.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::Path,
};

use rustix::process::geteuid;

use crate::error::Error;

/// Most entries that are looked at; who makes more has reached every limit.
const ENTRIES_MAX: u64 = 100_000;

/// What the files below take, in bytes.
pub(crate) fn bytes(folder: &Path) -> u64 {
    let mut entries = 0;
    let mut blocks = 0_u64;
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            entries += 1;
            if entries > ENTRIES_MAX {
                return u64::MAX;
            }
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            blocks = blocks.saturating_add(metadata.blocks());
            if metadata.is_dir() {
                open.push(entry.path());
            }
        }
    }
    blocks.saturating_mul(512)
}

/// A folder that nobody but this account writes to: made, where it is not there.
pub(crate) fn own_folder(path: &Path) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made.map_err(Error::file("making", path)),
    }
    let found = fs::metadata(path).map_err(Error::file("looking at", path))?;
    if found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(Error::tree(path, "is no folder that this account alone may write to"))
}

/// Takes a folder away with all that is in it, once nobody uses it: folders that were closed are opened first.
pub(crate) fn remove(folder: &Path) {
    if fs::remove_dir_all(folder).is_ok() {
        return;
    }
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap_or(());
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        open.extend(folders.map(|entry| entry.path()));
    }
    fs::remove_dir_all(folder).unwrap_or(());
}
