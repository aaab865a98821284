//! This instant's configuration, keys and map: replaced whole, never changed.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use config::{
    Account as AccountConfig, AccountAuth, AuthMode, Balancer as Wanted, Config,
    account::{AccountLimits, AccountOrigin, Reach},
    config::{OauthTokens, RateLimit, Strategy},
};
use dispatch::{Breaker, Health, Rules, Vital};
use fleet::{Balancer, FleetSettings, FleetView};
use http::HeaderName;
use jiff::Timestamp;
use journey::{Scope, Scopes};
use policy::{Bounds, Budget, Credentials, Issuer, KeyEntry, Keys, Limits, Terms, Window, issuer};
use routing::{AccountRoutes, Figures, Map, Nodes, Presence};
use store::sessions::Ended;
use upstream::{Account, Grants, catalog};
use wire::Dialect;

use crate::{admin::session::Seat, discovery::Lists, first_run, price::PriceBook, spending, stored::Stored};

/// The capability of a model that thinks with tools at hand on Responses only.
const THINKING_TOOLS_ON_RESPONSES: &str = "thinking_tools_on_responses";

/// What every request reads. The only way from the control plane to the path.
pub struct House {
    pub config: Arc<Config>,
    pub keys: Keys,
    /// Verifies tokens of an identity provider, where one is named.
    pub issuer: Option<Arc<Issuer>>,
    pub map: Map,
    pub accounts: HashMap<Arc<str>, Arc<Account>>,
    /// The same as they were written, or as registered models need them.
    pub written: Vec<AccountConfig>,
    pub rules: Rules,
    /// What is known of each account.
    pub vitals: HashMap<Arc<str>, Arc<Vital>>,
    /// Who may use how much.
    pub limits: Limits,
    /// What keys may spend, by id; their purses are handed out when the house is moved into.
    pub budgets: Vec<(Arc<str>, Budget)>,
    /// Some account sends callers' own credentials on.
    pub passes_credentials: bool,
    /// Models whose files the router keeps: known, even where no node has them yet.
    pub files: HashSet<String>,
    /// Who may have a session, by id.
    pub users: HashMap<String, Seat>,
    /// Sessions that were logged out before their tokens ran out, by user.
    pub ended_sessions: HashMap<String, Ended>,
    /// The operator's own header for keys.
    pub key_header: Option<HeaderName>,
    /// What is paid for tokens.
    pub prices: PriceBook,
}

impl House {
    /// Builds a snapshot from a valid configuration and what is stored. Without `grants` nothing that is opened by OAuth can be called.
    ///
    /// # Errors
    /// In words: an account whose header or key cannot be sent.
    pub fn build(config: Arc<Config>, stored: &Stored, health: &Health, lists: &Lists, grants: Option<&Grants>) -> Result<Self, String> {
        let enabled = stored.accounts(&config);
        let accounts = enabled
            .iter()
            .map(|a| Account::new(a).map(|made| (made.name.clone(), Arc::new(made.opened_by(grants.and_then(|grants| grants.of(a)))))))
            .collect::<Result<HashMap<_, _>, String>>()?;
        let aliases = config.aliases.iter().map(|(name, targets)| (name.clone(), targets.clone())).collect();
        let mut map = Map::new(enabled.iter().map(|a| routes(a, &accounts, lists)).collect(), aliases, config.default_model.clone());
        map.strategy = config.strategy;
        let node_timeouts = net::Timeouts {
            connect: config.timeouts.connect,
            first_byte: config.fleet.node_request_timeout,
            idle: config.timeouts.idle,
            total: config.timeouts.total,
        };
        let rules = Rules {
            attempts_max: config.retry.max_attempts,
            backoff_min: config.retry.backoff_min,
            backoff_max: config.retry.backoff_max,
            counts_load: matches!(config.strategy, Some(Strategy::LeastBusy | Strategy::UsageBased)),
            also_retried: config.retry_statuses.clone(),
            tries: config.tries.clone(),
            breaker: {
                let config::config::Breaker { enabled, failures, recovery, allowed } = config.breaker;
                Breaker { enabled, failures, recovery, allowed }
            },
            retry_share: config.retry.budget,
            services_only: !enabled.is_empty() && enabled.iter().all(|a| matches!(a.origin, AccountOrigin::Services { .. })),
            thinking_tools_on_responses: config
                .models
                .iter()
                .filter(|m| m.capabilities.iter().any(|word| word == THINKING_TOOLS_ON_RESPONSES))
                .map(|m| m.id.clone())
                .collect(),
            output_max: config.models.iter().filter_map(|m| Some((m.id.clone(), m.max_output?))).collect(),
            probe_window: config.stream.probe_window,
            total: config.timeouts.total.max(config.fleet.node_request_timeout),
            resume: config.fleet.resume,
            node_timeouts,
            node_stream_timeouts: net::Timeouts { idle: config.fleet.stream_stall, ..node_timeouts },
        };
        let key_header = config.auth.header_name.parse().ok();
        let vitals = accounts.keys().map(|name| (name.clone(), health.vital(name))).collect();
        health.keep_only(|name| accounts.contains_key(name));
        if let Some(grants) = grants {
            grants.keep_only(|name| accounts.contains_key(name));
        }
        Ok(Self {
            keys: keys(&config, &stored.keys),
            issuer: None,
            limits: limits(&config, &stored.keys),
            budgets: budgets(&config, &stored.keys),
            files: stored.files.iter().cloned().collect(),
            users: stored.users.iter().map(|user| (user.id.clone(), Seat::of(user))).collect(),
            ended_sessions: stored.ended_sessions.clone(),
            map,
            accounts,
            vitals,
            rules,
            passes_credentials: enabled.iter().any(|account| account.auth_mode == AccountAuth::Passthrough),
            key_header,
            prices: PriceBook::of(&config, &enabled),
            config,
            written: enabled,
        })
    }

