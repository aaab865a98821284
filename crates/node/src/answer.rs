//! One generation as a client sees it: an engine that dies before anything was shown costs one more attempt, not the request.

use std::time::Duration;

use futures_util::{Stream, stream};
use wire::{
    Code, Failure,
    fleet::worker::{Done, Submit, WorkerCode},
};

use crate::{
    engine::{Bit, EngineError, Event, Generation, PromptCount},
    pool::{Lease, Pool},
};

/// What happens to an answer. After `Done` there is nothing.
#[derive(Debug)]
pub enum Step {
    /// More text.
    Text(Bit),
    /// What came so far does not count: another engine starts from the beginning. Only where nothing is streamed.
    Restarted,
    /// The end; its text belongs to the answer.
    Done(Done),
}

/// A running answer. Dropping it cancels the generation.
pub struct Answer {
    pool: Pool,
    lease: Lease,
    submit: Submit,
    generation: Option<Generation>,
    prompt: PromptCount,
    is_streamed: bool,
    has_shown: bool,
    is_retried: bool,
    has_ended: bool,
}

impl Answer {
    /// An answer to `submit` by the leased model; started by the first [`Answer::next`].
    pub fn new(pool: Pool, lease: Lease, submit: Submit, is_streamed: bool) -> Self {
        Self {
            pool,
            lease,
            submit,
            generation: None,
            prompt: PromptCount::default(),
            is_streamed,
            has_shown: false,
            is_retried: false,
            has_ended: false,
        }
    }

    /// The steps, ended by `Done` or an error; each with `index`.
    pub fn into_stream(self, index: usize) -> impl Stream<Item = (usize, Result<Step, Failure>)> + Send {
        stream::unfold(self, move |mut answer| async move {
            if answer.has_ended {
                return None;
            }
            let step = answer.next().await;
            answer.has_ended = matches!(step, Ok(Step::Done(_)) | Err(_));
            Some(((index, step), answer))
        })
    }

    async fn next(&mut self) -> Result<Step, Failure> {
        loop {
            let event = match &mut self.generation {
                Some(generation) => generation.next().await,
                None => match self.lease.engine.submit(self.submit.clone()) {
                    Ok(generation) => {
                        self.generation = Some(generation);
                        continue;
                    }
                    Err(error) => Event::Failed(error),
                },
            };
            match event {
                Event::Accepted { prompt_tokens, cached_tokens } => {
                    self.prompt = PromptCount { tokens: prompt_tokens, cached: cached_tokens }
                }
                Event::Text(bit) if bit.text.is_empty() && bit.logprobs.is_empty() => {}
                Event::Text(bit) => {
                    self.has_shown = true;
                    return Ok(Step::Text(Bit { prompt: self.prompt, ..bit }));
                }
                Event::Done(done) => return Ok(Step::Done(done)),
                Event::Failed(EngineError::Lost(how)) if self.may_retry() => {
                    tracing::warn!(model = self.lease.model.id, how, "an engine was lost; the request is tried once more");
                    self.retry().await?;
                    return Ok(Step::Restarted);
                }
                Event::Failed(error) => return Err(failure(&error)),
            }
        }
    }

    /// Once, and only while what a client has seen can still be taken back.
    const fn may_retry(&self) -> bool {
        let is_visible = self.is_streamed && self.has_shown;
        !self.is_retried && !is_visible
    }

    async fn retry(&mut self) -> Result<(), Failure> {
        self.is_retried = true;
        self.generation = None;
        let id = self.lease.model.id.clone();
        self.lease = self.pool.acquire(&id).await?;
        Ok(())
    }
}

/// What a client is told.
pub fn failure(error: &EngineError) -> Failure {
    let said = error.to_string();
    match error {
        EngineError::Refused { code: WorkerCode::Invalid, .. } => Failure::new(Code::InvalidRequest, said),
        EngineError::Refused { code: WorkerCode::ContextLength, .. } => Failure::new(Code::ContextLengthExceeded, said),
        EngineError::Refused { code: WorkerCode::Busy, .. } => {
            Failure::new(Code::RateLimitExceeded, said).retry_after(Duration::from_secs(1))
        }
        EngineError::Refused { code: WorkerCode::Unsupported, .. } => Failure::new(Code::Unsupported, said),
        EngineError::Refused { code: WorkerCode::Internal, .. } => Failure::new(Code::InternalError, said),
        EngineError::Full => Failure::new(Code::QueueFull, said).retry_after(Duration::from_secs(1)),
        EngineError::Unread => Failure::new(Code::UpstreamTimeout, said),
        EngineError::Lost(_) => Failure::new(Code::UpstreamError, said),
    }
}
