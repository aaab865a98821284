//! What the control plane shows: nodes, their last reports, sums, histories.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use wire::fleet::{
    endpoint::Maker,
    node::{GpuDevice, Heartbeat},
};

use crate::{
    Fleet,
    clock::rfc3339,
    live::Live,
    record::{Kind, Point, Record, Status},
    tally::Totals,
};

/// A node as `GET /api/nodes` shows it. Times are RFC 3339.
#[derive(Debug, Clone, Serialize)]
pub struct NodeView {
    pub id: String,
    pub kind: Kind,
    pub machine_name: String,
    pub ip_address: String,
    pub runtime_version: String,
    pub runtime_port: u16,
    pub node_api_port: u16,
    /// Base URL of an agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    pub status: Status,
    /// Finer than `status`: `pending` (waits for consent), `joining`, `ready`, `degraded`, `suspect`, `draining`, `gone`.
    pub state: &'static str,
    /// Who made the server, of an endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maker: Option<Maker>,
    pub registered_at: String,
    pub last_seen: String,
    pub online_since: Option<String>,
    pub custom_name: Option<String>,
    pub tags: Vec<String>,
    pub notes: Option<String>,
    pub loaded_models: Vec<String>,
    pub loaded_embedding_models: Vec<String>,
    pub available_models: Vec<String>,
    pub gpu_available: bool,
    pub gpu_devices: Vec<GpuDevice>,
    pub gpu_count: Option<u32>,
    pub gpu_model: Option<String>,
    pub gpu_model_name: Option<String>,
    pub gpu_compute_capability: Option<String>,
    pub gpu_capability_score: Option<f64>,
    pub accelerator: Option<String>,
    pub initializing: bool,
    pub ready_models: Option<(u32, u32)>,
    /// Requests in flight there.
    pub active_requests: u32,
    pub total_requests: u64,
    pub successful_requests: u64,
    pub failed_requests: u64,
    pub average_response_time_ms: Option<f64>,
}

/// One model on one node.
#[derive(Debug, Clone, Serialize)]
pub struct InstanceView {
    pub node: Arc<str>,
    pub model: Arc<str>,
    /// Requests of this router there.
    pub active_requests: u32,
    /// Requests that it works on at once; `None` where it has not said so.
    pub slots: Option<u32>,
    pub successful_requests: u64,
    pub failed_requests: u64,
    pub cancelled_requests: u64,
    pub average_response_time_ms: Option<f64>,
}

/// `GET /api/metrics/summary`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    pub total_nodes: usize,
    pub online_nodes: usize,
    pub registering_nodes: usize,
    pub draining_nodes: usize,
    pub offline_nodes: usize,
    pub total_requests: u64,
    pub successful_requests: u64,
    pub failed_requests: u64,
    pub cancelled_requests: u64,
    /// Mean over the nodes that have answered something.
    pub average_response_time_ms: Option<f64>,
    /// Percent, mean over the nodes that report it.
    pub average_gpu_usage: Option<f64>,
    pub average_gpu_memory_usage: Option<f64>,
    pub total_active_requests: u64,
    pub last_metrics_updated_at: Option<String>,
}

impl Fleet {
    /// All nodes and agents in order of registration.
    pub fn list(&self) -> Vec<NodeView> {
        let (now, timeout) = (self.clock.tick_ms(), self.timeout_ms());
        self.registry().in_order().map(|r| node_view(r, now, timeout)).collect()
    }

    /// One node or agent.
    pub fn get(&self, id: &str) -> Option<NodeView> {
        let (now, timeout) = (self.clock.tick_ms(), self.timeout_ms());
        self.registry().get(id).map(|r| node_view(r, now, timeout))
    }

    /// The last report of every node, unknown fields included, with `is_stale` and `timestamp`.
    pub fn metrics(&self) -> Vec<Value> {
        let now = self.clock.tick_ms();
        self.registry().in_order().map(|r| metrics_of(r, now)).collect()
    }

    /// The last hour of a node's reports, oldest first; `None`: no such node.
    pub fn history(&self, id: &str) -> Option<VecDeque<Point>> {
        self.registry().get(id).map(|r| r.history.clone())
    }

    /// What this router knows of every model on every node, and how many requests wait for each model.
    pub fn instances(&self) -> (Vec<InstanceView>, Vec<(Arc<str>, usize)>) {
        let lives = distinct(self.registry().in_order());
        let mut views = Vec::new();
        for (node, live) in lives {
            let mut instances = live.all_instances();
            instances.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            views.extend(instances.into_iter().map(|(model, instance)| {
                let totals = instance.totals();
                InstanceView {
                    node: node.clone(),
                    model,
                    active_requests: instance.active(),
                    slots: Some(instance.slots()).filter(|slots| *slots > 0),
                    successful_requests: totals.successful,
                    failed_requests: totals.failed,
                    cancelled_requests: totals.cancelled,
                    average_response_time_ms: instance.average_ms(),
                }
            }));
        }
        (views, self.queue.waiting_by_model())
    }

