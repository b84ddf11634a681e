//! The store's contract over both implementations, and what only a file can get wrong.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by panicking; shared steps are not marked as tests"
)]

mod contract;
mod dictionary;
mod faults;
mod file;
mod make;
mod tamper;
mod twins;
