//! The house as a whole: built once, shared by everybody.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use config::{AuthMode, Config, Environment, LoadArgs, Loaded, StoreUrl, config::ManagementAuth};
use dispatch::Health;
use fleet::Fleet;
use journey::Settle;
use policy::{Counters, Issuer};
use store::{InstanceLock, Store, counters::Shared, redis::Redis};
use telemetry::{
    chronicle::{self, Keeping},
    logs::Logs,
    metrics::{Held, Metrics, hold},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use upstream::{Grants, grant::Office};
use wire::{Code, Failure};

use crate::{
    admin::{oidc::Door, session::Sessions},
    books::Books,
    discovery::{Discovery, Lists},
    first_run::{self, FirstRun},
    recall::Answered,
    registry::Registry,
    routes,
    settle::{Decided, Desk, Places, tally::Tally},
    snapshot::{self, House},
    spending::Purses,
    stored::Stored,
    vault::Vault,
};

mod background;
mod configuration;

pub use configuration::{Configured, Terms, Wanted};

/// How long an answer waits to learn whether somebody else has changed the store.
const LOOK_TIME_MAX: Duration = Duration::from_millis(200);

/// Why the house cannot be opened, in words for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error(transparent)]
    Ledger(#[from] ledger::LedgerError),
    #[error("{0}")]
    Settings(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Everything that lives as long as the process.
pub struct App {
    pub store: Store,
    pub fleet: Arc<Fleet>,
    /// The models whose files are here.
    pub registry: Arc<Registry>,
    pub metrics: Arc<Metrics>,
    logs: Mutex<Option<Logs>>,
    /// What is known of the identity provider at which people log in.
    pub door: Door,
    /// The parent of the runtimes' own clients.
    pub client: net::Client,
    /// Asks nodes from behind the path.
    pub node_client: net::Client,
    pub sessions: Sessions,
    pub sink: Arc<dyn Settle>,
    /// Which models services have.
    pub discovery: Discovery,
    /// What operators count by.
    pub tally: Arc<Tally>,
    /// What is known of accounts, kept over changes of the configuration.
    pub health: Arc<Health>,
    /// How much everybody has used.
    pub counters: Arc<Counters>,
    /// Where several routers count together.
    shared: Option<SharedCounters>,
    /// What was answered before.
    pub answered: Answered,
    /// What providers want back in the next turn.
    pub memory: Arc<dispatch::Memory>,
    pub started: Instant,
    /// Runs everything that is behind the path.
    pub back: tokio::runtime::Handle,
    /// Tokens of accounts that are opened by OAuth.
    grants: Grants,
    control: OnceLock<axum::Router>,
    house: Arc<ArcSwap<House>>,
    /// Where receipts become records.
    pub books: Books,
    loaded: ArcSwap<Loaded>,
    versions: configuration::Versions,
    /// What keys have spent.
    pub purses: Purses,
    sources: Sources,
    /// Held while a snapshot is built, so that one of older keys or an older file never follows one of newer.
    rebuilding: tokio::sync::Mutex<()>,
    /// The count of the store's changes that the snapshot knows of.
    built_at: AtomicU64,
    /// What was bound at the start; a reload does not move it.
    listening: Vec<SocketAddr>,
    decisions: Mutex<Option<Keeping<Decided>>>,
    draining: AtomicBool,
    /// Cancelled when the house begins to close: what would go on for ever ends.
    pub closing: CancellationToken,
    requests: Arc<AtomicU32>,
    tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    _lock: InstanceLock,
}

/// How much longer than any request may take its place among those that run is kept for it on a shared Redis.
const LEASE_MARGIN: Duration = Duration::from_mins(1);

/// The Redis that several routers share, and what is counted there.
#[derive(Clone)]
struct SharedCounters {
    redis: Arc<Redis>,
    counters: Arc<Shared>,
}

impl SharedCounters {
    /// `None` where nothing is shared.
    async fn connect(config: &Config) -> Result<Option<Self>, StartError> {
        let Some(address) = &config.cache.redis_url else { return Ok(None) };
        let redis = Redis::open(address.expose())?;
        // Now, so that the first requests are counted together already; where it is not there nobody waits for it.
        redis.connect().await;
        Ok(Some(Self { counters: Shared::new(redis.clone()), redis }))
    }

    async fn tend(&self, stop: &CancellationToken) {
        tokio::select! {
            () = self.redis.tend() => {}
            () = self.counters.tend() => {}
            () = stop.cancelled() => self.counters.finish().await,
        }
    }
}

/// Where the configuration comes from, to read it again.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    pub args: LoadArgs,
    /// Forward proxies for accounts.
    pub proxy: net::ProxySettings,
}

impl App {
    /// Opens store and fleet, makes what the first run needs, and starts what runs behind the path.
    ///
    /// # Errors
    /// Another router on the same data, a store that cannot be used, settings that contradict each other.
    pub async fn start(loaded: Loaded, sources: Sources, logs: Option<Logs>) -> Result<(Arc<Self>, FirstRun), StartError> {
        let config = Arc::new(loaded.config.clone());
        let lock = InstanceLock::take(&config.server.data_dir)?;
        let store = Store::open(&store_url(&config.store), &config.server.data_dir).await?;
        let changes = store.changes();
        let made = first_run::prepare(&config, &store).await?;
        let stored = Stored::read(&store).await?;
        let health: Arc<Health> = Arc::default();
        let client = net::Client::new(net::Settings { proxy: sources.proxy.clone(), ..net::Settings::default() });
        let secret = first_run::secret(&config)?;
        let back = tokio::runtime::Handle::current();
        let grants = grants(&client, &back, &store, &secret)?;
        let mut house = House::build(config.clone(), &stored, &health, &Lists::default(), Some(&grants)).map_err(StartError::Settings)?;
        house.issuer = issuer_of(&config, None, &client, &back);
        let shared = SharedCounters::connect(&config).await?;
        let purses = Purses::new(&store, shared.as_ref().map(|shared| shared.redis.clone())).await?;
        purses.hand_out(&store, &mut house).await;
        house.prices.remember(&store).await;
        // Nodes are on our own network: no proxy stands between. Whoever registers or is adopted names its own address.
        let node_client = net::Client::new(net::Settings::default()).within(net::Reach::LinkLocal);
        let fleet = Fleet::open(store.clone(), node_client.clone(), snapshot::fleet_settings(&config)).await?;
        let registry = Registry::open(store.clone(), client.sibling(), &config, &Environment::of_process()?).await?;
        let counters = counters(&config, shared.as_ref());
        let metrics = Arc::new(Metrics::new());
        let house = Arc::new(ArcSwap::from_pointee(house));
        let books = Books::open(&store, &config, house.clone())?;
        let decisions = decision_log(&config)?;
        let tally: Arc<Tally> = Arc::default();
        let sink = Arc::new(desk(&metrics, &books, &health, &tally, logs.as_ref(), decisions.as_ref(), &house));
        let app = Arc::new(Self {
            store,
            fleet,
            registry,
            metrics,
            logs: Mutex::new(logs),
            door: Door::default(),
            client,
            node_client,
            sessions: Sessions::new(secret.as_bytes()),
            control: OnceLock::new(),
            sink,
            discovery: Discovery::default(),
            tally,
            health,
            counters,
            answered: Answered::new(&config, shared.as_ref().map(|shared| shared.redis.clone())),
            shared,
            memory: Arc::default(),
            started: Instant::now(),
            back,
            grants,
            house,
            books,
            loaded: ArcSwap::from_pointee(loaded),
            versions: configuration::Versions::new(&secret)?,
            purses,
            sources,
            rebuilding: tokio::sync::Mutex::default(),
            built_at: AtomicU64::new(0),
            listening: config.server.listeners(),
            decisions: Mutex::new(decisions),
            draining: AtomicBool::new(false),
            closing: CancellationToken::new(),
            requests: Arc::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            _lock: lock,
        });
        app.spawn_background(changes);
        Ok((app, made))
    }

    /// The newest file of the log, if there is one.
    pub fn log_path(&self) -> Option<PathBuf> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(Logs::path)
    }

    /// Whether the shared Redis can be used; `None` where there is none.
    pub fn redis_is_up(&self) -> Option<bool> {
        self.shared.as_ref().map(|shared| shared.redis.is_up())
    }

    /// The control plane's paths.
    pub fn control(self: &Arc<Self>) -> axum::Router {
        self.control.get_or_init(|| routes::control(self)).clone()
    }

    /// This instant's snapshot.
    pub fn house(&self) -> Arc<House> {
        self.house.load_full()
    }

    /// The configuration with its origins.
    pub fn loaded(&self) -> Arc<Loaded> {
        self.loaded.load_full()
    }

    /// Brings the snapshot up to what other processes have stored, for answers about what there is. A database that does not answer soon keeps
    /// nobody waiting: the snapshot is as good as it gets.
    pub async fn catch_up(&self) {
        let looked = tokio::time::timeout(LOOK_TIME_MAX, self.store.look()).await;
        let is_current = || *self.store.changes().borrow() <= self.built_at.load(Relaxed);
        if !matches!(looked, Ok(Ok(()))) || is_current() {
            return;
        }
        let _order = self.rebuilding.lock().await;
        if !is_current()
            && let Err(error) = self.rebuild().await
        {
            tracing::error!(%error, "what is stored could not be read again; what was stays in force");
        }
    }

    /// Builds the snapshot anew from what is stored.
    ///
    /// # Errors
    /// The store's; the old snapshot stays.
    pub async fn refresh(&self) -> Result<(), StartError> {
        let _order = self.rebuilding.lock().await;
        self.rebuild().await
    }

    /// For one at a time.
    async fn rebuild(&self) -> Result<(), StartError> {
        let at = *self.store.changes().borrow();
        let stored = Stored::read(&self.store).await?;
        let config = self.house().config.clone();
        let house =
            House::build(config, &stored, &self.health, &self.discovery.lists(), Some(&self.grants)).map_err(StartError::Settings)?;
        self.move_in(house).await;
        self.built_at.fetch_max(at, Relaxed);
        Ok(())
    }

    /// Reads file and environment again and takes over the keys that stand there, nothing else.
    ///
    /// # Errors
    /// The first wrong value, in words; a configuration that would let nobody in. The old keys stay.
    pub async fn reload_keys(&self) -> Result<(), StartError> {
        let _order = self.rebuilding.lock().await;
        let environment = Environment::of_process()?;
        let read = config::load(&self.sources.args, &environment)?;
        let stored = Stored::read(&self.store).await?;
        read.config.check_keys(stored.keys.iter().any(|key| key.revoked_at_ms.is_none()))?;
        let mut config = Config::clone(&self.house().config);
        config.auth.keys.clone_from(&read.config.auth.keys);
        config.auth.master_keys.clone_from(&read.config.auth.master_keys);
        let mut loaded = Loaded::clone(&self.loaded());
        let is_key = |shown: &config::Shown| shown.key.starts_with("auth.keys") || shown.key.starts_with("auth.master");
        loaded.shown.retain(|shown| !is_key(shown));
        loaded.shown.extend(read.shown.into_iter().filter(is_key));
        loaded.config = config.clone();
        let house = House::build(Arc::new(config), &stored, &self.health, &self.discovery.lists(), Some(&self.grants))
            .map_err(StartError::Settings)?;
        self.move_in(house).await;
        self.loaded.store(Arc::new(loaded));
        tracing::info!("the keys of the settings were read again");
        Ok(())
    }

    /// A file that opens a router on loopback must not open one that listens to the world.
    fn check_openness(&self, config: &Config) -> Result<(), StartError> {
        let is_open = config.auth.mode == AuthMode::Off || config.auth.management == ManagementAuth::Open;
        let public = self.listening.iter().find(|address| !address.ip().to_canonical().is_loopback());
        match public {
            Some(address) if is_open && !config.server.allow_insecure => Err(StartError::Settings(format!(
                "auth.mode and auth.management cannot be opened while {address} is listened on, which can be reached from elsewhere: start again"
            ))),
            _ => Ok(()),
        }
    }

    /// A place among the requests that run at once.
    ///
    /// # Errors
    /// [`Code::QueueFull`].
    pub fn enter(&self, max: u32) -> Result<RequestPlace, Failure> {
        let took = self.requests.fetch_update(Relaxed, Relaxed, |n| (n < max).then_some(n + 1));
        match took {
            Ok(_) => Ok(RequestPlace { requests: self.requests.clone(), _active: hold(&self.metrics.active_requests) }),
            Err(_) => Err(Failure::new(Code::QueueFull, format!("{max} requests are running already")).retry_after(Duration::from_secs(1))),
        }
    }

    /// Whether the house is closing.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Says that the house is closing: probes turn, nothing new begins behind the path.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
        self.closing.cancel();
    }

    /// Replaces the snapshot; what accounts have learned stays, and the keys of an identity provider that is still the same.
    async fn move_in(&self, mut house: House) {
        self.purses.hand_out(&self.store, &mut house).await;
        if house.prices.version() != self.house().prices.version() {
            house.prices.remember(&self.store).await;
        }
        let older = self.house.load();
        house.inherit(&older);
        house.issuer = issuer_of(&house.config, older.issuer.as_ref(), &self.client, &self.back);
        self.house.store(Arc::new(house));
    }

    /// Closes: background work ends, rows are written, the store is closed.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(Duration::from_secs(5), async { tokio::join!(self.tasks.wait(), self.registry.close()) }).await;
        self.books.close().await;
        // Its end waits for a disk.
        let decisions = self.decisions.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = tokio::task::spawn_blocking(move || drop(decisions)).await;
        self.store.close().await;
    }

    /// Writes out what the log still holds. The house itself may live on in tasks that never end, so this is said and not left to its drop.
    pub fn end_log(&self) {
        drop(self.logs.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

fn grants(client: &net::Client, back: &tokio::runtime::Handle, store: &Store, secret: &str) -> Result<Grants, StartError> {
    let keeper = Arc::new(Vault::new(store.clone(), secret)?);
    Ok(Grants::new(Office { client: client.clone(), back: back.clone(), keeper }))
}

fn counters(config: &Config, shared: Option<&SharedCounters>) -> Arc<Counters> {
    let lease = config.timeouts.total.max(config.fleet.node_request_timeout) + LEASE_MARGIN;
    Counters::new(shared.map(|shared| shared.counters.clone()), lease)
}

/// Who verifies tokens now: whoever did before, if the settings still say the same.
fn issuer_of(config: &Config, older: Option<&Arc<Issuer>>, client: &net::Client, back: &tokio::runtime::Handle) -> Option<Arc<Issuer>> {
    let terms = snapshot::token_terms(config)?;
    let same = older.filter(|older| *older.terms() == terms);
    Some(same.cloned().unwrap_or_else(|| Arc::new(Issuer::new(terms, client.clone(), back.clone()))))
}

/// Where receipts are settled.
fn desk(
    metrics: &Arc<Metrics>,
    books: &Books,
    health: &Arc<Health>,
    tally: &Arc<Tally>,
    logs: Option<&Logs>,
    decisions: Option<&Keeping<Decided>>,
    house: &Arc<ArcSwap<House>>,
) -> Desk {
    Desk::new(Places {
        metrics: metrics.clone(),
        recorder: books.recorder.clone(),
        health: health.clone(),
        tally: tally.clone(),
        lines: logs.and_then(Logs::ready_lines),
        decisions: decisions.map(Keeping::chronicle),
        house: house.clone(),
    })
}

/// The decision log, where it is wanted.
fn decision_log(config: &Config) -> Result<Option<Keeping<Decided>>, StartError> {
    let audit = &config.audit;
    let start = || {
        chronicle::start(&audit.decision_log_path, config.log.retention_days)
            .map_err(|error| StartError::Settings(format!("`audit.decision_log_path`: {error}")))
    };
    audit.decision_log_enabled.then(start).transpose()
}

/// One of the requests that run at once, until dropped.
#[derive(Debug)]
#[must_use]
pub struct RequestPlace {
    requests: Arc<AtomicU32>,
    _active: Held,
}

impl Drop for RequestPlace {
    fn drop(&mut self) {
        self.requests.fetch_sub(1, Relaxed);
    }
}

/// The address of the database as the store reads it.
pub fn store_url(url: &StoreUrl) -> String {
    match url {
        StoreUrl::Sqlite(path) => format!("sqlite:{}", path.display()),
        StoreUrl::SqliteMemory => "sqlite::memory:".to_owned(),
        StoreUrl::Postgres(url) => url.expose().to_owned(),
    }
}
