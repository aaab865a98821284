//! The router's configuration as the rest of the house sees it: typed, resolved, valid.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::account::{Account, AccountLimits, Timeouts};
use crate::address::AddressBlock;
use crate::files::{Convert, Downloads, Hub};
use crate::prices::Price;
use crate::registered::TypeKeys;
use crate::secret::Secret;
use crate::setting::words;

/// Everything the router can be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Sockets, directories, bounds.
    pub server: Server,
    /// The model that answers where none is named.
    pub default_model: Option<String>,
    /// The models that the operator listed, in order; empty where he listed none.
    pub models: Vec<ModelEntry>,
    /// Every way to reach a provider, those of the file first, then `ROUTER_SERVICES`, then the environment's.
    pub accounts: Vec<Account>,
    /// What tokens of models cost, by the model's name.
    pub prices: BTreeMap<String, Price>,
    /// Names that stand for one or several targets, tried in order.
    pub aliases: BTreeMap<String, Vec<String>>,
    /// Those of them that lists of models leave out.
    pub hidden_aliases: BTreeSet<String>,
    /// By task, the models of each complexity.
    pub task_routes: BTreeMap<String, TaskRoute>,
    /// Models that stand in for others, as a LiteLLM file has them.
    pub fallbacks: Fallbacks,
    /// Models tried after those that a request's route names.
    pub fallback_models: Vec<String>,
    /// Statuses of an upstream after which another target is tried, besides those that always are.
    pub retry_statuses: Vec<u16>,
    /// How often and after what pause.
    pub retry: Retry,
    /// Attempts by model name, where a LiteLLM file counts them so.
    pub tries: Option<Tries>,
    /// Accounts that are left alone.
    pub breaker: Breaker,
    /// Profiles of `auto`, by name.
    pub routes: BTreeMap<String, RouteProfile>,
    /// Time limits of accounts that name none.
    pub timeouts: Timeouts,
    /// Own nodes.
    pub fleet: Fleet,
    /// Health checks.
    pub health: Health,
    /// Streamed answers.
    pub stream: Stream,
    /// Records of requests.
    pub ledger: Ledger,
    /// Who may call.
    pub auth: Auth,
    /// The database.
    pub store: StoreUrl,
    /// What is kept of requests.
    pub history: History,
    /// Records of changes.
    pub audit: Audit,
    /// Log lines.
    pub log: Log,
    /// Metrics and traces.
    pub telemetry: Telemetry,
    /// The answer cache.
    pub cache: Cache,
    /// The hub that models come from.
    pub hub: Hub,
    /// How files of models are fetched.
    pub downloads: Downloads,
    /// How models of other formats become GGUF files.
    pub convert: Convert,
    /// Calls that are made again.
    pub idempotency: Idempotency,
    /// The bound on requests per client address; off where `None`.
    pub rate_limit: Option<RateLimit>,
    /// The model that answers embeddings requests which name none.
    pub default_embedding_model: Option<String>,
    /// `routing_strategy` of a LiteLLM file.
    pub group_strategy: Option<String>,
    /// The same, where it is about accounts that serve the same name.
    pub strategy: Option<Strategy>,
    /// What opens models that are registered by name.
    pub type_keys: TypeKeys,
    /// Sections whose meaning belongs to one room alone, as they were written, by their key.
    pub sections: Sections,
}

/// By model, those that stand in for it, in order. What stands in for every model is under `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fallbacks {
    pub(crate) always: BTreeMap<String, Vec<String>>,
    pub(crate) too_long: BTreeMap<String, Vec<String>>,
    pub(crate) against_policy: BTreeMap<String, Vec<String>>,
}

/// How often each name of a request is tried: the one that was asked for, and those that stand in for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tries {
    /// Of names that are not told apart.
    pub usual: TryBounds,
    /// Of others.
    pub of: BTreeMap<String, TryBounds>,
}

impl Tries {
    /// The bounds of one name.
    pub fn bounds(&self, name: &str) -> &TryBounds {
        self.of.get(name).unwrap_or(&self.usual)
    }
}

/// Most attempts at one name, the first included, by what went wrong last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TryBounds {
    /// After what is not told apart.
    pub usual: u32,
    /// After a refused credential.
    pub credential: Option<u32>,
    /// After a time limit.
    pub timeout: Option<u32>,
    /// After a 429.
    pub limit: Option<u32>,
    /// After an error of the upstream's own.
    pub failure: Option<u32>,
}

impl TryBounds {
    /// The largest of them.
    pub fn most(&self) -> u32 {
        [self.credential, self.timeout, self.limit, self.failure].into_iter().flatten().fold(self.usual, u32::max)
    }
}

