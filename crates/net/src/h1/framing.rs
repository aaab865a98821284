//! Where an answer's body ends (RFC 9112, section 6).

use bytes::Bytes;
use http::{
    HeaderMap, Method, StatusCode,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};

/// Longest size line of a chunk, its extensions included, and all trailers together.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// Takes an answer's body out of the connection's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decoder {
    /// So many bytes are still to come.
    Sized(u64),
    Chunked(Chunks),
    /// Until the connection is closed.
    ToEnd,
    Done,
}

/// What one read brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Of the body; may be empty.
    pub(crate) data: Bytes,
    /// Bytes of the connection that belong to it; what is beyond does not belong to this answer.
    pub(crate) used: usize,
}

impl Decoder {
    /// The framing that an answer's head announces. An error where it contradicts itself.
    pub(crate) fn of(method: &Method, status: StatusCode, headers: &HeaderMap) -> Result<Self, String> {
        if method == Method::HEAD || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
            return Ok(Self::Done);
        }
        if let Some(coding) = headers.get_all(TRANSFER_ENCODING).iter().next_back() {
            let last = coding.as_bytes().rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
            return Ok(if last.eq_ignore_ascii_case(b"chunked") { Self::Chunked(Chunks::default()) } else { Self::ToEnd });
        }
        let mut length = None;
        for value in headers.get_all(CONTENT_LENGTH) {
            let text = value.as_bytes();
            let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let stated: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or("a content-length that is no number")?;
            if length.is_some_and(|known| known != stated) {
                return Err("two different content-lengths".into());
            }
            length = Some(stated);
        }
        Ok(match length {
            None => Self::ToEnd,
            Some(0) => Self::Done,
            Some(length) => Self::Sized(length),
        })
    }

    pub(crate) fn is_done(&self) -> bool {
        *self == Self::Done
    }

    /// The body's part of `raw`. Needs more than nothing.
    pub(crate) fn decode(&mut self, raw: &[u8]) -> Result<Piece, String> {
        match self {
            Self::Sized(left) => {
                let used = usize::try_from(*left).unwrap_or(usize::MAX).min(raw.len());
                *left -= used as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(Piece { data: Bytes::copy_from_slice(&raw[..used]), used })
            }
            Self::Chunked(chunks) => {
                let mut data = Vec::with_capacity(raw.len());
                let used = chunks.take(raw, &mut data)?;
                if chunks.state == State::Done {
                    *self = Self::Done;
                }
                Ok(Piece { data: data.into(), used })
            }
            Self::ToEnd => Ok(Piece { data: Bytes::copy_from_slice(raw), used: raw.len() }),
            Self::Done => Ok(Piece { data: Bytes::new(), used: 0 }),
        }
    }

    /// The connection is closed: whether the body is whole.
    pub(crate) fn close(&mut self) -> bool {
        let is_whole = matches!(self, Self::ToEnd | Self::Done);
        *self = Self::Done;
        is_whole
    }
}

/// The state between two bytes of a chunked body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Chunks {
    state: State,
    /// Of the size being read, or of the chunk's bytes still to come.
    left: u64,
    /// Bytes of the present line, or of all trailers.
    line: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Before the first digit of a size.
    #[default]
    Start,
    Digits,
    /// Behind the digits, up to the line's end.
    Extension,
    Data,
    /// The line end behind a chunk's bytes.
    DataEnd,
    /// At the start of a trailer's line.
    Trailers,
    TrailerLine,
    Done,
}

