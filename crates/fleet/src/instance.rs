//! One model on one node: what moves with its requests. A model that fails there says nothing against the node's others: the breaker is its own.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU32, Ordering::Relaxed, Ordering::SeqCst},
};

use crate::{
    breaker::{Admission, Breaker},
    queue::Line,
    tally::{Tally, Totals},
};

/// Of a node's places, one in so many more may be under way than it has: the next request is there when a place becomes free.
const AHEAD_SHARE: u32 = 4;

/// Shared by every view and every request in flight.
#[derive(Debug)]
pub(crate) struct Instance {
    /// Who waits for this model.
    line: Arc<Line>,
    active: AtomicU32,
    /// Requests that it works on at once; 0 where it has not said so.
    slots: AtomicU32,
    tally: Tally,
    breaker: Mutex<Breaker>,
    /// The breaker is not simply open: a look at it takes its lock.
    is_shut: AtomicBool,
}

impl Instance {
    pub(crate) fn new(line: Arc<Line>) -> Self {
        Self {
            line,
            active: AtomicU32::new(0),
            slots: AtomicU32::new(0),
            tally: Tally::default(),
            breaker: Mutex::default(),
            is_shut: AtomicBool::new(false),
        }
    }

    /// Takes over how many requests it works on at once; 0 where it does not say. Its counts of this moment bound nothing: they are old when the
    /// next request comes, and what others send there shall not keep this router's requests waiting for ever.
    pub(crate) fn report(&self, slots: u32) {
        if self.slots.swap(slots, Relaxed) != slots {
            self.line.call_next();
        }
    }

    /// Requests of this router.
    pub(crate) fn active(&self) -> u32 {
        self.active.load(Relaxed)
    }

    pub(crate) fn slots(&self) -> u32 {
        self.slots.load(Relaxed)
    }

    pub(crate) fn totals(&self) -> Totals {
        self.tally.totals()
    }

    pub(crate) fn average_ms(&self) -> Option<f64> {
        self.tally.average_ms()
    }

    /// Most requests of this router at once; `None`: as many as come.
    fn bound(&self) -> Option<u32> {
        let slots = self.slots.load(Relaxed);
        (slots > 0).then(|| slots.saturating_add(slots.div_ceil(AHEAD_SHARE)))
    }

    pub(crate) fn has_room(&self) -> bool {
        self.bound().is_none_or(|bound| self.active.load(SeqCst) < bound)
    }

    /// Counts a request in; false: there is no room. `anyway` passes that.
    pub(crate) fn enter(&self, anyway: bool) -> bool {
        let bound = if anyway { None } else { self.bound() };
        self.active.fetch_update(SeqCst, Relaxed, |n| bound.is_none_or(|bound| n < bound).then_some(n + 1)).is_ok()
    }

    /// Counts a request out and calls the next of those that wait.
    pub(crate) fn left(&self) {
        self.active.fetch_sub(1, SeqCst);
        self.line.call_next();
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether the breaker lets a request pass now.
    pub(crate) fn admission(&self, now_tick_ms: i64) -> Admission {
        if self.is_shut.load(Relaxed) { self.breaker().admission(now_tick_ms) } else { Admission::Open }
    }

    /// Whether this request is the breaker's trial; `None` where it does not pass. `anyway` passes all but takes no trial.
    pub(crate) fn pass_breaker(&self, now_tick_ms: i64, anyway: bool) -> Option<bool> {
        if !self.is_shut.load(Relaxed) {
            return Some(false);
        }
        let mut breaker = self.breaker();
        match breaker.admission(now_tick_ms) {
            Admission::Open => Some(false),
            Admission::Trial => Some(breaker.try_trial(now_tick_ms)),
            Admission::Closed => anyway.then_some(false),
        }
    }

    /// The trial ended without an answer to the question.
    pub(crate) fn give_back_trial(&self) {
        self.breaker().give_back_trial();
    }

    /// It failed.
    pub(crate) fn failed(&self, now_tick_ms: i64) {
        let mut breaker = self.breaker();
        breaker.failed(now_tick_ms);
        self.is_shut.store(!breaker.is_open(), Relaxed);
    }

    /// It answered: nothing speaks against it now.
    pub(crate) fn is_well(&self, now_tick_ms: i64) {
        self.breaker().succeeded(now_tick_ms);
        self.is_shut.store(false, Relaxed);
    }

    /// Nothing of what it was is true any more.
    pub(crate) fn begins_anew(&self) {
        *self.breaker() = Breaker::default();
        self.is_shut.store(false, Relaxed);
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_slots_leave() {
        let instance = Instance::new(Arc::default());
        assert!((0..100).all(|_| instance.enter(false)), "who says nothing of slots gets what comes");
        (0..100).for_each(|_| instance.left());
        instance.report(4);
        assert!((0..5).all(|_| instance.enter(false)) && !instance.has_room() && !instance.enter(false), "four, and one ahead");
        assert!(instance.enter(true), "the last resort passes");
        instance.left();
        instance.left();
        assert!(instance.has_room());
    }
}
