//! The stream of Messages, both ways, as pure state machines (API reference, "Streaming Messages").

mod decoder;
mod encoder;

pub use decoder::Decoder;
pub use encoder::{Encoder, HELD_BLOCKS_MAX, HELD_BYTES_MAX};

/// The frame that keeps a silent connection alive; legal wherever a frame may begin.
pub const PING: &[u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";
