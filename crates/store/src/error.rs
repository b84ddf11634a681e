//! What can go wrong with a store as a whole.

use std::path::PathBuf;

use kernel::{halt::HALTS_MAX, id::HaltId, port::JournalError};

/// Why a store cannot be opened, queried or closed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal refused or failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The SQLite in this build has the WAL-reset bug, which can corrupt a database.
    #[error(
        "this build carries SQLite {found}, but needs {needed} or newer: build with the bundled one"
    )]
    Outdated {
        /// What is linked.
        found: &'static str,
        /// The least version.
        needed: &'static str,
    },
    /// A later build wrote this store.
    #[error("{path} has store version {found}; this build knows up to {known}: upgrade harness")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The last version this build can read.
        known: u32,
    },
    /// The file is a database, but not one of ours.
    #[error("{path} is not a harness store: name another file")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file or its folder cannot be made or opened.
    #[error("cannot open the store {path}: {problem}")]
    Path {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        problem: String,
    },
    /// A page cursor of another list, or not a cursor at all.
    #[error("`{0}` is not a cursor of this list: start again without one")]
    Cursor(String),
    /// A checkpoint that contradicts the log or an earlier checkpoint.
    #[error("checkpoint of size {size} refused: {problem}")]
    Checkpoint {
        /// Its size.
        size: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// There is no such halt, or it was lifted.
    #[error("no halt {0} stands")]
    NoHalt(HaltId),
    /// As many halts stand as can.
    #[error("{HALTS_MAX} halts stand: lift one, or halt everything")]
    Halts,
    /// Somebody else changed the document meanwhile, or it is not there.
    #[error("{kind} {id} is not as it was: {}", found.map_or("it is gone".to_owned(), |v| format!("it is at version {v}")))]
    Stale {
        /// Its kind.
        kind: &'static str,
        /// Its id.
        id: String,
        /// The version that is there.
        found: Option<u64>,
    },
    /// A document beyond the limits.
    #[error("a {kind} with an id of {id} and a body of {body} bytes cannot be kept")]
    Document {
        /// Its kind.
        kind: &'static str,
        /// Bytes of its id.
        id: usize,
        /// Bytes of its body.
        body: usize,
    },
    /// Erased, but old pages may linger in the write-ahead log.
    #[error("values are erased, but a reader kept the write-ahead log from being cut: erase again")]
    Lingering,
}
