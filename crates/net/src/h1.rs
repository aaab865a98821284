//! HTTP/1.1 as a client speaks it, driven by whoever waits for the answer: no task and no buffer stands between a caller and its socket.

mod framing;
mod head;
mod talk;

pub(crate) use framing::Decoder;
pub(crate) use head::Outgoing;
pub(crate) use talk::{Answer, Fault, Sending, talk};
