//! MCP, from outside.

#[cfg(test)]
mod client;
#[cfg(test)]
#[path = "../../examples/mcp-fixture/server.rs"]
mod fixture;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod server;
