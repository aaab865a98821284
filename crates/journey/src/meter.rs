//! A streamed answer that is read along and settled when it ends, however it ends.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use wire::{
    Code, Dialect, Failure,
    ir::Usage,
    tap::{Seen, Tap},
};

use crate::{
    call::Operation,
    flow::{BodyError, Late, Stream, Told},
    permit::Permit,
    receipt::{Outcome, Receipt},
};

/// The stream that is metered.
pub enum Source {
    /// The upstream's bytes, read along here.
    Raw(Stream, Box<Tap>),
    /// A translation, which knows what it says.
    Told(Pin<Box<dyn Told>>),
}

impl Source {
    /// The upstream's bytes; `strip_usage` takes the extra usage frame out again. `choices`: how many were asked for.
    pub fn raw(stream: Stream, operation: Operation, strip_usage: bool, choices: u32) -> Self {
        let tap = match operation {
            Operation::Other => Tap::lenient(),
            _ => Tap::new(operation.dialect(), strip_usage).expecting(choices),
        };
        Self::Raw(stream, Box::new(tap))
    }

    fn seen(&self) -> &Seen {
        match self {
            Self::Raw(_, tap) => tap.seen(),
            Self::Told(told) => told.seen(),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Raw(stream, _) => stream.as_mut().poll_frame(cx),
            Self::Told(told) => told.as_mut().poll_frame(cx),
        }
    }

    fn feed(&mut self, data: Bytes) -> Bytes {
        match self {
            Self::Raw(_, tap) => tap.feed(data),
            Self::Told(_) => data,
        }
    }

    /// What was held back, and whether the client is inside a frame.
    fn finish(&mut self, is_clean: bool) -> (Bytes, bool) {
        match self {
            Self::Raw(_, tap) => (tap.finish(is_clean), tap.is_inside_frame()),
            Self::Told(_) => (Bytes::new(), false),
        }
    }
}

/// Sees what a client is sent of a stream.
pub trait Witness: Send {
    /// A piece was sent.
    fn sent(&mut self, piece: &Bytes);
    /// It has ended as it should; without a word it has not.
    fn ended(self: Box<Self>, receipt: &Receipt);
}

/// Says at the end of a stream what it came to, in a frame of its own that no reader takes for a part of the answer.
pub type Closing = Box<dyn FnOnce(&Receipt) -> Bytes + Send>;

/// The body of a metered stream. Dropping it before its end records a cancelled request.
pub struct Meter {
    source: Source,
    is_over: bool,
    permit: Option<Permit>,
    dialect: Dialect,
    witness: Option<Box<dyn Witness>>,
    closing: Option<Closing>,
}

impl Meter {
    /// Meters a stream for a caller.
    pub fn new(source: Source, dialect: Dialect, permit: Permit) -> Self {
        Self { source, is_over: false, permit: Some(permit), dialect, witness: None, closing: None }
    }

    /// Lets somebody see what is sent.
    #[must_use]
    pub fn with_witness(mut self, witness: Option<Box<dyn Witness>>) -> Self {
        self.witness = witness;
        self
    }

    /// Ends the stream with this, where it ends as it should.
    #[must_use]
    pub fn with_closing(mut self, closing: Option<Closing>) -> Self {
        self.closing = closing;
        self
    }

    /// What the caller may read: an error in the upstream's words may quote a credential.
    fn readable(&self, data: Bytes) -> Bytes {
        match &self.permit {
            Some(permit) if self.source.seen().error.is_some() => permit.hidden(data),
            _ => data,
        }
    }

    fn count(&mut self, bytes: &Bytes) {
        // What a translation tells is kept where it is known without reading its frames again; an error at its end is told here.
        let is_told = matches!(self.source, Source::Told(_)) && !self.is_over;
        if let Some(permit) = &mut self.permit {
            let elapsed = permit.elapsed_ms();
            let receipt = permit.receipt();
            receipt.first_byte_ms.get_or_insert(elapsed);
            receipt.bytes_out += bytes.len() as u64;
            if let Some(kept) = receipt.kept.as_mut().filter(|kept| !is_told || kept.far.is_none()) {
                kept.sent(bytes);
            }
        }
        if let Some(witness) = &mut self.witness {
            witness.sent(bytes);
        }
    }

