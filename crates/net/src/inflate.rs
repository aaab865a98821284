//! Answers that come compressed although nobody asked for that: servers behind some caches send them so.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::{HeaderMap, header};

/// Most bytes that one piece of an answer may grow to; what holds more was made to be large.
const PIECE_BYTES_MAX: usize = 64 << 20;

/// Reads a body that gzip has compressed piece by piece.
pub(crate) struct Inflate(MultiGzDecoder<Sink>);

impl Inflate {
    /// For an answer whose head says that it is compressed so; the head then no longer says that, nor how long the body is.
    pub(crate) fn of(headers: &mut HeaderMap) -> Option<Box<Self>> {
        let encoding = headers.get(header::CONTENT_ENCODING)?.as_bytes().trim_ascii();
        if !encoding.eq_ignore_ascii_case(b"gzip") && !encoding.eq_ignore_ascii_case(b"x-gzip") {
            return None;
        }
        headers.remove(header::CONTENT_ENCODING);
        headers.remove(header::CONTENT_LENGTH);
        Some(Box::new(Self(MultiGzDecoder::new(Sink::default()))))
    }

    /// What a piece says. Errors: it is not compressed so, or grows beyond all measure.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> io::Result<Bytes> {
        self.0.write_all(piece)?;
        self.0.flush()?;
        Ok(self.taken())
    }

    /// What is left at the end. Errors: it broke off.
    pub(crate) fn finish(&mut self) -> io::Result<Bytes> {
        self.0.try_finish()?;
        Ok(self.taken())
    }

    fn taken(&mut self) -> Bytes {
        std::mem::take(&mut self.0.get_mut().0).into()
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

    fn inflate(encoding: &'static str) -> Option<Box<Inflate>> {
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
        assert!(inflate("br").is_none() && inflate("identity").is_none());
        assert!(inflate("gzip").unwrap().feed(b"{\"no\": 1, \"gzip\": 2}").is_err());
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&vec![0; PIECE_BYTES_MAX + 1]).unwrap();
        assert!(inflate("gzip").unwrap().feed(&gzip.finish().unwrap()).is_err());
    }
}
