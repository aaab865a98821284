//! The archive: the only place that speaks SQL, and the only one that speaks to a Redis. One module per noun, with plain functions over a [`Store`].
//!
//! SQLite in WAL mode today. All writes of a process go through one connection, so they never wait for each other inside SQLite, and reads
//! have a small pool of their own. What the control plane writes (keys, users, nodes, models, meta) is flushed to the disk before it is
//! acknowledged; request records are committed without a flush (`synchronous=NORMAL`), which a killed process survives all the same: only a
//! machine that loses power may forget the last of them.
//!
//! The database file holds the secrets with which the router proves itself to its nodes in readable form (it has to present them), so it is
//! created with mode 0600 in a directory of mode 0700. Keys, node tokens and passwords are stored as hashes only.

mod chunks;
mod column;
mod error;
mod facets;
mod lock;
mod open;
mod text;
mod watch;

pub mod answers;
pub mod audit;
pub mod bodies;
pub mod config_versions;
pub mod counters;
pub mod feedback;
pub mod history;
pub mod join_tokens;
pub mod keys;
pub mod leases;
pub mod meta;
pub mod model_files;
pub mod model_tasks;
pub mod models;
pub mod nodes;
pub mod prices;
pub mod redis;
pub mod requests;
pub mod sessions;
pub mod spending;
pub mod sums;
pub mod tallies;
pub mod upkeep;
pub mod usage;
pub mod users;

pub use error::StoreError;
pub use lock::InstanceLock;
pub use open::{Store, check_address};
pub use text::Text;

/// A new identifier: the prefix, `_`, and a UUID whose order is that of creation.
pub fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::now_v7())
}

/// The wall clock in unix milliseconds: the unit of every time in the store.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
