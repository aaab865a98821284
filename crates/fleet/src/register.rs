//! How a node joins.

use std::{collections::VecDeque, fmt::Write as _, net::IpAddr, sync::Arc};

use sha2::{Digest, Sha256};
use store::join_tokens::JoinToken;
use subtle::ConstantTimeEq;
use uuid::Uuid;
use wire::{
    Code, Failure,
    fleet::node::{GpuDevice, Registered, Registration},
};

use crate::{
    Fleet, FleetSettings,
    callback::Answer,
    live::Live,
    record::{Kind, Machine, Models, Record, Speaks, Status, node_url},
    registry::{NODES_MAX, Registry, plain},
    tokens,
};

/// Longest name of a machine, a model or a device.
pub(crate) const NAME_BYTES_MAX: usize = 256;
/// Most models of one node.
pub(crate) const MODELS_MAX: usize = 1024;
/// Most devices of one node.
const DEVICES_MAX: usize = 64;
/// Most bytes of fields that this build does not know, as JSON.
pub(crate) const REST_BYTES_MAX: usize = 16 * 1024;

/// Where a registration comes from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The socket's peer, or the last untrusted hop where that peer is a trusted proxy.
    pub addr: IpAddr,
    /// The request carries forwarding headers.
    pub forwarded: bool,
    /// The socket's peer is a trusted proxy.
    pub trusted: bool,
    /// From `X-Join-Token`, or the bearer.
    pub join_token: Option<&'a str>,
    /// The caller showed an API key that may stand for the join token (agents only).
    pub keyed: bool,
}

/// Whether the join token was shown, or was not asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Joining {
    /// The one of the settings.
    WithToken,
    /// One of those that administrators make.
    WithMade(Box<JoinToken>),
    /// From this machine or network; what it says of its address must be true.
    FromHere,
}

impl Fleet {
    /// Admits a node, or brings up to date the one that registered before from the same machine and port (same id, new token; the old one is
    /// refused from now on). The boolean says whether it is new. Stored when this returns.
    ///
    /// # Errors
    /// 401 or 403 who may not join, 400 what is wrong with the body, 403 the GPU rule, 409 another living node of this name, 502 where the node
    /// can't be reached.
    pub async fn register(&self, said: Registration, from: Origin<'_>) -> Result<(Registered, bool), Failure> {
        let settings = self.settings();
        // An API key stands for an agent's join token, never for a node's.
        let known = self.registry().find(Kind::Node, &said.machine_name, said.runtime_port).and_then(|r| r.join_token_id.clone());
        let joining = self.may_join(Origin { keyed: false, ..from }, known.as_deref()).await?;
        let ip = check(&said)?;
        let machine = machine(&said, settings.allow_cpu_nodes)?;
        if joining == Joining::FromHere && ip != plain(from.addr) {
            let message = format!(
                "`ip_address`: {ip} is not the address this registration comes from ({}): a join token is needed for that",
                plain(from.addr)
            );
            return Err(Failure::new(Code::PermissionDenied, message).at("ip_address"));
        }
        let url = node_url(ip, said.runtime_port + 1);
        let answer = if settings.skip_health_check {
            Answer::default()
        } else {
            let called = self.call_back(&url).await;
            called.map_err(|e| Failure::new(Code::UpstreamError, format!("the router could not reach the node: {e}")))?
        };
        self.take_in(said, ip, machine, answer, &joining).await
    }

    async fn take_in(
        &self,
        said: Registration,
        ip: IpAddr,
        machine: Machine,
        answer: Answer,
        joining: &Joining,
    ) -> Result<(Registered, bool), Failure> {
        let token = format!("nt_{}", Uuid::new_v4());
        let _order = self.writing.lock().await;
        let mut record = self.fresh(Kind::Node, &said.machine_name, said.runtime_port);
        let known = self
            .registry()
            .find(Kind::Node, &said.machine_name, said.runtime_port)
            .map(|r| (r.ip, r.shown(self.clock.tick_ms(), self.timeout_ms())));
        if let Some((other, status)) = known
            && other != ip
            && status != Status::Offline
        {
            let message = format!(
                "a node named `{}` with port {} is already there at {other}: give this one another `machine_name`",
                said.machine_name, said.runtime_port
            );
            return Err(Failure::new(Code::Conflict, message).at("machine_name"));
        }
        record.ip = ip;
        record.runtime_version = said.runtime_version;
        record.machine = machine;
        record.token_hash = hash(&token);
        record.router_secret = format!("rs_{}", Uuid::new_v4().simple()).into();
        record.status = Status::Registering;
        record.draining = false;
        record.online_since_ms = None;
        record.models = Models { ready: answer.ready_models, initializing: answer.initializing, ..Models::default() };
        match said.available_models {
            Some(available) => record.models.available = available,
            // An older node lists what it has loaded: believed until its first heartbeat.
            None => record.models.loaded = answer.models().into_iter().filter(|m| is_name(m)).take(MODELS_MAX).collect(),
        }
        let registered = Registered {
            node_id: record.id.to_string(),
            status: if known.is_some() { "updated" } else { "registered" }.to_owned(),
            node_api_port: record.api_port(),
            node_token: token,
            router_secret: Some(record.router_secret.to_string()),
        };
        self.store_with(record, joining).await?;
        tracing::info!(node = registered.node_id, machine = said.machine_name, address = %ip, "node {}", registered.status);
        Ok((registered, known.is_none()))
    }

