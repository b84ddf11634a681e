//! The command line: what is typed, what is answered, and with which exit code.

mod answers;
mod approvals;
mod backups;
mod exceptions;
mod faults;
mod halts;
mod owner;
mod packs;
mod proof;
mod recipes;
mod refusals;
mod rollbacks;
mod rules;
mod sandbox;
mod secrets;
mod typed;
