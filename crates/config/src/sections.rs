//! Each section of the configuration from its settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::account::Timeouts;
use crate::config::{
    Allowed, Audit, Breaker, Cache, Config, Fleet, Health, History, Idempotency, Ledger, Log, RateLimit, Retry, Sections, Server, StoreUrl,
    Stream, Telemetry,
};
use crate::error::ConfigError;
use crate::fields::Place;
use crate::key::Shape;
use crate::keys::KEYS;
use crate::reader::Reader;
use crate::registered::TypeKeys;
use crate::secret::{Secret, mask_url};
use crate::setting::{Bytes, Count, Interval, Share, Span, Status};
use crate::show::Origin;
use crate::tree::Node;
use crate::{accounts, auth, files, litellm_router, litellm_words, models, prices};

/// Everything, not yet checked against each other.
pub(crate) fn read(reader: &mut Reader) -> Result<Config, ConfigError> {
    let server = server(reader)?;
    let place = Place { file: reader.file, otherwise: "settings" };
    let timeouts = timeouts(reader)?;
    let aliases = aliases(reader, place)?;
    let fallbacks = litellm_router::fallbacks(reader, &aliases)?;
    let mut retry = retry(reader)?;
    let tries = litellm_router::tries(reader, retry.max_attempts, &fallbacks, &aliases)?;
    if let Some(tries) = &tries {
        retry.max_attempts = litellm_router::attempts_max(tries, &fallbacks);
    }
    Ok(Config {
        default_model: reader.optional("default_model")?,
        models: models::models(reader.root, place)?,
        accounts: accounts::collect(reader, timeouts)?,
        aliases,
        hidden_aliases: litellm_router::hidden_aliases(reader),
        prices: prices::prices(reader.root, place)?,
        fallbacks,
        tries,
        task_routes: models::task_routes(reader.root, place)?,
        fallback_models: reader.optional("fallback_models")?.unwrap_or_default(),
        retry_statuses: reader.value::<Vec<Status>>("retry_statuses")?.into_iter().map(|s| s.0).collect(),
        retry,
        breaker: breaker(reader)?,
        routes: models::routes(reader.root, place, reader)?,
        timeouts,
        fleet: fleet(reader)?,
        health: Health {
            check_interval: reader.value::<Interval>("health.check_interval")?.0,
            strict: reader.value("health.strict")?,
            skip: reader.value("health.skip")?,
        },
        stream: Stream {
            keepalive: reader.value::<Interval>("stream.keepalive")?.0,
            closing_comment: reader.value("stream.closing_comment")?,
            probe_window: reader.value::<Interval>("stream.probe_window")?.0,
        },
        ledger: Ledger { when_full: reader.value("ledger.when_full")? },
        auth: auth::read(reader)?,
        store: store(reader, &server)?,
        history: History {
            bodies: reader.value("history.bodies")?,
            retention: reader.value::<Interval>("history.retention")?.0,
            size_max: reader.value::<Bytes>("history.size_max")?.0,
        },
        audit: audit(reader, &server)?,
        log: Log {
            level: reader.value("log.level")?,
            dir: below_data_dir(reader, "log.dir", &server, "logs")?,
            retention_days: reader.value::<Count>("log.retention_days")?.0,
        },
        telemetry: Telemetry {
            metrics_require_auth: reader.value("telemetry.metrics_require_auth")?,
            otlp_endpoint: reader.optional("telemetry.otlp_endpoint")?,
        },
        cache: cache(reader)?,
        hub: files::hub(reader, &files::OF_ROUTER)?,
        downloads: files::downloads(reader, &files::OF_ROUTER)?,
        convert: files::convert(reader)?,
        idempotency: idempotency(reader)?,
        rate_limit: rate_limit(reader)?,
        default_embedding_model: reader.optional("default_embedding_model")?,
        strategy: litellm_router::strategy(reader)?,
        group_strategy: litellm_router::group_strategy(reader),
        type_keys: TypeKeys::read(reader.env),
        sections: kept(reader.root),
        server,
    })
}