    /// Sums over all nodes.
    pub fn summary(&self) -> Summary {
        let (now, timeout) = (self.clock.tick_ms(), self.timeout_ms());
        let registry = self.registry();
        let mut sum = Summary::default();
        let (mut times, mut gpu, mut gpu_memory) = (Mean::default(), Mean::default(), Mean::default());
        let mut updated_at_ms = None;
        for record in registry.in_order() {
            sum.total_nodes += 1;
            let status = record.shown(now, timeout);
            *match status {
                Status::Online => &mut sum.online_nodes,
                Status::Registering => &mut sum.registering_nodes,
                Status::Draining => &mut sum.draining_nodes,
                Status::Offline => &mut sum.offline_nodes,
            } += 1;
            let Totals { total, successful, failed, cancelled } = record.live.totals();
            sum.total_requests += total;
            sum.successful_requests += successful;
            sum.failed_requests += failed;
            sum.cancelled_requests += cancelled;
            times.add(record.live.average_ms());
            updated_at_ms = updated_at_ms.max(record.beat_at_ms);
            // What others have in flight on a node that is gone is no longer known.
            let active = if status == Status::Offline { record.live.own_active() } else { record.live.active() };
            sum.total_active_requests += u64::from(active);
            if let Some(beat) = record.beat.as_ref().filter(|_| status != Status::Offline) {
                gpu.add(beat.gpu_usage);
                gpu_memory.add(beat.gpu_memory_usage);
            }
        }
        sum.average_response_time_ms = times.value();
        sum.average_gpu_usage = gpu.value();
        sum.average_gpu_memory_usage = gpu_memory.value();
        sum.last_metrics_updated_at = updated_at_ms.map(rfc3339);
        sum
    }
}

#[derive(Default)]
struct Mean(f64, u32);

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.0 += value;
            self.1 += 1;
        }
    }

    fn value(self) -> Option<f64> {
        (self.1 > 0).then(|| self.0 / f64::from(self.1))
    }
}

/// Nodes by names of their own: those of one machine are told apart by their ports.
fn distinct<'a>(records: impl Iterator<Item = &'a Record> + Clone) -> Vec<(Arc<str>, Arc<Live>)> {
    let mut bearers = HashMap::<Arc<str>, u32>::new();
    records.clone().for_each(|r| *bearers.entry(r.shown_name()).or_default() += 1);
    let own_name = |r: &Record| match r.shown_name() {
        name if bearers.get(&name).is_some_and(|n| *n > 1) => format!("{name}:{}", r.runtime_port).into(),
        name => name,
    };
    records.map(|r| (own_name(r), r.live.clone())).collect()
}

fn node_view(r: &Record, now_tick_ms: i64, timeout_ms: i64) -> NodeView {
    let status = r.shown(now_tick_ms, timeout_ms);
    let beat = r.beat.as_ref();
    let totals = r.live.totals();
    NodeView {
        id: r.id.to_string(),
        kind: r.kind,
        machine_name: r.machine_name.to_string(),
        ip_address: r.ip.to_string(),
        runtime_version: r.runtime_version.clone(),
        runtime_port: r.runtime_port,
        node_api_port: r.api_port(),
        endpoint: r.endpoint.clone(),
        status,
        state: state(r, status, now_tick_ms, timeout_ms),
        maker: r.machine.maker,
        registered_at: rfc3339(r.registered_at_ms),
        last_seen: rfc3339(r.last_seen_ms),
        online_since: r.online_since_ms.filter(|_| status != Status::Offline).map(rfc3339),
        custom_name: r.custom_name.clone(),
        tags: r.tags.clone(),
        notes: r.notes.clone(),
        loaded_models: r.models.loaded.clone(),
        loaded_embedding_models: r.models.embedding.clone(),
        available_models: r.models.available.clone(),
        gpu_available: r.machine.gpu_available,
        gpu_devices: r.machine.gpu_devices.clone(),
        gpu_count: r.machine.gpu_count,
        gpu_model: r.machine.gpu_model.clone(),
        gpu_model_name: beat.and_then(|b| b.gpu_model_name.clone()),
        gpu_compute_capability: beat.and_then(|b| b.gpu_compute_capability.clone()),
        gpu_capability_score: beat.and_then(|b| b.gpu_capability_score),
        accelerator: r.machine.accelerator.clone(),
        initializing: r.models.initializing,
        ready_models: r.models.ready,
        active_requests: r.live.active(),
        total_requests: totals.total,
        successful_requests: totals.successful,
        failed_requests: totals.failed,
        average_response_time_ms: r.live.average_ms(),
    }
}

fn state(r: &Record, status: Status, now_tick_ms: i64, timeout_ms: i64) -> &'static str {
    match status {
        Status::Registering | Status::Online | Status::Draining if r.pending => "pending",
        Status::Registering => "joining",
        Status::Draining => "draining",
        Status::Offline => "gone",
        Status::Online if r.live.is_suspect() || r.live.is_late(now_tick_ms, timeout_ms) => "suspect",
        Status::Online if r.live.is_degraded(now_tick_ms) => "degraded",
        Status::Online => "ready",
    }
}

fn metrics_of(r: &Record, now_tick_ms: i64) -> Value {
    let beat = r.beat.clone().unwrap_or_else(|| Heartbeat { node_id: r.id.to_string(), ..Heartbeat::default() });
    let mut members = match serde_json::to_value(&beat) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    members.insert("machine_name".to_owned(), json!(r.machine_name));
    members.insert("active_requests".to_owned(), json!(r.live.active()));
    members.insert("average_response_time_ms".to_owned(), json!(r.live.average_ms().or(beat.average_response_time_ms)));
    members.insert("timestamp".to_owned(), json!(r.beat_at_ms.map(rfc3339)));
    members.insert("is_stale".to_owned(), json!(!r.live.has_fresh_load(now_tick_ms)));
    Value::Object(members)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
pub(crate) fn as_rfc3339<S: Serializer>(unix_ms: &i64, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&rfc3339(*unix_ms))
}
