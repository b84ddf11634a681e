//! A caller's path, checked before anything is opened.

use std::cmp::Ordering;

use crate::{
    error::Error,
    limits::{DEPTH_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX},
};

/// How the names of our own files in the making begin. No caller can name one, no list or search shows one.
pub(crate) const RESERVED: &str = ".harness-files-";

/// A path below the root: names separated by `/`, none of them special. Empty for the root itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a>(&'a str);

impl<'a> Place<'a> {
    /// The place of a file or folder below the root.
    pub(crate) fn below(path: &'a str) -> Result<Self, Error> {
        match problem(path) {
            Some(problem) => Err(refused(path, problem)),
            None => Ok(Self(path)),
        }
    }

    /// The place of a folder, or of the root itself, written as `.` or as nothing.
    pub(crate) fn any(path: &'a str) -> Result<Self, Error> {
        if matches!(path, "" | ".") { Ok(Self("")) } else { Self::below(path) }
    }

    pub(crate) fn text(self) -> &'a str {
        self.0
    }

    /// The path of its folder, empty for the root, and its name.
    pub(crate) fn split(self) -> (&'a str, &'a str) {
        self.0.rsplit_once('/').unwrap_or(("", self.0))
    }
}

fn refused(path: &str, problem: &'static str) -> Error {
    Error::Path { path: path.chars().take(200).collect(), problem }
}

fn problem(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("it is empty");
    }
    if path.len() > PATH_BYTES_MAX {
        return Some("it is longer than 4096 bytes");
    }
    if path.contains('\0') {
        return Some("it holds a zero byte");
    }
    if path.starts_with('/') {
        return Some("it is absolute");
    }
    if path.split('/').count() > DEPTH_MAX {
        return Some("it has more than 128 names");
    }
    path.split('/').find_map(|name| match name {
        "" => Some("a name in it is empty: leave out double and trailing slashes"),
        "." => Some("it holds `.`: leave it out"),
        ".." => Some("it holds `..`"),
        name if name.len() > NAME_BYTES_MAX => Some("a name in it is longer than 255 bytes"),
        name if name.starts_with(RESERVED) => Some(
            "a name in it begins with `.harness-files-`, which is kept for files in the making",
        ),
        _ => None,
    })
}

/// The order of lists and searches: name by name, so that a folder's content stands together.
pub(crate) fn order(one: &str, other: &str) -> Ordering {
    one.split('/').cmp(other.split('/'))
}

/// A path below a folder.
pub(crate) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// How a folder is called in messages.
pub(crate) fn shown(folder: &str) -> &str {
    if folder.is_empty() { "." } else { folder }
}
