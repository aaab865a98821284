//! What is kept of the texts of requests and their answers, beside the rows of [`crate::requests`].

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, QueryBuilder, Row as _, Sqlite, Transaction};

use crate::{Store, StoreError};

/// The texts of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bodies {
    /// What was asked.
    pub request: Option<Arc<str>>,
    /// What was answered; of a stream the whole.
    pub response: Option<Arc<str>>,
    /// The request went on.
    pub is_request_cut: bool,
    /// The answer went on.
    pub is_response_cut: bool,
}

impl Bodies {
    /// How many bytes of text they are.
    pub fn bytes(&self) -> usize {
        let length = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
        length(&self.request) + length(&self.response)
    }
}

/// Rows that one statement inserts, the most first: each statement is a round trip to SQLite's thread. All stay prepared.
const CHUNKS: [usize; 4] = [64, 16, 4, 1];

/// Stores the texts of rows that were inserted in the same transaction.
pub(crate) async fn insert(transaction: &mut Transaction<'_, Sqlite>, all: &[(i64, &Bodies)]) -> Result<(), sqlx::Error> {
    let mut left = all;
    for size in CHUNKS {
        while let Some((chunk, rest)) = left.split_at_checked(size) {
            let places = vec!["(?, ?, ?, ?, ?)"; size].join(", ");
            // Built from constants only.
            let statement = format!("INSERT INTO request_bodies (seq, request, response, request_cut, response_cut) VALUES {places}");
            let mut query = sqlx::query(AssertSqlSafe(statement));
            for (seq, bodies) in chunk {
                query = query.bind(seq).bind(bodies.request.clone()).bind(bodies.response.clone());
                query = query.bind(bodies.is_request_cut).bind(bodies.is_response_cut);
            }
            query.execute(&mut **transaction).await?;
            left = rest;
        }
    }
    Ok(())
}

/// The texts of rows with these [`crate::requests::Stored::seq`]; those without any are left out.
///
/// # Errors
/// The database's.
pub async fn of(store: &Store, seqs: &[i64]) -> Result<HashMap<i64, Bodies>, StoreError> {
    let mut query = QueryBuilder::new("SELECT seq, request, response, request_cut, response_cut FROM request_bodies WHERE seq IN (");
    let mut places = query.separated(", ");
    for seq in seqs {
        places.push_bind(seq);
    }
    query.push(")");
    let text = |text: Option<String>| text.map(Into::into);
    let rows = query.build().fetch_all(store.readers()).await?;
    let read = |row: &sqlx::sqlite::SqliteRow| {
        let bodies = Bodies {
            request: text(row.try_get("request")?),
            response: text(row.try_get("response")?),
            is_request_cut: row.try_get("request_cut")?,
            is_response_cut: row.try_get("response_cut")?,
        };
        Ok((row.try_get("seq")?, bodies))
    };
    rows.iter().map(read).collect()
}
