//! The models that the router keeps come to this node: linked where the router's disk is shared, else fetched from the router, from other nodes, or
//! from the hub, whatever answers first.
//!
//! What was brought so follows the router's registry: once the model was deleted there it goes from here too, as soon as nobody uses it. Files of
//! the owner's, and what `llm-node models pull` has brought, stay; so does all where a router says nothing of what it keeps, or is another one.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue, Request, header::AUTHORIZATION};
use models::{Manifest, Origin, Progress, PullError, Puller, hub::Hub};
use net::{
    Body, Client, Timeouts,
    download::{DownloadError, Source},
};
use serde::Deserialize;
use tokio::time;

use crate::{http::Access, library::Found, pool::Pool};

/// Largest list and manifest that are read, in bytes.
const LIST_BYTES_MAX: usize = 16 << 20;
/// A model that did not come is tried again after this; doubled with each further failure.
const PAUSE_FIRST: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_mins(10);
/// What is left of a pull that nobody has gone on with for so long is removed.
const LEFTOVERS_KEPT: Duration = Duration::from_hours(7 * 24);
/// Most other nodes that are asked for one file.
const PEERS_MAX: usize = 8;
const NODE_TOKEN: HeaderName = HeaderName::from_static("x-node-token");
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(15),
    idle: Duration::from_secs(10),
    total: Duration::from_mins(2),
};

/// What keeps this node's models like the router's.
pub struct Sync {
    /// Base URL of the router.
    pub router_url: String,
    /// Between two looks.
    pub every: Duration,
    /// Tells the node's token, once it is registered.
    pub access: Access,
    /// The models on disk and in memory.
    pub pool: Pool,
    /// Brings files.
    pub puller: Puller,
    /// The last resort.
    pub hub: Hub,
    /// Asks the router; uses no proxy.
    pub client: Client,
}

/// A model as the router lists it. Routers without manifests of files keep none for us.
#[derive(Debug, Deserialize)]
struct Listed {
    id: String,
    #[serde(default)]
    paths: Vec<PathBuf>,
    sha256: Option<String>,
    manifest_url: Option<String>,
    download_url: Option<String>,
    #[serde(default)]
    peers: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct List {
    data: Vec<serde_json::Value>,
    registry: Option<Registry>,
}

/// What a router says of all models that it keeps.
#[derive(Debug, Deserialize)]
struct Registry {
    /// Tells it from others. One whose database was lost is another one.
    id: String,
    /// Names of all its models, also of those whose files are not whole now.
    known: HashSet<String>,
}

/// What went wrong with a model lately.
struct Failed {
    until: Instant,
    pause: Duration,
}

impl Sync {
    /// Looks for models for as long as the node runs.
    pub async fn run(self) {
        let dir = self.puller.dir().to_owned();
        let _ = tokio::task::spawn_blocking(move || models::clean(&dir, LEFTOVERS_KEPT)).await;
        let mut failed: HashMap<String, Failed> = HashMap::new();
        let mut ticks = time::interval(self.every);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut is_away = false;
        loop {
            ticks.tick().await;
            let token = self.access.node_token().await;
            match self.list(&token).await {
                Ok((listed, registry)) => {
                    is_away = false;
                    failed.retain(|id, _| listed.iter().any(|model| model.id == *id));
                    if let Some(registry) = &registry {
                        self.part_with(registry).await;
                    }
                    for model in listed {
                        self.look_at(&token, (&model, registry.as_ref()), &mut failed).await;
                    }
                }
                // The heartbeat says so too.
                Err(error) if !std::mem::replace(&mut is_away, true) => tracing::debug!(error, "the router's models can't be listed"),
                Err(_) => {}
            }
        }
    }

    /// Removes what the router has deleted. What is in use now is looked at again next time.
    async fn part_with(&self, registry: &Registry) {
        let (dir, id, known) = (self.puller.dir().to_owned(), registry.id.clone(), registry.known.clone());
        let found = tokio::task::spawn_blocking(move || models::left_behind(&dir, &id, |name| known.contains(name))).await;
        for name in found.unwrap_or_default() {
            let (dir, gone) = (self.puller.dir().to_owned(), name.clone());
            match self.pool.retire(&name, move || models::remove(&dir, &gone)).await {
                Some(Ok(_)) => tracing::info!(model = name, "a model that the router has deleted was removed"),
                Some(Err(error)) => tracing::warn!(model = name, %error, "a model that the router has deleted can't be removed"),
                None => tracing::debug!(model = name, "a model that the router has deleted is still in use"),
            }
        }
    }