/// Sections as they were written. They may hold secrets: `Debug` gives their names only.
#[derive(Clone, Default)]
pub struct Sections(pub(crate) BTreeMap<String, serde_json::Value>);

impl Sections {
    /// The section of that key, if it was written.
    pub fn get(&self, key: &str) -> Option<&serde_json::Value> {
        self.0.get(key)
    }
}

impl std::fmt::Debug for Sections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Sockets, directories and the bounds at the door.
#[derive(Debug, Clone)]
pub struct Server {
    /// Bind address where `listen` is empty.
    pub host: IpAddr,
    /// Port where `listen` is empty; 0 lets the system choose.
    pub port: u16,
    /// Several listeners; they replace host and port.
    pub listen: Vec<SocketAddr>,
    /// Base of database, logs, models and files.
    pub data_dir: PathBuf,
    /// Most bytes of a JSON body.
    pub max_body_bytes: u64,
    /// Most bytes of a form.
    pub max_upload_bytes: u64,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<AddressBlock>,
    /// Whether open access may be bound to an address that is not loopback.
    pub allow_insecure: bool,
    /// How long a stopping router waits for requests under way.
    pub drain_timeout: Duration,
    /// Most connections at once, over all listeners.
    pub max_connections: u32,
    /// Most inference requests at once.
    pub max_requests: u32,
    /// Most bytes of a request's head.
    pub max_header_bytes: u32,
    /// How long a connection may take to send a request's head.
    pub header_timeout: Duration,
    /// Threads that serve connections; one per core where `None`.
    pub threads: Option<u32>,
    /// Whether it was started as `open-llm-router`, whose answers name the decision `_router`.
    pub as_open_llm_router: bool,
}

impl Server {
    /// The sockets to bind.
    pub fn listeners(&self) -> Vec<SocketAddr> {
        if self.listen.is_empty() { vec![SocketAddr::new(self.host, self.port)] } else { self.listen.clone() }
    }
}

/// A model that the operator listed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelEntry {
    /// Its name to callers.
    pub id: String,
    /// Most tokens of prompt and answer together.
    pub context: Option<u32>,
    /// Most tokens of an answer.
    pub max_output: Option<u32>,
    /// Words such as `tools`, `vision`.
    pub capabilities: Vec<String>,
    /// What it costs, as written.
    pub price: Option<serde_json::Value>,
}

/// The models of one task, by complexity; each list in order of preference, empty where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskRoute {
    /// Simple requests.
    pub low: Vec<String>,
    /// Middling requests.
    pub medium: Vec<String>,
    /// Hard requests.
    pub high: Vec<String>,
    /// The hardest requests.
    pub xhigh: Vec<String>,
    /// Where nothing is said for the request's complexity.
    pub default: Vec<String>,
}

/// A profile of `auto`.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteProfile {
    /// A known strategy name.
    pub strategy: String,
    /// Directory or file of what was learned.
    pub model: Option<PathBuf>,
    /// 0 cheapest … 1 best.
    pub quality: Option<f64>,
}

/// Attempts for one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// Most attempts, the first included.
    pub max_attempts: u32,
    /// Pause before the second attempt at the same target.
    pub backoff_min: Duration,
    /// Longest pause; pauses double.
    pub backoff_max: Duration,
    /// Most retries as a share of requests.
    pub budget: f64,
}

/// When accounts are left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// Whether they ever are.
    pub enabled: bool,
    /// Failures in a row that it takes.
    pub failures: u32,
    /// For how long.
    pub recovery: Duration,
    /// Other numbers for some kinds of failures.
    pub allowed: Allowed,
}

/// Failures that it takes until an account is left alone, by their kind; as many as of any kind where `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowed {
    /// It refused its credential.
    pub credential: Option<u32>,
    /// A time limit was over.
    pub timeout: Option<u32>,
    /// It answered 429.
    pub limit: Option<u32>,
    /// Any other.
    pub failure: Option<u32>,
}

words! {
    /// How one of several accounts of one priority is chosen that serve the same name.
    Strategy {
        /// By chance, in the proportion of their weights.
        Shuffle = "simple-shuffle",
        /// Fewest requests under way.
        LeastBusy = "least-busy",
        /// Fewest tokens in the last minute.
        UsageBased = "usage-based-routing" | "usage-based-routing-v2",
        /// Shortest time to the first byte.
        LatencyBased = "latency-based-routing",
        /// Lowest price.
        CostBased = "cost-based-routing",
    }
}

