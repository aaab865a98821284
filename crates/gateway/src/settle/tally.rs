//! Counts that operators look at and set back: by service and by key. On the path: a read lock and a few atomic numbers.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
};

use foldhash::HashMap;
use journey::{AttemptOutcome, Outcome, Receipt};

/// Most services, and most keys, that are counted each by itself; those beyond are in the sums only.
const NAMES_MAX: usize = 10_000;

/// Counts by service and by key since the last time they were set back.
#[derive(Debug, Default)]
pub struct Tally {
    services: RwLock<Services>,
    keys: RwLock<Keys>,
    ended: Sum,
}

/// Requests by how they ended; never set back.
#[derive(Debug, Default)]
struct Sum {
    successes: AtomicU64,
    errors: AtomicU64,
    cancelled: AtomicU64,
    /// Microseconds that the successful ones took.
    took_us: AtomicU64,
}

/// How requests ended since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Ended {
    pub successes: u64,
    pub errors: u64,
    pub cancelled: u64,
    /// Of the successful ones.
    pub average_ms: Option<f64>,
}

#[derive(Debug, Default)]
struct Services {
    sums: Sums,
    by_name: HashMap<Arc<str>, Asked>,
}

#[derive(Debug, Default)]
struct Sums {
    requests: AtomicU64,
    failovers: AtomicU64,
    limit_skips: AtomicU64,
}

#[derive(Debug, Default)]
struct Asked {
    requests: AtomicU64,
    failures: AtomicU64,
    limited: AtomicU64,
}

#[derive(Debug, Default)]
struct Keys {
    successes: AtomicU64,
    errors: AtomicU64,
    by_id: HashMap<Arc<str>, Key>,
}

#[derive(Debug, Default)]
struct Key {
    successes: AtomicU64,
    errors: AtomicU64,
    first_ms: AtomicI64,
    last_ms: AtomicI64,
}

/// The counts of services at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceCounts {
    /// Requests that were admitted.
    pub requests: u64,
    /// Times that a request moved on to another target.
    pub failovers: u64,
    /// Times that a target was passed by because its own limit was full.
    pub limit_skips: u64,
    pub services: HashMap<Arc<str>, ServiceCount>,
}

/// The counts of one account or node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServiceCount {
    /// Times that it was asked.
    pub requests: u64,
    /// Of those, how often it failed.
    pub failures: u64,
    /// Times that it was passed by because its own limit was full.
    pub limited: u64,
}

/// The counts of keys at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyCounts {
    pub successes: u64,
    pub errors: u64,
    /// By the key's id.
    pub keys: HashMap<Arc<str>, KeyCount>,
}

/// The counts of one key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyCount {
    pub successes: u64,
    pub errors: u64,
    /// Unix milliseconds of the first and the last request.
    pub first_ms: i64,
    pub last_ms: i64,
}

impl Tally {
    /// Counts a request that is over.
    pub fn settled(&self, receipt: &Receipt) {
        self.count_services(receipt);
        self.count_key(receipt);
        let count = match receipt.outcome {
            Outcome::Success => {
                self.ended.took_us.fetch_add((receipt.duration_ms * 1e3) as u64, Relaxed);
                &self.ended.successes
            }
            Outcome::Error => &self.ended.errors,
            Outcome::Cancelled => &self.ended.cancelled,
        };
        count.fetch_add(1, Relaxed);
    }

    /// How requests ended since the start.
    pub fn ended(&self) -> Ended {
        let successes = self.ended.successes.load(Relaxed);
        let took_ms = self.ended.took_us.load(Relaxed) as f64 / 1e3;
        Ended {
            successes,
            errors: self.ended.errors.load(Relaxed),
            cancelled: self.ended.cancelled.load(Relaxed),
            average_ms: (successes > 0).then(|| took_ms / successes as f64),
        }
    }

