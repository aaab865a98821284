//! Two clocks: a steady one for "how long ago", the wall clock for what people read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

/// Cheap to clone; clones tell the same time.
#[derive(Debug, Clone)]
pub(crate) struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    start: Instant,
    /// Tests move it; 0 otherwise.
    skew_ms: AtomicI64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner { start: Instant::now(), skew_ms: AtomicI64::new(0) }))
    }

    /// Steady milliseconds since this clock was made.
    pub(crate) fn tick_ms(&self) -> i64 {
        i64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(i64::MAX) + self.0.skew_ms.load(Ordering::Relaxed)
    }

    /// Unix milliseconds.
    pub(crate) fn unix_ms(&self) -> i64 {
        store::now_ms() + self.0.skew_ms.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn advance(&self, by: std::time::Duration) {
        self.0.skew_ms.fetch_add(i64::try_from(by.as_millis()).expect("tests move by little"), Ordering::Relaxed);
    }
}

/// RFC 3339 in UTC with milliseconds: of equal length, so that text order is time order.
pub(crate) fn rfc3339(unix_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(unix_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_always() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_500), "1970-01-01T00:00:01.500Z");
        assert!(rfc3339(i64::MAX).ends_with('Z'));
    }
}
