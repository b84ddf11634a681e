//! Agents inside a Rust program: a model, tools that are Rust functions, and the gate between them.
//!
//! No server, no files, no second path: plans, policy, journal, drive loop and receipts are those of the
//! product, put together in memory. Deny by default: reads that stay inside are allowed, every write is
//! denied until a policy permits it, what cannot be taken back asks a person, who is not there unless
//! given. It must not know: `harness`, connectors of packs, files, the network (models bring their own).
//!
//! Start with [`Agent::builder`] and the attributes [`tool`], [`skill`], [`guide`], [`sensor`], [`hook`].
//! [`World`] holds every port. Each part works alone: see `examples/only_gate.rs`, `only_journal.rs`,
//! `only_models.rs`.
#![doc = include_str!("../QUICKSTART.md")]

extern crate self as embed;

mod agent;
mod argument;
mod assemble;
mod builder;
mod doors;
mod error;
mod evidence;
mod failed;
mod hook;
mod outcome;
mod people;
mod plan;
#[doc(hidden)]
pub mod private;
mod registry;
mod sensor;
mod shelf;
mod tool;
mod trusted;
mod watch;
mod world;

pub use agent::Agent;
pub use argument::{Argument, Output, schema_of};
pub use builder::{Builder, OnTerms, REQUESTER, ROLE};
pub use doors::RESULT_BYTES_MAX;
pub use error::Error;
pub use failed::{Failed, IntoFailed, MESSAGE_MAX_CHARS};
pub use hook::{Call, HOOK_ROLE, Hook, IntoVerdict, Verdict};
pub use macros::{guide, hook, sensor, skill, tool};
pub use outcome::{Outcome, Receipt, Spent};
pub use people::{APPROVER, APPROVER_ROLE, Answer, Ask, person};
pub use registry::Registered;
pub use sensor::{SIGNAL_MAX_CHARS, Sensor, Signal};
pub use tool::{
    Body, Context, Define, NAME_MAX_CHARS, TOOL_CONNECTOR, TakenBackBy, Tool, strictest,
};
pub use trusted::Trusted;
pub use watch::Happening;
pub use world::{SystemClock, World};

// What a program names beside this crate: one dependency is enough.
pub use ::{engine, kernel, models, policy, receipts, store};
pub use kernel::{
    agent::{Guide, GuideScope, Limits, Results, Skill, StopReason},
    budget::Budget,
    exception::Class,
    input::Settlement,
    label::{Confidentiality, Label, Trust},
    principal::Principal,
    run::Status,
};
