//! The demo world: four companies' systems over loopback HTTP, and a mail sink.
//!
//! CRM, support desk, billing and product usage, each with its own shapes, ids, paging, errors
//! and habits; a few hundred accounts grown from a seed; faults that can be switched on per
//! operation; and a ledger of effects, so that "at most once" can be proved from outside.
//! `API.md` beside this crate is the surface, route by route.
//!
//! What it must not know: any other crate of ours. It is an outside world; whatever connects to
//! it does so over the wire, with a token, like a stranger.
//!
//! Where to start: [`World::start`]; then `serve.rs` (the one path every request walks: route,
//! token, key, fault, transaction, fault), then one system, such as `desk.rs` (a table of routes
//! and the functions they name). A new operation is one function and one line in such a table.

mod bend;
mod billing;
mod check;
mod clock;
mod config;
mod control;
mod crm;
mod db;
mod desk;
mod fault;
mod ledger;
mod mail;
mod names;
mod problem;
mod records;
mod route;
mod seed;
mod serve;
mod smtp;
mod usage;
mod wire;
mod world;

pub use config::{AsOf, Error, SystemTokens, Tokens, WorldConfig};
pub use fault::{Fault, FaultKind, Phase, Schedule};
pub use problem::System;
pub use world::World;
