//! Metrics: registries held in structs (no global), handles that are cheap to use on the path, label sets that cannot grow without end.

mod exposition;
mod fleet;
mod labelled;
mod node;
mod process;
mod router;

pub use exposition::{OPENMETRICS_CONTENT_TYPE, TEXT_CONTENT_TYPE};
pub use fleet::{NodeSample, Shown};
pub use labelled::LABEL_VALUES_MAX;
pub use node::{NodeMetrics, NodeModel};
pub use router::{Backend, Cloud, Held, Metrics, Model, Outcome, hold};

pub use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};
