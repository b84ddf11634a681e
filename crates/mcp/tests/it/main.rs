//! MCP, from outside.
