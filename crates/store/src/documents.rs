//! Small documents beside the journal: credentials, sessions, answers kept for repeated requests, messages
//! that wait to be sent. Each has a version, and a change names the one it was made from.

use std::fmt;

use kernel::{
    id::{At, Tenant},
    port::{JournalError, Task},
};

use crate::Error;

/// Largest body of a document, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 256 << 10;

/// Longest id of a document, in bytes.
pub const DOCUMENT_ID_MAX: usize = 200;

/// A document to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What sort, such as `credential`.
    pub kind: &'static str,
    /// Unique among its kind in the tenant.
    pub id: String,
    /// When somebody must look at it, in Unix milliseconds; `None` for never.
    pub due: Option<At>,
    /// What it says.
    pub body: Vec<u8>,
}

/// What must be there for a change to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Whatever is there.
    Any,
    /// Nothing.
    Absent,
    /// This version.
    Version(u64),
}

/// A document as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Whose.
    pub tenant: Tenant,
    /// Its id.
    pub id: String,
    /// Counts its changes, from 1.
    pub version: u64,
    /// When somebody must look at it.
    pub due: Option<At>,
    /// What it says.
    pub body: Vec<u8>,
}

/// Keeps documents; durable on return.
pub trait Documents: Send + Sync + fmt::Debug {
    /// Writes a document and answers its version.
    ///
    /// # Errors
    /// [`Error::Stale`] when something else than expected is there; [`Error::Document`] when it is too
    /// large.
    fn keep(
        &self,
        tenant: &Tenant,
        document: Document,
        expected: Expected,
    ) -> Task<'_, Result<u64, Error>>;

    /// One document.
    fn document(
        &self,
        tenant: &Tenant,
        kind: &'static str,
        id: &str,
    ) -> Task<'_, Result<Option<Kept>, Error>>;

    /// Documents of a kind in the order of their ids, at most `limit`, after an id.
    fn documents(
        &self,
        tenant: &Tenant,
        kind: &'static str,
        page: (Option<String>, usize),
    ) -> Task<'_, Result<Vec<Kept>, Error>>;

    /// What is due at `now`, of every tenant, the longest due first, at most `limit`.
    fn due_documents(
        &self,
        kind: &'static str,
        now: At,
        limit: usize,
    ) -> Task<'_, Result<Vec<Kept>, Error>>;

    /// Removes a document; whether there was one.
    fn discard(
        &self,
        tenant: &Tenant,
        kind: &'static str,
        id: &str,
    ) -> Task<'_, Result<bool, Error>>;
}

/// What a store refuses whatever is there.
pub(crate) fn check(document: &Document) -> Result<(), Error> {
    let (id, body) = (document.id.len(), document.body.len());
    if id == 0 || id > DOCUMENT_ID_MAX || body > DOCUMENT_BYTES_MAX {
        return Err(Error::Document { kind: document.kind, id, body });
    }
    Ok(())
}

/// The version a change leads to, from the version that is there.
pub(crate) fn next_version(
    found: Option<u64>,
    expected: Expected,
    document: &Document,
) -> Result<u64, Error> {
    let fits = match expected {
        Expected::Any => true,
        Expected::Absent => found.is_none(),
        Expected::Version(version) => found == Some(version),
    };
    if !fits {
        let id = document.id.clone();
        return Err(Error::Stale { kind: document.kind, id, found });
    }
    found.unwrap_or_default().checked_add(1).ok_or_else(|| {
        Error::Journal(JournalError::Medium("a document was changed too often".to_owned()))
    })
}
