//! A small HTTP/1.1 client that costs the measuring core little and says when each piece of an answer came.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::clock::now_ns;

const CONNECT_LIMIT: Duration = Duration::from_secs(20);
const HEADERS_MAX: usize = 96;
/// Longest answer kept.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An answer read to its end.
#[derive(Debug, Default, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// The connection cannot be used again.
    pub(crate) closes: bool,
    /// How many targets a router asked for it, as it says.
    pub(crate) attempts: u32,
}

/// How long the body is.
enum Length {
    Bytes(usize),
    Chunked,
    UntilClosed,
}

pub(crate) struct Connection {
    stream: TcpStream,
    raw: Vec<u8>,
    /// What of `raw` was taken.
    at: usize,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Result<Self> {
        let stream = timeout(CONNECT_LIMIT, TcpStream::connect(address)).await.context("connecting took too long")??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, raw: Vec::with_capacity(8192), at: 0 })
    }

    /// One exchange. `on` sees the decoded body so far and the time, after every read that added to it.
    pub(crate) async fn call(&mut self, request: &[u8], mut on: impl FnMut(&[u8], u64)) -> Result<Answer> {
        self.stream.write_all(request).await?;
        let (mut answer, length) = self.head().await?;
        match length {
            Length::Bytes(length) => self.sized(&mut answer, length, &mut on).await?,
            Length::Chunked => self.chunked(&mut answer, &mut on).await?,
            Length::UntilClosed => self.rest(&mut answer, &mut on).await?,
        }
        Ok(answer)
    }

    async fn fill(&mut self) -> Result<usize> {
        if self.at > 0 && self.at == self.raw.len() {
            self.raw.clear();
            self.at = 0;
        }
        Ok(self.stream.read_buf(&mut self.raw).await?)
    }

    async fn more(&mut self) -> Result<()> {
        if self.fill().await? == 0 {
            bail!("the connection was closed within an answer");
        }
        Ok(())
    }

    async fn head(&mut self) -> Result<(Answer, Length)> {
        loop {
            self.more().await?;
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut head = httparse::Response::new(&mut headers);
            let httparse::Status::Complete(length) = head.parse(&self.raw[self.at..])? else { continue };
            let mut answer = Answer { status: head.code.unwrap_or(0), ..Answer::default() };
            let mut body = None;
            for header in head.headers.iter() {
                if header.name.eq_ignore_ascii_case("content-length") {
                    body = body.or(Some(Length::Bytes(std::str::from_utf8(header.value)?.trim().parse()?)));
                } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                    body = Some(Length::Chunked);
                } else if header.name.eq_ignore_ascii_case("x-llm-router-attempts") {
                    answer.attempts = std::str::from_utf8(header.value)?.trim().parse()?;
                } else if header.name.eq_ignore_ascii_case("connection") {
                    answer.closes = header.value.eq_ignore_ascii_case(b"close");
                }
            }
            self.at += length;
            return Ok((answer, body.unwrap_or(Length::UntilClosed)));
        }
    }

    async fn sized(&mut self, answer: &mut Answer, length: usize, on: &mut impl FnMut(&[u8], u64)) -> Result<()> {
        loop {
            let have = (self.raw.len() - self.at).min(length - answer.body.len());
            if have > 0 {
                answer.body.extend_from_slice(&self.raw[self.at..self.at + have]);
                self.at += have;
                on(&answer.body, now_ns());
            }
            if answer.body.len() == length {
                return Ok(());
            }
            self.more().await?;
        }
    }

    async fn chunked(&mut self, answer: &mut Answer, on: &mut impl FnMut(&[u8], u64)) -> Result<()> {
        let mut chunks = Chunks::default();
        loop {
            let before = answer.body.len();
            self.at += chunks.take(&self.raw[self.at..], &mut answer.body)?;
            if answer.body.len() > before {
                on(&answer.body, now_ns());
            }
            if chunks.state == ChunkState::Done {
                return Ok(());
            }
            if answer.body.len() > BODY_BYTES_MAX {
                bail!("an answer of more than {BODY_BYTES_MAX} bytes");
            }
            self.more().await?;
        }
    }

    async fn rest(&mut self, answer: &mut Answer, on: &mut impl FnMut(&[u8], u64)) -> Result<()> {
        answer.closes = true;
        loop {
            if self.at < self.raw.len() {
                answer.body.extend_from_slice(&self.raw[self.at..]);
                self.at = self.raw.len();
                on(&answer.body, now_ns());
            }
            if answer.body.len() > BODY_BYTES_MAX {
                bail!("an answer of more than {BODY_BYTES_MAX} bytes");
            }
            if self.fill().await? == 0 {
                return Ok(());
            }
        }
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum ChunkState {
    #[default]
    Size,
    Data,
    DataEnd,
    Trailer,
    Done,
}

/// Takes HTTP's chunks apart, wherever the reads fall.
#[derive(Debug, Default)]
struct Chunks {
    state: ChunkState,
    left: usize,
}

impl Chunks {
    /// Appends what `raw` holds of the body to `out`; returns how many bytes of `raw` were used.
    fn take(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<usize> {
        let mut used = 0;
        loop {
            let rest = &raw[used..];
            match self.state {
                ChunkState::Size | ChunkState::Trailer => {
                    let Some(end) = memmem::find(rest, b"\r\n") else { return Ok(used) };
                    used += end + 2;
                    if self.state == ChunkState::Size {
                        let digits = std::str::from_utf8(&rest[..end])?.split(';').next().unwrap_or_default();
                        self.left = usize::from_str_radix(digits.trim(), 16).context("a chunk without a size")?;
                        self.state = if self.left == 0 { ChunkState::Trailer } else { ChunkState::Data };
                    } else if end == 0 {
                        self.state = ChunkState::Done;
                    }
                }
                ChunkState::Data => {
                    if rest.is_empty() {
                        return Ok(used);
                    }
                    let taken = self.left.min(rest.len());
                    out.extend_from_slice(&rest[..taken]);
                    used += taken;
                    self.left -= taken;
                    if self.left == 0 {
                        self.state = ChunkState::DataEnd;
                    }
                }
                ChunkState::DataEnd => {
                    if rest.len() < 2 {
                        return Ok(used);
                    }
                    used += 2;
                    self.state = ChunkState::Size;
                }
                ChunkState::Done => return Ok(used),
            }
        }
    }
}

/// A whole answer to one request over a connection of its own.
pub(crate) async fn once(address: &str, request: &[u8], limit: Duration) -> Result<Answer> {
    let exchange = async { Connection::open(address).await?.call(request, |_body, _time| {}).await };
    timeout(limit, exchange).await.context("no answer in time")?
}

/// The text at a path, whatever the status.
pub(crate) async fn get(address: &str, path: &str) -> Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    let answer = once(address, request.as_bytes(), Duration::from_secs(30)).await?;
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}

/// A `POST` of JSON with further header lines, ready to be sent.
pub(crate) fn post(host: &str, path: &str, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut request =
        format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\naccept: */*\r\ncontent-length: {length}\r\n");
    for (name, value) in headers {
        request.extend([name, ": ", value, "\r\n"]);
    }
    request.push_str("\r\n");
    let mut request = request.into_bytes();
    request.extend_from_slice(body);
    request
}

#[cfg(test)]
mod tests {
    use super::{ChunkState, Chunks};

    #[test]
    fn chunks_are_the_same_wherever_they_are_split() {
        let raw = b"4;x=y\r\nwiki\r\n5\r\npedia\r\n0\r\nTrailer: 1\r\n\r\n";
        for size in 1..raw.len() {
            let (mut chunks, mut out, mut held) = (Chunks::default(), Vec::new(), Vec::new());
            for piece in raw.chunks(size) {
                held.extend_from_slice(piece);
                let used = chunks.take(&held, &mut out).expect("valid");
                held.drain(..used);
            }
            assert_eq!((out.as_slice(), chunks.state), (&b"wikipedia"[..], ChunkState::Done), "pieces of {size}");
        }
        assert!(Chunks::default().take(b"zz\r\n", &mut Vec::new()).is_err());
    }
}
