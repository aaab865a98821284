//! Tokens in disjoint buckets, so that no price counts one twice.

use serde::{Deserialize, Serialize};

use crate::chat::types as chat;

/// Token counts; buckets never overlap (but for the named part). `None` is "not said", which is not zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Input that no cache covered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub in_fresh: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub in_cache_read: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub in_cache_write: Option<u64>,
    /// Of `in_cache_write`, what was written for an hour (Messages): a part of it, not a bucket of its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub in_cache_write_1h: Option<u64>,
    /// Output besides reasoning.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub out_text: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub out_reasoning: Option<u64>,
}

impl Usage {
    /// All input.
    pub fn input(&self) -> u64 {
        self.in_fresh.unwrap_or(0) + self.in_cache_read.unwrap_or(0) + self.in_cache_write.unwrap_or(0)
    }

    /// All output.
    pub fn output(&self) -> u64 {
        self.out_text.unwrap_or(0) + self.out_reasoning.unwrap_or(0)
    }

    /// From OpenAI's overlapping counts. A detail larger than its total is cut to the total.
    pub fn from_chat(usage: &chat::Usage) -> Self {
        let input = usage.prompt_tokens_details.unwrap_or_default();
        let output = usage.completion_tokens_details.unwrap_or_default();
        let cached = input.cached_tokens.map(|n| n.min(usage.prompt_tokens));
        let written = input.cache_write_tokens.map(|n| n.min(usage.prompt_tokens - cached.unwrap_or(0)));
        let reasoning = output.reasoning_tokens.map(|n| n.min(usage.completion_tokens));
        Self {
            in_fresh: Some(usage.prompt_tokens - cached.unwrap_or(0) - written.unwrap_or(0)),
            in_cache_read: cached,
            in_cache_write: written,
            in_cache_write_1h: None,
            out_text: Some(usage.completion_tokens - reasoning.unwrap_or(0)),
            out_reasoning: reasoning,
        }
    }

    /// To OpenAI's counts, where input includes what caches covered and output includes reasoning.
    pub fn to_chat(&self) -> chat::Usage {
        let details = (self.in_cache_read.is_some() || self.in_cache_write.is_some()).then_some(chat::PromptDetails {
            cached_tokens: self.in_cache_read,
            cache_write_tokens: self.in_cache_write,
            audio_tokens: None,
        });
        chat::Usage {
            prompt_tokens: self.input(),
            completion_tokens: self.output(),
            total_tokens: self.input() + self.output(),
            prompt_tokens_details: details,
            completion_tokens_details: self
                .out_reasoning
                .map(|n| chat::CompletionDetails { reasoning_tokens: Some(n), audio_tokens: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn buckets_add_up_to_the_totals(prompt in 0u64..1 << 40, completion in 0u64..1 << 40, cached: Option<u32>, written: Option<u32>, reasoning: Option<u32>) {
            let said = chat::Usage {
                prompt_tokens: prompt,
                completion_tokens: completion,
                total_tokens: prompt + completion,
                prompt_tokens_details: Some(chat::PromptDetails { cached_tokens: cached.map(u64::from), cache_write_tokens: written.map(u64::from), audio_tokens: None }),
                completion_tokens_details: Some(chat::CompletionDetails { reasoning_tokens: reasoning.map(u64::from), audio_tokens: None }),
            };
            let usage = Usage::from_chat(&said);
            prop_assert_eq!((usage.input(), usage.output()), (prompt, completion));
            prop_assert_eq!(Usage::from_chat(&usage.to_chat()), usage);
        }
    }
}
