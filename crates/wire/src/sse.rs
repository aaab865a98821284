//! Server-sent events as the WHATWG specification reads them: CR, LF or CRLF, comments, several `data:` lines, a BOM, and
//! bytes that may be split anywhere.

use crate::json;

/// Longest line or event that is kept, in bytes; images come inside events.
pub const EVENT_BYTES_MAX: usize = 32 << 20;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// `event:`, if the frame had one.
    pub name: Option<String>,
    /// The `data:` lines, joined by LF.
    pub data: String,
}

/// An event was longer than [`EVENT_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a server-sent event is longer than {EVENT_BYTES_MAX} bytes")]
pub struct TooLong;

/// Turns bytes into events, however they are cut.
#[derive(Debug, Default)]
pub struct SseReader {
    line: Vec<u8>,
    name: Option<String>,
    data: Option<Vec<u8>>,
    started: bool,
    after_cr: bool,
}

impl SseReader {
    /// A reader at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads more bytes; gives every event that they complete to `each`.
    ///
    /// # Errors
    /// [`TooLong`]; the stream is then useless.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(SseEvent)) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            if self.after_cr {
                self.after_cr = false;
                if bytes[0] == b'\n' {
                    bytes = &bytes[1..];
                    continue;
                }
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) else {
                self.line.extend_from_slice(bytes);
                return self.check();
            };
            self.after_cr = bytes[end] == b'\r';
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            self.check()?;
            self.end_of_line(&mut each);
        }
        Ok(())
    }

    /// The stream has ended; an event without its empty line is given out as well (some servers forget it).
    pub fn finish(&mut self, mut each: impl FnMut(SseEvent)) {
        if !self.line.is_empty() {
            self.end_of_line(&mut each);
        }
        self.emit(&mut each);
    }

    fn check(&self) -> Result<(), TooLong> {
        let held = self.line.len() + self.data.as_ref().map_or(0, Vec::len);
        if held > EVENT_BYTES_MAX { Err(TooLong) } else { Ok(()) }
    }

    fn end_of_line(&mut self, each: &mut impl FnMut(SseEvent)) {
        let mut line = std::mem::take(&mut self.line);
        let mut text = line.as_slice();
        if !self.started {
            self.started = true;
            text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        }
        if text.is_empty() {
            self.emit(each);
        } else if text[0] != b':' {
            let (field, value) = match memchr::memchr(b':', text) {
                Some(at) => (&text[..at], text[at + 1..].strip_prefix(b" ").unwrap_or(&text[at + 1..])),
                None => (text, &[][..]),
            };
            match field {
                b"data" => match &mut self.data {
                    Some(data) => {
                        data.push(b'\n');
                        data.extend_from_slice(value);
                    }
                    None => self.data = Some(value.to_vec()),
                },
                b"event" => self.name = Some(String::from_utf8_lossy(value).into_owned()),
                _ => {}
            }
        }
        line.clear();
        self.line = line;
    }

    fn emit(&mut self, each: &mut impl FnMut(SseEvent)) {
        let name = self.name.take();
        if let Some(data) = self.data.take() {
            let data = String::from_utf8(data).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
            each(SseEvent { name, data });
        }
    }
}

/// Appends a `data:` frame with a JSON value.
pub fn write_json(out: &mut Vec<u8>, value: &serde_json::Value) {
    write_data(out, &json::text(value));
}

/// Appends a `data:` frame; `data` must not contain line breaks (JSON text does not).
pub fn write_data(out: &mut Vec<u8>, data: &[u8]) {
    out.reserve(data.len() + 8);
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(parts: &[&[u8]]) -> Vec<SseEvent> {
        let (mut reader, mut events) = (SseReader::new(), Vec::new());
        for part in parts {
            reader.feed(part, |e| events.push(e)).unwrap();
        }
        reader.finish(|e| events.push(e));
        events
    }

    fn event(name: Option<&str>, data: &str) -> SseEvent {
        SseEvent { name: name.map(str::to_owned), data: data.to_owned() }
    }

    #[test]
    fn reads_names_comments_and_several_data_lines() {
        let text = b"\xEF\xBB\xBF: hello\nevent: a\ndata: 1\ndata:2\n\nid: 7\nretry: 3\ndata\n\ndata: last";
        assert_eq!(read(&[text]), [event(Some("a"), "1\n2"), event(None, ""), event(None, "last")]);
    }

    #[test]
    fn takes_all_three_line_ends() {
        for text in ["data: x\n\ndata: y\n\n", "data: x\r\n\r\ndata: y\r\n\r\n", "data: x\r\rdata: y\r\r"] {
            assert_eq!(read(&[text.as_bytes()]), [event(None, "x"), event(None, "y")], "{text:?}");
        }
    }

    #[test]
    fn refuses_an_endless_line() {
        let mut reader = SseReader::new();
        let piece = vec![b'x'; 1 << 20];
        let result = (0..=EVENT_BYTES_MAX >> 20).try_for_each(|_| reader.feed(&piece, |_| ()));
        assert_eq!(result, Err(TooLong));
    }

    proptest! {
        #[test]
        fn splitting_the_bytes_anywhere_changes_nothing(lines in prop::collection::vec("(data: ?[a-zé{}:]{0,8}|event: [a-z]{1,4}|: c|)(\n|\r\n|\r)", 0..12), cuts in prop::collection::vec(0usize..200, 0..6)) {
            let text = lines.concat().into_bytes();
            let whole = read(&[&text]);
            let mut cuts: Vec<_> = cuts.into_iter().map(|c| c.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let parts: Vec<_> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            prop_assert_eq!(read(&parts), whole.clone());
            let bytes: Vec<_> = text.chunks(1).collect();
            prop_assert_eq!(read(&bytes), whole);
        }
    }
}
