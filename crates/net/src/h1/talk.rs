//! One exchange up to the answer's head: writing and listening at the same time.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Response, StatusCode};
use http_body::Body as _;

use super::{
    framing::{Decoder, Piece},
    head::{self, Outgoing},
};
use crate::{body::Payload, error::Error, stream::Stream};

/// Largest head of an answer.
const HEAD_BYTES_MAX: usize = 256 * 1024;

/// An answer's head with what came behind it.
pub(crate) struct Answer {
    pub(crate) response: Response<()>,
    pub(crate) decoder: Decoder,
    /// The part of the body that came with the head.
    pub(crate) first: Bytes,
    /// The connection may carry another exchange after this one.
    pub(crate) keeps_alive: bool,
    /// The rest of the request, where the answer began before all of it was sent.
    pub(crate) sending: Option<Box<Sending>>,
}

/// An exchange that brought no answer.
pub(crate) struct Fault {
    pub(crate) error: Error,
    /// The request, where nothing of it was written.
    pub(crate) unsent: Option<Box<Outgoing>>,
    /// The connection ended without a byte of an answer.
    pub(crate) is_silent: bool,
}

/// Sends a request and reads the answer's head. The caller limits the time.
pub(crate) async fn talk(stream: &mut Stream, outgoing: Outgoing) -> Result<Answer, Fault> {
    let mut talk = Talk { sending: Sending::new(outgoing), held: BytesMut::new(), heard: false };
    let error = match poll_fn(|cx| talk.poll(stream, cx)).await {
        Ok(mut answer) => {
            answer.sending = (!talk.sending.is_flushed).then(|| Box::new(talk.sending));
            return Ok(answer);
        }
        Err(error) => error,
    };
    let is_silent = matches!(error, Error::Closed { .. }) && !talk.heard;
    let unsent = if is_silent { talk.sending.unsent().map(Box::new) } else { None };
    let error = match error {
        Error::Closed { cause, .. } => Error::Closed { sent: unsent.is_none(), cause },
        other => other,
    };
    Err(Fault { error, unsent, is_silent })
}

struct Talk {
    sending: Sending,
    /// The start of a head that did not come at once.
    held: BytesMut,
    heard: bool,
}

