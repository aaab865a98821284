//! Making room: unloading what nobody uses, longest unused first.

use std::{
    sync::{Arc, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::time;
use wire::{Code, Failure};

use super::{DRAIN_MAX, Inner, Stay, slot::Slot};
use crate::memory::{Free, Measured};

/// How long a load waits for others to finish what they do.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Of all memory, one part in so many is left to the rest of the machine.
const RESERVE_SHARE: u64 = 20;
/// A GPU's driver takes its time until memory of an unloaded model is free: so long, or until this share of it is back.
const RETURN_TIME: Duration = Duration::from_secs(5);
const RETURN_POLL: Duration = Duration::from_millis(250);
const RETURN_PERCENT: u64 = 75;
/// Between two looks for models that nobody uses any more, at most: a request may say that its model goes at once.
const IDLE_LOOK_MAX: Duration = Duration::from_secs(1);

/// The memory that models can have.
#[derive(Debug, Clone, Copy)]
struct Space {
    measured: Free,
    on_gpu: bool,
    /// What loaded models take, as estimated. The system counts the pages of their files as free.
    taken: u64,
}

impl Space {
    fn reserve(&self) -> u64 {
        self.measured.total / RESERVE_SHARE
    }

    /// For one more model, as things are.
    fn left(&self) -> u64 {
        self.measured.free.min(self.measured.total.saturating_sub(self.taken)).saturating_sub(self.reserve())
    }

    /// For one, if all others went.
    fn at_most(&self) -> u64 {
        self.measured.free.saturating_add(self.taken).min(self.measured.total).saturating_sub(self.reserve())
    }

    fn refuse(&self, id: &str, bytes: u64) -> Failure {
        let [needs, free, total, reserve] =
            [bytes, self.measured.free, self.measured.total, self.reserve()].map(|bytes| bytes.div_ceil(1 << 20));
        let place = if self.on_gpu { "GPU memory" } else { "memory" };
        let said = format!(
            "the model `{id}` needs about {needs} MiB of {place}, and {free} MiB of {total} MiB are free, of which {reserve} MiB are kept for the rest of \
             the machine (LLM_NODE_MAX_MEMORY_BYTES sets another bound)"
        );
        Failure::new(Code::InsufficientStorage, said)
    }
}

impl Inner {
    /// Unloads until a model of `bytes` fits beside the others.
    ///
    /// # Errors
    /// 507 where it can't fit whatever is unloaded, 503 where what is loaded is in use for too long.
    pub(super) async fn make_room(&self, id: &str, bytes: u64) -> Result<(), Failure> {
        if let Some(max) = self.options.memory_bytes_max.filter(|max| bytes > *max) {
            let said =
                format!("the model `{id}` needs about {bytes} bytes of memory; at most {max} may be used (LLM_NODE_MAX_MEMORY_BYTES)");
            return Err(Failure::new(Code::InsufficientStorage, said));
        }
        let deadline = time::Instant::now() + WAIT_MAX.max(self.options.min_residency);
        loop {
            let space = self.space().await;
            if let Some(space) = space.filter(|space| bytes > space.at_most()) {
                return Err(space.refuse(id, bytes));
            }
            if self.is_within_bounds(bytes) && space.is_none_or(|space| bytes <= space.left()) {
                return Ok(());
            }
            let not_before = match self.unload_oldest().await {
                Ok(freed) => {
                    if let Some(before) = space.filter(|space| space.on_gpu) {
                        self.wait_for_return(before.measured.free, freed).await;
                    }
                    continue;
                }
                Err(not_before) => not_before,
            };
            let until = not_before.map_or(deadline, |at| deadline.min(at.into()));
            let has_waited = time::timeout_at(until, self.freed.notified()).await.is_err();
            if has_waited && time::Instant::now() >= deadline {
                let said = format!("there is no room to load the model `{id}`: all loaded models are in use");
                return Err(Failure::new(Code::NoAvailableTarget, said).retry_after(Duration::from_secs(5)));
            }
        }
    }

    /// The memory that there is, where no bound is set and somebody knows. Where the first engine will put a model is not known: it may be the larger.
    async fn space(&self) -> Option<Space> {
        if self.options.memory_bytes_max.is_some() {
            return None;
        }
        let meter = self.options.meter.clone();
        let Measured { ram, vram } = tokio::task::spawn_blocking(move || meter.measure()).await.ok()?;
        let taken = self.loaded_bytes().iter().fold(0, |sum: u64, each| sum.saturating_add(*each));
        let of = |on_gpu: bool, measured: Option<Free>| measured.map(|measured| Space { measured, on_gpu, taken });
        match self.on_gpu.get() {
            Some(true) => of(true, vram),
            Some(false) => of(false, ram),
            None => [of(false, ram), of(true, vram)].into_iter().flatten().max_by_key(Space::left),
        }
    }

    async fn wait_for_return(&self, before: u64, freed: u64) {
        let wanted = before.saturating_add(freed.saturating_mul(RETURN_PERCENT) / 100);
        let returned = async {
            while self.space().await.is_some_and(|space| space.measured.free < wanted) {
                time::sleep(RETURN_POLL).await;
            }
        };
        // What is not back by then is not waited for: the next look at it decides.
        let _ = time::timeout(RETURN_TIME, returned).await;
    }

    pub(super) fn all(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Estimated bytes of each engine that lives.
    fn loaded_bytes(&self) -> Vec<u64> {
        self.all().iter().filter_map(|slot| slot.memory_bytes()).collect()
    }

    /// Whether a model of `bytes` keeps to the bounds that are set.
    fn is_within_bounds(&self, bytes: u64) -> bool {
        let loaded = self.loaded_bytes();
        let has_place = self.options.loaded_max.is_none_or(|max| (loaded.len() as u32) < max.max(1));
        let total = loaded.iter().fold(bytes, |sum, each| sum.saturating_add(*each));
        has_place && self.options.memory_bytes_max.is_none_or(|max| total <= max)
    }

    /// Unloads what was not used for the longest time: its estimated bytes.
    ///
    /// # Errors
    /// Nothing can be unloaded now: when something that nobody uses will have been there long enough, if anything.
    async fn unload_oldest(&self) -> Result<u64, Option<Instant>> {
        let now = Instant::now();
        let mut unused: Vec<_> = self.all().into_iter().filter_map(|slot| Some((slot.unused_since()?, slot))).collect();
        // What is to stay for ever goes last.
        unused.sort_by_key(|(since, _)| (since.stay == Some(Stay::ForEver), since.used));
        let mut not_before = None;
        for (since, slot) in unused {
            let may_go = since.loaded + self.options.min_residency;
            if may_go > now {
                not_before = Some(not_before.map_or(may_go, |at: Instant| at.min(may_go)));
            } else if let Some(freed) = unload_if_unused(&slot).await {
                return Ok(freed);
            }
        }
        Err(not_before)
    }
}

/// Its estimated bytes; `None` where it stays. Does not wait for a model that is being loaded or unloaded.
async fn unload_if_unused(slot: &Slot) -> Option<u64> {
    let _busy = slot.busy.try_lock().ok()?;
    let loaded = slot.take_away(true)?;
    loaded.leave(DRAIN_MAX).await;
    Some(loaded.memory_bytes)
}

/// Unloads models that were not used for `timeout`, or for as long as their last request said, until the pool is gone.
pub(super) async fn unload_idle(pool: Weak<Inner>, timeout: Option<Duration>) {
    let every = timeout.map_or(IDLE_LOOK_MAX, |timeout| (timeout / 4).clamp(Duration::from_millis(50), IDLE_LOOK_MAX));
    loop {
        time::sleep(every).await;
        let Some(pool) = pool.upgrade() else { return };
        for slot in pool.all() {
            if slot.unused_since().is_some_and(|unused| unused.is_over(timeout)) && unload_if_unused(&slot).await.is_some() {
                pool.freed.notify_one();
            }
        }
    }
}
