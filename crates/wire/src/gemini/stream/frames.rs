//! Cuts a stream's bytes into frames, whichever of its two forms it has.

use super::Frame;
use crate::sse::{EVENT_BYTES_MAX, SseReader, TooLong};

/// Bytes into frames.
#[derive(Debug, Default)]
pub(super) enum Frames {
    /// Nothing but white space or a byte order mark so far.
    #[default]
    Unknown,
    Sse(SseReader),
    Json(JsonReader),
}

impl Frames {
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) -> Result<(), TooLong> {
        if let Self::Unknown = self {
            let blank = |b: &u8| b.is_ascii_whitespace() || b"\xEF\xBB\xBF".contains(b);
            let begin = bytes.iter().position(|b| !blank(b)).unwrap_or(bytes.len());
            bytes = &bytes[begin..];
            match bytes.first() {
                None => return Ok(()),
                Some(b'[' | b'{') => *self = Self::Json(JsonReader::default()),
                Some(_) => *self = Self::Sse(SseReader::new()),
            }
        }
        match self {
            Self::Unknown => Ok(()),
            Self::Sse(sse) => sse.feed(bytes, |event| of(event.data).into_iter().for_each(&mut each)),
            Self::Json(json) => json.feed(bytes, each),
        }
    }

    pub(super) fn finish(&mut self, mut each: impl FnMut(Frame)) {
        if let Self::Sse(sse) = self {
            sse.finish(|event| of(event.data).into_iter().for_each(&mut each));
        }
    }
}

/// Some gateways in front of Google add OpenAI's end mark, or empty frames to keep the line open.
fn of(data: String) -> Option<Frame> {
    match data.trim() {
        "" => None,
        "[DONE]" => Some(Frame::End),
        _ => Some(Frame::Json(data)),
    }
}

/// Finds the objects of one JSON array, or of a row of objects.
#[derive(Debug, Default)]
pub(super) struct JsonReader {
    object: Vec<u8>,
    depth: u32,
    in_text: bool,
    escaped: bool,
}

impl JsonReader {
    fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Frame)) -> Result<(), TooLong> {
        let mut begin = 0;
        for (at, byte) in bytes.iter().enumerate() {
            if self.depth == 0 {
                match byte {
                    b'{' => (self.depth, begin) = (1, at),
                    b']' => each(Frame::End),
                    _ => {}
                }
                continue;
            }
            self.step(*byte);
            if self.depth == 0 {
                self.object.extend_from_slice(&bytes[begin..=at]);
                let object = std::mem::take(&mut self.object);
                each(Frame::Json(String::from_utf8(object).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())));
            }
        }
        if self.depth > 0 {
            self.object.extend_from_slice(&bytes[begin..]);
        }
        if self.object.len() > EVENT_BYTES_MAX { Err(TooLong) } else { Ok(()) }
    }

    fn step(&mut self, byte: u8) {
        if self.in_text {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_text = false,
                _ => {}
            }
        } else {
            match byte {
                b'"' => self.in_text = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth -= 1,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(parts: &[&[u8]]) -> Vec<Frame> {
        let (mut frames, mut out) = (Frames::default(), Vec::new());
        for part in parts {
            frames.feed(part, |f| out.push(f)).unwrap();
        }
        frames.finish(|f| out.push(f));
        out
    }

    fn json(text: &str) -> Frame {
        Frame::Json(text.to_owned())
    }

    #[test]
    fn tells_the_two_forms_apart() {
        let sse = "\u{feff}\r\ndata: {\"a\":\"é\"}\r\n\r\ndata: [DONE]\n\n";
        let array = "\n [{\"a\":\"}]\\\"\",\"b\":[{}]}\n,\r\n{\"é\":1}]\n";
        for (text, wanted) in
            [(sse, vec![json(r#"{"a":"é"}"#), Frame::End]), (array, vec![json(r#"{"a":"}]\"","b":[{}]}"#), json(r#"{"é":1}"#), Frame::End])]
        {
            assert_eq!(read(&[text.as_bytes()]), wanted);
            assert_eq!(read(&text.as_bytes().chunks(1).collect::<Vec<_>>()), wanted, "byte by byte");
            assert_eq!(read(&text.as_bytes().chunks(7).collect::<Vec<_>>()), wanted, "in sevens");
        }
    }

    #[test]
    fn refuses_an_endless_object() {
        let (mut frames, piece) = (Frames::default(), vec![b'x'; 1 << 20]);
        frames.feed(b"[{\"a\":\"", |_| ()).unwrap();
        let result = (0..=EVENT_BYTES_MAX >> 20).try_for_each(|_| frames.feed(&piece, |_| ()));
        assert_eq!(result, Err(TooLong));
    }
}
