//! An answer of any kind that passes as it comes (sound, pictures, long JSON) and is settled when it ends, however it ends.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use wire::{Code, tap::Tail};

use crate::{
    flow::{BodyError, Late, Stream},
    permit::Permit,
    receipt::Outcome,
};

/// The body of a metered answer. Dropping it before its end records a cancelled request; an upstream that breaks off breaks it off.
pub struct Passage {
    stream: Stream,
    tail: Tail,
    /// Bytes still to come, where the upstream said how many: nobody asks for more than those.
    left: Option<u64>,
    /// It can be kept with the request's record.
    is_text: bool,
    permit: Option<Permit>,
}

impl Passage {
    /// Meters an answer of so many bytes, if that is known. Only what `is_text` is kept with the request's record.
    pub fn new(stream: Stream, bytes: Option<u64>, is_text: bool, permit: Permit) -> Self {
        Self { stream, tail: Tail::default(), left: bytes, is_text, permit: Some(permit) }
    }

    fn settle(&mut self, error: Option<&BodyError>) {
        let Some(mut permit) = self.permit.take() else { return };
        let receipt = permit.receipt();
        receipt.outcome = if error.is_some() { Outcome::Error } else { Outcome::Success };
        receipt.usage = self.tail.usage();
        let code = |error: &BodyError| if error.is::<Late>() { Code::UpstreamTimeout } else { Code::UpstreamError };
        receipt.error_code = error.map(|error| code(error).as_str().to_owned());
    }
}

impl Body for Passage {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            let frame = ready!(this.stream.as_mut().poll_frame(cx));
            match &frame {
                Some(Ok(frame)) => {
                    let Some(data) = frame.data_ref() else { continue };
                    this.tail.feed(data);
                    if let Some(permit) = &mut this.permit {
                        let elapsed_ms = permit.elapsed_ms();
                        let receipt = permit.receipt();
                        receipt.first_byte_ms.get_or_insert(elapsed_ms);
                        receipt.bytes_out += data.len() as u64;
                        if let (true, Some(kept)) = (this.is_text, &mut receipt.kept) {
                            kept.sent(data);
                        }
                    }
                    this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                    if this.left == Some(0) {
                        this.settle(None);
                    }
                }
                Some(Err(error)) => this.settle(Some(error)),
                None => this.settle(None),
            }
            return Poll::Ready(frame);
        }
    }
}
