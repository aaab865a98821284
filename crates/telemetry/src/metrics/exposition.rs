//! The two text formats of a scrape.

use std::fmt::Write;

use prometheus_client::{encoding::text, registry::Registry};

use crate::names::Metric;

/// Content type of the Prometheus text format: the answer to who asks for nothing special.
pub const TEXT_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Content type of OpenMetrics: the answer to an `Accept` that names it.
pub const OPENMETRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) fn openmetrics(registry: &Registry) -> String {
    let mut out = String::new();
    text::encode(&mut out, registry).expect("writing to a string cannot fail");
    out
}

/// OpenMetrics text turned into the older format, in which a counter's description carries the same `_total` as its samples.
/// Every counter of `counters` is described, also before its first sample.
pub(super) fn prometheus(registry: &Registry, counters: &[Metric]) -> String {
    let source = openmetrics(registry);
    let mut out = String::with_capacity(source.len() + 1024);
    let mut described = vec![false; counters.len()];
    for line in source.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let (keyword, rest) = comment.split_once(' ').unwrap_or((comment, ""));
        if !matches!(keyword, "HELP" | "TYPE") {
            continue;
        }
        let (name, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let counter = counters.iter().position(|counter| counter.name == name);
        let total = if counter.is_some() { "_total" } else { "" };
        if let Some(at) = counter {
            described[at] = true;
        }
        writeln!(out, "# {keyword} {name}{total} {text}").expect("writing to a string cannot fail");
    }
    for counter in counters.iter().zip(described).filter_map(|(counter, described)| (!described).then_some(counter)) {
        let Metric { name, help } = counter;
        writeln!(out, "# HELP {name}_total {help}.\n# TYPE {name}_total counter").expect("writing to a string cannot fail");
    }
    out
}
