//! The Model Context Protocol, spoken as client and as server, in both of its generations.
//!
//! It must not know: runs, policy, packs. No type of the protocol's library leaves it: revisions of the
//! protocol and releases of the library come often, and change this crate alone.

pub mod client;
pub mod server;
