//! Requests to embed, worked off in small pieces between the steps of generations.

use std::collections::VecDeque;
use std::time::Duration;

use llama::{Embedder, Model};
use wire::fleet::worker::{FromWorker, Prompt, RequestId, WorkerCode};

use super::prompt;
use crate::fault::Fault;
use crate::scheduler::Token;

/// Requests that may wait.
const JOBS_MAX: usize = 64;
/// Inputs of one request.
const INPUTS_MAX: usize = 2048;
/// Tokens of all inputs of one request.
const TOKENS_MAX: u32 = 300_000;
/// Tokens computed at once when nobody generates. The engine keeps a row of logits for each, so it bounds memory too.
const PIECE_ALONE: u32 = 128;
/// The same while others wait for their next token.
const PIECE_BESIDE: u32 = 32;
/// Contexts are opened for inputs of this length, doubled until the input fits.
const LENGTH_MIN: u32 = 512;
/// Time without requests after which the context's memory is given back.
const KEEP: Duration = Duration::from_secs(30);

struct Job {
    id: RequestId,
    /// Inputs still to do; the first may be under way.
    inputs: VecDeque<Vec<Token>>,
    vectors: Vec<Vec<f32>>,
    prompt_tokens: u32,
}

/// The queue of embedding requests, and the context that serves it while there are any.
pub(super) struct Embeddings<'model> {
    model: &'model Model,
    context: u32,
    threads: u32,
    jobs: VecDeque<Job>,
    embedder: Option<Embedder<'model>>,
    /// The first job's first input has begun.
    under_way: bool,
    used: Duration,
}

impl<'model> Embeddings<'model> {
    pub(super) fn new(model: &'model Model, context: u32, threads: u32) -> Self {
        Self { model, context, threads, jobs: VecDeque::new(), embedder: None, under_way: false, used: Duration::ZERO }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether a context is held that [`Embeddings::tick`] may give back.
    pub(super) fn holds_context(&self) -> bool {
        self.embedder.is_some()
    }

    /// Takes a request into the queue.
    ///
    /// # Errors
    /// `Busy`, `Unsupported`, `Invalid`, `ContextLength`.
    pub(super) fn submit(&mut self, id: RequestId, inputs: &[Prompt]) -> Result<(), Fault> {
        if self.model.facts().pooling.is_none() {
            return Err(Fault::new(WorkerCode::Unsupported, "the model pools in a way that is not known"));
        }
        if self.jobs.len() >= JOBS_MAX {
            return Err(Fault::new(WorkerCode::Busy, "too many embedding requests are waiting"));
        }
        if inputs.is_empty() || inputs.len() > INPUTS_MAX {
            return Err(Fault::invalid(format!("from 1 to {INPUTS_MAX} inputs can be embedded at once")));
        }
        let inputs =
            inputs.iter().map(|input| prompt::tokenize(self.model, input, self.context as usize)).collect::<Result<VecDeque<_>, _>>()?;
        let prompt_tokens: u32 = inputs.iter().map(|input| input.len() as u32).sum();
        if prompt_tokens > TOKENS_MAX {
            return Err(Fault::invalid(format!("the inputs have {prompt_tokens} tokens; at most {TOKENS_MAX} can be embedded at once")));
        }
        self.jobs.push_back(Job { id, inputs, vectors: Vec::new(), prompt_tokens });
        Ok(())
    }

    /// Drops a request; false if it is unknown.
    pub(super) fn cancel(&mut self, id: RequestId) -> bool {
        let Some(index) = self.jobs.iter().position(|job| job.id == id) else { return false };
        self.jobs.remove(index);
        self.under_way &= index != 0;
        true
    }

    /// Computes one piece of the first request; the answer when that finished it.
    pub(super) fn advance(&mut self, alone: bool, now: Duration) -> Option<(RequestId, FromWorker)> {
        self.used = now;
        let id = self.jobs.front()?.id;
        match self.compute(if alone { PIECE_ALONE } else { PIECE_BESIDE }) {
            Ok(()) => {}
            Err(fault) => {
                self.jobs.pop_front();
                self.under_way = false;
                return Some((id, FromWorker::Failed { id, code: fault.code, message: fault.message }));
            }
        }
        if !self.jobs.front()?.inputs.is_empty() {
            return None;
        }
        let job = self.jobs.pop_front()?;
        Some((id, FromWorker::Embedded { id, vectors: job.vectors, prompt_tokens: job.prompt_tokens }))
    }

    /// Gives the context's memory back after a while without requests.
    pub(super) fn tick(&mut self, now: Duration) {
        if self.jobs.is_empty() && now.saturating_sub(self.used) >= KEEP {
            self.embedder = None;
        }
    }

    fn compute(&mut self, piece: u32) -> Result<(), Fault> {
        let Some(job) = self.jobs.front_mut() else { return Ok(()) };
        let Some(input) = job.inputs.front() else { return Ok(()) };
        let length = input.len() as u32;
        let embedder = match &mut self.embedder {
            Some(embedder) if embedder.length_max() >= length => embedder,
            held => {
                // Two contexts at once would need the memory of both.
                *held = None;
                let room = length.next_power_of_two().max(LENGTH_MIN).min(self.context.max(length));
                held.insert(Embedder::open(self.model, room, PIECE_ALONE, self.threads)?)
            }
        };
        if !self.under_way {
            embedder.start(input.clone());
            self.under_way = true;
        }
        if let Some(vector) = embedder.advance(piece)? {
            job.inputs.pop_front();
            job.vectors.push(vector);
            self.under_way = false;
        }
        Ok(())
    }
}
