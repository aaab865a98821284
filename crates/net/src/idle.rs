//! A body that fails when nothing comes for too long.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::error::{Error, Phase};

pin_project! {
    /// A body that ends with [`Error::Timeout`] of [`Phase::Idle`] when its source gives nothing for `gap`.
    ///
    /// Only the time that the source is waited for counts: a reader that is slow itself never makes its upstream time out.
    /// One timer lives as long as the body and is looked at when it fires, so a frame costs no timer of its own.
    #[derive(Debug)]
    pub struct IdleTimeout<B> {
        #[pin]
        body: B,
        #[pin]
        sleep: Option<Sleep>,
        gap: Duration,
        // Since when the source owes a frame; None while it is not being waited for.
        waiting_since: Option<Instant>,
    }
}

impl<B> IdleTimeout<B> {
    /// Wraps `body`; the timer starts with the first wait.
    pub fn new(body: B, gap: Duration) -> Self {
        Self { body, sleep: None, gap, waiting_since: None }
    }

    /// The wrapped body.
    pub fn into_inner(self) -> B {
        self.body
    }
}

impl<B> Body for IdleTimeout<B>
where
    B: Body<Data = Bytes, Error = Error>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut this = self.project();
        if let Poll::Ready(frame) = this.body.poll_frame(cx) {
            *this.waiting_since = None;
            return Poll::Ready(frame);
        }
        let due = *this.waiting_since.get_or_insert_with(Instant::now) + *this.gap;
        if this.sleep.is_none() {
            this.sleep.set(Some(sleep_until(due)));
        }
        let mut sleep = this.sleep.as_pin_mut().expect("set just above");
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= due {
                return Poll::Ready(Some(Err(Error::Timeout(Phase::Idle))));
            }
            sleep.as_mut().reset(due);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
