//! What comes back.

use std::{fmt, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::HeaderMap;
use wire::{
    Failure,
    ir::{Event, Usage},
    losses::Losses,
    tap::Seen,
};

use crate::{plan::When, receipt::Attempt};

/// Why a streamed answer broke.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A streamed answer broke off because its time was over; the text says which.
#[derive(Debug)]
pub struct Late(pub String);

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Late {}

/// Bytes of a streamed answer as the upstream sends them.
pub type Stream = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError> + Send>>;

/// How a stream went on elsewhere when its node was lost.
#[derive(Debug, Clone)]
pub struct WentOn {
    /// What happened to the first.
    pub why: String,
    /// Tokens that it had said.
    pub after_tokens: u64,
    /// The other node; `None` where nothing was left to be said.
    pub attempt: Option<Attempt>,
}

/// A streamed answer that was read on its way: it knows what it says, and nobody has to read it again.
pub trait Told: http_body::Body<Data = Bytes, Error = BodyError> + Send {
    /// What was said so far.
    fn seen(&self) -> &Seen;
    /// The client has gone: counts that were read and not said yet are now.
    fn leave(self: Pin<&mut Self>);
    /// What of it the client's dialect could not say.
    fn losses(&self) -> &Losses;
    /// Where it went on elsewhere.
    fn went_on(&self) -> Option<&WentOn>;
}

/// An answer on its way to the client.
#[derive(Debug)]
pub struct Flow {
    /// The upstream's status: 200, or a refusal that goes back untouched.
    pub status: u16,
    /// The upstream's headers that clients may see.
    pub headers: HeaderMap,
    pub body: Body,
    pub served: Served,
    /// A refusal that another model may not have; [`When::Always`] where it is none.
    pub refusal: When,
}

/// The forms of an answer.
pub enum Body {
    /// Whole, in the caller's dialect, with the usage that it says.
    Whole(Bytes, Option<Usage>),
    /// A stream in the caller's dialect.
    Stream(Stream),
    /// A translated stream, in the caller's dialect.
    Told(Pin<Box<dyn Told>>),
    /// Bytes of another kind than events (sound, pictures, long JSON), as the upstream sends them.
    Passage(Stream),
    /// In the inner language, to be written in the caller's dialect.
    Events(Vec<Event>),
    /// The upstream refused the request itself; said in the caller's dialect.
    Refusal(Failure),
}

/// Who served.
#[derive(Debug, Clone)]
pub struct Served {
    /// The account's or node's name.
    pub target: Arc<str>,
    pub provider: Arc<str>,
    /// The node's id, if it was a node.
    pub node: Option<Arc<str>>,
    /// The model's name there.
    pub model: Arc<str>,
    /// Attempts, this one included.
    pub attempts: u32,
    /// The extra usage frame was asked for by the router and is for the router alone.
    pub strip_usage: bool,
    /// Milliseconds that were spent waiting for upstreams.
    pub waited_ms: f64,
    /// What the translation of the request could not carry.
    pub losses: Losses,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(bytes, _) => write!(f, "Whole({} bytes)", bytes.len()),
            Self::Stream(_) => f.write_str("Stream"),
            Self::Told(_) => f.write_str("Told"),
            Self::Passage(_) => f.write_str("Passage"),
            Self::Events(events) => write!(f, "Events({})", events.len()),
            Self::Refusal(failure) => write!(f, "Refusal({failure})"),
        }
    }
}