impl Talk {
    fn poll(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<Result<Answer, Error>> {
        let closed = |cause: Option<String>| {
            let cause = cause.unwrap_or_else(|| "the other side closed it".into());
            Error::Closed { sent: true, cause }
        };
        let sent = match self.sending.poll(stream, cx) {
            Poll::Ready(Err(SendError::Payload(cause))) => return Poll::Ready(Err(Error::RequestBody(cause))),
            Poll::Ready(Err(SendError::Stream(error))) => Some(error),
            Poll::Ready(Ok(())) | Poll::Pending => None,
        };
        loop {
            let read = stream.poll_read(cx, |raw| if raw.is_empty() { None } else { Some(self.hear(raw)) });
            match read {
                Poll::Ready(Ok(Some(heard))) => {
                    if let Some(done) = heard.transpose() {
                        return Poll::Ready(done);
                    }
                }
                // An answer may have come before the other side stopped listening; where none did, the write says why.
                Poll::Pending | Poll::Ready(_) if sent.is_some() => return Poll::Ready(Err(closed(sent.map(|error| error.to_string())))),
                Poll::Ready(Ok(None)) => return Poll::Ready(Err(closed(None))),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(closed(Some(error.to_string())))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Looks at what came; an answer once its head is whole. Interim answers are passed over.
    fn hear(&mut self, raw: &[u8]) -> Result<Option<Answer>, Error> {
        self.heard = true;
        let mut raw = if self.held.is_empty() {
            Bytes::copy_from_slice(raw)
        } else {
            self.held.extend_from_slice(raw);
            std::mem::take(&mut self.held).freeze()
        };
        loop {
            let Some((response, used)) = head::parse(&raw).map_err(Error::Protocol)? else {
                if raw.len() > HEAD_BYTES_MAX {
                    return Err(Error::Protocol(format!("a head of more than {HEAD_BYTES_MAX} bytes")));
                }
                self.held = BytesMut::from(raw);
                return Ok(None);
            };
            raw.advance(used);
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Err(Error::Protocol("it switches to a protocol that nobody asked for".into()));
            }
            if !response.status().is_informational() {
                return answer(&self.sending.method, response, &raw).map(Some);
            }
        }
    }
}

fn answer(method: &Method, response: Response<()>, rest: &Bytes) -> Result<Answer, Error> {
    let mut decoder = Decoder::of(method, response.status(), response.headers()).map_err(Error::Protocol)?;
    let Piece { data, used } =
        if rest.is_empty() { Piece { data: Bytes::new(), used: 0 } } else { decoder.decode(rest).map_err(Error::Body)? };
    // What belongs to no answer that was asked for spoils the connection.
    let keeps_alive = used == rest.len() && head::keeps_alive(response.version(), response.headers());
    Ok(Answer { response, decoder, first: data, keeps_alive, sending: None })
}

/// Why a request could not be sent.
pub(crate) enum SendError {
    Stream(io::Error),
    Payload(String),
}

/// A request on its way out.
pub(crate) struct Sending {
    method: Method,
    whole_head: Bytes,
    head: Bytes,
    /// The part of the payload that is being written.
    piece: Bytes,
    payload: Payload,
    is_chunked: bool,
    reads_compressed: bool,
    /// All pieces were taken from the payload.
    is_last: bool,
    is_flushed: bool,
    has_written: bool,
}

impl Sending {
    fn new(outgoing: Outgoing) -> Self {
        let Outgoing { method, head, payload, is_chunked, reads_compressed } = outgoing;
        // What is in memory goes out with the head in one write.
        let (piece, is_last) = match &payload {
            Payload::Full(bytes) => (bytes.clone(), true),
            Payload::Stream(_) => (Bytes::new(), false),
        };
        let whole_head = head.clone();
        Self { method, whole_head, head, piece, payload, is_chunked, reads_compressed, is_last, is_flushed: false, has_written: false }
    }

    /// The request, if none of it was written.
    fn unsent(self) -> Option<Outgoing> {
        let Self { method, whole_head, payload, is_chunked, reads_compressed, .. } = self;
        (!self.has_written).then_some(Outgoing { method, head: whole_head, payload, is_chunked, reads_compressed })
    }

    /// Sends on; ready when all is sent.
    pub(crate) fn poll(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        while !self.is_flushed {
            if !self.head.is_empty() || !self.piece.is_empty() {
                ready!(self.poll_write(stream, cx)).map_err(SendError::Stream)?;
            } else if self.is_last {
                ready!(stream.poll_flush(cx)).map_err(SendError::Stream)?;
                self.is_flushed = true;
            } else {
                // What was written so far must not wait for a payload that is slow.
                ready!(stream.poll_flush(cx)).map_err(SendError::Stream)?;
                ready!(self.poll_payload(cx)).map_err(SendError::Payload)?;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = ready!(stream.poll_write(cx, &[IoSlice::new(&self.head), IoSlice::new(&self.piece)]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.has_written = true;
        let of_head = written.min(self.head.len());
        self.head.advance(of_head);
        self.piece.advance(written - of_head);
        Poll::Ready(Ok(()))
    }

    fn poll_payload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        let Payload::Stream(body) = &mut self.payload else { return Poll::Ready(Ok(())) };
        match ready!(Pin::new(body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                // Trailers of a request are not sent.
                let data = frame.into_data().unwrap_or_default();
                self.piece = if self.is_chunked && !data.is_empty() { chunk(&data) } else { data };
            }
            Some(Err(error)) => return Poll::Ready(Err(error.to_string())),
            None => {
                self.is_last = true;
                self.piece = if self.is_chunked { Bytes::from_static(b"0\r\n\r\n") } else { Bytes::new() };
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn chunk(data: &Bytes) -> Bytes {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat().into()
}
