//! Multipart forms (RFC 7578) read on their way: where the field `model` stands, however the bytes are cut. Files pass unread.

use std::ops::Range;

use memchr::memmem::{self, Finder};

use crate::{
    error::{Code, Failure},
    head::MODEL_BYTES_MAX,
};

/// Longest head of a part.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// Longest boundary (RFC 2046, 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

/// The field `model` of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub model: String,
    /// Where its text stands, in bytes from the beginning of the body.
    pub at: Range<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a part that does not matter, or before the first.
    Seek,
    /// After a delimiter.
    Head,
    /// In the field `model`.
    Value,
    /// After the last delimiter.
    Over,
}

/// Reads a form piece by piece, holding no more than a delimiter, a head or a name.
#[derive(Debug)]
pub struct Scanner {
    /// A line break, two dashes and the boundary.
    delimiter: Finder<'static>,
    held: Vec<u8>,
    /// How far the body has been let go, counted with the line break that is thought before it.
    gone: u64,
    state: State,
    is_named: bool,
}

/// The line break that belongs to the first delimiter.
const BEFORE: &[u8] = b"\r\n";

impl Scanner {
    /// A scanner at the beginning of a body of this content type; `None` where that is no form.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] for a form without a boundary.
    pub fn of(content_type: &str) -> Option<Result<Self, Failure>> {
        let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
            return None;
        }
        let boundary = parameters_of(parameters)
            .into_iter()
            .find_map(|(name, value)| (name == "boundary").then_some(value))
            .filter(|b| !b.is_empty() && b.len() <= BOUNDARY_BYTES_MAX);
        Some(boundary.map(|b| Self::new(&b)).ok_or_else(|| {
            Failure::new(Code::InvalidRequest, format!("the form has no boundary of 1 to {BOUNDARY_BYTES_MAX} bytes in its `content-type`"))
        }))
    }

    fn new(boundary: &str) -> Self {
        let delimiter = Finder::new(format!("\r\n--{boundary}").as_bytes()).into_owned();
        Self { delimiter, held: BEFORE.to_vec(), gone: 0, state: State::Seek, is_named: false }
    }

    /// Whether the last delimiter was seen.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// What stands before a model's name in a form whose first part names it; a line break comes after the name.
    pub fn lead(&self) -> Vec<u8> {
        let mut lead = self.delimiter.needle()[BEFORE.len()..].to_vec();
        lead.extend_from_slice(b"\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n");
        lead
    }

    /// Reads the next piece; gives the field `model` where it ends in it.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`]: a head beyond its bound, a name that is none, the field twice.
    pub fn feed(&mut self, piece: &[u8]) -> Result<Option<Named>, Failure> {
        self.held.extend_from_slice(piece);
        let mut named = None;
        loop {
            match self.state {
                State::Over => {
                    self.let_go(self.held.len());
                    return Ok(named);
                }
                State::Seek => match self.delimiter.find(&self.held) {
                    Some(at) => self.enter(at + self.delimiter.needle().len(), State::Head),
                    None => {
                        self.let_go(self.held.len().saturating_sub(self.delimiter.needle().len() - 1));
                        return Ok(named);
                    }
                },
                State::Head => {
                    if self.held.starts_with(b"--") {
                        self.state = State::Over;
                        continue;
                    }
                    let Some(end) = memmem::find(&self.held, b"\r\n\r\n") else {
                        return if self.held.len() > HEAD_BYTES_MAX {
                            Err(invalid("the head of a part of the form is too long"))
                        } else {
                            Ok(named)
                        };
                    };
                    let is_model = is_model(&self.held[..end])?;
                    if is_model && std::mem::replace(&mut self.is_named, true) {
                        return Err(Failure::invalid("model", "the form has the field `model` twice"));
                    }
                    self.enter(end + 4, if is_model { State::Value } else { State::Seek });
                }
                State::Value => match self.delimiter.find(&self.held) {
                    Some(end) => {
                        named = Some(self.named(end)?);
                        self.enter(end + self.delimiter.needle().len(), State::Head);
                    }
                    None if self.held.len() > MODEL_BYTES_MAX + self.delimiter.needle().len() => return Err(no_name()),
                    None => return Ok(named),
                },
            }
        }
    }

    fn named(&self, end: usize) -> Result<Named, Failure> {
        let text = std::str::from_utf8(&self.held[..end]).map_err(|_| no_name())?;
        if text.len() > MODEL_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(no_name());
        }
        let start = self.gone - BEFORE.len() as u64;
        Ok(Named { model: text.to_owned(), at: start..start + end as u64 })
    }

    fn enter(&mut self, bytes: usize, state: State) {
        self.let_go(bytes);
        self.state = state;
    }

    fn let_go(&mut self, bytes: usize) {
        self.held.drain(..bytes);
        self.gone += bytes as u64;
    }
}

fn invalid(message: &str) -> Failure {
    Failure::new(Code::InvalidRequest, message)
}

fn no_name() -> Failure {
    Failure::invalid(
        "model",
        format!("the form's field `model` is no model name: at most {MODEL_BYTES_MAX} bytes of text without control characters"),
    )
}

