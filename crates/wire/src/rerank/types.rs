//! The shapes of reranking: those that Cohere, Jina, vLLM and llama.cpp's server have in common.

use serde::{Deserialize, Serialize};

use crate::error::Failure;

#[derive(Debug, Clone, Default, Deserialize)]
pub struct RerankRequest {
    #[serde(default)]
    pub model: Option<String>,
    #[serde(default)]
    pub query: Option<String>,
    #[serde(default)]
    pub documents: Option<Vec<Document>>,
    /// Most results; all where it is not set.
    #[serde(default, alias = "top_k")]
    pub top_n: Option<u32>,
    /// Whether results have the document's text with them.
    #[serde(default)]
    pub return_documents: Option<bool>,
}

/// A text, bare or in an object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Document {
    Bare(String),
    Object { text: String },
}

impl Document {
    /// Its text.
    pub fn into_text(self) -> String {
        match self {
            Self::Bare(text) | Self::Object { text } => text,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RerankResponse {
    pub id: String,
    /// `list`.
    pub object: String,
    pub model: String,
    /// Best first.
    pub results: Vec<RerankResult>,
    pub usage: RerankUsage,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RerankResult {
    /// Place in the request's `documents`.
    pub index: u32,
    /// Higher is better; of what range, is the model's own.
    pub relevance_score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<RerankedDocument>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RerankedDocument {
    pub text: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RerankUsage {
    pub prompt_tokens: u64,
    pub total_tokens: u64,
}

impl RerankRequest {
    /// Reads a body; errors as [`crate::chat::types::ChatRequest::parse`].
    pub fn parse(body: &[u8]) -> Result<Self, Failure> {
        crate::json::parse(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_texts_or_objects_with_one() {
        let said = br#"{"model": "m", "query": "q", "documents": ["a", {"text": "b", "title": "t"}], "top_k": 1}"#;
        let request = RerankRequest::parse(said).expect("a request");
        let texts: Vec<_> = request.documents.unwrap_or_default().into_iter().map(Document::into_text).collect();
        assert_eq!((texts, request.top_n), (vec!["a".to_owned(), "b".to_owned()], Some(1)));
        assert_eq!(RerankRequest::parse(br#"{"documents": [7]}"#).expect_err("a number").param.as_deref(), Some("documents[0]"));
    }
}
