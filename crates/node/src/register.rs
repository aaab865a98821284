//! The node's side of the fleet: it registers with its router and then reports, over the HTTP form of the first LLM Router.
//!
//! Runs on a thread of its own with a runtime of its own: neither a load nor a burst of requests delays a heartbeat. A router
//! that is away or refuses is asked again for ever.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use config::Secret;
use http::{Method, Request, StatusCode, Uri, header::CONTENT_TYPE};
use net::{Body, Client, Settings, Timeouts};
use serde::Serialize;
use tokio::{sync::watch, time};
use wire::fleet::{
    node::{Heartbeat, InstanceReport, Registered, Registration},
    worker::EngineStats,
};

use crate::{
    activity::Activity,
    agent::Agent,
    cpu,
    gpu::{self, Gpus},
    http::Access,
    machine,
    machine::Machine,
    pool::{Pool, Status},
};

/// Wait after the first registration that failed; doubled with each further one.
pub(crate) const WAIT_FIRST: Duration = Duration::from_millis(500);
/// Longest wait while the router can't be reached, and while it refuses.
pub(crate) const WAIT_AWAY: Duration = Duration::from_secs(5);
const WAIT_REFUSED: Duration = Duration::from_secs(30);
/// How long a node that ends waits for its router to hear of it.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(1);
/// Largest answer of a router that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// The router calls the node back before it answers a registration.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(15),
    idle: Duration::from_secs(5),
    total: Duration::from_secs(20),
};

/// What the reports are made of.
pub struct Reporter {
    /// Base URL of the router.
    pub router_url: String,
    /// Shown at the registration.
    pub join_token: Option<Secret>,
    /// Where the node listens.
    pub address: SocketAddr,
    /// The address to tell, instead of the one that is found.
    pub ip: Option<String>,
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// GPUs of this machine.
    pub gpus: Arc<Gpus>,
    /// What is loaded and what could be.
    pub pool: Pool,
    /// Requests under way.
    pub activity: Arc<Activity>,
    /// Learns the router's secret.
    pub access: Access,
    /// How to present itself where it joins as an agent.
    pub agent: Option<Agent>,
}

/// Why a router did not take something.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportError {
    #[error("{0}")]
    Away(#[from] net::Error),
    #[error("the router answered {status}: {said}")]
    Refused { status: StatusCode, said: String },
    #[error("the router's answer makes no sense: {0}")]
    Answer(String),
}

/// Starts reporting, until `stop` says true.
///
/// # Errors
/// The thread can't be started.
pub fn start(reporter: Reporter, mut stop: watch::Receiver<bool>) -> std::io::Result<thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("heartbeat".to_owned()).spawn(move || {
        runtime.block_on(async {
            let joined = Mutex::new(None);
            let report = async {
                match &reporter.agent {
                    Some(agent) => reporter.report_as_agent(agent).await,
                    None => reporter.report(&joined).await,
                }
            };
            tokio::select! {
                () = report => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
            let joined = joined.into_inner().unwrap_or_else(PoisonError::into_inner);
            if let Some(registered) = joined {
                // A router that does not listen learns it from refused connections.
                let _ = time::timeout(LEAVE_TIME_MAX, reporter.leave(&registered)).await;
            }
        });
    })
}

impl Reporter {
    async fn report(&self, joined: &Mutex<Option<Registered>>) {
        let client = Client::new(Settings::default());
        let mut machine = Machine::new();
        loop {
            let registered = self.join(&client).await;
            *joined.lock().unwrap_or_else(PoisonError::into_inner) = Some(registered.clone());
            self.beat(&client, &registered, &mut machine).await;
        }
    }

    /// Registers, however long it takes.
    async fn join(&self, client: &Client) -> Registered {
        let mut wait = WAIT_FIRST;
        let mut said = String::new();
        loop {
            let error = match self.register(client).await {
                Ok(registered) => {
                    tracing::info!(
                        router = self.router_url,
                        node_id = registered.node_id,
                        status = registered.status,
                        "registered with the router"
                    );
                    if registered.router_secret.is_none() {
                        tracing::warn!("the router gave no secret: inference on this node stays closed");
                    }
                    self.access.set_secret(registered.router_secret.clone());
                    self.access.set_node_token(&registered.node_token);
                    return registered;
                }
                Err(error) => error,
            };
            // Once per kind of trouble, not once per try.
            let text = error.to_string();
            if text != said {
                tracing::warn!(router = self.router_url, error = text, "not registered yet; it is tried again");
                said = text;
            }
            let longest = if matches!(error, ReportError::Away(_)) { WAIT_AWAY } else { WAIT_REFUSED };
            time::sleep(wait.min(longest)).await;
            wait = (wait * 2).min(longest);
        }
    }

