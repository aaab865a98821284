//! A streamed answer that is read along and settled when it ends, however it ends.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use wire::{Code, Dialect, Failure, tap::Tap};

use crate::{
    flow::{BodyError, Stream},
    permit::Permit,
    receipt::Outcome,
};

/// The body of a metered stream. Dropping it before its end records a cancelled request.
pub struct Meter {
    stream: Option<Stream>,
    tap: Tap,
    permit: Option<Permit>,
    dialect: Dialect,
}

impl Meter {
    /// Meters a stream.
    pub fn new(stream: Stream, dialect: Dialect, strip_usage: bool, permit: Permit) -> Self {
        Self { stream: Some(stream), tap: Tap::new(dialect, strip_usage), permit: Some(permit), dialect }
    }

    fn count(&mut self, bytes: &Bytes) {
        if let Some(permit) = &mut self.permit {
            let elapsed = permit.elapsed_ms();
            let receipt = permit.receipt();
            receipt.first_byte_ms.get_or_insert(elapsed);
            receipt.bytes_out += bytes.len() as u64;
        }
    }

    /// The upstream's end: the normal one, or an error that the client must hear of.
    fn end(&mut self, error: Option<BodyError>) -> Option<Bytes> {
        self.stream = None;
        let rest = self.tap.finish();
        let seen = self.tap.seen();
        let message = match (&error, seen.done, &seen.error) {
            // The upstream's own error frame is all that the client should hear.
            (_, true, _) | (_, _, Some(_)) => None,
            (Some(e), ..) => Some(format!("the stream from the upstream broke: {e}")),
            (None, ..) => Some("the stream from the upstream ended before its end mark".to_owned()),
        };
        let last = match (message, &mut self.permit) {
            (Some(message), Some(permit)) => {
                // What is left of a frame that never ended would swallow the error.
                let mut last = if self.tap.is_inside_frame() { Vec::from(b"\n\n") } else { Vec::new() };
                let receipt = permit.receipt();
                receipt.outcome = Outcome::Error;
                receipt.error_code = Some(Code::UpstreamError.as_str().to_owned());
                last.extend_from_slice(&self.dialect.error_frame(&Failure::new(Code::UpstreamError, message), &receipt.request_id));
                last.into()
            }
            _ => rest,
        };
        self.count(&last);
        self.note();
        self.permit = None;
        (!last.is_empty()).then_some(last)
    }

    /// Puts into the receipt what the stream has said of its usage and of its end.
    fn note(&mut self) {
        let seen = self.tap.seen();
        let Some(permit) = &mut self.permit else { return };
        let receipt = permit.receipt();
        receipt.usage = seen.usage;
        if seen.error.is_some() {
            receipt.outcome = Outcome::Error;
            receipt.error_code = Some(Code::UpstreamError.as_str().to_owned());
        } else if seen.done {
            receipt.outcome = Outcome::Success;
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // Everything that the upstream had to say may have been read although the client took the last bytes and left.
        self.note();
    }
}

impl Body for Meter {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
            let last = match ready!(stream.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let data = self.tap.feed(data);
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
        self.stream.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
