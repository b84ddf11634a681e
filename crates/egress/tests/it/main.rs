//! The proxy as the inside of a sandbox meets it: over its socket, with real servers on loopback behind it. They are
//! reached through rules that write their addresses out; the check of addresses is never off.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by panicking; shared steps are not marked as tests"
)]

mod addresses;
mod bounds;
mod corpus;
mod ground;
mod http;
mod rules;
mod secrets;
mod tunnels;
