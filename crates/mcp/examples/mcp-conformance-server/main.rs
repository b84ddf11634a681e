//! The server that the official conformance suite asks for: every tool, resource and prompt that it names, in both
//! generations. `mcp-conformance-server --http [PORT]` prints its address, `mcp-conformance-server` speaks over its pipes, as
//! something that a proxy is put in front of.
//!
//! What it offers is what the suite's own descriptions say (`conformance list`, and the failures of its checks); nothing here
//! is the harness. It is the baseline that a proxy in front of it is held against.
#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program of tests"
)]

#[path = "../mcp-fixture/pipes.rs"]
mod pipes;
mod rounds;
mod server;
mod things;

use std::sync::Arc;

use rmcp::{
    ServiceExt as _,
    transport::{
        async_rw::AsyncRwTransport,
        streamable_http_server::{
            StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
        },
    },
};
use server::Suite;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    let suite = Suite::default();
    if arguments.next_if(|first| first == "--http").is_some() {
        let port = arguments.next().map_or(0, |port| port.parse().unwrap());
        serve_http(suite, port).await;
    } else {
        let ends = AsyncRwTransport::new_server(pipes::Stdin::open(), pipes::Stdout::open());
        let serving = suite.serve(ends).await.unwrap();
        let _over = serving.waiting().await;
    }
}

/// On loopback, by its own names only: what a page of another origin sends is refused.
async fn serve_http(suite: Suite, port: u16) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let hosts = ["localhost", "127.0.0.1"].map(|host| format!("{host}:{}", address.port()));
    let origins = hosts.clone().map(|host| format!("http://{host}"));
    let config = StreamableHttpServerConfig::default()
        .with_allowed_hosts(hosts)
        .with_allowed_origins(origins)
        .enforce_origin_validation()
        .with_sse_keep_alive(None);
    let service: StreamableHttpService<Suite, LocalSessionManager> =
        StreamableHttpService::new(move || Ok(suite.clone()), Arc::default(), config);
    println!("http://{address}/mcp");
    let router = axum::Router::new().nest_service("/mcp", service);
    axum::serve(listener, router).await.unwrap();
}