words! {
    /// How a node is chosen among those that can serve.
    Balancer {
        /// By what is known: the product's own choice.
        Auto = "auto",
        /// By reported load.
        Metrics = "metrics",
        /// In turn.
        RoundRobin = "round-robin",
        /// Fewest requests under way.
        LeastBusy = "least-busy",
        /// The better of two taken by chance.
        PowerOfTwo = "p2c",
        /// Where the prompt's beginning was seen before.
        CacheAware = "cache-aware" | "prefix",
        /// By hash of the session.
        ConsistentHash = "consistent-hash",
        /// Shortest expected time to the first token.
        TimeToFirstToken = "ttft",
    }
}

/// Own nodes.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// How a node is chosen.
    pub balancer: Balancer,
    /// Whether nodes without a GPU are admitted.
    pub allow_cpu_nodes: bool,
    /// Most requests that wait for a node.
    pub max_waiters: u32,
    /// And of those with one key.
    pub max_waiters_per_key: u32,
    /// How long a request waits for a node.
    pub queue_timeout: Duration,
    /// A node silent for so long is offline.
    pub node_timeout: Duration,
    /// How long a node may take to its first byte.
    pub node_request_timeout: Duration,
    /// How long a node that has a request may neither answer it nor the question whether it is there.
    pub silence_timeout: Duration,
    /// How long a node's stream may say nothing once it has begun.
    pub stream_stall: Duration,
    /// Whether streams of nodes that are lost go on elsewhere where a request does not say.
    pub resume: bool,
    /// What nodes show to register; none is needed from private addresses where `None`.
    pub join_token: Option<Secret>,
    /// Whether every new node waits for an administrator's consent.
    pub require_approval: bool,
}

/// Health checks.
#[derive(Debug, Clone)]
pub struct Health {
    /// Time between checks.
    pub check_interval: Duration,
    /// Whether a lost dependency makes the router not ready.
    pub strict: bool,
    /// Whether nodes are not checked at all; for tests.
    pub skip: bool,
}

/// Streamed answers.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Silence after which a keepalive is sent.
    pub keepalive: Duration,
    /// Whether every stream ends with a comment that says what it came to; otherwise those do whose request asks for it.
    pub closing_comment: bool,
    /// How long the beginning of an upstream's stream is held until it says something.
    pub probe_window: Duration,
}

words! {
    /// What happens when request records can neither be stored nor spilled.
    WhenFull {
        /// Serve, count what is lost, raise an alarm.
        Count = "count",
        /// Refuse requests.
        Refuse = "refuse",
    }
}

/// Records of requests.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// What happens when no record can be kept.
    pub when_full: WhenFull,
}

words! {
    /// Whether callers must show a credential.
    AuthMode {
        /// They must.
        Required = "required" | "true" | "1" | "yes" | "on",
        /// Everything is open.
        Off = "off" | "false" | "0" | "no" | "none",
    }
}

words! {
    /// Whether nodes, models and dashboard data are open to everybody.
    ManagementAuth {
        /// A credential is needed.
        Required = "required",
        /// Open.
        Open = "open",
    }
}

words! {
    /// Whether people can log in with user name and password.
    AdminLogin {
        /// They can.
        Users = "users",
        /// They can't; only keys open the control plane.
        Disabled = "none",
    }
}

/// Who may call.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Whether callers must show a credential.
    pub mode: AuthMode,
    /// Whether the operator wrote the mode himself.
    pub mode_explicit: bool,
    /// Static keys.
    pub keys: Vec<StaticKey>,
    /// Keys with every scope.
    pub master_keys: Vec<Secret>,
    /// A header besides the usual ones that carries a key.
    pub header_name: String,
    /// Whether the management paths are open.
    pub management: ManagementAuth,
    /// Whether users can log in.
    pub admin: AdminLogin,
    /// The first user's name.
    pub admin_username: String,
    /// The first user's password; made on the first run where `None`.
    pub admin_password: Option<Secret>,
    /// Signs sessions; made and kept in the data directory where `None`.
    pub jwt_secret: Option<Secret>,
    /// Bearer tokens of an identity provider.
    pub oauth: Option<OauthTokens>,
    /// Where people may log in instead of here.
    pub oidc: Option<Oidc>,
}

/// An identity provider at which people log in, by OpenID Connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oidc {
    /// What the log-in calls it.
    pub name: String,
    /// Its address, below which it describes itself.
    pub issuer: String,
    /// What it calls this router.
    pub client_id: String,
    /// `None`: it asks for none.
    pub client_secret: Option<Secret>,
    /// What it is asked for.
    pub scopes: Vec<String>,
    /// Where it sends browsers back to; `None`: to the host that they asked.
    pub redirect_url: Option<String>,
    /// Roles, groups and verified addresses that make administrators.
    pub admins: Vec<String>,
    /// The same for viewers; `*` is everybody.
    pub viewers: Vec<String>,
}

impl Auth {
    /// Whether the settings alone let anybody in: a static key, a master key or an identity provider.
    pub fn names_a_credential(&self) -> bool {
        !self.keys.is_empty() || !self.master_keys.is_empty() || self.oauth.is_some()
    }
}

