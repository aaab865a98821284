//! What a request costs. Headers, budgets and records ask the same book, so that their figures add up.

use std::{collections::BTreeMap, fmt::Write as _};

use aws_lc_rs::digest;
use config::Config;
use journey::Receipt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Store, Text, requests::Row};
use wire::ir::Usage;

/// Billionths of a dollar: what costs are kept in.
pub const NANOS: f64 = 1e9;

/// Letters of a version.
const VERSION_LENGTH: usize = 12;

/// Dollars for a million tokens.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Price {
    pub input: f64,
    pub output: f64,
    /// Of input that a provider's cache held; `input` where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cached: Option<f64>,
    /// Of input that was written to a provider's cache; `input` where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cache_write: Option<f64>,
    /// Where the price is from: what the operator said, else where it stands in the configuration.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<String>,
}

/// One line of a bill.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Line {
    /// `input`, `cached`, `cache_write` or `output`.
    pub what: &'static str,
    pub tokens: u64,
    pub usd_per_million: f64,
    pub usd: f64,
}

impl Price {
    /// Reads `{input, output, …}` as models have it; `None` where one of the two is missing.
    fn read(written: &Value) -> Option<Self> {
        let of = |names: &[&str]| names.iter().find_map(|name| written[*name].as_f64());
        Some(Self {
            input: of(&["input", "prompt"])?,
            output: of(&["output", "completion"])?,
            cached: of(&["cached", "cache_read"]),
            cache_write: of(&["cache_write"]),
            source: written["source"].as_str().map(str::to_owned),
        })
    }

    /// The same with where it stands in the configuration, if nobody said where it is from.
    fn placed_at(self, place: impl FnOnce() -> String) -> Self {
        Self { source: self.source.or_else(|| Some(format!("configuration: {}", place()))), ..self }
    }

    /// What was used, line by line; lines of no tokens are left out.
    pub fn lines(&self, usage: &Usage) -> Vec<Line> {
        self.all(usage).into_iter().filter(|line| line.tokens > 0).collect()
    }

    fn all(&self, usage: &Usage) -> [Line; 4] {
        let line = |what, tokens: Option<u64>, usd_per_million: f64| {
            let tokens = tokens.unwrap_or(0);
            Line { what, tokens, usd_per_million, usd: tokens as f64 * usd_per_million / 1e6 }
        };
        [
            line("input", usage.in_fresh, self.input),
            line("cached", usage.in_cache_read, self.cached.unwrap_or(self.input)),
            line("cache_write", usage.in_cache_write, self.cache_write.unwrap_or(self.input)),
            line("output", Some(usage.output()), self.output),
        ]
    }
}

impl From<&config::Price> for Price {
    fn from(price: &config::Price) -> Self {
        let config::Price { input, output, cached, cache_write, source } = price.clone();
        Self { input, output, cached, cache_write, source }
    }
}

/// Every price that is known, and the name of this state of them.
#[derive(Debug, Clone, Default)]
pub struct PriceBook {
    version: std::sync::Arc<str>,
    prices: Prices,
}

/// What a book holds; what is stored of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Prices {
    /// An account's own.
    #[serde(default)]
    pub accounts: BTreeMap<String, Price>,
    #[serde(default)]
    pub models: BTreeMap<String, Price>,
}

/// What was used, of what, at whom.
#[derive(Debug, Clone, Copy, Default)]
pub struct Consumption<'a> {
    /// The account or node.
    pub target: Option<&'a str>,
    pub model_served: Option<&'a str>,
    pub model_requested: Option<&'a str>,
    /// `None`: nobody said.
    pub usage: Option<Usage>,
    /// It was answered from memory.
    pub is_remembered: bool,
}

impl PriceBook {
    /// The book of a configuration; `accounts` are those that are in use.
    pub fn of(config: &Config, accounts: &[config::Account]) -> Self {
        let own = |account: &config::Account| {
            let price = Price::from(account.price.as_ref()?);
            Some((account.name.clone(), price.placed_at(|| format!("accounts.{}.price", account.name))))
        };
        let of_model = |model: &config::config::ModelEntry| {
            let price = Price::read(model.price.as_ref()?)?;
            Some((model.id.clone(), price.placed_at(|| format!("models.{}.price", model.id))))
        };
        let listed = |(name, price): (&String, &config::Price)| (name.clone(), Price::from(price).placed_at(|| format!("prices.{name}")));
        let mut models: BTreeMap<_, _> = config.prices.iter().map(listed).collect();
        // Of two entries for one model the first counts.
        models.extend(config.models.iter().rev().filter_map(of_model));
        Self::new(Prices { accounts: accounts.iter().rev().filter_map(own).collect(), models })
    }

