//! The context that generates: one KV cache shared by all sequences.

use std::num::NonZeroU32;

use llama_cpp_2::DecodeError;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::token::LlamaToken;

use crate::{Error, Model, Token, log, model};

/// How to open a [`Context`].
#[derive(Debug, Clone, Copy)]
pub struct ContextOptions {
    /// KV cells shared by all sequences.
    pub cells: u32,
    /// Sequences that can hold cells at once.
    pub sequences: u32,
    /// Rows of one decode call.
    pub batch: u32,
    /// Rows computed at once.
    pub ubatch: u32,
    /// Threads for steps of one row per sequence.
    pub threads: u32,
    /// Threads for prefill.
    pub threads_batch: u32,
}

/// One token to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub token: Token,
    /// Place in its sequence, from 0.
    pub position: u32,
    pub sequence: u32,
    /// Whether its logits are wanted.
    pub logits: bool,
}

/// A KV cache and the state to compute with it. Used by one thread.
pub struct Context<'model> {
    inner: LlamaContext<'model>,
    batch: LlamaBatch<'static>,
    /// Which rows of the last decoded batch have logits.
    with_logits: Vec<bool>,
}

impl<'model> Context<'model> {
    /// Opens a context with a unified KV cache. Never open two contexts of one model at the same time from two threads.
    ///
    /// # Errors
    /// [`Error::Unloadable`] when memory for the cache or the buffers is lacking.
    pub fn open(model: &'model Model, options: &ContextOptions) -> Result<Self, Error> {
        let params = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(options.cells))
            .with_n_seq_max(options.sequences)
            .with_n_batch(options.batch)
            .with_n_ubatch(options.ubatch)
            .with_n_threads(threads(options.threads))
            .with_n_threads_batch(threads(options.threads_batch))
            .with_kv_unified(true)
            .with_no_perf(true);
        log::take_errors();
        let inner = model.raw().new_context(model::backend()?, params).map_err(|e| {
            let said = log::take_errors();
            Error::Unloadable(format!(
                "cannot open a context of {} cells: {}",
                options.cells,
                if said.is_empty() { e.to_string() } else { said }
            ))
        })?;
        let batch = LlamaBatch::new(options.batch as usize, 1);
        Ok(Self { inner, batch, with_logits: Vec::new() })
    }

    /// Cells of the cache, which may be rounded up from what was asked for.
    pub fn cells(&self) -> u32 {
        self.inner.n_ctx()
    }

    /// Computes the rows and puts them into the cache.
    ///
    /// # Errors
    /// [`Error::NoCells`] with the cache unchanged; [`Error::Engine`] with the rows' sequences in an unknown state.
    pub fn decode(&mut self, rows: &[Row]) -> Result<(), Error> {
        self.batch.clear();
        self.with_logits.clear();
        for row in rows {
            self.batch
                .add(LlamaToken(row.token), row.position as i32, &[row.sequence as i32], row.logits)
                .map_err(|e| Error::Engine(e.to_string()))?;
        }
        log::take_errors();
        self.inner.decode(&mut self.batch).map_err(|e| match e {
            DecodeError::NoKvCacheSlot => Error::NoCells,
            other => Error::Engine(format!("{other} {}", log::take_errors()).trim_end().to_owned()),
        })?;
        // On a GPU the call only starts the work; who measures steps wants its end.
        self.inner.synchronize();
        self.with_logits.extend(rows.iter().map(|row| row.logits));
        Ok(())
    }

    /// Raw logits of a row of the last decoded batch, one per token of the vocabulary; `None` if they were not asked for.
    pub fn logits(&self, row: usize) -> Option<&[f32]> {
        // The binding panics on rows without logits: the flags make that unreachable.
        self.with_logits.get(row).copied().unwrap_or(false).then(|| self.inner.get_logits_ith(row as i32))
    }

    /// Lets the empty sequence `to` hold the first `length` tokens of `from` too, without copying.
    pub fn share(&mut self, from: u32, to: u32, length: u32) {
        // Fails only on numbers beyond i32, which cells never reach.
        let _ = self.inner.copy_kv_cache_seq(from as i32, to as i32, Some(0), Some(length));
    }

    /// Empties a sequence.
    pub fn clear(&mut self, sequence: u32) {
        // Only cutting a sequence in its middle can fail.
        let _ = self.inner.clear_kv_cache_seq(Some(sequence), None, None);
    }
}

pub(crate) fn threads(count: u32) -> i32 {
    i32::try_from(count.max(1)).unwrap_or(1)
}
