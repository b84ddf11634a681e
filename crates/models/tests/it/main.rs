//! Everything over a real loopback server; a reply is only ever made by a wire.

mod buffers;
mod errors;
mod keys;
mod recordings;
mod requests;
mod roles;
mod server;
mod streams;
mod talk;
mod wires;
