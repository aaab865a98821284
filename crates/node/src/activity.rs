//! What the node is doing: requests under way and how long they take.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

/// Weight of the newest response time in the average.
const NEWEST: f64 = 0.2;

/// Counters of inference requests.
#[derive(Debug, Default)]
pub struct Activity {
    active: AtomicU32,
    total: AtomicU64,
    average_ms: Mutex<Option<f64>>,
}

/// A request under way; its end is the drop.
#[derive(Debug)]
pub struct Busy {
    activity: Arc<Activity>,
    started: Instant,
}

impl Activity {
    /// A request begins.
    pub fn begin(self: &Arc<Self>) -> Busy {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
        Busy { activity: self.clone(), started: Instant::now() }
    }

    /// Requests under way.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Requests since the start.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Moving average of the time from a request to the end of its answer, in milliseconds.
    pub fn average_ms(&self) -> Option<f64> {
        *self.average_ms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.activity.active.fetch_sub(1, Ordering::Relaxed);
        let took_ms = self.started.elapsed().as_secs_f64() * 1000.0;
        let mut average = self.activity.average_ms.lock().unwrap_or_else(PoisonError::into_inner);
        *average = Some(average.map_or(took_ms, |old| old + NEWEST * (took_ms - old)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_active_until_it_is_dropped() {
        let activity = Arc::new(Activity::default());
        let (a, b) = (activity.begin(), activity.begin());
        assert_eq!((activity.active(), activity.average_ms()), (2, None));
        drop((a, b));
        assert_eq!((activity.active(), activity.total()), (0, 2));
        assert!(activity.average_ms().is_some());
    }
}
