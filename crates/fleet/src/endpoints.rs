//! Servers of other makers as nodes: adopted by an administrator, then asked again and again how they are.

use std::{sync::Arc, time::Duration};

use http::{StatusCode, Uri};
use serde::Deserialize;
use tokio::task::JoinSet;
use wire::{
    Code, Failure,
    fleet::endpoint::{Answers, Maker, Pulled},
    fleet::node::Heartbeat,
};

use crate::{
    Fleet, NodeView,
    agents::base_url,
    heartbeat::remember,
    live::Load,
    record::{Kind, Models, Speaks, Status},
    register::is_name,
};

/// How long one page may take.
const PAGE_TIME: Duration = Duration::from_secs(5);
/// Most that is read of a page.
const PAGE_BYTES_MAX: usize = 4 << 20;
/// Endpoints that are asked at the same time.
const AT_ONCE_MAX: usize = 16;
/// Bounds of the time between two rounds; otherwise a third of the time after which a silent node is offline, or the checks' interval if less.
const ROUND_MIN: Duration = Duration::from_millis(200);
const ROUND_MAX: Duration = Duration::from_secs(10);

/// `POST /api/nodes/adopt`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Adoption {
    /// Base URL, with or without `/v1`.
    pub endpoint: String,
    /// Who made it ([`Maker::name`]); found out by asking where it is not said.
    #[serde(default)]
    pub kind: Option<String>,
    /// What to call it; its address where nothing is said.
    #[serde(default)]
    pub name: Option<String>,
    /// Shown to it as `Authorization: Bearer`.
    #[serde(default)]
    pub api_key: Option<String>,
}

/// Why an endpoint said nothing of use.
#[derive(Debug)]
enum Silence {
    /// It is there, and busy with loading.
    Loading,
    /// In words.
    Away(String),
}