    async fn look_at(&self, token: &str, (model, registry): (&Listed, Option<&Registry>), failed: &mut HashMap<String, Failed>) {
        let is_resting = failed.get(&model.id).is_some_and(|failed| Instant::now() < failed.until);
        if is_resting || self.has(model).await {
            return;
        }
        match self.bring(token, model, registry.map(|registry| registry.id.clone())).await {
            Ok(manifest) => {
                failed.remove(&model.id);
                tracing::info!(model = model.id, bytes = manifest.bytes(), "a model of the router is here");
            }
            // Another process of this machine is at it.
            Err(PullError::File { error: DownloadError::Busy, .. }) => {}
            Err(error) => {
                let pause = failed.get(&model.id).map_or(PAUSE_FIRST, |failed| (failed.pause * 2).min(PAUSE_MAX));
                tracing::warn!(model = model.id, %error, again_s = pause.as_secs(), "a model of the router could not be fetched");
                failed.insert(model.id.clone(), Failed { until: Instant::now() + pause, pause });
            }
        }
    }

    /// Whether the model is here: the router's very files, or a file of the owner's under that name.
    async fn has(&self, model: &Listed) -> bool {
        if !models::name::is_identifier(&model.id) || model.manifest_url.is_none() {
            return true;
        }
        let home = self.puller.home(&model.id);
        let pulled = tokio::task::spawn_blocking(move || Manifest::of_dir(&home)).await.ok().flatten();
        let is_known = matches!(self.pool.library().find(&model.id).await, Some(Found::Model(known)) if known.id == model.id);
        match pulled {
            Some(manifest) => is_known && model.sha256.as_ref().is_none_or(|sha256| *sha256 == manifest.sha256()),
            None => is_known,
        }
    }

    async fn bring(&self, token: &str, model: &Listed, follows: Option<String>) -> Result<Manifest, PullError> {
        let manifest = Manifest { follows, ..self.manifest(token, model).await.map_err(PullError::Manifest)? };
        if manifest.name != model.id {
            return Err(PullError::Manifest("it is another model's".to_owned()));
        }
        #[cfg(unix)]
        if model.paths.len() == manifest.files.len() {
            let are_here = model.paths.iter().zip(&manifest.files).all(|(path, piece)| is_file(path, piece.hashes.bytes));
            if are_here {
                match self.puller.link(&manifest, model.paths.clone()).await {
                    Ok(manifest) => return Ok(manifest),
                    Err(error) => tracing::info!(model = model.id, %error, "the router's file is not shared with this node; it is fetched"),
                }
            }
        }
        tracing::info!(model = model.id, bytes = manifest.bytes(), "a model of the router is fetched");
        let told = |_: Progress| {};
        self.puller.from_manifest(&manifest, |at| self.sources(token, model, manifest.origin.as_ref(), at), &told).await
    }

    /// Where a file can be had: the router, other nodes, the hub.
    fn sources(&self, token: &str, model: &Listed, origin: Option<&Origin>, at: usize) -> Vec<Source> {
        let part = at + 1;
        let of_router = model.download_url.as_ref().filter(|url| url.starts_with('/')).and_then(|path| {
            let source = Source::new(&format!("{}{path}?part={part}", self.router_url)).ok()?;
            Some(source.with_proof(NODE_TOKEN, HeaderValue::try_from(token).ok()?))
        });
        let of_peers = model.peers.iter().take(PEERS_MAX).filter_map(|url| Source::new(&format!("{url}&part={part}")).ok());
        let of_hub = origin.and_then(|origin| self.hub.source(&origin.repository, &origin.revision, origin.paths.get(at)?).ok());
        of_router.into_iter().chain(of_peers).chain(of_hub).collect()
    }

    async fn list(&self, token: &str) -> Result<(Vec<Listed>, Option<Registry>), String> {
        let list: List = self.ask(token, "/v1/models").await?;
        Ok((list.data.into_iter().filter_map(|entry| serde_json::from_value(entry).ok()).collect(), list.registry))
    }

    async fn manifest(&self, token: &str, model: &Listed) -> Result<Manifest, String> {
        let path = model.manifest_url.as_deref().filter(|path| path.starts_with('/')).ok_or("it has no address")?;
        let manifest: Manifest = self.ask(token, path).await?;
        manifest.check()?;
        Ok(manifest)
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, token: &str, path: &str) -> Result<T, String> {
        let request = Request::get(format!("{}{path}", self.router_url)).header(NODE_TOKEN, token);
        // Routers of other makes read the token there.
        let request = request.header(AUTHORIZATION, format!("Bearer {token}")).body(Body::empty()).map_err(|e| e.to_string())?;
        let answer = self.client.fetch(request, &TIMEOUTS, LIST_BYTES_MAX).await.map_err(|e| e.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("the router answered {}", answer.status()));
        }
        serde_json::from_slice(answer.body()).map_err(|e| e.to_string())
    }
}

#[cfg(unix)]
fn is_file(path: &std::path::Path, bytes: u64) -> bool {
    path.is_absolute() && std::fs::metadata(path).is_ok_and(|about| about.is_file() && about.len() == bytes)
}