    /// Stores a record of somebody who joined: takes a use of their token, and lets them wait for consent where it says so. A known one has it.
    /// `writing` must be held.
    pub(crate) async fn store_with(&self, mut record: Record, joining: &Joining) -> Result<(), Failure> {
        let is_known = self.registry().get(&record.id).is_some();
        let asks_consent = self.settings().require_approval || matches!(joining, Joining::WithMade(token) if token.approval);
        record.pending = if is_known { record.pending } else { asks_consent };
        let Joining::WithMade(token) = joining else { return self.store_and_put(record).await };
        let is_taken = self.use_token(token, &mut record).await?;
        let put = self.store_and_put(record).await;
        if is_taken && put.is_err() {
            store::join_tokens::give_back(&self.store, &token.id).await.map_err(stored)?;
        }
        put
    }

    /// Who may register: whoever shows a join token that is good (`known` came with this one before), or has an API key that stands for it; where
    /// none is asked for, this machine and private networks.
    pub(crate) async fn may_join(&self, from: Origin<'_>, known: Option<&str>) -> Result<Joining, Failure> {
        match from.join_token.filter(|shown| shown.starts_with(tokens::PREFIX)) {
            Some(shown) if self.settings().join_token.as_deref() != Some(shown) => {
                self.token_shown(shown, known).await.map(|token| Joining::WithMade(Box::new(token)))
            }
            _ => may_join(&self.settings(), from),
        }
    }

    /// A record to fill in: the one of this name without its last reports, or a new one.
    pub(crate) fn fresh(&self, kind: Kind, machine_name: &str, runtime_port: u16) -> Record {
        let now_ms = self.clock.unix_ms();
        let mut record = match self.registry().find(kind, machine_name, runtime_port) {
            Some(known) => {
                let mut record = Record::from_row(known.to_row(), &self.clock, &self.turns);
                // Requests in flight go on counting where they began.
                record.live = known.live.clone();
                record.history.clone_from(&known.history);
                record
            }
            None => Record {
                id: Uuid::now_v7().to_string().into(),
                kind,
                machine_name: machine_name.into(),
                ip: IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
                runtime_port,
                endpoint: None,
                runtime_version: String::new(),
                machine: Machine::default(),
                token_hash: String::new(),
                router_secret: "".into(),
                status: Status::Registering,
                draining: false,
                pending: false,
                join_token_id: None,
                models: Models::default(),
                custom_name: None,
                tags: Vec::new(),
                notes: None,
                registered_at_ms: now_ms,
                last_seen_ms: now_ms,
                online_since_ms: None,
                beat: None,
                beat_at_ms: None,
                history: VecDeque::new(),
                live: Arc::new(Live::new(self.clock.clone(), self.turns.clone(), self.clock.tick_ms())),
            },
        };
        record.last_seen_ms = now_ms;
        record
    }

    /// Stores a record, then shows it to the request path. `writing` must be held.
    pub(crate) async fn store_and_put(&self, record: Record) -> Result<(), Failure> {
        let replaced = {
            let registry = self.registry();
            if registry.get(&record.id).is_none() && registry.len() >= NODES_MAX { Some(longest_gone(&registry, self)?) } else { None }
        };
        if let Some(id) = &replaced {
            store::nodes::delete(&self.store, id).await.map_err(stored)?;
        }
        store::nodes::upsert(&self.store, &record.to_row()).await.map_err(stored)?;
        let mut registry = self.registry();
        if let Some(id) = &replaced {
            registry.remove(id);
        }
        record.live.begins_anew();
        record.live.seen();
        registry.put(record);
        self.publish(&registry);
        Ok(())
    }
}

/// The node whose place a new one may take.
fn longest_gone(registry: &Registry, fleet: &Fleet) -> Result<Arc<str>, Failure> {
    let (now, timeout) = (fleet.clock.tick_ms(), fleet.timeout_ms());
    let gone = registry.in_order().filter(|r| r.shown(now, timeout) == Status::Offline).min_by_key(|r| r.last_seen_ms);
    gone.map(|r| r.id.clone()).ok_or_else(|| Failure::new(Code::Conflict, format!("the fleet is full: {NODES_MAX} nodes are there")))
}

/// The client's form of a failed write.
pub(crate) fn stored(error: store::StoreError) -> Failure {
    tracing::error!(%error, "the fleet could not be stored");
    error.failure()
}