impl Fleet {
    /// Takes a server that knows nothing of us in as a node, or brings the one of this name up to date. The boolean says whether it is new.
    ///
    /// # Errors
    /// 400 what is wrong with the fields, 502 where it can't be reached or does not answer like a server of its kind.
    pub async fn adopt(&self, said: Adoption) -> Result<(NodeView, bool), Failure> {
        let base = base_url(&said.endpoint)?;
        let name = match said.name.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
            Some(name) => name.to_owned(),
            None => base.split_once("://").map_or(base.as_str(), |(_, rest)| rest).to_owned(),
        };
        if !is_name(&name) {
            return Err(Failure::invalid("name", "`name` must have 1 to 256 bytes and no control characters"));
        }
        let key = said.api_key.unwrap_or_default();
        if http::HeaderValue::from_str(&key).is_err() {
            return Err(Failure::invalid("api_key", "`api_key` can't be sent in a header"));
        }
        let maker = match &said.kind {
            Some(kind) => kind.parse().map_err(|e: String| Failure::invalid("kind", e))?,
            None => self.maker_of(&base, &key).await.map_err(|e| unreachable(&e))?,
        };
        let pulled = match self.pull(&base, &key, maker).await {
            Ok(pulled) => Some(pulled),
            Err(Silence::Loading) => None,
            Err(Silence::Away(why)) => return Err(unreachable(&why)),
        };
        let _order = self.writing.lock().await;
        let is_new = self.registry().find(Kind::Endpoint, &name, 0).is_none();
        let mut record = self.fresh(Kind::Endpoint, &name, 0);
        record.ip = base.parse::<Uri>().ok().and_then(|uri| crate::agents::literal(&uri)).unwrap_or(record.ip);
        record.endpoint = Some(base);
        record.router_secret = key.into();
        record.machine.speaks = Speaks::OpenAi;
        record.machine.maker = Some(maker);
        record.models = pulled.as_ref().map(models_of).unwrap_or_default();
        record.models.initializing = pulled.is_none();
        record.draining = false;
        record.status = if pulled.is_some() { Status::Online } else { Status::Registering };
        record.online_since_ms = pulled.is_some().then(|| record.online_since_ms.unwrap_or_else(|| self.clock.unix_ms()));
        let id = record.id.to_string();
        self.store_and_put(record).await?;
        if let Some(pulled) = pulled {
            self.pulled(&id, &pulled);
        }
        tracing::info!(node = id, name, kind = maker.name(), "endpoint adopted");
        let view = self.get(&id).ok_or_else(|| Failure::new(Code::Conflict, "it was removed meanwhile"))?;
        Ok((view, is_new))
    }

    /// Asks all endpoints again and again; never returns. Part of [`Fleet::tend`].
    pub(crate) async fn pull_again_and_again(self: &Arc<Self>) {
        loop {
            let settings = self.settings();
            tokio::time::sleep((settings.node_timeout / 3).min(settings.check_interval).clamp(ROUND_MIN, ROUND_MAX)).await;
            self.pull_all().await;
        }
    }

    /// One round: every endpoint is asked once, a few at a time.
    pub(crate) async fn pull_all(self: &Arc<Self>) {
        let known: Vec<_> = {
            let registry = self.registry();
            let endpoints = registry.in_order().filter(|r| r.kind == Kind::Endpoint);
            endpoints.map(|r| (r.id.clone(), r.url(), r.router_secret.clone(), r.machine.maker.unwrap_or(Maker::Openai))).collect()
        };
        let mut asked = JoinSet::new();
        for (id, url, key, maker) in known {
            while asked.len() >= AT_ONCE_MAX {
                let _ = asked.join_next().await;
            }
            let fleet = self.clone();
            asked.spawn(async move {
                match fleet.pull(&url, &key, maker).await {
                    Ok(pulled) => fleet.pulled(&id, &pulled),
                    Err(Silence::Loading) => fleet.is_loading(&id),
                    Err(Silence::Away(why)) => fleet.is_away(&id, &why),
                }
            });
        }
        while asked.join_next().await.is_some() {}
    }

    async fn maker_of(&self, base: &str, key: &str) -> Result<Maker, String> {
        let url = format!("{base}/v1/models");
        match self.read(&url, key, PAGE_TIME, PAGE_BYTES_MAX).await? {
            (StatusCode::OK, list) => Ok(Maker::of_list(&list)),
            (status, _) => Err(format!("GET {url} answered {status}: say its `kind`")),
        }
    }

    async fn pull(&self, base: &str, key: &str, maker: Maker) -> Result<Pulled, Silence> {
        let pages = maker.pages();
        let page = async |path: &str| {
            let url = format!("{base}{path}");
            let (status, body) = self.read(&url, key, PAGE_TIME, PAGE_BYTES_MAX).await.map_err(Silence::Away)?;
            match status {
                StatusCode::SERVICE_UNAVAILABLE => Err(Silence::Loading),
                status if status.is_success() => Ok(body),
                status => Err(Silence::Away(format!("GET {url} answered {status}"))),
            }
        };
        // What only some versions have, or have switched off, is missing without harm.
        let perhaps = async |path: Option<&str>| match path {
            Some(path) => page(path).await.ok(),
            None => None,
        };
        if let Some(health) = pages.health {
            page(health).await?;
        }
        let models = page(pages.models).await?;
        let (loaded, slots, metrics) = (perhaps(pages.loaded).await, perhaps(pages.slots).await, perhaps(pages.metrics).await);
        let answers = Answers { models: &models, loaded: loaded.as_deref(), slots: slots.as_deref(), metrics: metrics.as_deref() };
        maker.read(&answers).map_err(Silence::Away)
    }

    /// Takes what an endpoint said as its heartbeat.
    fn pulled(&self, id: &str, pulled: &Pulled) {
        let now_ms = self.clock.unix_ms();
        let mut registry = self.registry();
        let Some(record) = registry.get_mut(id) else { return };
        let was = (record.shown(self.clock.tick_ms(), self.timeout_ms()), record.models.clone());
        record.models = models_of(pulled);
        self.alive(record, was.0, true);
        let active = pulled.running.saturating_add(pulled.waiting);
        let load = Load { gpu_memory: pulled.cache_share.map(|share| share * 100.0), ..Load::default() };
        remember(record, &load, active, now_ms);
        record.live.report(&load, active);
        let changed = was != (record.shown(self.clock.tick_ms(), self.timeout_ms()), record.models.clone());
        record.beat = Some(Heartbeat {
            node_id: id.to_owned(),
            active_requests: active,
            gpu_memory_usage: pulled.cache_share.map(|share| share * 100.0),
            ..Heartbeat::default()
        });
        record.beat_at_ms = Some(now_ms);
        let (live, models, id) = (record.live.clone(), record.models.loaded.clone(), record.id.clone());
        self.unsaved().insert(id);
        if changed {
            self.publish(&registry);
        }
        drop(registry);
        for model in &models {
            if let Some(instance) = live.known_instance(model) {
                instance.report(pulled.slots.unwrap_or_default());
            }
        }
    }

    fn is_loading(&self, id: &str) {
        let mut registry = self.registry();
        let Some(record) = registry.get_mut(id) else { return };
        let was = record.shown(self.clock.tick_ms(), self.timeout_ms());
        self.alive(record, was, false);
        if !std::mem::replace(&mut record.models.initializing, true) || was == Status::Offline {
            self.publish(&registry);
        }
    }

    /// It did not answer: asked last from now on, and offline when it stays silent.
    fn is_away(&self, id: &str, why: &str) {
        let registry = self.registry();
        let Some(record) = registry.get(id) else { return };
        if !record.live.is_suspect() {
            tracing::warn!(node = id, name = %record.machine_name, why, "an endpoint does not answer");
        }
        record.live.doubted();
    }
}

fn models_of(pulled: &Pulled) -> Models {
    Models {
        loaded: pulled.loaded.clone(),
        embedding: pulled.embedding.clone(),
        available: pulled.available.clone(),
        ready: None,
        initializing: false,
    }
}

fn unreachable(why: &str) -> Failure {
    Failure::new(Code::UpstreamError, format!("the endpoint could not be adopted: {why}"))
}
