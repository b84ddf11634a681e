//! The durable truth: journal, inbox, blobs, projections and the receipt log, on SQLite and in RAM.
//!
//! It stores what it is handed and gives it back unchanged, or says that somebody changed it. It must
//! not know: the engine, policy, what an event means beyond its hash, the wall clock. Every key begins
//! with the tenant, or with what only a tenant can name, and every query takes one.
//!
//! Values from outside lie encrypted under a key per run (or per blob) beside the events, never in
//! them: dropping the key erases the values and leaves every chain verifiable. Key and ciphertext
//! share a file, so this protects erasure, not a stolen disk.
//!
//! Start with [`Sqlite::open`] and [`Ram::new`]; [`Store`] names everything both can do: the kernel's
//! ports `Journal` and `Blobs`, and [`Query`], [`Log`], [`Erase`] and [`Documents`] for surfaces. One contract suite,
//! `tests/it/contract.rs`, runs over both.

mod batch;
mod documents;
mod error;
mod halts;
mod query;
mod ram;
mod sqlite;

pub use batch::{BLOB_BYTES_MAX, INBOX_MAX};
pub use documents::{DOCUMENT_BYTES_MAX, DOCUMENT_ID_MAX, Document, Documents, Expected, Kept};
pub use error::Error;
pub use halts::{Brake, HaltNote, Halts};
pub use query::{
    ApprovalEntry, Checkpoint, Erase, ExceptionEntry, ExceptionFilter, LEAVES_MAX, Listed, Log,
    PAGE_MAX, Page, Query, ReceiptEntry, RunEntry, RunFilter, State, Stats, Store, StoredReceipt,
    Thing, TokenEntry, Waiting,
};
pub use ram::Ram;
pub use sqlite::{Beginning, Integrity, Options, Sqlite, VERSION, unpack};
