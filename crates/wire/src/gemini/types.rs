//! The shapes of Gemini's answers as they stand in the JSON. Requests are read member by member, parts by `parts`.
//!
//! Names are read in camelCase and snake_case (protocol buffers take both) and written in camelCase.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    chat::types::{Logprob, Logprobs, TopLogprob},
    ir::Usage,
};

/// Counts beyond this are cut: no model has so many tokens, and sums stay in range.
const TOKENS_MAX: u64 = 1 << 50;

/// `GenerateContentResponse`: a whole answer, or one chunk of a streamed one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Vec<Candidate>>,
    #[serde(alias = "prompt_feedback", skip_serializing_if = "Option::is_none")]
    pub prompt_feedback: Option<PromptFeedback>,
    #[serde(alias = "usage_metadata", skip_serializing_if = "Option::is_none")]
    pub usage_metadata: Option<UsageMetadata>,
    #[serde(alias = "model_version", skip_serializing_if = "Option::is_none")]
    pub model_version: Option<String>,
    #[serde(alias = "response_id", skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
}

/// One answer of `candidateCount`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Candidate {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    #[serde(alias = "finish_reason", skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    #[serde(alias = "logprobs_result", skip_serializing_if = "Option::is_none")]
    pub logprobs_result: Option<LogprobsResult>,
    /// `{"citationSources":[…]}`.
    #[serde(alias = "citation_metadata", skip_serializing_if = "Option::is_none")]
    pub citation_metadata: Option<Value>,
    /// What a search brought: `{"groundingChunks":[…],"groundingSupports":[…]}`.
    #[serde(alias = "grounding_metadata", skip_serializing_if = "Option::is_none")]
    pub grounding_metadata: Option<Value>,
}

/// Parts in order; text, thoughts, calls, media.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Content {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// Why a prompt was refused before any candidate.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PromptFeedback {
    #[serde(alias = "block_reason", skip_serializing_if = "Option::is_none")]
    pub block_reason: Option<String>,
}

/// Token counts, cumulative on each chunk. `candidates_token_count` leaves thoughts out; `prompt_token_count` includes what was cached
/// and leaves out what tools put into the prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UsageMetadata {
    #[serde(alias = "prompt_token_count", skip_serializing_if = "Option::is_none")]
    pub prompt_token_count: Option<u64>,
    #[serde(alias = "cached_content_token_count", skip_serializing_if = "Option::is_none")]
    pub cached_content_token_count: Option<u64>,
    #[serde(alias = "tool_use_prompt_token_count", skip_serializing_if = "Option::is_none")]
    pub tool_use_prompt_token_count: Option<u64>,
    #[serde(alias = "candidates_token_count", skip_serializing_if = "Option::is_none")]
    pub candidates_token_count: Option<u64>,
    #[serde(alias = "thoughts_token_count", skip_serializing_if = "Option::is_none")]
    pub thoughts_token_count: Option<u64>,
    #[serde(alias = "total_token_count", skip_serializing_if = "Option::is_none")]
    pub total_token_count: Option<u64>,
    #[serde(alias = "prompt_tokens_details", skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_details: Option<Modalities>,
    #[serde(alias = "candidates_tokens_details", skip_serializing_if = "Option::is_none")]
    pub candidates_tokens_details: Option<Modalities>,
}

/// Counts by what was counted; of texts, sound and pictures. In JSON a list of `{modality, tokenCount}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<ModalityCount>", into = "Vec<ModalityCount>")]
pub struct Modalities {
    pub text: Option<u64>,
    pub audio: Option<u64>,
    pub image: Option<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ModalityCount {
    modality: String,
    #[serde(alias = "token_count")]
    token_count: u64,
}

impl From<Vec<ModalityCount>> for Modalities {
    fn from(all: Vec<ModalityCount>) -> Self {
        let of = |word: &str| all.iter().find(|one| one.modality == word).map(|one| one.token_count);
        Self { text: of("TEXT"), audio: of("AUDIO"), image: of("IMAGE") }
    }
}

impl From<Modalities> for Vec<ModalityCount> {
    fn from(all: Modalities) -> Self {
        let counts = [("TEXT", all.text), ("AUDIO", all.audio), ("IMAGE", all.image)];
        let counted = counts.into_iter().filter_map(|(word, count)| Some((word.to_owned(), count?)));
        counted.map(|(modality, token_count)| ModalityCount { modality, token_count }).collect()
    }
}

impl UsageMetadata {
    /// Takes over what a later chunk says; what it leaves out stays.
    pub fn update(&mut self, later: Self) {
        for (ours, theirs) in [
            (&mut self.prompt_token_count, later.prompt_token_count),
            (&mut self.cached_content_token_count, later.cached_content_token_count),
            (&mut self.tool_use_prompt_token_count, later.tool_use_prompt_token_count),
            (&mut self.candidates_token_count, later.candidates_token_count),
            (&mut self.thoughts_token_count, later.thoughts_token_count),
            (&mut self.total_token_count, later.total_token_count),
        ] {
            *ours = theirs.or(*ours);
        }
        self.prompt_tokens_details = later.prompt_tokens_details.or(self.prompt_tokens_details);
        self.candidates_tokens_details = later.candidates_tokens_details.or(self.candidates_tokens_details);
    }

