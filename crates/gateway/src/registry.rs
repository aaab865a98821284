//! The models whose files the router keeps: registered by an administrator, brought from the hub or converted, handed on to nodes.
//!
//! **Invariant.** A model has one owner at a time: its download, its conversion or its removal. What is stored says what was asked for, so
//! whatever a crash interrupts goes on at the next start. Nothing here is on the path of an inference call.

mod convert;
mod environment;
mod files;
mod program;
mod search;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use config::{
    Config,
    files::{Convert, Downloads, Hub as HubSettings},
};
use models::{Manifest, PullError, Puller, hub::Hub, hub::HubError};
use net::download::{DownloadError, DownloadOptions};
use store::{Store, StoreError, model_files::ModelFile};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wire::{Code, Failure};

pub use convert::ConversionWanted;
pub use files::RegistrationWanted;
pub use search::Wanted as SearchWanted;

/// Models that are downloaded at once.
const DOWNLOADS_MAX: usize = 2;
/// Most models that are kept.
const MODELS_MAX: usize = 1000;
/// What is left of a download that nobody has gone on with for so long is removed at the start.
const LEFTOVERS_KEPT: std::time::Duration = std::time::Duration::from_hours(7 * 24);
/// Of a file's bytes, how much memory a model is said to need.
pub(crate) const MEMORY_FACTOR: f64 = 1.5;

/// What the registry needs of the configuration.
#[derive(Debug, Clone)]
struct Settings {
    hub: HubSettings,
    downloads: Downloads,
    convert: Convert,
}

impl Settings {
    fn of(config: &Config) -> Self {
        Self { hub: config.hub.clone(), downloads: config.downloads.clone(), convert: config.convert.clone() }
    }
}

/// The name under which the store keeps a registry's id.
const ID: &str = "registry_id";

/// The models whose files are here, or on their way.
pub struct Registry {
    /// Tells it from others: what follows one is not another's to delete.
    id: String,
    store: Store,
    client: net::Client,
    data_dir: PathBuf,
    settings: ArcSwap<Settings>,
    entries: Mutex<BTreeMap<String, Entry>>,
    lists: search::Lists,
    downloads: Semaphore,
    conversions: Semaphore,
    environment: environment::Environment,
    work: TaskTracker,
    stop: CancellationToken,
}

/// One model.
struct Entry {
    row: ModelFile,
    /// Where it is ready.
    manifest: Option<Arc<Manifest>>,
    /// The chat template of its file.
    template: Option<Arc<str>>,
    meter: Arc<Meter>,
    cancel: CancellationToken,
    /// Held by whoever works on it.
    busy: Arc<tokio::sync::Mutex<()>>,
}

/// How far something is.
#[derive(Debug, Default)]
struct Meter {
    done: AtomicU64,
    total: AtomicU64,
}

impl Meter {
    fn share(&self) -> f64 {
        let total = self.total.load(Relaxed);
        if total == 0 { 0.0 } else { (self.done.load(Relaxed) as f64 / total as f64).min(1.0) }
    }
}

/// A model as it is shown.
#[derive(Debug, Clone)]
pub struct Shown {
    /// What is stored.
    pub row: ModelFile,
    /// Its files, where it is ready.
    pub manifest: Option<Arc<Manifest>>,
    /// 0 to 1.
    pub progress: f64,
}

impl Entry {
    fn new(row: ModelFile, manifest: Option<Manifest>, template: Option<Arc<str>>) -> Self {
        Self {
            row,
            manifest: manifest.map(Arc::new),
            template,
            meter: Arc::default(),
            cancel: CancellationToken::new(),
            busy: Arc::default(),
        }
    }

    fn shown(&self) -> Shown {
        let progress = if self.manifest.is_some() { 1.0 } else { self.meter.share() };
        Shown { row: self.row.clone(), manifest: self.manifest.clone(), progress }
    }
}