fn server(reader: &mut Reader) -> Result<Server, ConfigError> {
    let data_dir: PathBuf = reader.value("server.data_dir")?;
    Ok(Server {
        host: reader.value("server.host")?,
        port: reader.value("server.port")?,
        listen: reader.optional("server.listen")?.unwrap_or_default(),
        data_dir: reader.path(&data_dir),
        max_body_bytes: reader.value::<Bytes>("server.max_body")?.0,
        max_upload_bytes: reader.value::<Bytes>("server.max_upload")?.0,
        trusted_proxies: reader.optional("server.trusted_proxies")?.unwrap_or_default(),
        allow_insecure: reader.value("server.allow_insecure")?,
        drain_timeout: reader.value("server.drain_timeout")?,
        max_connections: reader.value::<Count>("server.max_connections")?.0,
        max_requests: reader.value::<Count>("server.max_requests")?.0,
        max_header_bytes: u32::try_from(reader.value::<Bytes>("server.max_header")?.0).unwrap_or(u32::MAX),
        header_timeout: reader.value::<Interval>("server.header_timeout")?.0,
        threads: reader.optional::<Count>("server.threads")?.map(|n| n.0),
        as_open_llm_router: false,
    })
}

fn timeouts(reader: &mut Reader) -> Result<Timeouts, ConfigError> {
    let mut time = |key: &str| -> Result<_, ConfigError> { Ok(reader.value::<Interval>(key)?.0) };
    Ok(Timeouts {
        connect: time("timeouts.connect")?,
        first_byte: time("timeouts.first_byte")?,
        idle: time("timeouts.idle")?,
        total: time("timeouts.total")?,
        stream_first_byte: reader.optional::<Interval>("timeouts.stream_first_byte")?.map(|i| i.0),
    })
}

fn aliases(reader: &Reader, place: Place) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
    let mut aliases = models::aliases(reader.root, place)?;
    litellm_router::aliases(reader, &mut aliases)?;
    Ok(aliases)
}

fn breaker(reader: &mut Reader) -> Result<Breaker, ConfigError> {
    let ours = Breaker {
        enabled: reader.value::<bool>("breaker.enabled")?,
        failures: reader.value::<Count>("breaker.failures")?.0,
        recovery: reader.value("breaker.recovery")?,
        allowed: Allowed::default(),
    };
    litellm_router::breaker(reader, ours)
}

fn retry(reader: &mut Reader) -> Result<Retry, ConfigError> {
    let Span(least, most) = reader.value("retry.backoff")?;
    let (backoff_min, backoff_max) = litellm_router::pause(reader, (least, most))?;
    let max_attempts = reader.value::<Count>("retry.max_attempts")?.0;
    Ok(Retry { max_attempts, backoff_min, backoff_max, budget: reader.value::<Share>("retry.retry_budget")?.0 })
}

fn fleet(reader: &mut Reader) -> Result<Fleet, ConfigError> {
    Ok(Fleet {
        balancer: reader.value("fleet.balancer")?,
        allow_cpu_nodes: reader.value("fleet.allow_cpu_nodes")?,
        max_waiters: reader.value("fleet.max_waiters")?,
        max_waiters_per_key: reader.value("fleet.max_waiters_per_key")?,
        queue_timeout: reader.value("fleet.queue_timeout")?,
        node_timeout: reader.value::<Interval>("fleet.node_timeout")?.0,
        node_request_timeout: reader.value::<Interval>("fleet.node_request_timeout")?.0,
        silence_timeout: reader.value::<Interval>("fleet.silence_timeout")?.0,
        stream_stall: reader.value::<Interval>("fleet.stream_stall")?.0,
        resume: reader.value("fleet.resume")?,
        join_token: reader.secret("fleet.join_token")?,
        require_approval: reader.value("fleet.require_approval")?,
    })
}

fn audit(reader: &mut Reader, server: &Server) -> Result<Audit, ConfigError> {
    Ok(Audit {
        enabled: reader.value("audit.enabled")?,
        fail_mode: reader.value("audit.fail_mode")?,
        retention: reader.value::<Interval>("audit.retention")?.0,
        decision_log_enabled: reader.value("audit.decision_log_enabled")?,
        decision_log_path: below_data_dir(reader, "audit.decision_log_path", server, "logs/router_decisions.jsonl")?,
    })
}

