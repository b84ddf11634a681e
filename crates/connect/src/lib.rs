//! Connectors: `http`, `sql` (SQLite and PostgreSQL), `mail` (SMTP), `process` (programs in a
//! sandbox), `folder` (files and a shell), `web` (pages and searching), `worker` (jobs that applications come for),
//! `mcp` (servers of the Model Context Protocol), `a2a` (agents of the Agent2Agent protocol), `acp` (agents of the
//! Agent Client Protocol), `builtin` and the operator's hooks,
//! behind `kernel::port::Connector`; secret references; and [`ingest::ingest`], which every outside byte passes.
//!
//! It must not know: planners, policy, packs, the journal. It reads what to do from a
//! `kernel::gate::Permit` and nothing else; it cannot make one. A secret's value never leaves it: not in
//! an output, not in an error, not in a log.
//!
//! Start with [`Connectors`]: `new` from the operator's systems and secrets, `check` one operation at
//! load, `call` with a permit. A connector kind is one module that compiles a binding and makes a call.
//!
//! Two rules hold for every kind. Nothing leaves after the permit's `dispatch_by`, looked at right
//! before bytes leave (the pause between that look and the wire remains). And every failure says whether
//! the effect may have landed; what nobody knows is `Unknown`, never `No`.

mod a2a;
pub mod acp;
pub mod apart;
pub mod artifact;
mod binding;
pub mod blob;
mod builtin;
mod calculator;
mod call;
mod checks;
pub mod circuit;
pub mod clock;
mod code;
mod connectors;
mod contract;
pub mod entity;
pub mod error;
mod folder;
mod gauge;
pub mod hook;
mod http;
pub mod ingest;
mod jobs;
mod mail;
pub mod mcp;
pub mod outside;
pub mod outward;
pub mod pace;
mod pages;
pub mod people;
mod place;
mod process;
mod read;
mod recent;
pub mod redact;
pub mod sample;
pub mod secret;
mod shell;
mod sql;
mod started;
pub mod system;
mod tap;
mod target;
#[cfg(test)]
mod testing;
pub mod todo;
mod underway;
mod way_out;
pub mod worker;

pub use builtin::writes_todo;
pub use circuit::CircuitRule;
pub use connectors::{CONCURRENT_PER_SYSTEM_MAX, Connectors, Host};
pub use egress::Event as Departed;
pub use error::Error;
pub use gauge::{Health, OperationHealth};
pub use jobs::Served;
pub use mail::Notice;
pub use recent::Recent;
pub use secret::Secrets;
pub use system::{
    AcpSystem, Apart, CodeRules, ContainerRules, FolderSystem, Language, MayAsk, McpGrantee,
    McpHeader, McpOauth, McpSystem, ProcessSystem, Search, ShellRules, Speaks, System, Systems,
    WebSystem, WorkerSystem,
};
pub use tap::Listen;
pub use way_out::Traffic;
