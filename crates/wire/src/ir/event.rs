//! An answer as it comes: a stream of events. A whole answer is the same events at once.
//!
//! Order: `Start`, then blocks (each `BlockStart`, deltas, `BlockStop`; blocks of one choice never overlap), then one `Finish` per
//! choice, `Usage` when known (once, final; early where a dialect says input first), `End`. `Failed` may come anywhere and is the last.

use serde::{Deserialize, Serialize};

use serde_json::Value;

use super::{
    message::{Citation, Family, State},
    usage::Usage,
};
use crate::chat::types::Logprobs;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Start {
        id: String,
        model: String,
        /// Unix seconds; 0 where the dialect has no such time.
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

impl Event {
    /// The code of a stream that ended before its end mark.
    pub const TRUNCATED: &'static str = "stream_truncated";
    /// The code of a stream with a frame that is JSON, and cannot be translated.
    pub const UNREADABLE: &'static str = "stream_unreadable";

    /// Whether it says no more than that the stream ended before its end mark: the connection has its own words for that.
    pub fn is_cut(&self) -> bool {
        matches!(self, Self::Failed { code: Some(code), .. } if code == Self::TRUNCATED)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    Text,
    Reasoning,
    Refusal,
    ToolCall {
        id: String,
        name: String,
    },
    /// What only its own family understands; whole, without deltas.
    Opaque {
        family: Family,
        value: Value,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delta {
    Text(String),
    Reasoning(String),
    /// The provider's state of a reasoning block or a call; comes before the block stops.
    State(State),
    Refusal(String),
    /// A fragment of the arguments' JSON text.
    Arguments(String),
    /// Log-probabilities of the tokens that the latest text was made of.
    Logprobs(LogprobsBox),
    /// A source of what the text block says.
    Citation(Box<Citation>),
}

impl Delta {
    /// How many bytes of text it says.
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::Reasoning(text) | Self::Refusal(text) | Self::Arguments(text) => text.len(),
            Self::State(_) | Self::Logprobs(_) | Self::Citation(_) => 0,
        }
    }

    /// About how many bytes it holds, whatever they are: for those who keep deltas within a bound.
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::State(state) => [&state.id, &state.signature, &state.encrypted].into_iter().flatten().map(String::len).sum(),
            Self::Citation(citation) => citation.own.to_string().len(),
            Self::Logprobs(logprobs) => logprobs.0.content.as_ref().map_or(0, |all| all.len() * 256),
            text => text.text_bytes(),
        }
    }
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
    /// Which stop string, where the upstream says so.
    StopSequence(Option<String>),
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

impl Finish {
    /// What [`Finish::MalformedCall`] is in words, for dialects and places that have only those.
    pub const MALFORMED_CALL: &str = "the model wrote a tool call that cannot be read";
}