fn cache(reader: &mut Reader) -> Result<Cache, ConfigError> {
    let mut redis_url = reader.optional::<String>("cache.redis_url")?.and_then(Secret::new);
    if let (None, Some((url, line))) = (&redis_url, litellm_words::redis_url(reader)) {
        reader.note("cache.redis_url", mask_url(&url), reader.at_line(line));
        redis_url = Secret::new(url);
    }
    let enabled = if let Some(enabled) = reader.optional("cache.enabled")? {
        enabled
    } else {
        reader.note("cache.enabled", redis_url.is_some().to_string(), Origin::Default);
        redis_url.is_some()
    };
    Ok(Cache {
        enabled,
        ttl: reader.value::<Interval>("cache.ttl")?.0,
        streams: reader.value("cache.streams")?,
        tools: reader.value("cache.tools")?,
        shared: reader.value("cache.shared")?,
        max_bytes: reader.value::<Bytes>("cache.max_bytes")?.0,
        redis_url,
    })
}

fn idempotency(reader: &mut Reader) -> Result<Idempotency, ConfigError> {
    Ok(Idempotency {
        enabled: reader.value("idempotency.enabled")?,
        ttl: reader.value::<Interval>("idempotency.ttl")?.0,
        wait: reader.value::<Interval>("idempotency.wait")?.0,
        max_bytes: reader.value::<Bytes>("idempotency.max_bytes")?.0,
    })
}

fn rate_limit(reader: &mut Reader) -> Result<Option<RateLimit>, ConfigError> {
    let requests = reader.optional::<Count>("rate_limit.requests")?;
    let window = reader.value::<Interval>("rate_limit.window")?.0;
    Ok(requests.map(|requests| RateLimit { requests: requests.0, window }))
}

/// A path that is a place in the data directory unless it is named.
fn below_data_dir(reader: &mut Reader, key: &str, server: &Server, usual: &str) -> Result<PathBuf, ConfigError> {
    if let Some(path) = reader.optional::<PathBuf>(key)? {
        return Ok(reader.path(&path));
    }
    let path = server.data_dir.join(usual);
    reader.note(key, path.display().to_string(), Origin::Default);
    Ok(path)
}

fn store(reader: &mut Reader, server: &Server) -> Result<StoreUrl, ConfigError> {
    let Some(text) = reader.optional::<String>("store.url")? else {
        let path = server.data_dir.join("router.db");
        reader.note("store.url", format!("sqlite:{}", path.display()), Origin::Default);
        return Ok(StoreUrl::Sqlite(path));
    };
    let wrong = || ConfigError::Value {
        name: "store.url".to_owned(),
        value: crate::tree::shorten(&mask_url(&text)),
        origin: reader.origin("store.url").to_string(),
        allowed: "sqlite:PATH or postgres://…".to_owned(),
    };
    let scheme = text.split(['/', '\\', '.']).next().and_then(|start| start.split_once(':')).map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("postgres" | "postgresql") if text.contains("://") => Secret::new(text.as_str()).map(StoreUrl::Postgres).ok_or_else(wrong),
        Some("sqlite") => {
            let rest = text["sqlite:".len()..].trim_start_matches("//");
            // `sqlite:///x` is an absolute path, `sqlite://x` and `sqlite:x` are relative ones.
            let rest =
                if text["sqlite:".len()..].starts_with("///") { format!("/{}", rest.trim_start_matches('/')) } else { rest.to_owned() };
            let path = rest.split('?').next().unwrap_or_default();
            match path {
                "" => Err(wrong()),
                ":memory:" => Ok(StoreUrl::SqliteMemory),
                path => Ok(StoreUrl::Sqlite(reader.path(path.as_ref()))),
            }
        }
        None => Ok(StoreUrl::Sqlite(reader.path(text.as_ref()))),
        // A drive letter is no scheme.
        Some(scheme) if scheme.len() == 1 => Ok(StoreUrl::Sqlite(PathBuf::from(&text))),
        Some(_) => Err(wrong()),
    }
}

fn kept(root: &Node) -> Sections {
    let kept = KEYS.iter().filter(|k| matches!(k.shape, Shape::Kept | Shape::Foreign));
    Sections(kept.filter_map(|key| Some((key.name.to_owned(), root.at(key.name)?.to_json()))).collect())
}