impl Registry {
    /// The models that are stored, with their files as they stand. Work that was interrupted goes on after [`Registry::resume`].
    ///
    /// # Errors
    /// The store's.
    pub async fn open(
        store: Store,
        client: net::Client,
        config: &Config,
        environment: &config::Environment,
    ) -> Result<Arc<Self>, StoreError> {
        let data_dir = config.server.data_dir.clone();
        let dir = data_dir.join("models");
        let mut entries = BTreeMap::new();
        for row in store::model_files::list(&store).await? {
            let home = dir.join(&row.name);
            let is_ready = row.status == "ready";
            let look = move || is_ready.then(|| whole(&home).map(|manifest| (template(&home, &manifest), manifest))).flatten();
            let (template, manifest) = tokio::task::spawn_blocking(look).await.ok().flatten().unzip();
            entries.insert(row.name.clone(), Entry::new(row, manifest, template.flatten()));
        }
        let id = store::meta::get_or_set(&store, ID, &uuid::Uuid::new_v4().to_string()).await?;
        let this = Self {
            id,
            store,
            client,
            settings: ArcSwap::from_pointee(Settings::of(config)),
            entries: Mutex::new(entries),
            lists: search::Lists::default(),
            downloads: Semaphore::new(DOWNLOADS_MAX),
            conversions: Semaphore::new(config.convert.concurrency as usize),
            environment: environment::Environment::new(data_dir.join("convert"), environment),
            work: TaskTracker::new(),
            stop: CancellationToken::new(),
            data_dir,
        };
        Ok(Arc::new(this))
    }

    /// Goes on with what was interrupted, and fetches again what has gone from the disk.
    ///
    /// # Errors
    /// The store's.
    pub async fn resume(self: &Arc<Self>) -> Result<(), StoreError> {
        let dir = self.dir();
        let _ = tokio::task::spawn_blocking(move || models::clean(&dir, LEFTOVERS_KEPT)).await;
        let unready: Vec<ModelFile> = {
            let entries = self.entries();
            entries
                .values()
                .filter(|e| e.manifest.is_none() && matches!(&*e.row.status, "downloading" | "ready"))
                .map(|e| e.row.clone())
                .collect()
        };
        for row in unready {
            self.spawn_download(row);
        }
        self.resume_conversions().await
    }

    /// Takes over a changed configuration.
    pub fn set_settings(&self, config: &Config) {
        self.settings.store(Arc::new(Settings::of(config)));
    }

    /// Stops what runs; it goes on at the next start.
    pub async fn close(&self) {
        self.stop.cancel();
        self.work.close();
        self.work.wait().await;
    }

    /// Tells this registry from others, for as long as its store lives.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Names of all models, whatever state they are in.
    pub fn names(&self) -> Vec<String> {
        self.entries().keys().cloned().collect()
    }

    /// All models, sorted by name.
    pub fn list(&self) -> Vec<Shown> {
        self.entries().values().map(Entry::shown).collect()
    }

    /// The model of that name.
    pub fn get(&self, name: &str) -> Option<Shown> {
        self.entries().get(name).map(Entry::shown)
    }

    /// Models whose files are here: name and manifest.
    pub fn ready(&self) -> Vec<(ModelFile, Arc<Manifest>)> {
        self.entries().values().filter_map(|e| Some((e.row.clone(), e.manifest.clone()?))).collect()
    }

    /// The chat template that a model's requests are rendered with.
    pub fn template(&self, name: &str) -> Option<Arc<str>> {
        let entries = self.entries();
        let entry = entries.get(name)?;
        entry.row.chat_template.as_deref().map(Into::into).or_else(|| entry.template.clone())
    }

    /// Where a model's files stand.
    pub fn home(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// The address of a model's file on the hub.
    pub fn hub_url(&self, row: &ModelFile) -> Option<String> {
        self.hub().url_of(&row.repo, &row.revision, &row.filename).ok()
    }

    /// Forgets a model and removes its files. Whatever works on it is stopped first.
    ///
    /// # Errors
    /// 404 for an unknown name; the store's and the disk's.
    pub async fn delete(&self, name: &str) -> Result<(), Failure> {
        let missing =
            || Failure::new(Code::ModelNotFound, format!("the model `{}` is not registered", name.chars().take(200).collect::<String>()));
        let (cancel, busy) = self.entries().get(name).map(|e| (e.cancel.clone(), e.busy.clone())).ok_or_else(missing)?;
        cancel.cancel();
        let _alone = busy.lock().await;
        store::model_files::delete(&self.store, name).await.map_err(stored)?;
        self.entries().remove(name);
        let (dir, name) = (self.dir(), name.to_owned());
        let removed = tokio::task::spawn_blocking(move || models::remove(&dir, &name)).await;
        match removed {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Failure::new(Code::InternalError, format!("the model's files can't be removed: {error}"))),
            Err(error) => Err(Failure::new(Code::InternalError, format!("the model's files can't be removed: {error}"))),
        }
    }

