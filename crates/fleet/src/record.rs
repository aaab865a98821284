//! One node or agent as the registry keeps it, and its stored form.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, atomic::AtomicU64},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wire::fleet::{
    endpoint::Maker,
    node::{GpuDevice, Heartbeat},
};

use crate::{clock::Clock, live::Live};

/// What kind of thing answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An inference node with an identity, a token and reports of load.
    Node,
    /// A server of somebody else's make: it knows nothing of us, so we ask it how it is.
    Endpoint,
    /// A named endpoint that beats now and then.
    Agent,
}

impl Kind {
    /// Its name in the store.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Endpoint => "endpoint",
            Self::Agent => "agent",
        }
    }
}

/// How requests are put to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaks {
    /// `POST /v1/chat/completions` and its neighbours.
    OpenAi,
    /// `POST /infer` with the chat payload.
    Infer,
    /// An agent that could not be asked yet: treated as [`Speaks::Infer`].
    #[default]
    Unknown,
}

/// The seed's states, as `GET /api/nodes` shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Registering,
    Online,
    Draining,
    Offline,
}

impl Status {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Registering => "registering",
            Self::Online => "online",
            Self::Draining => "draining",
            Self::Offline => "offline",
        }
    }
}

/// What a node said of its machine when it registered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Machine {
    pub(crate) gpu_available: bool,
    pub(crate) gpu_devices: Vec<GpuDevice>,
    pub(crate) gpu_count: Option<u32>,
    pub(crate) gpu_model: Option<String>,
    pub(crate) accelerator: Option<String>,
    pub(crate) speaks: Speaks,
    /// What kind of server an endpoint is.
    pub(crate) maker: Option<Maker>,
    /// It said that it takes connections over which nothing is said.
    pub(crate) bears_silence: bool,
    /// It said that it goes on with answers that others began.
    pub(crate) continues: bool,
    /// Fields that this build does not know.
    pub(crate) rest: Map<String, Value>,
}

/// What a node can answer for, as last reported.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Models {
    pub(crate) loaded: Vec<String>,
    pub(crate) embedding: Vec<String>,
    pub(crate) available: Vec<String>,
    pub(crate) ready: Option<(u32, u32)>,
    pub(crate) initializing: bool,
}

impl Models {
    /// Names in all lists.
    pub(crate) fn count(&self) -> usize {
        self.loaded.len() + self.embedding.len() + self.available.len()
    }

    pub(crate) fn has(&self, model: &str) -> bool {
        [&self.loaded, &self.embedding, &self.available].into_iter().flatten().any(|known| known == model)
    }
}

/// One report of the history.
#[derive(Debug, Clone, Serialize)]
pub struct Point {
    /// Unix milliseconds.
    #[serde(rename = "timestamp", serialize_with = "crate::show::as_rfc3339")]
    pub at_ms: i64,
    pub cpu_usage: f64,
    pub memory_usage: f64,
    pub gpu_usage: Option<f64>,
    pub gpu_memory_usage: Option<f64>,
    pub active_requests: u32,
    pub average_response_time_ms: Option<f64>,
}

/// Reports that are kept per node: an hour at one every ten seconds.
pub(crate) const HISTORY_POINTS_MAX: usize = 360;

#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) machine_name: Arc<str>,
    pub(crate) ip: IpAddr,
    pub(crate) runtime_port: u16,
    /// Base URL without `/v1`, of an agent.
    pub(crate) endpoint: Option<String>,
    pub(crate) runtime_version: String,
    pub(crate) machine: Machine,
    /// Hexadecimal SHA-256; empty for an agent.
    pub(crate) token_hash: String,
    pub(crate) router_secret: Arc<str>,
    /// Never [`Status::Draining`]: that is `draining` beside it.
    pub(crate) status: Status,
    pub(crate) draining: bool,
    /// It has registered, but waits for an administrator's consent.
    pub(crate) pending: bool,
    /// The join token that it came with, if it was one of those that are made.
    pub(crate) join_token_id: Option<String>,
    pub(crate) models: Models,
    pub(crate) custom_name: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) notes: Option<String>,
    pub(crate) registered_at_ms: i64,
    pub(crate) last_seen_ms: i64,
    pub(crate) online_since_ms: Option<i64>,
    pub(crate) beat: Option<Heartbeat>,
    pub(crate) beat_at_ms: Option<i64>,
    pub(crate) history: VecDeque<Point>,
    pub(crate) live: Arc<Live>,
}

impl Record {
    /// What people call it: its custom name, else its machine's.
    pub(crate) fn shown_name(&self) -> Arc<str> {
        self.custom_name.as_deref().map_or_else(|| self.machine_name.clone(), Arc::from)
    }

    /// The state to show and to act upon: a silent node is offline also before a sweep has noticed, and one that waits for consent is not online.
    pub(crate) fn shown(&self, now_tick_ms: i64, timeout_ms: i64) -> Status {
        match self.status {
            Status::Offline => Status::Offline,
            _ if now_tick_ms - self.live.seen_ms() > timeout_ms => Status::Offline,
            _ if self.pending => Status::Registering,
            _ if self.draining => Status::Draining,
            status => status,
        }
    }