    /// In disjoint buckets. A cached count larger than the prompt is cut to it.
    pub fn buckets(&self) -> Usage {
        let cut = |count: Option<u64>| count.map(|n| n.min(TOKENS_MAX));
        let prompt = cut(self.prompt_token_count);
        let cached = cut(self.cached_content_token_count).map(|n| n.min(prompt.unwrap_or(n)));
        let in_fresh = match (prompt.map(|n| n - cached.unwrap_or(0)), cut(self.tool_use_prompt_token_count)) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0) + b.unwrap_or(0)),
        };
        let (asked, said) = (self.prompt_tokens_details.unwrap_or_default(), self.candidates_tokens_details.unwrap_or_default());
        let out_text = cut(self.candidates_token_count);
        Usage {
            in_fresh,
            in_cache_read: cached,
            out_text,
            out_reasoning: cut(self.thoughts_token_count),
            out_audio: said.audio.map(|n| n.min(out_text.unwrap_or(0))),
            ..Usage::default()
        }
        .with_kinds(asked.audio, asked.image)
    }

    /// From disjoint buckets.
    pub fn of(usage: &Usage) -> Self {
        Self {
            prompt_token_count: Some(usage.input()),
            cached_content_token_count: usage.in_cache_read,
            tool_use_prompt_token_count: None,
            candidates_token_count: usage.out_text,
            thoughts_token_count: usage.out_reasoning,
            total_token_count: Some(usage.input() + usage.output()),
            prompt_tokens_details: modalities(usage.input(), usage.in_audio, usage.in_image),
            candidates_tokens_details: modalities(usage.out_text.unwrap_or(0), usage.out_audio, None),
        }
    }
}

/// The parts of `all`, which add up to it.
fn modalities(all: u64, audio: Option<u64>, image: Option<u64>) -> Option<Modalities> {
    let text = all.saturating_sub(audio.unwrap_or(0) + image.unwrap_or(0));
    (audio.is_some() || image.is_some()).then_some(Modalities { text: Some(text), audio, image })
}

/// Log-probabilities of a candidate's tokens.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogprobsResult {
    #[serde(alias = "chosen_candidates")]
    pub chosen_candidates: Vec<Token>,
    #[serde(alias = "top_candidates", skip_serializing_if = "Vec::is_empty")]
    pub top_candidates: Vec<TopTokens>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Token {
    pub token: String,
    #[serde(alias = "log_probability")]
    pub log_probability: f64,
}

/// The likeliest tokens of one place.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TopTokens {
    pub candidates: Vec<Token>,
}

impl LogprobsResult {
    pub(super) fn to_chat(&self) -> Logprobs {
        let bytes = |token: &str| Some(token.as_bytes().to_vec());
        let content = self.chosen_candidates.iter().enumerate().map(|(i, chosen)| Logprob {
            token: chosen.token.clone(),
            logprob: chosen.log_probability,
            bytes: bytes(&chosen.token),
            top_logprobs: self.top_candidates.get(i).map_or_else(Vec::new, |top| {
                let one = |t: &Token| TopLogprob { token: t.token.clone(), logprob: t.log_probability, bytes: bytes(&t.token) };
                top.candidates.iter().map(one).collect()
            }),
        });
        Logprobs { content: Some(content.collect()), refusal: None }
    }

    pub(super) fn of(logprobs: &Logprobs) -> Self {
        let content = logprobs.content.as_deref().unwrap_or_default();
        let chosen = content.iter().map(|l| Token { token: l.token.clone(), log_probability: l.logprob });
        let top = content.iter().map(|l| TopTokens {
            candidates: l.top_logprobs.iter().map(|t| Token { token: t.token.clone(), log_probability: t.logprob }).collect(),
        });
        let has_top = content.iter().any(|l| !l.top_logprobs.is_empty());
        Self { chosen_candidates: chosen.collect(), top_candidates: if has_top { top.collect() } else { Vec::new() } }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn buckets_add_up(prompt: Option<u32>, cached: Option<u32>, tools: Option<u32>, said: Option<u32>, thought: Option<u32>) {
            let usage = UsageMetadata {
                prompt_token_count: prompt.map(u64::from),
                cached_content_token_count: cached.map(u64::from),
                tool_use_prompt_token_count: tools.map(u64::from),
                candidates_token_count: said.map(u64::from),
                thoughts_token_count: thought.map(u64::from),
                ..UsageMetadata::default()
            };
            let buckets = usage.buckets();
            let input = prompt.or(cached).map_or(0, u64::from) + tools.map_or(0, u64::from);
            prop_assert_eq!(buckets.input(), input);
            prop_assert_eq!(buckets.output(), said.map_or(0, u64::from) + thought.map_or(0, u64::from));
            let again = UsageMetadata::of(&buckets);
            prop_assert_eq!(again.total_token_count, Some(buckets.input() + buckets.output()));
            prop_assert_eq!(again.buckets().input(), buckets.input());
        }
    }
}