    /// A book of these prices.
    pub fn new(prices: Prices) -> Self {
        let text = serde_json::to_vec(&prices).unwrap_or_default();
        let hash = digest::digest(&digest::SHA256, &text);
        let version = hash.as_ref().iter().take(VERSION_LENGTH / 2).fold(String::with_capacity(VERSION_LENGTH), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        Self { version: version.into(), prices }
    }

    /// A book that was stored under this version.
    pub fn stored(version: &str, prices: Prices) -> Self {
        Self { version: version.into(), prices }
    }

    /// The name of this state of the prices: books with the same prices have the same.
    pub fn version(&self) -> &std::sync::Arc<str> {
        &self.version
    }

    /// Has it stored, so that records of today can be understood later.
    pub async fn remember(&self, store: &Store) {
        let text = serde_json::to_string(&self.prices).unwrap_or_default();
        if let Err(error) = store::prices::remember(store, &self.version, &text).await {
            tracing::error!(%error, version = &*self.version, "the price book can't be stored; records name it all the same");
        }
    }

    /// What is in it.
    pub fn prices(&self) -> &Prices {
        &self.prices
    }

    /// An account's own price, else the model's.
    pub fn at(&self, account: &str, model: &str) -> Option<&Price> {
        self.prices.accounts.get(account).or_else(|| self.of_model(model))
    }

    /// A model's price.
    pub fn of_model(&self, model: &str) -> Option<&Price> {
        self.prices.models.get(model)
    }

    /// The price that holds for a request: the account's own, else that of the model that served, else that of the model that was asked for.
    pub fn price(&self, of: &Consumption) -> Option<&Price> {
        let served = of.model_served.or(of.model_requested);
        let own = of.target.and_then(|target| self.prices.accounts.get(target));
        own.or_else(|| self.of_model(served?)).or_else(|| self.of_model(of.model_requested?))
    }

    /// Billionths of a dollar. `None` where nobody knows the price or how much was used; nothing for an answer that was there before.
    pub fn cost_nano(&self, of: &Consumption) -> Option<i64> {
        if of.is_remembered {
            return Some(0);
        }
        // The sum of nothing would be -0.
        let dollars = 0.0 + self.price(of)?.all(&of.usage?).iter().map(|line| line.usd).sum::<f64>();
        nanos(dollars)
    }
}

/// Most dollars that one request can have cost: far more than any does, and few enough for sums.
const DOLLARS_MAX: f64 = 1e6;

/// Dollars as billionths of them, if a request can have cost so many.
pub fn nanos(dollars: f64) -> Option<i64> {
    (0.0..=DOLLARS_MAX).contains(&dollars).then(|| (dollars * NANOS).round() as i64)
}

/// Billionths of a dollar as dollars.
pub fn dollars(nano: i64) -> f64 {
    nano as f64 / NANOS
}

impl<'a> From<&'a Receipt> for Consumption<'a> {
    fn from(receipt: &'a Receipt) -> Self {
        Self {
            target: receipt.target.as_deref(),
            model_served: receipt.model_served.as_deref(),
            model_requested: Some(&receipt.model_requested),
            usage: receipt.usage,
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
            usage: usage(row),
            is_remembered: row.is_remembered(),
        }
    }
}

/// What a record says that was used: bucket by bucket, else by its counts, as records of other programs have them.
pub fn usage(row: &Row) -> Option<Usage> {
    let counted = || {
        let (input, cached) = (row.prompt_tokens?, row.cached_tokens);
        Some(Usage {
            in_fresh: Some(input.saturating_sub(cached.unwrap_or(0))),
            in_cache_read: cached,
            out_text: Some(row.completion_tokens?),
            ..Usage::default()
        })
    };
    row.usage_raw.as_deref().and_then(|text| serde_json::from_str(text).ok()).or_else(counted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn book(accounts: &[(&str, f64, f64)], models: &[(&str, f64, f64)]) -> PriceBook {
        let named = |all: &[(&str, f64, f64)]| {
            all.iter().map(|&(name, input, output)| (name.to_owned(), Price { input, output, ..Price::default() })).collect()
        };
        PriceBook::new(Prices { accounts: named(accounts), models: named(models) })
    }

    #[test]
    fn the_nearest_price_holds_and_unknown_stays_unknown() {
        let book = book(&[("dear", 10.0, 20.0)], &[("m", 1.0, 2.0), ("asked", 3.0, 4.0)]);
        let usage = Some(Usage { in_fresh: Some(1_000_000), out_text: Some(1_000_000), ..Usage::default() });
        let of = |target, model_served, model_requested| Consumption { target, model_served, model_requested, usage, is_remembered: false };
        let dollars = |of| book.cost_nano(&of).map(dollars);
        assert_eq!(dollars(of(Some("dear"), Some("m"), None)), Some(30.0));
        assert_eq!(dollars(of(Some("cheap"), Some("m"), Some("asked"))), Some(3.0));
        assert_eq!(dollars(of(None, Some("other"), Some("asked"))), Some(7.0));
        assert_eq!(dollars(of(None, Some("other"), None)), None);
        assert_eq!(dollars(Consumption { usage: None, ..of(None, Some("m"), None) }), None, "nobody said how much");
        assert_eq!(dollars(Consumption { is_remembered: true, ..Consumption::default() }), Some(0.0));
    }

    #[test]
    fn books_of_the_same_prices_have_the_same_name() {
        let one = book(&[], &[("a", 1.0, 2.0), ("b", 1.0, 2.0)]);
        assert_eq!(one.version(), book(&[], &[("b", 1.0, 2.0), ("a", 1.0, 2.0)]).version());
        assert_ne!(one.version(), book(&[], &[("a", 1.0, 2.0), ("b", 1.0, 2.5)]).version());
        assert_eq!(one.version().len(), VERSION_LENGTH);
    }

    proptest! {
        #[test]
        fn lines_add_up_to_the_cost(fresh in 0..100_000_u64, read in 0..100_000_u64, written in 0..1000_u64, out in 0..50_000_u64, cached in proptest::option::of(0.0..5.0_f64)) {
            let price = Price { input: 2.5, output: 10.0, cached, cache_write: Some(3.125), source: None };
            let usage = Usage { in_fresh: Some(fresh), in_cache_read: Some(read), in_cache_write: Some(written), out_text: Some(out), ..Usage::default() };
            let sum: f64 = price.lines(&usage).iter().map(|line| line.usd).sum();
            let book = PriceBook::new(Prices { models: [("m".to_owned(), price)].into(), ..Prices::default() });
            let nano = book.cost_nano(&Consumption { model_served: Some("m"), usage: Some(usage), ..Consumption::default() }).unwrap();
            prop_assert!((sum - dollars(nano)).abs() <= 0.5e-9 + sum * 1e-12);
        }
    }
}
