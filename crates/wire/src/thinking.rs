//! Efforts and budgets of thinking, one in terms of the other.

/// The effort that a budget of thinking tokens comes nearest to.
pub(crate) const fn effort_of(budget_tokens: u32) -> &'static str {
    match budget_tokens {
        0 => "none",
        1..=1024 => "minimal",
        1025..=4096 => "low",
        4097..=16_384 => "medium",
        _ => "high",
    }
}

/// Tokens of thinking for an effort, as Google's own OpenAI-compatible endpoint sets them ("OpenAI compatibility", "Thinking").
pub(crate) fn tokens_of(effort: &str) -> u32 {
    match effort {
        "none" => 0,
        "minimal" | "low" => 1024,
        "medium" => 8192,
        _ => 24_576,
    }
}
