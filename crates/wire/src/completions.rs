//! OpenAI text completions (`POST /v1/completions`).

pub mod encode;
pub mod types;
