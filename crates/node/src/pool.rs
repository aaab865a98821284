//! The loaded models: each in an engine of its own, loaded when first asked for, replaced when it dies, unloaded when idle or in the way.
//!
//! **Invariant.** A model is never loaded twice at once, and never taken away from a request: a [`Lease`] keeps its engine, and
//! only engines without leases are unloaded to make room.

mod backoff;
mod room;
mod slot;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::sync::{Notify, OwnedMutexGuard};
use wire::{
    Code, Failure,
    fleet::worker::{EngineStats, Load, ModelInfo},
};

use crate::{
    engine::{Engine, Launch, Limits, LoadError},
    library::{Found, Library, Model},
    memory::{self, Meter},
    template::{ChatTemplate, Controls},
};
use backoff::History;
use slot::Slot;
pub use slot::{Lease, Loaded, Stay};

/// A load may take so long, and more for large files, and as long as it gets on.
const LOAD_BASE: Duration = Duration::from_mins(1);
const LOAD_PER_GIB: Duration = Duration::from_secs(20);
/// A load that takes longer is given up when nothing was done for so long.
const LOAD_STALL: Duration = Duration::from_mins(1);
/// How long an unloaded engine may finish what it is doing.
pub const DRAIN_MAX: Duration = Duration::from_secs(30);
/// Requests that may wait inside one engine.
const QUEUE_MAX: u32 = 256;
/// Longest wanted step while others generate, in milliseconds.
const STEP_MS: u32 = 200;

/// How models are loaded and kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// Requests that one engine decodes at once.
    pub slots: u32,
    /// Longest request in tokens.
    pub context: u32,
    /// Cells of an engine's KV cache; `max(8192, context)` where `None`.
    pub kv_cells: Option<u32>,
    /// Threads of an engine.
    pub threads: u32,
    /// Unload what was not used for so long.
    pub idle_timeout: Option<Duration>,
    /// Most engines at once.
    pub loaded_max: Option<u32>,
    /// Most bytes for all engines, as estimated; where it is not set, as much as is free.
    pub memory_bytes_max: Option<u64>,
    /// Tells how much that is.
    pub meter: Arc<dyn Meter>,
    /// A loaded model is not unloaded for another one before it was there for so long.
    pub min_residency: Duration,
    /// An engine that shows no sign of life for so long is replaced.
    pub hang: Duration,
}

/// The loaded models. Cheap to clone.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    library: Arc<Library>,
    launch: Box<dyn Launch>,
    options: Options,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
    /// Held while room is made and a model is loaded: loads happen one after the other.
    gate: tokio::sync::Mutex<()>,
    /// A lease was given back, or an engine has gone.
    freed: Notify,
    /// Whether engines use GPUs; known once one was loaded.
    on_gpu: OnceLock<bool>,
    is_closed: AtomicBool,
}

/// One model that is loaded or about to be.
#[derive(Debug, Clone)]
pub struct Status {
    /// Its id.
    pub id: String,
    /// False while it is loading.
    pub is_ready: bool,
    /// For how long it has been loading.
    pub loading_for: Option<Duration>,
    /// Whether it can embed.
    pub can_embed: bool,
    /// Requests that use it.
    pub active: u32,
    /// Estimated bytes.
    pub memory_bytes: u64,
    /// Longest request in tokens; 0 while it is loading.
    pub context: u32,
    /// The engine's counters.
    pub stats: EngineStats,
}

impl Pool {
    /// An empty pool. Must be called inside a runtime: unused models are looked for in the background.
    pub fn new(library: Arc<Library>, launch: impl Launch + 'static, options: Options) -> Self {
        let idle_timeout = options.idle_timeout;
        let inner = Inner {
            library,
            launch: Box::new(launch),
            options,
            slots: Mutex::default(),
            gate: tokio::sync::Mutex::default(),
            freed: Notify::new(),
            on_gpu: OnceLock::new(),
            is_closed: AtomicBool::new(false),
        };
        let inner = Arc::new(inner);
        tokio::spawn(room::unload_idle(Arc::downgrade(&inner), idle_timeout));
        Self(inner)
    }

    /// The models on disk.
    pub fn library(&self) -> &Arc<Library> {
        &self.0.library
    }

    /// A use of the model called `name`, which is loaded first where it is not.
    ///
    /// # Errors
    /// 404 for an unknown name; 503 where it can't be loaded, with the reason in words; 507 where there is not the memory for it.
    pub async fn acquire(&self, name: &str) -> Result<Lease, Failure> {
        let model = self.find(name).await?;
        let slot = self.0.slot(&model.id);
        if let Some(lease) = Lease::take(&self.0, &slot, &model) {
            return Ok(lease);
        }
        let history = slot.busy.clone().lock_owned().await;
        if let Some(lease) = Lease::take(&self.0, &slot, &model) {
            return Ok(lease);
        }
        // In a task of its own: a client that goes away does not abort what others wait for.
        let loading = tokio::spawn(self.0.clone().load(slot, model, history));
        loading.await.unwrap_or_else(|e| Err(Failure::new(Code::InternalError, format!("loading the model failed: {e}"))))
    }

    /// Unloads a model: what runs may finish within [`DRAIN_MAX`], then its process ends. False if it was not loaded.
    ///
    /// # Errors
    /// 404 for an unknown name.
    pub async fn unload(&self, name: &str) -> Result<bool, Failure> {
        let model = self.find(name).await?;
        let slot = self.0.slot(&model.id);
        let _busy = slot.busy.lock().await;
        let Some(loaded) = slot.take_away(false) else { return Ok(false) };
        loaded.leave(DRAIN_MAX).await;
        self.0.freed.notify_one();
        Ok(true)
    }

