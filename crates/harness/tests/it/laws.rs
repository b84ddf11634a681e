//! The laws of the house, held by the real kernel, planner, policies, packs and ingest together.

mod accounting;
mod bytes;
mod gate;
mod incidents;
mod masks;
mod matrix;
mod risky;
mod takeback;
mod visible;

pub(crate) use gate::catalogue;
