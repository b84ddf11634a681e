//! An OpenAPI document (3.0 or 3.1) as a draft of connector files, and what a person has to decide about it.
//!
//! [`draft`] reads a document that somebody else wrote and makes of each of its operations what a pack can hold: its
//! arguments and its answer as JSON Schema of one dialect, its request as a template. It vouches for nothing: a GET is
//! taken to read, everything else to write what nobody can take back, and every answer is untrusted, until a person
//! says otherwise in the file. What cannot be said in a connector file is left out, by name and with the reason; nothing
//! is fetched, and a reference to another document is refused.
//!
//! What runs later is the draft, as it was reviewed and packed, and never the document: that may change, or be changed.
//!
//! Only computes. Start at `draft.rs`, then `operation.rs`; `schema.rs` turns both dialects of schemas into one.
//!
//! Source: the OpenAPI Specification, 3.0.4 and 3.1.1, <https://spec.openapis.org>.

mod body;
mod document;
mod draft;
pub mod name;
mod operation;
mod parameter;
mod schema;
mod security;
pub mod write;

pub use document::{OPERATIONS_MAX, Refused};
pub use draft::{Decision, Draft, File, LeftOut, Options, draft};
