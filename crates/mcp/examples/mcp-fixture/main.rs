//! A server of the Model Context Protocol for tests: `mcp-fixture [FOLDER]` over its pipes, `mcp-fixture --http [FOLDER]`
//! over HTTP, whose address it prints.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program of tests")]

mod pipes;
mod server;

use std::path::PathBuf;

use rmcp::{ServiceExt as _, transport::async_rw::AsyncRwTransport};
use server::Fixture;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    let over_http = arguments.next_if(|first| first == "--http").is_some();
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
