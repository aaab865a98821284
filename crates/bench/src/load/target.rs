//! What is measured: where it is and what it is asked.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::post;

/// The dialect of a target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    #[default]
    Chat,
    Messages,
    Responses,
    Embeddings,
    Gemini,
}

/// A target as its file has it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TargetRow {
    pub name: String,
    /// Plain `http://` only.
    pub url: String,
    pub model: String,
    #[serde(default)]
    pub api: Api,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Bearer tokens: each connection uses one, in turn.
    #[serde(default)]
    pub keys: Vec<String>,
    /// The processes whose CPU time and memory count, with their descendants.
    #[serde(default)]
    pub pids: Vec<i32>,
}

/// A target ready to be asked.
pub(crate) struct Target {
    pub(super) name: String,
    /// `host:port`.
    pub(super) address: String,
    pub(super) pids: Vec<i32>,
    path: String,
    row: TargetRow,
}

impl Target {
    pub(crate) fn new(row: TargetRow) -> Result<Self> {
        let rest = row.url.strip_prefix("http://").with_context(|| format!("{}: only http:// is measured", row.name))?;
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        Ok(Self { name: row.name.clone(), address: address.into(), path: format!("/{path}"), pids: row.pids.clone(), row })
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A request with a prompt of that length; `salt` tells the connections apart.
    pub(crate) fn request(&self, prompt_bytes: usize, is_stream: bool, salt: usize) -> Vec<u8> {
        let mut headers: Vec<_> = self.row.headers.clone().into_iter().collect();
        if !self.row.keys.is_empty() {
            headers.push(("authorization".into(), format!("Bearer {}", self.row.keys[salt % self.row.keys.len()])));
        }
        let body = self.body(&prompt(prompt_bytes, salt), is_stream).to_string();
        post(&self.address, &self.path, &headers, body.as_bytes())
    }

    fn body(&self, prompt: &str, is_stream: bool) -> Value {
        let model = &self.row.model;
        let user = json!({"role": "user", "content": prompt});
        let mut body = match self.row.api {
            Api::Chat => {
                let system = json!({"role": "system", "content": "You are a helpful assistant."});
                json!({"model": model, "messages": [system, user], "max_tokens": 256, "temperature": 0.7})
            }
            Api::Messages => json!({"model": model, "max_tokens": 256, "messages": [user]}),
            Api::Responses | Api::Embeddings => json!({"model": model, "input": prompt}),
            Api::Gemini => json!({"contents": [{"role": "user", "parts": [{"text": prompt}]}]}),
        };
        if is_stream && matches!(self.row.api, Api::Chat | Api::Messages | Api::Responses) {
            body["stream"] = json!(true);
        }
        if is_stream && self.row.api == Api::Chat {
            body["stream_options"] = json!({"include_usage": true});
        }
        body
    }
}

fn prompt(bytes: usize, salt: usize) -> String {
    let mut prompt = format!("r{salt:x} ");
    while prompt.len() < bytes {
        prompt.push_str("The quick brown fox jumps over the lazy dog. ");
    }
    prompt.truncate(bytes.max(8));
    prompt
}

#[cfg(test)]
mod tests {
    use super::{Target, TargetRow};

    #[test]
    fn requests_differ_by_connection_and_take_turns_with_keys() {
        let row = TargetRow {
            name: "t".into(),
            url: "http://127.0.0.1:9000/v1/chat/completions".into(),
            model: "m".into(),
            keys: vec!["a".into(), "b".into()],
            ..TargetRow::default()
        };
        let target = Target::new(row).expect("a target");
        let text = |salt| String::from_utf8(target.request(100, true, salt)).expect("text");
        assert!(text(0).starts_with("POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:9000\r\n"), "{}", text(0));
        assert!(text(0).contains("authorization: Bearer a\r\n") && text(3).contains("authorization: Bearer b\r\n"));
        assert!(text(0).contains("\"include_usage\":true") && text(0) != text(2));
        assert!(Target::new(TargetRow { url: "https://x/".into(), ..TargetRow::default() }).is_err());
    }
}
