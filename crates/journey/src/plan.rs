//! Where to.

use std::sync::Arc;

use serde::Serialize;

/// One way to serve a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Target {
    /// An account of the configuration, by name.
    Account { name: Arc<str> },
    /// Whichever of the own nodes is best when the attempt begins.
    Fleet,
    /// The built-in answer.
    Dummy,
}

/// A target with the name that the model has there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    pub target: Target,
    pub model: Arc<str>,
    /// Why it stands here.
    pub reason: &'static str,
}

/// Candidates in the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What the client asked for.
    pub requested: Arc<str>,
    /// The rule that resolved the name.
    pub rule: &'static str,
    pub candidates: Vec<Candidate>,
}
