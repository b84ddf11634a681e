//! The crate against servers on loopback that answer as the documents of the web, and of search engines, say.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by panicking; shared steps are not marked as tests"
)]

mod fetch;
mod ground;
mod search;
mod ssrf;
