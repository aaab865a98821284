//! Waiting for a node that is still loading.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};
use wire::{Code, Failure};

use crate::{Fleet, Presence};

/// When to try again after a refusal.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A place in the queue, given back when dropped.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Fleet {
    /// Waits until a node can be asked for this model: at most `queue_timeout`, and not beyond `deadline`. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// `model_not_found` where no node knows it, `no_available_target` where nobody is there or is left to wait for, `queue_full` where
    /// `max_waiters` wait already, `queue_timeout` when the time is over.
    pub async fn wait_ready(&self, model: &str, deadline: Option<Instant>) -> Result<(), Failure> {
        let settings = self.settings();
        let mut changes = self.changes();
        if let Some(over) = self.decided(model) {
            return over;
        }
        let waiting = self.waiters.fetch_add(1, Relaxed);
        let _place = Place(&self.waiters);
        if waiting >= settings.max_waiters {
            return Err(Failure::new(Code::QueueFull, format!("{} requests wait already", settings.max_waiters)).retry_after(RETRY_AFTER));
        }
        let limit = Instant::now() + settings.queue_timeout;
        let limit = deadline.map_or(limit, |d| d.min(limit));
        loop {
            // A closed channel is impossible while `self` lives; then only the time ends the wait.
            if timeout_at(limit, changes.changed()).await.is_err() {
                return Err(
                    Failure::new(Code::QueueTimeout, format!("no node became ready for `{model}` in time")).retry_after(RETRY_AFTER)
                );
            }
            if let Some(over) = self.decided(model) {
                return over;
            }
        }
    }

    /// Requests that wait now.
    pub fn waiting(&self) -> usize {
        self.waiters.load(Relaxed)
    }

    /// The end of the wait, unless it is worth going on.
    fn decided(&self, model: &str) -> Option<Result<(), Failure>> {
        match self.view().presence(model) {
            Presence::Ready => Some(Ok(())),
            Presence::Warming => None,
            Presence::Down => {
                Some(Err(Failure::new(Code::NoAvailableTarget, format!("no node that has `{model}` is there")).retry_after(RETRY_AFTER)))
            }
            Presence::Unknown => Some(Err(Failure::new(Code::ModelNotFound, format!("no node has the model `{model}`")))),
        }
    }
}
