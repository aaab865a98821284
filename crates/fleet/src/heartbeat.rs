//! What a node says of itself again and again.

use wire::{Code, Failure, fleet::node::Heartbeat};

use crate::{
    Fleet,
    live::Load,
    record::{HISTORY_POINTS_MAX, Models, Point, Record, Status},
    register::{MODELS_MAX, check_models, check_rest, hash, is_same},
};

impl Fleet {
    /// Takes a node's report. An empty list of models means that none is loaded; a missing `available_models` leaves them as they were.
    ///
    /// # Errors
    /// 401 without the node's own token, 404 for an unknown node, 400 for fields out of bounds.
    pub fn heartbeat(&self, token: Option<&str>, beat: Heartbeat) -> Result<(), Failure> {
        let token = token.ok_or_else(|| Failure::new(Code::InvalidApiKey, "Missing X-Node-Token header"))?;
        check_models("loaded_models", &beat.loaded_models)?;
        check_models("loaded_embedding_models", &beat.loaded_embedding_models)?;
        check_models("available_models", beat.available_models.as_deref().unwrap_or_default())?;
        check_rest(&beat.rest)?;
        if beat.instances.len() > MODELS_MAX {
            return Err(Failure::invalid("instances", format!("`instances` may have at most {MODELS_MAX} entries")));
        }
        let instances = beat.instances.clone();
        let token_hash = hash(token);
        let mut registry = self.registry();
        let timeout_ms = self.timeout_ms();
        let record =
            registry.get_mut(&beat.node_id).ok_or_else(|| Failure::new(Code::NotFound, "Node not found: it has to register again"))?;
        if !is_same(&record.token_hash, &token_hash) {
            return Err(Failure::new(Code::InvalidApiKey, "Invalid node token"));
        }
        let was = (record.shown(self.clock.tick_ms(), timeout_ms), record.models.clone());
        self.take(record, beat, was.0);
        let is = (record.shown(self.clock.tick_ms(), timeout_ms), &record.models);
        let changed = (was.0, &was.1) != is;
        let id = record.id.clone();
        self.unsaved().insert(id.clone());
        if changed {
            if was.0 != is.0 {
                tracing::info!(node = %record.id, machine = %record.machine_name, from = was.0.as_str(), to = is.0.as_str(), "node changed state");
            }
            self.publish(&registry);
        }
        // After the new view has made those that are new.
        let live = registry.get(&id).map(|record| record.live.clone());
        drop(registry);
        for report in &instances {
            if let Some(instance) = live.as_ref().and_then(|live| live.known_instance(&report.model)) {
                instance.report(report.slots_total);
            }
        }
        Ok(())
    }

    fn take(&self, record: &mut Record, beat: Heartbeat, was: Status) {
        let now_ms = self.clock.unix_ms();
        let models = &mut record.models;
        if let Some(available) = &beat.available_models {
            models.available.clone_from(available);
        }
        *models = Models {
            loaded: beat.loaded_models.clone(),
            embedding: beat.loaded_embedding_models.clone(),
            available: std::mem::take(&mut models.available),
            ready: beat.ready_models,
            initializing: beat.initializing,
        };
        // Taken back by its next registration only: a node that ends does not change its mind.
        record.draining |= beat.draining;
        self.alive(record, was, beat.ready_models.map_or(!beat.initializing, |(ready, total)| ready >= total));
        let percent = |value: f64| if value.is_finite() { value.clamp(0.0, 100.0) } else { 0.0 };
        let load = Load {
            cpu: percent(beat.cpu_usage),
            memory: percent(beat.memory_usage),
            gpu: beat.gpu_usage.map(percent),
            gpu_memory: beat.gpu_memory_usage.map(percent),
            capability: beat.gpu_capability_score.filter(|score| score.is_finite()),
            measured: true,
        };
        remember(record, &load, beat.active_requests, now_ms);
        record.live.report(&load, beat.active_requests);
        record.beat = Some(beat);
        record.beat_at_ms = Some(now_ms);
    }

    /// A sign of life. One that was gone begins anew, and is online as soon as it is ready.
    pub(crate) fn alive(&self, record: &mut Record, was: Status, ready: bool) {
        let now_ms = self.clock.unix_ms();
        if was == Status::Offline {
            record.status = Status::Registering;
        }
        if record.status == Status::Registering && ready {
            record.status = Status::Online;
            record.online_since_ms = Some(now_ms);
            record.live.comes_back();
        }
        record.last_seen_ms = now_ms;
        record.live.seen();
    }
}

pub(crate) fn remember(record: &mut Record, load: &Load, active: u32, now_ms: i64) {
    if record.history.len() >= HISTORY_POINTS_MAX {
        record.history.pop_front();
    }
    record.history.push_back(Point {
        at_ms: now_ms,
        cpu_usage: load.cpu,
        memory_usage: load.memory,
        gpu_usage: load.gpu,
        gpu_memory_usage: load.gpu_memory,
        active_requests: active,
        average_response_time_ms: record.live.average_ms(),
    });
}
