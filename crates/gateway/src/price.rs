//! What a request costs. Headers, records and sums all ask here, so that their figures add up.

use journey::Receipt;
use routing::Figures as _;
use store::{Text, history::Used, requests::Row};

use crate::snapshot::House;

/// What was used, of what, at whom; of one request, or of several that are alike in this.
#[derive(Debug, Clone, Copy, Default)]
pub struct Consumption<'a> {
    /// The account or node.
    pub target: Option<&'a str>,
    pub model_served: Option<&'a str>,
    pub model_requested: Option<&'a str>,
    /// `None`: nobody said.
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    /// It was answered from memory.
    pub is_remembered: bool,
}

impl Consumption<'_> {
    /// Dollars, by the price that the account has, else by that of the model that served, else by that of the model that was asked for. `None`
    /// where nobody knows the price or how much was used; nothing for an answer that was there before.
    pub fn cost_usd(&self, house: &House) -> Option<f64> {
        if self.is_remembered {
            return Some(0.0);
        }
        let (input, output) = self.usd_per_million(house)?;
        Some((self.prompt_tokens? as f64 * input + self.completion_tokens? as f64 * output) / 1e6)
    }

    /// Dollars for a million tokens of a prompt and of an answer, by the price that holds for this; `None` where nobody knows one.
    pub fn usd_per_million(&self, house: &House) -> Option<(f64, f64)> {
        let served = self.model_served.or(self.model_requested);
        let at_account = self.target.zip(served).and_then(|(target, model)| house.price_at(target, model));
        let of_model = || house.price(served?);
        at_account.or_else(of_model).or_else(|| house.price(self.model_requested?))
    }
}

impl<'a> From<&'a Receipt> for Consumption<'a> {
    fn from(receipt: &'a Receipt) -> Self {
        Self {
            target: receipt.target.as_deref(),
            model_served: receipt.model_served.as_deref(),
            model_requested: Some(&receipt.model_requested),
            prompt_tokens: receipt.usage.map(|usage| usage.input()),
            completion_tokens: receipt.usage.map(|usage| usage.output()),
            is_remembered: receipt.remembered.is_some(),
        }
    }
}

impl<'a> From<&'a Row> for Consumption<'a> {
    fn from(row: &'a Row) -> Self {
        Self {
            target: row.target.as_ref().map(Text::as_str),
            model_served: row.model_served.as_ref().map(Text::as_str),
            model_requested: row.model_requested.as_ref().map(Text::as_str),
            prompt_tokens: row.prompt_tokens,
            completion_tokens: row.completion_tokens,
            is_remembered: row.cache.as_ref().is_some_and(|word| word.as_str() != "miss"),
        }
    }
}

impl<'a> From<&'a Used> for Consumption<'a> {
    fn from(used: &'a Used) -> Self {
        Self {
            target: used.target.as_deref(),
            model_served: used.model_served.as_deref(),
            model_requested: used.model_requested.as_deref(),
            prompt_tokens: Some(used.prompt_tokens),
            completion_tokens: Some(used.completion_tokens),
            is_remembered: used.is_remembered,
        }
    }
}
