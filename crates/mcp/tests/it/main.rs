//! MCP, from outside.

#[cfg(test)]
mod server;
