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
}

/// The smallest ordered part of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "block", rename_all = "snake_case")]
pub enum Block {
    Text {
        text: String,
    },
    /// A model's thinking; `signature` proves it to the provider that wrote it, `encrypted` replaces it.
    Reasoning {
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        encrypted: Option<String>,
    },
    ToolCall {
        id: String,
        name: String,
        /// JSON as text, as the model wrote it: not always valid.
        arguments: String,
    },
    ToolResult {
        call_id: String,
        blocks: Vec<Block>,
        #[serde(default)]
        is_error: bool,
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

impl Message {
    /// A message of one text block.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, name: None, blocks: vec![Block::Text { text: text.into() }] }
    }
}
