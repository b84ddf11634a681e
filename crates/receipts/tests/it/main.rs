//! Bundles, whole and damaged: this crate and the independent verifier must agree on every one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests: helpers outside of #[test] functions fail by panicking too"
)]

mod damage;
mod golden;
mod python;
mod replay;
mod world;
