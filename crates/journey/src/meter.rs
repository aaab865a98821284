//! A streamed answer that is read along and settled when it ends, however it ends.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use wire::{Failure, tap::Tap};

use crate::{
    flow::{BodyError, Stream},
    permit::Permit,
    receipt::Outcome,
};

/// Makes the bytes that tell the client, in its dialect, that the stream broke.
pub type ErrorFrame = fn(&Failure, &str) -> Bytes;

/// The body of a metered stream. Dropping it before its end records a cancelled request.
pub struct Meter {
    stream: Option<Stream>,
    tap: Tap,
    permit: Option<Permit>,
    error_frame: ErrorFrame,
}

impl Meter {
    /// Meters a stream.
    pub fn new(stream: Stream, strip_usage: bool, permit: Permit, error_frame: ErrorFrame) -> Self {
        Self { stream: Some(stream), tap: Tap::new(strip_usage), permit: Some(permit), error_frame }
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
        let failure = match (&error, seen.done, &seen.error) {
            (_, true, _) => None,
            // The upstream's own error frame has passed already.
            (_, _, Some(_)) => Some(None),
            (Some(e), ..) => Some(Some(format!("the stream from the upstream broke: {e}"))),
            (None, ..) => Some(Some("the stream from the upstream ended before its end mark".to_owned())),
        };
        let mut last = Vec::from(rest);
        if let Some(permit) = &mut self.permit {
            let receipt = permit.receipt();
            receipt.outcome = if failure.is_some() { Outcome::Error } else { Outcome::Success };
            if failure.is_some() {
                receipt.error_code = Some("upstream_error".to_owned());
            }
            if let Some(Some(message)) = failure {
                let id = receipt.request_id.clone();
                last.extend_from_slice(&(self.error_frame)(&Failure::new(wire::Code::UpstreamError, message), &id));
            }
        }
        self.note_usage();
        self.permit = None;
        (!last.is_empty()).then(|| last.into())
    }

    fn note_usage(&mut self) {
        let seen = self.tap.seen();
        if let Some(permit) = &mut self.permit {
            permit.receipt().usage = seen.usage;
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // Everything that the upstream had to say may have been read although the client took the last bytes and left.
        if self.permit.is_some() && self.tap.seen().done {
            if let Some(permit) = &mut self.permit {
                permit.receipt().outcome = Outcome::Success;
            }
        }
        self.note_usage();
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
