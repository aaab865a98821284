//! What a router knows of its nodes and their models, as its page shows it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::names::{self, labels};

/// Most samples of nodes on a page: those beyond are left out.
const SAMPLES_MAX: usize = 4096;

type Labels<const N: usize> = [(&'static str, String); N];

/// One model on one node.
#[derive(Debug, Clone, Default)]
pub struct NodeSample {
    pub node: String,
    pub model: String,
    /// Requests of this router in flight there.
    pub active: u32,
    /// Requests that it works on at once, where it has said so.
    pub slots: Option<u32>,
    /// Requests that ended, by how.
    pub ended: [(&'static str, u64); 3],
}

/// Counted elsewhere, and taken over whenever somebody looks.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    /// Held while a page is made, so that nobody sees half of it.
    page: Mutex<()>,
    requests: Family<Labels<3>, Counter>,
    active: Family<Labels<2>, Gauge>,
    slots: Family<Labels<2>, Gauge>,
    waiting: Family<Labels<1>, Gauge>,
}

/// The samples stay as they are until this is dropped.
#[derive(Debug)]
#[must_use = "the page may change when this is dropped"]
pub struct Shown<'a>(#[expect(dead_code, reason = "it is held")] MutexGuard<'a, ()>);

impl Nodes {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let nodes = Self::default();
        registry.register(names::NODE_ENDED.name, names::NODE_ENDED.help, nodes.requests.clone());
        registry.register(names::NODE_ACTIVE.name, names::NODE_ACTIVE.help, nodes.active.clone());
        registry.register(names::NODE_SLOTS.name, names::NODE_SLOTS.help, nodes.slots.clone());
        registry.register(names::MODEL_QUEUE.name, names::MODEL_QUEUE.help, nodes.waiting.clone());
        nodes
    }

    pub(super) fn show(&self, samples: &[NodeSample], waiting: &[(String, usize)]) -> Shown<'_> {
        let page = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        self.requests.clear();
        self.active.clear();
        self.slots.clear();
        self.waiting.clear();
        for sample in samples.iter().take(SAMPLES_MAX) {
            let labels = || [(labels::NODE, sample.node.clone()), (labels::MODEL, sample.model.clone())];
            self.active.get_or_create(&labels()).set(sample.active.into());
            if let Some(slots) = sample.slots {
                self.slots.get_or_create(&labels()).set(slots.into());
            }
            for (outcome, count) in sample.ended {
                let [node, model] = labels();
                self.requests.get_or_create(&[node, model, (labels::OUTCOME, outcome.to_owned())]).inc_by(count);
            }
        }
        for (model, count) in waiting.iter().take(SAMPLES_MAX) {
            self.waiting.get_or_create(&[(labels::MODEL, model.clone())]).set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        Shown(page)
    }
}

#[cfg(test)]
mod tests {
    use super::NodeSample;
    use crate::metrics::Metrics;

    #[test]
    fn nodes_are_shown_as_they_are_now() {
        let metrics = Metrics::new();
        let sample = NodeSample {
            node: "smithy".to_owned(),
            model: "m".to_owned(),
            active: 2,
            slots: Some(4),
            ended: [("success", 7), ("failed", 1), ("cancelled", 0)],
        };
        drop(metrics.show_nodes(std::slice::from_ref(&sample), &[("m".to_owned(), 3), ("n".to_owned(), 1)]));
        let shown = metrics.show_nodes(&[sample], &[("m".to_owned(), 3), ("n".to_owned(), 1)]);
        let text = metrics.encode_text();
        for line in [
            "router_node_requests_total{node=\"smithy\",model=\"m\",outcome=\"success\"} 7\n",
            "router_node_active_requests{node=\"smithy\",model=\"m\"} 2\n",
            "router_node_slots{node=\"smithy\",model=\"m\"} 4\n",
            "router_model_queued_requests{model=\"m\"} 3\n",
            "router_queued_requests 4\n",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        drop(shown);
        let _shown = metrics.show_nodes(&[], &[]);
        assert!(!metrics.encode_text().contains("smithy"), "whoever is gone is gone from the page");
    }
}
