//! What an engine has said about one generation and nobody has read yet.
//!
//! The engine's frames for all its requests come over one pipe, so no request may hold it up: text that is not read at once is
//! joined to what waits. That is bounded by the context, and by [`BYTES_MAX`].

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use wire::fleet::worker::{Done, TokenLogprob, TokenOutput};

use super::{Bit, EngineError, Event, StepEnd};

/// Most bytes that wait.
const BYTES_MAX: usize = 8 << 20;

#[derive(Debug, Default)]
pub(super) struct Mailbox {
    inner: Mutex<Inner>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    accepted: Option<(u32, u32)>,
    text: String,
    ends: Vec<StepEnd>,
    logprobs: Vec<TokenLogprob>,
    logprob_bytes: usize,
    count: u32,
    count_read: u32,
    end: Option<Result<Done, EngineError>>,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn accept(&self, prompt_tokens: u32, cached_tokens: u32) {
        self.lock().accepted = Some((prompt_tokens, cached_tokens));
        self.arrived.notify_one();
    }

    /// Adds a step; false where too much waits.
    #[must_use]
    pub(super) fn add(&self, output: TokenOutput) -> bool {
        let mut inner = self.lock();
        inner.count = output.count;
        if !output.text.is_empty() {
            inner.text.push_str(&output.text);
            let end = StepEnd { bytes: inner.text.len(), tokens: output.count };
            inner.ends.push(end);
        }
        inner.logprob_bytes += output.logprobs.iter().map(|l| 64 + l.top.len() * 48).sum::<usize>();
        inner.logprobs.extend(output.logprobs);
        let fits = inner.text.len() + inner.logprob_bytes <= BYTES_MAX;
        drop(inner);
        self.arrived.notify_one();
        fits
    }

    /// The first end counts.
    pub(super) fn end(&self, end: Result<Done, EngineError>) {
        self.lock().end.get_or_insert(end);
        self.arrived.notify_one();
    }

    pub(super) async fn next(&self) -> Event {
        loop {
            if let Some(event) = self.take() {
                return event;
            }
            self.arrived.notified().await;
        }
    }

    fn take(&self) -> Option<Event> {
        let mut inner = self.lock();
        if let Some((prompt_tokens, cached_tokens)) = inner.accepted.take() {
            return Some(Event::Accepted { prompt_tokens, cached_tokens });
        }
        if inner.count > inner.count_read || !inner.text.is_empty() {
            inner.count_read = inner.count;
            inner.logprob_bytes = 0;
            let (text, logprobs) = (std::mem::take(&mut inner.text), std::mem::take(&mut inner.logprobs));
            return Some(Event::Text(Bit { text, ends: std::mem::take(&mut inner.ends), logprobs, ..Bit::default() }));
        }
        inner.end.take().map(|end| end.map_or_else(Event::Failed, Event::Done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(text: &str, count: u32) -> TokenOutput {
        TokenOutput { id: 1, text: text.to_owned(), count, logprobs: Vec::new() }
    }

    #[tokio::test]
    async fn unread_steps_are_joined_and_the_end_comes_last() {
        let mailbox = Mailbox::default();
        assert!(mailbox.add(step("a", 1)) && mailbox.add(step("b", 2)));
        mailbox.accept(7, 3);
        mailbox.end(Err(EngineError::Lost("x".to_owned())));
        mailbox.end(Err(EngineError::Full));
        assert!(matches!(mailbox.next().await, Event::Accepted { prompt_tokens: 7, cached_tokens: 3 }));
        let ends = [StepEnd { bytes: 1, tokens: 1 }, StepEnd { bytes: 2, tokens: 2 }];
        assert!(matches!(mailbox.next().await, Event::Text(bit) if bit.text == "ab" && bit.ends == ends));
        assert!(matches!(mailbox.next().await, Event::Failed(EngineError::Lost(_))));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mailbox = Mailbox::default();
        let long = "x".repeat(BYTES_MAX / 4);
        assert!((1..=4).all(|count| mailbox.add(step(&long, count))));
        assert!(!mailbox.add(step(&long, 5)));
    }
}