/// A key that stands in the settings.
#[derive(Debug, Clone)]
pub struct StaticKey {
    /// What logs call it: its name in the file, or the variable and position it came from.
    pub name: String,
    /// The key.
    pub secret: Secret,
    /// What it may: `inference`, `mcp`, `a2a`, `files`, `read`, `ops`, `admin`.
    pub scopes: Vec<String>,
    /// How much.
    pub limits: AccountLimits,
    /// What it may spend.
    pub budget: Option<KeyBudget>,
}

/// What a static key may spend.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyBudget {
    /// Dollars, more than 0.
    pub dollars: f64,
    /// `hour`, `day`, `week`, `month` or `total`.
    pub window: String,
}

/// Tokens of an identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OauthTokens {
    /// The `iss` that tokens must have.
    pub issuer: Option<String>,
    /// The `aud` that tokens must have.
    pub audience: Option<String>,
    /// Where the keys are.
    pub jwks_url: Option<String>,
    /// Signature algorithms that are accepted.
    pub algorithms: Vec<String>,
    /// Scopes that a token must have.
    pub required_scopes: Vec<String>,
    /// A shared secret instead of the keys.
    pub jwt_secret: Option<Secret>,
    /// How far clocks may differ.
    pub clock_skew: Duration,
    /// The scopes that words of a token (scopes, roles, groups) stand for; `None`: every token may what keys usually may.
    pub grants: Option<BTreeMap<String, Vec<String>>>,
    /// How much each subject may use.
    pub limits: AccountLimits,
}

impl OauthTokens {
    /// What keys and tokens may where nothing is said of it.
    pub const USUAL_SCOPES: &[&str] = &["inference", "mcp", "a2a", "files"];
}

/// Where the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A SQLite database that is gone when the program ends.
    SqliteMemory,
    /// A PostgreSQL URL; secret, since it may hold a password.
    Postgres(Secret),
}

words! {
    /// How much of requests and answers is kept.
    HistoryBodies {
        /// All, up to a bound.
        Full = "full",
        /// Their shape without their text.
        Redacted = "redacted",
        /// Nothing.
        None = "none",
    }
}

/// What is kept of requests.
#[derive(Debug, Clone)]
pub struct History {
    /// How much of bodies.
    pub bodies: HistoryBodies,
    /// For how long.
    pub retention: Duration,
    /// Bytes that the database may take before the oldest records go.
    pub size_max: u64,
}

words! {
    /// What happens to a change whose audit record can't be stored.
    AuditFailMode {
        /// It is made.
        Open = "open",
        /// It is refused.
        Closed = "closed",
    }
}

/// Records of changes and of decisions.
#[derive(Debug, Clone)]
pub struct Audit {
    /// Whether changes are recorded.
    pub enabled: bool,
    /// What happens where they can't be.
    pub fail_mode: AuditFailMode,
    /// How long records of changes are kept.
    pub retention: Duration,
    /// Whether routing decisions are written to a file.
    pub decision_log_enabled: bool,
    /// That file.
    pub decision_log_path: PathBuf,
}

/// Log lines.
#[derive(Debug, Clone)]
pub struct Log {
    /// Filter in env-filter syntax.
    pub level: String,
    /// Directory of `router.log`.
    pub dir: PathBuf,
    /// Days that rotated files are kept.
    pub retention_days: u32,
}

/// Metrics and traces.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// Whether `/metrics` needs a credential.
    pub metrics_require_auth: bool,
    /// Where traces and metrics are sent.
    pub otlp_endpoint: Option<String>,
}

/// The answer cache.
#[derive(Debug, Clone)]
pub struct Cache {
    /// Whether answers are remembered.
    pub enabled: bool,
    /// For how long.
    pub ttl: Duration,
    /// Whether streamed answers are too.
    pub streams: bool,
    /// Whether answers to requests with effects are, without being asked.
    pub tools: bool,
    /// Whether callers share them.
    pub shared: bool,
    /// Most bytes of them in memory.
    pub max_bytes: u64,
    /// What several routers share; secret, since the URL may hold a password.
    pub redis_url: Option<Secret>,
}

/// Calls that are made again with their `Idempotency-Key`.
#[derive(Debug, Clone)]
pub struct Idempotency {
    /// Whether they get their first answer again.
    pub enabled: bool,
    /// For how long.
    pub ttl: Duration,
    /// How long they wait for it.
    pub wait: Duration,
    /// Most bytes of such answers in memory.
    pub max_bytes: u64,
}

/// So many requests in a sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Most requests in the window.
    pub requests: u32,
    /// The window.
    pub window: Duration,
}
