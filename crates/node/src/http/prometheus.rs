//! Counters in Prometheus' text form.

use std::{fmt::Write, sync::Arc};

use axum::{body::Body, extract::State, response::Response};
use http::{HeaderValue, header::CONTENT_TYPE};

use super::App;
use crate::{gpu, pool::Status};

/// A column of the per-model counters: name, kind, help, value.
type Column = (&'static str, &'static str, &'static str, fn(&Status) -> f64);

const COLUMNS: [Column; 12] = [
    ("model_ready", "gauge", "1 while the model is in memory, 0 while it is loading.", |s| f64::from(u8::from(s.is_ready))),
    ("model_memory_bytes", "gauge", "Estimated memory of the model.", |s| s.memory_bytes as f64),
    ("slots", "gauge", "Requests that the engine decodes at once.", |s| f64::from(s.stats.slots_total)),
    ("slots_busy", "gauge", "Requests that it decodes now.", |s| f64::from(s.stats.slots_busy)),
    ("queued_requests", "gauge", "Requests that wait for a place.", |s| f64::from(s.stats.queue_len)),
    ("kv_cells", "gauge", "Cells of the KV cache.", |s| f64::from(s.stats.kv_total)),
    ("kv_cells_used", "gauge", "Cells in use.", |s| f64::from(s.stats.kv_used)),
    ("backlog_tokens", "gauge", "Prompt tokens not yet processed.", |s| s.stats.backlog_tokens as f64),
    ("prompt_tokens_total", "counter", "Prompt tokens.", |s| s.stats.prompt_tokens_total as f64),
    ("cached_tokens_total", "counter", "Prompt tokens that needed no work.", |s| s.stats.cached_tokens_total as f64),
    ("completion_tokens_total", "counter", "Generated tokens.", |s| s.stats.completion_tokens_total as f64),
    ("engine_requests_total", "counter", "Requests of the engine.", |s| s.stats.requests_total as f64),
];

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let mut out = String::new();
    let gpus = app.gpus().await;
    single(&mut out, "uptime_seconds", "gauge", "Seconds since the start.", app.started.elapsed().as_secs_f64());
    single(&mut out, "gpu_devices", "gauge", "GPUs found.", gpus.len() as f64);
    single(&mut out, "gpu_memory_bytes", "gauge", "Memory of all GPUs.", gpu::memory_bytes(&gpus) as f64);
    single(
        &mut out,
        "gpu_capability",
        "gauge",
        "Sum over GPUs of memory in GB times a factor of their generation.",
        gpu::capability(&gpus),
    );
    single(&mut out, "active_requests", "gauge", "Inference requests under way.", f64::from(app.activity.active()));
    single(&mut out, "requests_total", "counter", "Inference requests.", app.activity.total() as f64);
    columns(&mut out, &app.pool.status());
    let mut response = Response::new(Body::from(out));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    response
}

fn single(out: &mut String, name: &str, kind: &str, help: &str, value: f64) {
    head(out, name, kind, help);
    let _ = writeln!(out, "llm_node_{name} {value}");
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP llm_node_{name} {help}\n# TYPE llm_node_{name} {kind}");
}

fn columns(out: &mut String, status: &[Status]) {
    for (name, kind, help, value) in COLUMNS {
        head(out, name, kind, help);
        for one in status {
            let model = one.id.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = writeln!(out, "llm_node_{name}{{model=\"{model}\"}} {}", value(one));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_models_are_escaped() {
        let stats = wire::fleet::worker::EngineStats { slots_total: 8, ..Default::default() };
        let status = Status {
            id: "a\"b".to_owned(),
            is_ready: true,
            loading_for: None,
            can_embed: false,
            active: 0,
            memory_bytes: 7,
            context: 8,
            stats,
        };
        let mut out = String::new();
        columns(&mut out, &[status]);
        assert!(out.contains("# TYPE llm_node_slots gauge\nllm_node_slots{model=\"a\\\"b\"} 8\n"), "{out}");
    }
}
