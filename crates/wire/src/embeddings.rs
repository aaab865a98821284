//! OpenAI embeddings (`POST /v1/embeddings`).

pub mod types;