impl Chunks {
    /// Appends the chunks' bytes to `out`; returns how much of `raw` was used.
    fn take(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<usize, String> {
        let mut at = 0;
        while at < raw.len() && self.state != State::Done {
            if self.state == State::Data {
                let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(raw.len() - at);
                out.extend_from_slice(&raw[at..at + taken]);
                at += taken;
                self.left -= taken as u64;
                if self.left == 0 {
                    self.state = State::DataEnd;
                }
                continue;
            }
            self.byte(raw[at])?;
            at += 1;
        }
        Ok(at)
    }

    fn byte(&mut self, byte: u8) -> Result<(), String> {
        self.line += 1;
        if self.line > LINE_BYTES_MAX {
            return Err("a chunk's line or the trailers are too long".into());
        }
        match (self.state, byte) {
            (State::Start | State::Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                self.left = self.left.checked_mul(16).and_then(|left| left.checked_add(digit)).ok_or("a chunk's size is too large")?;
                self.state = State::Digits;
            }
            (State::Digits | State::Extension, b'\n') => self.size_is_known(),
            (State::Digits, b'\r' | b';' | b' ' | b'\t') => self.state = State::Extension,
            (State::DataEnd, b'\r') if self.line == 1 => {}
            (State::DataEnd, b'\n') => *self = Self::default(),
            (State::Trailers, b'\n') => self.state = State::Done,
            (State::TrailerLine, b'\n') => self.state = State::Trailers,
            (State::Trailers, b'\r') | (State::Extension | State::TrailerLine, _) => {}
            (State::Trailers, _) => self.state = State::TrailerLine,
            _ => return Err("a chunk is not framed as it should be".into()),
        }
        Ok(())
    }

    fn size_is_known(&mut self) {
        self.line = 0;
        self.state = if self.left == 0 { State::Trailers } else { State::Data };
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::{Chunks, Decoder};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_head_says_where_the_body_ends() {
        let of = |method: Method, status: u16, pairs: &[(&'static str, &'static str)]| {
            Decoder::of(&method, StatusCode::from_u16(status).expect("a status"), &headers(pairs))
        };
        let chunked = Decoder::Chunked(Chunks::default());
        assert_eq!(of(Method::GET, 200, &[("content-length", "5")]), Ok(Decoder::Sized(5)));
        assert_eq!(of(Method::GET, 200, &[("content-length", "5"), ("content-length", "5")]), Ok(Decoder::Sized(5)));
        assert_eq!(of(Method::GET, 200, &[("transfer-encoding", "Chunked"), ("content-length", "5")]), Ok(chunked));
        assert_eq!(of(Method::GET, 200, &[("transfer-encoding", "gzip, chunked")]), Ok(chunked));
        assert_eq!(of(Method::GET, 200, &[("transfer-encoding", "gzip")]), Ok(Decoder::ToEnd));
        assert_eq!(of(Method::GET, 200, &[]), Ok(Decoder::ToEnd));
        for nothing in [of(Method::HEAD, 200, &[("content-length", "5")]), of(Method::GET, 204, &[]), of(Method::GET, 304, &[])] {
            assert_eq!(nothing, Ok(Decoder::Done));
        }
        for wrong in ["", "x", "-1", "+5", "5,5", "99999999999999999999"] {
            assert!(of(Method::GET, 200, &[("content-length", wrong)]).is_err(), "{wrong}");
        }
        assert!(of(Method::GET, 200, &[("content-length", "5"), ("content-length", "6")]).is_err());
    }

    #[test]
    fn chunks_with_extensions_and_trailers_end_where_they_end() {
        let raw = b"4;name=\"v\"\r\nwiki\r\n00005 \r\npedia\r\n0\r\nA: b\r\nC: d\r\n\r\nHTTP/1.1";
        let mut decoder = Decoder::Chunked(Chunks::default());
        let piece = decoder.decode(raw).expect("valid");
        assert_eq!((&piece.data[..], &raw[piece.used..]), (&b"wikipedia"[..], &b"HTTP/1.1"[..]));
        assert!(decoder.is_done());
    }

    #[test]
    fn what_is_not_framed_is_refused() {
        for wrong in ["\r\n", "x\r\n", "1\r\nabc", "1\r\na\r\r\n", "-1\r\n", "fffffffffffffffff\r\n", "1\r\na\n\n"] {
            assert!(Chunks::default().take(wrong.as_bytes(), &mut Vec::new()).is_err(), "{wrong:?}");
        }
        let endless = [b"1;".as_slice(), &vec![b'x'; 20_000]].concat();
        assert!(Chunks::default().take(&endless, &mut Vec::new()).is_err());
        let trailers = ["0\r\n", &"a: b\r\n".repeat(4000)].concat();
        assert!(Chunks::default().take(trailers.as_bytes(), &mut Vec::new()).is_err());
    }

    #[test]
    fn a_close_ends_only_what_it_may_end() {
        assert!(Decoder::ToEnd.close() && Decoder::Done.close());
        assert!(!Decoder::Sized(1).close() && !Decoder::Chunked(Chunks::default()).close());
    }

    proptest! {
        #[test]
        fn splitting_the_bytes_anywhere_changes_nothing(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            size in 1_usize..50,
        ) {
            let mut raw = Vec::new();
            for chunk in &chunks {
                raw.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                raw.extend_from_slice(chunk);
                raw.extend_from_slice(b"\r\n");
            }
            raw.extend_from_slice(b"0\r\n\r\n");
            let mut decoder = Decoder::Chunked(Chunks::default());
            let mut body = Vec::new();
            for part in raw.chunks(size) {
                let piece = decoder.decode(part).expect("valid");
                prop_assert_eq!(piece.used, part.len());
                body.extend_from_slice(&piece.data);
            }
            prop_assert_eq!(body, chunks.concat());
            prop_assert_eq!(decoder, Decoder::Done);
        }

        #[test]
        fn no_bytes_make_it_panic(raw in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::Chunked(Chunks::default());
            let _ = decoder.decode(&raw);
        }
    }
}
