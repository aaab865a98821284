//! `provider{…}`: which accounts a caller prefers, as OpenRouter names them (its API reference, "Provider Routing").

use serde::Deserialize;

/// What the caller said. Names are those of accounts, then of providers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preferences {
    /// Tried first, in this order.
    #[serde(default)]
    pub order: Vec<String>,
    /// No others are tried.
    #[serde(default)]
    pub only: Vec<String>,
    /// Never tried.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// `false`: only those that `order` names are tried; without names only the first choice.
    #[serde(default)]
    pub allow_fallbacks: Option<bool>,
    #[serde(default)]
    pub sort: Option<Sort>,
    /// Dollars for a million tokens.
    #[serde(default)]
    pub max_price: Option<MaxPrice>,
    #[serde(default)]
    pub data_collection: Option<DataCollection>,
    /// Only targets that lose nothing of the request.
    #[serde(default)]
    pub require_parameters: Option<bool>,
}

/// By what accounts are ordered; unknown figures come last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    Price,
    Latency,
    Throughput,
}

/// The most that may be paid, dollars for a million tokens; what has no known price is not asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaxPrice {
    #[serde(default)]
    pub prompt: Option<f64>,
    #[serde(default)]
    pub completion: Option<f64>,
}

/// Whether providers may keep what they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataCollection {
    Allow,
    Deny,
}

impl Preferences {
    /// What stands in `provider`, in words for whoever wrote something else.
    pub const FORM: &'static str = "an object of `order`, `only`, `ignore` (lists of names), `allow_fallbacks`, `require_parameters` (true or false), \
                                    `sort` (price, latency or throughput), `max_price` and `data_collection` (allow or deny)";
}
