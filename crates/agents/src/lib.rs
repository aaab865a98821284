//! The embassy: what speaks the protocols of assistants. Today the MCP server over stdio, by which an assistant works a running router.
//!
//! Invariant: nothing that an assistant says is run or reaches anything but the one router that the settings name. Only this crate knows the
//! MCP library.

pub mod stdio;