/// Whether the head of a part is that of the field `model` to any server that reads it: an upstream must not find a model that was not looked at
/// here.
fn is_model(head: &[u8]) -> Result<bool, Failure> {
    // A line that begins with a blank goes on with the one before.
    let head = String::from_utf8_lossy(head).replace("\r\n", "\n").replace("\n ", " ").replace("\n\t", " ");
    let mut is_model = false;
    for line in head.split(['\n', '\r']) {
        let Some((name, value)) = line.split_once(':') else { continue };
        if !name.trim().eq_ignore_ascii_case("content-disposition") {
            continue;
        }
        for (name, value) in parameters_of(value.split_once(';').map_or("", |(_, parameters)| parameters)) {
            if name.starts_with("name*") {
                return Err(invalid(
                    "a field of the form is named by `name*`, which forms must not use (RFC 7578, 4.2): only `name` is read",
                ));
            }
            is_model |= name == "name" && value.trim() == "model";
        }
    }
    Ok(is_model)
}

/// The parameters of a header, quoted or not, up to one that cannot be read; names in lower case.
fn parameters_of(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let (value, left) = if let Some(quoted) = after.strip_prefix('"') {
            let Some((value, end)) = unquoted(quoted) else { break };
            (value, &quoted[end + 1..])
        } else {
            let end = after.find(';').unwrap_or(after.len());
            (after[..end].trim().to_owned(), &after[end..])
        };
        // One without a value may stand before.
        let name = name.rsplit(';').next().unwrap_or_default().trim();
        found.push((name.to_ascii_lowercase(), value));
        rest = left;
    }
    found
}

/// What stands before the next quotation mark, and where that is.
fn unquoted(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, at)),
            (_, '\\') => value.push(chars.next()?.1),
            (_, other) => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"x-yz\"";

    fn scanner() -> Scanner {
        Scanner::of(TYPE).unwrap().unwrap()
    }

    fn part(head: &str, value: &str) -> String {
        format!("--x-yz\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n")
    }

    fn scan(form: &str, size: usize) -> Result<Option<Named>, Failure> {
        let mut scanner = scanner();
        let mut found = None;
        for piece in form.as_bytes().chunks(size) {
            found = scanner.feed(piece)?.or(found);
        }
        Ok(found)
    }

    #[test]
    fn no_server_finds_a_model_that_was_not_looked_at() {
        for head in [
            "name = \"model\"",
            "Name=\"model\"",
            "name= model ",
            "filename; name=\"model\"",
            "\r\n name=\"model\"",
            "name=\"x\"\r\nContent-Disposition: form-data; name=\"model\"",
            "name=\"x\"; name=\"model\"",
        ] {
            let form = format!("{}{}--x-yz--\r\n", part(head, "dear"), part("name=\"model\"", "cheap"));
            assert!(scan(&form, 1000).unwrap_err().message.contains("twice"), "{head}");
        }
        let form = format!("{}{}--x-yz--\r\n", part("name*=utf-8''model", "dear"), part("name=\"model\"", "cheap"));
        assert!(scan(&form, 1000).unwrap_err().message.contains("name*"));
        // A name of a file in an old alphabet does not hide the name of the field.
        let mut form = part("name=\"model\"; filename=\"?\"", "dear").replace('?', "\u{1}").into_bytes();
        form.iter_mut().filter(|byte| **byte == 1).for_each(|byte| *byte = 0xe9);
        form.extend_from_slice(b"--x-yz--\r\n");
        assert_eq!(scanner().feed(&form).unwrap().map(|named| named.model), Some("dear".to_owned()));
    }

    #[test]
    fn the_model_is_found_wherever_it_stands() {
        let file = part("name=\"file\"; filename=\"a;name=\\\"model\\\".wav\"", "RIFF\r\n--x-y\r\n--x-");
        let model = part("name=\"model\"", "whisper-1");
        for form in [format!("{model}{file}--x-yz--\r\n"), format!("{file}{model}--x-yz--"), format!("preamble\r\n{file}{model}--x-yz--")] {
            let start = form.find("whisper-1").unwrap() as u64;
            for size in [1, 2, 7, 1000] {
                let named = Named { model: "whisper-1".to_owned(), at: start..start + 9 };
                assert_eq!(scan(&form, size).unwrap(), Some(named), "{size}: {form}");
            }
        }
    }

    #[test]
    fn forms_that_name_no_model_or_two() {
        let other = part("name=\"models\"", "x");
        assert_eq!(scan(&format!("{other}--x-yz--"), 5).unwrap(), None);
        let model = part("name=model", "m");
        assert_eq!(scan(&format!("{model}{model}--x-yz--"), 5).unwrap_err().code, Code::InvalidRequest);
        assert!(scan(&part("name=\"model\"", &"m".repeat(300)), 9).is_err());
        assert!(scan(&format!("{}--x-yz--", part("name=\"model\"", "a\nb")), 9).is_err());
        assert!(scan(&format!("--x-yz\r\nX: {}", "y".repeat(10_000)), 100).is_err());
        assert!(Scanner::of("multipart/form-data").unwrap().is_err());
        assert!(Scanner::of("application/json").is_none());
        let mut scanner = scanner();
        scanner.feed(format!("{other}--x-yz--\r\n").as_bytes()).unwrap();
        assert!(scanner.is_over());
    }

    #[test]
    fn a_model_can_be_put_first() {
        let form = format!("{}m\r\n{}--x-yz--", String::from_utf8(scanner().lead()).unwrap(), part("name=\"a\"", "b"));
        assert_eq!(scan(&form, 11).unwrap().map(|named| named.model).as_deref(), Some("m"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_little_is_held(bytes in prop::collection::vec(any::<u8>(), 0..600), size in 1_usize..50) {
            let mut scanner = scanner();
            for piece in bytes.chunks(size) {
                if scanner.feed(piece).is_err() {
                    break;
                }
                prop_assert!(scanner.held.len() <= HEAD_BYTES_MAX + size);
            }
        }
    }
}
