//! The one way out of a sandbox: a proxy on a Unix socket that lets through what a list of rules allows.
//!
//! - [`Rules`] say which requests may pass. Nothing passes that no rule allows.
//! - A [`Proxy`] serves one program on a socket of its own. It speaks HTTP/1.1: requests with the whole address in their
//!   first line (`GET https://host/path`; the proxy makes the TLS connection), and `CONNECT` where a rule allows a
//!   tunnel.
//! - It resolves names itself, checks every address, and connects to one that it checked.
//! - Secrets are added outside, and taken out of what comes back.
//! - Every request comes to one [`Event`]; what does not pass is answered with a [`Refusal`]'s code.
//! - [`Direct`] makes connections under the same checks for code of ours that asks for itself.
//!
//! It must not know any other crate of ours, and it never follows a redirect: whoever follows one asks anew.
//!
//! Start at `rules.rs`, then `serve.rs` (the path of a request), `resolve.rs` and `address.rs` (where it may go).

mod address;
mod body;
mod direct;
mod error;
mod event;
mod headers;
mod hello;
mod host;
mod limits;
mod line;
mod path;
mod proxy;
mod refusal;
mod resolve;
mod rules;
mod scrub;
mod secret;
mod serve;
mod tunnel;
mod upstream;

pub use address::Kind;
pub use direct::{Connection, Direct, Target};
pub use error::Error;
pub use event::{Event, TEXT_CHARS_MAX, Witness};
pub use host::{Host, Spelling};
pub use limits::{HEAD_BYTES_MIN, Limits, TIME_MAX_MS};
pub use path::PATH_BYTES_MAX;
pub use proxy::{Proxy, Setup};
pub use refusal::Refusal;
pub use resolve::{ADDRESSES_MAX, Resolver, Resolving, System};
pub use rules::{ENTRIES_MAX, Injection, RULES_MAX, Rule, Rules, Scheme};
pub use scrub::MARK;
pub use secret::{
    NoSecrets, SECRET_BYTES_MAX, SECRET_BYTES_MIN, Secret, Secrets, VALUES_BYTES_MAX, VALUES_MAX,
};
pub use upstream::Trust;
