use std::io;

use rustix::io::Errno;

use crate::{hash::Hash, list::Kind};

/// Why an operation did not happen. Nothing has changed then, with two exceptions: [`Error::Tangled`], and
/// [`Error::Io`] in writing the folder to disk, after which the change is there and a crash may undo it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path is not one that a caller may write.
    #[error("{path:?} is no path inside of the root: {problem}")]
    Path {
        /// The path as it was given, its first 200 characters.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There is nothing at the path.
    #[error("{path}: there is nothing")]
    Absent {
        /// The path.
        path: String,
    },
    /// The folder is missing in which the path would be.
    #[error("{path}: the folder {folder} is not there")]
    NoFolder {
        /// The path.
        path: String,
        /// The folder that is missing.
        folder: String,
    },
    /// A link on the way leads out of the root.
    #[error("{path}: a link on the way leads out of the root")]
    Outside {
        /// The path.
        path: String,
    },
    /// A link is on the way where none may be: a change follows no link, a read neither loops nor links of the kernel.
    #[error("{path}: a link is on the way that is not followed")]
    Link {
        /// The path.
        path: String,
    },
    /// What is there is not of the kind that the operation is for.
    #[error("{path}: it is a {}, not a {}", found.name(), wanted.name())]
    Kind {
        /// The path.
        path: String,
        /// What is there.
        found: Kind,
        /// What the operation is for.
        wanted: Kind,
    },
    /// A folder is not empty.
    #[error("{path}: the folder is not empty")]
    NotEmpty {
        /// The folder.
        path: String,
    },
    /// Something is larger than a limit.
    #[error("{path}: {what} of {size} is above the limit of {most}")]
    TooLarge {
        /// The path.
        path: String,
        /// What was measured, with its unit.
        what: &'static str,
        /// How large it is; for what was not measured to its end, what was seen.
        size: u64,
        /// The limit.
        most: u64,
    },
    /// What is there is not what the caller expected.
    #[error("{path}: expected {expected}, found {found}")]
    Conflict {
        /// The path.
        path: String,
        /// What the caller expected.
        expected: Expected,
        /// What is there.
        found: State,
    },
    /// Two others changed the path in the moment in which a change was being taken back. Both contents are kept.
    #[error("{path}: others changed it at the same time; what was there before is kept in {kept}")]
    Tangled {
        /// The path.
        path: String,
        /// Where the other content is: a name that only this error tells, in the same folder.
        kept: String,
    },
    /// The text to replace is not there as often as was said.
    #[error(
        "{path}: edit {edit}: the text is there {found} times, not {wanted}{}",
        near_lines(near)
    )]
    Edit {
        /// The path.
        path: String,
        /// Which edit, from 1.
        edit: usize,
        /// How often the text was found.
        found: usize,
        /// How often it was to be there.
        wanted: String,
        /// Where it is, or where something like it is: at most [`NEAR_MAX`](crate::NEAR_MAX) lines.
        near: Vec<Near>,
    },
    /// The content is not text, where only text makes sense.
    #[error("{path}: it is not UTF-8 text")]
    Binary {
        /// The path.
        path: String,
    },
    /// A pattern, a glob or a range has no meaning.
    #[error("{what} {text:?}: {problem}")]
    Pattern {
        /// What kind of pattern.
        what: &'static str,
        /// As it was given.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Somebody else held the folder for longer than a change waits.
    #[error("{folder}: another change of this folder has not ended")]
    Busy {
        /// The folder.
        folder: String,
    },
    /// The file system cannot do what a safe change needs.
    #[error("{path}: this file system cannot {what}")]
    Unsupported {
        /// The path.
        path: String,
        /// What it cannot do.
        what: &'static str,
    },
    /// The system refused.
    #[error("{path}: {what}: {source}")]
    Io {
        /// The path.
        path: String,
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// What a caller expected, in words and as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Absent,
    /// A file with this content.
    Hash(Hash),
    /// A file.
    File,
    /// A folder.
    Folder,
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent => f.write_str("nothing"),
            Self::Hash(hash) => write!(f, "a file with sha256 {hash}"),
            Self::File => f.write_str("a file"),
            Self::Folder => f.write_str("a folder"),
        }
    }
}

/// What was found at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Absent,
    /// A file with this content.
    Hash(Hash),
    /// Something whose content was not looked at.
    Kind(Kind),
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent => f.write_str("nothing"),
            Self::Hash(hash) => write!(f, "a file with sha256 {hash}"),
            Self::Kind(kind) => write!(f, "a {}", kind.name()),
        }
    }
}

/// A line that an edit may have meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Near {
    /// Its number, from 1.
    pub line: usize,
    /// Its text, at most 200 characters.
    pub text: String,
}

fn near_lines(near: &[Near]) -> String {
    if near.is_empty() {
        return String::new();
    }
    let lines: Vec<String> =
        near.iter().map(|near| format!("line {}: {}", near.line, near.text)).collect();
    format!("; see {}", lines.join(" | "))
}

impl Error {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Path { .. } => "files.path",
            Self::Absent { .. } => "files.absent",
            Self::NoFolder { .. } => "files.no_folder",
            Self::Outside { .. } => "files.outside",
            Self::Link { .. } => "files.link",
            Self::Kind { .. } => "files.kind",
            Self::NotEmpty { .. } => "files.not_empty",
            Self::TooLarge { .. } => "files.too_large",
            Self::Conflict { .. } => "files.conflict",
            Self::Tangled { .. } => "files.tangled",
            Self::Edit { .. } => "files.edit",
            Self::Binary { .. } => "files.binary",
            Self::Pattern { .. } => "files.pattern",
            Self::Busy { .. } => "files.busy",
            Self::Unsupported { .. } => "files.unsupported",
            Self::Io { .. } => "files.io",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Path { .. } => "write names separated by `/`, starting below the root",
            Self::Absent { .. } => "list the folder to see what is there",
            Self::NoFolder { .. } => "make the folder first",
            Self::Outside { .. } | Self::Link { .. } => "name the file itself instead of a link",
            Self::Kind { .. } => "list the folder, and use the operation for what is there",
            Self::NotEmpty { .. } => "remove what is in the folder first",
            Self::TooLarge { .. } => "ask for a smaller part, or have the limit raised",
            Self::Conflict { .. } => "read the file again, and decide again with what it says now",
            Self::Tangled { .. } => "compare both files, and keep what is right",
            Self::Edit { .. } => "read those lines, and give the exact text with more around it",
            Self::Binary { .. } => "read it by bytes, or write it as a whole",
            Self::Pattern { .. } => "correct the pattern",
            Self::Busy { .. } => "try again; if it stays so, look for who locks the folder",
            Self::Unsupported { .. } => "put the root on a local file system such as ext4 or tmpfs",
            Self::Io { .. } => "see what the system said: rights, space, or the disk",
        }
    }

    /// What the system said about resolving or using `path`.
    pub(crate) fn system(path: &str, what: &'static str, error: Errno) -> Self {
        let path = path.to_owned();
        match error {
            Errno::NOENT | Errno::NOTDIR => Self::Absent { path },
            Errno::XDEV => Self::Outside { path },
            Errno::LOOP => Self::Link { path },
            error => Self::Io { path, what, source: error.into() },
        }
    }

    pub(crate) fn io(path: &str, what: &'static str) -> impl FnOnce(Errno) -> Self {
        move |error| Self::system(path, what, error)
    }

    pub(crate) fn std(path: &str, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), what, source }
    }
}