    /// When each key was last used (unix milliseconds).
    pub fn last_uses(&self) -> Vec<(Arc<str>, i64)> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.by_id.iter().map(|(id, key)| (id.clone(), key.last_ms.load(Relaxed))).collect()
    }

    fn count_services(&self, receipt: &Receipt) {
        let is_known = |known: &Services| receipt.attempts.iter().all(|a| known.by_name.contains_key(&a.target));
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        if is_known(&services) || services.by_name.len() >= NAMES_MAX {
            return services.count(receipt);
        }
        drop(services);
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        for attempt in receipt.attempts.iter().take(NAMES_MAX.saturating_sub(services.by_name.len())) {
            services.by_name.entry(attempt.target.clone()).or_default();
        }
        services.count(receipt);
    }

    fn count_key(&self, receipt: &Receipt) {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let id = receipt.key.as_ref().map(|key| &key.id);
        match id {
            Some(id) if !keys.by_id.contains_key(id) && keys.by_id.len() < NAMES_MAX => {
                drop(keys);
                let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
                keys.by_id.entry(id.clone()).or_default();
                keys.count(receipt);
            }
            _ => keys.count(receipt),
        }
    }

    /// The counts of services.
    pub fn services(&self) -> ServiceCounts {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        let count = |s: &Asked| ServiceCount {
            requests: s.requests.load(Relaxed),
            failures: s.failures.load(Relaxed),
            limited: s.limited.load(Relaxed),
        };
        ServiceCounts {
            requests: services.sums.requests.load(Relaxed),
            failovers: services.sums.failovers.load(Relaxed),
            limit_skips: services.sums.limit_skips.load(Relaxed),
            services: services.by_name.iter().map(|(name, service)| (name.clone(), count(service))).collect(),
        }
    }

    /// The counts of keys.
    pub fn keys(&self) -> KeyCounts {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let count = |k: &Key| KeyCount {
            successes: k.successes.load(Relaxed),
            errors: k.errors.load(Relaxed),
            first_ms: k.first_ms.load(Relaxed),
            last_ms: k.last_ms.load(Relaxed),
        };
        KeyCounts {
            successes: keys.successes.load(Relaxed),
            errors: keys.errors.load(Relaxed),
            keys: keys.by_id.iter().map(|(id, key)| (id.clone(), count(key))).collect(),
        }
    }

    /// Sets the counts of services back to nothing.
    pub fn forget_services(&self) {
        *self.services.write().unwrap_or_else(PoisonError::into_inner) = Services::default();
    }

    /// Sets the counts of keys back to nothing.
    pub fn forget_keys(&self) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Keys::default();
    }
}

impl Services {
    fn count(&self, receipt: &Receipt) {
        self.sums.requests.fetch_add(1, Relaxed);
        let mut is_moved = false;
        for attempt in &receipt.attempts {
            let service = self.by_name.get(&attempt.target);
            let add = |count: fn(&Asked) -> &AtomicU64| {
                service.map(|s| count(s).fetch_add(1, Relaxed));
            };
            if attempt.outcome.is_try() {
                self.sums.failovers.fetch_add(u64::from(is_moved), Relaxed);
                is_moved = attempt.outcome != AttemptOutcome::Served;
                add(|s| &s.requests);
                if is_moved && attempt.outcome != AttemptOutcome::Left {
                    add(|s| &s.failures);
                }
            } else if attempt.outcome == AttemptOutcome::Limited {
                self.sums.limit_skips.fetch_add(1, Relaxed);
                add(|s| &s.limited);
            }
        }
    }
}

impl Keys {
    fn count(&self, receipt: &Receipt) {
        let is_success = receipt.status < 400 && receipt.outcome != Outcome::Error;
        let sum = if is_success { &self.successes } else { &self.errors };
        sum.fetch_add(1, Relaxed);
        let Some(key) = receipt.key.as_ref().and_then(|key| self.by_id.get(&key.id)) else { return };
        let sum = if is_success { &key.successes } else { &key.errors };
        sum.fetch_add(1, Relaxed);
        let at_ms = receipt.received_at.as_millisecond();
        let _ = key.first_ms.compare_exchange(0, at_ms, Relaxed, Relaxed);
        key.last_ms.fetch_max(at_ms, Relaxed);
    }
}
