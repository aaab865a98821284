//! Model names with `*`.

use std::sync::Arc;

/// A name, or a pattern in which `*` stands for any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// A pattern as written in the settings.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether it is a plain name.
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name matches.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let parts: Vec<&str> = parts.collect();
        let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
        for part in middle {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_any_text() {
        for (pattern, yes, no) in [
            ("gpt-4", vec!["gpt-4"], vec!["gpt-4o", "xgpt-4", ""]),
            ("gpt-*", vec!["gpt-4", "gpt-"], vec!["gpt", "x-gpt-4"]),
            ("*-mini", vec!["gpt-mini", "-mini"], vec!["mini", "-mini-"]),
            ("a*b*c", vec!["abc", "axbxc", "abbc"], vec!["acb", "ab", "ac"]),
            ("*", vec!["", "anything"], vec![]),
            ("a*a", vec!["aa"], vec!["a"]),
        ] {
            let p = Pattern::new(pattern);
            assert!(yes.iter().all(|n| p.matches(n)), "{pattern} should match {yes:?}");
            assert!(!no.iter().any(|n| p.matches(n)), "{pattern} should match none of {no:?}");
        }
    }
}
