//! OpenAI Chat Completions (`POST /v1/chat/completions`).

pub mod decode;
pub mod encode;
pub mod stream;
pub mod types;
