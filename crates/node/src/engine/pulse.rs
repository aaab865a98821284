//! Whether an engine is alive, judged by what it says and when.

use std::time::{Duration, Instant};

/// An embedding is one long step: a request of that kind may stand still so many times longer.
const LONG_STEP: u32 = 4;

/// The last signs of life.
#[derive(Debug)]
pub(super) struct Pulse {
    heard: Instant,
    moved: Instant,
    steps: u64,
}

/// What an engine has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    Idle,
    Steps,
    LongSteps,
}

impl Pulse {
    pub(super) const fn new(now: Instant) -> Self {
        Self { heard: now, moved: now, steps: 0 }
    }

    /// A frame came.
    pub(super) const fn hear(&mut self, now: Instant) {
        self.heard = now;
    }

    /// A frame came that is progress for a request.
    pub(super) const fn moved(&mut self, now: Instant) {
        self.heard = now;
        self.moved = now;
    }

    /// A heartbeat came.
    pub(super) const fn beat(&mut self, now: Instant, steps: u64) {
        self.heard = now;
        if steps != self.steps {
            self.steps = steps;
            self.moved = now;
        }
    }

    /// What is wrong, if something is. Called while idle too, so that work that comes later starts with full time.
    pub(super) fn fault(&mut self, now: Instant, load: Load, hang: Duration) -> Option<String> {
        let limit = match load {
            Load::Idle => {
                self.moved = now;
                hang
            }
            Load::Steps => hang,
            Load::LongSteps => hang * LONG_STEP,
        };
        if now.saturating_duration_since(self.heard) >= hang {
            return Some(format!("no heartbeat for {hang:?}"));
        }
        (now.saturating_duration_since(self.moved) >= limit).then(|| format!("no step for {limit:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANG: Duration = Duration::from_secs(30);

    #[test]
    fn silence_is_a_fault_even_when_idle() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        pulse.beat(start + HANG / 2, 0);
        assert_eq!(pulse.fault(start + HANG, Load::Idle, HANG), None);
        assert!(pulse.fault(start + HANG * 2, Load::Idle, HANG).is_some_and(|said| said.contains("heartbeat")));
    }

    #[test]
    fn work_that_stands_still_is_a_fault_and_idleness_is_none() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        let mut fault = |at: Duration, steps, load| {
            pulse.beat(start + at, steps);
            pulse.fault(start + at, load, HANG)
        };
        assert_eq!(fault(HANG * 3, 5, Load::Idle), None);
        assert_eq!(fault(HANG * 3 + HANG / 2, 5, Load::Steps), None);
        assert_eq!(fault(HANG * 4, 6, Load::Steps), None);
        assert_eq!(fault(HANG * 5, 6, Load::LongSteps), None);
        assert!(fault(HANG * 5, 6, Load::Steps).is_some_and(|said| said.contains("no step")));
    }
}