    /// Reports until the router has forgotten this node.
    async fn beat(&self, client: &Client, registered: &Registered, machine: &mut Machine) {
        let mut ticks = time::interval(self.heartbeat);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut is_away = false;
        loop {
            ticks.tick().await;
            let report = self.heartbeat(registered, machine);
            match self.post(client, "/api/health", ("x-node-token", Some(&registered.node_token)), &report).await {
                Ok(_) => {
                    if std::mem::take(&mut is_away) {
                        tracing::info!("the router takes heartbeats again");
                    }
                }
                Err(ReportError::Refused { status: StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND, said }) => {
                    tracing::warn!(said, "the router does not know this node any more; it registers again");
                    return;
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_away, true) {
                        tracing::warn!(%error, "a heartbeat did not arrive");
                    }
                }
            }
        }
    }

    /// Tells the router that nothing new is taken here any more.
    async fn leave(&self, registered: &Registered) -> Result<(), ReportError> {
        let report = Heartbeat { draining: true, ..self.state(registered, &mut Machine::new()) };
        self.post(&Client::new(Settings::default()), "/api/health", ("x-node-token", Some(&registered.node_token)), &report).await.map(drop)
    }

    async fn register(&self, client: &Client) -> Result<Registered, ReportError> {
        let token = self.join_token.as_ref().map(Secret::expose);
        let body = self.post(client, "/api/nodes", ("x-join-token", token), &self.registration()).await?;
        serde_json::from_slice(&body).map_err(|e| ReportError::Answer(e.to_string()))
    }

    /// Sends JSON and reads the answer.
    pub(crate) async fn post(
        &self,
        client: &Client,
        path: &str,
        (header, token): (&str, Option<&str>),
        body: &impl Serialize,
    ) -> Result<bytes::Bytes, ReportError> {
        let wrong = |e: &dyn std::fmt::Display| ReportError::Answer(e.to_string());
        let body = serde_json::to_vec(body).map_err(|e| wrong(&e))?;
        let mut request = Request::builder().method(Method::POST).uri(format!("{}{path}", self.router_url));
        request = request.header(CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(header, token);
        }
        let request = request.body(Body::from(body)).map_err(|e| wrong(&e))?;
        let answer = client.fetch(request, &TIMEOUTS, ANSWER_BYTES_MAX).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into_body());
        }
        let said = String::from_utf8_lossy(answer.body()).chars().take(300).collect();
        Err(ReportError::Refused { status, said })
    }

    fn registration(&self) -> Registration {
        let gpus = self.gpus.last();
        let (count, cpu) = (gpus.len() as u32, cpu::find());
        let mut rest = serde_json::Map::new();
        rest.insert("cpu_model".to_owned(), cpu.model.into());
        rest.insert("cpu_architecture".to_owned(), cpu.architecture.into());
        rest.insert("cpu_features".to_owned(), cpu.features.into());
        Registration {
            machine_name: machine::name(),
            ip_address: self.address_to_tell(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime_port: self.address.port().saturating_sub(1),
            gpu_available: count > 0,
            gpu_devices: gpu::devices(&gpus),
            gpu_count: (count > 0).then_some(count),
            gpu_model: gpus.first().map(|gpu| gpu.model.clone()),
            accelerator: (count == 0).then(|| "cpu".to_owned()),
            available_models: Some(self.pool.library().shelf().ids()),
            tether: true,
            continues: true,
            rest,
        }
    }

    fn heartbeat(&self, registered: &Registered, machine: &mut Machine) -> Heartbeat {
        let mut heartbeat = self.state(registered, machine);
        // Blocks this thread, which does nothing else, for as long as a vendor's tool takes.
        gpu::report(&self.gpus.read(), &mut heartbeat);
        heartbeat
    }

    /// All that can be said at once.
    fn state(&self, registered: &Registered, machine: &mut Machine) -> Heartbeat {
        let load = machine.measure();
        let status = self.pool.status();
        let ready: Vec<_> = status.iter().filter(|s| s.is_ready).collect();
        let (count, total) = (ready.len() as u32, status.len() as u32);
        Heartbeat {
            node_id: registered.node_id.clone(),
            cpu_usage: load.cpu,
            memory_usage: load.memory,
            active_requests: self.activity.active(),
            average_response_time_ms: self.activity.average_ms(),
            loaded_models: ready.iter().map(|s| s.id.clone()).collect(),
            loaded_embedding_models: ready.iter().filter(|s| s.can_embed).map(|s| s.id.clone()).collect(),
            initializing: count < total,
            ready_models: Some((count, total)),
            available_models: Some(self.pool.library().shelf().ids()),
            instances: ready.iter().map(|status| instance(status)).collect(),
            ..Heartbeat::default()
        }
    }

    /// Where it can be reached.
    pub(crate) fn own_url(&self) -> String {
        let ip = self.address_to_tell();
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip };
        format!("http://{host}:{}", self.address.port())
    }

    /// The setting, else the address that is listened on, else the one that packets to the router leave from.
    fn address_to_tell(&self) -> String {
        if let Some(ip) = &self.ip {
            return ip.clone();
        }
        let ip = self.address.ip();
        if !ip.is_unspecified() {
            return ip.to_string();
        }
        local_address(&self.router_url).unwrap_or(IpAddr::from([127, 0, 0, 1])).to_string()
    }
}

/// How a loaded model is doing.
fn instance(status: &Status) -> InstanceReport {
    let EngineStats { slots_total, slots_busy, queue_len, kv_total, kv_used, backlog_tokens, prefill_tps, tpot_ms, .. } = status.stats;
    InstanceReport { model: status.id.clone(), slots_total, slots_busy, queue_len, kv_total, kv_used, backlog_tokens, prefill_tps, tpot_ms }
}

/// Asks the system's routing table; sends nothing.
fn local_address(url: &str) -> Option<IpAddr> {
    let uri: Uri = url.parse().ok()?;
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let host = uri.host()?.trim_matches(['[', ']']);
    let target = (host, port).to_socket_addrs().ok()?.next()?;
    let any = if target.is_ipv4() { SocketAddr::from(([0, 0, 0, 0], 0)) } else { SocketAddr::from(([0u16; 8], 0)) };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(target).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_on_this_machine_is_reached_from_loopback() {
        assert_eq!(local_address("http://127.0.0.1:9"), Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(local_address("not a url"), None);
    }
}
