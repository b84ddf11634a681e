//! File operations inside of one folder, the *root*, which nothing that a caller writes, and nothing that others do to
//! the folder meanwhile, can lead out of.
//!
//! - A [`Root`] holds the folder's descriptor. Paths are relative to it, UTF-8, with `/` between plain names.
//! - [`Root::read`], [`Root::list`], [`Root::search`] look; links that stay inside are followed to what a caller names,
//!   and never on a walk.
//! - [`Root::write`], [`Root::edit`], [`Root::move_to`], [`Root::remove`], [`Root::make_folder`] change, through no link
//!   at all. Each says what it [`Expect`]s to be there, and happens as a whole, on disk, or not at all.
//! - [`Root::before`] and [`Root::restore`] take changes back.
//!
//! What is below the root by a mount, or by a hard link that somebody else made, belongs to it: neither can be told
//! from a file of its own. A change never writes into a file but replaces it, so other names of it keep what they had.
//!
//! Synchronous, Linux only. It must not know any other crate of ours.
//!
//! Start at `root.rs` (how a path is opened), then `folder.rs` and `change.rs` (how a change is made safe), `search.rs`.

mod beneath;
mod change;
mod edit;
mod error;
mod folder;
mod hash;
mod hits;
mod image;
mod limits;
mod list;
mod place;
mod read;
mod root;
mod rules;
mod search;
mod tree;
mod walk;

pub use change::{Expect, Written};
pub use edit::{Count, EDITS_MAX, Edit, NEAR_MAX};
pub use error::{Error, Expected, Near, State};
pub use hash::{Hash, NotAHash};
pub use hits::{FileHits, Found, Line, Role, Skipped, Stop};
pub use image::Image;
pub use limits::{
    DEPTH_MAX, LOCK_WAIT_MS, Limits, NAME_BYTES_MAX, PATH_BYTES_MAX, READ_BYTES, READ_BYTES_MAX,
};
pub use list::{ENTRIES_MAX, Entry, Hidden, Ignored, Kind, List, Listing};
pub use read::{Content, Next, Part, Range};
pub use root::Root;
pub use search::{
    CONTEXT_MAX, Case, GLOBS_MAX, HIT_BYTES_MAX, LINE_BYTES_MAX, MATCHES_MAX, Pattern, Search,
};
pub use tree::Swept;
