//! The two bodies of an exchange.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};

use crate::{
    error::{BoxError, Error},
    h1::{Answer, Decoder, Sending},
    idle::IdleTimeout,
    inflate::Inflate,
    pool::{Host, Line},
};

/// A request's body: all of it in memory (then a stale connection costs nothing, the request is replayed), or a stream.
pub struct Body(Payload);

/// What a request's body is.
pub(crate) enum Payload {
    Full(Bytes),
    Stream(UnsyncBoxBody<Bytes, BoxError>),
}

impl Body {
    /// No body.
    pub const fn empty() -> Self {
        Self(Payload::Full(Bytes::new()))
    }

    /// A body that is sent as it comes; sent chunked unless its size hint is exact. The caller bounds it.
    pub fn stream<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Payload::Stream(body.map_err(Into::into).boxed_unsync()))
    }

    pub(crate) fn into_payload(self) -> Payload {
        self.0
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Payload::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Payload::Stream(body) => body.size_hint(),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Payload::Full(bytes))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Payload::Full(bytes) => write!(f, "Body({} bytes)", bytes.len()),
            Payload::Stream(_) => f.write_str("Body(stream)"),
        }
    }
}

/// An answer's body. Read to its end, its connection goes back to the pool; dropped before, the connection is closed at once.
///
/// It reads from the connection only when it is asked for more, so an answer that nobody reads waits in the network, not in memory.
pub struct ResponseBody {
    /// Decoded and not yet given out.
    first: Bytes,
    decoder: Decoder,
    /// The connection may carry another exchange.
    keeps_alive: bool,
    line: Option<(Line, Arc<Host>)>,
    /// The rest of the request, where the answer began before all of it was sent.
    sending: Option<Box<Sending>>,
    /// Where it comes compressed.
    inflate: Option<Inflate>,
}

impl ResponseBody {
    pub(crate) fn of(answer: Answer, line: Line, host: Arc<Host>, reads_compressed: bool) -> Response<Self> {
        let Answer { mut response, first, decoder, keeps_alive, sending } = answer;
        let mut body = Self { first, decoder, keeps_alive, line: Some((line, host)), sending, inflate: None };
        if body.decoder.is_done() {
            body.settle();
        }
        // Nothing at all is no compressed nothing.
        if !reads_compressed && !body.is_end_stream() {
            body.inflate = Inflate::of(response.headers_mut());
        }
        response.map(|()| body)
    }

    /// The same body, ending with [`Error::Timeout`] when nothing comes for `gap`.
    pub fn with_idle_timeout(self, gap: Duration) -> IdleTimeout<Self> {
        IdleTimeout::new(self, gap)
    }

    fn settle(&mut self) {
        let is_clean = self.keeps_alive && self.sending.is_none();
        if let Some((line, host)) = self.line.take().filter(|_| is_clean) {
            host.give_back(line);
        }
    }

    /// The next piece as it was before it was compressed, if it was.
    fn poll_inflated(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, String>> {
        loop {
            let piece = ready!(self.poll_piece(cx))?;
            let Some(inflate) = &mut self.inflate else { return Poll::Ready(Ok(piece)) };
            let is_end = piece.is_none();
            let inflated = match piece {
                Some(piece) => inflate.feed(&piece),
                None => inflate.finish(),
            }?;
            if is_end {
                self.inflate = None;
            }
            if is_end || !inflated.is_empty() {
                return Poll::Ready(Ok(Some(inflated).filter(|data| !data.is_empty())));
            }
        }
    }

    /// The next piece; None at the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, String>> {
        if !self.first.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.first))));
        }
        while !self.decoder.is_done() {
            let Some((line, _)) = &mut self.line else { break };
            if let Some(sending) = &mut self.sending {
                match sending.poll(&mut line.stream, cx) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(())) => self.sending = None,
                    // The answer may be whole all the same; only the connection is spoilt.
                    Poll::Ready(Err(_unsent)) => (self.sending, self.keeps_alive) = (None, false),
                }
            }
            let decoder = &mut self.decoder;
            let read = ready!(line.stream.poll_read(cx, |raw| (!raw.is_empty()).then(|| (decoder.decode(raw), raw.len()))));
            match read {
                Ok(Some((piece, came))) => {
                    let piece = piece?;
                    self.keeps_alive &= piece.used == came;
                    if self.decoder.is_done() {
                        self.settle();
                    }
                    if !piece.data.is_empty() {
                        return Poll::Ready(Ok(Some(piece.data)));
                    }
                }
                Ok(None) if self.decoder.close() => self.line = None,
                Ok(None) => return Poll::Ready(Err("the connection was closed before its end".into())),
                Err(error) => return Poll::Ready(Err(error.to_string())),
            }
        }
        Poll::Ready(Ok(None))
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        Poll::Ready(match ready!(this.poll_inflated(cx)) {
            Ok(piece) => piece.map(|data| Ok(Frame::data(data))),
            Err(cause) => {
                this.line = None;
                this.inflate = None;
                this.decoder = Decoder::Done;
                Some(Err(Error::Body(cause)))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.decoder.is_done() && self.inflate.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.len() as u64;
        match self.decoder {
            _ if self.inflate.is_some() => SizeHint::default(),
            Decoder::Sized(left) => SizeHint::with_exact(first + left),
            Decoder::Done => SizeHint::with_exact(first),
            Decoder::Chunked(_) | Decoder::ToEnd => SizeHint::default(),
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("decoder", &self.decoder).finish_non_exhaustive()
    }
}
