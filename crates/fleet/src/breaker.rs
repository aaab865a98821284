//! Keeps requests away from a node that fails one after the other, or more often than not.

use std::time::Duration;

use crate::{balance::mix, registry::as_ms};

/// Failures in a row that open the breaker.
const FAILURES_MAX: u32 = 3;
/// So many requests within the time are judged together: it opens when more than half of them failed.
const JUDGED_MIN: u32 = 10;
const JUDGED_WITHIN: Duration = Duration::from_secs(30);
/// How long it stays open the first time, give or take a fifth, so that routers do not all try again at once; doubles each time the trial request
/// fails too.
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
    /// In a row.
    failures: u32,
    /// Since when requests are judged together, how many there were, and how many failed.
    judged_from_ms: i64,
    judged: u32,
    judged_failed: u32,
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

    pub(crate) fn succeeded(&mut self, now_ms: i64) {
        if !self.is_open() {
            *self = Self::default();
        }
        self.failures = 0;
        self.judge(now_ms, false);
    }

    pub(crate) fn failed(&mut self, now_ms: i64) {
        self.failures = self.failures.saturating_add(1);
        self.judge(now_ms, true);
        let was_trial = std::mem::take(&mut self.on_trial);
        if self.shut_for.is_zero() {
            let mostly_fails = self.judged >= JUDGED_MIN && self.judged_failed > self.judged / 2;
            if self.failures >= FAILURES_MAX || mostly_fails {
                self.shut(now_ms, OPEN_MIN);
            }
        } else if was_trial || now_ms >= self.shut_until_ms {
            self.shut(now_ms, (self.shut_for * 2).min(OPEN_MAX));
        }
    }

    fn judge(&mut self, now_ms: i64, has_failed: bool) {
        if now_ms - self.judged_from_ms > as_ms(JUDGED_WITHIN) {
            (self.judged_from_ms, self.judged, self.judged_failed) = (now_ms, 0, 0);
        }
        self.judged = self.judged.saturating_add(1);
        self.judged_failed = self.judged_failed.saturating_add(u32::from(has_failed));
    }

    fn shut(&mut self, now_ms: i64, time: Duration) {
        self.shut_for = time;
        // Between 80 and 120 percent of it.
        let percent = 80 + (mix(now_ms.cast_unsigned()) % 41).cast_signed();
        self.shut_until_ms = now_ms + as_ms(time) * percent / 100;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When it lets a trial pass.
    fn opens_ms(b: &Breaker) -> i64 {
        let at = b.shut_until_ms;
        assert_eq!((b.admission(at - 1), b.admission(at)), (Admission::Closed, Admission::Trial));
        at
    }

    #[test]
    fn three_in_a_row_open_it_and_a_success_between_does_not() {
        let mut b = Breaker::default();
        b.failed(0);
        b.failed(0);
        b.succeeded(0);
        b.failed(0);
        b.failed(0);
        assert_eq!(b.admission(0), Admission::Open);
        b.failed(0);
        assert_eq!(b.admission(0), Admission::Closed);
        assert!((4_000..=6_000).contains(&opens_ms(&b)));
    }

    #[test]
    fn more_than_half_of_ten_within_half_a_minute_open_it() {
        // Never three in a row.
        let outcomes = [true, true, false, true, false, true, true, false, false, true];
        let after = |step_ms: i64| {
            let mut b = Breaker::default();
            for (n, failed) in (1..).zip(outcomes) {
                assert_eq!(b.admission(n * step_ms), Admission::Open);
                if failed { b.failed(n * step_ms) } else { b.succeeded(n * step_ms) }
            }
            b.admission(outcomes.len() as i64 * step_ms)
        };
        assert_eq!((after(1_000), after(10_000)), (Admission::Closed, Admission::Open));
        let mut b = Breaker::default();
        (0..100).for_each(|_| [Breaker::failed, Breaker::succeeded].into_iter().for_each(|say| say(&mut b, 7)));
        assert_eq!(b.admission(7), Admission::Open, "half is not more than half");
    }

    #[test]
    fn one_trial_at_a_time_and_the_pause_doubles_to_a_minute() {
        let mut b = Breaker::default();
        let mut now = 0;
        (0..3).for_each(|_| b.failed(now));
        for pause in [5, 10, 20, 40, 60, 60] {
            let at = opens_ms(&b);
            assert!((pause * 800..=pause * 1200).contains(&(at - now)), "{pause}: {}", at - now);
            now = at;
            assert!(b.try_trial(now));
            assert!(!b.try_trial(now), "a second trial");
            b.failed(now);
        }
        now = opens_ms(&b);
        assert!(b.try_trial(now));
        b.give_back_trial();
        assert!(b.try_trial(now), "a trial that nobody finished is free again");
        b.succeeded(now);
        assert_eq!(b.admission(now), Admission::Open);
        (0..3).for_each(|_| b.failed(now));
        assert!(opens_ms(&b) - now <= 6_000, "after a success it begins with the short pause");
    }
}
