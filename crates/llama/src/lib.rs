//! The safe face of llama.cpp: everything above this crate is Rust without `unsafe`.
//!
//! One process holds one model. [`Model`] is immutable and shared; a [`Context`] owns the KV cache and belongs to one
//! thread; an [`Embedder`] is a second, smaller context for embeddings; a [`Sampler`] belongs to one request.
//!
//! What can throw in C++ is called through entry points that catch; what can abort there (failed assertions, out of
//! memory) ends the process, which is why it is a process of its own.

mod constraint;
mod context;
mod cpu;
mod embedder;
mod log;
mod model;
mod quantize;
mod sampler;

pub use constraint::{GRAMMAR_BYTES_MAX, SCHEMA_BYTES_MAX, call_to_grammar, check_grammar, schema_to_grammar};
pub use context::{Context, ContextOptions, Row};
pub use cpu::missing_cpu_features;
pub use embedder::{Embedder, Pooling};
pub use log::send_logs_to_tracing;
pub use model::{Facts, Model, accelerators, gpu_names};
pub use quantize::{Quantization, quantize};
pub use sampler::{Candidates, Sampler, SamplerOptions};

/// A token id; valid ones are `0..Facts::vocabulary`.
pub type Token = i32;

/// What went wrong, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is missing, not a model, damaged, or does not fit. The text is llama.cpp's own where it gave one.
    #[error("{0}")]
    Unloadable(String),
    /// A parameter, schema or grammar that cannot be used: the request is at fault.
    #[error("{0}")]
    Invalid(String),
    /// The model cannot do this.
    #[error("{0}")]
    Unsupported(String),
    /// No free KV cells for the batch; the cache is as it was before the call.
    #[error("no free KV cells")]
    NoCells,
    /// The engine failed; what the batch was to add to the cache is in an unknown state.
    #[error("{0}")]
    Engine(String),
}
