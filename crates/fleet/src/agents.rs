//! Agents: named endpoints, the older and simpler form of a node.

use std::net::{IpAddr, Ipv6Addr};

use http::Uri;
use net::Reach;
use serde::Deserialize;
use uuid::Uuid;
use wire::{Code, Failure};

use crate::{
    Fleet, Origin,
    heartbeat::remember,
    live::Load,
    record::{Kind, Models, Speaks, Status},
    register::{check_models, is_name},
};

/// `POST /register`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct AgentRegistration {
    /// Its identity.
    pub name: String,
    /// Where it is asked: base URL, with or without `/v1`.
    pub endpoint: String,
    #[serde(default)]
    pub models: Vec<String>,
    /// As a node's: it takes connections over which nothing is said.
    #[serde(default)]
    pub tether: bool,
}

/// What an agent is told.
#[derive(Debug, Clone)]
pub struct AgentRegistered {
    pub node_id: String,
    /// The router shows it with every request, so that an agent can tell it from others.
    pub router_secret: String,
}

impl Fleet {
    /// Admits an agent, or replaces the endpoint and the models of the one of this name. It can be asked at once.
    ///
    /// # Errors
    /// 401 or 403 who may not join, 400 what is wrong with the fields.
    pub async fn register_agent(&self, said: AgentRegistration, from: Origin<'_>) -> Result<AgentRegistered, Failure> {
        let AgentRegistration { name, endpoint, models, tether } = said;
        let name = name.as_str();
        let known = self.registry().find(Kind::Agent, name, 0).and_then(|r| r.join_token_id.clone());
        let joining = self.may_join(from, known.as_deref()).await?;
        if !is_name(name) {
            return Err(Failure::invalid("name", "`name` must have 1 to 256 bytes and no control characters"));
        }
        check_models("models", &models)?;
        let endpoint = base_url(&endpoint)?;
        let speaks = self.ask_agent(&endpoint).await;
        let _order = self.writing.lock().await;
        let mut record = self.fresh(Kind::Agent, name, 0);
        let now_ms = self.clock.unix_ms();
        record.ip = endpoint.parse::<Uri>().ok().and_then(|uri| literal(&uri)).unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        record.endpoint = Some(endpoint);
        record.machine.speaks = speaks;
        record.machine.bears_silence = tether;
        record.models = Models { loaded: models, ..Models::default() };
        record.draining = false;
        if record.status != Status::Online {
            record.online_since_ms = Some(now_ms);
        }
        record.status = Status::Online;
        record.router_secret = format!("rs_{}", Uuid::new_v4().simple()).into();
        let registered = AgentRegistered { node_id: record.id.to_string(), router_secret: record.router_secret.to_string() };
        self.store_with(record, &joining).await?;
        tracing::info!(node = registered.node_id, agent = name, "agent registered");
        Ok(registered)
    }

    /// An agent's sign of life, with the requests that wait there where it says so.
    ///
    /// # Errors
    /// 401 or 403 who may not, 404 for a name that never registered.
    pub async fn agent_heartbeat(&self, name: &str, queue_length: Option<u32>, from: Origin<'_>) -> Result<(), Failure> {
        let known = self.registry().find(Kind::Agent, name, 0).and_then(|r| r.join_token_id.clone());
        self.may_join(from, known.as_deref()).await?;
        let unknown = || Failure::new(Code::NotFound, format!("no agent named `{name}` has registered"));
        let to_ask = {
            let registry = self.registry();
            let record = registry.find(Kind::Agent, name, 0).ok_or_else(unknown)?;
            (record.machine.speaks == Speaks::Unknown).then(|| record.url())
        };
        // It may have registered before its own server listened.
        let speaks = match to_ask {
            Some(url) => self.ask_agent(&url).await,
            None => Speaks::Unknown,
        };
        let mut registry = self.registry();
        let id = registry.find(Kind::Agent, name, 0).ok_or_else(unknown)?.id.clone();
        let record = registry.get_mut(&id).ok_or_else(unknown)?;
        let was = record.shown(self.clock.tick_ms(), self.timeout_ms());
        self.alive(record, was, true);
        let waiting = queue_length.unwrap_or_else(|| record.live.active());
        let now_ms = self.clock.unix_ms();
        remember(record, &Load::default(), waiting, now_ms);
        record.live.report(&Load::default(), waiting);
        record.beat = Some(wire::fleet::node::Heartbeat { node_id: id.to_string(), active_requests: waiting, ..Default::default() });
        record.beat_at_ms = Some(now_ms);
        let learned = speaks != Speaks::Unknown;
        if learned {
            record.machine.speaks = speaks;
        }
        let changed = learned || was != record.shown(self.clock.tick_ms(), self.timeout_ms());
        self.unsaved().insert(id);
        if changed {
            self.publish(&registry);
        }
        Ok(())
    }
}

/// An agent's endpoint as a base: no path `/v1`, no slash at its end.
pub(crate) fn base_url(endpoint: &str) -> Result<String, Failure> {
    let wrong = |why: &str| Failure::invalid("endpoint", format!("`endpoint` must be an address like http://host:port: {why}"));
    let endpoint = endpoint.trim();
    if endpoint.len() > 2048 {
        return Err(wrong("it is too long"));
    }
    let uri: Uri = endpoint.parse().map_err(|_| wrong("it is no URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(wrong("it needs http or https and a host"));
    }
    if uri.authority().is_some_and(|a| a.as_str().contains('@')) || uri.query().is_some() {
        return Err(wrong("it may have no user name and no query"));
    }
    if literal(&uri).is_some_and(|ip| Reach::of(ip) >= Reach::LinkLocal) {
        return Err(wrong("not the address of an agent"));
    }
    let base = endpoint.trim_end_matches('/');
    Ok(base.strip_suffix("/v1").unwrap_or(base).trim_end_matches('/').to_owned())
}

/// The host where it is an address.
pub(crate) fn literal(uri: &Uri) -> Option<IpAddr> {
    uri.host()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_become_bases() {
        for (said, base) in [
            ("http://localhost:5000", "http://localhost:5000"),
            (" http://localhost:5000/ ", "http://localhost:5000"),
            ("https://a.example/v1/", "https://a.example"),
            ("http://[::1]:5000/agent/v1", "http://[::1]:5000/agent"),
        ] {
            assert_eq!(base_url(said).expect("a good endpoint"), base);
        }
        for bad in [
            "",
            "localhost:5000",
            "ftp://a",
            "http://",
            "http://u:p@a",
            "http://a?x=1",
            "http://169.254.169.254",
            "http://[::ffff:169.254.169.254]",
            "http://[fd00:ec2::254]",
            "http://168.63.129.16",
            "http://0.0.0.0:1",
            "http://[fe80::1]:1",
        ] {
            assert_eq!(base_url(bad).expect_err(bad).param.as_deref(), Some("endpoint"));
        }
    }
}
