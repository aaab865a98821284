//! The worker as its supervisor sees it: a child process, frames in and out, a real model.
//!
//! The model is found through `LLM_TEST_GGUF`, in `~/.llm-router/models` or in `target/models`. Without it these tests say so
//! and pass, except where `CI=true`.

mod answers;
mod bounds;
mod embeddings;
mod process;
mod sampling;
mod support;