/// Whoever has the join token of the settings where one is set, else this machine and private networks.
fn may_join(settings: &FleetSettings, from: Origin<'_>) -> Result<Joining, Failure> {
    if let Some(wanted) = &settings.join_token {
        return match from.join_token {
            Some(shown) if is_same(&hash(wanted), &hash(shown)) => Ok(Joining::WithToken),
            _ if from.keyed => Ok(Joining::FromHere),
            Some(_) => Err(Failure::new(Code::InvalidApiKey, "the join token is not valid")),
            None => Err(Failure::new(Code::InvalidApiKey, "a join token is needed to register: send it as `X-Join-Token`")),
        };
    }
    if from.keyed || (is_near(plain(from.addr)) && (!from.forwarded || from.trusted)) {
        return Ok(Joining::FromHere);
    }
    Err(Failure::new(
        Code::PermissionDenied,
        "only this machine and private networks may register without a join token: set LLM_ROUTER_JOIN_TOKEN",
    ))
}

/// Loopback and private addresses.
fn is_near(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    }
}

/// Everything of a registration but the GPU rule. Gives the node's address.
fn check(said: &Registration) -> Result<IpAddr, Failure> {
    if !is_name(&said.machine_name) {
        return Err(Failure::invalid(
            "machine_name",
            format!("`machine_name` must have 1 to {NAME_BYTES_MAX} bytes and no control characters"),
        ));
    }
    let ip = said
        .ip_address
        .trim()
        .parse()
        .map(plain)
        .map_err(|_| Failure::invalid("ip_address", "`ip_address` must be an IPv4 or IPv6 address"))?;
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(Failure::invalid("ip_address", "`ip_address` must be the address of one machine"));
    }
    if said.runtime_port == 0 || said.runtime_port == u16::MAX {
        return Err(Failure::invalid("runtime_port", "`runtime_port` must be from 1 to 65534: the node's API is on the port after it"));
    }
    if said.gpu_devices.len() > DEVICES_MAX || said.gpu_devices.iter().any(|d| d.model.len() > NAME_BYTES_MAX) {
        return Err(Failure::invalid(
            "gpu_devices",
            format!("`gpu_devices` may have at most {DEVICES_MAX} devices with names of {NAME_BYTES_MAX} bytes"),
        ));
    }
    check_models("available_models", said.available_models.as_deref().unwrap_or_default())?;
    check_rest(&said.rest)?;
    Ok(ip)
}

/// A list of model names within bounds.
pub(crate) fn check_models(field: &str, models: &[String]) -> Result<(), Failure> {
    if models.len() > MODELS_MAX || !models.iter().all(|m| is_name(m)) {
        return Err(Failure::invalid(field, format!("`{field}` may have at most {MODELS_MAX} names, each of 1 to {NAME_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// Unknown fields within bounds.
pub(crate) fn check_rest(rest: &serde_json::Map<String, serde_json::Value>) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(rest).map_or(usize::MAX, |json| json.len());
    if bytes > REST_BYTES_MAX {
        return Err(Failure::new(Code::InvalidRequest, format!("unknown fields may have at most {REST_BYTES_MAX} bytes together")));
    }
    Ok(())
}

/// A name that can stand in a list and in a log.
pub(crate) fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control)
}

/// The GPU rule: a node without one has to say so.
fn machine(said: &Registration, allow_cpu_nodes: bool) -> Result<Machine, Failure> {
    let good = |d: &GpuDevice| !d.model.trim().is_empty() && d.count > 0;
    let has_gpu = said.gpu_available && !said.gpu_devices.is_empty() && said.gpu_devices.iter().all(good);
    let says_cpu = said.accelerator.as_deref().is_some_and(|a| a.eq_ignore_ascii_case("cpu"));
    if !has_gpu && !says_cpu {
        let rule = "Validation error: GPU hardware is required for node registration. gpu_available must be true and gpu_devices must name at least one \
                    device with a model and a count above 0; a node that works without a GPU says \"accelerator\": \"cpu\"";
        return Err(Failure::new(Code::PermissionDenied, rule));
    }
    if !has_gpu && !allow_cpu_nodes {
        let rule = "Validation error: GPU hardware is required for node registration. Nodes without a GPU are not admitted here (LLM_ROUTER_ALLOW_CPU_NODES)";
        return Err(Failure::new(Code::PermissionDenied, rule));
    }
    Ok(Machine {
        gpu_available: has_gpu,
        gpu_devices: said.gpu_devices.iter().filter(|d| good(d)).cloned().collect(),
        gpu_count: said.gpu_count,
        gpu_model: said.gpu_model.clone(),
        accelerator: said.accelerator.clone(),
        speaks: Speaks::OpenAi,
        maker: None,
        bears_silence: said.tether,
        continues: said.continues,
        rest: said.rest.clone(),
    })
}

/// Hexadecimal SHA-256.
pub(crate) fn hash(secret: &str) -> String {
    Sha256::digest(secret).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Compares hashes in constant time. An empty one is like no other.
pub(crate) fn is_same(a: &str, b: &str) -> bool {
    !a.is_empty() && bool::from(a.as_bytes().ct_eq(b.as_bytes()))
}
