//! What a purse knows of the other routers: each tells on a shared Redis what it has spent, and hears what the others have. Nobody asks
//! before every request: what is known is at most [`HEARD_FOR_MS`] old when a request begins, and what ended is told as soon.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};

use store::{redis::Redis, tallies};
use tokio::sync::Mutex;

/// How long what was heard holds, in milliseconds; as often are the others told.
pub const HEARD_FOR_MS: i64 = 250;

/// What was never told.
const NOTHING_TOLD: u64 = u64::MAX;

/// Where routers tell each other what keys have spent.
pub struct Common {
    redis: Arc<Redis>,
    /// What this router is called there: the same after a restart.
    router: String,
}

impl Common {
    /// A place on a Redis for the router of this name, which no other has.
    pub fn new(redis: Arc<Redis>, router: String) -> Arc<Self> {
        Arc::new(Self { redis, router })
    }
}

impl fmt::Debug for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Common").field("router", &self.router).finish_non_exhaustive()
    }
}

/// The other routers, as one purse knows them. Amounts are billionths of a dollar.
#[derive(Debug)]
pub(super) struct Others {
    common: Arc<Common>,
    pub(super) spent: AtomicU64,
    told: AtomicU64,
    /// How often Redis had failed when they were told: since then it may have forgotten.
    told_at: AtomicU64,
    heard_ms: AtomicI64,
    asking: Mutex<()>,
}

impl Others {
    pub(super) fn new(common: Arc<Common>) -> Self {
        let (spent, told, heard_ms) = (AtomicU64::new(0), AtomicU64::new(NOTHING_TOLD), AtomicI64::new(i64::MIN));
        Self { common, spent, told, told_at: AtomicU64::new(0), heard_ms, asking: Mutex::new(()) }
    }

    /// Whether what was heard is too old.
    pub(super) fn is_behind(&self, now_ms: i64) -> bool {
        // Also where the clock went back.
        !(0..HEARD_FOR_MS).contains(&now_ms.saturating_sub(self.heard_ms.load(Relaxed)))
    }

    /// Whether they have not been told of `spent`.
    pub(super) fn is_news(&self, spent: u64) -> bool {
        self.told.load(Relaxed) != spent || self.told_at.load(Relaxed) != self.common.redis.failures()
    }

    /// Tells them and hears them, unless somebody else has just done so. `None`: nobody can be asked now.
    pub(super) async fn confer(&self, key: &str, now_ms: i64, spent: impl Fn() -> u64, ends_ms: Option<i64>) -> Option<u64> {
        let _one = self.asking.lock().await;
        if !self.is_behind(now_ms) && !self.is_news(spent()) {
            return None;
        }
        let (here, failures) = (spent(), self.common.redis.failures());
        let heard = tallies::say(&self.common.redis, key, &self.common.router, here, ends_ms).await.ok();
        self.heard_ms.store(now_ms, Relaxed);
        self.told_at.store(failures, Relaxed);
        self.told.store(heard.map_or(NOTHING_TOLD, |_| here), Relaxed);
        heard
    }

    /// A new window has begun: nothing is known of it.
    pub(super) fn forget(&self) {
        self.spent.store(0, Relaxed);
        self.told.store(NOTHING_TOLD, Relaxed);
        self.heard_ms.store(i64::MIN, Relaxed);
    }
}
