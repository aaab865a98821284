//! The reading room: everything whose shape is decided outside this process. Pure: no IO, no clock, no configuration.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "in a test it is the assertion"))]

mod answer_losses;
pub mod caching;
pub mod capsule;
pub mod chat;
mod citations;
pub mod completions;
mod custom;
pub mod dialect;
pub mod embeddings;
pub mod error;
mod extra;
pub mod fleet;
pub mod gemini;
pub mod head;
pub mod ir;
pub mod json;
mod json_wish;
pub mod losses;
pub mod messages;
pub mod multipart;
mod names;
pub mod preferences;
mod refusals;
pub mod rerank;
pub mod responses;
pub mod sse;
pub mod tap;
mod thinking;
pub mod tokenize;
mod tool_names;

pub use answer_losses::AnswerLosses;
pub use dialect::Dialect;
pub use error::{Code, Failure};
pub use tool_names::ToolNames;
