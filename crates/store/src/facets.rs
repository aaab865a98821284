//! What requests have in common: who asked for what, who answered, how it ended. A combination stands in the database once, and rows and sums
//! name it by its number: so that a search looks at some hundred combinations, not at a million rows.

use std::hash::BuildHasher;

use foldhash::{HashMap, fast::RandomState};
use sqlx::{Sqlite, Transaction};

use crate::{Text, requests::Row};

/// Combinations whose numbers are remembered; the database knows all.
const KNOWN_MAX: usize = 8192;

/// The columns of a combination that are texts, in the order of [`Facet::texts`].
const TEXTS: usize = 8;

/// All columns but the number.
pub(crate) const COLUMNS: &str =
    "key_id, key_name, model_requested, model_served, target, node_id, outcome, price_version, status, remembered";

/// A combination as a row has it. What there is not is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Facet<'a> {
    /// `key_id, key_name, model_requested, model_served, target, node_id, outcome, price_version`.
    texts: [&'a str; TEXTS],
    status: u16,
    /// It was answered from memory, and used nothing again.
    pub(crate) is_remembered: bool,
}

impl<'a> Facet<'a> {
    pub(crate) fn of(row: &'a Row) -> Self {
        let text = |text: &'a Option<Text>| text.as_ref().map_or("", Text::as_str);
        Self {
            texts: [
                text(&row.key_id),
                text(&row.key_name),
                text(&row.model_requested),
                text(&row.model_served),
                text(&row.target),
                text(&row.node_id),
                row.outcome.as_str(),
                text(&row.price_version),
            ],
            status: row.status,
            is_remembered: row.is_remembered(),
        }
    }

    /// Its number, which it is given now if it has none.
    async fn number(&self, transaction: &mut Transaction<'_, Sqlite>) -> Result<i64, sqlx::Error> {
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "INSERT INTO facets ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT ({COLUMNS}) \
                 DO UPDATE SET status = excluded.status RETURNING id"
        )));
        let query = self.texts.into_iter().fold(query, |query, text| query.bind(text.to_owned()));
        query.bind(self.status).bind(self.is_remembered).fetch_one(&mut **transaction).await
    }
}

#[derive(Debug)]
struct Kept {
    texts: [Box<str>; TEXTS],
    status: u16,
    is_remembered: bool,
    number: i64,
}

impl Kept {
    fn is(&self, facet: &Facet) -> bool {
        self.status == facet.status
            && self.is_remembered == facet.is_remembered
            && self.texts.iter().zip(facet.texts).all(|(kept, text)| **kept == *text)
    }
}

/// Numbers of combinations that came before: looked up without the database, and without a copy.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// By their hash; of two that share one the later is kept.
    kept: HashMap<u64, Kept>,
    hasher: RandomState,
}

impl Known {
    fn find(&self, hash: u64, facet: &Facet) -> Option<i64> {
        self.kept.get(&hash).filter(|kept| kept.is(facet)).map(|kept| kept.number)
    }

    /// The number of a combination.
    pub(crate) async fn number(&mut self, transaction: &mut Transaction<'_, Sqlite>, facet: &Facet<'_>) -> Result<i64, sqlx::Error> {
        let hash = self.hasher.hash_one(facet);
        if let Some(number) = self.find(hash, facet) {
            return Ok(number);
        }
        let number = facet.number(transaction).await?;
        if self.kept.len() >= KNOWN_MAX {
            self.kept.clear();
        }
        let Facet { texts, status, is_remembered } = *facet;
        self.kept.insert(hash, Kept { texts: texts.map(Into::into), status, is_remembered, number });
        Ok(number)
    }
}
