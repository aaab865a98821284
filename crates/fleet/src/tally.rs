//! Requests that ended on a node or a model of it, counted as they end.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Weight of a new answer in the moving average of times.
const AVERAGE_WEIGHT: f64 = 0.2;

/// How a request on a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A whole answer.
    Success,
    /// The node answered that the request is wrong (4xx): nothing is wrong with the node.
    Refused,
    /// The node answered with a fault of its own (5xx), or not in time.
    Failed,
    /// The connection could not be made or broke: the node is suspect at once.
    Broken,
    /// The node does not answer at all, and is left alone for that: nothing is said against its model.
    Silent,
    /// The caller went away.
    Cancelled,
}

/// Requests that ended, by how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) total: u64,
    pub(crate) successful: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
}

/// Requests that ended, counted as they end.
#[derive(Debug)]
pub(crate) struct Tally {
    successful: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    /// Bits of an `f64`; NaN before the first answer.
    average_ms: AtomicU64,
}

impl Default for Tally {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self { successful: zero(), failed: zero(), cancelled: zero(), average_ms: AtomicU64::new(f64::NAN.to_bits()) }
    }
}

impl Tally {
    pub(crate) fn totals(&self) -> Totals {
        let (successful, failed, cancelled) = (self.successful.load(Relaxed), self.failed.load(Relaxed), self.cancelled.load(Relaxed));
        Totals { total: successful + failed + cancelled, successful, failed, cancelled }
    }

    pub(crate) fn average_ms(&self) -> Option<f64> {
        Some(f64::from_bits(self.average_ms.load(Relaxed))).filter(|ms| !ms.is_nan())
    }

    pub(crate) fn count(&self, end: End, took_ms: f64) {
        let counter = match end {
            End::Success => &self.successful,
            End::Refused | End::Failed | End::Broken | End::Silent => &self.failed,
            End::Cancelled => &self.cancelled,
        };
        counter.fetch_add(1, Relaxed);
        if end == End::Success {
            let step = |bits: u64| Some(blend(f64::from_bits(bits), took_ms).to_bits());
            // The closure always gives a value, so this always stores one.
            let _ = self.average_ms.fetch_update(Relaxed, Relaxed, step);
        }
    }
}

/// Moves an average towards a new value.
fn blend(old: f64, new: f64) -> f64 {
    if old.is_nan() { new } else { old + AVERAGE_WEIGHT * (new - old) }
}
