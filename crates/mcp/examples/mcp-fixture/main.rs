//! A server of the Model Context Protocol for tests: `mcp-fixture [FOLDER]` over its pipes, `mcp-fixture --http [FOLDER]`
//! over HTTP, whose address it prints; `--guarded FOLDER` behind an authority of OAuth.
#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program of tests"
)]

mod guard;
mod pipes;
mod server;

use std::path::PathBuf;

use rmcp::{ServiceExt as _, transport::async_rw::AsyncRwTransport};
use server::Fixture;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    let over_http = arguments.next_if(|first| first == "--http").is_some();
    let guarded = arguments.next_if(|first| first == "--guarded").is_some();
    if guarded {
        let folder = PathBuf::from(arguments.next().unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let guard = guard::Guard::new(base.clone(), folder.clone());
        let router = guard.around(server::router(Fixture::new(Some(folder))));
        println!("{base}/mcp");
        axum::serve(listener, router).await.unwrap();
        return;
    }
    let fixture = Fixture::new(arguments.next().map(PathBuf::from));
    if over_http {
        let (address, serving) = server::http(fixture).await;
        println!("http://{address}/mcp");
        serving.await.unwrap();
    } else {
        let ends = AsyncRwTransport::new_server(pipes::Stdin::open(), pipes::Stdout::open());
        let serving = fixture.serve(ends).await.unwrap();
        let _over = serving.waiting().await;
    }
}
