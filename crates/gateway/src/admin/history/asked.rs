//! What is asked for: the query of a path, and the flags of a command.

use clap::Args;
use serde::{Deserialize, Serialize};
use store::history::{Cached, Figures, Range, Search};
use wire::Failure;

use super::{outcome, said, span};
use crate::price::NANOS;

/// Records that are wanted; what is not said does not matter.
#[derive(Debug, Clone, Default, Deserialize, Serialize, Args)]
#[serde(default)]
pub struct Asked {
    #[arg(skip)]
    pub(super) page: Option<u64>,
    #[arg(skip)]
    pub(super) per_page: Option<u32>,
    #[arg(skip)]
    pub(super) limit: Option<u32>,
    #[arg(skip)]
    pub(super) offset: Option<u64>,
    #[arg(skip)]
    pub(super) format: Option<String>,
    #[arg(skip)]
    pub(super) after: Option<i64>,
    /// Only records that began at this time (RFC 3339) or later.
    #[arg(long = "since", value_name = "TIME")]
    start_time: Option<String>,
    /// Only records that began at this time (RFC 3339) or before.
    #[arg(long = "until", value_name = "TIME")]
    end_time: Option<String>,
    /// Part of a model's name.
    #[arg(long)]
    model: Option<String>,
    /// Id of a node.
    #[arg(long = "node", value_name = "NODE")]
    node_id: Option<String>,
    /// Name of an account or node.
    #[arg(long)]
    account: Option<String>,
    /// Id or name of a key.
    #[arg(long)]
    key: Option<String>,
    /// How the requests ended.
    #[arg(long, value_parser = ["success", "error", "cancelled"])]
    status: Option<String>,
    /// What they were answered with, such as 429.
    #[arg(long, value_name = "STATUS")]
    http_status: Option<u16>,
    /// The address that they came from.
    #[arg(long, value_name = "ADDRESS")]
    client_ip: Option<String>,
    /// Whether they were answered from memory; off: it was not asked.
    #[arg(long, value_parser = Cached::NAMES.map(|(name, _)| name))]
    cache: Option<String>,
    /// The first byte came after at least so many milliseconds.
    #[arg(long, value_name = "MS")]
    first_byte_min_ms: Option<u64>,
    /// The first byte came after at most so many milliseconds.
    #[arg(long, value_name = "MS")]
    first_byte_max_ms: Option<u64>,
    /// They took at least so many milliseconds.
    #[arg(long, value_name = "MS")]
    duration_min_ms: Option<u64>,
    /// They took at most so many milliseconds.
    #[arg(long, value_name = "MS")]
    duration_max_ms: Option<u64>,
    /// At least so many tokens, of prompt and answer together.
    #[arg(long, value_name = "N")]
    tokens_min: Option<u64>,
    /// At most so many tokens, of prompt and answer together.
    #[arg(long, value_name = "N")]
    tokens_max: Option<u64>,
    /// They cost at least so many dollars.
    #[arg(long, value_name = "USD")]
    cost_min_usd: Option<f64>,
    /// They cost at most so many dollars.
    #[arg(long, value_name = "USD")]
    cost_max_usd: Option<f64>,
    /// A text in ids, names, errors, and in what was said.
    #[arg(long)]
    search: Option<String>,
}

impl Asked {
    /// The same, of these records, as a file of this form (`json`, `csv`).
    #[must_use]
    pub fn as_file(self, format: &str) -> Self {
        Self { format: Some(format.to_owned()), ..self }
    }

