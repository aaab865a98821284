//! Tokens in disjoint buckets, so that no price counts one twice.

use serde::{Deserialize, Serialize};

use crate::chat::types as chat;

/// Token counts; buckets never overlap (but for the parts that are named so, which are in no sum). `None` is "not said", which is not zero.
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
    /// Of `in_fresh`, what was sound.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub in_audio: Option<u64>,
    /// Of `in_fresh`, what was pictures.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub in_image: Option<u64>,
    /// Of `out_text`, what was sound.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub out_audio: Option<u64>,
    /// Calls, not tokens, of tools that ran at the provider and are paid for by the call (Messages' `server_tool_use`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub server_tools: Option<u64>,
}

/// Most tokens, or calls of tools, that one request can have used. Whoever says more says what is not true; sums stay far from their ends.
const COUNT_MAX: u64 = 1_000_000_000;

impl Usage {
    /// All input.
    pub fn input(&self) -> u64 {
        [self.in_fresh, self.in_cache_read, self.in_cache_write].into_iter().flatten().fold(0, u64::saturating_add)
    }

    /// All output.
    pub fn output(&self) -> u64 {
        [self.out_text, self.out_reasoning].into_iter().flatten().fold(0, u64::saturating_add)
    }

    /// The same, if it can be true.
    pub fn plausible(self) -> Option<Self> {
        let counts = [self.input(), self.output(), self.server_tools.unwrap_or(0)];
        counts.iter().all(|count| *count <= COUNT_MAX).then_some(self)
    }

    /// From OpenAI's overlapping counts. A detail larger than its total is cut to the total. xAI counts reasoning beside `completion_tokens`, not
    /// in them, which only its `total_tokens` tells (docs.x.ai, "Reasoning").
    pub fn from_chat(usage: &chat::Usage) -> Self {
        let input = usage.prompt_tokens_details.unwrap_or_default();
        let output = usage.completion_tokens_details.unwrap_or_default();
        let cached = input.cached_tokens.map(|n| n.min(usage.prompt_tokens));
        let written = input.cache_write_tokens.map(|n| n.min(usage.prompt_tokens - cached.unwrap_or(0)));
        let beside = output.reasoning_tokens.filter(|n| {
            let sum = usage.prompt_tokens.checked_add(usage.completion_tokens).and_then(|both| both.checked_add(*n));
            *n > 0 && sum == Some(usage.total_tokens)
        });
        let completion = usage.completion_tokens.saturating_add(beside.unwrap_or(0));
        let reasoning = output.reasoning_tokens.map(|n| n.min(completion));
        let fresh = usage.prompt_tokens - cached.unwrap_or(0) - written.unwrap_or(0);
        let said = completion - reasoning.unwrap_or(0);
        Self {
            in_fresh: Some(fresh),
            in_cache_read: cached,
            in_cache_write: written,
            out_text: Some(said),
            out_reasoning: reasoning,
            out_audio: output.audio_tokens.map(|n| n.min(said)),
            ..Self::default()
        }
        .with_kinds(input.audio_tokens, input.image_tokens)
    }

    /// With what the input consists of. Servers count that over all input: no more of it counts than the caches left, so that none is
    /// paid for twice.
    pub(crate) fn with_kinds(mut self, audio: Option<u64>, image: Option<u64>) -> Self {
        let fresh = self.in_fresh.unwrap_or(0);
        self.in_audio = audio.map(|n| n.min(fresh));
        self.in_image = image.map(|n| n.min(fresh - self.in_audio.unwrap_or(0)));
        self
    }

    /// To OpenAI's counts, where input includes what caches covered and output includes reasoning.
    pub fn to_chat(&self) -> chat::Usage {
        let input = chat::PromptDetails {
            cached_tokens: self.in_cache_read,
            cache_write_tokens: self.in_cache_write,
            audio_tokens: self.in_audio,
            image_tokens: self.in_image,
        };
        let output = chat::CompletionDetails { reasoning_tokens: self.out_reasoning, audio_tokens: self.out_audio };
        chat::Usage {
            prompt_tokens: self.input(),
            completion_tokens: self.output(),
            total_tokens: self.input().saturating_add(self.output()),
            prompt_tokens_details: (input != chat::PromptDetails::default()).then_some(input),
            completion_tokens_details: (output != chat::CompletionDetails::default()).then_some(output),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reasoning_that_is_counted_beside_the_completion_is_paid_for() {
        let details = Some(chat::CompletionDetails { reasoning_tokens: Some(94), audio_tokens: None });
        let said = |total_tokens| chat::Usage {
            prompt_tokens: 32,
            completion_tokens: 100,
            total_tokens,
            completion_tokens_details: details,
            ..chat::Usage::default()
        };
        let parts = |total| {
            let usage = Usage::from_chat(&said(total));
            (usage.out_text, usage.out_reasoning, usage.to_chat().total_tokens)
        };
        assert_eq!(parts(226), (Some(100), Some(94), 226));
        assert_eq!(parts(132), (Some(6), Some(94), 132));
        assert_eq!(parts(0), (Some(6), Some(94), 132), "a server that says no total");
    }

    proptest! {
        #[test]
        fn buckets_add_up_to_the_totals(prompt in 0u64..1 << 40, completion in 0u64..1 << 40, cached: Option<u32>, written: Option<u32>, reasoning: Option<u32>, audio: Option<u32>, image: Option<u32>, sound: Option<u32>) {
            let said = chat::Usage {
                prompt_tokens: prompt,
                completion_tokens: completion,
                total_tokens: prompt + completion,
                prompt_tokens_details: Some(chat::PromptDetails { cached_tokens: cached.map(u64::from), cache_write_tokens: written.map(u64::from), audio_tokens: audio.map(u64::from), image_tokens: image.map(u64::from) }),
                completion_tokens_details: Some(chat::CompletionDetails { reasoning_tokens: reasoning.map(u64::from), audio_tokens: sound.map(u64::from) }),
            };
            let usage = Usage::from_chat(&said);
            prop_assert_eq!((usage.input(), usage.output()), (prompt, completion));
            prop_assert!(usage.in_audio.unwrap_or(0) + usage.in_image.unwrap_or(0) <= usage.in_fresh.unwrap_or(0));
            prop_assert!(usage.out_audio <= usage.out_text);
            prop_assert_eq!(Usage::from_chat(&usage.to_chat()), usage);
        }
    }
}
