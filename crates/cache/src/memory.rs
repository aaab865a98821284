//! Answers in this process, bounded in bytes; the least recently used go first.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use moka::{Expiry, policy::EvictionPolicy, sync::Cache};

use crate::{answer::Answer, key::Key};

/// The memory of one kind of answers, shared by all runtimes.
pub(crate) struct Memory {
    answers: Cache<Key, Arc<Answer>>,
}

/// Each answer has its own lifetime.
struct Lifetime;

impl Expiry<Key, Arc<Answer>> for Lifetime {
    fn expire_after_create(&self, _: &Key, answer: &Arc<Answer>, _: Instant) -> Option<Duration> {
        Some(lifetime(answer))
    }

    fn expire_after_update(&self, _: &Key, answer: &Arc<Answer>, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(lifetime(answer))
    }
}

fn lifetime(answer: &Answer) -> Duration {
    Duration::from_millis(u64::try_from(answer.expires_at_ms.saturating_sub(answer.stored_at_ms)).unwrap_or(0))
}

impl Memory {
    /// A memory of at most so many bytes.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let answers = Cache::builder()
            .max_capacity(bytes_max)
            .weigher(|_, answer: &Arc<Answer>| u32::try_from(answer.weight()).unwrap_or(u32::MAX))
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(Lifetime)
            .build();
        Self { answers }
    }

    pub(crate) fn get(&self, key: &Key, now_ms: i64, age_max: Duration) -> Option<Arc<Answer>> {
        self.answers.get(key).filter(|answer| answer.is_fresh(now_ms, age_max))
    }

    /// Keeps an answer. What is too much goes before this returns, not when somebody comes by.
    pub(crate) fn put(&self, key: Key, answer: Arc<Answer>) {
        self.answers.insert(key, answer);
        self.answers.run_pending_tasks();
    }

    /// Bytes of all answers.
    pub(crate) fn bytes(&self) -> u64 {
        self.answers.weighted_size()
    }

    /// Forgets all; how many there were.
    pub(crate) fn clear(&self) -> u64 {
        self.answers.run_pending_tasks();
        let count = self.answers.entry_count();
        self.answers.invalidate_all();
        self.answers.run_pending_tasks();
        count
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::answer::Made;

    const HOUR: Duration = Duration::from_hours(1);

    fn answer(bytes: usize) -> Arc<Answer> {
        Arc::new(Answer::new(200, None, Made::default(), &vec![b'x'; bytes]).kept(0, HOUR))
    }

    fn key(n: u8) -> Key {
        Key::of_number(n)
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let memory = Memory::new(3 * answer(1000).weight() as u64);
        for n in 0..3 {
            memory.put(key(n), answer(1000));
        }
        assert!(memory.get(&key(0), 1, HOUR).is_some());
        memory.put(key(3), answer(1000));
        let there: Vec<u8> = (0..4).filter(|n| memory.get(&key(*n), 1, HOUR).is_some()).collect();
        assert_eq!(there, [0, 2, 3]);
        assert_eq!(memory.clear(), 3);
        assert_eq!((memory.bytes(), memory.get(&key(3), 1, HOUR)), (0, None));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn the_bound_holds_after_every_answer(sizes in prop::collection::vec((0u8..40, 0usize..9_000), 1..60)) {
            let bytes_max = 64 << 10;
            let memory = Memory::new(bytes_max);
            for (n, bytes) in sizes {
                memory.put(key(n), answer(bytes));
                let held: u64 = memory.answers.iter().map(|(_, kept)| kept.weight() as u64).sum();
                prop_assert!(held <= bytes_max && memory.bytes() <= bytes_max, "{held} {}", memory.bytes());
                prop_assert!(memory.get(&key(n), 1, HOUR).is_some(), "what came last is there");
            }
        }
    }
}
