//! Gemini's stream, both ways, as pure state machines.

pub(super) mod chunks;
mod frames;
mod partial;

use serde_json::Value;

use self::{chunks::Chunks, frames::Frames};
use super::encode::{
    self,
    answer::{Assembler, Piece},
};
use crate::{
    ir::Event,
    sse::{TooLong, write_data},
};

/// Reads an upstream's stream into events: server-sent events (`alt=sse`) or one growing JSON array.
///
/// The wire has no end mark: the normal end is the end of the bytes after every candidate said why it finished (or the array's bracket).
#[derive(Debug, Default)]
pub struct Decoder {
    frames: Frames,
    chunks: Chunks,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing more can come: the end was seen, or an error.
    pub fn is_over(&self) -> bool {
        self.chunks.is_over()
    }

    /// Reads more bytes.
    ///
    /// # Errors
    /// [`TooLong`]: a chunk beyond all bounds.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<(), TooLong> {
        let Self { frames, chunks } = self;
        frames.feed(bytes, |frame| chunks.frame(frame, out))
    }

    /// The bytes have ended; a stream whose candidates were not finished gives [`Event::Failed`].
    pub fn finish(&mut self, out: &mut Vec<Event>) {
        let Self { frames, chunks } = self;
        // A frame that was cut off is no error of its own: the end says what happened.
        let is_complete = |frame: &Frame| !matches!(frame, Frame::Json(text) if Frame::parse(text).is_err());
        frames.finish(|frame| {
            if is_complete(&frame) {
                chunks.frame(frame, out);
            }
        });
        chunks.end(out);
    }
}

/// Writes events as a stream for a client.
#[derive(Debug, Default)]
pub struct Encoder {
    assembler: Assembler,
    pieces: Vec<Piece>,
    array: Option<Bracket>,
}

/// Where a growing array stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Unopened,
    Open,
    Closed,
}

impl Encoder {
    /// Server-sent events, as `alt=sse` asks: bare `data:` frames without names, comments or an end mark.
    pub fn new() -> Self {
        Self::default()
    }

    /// One growing JSON array, which clients without `alt=sse` read.
    pub fn new_array() -> Self {
        Self { array: Some(Bracket::Unopened), ..Self::default() }
    }

    /// Appends the frames of one event.
    pub fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        let mut pieces = std::mem::take(&mut self.pieces);
        self.assembler.event(event, &mut pieces);
        for piece in pieces.drain(..) {
            let chunk = self.assembler.chunk(piece);
            self.write(&chunk, out);
        }
        self.pieces = pieces;
        match event {
            Event::End => {
                if let Some(last) = self.assembler.last_chunk() {
                    self.write(&last, out);
                }
                self.close(out);
            }
            Event::Failed { message, code } => {
                self.write(&encode::stream_error(message, code.as_deref()), out);
                self.close(out);
            }
            _ => {}
        }
    }

    fn write(&mut self, chunk: &impl serde::Serialize, out: &mut Vec<u8>) {
        let Ok(text) = serde_json::to_vec(chunk) else { return };
        match &mut self.array {
            None => write_data(out, &text),
            Some(bracket) => {
                out.extend_from_slice(if *bracket == Bracket::Unopened { b"[" } else { b",\r\n" });
                out.extend_from_slice(&text);
                *bracket = Bracket::Open;
            }
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if let Some(bracket) = &mut self.array {
            out.extend_from_slice(match bracket {
                Bracket::Unopened => b"[]",
                Bracket::Open => b"]",
                Bracket::Closed => b"",
            });
            *bracket = Bracket::Closed;
        }
    }
}

/// One frame as it came: text of a JSON value, or the array's closing bracket.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Json(String),
    End,
}

impl Frame {
    fn parse(text: &str) -> Result<Value, String> {
        crate::json::read(text).map_err(|_| "the upstream sent a frame that is not JSON".to_owned())
    }
}