    /// The upstream's end: the normal one, or an error that the client must hear of.
    fn end(&mut self, error: Option<BodyError>) -> Option<Bytes> {
        self.is_over = true;
        let (rest, is_inside_frame) = self.source.finish(error.is_none());
        let seen = self.source.seen();
        let message = match (&error, seen.done, &seen.error) {
            // The upstream's own error frame is all that the client should hear.
            (_, true, _) | (_, _, Some(_)) => None,
            (Some(e), ..) => Some(format!("the stream from the upstream broke: {e}")),
            (None, ..) => Some("the stream from the upstream ended before its end mark".to_owned()),
        };
        let last = match (message, &mut self.permit) {
            (Some(message), Some(permit)) => {
                // What is left of a frame that never ended would swallow the error.
                let mut last = if is_inside_frame { Vec::from(b"\n\n") } else { Vec::new() };
                let receipt = permit.receipt();
                receipt.outcome = Outcome::Error;
                let code = match error {
                    Some(error) if error.is::<Late>() => Code::UpstreamTimeout,
                    _ if receipt.node.is_some() => Code::NodeLost,
                    _ => Code::UpstreamError,
                };
                receipt.error_code = Some(code.as_str().to_owned());
                last.extend_from_slice(&self.dialect.error_frame(&Failure::new(code, message), &receipt.request_id));
                last.into()
            }
            _ => self.readable(rest),
        };
        self.count(&last);
        self.note();
        if let (Some(witness), Some(permit)) = (self.witness.take(), &mut self.permit)
            && permit.receipt().outcome == Outcome::Success
        {
            witness.ended(permit.receipt());
        }
        let last = self.closed(last, is_inside_frame);
        self.permit = None;
        (!last.is_empty()).then_some(last)
    }

    /// The last bytes, and after them what the stream came to, where somebody wants to know. It is no part of what was answered: neither
    /// the witness nor the record gets it.
    fn closed(&mut self, last: Bytes, is_inside_frame: bool) -> Bytes {
        let (Some(closing), Some(permit)) = (self.closing.take(), &mut self.permit) else { return last };
        let receipt = permit.receipt();
        if receipt.outcome != Outcome::Success || is_inside_frame {
            return last;
        }
        let comment = closing(receipt);
        receipt.bytes_out += comment.len() as u64;
        if last.is_empty() { comment } else { [last, comment].concat().into() }
    }

    /// Puts into the receipt what the stream has said of its usage and of its end.
    fn note(&mut self) {
        let Some(permit) = &mut self.permit else { return };
        if let Source::Told(told) = &self.source {
            permit.receipt().losses.extend(told.losses().clone());
            if let Some(went) = told.went_on() {
                permit.receipt().went_on(went);
            }
        }
        let seen = self.source.seen();
        let receipt = permit.receipt();
        if seen.error.is_some() {
            receipt.outcome = Outcome::Error;
            receipt.error_code = Some(Code::UpstreamError.as_str().to_owned());
        } else if seen.done {
            receipt.outcome = Outcome::Success;
        }
        receipt.usage = seen.usage.or(receipt.usage);
        if !seen.done && seen.tokens > 0 {
            let said = seen.usage.unwrap_or_default();
            let guess = Usage { in_fresh: Some(receipt.bytes_in.div_ceil(4)), ..Usage::default() };
            let input = if said.input() == 0 { guess } else { said };
            let out_text = Some(said.out_text.unwrap_or(0).max(seen.tokens.saturating_sub(said.out_reasoning.unwrap_or(0))));
            receipt.usage = Some(Usage { out_text, out_reasoning: said.out_reasoning, ..input });
            receipt.usage_is_estimated = true;
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // Everything that the upstream had to say may have been read although the client took the last bytes and left.
        if self.permit.is_some() {
            match &mut self.source {
                Source::Raw(_, tap) => drop(tap.finish(false)),
                Source::Told(told) => told.as_mut().leave(),
            }
            self.note();
        }
    }
}

impl Body for Meter {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if self.is_over {
                return Poll::Ready(None);
            }
            let last = match ready!(self.source.poll(cx)) {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let data = self.source.feed(data);
                    let data = self.readable(data);
                    if data.is_empty() {
                        continue;
                    }
                    self.count(&data);
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => self.end(Some(error)),
                None => self.end(None),
            };
            return Poll::Ready(last.map(|bytes| Ok(Frame::data(bytes))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
