//! The counters of this process: sharded, bounded, and no lock is held across an await.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{Bounds, Full, MINUTE, Reading, Standing, Subject, What, log::Log};

/// Parts of the table, each under a lock of its own.
const SHARDS: usize = 64;
/// Most subjects of a part. One more takes the place of one whose windows are empty, else of the one that was quiet for longest.
const SUBJECTS_PER_SHARD_MAX: usize = 1024;

/// What one subject has used.
#[derive(Debug, Default)]
struct Counter {
    window: Log,
    minute: Log,
    tokens: Log,
    running: u32,
    /// When all its windows are empty.
    until: u64,
}

/// What was taken.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ticket {
    /// Times of the request in its windows and of its tokens.
    window: u64,
    minute: u64,
    tokens: u64,
}

/// A change of what was taken.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Settled {
    /// The request leaves its windows.
    pub(super) request_back: bool,
    /// Of the tokens that were held, so many go back.
    pub(super) tokens_back: u64,
    /// So many more than were held have flowed.
    pub(super) tokens_over: u64,
    /// It does not run any more.
    pub(super) is_over: bool,
}

pub(super) struct Memory {
    shards: Vec<Mutex<HashMap<Subject, Counter>>>,
    hasher: RandomState,
    began: Instant,
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

impl Memory {
    pub(super) fn new(now: Instant) -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new(), began: now }
    }

    fn shard(&self, subject: &Subject) -> MutexGuard<'_, HashMap<Subject, Counter>> {
        let at = self.hasher.hash_one(subject) as usize % SHARDS;
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.began))
    }

    /// Takes a place in every window, tokens and a place among those that run, or nothing at all. `is_sure`: it was admitted elsewhere
    /// and is counted whatever the bounds say.
    pub(super) fn take(
        &self,
        subject: &Subject,
        bounds: &Bounds,
        tokens: u64,
        is_sure: bool,
        now: Instant,
    ) -> Result<(Ticket, Standing), Full> {
        let at = self.at(now);
        let mut shard = self.shard(subject);
        if !shard.contains_key(subject) {
            make_room(&mut shard, at);
        }
        let counter = shard.entry(subject.clone()).or_default();
        counter.forget(bounds, at);
        if !is_sure && let Some((what, wait)) = counter.obstacle(bounds, tokens, at) {
            return Err(Full { what, retry_after: Duration::from_nanos(wait), standing: counter.standing(bounds, at) });
        }
        let ticket = counter.take(bounds, tokens, at);
        Ok((ticket, counter.standing(bounds, at)))
    }

    /// What is used, without taking anything.
    pub(super) fn look(&self, subject: &Subject, bounds: &Bounds, now: Instant) -> Standing {
        let at = self.at(now);
        let mut shard = self.shard(subject);
        match shard.get_mut(subject) {
            Some(counter) => {
                counter.forget(bounds, at);
                counter.standing(bounds, at)
            }
            None => Counter::default().standing(bounds, at),
        }
    }

    pub(super) fn settle(&self, subject: &Subject, bounds: &Bounds, ticket: Ticket, settled: Settled, now: Instant) {
        let at = self.at(now);
        let mut shard = self.shard(subject);
        let Some(counter) = shard.get_mut(subject) else { return };
        if settled.is_over && bounds.concurrency.is_some() {
            counter.running = counter.running.saturating_sub(1);
        }
        if settled.request_back {
            counter.window.take_back(ticket.window, u64::from(bounds.window.is_some()));
            counter.minute.take_back(ticket.minute, u64::from(bounds.rpm.is_some()));
        }
        if bounds.tpm.is_some() {
            counter.tokens.take_back(ticket.tokens, settled.tokens_back);
            if settled.tokens_over > 0 {
                counter.tokens.add(at, settled.tokens_over, nanos(MINUTE));
                counter.until = counter.until.max(at.saturating_add(nanos(MINUTE)));
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
}

/// Keeps a part within its bound.
fn make_room(shard: &mut HashMap<Subject, Counter>, now: u64) {
    if shard.len() < SUBJECTS_PER_SHARD_MAX {
        return;
    }
    shard.retain(|_, counter| counter.running > 0 || counter.until > now);
    if shard.len() >= SUBJECTS_PER_SHARD_MAX
        && let Some(quietest) = shard.iter().filter(|(_, c)| c.running == 0).min_by_key(|(_, c)| c.until).map(|(s, _)| s.clone())
    {
        shard.remove(&quietest);
    }
}

impl Counter {
    fn forget(&mut self, bounds: &Bounds, now: u64) {
        self.window.forget(now, bounds.window.map_or(0, |w| nanos(w.span)));
        self.minute.forget(now, bounds.rpm.map_or(0, |_| nanos(MINUTE)));
        self.tokens.forget(now, bounds.tpm.map_or(0, |_| nanos(MINUTE)));
    }

    /// What has no place for one more, and for how long; of several the one that lasts longest.
    fn obstacle(&self, bounds: &Bounds, tokens: u64, now: u64) -> Option<(What, u64)> {
        let minute = nanos(MINUTE);
        let window = bounds.window.and_then(|w| Some((What::Requests(w), self.window.wait(1, w.requests.into(), now, nanos(w.span))?)));
        let rpm = bounds.minute().and_then(|w| Some((What::Requests(w), self.minute.wait(1, w.requests.into(), now, minute)?)));
        let tpm = bounds.tpm.and_then(|limit| Some((What::Tokens(limit), self.tokens.wait(tokens.min(limit), limit, now, minute)?)));
        let running = bounds.concurrency.filter(|max| self.running >= *max).map(|max| (What::Running(max), nanos(super::RUNNING_WAIT)));
        [window, rpm, tpm, running].into_iter().flatten().max_by_key(|(_, wait)| *wait)
    }

    fn take(&mut self, bounds: &Bounds, tokens: u64, now: u64) -> Ticket {
        let mut ticket = Ticket::default();
        let minute = nanos(MINUTE);
        if let Some(window) = bounds.window {
            ticket.window = self.window.add(now, 1, nanos(window.span));
            self.until = self.until.max(ticket.window.saturating_add(nanos(window.span)));
        }
        if bounds.rpm.is_some() {
            ticket.minute = self.minute.add(now, 1, minute);
        }
        if let Some(limit) = bounds.tpm {
            ticket.tokens = self.tokens.add(now, tokens.min(limit), minute);
        }
        if bounds.concurrency.is_some() {
            self.running += 1;
        }
        self.until = self.until.max(ticket.minute.max(ticket.tokens).saturating_add(minute));
        ticket
    }

    fn standing(&self, bounds: &Bounds, now: u64) -> Standing {
        let reading = |log: &Log, limit: u64, span: u64| {
            let (first, all) = log.leaving(now, span);
            Reading { limit, used: log.total(), first_free: Duration::from_nanos(first), all_free: Duration::from_nanos(all) }
        };
        let minute = nanos(MINUTE);
        Standing {
            window: bounds.window.map(|w| reading(&self.window, w.requests.into(), nanos(w.span))),
            minute: bounds.rpm.map(|limit| reading(&self.minute, limit.into(), minute)),
            tokens: bounds.tpm.map(|limit| reading(&self.tokens, limit, minute)),
        }
    }
}
