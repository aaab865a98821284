//! The shapes of Messages as they stand in the JSON, where a fixed shape helps: answers, stream frames, usage.
//! Requests are read member by member, so that what has no place in the inner language is kept.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ir;

/// Token counts (API reference, "Message": `usage`): `input_tokens` leaves out what caches covered, `output_tokens` includes thinking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_creation_input_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read_input_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_creation: Option<CacheCreation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_details: Option<OutputDetails>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_tool_use: Option<ServerToolUse>,
}

/// Calls of tools that ran at the provider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerToolUse {
    #[serde(default)]
    pub web_search_requests: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_fetch_requests: Option<u64>,
}

/// Tokens written to caches, by how long these live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheCreation {
    #[serde(default)]
    pub ephemeral_5m_input_tokens: u64,
    #[serde(default)]
    pub ephemeral_1h_input_tokens: u64,
}

/// What `output_tokens` is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputDetails {
    #[serde(default)]
    pub thinking_tokens: u64,
}

impl Usage {
    /// Takes over what a later frame says: counts are cumulative, and absent ones keep their value.
    pub fn update(&mut self, later: &Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.cache_creation_input_tokens = later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation = later.cache_creation.or(self.cache_creation);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.output_tokens_details = later.output_tokens_details.or(self.output_tokens_details);
        self.server_tool_use = later.server_tool_use.or(self.server_tool_use);
    }

    /// Into disjoint buckets. A detail larger than its total is cut to the total.
    pub fn to_ir(&self) -> ir::Usage {
        let by_age = self.cache_creation.map(|c| c.ephemeral_5m_input_tokens.saturating_add(c.ephemeral_1h_input_tokens));
        let written = self.cache_creation_input_tokens.or(by_age);
        let thought = self.output_tokens_details.map(|d| d.thinking_tokens.min(self.output_tokens.unwrap_or(0)));
        ir::Usage {
            in_fresh: self.input_tokens,
            in_cache_read: self.cache_read_input_tokens,
            in_cache_write: written,
            in_cache_write_1h: self.cache_creation.map(|c| c.ephemeral_1h_input_tokens.min(written.unwrap_or(0))),
            out_text: self.output_tokens.map(|n| n - thought.unwrap_or(0)),
            out_reasoning: thought,
            server_tools: self.server_tool_use.map(|used| used.web_search_requests.saturating_add(used.web_fetch_requests.unwrap_or(0))),
            ..ir::Usage::default()
        }
    }

    /// From disjoint buckets; the two counts that the dialect demands are 0 where nothing is known.
    pub fn from_ir(usage: &ir::Usage) -> Self {
        let written = usage.in_cache_write.unwrap_or(0);
        Self {
            input_tokens: Some(usage.in_fresh.unwrap_or(0)),
            cache_creation_input_tokens: usage.in_cache_write,
            cache_read_input_tokens: usage.in_cache_read,
            cache_creation: usage.in_cache_write_1h.map(|hour| CacheCreation {
                ephemeral_5m_input_tokens: written.saturating_sub(hour),
                ephemeral_1h_input_tokens: hour.min(written),
            }),
            output_tokens: Some(usage.output()),
            output_tokens_details: usage.out_reasoning.map(|n| OutputDetails { thinking_tokens: n }),
            server_tool_use: usage.server_tools.map(|n| ServerToolUse { web_search_requests: n, web_fetch_requests: None }),
        }
    }
}

/// A whole answer, as far as it is read.
#[derive(Debug, Deserialize)]
pub struct Answer {
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub model: String,
    pub content: Vec<Value>,
    #[serde(default)]
    pub stop_reason: Option<String>,
    #[serde(default)]
    pub stop_sequence: Option<String>,
    #[serde(default)]
    pub usage: Option<Usage>,
}

/// One frame of a stream: the members of all its kinds side by side.
#[derive(Debug, Deserialize)]
pub struct Frame {
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    #[serde(default)]
    pub message: Option<Head>,
    #[serde(default)]
    pub index: u32,
    #[serde(default)]
    pub content_block: Option<Value>,
    #[serde(default)]
    pub delta: Option<Delta>,
    #[serde(default)]
    pub usage: Option<Usage>,
    #[serde(default)]
    pub error: Option<Value>,
}

/// What `message_start` says of the answer.
#[derive(Debug, Default, Deserialize)]
pub struct Head {
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub model: String,
    #[serde(default)]
    pub usage: Option<Usage>,
}

/// The `delta` of `content_block_delta` and of `message_delta`.
#[derive(Debug, Default, Deserialize)]
pub struct Delta {
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    #[serde(default)]
    pub text: Option<String>,
    #[serde(default)]
    pub thinking: Option<String>,
    #[serde(default)]
    pub signature: Option<String>,
    #[serde(default)]
    pub partial_json: Option<String>,
    #[serde(default)]
    pub stop_reason: Option<String>,
    #[serde(default)]
    pub stop_sequence: Option<String>,
    #[serde(default)]
    pub citation: Option<Value>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn buckets_add_up_and_come_back(fresh in 0u64..1 << 40, read: Option<u32>, written: Option<u32>, hour: Option<u32>, output in 0u64..1 << 40, thought: Option<u32>, searched: Option<u32>) {
            let details = hour.map(|h| CacheCreation { ephemeral_5m_input_tokens: u64::from(written.unwrap_or(0).saturating_sub(h)), ephemeral_1h_input_tokens: u64::from(h.min(written.unwrap_or(0))) });
            let said = Usage {
                input_tokens: Some(fresh),
                cache_creation_input_tokens: written.map(u64::from),
                cache_read_input_tokens: read.map(u64::from),
                cache_creation: details.filter(|_| written.is_some()),
                output_tokens: Some(output),
                output_tokens_details: thought.map(|n| OutputDetails { thinking_tokens: u64::from(n).min(output) }),
                server_tool_use: searched.map(|n| ServerToolUse { web_search_requests: u64::from(n), web_fetch_requests: None }),
            };
            let usage = said.to_ir();
            prop_assert_eq!(usage.input(), fresh + u64::from(read.unwrap_or(0)) + u64::from(written.unwrap_or(0)));
            prop_assert_eq!(usage.output(), output);
            prop_assert_eq!(Usage::from_ir(&usage), said);
        }
    }

    #[test]
    fn a_later_frame_overrides_only_what_it_says() {
        let mut usage = Usage { input_tokens: Some(7), cache_read_input_tokens: Some(0), output_tokens: Some(1), ..Usage::default() };
        usage.update(&Usage { output_tokens: Some(40), ..Usage::default() });
        assert_eq!((usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens), (Some(7), Some(0), Some(40)));
    }
}
