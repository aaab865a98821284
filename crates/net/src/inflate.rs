//! Answers that come compressed although nobody asked for that: servers behind some caches send them so.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::{HeaderMap, header};

/// Most bytes that one piece of an answer may grow to; what holds more was made to be large.
const PIECE_BYTES_MAX: usize = 64 << 20;

/// Longest name of a compression that is told.
const NAME_BYTES_MAX: usize = 32;

/// Reads a compressed body piece by piece.
pub(crate) enum Inflate {
    /// By gzip.
    Gzip(Box<MultiGzDecoder<Sink>>),
    /// In a way that nobody reads here, and nobody asked for.
    Unread(String),
}

impl Inflate {
    /// For an answer whose head says that it is compressed; the head then no longer says that, nor how long the body is.
    pub(crate) fn of(headers: &mut HeaderMap) -> Option<Self> {
        let encoding = headers.get(header::CONTENT_ENCODING)?.as_bytes().trim_ascii();
        let is = |name: &[u8]| encoding.eq_ignore_ascii_case(name);
        if encoding.is_empty() || is(b"identity") {
            return None;
        }
        let inflate = if is(b"gzip") || is(b"x-gzip") {
            Self::Gzip(Box::new(MultiGzDecoder::new(Sink::default())))
        } else {
            Self::Unread(String::from_utf8_lossy(&encoding[..encoding.len().min(NAME_BYTES_MAX)]).into_owned())
        };
        headers.remove(header::CONTENT_ENCODING);
        headers.remove(header::CONTENT_LENGTH);
        Some(inflate)
    }

    /// What a piece says. Errors: it is not compressed as it says, or grows beyond all measure.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<Bytes, String> {
        self.read(|gzip| gzip.write_all(piece).and_then(|()| gzip.flush()))
    }

    /// What is left at the end. Errors: it broke off.
    pub(crate) fn finish(&mut self) -> Result<Bytes, String> {
        self.read(MultiGzDecoder::try_finish)
    }

    fn read(&mut self, step: impl FnOnce(&mut MultiGzDecoder<Sink>) -> io::Result<()>) -> Result<Bytes, String> {
        match self {
            Self::Gzip(gzip) => {
                step(gzip).map_err(|e| format!("it is not compressed as it says: {e}"))?;
                Ok(std::mem::take(&mut gzip.get_mut().0).into())
            }
            Self::Unread(encoding) => Err(format!("it is compressed with `{encoding}`, which was not asked for")),
        }
    }
}

/// What came out, within a bound.
#[derive(Default)]
pub(crate) struct Sink(Vec<u8>);

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.0.len() + data.len() > PIECE_BYTES_MAX {
            return Err(io::Error::other("a compressed piece grows beyond all measure"));
        }
        self.0.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};
    use http::HeaderValue;

    use super::*;

    fn inflate(encoding: &'static str) -> Option<Inflate> {
        let mut headers =
            HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static(encoding)), (header::CONTENT_LENGTH, 5.into())]);
        let found = Inflate::of(&mut headers);
        assert_eq!(headers.is_empty(), found.is_some(), "{encoding}");
        found
    }

    #[test]
    fn pieces_come_out_as_they_come_in_and_together_are_the_whole() {
        let text = "data: {\"word\": \"über\"}\n\n".repeat(500);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        let bytes = gzip.finish().unwrap();
        for size in [1, 7, 1 << 20] {
            let mut inflate = inflate("GZIP").unwrap();
            let mut out = Vec::new();
            bytes.chunks(size).for_each(|piece| out.extend_from_slice(&inflate.feed(piece).unwrap()));
            out.extend_from_slice(&inflate.finish().unwrap());
            assert!(out == text.as_bytes(), "by {size}");
        }
        let mut cut = inflate("gzip").unwrap();
        assert!(cut.feed(&bytes[..bytes.len() / 2]).and_then(|_| cut.finish()).is_err(), "cut off");
    }

    #[test]
    fn a_flushed_piece_is_there_at_once() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        let mut inflate = inflate("x-gzip").unwrap();
        for word in ["one", "two"] {
            gzip.write_all(word.as_bytes()).unwrap();
            gzip.flush().unwrap();
            assert_eq!(inflate.feed(&std::mem::take(gzip.get_mut())).unwrap(), word);
        }
    }

    #[test]
    fn what_is_not_compressed_so_is_refused_and_bombs_are() {
        assert!(inflate("identity").is_none());
        for name in ["br", "zstd", "deflate, gzip"] {
            let said = inflate(name).unwrap().feed(b"x").unwrap_err();
            assert_eq!(said, format!("it is compressed with `{name}`, which was not asked for"));
        }
        assert!(inflate("gzip").unwrap().feed(b"{\"no\": 1, \"gzip\": 2}").is_err());
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&vec![0; PIECE_BYTES_MAX + 1]).unwrap();
        assert!(inflate("gzip").unwrap().feed(&gzip.finish().unwrap()).is_err());
    }
}
