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
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    pub target: Target,
    pub model: Arc<str>,
    /// Why it stands here.
    pub reason: &'static str,
    /// What set it before or behind its equals; `None` where nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weighed: Option<Weighed>,
}

/// The figure by which one of several equals was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Weighed {
    /// The strategy's name.
    pub by: &'static str,
    /// A share, requests under way, tokens, seconds or dollars; `None` where it is not known.
    pub figure: Option<f64>,
}

/// Candidates in the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// What the client asked for.
    pub requested: Arc<str>,
    /// The rule that resolved the name.
    pub rule: &'static str,
    pub candidates: Vec<Candidate>,
}
