//! A path followed name by name, for kernels without `openat2`.
//!
//! Every name is opened from the descriptor of its folder and never through a link; what a link says is read and
//! followed here. `..` is only ever found in links, and goes back to a descriptor that was passed on the way down, so
//! no renaming by others can make it lead above the start.

use std::{
    ffi::CString,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{FileType, Mode, OFlags, fstat, openat, readlinkat},
    io::Errno,
};

use crate::limits::DEPTH_MAX;

/// Whether links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// Those that stay inside.
    Inside,
    /// None, not even at the end.
    Refused,
}

/// Most links that one path leads through, as in the kernel.
const LINKS_MAX: usize = 40;

/// Opens what is at `path` below `base`.
///
/// Errors are those of `openat2`: `XDEV` for what leads out, `LOOP` for links that are not followed.
pub(crate) fn open(
    base: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    links: Links,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut passed: Vec<OwnedFd> = Vec::new();
    let mut todo = Vec::new();
    push(&mut todo, path.as_bytes())?;
    let mut followed = 0;
    while let Some(name) = todo.pop() {
        match name.as_bytes() {
            b"." => continue,
            b".." => {
                passed.pop().ok_or(Errno::XDEV)?;
                continue;
            }
            _ => {}
        }
        let here = passed.last().map_or(base, AsFd::as_fd);
        let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let next = openat(here, &name, look, Mode::empty())?;
        match FileType::from_raw_mode(fstat(&next)?.st_mode) {
            FileType::Symlink => {
                followed += 1;
                if links == Links::Refused || followed > LINKS_MAX {
                    return Err(Errno::LOOP);
                }
                let target = readlinkat(&next, "", Vec::new())?;
                push(&mut todo, target.as_bytes())?;
            }
            // If it has become a link since, the kernel refuses.
            _ if todo.is_empty() => return openat(here, &name, flags, Mode::empty()),
            FileType::Directory if passed.len() < DEPTH_MAX => passed.push(next),
            FileType::Directory => return Err(Errno::LOOP),
            _ => return Err(Errno::NOTDIR),
        }
    }
    openat(passed.last().map_or(base, AsFd::as_fd), ".", flags, Mode::empty())
}

/// Puts the names of a path on top of what is to be followed, the first one uppermost.
fn push(todo: &mut Vec<CString>, path: &[u8]) -> Result<(), Errno> {
    if path.first() == Some(&b'/') {
        return Err(Errno::XDEV);
    }
    for name in path.split(|byte| *byte == b'/').rev().filter(|name| !name.is_empty()) {
        todo.push(CString::new(name).map_err(|_| Errno::INVAL)?);
    }
    Ok(())
}
