//! What came in.

use std::{net::IpAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use http::HeaderMap;
use wire::{Failure, head::Head};

/// What kind of work is asked for. One endpoint family each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    Chat,
    Completions,
    Embeddings,
}

impl Operation {
    /// The path below an upstream's `/v1`.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Completions => "/completions",
            Self::Embeddings => "/embeddings",
        }
    }

    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
        }
    }

    /// The member of the body without which there is nothing to do, and whether `head` has it.
    pub const fn input(self, head: &Head) -> (&'static str, bool) {
        match self {
            Self::Chat => ("messages", head.has_messages),
            Self::Completions => ("prompt", head.has_prompt),
            Self::Embeddings => ("input", head.has_input),
        }
    }
}

/// An inference call as received: whole body in memory, nothing judged yet.
#[derive(Debug)]
pub struct Call {
    pub operation: Operation,
    /// The caller's own, if sane, else made here.
    pub request_id: Arc<str>,
    /// As the client wrote it, query left out.
    pub path: Arc<str>,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The client's address: the socket's peer, or what a trusted proxy says.
    pub client: IpAddr,
    pub received: Instant,
    pub received_at: jiff::Timestamp,
}

/// A call whose head was read; the body's bytes are kept as they came.
#[derive(Debug, Clone)]
pub struct Request {
    pub operation: Operation,
    pub head: Head,
    pub body: Bytes,
    /// Milliseconds that the caller gives the whole call.
    pub timeout_ms: Option<u64>,
}

impl Request {
    /// Reads the head of a call's body.
    ///
    /// # Errors
    /// What [`Head::scan`] says.
    pub fn read(call: &Call) -> Result<Self, Failure> {
        let head = Head::scan(&call.body)?;
        Ok(Self { operation: call.operation, timeout_ms: head.timeout_ms, head, body: call.body.clone() })
    }

    /// The name that the client asked for; empty if it named none.
    pub fn model(&self) -> &str {
        self.head.model.as_deref().unwrap_or_default()
    }
}
