//! Packs: from the bytes of a folder to a validated, content-addressed pack, its operation catalogue,
//! its router and its plans. Everything is checked when it loads: names, schemas, types of every
//! expression, facts of every operation, recoveries that cannot help. Problems carry file, line,
//! column and a fix, and several are reported at once.
//!
//! It computes only. It must not know: files, Cedar (policy texts pass through as text), connectors
//! (bindings are opaque JSON), any crate of ours but `kernel` and `expr`.
//!
//! Start with [`Pack::load`], then [`Pack::compile`] and [`Router::route`]. [`Schemas`] checks values
//! against JSON Schemas for everybody; [`schemas`] gives editors the schema of each kind of file.

mod a2a;
mod acp;
mod agent;
mod agent_context;
mod agent_extracts;
mod agent_sensors;
mod binding;
mod check;
mod check_agents;
mod check_operations;
mod check_steps;
mod checker;
mod companion;
mod compile;
mod connector;
mod editor;
mod keyword;
mod kpi;
mod load;
mod manifest;
mod mcp;
mod model;
mod narrow;
mod policy;
mod problem;
mod read;
mod recovery;
mod route;
mod schema;
mod skill;
mod steps;
mod tokens;
mod usual;
mod yaml;

pub use compile::{Forecast, PLAN_SCHEMA, Pins};
pub use editor::schemas;
pub use kpi::UNCLASSIFIED;
pub use load::{FILE_BYTES_MAX, FILES_MAX, Loaded, PACK_BYTES_MAX, Pack, SIGNATURE};
pub use manifest::{OWN_INTENTS, is_newer};
pub use model::{
    Asked, Connector, ConnectorKind, Direction, ExceptionRule, Expected, Intent, Kpi, Manifest,
    Measure, PolicyCase, PolicyText, Subject, Tool, Where, Written, WrittenAgent,
};
pub use problem::{Place, Problem, nearest};
pub use recovery::{EffectOf, merged};
pub use route::{Candidate, Request, Routed, Router};
pub use schema::{Schemas, is_keyword, schema_problem};
pub use skill::{SKILL_FILE_BYTES_MAX, SKILL_FILES_BYTES_MAX, SKILL_FILES_MAX, read_skill};
pub use usual::Usual;
pub use yaml::{NESTING_MAX, NODES_MAX, yaml_value, yaml_value_within};
