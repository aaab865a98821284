//! The counting room: every journey ends in one row of the archive, written behind the path.
//!
//! [`Recorder::record`] puts what was recorded into a bounded queue and returns; a thread with a runtime of its own makes rows of it, appends
//! their texts to files and writes what has come together, so that neither a slow disk nor a busy database is ever felt by a request. Rows that
//! the database does not take, or not fast enough, wait in a file until it does. A killed process loses at most what came within [`WRITE_INTERVAL`] and the time of one write.
//!
//! Invariants: memory is bounded ([`QUEUE_ROWS_MAX`] rows wait at most, [`BATCH_ROWS_MAX`] of about [`BATCH_BYTES_MAX`] are being written), and so is
//! the file ([`SPILL_BYTES_MAX`]); a row is written once or counted as lost, never both; only where neither database nor file can take rows, those
//! that find the queue full are lost.

mod intake;
mod recorder;
mod spill;
mod writer;

pub use recorder::{Recorder, Stats};
pub use writer::{Ledger, LedgerError};

/// How long rows come together before they are written: a killed process may lose what came in 200 ms, and every write wakes two threads,
/// which costs as much as many rows.
pub const WRITE_INTERVAL: std::time::Duration = std::time::Duration::from_millis(150);
/// Rows of one transaction.
pub const BATCH_ROWS_MAX: usize = 256;
/// Bytes of rows after which a transaction takes no more.
pub const BATCH_BYTES_MAX: usize = 512 << 10;
/// Rows that wait to be written: some seconds of the fastest traffic.
pub const QUEUE_ROWS_MAX: usize = 16_384;
/// Most bytes of the file in which rows wait for the database.
pub const SPILL_BYTES_MAX: u64 = 1 << 30;
