//! What happens by itself: silent nodes go offline, heartbeats are stored now and then.

use std::{
    collections::HashSet,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    Fleet,
    record::{Kind, Record, Status},
    registry::as_ms,
    view::MEMORY,
};

/// Heartbeats are stored together, at most this often: they are only for the time after a restart.
const SAVE_INTERVAL: Duration = Duration::from_secs(5);
/// A very short `check_interval` is no reason to spin.
const CHECK_INTERVAL_MIN: Duration = Duration::from_millis(100);

impl Fleet {
    /// Looks after the fleet; never returns. Run it as one task, and call [`Fleet::save`] when it is over.
    pub async fn tend(self: &Arc<Self>) {
        tokio::join!(self.sweep_again_and_again(), self.pull_again_and_again(), self.hold_tethers(), self.keep_vigil());
    }

    async fn sweep_again_and_again(&self) {
        let mut saved_at = Instant::now();
        loop {
            sleep(self.settings().check_interval.clamp(CHECK_INTERVAL_MIN, SAVE_INTERVAL)).await;
            self.sweep();
            self.prune().await;
            if saved_at.elapsed() >= SAVE_INTERVAL {
                self.save().await;
                saved_at = Instant::now();
            }
        }
    }

    /// Marks silent nodes offline. Requests pass them over from the moment of their time-out, swept or not.
    pub(crate) fn sweep(&self) {
        let (now, timeout) = (self.clock.tick_ms(), self.timeout_ms());
        let mut registry = self.registry();
        let mut gone = 0;
        for record in registry.in_order_mut() {
            if record.status != Status::Offline && record.shown(now, timeout) == Status::Offline {
                record.status = Status::Offline;
                record.online_since_ms = None;
                gone += 1;
                tracing::warn!(node = %record.id, machine = %record.machine_name, "node went silent: offline");
                self.unsaved().insert(record.id.clone());
            }
        }
        if gone > 0 {
            self.publish(&registry);
        }
    }

    /// Forgets agents that have been gone for a day. Nodes stay: people name them and write notes.
    pub(crate) async fn prune(&self) {
        let now = self.clock.tick_ms();
        let is_old = |r: &&Record| r.kind == Kind::Agent && now - r.live.seen_ms() > as_ms(MEMORY);
        let old: Vec<Arc<str>> = self.registry().in_order().filter(is_old).map(|r| r.id.clone()).collect();
        for id in old {
            if let Err(failure) = self.delete(&id).await {
                tracing::warn!(node = %id, error = failure.message, "an agent that is long gone could not be forgotten");
            }
        }
    }

    /// Stores what heartbeats said since the last time. What can't be stored now is tried again with the next.
    pub async fn save(&self) {
        let ids: HashSet<Arc<str>> = std::mem::take(&mut *self.unsaved());
        if ids.is_empty() {
            return;
        }
        let _order = self.writing.lock().await;
        let seen: Vec<_> = {
            let registry = self.registry();
            ids.iter().filter_map(|id| registry.get(id)).map(Record::to_seen).collect()
        };
        if let Err(error) = store::nodes::save_seen(&self.store, &seen).await {
            tracing::warn!(%error, "heartbeats are not stored yet");
            self.unsaved().extend(ids);
        }
    }

    pub(crate) fn unsaved(&self) -> MutexGuard<'_, HashSet<Arc<str>>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
