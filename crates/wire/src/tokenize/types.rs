//! The shapes of tokenising: llama.cpp's server's and vLLM's in one.

use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// A text, bare (`content`, `prompt`), or a conversation, whose members are those of a chat.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct TokenizeRequest {
    #[serde(default)]
    pub model: Option<String>,
    /// llama.cpp's name: without marks of beginning and end unless they are asked for.
    #[serde(default)]
    pub content: Option<String>,
    /// vLLM's name: with them unless they are refused.
    #[serde(default)]
    pub prompt: Option<String>,
    /// Whether there are any. Their form is a chat's.
    #[serde(default)]
    pub messages: Option<serde::de::IgnoredAny>,
    #[serde(default, alias = "add_special_tokens")]
    pub add_special: Option<bool>,
    /// Whether control tokens are recognised in the text; true where nothing is said.
    #[serde(default)]
    pub parse_special: Option<bool>,
    #[serde(default, alias = "return_token_strs")]
    pub with_pieces: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenizeResponse {
    pub tokens: Vec<i32>,
    pub count: usize,
    /// Longest request, in tokens.
    pub max_model_len: u32,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct DetokenizeRequest {
    #[serde(default)]
    pub model: Option<String>,
    #[serde(default)]
    pub tokens: Option<Vec<i32>>,
}

/// The text under both names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DetokenizeResponse {
    pub content: String,
    pub prompt: String,
}

impl TokenizeRequest {
    /// Reads a body; errors as [`crate::chat::types::ChatRequest::parse`].
    pub fn parse(body: &[u8]) -> Result<Self, Failure> {
        crate::json::parse(body)
    }
}

impl DetokenizeRequest {
    /// Reads a body; errors as [`crate::chat::types::ChatRequest::parse`].
    pub fn parse(body: &[u8]) -> Result<Self, Failure> {
        crate::json::parse(body)
    }
}
