//! The counting room: every journey ends in one row of the archive, written behind the path.
//!
//! [`Recorder::record`] puts a row into a bounded queue and returns; a thread with a runtime of its own writes what has come together, so that
//! neither a slow disk nor a busy database is ever felt by a request. A killed process loses at most what came within [`WRITE_INTERVAL`] and
//! the time of one write.
//!
//! Invariants: memory is bounded ([`QUEUE_ROWS_MAX`] rows wait at most, [`BATCH_ROWS_MAX`] are being written); a row is written once or counted
//! as lost, never both; while the database can't take rows they wait, and only those that find the queue full are lost.

mod recorder;
mod writer;

pub use recorder::{Recorder, Stats};
pub use writer::{Ledger, LedgerError};

/// How long rows come together before they are written.
pub const WRITE_INTERVAL: std::time::Duration = std::time::Duration::from_millis(50);
/// Rows of one transaction.
pub const BATCH_ROWS_MAX: usize = 256;
/// Rows that wait to be written: some seconds of the fastest traffic.
pub const QUEUE_ROWS_MAX: usize = 16_384;