    /// Takes over what accounts of an older snapshot have learned of the wires that they speak, and forgets the failures of those that
    /// were given another key or address.
    pub fn inherit(&self, older: &Self) {
        let now = std::time::Instant::now();
        for (name, account) in &self.accounts {
            if let Some(before) = older.accounts.get(name) {
                account.inherit(before, now);
                if !account.is_same_as(before)
                    && let Some(vital) = self.vitals.get(name)
                {
                    vital.forget();
                }
            }
        }
    }

    /// Whether a credential opens this router, or did or was made to: it is never sent on to anybody.
    pub fn is_own(&self, credential: &str) -> bool {
        self.keys.knows(credential)
            || first_run::is_made_here(credential)
            || self.issuer.as_ref().is_some_and(|issuer| issuer.may_have_issued(credential))
    }

    /// The credentials that a request shows; `query_key` is `?key=` of Gemini's paths.
    pub fn credentials<'a>(&self, headers: &'a http::HeaderMap, query_key: Option<&'a str>) -> Credentials<'a> {
        Credentials::of(headers, self.key_header.as_ref(), query_key)
    }
}

fn routes(account: &AccountConfig, made: &HashMap<Arc<str>, Arc<Account>>, lists: &Lists) -> AccountRoutes {
    let row = catalog::provider(&account.provider);
    let speaks = made
        .get(&*account.name)
        .map_or_else(Vec::new, |made| Dialect::ALL.into_iter().filter(|dialect| made.wire_for(*dialect) == *dialect).collect());
    let discovered = lists.get(&*account.name).filter(|_| account.reach == Reach::Discovered).cloned();
    AccountRoutes { discovered, ..AccountRoutes::new(account, row.name_prefixes, row.foreign_prefixes, speaks) }
}

/// What master keys are called.
pub const MASTER: &str = "master";

/// Master keys first: a secret that is both is a master key.
fn keys(config: &Config, stored: &[store::keys::Key]) -> Keys {
    let auth = &config.auth;
    let master = auth.master_keys.iter().map(|k| KeyEntry::fixed(k.expose(), Scopes::ALL, MASTER));
    let fixed = auth.keys.iter().map(|k| KeyEntry::fixed(k.secret.expose(), scopes(&k.scopes), &k.name));
    let stored = stored.iter().filter(|k| k.revoked_at_ms.is_none()).filter_map(entry);
    Keys::new(master.chain(fixed).chain(stored), auth.mode == AuthMode::Off)
}

/// What the settings say of an identity provider's tokens.
pub fn token_terms(config: &Config) -> Option<issuer::Terms> {
    let oauth = config.auth.oauth.as_ref()?;
    let granted = |(word, names): (&String, &Vec<String>)| (word.clone(), scopes(names));
    Some(issuer::Terms {
        issuer: oauth.issuer.clone(),
        audience: oauth.audience.clone(),
        list_url: oauth.jwks_url.clone(),
        secret: oauth.jwt_secret.as_ref().map(|secret| secret.expose().as_bytes().to_vec()),
        algorithms: oauth.algorithms.clone(),
        required_scopes: oauth.required_scopes.clone(),
        clock_skew: oauth.clock_skew,
        scopes: OauthTokens::USUAL_SCOPES.iter().filter_map(|name| Scope::from_name(name)).collect(),
        grants: oauth.grants.as_ref().map(|grants| grants.iter().map(granted).collect()),
    })
}

fn limits(config: &Config, stored: &[store::keys::Key]) -> Limits {
    let usual = |own: &AccountLimits| Bounds { window: None, rpm: own.rpm, tpm: own.tpm, concurrency: own.concurrency };
    let window = |limit: RateLimit| Window { requests: limit.requests, span: limit.window };
    let fixed = config.auth.keys.iter().map(|k| (k.name.as_str(), usual(&k.limits)));
    let stored = stored
        .iter()
        .map(|k| (k.id.as_str(), Bounds { window: None, rpm: k.limits.rpm, tpm: k.limits.tpm, concurrency: k.limits.concurrency }));
    let accounts = config.accounts.iter().map(|a| (a.name.as_str(), Bounds { window: a.rate_limit.map(window), ..usual(&a.limits) }));
    Limits {
        address: config.rate_limit.map(|limit| Bounds { window: Some(window(limit)), ..Bounds::default() }),
        keys: fixed.chain(stored).filter(|(_, bounds)| !bounds.is_none()).map(|(id, bounds)| (id.into(), Terms::from(bounds))).collect(),
        subjects: config.auth.oauth.as_ref().map(|oauth| usual(&oauth.limits)).filter(|bounds| !bounds.is_none()),
        accounts: accounts.filter(|(_, bounds)| !bounds.is_none()).map(|(name, bounds)| (name.into(), bounds)).collect(),
    }
}

