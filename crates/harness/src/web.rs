//! What the HTTP API and the web UI stand on: the server's limits, the guard every request passes, who is
//! signed in, and how a problem is told.

mod admit;
mod client;
mod door;
mod extract;
mod guard;
mod hooks;
mod limits;
mod listen;
mod metrics;
mod patience;
mod provider;
mod server;
mod signed;
mod told;

use std::sync::Arc;

pub(crate) use client::Client;
pub(crate) use door::router as door;
pub(crate) use extract::{Form, Path, Query, Whole, read_body, too_large};
pub(crate) use guard::guard;
pub(crate) use hooks::router as hooks;
pub(crate) use listen::{Held, listen, relay};
pub(crate) use metrics::metrics;
pub(crate) use provider::router as provider;
pub(crate) use server::serve;
pub(crate) use signed::{Bearer, Session, SignIn};
pub(crate) use told::{Told, nothing_here, other_method};

use crate::app::{App, config::mcp::Face, peers, speak};
use limits::Limits;
use metrics::Metrics;

/// Largest body of a request, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Longest body of a request that files may be attached to, in bytes: they stand in it as base64.
pub(crate) const FILES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What every request can reach.
#[derive(Debug)]
pub(crate) struct Web {
    pub(crate) app: Arc<App>,
    pub(crate) metrics: Metrics,
    limits: Limits,
    /// Speaks MCP.
    pub(crate) speaks: speak::Http,
    pub(crate) passes_on: speak::Http,
    /// Speaks A2A.
    pub(crate) agent: peers::Http,
    /// Host names this server answers to.
    hosts: Vec<String>,
    /// Whether people reach it over TLS, so that cookies need it too.
    pub(crate) scheme: Scheme,
    /// Told when the process is about to end: streams that stay open close.
    pub(crate) ends: tokio::sync::watch::Receiver<bool>,
}

/// How people reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// On this machine alone.
    Http,
    /// Through something in front that speaks TLS.
    Https,
}

impl Web {
    pub(crate) fn new(app: Arc<App>, ends: tokio::sync::watch::Receiver<bool>) -> Arc<Self> {
        let serve = &app.config().serve;
        let hosts = serve.hosts();
        let scheme = if serve.has_tls() { Scheme::Https } else { Scheme::Http };
        let limits = Limits::new(serve);
        let metrics = Metrics::default();
        let of = |face| {
            let routed = speak::routed(&app, face);
            speak::Http::new(speak::about(&speak::Behalf::of(face)), &hosts, (routed, ends.clone()))
        };
        let agent = peers::Http::default();
        let (speaks, passes_on) = (of(Face::Own), of(Face::Proxy));
        Arc::new(Self { app, metrics, limits, speaks, passes_on, agent, hosts, scheme, ends })
    }
}
