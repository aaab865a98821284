//! The node's HTTP surface: one list of all paths.

mod access;
mod begun;
mod blob;
mod chat;
mod choices;
mod completions;
mod embeddings;
mod frames;
mod infer;
mod models;
mod operate;
mod prometheus;
mod reply;
mod rerank;
mod sampling;
pub mod server;
mod stay;
mod tokens;
mod tools;

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::{Duration, Instant},
};

use axum::{
    Router, middleware,
    routing::{get, post},
};
use telemetry::logs::Logs;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wire::{Code, Failure};

pub use access::Access;

use crate::{
    activity::{Activity, Busy},
    gpu::{Gpu, Gpus},
    pool::{Lease, Pool},
};

/// Most inference requests at once.
const REQUESTS_MAX: usize = 512;
/// When to come back for a model that is being loaded.
const LOAD_PAUSE: Duration = Duration::from_secs(10);

/// What the handlers share.
pub struct App {
    /// The loaded models.
    pub pool: Pool,
    /// The log that `/api/logs` and `/log/level` are about.
    pub logs: Arc<Logs>,
    /// Who may do what.
    pub access: Access,
    /// Requests under way.
    pub activity: Arc<Activity>,
    /// GPUs of this machine, once they were looked for.
    pub gpus: OnceLock<Arc<Gpus>>,
    /// When the node was started.
    pub started: Instant,
    /// The models directory has been read.
    pub is_ready: AtomicBool,
    /// For embeddings requests without a model.
    pub default_embedding_model: Option<String>,
    /// How long a request waits for its model to be loaded.
    pub load_patience: Duration,
    /// Whether `/internal-error` exists.
    pub debug_paths: bool,
    places: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
}

/// A place among the requests under way.
struct Place {
    _busy: Busy,
    _permit: OwnedSemaphorePermit,
}

impl App {
    /// An application that is not ready yet.
    pub fn new(pool: Pool, logs: Arc<Logs>, access: Access) -> Self {
        Self {
            pool,
            logs,
            access,
            activity: Arc::default(),
            gpus: OnceLock::new(),
            started: Instant::now(),
            is_ready: AtomicBool::new(false),
            default_embedding_model: None,
            load_patience: Duration::MAX,
            debug_paths: false,
            places: Arc::new(Semaphore::new(REQUESTS_MAX)),
            bodies: Arc::new(Semaphore::new(reply::BODIES_KIB_MAX)),
        }
    }

    /// The GPUs as they are now; none before they were looked for.
    async fn gpus(&self) -> Vec<Gpu> {
        let Some(gpus) = self.gpus.get().cloned() else { return Vec::new() };
        tokio::task::spawn_blocking(move || gpus.read()).await.unwrap_or_default()
    }

    /// A use of a model, which is loaded first where it is not. Where that takes too long it goes on, and the caller is told to come back.
    async fn lease(&self, model: &str) -> Result<Lease, Failure> {
        let model = &*self.meant(model).await;
        match tokio::time::timeout(self.load_patience, self.pool.acquire(model)).await {
            Ok(leased) => leased,
            Err(_elapsed) => Err(self.still_loading(&self.pool.find(model).await?.id)),
        }
    }

    /// What is asked for; for an agent, which announces its models by names of its own, what that name leads to.
    async fn meant<'a>(&self, model: &'a str) -> Cow<'a, str> {
        let library = self.pool.library();
        if !self.access.is_agent() || library.find(model).await.is_some() {
            return Cow::Borrowed(model);
        }
        announced(model, &library.fresh().await.ids()).map_or(Cow::Borrowed(model), Cow::Owned)
    }

    fn still_loading(&self, id: &str) -> Failure {
        let taken = self.pool.status().into_iter().find(|status| status.id == id).and_then(|status| status.loading_for);
        let taken_s = taken.unwrap_or(self.load_patience).as_secs();
        Failure::new(Code::ModelLoading, format!("the model `{id}` is being loaded, for {taken_s} s now; ask again later"))
            .at("model")
            .with("loading_s", taken_s)
            .retry_after(LOAD_PAUSE)
    }

    fn place(&self) -> Result<Place, Failure> {
        let permit = self.places.clone().try_acquire_owned().map_err(|_| {
            Failure::new(Code::QueueFull, format!("the node is answering {REQUESTS_MAX} requests already"))
                .retry_after(Duration::from_secs(1))
        })?;
        Ok(Place { _busy: self.activity.begin(), _permit: permit })
    }
}

/// All paths.
pub fn router(app: Arc<App>) -> Router {
    let mut router = Router::new()
        .route("/v1/chat/completions", post(chat::chat))
        .route("/v1/completions", post(completions::completions))
        .route("/v1/embeddings", post(embeddings::embeddings))
        .route("/v1/rerank", post(rerank::rerank))
        .route("/tokenize", post(tokens::tokenize))
        .route("/v1/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/v1/detokenize", post(tokens::detokenize))
        .route("/apply-template", post(tokens::apply_template))
        .route("/v1/apply-template", post(tokens::apply_template))
        .route("/infer", post(infer::infer))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/api/models/blob/{id}", get(blob::blob))
        .route("/api/models/load", post(models::load))
        .route("/api/models/unload", post(models::unload))
        .route("/health", get(operate::health))
        .route("/startup", get(operate::startup))
        .route("/slots", get(operate::slots))
        .route("/metrics", get(operate::metrics))
        .route("/metrics/prom", get(prometheus::metrics))
        .route("/api/logs", get(operate::logs))
        .route("/log/level", get(operate::level).post(operate::set_level));
    if app.debug_paths {
        router = router.route("/internal-error", get(operate::internal_error));
    }
    router
        .fallback(reply::not_found)
        .method_not_allowed_fallback(reply::method_not_allowed)
        .layer(middleware::from_fn_with_state(app.clone(), reply::around))
        .with_state(app)
}

/// What is meant by an announced name that no file has: they begin with the word `local`, and what follows is a model's id, or there is only one.
fn announced(name: &str, ids: &[String]) -> Option<String> {
    let bare = name.strip_prefix("local")?.trim_start_matches(['_', '-', '/', ':']);
    match (ids.iter().find(|id| id.eq_ignore_ascii_case(bare)), ids) {
        (Some(id), _) | (None, [id]) => Some(id.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announced_name_leads_to_its_model() {
        let meant = |name: &str, ids: &[&str]| announced(name, &ids.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(meant("local_mistral-7b-instruct-q4", &["tiny"]).as_deref(), Some("tiny"), "it has no other");
        assert_eq!(meant("local_Second", &["first", "second"]).as_deref(), Some("second"));
        assert_eq!(meant("local/third", &["first", "second"]), None, "that is for the caller to say");
        assert_eq!(meant("third", &["tiny"]), None, "a slip of the pen finds nothing");
    }
}
