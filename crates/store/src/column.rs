//! Columns that hold JSON: lists, maps and free values, as text.

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row, sqlite::SqliteRow};

use crate::StoreError;

/// The text that a JSON column stores.
pub(crate) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("lists and maps with text keys always have a JSON form")
}

/// Reads a JSON column.
pub(crate) fn read<T: DeserializeOwned>(row: &SqliteRow, what: &'static str, id: &str) -> Result<T, StoreError> {
    let text: String = row.try_get(what)?;
    serde_json::from_str(&text).map_err(|source| StoreError::Damaged { what, id: id.to_owned(), source })
}

/// Reads a JSON column that may be empty.
pub(crate) fn read_optional<T: DeserializeOwned>(row: &SqliteRow, what: &'static str, id: &str) -> Result<Option<T>, StoreError> {
    let text: Option<String> = row.try_get(what)?;
    text.map(|t| serde_json::from_str(&t)).transpose().map_err(|source| StoreError::Damaged { what, id: id.to_owned(), source })
}
