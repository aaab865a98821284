//! JSON asked for in words, where a wire has no field for it or wants the word besides.

use serde_json::Value;

use crate::ir::{Block, Request};

/// Asks for any JSON object.
pub(crate) const ANY: &str = "Answer with one JSON object and nothing else.";

/// Asks for JSON of a schema.
pub(crate) fn of_schema(schema: &Value) -> String {
    format!("Answer, once no tool is needed any more, with JSON that fits this JSON Schema and with nothing else:\n{schema}")
}

/// Whether the word stands in a text of the conversation: OpenAI refuses `json_object` without it (API reference, `response_format`).
pub(crate) fn is_said(request: &Request) -> bool {
    let says = |text: &str| text.as_bytes().windows(4).any(|word| word.eq_ignore_ascii_case(b"json"));
    request.messages.iter().flat_map(|message| &message.blocks).any(|block| matches!(block, Block::Text { text } if says(text)))
}
