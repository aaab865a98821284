//! A sliding window: what happened in the last so many nanoseconds, exactly.

use std::collections::VecDeque;

/// Entries up to which each event keeps its own time. Beyond them events that are less than a 1,024th of the window apart share an entry,
/// which leaves with the last of them: the window then forgets a little later, never earlier, and its memory is bounded whatever the limit.
pub(super) const ENTRIES_EXACT: usize = 1024;

/// Events of one time, or of nearly one. Times are nanoseconds since the counters were made.
#[derive(Debug)]
struct Entry {
    first: u64,
    last: u64,
    amount: u64,
}

/// The events of a window, oldest first.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    total: u64,
}

impl Log {
    /// What is in the window; [`Self::forget`] first.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Forgets what has left the window: what is as old as it is long.
    pub(super) fn forget(&mut self, now: u64, span: u64) {
        while let Some(oldest) = self.entries.front() {
            if oldest.amount > 0 && now < oldest.last.saturating_add(span) {
                break;
            }
            self.total -= oldest.amount;
            self.entries.pop_front();
        }
    }

    /// How long until `amount` more would fit; `None`: it fits now.
    pub(super) fn wait(&self, amount: u64, limit: u64, now: u64, span: u64) -> Option<u64> {
        let over = (self.total.saturating_add(amount)).checked_sub(limit).filter(|over| *over > 0)?;
        let mut freed = 0;
        for entry in &self.entries {
            freed += entry.amount;
            if freed >= over {
                return Some(entry.last.saturating_add(span).saturating_sub(now));
            }
        }
        Some(span)
    }

    /// Notes an event; the time that was noted, by which it can be taken back.
    pub(super) fn add(&mut self, now: u64, amount: u64, span: u64) -> u64 {
        let len = self.entries.len();
        let now = match self.entries.back_mut() {
            // Callers looked at the clock before they had the lock.
            Some(newest) => {
                let now = now.max(newest.last);
                if len >= ENTRIES_EXACT && now - newest.first < span / ENTRIES_EXACT as u64 {
                    newest.last = now;
                    newest.amount += amount;
                    self.total += amount;
                    return now;
                }
                now
            }
            None => now,
        };
        self.entries.push_back(Entry { first: now, last: now, amount });
        self.total += amount;
        now
    }

    /// Takes back as much of `amount` as was noted at a time and has not left.
    pub(super) fn take_back(&mut self, at: u64, mut amount: u64) {
        let from = self.entries.partition_point(|e| e.last < at);
        for entry in self.entries.iter_mut().skip(from).take_while(|e| e.first <= at) {
            let some = entry.amount.min(amount);
            entry.amount -= some;
            self.total -= some;
            amount -= some;
        }
        while self.entries.back().is_some_and(|e| e.amount == 0) {
            self.entries.pop_back();
        }
    }

    /// Until the oldest event leaves, and until all have.
    pub(super) fn leaving(&self, now: u64, span: u64) -> (u64, u64) {
        let until = |entry: Option<&Entry>| entry.map_or(0, |e| e.last.saturating_add(span).saturating_sub(now));
        (until(self.entries.iter().find(|e| e.amount > 0)), until(self.entries.back()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Asks as the counters do.
    fn take(log: &mut Log, amount: u64, limit: u64, now: u64, span: u64) -> Result<u64, u64> {
        log.forget(now, span);
        match log.wait(amount, limit, now, span) {
            None => Ok(log.add(now, amount, span)),
            Some(wait) => Err(wait),
        }
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_than_its_limit_and_no_place_stays_empty(
            limit in 1_u64..20,
            span in 1_u64..200,
            gaps in prop::collection::vec(0_u64..40, 1..200),
        ) {
            let (mut log, mut now, mut admitted) = (Log::default(), 0, Vec::<u64>::new());
            for gap in gaps {
                now += gap;
                let inside = admitted.iter().filter(|at| now - **at < span).count() as u64;
                match take(&mut log, 1, limit, now, span) {
                    Ok(at) => {
                        prop_assert!(inside < limit);
                        admitted.push(at);
                    }
                    Err(wait) => {
                        prop_assert_eq!(inside, limit, "refused only where the window is full");
                        let free = admitted[admitted.len() - limit as usize] + span;
                        prop_assert_eq!(now + wait, free, "and told the moment of the next place");
                    }
                }
            }
        }

        #[test]
        fn crowded_windows_stay_small_and_within_their_limit(
            span in 10_000_u64..1_000_000,
            gaps in prop::collection::vec(0_u64..200, 3000..6000),
        ) {
            let limit = 5000;
            let (mut log, mut now, mut admitted) = (Log::default(), 0, VecDeque::<u64>::new());
            for gap in gaps {
                now += gap;
                while admitted.front().is_some_and(|at| now - at >= span) {
                    admitted.pop_front();
                }
                if let Ok(at) = take(&mut log, 1, limit, now, span) {
                    admitted.push_back(at);
                }
                prop_assert!(admitted.len() as u64 <= limit);
                prop_assert!(log.total >= admitted.len() as u64, "forgets later, never earlier");
                prop_assert!(log.entries.len() <= 2 * ENTRIES_EXACT + 2, "{}", log.entries.len());
            }
        }

        #[test]
        fn what_is_taken_back_is_gone_and_nothing_else_is(
            steps in prop::collection::vec((0_u64..50, 0_u64..100, any::<bool>()), 1..120),
        ) {
            let span = 300;
            let (mut log, mut now) = (Log::default(), 0);
            let mut model: Vec<(u64, u64)> = Vec::new();
            for (gap, amount, is_back) in steps {
                now += gap;
                log.forget(now, span);
                model.retain(|(at, _)| now - at < span);
                if is_back && !model.is_empty() {
                    let (at, had) = model.remove(amount as usize % model.len());
                    log.take_back(at, had);
                } else {
                    model.push((log.add(now, amount, span), amount));
                }
                prop_assert_eq!(log.total, model.iter().map(|(_, amount)| amount).sum::<u64>());
                prop_assert_eq!(log.total, log.entries.iter().map(|e| e.amount).sum::<u64>());
            }
        }
    }

    #[test]
    fn a_clock_that_was_read_too_early_moves_nothing_back() {
        let mut log = Log::default();
        assert_eq!(log.add(100, 1, 50), 100);
        assert_eq!(log.add(90, 1, 50), 100);
        log.forget(149, 50);
        assert_eq!((log.total(), log.leaving(149, 50)), (2, (1, 1)));
        log.forget(150, 50);
        assert_eq!((log.total(), log.leaving(150, 50)), (0, (0, 0)));
    }
}
