//! Bundles, whole and damaged: this crate and the independent verifier must agree on every one.

mod damage;
mod golden;
mod python;
mod replay;
mod world;
