//! What the process does by itself until it is told to stop.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::interval};

use super::App;
use crate::{books::PURGE_INTERVAL, discovery::Discovery};

/// How often counts are brought to where others see them.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// What was last stored of the use of keys.
#[derive(Default)]
struct Noted {
    /// When each was used, unix milliseconds.
    uses: HashMap<Arc<str>, i64>,
    /// Dollars of those with a budget.
    spent: HashMap<Arc<str>, f64>,
}

impl App {
    /// Starts all of it. `changes` says whenever somebody has changed the store.
    pub(super) fn spawn_background(self: &Arc<Self>, changes: watch::Receiver<u64>) {
        let registry = self.registry.clone();
        self.tasks.spawn(async move {
            if let Err(error) = registry.resume().await {
                tracing::error!(%error, "downloads and conversions that were interrupted could not be taken up");
            }
        });
        if let Some(shared) = self.shared.clone() {
            let (app, stop) = (self.clone(), self.stop.clone());
            self.tasks.spawn(async move {
                tokio::select! {
                    () = app.purses.tend() => {}
                    () = shared.tend(&stop) => app.purses.tell().await,
                }
            });
        }
        let (app, stop) = (self.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = app.fleet.tend() => {}
                () = stop.cancelled() => app.fleet.save().await,
            }
        });
        let app = self.clone();
        self.until_stopped(async move { Discovery::tend(&app).await });
        self.until_stopped(self.clone().follow(changes));
        self.until_stopped(self.clone().purge());
        self.tasks.spawn(self.clone().look());
    }

    fn until_stopped(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move { stop.run_until_cancelled_owned(work).await });
    }

    /// Reads what is stored whenever it has changed.
    async fn follow(self: Arc<Self>, mut changes: watch::Receiver<u64>) {
        while changes.changed().await.is_ok() {
            if let Err(error) = self.refresh().await {
                tracing::error!(%error, "what is stored could not be read again; what was stays in force");
            }
        }
    }

    async fn purge(self: Arc<Self>) {
        let mut tick = interval(PURGE_INTERVAL);
        loop {
            tick.tick().await;
            self.books.purge(&self.house().config.history).await;
        }
    }

    /// Brings counts to where others see them; the last time when all has stopped.
    async fn look(self: Arc<Self>) {
        let mut tick = interval(LOOK_INTERVAL);
        let mut noted = Noted::default();
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    self.look_at_ledger();
                    self.look_at_redis();
                    self.metrics.cache_bytes.set(self.answered.bytes());
                    self.note(&mut noted).await;
                }
                () = self.stop.cancelled() => return self.note(&mut noted).await,
            }
        }
    }

    /// Stores what is known of the use of keys; `noted` is what was stored before.
    async fn note(&self, noted: &mut Noted) {
        self.note_uses(&mut noted.uses).await;
        self.purses.save(&self.store, &mut noted.spent).await;
    }

    /// Stores when keys were last used; `noted` is what was stored before.
    async fn note_uses(&self, noted: &mut HashMap<Arc<str>, i64>) {
        let uses = self.tally.last_uses();
        let is_new = |(id, at_ms): &&(Arc<str>, i64)| noted.get(id) != Some(at_ms);
        let rows: Vec<_> = uses.iter().filter(is_new).map(|(id, at_ms)| (id.to_string(), *at_ms)).collect();
        if rows.is_empty() {
            return;
        }
        match store::keys::touch(&self.store, &rows).await {
            Ok(()) => *noted = uses.into_iter().collect(),
            Err(error) => tracing::warn!(%error, "the last uses of keys can't be stored"),
        }
    }

    fn look_at_redis(&self) {
        if let Some(shared) = &self.shared {
            let counted = self.metrics.redis_failures.get();
            self.metrics.redis_failures.inc_by(shared.redis.failures().saturating_sub(counted));
        }
    }

    fn look_at_ledger(&self) {
        self.books.show(&self.metrics);
        let decisions = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lost) = decisions.as_ref().map(|d| d.chronicle().lost()) {
            let counted = self.metrics.dropped_decisions.get();
            self.metrics.dropped_decisions.inc_by(lost.saturating_sub(counted));
        }
    }
}
