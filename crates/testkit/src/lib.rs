//! Development only: everything scripted that tests may script, and nothing they may not.
//!
//! A line planner, a table judge, counted salts, a scripted world of reads and writes, and a drive loop
//! in RAM that can stop after any append. It must not be a dependency of anything that ships.
//!
//! Start with [`Bench`]: build one, `drive` it, look at the records.

mod bench;
mod parts;

pub use bench::{Bench, Crash, World, failure, returned};
pub use parts::{
    LinePlanner, NoSchemas, Rules, Salted, agent_hook, clean, hook, operation, person, plan_of,
    proposal, restorable_set,
};