    /// Port of the node's API: the one after its runtime's. Registration refuses 65535.
    pub(crate) fn api_port(&self) -> u16 {
        self.runtime_port.saturating_add(1)
    }

    /// Where requests go, without a path.
    pub(crate) fn url(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => node_url(self.ip, self.api_port()),
        }
    }

    /// Whether a connection over which nothing is said may be held to it: where it has said so itself, or is known for it. Others may serve one
    /// connection after the other.
    pub(crate) fn bears_tether(&self) -> bool {
        match self.kind {
            Kind::Node | Kind::Agent => self.machine.bears_silence,
            // A handshake of TLS that does not come is an error in a server's log.
            Kind::Endpoint => {
                self.machine.maker.is_some_and(Maker::bears_silence) && self.endpoint.as_ref().is_some_and(|url| url.starts_with("http://"))
            }
        }
    }

    /// Whether it goes on with answers that others began.
    pub(crate) fn continues(&self) -> bool {
        match self.kind {
            Kind::Node => self.machine.continues,
            Kind::Endpoint => self.machine.maker.is_some_and(Maker::continues),
            Kind::Agent => false,
        }
    }

    /// Its path that answers at once, whatever it works on: asked to learn whether it is there.
    pub(crate) fn question(&self) -> &'static str {
        match (self.kind, self.machine.maker) {
            (Kind::Endpoint, Some(maker)) => maker.pages().health.unwrap_or_else(|| maker.pages().models),
            (Kind::Endpoint, None) => "/v1/models",
            (Kind::Node | Kind::Agent, _) => "/health",
        }
    }

    /// The stored form.
    pub(crate) fn to_row(&self) -> store::nodes::Node {
        store::nodes::Node {
            id: self.id.to_string(),
            kind: self.kind.as_str().to_owned(),
            machine_name: self.machine_name.to_string(),
            ip_address: self.ip.to_string(),
            runtime_port: self.runtime_port,
            endpoint: self.endpoint.clone(),
            runtime_version: self.runtime_version.clone(),
            registration: serde_json::to_value(&self.machine).expect("plain data has a JSON form"),
            token_hash: self.token_hash.clone(),
            router_secret: self.router_secret.to_string(),
            status: self.status.as_str().to_owned(),
            draining: self.draining,
            pending: self.pending,
            join_token_id: self.join_token_id.clone(),
            models: self.models_json(),
            custom_name: self.custom_name.clone(),
            tags: self.tags.clone(),
            notes: self.notes.clone(),
            registered_at_ms: self.registered_at_ms,
            last_seen_ms: self.last_seen_ms,
            online_since_ms: self.online_since_ms,
        }
    }

    /// The part that heartbeats move.
    pub(crate) fn to_seen(&self) -> store::nodes::Seen {
        store::nodes::Seen {
            id: self.id.to_string(),
            status: self.status.as_str().to_owned(),
            models: self.models_json(),
            last_seen_ms: self.last_seen_ms,
            online_since_ms: self.online_since_ms,
        }
    }

    fn models_json(&self) -> Value {
        serde_json::to_value(&self.models).expect("plain data has a JSON form")
    }

    /// A record as it was before the restart. Its silence counts from its last stored sign of life, so a node that beat a moment ago serves on.
    pub(crate) fn from_row(row: store::nodes::Node, clock: &Clock, turns: &Arc<AtomicU64>) -> Self {
        let silent_ms = clock.unix_ms().saturating_sub(row.last_seen_ms).max(0);
        let id: Arc<str> = row.id.into();
        Self {
            kind: [Kind::Agent, Kind::Endpoint].into_iter().find(|kind| kind.as_str() == row.kind).unwrap_or(Kind::Node),
            machine_name: row.machine_name.into(),
            ip: row.ip_address.parse().unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            runtime_port: row.runtime_port,
            endpoint: row.endpoint,
            runtime_version: row.runtime_version,
            machine: understood(row.registration, "registration", &id),
            token_hash: row.token_hash,
            router_secret: row.router_secret.into(),
            status: match row.status.as_str() {
                "online" => Status::Online,
                "registering" => Status::Registering,
                _ => Status::Offline,
            },
            draining: row.draining,
            pending: row.pending,
            join_token_id: row.join_token_id,
            models: understood(row.models, "models", &id),
            custom_name: row.custom_name,
            tags: row.tags,
            notes: row.notes,
            registered_at_ms: row.registered_at_ms,
            last_seen_ms: row.last_seen_ms,
            online_since_ms: row.online_since_ms,
            beat: None,
            beat_at_ms: None,
            history: VecDeque::new(),
            live: Arc::new(Live::new(clock.clone(), turns.clone(), clock.tick_ms() - silent_ms)),
            id,
        }
    }
}

/// A part of a stored node. What can't be understood is left out rather than keeping the router from starting: the next heartbeat brings it again.
fn understood<T: Default + serde::de::DeserializeOwned>(value: Value, what: &str, id: &str) -> T {
    serde_json::from_value(value).unwrap_or_else(|error| {
        tracing::warn!(node = id, %error, "the stored {what} of a node can't be read");
        T::default()
    })
}

/// `http://address:port`.
pub(crate) fn node_url(ip: IpAddr, port: u16) -> String {
    format!("http://{}", std::net::SocketAddr::new(ip, port))
}
