//! Making room: unloading what nobody uses, longest unused first.

use std::{
    sync::{Arc, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::time;
use wire::{Code, Failure};

use super::{DRAIN_MAX, Inner, slot::Slot};

/// How long a load waits for others to finish what they do.
const WAIT_MAX: Duration = Duration::from_secs(30);

impl Inner {
    /// Unloads until a model of `bytes` fits beside the others.
    ///
    /// # Errors
    /// 507 where it can never fit, 503 where what is loaded is in use for too long.
    pub(super) async fn make_room(&self, id: &str, bytes: u64) -> Result<(), Failure> {
        if let Some(max) = self.options.memory_bytes_max.filter(|max| bytes > *max) {
            let said =
                format!("the model `{id}` needs about {bytes} bytes of memory; at most {max} may be used (LLM_NODE_MAX_MEMORY_BYTES)");
            return Err(Failure::new(Code::InsufficientStorage, said));
        }
        let deadline = time::Instant::now() + WAIT_MAX.max(self.options.min_residency);
        while !self.fits(bytes) {
            let Err(not_before) = self.unload_oldest().await else { continue };
            let until = not_before.map_or(deadline, |at| deadline.min(at.into()));
            let has_waited = time::timeout_at(until, self.freed.notified()).await.is_err();
            if has_waited && time::Instant::now() >= deadline {
                let said = format!("there is no room to load the model `{id}`: all loaded models are in use");
                return Err(Failure::new(Code::NoAvailableTarget, said).retry_after(Duration::from_secs(5)));
            }
        }
        Ok(())
    }

    fn all(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn fits(&self, bytes: u64) -> bool {
        let loaded: Vec<u64> = self.all().iter().filter_map(|slot| slot.memory_bytes()).collect();
        let has_place = self.options.loaded_max.is_none_or(|max| (loaded.len() as u32) < max.max(1));
        let total = loaded.iter().fold(bytes, |sum, each| sum.saturating_add(*each));
        has_place && self.options.memory_bytes_max.is_none_or(|max| total <= max)
    }

    /// Unloads what was not used for the longest time.
    ///
    /// # Errors
    /// Nothing can be unloaded now: when something that nobody uses will have been there long enough, if anything.
    async fn unload_oldest(&self) -> Result<(), Option<Instant>> {
        let now = Instant::now();
        let mut unused: Vec<_> = self.all().into_iter().filter_map(|slot| Some((slot.unused_since()?, slot))).collect();
        unused.sort_by_key(|(since, _)| since.used);
        let mut not_before = None;
        for (since, slot) in unused {
            let may_go = since.loaded + self.options.min_residency;
            if may_go > now {
                not_before = Some(not_before.map_or(may_go, |at: Instant| at.min(may_go)));
            } else if unload_if_unused(&slot).await {
                return Ok(());
            }
        }
        Err(not_before)
    }
}

/// Does not wait for a model that is being loaded or unloaded.
async fn unload_if_unused(slot: &Slot) -> bool {
    let Ok(_busy) = slot.busy.try_lock() else { return false };
    let Some(loaded) = slot.take_away(true) else { return false };
    loaded.leave(DRAIN_MAX).await;
    true
}

/// Unloads models that were not used for `timeout`, until the pool is gone.
pub(super) async fn unload_idle(pool: Weak<Inner>, timeout: Duration) {
    let every = (timeout / 4).clamp(Duration::from_millis(50), Duration::from_secs(10));
    loop {
        time::sleep(every).await;
        let Some(pool) = pool.upgrade() else { return };
        for slot in pool.all() {
            if slot.unused_since().is_some_and(|since| Instant::now().saturating_duration_since(since.used) >= timeout)
                && unload_if_unused(&slot).await
            {
                pool.freed.notify_one();
            }
        }
    }
}
