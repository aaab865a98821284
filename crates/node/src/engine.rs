//! Engines: what answers for one loaded model.
//!
//! An engine lives behind frames ([`wire::fleet::worker`]), whatever it is made of: [`process`] starts a worker process,
//! [`scripted`] answers from within. [`Engine`] is the near end for both; it knows when the far end has died or hangs.

mod client;
mod loading;
mod mailbox;
mod pipe;
pub mod process;
mod pulse;
pub mod scripted;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
};
use wire::fleet::worker::{Done, TokenLogprob, WorkerCode};

pub use client::{Engine, Generation};
pub use loading::{Effort, Work};

/// Most requests of one engine that are not finished, cancelled ones included until the engine has let go of them.
pub const REQUESTS_MAX: usize = 1024;

/// The far end of an engine, before its model is loaded.
pub struct Link {
    /// Frames from the engine.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// Frames to the engine; closing it ends the engine.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// Ends the engine at once when notified.
    pub kill: Arc<Notify>,
    /// Resolves when the engine has ended, with how it did: "exit code 1", "signal 9".
    pub ended: BoxFuture<'static, String>,
    /// Tells what the engine has done so far, where that can be seen.
    pub effort: Option<Effort>,
}

/// Makes engines.
pub trait Launch: Send + Sync {
    /// Starts one for the model called `id`. The error says why none could be started.
    fn launch(&self, id: &str) -> Result<Link, String>;
}

/// How long an engine may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For loading its model; longer while it gets on with it.
    pub load: Duration,
    /// A load that takes longer is given up when nothing was done for so long.
    pub stall: Duration,
    /// Without a heartbeat, or without a step while it has work.
    pub hang: Duration,
}

/// Why a model could not be loaded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// No engine could be started.
    #[error("the engine can't be started: {0}")]
    Start(String),
    /// The engine refused the model, in its words.
    #[error("{0}")]
    Refused(String),
    /// The engine ended while it was loading.
    #[error("the engine ended while loading ({0})")]
    Died(String),
    /// It took too long.
    #[error("it was not loaded within {0:?}")]
    TimedOut(Duration),
}

/// Why an engine did not finish a request.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The engine died or was replaced; another one may do it.
    #[error("the engine ended unexpectedly ({0})")]
    Lost(String),
    /// The engine's own answer.
    #[error("{message}")]
    Refused {
        /// What the caller can do about it.
        code: WorkerCode,
        /// Why.
        message: String,
    },
    /// [`REQUESTS_MAX`] requests are waiting.
    #[error("too many requests are waiting for this model")]
    Full,
    /// More than the mailbox holds was generated and not read.
    #[error("the answer was not read fast enough")]
    Unread,
}

/// A piece of an answer.
#[derive(Debug, Clone, Default)]
pub struct Bit {
    /// May be empty.
    pub text: String,
    /// Where the steps ended that brought some of it.
    pub ends: Vec<StepEnd>,
    /// Of the tokens in `text`, if asked for.
    pub logprobs: Vec<TokenLogprob>,
    /// Of the prompt, as the engine took it in.
    pub prompt: PromptCount,
}

/// What is counted of a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PromptCount {
    /// Its tokens.
    pub tokens: u32,
    /// Those that needed no work.
    pub cached: u32,
}

/// The end of a step within a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepEnd {
    /// Bytes of the text up to it.
    pub bytes: usize,
    /// Tokens of the answer up to it.
    pub tokens: u32,
}

/// What happens to a generation, in this order: at most one `Accepted`, any number of `Text`, one `Done` or `Failed`.
#[derive(Debug, Clone)]
pub enum Event {
    /// The prompt has its place.
    Accepted {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Those that needed no work.
        cached_tokens: u32,
    },
    /// More of the answer; several steps come as one where the reader is slower than the engine.
    Text(Bit),
    /// The end; its text belongs to the answer.
    Done(Done),
    /// The end, badly.
    Failed(EngineError),
}
