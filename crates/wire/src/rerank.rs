//! Reranking as rerankers answer it (`POST /v1/rerank`, also `/v2/rerank`).

pub mod types;
