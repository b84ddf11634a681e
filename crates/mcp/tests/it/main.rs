//! MCP, from outside.

mod client;
mod hostile;
#[path = "../../examples/mcp-fixture/server.rs"]
mod server;
