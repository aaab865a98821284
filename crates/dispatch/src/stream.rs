//! A committed stream from an upstream.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use fleet::{End, InFlight};
use http_body::{Body, Frame};
use journey::{BodyError, Far, Told};
use net::{IdleTimeout, ResponseBody};
use tokio::time::{Instant, Sleep, sleep_until};
use wire::{
    dialect::{Decoder, Encoder},
    ir::Event,
    losses::Losses,
    tap::Seen,
};

use crate::ears::Ears;

/// How many pieces may pass before the clock is asked: an upstream that always has more never lets a stream wait, and its time would never be over.
const PIECES_UNWATCHED: u32 = 16;

/// The bytes of a stream whose first piece has been seen. Dropping it closes the upstream's connection at once.
pub(crate) struct Committed {
    first: Option<Bytes>,
    rest: Option<Pin<Box<IdleTimeout<ResponseBody>>>>,
    guard: Option<InFlight>,
    deadline: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
    passed: u32,
}

impl Committed {
    pub(crate) fn new(first: Bytes, rest: Pin<Box<IdleTimeout<ResponseBody>>>, guard: Option<InFlight>, deadline: Instant) -> Self {
        Self { first: Some(first), rest: Some(rest), guard, deadline, sleep: None, passed: 0 }
    }

    fn end(&mut self, end: End) {
        self.rest = None;
        if let Some(guard) = self.guard.take() {
            guard.end(end);
        }
    }

    fn too_late(&mut self) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.end(End::Failed);
        Poll::Ready(Some(Err("the request's time is over".into())))
    }
}

impl Body for Committed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Some(rest) = &mut this.rest else { return Poll::Ready(None) };
        match rest.as_mut().poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.passed = this.passed.wrapping_add(1);
                if this.passed.is_multiple_of(PIECES_UNWATCHED) && Instant::now() >= this.deadline {
                    return this.too_late();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.end(if error.timeout().is_some() { End::Failed } else { End::Broken });
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                this.end(End::Success);
                Poll::Ready(None)
            }
            Poll::Pending => {
                let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep_until(this.deadline)));
                ready!(sleep.as_mut().poll(cx));
                this.too_late()
            }
        }
    }
}

/// A committed stream on its way into the caller's dialect.
pub(crate) struct Translated {
    inner: Option<Committed>,
    decoder: Decoder,
    encoder: Encoder,
    ears: Ears,
    /// Where the upstream's words are kept, if they are.
    far: Option<Arc<Far>>,
    events: Vec<Event>,
    /// An error that the caller has still to hear of, after what was decoded before it.
    error: Option<BodyError>,
}

impl Translated {
    pub(crate) fn new(inner: Committed, decoder: Decoder, encoder: Encoder, ears: Ears, far: Option<Arc<Far>>) -> Self {
        Self { inner: Some(inner), decoder, encoder, ears, far, events: Vec::new(), error: None }
    }

    fn hear(&mut self) {
        if let Some(far) = &self.far {
            far.kept().told(&self.events);
        }
        self.ears.hear(&mut self.events);
    }

    fn encoded(&mut self) -> Bytes {
        let mut out = Vec::new();
        self.hear();
        for event in self.events.drain(..) {
            self.encoder.event(&event, &mut out);
        }
        out.into()
    }
}

impl Told for Translated {
    fn seen(&self) -> &Seen {
        self.ears.seen()
    }

    fn leave(mut self: Pin<&mut Self>) {
        let this = &mut *self;
        this.decoder.finish(&mut this.events);
        // It was the client who cut it off.
        this.events.retain(|event| !matches!(event, Event::Failed { .. }));
        this.hear();
    }

    fn losses(&self) -> &Losses {
        self.ears.losses()
    }
}

impl Body for Translated {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            let Some(inner) = &mut this.inner else { return Poll::Ready(this.error.take().map(Err)) };
            match ready!(Pin::new(inner).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    if let Err(e) = this.decoder.feed(&data, &mut this.events) {
                        this.inner = None;
                        this.error = Some(e.into());
                    }
                }
                Some(Err(e)) => {
                    this.inner = None;
                    this.error = Some(e);
                }
                None => {
                    this.decoder.finish(&mut this.events);
                    this.inner = None;
                }
            }
            let bytes = this.encoded();
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
    }
}
