//! What tokens cost, as the operator wrote it.

use std::collections::BTreeMap;

use crate::error::ConfigError;
use crate::fields::{Field, Fields, Place, field};
use crate::tree::{Node, Value};

/// Dollars for a million tokens.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Price {
    pub input: f64,
    pub output: f64,
    /// Of input that a provider's cache held; `input` where nothing is said.
    pub cached: Option<f64>,
    /// Of input that was written to a provider's cache; `input` where nothing is said.
    pub cache_write: Option<f64>,
    /// Where the price is from.
    pub source: Option<String>,
}

/// The keys of a price.
pub(crate) const PRICE_FIELDS: &[Field] = &[
    field("input", "Dollars for a million tokens of input."),
    field("output", "The same of output."),
    field("cached", "Of input that a provider's cache held; by default as `input`."),
    field("cache_write", "Of input that was written to a provider's cache; by default as `input`."),
    field("source", "Where the price is from, such as the address of a price list: it stands beside what was charged."),
];

impl Price {
    /// Reads an account's price, or one of `prices`. What is left out of `input` and `output` costs nothing.
    pub(crate) fn read(fields: &Fields) -> Result<Self, ConfigError> {
        Ok(Self {
            input: fields.optional("input")?.unwrap_or(0.0),
            output: fields.optional("output")?.unwrap_or(0.0),
            cached: fields.optional("cached")?,
            cache_write: fields.optional("cache_write")?,
            source: fields.optional("source")?,
        })
    }
}

/// `prices`: by the name of the model.
pub(crate) fn prices(root: &Node, place: Place) -> Result<BTreeMap<String, Price>, ConfigError> {
    let entries = match root.get("prices") {
        None | Some(Node { value: Value::Null, .. }) => return Ok(BTreeMap::new()),
        Some(Node { value: Value::Map(entries), .. }) => entries,
        Some(node) => {
            let (name, value, origin) = ("prices".to_owned(), node.brief(), place.at(node.line));
            return Err(ConfigError::Value { name, value, origin, allowed: "a mapping".to_owned() });
        }
    };
    let price = |entry: &crate::tree::Entry| {
        let fields = Fields::new(&entry.node, format!("prices.{}", entry.key), PRICE_FIELDS, place)?;
        // Half a price would charge nothing for the other half.
        fields.required::<f64>("input").and(fields.required::<f64>("output"))?;
        Ok((entry.key.clone(), Price::read(&fields)?))
    };
    entries.iter().map(price).collect()
}
