//! An answer as it comes: a stream of events. A whole answer is the same events at once.
//!
//! Order: `Start`, then blocks (each `BlockStart`, deltas, `BlockStop`; blocks of one choice never overlap), then one `Finish` per
//! choice, `Usage` when known, `End`. `Failed` may come anywhere and is the last.

use serde::{Deserialize, Serialize};

use super::usage::Usage;
use crate::chat::types::Logprobs;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Start {
        id: String,
        model: String,
        /// Unix seconds.
        created: i64,
    },
    BlockStart {
        choice: u32,
        block: u32,
        kind: BlockKind,
    },
    Delta {
        choice: u32,
        block: u32,
        delta: Delta,
    },
    BlockStop {
        choice: u32,
        block: u32,
    },
    Finish {
        choice: u32,
        reason: Finish,
    },
    Usage(Usage),
    /// The normal end. A stream without it was cut off.
    End,
    /// The upstream reported an error inside the stream.
    Failed {
        message: String,
        code: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    Text,
    Reasoning,
    Refusal,
    ToolCall { id: String, name: String },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delta {
    Text(String),
    Reasoning(String),
    Signature(String),
    Refusal(String),
    /// A fragment of the arguments' JSON text.
    Arguments(String),
    /// Log-probabilities of the tokens that the latest text was made of.
    Logprobs(LogprobsBox),
}

/// Boxed, because it is rare and large.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogprobsBox(pub Box<Logprobs>);

impl PartialEq for LogprobsBox {
    fn eq(&self, other: &Self) -> bool {
        serde_json::to_value(&self.0).ok() == serde_json::to_value(&other.0).ok()
    }
}

/// Why a choice ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    Stop,
    StopSequence,
    Length,
    ContextFull,
    ToolCall,
    Refusal,
    Filter,
    Paused,
    MalformedCall,
    /// A reason of the upstream's own.
    Other(String),
}