    fn dir(&self) -> PathBuf {
        self.data_dir.join("models")
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hub(&self) -> Hub {
        let settings = self.settings.load();
        Hub::new(self.client.clone(), &settings.hub.url, settings.hub.token.as_ref().map(config::Secret::expose))
    }

    fn download_options(&self) -> DownloadOptions {
        let wanted = &self.settings.load().downloads;
        DownloadOptions {
            attempts_max: wanted.retries,
            backoff: wanted.backoff,
            parallel: wanted.concurrency as usize,
            bytes_per_second_max: wanted.rate_bytes_max,
            reserve_bytes: wanted.reserve_bytes,
            ..DownloadOptions::default()
        }
    }

    fn puller(&self) -> Puller {
        let chunk_bytes = self.settings.load().downloads.chunk_bytes;
        Puller::new(self.client.clone(), self.dir(), self.download_options()).with_chunk_bytes(chunk_bytes)
    }

    /// Notes a model's state, in memory and in the store.
    async fn settle(&self, row: ModelFile, manifest: Option<Manifest>) {
        let row = ModelFile { updated_at_ms: store::now_ms(), ..row };
        let home = self.home(&row.name);
        let look = move || manifest.map(|manifest| (template(&home, &manifest), manifest));
        let (template, manifest) = tokio::task::spawn_blocking(look).await.ok().flatten().unzip();
        if let Some(entry) = self.entries().get_mut(&row.name) {
            entry.row = row.clone();
            entry.manifest = manifest.map(Arc::new);
            entry.template = template.flatten();
        }
        if let Err(error) = store::model_files::update(&self.store, &row).await {
            tracing::error!(model = row.name, %error, "a model's state could not be stored");
        }
    }
}

/// The manifest of a directory whose files are all there.
fn whole(home: &Path) -> Option<Manifest> {
    let manifest = Manifest::of_dir(home)?;
    let is_there = |piece: &models::Piece| std::fs::metadata(home.join(&piece.file)).is_ok_and(|about| about.len() == piece.hashes.bytes);
    manifest.files.iter().all(is_there).then_some(manifest)
}

fn template(home: &Path, manifest: &Manifest) -> Option<Arc<str>> {
    let header = models::gguf::Header::of_file(&home.join(&manifest.files.first()?.file)).ok()?;
    header.template.map(Into::into)
}

fn stored(error: StoreError) -> Failure {
    tracing::error!(%error, "the store failed");
    Failure::new(Code::InternalError, "the store failed; the log says how")
}

/// A hub's failure as a client hears it.
fn refused(error: HubError) -> Failure {
    let said = error.to_string();
    match error {
        HubError::Name(_) => Failure::invalid("repo", said),
        HubError::Missing(_) => Failure::new(Code::NotFound, said).at("repo"),
        HubError::Denied(_) => Failure::new(Code::UpstreamCredentials, said),
        HubError::Busy { retry_after } => {
            let failure = Failure::new(Code::NoAvailableTarget, said);
            if let Some(after) = retry_after { failure.retry_after(after) } else { failure }
        }
        HubError::Away(error) if error.timeout().is_some() => Failure::new(Code::UpstreamTimeout, said),
        HubError::Failed(_) | HubError::Away(_) | HubError::Answer(_) => Failure::new(Code::UpstreamError, said),
    }
}

/// Whether trying again later can help.
fn may_pass(error: &PullError) -> bool {
    match error {
        PullError::Hub(HubError::Busy { .. } | HubError::Failed(_) | HubError::Away(_)) => true,
        PullError::File { error, .. } => match error {
            DownloadError::Net { error: net::Error::Barred { .. }, .. } => false,
            DownloadError::Net { .. } | DownloadError::Busy => true,
            DownloadError::Refused { status, .. } => status.is_server_error() || *status == http::StatusCode::TOO_MANY_REQUESTS,
            _ => false,
        },
        _ => false,
    }
}
