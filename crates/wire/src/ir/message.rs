//! Messages and their blocks.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    System,
    /// OpenAI's newer word for instructions of the application.
    Developer,
    User,
    Assistant,
    /// Results of tools.
    Tool,
}

/// One turn, or a part of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub role: Role,
    /// The speaker's name, where the dialect has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub blocks: Vec<Block>,
}

/// The dialect family that an opaque block or a signature belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    Chat,
    Responses,
    Messages,
    Gemini,
    /// Text completions: no wire, but members of their own.
    Completions,
}

/// A provider's own state; means something only to the family that made it and travels only there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub family: Family,
    /// The provider's id of the item (Responses).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Proves that the block is unchanged (Messages' `signature`, Gemini's `thoughtSignature`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Stands for text that is not shown (Responses' `encrypted_content`, Messages' `redacted_thinking`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<String>,
}

impl State {
    /// Which part of an answer a text is, as Responses says it (`commentary`, `final_answer`): the state of a block of text.
    pub fn of_phase(phase: &str) -> Self {
        Self { family: Family::Responses, id: None, signature: Some(phase.to_owned()), encrypted: None }
    }

    /// The phase, where this is one: nothing else of Responses is signed.
    pub fn phase(&self) -> Option<&str> {
        self.signature.as_deref().filter(|_| self.family == Family::Responses)
    }
}

/// The smallest ordered part of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "block", rename_all = "snake_case")]
pub enum Block {
    Text {
        text: String,
    },
    /// A model's thinking, and the state with which its provider knows it again.
    Reasoning {
        /// What may be read of it; empty where the provider shows nothing.
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<State>,
    },
    ToolCall {
        id: String,
        name: String,
        /// JSON as text, as the model wrote it: not always valid.
        arguments: String,
        /// Gemini signs calls.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<State>,
    },
    /// In a message of the role tool, or among a user's blocks.
    ToolResult {
        call_id: String,
        /// The function's name, where the dialect repeats it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        blocks: Vec<Block>,
        #[serde(default)]
        is_error: bool,
    },
    /// The prompt up to here is worth caching; marks the block before it.
    CacheMark {
        /// `5m`, `1h`; the provider's default if unset.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl: Option<String>,
    },
    Media(Media),
    Refusal {
        text: String,
    },
    /// What only its own family understands; carried whole or dropped whole.
    Opaque {
        family: Family,
        value: Value,
    },
}

/// An image, a sound or a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Media {
    /// `image/png`, `audio/wav`, …; `image/*` where a URL hides it.
    pub mime: String,
    pub source: Source,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// OpenAI's `detail` of an image: `auto`, `low`, `high`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Where the bytes are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Base64(String),
    Url(String),
    /// An id at the provider.
    File(String),
}

/// What a passage of an answer rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Citation {
    /// Whose form `own` has.
    pub family: Family,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The passage of the answer, as its provider counts (OpenAI in characters, Google in bytes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
    /// As it came.
    pub own: Value,
}

impl Block {
    /// How a loss of this block is named: a cache mark by the member that it was, anything else by its place.
    pub(crate) fn name_at(&self, path: &str) -> String {
        if matches!(self, Self::CacheMark { .. }) { format!("{path}.cache_control") } else { path.to_owned() }
    }
}

impl Message {
    /// A message of one text block.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, name: None, blocks: vec![Block::Text { text: text.into() }] }
    }
}
