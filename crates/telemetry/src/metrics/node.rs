//! A node's metrics.

use std::sync::{Arc, atomic::AtomicU64};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{exposition, labelled::Labelled, process::Process};
use crate::names::{self, Metric, labels};

/// Counters on a node's page, described even before their first sample.
const COUNTERS: [Metric; 3] = [names::NODE_REQUESTS, names::NODE_TOKENS, names::NODE_WORKER_RESTARTS];

/// The handles of one model on a node.
#[derive(Debug)]
pub struct NodeModel {
    pub requests: Counter,
    pub input_tokens: Counter,
    pub output_tokens: Counter,
    pub worker_restarts: Counter,
}

/// All metrics of a node. Made once, shared by reference.
#[derive(Debug)]
pub struct NodeMetrics {
    registry: Registry,
    process: Process,
    uptime: Gauge<f64, AtomicU64>,
    models: Labelled<NodeModel>,
    /// GPUs found.
    pub gpu_devices: Gauge,
    /// Memory of all GPUs, in bytes.
    pub gpu_memory_bytes: Gauge,
    /// Capability score; 0 without a GPU.
    pub gpu_capability: Gauge<f64, AtomicU64>,
    /// Requests being generated; see [`super::hold`].
    pub active_requests: Gauge,
    /// Requests waiting for a slot; see [`super::hold`].
    pub queued_requests: Gauge,
}

impl Default for NodeMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl NodeMetrics {
    /// All metrics at zero.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let process = Process::register(&mut registry);
        let models = models(&mut registry);
        let (uptime, gpu_capability) = (Gauge::<f64, AtomicU64>::default(), Gauge::<f64, AtomicU64>::default());
        registry.register(names::NODE_UPTIME.name, names::NODE_UPTIME.help, uptime.clone());
        registry.register(names::NODE_GPU_CAPABILITY.name, names::NODE_GPU_CAPABILITY.help, gpu_capability.clone());
        let mut gauge = |metric: Metric| {
            let made = Gauge::default();
            registry.register(metric.name, metric.help, made.clone());
            made
        };
        let gpu_devices = gauge(names::NODE_GPU_DEVICES);
        let gpu_memory_bytes = gauge(names::NODE_GPU_MEMORY);
        let active_requests = gauge(names::NODE_ACTIVE_REQUESTS);
        let queued_requests = gauge(names::NODE_QUEUED_REQUESTS);
        Self { registry, process, uptime, models, gpu_devices, gpu_memory_bytes, gpu_capability, active_requests, queued_requests }
    }

    /// The handles of a model; beyond the most names kept, those of `other`.
    pub fn model(&self, name: &str) -> Arc<NodeModel> {
        self.models.get(name)
    }

    /// Seconds since the metrics were made.
    pub fn uptime_s(&self) -> f64 {
        self.process.uptime_s()
    }

    /// The page in the Prometheus text format ([`super::TEXT_CONTENT_TYPE`]).
    pub fn encode_text(&self) -> String {
        self.process.look();
        self.uptime.set(self.process.uptime_s());
        exposition::prometheus(&self.registry, &COUNTERS)
    }
}

fn models(registry: &mut Registry) -> Labelled<NodeModel> {
    let requests = Family::<[(&'static str, String); 1], Counter>::default();
    let restarts = Family::<[(&'static str, String); 1], Counter>::default();
    let tokens = Family::<[(&'static str, String); 2], Counter>::default();
    registry.register(names::NODE_REQUESTS.name, names::NODE_REQUESTS.help, requests.clone());
    registry.register(names::NODE_WORKER_RESTARTS.name, names::NODE_WORKER_RESTARTS.help, restarts.clone());
    registry.register(names::NODE_TOKENS.name, names::NODE_TOKENS.help, tokens.clone());
    Labelled::new(move |model| {
        let one = [(labels::MODEL, model.to_owned())];
        let direction = |name: &str| [(labels::MODEL, model.to_owned()), (labels::DIRECTION, name.to_owned())];
        NodeModel {
            requests: requests.get_or_create_owned(&one),
            input_tokens: tokens.get_or_create_owned(&direction("input")),
            output_tokens: tokens.get_or_create_owned(&direction("output")),
            worker_restarts: restarts.get_or_create_owned(&one),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::NodeMetrics;

    #[test]
    fn a_page_has_every_name() {
        let metrics = NodeMetrics::new();
        metrics.gpu_capability.set(8.6);
        metrics.model("m").output_tokens.inc_by(7);
        let text = metrics.encode_text();
        for name in ["llm_node_uptime_seconds", "llm_node_gpu_devices 0", "llm_node_gpu_memory_bytes 0", "llm_node_gpu_capability 8.6"] {
            assert!(text.contains(&format!("\n{name}")), "{name} in\n{text}");
        }
        assert!(text.contains("llm_node_tokens_total{model=\"m\",direction=\"output\"} 7\n"), "{text}");
    }
}
