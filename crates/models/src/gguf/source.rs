//! A checked reader over the bytes of a file whose length is known.

use std::io::{BufReader, Read, Seek, SeekFrom};

use super::GgufError;

/// Most elements of a kept array of numbers (one per layer).
const NUMBERS_MAX: u64 = 4096;
/// Deepest nesting of arrays.
const DEPTH_MAX: u32 = 4;

const KIND_TEXT: u32 = 8;
const KIND_ARRAY: u32 = 9;
const KIND_I32: u32 = 5;

/// A kept value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Number(i128),
    Text(String),
    Numbers(Vec<i128>),
}

/// Where an array lies that was walked over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Array {
    kind: u32,
    pub(super) count: u64,
    start: u64,
}

impl Array {
    pub(super) fn is_text(&self) -> bool {
        self.kind == KIND_TEXT
    }

    pub(super) fn is_i32(&self) -> bool {
        self.kind == KIND_I32
    }
}

pub(super) struct Source<R> {
    inner: BufReader<R>,
    at: u64,
    length: u64,
}

impl<R: Read + Seek> Source<R> {
    pub(super) fn new(inner: R, length: u64) -> Self {
        Self { inner: BufReader::with_capacity(64 << 10, inner), at: 0, length }
    }

    pub(super) const fn at(&self) -> u64 {
        self.at
    }

    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GgufError> {
        self.room(what, N as u64)?;
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(super) fn count(&mut self, what: &'static str, max: u64) -> Result<u64, GgufError> {
        let count = self.u64(what)?;
        if count > max { Err(GgufError::Damaged(format!("{count} {what}; at most {max} are read"))) } else { Ok(count) }
    }

    /// A text of at most `bytes_max` bytes.
    pub(super) fn string(&mut self, what: &'static str, bytes_max: u64) -> Result<String, GgufError> {
        let length = self.count(what, bytes_max)?;
        self.room(what, length)?;
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| GgufError::Damaged(format!("{what} is too long")))?];
        self.inner.read_exact(&mut bytes)?;
        self.at += length;
        Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }

    /// A value that is kept; `None` for kinds that nobody asks for (floats, arrays of texts).
    pub(super) fn value(&mut self, kind: u32, text_bytes_max: u64) -> Result<Option<Value>, GgufError> {
        match kind {
            KIND_TEXT => self.string("a text", text_bytes_max).map(|text| Some(Value::Text(text))),
            KIND_ARRAY => {
                let Some(array) = self.skip(kind)? else { return Ok(None) };
                if !is_integer(array.kind) || array.count > NUMBERS_MAX {
                    return Ok(None);
                }
                let end = self.at;
                self.seek(array.start)?;
                let numbers = (0..array.count).map(|_| self.integer(array.kind)).collect::<Result<Vec<_>, _>>()?;
                self.seek(end)?;
                Ok(Some(Value::Numbers(numbers)))
            }
            kind if is_integer(kind) => self.integer(kind).map(|number| Some(Value::Number(number))),
            _ => self.skip(kind).map(|_| None),
        }
    }

    /// Walks over a value; says where it lay if it was an array.
    pub(super) fn skip(&mut self, kind: u32) -> Result<Option<Array>, GgufError> {
        if kind != KIND_ARRAY {
            return self.skip_scalar(kind).map(|()| None);
        }
        let kind = self.u32("the type of an array")?;
        let count = self.u64("the length of an array")?;
        let array = Array { kind, count, start: self.at };
        self.skip_elements(kind, count, 0)?;
        Ok(Some(array))
    }

    fn skip_elements(&mut self, kind: u32, count: u64, depth: u32) -> Result<(), GgufError> {
        let least = match kind {
            KIND_TEXT => 8,
            KIND_ARRAY => 12,
            kind => width(kind)?,
        };
        // Bounds the loops below by the file's length.
        self.room("an array", count.saturating_mul(least))?;
        match kind {
            KIND_TEXT => (0..count).try_for_each(|_| self.skip_scalar(KIND_TEXT)),
            KIND_ARRAY if depth >= DEPTH_MAX => Err(GgufError::Damaged(format!("arrays nested deeper than {DEPTH_MAX}"))),
            KIND_ARRAY => (0..count).try_for_each(|_| {
                let kind = self.u32("the type of an array")?;
                let count = self.u64("the length of an array")?;
                self.skip_elements(kind, count, depth + 1)
            }),
            _ => self.forward("an array", count * least),
        }
    }

    fn skip_scalar(&mut self, kind: u32) -> Result<(), GgufError> {
        let length = if kind == KIND_TEXT { self.u64("the length of a text")? } else { width(kind)? };
        self.forward("a value", length)
    }

    /// Indexes of the elements of an array of `i32` that are `wanted`, at most `max` of them.
    pub(super) fn indexes(&mut self, array: Array, max: usize, wanted: impl Fn(i32) -> bool) -> Result<Vec<u64>, GgufError> {
        self.seek(array.start)?;
        let mut found = Vec::new();
        for index in 0..array.count {
            if wanted(i32::from_le_bytes(self.array("a token's kind")?)) {
                if found.len() == max {
                    return Err(GgufError::Damaged(format!("more than {max} control tokens")));
                }
                found.push(index);
            }
        }
        Ok(found)
    }

    /// Texts of an array at `wanted` (sorted) indexes; texts longer than `bytes_max` and indexes beyond the end are left out.
    pub(super) fn texts(&mut self, array: Array, wanted: &[u64], bytes_max: u64) -> Result<Vec<(u64, String)>, GgufError> {
        self.seek(array.start)?;
        let (mut found, mut index) = (Vec::with_capacity(wanted.len()), 0);
        for &at in wanted.iter().take_while(|at| **at < array.count) {
            while index < at {
                self.skip_scalar(KIND_TEXT)?;
                index += 1;
            }
            let start = self.at;
            let length = self.u64("the length of a text")?;
            if length <= bytes_max {
                self.seek(start)?;
                found.push((at, self.string("a token", bytes_max)?));
            } else {
                self.forward("a token", length)?;
            }
            index += 1;
        }
        Ok(found)
    }

    fn integer(&mut self, kind: u32) -> Result<i128, GgufError> {
        const WHAT: &str = "a number";
        Ok(match kind {
            0 | 7 => self.array(WHAT).map(u8::from_le_bytes)?.into(),
            1 => self.array(WHAT).map(i8::from_le_bytes)?.into(),
            2 => self.array(WHAT).map(u16::from_le_bytes)?.into(),
            3 => self.array(WHAT).map(i16::from_le_bytes)?.into(),
            4 => self.u32(WHAT)?.into(),
            KIND_I32 => self.array(WHAT).map(i32::from_le_bytes)?.into(),
            10 => self.u64(WHAT)?.into(),
            _ => self.array(WHAT).map(i64::from_le_bytes)?.into(),
        })
    }

    fn seek(&mut self, to: u64) -> Result<(), GgufError> {
        self.inner.seek(SeekFrom::Start(to))?;
        self.at = to;
        Ok(())
    }

    fn forward(&mut self, what: &'static str, bytes: u64) -> Result<(), GgufError> {
        self.room(what, bytes)?;
        self.inner.seek_relative(bytes as i64)?;
        self.at += bytes;
        Ok(())
    }

    /// Checks that `bytes` more bytes exist.
    fn room(&self, what: &'static str, bytes: u64) -> Result<(), GgufError> {
        let end = self.at.saturating_add(bytes);
        if end > self.length { Err(GgufError::Truncated { what, end, length: self.length }) } else { Ok(()) }
    }
}

const fn is_integer(kind: u32) -> bool {
    matches!(kind, 0..=5 | 7 | 10 | 11)
}

fn width(kind: u32) -> Result<u64, GgufError> {
    match kind {
        0 | 1 | 7 => Ok(1),
        2 | 3 => Ok(2),
        4..=6 => Ok(4),
        10..=12 => Ok(8),
        _ => Err(GgufError::Damaged(format!("a value of the unknown type {kind}"))),
    }
}