fn budgets(config: &Config, stored: &[store::keys::Key]) -> Vec<(Arc<str>, Budget)> {
    let fixed = config.auth.keys.iter().filter_map(|key| {
        let budget = key.budget.as_ref()?;
        Some((key.name.as_str().into(), Budget { dollars: budget.dollars, window: policy::budget::Window::from_name(&budget.window)? }))
    });
    let budget = |key: &store::keys::Key| match spending::read(key.budget.as_ref()?) {
        Ok(budget) => Some((key.id.as_str().into(), budget)),
        Err(failure) => {
            tracing::warn!(key = key.id, %failure, "the budget of a key cannot be read, so it has none");
            None
        }
    };
    fixed.chain(stored.iter().filter(|key| key.revoked_at_ms.is_none()).filter_map(budget)).collect()
}

fn entry(key: &store::keys::Key) -> Option<KeyEntry> {
    let mut hash = policy::Hash::default();
    for (i, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(key.hash.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(KeyEntry {
        id: key.id.as_str().into(),
        name: key.name.as_str().into(),
        hash,
        scopes: scopes(&key.scopes),
        allowed_models: (!key.allowed_models.is_empty()).then(|| key.allowed_models.as_slice().into()),
        expires_at: key.expires_at_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
    })
}

/// The scopes of their names; unknown ones give nothing.
pub fn scopes(names: &[String]) -> Scopes {
    names.iter().filter_map(|n| Scope::from_name(n)).collect()
}

/// The settings of the fleet.
pub fn fleet_settings(config: &Config) -> FleetSettings {
    let fleet = &config.fleet;
    FleetSettings {
        node_timeout: fleet.node_timeout,
        check_interval: config.health.check_interval,
        join_token: fleet.join_token.as_ref().map(|t| t.expose().to_owned()),
        allow_cpu_nodes: fleet.allow_cpu_nodes,
        skip_health_check: config.health.skip,
        balancer: match fleet.balancer {
            Wanted::Metrics => Balancer::Metrics,
            Wanted::RoundRobin => Balancer::RoundRobin,
            Wanted::LeastBusy => Balancer::LeastBusy,
            Wanted::PowerOfTwo => Balancer::P2c,
            // The others look at prompts or sessions, which come with them; until then the product's own choice stands in.
            Wanted::Auto | Wanted::CacheAware | Wanted::ConsistentHash | Wanted::TimeToFirstToken => Balancer::Auto,
        },
        require_approval: fleet.require_approval,
        max_waiters: fleet.max_waiters as usize,
        max_waiters_per_key: fleet.max_waiters_per_key as usize,
        silence_timeout: fleet.silence_timeout,
        queue_timeout: fleet.queue_timeout,
    }
}

impl Figures for House {
    fn price(&self, model: &str) -> Option<(f64, f64)> {
        self.prices.of_model(model).map(|price| (price.input, price.output))
    }

    fn latency_s(&self, account: &str) -> Option<f64> {
        self.vitals.get(account)?.latency_s()
    }

    fn tokens_per_s(&self, account: &str) -> Option<f64> {
        self.vitals.get(account)?.tokens_per_s()
    }

    fn price_at(&self, account: &str, model: &str) -> Option<(f64, f64)> {
        self.prices.at(account, model).map(|price| (price.input, price.output))
    }

    fn fresh_latency_s(&self, account: &str) -> Option<f64> {
        self.vitals.get(account)?.fresh_latency_s(std::time::Instant::now())
    }

    fn in_flight(&self, account: &str) -> u64 {
        self.vitals.get(account).map_or(0, |vital| vital.in_flight())
    }

    fn tokens_lately(&self, account: &str) -> u64 {
        self.vitals.get(account).map_or(0, |vital| vital.tokens_lately(std::time::Instant::now()))
    }
}

/// The fleet as routing asks it.
pub struct FleetNodes<'a>(pub &'a FleetView, pub &'a House);

impl Nodes for FleetNodes<'_> {
    fn presence(&self, model: &str) -> Presence {
        match self.0.presence(model) {
            fleet::Presence::Ready => Presence::Ready,
            fleet::Presence::Warming => Presence::Warming,
            fleet::Presence::Down => Presence::Down,
            fleet::Presence::Unknown if self.1.files.contains(model) => Presence::Down,
            fleet::Presence::Unknown => Presence::Unknown,
        }
    }

    fn names(&self) -> Vec<String> {
        self.0.models().into_iter().map(|m| m.id.to_string()).chain(self.1.files.iter().cloned()).collect()
    }
}
