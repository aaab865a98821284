//! The place of one model: its engine while it is loaded, and who uses it.

use std::{
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Inner, Status, backoff::History};
use crate::{engine::Engine, library::Model, template::ChatTemplate};

pub(super) struct Slot {
    id: String,
    /// Held while the model is loaded or unloaded.
    pub(super) busy: Arc<tokio::sync::Mutex<History>>,
    view: Mutex<View>,
}

struct View {
    loaded: Option<Arc<Loaded>>,
    /// Since when it is being loaded, if it is.
    loading_since: Option<Instant>,
    active: u32,
    last_used: Instant,
    /// What its last request said of it.
    stay: Option<Stay>,
}

/// How long a model stays in memory when nobody uses it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// So long.
    For(Duration),
    /// Until there is no room for another model.
    ForEver,
}

/// A model in memory.
pub struct Loaded {
    /// The file it came from.
    pub model: Arc<Model>,
    /// What answers for it.
    pub engine: Engine,
    /// Its chat template.
    pub template: ChatTemplate,
    /// Estimated bytes.
    pub memory_bytes: u64,
    since: Instant,
    is_leaving: AtomicBool,
}

/// An engine that nobody uses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unused {
    /// When it was last used.
    pub(super) used: Instant,
    /// When it was loaded.
    pub(super) loaded: Instant,
    /// How long it is to stay, where its last request said so.
    pub(super) stay: Option<Stay>,
}

impl Unused {
    /// Whether its time is over; `otherwise` holds where nothing was said.
    pub(super) fn is_over(self, otherwise: Option<Duration>) -> bool {
        let time = match self.stay {
            Some(Stay::For(time)) => Some(time),
            Some(Stay::ForEver) => None,
            None => otherwise,
        };
        time.is_some_and(|time| self.used.elapsed() >= time)
    }
}

impl Loaded {
    pub(super) fn new(model: Arc<Model>, engine: Engine, template: ChatTemplate, memory_bytes: u64) -> Self {
        Self { model, engine, template, memory_bytes, since: Instant::now(), is_leaving: AtomicBool::new(false) }
    }

    /// Ends the engine, with time to finish.
    pub(super) async fn leave(&self, limit: Duration) {
        self.is_leaving.store(true, Ordering::Relaxed);
        self.engine.shut_down(limit).await;
        tracing::info!(model = self.model.id, "a model was unloaded");
    }

    /// Says so when the engine ends by itself.
    pub(super) async fn report_end(self: Arc<Self>) {
        let (ended, id, this) = (self.engine.ended(), self.model.id.clone(), Arc::downgrade(&self));
        drop(self);
        let how = ended.await;
        if this.upgrade().is_some_and(|loaded| !loaded.is_leaving.load(Ordering::Relaxed)) {
            tracing::error!(model = id, how, "a worker ended unexpectedly; the next request starts another");
        }
    }
}

impl Slot {
    pub(super) fn new(id: &str) -> Self {
        let view = View { loaded: None, loading_since: None, active: 0, last_used: Instant::now(), stay: None };
        Self { id: id.to_owned(), busy: Arc::default(), view: Mutex::new(view) }
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the engine out, so that nobody new uses it; only if nobody uses it now, where `if_unused`.
    pub(super) fn take_away(&self, if_unused: bool) -> Option<Arc<Loaded>> {
        let mut view = self.view();
        if if_unused && view.active > 0 { None } else { view.loaded.take() }
    }

    /// Since when nobody uses the engine, if there is one.
    pub(super) fn unused_since(&self) -> Option<Unused> {
        let view = self.view();
        let loaded = view.loaded.as_ref().filter(|_| view.active == 0)?;
        Some(Unused { used: view.last_used, loaded: loaded.since, stay: view.stay })
    }

    /// Estimated bytes of a living engine.
    pub(super) fn memory_bytes(&self) -> Option<u64> {
        self.view().loaded.as_ref().filter(|loaded| loaded.engine.is_alive()).map(|loaded| loaded.memory_bytes)
    }

    pub(super) fn loading(self: &Arc<Self>) -> Loading {
        self.view().loading_since = Some(Instant::now());
        Loading(self.clone())
    }

    pub(super) fn status(&self) -> Option<Status> {
        let view = self.view();
        let loaded = view.loaded.as_ref().filter(|loaded| loaded.engine.is_alive());
        if loaded.is_none() && view.loading_since.is_none() {
            return None;
        }
        Some(Status {
            id: self.id.clone(),
            is_ready: loaded.is_some(),
            loading_for: view.loading_since.filter(|_| loaded.is_none()).map(|since| since.elapsed()),
            can_embed: loaded.is_some_and(|loaded| loaded.engine.info().pooling.as_deref().is_some_and(|pooling| pooling != "rank")),
            active: view.active,
            memory_bytes: loaded.map_or(0, |loaded| loaded.memory_bytes),
            context: loaded.map_or(0, |loaded| loaded.engine.info().context),
            stats: loaded.map(|loaded| loaded.engine.stats()).unwrap_or_default(),
        })
    }
}

/// The model is being loaded for as long as this lives.
pub(super) struct Loading(Arc<Slot>);

impl Drop for Loading {
    fn drop(&mut self) {
        self.0.view().loading_since = None;
    }
}

/// A use of a loaded model. While it lives, the engine is not unloaded to make room.
pub struct Lease {
    pool: Arc<Inner>,
    slot: Arc<Slot>,
    loaded: Arc<Loaded>,
}

impl Lease {
    /// A lease on the engine, if it lives and has the very file that `model` is now.
    pub(super) fn take(pool: &Arc<Inner>, slot: &Arc<Slot>, model: &Model) -> Option<Self> {
        let mut view = slot.view();
        let loaded = view.loaded.as_ref().filter(|loaded| {
            loaded.engine.is_alive()
                && (&loaded.model.path, loaded.model.bytes, loaded.model.modified) == (&model.path, model.bytes, model.modified)
        });
        let loaded = loaded?.clone();
        view.active += 1;
        drop(view);
        Some(Self { pool: pool.clone(), slot: slot.clone(), loaded })
    }

    /// Puts a fresh engine in its place and takes the first lease on it.
    pub(super) fn put(pool: &Arc<Inner>, slot: &Arc<Slot>, loaded: Arc<Loaded>) -> Self {
        let mut view = slot.view();
        view.loaded = Some(loaded.clone());
        (view.active, view.stay) = (view.active + 1, None);
        drop(view);
        Self { pool: pool.clone(), slot: slot.clone(), loaded }
    }
}

impl Lease {
    /// How long the model is to stay after this use; `None` is what the settings say.
    pub(crate) fn stay(&self, stay: Option<Stay>) {
        self.slot.view().stay = stay;
    }
}

impl Clone for Lease {
    fn clone(&self) -> Self {
        self.slot.view().active += 1;
        Self { pool: self.pool.clone(), slot: self.slot.clone(), loaded: self.loaded.clone() }
    }
}

impl Deref for Lease {
    type Target = Loaded;

    fn deref(&self) -> &Loaded {
        &self.loaded
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut view = self.slot.view();
        view.active -= 1;
        view.last_used = Instant::now();
        drop(view);
        self.pool.freed.notify_one();
    }
}
