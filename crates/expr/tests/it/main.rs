//! The expression language through its public interface.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a test that panics has failed, and its tables are long"
)]

mod check;
mod compares;
mod eval;
mod labels;
mod parse;
mod properties;
mod schema;
mod support;
mod template;
