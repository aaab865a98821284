//! Whole answers, bounded.

use std::{future::poll_fn, pin::pin};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::Body as HttpBody;
use tokio::time::timeout;

use crate::{
    body::Body,
    client::{Client, Timeouts},
    error::{Error, Phase},
};

impl Client {
    /// Sends a request and reads the whole answer, of any status: at most `body_bytes_max` bytes, within all four timers.
    pub async fn fetch(&self, request: Request<Body>, timeouts: &Timeouts, body_bytes_max: usize) -> Result<Response<Bytes>, Error> {
        let exchange = async {
            let (head, body) = self.send(request, timeouts).await?.into_parts();
            let body = read_all(body.with_idle_timeout(timeouts.idle), body_bytes_max).await?;
            Ok(Response::from_parts(head, body))
        };
        timeout(timeouts.total, exchange).await.map_err(|_elapsed| Error::Timeout(Phase::Total))?
    }
}

/// Reads a body to its end. More than `bytes_max` is [`Error::TooLarge`], and the rest is not read. A body of one piece is not copied.
pub async fn read_all<B>(body: B, bytes_max: usize) -> Result<Bytes, Error>
where
    B: HttpBody<Data = Bytes, Error = Error>,
{
    let too_large = Error::TooLarge { max: bytes_max };
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large);
    }
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0);
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let Ok(piece) = frame?.into_data() else { continue };
        if first.len() + rest.len() + piece.len() > bytes_max {
            return Err(too_large);
        }
        if rest.is_empty() && first.is_empty() {
            first = piece;
        } else {
            if rest.is_empty() {
                rest.reserve(expected.max(first.len() + piece.len()));
                rest.extend_from_slice(&first);
                first = Bytes::new();
            }
            rest.extend_from_slice(&piece);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}