    /// The same, so many of them.
    #[must_use]
    pub fn at_most(self, limit: u32) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Names and values of a query that asks for this.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let Ok(serde_json::Value::Object(members)) = serde_json::to_value(self) else { return Vec::new() };
        let text = |value: serde_json::Value| match value {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => Some(text),
            number => Some(number.to_string()),
        };
        members.into_iter().filter_map(|(name, value)| Some((name, text(value)?))).collect()
    }

    /// What it looks for.
    ///
    /// # Errors
    /// A 400 that names what can't be.
    pub fn search(&self) -> Result<Search, Failure> {
        let outcome = outcome(&self.status)?;
        let (from_ms, until_ms) = span(self.start_time.as_deref(), self.end_time.as_deref())?;
        let cached = said(&self.cache).map(|name| {
            let known = Cached::named(&name);
            known.ok_or_else(|| Failure::invalid("cache", "`cache` is one of hit, miss, replayed and off"))
        });
        let figures = Figures {
            cached: cached.transpose()?,
            first_byte_ms: range("first_byte_min_ms", "first_byte_max_ms", self.first_byte_min_ms, self.first_byte_max_ms)?,
            duration_ms: range("duration_min_ms", "duration_max_ms", self.duration_min_ms, self.duration_max_ms)?,
            tokens: range("tokens_min", "tokens_max", self.tokens_min, self.tokens_max)?,
            cost_nano: range(
                "cost_min_usd",
                "cost_max_usd",
                nano("cost_min_usd", self.cost_min_usd)?,
                nano("cost_max_usd", self.cost_max_usd)?,
            )?,
        };
        Ok(Search {
            model: said(&self.model),
            node_id: said(&self.node_id),
            target: said(&self.account),
            key: said(&self.key),
            key_id: None,
            outcome,
            http_status: self.http_status,
            from_ms,
            until_ms,
            client_ip: said(&self.client_ip),
            figures,
            text: said(&self.search),
            said: None,
            after_seq: None,
        })
    }
}

/// Dollars in billionths.
fn nano(name: &str, dollars: Option<f64>) -> Result<Option<u64>, Failure> {
    let Some(dollars) = dollars else { return Ok(None) };
    if !(dollars.is_finite() && dollars >= 0.0) {
        return Err(Failure::invalid(name, format!("`{name}` must be dollars, such as 0.05")));
    }
    // A number beyond every cost is the greatest there is.
    Ok(Some((dollars * NANOS).round() as u64))
}

fn range(least: &str, most: &str, min: Option<u64>, max: Option<u64>) -> Result<Range, Failure> {
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        return Err(Failure::invalid(least, format!("`{least}` is more than `{most}`")));
    }
    let end = |n: Option<u64>| n.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
    Ok(Range { min: end(min), max: end(max) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_what_cannot_be_is_named() {
        let figures = |asked: Asked| asked.search().map(|search| search.figures);
        let asked = Asked { cost_min_usd: Some(0.001), cost_max_usd: Some(1e300), cache: Some("off".to_owned()), ..Asked::default() };
        let wanted =
            Figures { cached: Some(Cached::Off), cost_nano: Range { min: Some(1_000_000), max: Some(i64::MAX) }, ..Figures::default() };
        assert_eq!(figures(asked).unwrap(), wanted);
        assert_eq!(figures(Asked { cache: Some(String::new()), ..Asked::default() }).unwrap(), Figures::default());
        for wrong in [
            Asked { duration_min_ms: Some(2), duration_max_ms: Some(1), ..Asked::default() },
            Asked { cost_min_usd: Some(-1.0), ..Asked::default() },
            Asked { cost_max_usd: Some(f64::NAN), ..Asked::default() },
            Asked { cache: Some("warm".to_owned()), ..Asked::default() },
        ] {
            assert_eq!(figures(wrong.clone()).unwrap_err().status(), 400, "{wrong:?}");
        }
    }

    #[test]
    fn a_query_says_what_was_asked() {
        let asked = Asked { tokens_min: Some(7), model: Some("m".to_owned()), ..Asked::default() }.as_file("csv").at_most(5);
        let mut pairs = asked.pairs();
        pairs.sort();
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("format", "csv"), ("limit", "5"), ("model", "m"), ("tokens_min", "7")]);
    }
}
