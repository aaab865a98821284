//! `cache{…}`: what a caller says about remembered answers.

use serde::Deserialize;

/// What the caller said; where it said nothing the router's own settings count.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caching {
    #[serde(default)]
    pub mode: Option<Mode>,
    /// Seconds: how long the answer is kept, and how old a kept one may be.
    #[serde(default)]
    pub ttl: Option<f64>,
    /// Answers of one namespace are not given in another.
    #[serde(default)]
    pub namespace: Option<String>,
}

/// Which remembered answers will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// None, and this one is not remembered.
    Off,
    /// Those to the same request.
    Exact,
    /// Those to a similar request would do too.
    Semantic,
}

impl Caching {
    /// What stands in `cache`, in words for whoever wrote something else.
    pub const FORM: &'static str = "an object of `mode` (off, exact or semantic), `ttl` (seconds) and `namespace` (a text)";
}

impl Mode {
    /// The mode of a word.
    pub fn from_name(word: &str) -> Option<Self> {
        match word {
            "off" => Some(Self::Off),
            "exact" => Some(Self::Exact),
            "semantic" => Some(Self::Semantic),
            _ => None,
        }
    }
}
