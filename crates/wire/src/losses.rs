//! What a translation could not carry, as data.

use serde::Serialize;

/// Parts of a request or an answer that a translation dropped or changed. Empty means that nothing was lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Losses {
    /// Paths of what is gone.
    pub dropped: Vec<String>,
    /// Paths of what arrived in another form.
    pub changed: Vec<String>,
}

impl Losses {
    /// Notes that something is gone.
    pub fn drop(&mut self, path: impl Into<String>) {
        self.dropped.push(path.into());
    }

    /// Notes that something has another form.
    pub fn change(&mut self, path: impl Into<String>) {
        self.changed.push(path.into());
    }

    /// Whether everything was carried.
    pub fn is_exact(&self) -> bool {
        self.dropped.is_empty() && self.changed.is_empty()
    }

    /// The value of `x-llm-router-fidelity`: `exact` or `lossy; dropped=a,b; changed=c`.
    pub fn header(&self) -> String {
        if self.is_exact() {
            return "exact".to_owned();
        }
        let mut text = "lossy".to_owned();
        for (word, paths) in [("dropped", &self.dropped), ("changed", &self.changed)] {
            if !paths.is_empty() {
                text = format!("{text}; {word}={}", paths.join(","));
            }
        }
        text
    }
}
