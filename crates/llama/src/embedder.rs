//! A small second context that turns token sequences into vectors.
//!
//! Pooling is done here and not by llama.cpp, so that a long input can be computed in pieces between the steps of running
//! generations.

use std::num::NonZeroU32;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{LlamaContextParams, LlamaPoolingType};
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::token::LlamaToken;

use crate::{Error, Model, Token, context, log, model};

/// How the vectors of tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    Last,
    /// A number for the whole input, by the model's own head.
    Rank,
}

impl Pooling {
    /// From the file's `pooling_type`; a model that says nothing embeds by the mean. `None` for kinds of later formats.
    pub(crate) fn from_gguf(kind: Option<u32>) -> Option<Self> {
        match kind {
            None | Some(0 | 1) => Some(Self::Mean),
            Some(2) => Some(Self::Cls),
            Some(3) => Some(Self::Last),
            Some(4) => Some(Self::Rank),
            Some(_) => None,
        }
    }

    /// The name used in model information.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Last => "last",
            Self::Rank => "rank",
        }
    }
}

/// Embeds one input at a time: [`Embedder::start`], then [`Embedder::advance`] until it returns the vector.
pub struct Embedder<'model> {
    inner: LlamaContext<'model>,
    batch: LlamaBatch<'static>,
    pooling: Pooling,
    /// Whole inputs only: a model that looks both ways needs all tokens at once.
    whole: bool,
    length_max: u32,
    tokens: Vec<Token>,
    done: usize,
    pooled: Vec<f64>,
}

impl<'model> Embedder<'model> {
    /// Opens a context for inputs of up to `length_max` tokens, computed at most `piece` tokens at a time.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a model whose pooling is not known, [`Error::Engine`] when memory is lacking.
    pub fn open(model: &'model Model, length_max: u32, piece: u32, thread_count: u32) -> Result<Self, Error> {
        let facts = model.facts();
        let pooling = facts.pooling.ok_or_else(|| Error::Unsupported("the model pools in a way that is not known".to_owned()))?;
        let whole = !facts.generates || pooling == Pooling::Rank;
        let batch_size = if whole { length_max } else { piece.min(length_max) };
        // llama.cpp leaves tokens unpooled by itself when the file says nothing, and warns about being told to.
        let pooling_override = match pooling {
            // The head that ranks is the model's, so llama.cpp pools.
            Pooling::Rank => LlamaPoolingType::Rank,
            _ if facts.names_pooling => LlamaPoolingType::None,
            _ => LlamaPoolingType::Unspecified,
        };
        let params = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(length_max))
            .with_n_seq_max(1)
            .with_n_batch(batch_size)
            .with_n_ubatch(batch_size)
            .with_n_threads(context::threads(thread_count))
            .with_n_threads_batch(context::threads(thread_count))
            .with_embeddings(true)
            .with_pooling_type(pooling_override)
            .with_no_perf(true);
        log::take_errors();
        let inner = model
            .raw()
            .new_context(model::backend()?, params)
            .map_err(|e| Error::Engine(format!("cannot open an embedding context: {e} {}", log::take_errors())))?;
        let batch = LlamaBatch::new(batch_size as usize, 1);
        Ok(Self { inner, batch, pooling, whole, length_max, tokens: Vec::new(), done: 0, pooled: Vec::new() })
    }

    /// Longest input, in tokens.
    pub fn length_max(&self) -> u32 {
        self.length_max
    }

    /// Begins an input, which must not be empty nor longer than [`Embedder::length_max`].
    pub fn start(&mut self, tokens: Vec<Token>) {
        self.inner.clear_kv_cache();
        self.tokens = tokens;
        self.done = 0;
        self.pooled.clear();
    }

    /// Computes up to `budget` more tokens; the L2-normalised vector once all are done. Of a model that ranks it is the one number.
    ///
    /// # Errors
    /// [`Error::Engine`]; the input is lost.
    pub fn advance(&mut self, budget: u32) -> Result<Option<Vec<f32>>, Error> {
        let left = self.tokens.len() - self.done;
        let take = if self.whole { left } else { left.min(budget.max(1) as usize).min(self.inner.n_batch() as usize) };
        self.batch.clear();
        for (offset, &token) in self.tokens[self.done..self.done + take].iter().enumerate() {
            let position = (self.done + offset) as i32;
            self.batch.add(LlamaToken(token), position, &[0], true).map_err(|e| Error::Engine(e.to_string()))?;
        }
        log::take_errors();
        self.inner.decode(&mut self.batch).map_err(|e| Error::Engine(format!("{e} {}", log::take_errors())))?;
        if self.pooling == Pooling::Rank {
            let scores = self.inner.embeddings_seq_ith(0).map_err(|e| Error::Engine(e.to_string()))?;
            self.done += take;
            return Ok(scores.first().map(|&score| vec![score]));
        }
        for offset in 0..take {
            let vector = self.inner.embeddings_ith(offset as i32).map_err(|e| Error::Engine(e.to_string()))?;
            pool(&mut self.pooled, vector, self.pooling);
        }
        self.done += take;
        Ok((self.done == self.tokens.len()).then(|| normalise(&self.pooled)))
    }
}

fn pool(pooled: &mut Vec<f64>, vector: &[f32], pooling: Pooling) {
    let first = pooled.is_empty();
    if first {
        pooled.resize(vector.len(), 0.0);
    }
    match pooling {
        // The sum and the mean have the same direction, and only that is left after normalising.
        Pooling::Mean => pooled.iter_mut().zip(vector).for_each(|(sum, &value)| *sum += f64::from(value)),
        Pooling::Cls if !first => {}
        Pooling::Cls | Pooling::Last | Pooling::Rank => pooled.iter_mut().zip(vector).for_each(|(kept, &value)| *kept = f64::from(value)),
    }
}

fn normalise(vector: &[f64]) -> Vec<f32> {
    let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    vector.iter().map(|value| (value * scale) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_by_kind() {
        let rows = [[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]];
        let run = |pooling| {
            let mut pooled = Vec::new();
            for row in &rows {
                pool(&mut pooled, row, pooling);
            }
            pooled
        };
        assert_eq!(run(Pooling::Mean), [4.0, 6.0]);
        assert_eq!(run(Pooling::Cls), [1.0, 0.0]);
        assert_eq!(run(Pooling::Last), [3.0, 4.0]);
    }

    #[test]
    fn normalises_to_length_one_and_leaves_zero_alone() {
        assert_eq!(normalise(&[3.0, 4.0]), [0.6, 0.8]);
        assert_eq!(normalise(&[0.0, 0.0]), [0.0, 0.0]);
    }

    #[test]
    fn knows_the_pooling_numbers_of_the_format() {
        assert_eq!(Pooling::from_gguf(None), Some(Pooling::Mean));
        assert_eq!(Pooling::from_gguf(Some(2)), Some(Pooling::Cls));
        assert_eq!(Pooling::from_gguf(Some(3)), Some(Pooling::Last));
        assert_eq!(Pooling::from_gguf(Some(4)), Some(Pooling::Rank));
        assert_eq!(Pooling::from_gguf(Some(5)), None);
    }
}
