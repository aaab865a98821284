//! One scripted answer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Semaphore;

/// What an upstream answers with, and how badly it behaves while doing so.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: Payload,
    pub(crate) delay: Duration,
    pub(crate) gap: Duration,
    pub(crate) head_gate: Option<Gate>,
    pub(crate) piece_gate: Option<Gate>,
    pub(crate) split_bytes: Option<usize>,
    pub(crate) ending: Ending,
}

#[derive(Debug, Clone)]
pub(crate) enum Payload {
    /// What the endpoint answers, from the request.
    Endpoint(Said),
    /// These bytes with this content type, in one piece with a length.
    Whole { content_type: String, bytes: Bytes },
    /// An event stream of these pieces, chunked.
    Events(Vec<Bytes>),
}

/// What the model says on an endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) words: Vec<String>,
    pub(crate) prompt_tokens: u64,
    pub(crate) dimensions: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As HTTP wants it; the connection stays open.
    Clean,
    /// Not a byte is sent; the connection is closed.
    Nothing,
    /// The connection is closed after this many bytes of the body.
    Cut(usize),
    /// Nothing more comes after this many bytes of the body, until the peer goes.
    Stall(usize),
    /// A clean answer, after which the connection is closed without saying so beforehand.
    ThenClose,
}

impl Default for Reply {
    fn default() -> Self {
        Self::ok()
    }
}

impl Reply {
    /// The endpoint's proper answer: "Hello world" in two words.
    pub fn ok() -> Self {
        let said = Said { words: vec!["Hello".into(), " world".into()], prompt_tokens: 5, dimensions: 4 };
        Self {
            status: 200,
            headers: Vec::new(),
            payload: Payload::Endpoint(said),
            delay: Duration::ZERO,
            gap: Duration::ZERO,
            head_gate: None,
            piece_gate: None,
            split_bytes: None,
            ending: Ending::Clean,
        }
    }

    /// An error in OpenAI's shape.
    pub fn error(status: u16) -> Self {
        let error =
            serde_json::json!({"error": {"message": format!("scripted {status}"), "type": "scripted", "param": null, "code": null}});
        Self::json(&error).status(status)
    }

    /// 429 with `Retry-After` in seconds.
    pub fn rate_limited(retry_after_s: u64) -> Self {
        Self::error(429).header("retry-after", &retry_after_s.to_string())
    }

    /// A JSON body.
    pub fn json(body: &Value) -> Self {
        Self::whole("application/json", body.to_string().into_bytes())
    }

    /// Any body.
    pub fn whole(content_type: &str, bytes: impl Into<Bytes>) -> Self {
        Self { payload: Payload::Whole { content_type: content_type.into(), bytes: bytes.into() }, ..Self::ok() }
    }

    /// An event stream of exactly these pieces, each a chunk of its own: nothing is added, not even the blank lines.
    pub fn events<T: Into<Bytes>>(pieces: impl IntoIterator<Item = T>) -> Self {
        Self { payload: Payload::Events(pieces.into_iter().map(Into::into).collect()), ..Self::ok() }
    }

    /// Closes the connection without a byte.
    pub fn nothing() -> Self {
        Self { ending: Ending::Nothing, ..Self::ok() }
    }

    /// The answer's status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// One more header; a name that the endpoint sets itself is replaced.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }

    /// What the model says, a word (with its leading space) per chunk and token.
    #[must_use]
    pub fn words<T: Into<String>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        if let Payload::Endpoint(said) = &mut self.payload {
            said.words = words.into_iter().map(Into::into).collect();
        }
        self
    }

    /// The prompt tokens that the usage names.
    #[must_use]
    pub fn prompt_tokens(mut self, tokens: u64) -> Self {
        if let Payload::Endpoint(said) = &mut self.payload {
            said.prompt_tokens = tokens;
        }
        self
    }

    /// Waits before the first byte.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Waits between pieces of the body.
    #[must_use]
    pub fn gap(mut self, gap: Duration) -> Self {
        self.gap = gap;
        self
    }

    /// Takes one permit of the gate before the first byte.
    #[must_use]
    pub fn hold_head(mut self, gate: &Gate) -> Self {
        self.head_gate = Some(gate.clone());
        self
    }

    /// Takes one permit of the gate before each piece of the body.
    #[must_use]
    pub fn hold_pieces(mut self, gate: &Gate) -> Self {
        self.piece_gate = Some(gate.clone());
        self
    }

    /// Cuts the body of an event stream into chunks of this many bytes, wherever that falls.
    ///
    /// # Panics
    /// If `bytes` is 0.
    #[must_use]
    pub fn split_every(mut self, bytes: usize) -> Self {
        assert!(bytes > 0, "chunks of no bytes would end the stream");
        self.split_bytes = Some(bytes);
        self
    }

    /// Closes the connection after this many bytes of the body.
    #[must_use]
    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.ending = Ending::Cut(bytes);
        self
    }

    /// Sends this many bytes of the body and then nothing, until the peer goes.
    #[must_use]
    pub fn stall_after(mut self, bytes: usize) -> Self {
        self.ending = Ending::Stall(bytes);
        self
    }

    /// Closes the connection after the answer without having announced it.
    #[must_use]
    pub fn then_close(mut self) -> Self {
        self.ending = Ending::ThenClose;
        self
    }
}

/// What a test holds an answer with, instead of sleeping: nothing passes until the test says how much.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets this many more pass.
    pub fn pass(&self, count: usize) {
        self.0.add_permits(count);
    }

    pub(crate) async fn wait(&self) {
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}
