//! OpenAI text completions (`POST /v1/completions`).

pub mod decode;
pub mod encode;
pub mod stream;
pub mod types;
