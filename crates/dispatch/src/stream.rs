//! A committed stream from an upstream.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use fleet::{End, InFlight};
use http_body::{Body, Frame};
use journey::{BodyError, Far, Late, Told, WentOn};
use net::{IdleTimeout, ResponseBody};
use tokio::time::{Instant, Sleep, sleep_until};
use wire::{
    Dialect,
    dialect::{Decoder, Encoder},
    ir::Event,
    losses::Losses,
    tap::Seen,
};

use crate::{ears::Ears, resume::Again};

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
        Poll::Ready(Some(Err(Late("the request's time is over".to_owned()).into())))
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
                let is_late = error.timeout().is_some();
                // A node that says nothing any more is lost, not late.
                let is_node = this.guard.is_some();
                this.end(if is_late { End::Failed } else { End::Broken });
                let error = if is_late && !is_node { Late(error.to_string()).into() } else { error.into() };
                Poll::Ready(Some(Err(error)))
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
    /// What it takes to go on elsewhere, where that is wanted.
    again: Option<Box<Again>>,
    events: Vec<Event>,
    /// An error that the caller has still to hear of, after what was decoded before it.
    error: Option<BodyError>,
}

impl Translated {
    pub(crate) fn new(inner: Committed, decoder: Decoder, encoder: Encoder, ears: Ears, far: Option<Arc<Far>>) -> Self {
        Self { inner: Some(inner), decoder, encoder, ears, far, again: None, events: Vec::new(), error: None }
    }

    /// With a way to go on where the stream breaks.
    pub(crate) fn going_on(mut self, again: Option<Box<Again>>) -> Self {
        self.again = again;
        self
    }

    /// Takes what the node has said, or that it broke off, and goes on elsewhere where it can. What came of a break is in `events` and `error` then.
    fn follow(&mut self, broke: Option<&str>) {
        let Some(again) = &mut self.again else { return };
        if broke.is_some() {
            self.decoder.finish(&mut self.events);
        }
        if again.hear(&mut self.events, broke) {
            (self.inner, self.error) = (None, None);
        }
    }

    /// Somebody goes on, or nobody.
    fn found(&mut self, stream: Option<Committed>) {
        if stream.is_some() {
            (self.inner, self.decoder) = (stream, Decoder::new(Dialect::Chat));
            return;
        }
        let Some(again) = &self.again else { return };
        self.error = again.went().map(|went| went.why.clone().into());
        self.events.extend(again.counts());
        self.hear();
        // Counts without an end are for the record alone.
        self.events.clear();
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
        if let Some(again) = &mut this.again {
            again.leaves(&mut this.events);
        }
        // It was the client who cut it off.
        this.events.retain(|event| !matches!(event, Event::Failed { .. }));
        this.hear();
    }

    fn losses(&self) -> &Losses {
        self.ears.losses()
    }

    fn went_on(&self) -> Option<&WentOn> {
        self.again.as_ref()?.went()
    }
}

impl Body for Translated {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            if let Some(found) = this.again.as_mut().and_then(|again| again.poll(cx)) {
                let (stream, mark) = ready!(found).unzip();
                this.found(stream);
                if let Some(mark) = mark.filter(|mark: &Bytes| !mark.is_empty()) {
                    return Poll::Ready(Some(Ok(Frame::data(mark))));
                }
            }
            let Some(inner) = &mut this.inner else { return Poll::Ready(this.error.take().map(Err)) };
            let mut broke = None;
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
                    broke = Some(e.to_string());
                    this.error = Some(e);
                }
                None => {
                    this.decoder.finish(&mut this.events);
                    this.inner = None;
                }
            }
            this.follow(broke.as_deref());
            let bytes = this.encoded();
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
    }
}