    /// Unloads a model that nobody uses and does `work` while it can't be loaded again. `None`: it is in use, or being loaded.
    pub async fn retire<T: Send + 'static>(&self, id: &str, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let slot = self.0.slot(id);
        let _busy = slot.busy.try_lock().ok()?;
        match slot.take_away(true) {
            Some(loaded) => loaded.leave(DRAIN_MAX).await,
            None if slot.memory_bytes().is_some() => return None,
            None => {}
        }
        self.0.freed.notify_one();
        let done = tokio::task::spawn_blocking(work).await.ok();
        self.0.library.renewed().await;
        done
    }

    /// Finds a model by any of its names.
    ///
    /// # Errors
    /// 404 for an unknown name; 503 for a file that is no usable model, with the reason.
    pub async fn find(&self, name: &str) -> Result<Arc<Model>, Failure> {
        match self.0.library.find(name).await {
            Some(Found::Model(model)) => Ok(model),
            Some(Found::Broken(id, reason)) => Err(cannot_load(&id, &reason)),
            None => Err(Failure::new(Code::ModelNotFound, format!("the model `{name}` does not exist on this node")).at("model")),
        }
    }

    /// What is loaded or loading, sorted by id.
    pub fn status(&self) -> Vec<Status> {
        let slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = slots.values().filter_map(|slot| slot.status()).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// Ends all engines; those that work have `limit` to finish.
    pub async fn close(&self, limit: Duration) {
        self.0.is_closed.store(true, Ordering::Relaxed);
        let slots: Vec<_> = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        join_all(slots.iter().filter_map(|slot| slot.take_away(false)).map(|loaded| async move { loaded.leave(limit).await })).await;
    }
}

impl Inner {
    fn slot(&self, id: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry(id.to_owned()).or_insert_with(|| Arc::new(Slot::new(id))).clone()
    }

    async fn load(self: Arc<Self>, slot: Arc<Slot>, model: Arc<Model>, mut history: OwnedMutexGuard<History>) -> Result<Lease, Failure> {
        if let Some(gone) = slot.take_away(false) {
            // The file has changed, or the engine has died.
            if gone.engine.is_alive() {
                gone.leave(DRAIN_MAX).await;
            } else {
                history.died(Instant::now());
            }
        }
        let wait = history.check(Instant::now(), &model)?;
        let _loading = slot.loading();
        tokio::time::sleep(wait).await;
        let _gate = self.gate.lock().await;
        let kv_cells = self.options.kv_cells.unwrap_or(self.options.context.max(8192));
        let bytes = memory::estimate(&model.header, model.bytes, kv_cells);
        self.make_room(&model.id, bytes).await?;
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(Failure::new(Code::NoAvailableTarget, "the node is shutting down"));
        }
        let started = Instant::now();
        let engine = match self.start(&model, kv_cells).await {
            Ok(engine) => engine,
            Err(error) => {
                tracing::warn!(model = model.id, %error, "a model could not be loaded");
                let failure = cannot_load(&model.id, &error.to_string());
                history.failed(Instant::now(), &model, failure.clone());
                return Err(failure);
            }
        };
        let _ = self.on_gpu.set(!engine.info().devices.is_empty());
        tracing::info!(model = model.id, load_ms = started.elapsed().as_millis() as u64, memory_bytes = bytes, "a model was loaded");
        let loaded = Arc::new({
            let template = template(&model, engine.info());
            Loaded::new(model.clone(), engine, template, bytes)
        });
        tokio::spawn(loaded.clone().report_end());
        Ok(Lease::put(&self, &slot, loaded))
    }

    async fn start(&self, model: &Model, kv_cells: u32) -> Result<Engine, LoadError> {
        let path = std::path::absolute(&model.path).unwrap_or_else(|_| model.path.clone());
        let path = path.to_str().ok_or_else(|| LoadError::Start("the file's path is not UTF-8".to_owned()))?.to_owned();
        let load = Load {
            path,
            context: self.options.context,
            kv_cells,
            slots: self.options.slots,
            threads: self.options.threads,
            threads_batch: self.options.threads,
            step_ms: STEP_MS,
            gpu_layers: -1,
            queue_max: QUEUE_MAX,
        };
        let gibibytes = u32::try_from(model.bytes >> 30).unwrap_or(u32::MAX);
        let limits = Limits { load: LOAD_BASE + LOAD_PER_GIB.saturating_mul(gibibytes), stall: LOAD_STALL, hang: self.options.hang };
        let link = self.launch.launch(&model.id).map_err(LoadError::Start)?;
        Engine::start(link, load, limits).await
    }
}

fn template(model: &Model, info: &ModelInfo) -> ChatTemplate {
    let header = &model.header;
    let controls = Arc::new(Controls::new(header.control_tokens.iter().cloned()));
    let bos = header.bos_token.as_deref().or(info.bos_token.as_deref());
    let eos = header.eos_token.as_deref().or(info.eos_token.as_deref());
    ChatTemplate::new(header.template.as_deref(), header.template_tool_use.as_deref(), bos, eos, controls)
}

fn cannot_load(id: &str, reason: &str) -> Failure {
    Failure::new(Code::NoAvailableTarget, format!("the model `{id}` can't be loaded: {reason}")).at("model")
}

#[cfg(test)]
mod tests;
