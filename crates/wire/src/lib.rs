//! The reading room: everything whose shape is decided outside this process. Pure: no IO, no clock, no configuration.

pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod error;
pub mod fleet;
pub mod json;

pub use error::{Code, Failure};
