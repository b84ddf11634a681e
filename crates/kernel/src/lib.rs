//! The pure core of `harness`: the nouns, the journal's events, the run machine, the gate and the ports.
//!
//! It computes and never acts. It must not know: any other crate of ours, tokio, a clock, files, the
//! network, randomness. Time, salts and outcomes enter as inputs; effects leave as values.
//!
//! Start with [`run::Run`]: `decide` turns an [`input::Input`] into events, `apply` folds an event into
//! state, `next` yields the effects now possible. [`gate::Permit`] is the only key to a connector, and
//! only [`run::Run::next`] makes one, for a dispatch that the journal has acknowledged.

pub mod action;
pub mod agent;
pub mod approval;
pub mod attachment;
pub mod budget;
pub mod canon;
pub mod catalogue;
pub mod conversation;
pub mod decision;
pub mod event;
pub mod exception;
pub mod extract;
pub mod gate;
pub mod halt;
pub mod hook;
pub mod id;
pub mod input;
pub mod kept;
pub mod label;
pub mod money;
pub mod novelty;
pub mod operation;
pub mod plan;
pub mod planning;
pub mod playbook;
pub mod pointer;
pub mod port;
pub mod principal;
pub mod project;
pub mod receipt;
pub mod rollback;
pub mod run;
pub mod sealed;
pub mod sensor;
pub mod summary;
pub mod text;

pub use id::{Digest, RunId, Seq};
pub use label::{Label, LabelMap};
