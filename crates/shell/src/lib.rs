//! What a command line may run and do, read before it runs.
//!
//! [`read`] parses the text as a shell would, follows it into whatever it hands on (`sh -c`, `env`, `xargs`, `find
//! -exec`, substitutions, here-documents) and says of every program it may run what that does, from a table. What
//! nobody can know before it runs is said to be unknown, and so is whatever does not parse: nothing passes as harmless
//! because it was not understood.
//!
//! A reading informs people and policies. It is no wall: what a command can reach is decided by the sandbox it runs in.
//! The programs are taken to be those that a distribution ships under their names.
//!
//! Only computes: no files, no processes. Start at `reading.rs`, then `walk.rs`, `table.rs`; `syntax/` is the parser.

mod builtins;
mod call;
mod handed;
mod options;
mod reading;
mod settings;
mod syntax;
mod table;
mod texts;
mod walk;

pub use call::{Sort, of_call, sort_of};
pub use reading::{Effect, PROGRAMS_MAX, Program, Reading, TEXT_MAX_BYTES, read, read_code};
