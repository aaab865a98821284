//! Answers as they go out: a stream of server-sent events, or all at once.

use std::{convert::Infallible, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream, SelectAll},
};
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use tokio::time::timeout;
use wire::{
    Code, Failure,
    chat::types::{CompletionDetails, PromptDetails, Usage},
    fleet::worker::{Done, Finish},
    sse::write_data,
};

use super::{Place, reply::RequestId};
use crate::{
    answer::Step,
    engine::{Bit, PromptCount, StepEnd},
};

/// The head of a streamed answer waits so long for the first text, so that an error can still be a status.
const HEAD_WAIT: Duration = Duration::from_secs(15);
/// A comment is sent when nothing else was for so long.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The steps of all choices of a request, each with the index of its choice.
pub(super) type Steps = SelectAll<BoxStream<'static, (usize, Result<Step, Failure>)>>;

/// The dialect of a stream.
pub(super) trait Frames: Send + 'static {
    /// More text of a choice.
    fn text(&mut self, index: usize, bit: Bit, out: &mut Vec<u8>);
    /// The end of a choice.
    fn done(&mut self, index: usize, done: Done, out: &mut Vec<u8>);
    /// After the last choice.
    fn end(&mut self, out: &mut Vec<u8>);
}

/// A choice that is complete.
#[derive(Debug)]
pub(super) struct Collected {
    /// All of its text, its log-probabilities and the ends of its steps.
    pub(super) said: Bit,
    pub(super) done: Done,
}

/// Waits for all `count` choices.
pub(super) async fn collect(mut steps: Steps, count: usize) -> Result<Vec<Collected>, Failure> {
    let mut partial: Vec<(Bit, Option<Done>)> = vec![Default::default(); count];
    while let Some((index, step)) = steps.next().await {
        let (said, end) = &mut partial[index];
        match step? {
            Step::Text(bit) => add(said, bit),
            Step::Restarted => *said = Bit::default(),
            Step::Done(mut done) => {
                let rest = StepEnd { bytes: done.text.len(), tokens: done.completion_tokens };
                let bit = Bit {
                    text: std::mem::take(&mut done.text),
                    ends: vec![rest],
                    logprobs: std::mem::take(&mut done.logprobs),
                    ..Bit::default()
                };
                add(said, bit);
                *end = Some(done);
            }
        }
    }
    let complete = |(said, done): (_, Option<Done>)| Some(Collected { said, done: done? });
    partial.into_iter().map(complete).collect::<Option<_>>().ok_or_else(|| Failure::new(Code::InternalError, "an answer has no end"))
}

fn add(said: &mut Bit, more: Bit) {
    let before = said.text.len();
    said.text.push_str(&more.text);
    said.ends.extend(more.ends.into_iter().map(|end| StepEnd { bytes: before + end.bytes, ..end }));
    said.logprobs.extend(more.logprobs);
}

/// A streamed answer. An error before the first text is returned; a later one is one event, after which the stream ends.
pub(super) async fn stream(mut steps: Steps, frames: impl Frames, place: Place, id: RequestId) -> Result<Response, Failure> {
    let first = match timeout(HEAD_WAIT, first_step(&mut steps)).await {
        Ok(Some((_, Err(failure)))) => return Err(failure),
        Ok(first) => first,
        Err(_elapsed) => None,
    };
    let driver = Driver { steps, frames, first, id, has_ended: false, _place: place };
    let body = stream::unfold(driver, |mut driver| async move { driver.next().await.map(|bytes| (Ok::<_, Infallible>(bytes), driver)) });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

async fn first_step(steps: &mut Steps) -> Option<(usize, Result<Step, Failure>)> {
    loop {
        match steps.next().await {
            Some((_, Ok(Step::Restarted))) => {}
            step => return step,
        }
    }
}

struct Driver<F> {
    steps: Steps,
    frames: F,
    first: Option<(usize, Result<Step, Failure>)>,
    id: RequestId,
    has_ended: bool,
    _place: Place,
}

impl<F: Frames> Driver<F> {
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        while out.is_empty() {
            if self.has_ended {
                return None;
            }
            let step = match self.first.take() {
                Some(first) => Some(first),
                None => match timeout(KEEP_ALIVE, self.steps.next()).await {
                    Ok(step) => step,
                    Err(_elapsed) => return Some(Bytes::from_static(b": keep-alive\n\n")),
                },
            };
            match step {
                Some((index, Ok(Step::Text(bit)))) => self.frames.text(index, bit, &mut out),
                Some((index, Ok(Step::Done(done)))) => self.frames.done(index, done, &mut out),
                Some((_, Ok(Step::Restarted))) => {}
                Some((_, Err(failure))) => {
                    tracing::warn!(request_id = self.id.0, code = failure.code.as_str(), message = failure.message, "a stream failed");
                    write_data(&mut out, failure.to_openai(Some(&self.id.0)).to_string().as_bytes());
                    self.has_ended = true;
                    self.steps.clear();
                }
                None => {
                    self.frames.end(&mut out);
                    self.has_ended = true;
                }
            }
        }
        Some(out.into())
    }
}

/// Token counts over the choices of a request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    prompt: u64,
    cached: u64,
    completion: u64,
    /// Of them those that were thought; `None` where the model does not think.
    thought: Option<u64>,
}

impl Count {
    /// Adds a choice; those of one prompt count its tokens once.
    pub(super) fn add(&mut self, done: &Done, is_first_of_prompt: bool) {
        if is_first_of_prompt {
            self.prompt += u64::from(done.prompt_tokens);
            self.cached += u64::from(done.cached_tokens);
        }
        self.completion += u64::from(done.completion_tokens);
    }

    /// The counts while an answer is still made.
    pub(super) fn so_far(prompt: PromptCount, completion: u64, thought: Option<u32>) -> Usage {
        let (prompt, cached) = (u64::from(prompt.tokens), u64::from(prompt.cached));
        Self { prompt, cached, completion, thought: thought.map(u64::from) }.usage()
    }

    /// Adds what a choice of a model that thinks has thought.
    pub(super) fn think(&mut self, tokens: Option<u32>) {
        if let Some(tokens) = tokens {
            self.thought = Some(self.thought.unwrap_or(0) + u64::from(tokens));
        }
    }

    pub(super) fn usage(self) -> Usage {
        let details = PromptDetails { cached_tokens: Some(self.cached), ..PromptDetails::default() };
        Usage {
            prompt_tokens: self.prompt,
            completion_tokens: self.completion,
            total_tokens: self.prompt + self.completion,
            prompt_tokens_details: Some(details),
            completion_tokens_details: self
                .thought
                .map(|thought| CompletionDetails { reasoning_tokens: Some(thought), ..CompletionDetails::default() }),
        }
    }
}

/// `finish_reason`.
pub(super) const fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopString | Finish::Cancelled => "stop",
        Finish::Length => "length",
    }
}
