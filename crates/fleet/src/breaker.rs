//! Keeps requests away from a node that fails one after the other.

use std::time::Duration;

/// Failures in a row that open the breaker.
const FAILURES_MAX: u32 = 3;
/// How long it stays open the first time; doubles each time the trial request fails too.
const OPEN_MIN: Duration = Duration::from_secs(5);
const OPEN_MAX: Duration = Duration::from_mins(1);

/// Whether a request may go now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Open,
    /// One request may try whether the node is well again.
    Trial,
    Closed,
}

/// Times are steady milliseconds, given by the caller.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failures: u32,
    /// 0: passes everything.
    shut_until_ms: i64,
    shut_for: Duration,
    on_trial: bool,
}

impl Breaker {
    pub(crate) fn admission(&self, now_ms: i64) -> Admission {
        if self.shut_for.is_zero() {
            Admission::Open
        } else if now_ms >= self.shut_until_ms && !self.on_trial {
            Admission::Trial
        } else {
            Admission::Closed
        }
    }

    /// Takes the one trial. False: somebody else has it, or it is not time yet.
    pub(crate) fn try_trial(&mut self, now_ms: i64) -> bool {
        let free = self.admission(now_ms) == Admission::Trial;
        self.on_trial |= free;
        free
    }

    /// The trial ended without an answer to the question (its caller went away).
    pub(crate) fn give_back_trial(&mut self) {
        self.on_trial = false;
    }

    /// Passes everything, and is not on trial.
    pub(crate) fn is_open(&self) -> bool {
        self.shut_for.is_zero()
    }

    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn failed(&mut self, now_ms: i64) {
        self.failures = self.failures.saturating_add(1);
        let was_trial = std::mem::take(&mut self.on_trial);
        if self.shut_for.is_zero() {
            if self.failures >= FAILURES_MAX {
                self.shut(now_ms, OPEN_MIN);
            }
        } else if was_trial || now_ms >= self.shut_until_ms {
            self.shut(now_ms, (self.shut_for * 2).min(OPEN_MAX));
        }
    }

    fn shut(&mut self, now_ms: i64, time: Duration) {
        self.shut_for = time;
        self.shut_until_ms = now_ms + i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_in_a_row_open_it_and_a_success_between_does_not() {
        let mut b = Breaker::default();
        b.failed(0);
        b.failed(0);
        b.succeeded();
        b.failed(0);
        b.failed(0);
        assert_eq!(b.admission(0), Admission::Open);
        b.failed(0);
        assert_eq!(b.admission(0), Admission::Closed);
        assert_eq!(b.admission(4_999), Admission::Closed);
        assert_eq!(b.admission(5_000), Admission::Trial);
    }

    #[test]
    fn one_trial_at_a_time_and_the_pause_doubles_to_a_minute() {
        let mut b = Breaker::default();
        let mut now = 0;
        (0..3).for_each(|_| b.failed(now));
        for pause in [5, 10, 20, 40, 60, 60] {
            assert_eq!(b.admission(now + pause * 1000 - 1), Admission::Closed, "{pause}");
            now += pause * 1000;
            assert!(b.try_trial(now));
            assert!(!b.try_trial(now), "a second trial");
            b.failed(now);
        }
        now += 60_000;
        assert!(b.try_trial(now));
        b.give_back_trial();
        assert!(b.try_trial(now), "a trial that nobody finished is free again");
        b.succeeded();
        assert_eq!(b.admission(now), Admission::Open);
        (0..3).for_each(|_| b.failed(now));
        assert_eq!(b.admission(now + 5_000), Admission::Trial, "after a success it begins with the short pause");
    }
}
