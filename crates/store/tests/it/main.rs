//! Every function of the archive on a real file; processes that meet on it, and processes that die on it.

mod answers;
mod counters;
mod kill;
mod nouns;
mod opening;
mod sharing;
mod upkeep;

use store::Store;
use tempfile::TempDir;

/// A new database in a directory of its own.
async fn fresh() -> (TempDir, Store) {
    let home = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open("", home.path()).await.expect("a new database");
    (home, store)
}

fn key(n: usize) -> store::keys::Key {
    store::keys::Key {
        id: format!("key_{n}"),
        name: format!("key number {n}"),
        hash: format!("{n:064x}"),
        prefix: "sk_abcd".to_owned(),
        scopes: vec!["inference".to_owned()],
        created_at_ms: n as i64,
        ..Default::default()
    }
}
