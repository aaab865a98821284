//! Chat's stream, both ways, as pure state machines.

mod calls;
mod decoder;
mod encoder;

pub use decoder::Decoder;
pub use encoder::Encoder;
