//! Requests as the upstream saw them.

use bytes::{Buf, Bytes, BytesMut};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Largest head and body that the fake reads; a test that sends more is wrong.
const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;
const HEADERS_MAX: usize = 100;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// Which connection it came over, counted from 0.
    pub connection: usize,
}

impl Recorded {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// The next request of a connection; None at its end or when what comes is not HTTP.
pub(crate) async fn read<R: AsyncRead + Unpin>(from: &mut R, buffer: &mut BytesMut, connection: usize) -> Option<Recorded> {
    let mut request = loop {
        if let Some(head) = parse_head(buffer, connection)? {
            break head;
        }
        more(from, buffer).await?;
    };
    let body = if request.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        read_chunks(from, buffer).await?
    } else {
        let length = request.header("content-length").map_or(Some(0), |length| length.parse().ok())?;
        read_exactly(from, buffer, length).await?
    };
    request.body = body;
    Some(request)
}

/// The outer option is None where the bytes are no request, the inner where more are needed.
#[expect(clippy::option_option, reason = "two different absences, told apart by `?`")]
fn parse_head(buffer: &mut BytesMut, connection: usize) -> Option<Option<Recorded>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(buffer).ok()? else { return Some(None) };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let recorded = Recorded {
        method: head.method?.to_owned(),
        target: head.path?.to_owned(),
        headers: head.headers.iter().map(|header| (header.name.to_ascii_lowercase(), text(header.value))).collect(),
        body: Bytes::new(),
        connection,
    };
    buffer.advance(length);
    Some(Some(recorded))
}

async fn more<R: AsyncRead + Unpin>(from: &mut R, buffer: &mut BytesMut) -> Option<()> {
    let read = from.read_buf(buffer).await.ok()?;
    (read > 0 && buffer.len() <= REQUEST_BYTES_MAX).then_some(())
}

async fn read_exactly<R: AsyncRead + Unpin>(from: &mut R, buffer: &mut BytesMut, length: usize) -> Option<Bytes> {
    while buffer.len() < length {
        more(from, buffer).await?;
    }
    Some(buffer.split_to(length).freeze())
}

async fn read_chunks<R: AsyncRead + Unpin>(from: &mut R, buffer: &mut BytesMut) -> Option<Bytes> {
    let mut body = BytesMut::new();
    loop {
        match httparse::parse_chunk_size(buffer).ok()? {
            httparse::Status::Partial => more(from, buffer).await?,
            httparse::Status::Complete((head, size)) => {
                buffer.advance(head);
                let size = usize::try_from(size).ok().filter(|size| body.len() + size <= REQUEST_BYTES_MAX)?;
                let chunk = read_exactly(from, buffer, size + 2).await?;
                if size == 0 {
                    return Some(body.freeze());
                }
                body.extend_from_slice(&chunk[..size]);
            }
        }
    }
}
