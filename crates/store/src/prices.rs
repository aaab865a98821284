//! Price books: what was charged for, by the names that request records have of them. What is in one is for others to know: here it is a text.

use std::{collections::HashMap, mem};

use sqlx::{QueryBuilder, Row as _, Sqlite};

use crate::{
    Store, StoreError,
    facets::Facet,
    now_ms,
    open::Durability,
    requests,
    sums::{self, Figures},
};

/// A price book that was in force once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Book {
    pub version: String,
    /// When it was first seen, unix milliseconds.
    pub since_ms: i64,
    /// JSON.
    pub prices: String,
}

/// Most books that are given at once.
pub const BOOKS_MAX: u32 = 1000;

/// Stores a book, unless one of this version is there. Does not count as a change.
///
/// # Errors
/// The database's.
pub async fn remember(store: &Store, version: &str, prices: &str) -> Result<(), StoreError> {
    let mut writer = store.writer(Durability::Disk).await?;
    let query = sqlx::query("INSERT INTO price_books (version, since, prices) VALUES (?, ?, ?) ON CONFLICT (version) DO NOTHING");
    query.bind(version.to_owned()).bind(now_ms()).bind(prices.to_owned()).execute(&mut writer.connection).await?;
    Ok(())
}

/// The newest [`BOOKS_MAX`], newest first.
///
/// # Errors
/// The database's.
pub async fn all(store: &Store) -> Result<Vec<Book>, StoreError> {
    let query = sqlx::query("SELECT version, since, prices FROM price_books ORDER BY since DESC, version LIMIT ?").bind(BOOKS_MAX);
    let rows = query.fetch_all(store.readers()).await?;
    let read = |row: sqlx::sqlite::SqliteRow| Ok(Book { version: row.try_get(0)?, since_ms: row.try_get(1)?, prices: row.try_get(2)? });
    rows.into_iter().map(read).collect()
}

/// The versions that records name, by [`crate::requests::Stored::seq`]; those that name none are left out.
///
/// # Errors
/// The database's.
pub async fn versions(store: &Store, seqs: &[i64]) -> Result<HashMap<i64, String>, StoreError> {
    let mut query =
        QueryBuilder::<Sqlite>::new("SELECT requests.seq, price_version FROM requests JOIN facets ON facets.id = facet WHERE seq IN (");
    let mut places = query.separated(", ");
    for seq in seqs {
        places.push_bind(*seq);
    }
    query.push(") AND price_version <> ''");
    Ok(query.build_query_as().fetch_all(store.readers()).await?.into_iter().collect())
}

/// A record's new cost.
#[derive(Debug, Clone, Copy)]
pub struct Repriced<'a> {
    /// [`crate::requests::Stored::seq`].
    pub seq: i64,
    /// Billionths of a dollar; `None`: not known.
    pub cost_nano: Option<i64>,
    pub version: &'a str,
}

/// Gives records new costs, and the sums with them: in one transaction. Those that are no longer there are passed over. Gives how many were.
///
/// # Errors
/// The database's; then nothing is changed.
pub async fn reprice(store: &Store, all: &[Repriced<'_>]) -> Result<u64, StoreError> {
    let mut writer = store.writer(Durability::Disk).await?;
    let mut known = mem::take(&mut writer.facets);
    let mut transaction = writer.begin().await?;
    sums::catch_up(&mut transaction).await?;
    let mut sums = sums::Batch::default();
    let mut changed = 0;
    for Repriced { seq, cost_nano, version } in all {
        let found = sqlx::query("SELECT * FROM records WHERE seq = ?").bind(seq).fetch_optional(&mut *transaction).await?;
        let Some(found) = found else { continue };
        let (facet, mut row): (i64, _) = (found.try_get("facet")?, requests::read(&found)?.row);
        sums.add(row.started_at_ms, facet, Figures::of(&row).negated());
        row.cost_nano = *cost_nano;
        row.price_version = Some((*version).to_owned().into());
        let facet = known.number(&mut transaction, &Facet::of(&row)).await?;
        sums.add(row.started_at_ms, facet, Figures::of(&row));
        let query = sqlx::query("UPDATE requests SET facet = ?, cost_nano = ? WHERE seq = ?").bind(facet).bind(cost_nano).bind(seq);
        changed += query.execute(&mut *transaction).await?.rows_affected();
    }
    sums.write(&mut transaction).await?;
    transaction.commit().await?;
    writer.facets = known;
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{requests::Row, usage};

    #[tokio::test]
    async fn a_book_is_stored_once() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open("", home.path()).await.unwrap();
        for (version, prices) in [("a", "1"), ("b", "2"), ("a", "3")] {
            remember(&store, version, prices).await.unwrap();
        }
        let mut books = all(&store).await.unwrap();
        books.sort_by(|a, b| a.version.cmp(&b.version));
        assert_eq!(books.iter().map(|book| (&*book.version, &*book.prices)).collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
    }

    #[tokio::test]
    async fn a_new_cost_changes_the_sums() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open("", home.path()).await.unwrap();
        let row = |cost_nano| Row { prompt_tokens: Some(5), cost_nano, price_version: Some("a".into()), ..Row::default() };
        let first = requests::insert(&store, &[row(Some(10)), row(None), row(Some(3))]).await.unwrap();
        let new = |seq, cost_nano| Repriced { seq, cost_nano, version: "b" };
        assert_eq!(reprice(&store, &[new(first, Some(20)), new(first + 1, Some(7)), new(first + 9, Some(1))]).await.unwrap(), 2);
        let used = usage::used(&store, &usage::Span::default(), usage::Group::Day).await.unwrap();
        let figures: Vec<_> = used.iter().map(|used| (used.requests, used.cost_nano, used.priced, used.unpriced)).collect();
        assert_eq!(figures, [(3, 30, 3, 0)]);
        let versions = versions(&store, &[first, first + 1, first + 2]).await.unwrap();
        assert_eq!(versions, [(first, "b".to_owned()), (first + 1, "b".to_owned()), (first + 2, "a".to_owned())].into());
        let rows = requests::recent(&store, &requests::Filter::default()).await.unwrap();
        assert_eq!(rows.iter().map(|stored| stored.row.cost_nano).collect::<Vec<_>>(), [Some(3), Some(7), Some(20)]);
    }
}
