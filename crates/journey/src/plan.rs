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
    /// When it may be asked.
    #[serde(skip_serializing_if = "When::is_always")]
    pub when: When,
    /// The name that led here: 0 is the one that was asked for, others are those of [`Plan::stand_ins`].
    #[serde(skip)]
    pub name: u8,
}

impl Candidate {
    /// One that may be asked whenever its turn comes.
    pub fn new(target: Target, model: Arc<str>, reason: &'static str) -> Self {
        Self { target, model, reason, weighed: None, when: When::Always, name: 0 }
    }
}

/// What must have gone wrong before a candidate is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Nothing: its turn decides.
    #[default]
    Always,
    /// The input is too long for a model before it.
    TooLong,
    /// It is against the policy of a model's maker.
    AgainstPolicy,
}

impl When {
    /// Whether nothing has to go wrong first.
    pub fn is_always(&self) -> bool {
        *self == Self::Always
    }
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
    /// Names that stand in for the one that was asked for, in order.
    pub stand_ins: Vec<Arc<str>>,
}
