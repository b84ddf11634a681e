//! C026, C045, C072, C081, C172, C207, C347, C350: a sample of the simulation, and proof that its checker
//! is alive. `./proof` plays the whole grid and minutes of random seeds.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by panicking; shared steps are not marked as tests"
)]

mod cases;
mod mutants;
mod samples;
